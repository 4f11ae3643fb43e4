// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "core/chip.h"
#include "core/shape.h"
#include "window_attention/tiling.h"
#include "window_attention/tiling_910b.h"
#include "window_attention/window_attention.h"

namespace swinv2 {

using Fields = std::vector<std::pair<std::string, double>>;  // names and values of a struct

inline int64_t divide_up(int64_t a, int64_t b) {
  return (a + b - 1) / b;
}

// Throw InvalidArgument where the chip, or 32 bits, cannot hold the problem, naming the argument and the mend.
WindowAttentionProblem problem_of(const WindowAttention& op);
void check_910(const WindowAttention& op, const ChipLimits& chip);
void check_910b(const WindowAttention& op, const ChipLimits& chip);
[[noreturn]] void fail_to_fit(const WindowAttention& op, const ChipLimits& chip);
WindowAttentionTiling910 tile_window_attention(const WindowAttention& op, const ChipLimits& chip);
WindowAttentionTiling910B tile_window_attention_910b(const WindowAttention& op, const ChipLimits& chip);
WindowAttentionGradTiling910 tile_window_attention_grad(const WindowAttention& op, const ChipLimits& chip);
WindowAttentionGradTiling910B tile_window_attention_grad_910b(const WindowAttention& op,
                                                              const ChipLimits& chip);

// Bytes of each memory the kernel's buffers take.
struct MemoryUse {
  int64_t ub, l1, l0a, l0b, l0c;
};
MemoryUse memory_use(const WindowAttentionTiling910& tiling);
MemoryUse memory_use(const WindowAttentionTiling910B& tiling);
MemoryUse memory_use(const WindowAttentionGradTiling910& tiling);
MemoryUse memory_use(const WindowAttentionGradTiling910B& tiling);

// What is on its way between the cores of a 910B.
int64_t workspace_bytes(const WindowAttentionTiling910& tiling);  // none
int64_t workspace_bytes(const WindowAttentionTiling910B& tiling);
int64_t workspace_bytes(const WindowAttentionGradTiling910& tiling);  // none
int64_t workspace_bytes(const WindowAttentionGradTiling910B& tiling);

// Bytes of GM that a launch moves: in whole sectors, and as if each byte moved once.
struct Traffic {
  int64_t compulsory;  // qkv + out
  int64_t qkv_out;     // in sectors
  int64_t bias;        // windows * heads * classes * panel_rows * 64, over the strip where there is one class
};
Traffic traffic(const WindowAttentionTiling910& tiling, const ChipLimits& chip);

// Cores take contiguous runs of tasks: the work of each, `work` a task.
std::vector<int64_t> runs_of_cores(int64_t tasks, int64_t cores, int64_t work);
// Heads of windows of each core.
std::vector<int64_t> work_of_cores(const WindowAttentionTiling910& tiling);
std::vector<int64_t> work_of_cores(const WindowAttentionTiling910B& tiling);
std::vector<int64_t> work_of_cores(const WindowAttentionGradTiling910& tiling);
std::vector<int64_t> work_of_cores(const WindowAttentionGradTiling910B& tiling);

#define SWINV2_FIELD(name) {#name, double(t.name)}
Fields fields(const WindowAttentionProblem& t);
Fields fields(const WindowAttentionTiling910& t);  // the problem's too
Fields fields(const WindowAttentionTiling910B& t);
Fields fields(const WindowAttentionGradTiling910& t);
Fields fields(const WindowAttentionGradTiling910B& t);
Fields joined(Fields first, const Fields& second);

// (heads, 2Wh-1, 2Ww-1) -> (heads, classes, panel_rows, 16), see tiling.h. Rows of keys beyond N: kForbidden.
std::vector<float> prepare_bias(const WindowAttentionTiling910& tiling, const float* bias_table);
// -> (heads, N, N rounded up to 16): the bias of every query and key.
std::vector<float> expand_bias(const WindowAttentionProblem& problem, const float* bias_table);
std::vector<float> prepare_bias(const WindowAttentionTiling910B& tiling, const float* bias_table);
std::vector<float> prepare_bias(const WindowAttentionGradTiling910B& tiling, const float* bias_table);
// -> (heads, blocks, 16 * blocks, 16): the same in blocks of 16 queries, transposed.
std::vector<float> prepare_bias(const WindowAttentionGradTiling910& tiling, const float* bias_table);
Shape bias_shape(const WindowAttentionTiling910& tiling);
Shape bias_shape(const WindowAttentionTiling910B& tiling);
Shape bias_shape(const WindowAttentionGradTiling910& tiling);
Shape bias_shape(const WindowAttentionGradTiling910B& tiling);

// What prepare_bias puts where in the bias of a head, by number: an entry of its table, or one of the two behind them.
template <class Tiling>
std::vector<int32_t> bias_index(Tiling tiling) {
  tiling.heads = 1;
  const int32_t entries = (2 * tiling.window_h - 1) * (2 * tiling.window_w - 1), zero = entries,
                forbidden = entries + 1;
  std::vector<float> table(entries);
  for (int32_t i = 0; i < entries; ++i) table[i] = i + 1;
  std::vector<int32_t> index;
  for (float x : prepare_bias(tiling, table.data()))
    index.push_back(x == kForbidden ? forbidden : x == 0.f ? zero : int32_t(x) - 1);
  return index;
}

// The backward's partial sums (tiling.h, tiling_910b.h), Tiling that of either chip; their slots come first.
struct Partials {
  Shape dbias, dscale;
};
template <class Tiling>
Partials partials_of(const Tiling& tiling);
// The head that each slot belongs to; -1: nobody writes it.
template <class Tiling>
std::vector<int32_t> heads_of_partials(const Tiling& tiling);
// dbias_table (heads, 2Wh-1, 2Ww-1) and dscale (heads,) of them, in one order.
template <class Tiling>
void gather_gradients(const Tiling& tiling, const float* dbias, const float* dscale, float* dbias_table,
                      float* dscale_of_heads);

// Throws InvalidArgument for a name that is no chip's.
const ChipLimits& chip_of(const char* soc);

inline bool is_910(const ChipLimits& chip) {
  return !std::strcmp(chip.name, kAscend910.name);
}

// use(tiling) for the chip's tiling of the problem.
template <class F>
auto with_tiling(const WindowAttention& op, const ChipLimits& chip, F use) {
  if (is_910(chip)) return use(tile_window_attention(op, chip));
  return use(tile_window_attention_910b(op, chip));
}
template <class F>
auto with_grad_tiling(const WindowAttention& op, const ChipLimits& chip, F use) {
  if (is_910(chip)) return use(tile_window_attention_grad(op, chip));
  return use(tile_window_attention_grad_910b(op, chip));
}

// use(head, entry of the tables, query, key) for all pairs of all heads.
template <class F>
void over_pairs(const WindowAttentionProblem& t, F use) {
  const int64_t n = int64_t{t.window_h} * t.window_w, height = 2 * t.window_h - 1, width = 2 * t.window_w - 1;
  for (int64_t head = 0; head < t.heads; ++head)
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < n; ++j) {
        const int64_t dy = i / t.window_w - j / t.window_w, dx = i % t.window_w - j % t.window_w;
        use(head, (head * height + dy + t.window_h - 1) * width + dx + t.window_w - 1, i, j);
      }
}

}  // namespace swinv2
