// SPDX-License-Identifier: Apache-2.0
// Compare and Select.
#pragma once

#include "ascend_twin/vector.h"

namespace AscendC {
inline namespace ASCEND_TWIN_NAMESPACE {

// Compare writes a bit an element, a repeat after the other; the vector mask does not select them.
namespace detail {
template <typename T>
constexpr bool CompareTypes = OneOf<T, half, float> || (kIs910B && std::is_same<T, int32_t>::value);
template <typename T, typename U>
::ascend_twin::CompareCall CompareOf(const LocalTensor<U>& dst, const LocalTensor<T>& src0,
                                     const LocalTensor<T>& src1, CMPMODE mode, const BinaryRepeatParams& p) {
  ::ascend_twin::CompareCall call;
  call.name = "Compare";
  call.dst = dst.AsOperand();
  call.src0 = src0.AsOperand(p.src0BlkStride, p.src0RepStride);
  call.src1 = src1.AsOperand(p.src1BlkStride, p.src1RepStride);
  call.mode = static_cast<uint8_t>(mode);
  return call;
}
}  // namespace detail

template <typename T, typename U, bool isSetMask = true>
void Compare(const LocalTensor<U>& dst, const LocalTensor<T>& src0, const LocalTensor<T>& src1,
             CMPMODE cmpMode, uint64_t /*mask*/, int32_t repeatTime, const BinaryRepeatParams& p,
             ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE((detail::CompareTypes<T>) && sizeof(U) == 1, "Compare");
  auto call = detail::CompareOf(dst, src0, src1, cmpMode, p);
  const uint64_t all[2] = {~0ull, ~0ull};
  if (::ascend_twin::LanesFromBits(detail::Current(), "Compare", where, detail::Width<T>, true, all,
                                   repeatTime, &call.lanes))
    ::ascend_twin::Compare(detail::Current(), call, where);
}
template <typename T, typename U, bool isSetMask = true>
void Compare(const LocalTensor<U>& dst, const LocalTensor<T>& src0, const LocalTensor<T>& src1,
             CMPMODE cmpMode, uint64_t /*mask*/[], int32_t repeatTime, const BinaryRepeatParams& p,
             ASCEND_TWIN_WHERE) {
  Compare<T, U, isSetMask>(dst, src0, src1, cmpMode, uint64_t{1}, repeatTime, p, where);
}
// The bytes of the elements are a multiple of 256.
template <typename T, typename U>
void Compare(const LocalTensor<U>& dst, const LocalTensor<T>& src0, const LocalTensor<T>& src1,
             CMPMODE cmpMode, uint32_t count, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE((detail::CompareTypes<T>) && sizeof(U) == 1, "Compare");
  auto call = detail::CompareOf(dst, src0, src1, cmpMode, BinaryRepeatParams());
  if (count * sizeof(T) % 256 != 0) {
    detail::Current().Fail(detail::Rule::kCountRange, "Compare", where,
                           std::to_string(count) + " elements are no multiple of 256 bytes",
                           detail::Pipe::kV);
    return;
  }
  if (::ascend_twin::LanesFromCount(detail::Current(), "Compare", where, detail::Width<T>, count,
                                    &call.lanes))
    ::ascend_twin::Compare(detail::Current(), call, where);
}
// Into the CMPMASK register: one repeat.
template <typename T, bool isSetMask = true>
void Compare(const LocalTensor<T>& src0, const LocalTensor<T>& src1, CMPMODE cmpMode, uint64_t mask,
             const BinaryRepeatParams& p, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B && (OneOf<T, half, float>), "Compare into CMPMASK");
  auto call = detail::CompareOf(src0, src0, src1, cmpMode, p);
  call.to_register = true;
  if (::ascend_twin::LanesFromMask(detail::Current(), "Compare", where, detail::Width<T>, isSetMask, mask, 1,
                                   &call.lanes))
    ::ascend_twin::Compare(detail::Current(), call, where);
}
template <typename T>
void SetCmpMask(const LocalTensor<T>& src, ASCEND_TWIN_WHERE) {
  ::ascend_twin::SetCmpMask(detail::Current(), src.AsOperand(), where);
}
template <typename T>
void GetCmpMask(const LocalTensor<T>& dst, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B && sizeof(T) > 0, "GetCmpMask");
  ::ascend_twin::GetCmpMask(detail::Current(), dst.AsOperand(), where);
}

