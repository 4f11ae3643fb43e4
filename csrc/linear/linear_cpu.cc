// SPDX-License-Identifier: Apache-2.0
//
// Forward: W^T lies in panels of kPanel vectors of outputs that stay in L2 while rows of a go by, kRowBlock at a time;
// a tile of kRowBlock x kPanel vectors is summed over all of K in registers, so an output is written once, with bias
// and GELU, and the order of its sum depends on nothing else. Where rows are few, a and W change places. With pairs
// (cpu/pairs.h) the operands are bfloat16, a as stored and W rounded; K below then counts pairs.
#include <memory>

#include "cpu/gelu.h"
#include "cpu/rows.h"
#include "linear/linear_operands.h"

namespace swinv2 {
namespace SWINV2_ISA {
namespace {

constexpr int kPanel = 3;
constexpr int64_t kWidth = kPanel * kLanes;
constexpr int64_t kPanelFloats = 96 << 10;  // 384 KB of panels a thread

struct Identity {
  SWINV2_INLINE Vec value(Vec z) { return z; }
};

// Units of row_chunk rows by column_chunk columns of a product with `terms` lanes, a few for each thread.
struct Units {
  int64_t row_chunk, column_chunk, row_chunks, column_chunks;

  Units(int64_t rows, int64_t terms, int64_t columns) {
    const int64_t target = 4 * num_threads(), panels = ceil_div(columns, kWidth);
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
    column_chunk = ceil_div(panels, column_chunks) * kWidth;
    column_chunks = ceil_div(columns, column_chunk);
    row_chunk = round_up(ceil_div(rows, row_chunks), kRowBlock);
    row_chunks = ceil_div(rows, row_chunk);
  }
};

// The sums of a tile (rows, kWidth) whose rows and columns have steps.
void bring_back(float* tile, int64_t rows, int64_t vectors, const float* row_steps,
                const float* column_steps) {
  for (int64_t m = 0; m < rows; ++m)
    for (int64_t v = 0; v < vectors; ++v) {
      float* p = tile + m * kWidth + v * kLanes;
      const Vec step = load(column_steps + v * kLanes) * row_steps[m];
      store(p, load(p) * step * step);
    }
}

// The first `count` columns from c on of row `row` of da, into dx.
template <class T>
SWINV2_INLINE void store_in_row(T* dx, const Linear& op, int64_t row, int64_t c, Vec v, int64_t count) {
  const PatchView& view = op.view;
  T* to = dx + view.base(row);
  if (view.segments == 1) return store_first(to + c, v, count);
  if (view.length % kLanes == 0) return store(to + view.offset(c / view.length) + c % view.length, v);
  for (int64_t i = 0; i < kLanes && i < count; ++i)
    to[view.offset((c + i) / view.length) + (c + i) % view.length] = from_float<T>(v[i]);
}

// The vectors that `columns` fill of a panel.
int64_t vectors_of(int64_t columns) {
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
  for (int64_t k = 0; k < K; k += 16) {
    for (int64_t i = 0; i < lines; ++i, next += 16) __builtin_prefetch(next, 0, 2);  // into L2
    multiply_add<M, V, P>(acc, {a.a + k * a.col, a.row, a.col}, panel + k * V * kLanes, V * kLanes,
                          K - k < 16 ? K - k : 16);
  }
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) store(tile + m * kWidth + v * kLanes, acc[m][v]);
}

template <class P>
void multiply(float* tile, int64_t rows, int64_t vectors, Broadcast a, const float* panel, int64_t K,
              const float* next = nullptr, int64_t lines = 0) {
  with_panel(vectors * kLanes, [&](auto columns) {
    with_rows(rows, [&](auto block) {
      constexpr int M = decltype(block)::value, V = decltype(columns)::value;
      multiply_block<P, M, V>(tile, a, panel, K, next, lines);
    });
  });
}

// panel (K, V * kLanes) = rows first .. of a matrix (rows, K), transposed; zeros beyond its last row.
template <int V>
void pack_transposed(float* panel, const float* matrix, int64_t rows, int64_t K, int64_t first) {
  constexpr int64_t kAhead = 64;  // floats: the hardware follows fewer streams than there are rows
  for (int v = 0; v < V; ++v)
    for (int64_t k = 0; k < K; k += kLanes) {
      const int64_t n = first + v * kLanes, left = K - k;
      Vec r[kLanes];
#pragma GCC unroll 16
      for (int64_t i = 0; i < kLanes; ++i) __builtin_prefetch(matrix + (n + i) * K + k + kAhead);
#pragma GCC unroll 16
      for (int64_t i = 0; i < kLanes; ++i)
        r[i] = n + i < rows ? load_first(matrix + (n + i) * K + k, left) : Vec{};
      transpose(r);
#pragma GCC unroll 16
      for (int64_t i = 0; i < kLanes; ++i)
        if (i < left) store(panel + (k + i) * (V * kLanes) + v * kLanes, r[i]);
    }
}

// panel (rows, V * kLanes) = V vectors of each row; zeros beyond `columns`.
template <int V>
void pack(float* panel, const float* from, int64_t stride, int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v)
      store(panel + r * (V * kLanes) + v * kLanes,
            v * kLanes < columns ? load_first(from + r * stride + v * kLanes, columns - v * kLanes) : Vec{});
}

// What a thread has for a unit: operands in the making, and steps (see round_row) where the products are of pairs.
struct Desk {
  float *packed, *spare;  // (kRowBlock, terms), (kWidth, terms)
  float row_steps[kRowBlock];
  float* column_steps;  // (column_chunk)
};

// (rows, terms) times (terms, columns), both loaded by the caller:
//   pack_panel(desk, panel, V, c, steps)   the panel of V vectors from column c on, and its steps
//   fetch(desk, row, count)                -> (count, terms), the desk being room for it; and its steps
//   put(row, count, c, tile, left)         takes a tile (count, kWidth) of the result, its first `left` columns
template <class P, class Pack, class Fetch, class Put>
SWINV2_INLINE void rows_times_panels(int64_t rows, int64_t terms, int64_t columns, Pack&& pack_panel,
                                     Fetch&& fetch, Put&& put) {
  const Units units(rows, terms, columns);
  parallel_for(units.row_chunks * units.column_chunks, 1, [&](int64_t unit, int64_t) {
    const int64_t c0 = unit % units.column_chunks * units.column_chunk;
    const int64_t c1 = c0 + units.column_chunk < columns ? c0 + units.column_chunk : columns;
    const int64_t row0 = unit / units.column_chunks * units.row_chunk;
    const int64_t row1 = row0 + units.row_chunk < rows ? row0 + units.row_chunk : rows;

    const int64_t spare = P::kPairs ? kWidth * terms + units.column_chunk : 0;
    float* panels = static_cast<float*>(
        thread_scratch(((units.column_chunk + kRowBlock) * terms + spare) * sizeof(float)));
    Desk desk;
    desk.packed = panels + units.column_chunk * terms;
    desk.spare = desk.packed + kRowBlock * terms;
    desk.column_steps = desk.spare + kWidth * terms;
    for (int64_t c = 0; P::kPairs && c < units.column_chunk; ++c) desk.column_steps[c] = 1;
    for (int64_t c = c0; c < c1; c += kWidth)
      with_panel(c1 - c, [&](auto v) {
        pack_panel(desk, panels + (c - c0) * terms, v, c, desk.column_steps + c - c0);
      });
    const bool columns_stepped = P::kPairs && any_step(desk.column_steps, c1 - c0);

    for (int64_t row = row0; row < row1; row += kRowBlock) {
      const int64_t count = row1 - row < kRowBlock ? row1 - row : kRowBlock;
      const float* a = fetch(desk, row, count);
      const int64_t lines = a == desk.packed ? 0 : ceil_div(kRowBlock * kWidth, c1 - c0);
      const float* next = a + kRowBlock * terms;
      const bool stepped = P::kPairs && (columns_stepped || any_step(desk.row_steps, count));
      for (int64_t c = c0; c < c1; c += kWidth) {
        const int64_t vectors = vectors_of(c1 - c);
        alignas(64) float tile[kRowBlock * kWidth];
        multiply<P>(tile, count, vectors, Broadcast{a, terms, 1}, panels + (c - c0) * terms, terms, next,
                    lines);
        if (stepped) bring_back(tile, count, vectors, desk.row_steps, desk.column_steps + c - c0);
        next += lines * terms;
        put(row, count, c, tile, c1 - c);
      }
    }
  });
}

// Whether packing rows of a costs less than packing W.
bool few_rows(const Linear& op) {
  return op.rows <= 256 && 2 * op.rows <= op.out;
}

// Asks for the tile below this one of a matrix (rows, N), which is written next.
template <class T>
SWINV2_INLINE void expect_below(T* tile, int64_t N, int64_t count) {
  constexpr int64_t kLine = 64 / sizeof(T);
  for (int64_t m = kRowBlock; m < kRowBlock + count; ++m)
    for (int64_t c = 0; c < kWidth; c += kLine) __builtin_prefetch(tile + m * N + c, 1);
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

template <class P, class S, class T, class G>
void forward_many(const Linear& op, const LinearForward& io) {
  const T* x = static_cast<const T*>(io.x);
  const int64_t terms = terms_of<P>(op.in);
  rows_times_panels<P>(
      op.rows, terms, op.out,
      [&](Desk& desk, float* panel, auto v, int64_t n, float* steps) {
        constexpr int V = decltype(v)::value;
        const int64_t outputs = op.out - n < V * kLanes ? op.out - n : V * kLanes;
        const float* w = operand_weights<P>(op, io.weight, n, outputs, desk.spare, steps);
        pack_transposed<V>(panel, w, outputs, terms, 0);
      },
      [&](Desk& desk, int64_t row, int64_t count) {
        return operand_rows<P, S>(op, x, row, count, desk.packed, desk.spare, desk.row_steps);
      },
      [&](int64_t row, int64_t count, int64_t n, const float* tile, int64_t left) {
        S* out = static_cast<S*>(io.out) + row * op.out;
        expect_below(out + n, op.out, count);
        if (left >= kWidth)
          return put_outputs<G, kPanel>(out, op.out, io.bias, n, tile, kWidth, count, Whole{});
        for (int64_t c = 0; c < left; c += kLanes)
          put_outputs<G, 1>(out, op.out, io.bias, n + c, tile + c, kWidth, count, left - c);
      });
}

// out^T = W a^T: W is read row by row, and rows of a are packed in its stead. Each output is the same sum.
template <class P, class S, class T, class G>
void forward_few(const Linear& op, const LinearForward& io) {
  const T* x = static_cast<const T*>(io.x);
  const int64_t K = op.in, N = op.out, terms = terms_of<P>(K);
  const int64_t vectors = ceil_div(op.rows, kLanes), panels = ceil_div(vectors, kPanel);
  const int64_t width = ceil_div(vectors, panels) * kLanes, size = panels * width;
  const auto rows_of = [&](int64_t panel) {
    const int64_t left = op.rows - panel * width;
    return left < width ? left : width;
  };
  const int64_t copied = P::kPairs ? terms + K + 1 : in_place<P, S, T>(op) ? 0 : K;
  float* packed = static_cast<float*>(thread_scratch(size * (terms + copied) * sizeof(float)));
  float *rows_there = packed + size * terms, *spare = rows_there + size * terms,
        *row_steps = spare + size * K;
  for (int64_t r = 0; P::kPairs && r < size; ++r) row_steps[r] = 1;
  parallel_for(panels, 1, [&](int64_t panel, int64_t) {
    const int64_t row = panel * width, rows = rows_of(panel);
    const float* a =
        operand_rows<P, S>(op, x, row, rows, rows_there + row * terms, spare + row * K, row_steps + row);
    with_panel(rows,
               [&](auto v) { pack_transposed<decltype(v)::value>(packed + row * terms, a, rows, terms, 0); });
  });
  const bool rows_stepped = P::kPairs && any_step(row_steps, op.rows);

  constexpr int64_t kOutputs = 16;  // of a tile: a line of each row of out
  const int64_t in_l2 = kPanelFloats / (width * terms), fit = in_l2 < 1 ? 1 : in_l2;
  const int64_t lines =
      ceil_div(kRowBlock, panels < fit ? panels : fit);  // of W, while 16 of it are multiplied
  const int64_t each = round_up(ceil_div(N, 4 * num_threads()), kOutputs);
  parallel_for(ceil_div(N, each), 1, [&](int64_t unit, int64_t) {
    const int64_t n1 = (unit + 1) * each < N ? (unit + 1) * each : N;
    alignas(64) float tile[kOutputs * kWidth] = {};  // (outputs, rows)
    const Floats rounded(P::kPairs ? kOutputs * terms : 1);
    float steps[kOutputs];
    const auto tile_of = [&](const float* w, int64_t n, int64_t panel, int64_t ahead) {
      for (int64_t m = 0; m < kOutputs && n + m < n1; m += kRowBlock)
        multiply<P>(tile + m * kWidth, n1 - n - m < kRowBlock ? n1 - n - m : kRowBlock,
                    vectors_of(rows_of(panel)), Broadcast{w + m * terms, terms, 1},
                    packed + panel * width * terms, terms, io.weight + (n + m + kOutputs + ahead * lines) * K,
                    P::kPairs ? 2 * lines : lines);
    };
    const auto put = [&](int64_t n, int64_t row, int64_t rows) {
      for (int64_t r = 0; r < rows; r += kLanes)
        for (int64_t m = 0; m < kOutputs && n + m < n1; m += kLanes) {
          Vec block[kLanes];
          for (int64_t i = 0; i < kLanes; ++i) block[i] = load(tile + (m + i) * kWidth + r);
          transpose(block);
          over_channels(n1 - n - m < kLanes ? n1 - n - m : kLanes, [&](int64_t, auto left) {
            put_outputs<G, 1>(static_cast<S*>(io.out) + (row + r) * N, N, io.bias, n + m,
                              reinterpret_cast<const float*>(block), kLanes,
                              rows - r < kLanes ? rows - r : kLanes, left);
          });
        }
    };
    for (int64_t first = 0; first < panels; first += fit)
      for (int64_t n = unit * each; n < n1; n += kOutputs) {
        const int64_t outputs = n1 - n < kOutputs ? n1 - n : kOutputs;
        const float* w = operand_weights<P>(op, io.weight, n, outputs, rounded + 0, steps);
        const bool stepped = P::kPairs && (rows_stepped || any_step(steps, outputs));
        for (int64_t panel = first; panel < panels && panel < first + fit; ++panel) {
          tile_of(w, n, panel, panel - first);
          if (stepped) bring_back(tile, outputs, width / kLanes, steps, row_steps + panel * width);
          put(n, panel * width, rows_of(panel));
        }
      }
  });
}

// x in T, out in S.
template <class S, class T, class G>
void forward(const Linear& op, const LinearForward& io) {
  using P = Products<S>;
  few_rows(op) ? forward_few<P, S, T, G>(op, io) : forward_many<P, S, T, G>(op, io);
}

template <class S, class T>
void forward(const Linear& op, const LinearForward& io) {
  switch (op.gelu) {
    case Gelu::kNone:
      return forward<S, T, Identity>(op, io);
    case Gelu::kExact:
      return forward<S, T, Exact>(op, io);
    case Gelu::kTanh:
      return forward<S, T, Tanh>(op, io);
  }
}

template <class P, class T>
void input_gradient(const Linear& op, const LinearBackward& io) {
  const T* dout = static_cast<const T*>(io.dout);
  Linear of_dout = op;  // whose rows are tokens
  of_dout.in = op.out;
  of_dout.view = {1, op.rows, 0, 0, op.out, 1, op.out, 1, 0, 0};
  rows_times_panels<P>(
      op.rows, terms_of<P>(op.out), op.in,
      [&](Desk&, float* panel, auto v, int64_t k, float* steps) {
        constexpr int V = decltype(v)::value;
        if constexpr (P::kPairs)
          pack_pairs<V>(panel, steps, io.weight + k, op.in, op.out, op.in - k);
        else
          pack<V>(panel, io.weight + k, op.in, op.out, op.in - k);
      },
      [&](Desk& desk, int64_t row, int64_t count) {
        return operand_rows<P, T>(of_dout, dout, row, count, desk.packed, desk.spare, desk.row_steps);
      },
      [&](int64_t row, int64_t count, int64_t k, const float* tile, int64_t left) {
        if (op.view.segments == 1) expect_below(static_cast<T*>(io.dx) + row * op.in + k, op.in, count);
        for (int64_t m = 0; m < count; ++m)
          for (int64_t c = 0; c < kWidth && c < left; c += kLanes)
            store_in_row(static_cast<T*>(io.dx), op, row + m, k + c, load(tile + m * kWidth + c), left - c);
      });
}

// dW = do^T a by chunks of rows of a and of W; the chunks depend on the shape alone, and so does the result.
struct WeightUnits {
  int64_t outputs, output_chunks, rows, row_chunks;

  explicit WeightUnits(const Linear& op) {
    output_chunks = ceil_div(op.out, 384);
    outputs = round_up(ceil_div(op.out, output_chunks), kRowBlock);
    output_chunks = ceil_div(op.out, outputs);
    row_chunks = ceil_div(32, output_chunks);
    const int64_t of_512 = ceil_div(op.rows, 512), of_memory = (int64_t{4} << 20) / (op.in * op.out);
    if (row_chunks > of_512) row_chunks = of_512;
    if (row_chunks > of_memory) row_chunks = of_memory < 1 ? 1 : of_memory;
    rows = ceil_div(op.rows, row_chunks);
    row_chunks = ceil_div(op.rows, rows);
  }
};

constexpr int64_t kSumRows = 128;  // rows of a and do that are packed at a time

// dweight (outputs, V * kLanes) += tile, its first `columns`.
void add_tile(float* dweight, int64_t K, const float* tile, int64_t outputs, int64_t columns) {
  for (int64_t m = 0; m < outputs; ++m)
    for (int64_t c = 0; c < columns; c += kLanes) {
      float* p = dweight + m * K + c;
      store_first(p, load_first(p, columns - c) + load(tile + m * kWidth + c), columns - c);
    }
}

// (N, K) += do^T a over the rows [row0, row1), outputs [n0, n1); dbias (n1 - n0) += do's sums.
template <class T>
void add_weight_gradient(float* dweight, float* dbias, const Linear& op, const LinearBackward& io, int64_t n0,
                         int64_t n1, int64_t row0, int64_t row1) {
  const T* x = static_cast<const T*>(io.x);
  const int64_t K = op.in, N = op.out, count = n1 - n0, blocks = ceil_div(count, kRowBlock);
  const bool direct = in_place<Singles, T, T>(op);
  float* packed = static_cast<float*>(
      thread_scratch((blocks * kRowBlock * (kSumRows + 1) + kSumRows * (kWidth + (direct ? 0 : K)) + kLanes) *
                     sizeof(float)));
  float* panel = packed + blocks * kRowBlock * kSumRows;
  float* line = panel + kSumRows * kWidth;  // (outputs)
  float* copied = line + round_up(blocks * kRowBlock, kLanes);
  for (int64_t row = row0; row < row1; row += kSumRows) {
    const int64_t rows = row1 - row < kSumRows ? row1 - row : kSumRows;
    for (int64_t r = 0; r < rows; ++r) {  // packed (blocks, rows, kRowBlock)
      const T* from = static_cast<const T*>(io.dout) + (row + r) * N + n0;
      for (int64_t n = 0; n < blocks * kRowBlock; n += kLanes) {
        const Vec v = n < count ? load_first(from + n, count - n) : Vec{};
        store(line + n, v);
        if (n < count) store_first(dbias + n, load_first(dbias + n, count - n) + v, count - n);
      }
      for (int64_t block = 0; block < blocks; ++block)
        __builtin_memcpy(packed + (block * rows + r) * kRowBlock, line + block * kRowBlock,
                         kRowBlock * sizeof(float));
    }
    const float* a = reinterpret_cast<const float*>(x) + row * K;
    if (!direct) {
      load_rows<T>(copied, op, x, row, rows);
      a = copied;
    }
    for (int64_t k = 0; k < K; k += kWidth) {
      const int64_t vectors = vectors_of(K - k);
      with_panel(K - k, [&](auto v) { pack<decltype(v)::value>(panel, a + k, K, rows, K - k); });
      for (int64_t n = 0; n < count; n += kRowBlock) {
        const int64_t outputs = count - n < kRowBlock ? count - n : kRowBlock;
        alignas(64) float tile[kRowBlock * kWidth];
        multiply<Singles>(tile, outputs, vectors, Broadcast{packed + n * rows, 1, kRowBlock}, panel, rows);
        add_tile(dweight + (n0 + n) * K + k, K, tile, outputs, K - k < kWidth ? K - k : kWidth);
      }
    }
  }
}

// The same with pairs of rows.
template <class T>
void add_weight_gradient_of_pairs(float* dweight, float* dbias, const Linear& op, const LinearBackward& io,
                                  int64_t n0, int64_t n1, int64_t row0, int64_t row1) {
  constexpr int V = 2;
  constexpr int64_t kOutputs = V * kLanes, kTerms = kSumRows / 2;
  const T* x = static_cast<const T*>(io.x);
  const int64_t K = op.in, N = op.out, count = n1 - n0, blocks = ceil_div(count, kOutputs);
  const bool direct = op.view.segments == 1;
  float* packed = static_cast<float*>(thread_scratch(
      (blocks * kOutputs * (kTerms + 1) + kWidth * (kTerms + 1) + (direct ? 0 : kSumRows * K)) *
      sizeof(float)));
  float* panel = packed + blocks * kOutputs * kTerms;  // packed (blocks, terms, kOutputs)
  float *row_steps = panel + kWidth * kTerms, *column_steps = row_steps + blocks * kOutputs;
  float* copied = column_steps + kWidth;
  for (int64_t row = row0; row < row1; row += kSumRows) {
    const int64_t rows = row1 - row < kSumRows ? row1 - row : kSumRows, terms = ceil_div(rows, 2);
    const T* dout = static_cast<const T*>(io.dout) + row * N + n0;
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t n = 0; n < count; n += kLanes) {
        const Vec v = load_first(dout + r * N + n, count - n);
        store_first(dbias + n, load_first(dbias + n, count - n) + v, count - n);
      }
    for (int64_t n = 0; n < count; n += kOutputs)
      pack_pairs<V>(packed + n * terms, row_steps + n, dout + n, N, rows, count - n);
    if (!direct) load_rows<T>(copied, op, x, row, rows);
    const bool rows_stepped = any_step(row_steps, count);
    for (int64_t k = 0; k < K; k += kWidth) {
      const int64_t left = K - k, vectors = vectors_of(left);
      with_panel(left, [&](auto v) {
        constexpr int W = decltype(v)::value;
        direct ? pack_pairs<W>(panel, column_steps, x + row * K + k, K, rows, left)
               : pack_pairs<W>(panel, column_steps, copied + k, K, rows, left);
      });
      const bool stepped = rows_stepped || any_step(column_steps, left < kWidth ? left : kWidth);
      for (int64_t n = 0; n < count; n += kRowBlock) {
        const int64_t outputs = count - n < kRowBlock ? count - n : kRowBlock,
                      block = n / kOutputs * kOutputs;
        alignas(64) float tile[kRowBlock * kWidth];
        multiply<Pairs>(tile, outputs, vectors, Broadcast{packed + block * terms + (n - block), 1, kOutputs},
                        panel, terms);
        if (stepped) bring_back(tile, outputs, vectors, row_steps + n, column_steps);
        add_tile(dweight + (n0 + n) * K + k, K, tile, outputs, left < kWidth ? left : kWidth);
      }
    }
  }
}

template <class T>
void weight_gradient(const Linear& op, const LinearBackward& io) {
  const WeightUnits units(op);
  const int64_t size = op.out * op.in, each = size + op.out;
  std::unique_ptr<float[]> partials;  // (row_chunks - 1, N * K + N): the first chunk sums in place
  if (units.row_chunks > 1) partials.reset(new float[(units.row_chunks - 1) * each]);
  parallel_for(units.row_chunks * units.output_chunks, 1, [&](int64_t unit, int64_t) {
    const int64_t chunk = unit / units.output_chunks, n0 = unit % units.output_chunks * units.outputs;
    const int64_t n1 = n0 + units.outputs < op.out ? n0 + units.outputs : op.out;
    const int64_t row0 = chunk * units.rows;
    const int64_t row1 = row0 + units.rows < op.rows ? row0 + units.rows : op.rows;
    float* dweight = chunk ? partials.get() + (chunk - 1) * each : io.dweight;
    float* dbias = (chunk ? dweight + size : io.dbias) + n0;
    __builtin_memset(dweight + n0 * op.in, 0, (n1 - n0) * op.in * sizeof(float));
    __builtin_memset(dbias, 0, (n1 - n0) * sizeof(float));
    if constexpr (kHasPairs && std::is_same<T, BFloat16>::value)
      add_weight_gradient_of_pairs<T>(dweight, dbias, op, io, n0, n1, row0, row1);
    else
      add_weight_gradient<T>(dweight, dbias, op, io, n0, n1, row0, row1);
  });
  if (units.row_chunks == 1) return;
  const auto add = [&](float* to, int64_t at, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i += kLanes) {
      Vec sum = load_first(to + i, end - i);
      for (int64_t chunk = 0; chunk < units.row_chunks - 1; ++chunk)
        sum += load_first(partials.get() + chunk * each + at + i, end - i);
      store_first(to + i, sum, end - i);
    }
  };
  parallel_for(size, 4096, [&](int64_t begin, int64_t end) { add(io.dweight, 0, begin, end); });
  add(io.dbias, size, 0, op.out);
}

}  // namespace

void linear_forward(const Linear& op, const LinearForward& io) {
  with_storage(op.dtype, [&](auto out) {
    using S = decltype(out);
    op.x_dtype == op.dtype ? forward<S, S>(op, io) : forward<S, float>(op, io);
  });
}

void linear_input_gradient(const Linear& op, const LinearBackward& io) {
  with_storage(op.dtype, [&](auto x) { input_gradient<Products<decltype(x)>, decltype(x)>(op, io); });
}

void linear_weight_gradient(const Linear& op, const LinearBackward& io) {
  with_storage(op.dtype, [&](auto x) { weight_gradient<decltype(x)>(op, io); });
}

}  // namespace SWINV2_ISA
}  // namespace swinv2
