// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "core/check.h"
#include "window_attention/tiling_host.h"

namespace swinv2 {
namespace {

constexpr int64_t kFractal = 512;
constexpr int64_t kSlotBytes = 32 * 1024;  // half of L0A and L0B, a quarter of L0C
constexpr int32_t kMaxTileRows = 128;
constexpr int32_t kMaxPitch = 1024;  // strides between rows of scores are at most 255 blocks of 32 B

// Buffers as the kernel's constructors make them.
int64_t ub_bytes(const WindowAttentionTiling910B& t) {
  const int64_t scores = int64_t{t.tile_rows} * t.pitch * 4, rows = divide_up(t.tile_rows, 64) * 64;
  return (t.score_slots + (t.bias_resident ? t.head_group : t.score_slots)) * scores +
         int64_t{t.tile_rows} * t.blocks * 32 * kWeightParts             // scores and bias, weights
         + t.tile_rows * (256 + 2 * 32) + 4 * rows * 4                   // folds, copies of rows; per row
         + (t.head_group + 4) * int64_t{t.pitch} * 4                     // key scales, mask
         + kNormTokens * t.head_dim * (2 + 4) + kNormTokens * (32 + 16)  // norms
         + 256 + t.head_group * t.head_dim * 2;                          // ones, zeros
}

int64_t l1_bytes(const WindowAttentionTiling910B& t) {
  const int64_t columns = int64_t{3} * t.head_group * t.head_dim / 16;
  return t.qkv_slots * columns * t.blocks * kFractal +
         int64_t{2} * t.tile_rows * t.blocks * 32 * kWeightParts;
}

// The largest products and most slots for a group of heads and tiles of so many rows.
bool cut(WindowAttentionTiling910B& t, const ChipLimits& chip) {
  const int64_t rows = t.tile_rows, units = int64_t{t.tiles} * t.head_group;
  if (rows * t.head_group * t.head_dim * 4 > kSlotBytes) return false;
  const int64_t keys =
      std::min({kSlotBytes / 4 / rows, kSlotBytes / 2 / t.head_dim, kSlotBytes / 2 / rows}) / 16;
  t.key_blocks = divide_up(t.blocks, divide_up(t.blocks, keys));
  // Two steps are four units: of two tasks, or of four where a task is one unit.
  t.qkv_slots = units == 1 ? 4 : 2;
  if (l1_bytes(t) > chip.l1) return false;
  for (t.score_slots = 2; t.score_slots > 0; --t.score_slots)
    for (t.bias_resident = t.tiles == 1 && t.pitch == 64; t.bias_resident >= 0; --t.bias_resident)
      if (ub_bytes(t) <= chip.ub) return true;
  return false;
}

// Cycles of the busiest AIV: the starts of a unit's instructions, and some twelve passes over its scores.
double vector_cycles(const WindowAttentionTiling910B& t) {
  const double unit = 900 + t.pitch / 64 * (250 + 12.0 * t.tile_rows);
  return divide_up(t.tasks, t.cores) * t.tiles * t.head_group * unit / 2;
}

void check_chip(const WindowAttention& op, const ChipLimits& chip) {
  if (op.dtype == DType::kFloat32)
    fail("qkv: expected float16 or bfloat16 on ", chip.name, ", whose cube unit is made for them, got ",
         dtype_name(op.dtype), "; cast qkv to float16 (bias_table and scale stay float32)");
  if (op.head_dim != 16 && op.head_dim != 32 && op.head_dim != 64)
    fail("qkv: expected head_dim 16, 32 or 64 on ", chip.name, ", got ", op.head_dim,
         "; use another back end");
  if (3 * op.num_heads * op.head_dim > 65535)
    fail("qkv: expected at most 65535 channels on ", chip.name, ", got ", 3 * op.num_heads * op.head_dim,
         "; use another back end");
  if (op.geometry.tokens() > kMaxPitch)
    fail("window_size: expected at most ", kMaxPitch, " tokens on ", chip.name, ", got ",
         op.geometry.window_h, " x ", op.geometry.window_w, "; use a smaller window");
}

// Blocks of 16 tokens, and the floats of a row of scores in UB.
template <class Tiling>
Tiling begun(const WindowAttention& op) {
  Tiling t{};
  static_cast<WindowAttentionProblem&>(t) = problem_of(op);
  t.blocks = divide_up(op.geometry.tokens(), 16);
  t.pitch = divide_up(op.geometry.tokens(), 64) * 64;
  return t;
}

[[noreturn]] void fail_to_fit(const WindowAttention& op, const ChipLimits& chip) {
  fail("window_size: a window of ", op.geometry.window_h, " x ", op.geometry.window_w, " at head_dim ",
       op.head_dim, " does not fit the memories of ", chip.name, "; use a smaller window");
}

// Buffers as the backward kernel's constructors make them.
int64_t ub_bytes(const WindowAttentionGradTiling910B& t) {
  const int64_t floats = int64_t{t.tile_rows} * t.pitch * 3    // s, ds, bias
                         + (4 + 1 + 3 * 5) * int64_t{t.pitch}  // mask, lse, facts of tokens
                         + 3 * kChunk                          // rows of float32
                         + kScaleLanes * (8 + 3);              // copies; numbers, ones, dscale
  return floats * 4 + 2 * kChunk * 2;                          // rows as stored
}

}  // namespace

WindowAttentionTiling910B tile_window_attention_910b(const WindowAttention& op, const ChipLimits& chip) {
  const WindowGeometry& g = op.geometry;
  check_chip(op, chip);
  auto t = begun<WindowAttentionTiling910B>(op);

  // The largest group of heads, for its bursts, that costs little more than the best.
  WindowAttentionTiling910B best{};
  double best_cost = 0;
  for (int32_t group = t.heads; group > 0; --group) {
    if (t.heads % group) continue;
    WindowAttentionTiling910B of_group{};
    double cost = 0;
    for (int32_t rows = std::min(kMaxTileRows, t.blocks * 16); rows > 0; rows -= 16) {
      t.head_group = group;
      t.tile_rows = rows;
      t.tiles = divide_up(g.tokens(), rows);
      t.tasks = g.windows() * (t.heads / group);
      t.cores = std::min<int64_t>(chip.cores, t.tasks);
      if (!cut(t, chip) || (of_group.cores != 0 && vector_cycles(t) >= cost)) continue;
      of_group = t;
      cost = vector_cycles(t);
    }
    if (of_group.cores == 0 || (best.cores != 0 && cost >= best_cost * 0.95)) continue;
    best = of_group;
    best_cost = cost;
  }
  if (best.cores == 0) fail_to_fit(op, chip);
  return best;
}

WindowAttentionGradTiling910B tile_window_attention_grad_910b(const WindowAttention& op,
                                                              const ChipLimits& chip) {
  check_chip(op, chip);
  auto t = begun<WindowAttentionGradTiling910B>(op);
  t.units = op.geometry.windows() * t.heads;
  t.cores = std::min(chip.cores, t.units);
  const int64_t windows = op.geometry.windows();
  for (int64_t core = 0; core < t.cores; ++core) {
    const int64_t first = core * t.units / t.cores / windows,
                  last = ((core + 1) * t.units / t.cores - 1) / windows;
    t.heads_a_core = std::max<int64_t>(t.heads_a_core, last - first + 1);
  }
  // The fewest tiles that fit, even ones.
  const int32_t row = t.blocks * 16;
  for (t.tile_rows = std::min(row, kMaxTileRows); ub_bytes(t) > chip.ub; t.tile_rows -= 8)
    if (t.tile_rows == 8) fail_to_fit(op, chip);
  t.tile_rows = divide_up(row, divide_up(row, t.tile_rows) * 8) * 8;
  return t;
}

MemoryUse memory_use(const WindowAttentionTiling910B& t) {
  return {ub_bytes(t), l1_bytes(t), 2 * kSlotBytes, 2 * kSlotBytes, 4 * kSlotBytes};
}

MemoryUse memory_use(const WindowAttentionGradTiling910B& t) {
  return {ub_bytes(t), 4 * kSlotBytes, 2 * kSlotBytes, 2 * kSlotBytes, 4 * kSlotBytes};
}

int64_t workspace_bytes(const WindowAttentionTiling910B& t) {
  return int64_t{t.cores} * kUnitsInFlight * t.tile_rows * t.blocks * 16 * (4 + 2 * kWeightParts);
}

int64_t workspace_bytes(const WindowAttentionGradTiling910B& t) {
  const int64_t row = t.blocks * 16;
  return t.cores * row * ((kPreparedUnits * 4 + kPulledUnits * 3) * t.head_dim + kPulledUnits * 2 * row) * 4;
}

std::vector<int64_t> work_of_cores(const WindowAttentionGradTiling910B& t) {
  return runs_of_cores(t.units, t.cores, 1);
}
std::vector<int64_t> work_of_cores(const WindowAttentionTiling910B& t) {
  return runs_of_cores(t.tasks, t.cores, t.head_group);
}

Fields fields(const WindowAttentionTiling910B& t) {
  return joined(fields(static_cast<const WindowAttentionProblem&>(t)),
                {SWINV2_FIELD(blocks), SWINV2_FIELD(head_group), SWINV2_FIELD(tasks), SWINV2_FIELD(cores),
                 SWINV2_FIELD(tile_rows), SWINV2_FIELD(tiles), SWINV2_FIELD(key_blocks), SWINV2_FIELD(pitch),
                 SWINV2_FIELD(score_slots), SWINV2_FIELD(bias_resident), SWINV2_FIELD(qkv_slots)});
}

Fields fields(const WindowAttentionGradTiling910B& t) {
  return joined(fields(static_cast<const WindowAttentionProblem&>(t)),
                {SWINV2_FIELD(blocks), SWINV2_FIELD(units), SWINV2_FIELD(cores), SWINV2_FIELD(heads_a_core),
                 SWINV2_FIELD(tile_rows), SWINV2_FIELD(pitch)});
}

namespace {

// use(entry of a table, query, key) for all pairs.
template <class F>
void over_pairs(const WindowAttentionProblem& t, F use) {
  const int64_t n = int64_t{t.window_h} * t.window_w, width = 2 * t.window_w - 1;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) {
      const int64_t dy = i / t.window_w - j / t.window_w, dx = i % t.window_w - j % t.window_w;
      use((dy + t.window_h - 1) * width + dx + t.window_w - 1, i, j);
    }
}

int64_t table_size(const WindowAttentionProblem& t) {
  return (2 * int64_t{t.window_h} - 1) * (2 * t.window_w - 1);
}

// (heads, N, N rounded up to 16)
std::vector<float> expand(const WindowAttentionProblem& t, const float* table) {
  const int64_t n = int64_t{t.window_h} * t.window_w, row = divide_up(n, 16) * 16;
  std::vector<float> bias(t.heads * n * row, 0.f);
  for (int64_t head = 0; head < t.heads; ++head)
    over_pairs(t, [&](int64_t entry, int64_t i, int64_t j) {
      bias[(head * n + i) * row + j] = table[head * table_size(t) + entry];
    });
  return bias;
}

}  // namespace

