// SPDX-License-Identifier: Apache-2.0
//
// What every back end asks of shapes and options, and the shapes it returns.
#pragma once

#include <cstdint>
#include <vector>

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
WindowAttention check_problem(const Shape& qkv, DType dtype, int64_t heads, int64_t window_h,
                              int64_t window_w, const WindowAttentionOptions& options);
Shape out_shape(const WindowAttention& op);
Shape stats_shape(const WindowAttention& op);

// Those of out and stats where some of qkv, its rank too, or heads (-1) is unknown.
std::vector<Shape> unknown_shapes(const Shape& qkv, int64_t heads);

}  // namespace swinv2
