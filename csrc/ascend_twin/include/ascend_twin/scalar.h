// SPDX-License-Identifier: Apache-2.0
// Calls of the scalar unit on numbers: bits and casts.
#pragma once

#include "ascend_twin/types.h"

namespace AscendC {
inline namespace ASCEND_TWIN_NAMESPACE {

// How many zeros lead, bits are `value`, bits behind the sign repeat it; the lowest bit that is `value`. -1: none.
template <bool has = kIs910B>
int64_t ScalarCountLeadingZero(uint64_t valueIn) {
  ASCEND_TWIN_REQUIRE(has, "ScalarCountLeadingZero");
  return valueIn ? __builtin_clzll(valueIn) : 64;
}
template <int value, bool has = kIs910B>
int64_t ScalarGetCountOfValue(uint64_t valueIn) {
  ASCEND_TWIN_REQUIRE(has && (value == 0 || value == 1), "ScalarGetCountOfValue");
  return __builtin_popcountll(value ? valueIn : ~valueIn);
}
template <bool has = kIs910B>
int64_t CountBitsCntSameAsSignBit(int64_t valueIn) {
  ASCEND_TWIN_REQUIRE(has, "CountBitsCntSameAsSignBit");
  return valueIn == 0 || valueIn == -1 ? -1 : __builtin_clrsbll(valueIn);
}
template <int value, bool has = kIs910B>
int64_t ScalarGetSFFValue(uint64_t valueIn) {
  ASCEND_TWIN_REQUIRE(has && (value == 0 || value == 1), "ScalarGetSFFValue");
  return __builtin_ffsll(static_cast<int64_t>(value ? valueIn : ~valueIn)) - 1;
}

// The same under their newer names.
template <bool has = kIs910B>
int64_t CountLeadingZero(uint64_t valueIn) {
  return ScalarCountLeadingZero<has>(valueIn);
}
template <int value>
int64_t GetBitCount(uint64_t valueIn) {
  return ScalarGetCountOfValue<value>(valueIn);
}
template <int value>
int64_t GetSFFValue(uint64_t valueIn) {
  return ScalarGetSFFValue<value>(valueIn);
}

template <bool has = kIs910B>
float ToFloat(const bfloat16_t& bVal) {
  ASCEND_TWIN_REQUIRE(has, "ToFloat");
  return static_cast<float>(bVal);
}
template <bool has = kIs910B>
float Cast(const bfloat16_t& bVal) {
  ASCEND_TWIN_REQUIRE(has, "Cast");
  return static_cast<float>(bVal);
}
template <bool has = kIs910B>
bfloat16_t Cast(const float& fVal) {
  ASCEND_TWIN_REQUIRE(has, "Cast");
  return bfloat16_t(fVal);
}

constexpr int16_t GetDataBlockSizeInBytes() {
  return ONE_BLK_SIZE;
}

}  // namespace ASCEND_TWIN_NAMESPACE
}  // namespace AscendC
