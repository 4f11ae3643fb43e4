// SPDX-License-Identifier: Apache-2.0
//
// The Ascend kernels on the host: the same kernel source, run on the Ascend C twin.
#pragma once

#include "ascend_twin/launch.h"
#include "window_attention/window_attention_twin_host.h"

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

// The chip's kernel on qkv of the problem's dtype. A broken rule is in the report.
ascend_twin::Report window_attention_twin(const WindowAttention& op, const ChipLimits& chip,
                                          const AscendForward& io, const TwinRun<AscendKernel>& run);
ascend_twin::Report window_attention_twin(const WindowAttention& op, const ChipLimits& chip,
                                          const AscendBackward& io, const TwinRun<AscendGradKernel>& run);

// The same from table to table. The gradients of table and scale are gathered only where no rule was broken.
ascend_twin::Report window_attention_twin(const WindowAttention& op, const ChipLimits& chip,
                                          const WindowAttentionForward& io, const TwinRun<AscendKernel>& run);
ascend_twin::Report window_attention_twin(const WindowAttention& op, const ChipLimits& chip,
                                          const WindowAttentionBackward& io,
                                          const TwinRun<AscendGradKernel>& run);

}  // namespace swinv2
