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

size_t backward_scratch(const WindowAttention& op) {
  SWINV2_DISPATCH(window_attention_backward_scratch(op));
}
size_t forward_scratch(const WindowAttention& op) {
  SWINV2_DISPATCH(window_attention_forward_scratch(op));
}

}  // namespace

WindowAttention check_window_attention(const Shape& qkv, DType dtype, const Shape& table, const Shape& scale,
                                       const WindowAttentionOptions& options) {
  if (table.size() != 3 || table[0] < 1 || table[1] < 1 || table[2] < 1 || table[1] % 2 == 0 ||
      table[2] % 2 == 0)
    fail("bias_table: expected shape (heads, 2*Wh-1, 2*Ww-1), got ", text(table));
  const int64_t heads = table[0], window_h = table[1] / 2 + 1, window_w = table[2] / 2 + 1;
  if (scale != Shape{heads}) fail("scale: expected shape (", heads, ",), one a head, got ", text(scale));
  const WindowAttention op = check_problem(qkv, dtype, heads, window_h, window_w, options);
  const size_t bytes = std::max(forward_scratch(op), backward_scratch(op));
  if (bytes > kScratchLimit)
    fail("window_size: a window of ", window_h, " x ", window_w, " at head_dim ", op.head_dim, " needs ",
         bytes, " bytes of scratch a thread, the limit is ", kScratchLimit,
         "; use a smaller window or head_dim, or backend='reference'");
  return op;
}

void window_attention_forward(const WindowAttention& op, const WindowAttentionForward& io) {
  SWINV2_DISPATCH_TO(amx_bf16, avx512_bf16, window_attention_forward(op, io));
}

void window_attention_backward(const WindowAttention& op, const WindowAttentionBackward& io) {
  SWINV2_DISPATCH(window_attention_backward(op, io));
}

}  // namespace swinv2
