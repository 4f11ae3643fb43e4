// SPDX-License-Identifier: Apache-2.0
//
// A Linear over tokens, with what SwinV2 has around it in its prologue and epilogue:
//
//   out (rows, N) = g(a W^T + b)        a (rows, K), W (N, K), b (N), g the identity or a GELU (bias_gelu.h)
//
// Row r of a is a view of x: `segments` runs of `length` channels, K = segments * length. Row (b, i, j) of the grid
// begins at b * image + i * down + j * right; its run s lies `offset(s)` further on. So
//
//   tokens            x (..., K)            one run of K channels
//   patch merging     x (B, H, W, C)        4 runs of C: (even row, even column), (odd, even), (even, odd), (odd, odd)
//   patch embedding   x (B, C, H, W)        C * p runs of p pixels: the order (c, row) of a convolution's weight
//
// On CPUs with AVX512_BF16 a and do in bfloat16 are multiplied by W rounded to bfloat16, or stored so, and summed in
// float32 (cpu/pairs.h); with AMX by tiles of them (cpu/tile.h), and float32 and float16 by tiles of three terms
// (cpu/terms.h).
//
// Backward of the Linear without g: da = do W, scattered back to x (every element is in one row);
// dW = do^T a; db = sum over rows of do.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace swinv2 {

enum class Gelu : int { kNone, kExact, kTanh };

struct PatchView {
  int64_t grid_h, grid_w;      // rows of a: (image, grid_h, grid_w)
  int64_t image, down, right;  // strides of x from one row to the next along each
  int64_t segments, length;
  int64_t inner, inner_stride,
      outer_stride;  // offset of run s: s / inner * outer_stride + s % inner * inner_stride

  int64_t base(int64_t row) const {
    const int64_t j = row % grid_w, i = row / grid_w % grid_h, b = row / grid_w / grid_h;
    return b * image + i * down + j * right;
  }
  int64_t offset(int64_t s) const { return s / inner * outer_stride + s % inner * inner_stride; }
};

struct Linear {
  int64_t rows, in, out;  // a (rows, in), W (out, in)
  PatchView view;
  Gelu gelu;
  DType x_dtype,
      dtype;  // of x and of out. They differ where x is float32, to be rounded on loading: forward only
  DType weight_dtype = DType::kFloat32;  // or bfloat16, as out: forward only
};

struct LinearForward {
  const void* x;
  const void* weight;  // (out, in)
  const float* bias;   // (out)
  void* out;
};

struct LinearBackward {
  const void* x;
  const float* weight;
  const void* dout;
  void* dx;
  float* dweight;
  float* dbias;
};

}  // namespace swinv2
