// SPDX-License-Identifier: Apache-2.0
#include "linear/linear_host.h"

#include "core/check.h"
#include "cpu/isa.h"

namespace swinv2 {

SWINV2_PER_ISA(void linear_forward(const Linear&, const LinearForward&);
               void linear_input_gradient(const Linear&, const LinearBackward&);
               void linear_weight_gradient(const Linear&, const LinearBackward&);)

namespace {

// One view of x: tokens (..., K), merging (B, H, W, C), embedding (B, C, H, W).
PatchView view_of(const Shape& x, View view, int64_t patch) {
  switch (view) {
    case View::kTokens:
      return {1, product_of(x) / x.back(), 0, 0, x.back(), 1, x.back(), 1, 0, 0};
    case View::kMerging: {
      const int64_t H = x[1], W = x[2], C = x[3];
      return {H / 2, W / 2, H * W * C, 2 * W * C, 2 * C, 4, C, 2, W * C, C};
    }
    case View::kEmbedding: {
      const int64_t C = x[1], H = x[2], W = x[3];
      return {H / patch, W / patch, C * H * W, patch * W, patch, C * patch, patch, patch, W, H * W};
    }
  }
  __builtin_unreachable();
}

// Of a dimension that may be unknown (-1).
int64_t part(int64_t n, int64_t of) {
  return n < 0 ? -1 : n / of;
}
int64_t times(int64_t n, int64_t factor) {
  return n < 0 ? -1 : n * factor;
}

// Rows of another length; where their rank is unknown (-2) it stays so.
Shape with_length(Shape rows, int64_t n) {
  if (!rows.empty() && rows.back() != -2) rows.back() = n;
  return rows;
}

}  // namespace

Linear check_linear(const Shape& x, DType dtype, const Shape& weight, View view, int64_t patch_size,
                    Gelu gelu) {
  const bool tokens = view == View::kTokens;
  if (tokens ? x.empty() : x.size() != 4)
    fail("x: expected ",
         tokens                   ? "at least 1 dimension (..., K)"
         : view == View::kMerging ? "4 dimensions (B, H, W, C)"
                                  : "4 dimensions (B, C, H, W)",
         ", got shape ", text(x));
  for (int64_t n : x)
    if (n < 1) fail("x: expected every dimension to be at least 1, got shape ", text(x));
  if (view == View::kMerging && (x[1] % 2 || x[2] % 2))
    fail("x: expected even H and W, got ", x[1], " x ", x[2],
         "; pad x with zeros at the bottom and the right");
  if (view == View::kEmbedding) {
    if (patch_size < 1) fail("patch_size: expected at least 1, got ", patch_size);
    if (x[2] % patch_size || x[3] % patch_size)
      fail("x: expected H and W to be multiples of patch_size ", patch_size, ", got ", x[2], " x ", x[3],
           "; pad x with zeros at the bottom and the right");
  }
  const PatchView v = view_of(x, view, patch_size);
  const int64_t K = v.segments * v.length;
  if (weight.size() != 2 || weight[1] != K || weight[0] < 1)
    fail("weight: expected shape (N, ", K, "), K the channels of a row, got ", text(weight));
  return {product_of(x) / K, K, weight[0], v, gelu, dtype, dtype};
}

void round_x(Linear& op, DType dtype) {
  if (dtype != op.x_dtype && op.x_dtype != DType::kFloat32)
    fail("dtype: expected that of x, ", dtype_name(op.x_dtype), ", got ", dtype_name(dtype),
         "; only float32 x can be rounded to another");
  op.dtype = dtype;
}

void weigh_in(Linear& op, DType weight) {
  if (weight != DType::kFloat32 && !(weight == DType::kBFloat16 && op.dtype == weight))
    fail("weight: expected float32, or bfloat16 where the result is bfloat16, got ", dtype_name(weight),
         " for a result of ", dtype_name(op.dtype));
  op.weight_dtype = weight;
}

void check_linear_bias(const Linear& op, const Shape& bias) {
  if (bias != Shape{op.out})
    fail("bias: expected shape (", op.out, ",), the rows of weight, got ", text(bias));
}

Shape linear_out_shape(const Shape& x, const Shape& weight, View view, int64_t patch_size) {
  if (view == View::kMerging) return {x[0], part(x[1], 2), part(x[2], 2), weight[0]};
  if (view == View::kEmbedding) return {x[0], part(x[2], patch_size), part(x[3], patch_size), weight[0]};
  return with_length(x, weight[0]);
}

Shape linear_x_shape(const Shape& out, const Shape& weight, View view, int64_t patch_size) {
  if (view == View::kMerging) return {out[0], times(out[1], 2), times(out[2], 2), part(weight[1], 4)};
  if (view == View::kEmbedding)
    return {out[0], part(weight[1], patch_size * patch_size), times(out[1], patch_size),
            times(out[2], patch_size)};
  return with_length(out, weight[1]);
}

void linear_forward(const Linear& op, const LinearForward& io) {
  SWINV2_DISPATCH_TO(amx_bf16, avx512_bf16, linear_forward(op, io));
}

void linear_input_gradient(const Linear& op, const LinearBackward& io) {
  SWINV2_DISPATCH_TO(amx_bf16, avx512_bf16, linear_input_gradient(op, io));
}

void linear_weight_gradient(const Linear& op, const LinearBackward& io) {
  SWINV2_DISPATCH_TO(amx_bf16, avx512_bf16, linear_weight_gradient(op, io));
}

}  // namespace swinv2
