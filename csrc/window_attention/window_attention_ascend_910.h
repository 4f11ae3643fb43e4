// SPDX-License-Identifier: Apache-2.0
//
// What forward and backward window attention share on dav-c100.
#pragma once

#include "window_attention/window_attention_ascend.h"

namespace swinv2 {

// Under |x|^2, which is 0 or at least 2^-48: sqrt(|x|^2 + tiny) = max(|x|, 1e-12).
constexpr float kTiny = 1e-24f;

__aicore__ inline DataCopyEnhancedParams Matrix() {
  DataCopyEnhancedParams p;
  p.blockMode = BlockMode::BLOCK_MODE_MATRIX;
  return p;
}
// L0C to UB, fractals as they lie.
__aicore__ inline void FromCube(const LocalTensor<float>& to, const LocalTensor<float>& from,
                                int32_t fractals) {
  DataCopy(to, from, DataCopyParams(1, fractals, 0, 0), Matrix());
}

}  // namespace swinv2
