// SPDX-License-Identifier: Apache-2.0
// Elementwise instructions of the vector unit, duplicate and casts.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "ascend_twin/half.h"
#include "ascend_twin/vector_ops.h"
#include "machine.h"
#include "vector_common.h"

#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#endif

namespace ascend_twin {

namespace {

#if defined(__x86_64__) && defined(__GNUC__)
__attribute__((target("f16c,avx"))) void ToFloatF16c(float* out, const uint16_t* in, int n) {
  int i = 0;
  for (; i + 8 <= n; i += 8)
    _mm256_storeu_ps(out + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(in + i))));
  for (; i < n; ++i) out[i] = HalfBitsToFloat(in[i]);
}
__attribute__((target("f16c,avx"))) void ToHalfF16c(uint16_t* out, const float* in, int n) {
  int i = 0;
  for (; i + 8 <= n; i += 8)
    _mm_storeu_si128(reinterpret_cast<__m128i*>(out + i),
                     _mm256_cvtps_ph(_mm256_loadu_ps(in + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  for (; i < n; ++i) out[i] = FloatToHalfBits(in[i]);
}
bool HasF16c() {
  static const bool has = __builtin_cpu_supports("avx") && __builtin_cpu_supports("avx2");
  return has;
}
#endif

}  // namespace

void HalfToFloat(float* out, const uint16_t* in, int n) {
#if defined(__x86_64__) && defined(__GNUC__)
  if (HasF16c()) return ToFloatF16c(out, in, n);
#endif
  for (int i = 0; i < n; ++i) out[i] = HalfBitsToFloat(in[i]);
}

void FloatToHalf(uint16_t* out, const float* in, int n) {
#if defined(__x86_64__) && defined(__GNUC__)
  if (HasF16c()) return ToHalfF16c(out, in, n);
#endif
  for (int i = 0; i < n; ++i) out[i] = FloatToHalfBits(in[i]);
}

double VectorCost(VOp op, DType type, uint32_t repeats) {
  double k = 1.35, b = 22;  // Add and its like
  switch (op) {
    case VOp::kAdds:
    case VOp::kMuls:
    case VOp::kCast:
    case VOp::kRsqrt:
    case VOp::kReciprocal:
    case VOp::kMaxs:
    case VOp::kMins:
    case VOp::kDuplicate:
    case VOp::kCopy:
      k = 0.9, b = 21;
      break;
    case VOp::kExp:
    case VOp::kSqrt:
    case VOp::kLn:
      k = type == DType::kHalf ? 4.0 : 2.0, b = 29;
      break;
    case VOp::kDiv:
      k = 3.5, b = 30;
      break;
    default:
      break;
  }
  return k * repeats + b;
}

namespace {

template <typename T>
void GatherRaw(T* out, const uint8_t* base, uint32_t block_stride, int n) {
  constexpr int per_block = 32 / static_cast<int>(sizeof(T));
  for (int i = 0, b = 0; i < n; i += per_block, ++b)
    std::memcpy(out + i, base + static_cast<size_t>(b) * block_stride * kBlock,
                static_cast<size_t>(std::min(per_block, n - i)) * sizeof(T));
}

template <typename T>
void ScatterRaw(uint8_t* base, uint32_t block_stride, const T* in, int n, const uint64_t mask[2]) {
  constexpr int per_block = 32 / static_cast<int>(sizeof(T));
  for (int i = 0, b = 0; i < n; i += per_block, ++b) {
    uint8_t* at = base + static_cast<size_t>(b) * block_stride * kBlock;
    const int m = std::min(per_block, n - i);
    const uint64_t want = per_block >= 64 ? ~0ull : (1ull << m) - 1;
    const uint64_t bits = mask[i >> 6] >> (i & 63) & want;
    if (bits == want) {
      std::memcpy(at, in + i, static_cast<size_t>(m) * sizeof(T));
    } else if (bits) {
      for (int e = 0; e < m; ++e)
        if (bits >> e & 1) std::memcpy(at + static_cast<size_t>(e) * sizeof(T), in + i + e, sizeof(T));
    }
  }
}

}  // namespace

void LoadFloats(Core& core, const Operand& o, uint32_t repeat, int n, float* out) {
  const uint8_t* base = core.At(o.mem, o.addr + static_cast<int64_t>(repeat) * o.repeat_stride * kBlock);
  switch (o.type) {
    case DType::kFloat:
      GatherRaw(out, base, o.block_stride, n);
      return;
    case DType::kHalf: {
      uint16_t raw[256];
      GatherRaw(raw, base, o.block_stride, n);
      HalfToFloat(out, raw, n);
      return;
    }
    case DType::kBf16: {
      uint16_t raw[256];
      GatherRaw(raw, base, o.block_stride, n);
      for (int i = 0; i < n; ++i) out[i] = Bfloat16BitsToFloat(raw[i]);
      return;
    }
    default:
      return;
  }
}

void StoreFloats(Core& core, const Operand& o, uint32_t repeat, int n, const float* in,
                 const uint64_t mask[2]) {
  uint8_t* base = core.At(o.mem, o.addr + static_cast<int64_t>(repeat) * o.repeat_stride * kBlock);
  switch (o.type) {
    case DType::kFloat:
      ScatterRaw(base, o.block_stride, in, n, mask);
      return;
    case DType::kHalf: {
      uint16_t raw[256];
      FloatToHalf(raw, in, n);
      ScatterRaw(base, o.block_stride, raw, n, mask);
      return;
    }
    case DType::kBf16: {
      uint16_t raw[256];
      for (int i = 0; i < n; ++i) raw[i] = FloatToBfloat16Bits(in[i]);
      ScatterRaw(base, o.block_stride, raw, n, mask);
      return;
    }
    default:
      return;
  }
}

namespace {

bool IsFloat(DType t) {
  return t == DType::kFloat || t == DType::kHalf || t == DType::kBf16;
}

template <typename T>
void LoadInts(Core& core, const Operand& o, uint32_t repeat, int n, int64_t* out) {
  T raw[256];
  GatherRaw(raw, core.At(o.mem, o.addr + static_cast<int64_t>(repeat) * o.repeat_stride * kBlock),
            o.block_stride, n);
  for (int i = 0; i < n; ++i) out[i] = static_cast<int64_t>(raw[i]);
}
template <typename T>
void StoreInts(Core& core, const Operand& o, uint32_t repeat, int n, const int64_t* in,
               const uint64_t mask[2]) {
  T raw[256];
  for (int i = 0; i < n; ++i) raw[i] = static_cast<T>(in[i]);
  ScatterRaw(core.At(o.mem, o.addr + static_cast<int64_t>(repeat) * o.repeat_stride * kBlock), o.block_stride,
             raw, n, mask);
}

#define ASCEND_TWIN_INT_SWITCH(type, CALL) \
  switch (type) {                          \
    case DType::kI8:                       \
      CALL(int8_t);                        \
      break;                               \
    case DType::kU8:                       \
    case DType::kOther:                    \
      CALL(uint8_t);                       \
      break;                               \
    case DType::kI16:                      \
      CALL(int16_t);                       \
      break;                               \
    case DType::kU16:                      \
      CALL(uint16_t);                      \
      break;                               \
    case DType::kI32:                      \
      CALL(int32_t);                       \
      break;                               \
    case DType::kU32:                      \
      CALL(uint32_t);                      \
      break;                               \
    case DType::kI64:                      \
      CALL(int64_t);                       \
      break;                               \
    default:                               \
      CALL(uint64_t);                      \
      break;                               \
  }

void LoadIntegers(Core& core, const Operand& o, uint32_t repeat, int n, int64_t* out) {
#define ASCEND_TWIN_CALL(T) LoadInts<T>(core, o, repeat, n, out)
  ASCEND_TWIN_INT_SWITCH(o.type, ASCEND_TWIN_CALL)
#undef ASCEND_TWIN_CALL
}
void StoreIntegers(Core& core, const Operand& o, uint32_t repeat, int n, const int64_t* in,
                   const uint64_t mask[2]) {
#define ASCEND_TWIN_CALL(T) StoreInts<T>(core, o, repeat, n, in, mask)
  ASCEND_TWIN_INT_SWITCH(o.type, ASCEND_TWIN_CALL)
#undef ASCEND_TWIN_CALL
}

double RoundTo(double v, uint8_t mode) {
  switch (mode) {
    case 2:
      return std::floor(v);
    case 3:
      return std::ceil(v);
    case 4:
      return std::round(v);
    case 5:
      return std::trunc(v);
    default:
      return std::nearbyint(v);
  }
}

int64_t Saturate(double v, DType type) {
  if (std::isnan(v)) return 0;
  double low = 0, high = 0;
  switch (type) {
    case DType::kI8:
      low = -128, high = 127;
      break;
    case DType::kU8:
      high = 255;
      break;
    case DType::kI16:
      low = -32768, high = 32767;
      break;
    case DType::kU16:
      high = 65535;
      break;
    case DType::kI32:
      low = -2147483648.0, high = 2147483647.0;
      break;
    case DType::kU32:
      high = 4294967295.0;
      break;
    default:
      if (v >= 9223372036854775807.0) return std::numeric_limits<int64_t>::max();
      if (v <= -9223372036854775808.0) return std::numeric_limits<int64_t>::min();
      return static_cast<int64_t>(v);
  }
  return static_cast<int64_t>(std::min(high, std::max(low, v)));
}

// Rounds a double to a narrower float format in the given mode; RINT and NONE are to nearest even.
float RoundFloat(double v, DType type, uint8_t mode) {
  if (std::isnan(v) || std::isinf(v) || v == 0) return static_cast<float>(v);
  const int digits = type == DType::kHalf ? 11 : type == DType::kBf16 ? 8 : 24;
  const int min_exp = type == DType::kHalf ? -24 : type == DType::kBf16 ? -133 : -149;
  int exponent;
  std::frexp(v, &exponent);
  const int unit = std::max(exponent - digits, min_exp);
  const double scaled = std::ldexp(v, -unit);
  double rounded;
  if (mode == 6) {  // to odd
    rounded = std::trunc(scaled);
    if (rounded != scaled && std::fmod(std::fabs(rounded), 2.0) == 0) rounded += scaled > 0 ? 1 : -1;
  } else {
    rounded = RoundTo(scaled, mode);
  }
  const double result = std::ldexp(rounded, unit);
  const double limit = type == DType::kHalf ? 65504.0 : 3.3895313892515355e38;
  if (std::fabs(result) > limit && type != DType::kFloat)
    return static_cast<float>(std::copysign(std::numeric_limits<float>::infinity(), result));
  return static_cast<float>(result);
}

// An integer as a double that rounds to a float as it does: of the bits without room, only whether there are any.
double Sticky(int64_t v) {
  const bool fits = v >> 53 == v >> 63 || !(v & 0x7ff);
  return static_cast<double>(fits ? v : (v & ~int64_t{0x7ff}) | 0x800);
}

float ExpDevice(float x, bool flush, DType type) {
  const float y = std::exp(x);
  if (flush && y < (type == DType::kHalf ? 6.103515625e-05f : std::numeric_limits<float>::min())) return 0.f;
  return y;
}

struct Approximation {
  bool on;
  float relative(DType t) const { return on ? (t == DType::kHalf ? 1.f / 1024 : 1.f / 4096) : 0.f; }
};

template <typename F>
void Each(float* d, const float* a, int n, F f) {
  for (int i = 0; i < n; ++i) d[i] = f(a[i]);
}
template <typename F>
void Each2(float* d, const float* a, const float* b, int n, F f) {
  for (int i = 0; i < n; ++i) d[i] = f(a[i], b[i]);
}

// NaN goes through Max and Min as it does through the device's comparators: either operand NaN gives NaN.
float MaxF(float a, float b) {
  return a != a ? a : b != b ? b : a < b ? b : a;
}
float MinF(float a, float b) {
  return a != a ? a : b != b ? b : b < a ? b : a;
}

void ComputeFloat(const VectorCall& c, bool approximate, float* d, const float* a, const float* b, int n) {
  const float s = static_cast<float>(c.scalar);
  const DType t = c.src0.type;
  const float error = Approximation{approximate}.relative(t);
  const float sign = c.src0.addr / 32 % 2 ? 1.f : -1.f;  // worst case on either side
  switch (c.op) {
    case VOp::kAdd:
      Each2(d, a, b, n, [](float x, float y) { return x + y; });
      break;
    case VOp::kSub:
      Each2(d, a, b, n, [](float x, float y) { return x - y; });
      break;
    case VOp::kMul:
      Each2(d, a, b, n, [](float x, float y) { return x * y; });
      break;
    case VOp::kDiv:
      Each2(d, a, b, n, [](float x, float y) { return x / y; });
      break;
    case VOp::kMax:
      Each2(d, a, b, n, MaxF);
      break;
    case VOp::kMin:
      Each2(d, a, b, n, MinF);
      break;
    case VOp::kAddRelu:
      Each2(d, a, b, n, [](float x, float y) { return MaxF(x + y, 0.f); });
      break;
    case VOp::kSubRelu:
      Each2(d, a, b, n, [](float x, float y) { return MaxF(x - y, 0.f); });
      break;
    case VOp::kMulAddDst:
      for (int i = 0; i < n; ++i) d[i] = a[i] * b[i] + d[i];
      break;
    case VOp::kFusedMulAdd:
      for (int i = 0; i < n; ++i) d[i] = a[i] * d[i] + b[i];
      break;
    case VOp::kFusedMulAddRelu:
      for (int i = 0; i < n; ++i) d[i] = MaxF(a[i] * d[i] + b[i], 0.f);
      break;
    case VOp::kAdds:
      Each(d, a, n, [s](float x) { return x + s; });
      break;
    case VOp::kMuls:
      Each(d, a, n, [s](float x) { return x * s; });
      break;
    case VOp::kMaxs:
      Each(d, a, n, [s](float x) { return MaxF(x, s); });
      break;
    case VOp::kMins:
      Each(d, a, n, [s](float x) { return MinF(x, s); });
      break;
    case VOp::kLeakyRelu:
      Each(d, a, n, [s](float x) { return x >= 0 ? x : x * s; });
      break;
    case VOp::kAxpy:
      for (int i = 0; i < n; ++i) d[i] = a[i] * s + d[i];
      break;
    case VOp::kExp:
      Each(d, a, n, [approximate, t](float x) { return ExpDevice(x, approximate, t); });
      break;
    case VOp::kLn:
      Each(d, a, n, [](float x) { return std::log(x); });
      break;
    case VOp::kSqrt:
      Each(d, a, n, [](float x) { return std::sqrt(x); });
      break;
    case VOp::kRsqrt:
      Each(d, a, n, [error, sign](float x) { return (1.f / std::sqrt(x)) * (1.f + sign * error); });
      break;
    case VOp::kReciprocal:
      Each(d, a, n, [error, sign](float x) { return (1.f / x) * (1.f + sign * error); });
      break;
    case VOp::kAbs:
      Each(d, a, n, [](float x) { return std::fabs(x); });
      break;
    case VOp::kRelu:
      Each(d, a, n, [](float x) { return x > 0 ? x : x != x ? x : 0.f; });
      break;
    case VOp::kCopy:
    case VOp::kCast:
      std::memmove(d, a, static_cast<size_t>(n) * sizeof(float));
      break;
    case VOp::kDuplicate:
      std::fill(d, d + n, s);
      break;
    default:
      break;
  }
}

void ComputeInt(const VectorCall& c, int64_t* d, const int64_t* a, const int64_t* b, int n) {
  const int64_t s = c.integer;
  const int bits = SizeOf(c.src0.type) * 8;
  for (int i = 0; i < n; ++i) switch (c.op) {
      case VOp::kAdd:
        d[i] = a[i] + b[i];
        break;
      case VOp::kSub:
        d[i] = a[i] - b[i];
        break;
      case VOp::kMul:
        d[i] = a[i] * b[i];
        break;
      case VOp::kDiv:
        d[i] = b[i] ? a[i] / b[i] : 0;
        break;
      case VOp::kMax:
        d[i] = std::max(a[i], b[i]);
        break;
      case VOp::kMin:
        d[i] = std::min(a[i], b[i]);
        break;
      case VOp::kAnd:
        d[i] = a[i] & b[i];
        break;
      case VOp::kOr:
        d[i] = a[i] | b[i];
        break;
      case VOp::kAddRelu:
        d[i] = std::max<int64_t>(a[i] + b[i], 0);
        break;
      case VOp::kSubRelu:
        d[i] = std::max<int64_t>(a[i] - b[i], 0);
        break;
      case VOp::kMulAddDst:
        d[i] = a[i] * b[i] + d[i];
        break;
      case VOp::kAdds:
        d[i] = a[i] + s;
        break;
      case VOp::kMuls:
        d[i] = a[i] * s;
        break;
      case VOp::kMaxs:
        d[i] = std::max(a[i], s);
        break;
      case VOp::kMins:
        d[i] = std::min(a[i], s);
        break;
      case VOp::kShiftLeft:
        d[i] = s >= bits ? 0 : static_cast<int64_t>(static_cast<uint64_t>(a[i]) << s);
        break;
      case VOp::kShiftRight:
        d[i] = s >= bits ? (a[i] < 0 ? -1 : 0) : a[i] >> s;
        if (c.round && s > 0 && s <= bits) d[i] += a[i] >> (s - 1) & 1;
        break;
      case VOp::kAbs:
        d[i] = a[i] < 0 ? -a[i] : a[i];
        break;
      case VOp::kRelu:
        d[i] = std::max<int64_t>(a[i], 0);
        break;
      case VOp::kNot:
        d[i] = ~a[i];
        break;
      case VOp::kDuplicate:
        d[i] = s;
        break;
      default:
        d[i] = a[i];
        break;
    }
}

void RunElementwise(Core& core, const VectorCall& c, int per_repeat, bool approximate) {
  const bool uses_dst = c.op == VOp::kMulAddDst || c.op == VOp::kFusedMulAdd ||
                        c.op == VOp::kFusedMulAddRelu || c.op == VOp::kAxpy;
  const bool duplicate = c.op == VOp::kDuplicate;
  const DType in = duplicate ? c.dst.type : c.src0.type;
  for (uint32_t r = 0; r < c.lanes.repeats; ++r) {
    const uint64_t* mask = r + 1 == c.lanes.repeats ? c.lanes.last_mask : c.lanes.mask;
    if (IsFloat(in) && IsFloat(c.dst.type)) {
      float a[256], b[256], d[256];
      if (!duplicate) LoadFloats(core, c.src0, r, per_repeat, a);
      if (c.sources > 1) LoadFloats(core, c.src1, r, per_repeat, b);
      if (uses_dst) LoadFloats(core, c.dst, r, per_repeat, d);
      if (c.op == VOp::kCast && c.dst.type != DType::kFloat && c.round > 1) {
        for (int i = 0; i < per_repeat; ++i) d[i] = RoundFloat(a[i], c.dst.type, c.round);
      } else if (c.op == VOp::kCast && c.dst.type == DType::kFloat && in == DType::kFloat) {
        for (int i = 0; i < per_repeat; ++i) d[i] = static_cast<float>(RoundTo(a[i], c.round));
      } else {
        ComputeFloat(c, approximate, d, a, b, per_repeat);
      }
      StoreFloats(core, c.dst, r, per_repeat, d, mask);
    } else if (IsFloat(in)) {  // float to integer
      float a[256];
      int64_t d[256];
      LoadFloats(core, c.src0, r, per_repeat, a);
      for (int i = 0; i < per_repeat; ++i) d[i] = Saturate(RoundTo(a[i], c.round), c.dst.type);
      StoreIntegers(core, c.dst, r, per_repeat, d, mask);
    } else if (IsFloat(c.dst.type)) {  // integer to float
      int64_t a[256];
      float d[256];
      LoadIntegers(core, c.src0, r, per_repeat, a);
      for (int i = 0; i < per_repeat; ++i)
        d[i] = c.dst.type == DType::kHalf && in == DType::kI32
                   ? static_cast<float>(a[i]) * static_cast<float>(c.scalar)
                   : RoundFloat(Sticky(a[i]), c.dst.type, c.round);
      StoreFloats(core, c.dst, r, per_repeat, d, mask);
    } else {
      int64_t a[256] = {}, b[256] = {}, d[256] = {};
      if (!duplicate) LoadIntegers(core, c.src0, r, per_repeat, a);
      if (c.sources > 1) LoadIntegers(core, c.src1, r, per_repeat, b);
      if (uses_dst) LoadIntegers(core, c.dst, r, per_repeat, d);
      if (c.op == VOp::kCast)
        for (int i = 0; i < per_repeat; ++i) d[i] = Saturate(static_cast<double>(a[i]), c.dst.type);
      else
        ComputeInt(c, d, a, b, per_repeat);
      StoreIntegers(core, c.dst, r, per_repeat, d, mask);
    }
  }
}

}  // namespace

void Elementwise(Core& core, const VectorCall& call, const Where& where) {
  core.CheckStop();
  if (core.stopped()) return;
  const bool duplicate = call.op == VOp::kDuplicate;
  const int element = std::max(SizeOf(call.dst.type), duplicate ? 0 : SizeOf(call.src0.type));
  const int per_repeat = 256 / element;
  const Operand* sources[2] = {&call.src0, &call.src1};
  if (!CheckOperand(core, call.name, where, call.dst, 32) ||
      !CheckBlockStride(core, call.name, where, call.dst, call.lanes, per_repeat))
    return;
  for (int i = 0; i < call.sources; ++i)
    if (!CheckOperand(core, call.name, where, *sources[i], 32)) return;
  const bool accumulates =
      (call.op == VOp::kAddRelu || call.op == VOp::kSubRelu || call.op == VOp::kAdd || call.op == VOp::kSub ||
       call.op == VOp::kMul || call.op == VOp::kMax || call.op == VOp::kMin) &&
      (call.dst.type == DType::kHalf || call.dst.type == DType::kFloat || call.dst.type == DType::kI32);
  for (int i = 0; i < call.sources; ++i)
    if (!CheckOverlap(core, call.name, where, call.dst, *sources[i], call.lanes, per_repeat,
                      accumulates && i == 1))
      return;
  Access accesses[4];
  int n = 0;
  for (int i = 0; i < call.sources; ++i) {
    accesses[n] = OperandAccess(*sources[i], false, call.lanes, per_repeat);
    if (!CheckEndOfBuffer(core, call.name, where, *sources[i], accesses[n])) return;
    ++n;
  }
  if (call.op == VOp::kMulAddDst || call.op == VOp::kFusedMulAdd || call.op == VOp::kFusedMulAddRelu ||
      call.op == VOp::kAxpy)
    accesses[n++] = OperandAccess(call.dst, false, call.lanes, per_repeat);
  accesses[n] = OperandAccess(call.dst, true, call.lanes, per_repeat);
  if (!CheckEndOfBuffer(core, call.name, where, call.dst, accesses[n])) return;
  ++n;
  Instr& instr = core.Begin(Pipe::kV, call.name, where);
  for (int i = 0; i < n; ++i) instr.Touch(accesses[i]);
  instr.repeats = call.lanes.repeats;
  instr.cycles =
      VectorCost(call.op, call.src0.type, call.lanes.repeats) + (call.lanes.instructions - 1) * 22.0;
  core.pipe_instructions[static_cast<int>(Pipe::kV)] += call.lanes.instructions - 1;
  const VectorCall c = call;
  const bool approximate = core.machine.options.approximate;
  instr.run.Set([c, per_repeat, approximate](Core& k) { RunElementwise(k, c, per_repeat, approximate); });
  core.Commit(instr);
}

}  // namespace ascend_twin
