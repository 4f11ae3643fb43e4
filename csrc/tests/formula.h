// SPDX-License-Identifier: Apache-2.0
//
// The operators' formulas (window_attention.h, residual_layer_norm.h, bias_gelu.h, linear.h) as plain loops at
// precision Real: double is the truth, float the plain implementation whose error the kernels are measured
// by. They share nothing with the kernels but the problem structs.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "bias_gelu/bias_gelu.h"
#include "core/dtype.h"
#include "core/shape.h"
#include "linear/linear_host.h"
#include "residual_layer_norm/residual_layer_norm.h"
#include "window_attention/window_attention.h"

namespace swinv2 {
namespace formula {

template <class Real>
using Array = std::vector<Real>;

// Nearest value of the storage dtype, ties to even.
inline double round_to(DType dtype, double x) {
  if (dtype == DType::kFloat32) return float(x);
  if (x == 0 || !std::isfinite(x)) return x;
  const int digits = dtype == DType::kFloat16 ? 10 : 7, lowest = dtype == DType::kFloat16 ? -14 : -126;
  const double largest = dtype == DType::kFloat16 ? 65504 : 3.3895313892515355e38;
  const double step = std::ldexp(1, std::max(std::ilogb(x), lowest) - digits);
  const double rounded = std::nearbyint(x / step) * step;
  return std::fabs(rounded) > largest ? std::copysign(std::numeric_limits<double>::infinity(), x) : rounded;
}

struct AttentionInputs {
  Array<float> qkv, table, scale, dout;  // qkv and dout already rounded to the dtype
};

template <class Real>
struct AttentionResults {
  Array<Real> out, dqkv, dtable, dscale;
  Real dscale_size = 0;  // of the terms of dscale: sqrt(sum over queries of (sum_j |term|)^2)
};

template <class Real>
AttentionResults<Real> attention(const WindowAttention& op, const AttentionInputs& in, bool store_rounded) {
  const WindowGeometry& g = op.geometry;
  const int64_t d = op.head_dim, heads = op.num_heads, C = heads * d, N = g.tokens();
  const int64_t table_w = 2 * g.window_w - 1, tokens = g.batch * g.height * g.width;
  AttentionResults<Real> r{Array<Real>(tokens * C), Array<Real>(tokens * 3 * C), Array<Real>(in.table.size()),
                           Array<Real>(heads)};
  for (int64_t head = 0; head < heads; ++head) {
    Real size = 0;
    for (int64_t window = 0; window < g.windows(); ++window) {
      const int64_t b = window / (g.rows() * g.cols()), wy = window / g.cols() % g.rows(),
                    wx = window % g.cols();
      std::vector<int64_t> token, h, w, region;  // of the image's tokens in this window
      for (int64_t i = 0; i < N; ++i) {
        const int64_t iy = i / g.window_w, ix = i % g.window_w;
        const int64_t py = wy * g.window_h + iy, px = wx * g.window_w + ix;  // after the roll
        const int64_t y = (py + g.shift_h) % g.height, x = (px + g.shift_w) % g.width;
        if (y >= g.valid_h || x >= g.valid_w) continue;
        token.push_back((b * g.height + y) * g.width + x);
        h.push_back(iy);
        w.push_back(ix);
        region.push_back(2 * (py >= g.height - g.shift_h) + (px >= g.width - g.shift_w));
      }
      const int64_t n = token.size();
      const auto part = [&](int p, int64_t i) { return in.qkv.data() + token[i] * 3 * C + p * C + head * d; };
      Array<Real> q(n * d), k(n * d), q_norm(n, 1), k_norm(n, 1);
      for (int64_t i = 0; i < n; ++i)
        for (int p = 0; p < 2; ++p) {
          Real sum = 0;
          for (int64_t c = 0; c < d; ++c) sum += Real(part(p, i)[c]) * Real(part(p, i)[c]);
          Real& norm = p ? k_norm[i] : q_norm[i];
          if (op.cosine) norm = std::max(std::sqrt(sum), Real(1e-12));
          for (int64_t c = 0; c < d; ++c) (p ? k : q)[i * d + c] = Real(part(p, i)[c]) / norm;
        }
      const Real scale = in.scale[head];
      Array<Real> dq(n * d), dk(n * d), p(n), products(n);
      for (int64_t i = 0; i < n; ++i) {
        Real top = -std::numeric_limits<Real>::infinity(), total = 0;
        const auto entry = [&](int64_t j) {
          return head * op.table_size() + (h[i] - h[j] + g.window_h - 1) * table_w + w[i] - w[j] +
                 g.window_w - 1;
        };
        for (int64_t j = 0; j < n; ++j) {
          products[j] = 0;
          for (int64_t c = 0; c < d; ++c) products[j] += q[i * d + c] * k[j * d + c];
          p[j] = scale * products[j] + Real(in.table[entry(j)]);
          if (region[i] != region[j]) p[j] += Real(op.mask_value);
          top = std::max(top, p[j]);
        }
        for (int64_t j = 0; j < n; ++j) total += p[j] = std::exp(p[j] - top);
        Real D = 0;
        const float* dout = in.dout.data() + token[i] * C + head * d;
        for (int64_t j = 0; j < n; ++j) p[j] /= total;
        for (int64_t c = 0; c < d; ++c) {
          Real o = 0;
          for (int64_t j = 0; j < n; ++j) o += p[j] * Real(part(2, j)[c]);
          r.out[token[i] * C + head * d + c] = o;
          D += Real(dout[c]) * (store_rounded ? Real(round_to(op.dtype, o)) : o);
        }
        Real row = 0;
        for (int64_t j = 0; j < n; ++j) {
          Real ds = -D;
          for (int64_t c = 0; c < d; ++c) {
            ds += Real(dout[c]) * Real(part(2, j)[c]);
            r.dqkv[token[j] * 3 * C + 2 * C + head * d + c] += p[j] * Real(dout[c]);
          }
          ds *= p[j];
          r.dtable[entry(j)] += ds;
          r.dscale[head] += ds * products[j];
          row += std::fabs(ds * products[j]);
          for (int64_t c = 0; c < d; ++c) {
            dq[i * d + c] += scale * ds * k[j * d + c];
            dk[j * d + c] += scale * ds * q[i * d + c];
          }
        }
        size += row * row;
      }
      for (int64_t i = 0; i < n; ++i)
        for (int side = 0; side < 2; ++side) {
          const Real* x = (side ? k : q).data() + i * d;
          const Real* grad = (side ? dk : dq).data() + i * d;
          const Real norm = (side ? k_norm : q_norm)[i];
          Real radial = 0;
          if (op.cosine && norm > Real(1e-12))
            for (int64_t c = 0; c < d; ++c) radial += x[c] * grad[c];
          for (int64_t c = 0; c < d; ++c)
            r.dqkv[token[i] * 3 * C + side * C + head * d + c] = (grad[c] - x[c] * radial) / norm;
        }
    }
    r.dscale_size = std::max(r.dscale_size, std::sqrt(size));
  }
  return r;
}

struct RowInputs {
  Array<float> x, y, gamma, beta, keep, dout;  // bias_gelu: x, bias = beta, dout
};

template <class Real>
struct RowResults {
  Array<Real> out, dx, dgamma, dbeta, dkeep;
};

template <class Real>
RowResults<Real> residual_layer_norm(const ResidualLayerNorm& op, const RowInputs& in) {
  const int64_t C = op.channels, rows = op.samples * op.rows;
  RowResults<Real> r{Array<Real>(rows * C), Array<Real>(rows * C), Array<Real>(C), Array<Real>(C),
                     Array<Real>(op.samples)};
  for (int64_t row = 0; row < rows; ++row) {
    const float *y = in.y.data() + row * C, *dout = in.dout.data() + row * C;
    const Real keep = in.keep[row / op.rows];
    Real mean = 0, variance = 0, g_mean = 0, gn_mean = 0;
    for (int64_t c = 0; c < C; ++c) mean += Real(y[c]) / C;
    for (int64_t c = 0; c < C; ++c) variance += (Real(y[c]) - mean) * (Real(y[c]) - mean) / C;
    const Real rstd = 1 / std::sqrt(variance + Real(op.epsilon));
    const auto norm = [&](int64_t c) { return (Real(y[c]) - mean) * rstd; };
    for (int64_t c = 0; c < C; ++c) {
      const Real affine = norm(c) * Real(in.gamma[c]) + Real(in.beta[c]),
                 g = Real(dout[c]) * Real(in.gamma[c]);
      r.out[row * C + c] = Real(in.x[row * C + c]) + keep * affine;
      r.dgamma[c] += keep * Real(dout[c]) * norm(c);
      r.dbeta[c] += keep * Real(dout[c]);
      r.dkeep[row / op.rows] += Real(dout[c]) * affine;
      g_mean += keep * g / C;
      gn_mean += keep * g * norm(c) / C;
    }
    for (int64_t c = 0; c < C; ++c)
      r.dx[row * C + c] = rstd * (keep * Real(dout[c]) * Real(in.gamma[c]) - g_mean - norm(c) * gn_mean);
  }
  return r;
}

// gelu(z), and its derivative.
template <class Real>
Real gelu(Real z, bool tanh, Real& slope) {
  const Real pi = Real(3.14159265358979323846);
  Real s;
  if (tanh) {
    const Real root = std::sqrt(2 / pi), cube = Real(0.044715);
    s = (1 + std::tanh(root * (z + cube * z * z * z))) / 2;
    slope = s + 2 * z * s * (1 - s) * root * (1 + 3 * cube * z * z);
  } else {
    s = std::erfc(-z / std::sqrt(Real(2))) / 2;
    slope = s + z * std::exp(-z * z / 2) / std::sqrt(2 * pi);
  }
  return z * s;
}

template <class Real>
RowResults<Real> bias_gelu(const BiasGelu& op, const RowInputs& in) {
  const int64_t C = op.channels;
  RowResults<Real> r{Array<Real>(op.rows * C), Array<Real>(op.rows * C), {}, Array<Real>(C), {}};
  for (int64_t i = 0; i < op.rows * C; ++i) {
    Real slope;
    r.out[i] = gelu(Real(in.x[i]) + Real(in.beta[i % C]), op.tanh, slope);
    r.dx[i] = Real(in.dout[i]) * slope;
    r.dbeta[i % C] += r.dx[i];
  }
  return r;
}

// Where element k of row `row` of a lies in x.
inline int64_t element(View view, const Shape& x, int64_t patch, int64_t row, int64_t k) {
  if (view == View::kTokens) return row * x.back() + k;
  const bool merging = view == View::kMerging;
  const int64_t p = merging ? 2 : patch, H = x[merging ? 1 : 2], W = x[merging ? 2 : 3],
                C = x[merging ? 3 : 1];
  const int64_t j = row % (W / p), i = row / (W / p) % (H / p), b = row / (W / p) / (H / p);
  if (merging) {
    const int64_t part = k / C, odd_row = part % 2, odd_column = part / 2;
    return ((b * H + 2 * i + odd_row) * W + 2 * j + odd_column) * C + k % C;
  }
  return ((b * C + k / (p * p)) * H + i * p + k / p % p) * W + j * p + k % p;
}

struct LinearInputs {
  Array<float> x, weight, bias, dout;
};

template <class Real>
struct LinearResults {
  Array<Real> out, dx, dweight, dbias;  // the gradients of the Linear without g
};

template <class Real>
LinearResults<Real> linear(const Linear& op, View view, const Shape& x, int64_t patch,
                           const LinearInputs& in) {
  const int64_t K = op.in, N = op.out;
  LinearResults<Real> r{Array<Real>(op.rows * N), Array<Real>(op.rows * K), Array<Real>(N * K),
                        Array<Real>(N)};
  for (int64_t row = 0; row < op.rows; ++row)
    for (int64_t n = 0; n < N; ++n) {
      const Real g = in.dout[row * N + n];
      Real z = 0, slope;
      for (int64_t k = 0; k < K; ++k) {
        const int64_t at = element(view, x, patch, row, k);
        z += Real(in.x[at]) * Real(in.weight[n * K + k]);
        r.dx[at] += g * Real(in.weight[n * K + k]);
        r.dweight[n * K + k] += g * Real(in.x[at]);
      }
      z += Real(in.bias[n]);
      r.out[row * N + n] = op.gelu == Gelu::kNone ? z : gelu(z, op.gelu == Gelu::kTanh, slope);
      r.dbias[n] += g;
    }
  return r;
}

}  // namespace formula
}  // namespace swinv2
