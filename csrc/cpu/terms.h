// SPDX-License-Identifier: Apache-2.0
//
// Float32 products by AMX, which knows bfloat16 only. A float32 is the sum of three bfloat16, its terms, eight of its
// 24 bits each; the split is exact. Of the nine products of two such sums six are taken, each exact and added up in
// float32. The three left out are together below 2^-23 of the whole and of no sign: less than what rounding every
// product to float32 would cost. An operand has a plane of pairs for each term. Which two neighbours of a sum share a
// pair is free, as long as both operands agree: here they stand 16 apart, so that vectors are paired lane by lane.
#pragma once

#include <type_traits>

#include "cpu/pairs.h"
#include "cpu/tile.h"

namespace swinv2 {
namespace SWINV2_ISA {

#if defined(__AMX_BF16__)
constexpr int kTerms = 3;
constexpr int32_t kUpperHalf = int32_t(0xffff0000);

// The bfloat16 nearest to each lane.
SWINV2_INLINE Vec leading_term(Vec x) {
  return (Vec)(((VecI)x + 0x8000) & kUpperHalf);
}
SWINV2_INLINE Vec pair_up(Vec low, Vec high) {
  return (Vec)(((VecI)low >> 16 & 0xffff) | ((VecI)high & kUpperHalf));
}

// terms[t] = pairs of the t-th terms of low and high, whose neighbours in bfloat16 are finite. What a term of a
// denormal loses is below 2^-126.
SWINV2_INLINE void split(Vec low, Vec high, Vec (&terms)[kTerms]) {
#pragma GCC unroll 2
  for (int t = 0; t < kTerms - 1; ++t) {
    const Vec a = leading_term(low), b = leading_term(high);
    terms[t] = pair_up(a, b);
    low -= a;
    high -= b;
  }
  terms[kTerms - 1] = pair_up(low, high);
}
SWINV2_INLINE void store_split(float* to, int64_t plane, Vec low, Vec high) {
  Vec terms[kTerms];
  split(low, high, terms);
#pragma GCC unroll 3
  for (int t = 0; t < kTerms; ++t) store(to + t * plane, terms[t]);
}

// ---- products of 32 rows by 32 columns ----
//
// Of 32 terms of a sum at a time an operand has [term][half][16][16]: three planes of two tiles. A tile of the left is
// 16 rows of pairs k, k + 16; of the right 16 such pairs of rows, 16 columns wide.

constexpr int64_t kSquare = 2 * kTile, kTileFloats = kTile * kTile, kTermPlane = 2 * kTileFloats,
                  kTermBlock = kTerms * kTermPlane;

// Floats of an operand with K terms a sum.
constexpr int64_t operand_floats(int64_t K) {
  return ceil_div(K, kSquare) * kTermBlock;
}
constexpr float* half_of(float* operand, int64_t half) {
  return operand + half * kTileFloats;
}

// c (32, 32) = left right. Every four products side() is called, for work that vectors do meanwhile: in small pieces,
// as what waits for tiles to be multiplied fills the core's window of instructions. kTurned, for c^T = right^T left^T,
// takes the products in the order that adds up the same bits.
template <bool kTurned, class Side>
SWINV2_INLINE void multiply_square(float* c, const float* left, const float* right, int64_t K, Side&& side) {
  const auto at = [](const float* block, int term, int half) {
    return block + term * kTermPlane + half * kTileFloats;
  };
  // Both halves of a term of the left in tiles 4 and 5, of the right in 6 and 7.
  const auto multiply = [&]() SWINV2_INLINE_LAMBDA {
    multiply_add_tile<0, 4, 6>();
    multiply_add_tile<1, 4, 7>();
    multiply_add_tile<2, 5, 6>();
    multiply_add_tile<3, 5, 7>();
    side();
  };
  const auto load_left = [&](const float* block, int term) SWINV2_INLINE_LAMBDA {
    load_tile<4>(at(block, term, 0), kTile);
    load_tile<5>(at(block, term, 1), kTile);
  };
  const auto load_right = [&](const float* block, int term) SWINV2_INLINE_LAMBDA {
    load_tile<6>(at(block, term, 0), kTile);
    load_tile<7>(at(block, term, 1), kTile);
  };
  zero_tile<0>();
  zero_tile<1>();
  zero_tile<2>();
  zero_tile<3>();
  for (int64_t k = 0; k < K; k += kSquare, left += kTermBlock, right += kTermBlock) {
    const auto load_one = [&](int term) SWINV2_INLINE_LAMBDA {
      kTurned ? load_right(right, term) : load_left(left, term);
    };
    const auto load_other = [&](int term) SWINV2_INLINE_LAMBDA {
      kTurned ? load_left(left, term) : load_right(right, term);
    };
    load_one(0);
    load_other(2);
    multiply();
    load_other(1);
    multiply();
    load_one(1);
    multiply();
    load_other(0);
    multiply();
    load_one(2);
    multiply();
    load_one(0);
    multiply();
  }
  store_tile<0>(c, kSquare);
  store_tile<1>(c + kTile, kSquare);
  store_tile<2>(c + kTile * kSquare, kSquare);
  store_tile<3>(c + kTile * kSquare + kTile, kSquare);
}

// By what sums are multiplied twice in the end, where their largest factor is beyond [kSmallest, kLargest] and all were
// multiplied twice by the inverse: less than 2^-43 K of the product of the largest factors, or of the smallest float32,
// is then flushed.
SWINV2_INLINE Vec step_of(Vec largest) {
  const Vec one = splat(1.f);
  const VecI small = (largest < kSmallest) & (largest > 0.f), large = largest > kLargest;
  return small ? splat(1 / kStep) : large ? splat(kStep) : one;
}
SWINV2_INLINE Vec magnitude(Vec x) {
  return (Vec)((VecI)x & 0x7fffffff);
}
// f(inverse step, false): the split, which returns the largest of each lane; f(.., true) where steps are called for.
// Returns the steps.
template <class F>
SWINV2_INLINE Vec with_steps(F&& f) {
  const Vec one = splat(1.f), step = step_of(f(one, std::false_type{}));
  if (__builtin_expect(!all(step == one), 0)) f(1.f / step, std::true_type{});
  return step;
}

// Elements k .. k + 15 of x (count), zero beyond its end.
SWINV2_INLINE Vec load_terms(const float* x, int64_t k, int64_t count) {
  return k < count ? load_first(x + k, count - k) : Vec{};
}

// Splits up to 32 rows (count, K) into the left operand, 32 terms at each step, and finds their steps. What is beyond
// the rows is of no consequence.
class LeftRows {
 public:
  LeftRows() = default;
  LeftRows(float* left, float* steps, const float* rows, int64_t count, int64_t K)
      : left_(left), steps_(steps), rows_(rows), count_(count), K_(K) {
    enter();
  }

