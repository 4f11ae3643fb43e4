// SPDX-License-Identifier: Apache-2.0
#include <memory>

#include "bias_gelu/bias_gelu.h"
#include "cpu/gelu.h"
#include "cpu/rows.h"

namespace swinv2 {
namespace SWINV2_ISA {
namespace {

template <class T, class G>
void forward(const BiasGelu& op, const BiasGeluForward& io) {
  const int64_t C = op.channels;
  parallel_rows(op.rows, C, [&](int64_t begin, int64_t end) {
    const float* bias = io.bias;
    for (int64_t row = begin; row < end; ++row) {
      const T* x = static_cast<const T*>(io.x) + row * C;
      T* out = static_cast<T*>(io.out) + row * C;
      over_channels(C, [&](int64_t c, auto n) {
        fetch_ahead(x, c);
        fetch_ahead<true>(out, c);
        store_first(out + c, G::value(load_first(x + c, n) + load_first(bias + c, n)), n);
      });
    }
  });
}

template <class T, class G>
void backward(const BiasGelu& op, const BiasGeluBackward& io) {
  const int64_t C = op.channels, padded = round_up(C, 16);
  const RowChunks chunks(op.rows);
  const Floats partials(chunks.count * padded);
  parallel_for(chunks.count, 1, [&](int64_t chunk, int64_t) {
    const float* bias = io.bias;
    float* dbias = partials + chunk * padded;
    __builtin_memset(dbias, 0, padded * sizeof(float));
    for (int64_t row = chunks.begin(chunk); row < chunks.end(chunk); ++row) {
      const T* x = static_cast<const T*>(io.x) + row * C;
      const T* dout = static_cast<const T*>(io.dout) + row * C;
      T* dx = static_cast<T*>(io.dx) + row * C;
      over_channels(C, [&](int64_t c, auto n) {
        fetch_ahead(x, c);
        fetch_ahead(dout, c);
        fetch_ahead<true>(dx, c);
        const Vec z = load_first(x + c, n) + load_first(bias + c, n);
        const Vec g = load_first(dout + c, n) * G::slope(z);
        store(dbias + c, load(dbias + c) + g);
        store_first(dx + c, g, n);
      });
    }
  });
  sum_partials(io.dbias, partials + 0, chunks.count, padded, C);
}

template <class T>
void forward(const BiasGelu& op, const BiasGeluForward& io) {
  op.tanh ? forward<T, Tanh>(op, io) : forward<T, Exact>(op, io);
}
template <class T>
void backward(const BiasGelu& op, const BiasGeluBackward& io) {
  op.tanh ? backward<T, Tanh>(op, io) : backward<T, Exact>(op, io);
}

}  // namespace

void bias_gelu_forward(const BiasGelu& op, const BiasGeluForward& io) {
  with_storage(op.dtype, [&](auto x) { forward<decltype(x)>(op, io); });
}

void bias_gelu_backward(const BiasGelu& op, const BiasGeluBackward& io) {
  with_storage(op.dtype, [&](auto x) { backward<decltype(x)>(op, io); });
}

}  // namespace SWINV2_ISA
}  // namespace swinv2
