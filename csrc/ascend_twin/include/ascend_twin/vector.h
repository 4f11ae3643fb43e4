// SPDX-License-Identifier: Apache-2.0
// The vector API: level 0 (mask, repeat, strides) and level 2 (count).
#pragma once

#include "ascend_twin/tensor.h"

namespace AscendC {
inline namespace ASCEND_TWIN_NAMESPACE {

namespace detail {
using ::ascend_twin::DType;
using ::ascend_twin::Lanes;
using ::ascend_twin::VOp;

// The data types of the elementwise calls, per chip.
constexpr bool Supports(VOp op, DType t) {
  const bool fp = t == DType::kHalf || t == DType::kFloat;
  const bool i16 = t == DType::kI16, i32 = t == DType::kI32, u16 = t == DType::kU16, u32 = t == DType::kU32;
  switch (op) {
    case VOp::kAdd:
      return fp || i32 || (kIs910B && i16);
    case VOp::kSub:
    case VOp::kMul:
    case VOp::kMax:
    case VOp::kMin:
    case VOp::kAdds:
    case VOp::kMuls:
      return fp || i32 || i16;
    case VOp::kMaxs:
    case VOp::kMins:
      return kIs910B && (fp || i32 || i16);
    case VOp::kDiv:
    case VOp::kExp:
    case VOp::kLn:
    case VOp::kSqrt:
    case VOp::kRsqrt:
    case VOp::kReciprocal:
      return fp;
    case VOp::kAbs:
      return fp || (!kIs910B && i16);
    case VOp::kRelu:
      return fp || i32;
    case VOp::kAnd:
    case VOp::kOr:
    case VOp::kNot:
      return i16 || u16;
    case VOp::kAddRelu:
    case VOp::kSubRelu:
      return kIs910B && (fp || i16);
    case VOp::kMulAddDst:
      return kIs910B && fp;
    case VOp::kFusedMulAdd:
    case VOp::kFusedMulAddRelu:
    case VOp::kLeakyRelu:
      return kIs910B && fp;
    case VOp::kShiftLeft:
    case VOp::kShiftRight:
      return kIs910B && (i16 || u16 || i32 || u32);
    case VOp::kDuplicate:
      return fp || i16 || u16 || i32 || u32 || (kIs910B && t == DType::kBf16);
    case VOp::kCopy:
      return kIs910B && (fp || i16 || u16 || i32 || u32 || t == DType::kBf16);
    default:
      return true;
  }
}

template <typename T>
::ascend_twin::VectorCall CallOf(VOp op, const char* name, const LocalTensor<T>& dst, uint32_t dst_block,
                                 uint32_t dst_repeat) {
  ::ascend_twin::VectorCall call;
  call.op = op;
  call.name = name;
  call.dst = dst.AsOperand(dst_block, dst_repeat);
  call.src0 = call.src1 = call.dst;
  return call;
}

template <typename T, typename U>
void Binary(VOp op, const char* name, const LocalTensor<T>& dst, const LocalTensor<U>& src0,
            const LocalTensor<U>& src1, const Lanes& lanes, const BinaryRepeatParams& p, const Where& where) {
  auto call = CallOf(op, name, dst, p.dstBlkStride, p.dstRepStride);
  call.src0 = src0.AsOperand(p.src0BlkStride, p.src0RepStride);
  call.src1 = src1.AsOperand(p.src1BlkStride, p.src1RepStride);
  call.sources = 2;
  call.lanes = lanes;
  ::ascend_twin::Elementwise(Current(), call, where);
}

template <typename T, typename U>
void Unary(VOp op, const char* name, const LocalTensor<T>& dst, const LocalTensor<U>& src, double scalar,
           int64_t integer, uint8_t round, const Lanes& lanes, const UnaryRepeatParams& p, const Where& where) {
  auto call = CallOf(op, name, dst, p.dstBlkStride, p.dstRepStride);
  call.src0 = src.AsOperand(p.srcBlkStride, p.srcRepStride);
  call.sources = 1;
  call.scalar = scalar;
  call.integer = integer;
  call.round = round;
  call.lanes = lanes;
  ::ascend_twin::Elementwise(Current(), call, where);
}

template <typename T>
double AsDouble(T v) {
  if constexpr (std::is_same<T, half>::value || std::is_same<T, bfloat16_t>::value)
    return static_cast<double>(static_cast<float>(v));
  else
    return static_cast<double>(v);
}
template <typename T>
int64_t AsInteger(T v) {
  if constexpr (std::is_integral<T>::value)
    return static_cast<int64_t>(v);
  else
    return 0;
}

// Strides of a level-2 call between types of different width: one repeat of the wider type.
template <typename T, typename U>
UnaryRepeatParams DenseStrides() {
  UnaryRepeatParams p;
  constexpr size_t wide = sizeof(T) > sizeof(U) ? sizeof(T) : sizeof(U);
  p.dstRepStride = static_cast<uint8_t>(8 * sizeof(T) / wide);
  p.srcRepStride = static_cast<uint8_t>(8 * sizeof(U) / wide);
  return p;
}
template <typename T, typename U>
constexpr int Wider = static_cast<int>(sizeof(T) > sizeof(U) ? sizeof(T) : sizeof(U));

// A zero-width element has no lanes; 64-bit types use 32 lanes.
template <typename T>
constexpr int Width = static_cast<int>(sizeof(T));
}  // namespace detail

#define ASCEND_TWIN_BINARY(NAME, OP)                                                                            \
  template <typename T, bool isSetMask = true>                                                                  \
  void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src0, const LocalTensor<T>& src1, uint64_t mask[], \
            const int32_t repeatTime, const BinaryRepeatParams& repeatParams, ASCEND_TWIN_WHERE) {              \
    ASCEND_TWIN_REQUIRE(detail::Supports(detail::VOp::OP, TypeOf<T>()), #NAME);                                 \
    detail::Lanes lanes;                                                                                        \
    if (::ascend_twin::LanesFromBits(detail::Current(), #NAME, where, detail::Width<T>, isSetMask, mask,        \
                                     repeatTime, &lanes))                                                       \
      detail::Binary(detail::VOp::OP, #NAME, dst, src0, src1, lanes, repeatParams, where);                      \
  }                                                                                                             \
  template <typename T, bool isSetMask = true>                                                                  \
  void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src0, const LocalTensor<T>& src1, uint64_t mask,   \
            const int32_t repeatTime, const BinaryRepeatParams& repeatParams, ASCEND_TWIN_WHERE) {              \
    ASCEND_TWIN_REQUIRE(detail::Supports(detail::VOp::OP, TypeOf<T>()), #NAME);                                 \
    detail::Lanes lanes;                                                                                        \
    if (::ascend_twin::LanesFromMask(detail::Current(), #NAME, where, detail::Width<T>, isSetMask, mask,        \
                                     repeatTime, &lanes))                                                       \
      detail::Binary(detail::VOp::OP, #NAME, dst, src0, src1, lanes, repeatParams, where);                      \
  }                                                                                                             \
  template <typename T>                                                                                         \
  void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src0, const LocalTensor<T>& src1,                  \
            const int32_t& count, ASCEND_TWIN_WHERE) {                                                          \
    ASCEND_TWIN_REQUIRE(detail::Supports(detail::VOp::OP, TypeOf<T>()), #NAME);                                 \
    detail::Lanes lanes;                                                                                        \
    if (::ascend_twin::LanesFromCount(detail::Current(), #NAME, where, detail::Width<T>, count, &lanes))        \
      detail::Binary(detail::VOp::OP, #NAME, dst, src0, src1, lanes, BinaryRepeatParams(), where);              \
  }

ASCEND_TWIN_BINARY(Add, kAdd)
ASCEND_TWIN_BINARY(Sub, kSub)
ASCEND_TWIN_BINARY(Mul, kMul)
ASCEND_TWIN_BINARY(Div, kDiv)
ASCEND_TWIN_BINARY(Max, kMax)
ASCEND_TWIN_BINARY(Min, kMin)
ASCEND_TWIN_BINARY(And, kAnd)
ASCEND_TWIN_BINARY(Or, kOr)
ASCEND_TWIN_BINARY(AddRelu, kAddRelu)
ASCEND_TWIN_BINARY(SubRelu, kSubRelu)
ASCEND_TWIN_BINARY(FusedMulAdd, kFusedMulAdd)
ASCEND_TWIN_BINARY(FusedMulAddRelu, kFusedMulAddRelu)
#undef ASCEND_TWIN_BINARY

// dst += src0 * src1; float destinations also take half sources.
template <typename T, typename U, bool isSetMask = true>
void MulAddDst(const LocalTensor<T>& dst, const LocalTensor<U>& src0, const LocalTensor<U>& src1, uint64_t mask[],
               const int32_t repeatTime, const BinaryRepeatParams& repeatParams, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(detail::Supports(detail::VOp::kMulAddDst, TypeOf<T>()) && sizeof(U) <= sizeof(T), "MulAddDst");
  detail::Lanes lanes;
  if (::ascend_twin::LanesFromBits(detail::Current(), "MulAddDst", where, detail::Width<T>, isSetMask, mask,
                                   repeatTime, &lanes))
    detail::Binary(detail::VOp::kMulAddDst, "MulAddDst", dst, src0, src1, lanes, repeatParams, where);
}
template <typename T, typename U, bool isSetMask = true>
void MulAddDst(const LocalTensor<T>& dst, const LocalTensor<U>& src0, const LocalTensor<U>& src1, uint64_t mask,
               const int32_t repeatTime, const BinaryRepeatParams& repeatParams, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(detail::Supports(detail::VOp::kMulAddDst, TypeOf<T>()) && sizeof(U) <= sizeof(T), "MulAddDst");
  detail::Lanes lanes;
  if (::ascend_twin::LanesFromMask(detail::Current(), "MulAddDst", where, detail::Width<T>, isSetMask, mask,
                                   repeatTime, &lanes))
    detail::Binary(detail::VOp::kMulAddDst, "MulAddDst", dst, src0, src1, lanes, repeatParams, where);
}
template <typename T, typename U>
void MulAddDst(const LocalTensor<T>& dst, const LocalTensor<U>& src0, const LocalTensor<U>& src1,
               const int32_t& count, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(detail::Supports(detail::VOp::kMulAddDst, TypeOf<T>()) && sizeof(U) <= sizeof(T), "MulAddDst");
  detail::Lanes lanes;
  const auto dense = detail::DenseStrides<T, U>();
  const BinaryRepeatParams p(1, 1, 1, dense.dstRepStride, dense.srcRepStride, dense.srcRepStride);
  if (::ascend_twin::LanesFromCount(detail::Current(), "MulAddDst", where, detail::Width<T>, count, &lanes))
    detail::Binary(detail::VOp::kMulAddDst, "MulAddDst", dst, src0, src1, lanes, p, where);
}

#define ASCEND_TWIN_UNARY(NAME, OP)                                                                              \
  template <typename T, bool isSetMask = true>                                                                   \
  void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src, uint64_t mask[], const int32_t repeatTime,     \
            const UnaryRepeatParams& repeatParams, ASCEND_TWIN_WHERE) {                                          \
    ASCEND_TWIN_REQUIRE(detail::Supports(detail::VOp::OP, TypeOf<T>()), #NAME);                                  \
    detail::Lanes lanes;                                                                                         \
    if (::ascend_twin::LanesFromBits(detail::Current(), #NAME, where, detail::Width<T>, isSetMask, mask,         \
                                     repeatTime, &lanes))                                                        \
      detail::Unary(detail::VOp::OP, #NAME, dst, src, 0, 0, 0, lanes, repeatParams, where);                      \
  }                                                                                                              \
  template <typename T, bool isSetMask = true>                                                                   \
  void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src, uint64_t mask, const int32_t repeatTime,       \
            const UnaryRepeatParams& repeatParams, ASCEND_TWIN_WHERE) {                                          \
    ASCEND_TWIN_REQUIRE(detail::Supports(detail::VOp::OP, TypeOf<T>()), #NAME);                                  \
    detail::Lanes lanes;                                                                                         \
    if (::ascend_twin::LanesFromMask(detail::Current(), #NAME, where, detail::Width<T>, isSetMask, mask,         \
                                     repeatTime, &lanes))                                                        \
      detail::Unary(detail::VOp::OP, #NAME, dst, src, 0, 0, 0, lanes, repeatParams, where);                      \
  }                                                                                                              \
  template <typename T>                                                                                          \
  void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src, const int32_t& count, ASCEND_TWIN_WHERE) {     \
    ASCEND_TWIN_REQUIRE(detail::Supports(detail::VOp::OP, TypeOf<T>()), #NAME);                                  \
    detail::Lanes lanes;                                                                                         \
    if (::ascend_twin::LanesFromCount(detail::Current(), #NAME, where, detail::Width<T>, count, &lanes))         \
      detail::Unary(detail::VOp::OP, #NAME, dst, src, 0, 0, 0, lanes, UnaryRepeatParams(), where);               \
  }

ASCEND_TWIN_UNARY(Exp, kExp)
ASCEND_TWIN_UNARY(Ln, kLn)
ASCEND_TWIN_UNARY(Sqrt, kSqrt)
ASCEND_TWIN_UNARY(Rsqrt, kRsqrt)
ASCEND_TWIN_UNARY(Reciprocal, kReciprocal)
ASCEND_TWIN_UNARY(Abs, kAbs)
ASCEND_TWIN_UNARY(Relu, kRelu)
ASCEND_TWIN_UNARY(Not, kNot)
#undef ASCEND_TWIN_UNARY

#define ASCEND_TWIN_SCALAR(NAME, OP)                                                                              \
  template <typename T, bool isSetMask = true>                                                                    \
  void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src, const T& scalarValue, uint64_t mask[],          \
            const int32_t repeatTime, const UnaryRepeatParams& repeatParams, ASCEND_TWIN_WHERE) {                 \
    ASCEND_TWIN_REQUIRE(detail::Supports(detail::VOp::OP, TypeOf<T>()), #NAME);                                   \
    detail::Lanes lanes;                                                                                          \
    if (::ascend_twin::LanesFromBits(detail::Current(), #NAME, where, detail::Width<T>, isSetMask, mask,          \
                                     repeatTime, &lanes))                                                         \
      detail::Unary(detail::VOp::OP, #NAME, dst, src, detail::AsDouble(scalarValue),                              \
                    detail::AsInteger(scalarValue), 0, lanes, repeatParams, where);                               \
  }                                                                                                               \
  template <typename T, bool isSetMask = true>                                                                    \
  void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src, const T& scalarValue, uint64_t mask,            \
            const int32_t repeatTime, const UnaryRepeatParams& repeatParams, ASCEND_TWIN_WHERE) {                 \
    ASCEND_TWIN_REQUIRE(detail::Supports(detail::VOp::OP, TypeOf<T>()), #NAME);                                   \
    detail::Lanes lanes;                                                                                          \
    if (::ascend_twin::LanesFromMask(detail::Current(), #NAME, where, detail::Width<T>, isSetMask, mask,          \
                                     repeatTime, &lanes))                                                         \
      detail::Unary(detail::VOp::OP, #NAME, dst, src, detail::AsDouble(scalarValue),                              \
                    detail::AsInteger(scalarValue), 0, lanes, repeatParams, where);                               \
  }                                                                                                               \
  template <typename T, bool isSetMask = true>                                                                    \
  void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src, const T& scalarValue, const int32_t& count,     \
            ASCEND_TWIN_WHERE) {                                                                                  \
    ASCEND_TWIN_REQUIRE(detail::Supports(detail::VOp::OP, TypeOf<T>()), #NAME);                                   \
    detail::Lanes lanes;                                                                                          \
    if (::ascend_twin::LanesFromCount(detail::Current(), #NAME, where, detail::Width<T>, count, &lanes))          \
      detail::Unary(detail::VOp::OP, #NAME, dst, src, detail::AsDouble(scalarValue),                              \
                    detail::AsInteger(scalarValue), 0, lanes, UnaryRepeatParams(), where);                        \
  }

ASCEND_TWIN_SCALAR(Adds, kAdds)
ASCEND_TWIN_SCALAR(Muls, kMuls)
ASCEND_TWIN_SCALAR(Maxs, kMaxs)
ASCEND_TWIN_SCALAR(Mins, kMins)
ASCEND_TWIN_SCALAR(ShiftLeft, kShiftLeft)
ASCEND_TWIN_SCALAR(ShiftRight, kShiftRight)
ASCEND_TWIN_SCALAR(LeakyRelu, kLeakyRelu)
#undef ASCEND_TWIN_SCALAR

// dst += src * scalar; float destinations also take half sources.
namespace detail {
template <typename T, typename U>
constexpr bool AxpyTypes = (OneOf<T, half, float> && std::is_same<T, U>::value) ||
                           (std::is_same<T, float>::value && std::is_same<U, half>::value);
}
template <typename T, typename U, bool isSetMask = true>
void Axpy(const LocalTensor<T>& dst, const LocalTensor<U>& src, const U& scalarValue, uint64_t mask,
          const int32_t repeatTime, const UnaryRepeatParams& repeatParams, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE((detail::AxpyTypes<T, U>), "Axpy");
  detail::Lanes lanes;
  if (::ascend_twin::LanesFromMask(detail::Current(), "Axpy", where, detail::Width<T>, isSetMask, mask, repeatTime,
                                   &lanes))
    detail::Unary(detail::VOp::kAxpy, "Axpy", dst, src, detail::AsDouble(scalarValue), 0, 0, lanes, repeatParams,
                  where);
}
template <typename T, typename U, bool isSetMask = true>
void Axpy(const LocalTensor<T>& dst, const LocalTensor<U>& src, const U& scalarValue, uint64_t mask[],
          const int32_t repeatTime, const UnaryRepeatParams& repeatParams, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE((detail::AxpyTypes<T, U>), "Axpy");
  detail::Lanes lanes;
  if (::ascend_twin::LanesFromBits(detail::Current(), "Axpy", where, detail::Width<T>, isSetMask, mask, repeatTime,
                                   &lanes))
    detail::Unary(detail::VOp::kAxpy, "Axpy", dst, src, detail::AsDouble(scalarValue), 0, 0, lanes, repeatParams,
                  where);
}
template <typename T, typename U>
void Axpy(const LocalTensor<T>& dst, const LocalTensor<U>& src, const U& scalarValue, const int32_t& count,
          ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE((detail::AxpyTypes<T, U>), "Axpy");
  detail::Lanes lanes;
  if (::ascend_twin::LanesFromCount(detail::Current(), "Axpy", where, detail::Width<T>, count, &lanes))
    detail::Unary(detail::VOp::kAxpy, "Axpy", dst, src, detail::AsDouble(scalarValue), 0, 0, lanes,
                  detail::DenseStrides<T, U>(), where);
}

namespace detail {
// The rounding modes a cast has: bit i stands for RoundMode i; 0: no such cast.
template <typename T, typename U>
constexpr uint8_t CastModes() {
  constexpr uint8_t none = 1, all_int = 0x3e /* RINT..TRUNC */, odd = 0x40;
  if constexpr (std::is_same<U, float>::value && std::is_same<T, half>::value) return kIs910B ? none | all_int | odd : none | odd;
  if constexpr (std::is_same<U, half>::value && std::is_same<T, float>::value) return none;
  if constexpr (std::is_same<U, float>::value && std::is_same<T, int32_t>::value) return all_int;
  if constexpr (std::is_same<U, half>::value && std::is_same<T, int32_t>::value) return all_int;
  if constexpr (std::is_same<U, int32_t>::value && std::is_same<T, float>::value)
    return kIs910B ? none | all_int : none;
  if constexpr (std::is_same<U, int32_t>::value && std::is_same<T, half>::value) return none | all_int | odd;
  if constexpr (std::is_same<U, half>::value && OneOf<T, int8_t, uint8_t>)
    return kIs910B ? none | all_int : static_cast<uint8_t>((none | all_int) & ~2);
  if constexpr (OneOf<U, int8_t, uint8_t> && std::is_same<T, half>::value) return none;
  if constexpr (kIs910B) {
    if constexpr (std::is_same<U, float>::value && std::is_same<T, float>::value) return all_int;
    if constexpr (std::is_same<U, float>::value && std::is_same<T, bfloat16_t>::value) return none | all_int;
    if constexpr (std::is_same<U, bfloat16_t>::value && std::is_same<T, float>::value) return none;
    if constexpr (std::is_same<U, bfloat16_t>::value && std::is_same<T, int32_t>::value) return all_int;
    if constexpr (OneOf<U, half, float> && std::is_same<T, int16_t>::value) return all_int;
    if constexpr (std::is_same<U, float>::value && std::is_same<T, int64_t>::value) return all_int;
    if constexpr (std::is_same<U, int64_t>::value && std::is_same<T, float>::value) return all_int;
    if constexpr (std::is_same<U, int64_t>::value && std::is_same<T, int32_t>::value) return none;
    if constexpr (std::is_same<U, int32_t>::value && OneOf<T, int64_t, int16_t>) return none;
    if constexpr (std::is_same<U, int16_t>::value && std::is_same<T, half>::value) return none | all_int;
    if constexpr (std::is_same<U, int16_t>::value && std::is_same<T, float>::value) return none;
  }
  return 0;
}

template <typename T, typename U>
bool CheckRound(RoundMode mode, const Where& where) {
  if (CastModes<T, U>() >> static_cast<int>(mode) & 1) return true;
  Core& core = Current();
  core.CheckStop();
  if (!core.stopped())
    core.Fail(Rule::kRoundMode, "Cast", where,
              "rounding mode " + std::to_string(static_cast<int>(mode)) +
                  " does not exist for this pair of types on " ASCEND_TWIN_CHIP,
              Pipe::kV);
  return false;
}
}  // namespace detail

template <typename T, typename U, bool isSetMask = true>
void Cast(const LocalTensor<T>& dst, const LocalTensor<U>& src, const RoundMode& roundMode, uint64_t mask[],
          const int32_t repeatTime, const UnaryRepeatParams& repeatParams, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE((detail::CastModes<T, U>() != 0), "Cast");
  detail::Lanes lanes;
  if (detail::CheckRound<T, U>(roundMode, where) &&
      ::ascend_twin::LanesFromBits(detail::Current(), "Cast", where, detail::Wider<T, U>, isSetMask, mask, repeatTime,
                                   &lanes))
    detail::Unary(detail::VOp::kCast, "Cast", dst, src, ::ascend_twin::DeqScale(detail::Current()), 0,
                  static_cast<uint8_t>(roundMode), lanes, repeatParams, where);
}
template <typename T, typename U, bool isSetMask = true>
void Cast(const LocalTensor<T>& dst, const LocalTensor<U>& src, const RoundMode& roundMode, uint64_t mask,
          const int32_t repeatTime, const UnaryRepeatParams& repeatParams, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE((detail::CastModes<T, U>() != 0), "Cast");
  detail::Lanes lanes;
  if (detail::CheckRound<T, U>(roundMode, where) &&
      ::ascend_twin::LanesFromMask(detail::Current(), "Cast", where, detail::Wider<T, U>, isSetMask, mask, repeatTime,
                                   &lanes))
    detail::Unary(detail::VOp::kCast, "Cast", dst, src, ::ascend_twin::DeqScale(detail::Current()), 0,
                  static_cast<uint8_t>(roundMode), lanes, repeatParams, where);
}
template <typename T, typename U>
void Cast(const LocalTensor<T>& dst, const LocalTensor<U>& src, const RoundMode& roundMode, const uint32_t count,
          ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE((detail::CastModes<T, U>() != 0), "Cast");
  detail::Lanes lanes;
  if (detail::CheckRound<T, U>(roundMode, where) &&
      ::ascend_twin::LanesFromCount(detail::Current(), "Cast", where, detail::Wider<T, U>, count, &lanes))
    detail::Unary(detail::VOp::kCast, "Cast", dst, src, ::ascend_twin::DeqScale(detail::Current()), 0,
                  static_cast<uint8_t>(roundMode), lanes, detail::DenseStrides<T, U>(), where);
}
inline void SetDeqScale(half scale) { ::ascend_twin::SetDeqScale(detail::Current(), static_cast<float>(scale)); }

template <typename T, bool isSetMask = true>
void Duplicate(const LocalTensor<T>& dst, const T& scalarValue, uint64_t mask, const int32_t repeatTime,
               const Field<uint16_t> dstBlockStride, const Field<uint8_t> dstRepeatStride, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(detail::Supports(detail::VOp::kDuplicate, TypeOf<T>()), "Duplicate");
  auto call = detail::CallOf(detail::VOp::kDuplicate, "Duplicate", dst, dstBlockStride, dstRepeatStride);
  call.sources = 0;
  call.scalar = detail::AsDouble(scalarValue);
  call.integer = detail::AsInteger(scalarValue);
  if (::ascend_twin::LanesFromMask(detail::Current(), "Duplicate", where, detail::Width<T>, isSetMask, mask,
                                   repeatTime, &call.lanes))
    ::ascend_twin::Elementwise(detail::Current(), call, where);
}
template <typename T, bool isSetMask = true>
void Duplicate(const LocalTensor<T>& dst, const T& scalarValue, uint64_t mask[], const int32_t repeatTime,
               const Field<uint16_t> dstBlockStride, const Field<uint8_t> dstRepeatStride, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(detail::Supports(detail::VOp::kDuplicate, TypeOf<T>()), "Duplicate");
  auto call = detail::CallOf(detail::VOp::kDuplicate, "Duplicate", dst, dstBlockStride, dstRepeatStride);
  call.sources = 0;
  call.scalar = detail::AsDouble(scalarValue);
  call.integer = detail::AsInteger(scalarValue);
  if (::ascend_twin::LanesFromBits(detail::Current(), "Duplicate", where, detail::Width<T>, isSetMask, mask,
                                   repeatTime, &call.lanes))
    ::ascend_twin::Elementwise(detail::Current(), call, where);
}
template <typename T>
void Duplicate(const LocalTensor<T>& dst, const T& scalarValue, const int32_t& count, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(detail::Supports(detail::VOp::kDuplicate, TypeOf<T>()), "Duplicate");
  auto call = detail::CallOf(detail::VOp::kDuplicate, "Duplicate", dst, 1, 8);
  call.sources = 0;
  call.scalar = detail::AsDouble(scalarValue);
  call.integer = detail::AsInteger(scalarValue);
  if (::ascend_twin::LanesFromCount(detail::Current(), "Duplicate", where, detail::Width<T>, count, &call.lanes))
    ::ascend_twin::Elementwise(detail::Current(), call, where);
}

template <typename T, bool isSetMask = true>
void Copy(const LocalTensor<T>& dst, const LocalTensor<T>& src, const uint64_t mask, const int32_t repeatTime,
          const CopyRepeatParams& p, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(detail::Supports(detail::VOp::kCopy, TypeOf<T>()), "Copy");
  auto call = detail::CallOf(detail::VOp::kCopy, "Copy", dst, p.dstStride, p.dstRepeatSize);
  call.src0 = src.AsOperand(p.srcStride, p.srcRepeatSize);
  if (::ascend_twin::LanesFromMask(detail::Current(), "Copy", where, detail::Width<T>, isSetMask, mask, repeatTime,
                                   &call.lanes))
    ::ascend_twin::Elementwise(detail::Current(), call, where);
}

template <typename T, bool isSetMask = true>
void Copy(const LocalTensor<T>& dst, const LocalTensor<T>& src, const uint64_t mask[], const int32_t repeatTime,
          const CopyRepeatParams& p, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(detail::Supports(detail::VOp::kCopy, TypeOf<T>()), "Copy");
  auto call = detail::CallOf(detail::VOp::kCopy, "Copy", dst, p.dstStride, p.dstRepeatSize);
  call.src0 = src.AsOperand(p.srcStride, p.srcRepeatSize);
  if (::ascend_twin::LanesFromBits(detail::Current(), "Copy", where, detail::Width<T>, isSetMask, mask, repeatTime,
                                   &call.lanes))
    ::ascend_twin::Elementwise(detail::Current(), call, where);
}

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

#define ASCEND_TWIN_WHOLE(NAME, KIND)                                                                               \
  template <typename T, bool isSetMask = true>                                                                      \
  void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src, const uint64_t mask[], const int32_t repeatTime,  \
            const int32_t dstRepStride, const int32_t srcBlkStride, const int32_t srcRepStride,                     \
            ReduceOrder order = ReduceOrder::ORDER_VALUE_INDEX, ASCEND_TWIN_WHERE) {                                \
    ASCEND_TWIN_REQUIRE((detail::ReduceSupported(::ascend_twin::ReduceKind::KIND,                                   \
                                                 ::ascend_twin::ReduceSpan::kRepeat, TypeOf<T>())),                 \
                        #NAME);                                                                                     \
    detail::Lanes lanes;                                                                                            \
    if (::ascend_twin::LanesFromBits(detail::Current(), #NAME, where, detail::Width<T>, isSetMask, mask,            \
                                     repeatTime, &lanes))                                                           \
      detail::ReduceInto(::ascend_twin::ReduceKind::KIND, ::ascend_twin::ReduceSpan::kRepeat, #NAME, dst, src,      \
                         lanes, dstRepStride, srcBlkStride, srcRepStride, order, where);                            \
  }                                                                                                                 \
  template <typename T, bool isSetMask = true>                                                                      \
  void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src, const int32_t mask, const int32_t repeatTime,     \
            const int32_t dstRepStride, const int32_t srcBlkStride, const int32_t srcRepStride,                     \
            ReduceOrder order = ReduceOrder::ORDER_VALUE_INDEX, ASCEND_TWIN_WHERE) {                                \
    ASCEND_TWIN_REQUIRE((detail::ReduceSupported(::ascend_twin::ReduceKind::KIND,                                   \
                                                 ::ascend_twin::ReduceSpan::kRepeat, TypeOf<T>())),                 \
                        #NAME);                                                                                     \
    detail::Lanes lanes;                                                                                            \
    if (::ascend_twin::LanesFromMask(detail::Current(), #NAME, where, detail::Width<T>, isSetMask,                  \
                                     static_cast<uint64_t>(mask), repeatTime, &lanes))                              \
      detail::ReduceInto(::ascend_twin::ReduceKind::KIND, ::ascend_twin::ReduceSpan::kRepeat, #NAME, dst, src,      \
                         lanes, dstRepStride, srcBlkStride, srcRepStride, order, where);                            \
  }
ASCEND_TWIN_WHOLE(WholeReduceSum, kSum)
ASCEND_TWIN_WHOLE(WholeReduceMax, kMax)
ASCEND_TWIN_WHOLE(WholeReduceMin, kMin)
#undef ASCEND_TWIN_WHOLE

#define ASCEND_TWIN_BLOCK(NAME, KIND, SPAN)                                                                         \
  template <typename T, bool isSetMask = true>                                                                      \
  void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src, const int32_t repeat, const int32_t mask,         \
            const int32_t dstRepStride, const int32_t srcBlkStride, const int32_t srcRepStride,                     \
            ASCEND_TWIN_WHERE) {                                                                                    \
    ASCEND_TWIN_REQUIRE((detail::ReduceSupported(::ascend_twin::ReduceKind::KIND, ::ascend_twin::ReduceSpan::SPAN,  \
                                                 TypeOf<T>())),                                                     \
                        #NAME);                                                                                     \
    detail::Lanes lanes;                                                                                            \
    if (::ascend_twin::LanesFromMask(detail::Current(), #NAME, where, detail::Width<T>, isSetMask,                  \
                                     static_cast<uint64_t>(mask), repeat, &lanes))                                  \
      detail::ReduceInto(::ascend_twin::ReduceKind::KIND, ::ascend_twin::ReduceSpan::SPAN, #NAME, dst, src, lanes,  \
                         dstRepStride, srcBlkStride, srcRepStride, ReduceOrder::ORDER_ONLY_VALUE, where);           \
  }                                                                                                                 \
  template <typename T, bool isSetMask = true>                                                                      \
  void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src, const int32_t repeat, const uint64_t mask[],      \
            const int32_t dstRepStride, const int32_t srcBlkStride, const int32_t srcRepStride,                     \
            ASCEND_TWIN_WHERE) {                                                                                    \
    ASCEND_TWIN_REQUIRE((detail::ReduceSupported(::ascend_twin::ReduceKind::KIND, ::ascend_twin::ReduceSpan::SPAN,  \
                                                 TypeOf<T>())),                                                     \
                        #NAME);                                                                                     \
    detail::Lanes lanes;                                                                                            \
    if (::ascend_twin::LanesFromBits(detail::Current(), #NAME, where, detail::Width<T>, isSetMask, mask, repeat,    \
                                     &lanes))                                                                       \
      detail::ReduceInto(::ascend_twin::ReduceKind::KIND, ::ascend_twin::ReduceSpan::SPAN, #NAME, dst, src, lanes,  \
                         dstRepStride, srcBlkStride, srcRepStride, ReduceOrder::ORDER_ONLY_VALUE, where);           \
  }
ASCEND_TWIN_BLOCK(BlockReduceSum, kSum, kBlock)
ASCEND_TWIN_BLOCK(BlockReduceMax, kMax, kBlock)
ASCEND_TWIN_BLOCK(BlockReduceMin, kMin, kBlock)
ASCEND_TWIN_BLOCK(PairReduceSum, kSum, kPair)
#undef ASCEND_TWIN_BLOCK

// The same under their newer names.
enum class ReduceType : uint8_t { SUM = 0, MAX, MIN };
template <ReduceType reduceType, typename T, typename U, bool isSetMask = true, typename M>
void ReduceRepeat(const LocalTensor<T>& dst, const LocalTensor<U>& src, const M mask, const int32_t repeatTime,
                  const int32_t dstRepStride, const int32_t srcBlkStride, const int32_t srcRepStride,
                  ReduceOrder order = ReduceOrder::ORDER_VALUE_INDEX, ASCEND_TWIN_WHERE) {
  if constexpr (reduceType == ReduceType::SUM)
    WholeReduceSum<T, isSetMask>(dst, src, mask, repeatTime, dstRepStride, srcBlkStride, srcRepStride, order, where);
  else if constexpr (reduceType == ReduceType::MAX)
    WholeReduceMax<T, isSetMask>(dst, src, mask, repeatTime, dstRepStride, srcBlkStride, srcRepStride, order, where);
  else
    WholeReduceMin<T, isSetMask>(dst, src, mask, repeatTime, dstRepStride, srcBlkStride, srcRepStride, order, where);
}
template <ReduceType reduceType, typename T, typename U, bool isSetMask = true, typename M>
void ReduceDataBlock(const LocalTensor<T>& dst, const LocalTensor<U>& src, const M mask, const int32_t repeatTime,
                     const int32_t dstRepStride, const int32_t srcBlkStride, const int32_t srcRepStride,
                     ASCEND_TWIN_WHERE) {
  if constexpr (reduceType == ReduceType::SUM)
    BlockReduceSum<T, isSetMask>(dst, src, repeatTime, mask, dstRepStride, srcBlkStride, srcRepStride, where);
  else if constexpr (reduceType == ReduceType::MAX)
    BlockReduceMax<T, isSetMask>(dst, src, repeatTime, mask, dstRepStride, srcBlkStride, srcRepStride, where);
  else
    BlockReduceMin<T, isSetMask>(dst, src, repeatTime, mask, dstRepStride, srcBlkStride, srcRepStride, where);
}
template <ReduceType reduceType, typename T, typename U, bool isSetMask = true, typename M>
void ReducePairElem(const LocalTensor<T>& dst, const LocalTensor<U>& src, const M mask, const int32_t repeatTime,
                    const int32_t dstRepStride, const int32_t srcBlkStride, const int32_t srcRepStride,
                    ASCEND_TWIN_WHERE) {
  static_assert(reduceType == ReduceType::SUM, "ReducePairElem sums");
  PairReduceSum<T, isSetMask>(dst, src, repeatTime, mask, dstRepStride, srcBlkStride, srcRepStride, where);
}

template <typename T, bool isSetMask = true>
void RepeatReduceSum(const LocalTensor<T>& dst, const LocalTensor<T>& src, const int32_t repeat,
                     const int32_t elemsInOneRepeat, const int32_t /*dstBlkStride*/, const int32_t srcBlkStride,
                     const int32_t dstRepStride, const int32_t srcRepStride, ASCEND_TWIN_WHERE) {
  WholeReduceSum<T, isSetMask>(dst, src, elemsInOneRepeat, repeat, dstRepStride, srcBlkStride, srcRepStride,
                               ReduceOrder::ORDER_VALUE_INDEX, where);
}

#define ASCEND_TWIN_REDUCE_ALL(NAME, KIND)                                                                            \
  template <typename T>                                                                                               \
  void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<T>& work, const int32_t count,    \
            bool calIndex = 0, ASCEND_TWIN_WHERE) {                                                                   \
    ASCEND_TWIN_REQUIRE((OneOf<T, half, float>) && (kIs910B || sizeof(T) == 2), #NAME);                               \
    ::ascend_twin::ReduceAllCall call = {::ascend_twin::ReduceKind::KIND, #NAME, dst.AsOperand(), src.AsOperand(),    \
                                         work.AsOperand(), {}, calIndex};                                             \
    if (::ascend_twin::LanesFromCount(detail::Current(), #NAME, where, detail::Width<T>, count, &call.lanes))         \
      ::ascend_twin::ReduceAll(detail::Current(), call, where);                                                       \
  }                                                                                                                   \
  template <typename T>                                                                                               \
  void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<T>& work, const int32_t mask,     \
            const int32_t repeatTime, const int32_t srcRepStride, bool calIndex = 0, ASCEND_TWIN_WHERE) {             \
    ASCEND_TWIN_REQUIRE((OneOf<T, half, float>) && (kIs910B || sizeof(T) == 2), #NAME);                               \
    ::ascend_twin::ReduceAllCall call = {::ascend_twin::ReduceKind::KIND, #NAME, dst.AsOperand(),                     \
                                         src.AsOperand(1, static_cast<uint32_t>(srcRepStride)), work.AsOperand(), {}, \
                                         calIndex};                                                                   \
    if (::ascend_twin::LanesFromMask(detail::Current(), #NAME, where, detail::Width<T>, true,                         \
                                     static_cast<uint64_t>(mask), repeatTime, &call.lanes))                           \
      ::ascend_twin::ReduceAll(detail::Current(), call, where);                                                       \
  }
ASCEND_TWIN_REDUCE_ALL(ReduceMax, kMax)
ASCEND_TWIN_REDUCE_ALL(ReduceMin, kMin)
#undef ASCEND_TWIN_REDUCE_ALL

template <typename T, bool isSetMask = true>
void ReduceSum(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<T>& work, const int32_t count,
               ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE((OneOf<T, half, float>) && (kIs910B || sizeof(T) == 2), "ReduceSum");
  ::ascend_twin::ReduceAllCall call = {::ascend_twin::ReduceKind::kSum, "ReduceSum", dst.AsOperand(), src.AsOperand(),
                                       work.AsOperand(), {}, false};
  if (::ascend_twin::LanesFromCount(detail::Current(), "ReduceSum", where, detail::Width<T>, count, &call.lanes))
    ::ascend_twin::ReduceAll(detail::Current(), call, where);
}
template <typename T>
void ReduceSum(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<T>& work, const int32_t mask,
               const int32_t repeatTime, const int32_t srcRepStride, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE((OneOf<T, half, float>) && (kIs910B || sizeof(T) == 2), "ReduceSum");
  ::ascend_twin::ReduceAllCall call = {::ascend_twin::ReduceKind::kSum, "ReduceSum", dst.AsOperand(),
                                       src.AsOperand(1, static_cast<uint32_t>(srcRepStride)), work.AsOperand(), {},
                                       false};
  if (::ascend_twin::LanesFromMask(detail::Current(), "ReduceSum", where, detail::Width<T>, true,
                                   static_cast<uint64_t>(mask), repeatTime, &call.lanes))
    ::ascend_twin::ReduceAll(detail::Current(), call, where);
}

// What the last whole reduction left in its registers; a V_S flag orders the read.
template <typename T>
T GetReduceRepeatSumSpr() {
  ASCEND_TWIN_REQUIRE(kIs910B && (OneOf<T, half, float>), "GetReduceRepeatSumSpr");
  return T(detail::Current().reduce_value);
}
template <typename T>
void GetReduceRepeatMaxMinSpr(T& value) {
  ASCEND_TWIN_REQUIRE(kIs910B && (OneOf<T, half, float>), "GetReduceRepeatMaxMinSpr");
  value = T(detail::Current().reduce_value);
}
template <typename T>
void GetReduceRepeatMaxMinSpr(T& value, T& index) {
  GetReduceRepeatMaxMinSpr(value);
  const auto bits = static_cast<uint32_t>(detail::Current().reduce_index);
  std::memcpy(&index, &bits, sizeof(T));
}

// Compare writes a bit an element, a repeat after the other; the vector mask does not select them.
namespace detail {
template <typename T>
constexpr bool CompareTypes = OneOf<T, half, float> || (kIs910B && std::is_same<T, int32_t>::value);
template <typename T, typename U>
::ascend_twin::CompareCall CompareOf(const LocalTensor<U>& dst, const LocalTensor<T>& src0, const LocalTensor<T>& src1,
                                     CMPMODE mode, const BinaryRepeatParams& p) {
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
void Compare(const LocalTensor<U>& dst, const LocalTensor<T>& src0, const LocalTensor<T>& src1, CMPMODE cmpMode,
             uint64_t /*mask*/, int32_t repeatTime, const BinaryRepeatParams& p, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE((detail::CompareTypes<T>) && sizeof(U) == 1, "Compare");
  auto call = detail::CompareOf(dst, src0, src1, cmpMode, p);
  const uint64_t all[2] = {~0ull, ~0ull};
  if (::ascend_twin::LanesFromBits(detail::Current(), "Compare", where, detail::Width<T>, true, all, repeatTime,
                                   &call.lanes))
    ::ascend_twin::Compare(detail::Current(), call, where);
}
template <typename T, typename U, bool isSetMask = true>
void Compare(const LocalTensor<U>& dst, const LocalTensor<T>& src0, const LocalTensor<T>& src1, CMPMODE cmpMode,
             uint64_t /*mask*/[], int32_t repeatTime, const BinaryRepeatParams& p, ASCEND_TWIN_WHERE) {
  Compare<T, U, isSetMask>(dst, src0, src1, cmpMode, uint64_t{1}, repeatTime, p, where);
}
// The bytes of the elements are a multiple of 256.
template <typename T, typename U>
void Compare(const LocalTensor<U>& dst, const LocalTensor<T>& src0, const LocalTensor<T>& src1, CMPMODE cmpMode,
             uint32_t count, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE((detail::CompareTypes<T>) && sizeof(U) == 1, "Compare");
  auto call = detail::CompareOf(dst, src0, src1, cmpMode, BinaryRepeatParams());
  if (count * sizeof(T) % 256 != 0) {
    detail::Current().Fail(detail::Rule::kCountRange, "Compare", where,
                           std::to_string(count) + " elements are no multiple of 256 bytes", detail::Pipe::kV);
    return;
  }
  if (::ascend_twin::LanesFromCount(detail::Current(), "Compare", where, detail::Width<T>, count, &call.lanes))
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
                   const uint64_t /*mask*/, int32_t repeatTime, const UnaryRepeatParams& p, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B && (OneOf<T, half, float, int32_t>), "CompareScalar");
  auto call = detail::CompareOf(dst, src0, src0, cmpMode,
                                BinaryRepeatParams(1, static_cast<uint8_t>(p.srcBlkStride), 1, 8, p.srcRepStride, 8));
  call.name = "CompareScalar";
  call.scalar_source = true;
  call.scalar = detail::AsDouble(src1Scalar);
  const uint64_t all[2] = {~0ull, ~0ull};
  if (::ascend_twin::LanesFromBits(detail::Current(), "CompareScalar", where, detail::Width<T>, true, all, repeatTime,
                                   &call.lanes))
    ::ascend_twin::Compare(detail::Current(), call, where);
}
template <typename T, typename U>
void CompareScalar(const LocalTensor<U>& dst, const LocalTensor<T>& src0, const T src1Scalar, CMPMODE cmpMode,
                   uint32_t count, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B && (OneOf<T, half, float, int32_t>), "CompareScalar");
  auto call = detail::CompareOf(dst, src0, src0, cmpMode, BinaryRepeatParams());
  call.name = "CompareScalar";
  call.scalar_source = true;
  call.scalar = detail::AsDouble(src1Scalar);
  if (count * sizeof(T) % 256 != 0) {
    detail::Current().Fail(detail::Rule::kCountRange, "CompareScalar", where,
                           std::to_string(count) + " elements are no multiple of 256 bytes", detail::Pipe::kV);
    return;
  }
  if (::ascend_twin::LanesFromCount(detail::Current(), "CompareScalar", where, detail::Width<T>, count, &call.lanes))
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
::ascend_twin::SelectCall SelectOf(const LocalTensor<T>& dst, const LocalTensor<U>& mask, const LocalTensor<T>& src0,
                                   const LocalTensor<T>& src1, SELMODE mode, const BinaryRepeatParams& p) {
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
  if (::ascend_twin::LanesFromMask(detail::Current(), "Select", where, detail::Width<T>, isSetMask, mask, repeatTime,
                                   &call.lanes))
    ::ascend_twin::Select(detail::Current(), call, where);
}
template <typename T, typename U, bool isSetMask = true>
void Select(const LocalTensor<T>& dst, const LocalTensor<U>& selMask, const LocalTensor<T>& src0,
            const LocalTensor<T>& src1, SELMODE selMode, uint64_t mask[], int32_t repeatTime,
            const BinaryRepeatParams& p, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE((OneOf<T, half, float>), "Select");
  auto call = detail::SelectOf(dst, selMask, src0, src1, selMode, p);
  if (::ascend_twin::LanesFromBits(detail::Current(), "Select", where, detail::Width<T>, isSetMask, mask, repeatTime,
                                   &call.lanes))
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
            SELMODE selMode, uint64_t mask, int32_t repeatTime, const BinaryRepeatParams& p, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B && (OneOf<T, half, float>), "Select against a scalar");
  auto call = detail::SelectOf(dst, selMask, src0, src0, selMode, p);
  call.scalar_source = true;
  call.scalar = detail::AsDouble(src1);
  if (::ascend_twin::LanesFromMask(detail::Current(), "Select", where, detail::Width<T>, isSetMask, mask, repeatTime,
                                   &call.lanes))
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
void Select(const LocalTensor<T>& dst, const LocalTensor<T>& src0, const LocalTensor<T>& src1, int32_t repeatTime,
            const BinaryRepeatParams& p, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE((OneOf<T, half, float>) && (kIs910B || selMode == SELMODE::VSEL_CMPMASK_SPR), "Select");
  auto call = detail::SelectOf(dst, dst, src0, src1, selMode, p);
  call.from_register = true;
  if (::ascend_twin::LanesFromBits(detail::Current(), "Select", where, detail::Width<T>, false, nullptr, repeatTime,
                                   &call.lanes))
    ::ascend_twin::Select(detail::Current(), call, where);
}

// A 16 x 16 matrix of 16-bit elements.
template <typename T>
void Transpose(const LocalTensor<T>& dst, const LocalTensor<T>& src, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE((OneOf<T, half, int16_t, uint16_t>), "Transpose");
  ::ascend_twin::Transpose16(detail::Current(), dst.AsOperand(), src.AsOperand(), where);
}

struct TransDataTo5HDParams {
  constexpr TransDataTo5HDParams() = default;
  constexpr TransDataTo5HDParams(const bool dstHighHalfIn, const bool srcHighHalfIn, const uint8_t repeatTimesIn,
                                 const uint16_t dstRepStrideIn, const uint16_t srcRepStrideIn)
      : dstHighHalf(dstHighHalfIn), srcHighHalf(srcHighHalfIn), repeatTimes(repeatTimesIn),
        dstRepStride(dstRepStrideIn), srcRepStride(srcRepStrideIn) {}
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
  uint32_t dst[16], src[16];
  for (int i = 0; i < 16; ++i) {
    dst[i] = dstList[i].address_.bufferAddr;
    src[i] = srcList[i].address_.bufferAddr;
  }
  ::ascend_twin::TransDataTo5HD(detail::Current(), TypeOf<T>(), dst, src, p.repeatTimes, p.dstRepStride,
                                p.srcRepStride, p.dstHighHalf, p.srcHighHalf, where);
}
template <typename T>
void TransDataTo5HD(uint64_t dstList[NCHW_CONV_ADDR_LIST_SIZE], uint64_t srcList[NCHW_CONV_ADDR_LIST_SIZE],
                    const TransDataTo5HDParams& p, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(sizeof(T) <= 2 || (kIs910B && sizeof(T) == 4), "TransDataTo5HD");
  uint32_t dst[16], src[16];
  for (int i = 0; i < 16; ++i) {
    dst[i] = static_cast<uint32_t>(dstList[i]);
    src[i] = static_cast<uint32_t>(srcList[i]);
  }
  ::ascend_twin::TransDataTo5HD(detail::Current(), TypeOf<T>(), dst, src, p.repeatTimes, p.dstRepStride,
                                p.srcRepStride, p.dstHighHalf, p.srcHighHalf, where);
}

// Absent on the 910: blocks from elements, gather, indices.
template <typename T>
void Brcb(const LocalTensor<T>& dst, const LocalTensor<T>& src, const int32_t repeatTime, const BrcbRepeatParams& p,
          ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B && (sizeof(T) == 2 || sizeof(T) == 4), "Brcb");
  ::ascend_twin::Brcb(detail::Current(), dst.AsOperand(p.dstBlkStride, p.dstRepStride), src.AsOperand(), repeatTime,
                      where);
}
template <typename T>
void Gather(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<uint32_t>& srcOffset,
            const uint32_t srcBaseOffset, const uint64_t mask, const int32_t repeatTime, const uint16_t dstRepStride,
            ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B && (sizeof(T) == 2 || sizeof(T) == 4), "Gather");
  ::ascend_twin::GatherCall call = {"Gather", dst.AsOperand(1, dstRepStride), src.AsOperand(), srcOffset.AsOperand(),
                                    srcBaseOffset, {}, false};
  if (::ascend_twin::LanesFromMask(detail::Current(), "Gather", where, detail::Width<T>, true, mask, repeatTime,
                                   &call.lanes))
    ::ascend_twin::Gather(detail::Current(), call, where);
}
template <typename T>
void Gather(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<uint32_t>& srcOffset,
            const uint32_t srcBaseOffset, const uint64_t mask[], const int32_t repeatTime, const uint16_t dstRepStride,
            ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B && (sizeof(T) == 2 || sizeof(T) == 4), "Gather");
  ::ascend_twin::GatherCall call = {"Gather", dst.AsOperand(1, dstRepStride), src.AsOperand(), srcOffset.AsOperand(),
                                    srcBaseOffset, {}, false};
  if (::ascend_twin::LanesFromBits(detail::Current(), "Gather", where, detail::Width<T>, true, mask, repeatTime,
                                   &call.lanes))
    ::ascend_twin::Gather(detail::Current(), call, where);
}
template <typename T>
void Gather(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<uint32_t>& srcOffset,
            const uint32_t srcBaseOffset, const uint32_t count, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B && (sizeof(T) == 2 || sizeof(T) == 4), "Gather");
  ::ascend_twin::GatherCall call = {"Gather", dst.AsOperand(), src.AsOperand(), srcOffset.AsOperand(), srcBaseOffset,
                                    {}, false};
  if (::ascend_twin::LanesFromCount(detail::Current(), "Gather", where, detail::Width<T>, count, &call.lanes))
    ::ascend_twin::Gather(detail::Current(), call, where);
}
template <typename T>
void Gatherb(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LocalTensor<uint32_t>& offset,
             const int32_t repeatTime, const GatherRepeatParams& p, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B && (sizeof(T) == 2 || sizeof(T) == 4), "Gatherb");
  ::ascend_twin::GatherCall call = {"Gatherb", dst.AsOperand(p.dstBlkStride, p.dstRepStride), src.AsOperand(),
                                    offset.AsOperand(), 0, {}, true};
  const uint64_t all[2] = {~0ull, ~0ull};
  if (::ascend_twin::LanesFromBits(detail::Current(), "Gatherb", where, detail::Width<T>, true, all, repeatTime,
                                   &call.lanes))
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
  if (::ascend_twin::LanesFromCount(detail::Current(), "CreateVecIndex", where, detail::Width<T>, count, &lanes))
    ::ascend_twin::CreateIndex(detail::Current(), "CreateVecIndex", dst.AsOperand(), detail::AsDouble(firstValue),
                               lanes, where);
}

struct GatherMaskParams {
  GatherMaskParams() {}
  GatherMaskParams(const uint8_t src0BlockStrideIn, const uint16_t repeatTimesIn, const uint16_t src0RepeatStrideIn,
                   const uint8_t src1RepeatStrideIn)
      : src0BlockStride(src0BlockStrideIn), repeatTimes(repeatTimesIn), src0RepeatStride(src0RepeatStrideIn),
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
