// SPDX-License-Identifier: Apache-2.0
// The 16-bit floating point types of the device: IEEE binary16 and bfloat16, rounded to nearest even.
#pragma once

#include <cstdint>
#include <cstring>
#include <type_traits>

namespace ascend_twin {

// Constants of half need bit casts at compile time: g++ 11 and clang 9 have them.
constexpr uint32_t FloatBits(float f) {
  return __builtin_bit_cast(uint32_t, f);
}

constexpr float BitsFloat(uint32_t u) {
  return __builtin_bit_cast(float, u);
}

constexpr float HalfBitsToFloat(uint16_t h) {
  const uint32_t sign = static_cast<uint32_t>(h & 0x8000) << 16;
  const uint32_t magnitude = h & 0x7fff;
  if (magnitude >= 0x7c00) return BitsFloat(sign | 0x7f800000 | ((magnitude & 0x3ff) << 13));
  if (magnitude < 0x0400) return BitsFloat(sign | FloatBits(static_cast<float>(magnitude) * 0x1p-24f));
  return BitsFloat(sign | ((magnitude << 13) + (112u << 23)));
}

constexpr uint16_t FloatToHalfBits(float f) {
  const uint32_t u = FloatBits(f);
  const uint16_t sign = static_cast<uint16_t>((u >> 16) & 0x8000);
  const uint32_t magnitude = u & 0x7fffffff;
  if (magnitude > 0x7f800000) return static_cast<uint16_t>(sign | 0x7e00);
  if (magnitude >= 0x477ff000) return static_cast<uint16_t>(sign | 0x7c00);
  if (magnitude < 0x38800000) {  // subnormal: let the float adder round at 2^-24
    const float scaled = BitsFloat(magnitude) + BitsFloat(0x3f000000);
    return static_cast<uint16_t>(sign | (FloatBits(scaled) - 0x3f000000));
  }
  const uint32_t odd = (magnitude >> 13) & 1;
  return static_cast<uint16_t>(sign | ((magnitude + 0xfff + odd - (112u << 23)) >> 13));
}

constexpr float Bfloat16BitsToFloat(uint16_t b) {
  return BitsFloat(static_cast<uint32_t>(b) << 16);
}

constexpr uint16_t FloatToBfloat16Bits(float f) {
  const uint32_t u = FloatBits(f);
  if ((u & 0x7fffffff) > 0x7f800000) return static_cast<uint16_t>((u >> 16) | 0x40);
  return static_cast<uint16_t>((u + 0x7fff + ((u >> 16) & 1)) >> 16);
}

}  // namespace ascend_twin

struct half {
  uint16_t bits;

  half() = default;
  template <typename T, typename = std::enable_if_t<std::is_arithmetic<T>::value>>
  constexpr half(T v) : bits(ascend_twin::FloatToHalfBits(static_cast<float>(v))) {}
  constexpr operator float() const { return ascend_twin::HalfBitsToFloat(bits); }
  constexpr half& operator+=(float v) { return *this = half(float(*this) + v); }
  constexpr half& operator-=(float v) { return *this = half(float(*this) - v); }
  constexpr half& operator*=(float v) { return *this = half(float(*this) * v); }
  constexpr half& operator/=(float v) { return *this = half(float(*this) / v); }
};
static_assert(sizeof(half) == 2 && std::is_trivially_copyable<half>::value, "half is two bytes");

// The device has no bfloat16 arithmetic: only numbers become one by themselves.
struct bfloat16_t {
  uint16_t bits;

  bfloat16_t() = default;
  template <typename T, typename = std::enable_if_t<std::is_arithmetic<T>::value>>
  constexpr bfloat16_t(T v) : bits(ascend_twin::FloatToBfloat16Bits(static_cast<float>(v))) {}
  constexpr explicit operator float() const { return ascend_twin::Bfloat16BitsToFloat(bits); }
};
static_assert(sizeof(bfloat16_t) == 2 && std::is_trivially_copyable<bfloat16_t>::value,
              "bfloat16_t is two bytes");
