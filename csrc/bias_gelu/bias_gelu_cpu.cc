// SPDX-License-Identifier: Apache-2.0
#include <memory>

#include "bias_gelu/bias_gelu.h"
#include "cpu/rows.h"

namespace swinv2 {
namespace SWINV2_ISA {
namespace {

struct Exact {
  // Phi(-a) = exp(-a^2/2) t P(t), t = 1 / (1 + 0.35 a), a >= 0: P of degree 8 fits erfcx to 3e-8 relative
  // error, so the tail keeps its digits where 1 + erf cancels. `bell` is exp(-z^2/2).
  SWINV2_INLINE Vec Phi(Vec z, Vec& bell) {
    const Vec a = z < 0.f ? -z : z;
    bell = exp2(z * z * -0.72134752f);  // log2(e) / 2
    const Vec t = 1.f / (1.f + 0.35f * a);
    Vec p = splat(-2.914586628e-2f);
    p = p * t + splat(1.439714155e-1f);
    p = p * t + splat(-2.557137308e-1f);
    p = p * t + splat(1.591736297e-1f);
    p = p * t + splat(-2.310951549e-2f);
    p = p * t + splat(1.055078876e-1f);
    p = p * t + splat(1.198328925e-1f);
    p = p * t + splat(1.398618669e-1f);
    p = p * t + splat(1.396214044e-1f);
    p = p * t * bell;
    return z < 0.f ? p : 1.f - p;
  }
  SWINV2_INLINE Vec value(Vec z) {
    Vec bell;
    return z * Phi(z, bell);
  }
  SWINV2_INLINE Vec slope(Vec z) {
    Vec bell;
    const Vec phi = Phi(z, bell);
    return phi + z * bell * 0.3989422804f;  // 1 / sqrt(2 pi)
  }
};

struct Tanh {
  static constexpr float kRoot = 0.7978845608f, kCube = 0.044715f;  // sqrt(2 / pi)
  SWINV2_INLINE Vec sigmoid(Vec z) {
    const Vec u = kRoot * (z + kCube * z * z * z);
    const Vec x = u * -2.885390082f;  // -2 log2(e)
    return x > 126.f ? Vec{} : 1.f / (1.f + exp2(x));
  }
  SWINV2_INLINE Vec value(Vec z) { return z * sigmoid(z); }
  SWINV2_INLINE Vec slope(Vec z) {
    const Vec s = sigmoid(z);
    return s + 2.f * z * s * (1.f - s) * kRoot * (1.f + 3.f * kCube * z * z);
  }
};

template <class T, class Gelu>
void forward(const BiasGelu& op, const BiasGeluForward& io) {
  const int64_t C = op.channels;
  parallel_rows(op.rows, C, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      const T* x = static_cast<const T*>(io.x) + row * C;
      T* out = static_cast<T*>(io.out) + row * C;
      for (int64_t c = 0; c < C; c += kLanes)
        store_first(out + c, Gelu::value(load_first(x + c, C - c) + load_first(io.bias + c, C - c)), C - c);
    }
  });
}

template <class T, class Gelu>
void backward(const BiasGelu& op, const BiasGeluBackward& io) {
  const int64_t C = op.channels, padded = round_up(C, kLanes);
  const RowChunks chunks(op.rows);
  std::unique_ptr<float[]> partials(new float[chunks.count * padded]());
  parallel_for(chunks.count, 1, [&](int64_t first, int64_t last) {
    for (int64_t chunk = first; chunk < last; ++chunk) {
      float* dbias = partials.get() + chunk * padded;
      for (int64_t row = chunks.begin(chunk); row < chunks.end(chunk); ++row) {
        const T* x = static_cast<const T*>(io.x) + row * C;
        const T* dout = static_cast<const T*>(io.dout) + row * C;
        T* dx = static_cast<T*>(io.dx) + row * C;
        for (int64_t c = 0; c < C; c += kLanes) {
          const int64_t n = C - c;
          const Vec z = load_first(x + c, n) + load_first(io.bias + c, n);
          const Vec g = load_first(dout + c, n) * Gelu::slope(z);
          store(dbias + c, load(dbias + c) + g);
          store_first(dx + c, g, n);
        }
      }
    }
  });
  sum_partials(io.dbias, partials.get(), chunks.count, padded, C);
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
  switch (op.dtype) {
    case DType::kFloat32:
      return forward<float>(op, io);
    case DType::kFloat16:
      return forward<Half>(op, io);
    case DType::kBFloat16:
      return forward<BFloat16>(op, io);
  }
}

void bias_gelu_backward(const BiasGelu& op, const BiasGeluBackward& io) {
  switch (op.dtype) {
    case DType::kFloat32:
      return backward<float>(op, io);
    case DType::kFloat16:
      return backward<Half>(op, io);
    case DType::kBFloat16:
      return backward<BFloat16>(op, io);
  }
}

}  // namespace SWINV2_ISA
}  // namespace swinv2
