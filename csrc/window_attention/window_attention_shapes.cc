// SPDX-License-Identifier: Apache-2.0
#include "window_attention/window_attention_shapes.h"

#include "core/check.h"

namespace swinv2 {
namespace {

constexpr int64_t kMaxTokens = INT32_MAX;  // tilings count them in int32

void check_axis(const char* axis, int64_t size, int64_t window, int64_t shift, int64_t valid) {
  if (size % window)
    fail("qkv: expected a ", axis, " that is a multiple of the window's ", window, ", got ", size,
         "; pad the image and pass valid_size");
  if (shift < 0 || shift >= window)
    fail("shift_size: expected 0 <= shift < window_size (", window, ") along ", axis, ", got ", shift);
  if (valid < 1 || valid > size)
    fail("valid_size: expected 1 <= valid <= ", size, " along ", axis, ", got ", valid);
}

}  // namespace

WindowAttention check_problem(const Shape& qkv, DType dtype, int64_t heads, int64_t window_h,
                              int64_t window_w, const WindowAttentionOptions& options) {
  if (qkv.size() != 4)
    fail("qkv: expected 4 dimensions (B, H, W, 3 * heads * head_dim), got shape ", text(qkv));
  for (int64_t n : qkv)
    if (n < 1) fail("qkv: expected every dimension to be at least 1, got shape ", text(qkv));
  if (heads < 1) fail("scale: expected shape (heads,) with at least one head, got ", heads);
  if (window_h < 1 || window_w < 1)
    fail("window_size: expected at least 1 x 1, got ", window_h, " x ", window_w);
  if (qkv[3] % 3 || qkv[3] / 3 % heads)
    fail("qkv: expected channels divisible by 3 * heads, heads = ", heads, ", got ", qkv[3], " channels");
  const int64_t valid_h = options.valid_h == -1 ? qkv[1] : options.valid_h;
  const int64_t valid_w = options.valid_w == -1 ? qkv[2] : options.valid_w;
  check_axis("height", qkv[1], window_h, options.shift_h, valid_h);
  check_axis("width", qkv[2], window_w, options.shift_w, valid_w);
  if (!(options.mask_value <= 0.f))
    fail("mask_value: expected a number <= 0 or -Inf, got ", options.mask_value);
  if (qkv[0] > kMaxTokens / qkv[1] / qkv[2])
    fail("qkv: expected fewer than 2^31 tokens, got shape ", text(qkv), "; split the batch");
  return {{qkv[0], qkv[1], qkv[2], window_h, window_w, options.shift_h, options.shift_w, valid_h, valid_w},
          heads,
          qkv[3] / (3 * heads),
          options.mask_value,
          options.cosine,
          dtype};
}

Shape out_shape(const WindowAttention& op) {
  const WindowGeometry& g = op.geometry;
  return {g.batch, g.height, g.width, op.num_heads * op.head_dim};
}

Shape stats_shape(const WindowAttention& op) {
  return {op.geometry.windows(), op.num_heads, op.stats_tokens()};
}

std::vector<Shape> unknown_shapes(const Shape& qkv, int64_t heads) {
  Shape out = qkv.size() == 4 ? qkv : Shape(4, -1);
  out[3] = out[3] < 0 ? -1 : out[3] / 3;
  return {out, {-1, heads, -1}};
}

}  // namespace swinv2
