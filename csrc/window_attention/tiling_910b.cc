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

}  // namespace

void check_910b(const WindowAttention& op, const ChipLimits& chip) {
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

WindowAttentionTiling910B tile_window_attention_910b(const WindowAttention& op, const ChipLimits& chip) {
  const WindowGeometry& g = op.geometry;
  check_910b(op, chip);
  WindowAttentionTiling910B t{};
  static_cast<WindowAttentionProblem&>(t) = problem_of(op);
  t.blocks = divide_up(g.tokens(), 16);
  t.pitch = divide_up(g.tokens(), 64) * 64;

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

MemoryUse memory_use(const WindowAttentionTiling910B& t) {
  return {ub_bytes(t), l1_bytes(t), 2 * kSlotBytes, 2 * kSlotBytes, 4 * kSlotBytes};
}

int64_t workspace_bytes(const WindowAttentionTiling910B& t) {
  return int64_t{t.cores} * kUnitsInFlight * t.tile_rows * t.blocks * 16 * (4 + 2 * kWeightParts);
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

std::vector<float> expand_bias(const WindowAttentionProblem& t, const float* table) {
  const int64_t n = int64_t{t.window_h} * t.window_w, row = divide_up(n, 16) * 16;
  std::vector<float> bias(t.heads * n * row, 0.f);
  over_pairs(t, [&](int64_t head, int64_t entry, int64_t i, int64_t j) {
    bias[(head * n + i) * row + j] = table[entry];
  });
  return bias;
}

std::vector<float> prepare_bias(const WindowAttentionTiling910B& t, const float* table) {
  return expand_bias(t, table);
}

Shape bias_shape(const WindowAttentionTiling910B& t) {
  return {t.heads, int64_t{t.window_h} * t.window_w, t.blocks * 16};
}

}  // namespace swinv2