template <typename T, typename U, bool isSetMask = true>
void CompareScalar(const LocalTensor<U>& dst, const LocalTensor<T>& src0, const T src1Scalar, CMPMODE cmpMode,
                   const uint64_t /*mask*/, int32_t repeatTime, const UnaryRepeatParams& p,
                   ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B && (OneOf<T, half, float, int32_t>) && sizeof(U) == 1, "CompareScalar");
  auto call =
      detail::CompareOf(dst, src0, src0, cmpMode,
                        BinaryRepeatParams(1, static_cast<uint8_t>(p.srcBlkStride), 1, 8, p.srcRepStride, 8));
  call.name = "CompareScalar";
  call.scalar_source = true;
  call.scalar = detail::AsDouble(src1Scalar);
  const uint64_t all[2] = {~0ull, ~0ull};
  if (::ascend_twin::LanesFromBits(detail::Current(), "CompareScalar", where, detail::Width<T>, true, all,
                                   repeatTime, &call.lanes))
    ::ascend_twin::Compare(detail::Current(), call, where);
}
template <typename T, typename U>
void CompareScalar(const LocalTensor<U>& dst, const LocalTensor<T>& src0, const T src1Scalar, CMPMODE cmpMode,
                   uint32_t count, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B && (OneOf<T, half, float, int32_t>) && sizeof(U) == 1, "CompareScalar");
  auto call = detail::CompareOf(dst, src0, src0, cmpMode, BinaryRepeatParams());
  call.name = "CompareScalar";
  call.scalar_source = true;
  call.scalar = detail::AsDouble(src1Scalar);
  if (count * sizeof(T) % 256 != 0) {
    detail::Current().Fail(detail::Rule::kCountRange, "CompareScalar", where,
                           std::to_string(count) + " elements are no multiple of 256 bytes",
                           detail::Pipe::kV);
    return;
  }
  if (::ascend_twin::LanesFromCount(detail::Current(), "CompareScalar", where, detail::Width<T>, count,
                                    &call.lanes))
    ::ascend_twin::Compare(detail::Current(), call, where);
}
template <typename T, typename U, bool isSetMask = true>
void Compares(const LocalTensor<U>& dst, const LocalTensor<T>& src0, const T src1Scalar, CMPMODE cmpMode,
              const uint64_t mask, int32_t repeatTime, const UnaryRepeatParams& p, ASCEND_TWIN_WHERE) {
  CompareScalar<T, U, isSetMask>(dst, src0, src1Scalar, cmpMode, mask, repeatTime, p, where);
}
template <typename T, typename U>
void Compares(const LocalTensor<U>& dst, const LocalTensor<T>& src0, const T src1Scalar, CMPMODE cmpMode,
              uint32_t count, ASCEND_TWIN_WHERE) {
  CompareScalar<T, U>(dst, src0, src1Scalar, cmpMode, count, where);
}

