// SPDX-License-Identifier: Apache-2.0
#include "window_attention/window_attention_host.h"

#include <algorithm>

#include "core/check.h"
#include "cpu/isa.h"
#include "cpu/parallel.h"

namespace swinv2 {

SWINV2_PER_ISA(size_t window_attention_forward_scratch(const WindowAttention&);
               size_t window_attention_backward_scratch(const WindowAttention&);
               void window_attention_forward(const WindowAttention&, const WindowAttentionForward&);
               void window_attention_backward(const WindowAttention&, const WindowAttentionBackward&);)

namespace {

constexpr int64_t kMaxTokens = INT32_MAX;  // tilings count them in int32

size_t backward_scratch(const WindowAttention& op) {
  SWINV2_DISPATCH(window_attention_backward_scratch(op));
}
size_t forward_scratch(const WindowAttention& op) {
  SWINV2_DISPATCH(window_attention_forward_scratch(op));
}

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

WindowAttention check_window_attention(const Shape& qkv, DType dtype, const Shape& table, const Shape& scale,
                                       const WindowAttentionOptions& options) {
  if (qkv.size() != 4)
    fail("qkv: expected 4 dimensions (B, H, W, 3 * heads * head_dim), got shape ", text(qkv));
  for (int64_t n : qkv)
    if (n < 1) fail("qkv: expected every dimension to be at least 1, got shape ", text(qkv));
  if (table.size() != 3 || table[0] < 1 || table[1] < 1 || table[2] < 1 || table[1] % 2 == 0 ||
      table[2] % 2 == 0)
    fail("bias_table: expected shape (heads, 2*Wh-1, 2*Ww-1), got ", text(table));
  const int64_t heads = table[0], window_h = table[1] / 2 + 1, window_w = table[2] / 2 + 1;
  if (qkv[3] % 3 || qkv[3] / 3 % heads)
    fail("qkv: expected channels divisible by 3 * heads, heads = ", heads, ", got ", qkv[3], " channels");
  if (scale != Shape{heads}) fail("scale: expected shape (", heads, ",), one a head, got ", text(scale));
  const int64_t valid_h = options.valid_h == -1 ? qkv[1] : options.valid_h;
  const int64_t valid_w = options.valid_w == -1 ? qkv[2] : options.valid_w;
  check_axis("height", qkv[1], window_h, options.shift_h, valid_h);
  check_axis("width", qkv[2], window_w, options.shift_w, valid_w);
  if (!(options.mask_value <= 0.f))
    fail("mask_value: expected a number <= 0 or -Inf, got ", options.mask_value);
  if (qkv[0] > kMaxTokens / qkv[1] / qkv[2])
    fail("qkv: expected fewer than 2^31 tokens, got shape ", text(qkv), "; split the batch");

  const WindowAttention op{
      {qkv[0], qkv[1], qkv[2], window_h, window_w, options.shift_h, options.shift_w, valid_h, valid_w},
      heads,
      qkv[3] / (3 * heads),
      options.mask_value,
      options.cosine,
      dtype};
  const size_t bytes = std::max(forward_scratch(op), backward_scratch(op));
  if (bytes > kScratchLimit)
    fail("window_size: a window of ", window_h, " x ", window_w, " at head_dim ", op.head_dim, " needs ",
         bytes, " bytes of scratch a thread, the limit is ", kScratchLimit,
         "; use a smaller window or head_dim, or backend='reference'");
  return op;
}

Shape out_shape(const WindowAttention& op) {
  const WindowGeometry& g = op.geometry;
  return {g.batch, g.height, g.width, op.num_heads * op.head_dim};
}

Shape stats_shape(const WindowAttention& op) {
  return {op.geometry.windows(), op.num_heads, op.stats_tokens()};
}

void window_attention_forward(const WindowAttention& op, const WindowAttentionForward& io) {
  SWINV2_DISPATCH_TO(amx_bf16, avx512_bf16, window_attention_forward(op, io));
}

void window_attention_backward(const WindowAttention& op, const WindowAttentionBackward& io) {
  SWINV2_DISPATCH(window_attention_backward(op, io));
}

}  // namespace swinv2
