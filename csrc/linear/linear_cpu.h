// SPDX-License-Identifier: Apache-2.0
//
// What forward and gradients share: the right operand lies in panels of kPanel vectors of columns that stay in L2
// while rows of the left one go by, kRows at a time. A tile of kRows x kPanel vectors is summed over all terms in
// registers, so that the order of a sum depends on nothing else.
#pragma once

#include "cpu/gelu.h"
#include "cpu/rows.h"
#include "linear/linear_operands.h"

namespace swinv2 {
namespace SWINV2_ISA {

constexpr int kPanel = 3;
constexpr int64_t kWidth = kPanel * kLanes;
constexpr int64_t kPanelFloats = 96 << 10;  // 384 KB of panels a thread

// Where share `i` of `count` begins, of `size` elements in whole blocks; `size` for those after the last. Shares differ
// by a block at most.
inline int64_t share_of(int64_t i, int64_t count, int64_t size, int64_t block) {
  const int64_t first = ceil_div(size, block) * i / count * block;
  return first < size ? first : size;
}

// A product (rows, terms) times (terms, columns) in units, chunks of rows by chunks of columns: a few for each thread.
struct ProductUnits {
  int64_t rows, columns, row_block, row_chunks, column_chunks;

  ProductUnits(int64_t rows_, int64_t terms, int64_t columns_, int64_t row_block_)
      : rows(rows_), columns(columns_), row_block(row_block_) {
    const int64_t threads = num_threads(), target = 4 * threads, panels = ceil_div(columns, kWidth);
    int64_t fit = kPanelFloats / (terms * kWidth);
    if (fit < 1) fit = 1;
    column_chunks = ceil_div(panels, fit);
    row_chunks = ceil_div(rows, 1024);
    // Columns first: panels are packed once for each chunk of rows.
    if (row_chunks * column_chunks < target) {
      const int64_t wanted = ceil_div(target, row_chunks);
      column_chunks = wanted < panels ? wanted : panels;
    }
    if (row_chunks * column_chunks < target) {
      const int64_t wanted = ceil_div(target, column_chunks), most = ceil_div(rows, 128);
      row_chunks = wanted < most ? wanted : most;
    }
    // As many for each thread, if a few more chunks of columns make it so.
    for (int64_t n = column_chunks; n <= panels && row_chunks * n <= 2 * target; ++n)
      if (row_chunks * n % threads == 0) {
        column_chunks = n;
        break;
      }
  }

