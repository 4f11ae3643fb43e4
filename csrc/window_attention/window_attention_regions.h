// SPDX-License-Identifier: Apache-2.0
//
// Windows that a shift has put together of up to four regions. The mask adds mask_value, -100, between them: a key of
// another region has a weight of about e^-100, nothing beside those of its own. Such a window is attended region by
// region, each a smaller window without a mask: where the shift is half a window, half the products or, in the
// corner, a quarter.
//
// Whether that changes anything is checked for every window and head; where it might, the mask is added as it says.
// In cosine attention s_ij <= scale + bias, so that lse_i bounds what a p between regions can be:
//
//   p_ij = exp(s_ij - lse_i) <= A = exp(scale + max bias + mask_value - min lse)
//
// Let V be the largest factor between the sizes of two v_jc of one channel in the window, and O, Q, K those of do, q,
// k. A sum over the window loses at most N terms, which must be less than float32's rounding, 2^-24, of the sizes of
// those that remain. In the forward these are, in all, at least 1/V of any v_jc:
//
//   (1)  o_ic:  N A V <= 2^-26 / N, with A <= 2^-46 / N^2 and V <= 2^20
//
// In gradients the p that remain can be small too: of P = min_j max_i p_ij, i and j of one region. And the difference
// in ds_ij = p_ij (do_i . v_j - D_i) may leave no more than its rounding, 2^-24 p_ij sum_c |do_ic v_jc|. Q^2 and K^2
// are the factors of q^ and k^, as norms differ too:
//
//   (2)  dv_jc, dq_ic, dk_jc, dscale:  N A O V max(Q, K)^2 <= 2^-28 P / N
//
// A token alone in its region has no such rounding, ds_ii = 0: its window has the mask. So has one with a NaN or Inf,
// which reaches all tokens through it. An entry of the bias table may have no pairs in any region, or only such as
// have no gradient. So what a head loses of an entry is added up, at most 2 N A d max |do| max |v| a window, and
// where that is more than 2^-20 of one, the head is done again with the mask.
#pragma once

#include <cmath>
#include <utility>
#include <vector>

#include "cpu/rows.h"
#include "window_attention/window_attention_cpu.h"

namespace swinv2 {
namespace SWINV2_ISA {

constexpr int kMostRegions = 4;

// The layouts of the regions, for each way in which a window may be split; none in dot-product attention, where nothing
// bounds the scores.
template <int D>
class Regions {
 public:
  explicit Regions(const WindowAttention& op) : op_(op) {
    const WindowGeometry& g = op.geometry;
    if (!op.cosine) return;
    for (const bool below : {false, true})
      for (const bool right : {false, true}) {
        if ((below && !g.shift_h) || (right && !g.shift_w) || !(below || right)) continue;
        for (const Span& rows : spans(g.window_h, below ? g.shift_h : 0))
          for (const Span& cols : spans(g.window_w, right ? g.shift_w : 0))
            layouts_[2 * below + right].emplace_back(op, rows, cols);
      }
  }

  // Whether any window has regions to attend.
  bool any() const { return !layouts_[1].empty() || !layouts_[2].empty(); }

  const std::vector<Layout<D>>& of(const Window& window) const {
    return layouts_[2 * (window.split_h < op_.geometry.window_h) + (window.split_w < op_.geometry.window_w)];
  }

  // Floats of the slabs of a key tile, whatever is attended.
  int64_t slabs(const Layout<D>& at) const {
    int64_t most = at.tile_columns * at.slab;
    for (const std::vector<Layout<D>>& split : layouts_)
      for (const Layout<D>& region : split)
        if (region.tile_columns * region.slab > most) most = region.tile_columns * region.slab;
    return most;
  }

 private:
  static std::vector<Span> spans(int64_t window, int64_t shift) {
    if (!shift) return {{0, window}};
    return {{0, window - shift}, {window - shift, shift}};
  }

  const WindowAttention& op_;
  std::vector<Layout<D>> layouts_[4];  // [2 * split in rows + split in columns]
};

// What a thread keeps of windows: the one at hand, its regions and the one after it; and the key tile of each that has
// but one.
struct Windows {
  Window whole, coming, regions[kMostRegions];
  int32_t* tokens;  // of the regions
  KeyTile* tiles;   // of the whole, then of the regions
  Window window;    // what is attended: the whole or a region
  KeyTile* tile;
  bool alone;  // a token is the only one of its region

  template <int D>
  Windows(const Layout<D>& at, Arena& arena) {
    tiles = arena.take<KeyTile>(1 + kMostRegions);
    float* mask = arena.take<float>(4 * at.queries);
    for (Window* w : {&whole, &coming}) {
      w->token = arena.take<int32_t>(at.queries);
      w->mask = mask;
    }
    const WindowGeometry& g = at.op.geometry;
    tokens = arena.take<int32_t>(g.shift_h || g.shift_w ? at.N + kMostRegions * kBlock : 0);
  }

