// SPDX-License-Identifier: Apache-2.0
// Filling GM, through the UB that is left.
#pragma once

#include <algorithm>

#include "ascend_twin/data_copy.h"
#include "ascend_twin/sync.h"
#include "ascend_twin/vector.h"

namespace AscendC {
inline namespace ASCEND_TWIN_NAMESPACE {

template <typename T>
void Fill(const GlobalTensor<T>& gm, const uint64_t size, const T value, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B && (OneOf<T, half, bfloat16_t, float, int16_t, uint16_t, int32_t, uint32_t>),
                      "Fill");
  uint32_t bytes = 0;
  const uint32_t start = ::ascend_twin::FreeUb(detail::Current(), &bytes);
  const uint64_t room = std::min<uint64_t>(bytes / 32 * 32, 32 * 1024) / sizeof(T);
  const LocalTensor<T> scratch(TPosition::VECCALC, start, static_cast<uint32_t>(room));
  PipeBarrier<PIPE_ALL>(where);
  Duplicate(scratch, value, static_cast<int32_t>(std::min(size, room)), where);
  PipeBarrier<PIPE_ALL>(where);
  for (uint64_t at = 0; at < size; at += room)
    DataCopyPad(gm[at], scratch,
                DataCopyExtParams(1, static_cast<uint32_t>(std::min(size - at, room) * sizeof(T)), 0, 0, 0),
                where);
  PipeBarrier<PIPE_ALL>(where);
}
template <typename T>
void InitOutput(const GlobalTensor<T>& gmWorkspaceAddr, uint32_t size, T value = T(0), ASCEND_TWIN_WHERE) {
  Fill<T>(gmWorkspaceAddr, size, value, where);
}

}  // namespace ASCEND_TWIN_NAMESPACE
}  // namespace AscendC
