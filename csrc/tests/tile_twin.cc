// SPDX-License-Identifier: Apache-2.0
#include "tests/tile_twin.h"

#include <atomic>
#include <cmath>
#include <cstring>
#include <limits>
#include <string>

namespace swinv2 {
namespace tile_twin {
namespace {

constexpr int kTiles = 8, kMaxRows = 16, kMaxRowBytes = 64;  // of palette 1

struct Tile {
  int rows = 0, row_bytes = 0;
  unsigned char data[kMaxRows][kMaxRowBytes] = {};
};

struct State {
  int palette = 0;  // 0: released
  Tile tile[kTiles];
};

thread_local State state;
std::atomic<int64_t> count{0};

void require(bool holds, const std::string& rule) {
  if (!holds) throw Fault(rule);
}

Tile& configured(int tile, const std::string& instruction) {
  require(state.palette != 0, instruction + ": no tiles are configured (#UD)");
  require(tile >= 0 && tile < kTiles, instruction + ": there is no tile " + std::to_string(tile) + " (#UD)");
  Tile& t = state.tile[tile];
  require(t.rows > 0, instruction + ": tile " + std::to_string(tile) + " has no rows (#UD)");
  require(t.row_bytes % 4 == 0, instruction + ": a row is no whole number of lanes (#UD)");
  return t;
}

float flushed(float x) {
  return std::fabs(x) < std::numeric_limits<float>::min() ? std::copysign(0.f, x) : x;
}
float fused(float a, float b, float sum) {
  return flushed(std::fma(flushed(a), flushed(b), sum));
}

float number(const unsigned char* lane) {
  float x;
  std::memcpy(&x, lane, 4);
  return x;
}
float half_of(const unsigned char* pair, int which) {
  uint16_t bits;
  std::memcpy(&bits, pair + 2 * which, 2);
  const uint32_t wide = uint32_t{bits} << 16;
  float x;
  std::memcpy(&x, &wide, 4);
  return x;
}

}  // namespace

void ldtilecfg(const void* config) {
  unsigned char bytes[64];
  std::memcpy(bytes, config, 64);
  State loaded;
  loaded.palette = bytes[0];
  require(loaded.palette <= 1, "LDTILECFG: there is no palette " + std::to_string(loaded.palette) + " (#GP)");
  if (loaded.palette == 1) {
    require(bytes[1] == 0, "LDTILECFG: the twin starts at row 0");
    for (int i : {2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15})
      require(bytes[i] == 0, "LDTILECFG: a reserved byte is set (#GP)");
    for (int n = 0; n < 16; ++n) {
      const int row_bytes = bytes[16 + 2 * n] + 256 * bytes[17 + 2 * n], rows = bytes[48 + n];
      require(n < kTiles || (rows == 0 && row_bytes == 0), "LDTILECFG: more than eight tiles (#GP)");
      require(row_bytes <= kMaxRowBytes, "LDTILECFG: a row of more than 64 bytes (#GP)");
      require(rows <= kMaxRows, "LDTILECFG: more than 16 rows (#GP)");
      require((rows == 0) == (row_bytes == 0), "LDTILECFG: rows without bytes or bytes without rows (#GP)");
      if (n < kTiles) loaded.tile[n].rows = rows, loaded.tile[n].row_bytes = row_bytes;
    }
  }
  state = loaded;
}

void sttilecfg(void* config) {
  unsigned char bytes[64] = {static_cast<unsigned char>(state.palette)};
  for (int n = 0; n < kTiles; ++n) {
    bytes[16 + 2 * n] = static_cast<unsigned char>(state.tile[n].row_bytes);
    bytes[48 + n] = static_cast<unsigned char>(state.tile[n].rows);
  }
  std::memcpy(config, bytes, 64);
}

void tilerelease() {
  state = State();
}

void tilezero(int tile) {
  Tile& t = configured(tile, "TILEZERO");
  std::memset(t.data, 0, sizeof t.data);
}

void tileloadd(int tile, const void* from, int64_t stride) {
  Tile& t = configured(tile, "TILELOADD");
  std::memset(t.data, 0, sizeof t.data);
  for (int m = 0; m < t.rows; ++m)
    std::memcpy(t.data[m], static_cast<const char*>(from) + m * stride, t.row_bytes);
}

void tilestored(int tile, void* to, int64_t stride) {
  const Tile& t = configured(tile, "TILESTORED");
  for (int m = 0; m < t.rows; ++m) std::memcpy(static_cast<char*>(to) + m * stride, t.data[m], t.row_bytes);
}

void tdpbf16ps(int c, int a, int b) {
  const std::string name = "TDPBF16PS";
  Tile& sum = configured(c, name);
  const Tile &left = configured(a, name), &right = configured(b, name);
  require(c != a && c != b && a != b, name + ": a tile is given twice (#UD)");
  require(sum.rows == left.rows, name + ": rows of the sum are not those of the left operand (#UD)");
  require(sum.row_bytes == right.row_bytes,
          name + ": columns of the sum are not those of the right one (#UD)");
  require(left.row_bytes / 4 == right.rows, name + ": columns of the left are not rows of the right (#UD)");
  Tile result;
  result.rows = sum.rows, result.row_bytes = sum.row_bytes;
  for (int m = 0; m < sum.rows; ++m)
    for (int n = 0; n < sum.row_bytes / 4; ++n) {
      float halves[2] = {};  // the sums of the low and of the high halves of the pairs
      for (int k = 0; k < left.row_bytes / 4; ++k)
        for (int h : {0, 1})
          halves[h] = fused(half_of(&left.data[m][4 * k], h), half_of(&right.data[k][4 * n], h), halves[h]);
      const float added = flushed(flushed(number(&sum.data[m][4 * n])) + flushed(halves[0] + halves[1]));
      std::memcpy(&result.data[m][4 * n], &added, 4);
    }
  sum = result;
  count.fetch_add(1, std::memory_order_relaxed);
}

int64_t products() {
  return count.load();
}

}  // namespace tile_twin
}  // namespace swinv2
