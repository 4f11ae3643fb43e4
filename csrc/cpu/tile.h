// SPDX-License-Identifier: Apache-2.0
//
// Products of bfloat16 matrices by AMX: tiles of 16 rows of 16 lanes, where a lane of an operand is a pair. Assembly,
// as GCC's intrinsics do not say what memory they read and write, and take no template's constant.
#pragma once

#include "cpu/simd.h"

namespace swinv2 {
namespace SWINV2_ISA {

// Tiles of this thread; of no use but to Tiles<true> where there is AMX.
template <bool kEver>
struct Tiles {
  explicit Tiles(bool) {}
};

// to (V * kLanes, rows) = from (rows, V * kLanes) transposed, with zeros up to a whole vector of rows.
template <int V>
SWINV2_INLINE void turn_rows(float* to, int64_t ldt, const float* from, int64_t ldf, int64_t rows) {
  for (int v = 0; v < V; ++v)
    for (int64_t r = 0; r < rows; r += kLanes) {
      Vec x[kLanes];
      for (int64_t i = 0; i < kLanes; ++i)
        x[i] = r + i < rows ? load(from + (r + i) * ldf + v * kLanes) : Vec{};
      transpose(x);
      for (int64_t i = 0; i < kLanes; ++i) store(to + (v * kLanes + i) * ldt + r, x[i]);
    }
}

#if defined(__AMX_BF16__)
constexpr bool kHasTiles = true;
constexpr int64_t kTile = 16;  // rows, and lanes of a row
static_assert(kTile == kLanes, "vectors are transposed into tiles");

// As LDTILECFG reads it.
struct alignas(64) TileConfig {
  uint8_t palette, start_row, reserved[14];
  uint16_t row_bytes[16];
  uint8_t rows[16];
};
static_assert(sizeof(TileConfig) == 64, "the instruction's format");

SWINV2_INLINE void load_config(const TileConfig& config) {
  asm volatile("ldtilecfg %0" : : "m"(config));
}
SWINV2_INLINE void store_config(TileConfig& config) {
  asm volatile("sttilecfg %0" : "=m"(config));
}
SWINV2_INLINE void release_tiles() {
  asm volatile("tilerelease");
}
template <int C>
SWINV2_INLINE void zero_tile() {
  asm volatile("tilezero %%tmm%c0" : : "i"(C));
}
template <int C>
SWINV2_INLINE void load_tile(const float* p, int64_t stride) {
  asm volatile("tileloadd (%1,%2,1), %%tmm%c0" : : "i"(C), "r"(p), "r"(stride * 4) : "memory");
}
template <int C>
SWINV2_INLINE void store_tile(float* p, int64_t stride) {
  asm volatile("tilestored %%tmm%c0, (%1,%2,1)" : : "i"(C), "r"(p), "r"(stride * 4) : "memory");
}
template <int C, int A, int B>
SWINV2_INLINE void multiply_add_tile() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(C), "i"(A), "i"(B));
}

// Eight whole tiles while it lives. Any library that runs between two of these may load another configuration or
// release ours, and a caller may count on its own. So ours is loaded each time, what was there is put back, and where
// nothing was the tiles are released, which spares context switches their 8 KB.
template <>
class Tiles<true> {
 public:
  explicit Tiles(bool used) : used_(used) {
    static const TileConfig whole = {
        1, 0, {}, {64, 64, 64, 64, 64, 64, 64, 64}, {16, 16, 16, 16, 16, 16, 16, 16}};
    if (!used_) return;
    store_config(before_);
    load_config(whole);
  }
  ~Tiles() {
    if (!used_) return;
    if (before_.palette)
      load_config(before_);
    else
      release_tiles();
  }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;

 private:
  bool used_;
  TileConfig before_;
};

// C (rows, V * kTile) = A (rows, K) * B (K, V * kTile): A and B pairs of bfloat16, C float32; rows and K whole tiles.
// Asks on the way for what is read next: `lines` of 16 floats for every 16 terms.
template <int V>
SWINV2_INLINE void multiply_tiles(float* c, int64_t ldc, int64_t rows, const float* a, int64_t lda,
                                  const float* b, int64_t ldb, int64_t K, const float* next = nullptr,
                                  int64_t lines = 0) {
  static_assert(V <= 3, "sums in tiles 0 to 2, a in 3, b in 4 to 6");
  for (int64_t m = 0; m < rows; m += kTile) {
    zero_tile<0>();
    if (V > 1) zero_tile<1>();
    if (V > 2) zero_tile<2>();
    for (int64_t k = 0; k < K; k += kTile) {
      for (int64_t i = 0; i < lines; ++i, next += 16) __builtin_prefetch(next, 0, 2);  // into L2
      load_tile<3>(a + m * lda + k, lda);
      load_tile<4>(b + k * ldb, ldb);
      multiply_add_tile<0, 3, 4>();
      if (V > 1) {
        load_tile<5>(b + k * ldb + kTile, ldb);
        multiply_add_tile<1, 3, 5>();
      }
      if (V > 2) {
        load_tile<6>(b + k * ldb + 2 * kTile, ldb);
        multiply_add_tile<2, 3, 6>();
      }
    }
    store_tile<0>(c + m * ldc, ldc);
    if (V > 1) store_tile<1>(c + m * ldc + kTile, ldc);
    if (V > 2) store_tile<2>(c + m * ldc + 2 * kTile, ldc);
  }
}
#else
constexpr bool kHasTiles = false;
constexpr int64_t kTile = 1;

template <int V>
SWINV2_INLINE void multiply_tiles(float*, int64_t, int64_t, const float*, int64_t, const float*, int64_t,
                                  int64_t, const float* = nullptr, int64_t = 0) {}
#endif

}  // namespace SWINV2_ISA
}  // namespace swinv2
