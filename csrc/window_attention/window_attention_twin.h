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

using AscendGradKernel = void (*)(uint8_t* qkv, uint8_t* bias, uint8_t* scale, uint8_t* out, uint8_t* stats,
                                  uint8_t* dout, uint8_t* dqkv, uint8_t* dbias, uint8_t* dscale,
                                  uint8_t* workspace, uint8_t* tiling);

template <class Kernel>
struct TwinRun {
  uint64_t seed = 0;  // of the interleaving of pipes and cores
  bool trace = false;
  Kernel kernel = nullptr;  // null: the one compiled in
};

// qkv is of the dtype that was tiled for. A broken rule is in the report.
ascend_twin::Report window_attention_twin(const WindowAttentionTiling910& tiling,
                                          const WindowAttentionForward& io, const TwinRun<AscendKernel>& run);
ascend_twin::Report window_attention_twin(const WindowAttentionTiling910B& tiling,
                                          const WindowAttentionForward& io, const TwinRun<AscendKernel>& run);
// The gradients of table and scale are gathered only where no rule was broken.
ascend_twin::Report window_attention_twin(const WindowAttentionGradTiling910& tiling,
                                          const WindowAttentionBackward& io,
                                          const TwinRun<AscendGradKernel>& run);
ascend_twin::Report window_attention_twin(const WindowAttentionGradTiling910B& tiling,
                                          const WindowAttentionBackward& io,
                                          const TwinRun<AscendGradKernel>& run);

}  // namespace swinv2