  inline __attribute__((always_inline)) void step() {
    if (row_ >= count_) return;
    const Vec low = load_terms(rows_, k_, K_), high = load_terms(rows_, k_ + kTile, K_);
    largest_ = vmax(largest_, vmax(magnitude(low), magnitude(high)));
    store_split(to_, kTermPlane, low, high);
    to_ += kTermBlock;
    k_ += kSquare;
    if (k_ >= K_) leave();
  }
  void finish() {
    while (row_ < count_) step();
  }

 private:
  void enter() {
    to_ = left_ + (row_ / kTile) * kTileFloats + row_ % kTile * kTile;
    k_ = 0;
    largest_ = Vec{};
  }
  void leave() {
    steps_[row_] = 1;
    if (__builtin_expect(!all(largest_ <= kLargest) || all(largest_ < kSmallest), 0)) scale();
    rows_ += K_;
    ++row_;
    enter();
  }
  __attribute__((noinline)) void scale() {
    const float step = step_of(splat(max_lanes(largest_)))[0], by = 1 / step;
    steps_[row_] = step;
    for (enter(); k_ < K_ && step != 1; k_ += kSquare, to_ += kTermBlock)
      store_split(to_, kTermPlane, load_terms(rows_, k_, K_) * by * by,
                  load_terms(rows_, k_ + kTile, K_) * by * by);
  }

  float *left_ = nullptr, *steps_ = nullptr, *to_ = nullptr;
  const float* rows_ = nullptr;
  int64_t count_ = 0, K_ = 0, row_ = 0, k_ = 0;
  Vec largest_;
};

// The right's half `to`: column j is row j of a matrix (columns, K). steps (16)
inline void split_rows_as_columns(float* to, float* steps, const float* rows, int64_t stride, int64_t columns,
                                  int64_t K) {
  constexpr int64_t kAhead = 64;  // floats: the hardware follows fewer streams than there are rows
  store(steps, with_steps([&](Vec by, auto scaled) {
          Vec largest{};
          float* block = to;
          for (int64_t k = 0; k < K; k += kSquare, block += kTermBlock) {
            Vec low[kTile], high[kTile];
#pragma GCC unroll 16
            for (int64_t j = 0; j < kTile; ++j) {
              const float* row = rows + j * stride;
              __builtin_prefetch(row + k + kAhead);
              __builtin_prefetch(row + k + kAhead + kTile);
              low[j] = j < columns ? load_terms(row, k, K) : Vec{};
              high[j] = j < columns ? load_terms(row, k + kTile, K) : Vec{};
            }
            transpose(low);
            transpose(high);
            for (int64_t c = 0; c < kTile; ++c) {
              largest = vmax(largest, vmax(magnitude(low[c]), magnitude(high[c])));
              if (scaled) low[c] = low[c] * by * by, high[c] = high[c] * by * by;
              store_split(block + c * kTile, kTermPlane, low[c], high[c]);
            }
          }
          return largest;
        }));
}

// Columns of a matrix (K, columns) as the right's half `to`, or as rows of the left's. steps (16)
template <bool kLeft, class T>
void split_columns(float* to, float* steps, const T* matrix, int64_t stride, int64_t columns, int64_t K) {
  store(steps, with_steps([&](Vec by, auto scaled) {
          Vec largest{};
          float* block = to;
          const auto row = [&](int64_t k) {
            if (k >= K) return Vec{};
            __builtin_prefetch(matrix + (k + kSquare) * stride);
            const Vec x = load_first(matrix + k * stride, columns);
            largest = vmax(largest, magnitude(x));
            return scaled ? x * by * by : x;
          };
          for (int64_t k = 0; k < K; k += kSquare, block += kTermBlock) {
            Vec low[kTile], high[kTile];
#pragma GCC unroll 16
            for (int64_t c = 0; c < kTile; ++c) {
              low[c] = row(k + c);
              high[c] = row(k + c + kTile);
            }
            if (kLeft) {
              transpose(low);
              transpose(high);
            }
            for (int64_t c = 0; c < kTile; ++c) store_split(block + c * kTile, kTermPlane, low[c], high[c]);
          }
          return largest;
        }));
}
#endif

}  // namespace SWINV2_ISA
}  // namespace swinv2
