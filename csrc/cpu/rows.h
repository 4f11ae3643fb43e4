// SPDX-License-Identifier: Apache-2.0
//
// Work over the rows of a (rows, C) array, and sums over its rows in an order that the shape alone decides.
#pragma once

#include <cstdlib>
#include <new>

#include "cpu/parallel.h"
#include "cpu/simd.h"

namespace swinv2 {
namespace SWINV2_ISA {

// A whole vector: an `n` of load_first and store_first that the compiler knows.
struct Whole {
  constexpr operator int64_t() const { return kLanes; }
};

// v with zeros in the lanes from n on.
SWINV2_INLINE Vec keep_first(Vec v, int64_t n) {
  if (n >= kLanes) return v;
  alignas(64) float lanes[kLanes];
  store(lanes, v);
  return load_some(lanes, n);
}

// body(c, n) for the vectors of C channels: n is Whole{} but for the last.
template <class F>
SWINV2_INLINE void over_channels(int64_t C, F&& body) {
  int64_t c = 0;
  for (; c + kLanes <= C; c += kLanes) body(c, Whole{});
  if (c < C) body(c, C - c);
}

// Asks for what a row-by-row pass reads, or with `write` writes, 2 KB beyond p[c]; p may be null.
template <bool write = false, class T>
SWINV2_INLINE void fetch_ahead(const T* p, int64_t c) {
  __builtin_prefetch(reinterpret_cast<const char*>(reinterpret_cast<uintptr_t>(p) + c * sizeof(T) + 2048),
                     write);
}

// body(begin, end) over the rows in pieces of some 32 KB.
template <class F>
SWINV2_INLINE void parallel_rows(int64_t rows, int64_t C, F&& body) {
  parallel_for(rows, (int64_t{1} << 13) / C + 1, body);
}

// Floats on cache lines of their own, undefined at first.
class Floats {
 public:
  explicit Floats(int64_t count)
      : data_(static_cast<float*>(std::aligned_alloc(64, round_up(count, 16) * sizeof(float)))) {
    if (!data_) throw std::bad_alloc();
  }
  ~Floats() { std::free(data_); }
  Floats(const Floats&) = delete;
  Floats& operator=(const Floats&) = delete;
  float* operator+(int64_t i) const { return data_ + i; }

 private:
  float* data_;
};

// Chunks of rows with partial sums of their own: at least 32 rows, to outweigh the partials, and at most 64 chunks.
struct RowChunks {
  int64_t rows, per_chunk, count;
  explicit RowChunks(int64_t rows) : rows(rows) {
    per_chunk = round_up(ceil_div(rows, 64), 32);
    count = ceil_div(rows, per_chunk);
  }
  int64_t begin(int64_t chunk) const { return chunk * per_chunk; }
  int64_t end(int64_t chunk) const {
    return begin(chunk) + per_chunk < rows ? begin(chunk) + per_chunk : rows;
  }
};

// out (C) = the sum over `count` partials that lie `stride` floats apart.
inline void sum_partials(float* out, const float* partials, int64_t count, int64_t stride, int64_t C) {
  over_channels(C, [&](int64_t c, auto n) {
    Vec sum = load(partials + c);
    for (int64_t i = 1; i < count; ++i) sum += load(partials + i * stride + c);
    store_first(out + c, sum, n);
  });
}

}  // namespace SWINV2_ISA
}  // namespace swinv2
