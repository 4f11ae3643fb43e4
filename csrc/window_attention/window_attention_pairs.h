// SPDX-License-Identifier: Apache-2.0
//
// bfloat16 operands in pairs (cpu/pairs.h). q and k are multiplied as stored; their norms and the scale multiply the
// float32 scores. p is rounded to bfloat16 and divided by the sum of the rounded.
//
//   keys    (keys, d/2) pairs of channels       q^T  (d/2, kBlock) pairs of channels
//   values  (keys/2, d) pairs of keys           p^T  (keys/2, kBlock) pairs of keys
//
// With AMX both products go by tiles, through memory. Of its operands the left is rows of pairs and the right pairs of
// rows: keys, q^T and values are such as they stand, p^T is transposed.
#pragma once

#include "cpu/pairs.h"
#include "cpu/tile.h"
#include "window_attention/window_attention_cpu.h"

namespace swinv2 {
namespace SWINV2_ISA {

// Below this 1 / |x| a product of two such vectors might overflow: they are left to float32.
constexpr float kSmallestInverse = 1e-18f;

#if defined(__AVX512BF16__)
// Low and high half of each lane.
SWINV2_INLINE Vec pair_rows(const BFloat16* low, const BFloat16* high) {
  return (Vec)(((VecI)load(low) >> 16 & 0xffff) | (VecI)load(high));
}
#else
SWINV2_INLINE Vec pair_rows(const BFloat16*, const BFloat16*) {
  return Vec{};
}
#endif

// e0 and e1 >= 0 rounded to the nearest bfloat16, as a pair and added to sum.
SWINV2_INLINE Vec round_pair(Vec e0, Vec e1, Vec& sum) {
  const VecI low = ((VecI)e0 + 0x8000) & int32_t(0xffff0000),
             high = ((VecI)e1 + 0x8000) & int32_t(0xffff0000);
  sum += (Vec)low + (Vec)high;
  return (Vec)((low >> 16 & 0xffff) | high);
}

// keys = k as stored, factor = scale / |k| of each. False where one is too large.
template <class Layout>
bool load_key_pairs(const Layout& at, float* keys, float* factor, const KeyTile& tile, const BFloat16* k,
                    float scale) {
  constexpr int64_t pairs = Layout::kHeadDim / 2;
  static_assert(pairs % kLanes == 0 || !kHasPairs, "whole vectors");
  for (int64_t j0 = 0; j0 < tile.count; j0 += kLanes) {
    const BFloat16* row[kLanes];
    Vec squares[kLanes];
#pragma GCC unroll 16
    for (int64_t j = 0; j < kLanes; ++j) {
      row[j] = k + tile.token[j0 + j] * at.channels;
      squares[j] = Vec{};
      for (int64_t c = 0; c < pairs; c += kLanes) {
        const Vec x = load(reinterpret_cast<const float*>(row[j]) + c);
        squares[j] = dot_pairs(squares[j], x, x);
        store(keys + (j0 + j) * pairs + c, x);
      }
    }
    const Vec inverse = at.inverse_norms(sum_rows(squares), kLanes, [&](int64_t j) { return row[j]; });
    if (!all(inverse > kSmallestInverse)) return false;
    store(factor + j0, inverse * scale);
  }
  return true;
}

// q^T as stored and 1 / |q|; padding gives zeros. False where one is too large.
template <class Layout>
bool load_query_pairs(const Layout& at, float* columns, float* inverse, const Window& window, int64_t block,
                      const BFloat16* q) {
  alignas(64) static const float zeros[Layout::kHeadDim] = {};
  for (int v = 0; v < 2 && block * kBlock + v * kLanes < at.N; ++v) {
    const int32_t* token = window.token + block * kBlock + v * kLanes;
    const float* row[kLanes];
    for (int64_t i = 0; i < kLanes; ++i)
      row[i] = token[i] < 0 ? zeros : reinterpret_cast<const float*>(q + token[i] * at.channels);
    Vec squares{};
    for (int64_t c = 0; c < Layout::kHeadDim / 2; c += kColumns) {
      Vec y[kColumns];
      load_columns(y, row, c);
#pragma GCC unroll 8
      for (int64_t a = 0; a < kColumns; ++a) {
        squares = dot_pairs(squares, y[a], y[a]);
        store(columns + (c + a) * kBlock + v * kLanes, y[a]);
      }
    }
    const Vec inv = at.inverse_norms(squares, kLanes,
                                     [&](int64_t i) { return reinterpret_cast<const BFloat16*>(row[i]); });
    if (!all(inv > kSmallestInverse)) return false;
    store(inverse + v * kLanes, inv);
  }
  return true;
}

// values, filled up with zeros to whole pairs or tiles of keys.
template <class Layout>
void load_value_pairs(const Layout& at, float* values, const KeyTile& tile, const BFloat16* v) {
  alignas(64) static const BFloat16 zeros[Layout::kHeadDim] = {};
  for (int64_t j = 0; j < tile.count; j += 2) {
    const BFloat16 *low = v + tile.token[j] * at.channels,
                   *high = j + 1 < tile.count ? v + tile.token[j + 1] * at.channels : zeros;
    for (int64_t c = 0; c < Layout::kHeadDim; c += kLanes)
      store(values + j / 2 * Layout::kHeadDim + c, pair_rows(low + c, high + c));
  }
  const int64_t pairs = ceil_div(tile.count, 2), filled = round_up(pairs, kTile);
  for (int64_t e = pairs * Layout::kHeadDim; e < filled * Layout::kHeadDim; e += kLanes)
    store(values + e, Vec{});
}

// s^T (keys, kBlock), V vectors of it, = keys q^T by tiles; the rows up to a whole tile are overwritten.
template <int V, class Layout>
void multiply_keys(const Layout&, float* s, const float* keys, const float* q, int64_t count) {
  constexpr int64_t pairs = Layout::kHeadDim / 2;
  multiply_tiles<V>(s, kBlock, round_up(count, kTile), keys, pairs, q, kBlock, pairs);
}

// o (V * kLanes, d) = p v by tiles, in place of p^T.
template <int V, class Layout>
void multiply_values(const Layout& at, float* p, const float* values, int64_t count) {
  constexpr int64_t kPairs = kTileKeys / 2;
  alignas(64) float rows[V * kLanes * kPairs];  // p (queries, keys/2)
  const int64_t pairs = ceil_div(count, 2), padded = round_up(pairs, kTile);
  turn_rows<V>(rows, kPairs, p, kBlock, pairs);
  multiply_tiles<2>(p, at.d(), V * kLanes, rows, kPairs, values, at.d(), padded);
}

}  // namespace SWINV2_ISA
}  // namespace swinv2
