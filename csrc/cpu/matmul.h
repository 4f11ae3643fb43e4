// SPDX-License-Identifier: Apache-2.0
//
// Small matrix products for operands in L1: C (+)= A B with rows of B and C in lanes and A broadcast element
// by element, so that A may be read transposed at no cost.
#pragma once

#include "cpu/simd.h"

namespace swinv2 {
namespace SWINV2_ISA {

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kRowBlock = 8;  // 8 x 2 accumulators of the 32 registers
#else
constexpr int kRowBlock = 4;  // 4 x 2 of 16
#endif

// A(m, k) = a[m * row + k * col]
struct Broadcast {
  const float* a;
  int64_t row, col;
};

template <int M, int V>
SWINV2_INLINE void clear(Vec (&acc)[M][V]) {
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) acc[m][v] = Vec{};
}

template <int M, int V>
SWINV2_INLINE void load_rows(Vec (&rows)[M][V], const float* p, int64_t stride) {
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) rows[m][v] = load(p + m * stride + v * kLanes);
}

// What a lane of A and B holds, and what two of them add to a sum: here a float32 and the product. cpu/pairs.h has
// another.
struct Singles {
  static constexpr bool kPairs = false;
  SWINV2_INLINE Vec broadcast(const float* a) { return splat(*a); }
  SWINV2_INLINE Vec add(Vec sum, Vec a, Vec b) { return sum + a * b; }
};

// acc (M, V * kLanes) += A (M, K) * B (K, V * kLanes)
template <int M, int V, class P = Singles>
SWINV2_INLINE void multiply_add(Vec (&acc)[M][V], Broadcast a, const float* b, int64_t ldb, int64_t K) {
  for (int64_t k = 0; k < K; ++k) {
    Vec bk[V];
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) bk[v] = load(b + k * ldb + v * kLanes);
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m) {
      const Vec am = P::broadcast(a.a + m * a.row + k * a.col);
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) acc[m][v] = P::add(acc[m][v], am, bk[v]);
    }
  }
}

// Calls f(Rows<M>) with the compile-time value of m in 1..kRowBlock.
template <int M>
struct Rows {
  static constexpr int value = M;
};
template <class F>
SWINV2_INLINE void with_rows(int64_t m, F&& f) {
  switch (m) {
    case 1:
      return f(Rows<1>{});
    case 2:
      return f(Rows<2>{});
    case 3:
      return f(Rows<3>{});
    case 4:
      return f(Rows<4>{});
#if defined(__AVX512F__) || defined(__aarch64__)
    case 5:
      return f(Rows<5>{});
    case 6:
      return f(Rows<6>{});
    case 7:
      return f(Rows<7>{});
    case 8:
      return f(Rows<8>{});
#endif
    default:
      __builtin_unreachable();
  }
}

// C (M, V * kLanes) = A (M, K) * B (K, V * kLanes), or += it. The product is summed from zero and added once, so that a
// long sum over tiles rounds like a short one.
template <int M, int V>
SWINV2_INLINE void product(float* c, int64_t ldc, bool add, Broadcast a, const float* b, int64_t ldb,
                           int64_t K) {
  Vec acc[M][V];
  clear(acc);
  multiply_add<M, V>(acc, a, b, ldb, K);
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) {
      float* p = c + m * ldc + v * kLanes;
      store(p, add ? acc[m][v] + load(p) : acc[m][v]);
    }
}

}  // namespace SWINV2_ISA
}  // namespace swinv2
