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
void forward(const ResidualLayerNorm& op, const ResidualLayerNormForward& io) {
  const int64_t C = op.channels;
  parallel_rows(op.samples * op.rows, C, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const X* x = io.x ? static_cast<const X*>(io.x) + row * C : nullptr;
      const Y* y = static_cast<const Y*>(io.y) + row * C;
      X* out = static_cast<X*>(io.out) + row * C;
      const float keep = io.keep ? io.keep[row / op.rows] : 1.f;

      Vec sum{}, squares{};
      for (int64_t c = 0; c < C; c += kLanes) sum += load_first(y + c, C - c);
      const float mean = sum_lanes(sum) / C;
      int64_t c = 0;
      for (; c + kLanes <= C; c += kLanes) {
        const Vec d = load(y + c) - mean;
        squares += d * d;
      }
      float tail = 0;
      for (; c < C; ++c) tail += (to_float(y[c]) - mean) * (to_float(y[c]) - mean);
      const float rstd = 1.f / __builtin_sqrtf((sum_lanes(squares) + tail) / C + op.epsilon);
      io.stats[2 * row] = mean;
      io.stats[2 * row + 1] = rstd;

      for (c = 0; c < C; c += kLanes) {
        const int64_t n = C - c;
        const Vec norm = (load_first(y + c, n) - mean) * rstd;
        const Vec scaled = norm * load_first(io.gamma + c, n) + load_first(io.beta + c, n);
        store_first(out + c, x ? load_first(x + c, n) + keep * scaled : scaled, n);
      }
    }
  });
}

template <class X, class Y>
void backward(const ResidualLayerNorm& op, const ResidualLayerNormBackward& io) {
  const int64_t C = op.channels, padded = round_up(C, kLanes), rows = op.samples * op.rows;
  const RowChunks chunks(rows);
  std::unique_ptr<float[]> partials(new float[chunks.count * 2 * padded]());  // dgamma, dbeta
  std::unique_ptr<float[]> dkeep(new float[rows]);
  parallel_for(chunks.count, 1, [&](int64_t first, int64_t last) {
    for (int64_t chunk = first; chunk < last; ++chunk) {
      float* dgamma = partials.get() + chunk * 2 * padded;
      float* dbeta = dgamma + padded;
      for (int64_t row = chunks.begin(chunk); row < chunks.end(chunk); ++row) {
        const Y* y = static_cast<const Y*>(io.y) + row * C;
        const X* dout = static_cast<const X*>(io.dout) + row * C;
        Y* dy = static_cast<Y*>(io.dy) + row * C;
        const float keep = io.keep ? io.keep[row / op.rows] : 1.f;
        const float mean = io.stats[2 * row], rstd = io.stats[2 * row + 1];

        Vec g_sum{}, gn_sum{}, beta_sum{};  // of do * gamma, do * gamma * n, do * beta
        for (int64_t c = 0; c < C; c += kLanes) {
          const int64_t n = C - c;
          const Vec d = load_first(dout + c, n), norm = (load_first(y + c, n) - mean) * rstd;
          const Vec g = d * load_first(io.gamma + c, n);
          g_sum += g;
          gn_sum += g * norm;
          beta_sum += d * load_first(io.beta + c, n);
          store(dgamma + c, load(dgamma + c) + keep * d * norm);
          store(dbeta + c, load(dbeta + c) + keep * d);
        }
        const float gn = sum_lanes(gn_sum), g_mean = sum_lanes(g_sum) / C, gn_mean = gn / C;
        dkeep[row] = gn + sum_lanes(beta_sum);
        for (int64_t c = 0; c < C; c += kLanes) {
          const int64_t n = C - c;
          const Vec norm = (load_first(y + c, n) - mean) * rstd;
          const Vec g = load_first(dout + c, n) * load_first(io.gamma + c, n);
          store_first(dy + c, keep * rstd * (g - g_mean - norm * gn_mean), n);
        }
      }
    }
  });
  sum_partials(io.dgamma, partials.get(), chunks.count, 2 * padded, C);
  sum_partials(io.dbeta, partials.get() + padded, chunks.count, 2 * padded, C);
  for (int64_t sample = 0; io.dkeep && sample < op.samples; ++sample) {
    double sum = 0;
    for (int64_t row = 0; row < op.rows; ++row) sum += dkeep[sample * op.rows + row];
    io.dkeep[sample] = float(sum);
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
