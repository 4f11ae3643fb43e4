// SPDX-License-Identifier: Apache-2.0
//
// The vector vocabulary of the CPU kernels: kLanes floats at a time over GCC/Clang vector extensions, with an
// intrinsic only where the extension has no word for it. Included by sources compiled once per instruction
// set (see isa.h), hence the namespace and `static inline` throughout.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "core/dtype.h"

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#ifndef SWINV2_ISA
#define SWINV2_ISA baseline
#endif
#define SWINV2_INLINE static inline __attribute__((always_inline))
// Behind the parameters of a lambda around a small product, whose call would cost a tenth of it.
#define SWINV2_INLINE_LAMBDA __attribute__((always_inline))

namespace swinv2 {
namespace SWINV2_ISA {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

// Whether a * b + c rounds once.
#if defined(__FMA__) || defined(__aarch64__)
constexpr bool kFused = true;
#else
constexpr bool kFused = false;
#endif

typedef float Vec __attribute__((vector_size(kLanes * 4)));
typedef int32_t VecI __attribute__((vector_size(kLanes * 4)));
typedef float VecUnaligned __attribute__((vector_size(kLanes * 4), aligned(4), may_alias));

constexpr int64_t ceil_div(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}
constexpr int64_t round_up(int64_t n, int64_t to) {
  return ceil_div(n, to) * to;
}

SWINV2_INLINE Vec splat(float x) {
  return x - Vec{};
}
SWINV2_INLINE Vec load(const float* p) {
  return *reinterpret_cast<const VecUnaligned*>(p);
}
SWINV2_INLINE void store(float* p, Vec v) {
  *reinterpret_cast<VecUnaligned*>(p) = v;
}

// a > b ? a : b as the hardware has it: a NaN in b stays, a NaN in a gives b.
SWINV2_INLINE Vec vmax(Vec a, Vec b) {
#if defined(__AVX512F__)
  return (Vec)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
  return (Vec)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(__x86_64__)
  return (Vec)_mm_max_ps((__m128)a, (__m128)b);
#else
  return a > b ? a : b;
#endif
}

// ---- float16 and bfloat16 storage ----

SWINV2_INLINE float as_float(uint32_t bits) {
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}
SWINV2_INLINE uint32_t as_bits(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, 4);
  return bits;
}

SWINV2_INLINE float to_float(float x) {
  return x;
}
SWINV2_INLINE float to_float(BFloat16 x) {
  return as_float(uint32_t{x.bits} << 16);
}
SWINV2_INLINE float to_float(Half x) {
  const uint32_t sign = uint32_t(x.bits & 0x8000) << 16, magnitude = uint32_t(x.bits & 0x7fff) << 13;
  if (magnitude >= 0x0f800000u) return as_float(sign | magnitude | 0x7f800000u);  // Inf, NaN
  return as_float(as_bits(as_float(magnitude) * as_float(0x77800000u)) | sign);   // rebias by 2^112
}

// Calls f with a value of the storage type.
template <class F>
SWINV2_INLINE void with_storage(DType dtype, F&& f) {
  switch (dtype) {
    case DType::kFloat32:
      return f(float{});
    case DType::kFloat16:
      return f(Half{});
    case DType::kBFloat16:
      return f(BFloat16{});
  }
}

template <class T>
SWINV2_INLINE T from_float(float x);
template <>
inline __attribute__((always_inline)) float from_float<float>(float x) {
  return x;
}
template <>
inline __attribute__((always_inline)) BFloat16 from_float<BFloat16>(float x) {
  const uint32_t bits = as_bits(x);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return {uint16_t((bits >> 16) | 0x40)};  // keep NaN a NaN
  return {uint16_t((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16)};                  // nearest, ties to even
}
template <>
inline __attribute__((always_inline)) Half from_float<Half>(float x) {
  const uint32_t bits = as_bits(x), sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
  if (magnitude > 0x7f800000u) return {uint16_t(sign | 0x7e00u)};
  if (magnitude >= 0x477ff000u) return {uint16_t(sign | 0x7c00u)};  // 65520 and above round to Inf
  if (magnitude < 0x38800000u) {                                    // subnormal: let the float adder round
    const float shifted = as_float(magnitude) + 0.5f;
    return {uint16_t(sign | (as_bits(shifted) - 0x3f000000u))};
  }
  return {uint16_t(sign | ((magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1)) >> 13))};
}

SWINV2_INLINE Vec load(const BFloat16* p) {
#if defined(__AVX512F__)
  const __m512i wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  return (Vec)_mm512_castsi512_ps(_mm512_slli_epi32(wide, 16));
#elif defined(__AVX2__)
  const __m256i wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  return (Vec)_mm256_castsi256_ps(_mm256_slli_epi32(wide, 16));
#else
  Vec v;
  for (int i = 0; i < kLanes; ++i) v[i] = to_float(p[i]);
  return v;
#endif
}

SWINV2_INLINE Vec load(const Half* p) {
#if defined(__AVX512F__)
  return (Vec)_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
#elif defined(__AVX2__)
  return (Vec)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
#elif defined(__aarch64__)
  return (Vec)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(&p->bits)));
