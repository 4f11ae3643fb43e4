// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "core/shape.h"
#include "residual_layer_norm/residual_layer_norm.h"

namespace swinv2 {

// Throws InvalidArgument naming the argument, what was expected and what came.
ResidualLayerNorm check_residual_layer_norm(const Shape& x, DType x_dtype, const Shape& y, DType y_dtype,
                                            const Shape& gamma, const Shape& beta, const Shape& keep,
                                            float epsilon);
// Layer normalisation alone, y (..., C) -> float32.
ResidualLayerNorm check_layer_norm(const Shape& y, DType y_dtype, const Shape& gamma, const Shape& beta,
                                   float epsilon);
void residual_layer_norm_forward(const ResidualLayerNorm& op, const ResidualLayerNormForward& io);
void residual_layer_norm_backward(const ResidualLayerNorm& op, const ResidualLayerNormBackward& io);

}  // namespace swinv2