std::vector<float> prepare_bias(const WindowAttentionTiling910B& t, const float* table) {
  return expand(t, table);
}
std::vector<float> prepare_bias(const WindowAttentionGradTiling910B& t, const float* table) {
  return expand(t, table);
}

Partials partials_of(const WindowAttentionGradTiling910B& t) {
  const int64_t n = int64_t{t.window_h} * t.window_w, partials = int64_t{2} * t.cores * t.heads_a_core;
  return {partials * n * t.blocks * 16, partials * kScaleLanes};
}

void gather_gradients(const WindowAttentionGradTiling910B& t, const float* dbias, const float* dscale,
                      float* dbias_table, float* dscale_of_heads) {
  const int64_t n = int64_t{t.window_h} * t.window_w, row = t.blocks * 16, windows = t.units / t.heads;
  std::vector<double> table(t.heads * table_size(t), 0.), scale(t.heads, 0.);
  for (int64_t core = 0; core < t.cores; ++core) {
    const int64_t first = core * t.units / t.cores, last = (core + 1) * t.units / t.cores;
    for (int64_t side = 0; side < 2; ++side)
      for (int64_t unit = first + side, before = -1; unit < last; unit += 2) {
        const int64_t head = unit / windows,
                      partial = (2 * core + side) * t.heads_a_core + head - first / windows;
        if (head == before) continue;
        before = head;
        over_pairs(t, [&](int64_t entry, int64_t i, int64_t j) {
          table[head * table_size(t) + entry] += dbias[(partial * n + i) * row + j];
        });
        for (int64_t lane = 0; lane < kScaleLanes; ++lane)
          scale[head] += dscale[partial * kScaleLanes + lane];
      }
  }
  std::copy(table.begin(), table.end(), dbias_table);
  std::copy(scale.begin(), scale.end(), dscale_of_heads);
}

}  // namespace swinv2