#else
  Vec v;
  for (int i = 0; i < kLanes; ++i) v[i] = to_float(p[i]);
  return v;
#endif
}

SWINV2_INLINE void store(Half* p, Vec v) {
#if defined(__AVX512F__)
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT));
#elif defined(__AVX2__)
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT));
#elif defined(__aarch64__)
  vst1_u16(&p->bits, vreinterpret_u16_f16(vcvt_f16_f32((float32x4_t)v)));
#else
  for (int i = 0; i < kLanes; ++i) p[i] = from_float<Half>(v[i]);
#endif
}

SWINV2_INLINE void store(BFloat16* p, Vec v) {
#if defined(__AVX512BF16__)
  constexpr int kDenormal = 0x20;  // which the instruction takes for zeros
  if (__builtin_expect(_mm512_fpclass_ps_mask((__m512)v, kDenormal) == 0, 1)) {
    const __m256bh half = _mm512_cvtneps_pbh((__m512)v);
    std::memcpy(p, &half, sizeof half);
    return;
  }
#endif
#if defined(__AVX512F__) || defined(__AVX2__)
  const VecI bits = (VecI)v, rounded = bits + 0x7fff + (bits >> 16 & 1), nan = bits | 0x400000;
  const VecI upper = v == v ? rounded : nan;
#if defined(__AVX512F__)
  typedef int16_t Words __attribute__((vector_size(64)));
  const Words odd = {1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31};
  const __m512i half = _mm512_permutexvar_epi16((__m512i)odd, (__m512i)upper);  // vpmovdw stores slowly
  _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_castsi512_si256(half));
#else
  const VecI half = upper >> 16;
  const __m256i packed = _mm256_packus_epi32((__m256i)(half & 0xffff), _mm256_setzero_si256());
  const __m256i ordered = _mm256_permute4x64_epi64(packed, 0x08);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(ordered));
#endif
#else
  for (int i = 0; i < kLanes; ++i) p[i] = from_float<BFloat16>(v[i]);
#endif
}