  int64_t count() const { return row_chunks * column_chunks; }
  int64_t first_row(int64_t chunk) const { return share_of(chunk, row_chunks, rows, row_block); }
  int64_t first_column(int64_t chunk) const { return share_of(chunk, column_chunks, columns, kWidth); }
  int64_t most_columns() const { return ceil_div(ceil_div(columns, kWidth), column_chunks) * kWidth; }
};

// The sums of a tile (rows, width) whose rows and columns have steps.
inline void bring_back(float* tile, int64_t rows, int64_t vectors, const float* row_steps,
                       const float* column_steps, int64_t width = kWidth) {
  for (int64_t m = 0; m < rows; ++m)
    for (int64_t v = 0; v < vectors; ++v) {
      float* p = tile + m * width + v * kLanes;
      const Vec step = load(column_steps + v * kLanes) * row_steps[m];
      store(p, load(p) * step * step);
    }
}

// The vectors that `columns` fill of a panel.
inline int64_t vectors_of(int64_t columns) {
  return columns > 2 * kLanes ? 3 : columns > kLanes ? 2 : 1;
}

// Calls f(Rows<V>) for them.
template <class F>
SWINV2_INLINE void with_panel(int64_t columns, F&& f) {
  switch (vectors_of(columns)) {
    case 1:
      return f(Rows<1>{});
    case 2:
      return f(Rows<2>{});
    default:
      return f(Rows<3>{});
  }
}

// tile (M, V * kLanes) = a (M, K) times panel (K, V * kLanes), summed in registers, asking on the way for what is read
// next: `lines` of 16 floats for every 16 terms.
template <class P, int M, int V>
SWINV2_INLINE void multiply_block(float* tile, Broadcast a, const float* panel, int64_t K, const float* next,
                                  int64_t lines) {
  Vec acc[M][V] = {};
  const auto add = [&](int64_t k, int64_t terms) {
    multiply_add<M, V, P>(acc, {a.a + k * a.col, a.row, a.col}, panel + k * V * kLanes, V * kLanes, terms);
  };
  int64_t k = 0;
  for (; k + 16 <= K; k += 16) {
    for (int64_t i = 0; i < lines; ++i, next += 16) __builtin_prefetch(next, 0, 2);  // into L2
    for (int64_t i = 0; i < 16; i += 2) add(k + i, 2);  // a loop's own instructions delay the products
  }
  add(k, K - k);
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) store(tile + m * kWidth + v * kLanes, acc[m][v]);
}

// `rows` rows of a, kRows or less. Tiles read kRows of them, and whatever the last hold is theirs alone. `a` by
// reference: reading a copy that has just been written in parts can wait for all stores before it, among them those
// of results.
template <class P>
void multiply(float* tile, int64_t rows, int64_t vectors, const Broadcast& a, const float* panel, int64_t K,
              const float* next = nullptr, int64_t lines = 0) {
  with_panel(vectors * kLanes, [&](auto columns) {
    constexpr int V = decltype(columns)::value;
    if (by_tiles<P>(K))
      return multiply_tiles<V>(tile, kWidth, kTile, a.a, a.row, panel, V * kLanes, K, next, lines);
    for (int64_t m = 0; m < rows; m += kRowBlock)
      with_rows(rows - m < kRowBlock ? rows - m : kRowBlock, [&](auto block) {
        multiply_block<P, decltype(block)::value, V>(tile + m * kWidth, {a.a + m * a.row, a.row, a.col},
                                                     panel, K, next, lines);
      });
  });
}

// What a thread has for a unit: operands in the making, and steps (see round_row) where the products are of pairs.
template <class P>
struct Desk {
  float *packed, *spare;  // (kRows, terms), (kWidth, terms)
  float row_steps[kRows<P>];
  float* column_steps;  // one a column of the unit
};

// (rows, terms) times (terms, columns), both loaded by the caller:
//   pack_panel(desk, panel, V, c, steps)   the panel of V vectors from column c on, and its steps
//   fetch(desk, row, count)                -> (count, terms), the desk being room for it; and its steps
//   put(row, count, c, tile, left)         takes a tile (count, kWidth) of the result, its first `left` columns
template <class P, class Pack, class Fetch, class Put>
SWINV2_INLINE void rows_times_panels(int64_t rows, int64_t terms, int64_t columns, Pack&& pack_panel,
                                     Fetch&& fetch, Put&& put) {
  const ProductUnits units(rows, terms, columns, kRows<P>);
  const int64_t most = units.most_columns();
  parallel_for(units.count(), 1, [&](int64_t unit, int64_t) {
    const Tiles<kTiled<P>> tiles(true);
    const int64_t row_chunk = unit / units.column_chunks, column_chunk = unit % units.column_chunks;
    const int64_t c0 = units.first_column(column_chunk), c1 = units.first_column(column_chunk + 1);
    const int64_t row0 = units.first_row(row_chunk), row1 = units.first_row(row_chunk + 1);

    const int64_t spare = kWidth * terms + (P::kPairs ? most : 0);
    float* panels = static_cast<float*>(thread_scratch(((most + kRows<P>)*terms + spare) * sizeof(float)));
    Desk<P> desk;
    desk.packed = panels + most * terms;
    desk.spare = desk.packed + kRows<P> * terms;
    desk.column_steps = desk.spare + kWidth * terms;
    for (int64_t c = 0; P::kPairs && c < most; ++c) desk.column_steps[c] = 1;
    for (int64_t c = c0; c < c1; c += kWidth)
      with_panel(c1 - c, [&](auto v) {
        pack_panel(desk, panels + (c - c0) * terms, v, c, desk.column_steps + c - c0);
      });
    const bool columns_stepped = P::kPairs && any_step(desk.column_steps, c1 - c0);

    for (int64_t row = row0; row < row1; row += kRows<P>) {
      const int64_t count = row1 - row < kRows<P> ? row1 - row : kRows<P>;
      const float* a = fetch(desk, row, count);
      const int64_t lines = a == desk.packed ? 0 : ceil_div(kRows<P> * kWidth, c1 - c0);
      const float* next = a + kRows<P> * terms;
      const bool stepped = P::kPairs && (columns_stepped || any_step(desk.row_steps, count));
      for (int64_t c = c0; c < c1; c += kWidth) {
        const int64_t vectors = vectors_of(c1 - c);
        alignas(64) float tile[kRows<P> * kWidth];
        multiply<P>(tile, count, vectors, Broadcast{a, terms, 1}, panels + (c - c0) * terms, terms, next,
                    lines);
        if (stepped) bring_back(tile, count, vectors, desk.row_steps, desk.column_steps + c - c0);
        next += lines * terms;
        put(row, count, c, tile, c1 - c);
      }
    }
  });
}

// Asks for the tile below this one of a matrix (rows, N), which is written next.
template <class T>
SWINV2_INLINE void expect_below(T* tile, int64_t N, int64_t count, int64_t width = kWidth) {
  constexpr int64_t kLine = 64 / sizeof(T);
  for (int64_t m = count; m < 2 * count; ++m)
    for (int64_t c = 0; c < width; c += kLine) __builtin_prefetch(tile + m * N + c, 1);
}

// ---- of gradients ----

constexpr int64_t kSumRows = 128;  // rows of a and do that are packed at a time

// dout as an operand: rows of op.out channels.
inline Linear rows_of_dout(const Linear& op) {
  Linear of_dout = op;
  of_dout.in = op.out;
  of_dout.view = {1, op.rows, 0, 0, op.out, 1, op.out, 1, 0, 0};
  return of_dout;
}

// dweight (outputs, columns) += tile (outputs, width).
inline void add_tile(float* dweight, int64_t K, const float* tile, int64_t outputs, int64_t columns,
                     int64_t width = kWidth) {
  for (int64_t m = 0; m < outputs; ++m)
    for (int64_t c = 0; c < columns; c += kLanes) {
      float* p = dweight + m * K + c;
      store_first(p, load_first(p, columns - c) + load(tile + m * width + c), columns - c);
    }
}

// sums (count) += rows of x, `stride` apart.
template <class T>
void add_rows(float* sums, const T* x, int64_t stride, int64_t rows, int64_t count) {
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t n = 0; n < count; n += kLanes) {
      const Vec v = load_first(x + r * stride + n, count - n);
      store_first(sums + n, load_first(sums + n, count - n) + v, count - n);
    }
}

