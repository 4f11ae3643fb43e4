// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/shape.h"
#include "linear/linear.h"

namespace swinv2 {

enum class View : int { kTokens, kMerging, kEmbedding };

// The problem of a view of x. weight (N, K). Throws InvalidArgument naming the argument, what was expected and what
// came. patch_size: of an embedding.
Linear check_linear(const Shape& x, DType dtype, const Shape& weight, View view, int64_t patch_size,
                    Gelu gelu);
void round_x(Linear& op, DType dtype);    // x is rounded to dtype, that of out
void weigh_in(Linear& op, DType weight);  // weight is stored so
void check_linear_bias(const Linear& op, const Shape& bias);

// Dimensions may be unknown (-1), of tokens also their number (-2).
Shape linear_out_shape(const Shape& x, const Shape& weight, View view, int64_t patch_size);
Shape linear_x_shape(const Shape& out, const Shape& weight, View view, int64_t patch_size);  // the inverse

void linear_forward(const Linear& op, const LinearForward& io);
void linear_input_gradient(const Linear& op, const LinearBackward& io);   // dx
void linear_weight_gradient(const Linear& op, const LinearBackward& io);  // dweight, dbias

}  // namespace swinv2