// The first n elements of a vector, all of them where n >= kLanes; the rest reads as zero and is not written.
#if defined(__AVX512F__)
SWINV2_INLINE __mmask16 first(int64_t n) {
  return __mmask16((1u << n) - 1);
}
SWINV2_INLINE Vec load_some(const float* p, int64_t n) {
  return (Vec)_mm512_maskz_loadu_ps(first(n), p);
}
SWINV2_INLINE void store_some(float* p, Vec v, int64_t n) {
  _mm512_mask_storeu_ps(p, first(n), (__m512)v);
}
#elif defined(__AVX2__)
SWINV2_INLINE __m256i first(int64_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(int(n)), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
SWINV2_INLINE Vec load_some(const float* p, int64_t n) {
  return (Vec)_mm256_maskload_ps(p, first(n));
}
SWINV2_INLINE void store_some(float* p, Vec v, int64_t n) {
  _mm256_maskstore_ps(p, first(n), (__m256)v);
}
#endif
template <class T>
SWINV2_INLINE Vec load_some(const T* p, int64_t n) {
  alignas(64) T padded[kLanes] = {};
  std::memcpy(padded, p, n * sizeof(T));
  return load(padded);
}
template <class T>
SWINV2_INLINE void store_some(T* p, Vec v, int64_t n) {
  alignas(64) T padded[kLanes];
  store(padded, v);
  std::memcpy(p, padded, n * sizeof(T));
}
template <class T>
SWINV2_INLINE Vec load_first(const T* p, int64_t n) {
  return __builtin_expect(n >= kLanes, 1) ? load(p) : load_some(p, n);
}
template <class T>
SWINV2_INLINE void store_first(T* p, Vec v, int64_t n) {
  __builtin_expect(n >= kLanes, 1) ? store(p, v) : store_some(p, v, n);
}

// Lanes first .. end - 1 of vectors, whatever of them there is; the rest reads as zero and is not read.
#if defined(__AVX512F__)
class Between {
 public:
  Between() = default;
  Between(int64_t first, int64_t end) : mask_(below(end) & ~below(first)) {}
  Vec load(const float* p) const { return (Vec)_mm512_maskz_loadu_ps(mask_, p); }

 private:
  static __mmask16 below(int64_t n) { return n >= kLanes ? 0xffff : n > 0 ? (1 << n) - 1 : 0; }
  __mmask16 mask_;
};
#else
class Between {
 public:
  Between() = default;
  Between(int64_t first, int64_t end)
      : first_(first > 0 ? first : 0), end_(end < kLanes ? end : int64_t{kLanes}) {}
  Vec load(const float* p) const {
    alignas(64) float lanes[kLanes] = {};
    for (int64_t i = first_; i < end_; ++i) lanes[i] = p[i];
    return swinv2::SWINV2_ISA::load(lanes);
  }

 private:
  int64_t first_, end_;
};
#endif

SWINV2_INLINE Vec sqrt(Vec v) {
#if defined(__AVX512F__)
  return (Vec)_mm512_sqrt_ps((__m512)v);
#elif defined(__AVX2__)
  return (Vec)_mm256_sqrt_ps((__m256)v);
#elif defined(__x86_64__)
  return (Vec)_mm_sqrt_ps((__m128)v);
#elif defined(__aarch64__)
  return (Vec)vsqrtq_f32((float32x4_t)v);
#else
  for (int i = 0; i < kLanes; ++i) v[i] = __builtin_sqrtf(v[i]);
  return v;
#endif
}

// ---- across lanes ----

// Sum over the lanes in a fixed order.
SWINV2_INLINE float sum_lanes(Vec v) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_ps((__m512)v);
#else
  float lane[kLanes];
  store(lane, v);
  for (int step = kLanes / 2; step > 0; step /= 2)
    for (int i = 0; i < step; ++i) lane[i] += lane[i + step];
  return lane[0];
#endif
}

SWINV2_INLINE float max_lanes(Vec v) {
  float most = v[0];
#pragma GCC unroll 16
  for (int i = 1; i < kLanes; ++i) most = v[i] > most ? v[i] : most;
  return most;
}

// True where every lane of a comparison is.
SWINV2_INLINE bool all(VecI mask) {
#if defined(__AVX512F__)
  return _mm512_movepi32_mask((__m512i)mask) == 0xffff;
#elif defined(__AVX2__)
  return _mm256_movemask_ps((__m256)mask) == 0xff;
#elif defined(__x86_64__)
  return _mm_movemask_ps((__m128)mask) == 0xf;
#else
  bool result = true;
  for (int i = 0; i < kLanes; ++i) result = result && mask[i];
  return result;
#endif
}

#if defined(__clang__) || __GNUC__ >= 12
#define SWINV2_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SWINV2_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, VecI{__VA_ARGS__})
#endif

