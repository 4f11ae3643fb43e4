// SPDX-License-Identifier: Apache-2.0
//
// Pairs of bfloat16 for CPUs with AVX512_BF16: a lane holds two neighbours and one instruction adds both products,
// which are exact, to its float32 sum. It takes denormals for zeros, among the operands as among the sums.
#pragma once

#include "cpu/matmul.h"

namespace swinv2 {
namespace SWINV2_ISA {

// Rows of very small or very large elements are multiplied by a power of two, and their sums by the inverse: in two
// steps, so that nothing overflows or vanishes on the way back that does not at the end.
constexpr float kSmallest = 0x1p-40f, kLargest = 0x1p50f, kStep = 0x1p40f;
constexpr int16_t kSmallestBits = (127 - 40) << 7, kLargestBits = (127 + 50) << 7;  // as bfloat16

#if defined(__AVX512BF16__)
constexpr bool kHasPairs = true;

SWINV2_INLINE Vec dot_pairs(Vec acc, Vec a, Vec b) {
  return (Vec)_mm512_dpbf16_ps((__m512)acc, (__m512bh)a, (__m512bh)b);
}
// Pairs of the 2 * kLanes neighbours (first, second), rounded to the nearest; denormals become zeros.
SWINV2_INLINE Vec round_pairs(Vec first, Vec second) {
  return (Vec)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
}
// A pair a lane: a row's and the next one's.
SWINV2_INLINE Vec round_two_rows(Vec row, Vec next) {
  typedef int16_t Words __attribute__((vector_size(64)));
  const Words order = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                       8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
  return (Vec)_mm512_permutexvar_epi16((__m512i)order, (__m512i)round_pairs(row, next));
}
// The larger magnitude in each half of a lane.
SWINV2_INLINE VecI larger_pairs(VecI top, Vec pairs) {
  return (VecI)_mm512_max_epu16((__m512i)top, (__m512i)((VecI)pairs & 0x7fff7fff));
}
// Whether the largest of such magnitudes is within [kSmallest, kLargest].
SWINV2_INLINE bool usual_pairs(VecI top) {
  const __m512i low = _mm512_set1_epi16(kSmallestBits), high = _mm512_set1_epi16(kLargestBits);
  return _mm512_cmpge_epu16_mask((__m512i)top, low) && !_mm512_cmpgt_epu16_mask((__m512i)top, high);
}
#else
constexpr bool kHasPairs = false;

SWINV2_INLINE Vec dot_pairs(Vec acc, Vec, Vec) {
  return acc;
}
SWINV2_INLINE Vec round_pairs(Vec first, Vec) {
  return first;
}
SWINV2_INLINE Vec round_two_rows(Vec row, Vec) {
  return row;
}
SWINV2_INLINE VecI larger_pairs(VecI top, Vec) {
  return top;
}
SWINV2_INLINE bool usual_pairs(VecI) {
  return true;
}
#endif

// For multiply_add, K of which then counts pairs.
struct Pairs {
  static constexpr bool kPairs = true;
  SWINV2_INLINE Vec broadcast(const float* a) {  // its bits: a pair need not be a number
    int32_t bits;
    std::memcpy(&bits, a, 4);
    return (Vec)(bits - VecI{});
  }
  SWINV2_INLINE Vec add(Vec sum, Vec a, Vec b) { return dot_pairs(sum, a, b); }
};

// pairs (ceil(K / 2)) = row (K) * factor, rounded to bfloat16; an odd last element is paired with zero. Returns
// whether the largest of the rounded is within [kSmallest, kLargest].
template <bool kScaled>
SWINV2_INLINE bool round_scaled(float* pairs, const float* row, int64_t K, float factor) {
  VecI top{};
  const auto scaled = [&](Vec v) { return kScaled ? v * factor : v; };
  for (int64_t k = 0; k < K; k += 2 * kLanes) {
    const int64_t left = K - k;
    const Vec first = scaled(load_first(row + k, left));
    const Vec second = left > kLanes ? scaled(load_first(row + k + kLanes, left - kLanes)) : Vec{};
    const Vec both = round_pairs(first, second);
    top = larger_pairs(top, both);
    store_first(pairs + k / 2, both, (left + 1) / 2);
  }
  return usual_pairs(top);
}

// pairs = row rounded. A row whose largest element is not within [kSmallest, kLargest] is multiplied by kStep^2 or its
// inverse first: of the product of two rows less than 2^-26 K of what their largest elements give, or of the smallest
// float32, is then flushed. Returns the inverse step, or 1.
inline float round_row(float* pairs, const float* row, int64_t K) {
  if (__builtin_expect(round_scaled<false>(pairs, row, K, 1), 1)) return 1;
  float largest = 0;  // the rounded know no denormals
  for (int64_t k = 0; k < K; ++k)
    if (__builtin_fabsf(row[k]) > largest) largest = __builtin_fabsf(row[k]);
  if (largest == 0) return 1;
  round_scaled<true>(pairs, row, K, largest < kSmallest ? kStep * kStep : 1 / kStep / kStep);
  return largest < kSmallest ? 1 / kStep : kStep;
}

// panel (ceil(rows / 2), V * kLanes) = pairs of rows of a matrix, rounded, columns treated as round_row treats rows;
// zero beyond the last row and column. steps (V * kLanes)
template <int V, class T>
void pack_pairs(float* panel, float* steps, const T* from, int64_t stride, int64_t rows, int64_t columns) {
  for (int v = 0; v < V; ++v) {
    const int64_t left = columns - v * kLanes;
    const auto row = [&](int64_t r) {
      return r < rows && left > 0 ? load_first(from + r * stride + v * kLanes, left) : Vec{};
    };
    const auto round = [&](Vec factor) {
      VecI top{};
      for (int64_t r = 0; r < rows; r += 2) {
        const Vec both = round_two_rows(row(r) * factor, row(r + 1) * factor);
        top = larger_pairs(top, both);
        store(panel + r / 2 * (V * kLanes) + v * kLanes, both);
      }
      const VecI low = top & 0xffff, high = top >> 16, larger = low > high ? low : high;
      return all((larger >= kSmallestBits) & (larger <= kLargestBits));
    };
    const Vec one = splat(1.f);
    Vec step = one;
    if (__builtin_expect(!round(one), 0)) {
      Vec largest{};
      for (int64_t r = 0; r < rows; ++r) largest = vmax(largest, vmax(row(r), -row(r)));
      const VecI small = (largest < kSmallest) & (largest > 0.f), large = largest > kLargest;
      round(small ? splat(kStep * kStep) : large ? splat(1 / kStep / kStep) : one);
      step = small ? splat(1 / kStep) : large ? splat(kStep) : one;
    }
    store(steps + v * kLanes, step);
  }
}

// Whether round_row takes a row of pairs as it is.
inline bool usual_row(const float* row, int64_t pairs) {
  VecI top{};
  for (int64_t k = 0; k < pairs; k += kLanes) top = larger_pairs(top, load_first(row + k, pairs - k));
  return usual_pairs(top);
}

}  // namespace SWINV2_ISA
}  // namespace swinv2
