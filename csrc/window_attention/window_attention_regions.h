// SPDX-License-Identifier: Apache-2.0
//
// Windows that a shift has put together of up to four regions. The mask adds mask_value, -100, between them: a key of
// another region has a weight of about e^-100, nothing beside those of its own. Such a window is attended region by
// region, each a smaller window without a mask: where the shift is half a window, half the products or, in the corner, a
// quarter.
//
// Whether that changes anything is checked for every window and head; where it might, the mask is added as it says.
// In cosine attention s_ij <= scale + bias, so that lse_i bounds what a masked p can be:
//
//   (1)  p_ij = exp(s_ij - lse_i) <= exp(scale + max bias + mask_value - lse_i) <= 2^-46 / N^2
//   (2)  max_j |v_jc| <= 2^20 min_j |v_jc|  for every channel c
//
// Of o_ic = sum_j p_ij v_jc at most N terms are left out, together below N 2^-46 / N^2 2^20 = 2^-26 / N of the others' sum
// of sizes, which float32 rounds by 2^-24. In gradients the others may cancel, down to nothing in a region of one token,
// so that no such bound helps: there only mask_value = -Inf goes by regions, where p is 0.
// A NaN or Inf reaches every token of its window through the mask: that of q or k shows in lse, in v and do it is looked
// for.
#pragma once

#include <cmath>
#include <utility>
#include <vector>

#include "cpu/rows.h"
#include "window_attention/window_attention_cpu.h"

namespace swinv2 {
namespace SWINV2_ISA {

constexpr int kMostRegions = 4;

// The exponent of (2); what -Inf forbids is nothing beside values of any size.
inline int value_exponent(const WindowAttention& op) {
  return op.mask_value == -HUGE_VALF ? 0 : 20;
}

// The layouts of the regions, for each way in which a window may be split; none where regions are not `wanted`.
template <int D>
class Regions {
 public:
  Regions(const WindowAttention& op, bool wanted) : op_(op) {
    const WindowGeometry& g = op.geometry;
    if (!wanted) return;
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
    int r = 0;
    int32_t* token = tokens;
    for (const Layout<D>& region : regions_of.of(whole)) {
      regions[r].token = token;
      token += region.queries;
      region.select(regions[r], whole);
      list_keys(region, regions[r], tiles[1 + r]);
      ++r;
    }
  }
};

// The least lse of a head's queries, in log2 units, at which (1) holds. Inf or NaN: none; where scores could be so large
// that lse would hardly be either, it is not tried.
inline float least_lse(const WindowAttention& op, const float* table, float scale) {
  Vec high = splat(kLowest), low = splat(kHighest), zeros{};
  const int64_t size = op.table_size(), whole = size - size % kLanes;
  for (int64_t e = 0; e < whole; e += kLanes) {
    const Vec bias = load(table + e);
    high = vmax(high, bias);
    low = -vmax(-low, -bias);
    zeros += 0 * bias;  // NaN and Inf show
  }
  float highest = kLowest, lowest = kHighest, zero = sum_lanes(zeros);
  const auto count = [&](float bias) {
    highest = bias > highest ? bias : highest;
    lowest = bias < lowest ? bias : lowest;
    zero += 0 * bias;
  };
  for (int i = 0; whole && i < kLanes; ++i) count(high[i]), count(low[i]);
  for (int64_t e = whole; e < size; ++e) count(table[e]);
  if (op.mask_value == -HUGE_VALF) return kLowest + zero;
  const float product = std::fabs(scale), N = float(op.geometry.tokens());
  const float least = (product + highest + op.mask_value) * kLog2E + 46 + 2 * std::log2(N);
  const bool likely = least <= (0.1f * product + lowest) * kLog2E;
  return likely ? least + zero : HUGE_VALF;
}

// least (heads) = least_lse of each.
inline void least_lses(float* least, const WindowAttention& op, const float* tables, const float* scale) {
  for (int64_t head = 0; head < op.num_heads; ++head)
    least[head] = least_lse(op, tables + head * op.table_size(), scale[head]);
}

// Whether (1) holds for `count` queries; where nothing is a key, lse is kLowest.
inline bool none_below(const float* lse, int64_t count, float least) {
  bool none = true;
  for (int64_t i = 0; i < count; ++i) none &= lse[i] >= least || lse[i] == kLowest;
  return none;
}

// Whether the numbers of a window are finite, and those of a channel at most a factor of 2^exponent apart (0: of any
// size); x is the first row's. Bits of positive floats are in their order, and 2^23 apart where they differ by a factor
// of 2.
template <int D, class T>
bool alike(const Layout<D>& at, const Window& window, const T* x, int64_t stride, int exponent) {
  const int64_t d = at.d(), N = at.N;
  const VecI magnitude = (VecI)Vec{} + 0x7fffffff, highest = (VecI)splat(kHighest);
  bool found = true;
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
    for (int v = 0; v < V; ++v)
      found = found && all(high[v] <= highest) && (!exponent || all(high[v] - low[v] <= exponent << 23));
  });
  return found;
}

}  // namespace SWINV2_ISA
}  // namespace swinv2