// ---- of the forward ----

struct Identity {
  SWINV2_INLINE Vec value(Vec z) { return z; }
};

// Calls f with a value of x's type, and one of G = g, for an output in S.
template <class S, class F>
SWINV2_INLINE void with_input(const Linear& op, F&& f) {
  const auto with_gelu = [&](auto x) {
    switch (op.gelu) {
      case Gelu::kNone:
        return f(x, Identity{});
      case Gelu::kExact:
        return f(x, Exact{});
      case Gelu::kTanh:
        return f(x, Tanh{});
    }
  };
  op.x_dtype == op.dtype ? with_gelu(S{}) : with_gelu(float{});
}

// out (count, N) from column n on = g(tile + bias), V vectors a row; `left`: see over_channels.
template <class G, int V, class T, class Left>
SWINV2_INLINE void put_outputs(T* out, int64_t N, const float* bias, int64_t n, const float* tile,
                               int64_t stride, int64_t count, Left left) {
  Vec b[V];
  for (int v = 0; v < V; ++v) b[v] = load_first(bias + n + v * kLanes, left);
  for (int64_t m = 0; m < count; ++m)
    for (int v = 0; v < V; ++v)
      store_first(out + m * N + n + v * kLanes, G::value(load(tile + m * stride + v * kLanes) + b[v]), left);
}

// put_outputs from a tile^T (outputs, rows), `stride` floats from output to output.
template <class G, class T>
void put_turned(T* out, int64_t N, const float* bias, int64_t n, const float* tile, int64_t stride,
                int64_t outputs, int64_t rows) {
  for (int64_t r = 0; r < rows; r += kLanes)
    for (int64_t m = 0; m < outputs; m += kLanes) {
      Vec block[kLanes];
      for (int64_t i = 0; i < kLanes; ++i) block[i] = load(tile + (m + i) * stride + r);
      transpose(block);
      over_channels(outputs - m < kLanes ? outputs - m : kLanes, [&](int64_t, auto left) {
        put_outputs<G, 1>(out + r * N, N, bias, n + m, reinterpret_cast<const float*>(block), kLanes,
                          rows - r < kLanes ? rows - r : kLanes, left);
      });
    }
}

}  // namespace SWINV2_ISA
}  // namespace swinv2
