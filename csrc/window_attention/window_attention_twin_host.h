// SPDX-License-Identifier: Apache-2.0
//
// The twin as a back end: no strings or reports cross here, so that sources of either std::string ABI may
// call it.
#pragma once

#include "core/chip.h"
#include "window_attention/window_attention.h"

namespace swinv2 {

// The tensors of the Ascend kernels: bias is prepared, dbias and dscale are partial sums (tiling_host.h).
struct AscendForward {
  const void* qkv;
  const float* bias;
  const float* scale;
  void* out;
  float* stats;
};

struct AscendBackward {
  const void* qkv;
  const float* bias;
  const float* scale;
  const void* out;
  const float* stats;
  const void* dout;
  void* dqkv;
  float* dbias;
  float* dscale;
};

// Throw std::runtime_error with the report's errors where the kernel breaks a rule of the chip,
// InvalidArgument where the chip cannot run the problem.
void window_attention_forward_twin(const WindowAttention& op, const ChipLimits& chip,
                                   const AscendForward& io);
void window_attention_backward_twin(const WindowAttention& op, const ChipLimits& chip,
                                    const AscendBackward& io);

}  // namespace swinv2
