// SPDX-License-Identifier: Apache-2.0
//
// The Ascend kernels on the host: the same kernel source, run on the Ascend C twin.
#pragma once

#include "ascend_twin/launch.h"
#include "window_attention/tiling_910b.h"
#include "window_attention/window_attention.h"

namespace swinv2 {

using AscendKernel = void (*)(uint8_t* qkv, uint8_t* bias, uint8_t* scale, uint8_t* out, uint8_t* stats,
                              uint8_t* workspace, uint8_t* tiling);

struct TwinRun {
  uint64_t seed = 0;  // of the interleaving of pipes and cores
  bool trace = false;
  AscendKernel kernel = nullptr;  // null: the one compiled in
};

// qkv is of the dtype that was tiled for. A broken rule is in the report.
ascend_twin::Report window_attention_twin(const WindowAttentionTiling910& tiling,
                                          const WindowAttentionForward& io, const TwinRun& run);
ascend_twin::Report window_attention_twin(const WindowAttentionTiling910B& tiling,
                                          const WindowAttentionForward& io, const TwinRun& run);

}  // namespace swinv2