// (a0, b0, a1, b1, ...) from the lower and the upper halves.
SWINV2_INLINE Vec interleave_low(Vec a, Vec b) {
#if defined(__AVX512F__)
  return SWINV2_SHUFFLE(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
#elif defined(__AVX2__)
  return SWINV2_SHUFFLE(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
#else
  return SWINV2_SHUFFLE(a, b, 0, 4, 1, 5);
#endif
}
SWINV2_INLINE Vec interleave_high(Vec a, Vec b) {
#if defined(__AVX512F__)
  return SWINV2_SHUFFLE(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
#elif defined(__AVX2__)
  return SWINV2_SHUFFLE(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
#else
  return SWINV2_SHUFFLE(a, b, 2, 6, 3, 7);
#endif
}

// Rows become columns: log2(kLanes) perfect shuffles of the row pairs (i, i + kLanes/2).
SWINV2_INLINE void transpose(Vec (&r)[kLanes]) {
#pragma GCC unroll 4
  for (int step = 1; step < kLanes; step *= 2) {
    Vec t[kLanes];
#pragma GCC unroll 8
    for (int i = 0; i < kLanes / 2; ++i) {
      t[2 * i] = interleave_low(r[i], r[i + kLanes / 2]);
      t[2 * i + 1] = interleave_high(r[i], r[i + kLanes / 2]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) r[i] = t[i];
  }
}

// Lanes A .. D of (a, b) in each group of four lanes; b's count from kLanes.
#if defined(__AVX512F__)
#define SWINV2_SHUFFLE4(a, b, A, B, C, D)                                                                  \
  SWINV2_SHUFFLE(a, b, A, B, C, D, A + 4, B + 4, C + 4, D + 4, A + 8, B + 8, C + 8, D + 8, A + 12, B + 12, \
                 C + 12, D + 12)
#elif defined(__AVX2__)
#define SWINV2_SHUFFLE4(a, b, A, B, C, D) SWINV2_SHUFFLE(a, b, A, B, C, D, A + 4, B + 4, C + 4, D + 4)
#else
#define SWINV2_SHUFFLE4(a, b, A, B, C, D) SWINV2_SHUFFLE(a, b, A, B, C, D)
#endif

// In each group of four lanes, four rows become columns.
SWINV2_INLINE void transpose_groups(Vec (&x)[4]) {
  constexpr int n = kLanes;
  const Vec low01 = SWINV2_SHUFFLE4(x[0], x[1], 0, n, 1, n + 1),
            low23 = SWINV2_SHUFFLE4(x[2], x[3], 0, n, 1, n + 1),
            high01 = SWINV2_SHUFFLE4(x[0], x[1], 2, n + 2, 3, n + 3),
            high23 = SWINV2_SHUFFLE4(x[2], x[3], 2, n + 2, 3, n + 3);
  x[0] = SWINV2_SHUFFLE4(low01, low23, 0, 1, n, n + 1);
  x[1] = SWINV2_SHUFFLE4(low01, low23, 2, 3, n + 2, n + 3);
  x[2] = SWINV2_SHUFFLE4(high01, high23, 0, 1, n, n + 1);
  x[3] = SWINV2_SHUFFLE4(high01, high23, 2, 3, n + 2, n + 3);
}

// Columns c .. c + kColumns - 1 of kLanes rows: lane i of y[a] = row[i][c + a].
#if defined(__AVX512F__)
constexpr int kColumns = 8;
SWINV2_INLINE void load_columns(Vec (&y)[kColumns], const float* const* row, int64_t c) {
  Vec a[4], b[4];  // eight floats of row i or i + 8, then of the fourth row after it
  const auto load = [&](int i) {
    const __m512 low = _mm512_castps256_ps512(_mm256_loadu_ps(row[i] + c));
    return (Vec)_mm512_insertf32x8(low, _mm256_loadu_ps(row[i + 4] + c), 1);
  };
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) a[i] = load(i), b[i] = load(i + 8);
  transpose_groups(a);
  transpose_groups(b);
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i) {
    y[i] = (Vec)_mm512_shuffle_f32x4((__m512)a[i], (__m512)b[i], 0x88);
    y[i + 4] = (Vec)_mm512_shuffle_f32x4((__m512)a[i], (__m512)b[i], 0xdd);
  }
}
#else
constexpr int kColumns = 4;
SWINV2_INLINE void load_columns(Vec (&y)[kColumns], const float* const* row, int64_t c) {
#pragma GCC unroll 4
  for (int i = 0; i < 4; ++i)
#if defined(__AVX2__)
    y[i] = (Vec)_mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(row[i] + c)),
                                     _mm_loadu_ps(row[i + 4] + c), 1);
#else
    y[i] = load(row[i] + c);
#endif
  transpose_groups(y);
}
#endif

// Lane i = all lanes of r[i] brought together by f: each step halves the rows and the lanes still to be taken.
template <class F>
SWINV2_INLINE Vec fold_rows(Vec (&r)[kLanes], F f) {
#pragma GCC unroll 4
  for (int rows = kLanes / 2; rows > 0; rows /= 2)
#pragma GCC unroll 8
    for (int i = 0; i < rows; ++i)
      r[i] = f(interleave_low(r[i], r[i + rows]), interleave_high(r[i], r[i + rows]));
  return r[0];
}
SWINV2_INLINE Vec sum_rows(Vec (&r)[kLanes]) {
  return fold_rows(r, [](Vec a, Vec b) { return a + b; });
}
SWINV2_INLINE Vec max_rows(Vec (&r)[kLanes]) {
  return fold_rows(r, [](Vec a, Vec b) { return vmax(a, b); });
}

// ---- exp2 and log2 ----

// 2^(x - less), `less` a whole number below 2^21, for results up to 2^127, |relative error| < 1e-7; exactly 0 below
// 2^-126 (so 2^-Inf = 0, and no subnormal ever slows a product down); NaN stays NaN. x = n + f with n nearest: 2^f by
// the degree-6 minimax polynomial on [-1/2, 1/2].
SWINV2_INLINE Vec exp2(Vec x, Vec less = Vec{}) {
#if defined(__AVX512F__)
  const Vec n = (Vec)_mm512_roundscale_ps((__m512)x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  const Vec f = x - n;
#else
  const Vec magic = splat(12582912.f);  // 1.5 * 2^23: adding it rounds to an integer kept in the low bits
  const Vec biased = x + magic;
  const Vec f = x - (biased - magic);
#endif
  Vec p = splat(1.535336188e-4f);
  p = p * f + splat(1.339887440e-3f);
  p = p * f + splat(9.618437357e-3f);
  p = p * f + splat(5.550332548e-2f);
  p = p * f + splat(2.402264791e-1f);
  p = p * f + splat(6.931472028e-1f);
  p = p * f + splat(1.f);
#if defined(__AVX512F__)
  const __mmask16 kept = _mm512_cmp_ps_mask((__m512)x, (__m512)(less - 126.f), _CMP_NLT_UQ);
  return (Vec)_mm512_maskz_scalef_ps(kept, (__m512)p, (__m512)(n - less));
#else
  const VecI bias = 127 - 0x4b400000 - __builtin_convertvector(less, VecI);
  const Vec two_n = (Vec)(((VecI)biased + bias) << 23);
  return x < less - 126.f ? Vec{} : p * two_n;
#endif
}

// log2(x) for normal positive x, absolute error < 2e-7; Inf and NaN stay, 0 gives about -127.
// x = 2^e * m, m in [1/sqrt2, sqrt2): log2(m) = 2/ln2 * atanh(s), s = (m - 1) / (m + 1).
SWINV2_INLINE Vec log2(Vec x) {
  const VecI bits = (VecI)x;
  const VecI e = (bits - 0x3f3504f3) >> 23;
  const Vec m = (Vec)(bits - (e << 23));
  const Vec s = (m - 1.f) / (m + 1.f), s2 = s * s;
  Vec p = splat(0.3205989f);
  p = p * s2 + splat(0.4121986f);
  p = p * s2 + splat(0.5770780f);
  p = p * s2 + splat(0.9617967f);
  p = p * s2 + splat(2.8853901f);
  const Vec result = p * s + __builtin_convertvector(e, Vec);
  return bits >= 0x7f800000 || bits < 0 ? x : result;
}

}  // namespace SWINV2_ISA
}  // namespace swinv2