// dst = bit ? src0 : src1. Mode 0 uses one mask for every repeat.
namespace detail {
template <typename T, typename U>
::ascend_twin::SelectCall SelectOf(const LocalTensor<T>& dst, const LocalTensor<U>& mask,
                                   const LocalTensor<T>& src0, const LocalTensor<T>& src1, SELMODE mode,
                                   const BinaryRepeatParams& p) {
  ::ascend_twin::SelectCall call;
  call.name = "Select";
  call.dst = dst.AsOperand(p.dstBlkStride, p.dstRepStride);
  call.mask = mask.AsOperand();
  call.src0 = src0.AsOperand(p.src0BlkStride, p.src0RepStride);
  call.src1 = src1.AsOperand(p.src1BlkStride, p.src1RepStride);
  call.mode = static_cast<uint8_t>(mode);
  return call;
}
}  // namespace detail
template <typename T, typename U, bool isSetMask = true>
void Select(const LocalTensor<T>& dst, const LocalTensor<U>& selMask, const LocalTensor<T>& src0,
            const LocalTensor<T>& src1, SELMODE selMode, uint64_t mask, int32_t repeatTime,
            const BinaryRepeatParams& p, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE((OneOf<T, half, float>), "Select");
  auto call = detail::SelectOf(dst, selMask, src0, src1, selMode, p);
  if (::ascend_twin::LanesFromMask(detail::Current(), "Select", where, detail::Width<T>, isSetMask, mask,
                                   repeatTime, &call.lanes))
    ::ascend_twin::Select(detail::Current(), call, where);
}
template <typename T, typename U, bool isSetMask = true>
void Select(const LocalTensor<T>& dst, const LocalTensor<U>& selMask, const LocalTensor<T>& src0,
            const LocalTensor<T>& src1, SELMODE selMode, uint64_t mask[], int32_t repeatTime,
            const BinaryRepeatParams& p, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE((OneOf<T, half, float>), "Select");
  auto call = detail::SelectOf(dst, selMask, src0, src1, selMode, p);
  if (::ascend_twin::LanesFromBits(detail::Current(), "Select", where, detail::Width<T>, isSetMask, mask,
                                   repeatTime, &call.lanes))
    ::ascend_twin::Select(detail::Current(), call, where);
}
template <typename T, typename U>
void Select(const LocalTensor<T>& dst, const LocalTensor<U>& selMask, const LocalTensor<T>& src0,
            const LocalTensor<T>& src1, SELMODE selMode, uint32_t count, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE((OneOf<T, half, float>), "Select");
  auto call = detail::SelectOf(dst, selMask, src0, src1, selMode, BinaryRepeatParams());
  if (::ascend_twin::LanesFromCount(detail::Current(), "Select", where, detail::Width<T>, count, &call.lanes))
    ::ascend_twin::Select(detail::Current(), call, where);
}
// Against a scalar (mode 1): not on the 910.
template <typename T, typename U, bool isSetMask = true>
void Select(const LocalTensor<T>& dst, const LocalTensor<U>& selMask, const LocalTensor<T>& src0, T src1,
            SELMODE selMode, uint64_t mask, int32_t repeatTime, const BinaryRepeatParams& p,
            ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B && (OneOf<T, half, float>), "Select against a scalar");
  auto call = detail::SelectOf(dst, selMask, src0, src0, selMode, p);
  call.scalar_source = true;
  call.scalar = detail::AsDouble(src1);
  if (::ascend_twin::LanesFromMask(detail::Current(), "Select", where, detail::Width<T>, isSetMask, mask,
                                   repeatTime, &call.lanes))
    ::ascend_twin::Select(detail::Current(), call, where);
}
template <typename T, typename U>
void Select(const LocalTensor<T>& dst, const LocalTensor<U>& selMask, const LocalTensor<T>& src0, T src1,
            SELMODE selMode, uint32_t count, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B && (OneOf<T, half, float>), "Select against a scalar");
  auto call = detail::SelectOf(dst, selMask, src0, src0, selMode, BinaryRepeatParams());
  call.scalar_source = true;
  call.scalar = detail::AsDouble(src1);
  if (::ascend_twin::LanesFromCount(detail::Current(), "Select", where, detail::Width<T>, count, &call.lanes))
    ::ascend_twin::Select(detail::Current(), call, where);
}
// From the CMPMASK register.
template <typename T, SELMODE selMode>
void Select(const LocalTensor<T>& dst, const LocalTensor<T>& src0, const LocalTensor<T>& src1,
            int32_t repeatTime, const BinaryRepeatParams& p, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE((OneOf<T, half, float>) && (kIs910B || selMode == SELMODE::VSEL_CMPMASK_SPR), "Select");
  auto call = detail::SelectOf(dst, dst, src0, src1, selMode, p);
  call.from_register = true;
  if (::ascend_twin::LanesFromBits(detail::Current(), "Select", where, detail::Width<T>, false, nullptr,
                                   repeatTime, &call.lanes))
    ::ascend_twin::Select(detail::Current(), call, where);
}

}  // namespace ASCEND_TWIN_NAMESPACE
}  // namespace AscendC
