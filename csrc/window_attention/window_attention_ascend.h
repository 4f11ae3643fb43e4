// SPDX-License-Identifier: Apache-2.0
//
// What the window attention kernels of both chips share: buffers and hand-offs between pipes, and where a window's
// tokens lie.
#pragma once

#include "kernel_operator.h"
#include "window_attention/tiling.h"

namespace swinv2 {

using namespace AscendC;

constexpr int32_t kSide = 16, kFractal = 256, kLanes = 64, kBlockBytes = 32;
constexpr int32_t kQ = 0, kK = 1, kV = 2, kDout = 3;  // kDout: of the backward
constexpr float kNever = 1e30f;                       // an lse whose p are 0

__aicore__ inline int32_t Min(int32_t a, int32_t b) {
  return a < b ? a : b;
}
__aicore__ inline int32_t Max(int32_t a, int32_t b) {
  return a > b ? a : b;
}
__aicore__ inline int32_t DivideUp(int32_t a, int32_t b) {
  return (a + b - 1) / b;
}

template <typename E, TPosition position>
__aicore__ inline LocalTensor<E> Buffer(TPipe& pipe, TBuf<position>& buffer, int32_t count) {
  pipe.InitBuffer(buffer, count * sizeof(E));
  return buffer.template Get<E>();
}

// A buffer that one pipe fills and another empties.
template <HardEvent ready, HardEvent free>
struct Handoff {
  int32_t id;
  __aicore__ inline void Open() const { SetFlag<free>(id); }
  __aicore__ inline void Acquire() const { WaitFlag<free>(id); }
  __aicore__ inline void Publish() const { SetFlag<ready>(id); }
  __aicore__ inline void Await() const { WaitFlag<ready>(id); }
  __aicore__ inline void Release() const { SetFlag<free>(id); }
  __aicore__ inline void Close() const { WaitFlag<free>(id); }
};
using Mte1ToCube = Handoff<HardEvent::MTE1_M, HardEvent::M_MTE1>;
using Mte2ToVector = Handoff<HardEvent::MTE2_V, HardEvent::V_MTE2>;
using VectorToMte3 = Handoff<HardEvent::V_MTE3, HardEvent::MTE3_V>;

// c (m, n) = a (m, k) b (k, n), plus c unless it is the first.
template <typename T>
__aicore__ inline void Multiply(const LocalTensor<float>& c, const LocalTensor<T>& a, const LocalTensor<T>& b,
                                int32_t m, int32_t columns, int32_t k, bool first) {
  MmadParams p;
  p.m = m;
  p.n = columns;
  p.k = k;
  p.cmatrixInitVal = first;
  Mmad(c, a, b, p);
}

// One axis of a window: tokens [0, split) lie at start + i, the rest, of another region, at i - split.
struct Axis {
  int32_t start, split, window, valid;

  __aicore__ inline void Locate(int32_t index, int32_t size, int32_t window_size, int32_t shift,
                                int32_t valid_size) {
    start = index * window_size + shift;
    window = window_size;
    valid = valid_size;
    split = Min(window, size - start);
  }
  __aicore__ inline int32_t At(int32_t i) const { return i < split ? start + i : i - split; }
  __aicore__ inline int32_t Regions() const { return split < window ? 2 : 1; }
  __aicore__ inline int32_t Begin(int32_t region) const { return region ? split : 0; }
  __aicore__ inline int32_t End(int32_t region) const { return region ? window : split; }
  // From here to End(region) the tokens are padding.
  __aicore__ inline int32_t Padding(int32_t region) const {
    return Min(End(region), Max(Begin(region), Begin(region) + valid - At(Begin(region))));
  }
  __aicore__ inline bool Padded() const {
    return Padding(0) < End(0) || (Regions() == 2 && Padding(1) < End(1));
  }
};

// Tokens of one row of a strip that lie side by side in the image; the first `valid` are no padding.
struct Pixels {
  int32_t count, valid;
  int64_t first;
};

// The run that starts at `token` of a window or strip (y, x) and ends before `end`; `image` is its image's
// first token.
__aicore__ inline Pixels RunFrom(const Axis& y, const Axis& x, int64_t image, int32_t width, int32_t token,
                                 int32_t end) {
  const int32_t h = token / x.window, w = token % x.window, region = w >= x.split;
  const int32_t row = y.At(h), column = x.At(w);
  Pixels run;
  run.count = Min(end - token, x.End(region) - w);
  run.valid = row < y.valid ? Min(run.count, x.Padding(region) - w) : 0;
  run.first = image + static_cast<int64_t>(row) * width + column;
  return run;
}

struct Window {
  int32_t index;
  int64_t image;  // the first token of its image
  Axis y, x;

  __aicore__ inline void Locate(const WindowAttentionProblem& t, int32_t window) {
    const int32_t across = t.width / t.window_w, down = t.height / t.window_h;
    index = window;
    image = static_cast<int64_t>(index / (across * down)) * t.height * t.width;
    y.Locate(index / across % down, t.height, t.window_h, t.shift_h, t.valid_h);
    x.Locate(index % across, t.width, t.window_w, t.shift_w, t.valid_w);
  }
  __aicore__ inline bool Padded() const { return y.Padded() || x.Padded(); }
  __aicore__ inline bool Split() const { return y.Regions() + x.Regions() > 2; }
  // -1: padding.
  __aicore__ inline int32_t Region(int32_t token) const {
    const int32_t h = token / x.window, w = token % x.window;
    if (y.At(h) >= y.valid || x.At(w) >= x.valid) return -1;
    return 2 * (h >= y.split) + (w >= x.split);
  }
};

// Rows of x (tokens from `first` on, d) that are padding become zeros.
template <typename T>
__aicore__ inline void ClearPadding(const LocalTensor<T>& x, const Window& window, int32_t width,
                                    int32_t first, int32_t end, int32_t d) {
  for (int32_t token = first; token < end;) {
    const Pixels run = RunFrom(window.y, window.x, window.image, width, token, end);
    const int32_t valid = Max(run.valid, 0);
    if (valid < run.count) Duplicate(x[(token - first + valid) * d], T(0), (run.count - valid) * d);
    token += run.count;
  }
  PipeBarrier<PIPE_V>();
}

// The host's bytes of a tiling.
template <class Tiling>
__aicore__ inline Tiling ReadTiling(GM_ADDR tiling) {
  Tiling t;
  const auto* from = reinterpret_cast<const __gm__ int32_t*>(tiling);
  for (uint32_t i = 0; i < sizeof(t) / sizeof(int32_t); ++i) reinterpret_cast<int32_t*>(&t)[i] = from[i];
  return t;
}

}  // namespace swinv2
