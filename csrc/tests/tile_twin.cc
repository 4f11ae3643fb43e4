// SPDX-License-Identifier: Apache-2.0
#include "tests/tile_twin.h"

#include <signal.h>
#include <ucontext.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace swinv2 {
namespace tile_twin {
namespace {

// ---- tiles ----

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

void require(bool holds, const char* instruction, const char* rule) {
  if (!holds) throw Fault(std::string(instruction) + ": " + rule);
}

Tile& configured(int tile, const char* instruction) {
  require(state.palette != 0, instruction, "no tiles are configured (#UD)");
  require(tile >= 0 && tile < kTiles, instruction, "there are eight tiles (#UD)");
  Tile& t = state.tile[tile];
  require(t.rows > 0, instruction, "a tile without rows (#UD)");
  require(t.row_bytes % 4 == 0, instruction, "a row is no whole number of lanes (#UD)");
  return t;
}

// ---- numbers: denormals are zero, sums are rounded to nearest even ----

// A test takes millions of products: not instrumented, and by vectors.
#define SWINV2_BARE \
  __attribute__((target("avx2,fma"), optimize("O3"), no_sanitize("address,thread,undefined")))

SWINV2_BARE inline float number(uint32_t bits) {
  float x;
  __builtin_memcpy(&x, &bits, 4);
  return x;
}
SWINV2_BARE inline uint32_t lane(const unsigned char* from) {
  uint32_t bits;
  __builtin_memcpy(&bits, from, 4);
  return bits;
}
SWINV2_BARE inline float flushed(float x) {
  return __builtin_fabsf(x) < 0x1p-126f ? __builtin_copysignf(0.f, x) : x;
}
SWINV2_BARE inline float half_of(const unsigned char* pair, int which) {
  return flushed(number(which ? lane(pair) & 0xffff0000 : lane(pair) << 16));
}

// result = sum + left right, of pairs.
SWINV2_BARE void multiply_add(Tile& result, const Tile& sum, const Tile& left, const Tile& right) {
  constexpr int kHalves = 2, kLanes = kMaxRowBytes / 4;
  float factors[kMaxRows][kHalves][kLanes];  // of the right
  for (int k = 0; k < right.rows; ++k)
    for (int h = 0; h < kHalves; ++h)
      for (int n = 0; n < kLanes; ++n) factors[k][h][n] = half_of(&right.data[k][4 * n], h);
  for (int m = 0; m < sum.rows; ++m) {
    float halves[kHalves][kLanes] = {};  // sums of the products of low and of high halves
    for (int k = 0; k < right.rows; ++k)
      for (int h = 0; h < kHalves; ++h) {
        const float factor = half_of(&left.data[m][4 * k], h);
        for (int n = 0; n < kLanes; ++n)
          halves[h][n] = flushed(__builtin_fmaf(factor, factors[k][h][n], halves[h][n]));
      }
    for (int n = 0; n < sum.row_bytes / 4; ++n) {
      const float before = flushed(number(lane(&sum.data[m][4 * n])));
      const float added = flushed(before + flushed(halves[0][n] + halves[1][n]));
      __builtin_memcpy(&result.data[m][4 * n], &added, 4);
    }
  }
}

// ---- instructions trapped ----

int32_t signed_at(const unsigned char* p) {
  int32_t x;
  std::memcpy(&x, p, 4);
  return x;
}

// An operand in memory, and what follows it.
struct Operand {
  uintptr_t address;
  int64_t index;  // times its scale; of a tile the stride, not part of the address
  const unsigned char* end;
};

Operand operand_of(const unsigned char* vex, const greg_t* registers) {
  static const int order[] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                              REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
  const int high_index = vex[1] & 0x40 ? 0 : 8, high_base = vex[1] & 0x20 ? 0 : 8;
  const int mode = vex[4] >> 6, low = vex[4] & 7;
  const unsigned char* p = vex + 5;
  Operand operand{0, 0, nullptr};
  int base = low;
  if (low == 4) {
    const int index = (*p >> 3 & 7) + high_index;
    if (index != 4) operand.index = registers[order[index]] * (int64_t{1} << (*p >> 6));
    base = *p++ & 7;
  }
  const bool no_base = mode == 0 && base == 5;
  if (!no_base) operand.address = registers[order[base + high_base]];
  if (mode == 1)
    operand.address += static_cast<signed char>(*p++);
  else if (mode == 2 || no_base)
    operand.address += signed_at(p), p += 4;
  if (no_base && low == 5) operand.address += reinterpret_cast<uintptr_t>(p);  // relative to what follows
  operand.end = p;
  return operand;
}

// Does the instruction at hand and steps behind it; false where it is none of AMX.
bool executed(greg_t* registers) {
  const auto* vex = reinterpret_cast<const unsigned char*>(registers[REG_RIP]);
  const bool three_bytes_0f38 = vex[0] == 0xc4 && (vex[1] & 0x1f) == 2, w0_128 = (vex[2] & 0x84) == 0;
  if (!three_bytes_0f38 || !w0_128) return false;
  enum Prefix { kNone, k66, kF3, kF2 };
  const int prefix = vex[2] & 3, third = ~vex[2] >> 3 & 15, opcode = vex[3];
  const int mode = vex[4] >> 6, first = vex[4] >> 3 & 7, second = vex[4] & 7;
  const unsigned char* end = vex + 5;
  if (mode == 3) {
    if (opcode == 0x49 && prefix == kNone && vex[4] == 0xc0)
      tilerelease();
    else if (opcode == 0x49 && prefix == kF2 && second == 0)
      tilezero(first);
    else if (opcode == 0x5c && prefix == kF3)
      tdpbf16ps(first, second, third);
    else
      return false;
  } else {
    const Operand operand = operand_of(vex, registers);
    void* memory = reinterpret_cast<void*>(operand.address);
    void* indexed = reinterpret_cast<void*>(operand.address + operand.index);
    end = operand.end;
    if (opcode == 0x49 && prefix == kNone && first == 0)
      ldtilecfg(indexed);
    else if (opcode == 0x49 && prefix == k66 && first == 0)
      sttilecfg(indexed);
    else if (opcode == 0x4b && prefix == kF2 && second == 4)
      tileloadd(first, memory, operand.index);
    else if (opcode == 0x4b && prefix == kF3 && second == 4)
      tilestored(first, memory, operand.index);
    else
      return false;
  }
  registers[REG_RIP] = reinterpret_cast<greg_t>(end);
  return true;
}

void trap(int, siginfo_t*, void* context) {
  try {
    if (executed(static_cast<ucontext_t*>(context)->uc_mcontext.gregs)) return;
  } catch (const Fault& fault) {
    std::fprintf(stderr, "AMX: %s\n", fault.what());
    std::abort();
  }
  signal(SIGILL, SIG_DFL);  // and meet the instruction again
}

}  // namespace

bool stand_in() {
  static const bool done = [] {
    struct sigaction action = {};
    action.sa_sigaction = trap;
    action.sa_flags = SA_SIGINFO;
    return sigaction(SIGILL, &action, nullptr) == 0;
  }();
  return done;
}

void ldtilecfg(const void* config) {
  const char* name = "LDTILECFG";
  unsigned char bytes[64];
  std::memcpy(bytes, config, 64);
  State loaded;
  loaded.palette = bytes[0];
  require(loaded.palette <= 1, name, "there is no such palette (#GP)");
  if (loaded.palette == 1) {
    require(bytes[1] == 0, name, "the twin starts at row 0 only");
    for (int i = 2; i < 16; ++i) require(bytes[i] == 0, name, "a reserved byte is set (#GP)");
    for (int n = 0; n < 16; ++n) {
      const int row_bytes = bytes[16 + 2 * n] + 256 * bytes[17 + 2 * n], rows = bytes[48 + n];
      require(n < kTiles || (rows == 0 && row_bytes == 0), name, "there are eight tiles (#GP)");
      require(row_bytes <= kMaxRowBytes, name, "a row of more than 64 bytes (#GP)");
      require(rows <= kMaxRows, name, "more than 16 rows (#GP)");
      require((rows == 0) == (row_bytes == 0), name, "rows without bytes or bytes without rows (#GP)");
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
  const char* name = "TDPBF16PS";
  Tile& sum = configured(c, name);
  const Tile &left = configured(a, name), &right = configured(b, name);
  require(c != a && c != b && a != b, name, "a tile is given twice (#UD)");
  require(sum.rows == left.rows, name, "the sum and the left operand differ in rows (#UD)");
  require(sum.row_bytes == right.row_bytes, name, "the sum and the right operand differ in columns (#UD)");
  require(left.row_bytes / 4 == right.rows, name, "columns of the left are not rows of the right (#UD)");
  Tile result;
  result.rows = sum.rows, result.row_bytes = sum.row_bytes;
  multiply_add(result, sum, left, right);
  sum = result;
  count.fetch_add(1, std::memory_order_relaxed);
}

int64_t products() {
  return count.load();
}

}  // namespace tile_twin
}  // namespace swinv2