  void attend(int which) {  // 0: the whole window, r: its region r - 1
    window = which ? regions[which - 1] : whole;
    tile = tiles + which;
  }

  // Makes the unit's window the one at hand.
  template <int D>
  void enter(const Layout<D>& at, const Regions<D>& regions_of, const Unit& unit, bool by_rows = false) {
    if (!unit.new_window) return;
    if (unit.first_window)
      at.locate(whole, unit.window);
    else
      std::swap(whole, coming);
    if (unit.coming.group) at.locate(coming, unit.coming.window);
    const auto list_keys = [&](const Layout<D>& layout, const Window& window, KeyTile& tile) {
      int64_t column = 0, row = 0;
      if (layout.single_tile) layout.next(tile, window, column, row, by_rows);
    };
    list_keys(at, whole, tiles[0]);
    if (!whole.masked) return;
    at.write_mask(whole);
    alone = false;
    int r = 0;
    int32_t* token = tokens;
    for (const Layout<D>& region : regions_of.of(whole)) {
      regions[r].token = token;
      token += region.queries;
      region.select(regions[r], whole);
      list_keys(region, regions[r], tiles[1 + r]);
      int64_t there = 0;
      for (int64_t i = 0; i < region.N; ++i) there += regions[r].token[i] >= 0;
      alone = alone || there == 1;
      ++r;
    }
  }
};

// In log2 units: the most that a score can be at all, and between regions; the least that the largest of a row can be,
// as every token is a key of its own; and what lse is hardly below. NaN where the table holds NaN or Inf.
struct Scores {
  float most, away, least_top, lse;
};
inline Scores bound_scores(const WindowAttention& op, const float* table, float scale) {
  Vec high = splat(kLowest), low = splat(kHighest), zeros{};
  const int64_t size = op.table_size(), whole = size - size % kLanes;
  for (int64_t e = 0; e < whole; e += kLanes) {
    const Vec bias = load(table + e);
    high = vmax(high, bias);
    low = -vmax(-low, -bias);
    zeros += 0 * bias;  // NaN and Inf show
  }
  float highest = max_lanes(high), lowest = -max_lanes(-low), zero = sum_lanes(zeros);
  for (int64_t e = whole; e < size; ++e) {
    highest = table[e] > highest ? table[e] : highest;
    lowest = table[e] < lowest ? table[e] : lowest;
    zero += 0 * table[e];
  }
  const float product = std::fabs(scale), most = product + highest + zero;
  return {most * kLog2E, (most + op.mask_value) * kLog2E, (table[size / 2] - product + zero) * kLog2E,
          (0.1f * product + lowest + zero) * kLog2E};
}

// The least of `count` lse; one of kLowest, where nothing is a key, is none.
inline float least_of(const float* lse, int64_t count) {
  const auto known = [](auto x, auto none) { return x == kLowest ? none : x; };
  Vec low = splat(kHighest);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) low = -vmax(-low, -known(load(lse + i), splat(kHighest)));
  float least = -max_lanes(-low);
  for (; i < count; ++i) least = known(lse[i], kHighest) < least ? lse[i] : least;
  return least;
}

// Of the numbers of a window: log2 of the largest factor between two of a channel, and the largest size. Inf where
// one is not finite. x is the first row's. The bits of positive floats are in their order, and 2^23 apart for a
// factor of 2; 0 and subnormals are taken to be any factor from the rest.
struct Spread {
  float bits, largest;
};
template <int D, class T>
Spread spread(const Layout<D>& at, const Window& window, const T* x, int64_t stride) {
  const VecI magnitude = (VecI)Vec{} + 0x7fffffff, highest = (VecI)splat(kHighest),
             any = (VecI)Vec{} + (255 << 23);
  const int64_t d = at.d(), N = at.N;
  VecI apart{}, largest{};
  at.each_columns([&](int64_t c, auto vectors) {
    constexpr int V = decltype(vectors)::value;
    VecI low[V], high[V];
    for (int v = 0; v < V; ++v) low[v] = highest, high[v] = VecI{};
    for (int64_t i = 0; i < N; ++i) {
      if (window.token[i] < 0) continue;
      const T* row = x + window.token[i] * stride + c;
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) {
        const VecI size = (VecI)load_first(row + v * kLanes, d - c - v * kLanes) & magnitude;
        low[v] = size < low[v] ? size : low[v];
        high[v] = size > high[v] ? size : high[v];
      }
    }
    for (int v = 0; v < V; ++v) {
      const VecI factor = (low[v] < 1 << 23) & (high[v] > 0) ? any : high[v] - low[v];
      apart = factor > apart ? factor : apart;
      largest = high[v] > largest ? high[v] : largest;
    }
  });
  if (!all(largest <= highest)) return {HUGE_VALF, HUGE_VALF};
  return {max_lanes(__builtin_convertvector(apart, Vec)) * 0x1p-23f, max_lanes((Vec)largest)};
}

}  // namespace SWINV2_ISA
}  // namespace swinv2
