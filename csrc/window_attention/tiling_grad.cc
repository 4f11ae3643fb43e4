// SPDX-License-Identifier: Apache-2.0
//
// The backward's tilings, of both chips, and what its kernels leave to the host.
#include <algorithm>

#include "core/check.h"
#include "window_attention/tiling_host.h"

namespace swinv2 {
namespace {

constexpr int32_t kMaxRepeats = 255;

// Units and cores.
template <class Tiling>
Tiling shared_out(const WindowAttention& op, const ChipLimits& chip) {
  Tiling t{};
  static_cast<WindowAttentionProblem&>(t) = problem_of(op);
  t.blocks = divide_up(op.geometry.tokens(), 16);
  const int64_t windows = op.geometry.windows();
  t.units = windows * t.heads;
  t.cores = std::min(chip.cores, t.units);
  for (int64_t core = 0; core < t.cores; ++core) {
    const int64_t first = core * t.units / t.cores, last = (core + 1) * t.units / t.cores - 1;
    t.heads_a_core = std::max<int64_t>(t.heads_a_core, last / windows - first / windows + 1);
  }
  return t;
}

// As the kernel's constructor makes them.
int64_t ub_bytes(const WindowAttentionGradTiling910B& t) {
  const int64_t floats = int64_t{t.tile_rows} * t.pitch * 3    // s, ds, bias
                         + (4 + 1 + 3 * 4) * int64_t{t.pitch}  // mask, lse, facts of tokens
                         + 3 * kChunk                          // rows of float32
                         + kScaleLanes * (8 + 4);              // copies; numbers, deltas, ones, dscale
  return floats * sizeof(float) + kChunk * sizeof(Half);
}

}  // namespace

WindowAttentionGradTiling910 tile_window_attention_grad(const WindowAttention& op, const ChipLimits& chip) {
  check_910(op, chip);
  auto t = shared_out<WindowAttentionGradTiling910>(op, chip);
  const auto fits = [&] {
    const MemoryUse use = memory_use(t);
    return use.ub <= chip.ub && use.l1 <= chip.l1 && use.l0a <= chip.l0a && use.l0b <= chip.l0b &&
           use.l0c <= chip.l0c && t.tile_blocks * t.blocks <= kMaxRepeats &&
           t.blocks * t.head_dim / 16 <= kMaxRepeats;
  };
  for (t.tile_blocks = std::min(t.blocks, 4); !fits(); --t.tile_blocks)
    if (t.tile_blocks == 1) fail_to_fit(op, chip);
  return t;
}

WindowAttentionGradTiling910B tile_window_attention_grad_910b(const WindowAttention& op,
                                                              const ChipLimits& chip) {
  check_910b(op, chip);
  auto t = shared_out<WindowAttentionGradTiling910B>(op, chip);
  t.pitch = divide_up(op.geometry.tokens(), 64) * 64;
  // The fewest tiles that fit, even ones.
  const int32_t row = t.blocks * 16;
  for (t.tile_rows = std::min(row, kScaleLanes); ub_bytes(t) > chip.ub; t.tile_rows -= 8)
    if (t.tile_rows == 8) fail_to_fit(op, chip);
  t.tile_rows = divide_up(row, divide_up(row, t.tile_rows) * 8) * 8;
  return t;
}

// Buffers as the kernel's constructor makes them.
MemoryUse memory_use(const WindowAttentionGradTiling910& t) {
  const int64_t d = t.head_dim, row = int64_t{t.blocks} * 16, tile = int64_t{t.tile_blocks} * row * 16;
  const int64_t rows = d * 64, tokens = divide_up(row, 64) * 64, pair = 2 * sizeof(Half);
  return {int64_t(2 * rows * sizeof(Half) + 3 * rows * sizeof(float)  // stage, turned; wide, other, third
                  + tile * (3 * sizeof(float) + 2 * pair)             // s, ds, bias; p and ds as pairs
                  + (tokens + 4 * 64 + 4 * 16) * sizeof(float)        // lse; a number a lane; mask
                  + 64 * sizeof(Half)),                               // the largest numbers
          int64_t((6 * row * d + 4 * tile) * sizeof(Half)), int64_t(row * d * sizeof(Half)),
          int64_t(t.tile_blocks * std::max<int64_t>(row, d) * 16 * sizeof(Half)),
          int64_t((2 * tile + t.tile_blocks * d * 16 + 2 * row * d) * sizeof(float))};
}
MemoryUse memory_use(const WindowAttentionGradTiling910B& t) {
  constexpr int64_t part = 32 * 1024, product = 64 * 1024;  // 128 x 64 and 128 x 128 floats
  return {ub_bytes(t), 4 * part, 2 * part, 2 * part, 2 * product};
}

int64_t workspace_bytes(const WindowAttentionGradTiling910&) {
  return 0;
}
int64_t workspace_bytes(const WindowAttentionGradTiling910B& t) {
  const int64_t row = t.blocks * 16;
  return t.cores * row * ((kPreparedUnits * 4 + kPulledUnits * 3) * t.head_dim + kPulledUnits * 2 * row) * 4;
}

std::vector<int64_t> work_of_cores(const WindowAttentionGradTiling910& t) {
  return runs_of_cores(t.units, t.cores, 1);
}
std::vector<int64_t> work_of_cores(const WindowAttentionGradTiling910B& t) {
  return runs_of_cores(t.units, t.cores, 1);
}

Fields fields(const WindowAttentionGradTiling910& t) {
  return joined(fields(static_cast<const WindowAttentionProblem&>(t)),
                {SWINV2_FIELD(blocks), SWINV2_FIELD(units), SWINV2_FIELD(cores), SWINV2_FIELD(heads_a_core),
                 SWINV2_FIELD(tile_blocks)});
}
Fields fields(const WindowAttentionGradTiling910B& t) {
  return joined(fields(static_cast<const WindowAttentionProblem&>(t)),
                {SWINV2_FIELD(blocks), SWINV2_FIELD(units), SWINV2_FIELD(cores), SWINV2_FIELD(heads_a_core),
                 SWINV2_FIELD(tile_rows), SWINV2_FIELD(pitch)});
}

namespace {

// What both chips' arrays of pairs have in common: sums of `sides` vector units a core, and where a pair lies.
struct Layout {
  int64_t sides, pairs, lanes;
  int64_t row;
  bool turned;  // (blocks of 16 queries, keys, 16), not (queries, keys)

