// SPDX-License-Identifier: Apache-2.0
//
// The Ascend kernels on the host: the same kernel source, run on the Ascend C twin.
#pragma once

#include "ascend_twin/launch.h"
#include "window_attention/tiling.h"
#include "window_attention/window_attention.h"

namespace swinv2 {

using Kernel910 = void (*)(uint8_t* qkv, uint8_t* panels, uint8_t* scale, uint8_t* out, uint8_t* stats,
                           uint8_t* workspace, uint8_t* tiling);

struct TwinRun {
  uint64_t seed = 0;  // of the interleaving of pipes and cores
  bool trace = false;
  Kernel910 kernel = nullptr;  // null: the one compiled in
};

// qkv is float16. Throws InvalidArgument where the chip cannot run the problem; a broken rule is in the
// report.
ascend_twin::Report window_attention_twin_910(const WindowAttention& op, const WindowAttentionForward& io,
                                              const TwinRun& run);
// The same, with every tiling decision given.
ascend_twin::Report window_attention_twin_910(const WindowAttentionTiling910& tiling,
                                              const WindowAttentionForward& io, const TwinRun& run);

}  // namespace swinv2
