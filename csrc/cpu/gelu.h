// SPDX-License-Identifier: Apache-2.0
//
// GELU and its slope, exact and tanh (bias_gelu/bias_gelu.h has the formulas).
#pragma once

#include "cpu/simd.h"

namespace swinv2 {
namespace SWINV2_ISA {

struct Exact {
  // Phi(a) = bell N(a) / D(a), a = -|z|, bell = exp(-z^2/2). N/D fits Phi(a) exp(a^2/2) to 6e-8 (1 + |a|^3/10) relative
  // error, about that of the exponential, so that the tail keeps its digits where 1 + erf cancels. Below -13.2 exp2
  // makes bell 0, so N and D stop at -14.
  struct Tail {
    Vec a, bell, phi;
  };
  SWINV2_INLINE Tail tail(Vec z) {
    const Vec a = vmax((Vec)((VecI)z | INT32_MIN), splat(-14.f));
    const Vec bell = exp2(z * z * -0.72134752f);  // log2(e) / 2
    Vec n = splat(-1.390446633e-2f), d = splat(3.486861736e-2f);
    n = n * a + splat(1.058901576e-1f);
    n = n * a + splat(-3.376132966e-1f);
    n = n * a + splat(4.999999746e-1f);
    d = d * a + splat(-2.649610769e-1f);
    d = d * a + splat(8.871821335e-1f);
    d = d * a + splat(-1.473107986f);
    d = d * a + splat(1.f);
    return {a, bell, n * bell / d};
  }
  SWINV2_INLINE Vec value(Vec z) {
    const Tail t = tail(z);
    return vmax(z, Vec{}) + t.a * t.phi;
  }
  SWINV2_INLINE Vec slope(Vec z) {
    const Tail t = tail(z);
    return (z < 0.f ? t.phi : 1.f - t.phi) + z * t.bell * 0.3989422804f;  // 1 / sqrt(2 pi)
  }
};

struct Tanh {
  static constexpr float kRoot = 0.7978845608f, kCube = 0.044715f;  // sqrt(2 / pi)
  static constexpr float kFirst = -2.885390082f * kRoot;            // -2 log2(e) sqrt(2 / pi)
  SWINV2_INLINE Vec sigmoid(Vec z) {
    const Vec x = z * (z * z * (kFirst * kCube) + kFirst);  // e^-2u = 2^x
    return x > 126.f ? Vec{} : 1.f / (1.f + exp2(x));
  }
  SWINV2_INLINE Vec value(Vec z) { return z * sigmoid(z); }
  SWINV2_INLINE Vec slope(Vec z) {
    z = -vmax(splat(-16.f), -vmax(splat(-16.f), z));  // beyond it is 0 or 1, and z^2 might be Inf; NaN stays
    const Vec s = sigmoid(z);
    return s + 2.f * z * s * (1.f - s) * kRoot * (1.f + 3.f * kCube * z * z);
  }
};

}  // namespace SWINV2_ISA
}  // namespace swinv2
