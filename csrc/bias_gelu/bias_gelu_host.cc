// SPDX-License-Identifier: Apache-2.0
#include "bias_gelu/bias_gelu_host.h"

#include "core/check.h"
#include "cpu/isa.h"

namespace swinv2 {

SWINV2_PER_ISA(void bias_gelu_forward(const BiasGelu&, const BiasGeluForward&);
               void bias_gelu_backward(const BiasGelu&, const BiasGeluBackward&);)

BiasGelu check_bias_gelu(const Shape& x, DType dtype, const Shape& bias, bool tanh) {
  if (x.empty()) fail("x: expected at least 1 dimension (..., C), got shape ()");
  for (int64_t n : x)
    if (n < 1) fail("x: expected every dimension to be at least 1, got shape ", text(x));
  if (bias != Shape{x.back()})
    fail("bias: expected shape (", x.back(), ",), the channels of x, got ", text(bias));
  return {product_of(x) / x.back(), x.back(), tanh, dtype};
}

void bias_gelu_forward(const BiasGelu& op, const BiasGeluForward& io) {
  SWINV2_DISPATCH(bias_gelu_forward(op, io));
}

void bias_gelu_backward(const BiasGelu& op, const BiasGeluBackward& io) {
  SWINV2_DISPATCH(bias_gelu_backward(op, io));
}

}  // namespace swinv2
