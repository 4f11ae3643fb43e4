// SPDX-License-Identifier: Apache-2.0
//
// What a caller of the CPU kernels sees: check once, then run on the instruction set in force.
#pragma once

#include <cstdint>

#include "core/shape.h"
#include "window_attention/window_attention.h"

namespace swinv2 {

struct WindowAttentionOptions {
  int64_t shift_h = 0, shift_w = 0;
  int64_t valid_h = -1, valid_w = -1;  // -1: every token counts
  float mask_value = -100.f;
  bool cosine = true;
};

// Throws InvalidArgument naming the argument, what was expected and what came.
WindowAttention check_window_attention(const Shape& qkv, DType dtype, const Shape& bias_table,
                                       const Shape& scale, const WindowAttentionOptions& options);
Shape out_shape(const WindowAttention& op);
Shape stats_shape(const WindowAttention& op);

void window_attention_forward(const WindowAttention& op, const WindowAttentionForward& io);
void window_attention_backward(const WindowAttention& op, const WindowAttentionBackward& io);

}  // namespace swinv2
