// SPDX-License-Identifier: Apache-2.0
//
// What a caller of the CPU kernels sees: check once, then run on the instruction set in force.
#pragma once

#include "window_attention/window_attention_shapes.h"

namespace swinv2 {

// As check_problem, and the sizes the CPU kernels have scratch for.
WindowAttention check_window_attention(const Shape& qkv, DType dtype, const Shape& bias_table,
                                       const Shape& scale, const WindowAttentionOptions& options);

void window_attention_forward(const WindowAttention& op, const WindowAttentionForward& io);
void window_attention_backward(const WindowAttention& op, const WindowAttentionBackward& io);

}  // namespace swinv2
