// SPDX-License-Identifier: Apache-2.0
// Reductions: whole repeats, blocks, pairs, and whole tensors.
#pragma once

#include "ascend_twin/vector.h"

namespace AscendC {
inline namespace ASCEND_TWIN_NAMESPACE {

// Reductions. A repeat (Whole), each block of a repeat (Block), or neighbours (Pair).
namespace detail {
constexpr bool ReduceSupported(::ascend_twin::ReduceKind kind, ::ascend_twin::ReduceSpan span, DType t) {
  using ::ascend_twin::ReduceKind;
  using ::ascend_twin::ReduceSpan;
  if (t == DType::kHalf) return true;
  if (t != DType::kFloat) return false;
  return kIs910B || (span == ReduceSpan::kRepeat && kind == ReduceKind::kSum);
}
template <typename T>
void ReduceInto(::ascend_twin::ReduceKind kind, ::ascend_twin::ReduceSpan span, const char* name,
                const LocalTensor<T>& dst, const LocalTensor<T>& src, const Lanes& lanes, int32_t dst_rep,
                int32_t src_blk, int32_t src_rep, ReduceOrder order, const Where& where) {
  ::ascend_twin::ReduceCall call;
  call.kind = kind;
  call.span = span;
  call.name = name;
  call.dst = dst.AsOperand(1, static_cast<uint32_t>(dst_rep));
  call.src = src.AsOperand(static_cast<uint32_t>(src_blk), static_cast<uint32_t>(src_rep));
  call.lanes = lanes;
  call.order = static_cast<uint8_t>(order);
  Core& core = Current();
  if (!kIs910B && span == ::ascend_twin::ReduceSpan::kRepeat && kind != ::ascend_twin::ReduceKind::kSum &&
      order != ReduceOrder::ORDER_VALUE_INDEX) {
    core.Fail(Rule::kNotOnChip, name, where, "ascend910 always writes value and index", Pipe::kV);
    return;
  }
  if (dst_rep < 0 || dst_rep > 65535 || src_blk < 0 || src_blk > 65535 || src_rep < 0 || src_rep > 65535) {
    core.Fail(Rule::kStrideRange, name, where, "strides are 0..65535", Pipe::kV);
    return;
  }
  ::ascend_twin::Reduce(core, call, where);
}
}  // namespace detail

#define ASCEND_TWIN_WHOLE(NAME, KIND)                                                                     \
  template <typename T, bool isSetMask = true>                                                            \
  void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src, const uint64_t mask[],                  \
            const int32_t repeatTime, const int32_t dstRepStride, const int32_t srcBlkStride,             \
            const int32_t srcRepStride, ReduceOrder order = ReduceOrder::ORDER_VALUE_INDEX,               \
            ASCEND_TWIN_WHERE) {                                                                          \
    ASCEND_TWIN_REQUIRE((detail::ReduceSupported(::ascend_twin::ReduceKind::KIND,                         \
                                                 ::ascend_twin::ReduceSpan::kRepeat, TypeOf<T>())),       \
                        #NAME);                                                                           \
    detail::Lanes lanes;                                                                                  \
    if (::ascend_twin::LanesFromBits(detail::Current(), #NAME, where, detail::Width<T>, isSetMask, mask,  \
                                     repeatTime, &lanes))                                                 \
      detail::ReduceInto(::ascend_twin::ReduceKind::KIND, ::ascend_twin::ReduceSpan::kRepeat, #NAME, dst, \
                         src, lanes, dstRepStride, srcBlkStride, srcRepStride, order, where);             \
  }                                                                                                       \
  template <typename T, bool isSetMask = true>                                                            \
  void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src, const int32_t mask,                     \
            const int32_t repeatTime, const int32_t dstRepStride, const int32_t srcBlkStride,             \
            const int32_t srcRepStride, ReduceOrder order = ReduceOrder::ORDER_VALUE_INDEX,               \
            ASCEND_TWIN_WHERE) {                                                                          \
    ASCEND_TWIN_REQUIRE((detail::ReduceSupported(::ascend_twin::ReduceKind::KIND,                         \
                                                 ::ascend_twin::ReduceSpan::kRepeat, TypeOf<T>())),       \
                        #NAME);                                                                           \
    detail::Lanes lanes;                                                                                  \
    if (::ascend_twin::LanesFromMask(detail::Current(), #NAME, where, detail::Width<T>, isSetMask,        \
                                     static_cast<uint64_t>(mask), repeatTime, &lanes))                    \
      detail::ReduceInto(::ascend_twin::ReduceKind::KIND, ::ascend_twin::ReduceSpan::kRepeat, #NAME, dst, \
                         src, lanes, dstRepStride, srcBlkStride, srcRepStride, order, where);             \
  }
ASCEND_TWIN_WHOLE(WholeReduceSum, kSum)
ASCEND_TWIN_WHOLE(WholeReduceMax, kMax)
ASCEND_TWIN_WHOLE(WholeReduceMin, kMin)
#undef ASCEND_TWIN_WHOLE

#define ASCEND_TWIN_BLOCK(NAME, KIND, SPAN)                                                                 \
  template <typename T, bool isSetMask = true>                                                              \
  void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src, const int32_t repeat, const int32_t mask, \
            const int32_t dstRepStride, const int32_t srcBlkStride, const int32_t srcRepStride,             \
            ASCEND_TWIN_WHERE) {                                                                            \
    ASCEND_TWIN_REQUIRE((detail::ReduceSupported(::ascend_twin::ReduceKind::KIND,                           \
                                                 ::ascend_twin::ReduceSpan::SPAN, TypeOf<T>())),            \
                        #NAME);                                                                             \
    detail::Lanes lanes;                                                                                    \
    if (::ascend_twin::LanesFromMask(detail::Current(), #NAME, where, detail::Width<T>, isSetMask,          \
                                     static_cast<uint64_t>(mask), repeat, &lanes))                          \
      detail::ReduceInto(::ascend_twin::ReduceKind::KIND, ::ascend_twin::ReduceSpan::SPAN, #NAME, dst, src, \
                         lanes, dstRepStride, srcBlkStride, srcRepStride, ReduceOrder::ORDER_ONLY_VALUE,    \
                         where);                                                                            \
  }                                                                                                         \
  template <typename T, bool isSetMask = true>                                                              \
  void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src, const int32_t repeat,                     \
            const uint64_t mask[], const int32_t dstRepStride, const int32_t srcBlkStride,                  \
            const int32_t srcRepStride, ASCEND_TWIN_WHERE) {                                                \
    ASCEND_TWIN_REQUIRE((detail::ReduceSupported(::ascend_twin::ReduceKind::KIND,                           \
                                                 ::ascend_twin::ReduceSpan::SPAN, TypeOf<T>())),            \
                        #NAME);                                                                             \
    detail::Lanes lanes;                                                                                    \
    if (::ascend_twin::LanesFromBits(detail::Current(), #NAME, where, detail::Width<T>, isSetMask, mask,    \
                                     repeat, &lanes))                                                       \
      detail::ReduceInto(::ascend_twin::ReduceKind::KIND, ::ascend_twin::ReduceSpan::SPAN, #NAME, dst, src, \
                         lanes, dstRepStride, srcBlkStride, srcRepStride, ReduceOrder::ORDER_ONLY_VALUE,    \
                         where);                                                                            \
  }
ASCEND_TWIN_BLOCK(BlockReduceSum, kSum, kBlock)
ASCEND_TWIN_BLOCK(BlockReduceMax, kMax, kBlock)
ASCEND_TWIN_BLOCK(BlockReduceMin, kMin, kBlock)
ASCEND_TWIN_BLOCK(PairReduceSum, kSum, kPair)
#undef ASCEND_TWIN_BLOCK

// The same under their newer names.
enum class ReduceType : uint8_t { SUM = 0, MAX, MIN };
template <ReduceType reduceType, typename T, typename U, bool isSetMask = true, typename M>
void ReduceRepeat(const LocalTensor<T>& dst, const LocalTensor<U>& src, const M mask,
                  const int32_t repeatTime, const int32_t dstRepStride, const int32_t srcBlkStride,
                  const int32_t srcRepStride, ReduceOrder order = ReduceOrder::ORDER_VALUE_INDEX,
                  ASCEND_TWIN_WHERE) {
  if constexpr (reduceType == ReduceType::SUM)
    WholeReduceSum<T, isSetMask>(dst, src, mask, repeatTime, dstRepStride, srcBlkStride, srcRepStride, order,
                                 where);
  else if constexpr (reduceType == ReduceType::MAX)
    WholeReduceMax<T, isSetMask>(dst, src, mask, repeatTime, dstRepStride, srcBlkStride, srcRepStride, order,
                                 where);
  else
    WholeReduceMin<T, isSetMask>(dst, src, mask, repeatTime, dstRepStride, srcBlkStride, srcRepStride, order,
                                 where);
}
template <ReduceType reduceType, typename T, typename U, bool isSetMask = true, typename M>
void ReduceDataBlock(const LocalTensor<T>& dst, const LocalTensor<U>& src, const M mask,
                     const int32_t repeatTime, const int32_t dstRepStride, const int32_t srcBlkStride,
                     const int32_t srcRepStride, ASCEND_TWIN_WHERE) {
  if constexpr (reduceType == ReduceType::SUM)
    BlockReduceSum<T, isSetMask>(dst, src, repeatTime, mask, dstRepStride, srcBlkStride, srcRepStride, where);
  else if constexpr (reduceType == ReduceType::MAX)
    BlockReduceMax<T, isSetMask>(dst, src, repeatTime, mask, dstRepStride, srcBlkStride, srcRepStride, where);
  else
    BlockReduceMin<T, isSetMask>(dst, src, repeatTime, mask, dstRepStride, srcBlkStride, srcRepStride, where);
}
template <ReduceType reduceType, typename T, typename U, bool isSetMask = true, typename M>
void ReducePairElem(const LocalTensor<T>& dst, const LocalTensor<U>& src, const M mask,
                    const int32_t repeatTime, const int32_t dstRepStride, const int32_t srcBlkStride,
                    const int32_t srcRepStride, ASCEND_TWIN_WHERE) {
  static_assert(reduceType == ReduceType::SUM, "ReducePairElem sums");
  PairReduceSum<T, isSetMask>(dst, src, repeatTime, mask, dstRepStride, srcBlkStride, srcRepStride, where);
}

template <typename T, bool isSetMask = true>
void RepeatReduceSum(const LocalTensor<T>& dst, const LocalTensor<T>& src, const int32_t repeat,
                     const int32_t elemsInOneRepeat, const int32_t /*dstBlkStride*/,
                     const int32_t srcBlkStride, const int32_t dstRepStride, const int32_t srcRepStride,
                     ASCEND_TWIN_WHERE) {
  WholeReduceSum<T, isSetMask>(dst, src, elemsInOneRepeat, repeat, dstRepStride, srcBlkStride, srcRepStride,
                               ReduceOrder::ORDER_VALUE_INDEX, where);
}

namespace detail {
template <typename T>
constexpr bool ReduceAllTypes = OneOf<T, half, float> && (kIs910B || sizeof(T) == 2);
template <typename T>
::ascend_twin::ReduceAllCall ReduceAllOf(::ascend_twin::ReduceKind kind, const char* name,
                                         const LocalTensor<T>& dst, const LocalTensor<T>& src,
                                         const LocalTensor<T>& work, int32_t src_rep, bool index) {
  return {kind, name, dst.AsOperand(), src.AsOperand(1, static_cast<uint32_t>(src_rep)), work.AsOperand(),
          {},   index};
}
// By lanes: a mask of consecutive elements, or of bits.
template <typename T>
void ReduceAll(::ascend_twin::ReduceAllCall call, int32_t mask, int32_t repeats, const Where& where) {
  if (::ascend_twin::LanesFromMask(Current(), call.name, where, Width<T>, true, static_cast<uint64_t>(mask),
                                   repeats, &call.lanes))
    ::ascend_twin::ReduceAll(Current(), call, where);
}
template <typename T>
void ReduceAll(::ascend_twin::ReduceAllCall call, const uint64_t mask[], int32_t repeats,
               const Where& where) {
  if (::ascend_twin::LanesFromBits(Current(), call.name, where, Width<T>, true, mask, repeats, &call.lanes))
    ::ascend_twin::ReduceAll(Current(), call, where);
}
template <typename T>
void ReduceAllByCount(::ascend_twin::ReduceAllCall call, int32_t count, bool set_mask, const Where& where) {
  if (::ascend_twin::LanesFromCount(Current(), call.name, where, Width<T>, count, &call.lanes, set_mask))
    ::ascend_twin::ReduceAll(Current(), call, where);
}
}  // namespace detail

#define ASCEND_TWIN_REDUCE_ALL(NAME, KIND)                                                                   \
  template <typename T>                                                                                      \
  void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<T>& work,                \
            const int32_t count, bool calIndex = 0, ASCEND_TWIN_WHERE) {                                     \
    ASCEND_TWIN_REQUIRE(detail::ReduceAllTypes<T>, #NAME);                                                   \
    detail::ReduceAllByCount<T>(                                                                             \
        detail::ReduceAllOf(::ascend_twin::ReduceKind::KIND, #NAME, dst, src, work, 8, calIndex), count,     \
        true, where);                                                                                        \
  }                                                                                                          \
  template <typename T>                                                                                      \
  void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<T>& work,                \
            const int32_t mask, const int32_t repeatTime, const int32_t srcRepStride, bool calIndex = 0,     \
            ASCEND_TWIN_WHERE) {                                                                             \
    ASCEND_TWIN_REQUIRE(detail::ReduceAllTypes<T>, #NAME);                                                   \
    detail::ReduceAll<T>(                                                                                    \
        detail::ReduceAllOf(::ascend_twin::ReduceKind::KIND, #NAME, dst, src, work, srcRepStride, calIndex), \
        mask, repeatTime, where);                                                                            \
  }                                                                                                          \
  template <typename T>                                                                                      \
  void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<T>& work,                \
            const uint64_t mask[], const int32_t repeatTime, const int32_t srcRepStride, bool calIndex = 0,  \
            ASCEND_TWIN_WHERE) {                                                                             \
    ASCEND_TWIN_REQUIRE(detail::ReduceAllTypes<T>, #NAME);                                                   \
    detail::ReduceAll<T>(                                                                                    \
        detail::ReduceAllOf(::ascend_twin::ReduceKind::KIND, #NAME, dst, src, work, srcRepStride, calIndex), \
        mask, repeatTime, where);                                                                            \
  }
ASCEND_TWIN_REDUCE_ALL(ReduceMax, kMax)
ASCEND_TWIN_REDUCE_ALL(ReduceMin, kMin)
#undef ASCEND_TWIN_REDUCE_ALL

template <typename T, bool isSetMask = true>
void ReduceSum(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<T>& work,
               const int32_t count, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(detail::ReduceAllTypes<T>, "ReduceSum");
  auto call = detail::ReduceAllOf(::ascend_twin::ReduceKind::kSum, "ReduceSum", dst, src, work, 8, false);
  call.sum_by_count = true;
  detail::ReduceAllByCount<T>(call, count, isSetMask || !kIs910B, where);
}
template <typename T>
void ReduceSum(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<T>& work,
               const int32_t mask, const int32_t repeatTime, const int32_t srcRepStride, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(detail::ReduceAllTypes<T>, "ReduceSum");
  detail::ReduceAll<T>(
      detail::ReduceAllOf(::ascend_twin::ReduceKind::kSum, "ReduceSum", dst, src, work, srcRepStride, false),
      mask, repeatTime, where);
}
template <typename T>
void ReduceSum(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<T>& work,
               const uint64_t mask[], const int32_t repeatTime, const int32_t srcRepStride,
               ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(detail::ReduceAllTypes<T>, "ReduceSum");
  detail::ReduceAll<T>(
      detail::ReduceAllOf(::ascend_twin::ReduceKind::kSum, "ReduceSum", dst, src, work, srcRepStride, false),
      mask, repeatTime, where);
}

// What the last reduction of a tensor, or of its repeats, left in its registers; a V_S flag orders the read.
template <typename T>
T GetReduceRepeatSumSpr(ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B && (OneOf<T, half, float>), "GetReduceRepeatSumSpr");
  return T(::ascend_twin::ReducedSum(detail::Current(), where));
}
template <typename T>
void GetReduceRepeatMaxMinSpr(T& value, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B && (OneOf<T, half, float>), "GetReduceRepeatMaxMinSpr");
  uint32_t index;
  value = T(::ascend_twin::ReducedExtremum(detail::Current(), &index, where));
}
template <typename T>
void GetReduceRepeatMaxMinSpr(T& value, T& index, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B && (OneOf<T, half, float>), "GetReduceRepeatMaxMinSpr");
  uint32_t bits;
  value = T(::ascend_twin::ReducedExtremum(detail::Current(), &bits, where));
  std::memcpy(&index, &bits, sizeof(T));
}

}  // namespace ASCEND_TWIN_NAMESPACE
}  // namespace AscendC
