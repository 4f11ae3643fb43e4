// SPDX-License-Identifier: Apache-2.0
// Elementwise calls, casts, duplicate: level 0 (mask, repeat, strides) and level 2 (count).
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
           int64_t integer, uint8_t round, const Lanes& lanes, const UnaryRepeatParams& p,
           const Where& where) {
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

#define ASCEND_TWIN_BINARY(NAME, OP)                                                                     \
  template <typename T, bool isSetMask = true>                                                           \
  void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src0, const LocalTensor<T>& src1,           \
            uint64_t mask[], const int32_t repeatTime, const BinaryRepeatParams& repeatParams,           \
            ASCEND_TWIN_WHERE) {                                                                         \
    ASCEND_TWIN_REQUIRE(detail::Supports(detail::VOp::OP, TypeOf<T>()), #NAME);                          \
    detail::Lanes lanes;                                                                                 \
    if (::ascend_twin::LanesFromBits(detail::Current(), #NAME, where, detail::Width<T>, isSetMask, mask, \
                                     repeatTime, &lanes))                                                \
      detail::Binary(detail::VOp::OP, #NAME, dst, src0, src1, lanes, repeatParams, where);               \
  }                                                                                                      \
  template <typename T, bool isSetMask = true>                                                           \
  void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src0, const LocalTensor<T>& src1,           \
            uint64_t mask, const int32_t repeatTime, const BinaryRepeatParams& repeatParams,             \
            ASCEND_TWIN_WHERE) {                                                                         \
    ASCEND_TWIN_REQUIRE(detail::Supports(detail::VOp::OP, TypeOf<T>()), #NAME);                          \
    detail::Lanes lanes;                                                                                 \
    if (::ascend_twin::LanesFromMask(detail::Current(), #NAME, where, detail::Width<T>, isSetMask, mask, \
                                     repeatTime, &lanes))                                                \
      detail::Binary(detail::VOp::OP, #NAME, dst, src0, src1, lanes, repeatParams, where);               \
  }                                                                                                      \
  template <typename T>                                                                                  \
  void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src0, const LocalTensor<T>& src1,           \
            const int32_t& count, ASCEND_TWIN_WHERE) {                                                   \
    ASCEND_TWIN_REQUIRE(detail::Supports(detail::VOp::OP, TypeOf<T>()), #NAME);                          \
    detail::Lanes lanes;                                                                                 \
    if (::ascend_twin::LanesFromCount(detail::Current(), #NAME, where, detail::Width<T>, count, &lanes)) \
      detail::Binary(detail::VOp::OP, #NAME, dst, src0, src1, lanes, BinaryRepeatParams(), where);       \
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
void MulAddDst(const LocalTensor<T>& dst, const LocalTensor<U>& src0, const LocalTensor<U>& src1,
               uint64_t mask[], const int32_t repeatTime, const BinaryRepeatParams& repeatParams,
               ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(detail::Supports(detail::VOp::kMulAddDst, TypeOf<T>()) && sizeof(U) <= sizeof(T),
                      "MulAddDst");
  detail::Lanes lanes;
  if (::ascend_twin::LanesFromBits(detail::Current(), "MulAddDst", where, detail::Width<T>, isSetMask, mask,
                                   repeatTime, &lanes))
    detail::Binary(detail::VOp::kMulAddDst, "MulAddDst", dst, src0, src1, lanes, repeatParams, where);
}
template <typename T, typename U, bool isSetMask = true>
void MulAddDst(const LocalTensor<T>& dst, const LocalTensor<U>& src0, const LocalTensor<U>& src1,
               uint64_t mask, const int32_t repeatTime, const BinaryRepeatParams& repeatParams,
               ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(detail::Supports(detail::VOp::kMulAddDst, TypeOf<T>()) && sizeof(U) <= sizeof(T),
                      "MulAddDst");
  detail::Lanes lanes;
  if (::ascend_twin::LanesFromMask(detail::Current(), "MulAddDst", where, detail::Width<T>, isSetMask, mask,
                                   repeatTime, &lanes))
    detail::Binary(detail::VOp::kMulAddDst, "MulAddDst", dst, src0, src1, lanes, repeatParams, where);
}
template <typename T, typename U>
void MulAddDst(const LocalTensor<T>& dst, const LocalTensor<U>& src0, const LocalTensor<U>& src1,
               const int32_t& count, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(detail::Supports(detail::VOp::kMulAddDst, TypeOf<T>()) && sizeof(U) <= sizeof(T),
                      "MulAddDst");
  detail::Lanes lanes;
  const auto dense = detail::DenseStrides<T, U>();
  const BinaryRepeatParams p(1, 1, 1, dense.dstRepStride, dense.srcRepStride, dense.srcRepStride);
  if (::ascend_twin::LanesFromCount(detail::Current(), "MulAddDst", where, detail::Width<T>, count, &lanes))
    detail::Binary(detail::VOp::kMulAddDst, "MulAddDst", dst, src0, src1, lanes, p, where);
}

#define ASCEND_TWIN_UNARY(NAME, OP)                                                                          \
  template <typename T, bool isSetMask = true>                                                               \
  void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src, uint64_t mask[], const int32_t repeatTime, \
            const UnaryRepeatParams& repeatParams, ASCEND_TWIN_WHERE) {                                      \
    ASCEND_TWIN_REQUIRE(detail::Supports(detail::VOp::OP, TypeOf<T>()), #NAME);                              \
    detail::Lanes lanes;                                                                                     \
    if (::ascend_twin::LanesFromBits(detail::Current(), #NAME, where, detail::Width<T>, isSetMask, mask,     \
                                     repeatTime, &lanes))                                                    \
      detail::Unary(detail::VOp::OP, #NAME, dst, src, 0, 0, 0, lanes, repeatParams, where);                  \
  }                                                                                                          \
  template <typename T, bool isSetMask = true>                                                               \
  void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src, uint64_t mask, const int32_t repeatTime,   \
            const UnaryRepeatParams& repeatParams, ASCEND_TWIN_WHERE) {                                      \
    ASCEND_TWIN_REQUIRE(detail::Supports(detail::VOp::OP, TypeOf<T>()), #NAME);                              \
    detail::Lanes lanes;                                                                                     \
    if (::ascend_twin::LanesFromMask(detail::Current(), #NAME, where, detail::Width<T>, isSetMask, mask,     \
                                     repeatTime, &lanes))                                                    \
      detail::Unary(detail::VOp::OP, #NAME, dst, src, 0, 0, 0, lanes, repeatParams, where);                  \
  }                                                                                                          \
  template <typename T>                                                                                      \
  void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src, const int32_t& count, ASCEND_TWIN_WHERE) { \
    ASCEND_TWIN_REQUIRE(detail::Supports(detail::VOp::OP, TypeOf<T>()), #NAME);                              \
    detail::Lanes lanes;                                                                                     \
    if (::ascend_twin::LanesFromCount(detail::Current(), #NAME, where, detail::Width<T>, count, &lanes))     \
      detail::Unary(detail::VOp::OP, #NAME, dst, src, 0, 0, 0, lanes, UnaryRepeatParams(), where);           \
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

#define ASCEND_TWIN_SCALAR(NAME, OP)                                                                      \
  template <typename T, bool isSetMask = true>                                                            \
  void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src, const T& scalarValue, uint64_t mask[],  \
            const int32_t repeatTime, const UnaryRepeatParams& repeatParams, ASCEND_TWIN_WHERE) {         \
    ASCEND_TWIN_REQUIRE(detail::Supports(detail::VOp::OP, TypeOf<T>()), #NAME);                           \
    detail::Lanes lanes;                                                                                  \
    if (::ascend_twin::LanesFromBits(detail::Current(), #NAME, where, detail::Width<T>, isSetMask, mask,  \
                                     repeatTime, &lanes))                                                 \
      detail::Unary(detail::VOp::OP, #NAME, dst, src, detail::AsDouble(scalarValue),                      \
                    detail::AsInteger(scalarValue), 0, lanes, repeatParams, where);                       \
  }                                                                                                       \
  template <typename T, bool isSetMask = true>                                                            \
  void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src, const T& scalarValue, uint64_t mask,    \
            const int32_t repeatTime, const UnaryRepeatParams& repeatParams, ASCEND_TWIN_WHERE) {         \
    ASCEND_TWIN_REQUIRE(detail::Supports(detail::VOp::OP, TypeOf<T>()), #NAME);                           \
    detail::Lanes lanes;                                                                                  \
    if (::ascend_twin::LanesFromMask(detail::Current(), #NAME, where, detail::Width<T>, isSetMask, mask,  \
                                     repeatTime, &lanes))                                                 \
      detail::Unary(detail::VOp::OP, #NAME, dst, src, detail::AsDouble(scalarValue),                      \
                    detail::AsInteger(scalarValue), 0, lanes, repeatParams, where);                       \
  }                                                                                                       \
  template <typename T, bool isSetMask = true>                                                            \
  void NAME(const LocalTensor<T>& dst, const LocalTensor<T>& src, const T& scalarValue,                   \
            const int32_t& count, ASCEND_TWIN_WHERE) {                                                    \
    ASCEND_TWIN_REQUIRE((kIs910B || isSetMask) && detail::Supports(detail::VOp::OP, TypeOf<T>()), #NAME); \
    detail::Lanes lanes;                                                                                  \
    if (::ascend_twin::LanesFromCount(detail::Current(), #NAME, where, detail::Width<T>, count, &lanes,   \
                                      isSetMask))                                                         \
      detail::Unary(detail::VOp::OP, #NAME, dst, src, detail::AsDouble(scalarValue),                      \
                    detail::AsInteger(scalarValue), 0, lanes, UnaryRepeatParams(), where);                \
  }

ASCEND_TWIN_SCALAR(Adds, kAdds)
ASCEND_TWIN_SCALAR(Muls, kMuls)
ASCEND_TWIN_SCALAR(Maxs, kMaxs)
ASCEND_TWIN_SCALAR(Mins, kMins)
ASCEND_TWIN_SCALAR(ShiftLeft, kShiftLeft)
ASCEND_TWIN_SCALAR(ShiftRight, kShiftRight)
ASCEND_TWIN_SCALAR(LeakyRelu, kLeakyRelu)
#undef ASCEND_TWIN_SCALAR

// Shifts of signed integers may round: they add the last bit that goes.
template <typename T, bool isSetMask = true>
void ShiftRight(const LocalTensor<T>& dst, const LocalTensor<T>& src, const T& scalarValue, uint64_t mask[],
                const int32_t repeatTime, const UnaryRepeatParams& repeatParams, bool roundEn,
                ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(detail::Supports(detail::VOp::kShiftRight, TypeOf<T>()), "ShiftRight");
  detail::Lanes lanes;
  if (::ascend_twin::LanesFromBits(detail::Current(), "ShiftRight", where, detail::Width<T>, isSetMask, mask,
                                   repeatTime, &lanes))
    detail::Unary(detail::VOp::kShiftRight, "ShiftRight", dst, src, 0, detail::AsInteger(scalarValue),
                  roundEn && std::is_signed<T>::value, lanes, repeatParams, where);
}
template <typename T, bool isSetMask = true>
void ShiftRight(const LocalTensor<T>& dst, const LocalTensor<T>& src, const T& scalarValue, uint64_t mask,
                const int32_t repeatTime, const UnaryRepeatParams& repeatParams, bool roundEn,
                ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(detail::Supports(detail::VOp::kShiftRight, TypeOf<T>()), "ShiftRight");
  detail::Lanes lanes;
  if (::ascend_twin::LanesFromMask(detail::Current(), "ShiftRight", where, detail::Width<T>, isSetMask, mask,
                                   repeatTime, &lanes))
    detail::Unary(detail::VOp::kShiftRight, "ShiftRight", dst, src, 0, detail::AsInteger(scalarValue),
                  roundEn && std::is_signed<T>::value, lanes, repeatParams, where);
}

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
  if (::ascend_twin::LanesFromMask(detail::Current(), "Axpy", where, detail::Width<T>, isSetMask, mask,
                                   repeatTime, &lanes))
    detail::Unary(detail::VOp::kAxpy, "Axpy", dst, src, detail::AsDouble(scalarValue), 0, 0, lanes,
                  repeatParams, where);
}
template <typename T, typename U, bool isSetMask = true>
void Axpy(const LocalTensor<T>& dst, const LocalTensor<U>& src, const U& scalarValue, uint64_t mask[],
          const int32_t repeatTime, const UnaryRepeatParams& repeatParams, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE((detail::AxpyTypes<T, U>), "Axpy");
  detail::Lanes lanes;
  if (::ascend_twin::LanesFromBits(detail::Current(), "Axpy", where, detail::Width<T>, isSetMask, mask,
                                   repeatTime, &lanes))
    detail::Unary(detail::VOp::kAxpy, "Axpy", dst, src, detail::AsDouble(scalarValue), 0, 0, lanes,
                  repeatParams, where);
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
  if constexpr (std::is_same<U, float>::value && std::is_same<T, half>::value)
    return kIs910B ? none | all_int | odd : none | odd;
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
    if constexpr (std::is_same<U, float>::value && std::is_same<T, bfloat16_t>::value) return all_int;
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
      ::ascend_twin::LanesFromBits(detail::Current(), "Cast", where, detail::Wider<T, U>, isSetMask, mask,
                                   repeatTime, &lanes))
    detail::Unary(detail::VOp::kCast, "Cast", dst, src, ::ascend_twin::DeqScale(detail::Current()), 0,
                  static_cast<uint8_t>(roundMode), lanes, repeatParams, where);
}
template <typename T, typename U, bool isSetMask = true>
void Cast(const LocalTensor<T>& dst, const LocalTensor<U>& src, const RoundMode& roundMode, uint64_t mask,
          const int32_t repeatTime, const UnaryRepeatParams& repeatParams, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE((detail::CastModes<T, U>() != 0), "Cast");
  detail::Lanes lanes;
  if (detail::CheckRound<T, U>(roundMode, where) &&
      ::ascend_twin::LanesFromMask(detail::Current(), "Cast", where, detail::Wider<T, U>, isSetMask, mask,
                                   repeatTime, &lanes))
    detail::Unary(detail::VOp::kCast, "Cast", dst, src, ::ascend_twin::DeqScale(detail::Current()), 0,
                  static_cast<uint8_t>(roundMode), lanes, repeatParams, where);
}
template <typename T, typename U>
void Cast(const LocalTensor<T>& dst, const LocalTensor<U>& src, const RoundMode& roundMode,
          const uint32_t count, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE((detail::CastModes<T, U>() != 0), "Cast");
  detail::Lanes lanes;
  if (detail::CheckRound<T, U>(roundMode, where) &&
      ::ascend_twin::LanesFromCount(detail::Current(), "Cast", where, detail::Wider<T, U>, count, &lanes))
    detail::Unary(detail::VOp::kCast, "Cast", dst, src, ::ascend_twin::DeqScale(detail::Current()), 0,
                  static_cast<uint8_t>(roundMode), lanes, detail::DenseStrides<T, U>(), where);
}
template <typename T>
void SetDeqScale(T scale) {
  ASCEND_TWIN_REQUIRE(kIs910B && (std::is_convertible<T, half>::value), "SetDeqScale");
  ::ascend_twin::SetDeqScale(detail::Current(), static_cast<float>(half(scale)));
}

template <typename T, bool isSetMask = true>
void Duplicate(const LocalTensor<T>& dst, const T& scalarValue, uint64_t mask, const int32_t repeatTime,
               const Field<uint16_t> dstBlockStride, const Field<uint8_t> dstRepeatStride,
               ASCEND_TWIN_WHERE) {
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
               const Field<uint16_t> dstBlockStride, const Field<uint8_t> dstRepeatStride,
               ASCEND_TWIN_WHERE) {
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
  if (::ascend_twin::LanesFromCount(detail::Current(), "Duplicate", where, detail::Width<T>, count,
                                    &call.lanes))
    ::ascend_twin::Elementwise(detail::Current(), call, where);
}

template <typename T, bool isSetMask = true>
void Copy(const LocalTensor<T>& dst, const LocalTensor<T>& src, const uint64_t mask, const int32_t repeatTime,
          const CopyRepeatParams& p, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(detail::Supports(detail::VOp::kCopy, TypeOf<T>()), "Copy");
  auto call = detail::CallOf(detail::VOp::kCopy, "Copy", dst, p.dstStride, p.dstRepeatSize);
  call.src0 = src.AsOperand(p.srcStride, p.srcRepeatSize);
  if (::ascend_twin::LanesFromMask(detail::Current(), "Copy", where, detail::Width<T>, isSetMask, mask,
                                   repeatTime, &call.lanes))
    ::ascend_twin::Elementwise(detail::Current(), call, where);
}

template <typename T, bool isSetMask = true>
void Copy(const LocalTensor<T>& dst, const LocalTensor<T>& src, const uint64_t mask[],
          const int32_t repeatTime, const CopyRepeatParams& p, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(detail::Supports(detail::VOp::kCopy, TypeOf<T>()), "Copy");
  auto call = detail::CallOf(detail::VOp::kCopy, "Copy", dst, p.dstStride, p.dstRepeatSize);
  call.src0 = src.AsOperand(p.srcStride, p.srcRepeatSize);
  if (::ascend_twin::LanesFromBits(detail::Current(), "Copy", where, detail::Width<T>, isSetMask, mask,
                                   repeatTime, &call.lanes))
    ::ascend_twin::Elementwise(detail::Current(), call, where);
}

}  // namespace ASCEND_TWIN_NAMESPACE
}  // namespace AscendC
