// SPDX-License-Identifier: Apache-2.0
//
// What forward and backward window attention share on dav-c220: hand-offs, and which keys a query sees.
#pragma once

#include "window_attention/window_attention_ascend.h"

namespace swinv2 {

using Mte2ToMte1 = Handoff<HardEvent::MTE2_MTE1, HardEvent::MTE1_MTE2>;
using CubeToFix = Handoff<HardEvent::M_FIX, HardEvent::FIX_M>;

constexpr float kSmallestNorm = 1e-12f;

// Which keys a query sees: on rows of scores (rows, pitch), a lane a key, a row a query.
class KeyMask {
 public:
  // tokens: N; mask_value where regions differ.
  __aicore__ inline void Init(TPipe& pipe, int32_t tokens, int32_t row_pitch, float mask_value) {
    n = tokens;
    pitch = row_pitch;
    chunks = pitch / kLanes;
    value = mask_value;
    mask = Buffer<float>(pipe, buffer, 4 * pitch);
  }

  __aicore__ inline void Enter(const Window& to) {
    window = to;
    for (int32_t i = 0; i < chunks; ++i) forbidden[i] = 0;
    for (int32_t key = 0; key < pitch; ++key)
      if (key >= n || window.Region(key) < 0) forbidden[key / kLanes] |= uint64_t(1) << (key % kLanes);
    if (!window.Split()) return;
    Duplicate(mask, value, 4 * pitch);
    PipeBarrier<PIPE_V>();
    for (int32_t region = 0; region < 4; ++region)
      for (int32_t i = 0; i < chunks; ++i) {
        uint64_t lanes[2] = {0, 0};
        for (int32_t key = i * kLanes; key < Min(n, (i + 1) * kLanes); ++key)
          if (window.Region(key) == region) lanes[0] |= uint64_t(1) << (key % kLanes);
        if (lanes[0] != 0) Duplicate(mask[region * pitch + i * kLanes], 0.f, lanes, 1, 1, 8);
      }
    PipeBarrier<PIPE_V>();
  }

  // Adds mask_value to scores of queries [first, first + rows) where the regions of key and query differ.
  __aicore__ inline void Mask(const LocalTensor<float>& s, int32_t first, int32_t rows) const {
    if (!window.Split()) return;
    for (int32_t i = 0; i < rows;) {
      const int32_t token = first + i, h = token / window.x.window, w = token % window.x.window;
      const int32_t right = w >= window.x.split, region = 2 * (h >= window.y.split) + right;
      const int32_t count = Min(rows - i, window.x.End(right) - w);
      for (int32_t chunk = 0; chunk < chunks; ++chunk) {
        const LocalTensor<float> part = s[i * pitch + chunk * kLanes];
        Add(part, part, mask[region * pitch + chunk * kLanes], kLanes, count,
            BinaryRepeatParams(1, 1, 1, pitch / 8, pitch / 8, 0));
      }
      i += count;
    }
    PipeBarrier<PIPE_V>();
  }

  // Lanes of padding and beyond N become `with`.
  __aicore__ inline void Forbid(const LocalTensor<float>& s, int32_t rows, float with) const {
    for (int32_t i = 0; i < chunks; ++i) {
      uint64_t lanes[2] = {forbidden[i], 0};
      if (lanes[0] != 0) Duplicate(s[i * kLanes], with, lanes, rows, 1, pitch / 8);
    }
    PipeBarrier<PIPE_V>();
  }

 private:
  int32_t n, pitch, chunks;
  float value;
  Window window;
  uint64_t forbidden[16];
  TBuf<TPosition::VECCALC> buffer;
  LocalTensor<float> mask;  // (regions of the query, pitch)
};

}  // namespace swinv2
