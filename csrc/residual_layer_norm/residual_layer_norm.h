// SPDX-License-Identifier: Apache-2.0
//
// The post-norm residual of Swin Transformer V2 (arXiv 2111.09883, figure 1), over rows of C channels:
//
//   mean = sum_c y_c / C          rstd = 1 / sqrt(sum_c (y_c - mean)^2 / C + epsilon)
//   n_c = (y_c - mean) * rstd
//   out_c = x_c + keep * (n_c * gamma_c + beta_c)          keep: one drop-path factor a sample
//
// Backward, given do:
//
//   dx = do          g_c = keep * do_c * gamma_c
//   dy_c = rstd * (g_c - mean_c(g) - n_c * mean_c(g n))
//   dgamma_c = sum_rows keep * do_c * n_c          dbeta_c = sum_rows keep * do_c
//   dkeep = sum over the sample of do_c * (n_c * gamma_c + beta_c)
//
// Layer normalisation alone is the same without x and keep (null, and 1).
#pragma once

#include <cstdint>

#include "core/dtype.h"

namespace swinv2 {

struct ResidualLayerNorm {
  int64_t samples, rows, channels;  // rows of one sample
  float epsilon;
  DType x_dtype;  // of x, out, dout
  DType y_dtype;  // of y, dy: the same, or a half type beside a float32 residual stream
};

struct ResidualLayerNormForward {
  const void *x, *y;                 // x may be null: nothing is added
  const float *gamma, *beta, *keep;  // (C,), (C,), (samples,) or null
  void* out;
  float* stats;  // (rows, 2): mean, rstd
};

struct ResidualLayerNormBackward {
  const void* y;
  const float *gamma, *beta, *keep, *stats;
  const void* dout;
  void* dy;
  float *dgamma, *dbeta, *dkeep;  // dkeep null where keep is
};

}  // namespace swinv2
