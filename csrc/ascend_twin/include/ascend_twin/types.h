// SPDX-License-Identifier: Apache-2.0
// Enumerations, constants and positions of the API.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <type_traits>

#include "ascend_twin/core.h"
#include "ascend_twin/half.h"
#include "ascend_twin/macros.h"
#include "ascend_twin/vector_ops.h"

enum pipe_t {
  PIPE_S = 0,
  PIPE_V,
  PIPE_M,
  PIPE_MTE1,
  PIPE_MTE2,
  PIPE_MTE3,
  PIPE_ALL,
  PIPE_MTE4 = 7,
  PIPE_MTE5 = 8,
  PIPE_V2 = 9,
  PIPE_FIX = 10
};
enum event_t { EVENT_ID0 = 0, EVENT_ID1, EVENT_ID2, EVENT_ID3, EVENT_ID4, EVENT_ID5, EVENT_ID6, EVENT_ID7 };
enum pad_t {
  PAD_NONE = 0,
  PAD_MODE1,
  PAD_MODE2,
  PAD_MODE3,
  PAD_MODE4,
  PAD_MODE5,
  PAD_MODE6,
  PAD_MODE7,
  PAD_MODE8
};
enum QuantMode_t {
  NoQuant = 0,
  F322F16 = 1,
  F322BF16 = 16,
  DEQF16 = 5,
  VDEQF16 = 4,
  QF322B8_PRE = 24,
  VQF322B8_PRE = 23,
  REQ8 = 3,
  VREQ8 = 2,
};
enum KernelMetaType : uint8_t {
  KERNEL_TYPE_AIV_ONLY,
  KERNEL_TYPE_AIC_ONLY,
  KERNEL_TYPE_MIX_AIV_1_0,
  KERNEL_TYPE_MIX_AIC_1_0,
  KERNEL_TYPE_MIX_AIC_1_1,
  KERNEL_TYPE_MIX_AIC_1_2,
  KERNEL_TYPE_AICORE,
  KERNEL_TYPE_VECTORCORE,
  KERNEL_TYPE_MIX_AICORE,
  KERNEL_TYPE_MIX_VECTOR_CORE,
  KERNEL_TYPE_MAX,
};

