// SPDX-License-Identifier: Apache-2.0
//
// AMX: what the twin of its instructions enforces; what they compute, on the CPU or trapped; the product of tiles;
// window attention beside libraries that have tiles of their own; where linear uses them. native_tests has the parity
// of both.
#include <sys/mman.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <thread>

#include "cpu/tile.h"
#include "linear/linear_host.h"
#include "tests/run.h"
#include "tests/tile_twin.h"
#include "window_attention/window_attention_host.h"

namespace swinv2 {
namespace amx_bf16 {
namespace {

// Tile n: rows[n] of row_bytes[n] bytes.
TileConfig config_of(std::vector<int> rows, std::vector<int> row_bytes) {
  TileConfig config{};
  config.palette = 1;
  for (size_t n = 0; n < rows.size(); ++n) {
    config.rows[n] = uint8_t(rows[n]);
    config.row_bytes[n] = uint16_t(row_bytes[n]);
  }
  return config;
}

TileConfig loaded() {
  TileConfig config;
  store_config(config);
  return config;
}

bool same(const TileConfig& a, const TileConfig& b) {
  return std::memcmp(&a, &b, sizeof a) == 0;
}

// ---- the twin ----

void expect_fault(const std::string& text, const std::function<void()>& call) {
  try {
    call();
  } catch (const tile_twin::Fault& fault) {
    CHECK(fault.what() == text, "expected the fault '" << text << "', got '" << fault.what() << "'");
    return;
  }
  CHECK(false, "no fault: " << text);
}

void fault_tests() {
  using namespace tile_twin;
  float memory[256] = {};
  const auto product = [](std::vector<int> rows, std::vector<int> row_bytes) {
    return [=] {
      const TileConfig config = config_of(rows, row_bytes);
      ldtilecfg(&config);
      tdpbf16ps(0, 1, 2);
    };
  };
  tilerelease();
  expect_fault("TILEZERO: no tiles are configured (#UD)", [] { tilezero(0); });
  expect_fault("TILELOADD: no tiles are configured (#UD)", [&] { tileloadd(0, memory, 64); });
  expect_fault("TILESTORED: no tiles are configured (#UD)", [&] { tilestored(0, memory, 64); });
  expect_fault("TDPBF16PS: no tiles are configured (#UD)", [] { tdpbf16ps(0, 1, 2); });
  expect_fault("TDPBF16PS: a tile without rows (#UD)", product({16, 16}, {64, 64}));
  expect_fault("TDPBF16PS: the sum and the left operand differ in rows (#UD)",
               product({16, 8, 16}, {64, 64, 64}));
  expect_fault("TDPBF16PS: the sum and the right operand differ in columns (#UD)",
               product({16, 16, 16}, {32, 64, 64}));
  expect_fault("TDPBF16PS: columns of the left are not rows of the right (#UD)",
               product({16, 16, 8}, {64, 64, 64}));
  expect_fault("TDPBF16PS: a row is no whole number of lanes (#UD)", product({4, 4, 4}, {16, 18, 16}));
  product({16, 16, 16}, {64, 64, 64})();
  expect_fault("TDPBF16PS: a tile is given twice (#UD)", [] { tdpbf16ps(0, 1, 1); });
  expect_fault("TILEZERO: there are eight tiles (#UD)", [] { tilezero(8); });

  TileConfig before, after;
  sttilecfg(&before);
  const auto load = [](TileConfig config) { return [=] { ldtilecfg(&config); }; };
  TileConfig bad = before;
  bad.palette = 2;
  expect_fault("LDTILECFG: there is no such palette (#GP)", load(bad));
  bad = before;
  bad.reserved[0] = 1;
  expect_fault("LDTILECFG: a reserved byte is set (#GP)", load(bad));
  expect_fault("LDTILECFG: more than 16 rows (#GP)", load(config_of({17}, {64})));
  expect_fault("LDTILECFG: a row of more than 64 bytes (#GP)", load(config_of({16}, {68})));
  expect_fault("LDTILECFG: rows without bytes or bytes without rows (#GP)", load(config_of({16}, {0})));
  expect_fault("LDTILECFG: there are eight tiles (#GP)",
               load(config_of(std::vector<int>(9, 1), std::vector<int>(9, 4))));
  sttilecfg(&after);
  CHECK(same(before, after), "a fault changes the configuration");
  tilerelease();
  sttilecfg(&after);
  CHECK(same(after, TileConfig{}), "released tiles are not all zero");
}

// sum + a . b, of bit patterns in pairs.
float dot(std::vector<uint16_t> a, std::vector<uint16_t> b, float sum) {
  const int pairs = int(a.size() / 2);
  const TileConfig config = config_of({1, 1, pairs}, {4, 4 * pairs, 4});
  load_config(config);
  load_tile<0>(&sum, 1);
  load_tile<1>(reinterpret_cast<const float*>(a.data()), pairs);
  load_tile<2>(reinterpret_cast<const float*>(b.data()), 1);
  multiply_add_tile<0, 1, 2>();
  store_tile<0>(&sum, 1);
  release_tiles();
  return sum;
}

void rounding_tests() {
  constexpr uint16_t k1 = 0x3f80, k2to24 = 0x4b80, kDenormal = 0x0001, k2to100 = 0x7180, k2toMinus63 = 0x2000;
  const float big = std::ldexp(1.f, 24);
  // Low halves: 2^24 + 1 + 1 = 2^24 by ties to even. High halves: 2. The sum comes last: 2^24 + 3 rounds to 2^24 + 4.
  CHECK(dot({k2to24, k1, k1, k1, k1, 0}, {k1, k1, k1, k1, k1, 0}, 1.f) == big + 4, "the order of the sum");
  CHECK(dot({kDenormal, 0}, {k2to100, 0}, 0.f) == 0, "a denormal operand counts");
  CHECK(dot({k2toMinus63, 0}, {k2toMinus63 - 0x100, 0}, 0.f) == 0, "a denormal product counts");
  CHECK(dot({k1, 0}, {0, 0}, 1e-40f) == 0, "a denormal sum counts");
  CHECK(dot({0xbf80, 0}, {0x3f81, 0}, 0.f) == -1.0078125f, "-1 * (1 + 2^-7)");
  CHECK(std::isnan(dot({0x7f80, 0}, {0, 0}, 0.f)), "Inf * 0");
}

// ---- the product of tiles ----

template <int V>
void product_tests(int64_t rows, int64_t K, std::mt19937& generator) {
  const int64_t lda = K + 16, ldb = V * kTile + 16, ldc = V * kTile + 16;
  const Array<float> a = normal(generator, rows * 2 * K, 1, DType::kBFloat16),
                     b = normal(generator, 2 * K * V * kTile, 1, DType::kBFloat16);
  std::vector<float> a_pairs(rows * lda, NAN), b_pairs(K * ldb + 16, NAN), c(rows * ldc, -1.f);
  const auto put = [](float& pair, int64_t half, float x) {
    const uint16_t bits = uint16_t(as_bits(x) >> 16);
    std::memcpy(reinterpret_cast<char*>(&pair) + 2 * half, &bits, 2);
  };
  for (int64_t m = 0; m < rows; ++m)
    for (int64_t k = 0; k < 2 * K; ++k) put(a_pairs[m * lda + k / 2], k % 2, a[m * 2 * K + k]);
  for (int64_t k = 0; k < 2 * K; ++k)
    for (int64_t n = 0; n < V * kTile; ++n) put(b_pairs[k / 2 * ldb + n], k % 2, b[k * V * kTile + n]);
  {
    const Tiles<true> tiles(true);
    multiply_tiles<V>(c.data(), ldc, rows, a_pairs.data(), lda, b_pairs.data(), ldb, K);
  }
  for (int64_t m = 0; m < rows; ++m)
    for (int64_t n = 0; n < ldc; ++n) {
      double exact = n < V * kTile ? 0 : -1;
      if (n < V * kTile)
        for (int64_t k = 0; k < 2 * K; ++k) exact += double(a[m * 2 * K + k]) * b[k * V * kTile + n];
      CHECK(std::fabs(c[m * ldc + n] - exact) <= 1e-5 * (K + 1),
            rows << " x " << K << " x " << V << " at " << m << ", " << n << ": " << c[m * ldc + n]
                 << ", exactly " << exact);
    }
}

// ---- beside other libraries ----

// f on this thread and on each of the pool: every piece waits until all have begun.
void on_every_thread(int threads, const std::function<void()>& f) {
  std::atomic<int> begun{0};
  const auto late = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  parallel_for(threads, 1, [&](int64_t, int64_t) {
    ++begun;
    while (begun < threads && std::chrono::steady_clock::now() < late) std::this_thread::yield();
    f();
  });
  CHECK(begun == threads, "there are not " << threads << " threads");
}

std::vector<float> forward(DType dtype, bool cosine, double factor = 1) {  // of q and k
  const WindowAttention op = check_window_attention({1, 14, 28, 3 * 2 * 32}, dtype, {2, 13, 13}, {2},
                                                    {3, 3, 13, 28, -100.f, cosine});
  std::mt19937 generator(11);
  Array<float> given = normal(generator, 14 * 28 * 192, 1, dtype);
  for (size_t i = 0; i < given.size(); ++i)
    if (i % 192 < 128) given[i] *= float(factor);
  const Stored qkv(dtype, given);
  const Array<float> table = normal(generator, 2 * op.table_size(), 1), scale{4.f, 9.f};
  Stored out(dtype, 14 * 28 * 64);
  std::vector<float> stats(product_of(stats_shape(op)));
  window_attention_forward(op, {qkv.data(), table.data(), scale.data(), out.data(), stats.data()});
  std::vector<float> values;
  for (int64_t i = 0; i < out.size; ++i) values.push_back(float(out[i]));
  return values;
}

void company_tests() {
  const TileConfig theirs[] = {TileConfig{}, config_of({1}, {4}),
                               config_of(std::vector<int>(8, 16), std::vector<int>(8, 32))};
  set_isa("avx512_bf16");
  const std::vector<float> close = forward(DType::kBFloat16, true);
  set_isa("amx_bf16");
  const std::vector<float> want = forward(DType::kBFloat16, true);
  const std::vector<float> huge = forward(DType::kBFloat16, true, std::ldexp(1, 80));  // float32 products
  for (size_t i = 0; i < want.size(); ++i) {
    CHECK(std::fabs(want[i] - close[i]) < 0.03, "AMX gives " << want[i] << ", AVX512_BF16 " << close[i]);
    CHECK(std::fabs(huge[i] - close[i]) < 0.03, "of huge vectors " << huge[i] << ", not " << close[i]);
  }
  with_threads([&](int threads) {
    for (const TileConfig& config : theirs)
      for (int call = 0; call < 2; ++call) {
        on_every_thread(threads, [&] { load_config(config); });
        CHECK(forward(DType::kBFloat16, true) == want, "another library's tiles change the result");
        std::atomic<int> lost{0};
        on_every_thread(threads, [&] { lost += !same(loaded(), config); });
        CHECK(lost == 0, "another library's tiles are lost on " << lost << " threads");
      }
    on_every_thread(threads, [] { release_tiles(); });
    CHECK(forward(DType::kBFloat16, true) == want, "released tiles change the result");
  });
  const int64_t before = tile_twin::products();
  if (__builtin_cpu_supports("amx-bf16")) return;  // which count nothing
  forward(DType::kFloat32, true);
  forward(DType::kFloat16, true);
  forward(DType::kBFloat16, false);
  CHECK(tile_twin::products() == before, "tiles are used where they are not precise enough");
  forward(DType::kBFloat16, true);
  // Of two heads, tiles of queries by keys for the scores, and by 2 of channels over pairs of keys for the values:
  // three windows of 49 keys are whole, one has regions of 28 and 21, three of 28 queries with 21 keys and of 21, one
  // four of at most 16.
  const int64_t whole = 4 * 4 + 4 * 2 * 2, half = 2 * 2 + 2 * 2, quarter = 1 + 2;
  CHECK(tile_twin::products() - before == 2 * (3 * whole + 2 * half + 3 * 2 * half + 4 * quarter),
        "products: " << tile_twin::products() - before);
}

// 32 rows of 64 channels times a weight of 96 rows, each way: 2 x 6 tiles of out over 2 of channels, 2 x 4 of dx over
// 3 of outputs, 6 x 4 of dweight over 1 of rows.
void linear_tests() {
  const Linear op = check_linear({32, 64}, DType::kBFloat16, {96, 64}, View::kTokens, 0, Gelu::kNone);
  std::mt19937 generator(13);
  const Stored x(op.dtype, normal(generator, 32 * 64, 1, op.dtype)),
      dout(op.dtype, normal(generator, 32 * 96, 1, op.dtype));
  const Array<float> weight = normal(generator, 96 * 64, 1), bias(96, 0.f);
  Stored out(op.dtype, 32 * 96), dx(op.dtype, 32 * 64);
  Array<float> dweight(96 * 64), dbias(96);
  const LinearBackward back{x.data(), weight.data(), dout.data(), dx.data(), dweight.data(), dbias.data()};
  const auto expect_24 = [](const char* what, const std::function<void()>& call) {
    const int64_t before = tile_twin::products();
    call();
    const int64_t products = tile_twin::products() - before;
    CHECK(__builtin_cpu_supports("amx-bf16") || products == 24, what << ": products: " << products);
  };
  expect_24("out", [&] { linear_forward(op, {x.data(), weight.data(), bias.data(), out.data()}); });
  expect_24("dx", [&] { linear_input_gradient(op, back); });
  expect_24("dweight", [&] { linear_weight_gradient(op, back); });
}

// `count` ones that end where readable memory does.
class LastOnes {
 public:
  explicit LastOnes(size_t count) : size_((2 * count + 4095) / 4096 * 4096), count_(count) {
    start_ = static_cast<char*>(
        mmap(nullptr, size_ + 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    CHECK(start_ != MAP_FAILED && mprotect(start_ + size_, 4096, PROT_NONE) == 0, "no memory");
    std::fill_n(data(), count, uint16_t{0x3f80});
  }
  ~LastOnes() { munmap(start_, size_ + 4096); }
  LastOnes(const LastOnes&) = delete;
  LastOnes& operator=(const LastOnes&) = delete;
  uint16_t* data() { return reinterpret_cast<uint16_t*>(start_ + size_) - count_; }

 private:
  size_t size_, count_;
  char* start_;
};

// 20 rows, of x or of a stored weight, leave a tile unfilled: what lies behind them is not read. A mistake ends the
// program.
void last_rows_tests() {
  const Linear op = check_linear({20, 64}, DType::kBFloat16, {32, 64}, View::kTokens, 0, Gelu::kNone);
  LastOnes x(20 * 64), dout(20 * 32);
  const Array<float> weight(32 * 64, 1.f), bias(32, 2.f);
  Stored out(op.dtype, 20 * 32), dx(op.dtype, 20 * 64);
  Array<float> dweight(32 * 64), dbias(32);
  const LinearBackward back{x.data(), weight.data(), dout.data(), dx.data(), dweight.data(), dbias.data()};
  linear_forward(op, {x.data(), weight.data(), bias.data(), out.data()});
  linear_input_gradient(op, back);
  linear_weight_gradient(op, back);
  CHECK(out[20 * 32 - 1] == 66 && dx[20 * 64 - 1] == 32 && dweight[0] == 20, "ones times ones");

  Linear few = check_linear({8, 64}, DType::kBFloat16, {20, 64}, View::kTokens, 0, Gelu::kNone);
  LastOnes stored(20 * 64);
  weigh_in(few, DType::kBFloat16);
  linear_forward(few, {x.data(), stored.data(), bias.data(), out.data()});
  CHECK(out[8 * 20 - 1] == 66, "ones times ones stored in bfloat16");
}

// Tiles are filled up: what a window of 64 keys left behind is not read for one of 8.
void padding_tests() {
  const WindowAttention op =
      check_window_attention({1, 16, 8, 96}, DType::kBFloat16, {1, 15, 15}, {1}, {0, 0, 9, 8, -100.f, true});
  std::mt19937 generator(12);
  Array<float> given = normal(generator, 16 * 8 * 96, 1, DType::kBFloat16);
  const Array<float> table(15 * 15, 0.5f), scale{4.f};
  const auto second_window = [&] {
    const Stored qkv(op.dtype, given);
    Stored out(op.dtype, 16 * 8 * 32);
    std::vector<float> stats(product_of(stats_shape(op)));
    window_attention_forward(op, {qkv.data(), table.data(), scale.data(), out.data(), stats.data()});
    return std::vector<char>(out.bytes.begin() + out.bytes.size() / 2, out.bytes.end());
  };
  set_num_threads(1);
  const std::vector<char> want = second_window();
  std::fill_n(given.begin(), 8 * 8 * 96, NAN);
  CHECK(second_window() == want, "NaN of one window reaches the next");
  set_num_threads(0);
}

void run() {
  std::mt19937 generator(9);
  set_isa("amx_bf16");
  fault_tests();
  rounding_tests();
  for (int64_t rows : {16, 48})
    for (int64_t K : {0, 16, 32}) {
      product_tests<1>(rows, K, generator);
      product_tests<2>(rows, K, generator);
      product_tests<3>(rows, K, generator);
    }
  company_tests();
  linear_tests();
  last_rows_tests();
  padding_tests();
}

}  // namespace
}  // namespace amx_bf16
}  // namespace swinv2

int main() {
  using namespace swinv2;
  for (Isa isa : supported_isas())
    if (isa == Isa::kAmxBf16) {
      amx_bf16::run();
      return summary("tiles");
    }
  std::printf("tiles: this CPU has no AVX512_BF16, which the kernel needs beside them\n");
  return 0;
}
