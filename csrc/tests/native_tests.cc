// SPDX-License-Identifier: Apache-2.0
//
// The CPU kernels without Python: every instruction set, dtype and number of threads against formula.h.
//
//   native_tests [folder of goldens, see tests/export_goldens.py]
#include <sched.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <mutex>
#include <stdexcept>
#include <thread>
#include <utility>

#include "bias_gelu/bias_gelu_host.h"
#include "core/error.h"
#include "cpu/float_mode.h"
#include "linear/linear_host.h"
#include "residual_layer_norm/residual_layer_norm_host.h"
#include "tests/run.h"
#include "window_attention/tiling_host.h"
#include "window_attention/window_attention_host.h"
#include "window_attention/window_attention_twin_host.h"

namespace swinv2 {
namespace {

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
    {"several windows a chunk", 2, 5, 4, 2, 2, 1, 1, 2, 8},
    {"several key tiles", 1, 1, 1, 12, 12, 6, 6, 1, 32},
    {"one key tile, one vector", 1, 2, 2, 4, 4, 2, 2, 2, 32},
    {"odd keys", 1, 1, 2, 5, 5, 2, 0, 1, 32, 0, 0, -kInf},
    {"low regions of a high window", 1, 2, 2, 64, 4, 48, 2, 1, 16},
    {"key tiles and padding", 1, 2, 2, 12, 6, 6, 3, 1, 32, 9, 5},
    {"key tiles of padding", 1, 1, 1, 12, 12, 0, 0, 1, 32, 11, 11},
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
    // 224 queries of 2 * 392 floats are more than 2/3 MB of scratch: each key tile loads them again.
    {"queries without room", 1, 1, 1, 14, 16, 0, 0, 1, 392},
    // 2700 tables of 49 entries are more than the 512 KB of all partial sums, and their slabs than scratch has.
    {"many heads", 1, 2, 1, 4, 4, 0, 0, 2700, 2, 0, 0, -100, false},
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
      // What scratch has no room for takes its time, and is float32 in all of them.
      if (g.heads * g.head_dim > 300 && dtype != DType::kFloat32) continue;
      AttentionProblem given = problem(g, dtype, generator);
      const WindowAttention& op = given.op;
      const formula::AttentionInputs& in = given.in;
      const auto exact = formula::attention<double>(op, in, false);
      const auto plain = formula::attention<float>(op, in, true);
      const int64_t N = op.geometry.tokens();
      poison_padding(given);
      with_isas([&] {
        std::vector<AttentionRun> first;
        with_threads([&](int threads) {
          AttentionRun r = run(op, in);
          if (first.empty()) {
            expect_close(g.name + std::string(": out"), dtype, r.out, exact.out, plain.out);
            expect_close(g.name + std::string(": dqkv"), dtype, r.dqkv, exact.dqkv, plain.dqkv);
            expect_close(g.name + std::string(": dbias_table"), DType::kFloat32, r.dtable, exact.dtable,
                         plain.dtable, 0, dtype);
            expect_close(g.name + std::string(": dscale"), DType::kFloat32, r.dscale, exact.dscale,
                         plain.dscale, exact.dscale_size, dtype);
            bool zeros = true;
            for (int64_t i = 0; i < int64_t(r.stats.size()); ++i)
              zeros &= i % op.stats_tokens() < N || r.stats[i] == 0;
            CHECK(zeros, g.name << ": padding of stats, " << isa_name(active_isa()));
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
    for (const ChipLimits& chip : {kAscend910, kAscend910B}) {
      if (!is_910(chip) && g.head_dim == 48) continue;
      Stored out(DType::kFloat16, given.in.dout.size());
      Array<float> stats(product_of(stats_shape(given.op)));
      const std::vector<float> bias =
          with_tiling(given.op, chip, [&](const auto& t) { return prepare_bias(t, given.in.table.data()); });
      window_attention_forward_twin(
          given.op, chip, {qkv.data(), bias.data(), given.in.scale.data(), out.data(), stats.data()});
      expect_close(g.name + std::string(", twin: out"), DType::kFloat16, out, exact.out, plain.out);
    }
    ++ran;
  }
  CHECK(ran > 3, "the twin runs " << ran << " geometries");
}
#endif

// Weights sum to one as they are multiplied, rounded or not: constant values come out as they went in.
void constant_value_tests() {
  const struct {
    const char* name;
    int64_t window;
    float value, table;  // the table is 0 for a query's own key
  } cases[] = {
      // All weights but one are the same and lie between two bfloat16.
      {"rounded weights", 8, 1.984375f, std::log(0.5017f)},
      {"rounded weights of several key tiles", 12, 1.984375f, std::log(0.5017f)},
      // Weights of 2^123 beside the 1 of a query's own key, by which the base goes. Their sum is Inf, which values so
      // small do not show: their own sum is finite, and o would be 0.
      {"weights that sum to Inf", 8, 0x1.fcp-30f, 84.5f},
  };
  for (const auto& c : cases) {
    const int64_t w = c.window, N = w * w, side = 2 * w - 1;
    const WindowAttention op = check_window_attention({1, w, w, 96}, DType::kBFloat16, {1, side, side}, {1},
                                                      {0, 0, -1, -1, -100.f, true});
    formula::AttentionInputs in{
        Array<float>(N * 96, c.value), Array<float>(side * side, c.table), {1.f}, Array<float>(N * 32, 1.f)};
    in.table[side * side / 2] = 0.f;
    with_isas([&] {
      const AttentionRun r = run(op, in);
      for (int64_t i = 0; i < r.out.size; ++i)
        CHECK(r.out[i] == c.value, c.name << ": values of " << c.value << " become " << r.out[i] << ", "
                                          << isa_name(active_isa()));
    });
  }
}

// A table of 2^26 takes no base, as exp2 has none beyond 2^20 on every instruction set; one of 2^18 does. The entry of
// a query's own key is larger by 32, and so it has that key's value.
void large_table_tests() {
  for (DType dtype : kDTypes)
    for (float table : {0x1p18f, 0x1p26f}) {
      const WindowAttention op =
          check_window_attention({1, 8, 8, 96}, dtype, {1, 15, 15}, {1}, {0, 0, -1, -1, -100.f, true});
      formula::AttentionInputs in{
          Array<float>(64 * 96), Array<float>(15 * 15, table), {1.f}, Array<float>(64 * 32, 1.f)};
      in.table[7 * 15 + 7] = table + 32;
      for (int64_t t = 0; t < 64; ++t) std::fill_n(&in.qkv[t * 96 + 64], 32, float(1 + t));
      with_isas([&] {
        const AttentionRun r = run(op, in);
        for (int64_t i = 0; i < r.out.size; ++i)
          CHECK(std::fabs(r.out[i] - (1 + i / 32)) < 1e-4,
                "a table of " << table << ": out[" << i << "] is " << r.out[i] << ", " << dtype_name(dtype)
                              << ", " << isa_name(active_isa()));
      });
    }
}

// Weights are rounded to the nearest bfloat16, which is 2^-9 off at most where they are just below 1, while the next
// lower one is up to 2^-8. Two weights of 1 and -1 leave half of that, as their sum is nearly 2.
void nearest_weight_tests() {
  const int64_t heads = 50;
  const WindowAttention op = check_window_attention({1, 1, 2, 96 * heads}, DType::kBFloat16, {heads, 1, 3},
                                                    {heads}, {0, 0, -1, -1, -100.f, true});
  formula::AttentionInputs in{Array<float>(2 * 96 * heads), Array<float>(3 * heads), Array<float>(heads, 1.f),
                              Array<float>(2 * 32 * heads, 1.f)};
  std::fill_n(&in.qkv[64 * heads], 32 * heads, 1.f);
  std::fill_n(&in.qkv[(96 + 64) * heads], 32 * heads, -1.f);
  for (int64_t head = 0; head < heads; ++head)
    in.table[3 * head] = in.table[3 * head + 2] = std::log(1 - 0.1f * (head + 0.5f) / heads);
  with_isas([&] {
    const AttentionRun r = run(op, in);
    for (int64_t head = 0; head < heads; ++head) {
      const double other = std::exp(double(in.table[3 * head])), want = (1 - other) / (1 + other);
      CHECK(std::fabs(r.out[head * 32] - want) < 0x1.2p-10,
            "weights of 1 and " << other << " leave " << r.out[head * 32] << ", expected " << want << ", "
                                << isa_name(active_isa()));
    }
  });
}

// One of q and k is so large that a product of the two, as pairs have it, is -2^136 before norms: such a window is left
// to float32, or the weight of that key, e^-1 beside ones of 1, would be 0.
void large_vector_tests() {
  const WindowAttention op =
      check_window_attention({1, 8, 8, 96}, DType::kBFloat16, {1, 15, 15}, {1}, {0, 0, -1, -1, -100.f, true});
  for (const bool keys : {false, true}) {
    formula::AttentionInputs in{
        Array<float>(64 * 96), Array<float>(15 * 15), {1.f}, Array<float>(64 * 32, 1.f)};
    for (int64_t t = 0; t < 64; ++t) {
      in.qkv[t * 96] = keys ? 0x1p10f : 0x1p126f;
      // Key 5 is against all queries, the others are across them.
      in.qkv[t * 96 + 32 + (t != 5)] = keys ? -0x1p126f : -0x1p10f;
      std::fill_n(&in.qkv[t * 96 + 64], 32, t == 5 ? 64.f : 0.f);
    }
    const double want = 64 * std::exp(-1.0) / (63 + std::exp(-1.0));
    with_isas([&] {
      const AttentionRun r = run(op, in);
      for (int64_t i = 0; i < r.out.size; ++i)
        CHECK(std::fabs(r.out[i] - want) < 1e-2 * want, "large " << (keys ? "keys" : "queries") << ": out["
                                                                 << i << "] is " << r.out[i] << ", expected "
                                                                 << want << ", " << isa_name(active_isa()));
    });
  }
}

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

// An image of 2 x 2 windows (w x w, shift w / 2): one whole, two halved, and one of four regions in which a key of
// another region may count after all. There q is e and k is -e in the first region, but k is e in the others, so that
// a query at home scores -scale at home and scale + mask away; of a negative scale the other way around, to the same
// scores. The rest of the image is ordinary.
struct HomeAndAway : AttentionProblem {
  std::vector<int64_t> home, away, elsewhere;  // tokens, the first two of the window of four regions

  HomeAndAway(int64_t w, DType dtype, float scale, float mask_value, float value_away)
      : AttentionProblem{check_window_attention({1, 2 * w, 2 * w, 96}, dtype, {1, 2 * w - 1, 2 * w - 1}, {1},
                                                {w / 2, w / 2, -1, -1, mask_value, true}),
                         {}} {
    std::mt19937 generator(11);
    const int64_t side = 2 * w, tokens = side * side;
    in = {normal(generator, tokens * 96, 0.1, dtype),
          Array<float>((side - 1) * (side - 1)),
          {scale},
          normal(generator, tokens * 32, 1, dtype)};
    for (int64_t t = 0; t < tokens; ++t) {
      const int64_t y = t / side, x = t % side;
      const bool end_y = y >= side - w / 2, end_x = x >= side - w / 2, at_home = end_y && end_x;
      if ((end_y || y < w / 2) && (end_x || x < w / 2)) {
        (at_home ? home : away).push_back(t);
        set(t, 0, 0, 8);
        set(t, 1, 0, at_home == (scale > 0) ? -8 : 8);
      } else {
        elsewhere.push_back(t);
      }
      for (int64_t c = 0; c < 32; ++c) set(t, 2, c, 1 + 0.25f * ((t + c) % 3));
    }
    for (int64_t t : away)  // 1/2, 1 and 2 of it: were all alike, ds would be but the rounding of 0
      for (int64_t c = 0; c < 32; ++c) set(t, 2, c, std::ldexp(value_away, int((t + c) % 3) - 1));
  }

  // Channel c of q, k or v, or of all of do.
  void set(int64_t token, int part, int64_t c, float x) { in.qkv[token * 96 + part * 32 + c] = x; }
  void set_dout(int64_t token, float x) { std::fill_n(&in.dout[token * 32], 32, x); }
};

// A key of another region is left out only where it is lost in rounding. Each result is held to its own size: beside
// values of 1e30 those of another region are nothing to the largest of all.
void region_tests() {
  struct Case {
    const char* name;
    float scale, mask_value, value_away;
    int64_t window = 8;
    bool last_token = false;  // alone attends elsewhere: q of the others at home is along the keys there
  };
  const Case cases[] = {{"lost in rounding", 10, -100, 3},
                        {"forbidden", 90, -kInf, 3},
                        {"more away than at home", 54, -100, 3},
                        {"more away by a negative scale", -54, -100, 3},
                        {"more away for the last of 9 tokens, in no whole vector", 54, -100, 3, 6, true},
                        {"some away", 45, -100, 3},
                        {"weak mask", 2, -8, 3},
                        {"weights of 2^-26 away, of larger values", 41, -100, 1e5f},
                        {"weights of 2^-55 away, of values beyond 2^20", 31, -100, 1e15f},
                        {"large values away", 20, -100, 1e30f},
                        {"larger still, of a smaller scale", 10, -100, 1e35f}};
  for (const Case& c : cases)
    for (DType dtype : {DType::kFloat32, DType::kBFloat16}) {
      HomeAndAway given(c.window, dtype, c.scale, c.mask_value,
                        float(formula::round_to(dtype, c.value_away)));
      for (size_t i = 0; c.last_token && i + 1 < given.home.size(); ++i) given.set(given.home[i], 0, 0, -8);
      const auto exact = formula::attention<double>(given.op, given.in, false);
      const auto plain = formula::attention<float>(given.op, given.in, true);
      with_isas([&] {
        const AttentionRun r = run(given.op, given.in);
        for (int64_t i = 0; i < r.out.size; ++i) {
          const double want = exact.out[i],
                       allowed = (dtype == DType::kFloat32 ? 1e-4 : 2e-2) * std::fabs(want);
          CHECK(std::fabs(r.out[i] - want) <= allowed, c.name << ": out[" << i << "] is " << r.out[i]
                                                              << ", expected " << want << ", "
                                                              << isa_name(active_isa()));
        }
        double size = 0, error = 0;  // of dq at home, to which values away count by their size
        for (int64_t t : given.home)
          for (int64_t at = t * 96; at < t * 96 + 32; ++at) {
            size = std::max(size, std::fabs(exact.dqkv[at]));
            error = std::max(error, std::fabs(r.dqkv[at] - exact.dqkv[at]));
          }
        CHECK(dtype != DType::kFloat32 || error <= 1e-2 * size, c.name << ": dq at home is off by " << error
                                                                       << " of " << size << ", "
                                                                       << isa_name(active_isa()));
        expect_close(c.name + std::string(": dqkv"), dtype, r.dqkv, exact.dqkv, plain.dqkv);
        expect_close(c.name + std::string(": dbias_table"), DType::kFloat32, r.dtable, exact.dtable,
                     plain.dtable, 0, dtype);
      });
    }

  // NaN and Inf reach the whole window through the mask.
  for (const float bad : {NAN, kInf})
    for (const float mask_value : {-100.f, -kInf}) {
      HomeAndAway given(8, DType::kFloat32, 10, mask_value, 3);
      const auto count_finite = [&](const Stored& x, int64_t channels, int64_t from, int64_t to) {
        int64_t finite = 0;
        for (const std::vector<int64_t>& tokens : {given.home, given.away})
          for (int64_t t : tokens)
            for (int64_t c = from; c < to; ++c) finite += std::isfinite(x[t * channels + c]);
        return finite;
      };
      with_isas([&] {
        const int64_t t = given.away[0];
        const auto spoilt = [&](Array<float>& array, int64_t at) {
          const float kept = std::exchange(array[at], bad);
          AttentionRun r = run(given.op, given.in);
          array[at] = kept;
          return r;
        };
        const std::string with = std::string(" ") + (bad > 0 ? "Inf" : "NaN") + ", mask " +
                                 std::to_string(mask_value) + ", " + isa_name(active_isa());
        CHECK(count_finite(spoilt(given.in.qkv, t * 96 + 64).out, 32, 0, 1) == 0, "a value of" << with);
        CHECK(count_finite(spoilt(given.in.qkv, t * 96 + 32).out, 32, 0, 32) == 0, "a key of" << with);
        CHECK(count_finite(spoilt(given.in.qkv, t * 96).out, 32, 0, 32) == 63 * 32, "a query of" << with);
        CHECK(count_finite(spoilt(given.in.table, 0).out, 32, 0, 32) < 64 * 32, "a bias of" << with);
        CHECK(count_finite(spoilt(given.in.qkv, t * 96 + 64).dqkv, 96, 0, 64) == 0,
              "dq, dk: a value of" << with);
        CHECK(count_finite(spoilt(given.in.qkv, t * 96 + 32).dqkv, 96, 0, 96) == 0, "dqkv: a key of" << with);
        CHECK(count_finite(spoilt(given.in.qkv, t * 96).dqkv, 96, 32, 96) == 0, "dk, dv: a query of" << with);
        CHECK(count_finite(spoilt(given.in.dout, t * 32).dqkv, 96, 64, 65) == 0, "a gradient of" << with);
      });
    }
}

// Gradients to which pairs between regions give all or a good part, because little or nothing comes from home.
void region_gradient_tests() {
  const auto check = [](const char* name, const HomeAndAway& given, const std::vector<int64_t>& tokens,
                        int part, int64_t from, int64_t to) {
    const auto exact = formula::attention<double>(given.op, given.in, true);
    with_isas([&] {
      const AttentionRun r = run(given.op, given.in);
      for (int64_t t : tokens)
        for (int64_t at = t * 96 + part * 32 + from; at < t * 96 + part * 32 + to; ++at)
          CHECK(std::fabs(r.dqkv[at] - exact.dqkv[at]) <= 1e-3 * std::fabs(exact.dqkv[at]),
                name << ": dqkv[" << at << "] is " << r.dqkv[at] << ", expected " << exact.dqkv[at] << ", "
                     << isa_name(active_isa()));
    });
  };
  // The bias table's entries are then large enough by what the other windows give, and no reason to do the head again.
  const auto ordinary = [](float scale) {
    HomeAndAway given(8, DType::kFloat32, scale, -100, 3);
    for (int64_t t = 0; t < 256; ++t) given.set_dout(t, 1 + 0.25f * (t % 3));
    for (int64_t t : given.elsewhere) given.set(t, 0, 0, 8), given.set(t, 1, 0, 8);
    return given;
  };
  // dq of channel 5, which q lacks; with the same k for all keys it would be sum_j ds_ij = 0.
  const auto tell_keys_apart = [](HomeAndAway& given) {
    for (int64_t t = 0; t < 256; ++t) given.set(t, 0, 5, 0), given.set(t, 1, 5, 1);
    for (int64_t t : given.home) given.set(t, 1, 5, 0.5f);
  };
  {
    HomeAndAway given = ordinary(10);
    for (const auto& tokens : {given.home, given.elsewhere})
      for (int64_t t : tokens) given.set_dout(t, 1e35f);
    check("a large do at home, dv away", given, given.away, 2, 0, 32);
  }
  {
    HomeAndAway given = ordinary(10);
    for (const auto& tokens : {given.away, given.elsewhere})
      for (int64_t t : tokens)
        for (int64_t c = 0; c < 32; ++c) given.set(t, 2, c, 1e35f * (1 + 0.25f * (t % 3)));
    tell_keys_apart(given);
    check("large values away, dq at home", given, given.home, 0, 5, 6);
  }
  for (int part : {0, 1}) {  // channel 5: q has it at home, or k away, and nobody else
    HomeAndAway given = ordinary(10);
    const std::vector<int64_t>&with = part ? given.away : given.home,
          &without = part ? given.home : given.away;
    for (int64_t t = 0; t < 256; ++t) given.set(t, 0, 5, 0), given.set(t, 1, 5, 0);
    for (int64_t t : with) given.set(t, part, 5, 1);
    check(part ? "a channel that k has away" : "a channel that q has at home", given, without, 1 - part, 5,
          6);
  }
  {
    HomeAndAway given = ordinary(40);
    for (int64_t t = 0; t < 256; ++t)
      for (int64_t c = 1; c < 32; ++c) given.set(t, 0, c, 0), given.set(t, 1, c, c == 1);
    for (int64_t t : given.home) given.set(t, 1, 0, 8);
    given.set(given.home[0], 1, 0, -8);
    for (int64_t t : given.away) given.set(t, 0, 0, -8), given.set(t, 1, 0, -5), given.set(t, 1, 1, 7);
    check("a key to which nobody attends at home", given, {given.home[0]}, 2, 0, 32);
  }

  {  // subnormal beside 0
    HomeAndAway given = ordinary(18);
    for (int64_t t : given.home) given.set_dout(t, std::ldexp(1.f, 100));
    for (int64_t t : given.away) given.set_dout(t, std::ldexp(1.f, 100));
    for (int64_t c = 0; c < 32; ++c) {
      for (int64_t t : given.home) given.set(t, 2, c, 0);
      for (int64_t t : given.away) given.set(t, 2, c, std::ldexp(1.5f, -127));
    }
    tell_keys_apart(given);
    check("subnormal values away, dq at home", given, given.home, 0, 5, 6);
  }
  {  // channel 5 of q is 2^60 smaller away than at home and the norm 2^60 larger: that of q^ is 2^120 smaller
    HomeAndAway given = ordinary(11);
    for (int64_t t = 0; t < 256; ++t)
      for (int64_t c = 1; c < 32; ++c) given.set(t, 0, c, 0), given.set(t, 1, c, 0);
    for (int64_t t : given.home) given.set(t, 0, 0, 0x1p-27f), given.set(t, 0, 5, 0x1p-30f);
    for (int64_t t : given.away) given.set(t, 0, 0, 0x1p33f), given.set(t, 0, 5, 0x1p-90f);
    check("norms that differ, dk away", given, given.away, 1, 5, 6);
  }
  {  // k away is not along q at home, which alone gives it a gradient
    HomeAndAway given(2, DType::kFloat32, 15, -100, 3);
    for (int64_t t = 0; t < 16; ++t) given.set_dout(t, 1);
    for (int64_t t : given.away)
      for (int64_t c = 1; c < 32; ++c) given.set(t, 1, c, c % 2 ? 1 : -1);
    check("alone in its region, dk away", given, given.away, 1, 1, 32);
  }

  // Where the whole window's do is 0, an entry of the table may have no other pairs; where it is little, those between
  // regions are 1 / 2400 of what the entry has.
  for (const float little : {0.f, 1e-24f}) {
    HomeAndAway given(4, DType::kFloat32, 15, -100, 3);
    for (int64_t t : given.elsewhere) given.set(t, 0, 0, 8), given.set(t, 1, 0, 8);
    for (int64_t t = 0; t < 64; ++t) given.set_dout(t, 1);
    for (int64_t y = 2; y < 6; ++y)
      for (int64_t x = 2; x < 6; ++x) given.set_dout(y * 8 + x, 0), given.in.dout[(y * 8 + x) * 32] = little;
    const double exact = formula::attention<double>(given.op, given.in, true).dtable[0];
    with_isas([&] {
      const AttentionRun r = run(given.op, given.in);
      CHECK(std::fabs(r.dtable[0] - exact) <= 5e-5 * std::fabs(exact),
            "do of " << little << " at home: dbias_table is " << r.dtable[0] << ", expected " << exact << ", "
                     << isa_name(active_isa()));
    });
  }
}

// Each way to flush denormals, by the processor's bits and not by what the library knows of them.
#if defined(__x86_64__)
constexpr uint64_t kFlushes[] = {0x8000, 0x40, 0x8040};  // FTZ, DAZ and both
#elif defined(__aarch64__)
constexpr uint64_t kFlushes[] = {1 << 24, 1 << 24 | 1 << 19};  // FZ, and FZ16 too
#else
constexpr uint64_t kFlushes[] = {kFlushDenormals};
#endif

// Denormals count on every thread, and the caller's way with them is left as it was.
void denormal_tests() {
  std::mt19937 generator(7);
  const Geometry g{"denormals", 4, 2, 2, 4, 4, 2, 2, 2, 8, 0, 0, -100, true, 1e-40};
  const AttentionProblem given = problem(g, DType::kFloat32, generator);
  const uint64_t before = float_mode();
  with_isas([&] {
    const AttentionRun want = run(given.op, given.in);
    for (const uint64_t flush : kFlushes)
      with_threads([&](int threads) {
        set_float_mode(before | flush);
        const AttentionRun flushed = run(given.op, given.in);
        CHECK(float_mode() == (before | flush), "a kernel changes the caller's float mode");
        set_float_mode(before);
        expect_same("flushed: out", threads, flushed.out.data(), want.out.data(), want.out.bytes.size());
        expect_same("flushed: dqkv", threads, flushed.dqkv.data(), want.dqkv.data(), want.dqkv.bytes.size());
      });
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

// alone: without x and keep, where in.x is zero and in.keep is one.
void layer_norm_test(const ResidualLayerNorm& op, const formula::RowInputs& in, bool alone) {
  const int64_t C = op.channels, rows = op.samples * op.rows, n = rows * C;
  const std::string name = alone ? "layer norm" : "residual layer norm";
  const auto exact = formula::residual_layer_norm<double>(op, in);
  const auto plain = formula::residual_layer_norm<float>(op, in);
  const Stored x(op.x_dtype, in.x), y(op.y_dtype, in.y), dout(op.x_dtype, in.dout);
  const float* keep = alone ? nullptr : in.keep.data();
  with_isas([&] {
    std::vector<Stored> first;
    with_threads([&](int threads) {
      Stored out(op.x_dtype, n), dy(op.y_dtype, n);
      Array<float> stats(2 * rows), dgamma(C), dbeta(C), dkeep(op.samples);
      residual_layer_norm_forward(op, {alone ? nullptr : x.data(), y.data(), in.gamma.data(), in.beta.data(),
                                       keep, out.data(), stats.data()});
      residual_layer_norm_backward(
          op, {y.data(), in.gamma.data(), in.beta.data(), keep, stats.data(), dout.data(), dy.data(),
               dgamma.data(), dbeta.data(), alone ? nullptr : dkeep.data()});
      // Sums over rows are measured against their terms.
      expect_close(name + ": out", op.x_dtype, out, exact.out, plain.out);
      expect_close(name + ": dy", op.y_dtype, dy, exact.dx, plain.dx);
      expect_close(name + ": dgamma", DType::kFloat32, dgamma, exact.dgamma, plain.dgamma, 4 * root(rows));
      expect_close(name + ": dbeta", DType::kFloat32, dbeta, exact.dbeta, plain.dbeta, 4 * root(rows));
      if (!alone)
        expect_close(name + ": dkeep", DType::kFloat32, dkeep, exact.dkeep, plain.dkeep,
                     16 * root(op.rows * C));
      std::vector<Stored> results{std::move(out), std::move(dy)};
      for (const Array<float>* sums : {&dgamma, &dbeta, &dkeep}) results.emplace_back(DType::kFloat32, *sums);
      expect_same(name, threads, results, first);
    });
  });
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
      const int64_t samples = shape[0], C = shape[2], n = samples * shape[1] * C;
      const Shape x{samples, shape[1], C};
      formula::RowInputs in{normal(generator, n, 1, x_dtype), normal(generator, n, 3, dtype),
                            normal(generator, C, 1),          normal(generator, C, 1),
                            Array<float>(samples, 1.25f),     normal(generator, n, 1, x_dtype)};
      in.keep[0] = samples > 1 ? 0.f : 1.f;
      layer_norm_test(check_residual_layer_norm(x, x_dtype, x, dtype, {C}, {C}, {samples}, 1e-5f), in, false);
      if (x_dtype != kFloat) continue;
      std::fill(in.x.begin(), in.x.end(), 0.f);
      std::fill(in.keep.begin(), in.keep.end(), 1.f);
      layer_norm_test(check_layer_norm(x, dtype, {C}, {C}, 1e-5f), in, true);
    }
}

void gelu_tests() {
  std::mt19937 generator(4);
  const int64_t shapes[][2] = {{60, 96},   {5, 1}, {1, 7}, {33, 37},  // rows, C
                               {750, 100},                            // in parts,
                               {4100, 2}};  // of more than 64 rows each, as there are 64 parts at most
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

// ---- matrix products ----

void linear_tests() {
  std::mt19937 generator(6);
  const struct {
    View view;
    Shape x;
    int64_t outputs, patch;
  } cases[] = {
      {View::kTokens, {5}, 3, 0},
      {View::kTokens, {1, 1}, 1, 0},
      {View::kTokens, {9, 33}, 17, 0},
      {View::kTokens, {3, 100, 48}, 70, 0},
      {View::kTokens, {1100, 20}, 13, 0},  // several chunks of rows
      {View::kTokens, {3, 700}, 51, 0},
      {View::kTokens, {55, 90}, 150, 0},  // few rows, several panels of them,
      // and of sums so long that L2 has room for one panel or, of 16 rows or more, for none
      {View::kTokens, {13, 12300}, 26, 0},
      {View::kTokens, {520, 9}, 460, 0},  // several chunks of outputs, and of sums over rows
      {View::kTokens, {77, 64}, 96, 0},   // tiles: of the last rows a part,
      {View::kTokens, {20, 64}, 100, 0},  // with few rows of the last outputs,
      {View::kTokens, {160, 96}, 40, 0},  // and of two chunks of rows in a sum over them
      {View::kTokens, {540, 70}, 77, 0},  // float32 by tiles in dx too, a stranger to their size in all ways;
      {View::kTokens, {110, 2000}, 120, 0},  // the right operand in two shares,
      {View::kTokens, {70, 1200}, 200, 0},   // where that is a^T,
      {View::kTokens, {513, 64}, 2000, 0},   // and in dx
      {View::kMerging, {8, 4, 6, 16}, 72, 0},
      {View::kMerging, {2, 4, 6, 16}, 40, 0},
      {View::kMerging, {1, 2, 2, 5}, 7, 0},
      {View::kMerging, {1, 2, 2, 2050}, 1, 0},  // L2 has no room for a panel of W
      {View::kMerging, {8, 16, 16, 5}, 33, 0},  // tiles in dx, in parts of vectors
      {View::kEmbedding, {2, 3, 16, 24}, 50, 4},
      {View::kEmbedding, {1, 2, 6, 4}, 5, 2},
      {View::kEmbedding, {1, 1, 32, 16}, 9, 16},
      {View::kEmbedding, {4, 2, 36, 48}, 21, 3},
      {View::kEmbedding, {4, 3, 48, 48}, 20, 4},
  };
  for (const auto& c : cases)
    for (DType dtype : kDTypes)
      for (Gelu g : {Gelu::kNone, Gelu::kExact, Gelu::kTanh}) {
        const bool large = product_of(c.x) * c.outputs > 4000000;  // where tiles have no hardware, seconds
        if (large && (g != Gelu::kNone || dtype != DType::kFloat32)) continue;
        if (g != Gelu::kNone && c.view != View::kTokens) continue;
        const int64_t K = c.view == View::kTokens    ? c.x.back()
                          : c.view == View::kMerging ? 4 * c.x[3]
                                                     : c.x[1] * c.patch * c.patch;
        const int64_t N = c.outputs, n = product_of(c.x), rows = n / K;
        const Linear op = check_linear(c.x, dtype, {N, K}, c.view, c.patch, g);
        const formula::LinearInputs in{normal(generator, n, 1, dtype), normal(generator, N * K, 1 / root(K)),
                                       normal(generator, N, 1), normal(generator, rows * N, 1, dtype)};
        const auto exact = formula::linear<double>(op, c.view, c.x, c.patch, in);
        const auto plain = formula::linear<float>(op, c.view, c.x, c.patch, in);
        const Stored x(dtype, in.x), dout(dtype, in.dout);
        with_isas([&] {
          std::vector<Stored> first;
          with_threads([&](int threads) {
            Stored out(dtype, rows * N), dx(dtype, n);
            Array<float> dweight(N * K, NAN), dbias(N, NAN);
            linear_forward(op, {x.data(), in.weight.data(), in.bias.data(), out.data()});
            const LinearBackward io{x.data(),  in.weight.data(), dout.data(),
                                    dx.data(), dweight.data(),   dbias.data()};
            linear_input_gradient(op, io);
            linear_weight_gradient(op, io);
            expect_close("linear: out", dtype, out, exact.out, plain.out, 4);
            expect_close("linear: dx", dtype, dx, exact.dx, plain.dx, 4);
            expect_close("linear: dweight", DType::kFloat32, dweight, exact.dweight, plain.dweight,
                         4 * root(rows));
            expect_close("linear: dbias", DType::kFloat32, dbias, exact.dbias, plain.dbias, 4 * root(rows));
            expect_same("linear", threads,
                        {std::move(out), std::move(dx), Stored(DType::kFloat32, dweight),
                         Stored(DType::kFloat32, dbias)},
                        first);
          });
        });
      }
}

// A weight stored in bfloat16 gives what the same numbers in float32 do, to the bit: also rows that pairs cannot take
// as they are, and as many that tiles stay unfilled.
void stored_weight_tests() {
  std::mt19937 generator(8);
  const DType half = DType::kBFloat16;
  for (int64_t rows : {1, 20, 300})
    for (int64_t K : {33, 64, 96})
      for (int64_t N : {1, 61, 130}) {
        Array<float> weight = normal(generator, N * K, 1, half);
        Array<float> bias = normal(generator, N, 1);
        for (int64_t k = 0; k < K; ++k) weight[N / 2 * K + k] = std::ldexp(k % 2 ? 1.f : -1.f, -130);
        bias[N / 2] = 0;
        const Stored x(half, normal(generator, rows * K, 1, half)), stored(half, weight);
        Linear op = check_linear({rows, K}, half, {N, K}, View::kTokens, 0, Gelu::kNone);
        const auto result = [&](DType dtype, const void* w) {
          Stored out(half, rows * N);
          weigh_in(op, dtype);
          linear_forward(op, {x.data(), w, bias.data(), out.data()});
          return out;
        };
        with_isas([&] {
          CHECK(result(half, stored.data()).bytes == result(DType::kFloat32, weight.data()).bytes,
                "linear (" << rows << ", " << K << ") -> " << N << " with a weight in bfloat16, "
                           << isa_name(active_isa()));
        });
      }
}

// Rows or columns of a factor times powers of two give those of a result times the same, to the bit, whatever must be
// done lest products vanish or overflow.
void scaled_linear_tests() {
  std::mt19937 generator(7);
  enum { kX, kWeight, kDout };
  enum { kOut, kDx, kDweight };
  const struct {
    int factor;
    bool by_columns;
    int result;
    bool of_columns;
  } scalings[] = {{kX, false, kOut, false},   {kX, true, kDweight, true}, {kWeight, false, kOut, true},
                  {kWeight, true, kDx, true}, {kDout, false, kDx, false}, {kDout, true, kDweight, false}};
  const struct {
    int64_t rows, K, N;
    bool last;  // row or column alone, else all by turns
  } shapes[] = {{40, 70, 77, false},
                {540, 70, 77, false},
                // of few rows and of more, with one thread, whose units have other rows and columns first
                {20, 34, 200, true},
                {101, 34, 200, true}};
  for (const auto& shape : shapes)
    for (DType dtype : {DType::kFloat32, DType::kBFloat16}) {
      const int64_t rows = shape.rows, K = shape.K, N = shape.N;
      const int64_t widths[] = {K, K, N}, result_widths[] = {N, K, K};
      const Linear op = check_linear({rows, K}, dtype, {N, K}, View::kTokens, 0, Gelu::kNone);
      const Array<float> factors[] = {normal(generator, rows * K, 1, dtype), normal(generator, N * K, 1),
                                      normal(generator, rows * N, 1, dtype)};
      const Array<float> bias(N, 0.f);
      const auto exponent = [&](int64_t i, int64_t size, int64_t width, bool columns) {
        const int64_t at = columns ? i % width : i / width, count = columns ? width : size / width;
        return 100 * (shape.last ? at == count - 1 : int(at % 3 - 1));
      };
      const auto results = [&](int scaled, bool by_columns) {
        Array<float> of[3];
        for (int f = 0; f < 3; ++f)
          for (int64_t i = 0, size = factors[f].size(); i < size; ++i)
            of[f].push_back(
                std::ldexp(factors[f][i], f == scaled ? exponent(i, size, widths[f], by_columns) : 0));
        const Stored x(dtype, of[kX]), dout(dtype, of[kDout]);
        Stored out(dtype, rows * N), dx(dtype, rows * K);
        Array<float> dweight(N * K), dbias(N);
        linear_forward(op, {x.data(), of[kWeight].data(), bias.data(), out.data()});
        const LinearBackward io{x.data(),  of[kWeight].data(), dout.data(),
                                dx.data(), dweight.data(),     dbias.data()};
        linear_input_gradient(op, io);
        linear_weight_gradient(op, io);
        return std::vector<Stored>{out, dx, Stored(DType::kFloat32, dweight)};
      };
      set_num_threads(shape.last ? 1 : 0);
      with_isas([&] {
        const std::vector<Stored> plain = results(-1, false);
        for (const auto& scaling : scalings) {
          const int r = scaling.result;
          const Stored got = results(scaling.factor, scaling.by_columns)[r];
          bool same = true;
          for (int64_t i = 0; i < got.size; ++i)
            same &= got[i] ==
                    std::ldexp(plain[r][i], exponent(i, got.size, result_widths[r], scaling.of_columns));
          CHECK(same, "result " << r << " of linear (" << dtype_name(dtype) << ", " << isa_name(active_isa())
                                << ") with factor " << scaling.factor << " scaled");
        }
      });
      set_num_threads(0);
    }
}

// Rows and columns that are negative denormals throughout, which pairs and tiles take for zeros as they stand: the
// largest is to be found by magnitude.
void negative_denormal_tests() {
  const int64_t rows = 32, K = 64, N = 32;
  const Array<float> small(K * N, -0x1p-130f), bias(N, 0.f);
  for (DType dtype : {DType::kFloat32, DType::kBFloat16}) {
    const Linear op = check_linear({rows, K}, dtype, {N, K}, View::kTokens, 0, Gelu::kNone);
    const Stored x(dtype, Array<float>(rows * K, 0x1p40f)), dout(dtype, Array<float>(rows * N, 0x1p40f)),
        small_dout(dtype, Array<float>(rows * N, -0x1p-130f));
    with_isas([&] {
      Stored out(dtype, rows * N), dx(dtype, rows * K);
      Array<float> dweight(N * K), dbias(N);
      linear_forward(op, {x.data(), small.data(), bias.data(), out.data()});
      linear_input_gradient(op, {nullptr, small.data(), dout.data(), dx.data(), nullptr, nullptr});
      linear_weight_gradient(op,
                             {x.data(), nullptr, small_dout.data(), nullptr, dweight.data(), dbias.data()});
      const auto check = [&](const char* name, const auto& result, int64_t size, int64_t terms) {
        for (int64_t i = 0; i < size; ++i)
          CHECK(result[i] == -0x1p-90 * terms, name << " of negative denormals is " << result[i] << ", "
                                                    << dtype_name(dtype) << ", " << isa_name(active_isa()));
      };
      check("out", out, out.size, K);
      check("dx", dx, dx.size, N);
      check("dweight", dweight, N * K, rows);
    });
  }
}

// More weights than the 2^22 that the partial sums of all chunks may be: then there is one chunk of rows, whatever the
// instruction set.
void large_weight_tests() {
  const int64_t rows = 1, K = 2049, N = 2048;
  const Linear op = check_linear({rows, K}, DType::kFloat32, {N, K}, View::kTokens, 0, Gelu::kNone);
  Array<float> x(K), dout(N), dweight(N * K, NAN), dbias(N, NAN);
  for (int64_t k = 0; k < K; ++k) x[k] = float(k % 5);
  for (int64_t n = 0; n < N; ++n) dout[n] = float(n % 3);
  set_isa(isa_name(supported_isas()[0]));
  linear_weight_gradient(op, {x.data(), nullptr, dout.data(), nullptr, dweight.data(), dbias.data()});
  set_isa("");
  bool same = true;
  for (int64_t n = 0; n < N; ++n)
    for (int64_t k = 0; k < K; ++k) same &= dweight[n * K + k] == x[k] * dout[n];
  CHECK(same, "dweight (" << N << ", " << K << ") of one row");
}

// Nothing is rounded to bfloat16 on the way where the instruction set has no pairs of it.
void unrounded_tests() {
  const Linear op = check_linear({1, 1}, DType::kBFloat16, {1, 1}, View::kTokens, 0, Gelu::kNone);
  const Stored x(DType::kBFloat16, Array<float>{1});
  const float weight = 1 + 0x1p-9f, bias = -1;
  with_isas([&] {
    Stored out(DType::kBFloat16, 1);
    linear_forward(op, {x.data(), &weight, &bias, out.data()});
    CHECK(out[0] == (active_isa() < Isa::kAvx512Bf16 ? 0x1p-9 : 0),
          "1 + 2^-9 - 1 is " << out[0] << ", " << isa_name(active_isa()));
  });
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
  attention("qkv: expected fewer", {1, int64_t{1} << 62, 4, 3}, {1, 1, 1}, {1}, {});
  attention("qkv: expected fewer", {1, int64_t{1} << 31, 1, 3}, {1, 1, 1}, {1}, {});
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
  const ResidualLayerNorm all =
      check_residual_layer_norm({2, 3, 4}, f32, {2, 3, 4}, f32, {4}, {4}, {1}, 1e-5f);
  CHECK(all.samples == 1 && all.rows == 6, "one keep for all: " << all.samples << " x " << all.rows);
  expect_error("keep: ", [&] { check_residual_layer_norm({2, 4}, f32, {2, 4}, f32, {4}, {4}, {3}, 1e-5f); });
  expect_error("epsilon: ", [&] { check_residual_layer_norm({2, 4}, f32, {2, 4}, f32, {4}, {4}, {2}, 0.f); });
  expect_error("y: ", [&] { check_layer_norm({}, f32, {4}, {4}, 1e-5f); });
  expect_error("gamma: ", [&] { check_layer_norm({2, 4}, f32, {5}, {4}, 1e-5f); });
  expect_error("x: ", [&] { check_bias_gelu({2, 0}, f32, {0}, false); });
  expect_error("bias: ", [&] { check_bias_gelu({2, 4}, f32, {2}, false); });
  const auto linear = [&](const char* start, Shape x, Shape weight, View view, int64_t patch = 0) {
    expect_error(start, [&] { check_linear(x, f32, weight, view, patch, Gelu::kNone); });
  };
  linear("x: ", {}, {3, 4}, View::kTokens);
  linear("x: ", {0, 4}, {3, 4}, View::kTokens);
  linear("weight: ", {2, 4}, {3, 5}, View::kTokens);
  linear("weight: ", {2, 4}, {0, 4}, View::kTokens);
  linear("x: ", {2, 4, 4}, {3, 16}, View::kMerging);
  linear("x: ", {2, 4, 5, 4}, {3, 16}, View::kMerging);
  linear("x: ", {2, 3, 8, 10}, {3, 48}, View::kEmbedding, 4);
  linear("patch_size: ", {2, 3, 8, 8}, {3, 48}, View::kEmbedding, 0);
  expect_error("bias: ", [&] {
    check_linear_bias(check_linear({2, 4}, f32, {3, 4}, View::kTokens, 0, Gelu::kNone), {4});
  });
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

      std::mutex mutex;
      std::map<std::thread::id, int64_t> announced;
      bool kept = true;
      parallel_ahead(n, [&](int64_t i, int64_t coming) {
        const std::lock_guard<std::mutex> lock(mutex);
        const auto& [thread, next] = *announced.try_emplace(std::this_thread::get_id(), n).first;
        kept &= (next >= n || next == i) && (threads > 1 || coming == i + 1 || i >= n - 2);
        announced[thread] = coming;
        ++seen[i];
      });
      CHECK(std::count(seen.begin(), seen.end(), 2) == n, "parallel_ahead over " << n << " on " << threads);
      CHECK(kept, "a thread takes another piece than it claimed, of " << n << " on " << threads);
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

// A helper begins in a stretch of its own, far from what the caller is on.
void stretch_tests() {
  set_num_threads(2);
  const auto caller = std::this_thread::get_id();
  std::atomic<int64_t> first{-1};
  parallel_for(8, 1, [&](int64_t begin, int64_t) {
    int64_t none = -1;
    if (std::this_thread::get_id() != caller) first.compare_exchange_strong(none, begin);
    for (int i = 0; first < 0 && i < 5000; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  });
  set_num_threads(0);
  CHECK(first == 4, "the helper of 8 pieces began with " << first);
}

// A thread that would wake where its caller runs is moved to the other cores; a new one is taken to be there.
void placement_tests() {
  cpu_set_t all;
  if (sched_getaffinity(0, sizeof all, &all) != 0 || CPU_COUNT(&all) < 2) return;
  std::atomic<bool> moved{false};
  for (int threads = 6; threads < 16 && !moved; ++threads) {  // more than before; the caller itself may move
    set_num_threads(threads);
    parallel_for(20, 1, [&](int64_t, int64_t) {
      cpu_set_t mine;
      if (sched_getaffinity(0, sizeof mine, &mine) == 0 && CPU_COUNT(&mine) == CPU_COUNT(&all) - 1)
        moved = true;
      std::this_thread::sleep_for(std::chrono::milliseconds(2));
    });
  }
  set_num_threads(0);
  CHECK(moved, "no new thread keeps off its caller's core");
}

}  // namespace
}  // namespace swinv2

int main(int count, char** arguments) {
  using namespace swinv2;
  std::string isas;
  for (Isa isa : supported_isas()) isas += std::string(" ") + isa_name(isa);
  parallel_tests();
  stretch_tests();
  placement_tests();
  error_tests();
  attention_tests();
#if defined(SWINV2_TWIN)
  twin_tests();
#endif
  constant_value_tests();
  large_table_tests();
  nearest_weight_tests();
  large_vector_tests();
  isolation_tests();
  region_tests();
  region_gradient_tests();
  denormal_tests();
  layer_norm_tests();
  gelu_tests();
  linear_tests();
  stored_weight_tests();
  scaled_linear_tests();
  negative_denormal_tests();
  large_weight_tests();
  unrounded_tests();
  if (count > 1) golden_tests(arguments[1]);
  return summary("kernels," + isas);
}
