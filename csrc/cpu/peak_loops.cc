// SPDX-License-Identifier: Apache-2.0
#include <cstdint>

#include "cpu/simd.h"

namespace swinv2 {
namespace SWINV2_ISA {

constexpr int kChains = 12;  // more than latency times units of any CPU here, and they fit 16 registers

double peak_flops(int64_t steps) {
  return 2.0 * kChains * kLanes * double(steps);
}

// The result depends on every step, so that none is left out.
float peak_multiply_add(int64_t steps, float factor, float term) {
  const Vec f = splat(factor), t = splat(term);
  Vec sum[kChains];
  for (int c = 0; c < kChains; ++c) sum[c] = splat(float(c));
  for (int64_t i = 0; i < steps; ++i) {
#pragma GCC unroll 12
    for (int c = 0; c < kChains; ++c) sum[c] = sum[c] * f + t;
  }
  Vec total{};
  for (int c = 0; c < kChains; ++c) total += sum[c];
  return sum_lanes(total);
}

void peak_copy(float* a, const float* b, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; i += kLanes) store(a + i, load(b + i));
}

void peak_triad(float* a, const float* b, const float* c, float s, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; i += kLanes) store(a + i, load(b + i) + s * load(c + i));
}

}  // namespace SWINV2_ISA
}  // namespace swinv2
