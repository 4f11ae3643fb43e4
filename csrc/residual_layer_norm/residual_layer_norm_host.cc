// SPDX-License-Identifier: Apache-2.0
#include "residual_layer_norm/residual_layer_norm_host.h"

#include "core/check.h"
#include "cpu/isa.h"

namespace swinv2 {

SWINV2_PER_ISA(void residual_layer_norm_forward(const ResidualLayerNorm&, const ResidualLayerNormForward&);
               void residual_layer_norm_backward(const ResidualLayerNorm&, const ResidualLayerNormBackward&);)

ResidualLayerNorm check_residual_layer_norm(const Shape& x, DType x_dtype, const Shape& y, DType y_dtype,
                                            const Shape& gamma, const Shape& beta, const Shape& keep,
                                            float epsilon) {
  if (x.size() < 2) fail("x: expected at least 2 dimensions (B, ..., C), got shape ", text(x));
  for (int64_t n : x)
    if (n < 1) fail("x: expected every dimension to be at least 1, got shape ", text(x));
  if (y != x) fail("y: expected the shape of x, ", text(x), ", got ", text(y));
  if (y_dtype != x_dtype && x_dtype != DType::kFloat32)
    fail("y: expected the dtype of x, ", dtype_name(x_dtype), ", got ", dtype_name(y_dtype));
  const int64_t channels = x.back();
  if (gamma != Shape{channels}) fail("gamma: expected shape (", channels, ",), got ", text(gamma));
  if (beta != Shape{channels}) fail("beta: expected shape (", channels, ",), got ", text(beta));
  const int64_t samples = keep == Shape{1} ? 1 : x[0];  // one factor for all, as if they were one sample
  if (keep != Shape{samples})
    fail("keep: expected shape (", x[0], ",), one factor a sample, got ", text(keep));
  if (!(epsilon > 0)) fail("epsilon: expected a number > 0, got ", epsilon);
  return {samples, product_of(x) / channels / samples, channels, epsilon, x_dtype, y_dtype};
}

ResidualLayerNorm check_layer_norm(const Shape& y, DType y_dtype, const Shape& gamma, const Shape& beta,
                                   float epsilon) {
  if (y.empty()) fail("y: expected at least 1 dimension (..., C), got shape ()");
  for (int64_t n : y)
    if (n < 1) fail("y: expected every dimension to be at least 1, got shape ", text(y));
  const Shape rows{1, product_of(y) / y.back(), y.back()};
  return check_residual_layer_norm(rows, DType::kFloat32, rows, y_dtype, gamma, beta, {1}, epsilon);
}

void residual_layer_norm_forward(const ResidualLayerNorm& op, const ResidualLayerNormForward& io) {
  SWINV2_DISPATCH(residual_layer_norm_forward(op, io));
}

void residual_layer_norm_backward(const ResidualLayerNorm& op, const ResidualLayerNormBackward& io) {
  SWINV2_DISPATCH(residual_layer_norm_backward(op, io));
}

}  // namespace swinv2
