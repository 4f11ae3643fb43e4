// SPDX-License-Identifier: Apache-2.0
//
// The SIMD vocabulary: every float16 and bfloat16 there is, partial vectors, exp2, log2 and GELU. One program an
// instruction set, so that no inline function of one is linked into another.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <vector>

#include "cpu/gelu.h"
#include "cpu/isa.h"
#include "cpu/simd.h"
#include "tests/check.h"
#include "tests/formula.h"

namespace swinv2 {
namespace SWINV2_ISA {
namespace {

// The value of a bit pattern, from the definition of the format.
double value_of(uint16_t bits, int exponent_bits) {
  const int digits = 15 - exponent_bits, bias = (1 << (exponent_bits - 1)) - 1;
  const int exponent = (bits & 0x7fff) >> digits, fraction = bits & ((1 << digits) - 1);
  const double sign = bits & 0x8000 ? -1 : 1;
  if (exponent == 2 * bias + 1) return fraction ? std::nan("") : sign * INFINITY;
  if (exponent == 0) return sign * std::ldexp(fraction, 1 - bias - digits);
  return sign * std::ldexp(fraction + (1 << digits), exponent - bias - digits);
}

bool same(double a, double b) {
  return std::isnan(a) ? std::isnan(b) : a == b && std::signbit(a) == std::signbit(b);
}

template <class T>
void conversions(DType dtype, int exponent_bits) {
  const std::string name = dtype_name(dtype);
  std::vector<float> floats;
  for (int first = 0; first < 0x10000; first += kLanes) {
    T in[kLanes], out[kLanes];
    float wide[kLanes];
    for (int i = 0; i < kLanes; ++i) in[i].bits = uint16_t(first + i);
    store(wide, load(in));
    store(out, load(in));
    for (int i = 0; i < kLanes; ++i) {
      const double exact = value_of(in[i].bits, exponent_bits);
      CHECK(same(wide[i], exact), name << " " << in[i].bits << " loads as " << wide[i]);
      CHECK(same(to_float(in[i]), exact), name << " " << in[i].bits << " converts to " << to_float(in[i]));
      CHECK(same(value_of(out[i].bits, exponent_bits), exact), name << " " << in[i].bits << " changes");
      if (!std::isfinite(exact)) continue;
      for (double step : {-0.75, -0.5, -0.25, 0.25, 0.5, 0.75}) {  // between this value and the next
        const double next = value_of(in[i].bits + 1, exponent_bits);
        const double gap =
            std::isfinite(next) ? next - exact : exact - value_of(in[i].bits - 1, exponent_bits);
        floats.push_back(float(exact + step * gap));
      }
    }
  }
  for (float x : {3.4e38f, -3.4e38f, 1e-45f, 65519.996f, 65520.f, INFINITY, -INFINITY, NAN})
    floats.push_back(x);
  floats.resize((floats.size() + kLanes - 1) / kLanes * kLanes);
  for (size_t first = 0; first < floats.size(); first += kLanes) {
    T out[kLanes];
    store(out, load(floats.data() + first));
    for (int i = 0; i < kLanes; ++i) {
      const float x = floats[first + i];
      const double exact = formula::round_to(dtype, x);
      CHECK(same(value_of(out[i].bits, exponent_bits), exact),
            name << " stores " << x << " as " << out[i].bits);
      CHECK(same(value_of(from_float<T>(x).bits, exponent_bits), exact),
            name << " rounds " << x << " wrongly");
    }
  }
}

template <class T>
void partial_vectors(T zero, T one, T two) {
  for (int64_t n = 1; n <= kLanes; ++n) {
    std::vector<T> from(n, one), to(kLanes, two);  // ASan sees a read past n
    float got[kLanes];
    store(got, load_first(from.data(), n));
    for (int i = 0; i < kLanes; ++i) CHECK(got[i] == to_float(i < n ? one : zero), "load_first of " << n);
    store_first(to.data(), splat(1.f), n);
    for (int i = 0; i < kLanes; ++i)
      CHECK(to_float(to[i]) == to_float(i < n ? one : two), "store_first of " << n);
  }
}

void lanes_between() {
  for (int64_t first = -2; first <= kLanes + 1; ++first)
    for (int64_t end = first; end <= kLanes + 2; ++end) {
      const int64_t from = std::clamp<int64_t>(first, 0, kLanes), to = std::clamp<int64_t>(end, from, kLanes);
      const std::vector<float> there(std::max<int64_t>(to - from, 1), 1.f);  // ASan sees a read beyond them
      const Vec v = Between(first, end).load(there.data() - from);
      for (int i = 0; i < kLanes; ++i)
        CHECK(v[i] == (i >= from && i < to ? 1.f : 0.f), "lanes " << first << " to " << end << ": " << i);
    }
}

void transposes() {
  Vec rows[kLanes];
  for (int i = 0; i < kLanes; ++i)
    for (int j = 0; j < kLanes; ++j) rows[i][j] = float(100 * i + j);
  transpose(rows);
  for (int i = 0; i < kLanes; ++i)
    for (int j = 0; j < kLanes; ++j)
      CHECK(rows[i][j] == float(100 * j + i), "transpose at " << i << ", " << j);
}

void columns() {
  float x[kLanes][16];
  const float* row[kLanes];
  for (int i = 0; i < kLanes; ++i) {
    row[i] = x[i];
    for (int j = 0; j < 16; ++j) x[i][j] = float(100 * i + j);
  }
  for (int c : {0, 1, 8}) {
    Vec y[kColumns];
    load_columns(y, row, c);
    for (int a = 0; a < kColumns; ++a)
      for (int i = 0; i < kLanes; ++i)
        CHECK(y[a][i] == float(100 * i + c + a), "load_columns at " << i << ", " << c + a);
  }
}

void maxima() {
  const float nan = NAN;
  CHECK(std::isnan(vmax(splat(1.f), splat(nan))[0]), "vmax: a NaN in the second argument stays");
  CHECK(vmax(splat(nan), splat(1.f))[0] == 1.f, "vmax: a NaN in the first argument gives the second");
  CHECK(vmax(splat(-INFINITY), splat(-2.f))[kLanes - 1] == -2.f, "vmax");
}

void exponentials() {
  for (double x = -150; x < 127; x += 0.003) {
    const double got = exp2(splat(float(x)))[kLanes - 1], exact = std::exp2(double(float(x)));
    if (float(x) < -126.f)
      CHECK(got == 0, "exp2(" << x << ") = " << got);
    else
      CHECK(std::fabs(got - exact) <= 1.2e-7 * exact, "exp2(" << x << ") = " << got << ", exactly " << exact);
    const double back = log2(splat(float(exact)))[0];
    if (x > -126 && std::fabs(x) > 1)
      CHECK(std::fabs(back - std::log2(double(float(exact)))) <= 2e-7 + 6e-8 * std::fabs(x),
            "log2 near " << x);
  }
  for (const float less : {-71.f, -14.f, 33.f, 200.f})
    for (float x = less - 130; x < less + 120; x += 0.37f) {
      const double got = exp2(splat(x), splat(less))[0], exact = std::exp2(double(x) - double(less));
      if (x < less - 126)
        CHECK(got == 0, "exp2(" << x << ", " << less << ") = " << got);
      else
        CHECK(std::fabs(got - exact) <= 1.2e-7 * exact,
              "exp2(" << x << ", " << less << ") = " << got << ", exactly " << exact);
    }
  CHECK(exp2(splat(-INFINITY))[0] == 0, "exp2(-Inf)");
  CHECK(std::isnan(exp2(splat(NAN))[0]), "exp2(NaN)");
  CHECK(log2(splat(INFINITY))[0] == INFINITY, "log2(Inf)");
  CHECK(std::isnan(log2(splat(NAN))[0]), "log2(NaN)");
}

// Relative errors, so that the tail counts: there half an ulp of z^2 is as many in the exponential.
template <class G>
void gelus(const char* name, bool tanh, double least, double most) {
  for (double x = least; x < most; x += 0.0007) {
    const float z = float(x);
    double slope;
    const double exact = formula::gelu(double(z), tanh, slope), allowed = 4e-7 + 1e-7 * x * x;
    const double got = G::value(splat(z))[0], got_slope = G::slope(splat(z))[kLanes - 1];
    CHECK(std::fabs(got - exact) <= allowed * std::fabs(exact),
          name << " of " << x << " is " << got << ", exactly " << exact);
    CHECK(std::fabs(got_slope - slope) <= 3e-7 + allowed * std::fabs(slope),
          name << "' of " << x << " is " << got_slope << ", exactly " << slope);
  }
  CHECK(G::value(splat(INFINITY))[0] == INFINITY, name << " of Inf");
  CHECK(std::isnan(G::value(splat(NAN))[0]), name << " of NaN");
  CHECK(G::value(splat(-1e30f))[0] == 0 && G::slope(splat(-1e30f))[0] == 0, name << " of -1e30");
  CHECK(G::slope(splat(1e30f))[0] == 1, name << "' of 1e30");
  CHECK(std::isnan(G::slope(splat(NAN))[0]), name << "' of NaN");
}

void run() {
  conversions<Half>(DType::kFloat16, 5);
  conversions<BFloat16>(DType::kBFloat16, 8);
  partial_vectors<float>(0.f, 1.f, 2.f);
  partial_vectors<Half>({0}, {0x3c00}, {0x4000});
  partial_vectors<BFloat16>({0}, {0x3f80}, {0x4000});
  lanes_between();
  transposes();
  columns();
  maxima();
  exponentials();
  gelus<Exact>("gelu", false, -13, 40);
  gelus<Tanh>("gelu by tanh", true, -4, 40);
}

}  // namespace
}  // namespace SWINV2_ISA
}  // namespace swinv2

#define SWINV2_TEXT_(x) #x
#define SWINV2_TEXT(x) SWINV2_TEXT_(x)

int main() {
  const std::string name = SWINV2_TEXT(SWINV2_ISA);
  for (swinv2::Isa isa : swinv2::supported_isas())
    if (name == swinv2::isa_name(isa)) {
      swinv2::SWINV2_ISA::run();
      return swinv2::summary("simd, " + name);
    }
  std::printf("simd, %s: this CPU does not run it\n", name.c_str());
  return 0;
}
