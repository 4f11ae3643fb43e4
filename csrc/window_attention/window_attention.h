// SPDX-License-Identifier: Apache-2.0
//
// Window attention of Swin Transformer V2 (arXiv 2111.09883, sections 3.2 and 3.3), image layout in and out.
//
//   qkv (B, H, W, 3 * heads * d), channels [q|k|v][head][d]      out (B, H, W, heads * d)
//   bias_table (heads, 2Wh-1, 2Ww-1) float32                      scale (heads,) float32
//
// Per window and head, over its N = Wh * Ww tokens i (queries) and j (keys), gathered by
// core/window_geometry.h:
//
//   q^_i = q_i / max(|q_i|, 1e-12), k^_j likewise                 (dot-product mode, V1: q^ = q, k^ = k)
//   scale = exp(min(logit_scale, ln 100))                         (V1: the factor itself, head_dim^-0.5)
//   s_ij = scale * q^_i . k^_j + bias_table[h_i - h_j + Wh-1, w_i - w_j + Ww-1] + mask_ij
//   mask_ij = mask_value where the regions of i and j differ (shifted windows), -Inf where j is padding, else 0
//             (on the CPU pairs whose p is lost in rounding are left out: window_attention_regions.h)
//   p_ij = exp(s_ij) / sum_j exp(s_ij)            lse_i = log sum_j exp(s_ij)
//   o_i  = sum_j p_ij v_j                         0 where i is padding
//
// Backward, given do_i, recomputing p_ij = exp(s_ij - lse_i):
//
//   dv_j  = sum_i p_ij do_i                      D_i = do_i . o_i
//   ds_ij = p_ij (do_i . v_j - D_i)
//   dbias_table[a, b] = sum of ds_ij over windows and the pairs that read entry (a, b)
//   dscale = sum_ij ds_ij q^_i . k^_j            dlogit_scale = scale dscale, 0 where logit_scale > ln 100
//   dq^_i = scale sum_j ds_ij k^_j               dk^_j = scale sum_i ds_ij q^_i
//   dq_i  = (dq^_i - q^_i (q^_i . dq^_i)) / |q_i|, or dq^_i / 1e-12 where |q_i| is below it; dk_j likewise
//
// Storage of qkv, out and their gradients is float32, float16 or bfloat16; all arithmetic is float32,
// except that CPUs with AVX512_BF16 or AMX multiply bfloat16 by rounded p_ij (window_attention_pairs.h).
#pragma once

#include <cstdint>

#include "core/dtype.h"
#include "core/window_geometry.h"

namespace swinv2 {

struct WindowAttention {
  WindowGeometry geometry;
  int64_t num_heads;
  int64_t head_dim;  // d
  float mask_value;  // <= 0, -Inf allowed
  bool cosine;       // false: dot product (V1)
  DType dtype;       // of qkv, out, dout, dqkv

  int64_t table_size() const { return (2 * geometry.window_h - 1) * (2 * geometry.window_w - 1); }
  // stats (windows, heads, padded N): lse_i in log2 units. Opaque outside a back end.
  int64_t stats_tokens() const { return (geometry.tokens() + 7) / 8 * 8; }
};

struct WindowAttentionForward {
  const void* qkv;
  const float* bias_table;
  const float* scale;
  void* out;
  float* stats;
};

struct WindowAttentionBackward {
  const void* qkv;
  const float* bias_table;
  const float* scale;
  const void* out;
  const float* stats;
  const void* dout;
  void* dqkv;
  float* dbias_table;
  float* dscale;
};

constexpr float kNormFloor = 1e-12f;

}  // namespace swinv2
