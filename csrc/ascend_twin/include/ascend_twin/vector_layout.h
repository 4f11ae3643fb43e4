// SPDX-License-Identifier: Apache-2.0
// Transpose, broadcast of blocks, gather, indices.
#pragma once

#include <algorithm>

#include "ascend_twin/vector.h"

namespace AscendC {
inline namespace ASCEND_TWIN_NAMESPACE {

// A 16 x 16 matrix of 16-bit elements.
template <typename T>
void Transpose(const LocalTensor<T>& dst, const LocalTensor<T>& src, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE((OneOf<T, half, int16_t, uint16_t>), "Transpose");
  ::ascend_twin::Transpose16(detail::Current(), dst.AsOperand(), src.AsOperand(), where);
}

enum class TransposeType : uint8_t {
  TRANSPOSE_TYPE_NONE,
  TRANSPOSE_NZ2ND_0213,
  TRANSPOSE_NZ2NZ_0213,
  TRANSPOSE_NZ2NZ_012_WITH_N,
  TRANSPOSE_NZ2ND_012_WITH_N,
  TRANSPOSE_NZ2ND_012_WITHOUT_N,
  TRANSPOSE_NZ2NZ_012_WITHOUT_N,
  TRANSPOSE_ND2ND_ONLY,
  TRANSPOSE_ND_UB_GM,
  TRANSPOSE_GRAD_ND_UB_GM,
  TRANSPOSE_ND2ND_B16,
  TRANSPOSE_NCHW2NHWC,
  TRANSPOSE_NHWC2NCHW,
};
struct TransposeParamsExt {
  constexpr TransposeParamsExt() = default;
  constexpr TransposeParamsExt(const uint16_t nSizeIn, const uint16_t cSizeIn, const uint16_t hSizeIn,
                               const uint16_t wSizeIn, const TransposeType transposeTypeIn)
      : nSize(nSizeIn), cSize(cSizeIn), hSize(hSizeIn), wSize(wSizeIn), transposeType(transposeTypeIn) {}
  uint16_t nSize = 0;
  uint16_t cSize = 0;
  uint16_t hSize = 0;
  uint16_t wSize = 0;
  TransposeType transposeType = TransposeType::TRANSPOSE_ND2ND_B16;
};

// 16 x 16, or (N, C, H, W) to (N, H, W, C) and back, with scratch memory.
template <typename T>
void Transpose(const LocalTensor<T>& dst, const LocalTensor<T>& src,
               const LocalTensor<uint8_t>& sharedTmpBuffer, const TransposeParamsExt& p, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(sizeof(T) <= 4 && (kIs910B || sizeof(T) == 2), "Transpose with TransposeParamsExt");
  if (p.transposeType == TransposeType::TRANSPOSE_TYPE_NONE) return;
  if (p.transposeType == TransposeType::TRANSPOSE_ND2ND_B16) {
    if constexpr (OneOf<T, half, int16_t, uint16_t>) return Transpose(dst, src, where);
    detail::Current().Fail(detail::Rule::kNotOnChip, "Transpose", where,
                           "TRANSPOSE_ND2ND_B16 is of 16-bit types", detail::Pipe::kV);
    return;
  }
  const bool to_nhwc = p.transposeType == TransposeType::TRANSPOSE_NCHW2NHWC;
  if (!to_nhwc && p.transposeType != TransposeType::TRANSPOSE_NHWC2NCHW) {
    detail::Current().Fail(detail::Rule::kNotOnChip, "Transpose", where,
                           "this transposeType is not supported", detail::Pipe::kV);
    return;
  }
  ::ascend_twin::TransposeImage(detail::Current(), dst.AsOperand(), src.AsOperand(),
                                sharedTmpBuffer.AsOperand(),
                                {p.nSize, p.cSize, uint32_t(p.hSize) * p.wSize, to_nhwc}, where);
}

struct TransDataTo5HDParams {
  constexpr TransDataTo5HDParams() = default;
  constexpr TransDataTo5HDParams(const bool dstHighHalfIn, const bool srcHighHalfIn,
                                 const uint8_t repeatTimesIn, const uint16_t dstRepStrideIn,
                                 const uint16_t srcRepStrideIn)
      : dstHighHalf(dstHighHalfIn),
        srcHighHalf(srcHighHalfIn),
        repeatTimes(repeatTimesIn),
        dstRepStride(dstRepStrideIn),
        srcRepStride(srcRepStrideIn) {}
  bool dstHighHalf = false;
  bool srcHighHalf = false;
  uint8_t repeatTimes = 1;
  uint16_t dstRepStride = 0;
  uint16_t srcRepStride = 0;
};
template <typename T>
void TransDataTo5HD(const LocalTensor<T> (&dstList)[NCHW_CONV_ADDR_LIST_SIZE],
                    const LocalTensor<T> (&srcList)[NCHW_CONV_ADDR_LIST_SIZE], const TransDataTo5HDParams& p,
                    ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(sizeof(T) <= 2 || (kIs910B && sizeof(T) == 4), "TransDataTo5HD");
  detail::Operand dst[16], src[16];
  for (int i = 0; i < 16; ++i) {
    dst[i] = dstList[i].AsOperand();
    src[i] = srcList[i].AsOperand();
  }
  ::ascend_twin::TransDataTo5HD(detail::Current(), dst, src, p.repeatTimes, p.dstRepStride, p.srcRepStride,
                                p.dstHighHalf, p.srcHighHalf, where);
}
template <typename T>
void TransDataTo5HD(uint64_t dstList[NCHW_CONV_ADDR_LIST_SIZE], uint64_t srcList[NCHW_CONV_ADDR_LIST_SIZE],
                    const TransDataTo5HDParams& p, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(sizeof(T) <= 2 || (kIs910B && sizeof(T) == 4), "TransDataTo5HD");
  detail::Operand dst[16], src[16];
  for (int i = 0; i < 16; ++i) {
    dst[i].type = TypeOf<T>();
    dst[i].addr = static_cast<uint32_t>(dstList[i]);
    src[i].addr = static_cast<uint32_t>(srcList[i]);
  }
  ::ascend_twin::TransDataTo5HD(detail::Current(), dst, src, p.repeatTimes, p.dstRepStride, p.srcRepStride,
                                p.dstHighHalf, p.srcHighHalf, where);
}

// Absent on the 910: blocks from elements, gather, indices.
template <typename T>
void Brcb(const LocalTensor<T>& dst, const LocalTensor<T>& src, const int32_t repeatTime,
          const BrcbRepeatParams& p, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B && (sizeof(T) == 2 || sizeof(T) == 4), "Brcb");
  ::ascend_twin::Brcb(detail::Current(), dst.AsOperand(p.dstBlkStride, p.dstRepStride), src.AsOperand(),
                      repeatTime, where);
}
template <typename T>
void Gather(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<uint32_t>& srcOffset,
            const uint32_t srcBaseOffset, const uint64_t mask, const int32_t repeatTime,
            const uint16_t dstRepStride, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B && (sizeof(T) == 2 || sizeof(T) == 4), "Gather");
  ::ascend_twin::GatherCall call = {
      "Gather", dst.AsOperand(1, dstRepStride), src.AsOperand(), srcOffset.AsOperand(), srcBaseOffset, {},
      false};
  if (::ascend_twin::LanesFromMask(detail::Current(), "Gather", where, detail::Width<T>, true, mask,
                                   repeatTime, &call.lanes))
    ::ascend_twin::Gather(detail::Current(), call, where);
}
template <typename T>
void Gather(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<uint32_t>& srcOffset,
            const uint32_t srcBaseOffset, const uint64_t mask[], const int32_t repeatTime,
            const uint16_t dstRepStride, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B && (sizeof(T) == 2 || sizeof(T) == 4), "Gather");
  ::ascend_twin::GatherCall call = {
      "Gather", dst.AsOperand(1, dstRepStride), src.AsOperand(), srcOffset.AsOperand(), srcBaseOffset, {},
      false};
  if (::ascend_twin::LanesFromBits(detail::Current(), "Gather", where, detail::Width<T>, true, mask,
                                   repeatTime, &call.lanes))
    ::ascend_twin::Gather(detail::Current(), call, where);
}
template <typename T>
void Gather(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<uint32_t>& srcOffset,
            const uint32_t srcBaseOffset, const uint32_t count, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B && (sizeof(T) == 2 || sizeof(T) == 4), "Gather");
  ::ascend_twin::GatherCall call = {
      "Gather", dst.AsOperand(), src.AsOperand(), srcOffset.AsOperand(), srcBaseOffset, {}, false};
  if (::ascend_twin::LanesFromCount(detail::Current(), "Gather", where, detail::Width<T>, count, &call.lanes))
    ::ascend_twin::Gather(detail::Current(), call, where);
}
template <typename T>
void Gatherb(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<uint32_t>& offset,
             const int32_t repeatTime, const GatherRepeatParams& p, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B && (OneOf<T, uint16_t, uint32_t>), "Gatherb");
  const uint32_t block_stride = std::max<uint32_t>(p.dstBlkStride, 1);  // Gatherb.md: 0 counts as 1
  ::ascend_twin::GatherCall call = {
      "Gatherb", dst.AsOperand(block_stride, p.dstRepStride), src.AsOperand(), offset.AsOperand(), 0, {},
      true};
  const uint64_t all[2] = {~0ull, ~0ull};
  if (::ascend_twin::LanesFromBits(detail::Current(), "Gatherb", where, detail::Width<T>, true, all,
                                   repeatTime, &call.lanes))
    ::ascend_twin::Gather(detail::Current(), call, where);
}
template <typename T>
void CreateVecIndex(LocalTensor<T> dst, const T& firstValue, uint64_t mask, int32_t repeatTime,
                    Field<uint16_t> dstBlkStride, Field<uint8_t> dstRepStride, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B && (OneOf<T, half, float, int16_t, int32_t>), "CreateVecIndex");
  detail::Lanes lanes;
  if (::ascend_twin::LanesFromMask(detail::Current(), "CreateVecIndex", where, detail::Width<T>, true, mask,
                                   repeatTime, &lanes))
    ::ascend_twin::CreateIndex(detail::Current(), "CreateVecIndex", dst.AsOperand(dstBlkStride, dstRepStride),
                               detail::AsDouble(firstValue), lanes, where);
}
template <typename T>
void CreateVecIndex(LocalTensor<T> dst, const T& firstValue, uint64_t mask[], int32_t repeatTime,
                    Field<uint16_t> dstBlkStride, Field<uint8_t> dstRepStride, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B && (OneOf<T, half, float, int16_t, int32_t>), "CreateVecIndex");
  detail::Lanes lanes;
  if (::ascend_twin::LanesFromBits(detail::Current(), "CreateVecIndex", where, detail::Width<T>, true, mask,
                                   repeatTime, &lanes))
    ::ascend_twin::CreateIndex(detail::Current(), "CreateVecIndex", dst.AsOperand(dstBlkStride, dstRepStride),
                               detail::AsDouble(firstValue), lanes, where);
}
template <typename T>
void CreateVecIndex(LocalTensor<T> dst, const T& firstValue, uint32_t count, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B && (OneOf<T, half, float, int16_t, int32_t>), "CreateVecIndex");
  detail::Lanes lanes;
  if (::ascend_twin::LanesFromCount(detail::Current(), "CreateVecIndex", where, detail::Width<T>, count,
                                    &lanes))
    ::ascend_twin::CreateIndex(detail::Current(), "CreateVecIndex", dst.AsOperand(),
                               detail::AsDouble(firstValue), lanes, where);
}

