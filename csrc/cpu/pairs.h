// SPDX-License-Identifier: Apache-2.0
//
// Pairs of bfloat16 for CPUs with AVX512_BF16: a lane holds two neighbours and one instruction adds both products, which
// are exact, to its float32 sum. It takes denormals for zeros, among the operands as among the sums.
#pragma once

#include "cpu/matmul.h"

namespace swinv2 {
namespace SWINV2_ISA {

#if defined(__AVX512BF16__)
constexpr bool kHasPairs = true;

SWINV2_INLINE Vec dot_pairs(Vec acc, Vec a, Vec b) {
  return (Vec)_mm512_dpbf16_ps((__m512)acc, (__m512bh)a, (__m512bh)b);
}
// Pairs of the 2 * kLanes neighbours (first, second), rounded to the nearest; denormals become zeros.
SWINV2_INLINE Vec round_pairs(Vec first, Vec second) {
  return (Vec)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
}
#else
constexpr bool kHasPairs = false;

SWINV2_INLINE Vec dot_pairs(Vec acc, Vec, Vec) {
  return acc;
}
SWINV2_INLINE Vec round_pairs(Vec first, Vec) {
  return first;
}
#endif

// acc (M, V * kLanes) += A (M, K) * B (K, V * kLanes), K pairs
template <int M, int V>
SWINV2_INLINE void multiply_add_pairs(Vec (&acc)[M][V], Broadcast a, const float* b, int64_t ldb, int64_t K) {
  for (int64_t k = 0; k < K; ++k) {
    Vec bk[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) bk[v] = load(b + k * ldb + v * kLanes);
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
      int32_t bits;
      std::memcpy(&bits, a.a + m * a.row + k * a.col, 4);
      const Vec am = (Vec)(bits - VecI{});
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) acc[m][v] = dot_pairs(acc[m][v], am, bk[v]);
    }
  }
}

// Rows of very small or very large elements are multiplied by a power of two, and their sums by the inverse: in two steps,
// so that nothing overflows or vanishes on the way back that does not at the end.
constexpr float kSmallest = 0x1p-40f, kLargest = 0x1p50f, kStep = 0x1p40f;

// pairs (ceil(K / 2)) = row (K) rounded to bfloat16; an odd last element is paired with zero. A row whose largest element
// is not within [kSmallest, kLargest] is multiplied by kStep^2 or its inverse first: of the product of two rows less than
// 2^-26 K of what their largest elements give, or of the smallest float32, is then flushed. Returns the inverse step.
inline float round_row(float* pairs, const float* row, int64_t K) {
  const auto round = [&](float factor) {
    Vec top{};
    for (int64_t k = 0; k < K; k += 2 * kLanes) {
      const int64_t left = K - k;
      const Vec first = load_first(row + k, left) * factor;
      const Vec second = left > kLanes ? load_first(row + k + kLanes, left - kLanes) * factor : Vec{};
      top = vmax(top, vmax(vmax(first, -first), vmax(second, -second)));
      store_first(pairs + k / 2, round_pairs(first, second), (left + 1) / 2);
    }
    return top;
  };
  const Vec top = round(1);
  if (__builtin_expect(all(top <= kLargest) && !all(top < kSmallest), 1)) return 1;
  const bool small = all(top < kSmallest);
  round(small ? kStep * kStep : 1 / kStep / kStep);
  return small ? 1 / kStep : kStep;
}

// Whether round_row would take a row (K) as it is.
inline bool in_range(const BFloat16* row, int64_t K) {
  Vec top{};
  for (int64_t k = 0; k < K; k += kLanes) {
    const Vec x = load_first(row + k, K - k);
    top = vmax(top, vmax(x, -x));
  }
  return all(top <= kLargest) && !all(top < kSmallest);
}

}  // namespace SWINV2_ISA
}  // namespace swinv2