  int64_t at(int64_t i, int64_t j) const { return turned ? (i / 16 * row + j) * 16 + i % 16 : i * row + j; }
};

Layout layout_of(const WindowAttentionGradTiling910& t) {
  const int64_t row = int64_t{t.blocks} * 16;
  return {1, row * row, 64, row, true};
}
Layout layout_of(const WindowAttentionGradTiling910B& t) {
  const int64_t row = int64_t{t.blocks} * 16, n = int64_t{t.window_h} * t.window_w;
  return {2, n * row, kScaleLanes, row, false};
}

}  // namespace

std::vector<float> prepare_bias(const WindowAttentionGradTiling910& t, const float* table) {
  const Layout l = layout_of(t);
  std::vector<float> bias(t.heads * l.pairs, 0.f);
  over_pairs(t, [&](int64_t head, int64_t entry, int64_t i, int64_t j) {
    bias[head * l.pairs + l.at(i, j)] = table[entry];
  });
  return bias;
}
std::vector<float> prepare_bias(const WindowAttentionGradTiling910B& t, const float* table) {
  return expand_bias(t, table);
}

Shape bias_shape(const WindowAttentionGradTiling910& t) {
  return {t.heads, t.blocks, t.blocks * 16, 16};
}
Shape bias_shape(const WindowAttentionGradTiling910B& t) {
  return {t.heads, int64_t{t.window_h} * t.window_w, t.blocks * 16};
}

template <class Tiling>
Partials partials_of(const Tiling& t) {
  const Layout l = layout_of(t);
  Shape dbias = bias_shape(t);
  dbias[0] = l.sides * t.cores * t.heads_a_core;
  return {dbias, {dbias[0], l.lanes}};
}
template Partials partials_of(const WindowAttentionGradTiling910&);
template Partials partials_of(const WindowAttentionGradTiling910B&);

template <class Tiling>
std::vector<int32_t> heads_of_partials(const Tiling& t) {
  const int64_t sides = layout_of(t).sides, windows = t.units / t.heads;
  std::vector<int32_t> heads(sides * t.cores * t.heads_a_core, -1);
  for (int64_t core = 0; core < t.cores; ++core) {
    const int64_t first = core * t.units / t.cores, last = (core + 1) * t.units / t.cores;
    for (int64_t head = first / windows; head <= (last - 1) / windows; ++head) {
      const int64_t begin = std::max(first, head * windows), end = std::min(last, (head + 1) * windows);
      for (int64_t unit = begin; unit < std::min(end, begin + sides); ++unit)  // the sides take turns
        heads[(core * sides + (unit - first) % sides) * t.heads_a_core + head - first / windows] = head;
    }
  }
  return heads;
}
template std::vector<int32_t> heads_of_partials(const WindowAttentionGradTiling910&);
template std::vector<int32_t> heads_of_partials(const WindowAttentionGradTiling910B&);

template <class Tiling>
void gather_gradients(const Tiling& t, const float* dbias, const float* dscale, float* dbias_table,
                      float* dscale_of_heads) {
  const Layout l = layout_of(t);
  std::vector<double> pairs(t.heads * l.pairs, 0.), scale(t.heads, 0.);
  for (int32_t head : heads_of_partials(t)) {
    if (head >= 0) {
      for (int64_t k = 0; k < l.pairs; ++k) pairs[head * l.pairs + k] += dbias[k];
      for (int64_t k = 0; k < l.lanes; ++k) scale[head] += dscale[k];
    }
    dbias += l.pairs, dscale += l.lanes;
  }
  std::vector<double> table(t.heads * (2 * int64_t{t.window_h} - 1) * (2 * t.window_w - 1), 0.);
  over_pairs(t, [&](int64_t head, int64_t entry, int64_t i, int64_t j) {
    table[entry] += pairs[head * l.pairs + l.at(i, j)];
  });
  std::copy(table.begin(), table.end(), dbias_table);
  std::copy(scale.begin(), scale.end(), dscale_of_heads);
}
template void gather_gradients(const WindowAttentionGradTiling910&, const float*, const float*, float*,
                               float*);
template void gather_gradients(const WindowAttentionGradTiling910B&, const float*, const float*, float*,
                               float*);

}  // namespace swinv2
