// SPDX-License-Identifier: Apache-2.0
//
// The CPU kernels without Python: every instruction set, dtype and number of threads against formula.h.
//
//   native_tests [folder of goldens, see tests/export_goldens.py]
//
// Tolerance, as in tests/oracle.py: twice the error of the float formula rounded to the dtype, plus a floor.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "bias_gelu/bias_gelu_host.h"
#include "core/error.h"
#include "cpu/isa.h"
#include "cpu/parallel.h"
#include "residual_layer_norm/residual_layer_norm_host.h"
#include "tests/check.h"
#include "tests/formula.h"
#include "window_attention/window_attention_host.h"
#include "window_attention/window_attention_twin_host.h"

namespace swinv2 {
namespace {

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

Array<float> normal(std::mt19937& generator, int64_t n, double factor, DType dtype = DType::kFloat32) {
  std::normal_distribution<double> distribution;
  Array<float> x(n);
  for (float& value : x) value = float(formula::round_to(dtype, factor * distribution(generator)));
  return x;
}

double floor_of(DType dtype) {
  return dtype == DType::kFloat32 ? 8 * std::ldexp(1, -23)
                                  : std::ldexp(1, dtype == DType::kFloat16 ? -12 : -9);
}

// size: of the terms that a sum is made of; 0 stands for the largest exact value.
template <class Actual>
void expect_close(const std::string& name, DType dtype, const Actual& actual, const Array<double>& exact,
                  const Array<float>& plain, double size = 0) {
  double error = 0, plain_error = 0, largest = 0;
  size_t worst = 0;
  for (size_t i = 0; i < exact.size(); ++i) {
    const double e = std::fabs(double(actual[i]) - exact[i]);
    if (!(e <= error)) worst = i, error = e;
    plain_error = std::max(plain_error, std::fabs(formula::round_to(dtype, plain[i]) - exact[i]));
    largest = std::max(largest, std::fabs(exact[i]));
  }
  const double allowed = 2 * plain_error + floor_of(dtype) * (size ? size : largest);
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

void expect_same(const std::string& name, int threads, const void* a, const void* b, size_t bytes) {
  CHECK(std::memcmp(a, b, bytes) == 0,
        name << " changes with " << threads << " threads, " << isa_name(active_isa()));
}

// results: of one number of threads; first: of the first, taken over where empty.
void expect_same(const std::string& name, int threads, std::vector<Stored> results,
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

// ---- window attention ----

struct AttentionRun {
  Stored out, dqkv;
  Array<float> stats, dtable, dscale;
};

AttentionRun run(const WindowAttention& op, const formula::AttentionInputs& in) {
  const Stored qkv(op.dtype, in.qkv), dout(op.dtype, in.dout);
  AttentionRun r{Stored(op.dtype, in.dout.size()), Stored(op.dtype, in.qkv.size()),
                 Array<float>(product_of(stats_shape(op)), NAN), Array<float>(in.table.size(), NAN),
                 Array<float>(in.scale.size(), NAN)};
  window_attention_forward(op, {qkv.data(), in.table.data(), in.scale.data(), r.out.data(), r.stats.data()});
  window_attention_backward(op, {qkv.data(), in.table.data(), in.scale.data(), r.out.data(), r.stats.data(),
                                 dout.data(), r.dqkv.data(), r.dtable.data(), r.dscale.data()});
  return r;
}

struct Geometry {
  const char* name;
  int64_t batch, rows, cols, window_h, window_w, shift_h, shift_w, heads, head_dim;
  int64_t cut_h = 0, cut_w = 0;  // rows and columns of padding
  float mask_value = -100;
  bool cosine = true;
  double factor = 1;  // of q and k
};

constexpr float kInf = std::numeric_limits<float>::infinity();
const Geometry kGeometries[] = {
    {"four regions", 2, 2, 2, 8, 8, 4, 4, 2, 32},
    {"N = 49", 1, 2, 3, 7, 7, 3, 3, 1, 32},
    {"N = 36, d = 16", 1, 2, 1, 6, 6, 3, 3, 2, 16},
    {"N = 16, d = 24", 2, 2, 2, 4, 4, 1, 1, 2, 24},
    {"several key tiles", 1, 1, 1, 12, 12, 6, 6, 1, 32},
    {"oblong window", 1, 2, 3, 8, 4, 4, 2, 2, 7},
    {"long column", 1, 1, 3, 80, 1, 7, 0, 1, 5},
    {"long row", 1, 3, 1, 1, 70, 0, 1, 1, 9},
    {"single token", 1, 3, 2, 1, 1, 0, 0, 2, 3},
    {"one channel", 1, 2, 2, 3, 5, 1, 2, 3, 1, 0, 0, -100, false},
    {"wide head", 1, 1, 2, 5, 5, 2, 0, 1, 80},
    {"padding", 2, 2, 2, 8, 8, 4, 4, 1, 20, 3, 6},
    {"windows of padding", 1, 3, 2, 4, 4, 2, 2, 1, 8, 9, 0},
    {"one valid token", 1, 2, 2, 6, 6, 3, 3, 1, 8, 11, 11},
    {"strict mask", 1, 2, 2, 6, 6, 3, 2, 1, 16, 0, 0, -kInf},
    {"weak mask", 1, 2, 2, 6, 6, 3, 2, 1, 16, 2, 1, -5},
    {"dot product", 1, 2, 2, 7, 7, 3, 3, 2, 20, 0, 2, -100, false},
    {"zero vectors", 1, 1, 2, 4, 4, 2, 2, 1, 8, 0, 0, -100, true, 0},
    {"tiny vectors", 1, 1, 2, 4, 4, 2, 2, 1, 8, 0, 0, -100, true, 1e-4},
};

struct AttentionProblem {
  WindowAttention op;
  formula::AttentionInputs in;
};

AttentionProblem problem(const Geometry& g, DType dtype, std::mt19937& generator) {
  const int64_t height = g.rows * g.window_h, width = g.cols * g.window_w, C = g.heads * g.head_dim;
  const int64_t tokens = g.batch * height * width;
  const WindowAttention op = check_window_attention(
      {g.batch, height, width, 3 * C}, dtype, {g.heads, 2 * g.window_h - 1, 2 * g.window_w - 1}, {g.heads},
      {g.shift_h, g.shift_w, height - g.cut_h, width - g.cut_w, g.mask_value, g.cosine});
  formula::AttentionInputs in{normal(generator, tokens * 3 * C, 1, dtype),
                              normal(generator, g.heads * op.table_size(), 2), Array<float>(g.heads),
                              normal(generator, tokens * C, 1, dtype)};
  for (int64_t i = 0; i < tokens * 3 * C; ++i)
    if (i % (3 * C) < 2 * C) in.qkv[i] = float(formula::round_to(dtype, g.factor * in.qkv[i]));
  for (int64_t head = 0; head < g.heads; ++head)
    in.scale[head] = g.cosine ? 5.f + 10.f * head : 1.f / std::sqrt(float(g.head_dim));
  return {op, in};
}

// Padding is never read: NaN there changes nothing.
void poison_padding(AttentionProblem& p) {
  const WindowGeometry& g = p.op.geometry;
  const int64_t C = p.op.num_heads * p.op.head_dim;
  for (int64_t t = 0; t < g.batch * g.height * g.width; ++t)
    if (t / g.width % g.height >= g.valid_h || t % g.width >= g.valid_w) {
      std::fill_n(p.in.qkv.begin() + t * 3 * C, 3 * C, NAN);
      std::fill_n(p.in.dout.begin() + t * C, C, NAN);
    }
}

void attention_tests() {
  std::mt19937 generator(1);
  for (const Geometry& g : kGeometries)
    for (DType dtype : kDTypes) {
      AttentionProblem given = problem(g, dtype, generator);
      const WindowAttention& op = given.op;
      const formula::AttentionInputs& in = given.in;
      const auto exact = formula::attention<double>(op, in, false);
      const auto plain = formula::attention<float>(op, in, true);
      poison_padding(given);
      with_isas([&] {
        std::vector<AttentionRun> first;
        with_threads([&](int threads) {
          AttentionRun r = run(op, in);
          if (first.empty()) {
            expect_close(g.name + std::string(": out"), dtype, r.out, exact.out, plain.out);
            expect_close(g.name + std::string(": dqkv"), dtype, r.dqkv, exact.dqkv, plain.dqkv);
            expect_close(g.name + std::string(": dbias_table"), DType::kFloat32, r.dtable, exact.dtable,
                         plain.dtable);
            expect_close(g.name + std::string(": dscale"), DType::kFloat32, r.dscale, exact.dscale,
                         plain.dscale, exact.dscale_size);
            first.push_back(std::move(r));
            return;
          }
          const AttentionRun& f = first[0];
          expect_same(g.name, threads, r.out.data(), f.out.data(), f.out.bytes.size());
          expect_same(g.name, threads, r.dqkv.data(), f.dqkv.data(), f.dqkv.bytes.size());
          expect_same(g.name, threads, r.dtable.data(), f.dtable.data(), 4 * f.dtable.size());
          expect_same(g.name, threads, r.dscale.data(), f.dscale.data(), 4 * f.dscale.size());
        });
      });
    }
}

#if defined(SWINV2_TWIN)
// The Ascend kernels on the twin, where the chip takes the geometry.
void twin_tests() {
  std::mt19937 generator(5);
  int ran = 0;
  for (const Geometry& g : kGeometries) {
    if (g.head_dim % 16 || g.head_dim > 64 || g.factor != 1) continue;
    AttentionProblem given = problem(g, DType::kFloat16, generator);
    const auto exact = formula::attention<double>(given.op, given.in, false);
    const auto plain = formula::attention<float>(given.op, given.in, true);
    poison_padding(given);
    const Stored qkv(DType::kFloat16, given.in.qkv);
    for (const auto forward : {window_attention_forward_twin_910, window_attention_forward_twin_910b}) {
      if (forward == window_attention_forward_twin_910b && g.head_dim == 48) continue;
      Stored out(DType::kFloat16, given.in.dout.size());
      Array<float> stats(product_of(stats_shape(given.op)));
      forward(given.op, {qkv.data(), given.in.table.data(), given.in.scale.data(), out.data(), stats.data()});
      expect_close(g.name + std::string(", twin: out"), DType::kFloat16, out, exact.out, plain.out);
    }
    ++ran;
  }
  CHECK(ran > 3, "the twin runs " << ran << " geometries");
}
#endif

// A NaN stays in its window and head.
void isolation_tests() {
  std::mt19937 generator(2);
  const WindowAttention op = check_window_attention({1, 8, 12, 3 * 2 * 8}, DType::kFloat32, {2, 7, 11}, {2},
                                                    {1, 2, -1, -1, -100.f, true});
  formula::AttentionInputs in{
      normal(generator, 96 * 48, 1), normal(generator, 2 * 77, 1), {4.f, 9.f}, normal(generator, 96 * 16, 1)};
  with_isas([&] {
    const AttentionRun clean = run(op, in);
    formula::AttentionInputs bad = in;
    bad.qkv[(2 * 12 + 3) * 48 + 8 + 5] = NAN;  // row 2, column 3: window 0 of the shifted grid; head 1 of q
    const AttentionRun dirty = run(op, bad);
    int64_t spoilt = 0;
    for (int64_t i = 0; i < clean.out.size; ++i) {
      const int64_t y = i / 16 / 12, x = i / 16 % 12, head = i % 16 / 8;
      if (head == 1 && y >= 1 && y < 5 && x >= 2 && x < 8)
        spoilt += std::isnan(dirty.out[i]);
      else
        CHECK(dirty.out[i] == clean.out[i], "a NaN reaches out of its window at " << y << ", " << x);
    }
    CHECK(spoilt == 8, "a NaN query spoils its row, and no more: " << spoilt);
    for (int64_t i = 0; i < clean.dqkv.size; ++i) {
      const int64_t y = i / 48 / 12, x = i / 48 % 12, head = i % 16 / 8;
      if (head != 1 || y < 1 || y >= 5 || x < 2 || x >= 8)
        CHECK(dirty.dqkv[i] == clean.dqkv[i],
              "a NaN reaches a gradient out of its window at " << y << ", " << x);
    }
    for (int64_t e = 0; e < 77; ++e) CHECK(dirty.dtable[e] == clean.dtable[e], "a NaN reaches another head");
    CHECK(dirty.dscale[0] == clean.dscale[0] && std::isnan(dirty.dscale[1]), "dscale");
  });
}

// ---- goldens: the official implementation's results ----

void golden_tests(const std::string& folder) {
  int found = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    std::ifstream file(entry.path(), std::ios::binary);
    int64_t n[9];  // B, H, W, heads, head_dim, Wh, Ww, shift_h, shift_w
    file.read(reinterpret_cast<char*>(n), sizeof n);
    const int64_t tokens = n[0] * n[1] * n[2], C = n[3] * n[4],
                  entries = n[3] * (2 * n[5] - 1) * (2 * n[6] - 1);
    const auto floats = [&](int64_t count) {
      Array<float> x(count);
      file.read(reinterpret_cast<char*>(x.data()), count * 4);
      return x;
    };
    const auto doubles = [&](int64_t count) {
      Array<double> x(count);
      file.read(reinterpret_cast<char*>(x.data()), count * 8);
      return x;
    };
    const formula::AttentionInputs in{floats(tokens * 3 * C), floats(entries), floats(n[3]),
                                      floats(tokens * C)};
    const Array<double> out = doubles(tokens * C), dqkv = doubles(tokens * 3 * C), dtable = doubles(entries),
                        dscale = doubles(n[3]);
    const std::string name = entry.path().filename().string();
    CHECK(bool(file) && file.peek() == EOF, name << ": not a golden file");
    if (!file) continue;
    ++found;
    const WindowAttention op = check_window_attention(
        {n[0], n[1], n[2], 3 * C}, DType::kFloat32, {n[3], 2 * n[5] - 1, 2 * n[6] - 1}, {n[3]}, {n[7], n[8]});
    const auto plain = formula::attention<float>(op, in, true);
    with_isas([&] {
      const AttentionRun r = run(op, in);
      expect_close(name + ": out", op.dtype, r.out, out, plain.out);
      expect_close(name + ": dqkv", op.dtype, r.dqkv, dqkv, plain.dqkv);
      expect_close(name + ": dbias_table", op.dtype, r.dtable, dtable, plain.dtable);
      expect_close(name + ": dscale", op.dtype, r.dscale, dscale, plain.dscale, plain.dscale_size);
    });
  }
  CHECK(found > 0, "no goldens in " << folder);
  std::printf("%d goldens\n", found);
}

// ---- row operators ----

double root(int64_t n) {
  return std::sqrt(double(n));
}

void layer_norm_tests() {
  std::mt19937 generator(3);
  // of x and of y: the same, or a half type beside a float32 residual stream
  constexpr DType kFloat = DType::kFloat32, kHalf = DType::kFloat16, kBrain = DType::kBFloat16;
  const std::pair<DType, DType> pairs[] = {
      {kFloat, kFloat}, {kHalf, kHalf}, {kBrain, kBrain}, {kFloat, kHalf}, {kFloat, kBrain}};
  const int64_t shapes[][3] = {{2, 30, 96}, {3, 5, 2},    {2, 1, 7}, {1, 3, 37},
                               {2, 9, 200}, {3, 250, 100}};  // samples, rows, C: the last in parts
  for (const auto& shape : shapes)
    for (const auto& pair : pairs) {
      const DType x_dtype = pair.first, dtype = pair.second;
      const int64_t samples = shape[0], rows = shape[1], C = shape[2];
      const ResidualLayerNorm op = check_residual_layer_norm({samples, rows, C}, x_dtype, {samples, rows, C},
                                                             dtype, {C}, {C}, {samples}, 1e-5f);
      const int64_t n = samples * rows * C;
      formula::RowInputs in{normal(generator, n, 1, x_dtype), normal(generator, n, 3, dtype),
                            normal(generator, C, 1),          normal(generator, C, 1),
                            Array<float>(samples, 1.25f),     normal(generator, n, 1, x_dtype)};
      in.keep[0] = samples > 1 ? 0.f : 1.f;
      const auto exact = formula::residual_layer_norm<double>(op, in);
      const auto plain = formula::residual_layer_norm<float>(op, in);
      const Stored x(x_dtype, in.x), y(dtype, in.y), dout(x_dtype, in.dout);
      with_isas([&] {
        std::vector<Stored> first;
        with_threads([&](int threads) {
          Stored out(x_dtype, n), dy(dtype, n);
          Array<float> stats(2 * samples * rows), dgamma(C), dbeta(C), dkeep(samples);
          residual_layer_norm_forward(op, {x.data(), y.data(), in.gamma.data(), in.beta.data(),
                                           in.keep.data(), out.data(), stats.data()});
          residual_layer_norm_backward(
              op, {y.data(), in.gamma.data(), in.beta.data(), in.keep.data(), stats.data(), dout.data(),
                   dy.data(), dgamma.data(), dbeta.data(), dkeep.data()});
          // Sums over rows are measured against their terms.
          expect_close("layer norm: out", x_dtype, out, exact.out, plain.out);
          expect_close("layer norm: dy", dtype, dy, exact.dx, plain.dx);
          expect_close("layer norm: dgamma", DType::kFloat32, dgamma, exact.dgamma, plain.dgamma,
                       4 * root(samples * rows));
          expect_close("layer norm: dbeta", DType::kFloat32, dbeta, exact.dbeta, plain.dbeta,
                       4 * root(samples * rows));
          expect_close("layer norm: dkeep", DType::kFloat32, dkeep, exact.dkeep, plain.dkeep,
                       16 * root(rows * C));
          std::vector<Stored> results{std::move(out), std::move(dy)};
          for (const Array<float>* sums : {&dgamma, &dbeta, &dkeep})
            results.emplace_back(DType::kFloat32, *sums);
          expect_same("layer norm", threads, results, first);
        });
      });
    }
}

void gelu_tests() {
  std::mt19937 generator(4);
  const int64_t shapes[][2] = {{60, 96}, {5, 1}, {1, 7}, {33, 37}, {750, 100}};  // rows, C: the last in parts
  for (const auto& shape : shapes)
    for (DType dtype : kDTypes)
      for (bool tanh : {false, true}) {
        const int64_t rows = shape[0], C = shape[1];
        const BiasGelu op = check_bias_gelu({rows, C}, dtype, {C}, tanh);
        const int64_t n = rows * C;
        const formula::RowInputs in{normal(generator, n, 3, dtype), {}, {},
                                    normal(generator, C, 1),        {}, normal(generator, n, 1, dtype)};
        const auto exact = formula::bias_gelu<double>(op, in);
        const auto plain = formula::bias_gelu<float>(op, in);
        const Stored x(dtype, in.x), dout(dtype, in.dout);
        with_isas([&] {
          std::vector<Stored> first;
          with_threads([&](int threads) {
            Stored out(dtype, n), dx(dtype, n);
            Array<float> dbias(C);
            bias_gelu_forward(op, {x.data(), in.beta.data(), out.data()});
            bias_gelu_backward(op, {x.data(), in.beta.data(), dout.data(), dx.data(), dbias.data()});
            expect_close("gelu: out", dtype, out, exact.out, plain.out);
            expect_close("gelu: dx", dtype, dx, exact.dx, plain.dx);
            expect_close("gelu: dbias", DType::kFloat32, dbias, exact.dbeta, plain.dbeta, 2 * root(rows));
            expect_same("gelu", threads, {std::move(out), std::move(dx), Stored(DType::kFloat32, dbias)},
                        first);
          });
        });
      }
}

// ---- errors ----

void expect_error(const std::string& start, const std::function<void()>& call) {
  try {
    call();
  } catch (const InvalidArgument& error) {
    CHECK(std::string(error.what()).rfind(start, 0) == 0,
          "expected an error of " << start << ", got " << error.what());
    return;
  }
  CHECK(false, "nothing was thrown for " << start);
}

void error_tests() {
  const auto attention = [](const char* start, Shape qkv, Shape table, Shape scale,
                            WindowAttentionOptions options) {
    expect_error(start, [&] { check_window_attention(qkv, DType::kFloat32, table, scale, options); });
  };
  const Shape qkv{2, 8, 12, 30}, table{2, 7, 11}, scale{2};
  attention("qkv: expected 4 dimensions", {8, 12, 30}, table, scale, {});
  attention("qkv: expected every dimension", {0, 8, 12, 30}, table, scale, {});
  attention("qkv: expected channels", {2, 8, 12, 31}, table, scale, {});
  attention("qkv: expected a height", {2, 9, 12, 30}, table, scale, {});
  attention("qkv: expected a width", {2, 8, 13, 30}, table, scale, {});
  attention("qkv: expected fewer", {int64_t{1} << 40, 8, 12, 30}, table, scale, {});
  attention("bias_table: ", qkv, {2, 7}, scale, {});
  attention("bias_table: ", qkv, {2, 8, 11}, scale, {});
  attention("scale: ", qkv, table, {3}, {});
  attention("shift_size: ", qkv, table, scale, {4, 0});
  attention("shift_size: ", qkv, table, scale, {0, -1});
  attention("valid_size: ", qkv, table, scale, {0, 0, 9, 12});
  attention("valid_size: ", qkv, table, scale, {0, 0, 8, 0});
  attention("mask_value: ", qkv, table, scale, {0, 0, -1, -1, 1.f});
  attention("mask_value: ", qkv, table, scale, {0, 0, -1, -1, NAN});
  attention("window_size: ", {1, 128, 128, 96}, {1, 255, 255}, {1}, {});
  const auto f32 = DType::kFloat32;
  expect_error("x: ", [&] { check_residual_layer_norm({4}, f32, {4}, f32, {4}, {4}, {4}, 1e-5f); });
  expect_error("y: ", [&] { check_residual_layer_norm({2, 4}, f32, {2, 5}, f32, {4}, {4}, {2}, 1e-5f); });
  expect_error("gamma: ", [&] { check_residual_layer_norm({2, 4}, f32, {2, 4}, f32, {5}, {4}, {2}, 1e-5f); });
  expect_error("beta: ", [&] { check_residual_layer_norm({2, 4}, f32, {2, 4}, f32, {4}, {5}, {2}, 1e-5f); });
  expect_error("keep: ", [&] { check_residual_layer_norm({2, 4}, f32, {2, 4}, f32, {4}, {4}, {3}, 1e-5f); });
  expect_error("epsilon: ", [&] { check_residual_layer_norm({2, 4}, f32, {2, 4}, f32, {4}, {4}, {2}, 0.f); });
  expect_error("x: ", [&] { check_bias_gelu({2, 0}, f32, {0}, false); });
  expect_error("bias: ", [&] { check_bias_gelu({2, 4}, f32, {2}, false); });
  expect_error("isa: ", [] { set_isa("mmx"); });
  expect_error("n: ", [] { set_num_threads(-1); });
  expect_error("n: ", [] { set_num_threads(1 << 20); });
}

void parallel_tests() {
  with_threads([](int threads) {
    for (int64_t n : {0, 1, 7, 100}) {
      std::vector<int> seen(n);
      parallel_for(n, 3, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) ++seen[i];
      });
      CHECK(std::count(seen.begin(), seen.end(), 1) == n, "parallel_for over " << n << " on " << threads);
    }
    bool thrown = false;
    try {
      parallel_for(10, 1, [](int64_t begin, int64_t) {
        if (begin == 5) throw std::runtime_error("five");
      });
    } catch (const std::runtime_error&) {
      thrown = true;
    }
    CHECK(thrown, "an exception of a body is lost on " << threads << " threads");
  });
}

}  // namespace
}  // namespace swinv2

int main(int count, char** arguments) {
  using namespace swinv2;
  std::string isas;
  for (Isa isa : supported_isas()) isas += std::string(" ") + isa_name(isa);
  parallel_tests();
  error_tests();
  attention_tests();
#if defined(SWINV2_TWIN)
  twin_tests();
#endif
  isolation_tests();
  layer_norm_tests();
  gelu_tests();
  if (count > 1) golden_tests(arguments[1]);
  return summary("kernels," + isas);
}
