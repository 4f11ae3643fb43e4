// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "bias_gelu/bias_gelu.h"
#include "core/shape.h"

namespace swinv2 {

// Throws InvalidArgument naming the argument, what was expected and what came.
BiasGelu check_bias_gelu(const Shape& x, DType dtype, const Shape& bias, bool tanh);
void bias_gelu_forward(const BiasGelu& op, const BiasGeluForward& io);
void bias_gelu_backward(const BiasGelu& op, const BiasGeluBackward& io);

}  // namespace swinv2
