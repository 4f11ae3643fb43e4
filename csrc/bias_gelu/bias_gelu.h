// SPDX-License-Identifier: Apache-2.0
//
// gelu(z) of z = x + bias over rows of C channels (Hendrycks and Gimpel, arXiv 1606.08415):
//
//   exact   gelu(z) = z Phi(z)       Phi(z) = (1 + erf(z / sqrt 2)) / 2
//           gelu'(z) = Phi(z) + z phi(z)
//   tanh    gelu(z) = z s(z)         s(z) = (1 + tanh u) / 2 = 1 / (1 + e^-2u)
//           gelu'(z) = s + 2 z s (1 - s) u'(z)         u = sqrt(2 / pi) (z + 0.044715 z^3)
//
// Backward: dx = do gelu'(z), dbias = sum_rows dx.
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace swinv2 {

struct BiasGelu {
  int64_t rows, channels;
  bool tanh;
  DType dtype;  // of x, out, dout, dx
};

struct BiasGeluForward {
  const void* x;
  const float* bias;
  void* out;
};

struct BiasGeluBackward {
  const void* x;
  const float* bias;
  const void* dout;
  void* dx;
  float* dbias;
};

}  // namespace swinv2
