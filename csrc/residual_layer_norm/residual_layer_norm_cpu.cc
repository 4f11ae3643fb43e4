// SPDX-License-Identifier: Apache-2.0
//
// One pass over memory each way: a row is read once and its sums are taken from L1. Gradients that sum over
// rows go to one partial a chunk of rows; the chunks depend on the shape alone, so the result does not depend
// on the threads.
#include <memory>

#include "cpu/parallel.h"
#include "cpu/rows.h"
#include "cpu/simd.h"
#include "residual_layer_norm/residual_layer_norm.h"

namespace swinv2 {
namespace SWINV2_ISA {
namespace {

template <class X, class Y>
void forward_row(const ResidualLayerNorm& op, const ResidualLayerNormForward& io, int64_t row, float keep) {
  const int64_t C = op.channels;
  const X* x = io.x ? static_cast<const X*>(io.x) + row * C : nullptr;
  const Y* y = static_cast<const Y*>(io.y) + row * C;
  X* out = static_cast<X*>(io.out) + row * C;
  const float *gamma = io.gamma, *beta = io.beta;

  Vec sum{}, squares{};
  over_channels(C, [&](int64_t c, auto n) {
    fetch_ahead(y, c);
    fetch_ahead(x, c);
    fetch_ahead<true>(out, c);
    sum += load_first(y + c, n);
  });
  const float mean = sum_lanes(sum) / C;
  over_channels(C, [&](int64_t c, auto n) {
    const Vec d = keep_first(load_first(y + c, n) - mean, n);
    squares += d * d;
  });
  const float rstd = 1.f / __builtin_sqrtf(sum_lanes(squares) / C + op.epsilon);
  io.stats[2 * row] = mean;
  io.stats[2 * row + 1] = rstd;
  over_channels(C, [&](int64_t c, auto n) {
    const Vec norm = (load_first(y + c, n) - mean) * rstd;
    const Vec scaled = norm * load_first(gamma + c, n) + load_first(beta + c, n);
    store_first(out + c, x ? load_first(x + c, n) + keep * scaled : scaled, n);
  });
}

template <class X, class Y>
void forward(const ResidualLayerNorm& op, const ResidualLayerNormForward& io) {
  parallel_rows(op.samples * op.rows, op.channels, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row)
      forward_row<X, Y>(op, io, row, io.keep ? io.keep[row / op.rows] : 1.f);
  });
}

// Adds to dgamma and dbeta; returns the row's part of dkeep.
template <class X, class Y>
float backward_row(const ResidualLayerNorm& op, const ResidualLayerNormBackward& io, int64_t row, float keep,
                   float* dgamma, float* dbeta) {
  const int64_t C = op.channels;
  const Y* y = static_cast<const Y*>(io.y) + row * C;
  const X* dout = static_cast<const X*>(io.dout) + row * C;
  Y* dy = static_cast<Y*>(io.dy) + row * C;
  const float *gamma = io.gamma, *beta = io.beta;
  const float mean = io.stats[2 * row], rstd = io.stats[2 * row + 1];

  Vec g_sum{}, gn_sum{}, beta_sum{};  // of do * gamma, do * gamma * n, do * beta
  over_channels(C, [&](int64_t c, auto n) {
    fetch_ahead(y, c);
    fetch_ahead(dout, c);
    fetch_ahead<true>(dy, c);
    const Vec d = load_first(dout + c, n), norm = (load_first(y + c, n) - mean) * rstd;
    const Vec g = d * load_first(gamma + c, n), kept = keep * d;
    g_sum += g;
    gn_sum += g * norm;
    beta_sum += d * load_first(beta + c, n);
    store(dgamma + c, load(dgamma + c) + kept * norm);
    store(dbeta + c, load(dbeta + c) + kept);
  });
  const float gn = sum_lanes(gn_sum), g_mean = sum_lanes(g_sum) / C, gn_mean = gn / C, factor = keep * rstd;
  over_channels(C, [&](int64_t c, auto n) {
    const Vec norm = (load_first(y + c, n) - mean) * rstd;
    const Vec g = load_first(dout + c, n) * load_first(gamma + c, n);
    store_first(dy + c, factor * (g - g_mean - norm * gn_mean), n);
  });
  return gn + sum_lanes(beta_sum);
}

template <class X, class Y>
void backward(const ResidualLayerNorm& op, const ResidualLayerNormBackward& io) {
  const int64_t C = op.channels, padded = round_up(C, 16), rows = op.samples * op.rows;
  const RowChunks chunks(rows);
  const Floats partials(chunks.count * 2 * padded);  // dgamma, dbeta
  const Floats dkeep(rows);
  parallel_for(chunks.count, 1, [&](int64_t chunk, int64_t) {
    float* dgamma = partials + chunk * 2 * padded;
    __builtin_memset(dgamma, 0, 2 * padded * sizeof(float));
    for (int64_t row = chunks.begin(chunk); row < chunks.end(chunk); ++row)
      *(dkeep + row) =
          backward_row<X, Y>(op, io, row, io.keep ? io.keep[row / op.rows] : 1.f, dgamma, dgamma + padded);
  });
  sum_partials(io.dgamma, partials + 0, chunks.count, 2 * padded, C);
  sum_partials(io.dbeta, partials + padded, chunks.count, 2 * padded, C);
  for (int64_t sample = 0; io.dkeep && sample < op.samples; ++sample) {
    const float* of_row = dkeep + sample * op.rows;
    Vec sum{};
    over_channels(op.rows, [&](int64_t row, auto n) { sum += load_first(of_row + row, n); });
    io.dkeep[sample] = sum_lanes(sum);
  }
}

// Calls f with values of the storage types of x and y.
template <class F>
void with_types(const ResidualLayerNorm& op, F&& f) {
  if (op.x_dtype == DType::kFloat16) return f(Half{}, Half{});
  if (op.x_dtype == DType::kBFloat16) return f(BFloat16{}, BFloat16{});
  switch (op.y_dtype) {
    case DType::kFloat32:
      return f(float{}, float{});
    case DType::kFloat16:
      return f(float{}, Half{});
    case DType::kBFloat16:
      return f(float{}, BFloat16{});
  }
}

}  // namespace

void residual_layer_norm_forward(const ResidualLayerNorm& op, const ResidualLayerNormForward& io) {
  with_types(op, [&](auto x, auto y) { forward<decltype(x), decltype(y)>(op, io); });
}

void residual_layer_norm_backward(const ResidualLayerNorm& op, const ResidualLayerNormBackward& io) {
  with_types(op, [&](auto x, auto y) { backward<decltype(x), decltype(y)>(op, io); });
}

}  // namespace SWINV2_ISA
}  // namespace swinv2
