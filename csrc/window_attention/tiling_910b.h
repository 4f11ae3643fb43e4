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

}  // namespace swinv2
