// SPDX-License-Identifier: Apache-2.0
//
// Forward: the panels are of W^T, and outputs are written once, with bias and GELU. Where rows are few, a and W
// change places. With pairs (cpu/pairs.h) the operands are bfloat16, a as stored and W rounded or as stored; K below
// then counts pairs. With AMX they are multiplied by tiles (cpu/tile.h) of 16 rows.
#include "linear/linear_cpu.h"

#include "linear/linear_terms.h"

namespace swinv2 {
namespace SWINV2_ISA {
namespace {

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

// Whether packing rows of a costs less than packing W.
bool few_rows(const Linear& op) {
  return op.rows <= 256 && 2 * op.rows <= op.out;
}

template <class P, class S, class T, class G>
void forward_many(const Linear& op, const LinearForward& io) {
  const T* x = static_cast<const T*>(io.x);
  const int64_t terms = terms_of<P>(op.in);
  rows_times_panels<P>(
      op.rows, terms, op.out,
      [&](Desk<P>& desk, float* panel, auto v, int64_t n, float* steps) {
        constexpr int V = decltype(v)::value;
        const int64_t outputs = op.out - n < V * kLanes ? op.out - n : V * kLanes;
        const float* w = operand_weights<P>(op, io.weight, n, outputs, desk.spare, steps);
        pack_transposed<V>(panel, w, outputs, terms, 0);
      },
      [&](Desk<P>& desk, int64_t row, int64_t count) {
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
  const int64_t size = vectors * kLanes;
  const auto first_of = [&](int64_t panel) { return share_of(panel, panels, op.rows, kLanes); };
  const auto rows_of = [&](int64_t panel) { return first_of(panel + 1) - first_of(panel); };
  const int64_t copied = P::kPairs ? terms + K + 1 : in_place<P, S, T>(op) ? 0 : K;
  float* packed = static_cast<float*>(thread_scratch(size * (terms + copied) * sizeof(float)));
  float *rows_there = packed + size * terms, *spare = rows_there + size * terms,
        *row_steps = spare + size * K;
  for (int64_t r = 0; P::kPairs && r < size; ++r) row_steps[r] = 1;
  parallel_for(panels, 1, [&](int64_t panel, int64_t) {
    const int64_t row = first_of(panel), rows = rows_of(panel);
    const float* a =
        operand_rows<P, S>(op, x, row, rows, rows_there + row * terms, spare + row * K, row_steps + row);
    with_panel(rows,
               [&](auto v) { pack_transposed<decltype(v)::value>(packed + row * terms, a, rows, terms, 0); });
  });
  const bool rows_stepped = P::kPairs && any_step(row_steps, op.rows);

  constexpr int64_t kOutputs = 16;  // of a tile: a line of each row of out
  const int64_t width = ceil_div(vectors, panels) * kLanes;
  const int64_t in_l2 = 2 * kPanelFloats / (width * terms), fit = in_l2 < 1 ? 1 : in_l2;
  const int64_t lines =
      ceil_div(kRows<P>, panels < fit ? panels : fit);  // of W, while 16 of it are multiplied
  const int64_t wanted = 4 * num_threads(), most = ceil_div(N, kOutputs),
                units = wanted < most ? wanted : most;
  const bool halves = op.weight_dtype == DType::kBFloat16;
  parallel_ahead(units, [&](int64_t unit, int64_t after) {
    const Tiles<kTiled<P>> tiles(true);
    const int64_t n0 = share_of(unit, units, N, kOutputs), n1 = share_of(unit + 1, units, N, kOutputs),
                  coming = share_of(after, units, N, kOutputs);
    alignas(64) float tile[kOutputs * kWidth] = {};  // (outputs, rows)
    const Floats packed_weights(P::kPairs || halves ? kOutputs * terms : 1);
    float steps[kOutputs];
    const auto tile_of = [&](const float* w, int64_t n, int64_t panel, int64_t ahead) {
      const int64_t then = n + kOutputs < n1 ? n + kOutputs : coming;
      for (int64_t row = first_of(panel), end = row + rows_of(panel); row < end; ++row)
        __builtin_prefetch(static_cast<S*>(io.out) + row * N + n, 1);
      for (int64_t m = 0; m < kOutputs && n + m < n1; m += kRows<P>)
        multiply<P>(tile + m * kWidth, n1 - n - m < kRows<P> ? n1 - n - m : kRows<P>,
                    vectors_of(rows_of(panel)), Broadcast{w + m * terms, terms, 1},
                    packed + first_of(panel) * terms, terms,
                    stored_weights(op, io.weight, then + m + ahead * lines),
                    P::kPairs && !halves ? 2 * lines : lines);
    };
    for (int64_t first = 0; first < panels; first += fit)
      for (int64_t n = n0; n < n1; n += kOutputs) {
        const int64_t outputs = n1 - n < kOutputs ? n1 - n : kOutputs;
        const float* w = operand_weights<P>(op, io.weight, n, outputs, packed_weights + 0, steps);
        const bool stepped = P::kPairs && (rows_stepped || any_step(steps, outputs));
        for (int64_t panel = first; panel < panels && panel < first + fit; ++panel) {
          tile_of(w, n, panel, panel - first);
          if (stepped)
            bring_back(tile, outputs, vectors_of(rows_of(panel)), steps, row_steps + first_of(panel));
          put_turned<G>(static_cast<S*>(io.out) + first_of(panel) * N, N, io.bias, n, tile, kWidth, outputs,
                        rows_of(panel));
        }
      }
  });
}

}  // namespace

void linear_forward(const Linear& op, const LinearForward& io) {
  with_storage(op.dtype, [&](auto out) {
    using S = decltype(out);
    using P = Products<S>;
    if constexpr (kByTerms<S>)
      linear_forward_by_terms(op, io);
    else
      with_input<S>(op, [&](auto x, auto g) {
        using T = decltype(x);
        using G = decltype(g);
        few_rows(op) ? forward_few<P, S, T, G>(op, io) : forward_many<P, S, T, G>(op, io);
      });
  });
}

}  // namespace SWINV2_ISA
}  // namespace swinv2
