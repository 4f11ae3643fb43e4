// SPDX-License-Identifier: Apache-2.0
//
// GELU and its slope, exact and tanh (bias_gelu/bias_gelu.h has the formulas).
#pragma once

#include "cpu/simd.h"

namespace swinv2 {
namespace SWINV2_ISA {

struct Exact {
  // Phi(-a) = exp(-a^2/2) t P(t), t = 1 / (1 + 0.35 a), a >= 0: P of degree 8 fits erfcx to 3e-8 relative
  // error, so the tail keeps its digits where 1 + erf cancels. `bell` is exp(-z^2/2).
  SWINV2_INLINE Vec Phi(Vec z, Vec& bell) {
    const Vec a = z < 0.f ? -z : z;
    bell = exp2(z * z * -0.72134752f);  // log2(e) / 2
    const Vec t = 1.f / (1.f + 0.35f * a);
    Vec p = splat(-2.914586628e-2f);
    p = p * t + splat(1.439714155e-1f);
    p = p * t + splat(-2.557137308e-1f);
    p = p * t + splat(1.591736297e-1f);
    p = p * t + splat(-2.310951549e-2f);
    p = p * t + splat(1.055078876e-1f);
    p = p * t + splat(1.198328925e-1f);
    p = p * t + splat(1.398618669e-1f);
    p = p * t + splat(1.396214044e-1f);
    p = p * t * bell;
    return z < 0.f ? p : 1.f - p;
  }
  SWINV2_INLINE Vec value(Vec z) {
    Vec bell;
    return z * Phi(z, bell);
  }
  SWINV2_INLINE Vec slope(Vec z) {
    Vec bell;
    const Vec phi = Phi(z, bell);
    return phi + z * bell * 0.3989422804f;  // 1 / sqrt(2 pi)
  }
};

struct Tanh {
  static constexpr float kRoot = 0.7978845608f, kCube = 0.044715f;  // sqrt(2 / pi)
  SWINV2_INLINE Vec sigmoid(Vec z) {
    const Vec u = kRoot * (z + kCube * z * z * z);
    const Vec x = u * -2.885390082f;  // -2 log2(e)
    return x > 126.f ? Vec{} : 1.f / (1.f + exp2(x));
  }
  SWINV2_INLINE Vec value(Vec z) { return z * sigmoid(z); }
  SWINV2_INLINE Vec slope(Vec z) {
    const Vec s = sigmoid(z);
    return s + 2.f * z * s * (1.f - s) * kRoot * (1.f + 3.f * kCube * z * z);
  }
};

}  // namespace SWINV2_ISA
}  // namespace swinv2
