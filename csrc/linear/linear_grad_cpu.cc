// SPDX-License-Identifier: Apache-2.0
//
// Gradients: da = do W by panels of W, dW = do^T a and db by chunks of rows.
#include <memory>

#include "linear/linear_cpu.h"
#include "linear/linear_terms.h"

namespace swinv2 {
namespace SWINV2_ISA {
namespace {

// panel (rows, V * kLanes) = V vectors of each row; zeros beyond `columns`.
template <int V>
void pack(float* panel, const float* from, int64_t stride, int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows; ++r)
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v)
      store(panel + r * (V * kLanes) + v * kLanes,
            v * kLanes < columns ? load_first(from + r * stride + v * kLanes, columns - v * kLanes) : Vec{});
}

template <class P, class T>
void input_gradient(const Linear& op, const LinearBackward& io) {
  const T* dout = static_cast<const T*>(io.dout);
  const Linear of_dout = rows_of_dout(op);
  rows_times_panels<P>(
      op.rows, terms_of<P>(op.out), op.in,
      [&](Desk<P>&, float* panel, auto v, int64_t k, float* steps) {
        constexpr int V = decltype(v)::value;
        if constexpr (P::kPairs)
          pack_pairs<V>(panel, steps, io.weight + k, op.in, op.out, op.in - k);
        else
          pack<V>(panel, io.weight + k, op.in, op.out, op.in - k);
      },
      [&](Desk<P>& desk, int64_t row, int64_t count) {
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
template <class P, class T>
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
  // packed (blocks, terms, kOutputs); for tiles (outputs, terms)
  float* panel = packed + blocks * kOutputs * kTerms;
  float *row_steps = panel + kWidth * kTerms, *column_steps = row_steps + blocks * kOutputs;
  float* copied = column_steps + kWidth;
  for (int64_t row = row0; row < row1; row += kSumRows) {
    const int64_t rows = row1 - row < kSumRows ? row1 - row : kSumRows, terms = ceil_div(rows, 2);
    const T* dout = static_cast<const T*>(io.dout) + row * N + n0;
    add_rows(dbias, dout, N, rows, count);
    const bool tiled = by_tiles<P>(terms);
    for (int64_t n = 0; n < count; n += kOutputs) {
      pack_pairs<V>(tiled ? panel : packed + n * terms, row_steps + n, dout + n, N, rows, count - n);
      if (tiled) turn_rows<V>(packed + n * terms, terms, panel, kOutputs, terms);
    }
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
      for (int64_t n = 0; n < count; n += kRows<P>) {
        const int64_t outputs = count - n < kRows<P> ? count - n : kRows<P>, block = n / kOutputs * kOutputs;
        alignas(64) float tile[kRows<P> * kWidth];
        multiply<P>(tile, outputs, vectors,
                    tiled ? Broadcast{packed + n * terms, terms, 1}
                          : Broadcast{packed + block * terms + (n - block), 1, kOutputs},
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
    const Tiles<kHasTiles> tiles(true);
    const int64_t chunk = unit / units.output_chunks, n0 = unit % units.output_chunks * units.outputs;
    const int64_t n1 = n0 + units.outputs < op.out ? n0 + units.outputs : op.out;
    const int64_t row0 = chunk * units.rows;
    const int64_t row1 = row0 + units.rows < op.rows ? row0 + units.rows : op.rows;
    float* dweight = chunk ? partials.get() + (chunk - 1) * each : io.dweight;
    float* dbias = (chunk ? dweight + size : io.dbias) + n0;
    __builtin_memset(dweight + n0 * op.in, 0, (n1 - n0) * op.in * sizeof(float));
    __builtin_memset(dbias, 0, (n1 - n0) * sizeof(float));
    if constexpr (kByTerms<T>)
      add_weight_gradient_by_terms(dweight, dbias, op, io, n0, n1, row0, row1);
    else if constexpr (Products<T>::kPairs)
      add_weight_gradient_of_pairs<Products<T>, T>(dweight, dbias, op, io, n0, n1, row0, row1);
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

void linear_input_gradient(const Linear& op, const LinearBackward& io) {
  with_storage(op.dtype, [&](auto x) {
    using T = decltype(x);
    if constexpr (kByTerms<T>)
      linear_input_gradient_by_terms(op, io);
    else
      input_gradient<Products<T>, T>(op, io);
  });
}

void linear_weight_gradient(const Linear& op, const LinearBackward& io) {
  with_storage(op.dtype, [&](auto x) { weight_gradient<decltype(x)>(op, io); });
}

}  // namespace SWINV2_ISA
}  // namespace swinv2
