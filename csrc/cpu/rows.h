// SPDX-License-Identifier: Apache-2.0
//
// Work over the rows of a (rows, C) array, and sums over its rows in an order that the shape alone decides.
#pragma once

#include "cpu/parallel.h"
#include "cpu/simd.h"

namespace swinv2 {
namespace SWINV2_ISA {

// body(begin, end) over the rows in pieces of some 64 KB.
template <class F>
SWINV2_INLINE void parallel_rows(int64_t rows, int64_t C, F&& body) {
  const int64_t grain = (int64_t{1} << 14) / C;
  parallel_for(rows, grain < 1 ? 1 : grain, body);
}

struct RowChunks {
  int64_t rows, per_chunk, count;
  explicit RowChunks(int64_t rows) : rows(rows) {
    const int64_t wanted = rows < 64 ? rows : 64;
    per_chunk = ceil_div(rows, wanted);
    count = ceil_div(rows, per_chunk);
  }
  int64_t begin(int64_t chunk) const { return chunk * per_chunk; }
  int64_t end(int64_t chunk) const {
    return begin(chunk) + per_chunk < rows ? begin(chunk) + per_chunk : rows;
  }
};

// out (C) = the sum over `count` partials that lie `stride` floats apart.
static void sum_partials(float* out, const float* partials, int64_t count, int64_t stride, int64_t C) {
  for (int64_t c = 0; c < C; ++c) {
    double sum = 0;
    for (int64_t i = 0; i < count; ++i) sum += partials[i * stride + c];
    out[c] = float(sum);
  }
}

}  // namespace SWINV2_ISA
}  // namespace swinv2