namespace AscendC {
inline namespace ASCEND_TWIN_NAMESPACE {

using ::ascend_twin::Where;

constexpr ::ascend_twin::Soc kSoc =
    ASCEND_TWIN_ARCH == 2201 ? ::ascend_twin::Soc::kAscend910B : ::ascend_twin::Soc::kAscend910;
constexpr bool kIs910B = ASCEND_TWIN_ARCH == 2201;

enum class TPosition : uint8_t {
  GM,
  A1,
  A2,
  B1,
  B2,
  C1,
  C2,
  CO1,
  CO2,
  VECIN,
  VECOUT,
  VECCALC,
  LCM = VECCALC,
  SPM,
  SHM = SPM,
  TSCM,
  C2PIPE2GM,
  C2PIPE2LOCAL,
  MAX,
};
using QuePosition = TPosition;

enum class Hardware : uint8_t { GM, UB, L1, L0A, L0B, L0C, BIAS, FIXBUF, MAX };

enum class HardEvent : uint8_t {
  MTE2_MTE1,
  MTE1_MTE2,
  MTE1_M,
  M_MTE1,
  MTE2_V,
  V_MTE2,
  MTE3_V,
  V_MTE3,
  M_V,
  V_M,
  V_V,
  MTE3_MTE1,
  MTE1_MTE3,
  MTE1_V,
  MTE2_M,
  M_MTE2,
  V_MTE1,
  M_FIX,
  FIX_M,
  MTE3_MTE2,
  MTE2_MTE3,
  S_V,
  V_S,
  S_MTE2,
  MTE2_S,
  S_MTE3,
  MTE3_S,
  MTE2_FIX,
  FIX_MTE2,
  FIX_S,
  M_S,
  FIX_MTE3,
  MTE1_FIX,
  FIX_MTE1,
  FIX_FIX,
  MAX,
};

enum class RoundMode : uint8_t {
  CAST_NONE = 0,
  CAST_RINT,
  CAST_FLOOR,
  CAST_CEIL,
  CAST_ROUND,
  CAST_TRUNC,
  CAST_ODD
};
enum class CMPMODE : uint8_t { LT = 0, GT, EQ, LE, GE, NE };
enum class SELMODE : uint8_t { VSEL_CMPMASK_SPR = 0, VSEL_TENSOR_SCALAR_MODE, VSEL_TENSOR_TENSOR_MODE };
enum class BlockMode : uint8_t {
  BLOCK_MODE_NORMAL = 0,
  BLOCK_MODE_MATRIX,
  BLOCK_MODE_VECTOR,
  BLOCK_MODE_SMALL_CHANNEL,
  BLOCK_MODE_DEPTHWISE,
};
enum class DeqScale : uint8_t { DEQ_NONE = 0, DEQ, VDEQ, DEQ8, VDEQ8, DEQ16, VDEQ16 };
enum class ReduceMode : uint8_t { REDUCE_MAX = 0, REDUCE_MIN, REDUCE_SUM };
enum class ReduceOrder : uint8_t {
  ORDER_VALUE_INDEX = 0,
  ORDER_INDEX_VALUE,
  ORDER_ONLY_VALUE,
  ORDER_ONLY_INDEX
};
enum class MaskMode : uint8_t { NORMAL = 0, COUNTER };
enum class CacheMode {
  CACHE_MODE_DISABLE = 0,
  CACHE_MODE_NORMAL = 1,
  CACHE_MODE_LAST = 2,
  CACHE_MODE_PERSISTENT = 4
};
enum class CacheRwMode { READ = 1, WRITE = 2, RW = 3 };
enum class CacheLine : uint64_t { SINGLE_CACHE_LINE = 0, ENTIRE_DATA_CACHE };
enum class DcciDst : uint64_t { CACHELINE_ALL = 0, CACHELINE_UB, CACHELINE_OUT, CACHELINE_ATOMIC };
enum class MemDsbT : uint8_t { ALL = 0, DDR, UB, SEQ };
enum class HF32Mode { ENABLE, DISABLE };
enum class HF32TransMode { NEAREST_ZERO, NEAREST_EVEN };
enum class DataFormat : uint8_t { ND = 0, NZ, NCHW, NC1HWC0, NHWC, NCDHW, NDC1HWC0, FRACTAL_Z_3D };

constexpr int32_t DEFAULT_BLK_NUM = 8;
constexpr int32_t DEFAULT_BLK_STRIDE = 1;
constexpr uint8_t DEFAULT_REPEAT_STRIDE = 8;
constexpr uint8_t HALF_DEFAULT_REPEAT_STRIDE = 4;
constexpr uint64_t FULL_MASK = ~0ull;
constexpr int32_t DEFAULT_C0_SIZE = 32;
constexpr int32_t DEFAULT_BLOCK_SIZE = 256;
constexpr int32_t MAX_REPEAT_TIMES = 255;
constexpr int32_t ONE_BLK_SIZE = 32;
constexpr int32_t ONE_REPEAT_BYTE_SIZE = 256;
constexpr int32_t BLOCK_CUBE = 16;
constexpr int32_t CUBE_MAX_SIZE = 256;
constexpr uint64_t MASK_PLACEHOLDER = 0;
constexpr int32_t NCHW_CONV_ADDR_LIST_SIZE = 16;
constexpr int32_t MIX = 0, AIC = 1, AIV = 2;

constexpr int32_t K_MAX_DIM = 8;

template <bool condition, typename A, typename B>
struct Conditional : std::conditional<condition, A, B> {};
template <typename T, typename U>
constexpr T DivCeil(T a, U b) {
  return static_cast<T>((a + b - 1) / b);
}
template <typename T, typename U>
constexpr T AlignUp(T a, U b) {
  return static_cast<T>((a + b - 1) / b * b);
}
template <typename A, typename B>
struct IsSameType : std::is_same<A, B> {};
namespace Std = ::std;
// Four-bit integers can be named, so that shared kernels compile; no instruction of the twin takes them.
struct int4b_t {
  uint8_t bits;
};

using TEventID = int8_t;
using TTagType = int32_t;
constexpr TEventID INVALID_TEVENTID = -1;

template <typename T>
using PrimT = T;

// Where a logical position lies on this chip.
constexpr ::ascend_twin::Mem PositionMem(TPosition pos) {
  using ::ascend_twin::Mem;
  switch (pos) {
    case TPosition::GM:
      return Mem::kGM;
    case TPosition::A1:
    case TPosition::B1:
    case TPosition::SHM:
    case TPosition::TSCM:
      return Mem::kL1;
    case TPosition::A2:
      return Mem::kL0A;
    case TPosition::B2:
      return Mem::kL0B;
    case TPosition::CO1:
      return Mem::kL0C;
    case TPosition::C1:
      return kIs910B ? Mem::kL1 : Mem::kUB;
    case TPosition::C2:
      return kIs910B ? Mem::kBias : Mem::kL0C;
    case TPosition::CO2:
      return kIs910B ? Mem::kGM : Mem::kUB;
    case TPosition::C2PIPE2GM:
      return kIs910B ? Mem::kFixbuf : Mem::kUB;
    default:
      return Mem::kUB;
  }
}

// Data types as the vector and cube units name them.
template <typename T>
constexpr ::ascend_twin::DType TypeOf() {
  using ::ascend_twin::DType;
  if constexpr (std::is_same<T, half>::value) return DType::kHalf;
  if constexpr (std::is_same<T, float>::value) return DType::kFloat;
  if constexpr (std::is_same<T, bfloat16_t>::value) return DType::kBf16;
  if constexpr (std::is_same<T, int8_t>::value) return DType::kI8;
  if constexpr (std::is_same<T, uint8_t>::value) return DType::kU8;
  if constexpr (std::is_same<T, int16_t>::value) return DType::kI16;
  if constexpr (std::is_same<T, uint16_t>::value) return DType::kU16;
  if constexpr (std::is_same<T, int32_t>::value) return DType::kI32;
  if constexpr (std::is_same<T, uint32_t>::value) return DType::kU32;
  if constexpr (std::is_same<T, int64_t>::value) return DType::kI64;
  if constexpr (std::is_same<T, uint64_t>::value) return DType::kU64;
  return DType::kOther;
}

template <typename T, typename... Us>
constexpr bool OneOf = (std::is_same<T, Us>::value || ...);

}  // namespace ASCEND_TWIN_NAMESPACE
}  // namespace AscendC
