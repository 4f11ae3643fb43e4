// SPDX-License-Identifier: Apache-2.0
//
// How window attention is cut up for ascend910b: a pure function of shape and chip, used as it is by host and
// kernel. Terms:
//
// - task: one window and `head_group` heads, of one AIC and its two AIVs
// - tile: `tile_rows` queries of a window against all its keys
// - unit: a tile of one head; a task's units run over its tiles, heads inside; the AIVs take them in turn
// - step: two units, one of each AIV; cube and vector cores meet once a step
//
// Scores go to the AIV, probabilities come back, through a workspace in GM, four units deep:
// (cores, 4, tile_rows, 16 * blocks) float32, then (cores, 4, tile_rows, 2, 16 * blocks) in the storage type.
#pragma once

#include <cstdint>
#include <type_traits>

#include "window_attention/tiling.h"

namespace swinv2 {

struct WindowAttentionTiling910B : WindowAttentionProblem {
  // Work.
  int32_t blocks;      // of 16 tokens that cover a window
  int32_t head_group;  // heads of a task, a divisor of heads
  int32_t tasks;       // windows * heads / head_group; a core takes a run of them, windows inside heads
  int32_t cores;       // AICs
  // Tiles.
  int32_t tile_rows;   // a multiple of 16
  int32_t tiles;       // of a window
  int32_t key_blocks;  // of a product
  // Buffers.
  int32_t pitch;          // floats of a row of scores in UB: a multiple of 64
  int32_t score_slots;    // scores and bias in UB
  int32_t bias_resident;  // the bias of all heads of a task stays in UB
  int32_t qkv_slots;      // tasks whose q, k, v L1 holds
};
static_assert(std::is_trivially_copyable<WindowAttentionTiling910B>::value, "travels as bytes");
static_assert(sizeof(WindowAttentionTiling910B) == 25 * 4, "no padding: host and device agree");

constexpr int32_t kNormTokens = 64;  // of which an AIV measures q or k at a time
constexpr int32_t kUnitsInFlight = 4;
constexpr int32_t kWeightParts = 2;  // a probability goes as its rounded value and the rounded rest

// The backward. A unit is one head of a window; a core takes a run of them, windows inside heads, its AIVs in turn; a
// step is two units, one of each AIV. Between the cores go, through a workspace in GM, float32:
//
//   (cores, 6, 4, row, head_dim)  q^, k^, v, do     row = 16 * blocks
//   (cores, 4, 3, row, head_dim)  the gradients of q, k, before their norms, and v
//   (cores, 4, 2, row, row)       scores, then probabilities; do . v, then ds
//
// dbias (2 * cores, heads_a_core, N, row) and dscale (2 * cores, heads_a_core, 128) leave as sums over the units of an
// AIV, for gather_gradients (tiling_host.h).
struct WindowAttentionGradTiling910B : WindowAttentionProblem {
  int32_t blocks;  // of 16 tokens that cover a window
  int32_t units;   // windows * heads
  int32_t cores;
  int32_t heads_a_core;  // the most that a core's units have
  int32_t tile_rows;     // rows of scores in UB, a multiple of 8
  int32_t pitch;         // floats of a row of scores in UB: a multiple of 64
};
static_assert(std::is_trivially_copyable<WindowAttentionGradTiling910B>::value, "travels as bytes");
static_assert(sizeof(WindowAttentionGradTiling910B) == 20 * 4, "no padding: host and device agree");

constexpr int32_t kPreparedUnits = 6, kPulledUnits = 4;  // in flight
constexpr int32_t kChunk = 2048;              // numbers of q, k, v or do that an AIV holds at a time
constexpr int32_t kScaleLanes = kChunk / 16;  // the most tokens of them

}  // namespace swinv2
