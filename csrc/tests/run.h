// SPDX-License-Identifier: Apache-2.0
//
// What the native tests run kernels with: arrays in their storage dtype, the tolerance, every number of threads and
// instruction set. Tolerance as in tests/oracle.py: twice the error of the float formula rounded to the dtype, plus a
// floor.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "cpu/isa.h"
#include "cpu/parallel.h"
#include "tests/check.h"
#include "tests/formula.h"

namespace swinv2 {

using formula::Array;

constexpr DType kDTypes[] = {DType::kFloat32, DType::kFloat16, DType::kBFloat16};

// ---- arrays in their storage dtype, on the heap to the byte, so that ASan sees every step outside ----

struct Stored {
  DType dtype;
  int64_t size;
  std::vector<char> bytes;

  Stored(DType dtype, int64_t size) : dtype(dtype), size(size), bytes(size * size_of(dtype), char(0xff)) {}
  Stored(DType dtype, const Array<float>& values) : Stored(dtype, values.size()) {
    for (int64_t i = 0; i < size; ++i) {
      if (dtype == DType::kFloat32) {
        std::memcpy(&bytes[4 * i], &values[i], 4);
        continue;
      }
      const uint16_t bits = dtype == DType::kFloat16 ? half_bits(values[i]) : bfloat16_bits(values[i]);
      std::memcpy(&bytes[2 * i], &bits, 2);
    }
  }
  void* data() { return bytes.data(); }
  const void* data() const { return bytes.data(); }

  double operator[](int64_t i) const {
    if (dtype == DType::kFloat32) {
      float x;
      std::memcpy(&x, &bytes[4 * i], 4);
      return x;
    }
    uint16_t bits;
    std::memcpy(&bits, &bytes[2 * i], 2);
    return dtype == DType::kFloat16 ? half_value(bits) : bfloat16_value(bits);
  }

 private:
  static uint16_t bfloat16_bits(float x) {  // of a value that bfloat16 holds
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    return uint16_t(bits >> 16);
  }
  static double bfloat16_value(uint16_t bits) {
    const uint32_t wide = uint32_t(bits) << 16;
    float x;
    std::memcpy(&x, &wide, 4);
    return x;
  }
  static uint16_t half_bits(float x) {
    const uint16_t sign = std::signbit(x) ? 0x8000 : 0;
    if (std::isnan(x)) return sign | 0x7e00;
    if (std::isinf(x)) return sign | 0x7c00;
    const double a = std::fabs(double(x));
    if (a < std::ldexp(1, -14)) return sign | uint16_t(std::ldexp(a, 24));
    const int e = std::ilogb(a);
    return sign | uint16_t(((e + 15) << 10) + int(std::ldexp(a, 10 - e)) - 1024);
  }
  static double half_value(uint16_t bits) {
    const int e = (bits >> 10) & 31, fraction = bits & 1023;
    const double a = e == 31 ? (fraction ? NAN : INFINITY)
                     : e     ? std::ldexp(1024 + fraction, e - 25)
                             : std::ldexp(fraction, -24);
    return bits & 0x8000 ? -a : a;
  }
};

inline Array<float> normal(std::mt19937& generator, int64_t n, double factor, DType dtype = DType::kFloat32) {
  std::normal_distribution<double> distribution;
  Array<float> x(n);
  for (float& value : x) value = float(formula::round_to(dtype, factor * distribution(generator)));
  return x;
}

inline double floor_of(DType dtype) {
  return dtype == DType::kFloat32 ? 8 * std::ldexp(1, -23)
                                  : std::ldexp(1, dtype == DType::kFloat16 ? -12 : -9);
}

// size: of the terms that a sum is made of; 0 stands for the largest exact value. storage: of the arrays behind it.
template <class Actual>
void expect_close(const std::string& name, DType dtype, const Actual& actual, const Array<double>& exact,
                  const Array<float>& plain, double size = 0, DType storage = DType::kFloat32) {
  double error = 0, plain_error = 0, largest = 0;
  size_t worst = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    const double e = std::fabs(double(actual[i]) - exact[i]);
    if (!(e <= error)) worst = i, error = e;
    plain_error = std::max(plain_error, std::fabs(formula::round_to(dtype, plain[i]) - exact[i]));
    largest = std::max(largest, std::fabs(exact[i]));
  }
  const double allowed =
      2 * plain_error + std::max(floor_of(dtype), floor_of(storage)) * (size ? size : largest);
  CHECK(error <= allowed, name << " (" << dtype_name(dtype) << ", " << isa_name(active_isa()) << "): error "
                               << error << " at " << worst << ", allowed " << allowed << "; got "
                               << double(actual[worst]) << ", exactly " << exact[worst]);
}

template <class F>
void with_threads(F&& f) {
  for (int threads : {1, 2, 3}) {
    set_num_threads(threads);
    f(threads);
  }
  set_num_threads(0);
}

inline void expect_same(const std::string& name, int threads, const void* a, const void* b, size_t bytes) {
  CHECK(std::memcmp(a, b, bytes) == 0,
        name << " changes with " << threads << " threads, " << isa_name(active_isa()));
}

// results: of one number of threads; first: of the first, taken over where empty.
inline void expect_same(const std::string& name, int threads, std::vector<Stored> results,
                        std::vector<Stored>& first) {
  if (first.empty()) first = results;
  for (size_t i = 0; i < first.size(); ++i)
    expect_same(name, threads, results[i].data(), first[i].data(), first[i].bytes.size());
}

template <class F>
void with_isas(F&& f) {
  for (Isa isa : supported_isas()) {
    set_isa(isa_name(isa));
    f();
  }
  set_isa("");
}

inline double root(int64_t n) {
  return std::sqrt(double(n));
}

}  // namespace swinv2
