// SPDX-License-Identifier: Apache-2.0
// Sorting: score and index in pairs of 8 B (910B), region proposals of eight halves (910).
#pragma once

#include "ascend_twin/vector.h"

namespace AscendC {
inline namespace ASCEND_TWIN_NAMESPACE {

constexpr uint8_t MRG_SORT_ELEMENT_LEN = 4;

struct MrgSort4Info {
  MrgSort4Info() {}
  MrgSort4Info(const uint16_t elementLengthsIn[MRG_SORT_ELEMENT_LEN], const bool ifExhaustedSuspensionIn,
               const uint16_t validBitIn, const Field<uint8_t> repeatTimesIn)
      : ifExhaustedSuspension(ifExhaustedSuspensionIn), validBit(validBitIn), repeatTimes(repeatTimesIn) {
    for (int i = 0; i < MRG_SORT_ELEMENT_LEN; ++i) elementLengths[i] = elementLengthsIn[i];
  }
  uint16_t elementLengths[MRG_SORT_ELEMENT_LEN] = {0};
  bool ifExhaustedSuspension = false;
  uint16_t validBit = 0;
  Field<uint8_t> repeatTimes = 1;
};

template <typename T>
struct MrgSortSrcList {
  MrgSortSrcList() {}
  MrgSortSrcList(const LocalTensor<T>& src1In, const LocalTensor<T>& src2In, const LocalTensor<T>& src3In,
                 const LocalTensor<T>& src4In)
      : src1(src1In), src2(src2In), src3(src3In), src4(src4In) {}
  LocalTensor<T> src1, src2, src3, src4;
};

namespace detail {
template <typename T>
void MergeQueues(const char* name, const LocalTensor<T>& dst, const MrgSortSrcList<T>& src,
                 const MrgSort4Info& p, bool proposals, const Where& where) {
  ::ascend_twin::MergeCall call;
  call.name = name;
  call.dst = dst.AsOperand();
  call.src[0] = src.src1.AsOperand();
  call.src[1] = src.src2.AsOperand();
  call.src[2] = src.src3.AsOperand();
  call.src[3] = src.src4.AsOperand();
  for (int i = 0; i < MRG_SORT_ELEMENT_LEN; ++i) call.lengths[i] = p.elementLengths[i];
  call.valid = p.validBit;
  call.repeats = p.repeatTimes;
  call.suspend = p.ifExhaustedSuspension;
  call.proposals = proposals;
  ::ascend_twin::Merge(Current(), call, where);
}
template <typename T>
constexpr bool Pairs = kIs910B && OneOf<T, half, float>;
}  // namespace detail

// 32 scores and their indices a repeat.
template <typename T>
void Sort32(const LocalTensor<T>& dst, const LocalTensor<T>& src0, const LocalTensor<uint32_t>& src1,
            const int32_t repeatTime, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(detail::Pairs<T>, "Sort32");
  ::ascend_twin::Sort32(detail::Current(), dst.AsOperand(), src0.AsOperand(), src1.AsOperand(), repeatTime,
                        where);
}
template <typename T>
void MrgSort(const LocalTensor<T>& dst, const MrgSortSrcList<T>& src, const MrgSort4Info& params,
             ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(detail::Pairs<T>, "MrgSort");
  detail::MergeQueues("MrgSort", dst, src, params, false, where);
}
// How many elements of each queue the last MrgSort took; a V_S flag orders the read.
template <typename T = uint16_t>
void GetMrgSortResult(T& mrgSortList1, T& mrgSortList2, T& mrgSortList3, T& mrgSortList4, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B && (OneOf<T, uint16_t>), "GetMrgSortResult");
  uint16_t taken[4] = {};
  ::ascend_twin::MergeResult(detail::Current(), taken, false, where);
  mrgSortList1 = taken[0];
  mrgSortList2 = taken[1];
  mrgSortList3 = taken[2];
  mrgSortList4 = taken[3];
}
template <typename T, bool isExhaustedSuspension = false>
void MrgSort(const LocalTensor<T>& dst, const MrgSortSrcList<T>& sortList, const uint16_t elementCountList[4],
             uint32_t sortedNum[4], uint16_t validBit, const int32_t repeatTime, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(detail::Pairs<T>, "MrgSort");
  detail::MergeQueues("MrgSort", dst, sortList,
                      MrgSort4Info(elementCountList, isExhaustedSuspension, validBit, repeatTime), false,
                      where);
  if (!isExhaustedSuspension) return;
  uint16_t taken[4] = {};
  ::ascend_twin::MergeResult(detail::Current(), taken, true, where);
  for (int i = 0; i < 4; ++i) sortedNum[i] = taken[i];
}

// Pairs apart: 32 a repeat.
template <typename T>
void Extract(const LocalTensor<T>& dstValue, const LocalTensor<uint32_t>& dstIndex,
             const LocalTensor<T>& sorted, const int32_t repeatTime, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(detail::Pairs<T>, "Extract");
  ::ascend_twin::ExtractPairs(detail::Current(), dstValue.AsOperand(), dstIndex.AsOperand(),
                              sorted.AsOperand(), repeatTime, where);
}
template <typename T>
void Concat(LocalTensor<T>& concat, const LocalTensor<T>& src, const LocalTensor<T>&, const int32_t) {
  ASCEND_TWIN_REQUIRE(detail::Pairs<T>, "Concat");
  concat = src;
}
template <typename T>
uint32_t GetSortOffset(const uint32_t elemOffset) {
  ASCEND_TWIN_REQUIRE(detail::Pairs<T>, "GetSortOffset");
  return elemOffset * 8 / static_cast<uint32_t>(sizeof(T));
}
template <typename T>
uint32_t GetSortLen(const uint32_t elemCount) {
  ASCEND_TWIN_REQUIRE(detail::Pairs<T>, "GetSortLen");
  return elemCount * 8 / static_cast<uint32_t>(sizeof(T));
}

// Region proposals: x1, y1, x2, y2, score, label and two reserved halves.
template <typename T>
void ProposalConcat(const LocalTensor<T>& dst, const LocalTensor<T>& src, const int32_t repeatTime,
                    const int32_t modeNumber, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(!kIs910B && (OneOf<T, half>), "ProposalConcat");
  ::ascend_twin::ProposalField(detail::Current(), "ProposalConcat", dst.AsOperand(), src.AsOperand(),
                               repeatTime, modeNumber, false, where);
}
template <typename T>
void ProposalExtract(const LocalTensor<T>& dst, const LocalTensor<T>& src, const int32_t repeatTime,
                     const int32_t modeNumber, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(!kIs910B && (OneOf<T, half>), "ProposalExtract");
  ::ascend_twin::ProposalField(detail::Current(), "ProposalExtract", dst.AsOperand(), src.AsOperand(),
                               repeatTime, modeNumber, true, where);
}
template <typename T>
void RpSort16(const LocalTensor<T>& dst, const LocalTensor<T>& src, const int32_t repeatTime,
              ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(!kIs910B && (OneOf<T, half>), "RpSort16");
  ::ascend_twin::SortProposals(detail::Current(), dst.AsOperand(), src.AsOperand(), repeatTime, where);
}
template <typename T>
void MrgSort4(const LocalTensor<T>& dst, const MrgSortSrcList<T>& src, const MrgSort4Info& params,
              ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(!kIs910B && (OneOf<T, half>), "MrgSort4");
  detail::MergeQueues("MrgSort4", dst, src, params, true, where);
}

}  // namespace ASCEND_TWIN_NAMESPACE
}  // namespace AscendC
