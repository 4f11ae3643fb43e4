// SPDX-License-Identifier: Apache-2.0
//
// How window attention is cut up for an Ascend core: a pure function of shape and chip, used as it is by host
// and kernel. Terms:
//
// - block: 16 tokens of a window in raster order, the side of a cube fractal; N1 blocks cover its N tokens
// - strip: windows side by side, whose rows are read as one
// - task: a strip and a group of heads; unit: one head of one window
// - phase: a task is loaded and attended whole, or in two goes (below)
// - class: query blocks that start in the same window column (16 * block mod Ww); they share one bias panel
// - tile: up to `tile_blocks` query blocks of one class against all keys of a unit
// - key chunk: the keys of which L0A and L0B hold operands at a time, `key_blocks` blocks
//
// Two phases are for windows whose heads do not fit L1 and UB together, while every group of them cuts
// sectors. The heads are thirds X, Y, Z, and a pair of tokens, of an even and an odd column ('), is nine
// pieces of whole sectors:
//
//   qX qY | qZ kX | kY kZ | vX vY | vZ q'X | q'Y q'Z | k'X k'Y | k'Z v'X | v'Y v'Z
//
// The first phase reads all but every third piece: what it attends, X, and a half of each of q, k, v of Y and
// Z. The second reads the others and attends Y and Z. Keys lie even columns first, so that these halves are
// whole blocks, and X lies in L1 where the other halves will.
//
// A bias panel holds the bias of a class, transposed: row (key) by 16 lanes (queries of a block). Going from
// one block of the class to the next, the relative rows shift, so the panel of block b starts at row
// (panel_top(class) - b's window row) * Ww of (max - min window row + Wh) * Ww rows. The shared panels are
// what `prepare_bias` makes of the table: (heads, classes, panel_rows, 16) float32. Where N is no multiple of
// 16, every block has 16 * N1 rows of its own: a panel each, or one panel of all of them.
#pragma once

#include <cstdint>
#include <type_traits>

namespace swinv2 {

struct WindowAttentionProblem {
  int32_t batch, height, width;
  int32_t window_h, window_w;
  int32_t shift_h, shift_w;
  int32_t valid_h, valid_w;
  int32_t heads, head_dim;
  int32_t cosine;
  int32_t bfloat16;  // storage of qkv and out: bfloat16 (910B), or float16
  float mask_value;  // finite: -Inf comes as kForbidden
};

struct WindowAttentionTiling910 : WindowAttentionProblem {
  // Work.
  int32_t blocks;      // N1
  int32_t head_group;  // heads of a task, a divisor of heads
  int32_t strip;       // windows of a task, side by side; more than one only with all heads
  int32_t phases;      // 1, or 2 with all heads and one window
  int32_t tasks;  // windows / strip * heads / head_group; a core takes a run of them, windows inside heads
  int32_t cores;
  // Tiles.
  int32_t classes;
  int32_t panel_rows;
  int32_t norm_units;  // units whose q and k are measured together
  int32_t tile_blocks;
  int32_t key_blocks;
  // Buffers.
  int32_t stage_tokens;  // tokens of a task's strip, in raster order, a UB staging slot holds
  int32_t weight_slots;  // UB slots of probabilities
  int32_t panel_slots;   // bias panels in UB
  int32_t qkv_slots;     // tasks whose q, k, v L1 holds
};
static_assert(std::is_trivially_copyable<WindowAttentionTiling910>::value, "travels as bytes");
static_assert(sizeof(WindowAttentionTiling910) == 29 * 4, "no padding: host and device agree");

// The backward. A unit is one head of a window; a core takes a run of them, windows inside heads; a tile is
// `tile_blocks` blocks of 16 queries against all keys. The bias is (heads, blocks, 16 * blocks keys, 16 queries).
// dbias (cores, heads_a_core, blocks, 16 * blocks, 16) and dscale (cores, heads_a_core, 64) leave as sums over
// the units of a core, for gather_gradients (tiling_host.h).
struct WindowAttentionGradTiling910 : WindowAttentionProblem {
  int32_t blocks;
  int32_t units;  // windows * heads
  int32_t cores;
  int32_t heads_a_core;  // the most that a core's units have
  int32_t tile_blocks;
};
static_assert(std::is_trivially_copyable<WindowAttentionGradTiling910>::value, "travels as bytes");
static_assert(sizeof(WindowAttentionGradTiling910) == 19 * 4, "no padding: host and device agree");

constexpr float kForbidden = -1e30f;  // added to a logit; -Inf would make NaN of two of them

}  // namespace swinv2