struct GatherMaskParams {
  GatherMaskParams() {}
  GatherMaskParams(const uint8_t src0BlockStrideIn, const uint16_t repeatTimesIn,
                   const uint16_t src0RepeatStrideIn, const uint8_t src1RepeatStrideIn)
      : src0BlockStride(src0BlockStrideIn),
        repeatTimes(repeatTimesIn),
        src0RepeatStride(src0RepeatStrideIn),
        src1RepeatStride(src1RepeatStrideIn) {}
  uint8_t src0BlockStride = DEFAULT_BLK_STRIDE;
  uint16_t repeatTimes = 0;
  uint16_t src0RepeatStride = DEFAULT_REPEAT_STRIDE;
  uint8_t src1RepeatStride = DEFAULT_REPEAT_STRIDE;
};
template <typename T>
void GatherMask(const LocalTensor<T>& dst, const LocalTensor<T>& src0, const uint8_t src1Pattern,
                const bool reduceMode, const uint32_t mask, const GatherMaskParams& p, uint64_t& rsvdCnt,
                ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B && (sizeof(T) == 2 || sizeof(T) == 4), "GatherMask");
  ::ascend_twin::GatherMaskCall call;
  call.dst = dst.AsOperand();
  call.src = src0.AsOperand(p.src0BlockStride, p.src0RepeatStride);
  call.pattern = call.src;
  call.fixed = src1Pattern;
  call.counted = reduceMode;
  call.mask = mask;
  call.repeats = p.repeatTimes;
  rsvdCnt = ::ascend_twin::GatherMask(detail::Current(), call, where);
}
template <typename T, typename U>
void GatherMask(const LocalTensor<T>& dst, const LocalTensor<T>& src0, const LocalTensor<U>& src1Pattern,
                const bool reduceMode, const uint32_t mask, const GatherMaskParams& p, uint64_t& rsvdCnt,
                ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B && (sizeof(T) == 2 || sizeof(T) == 4) && sizeof(U) == sizeof(T), "GatherMask");
  ::ascend_twin::GatherMaskCall call;
  call.dst = dst.AsOperand();
  call.src = src0.AsOperand(p.src0BlockStride, p.src0RepeatStride);
  call.pattern = src1Pattern.AsOperand(1, p.src1RepeatStride);
  call.counted = reduceMode;
  call.mask = mask;
  call.repeats = p.repeatTimes;
  rsvdCnt = ::ascend_twin::GatherMask(detail::Current(), call, where);
}

}  // namespace ASCEND_TWIN_NAMESPACE
}  // namespace AscendC
