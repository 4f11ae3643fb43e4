// SPDX-License-Identifier: Apache-2.0
//
// Forward window attention (window_attention.h) on a fused core of dav-c100, cut up as tiling.h says.
//
// Scores are kept transposed, s^T (blocks of 16 queries, keys, 16 lanes), as the cube unit leaves k q^T in
// L0C and wants p^T back: a lane is a query, so the softmax runs down the keys without crossing lanes. What
// is per query is a vector of 64 lanes, four copies of a block's 16; what is per key is (keys, 16 equal
// lanes).
//
//   MTE2  GM -> UB: rows of a strip of windows, all heads of the task; bias panels
//   MTE3  UB -> L1: q, k, v as Nz (d/16, tokens, 16); p^T; o over q.  UB -> GM: o, stats
//   MTE1  L1 -> L0A, L0B.  L1 -> UB: o back to rows
//   M     |q|^2, |k|^2 on the diagonals of q q^T, k k^T; k q^T; p v; p 1, the sums of the softmax
//   V     L0C -> UB; scales, bias, mask, softmax, o / sum
//
// q and k meet the cube unit as they came: their norms divide the float32 scores, where no rounding to
// float16 follows.
#include "window_attention/window_attention_ascend_910.h"

namespace swinv2 {

using Mte2ToMte3 = Handoff<HardEvent::MTE2_MTE3, HardEvent::MTE3_MTE2>;
using Mte3ToMte1 = Handoff<HardEvent::MTE3_MTE1, HardEvent::MTE1_MTE3>;
using Mte1ToMte3 = Handoff<HardEvent::MTE1_MTE3, HardEvent::MTE3_MTE1>;
using CubeToVector = Handoff<HardEvent::M_V, HardEvent::V_M>;

struct Task {
  int32_t window, batch, head;  // window, head: the first of its strip, of its group
  Axis y, x;                    // x: of the whole strip
};

// Query blocks first, first + classes, ... of one class.
struct Tile {
  int32_t head, window, first, blocks,
      top;  // window: in the strip; top: the window row of a panel's first row
  bool opens_panel, closes_panel, closes_class, closes_unit;
};

class WindowAttentionForward910 {
 public:
  __aicore__ inline WindowAttentionForward910(GM_ADDR qkv, GM_ADDR panels, GM_ADDR scale, GM_ADDR out,
                                              GM_ADDR stats, const WindowAttentionTiling910& tiling,
                                              TPipe& pipe)
      : t(tiling) {
    n = t.window_h * t.window_w;
    n1 = t.blocks;
    d = t.head_dim;
    d1 = d / kSide;
    g = t.head_group;
    third = g / 3;
    units = t.strip * g;
    width = t.strip * t.window_w;
    channels = t.heads * d;
    rows = t.height / t.window_h;
    cols = t.width / t.window_w;
    chunks = DivideUp(t.strip * n, t.stage_tokens);
    const int64_t core = GetBlockIdx();
    first_task = static_cast<int32_t>(core * t.tasks / t.cores);
    last_task = static_cast<int32_t>((core + 1) * t.tasks / t.cores);

    qkv_gm.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(qkv));
    panels_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(panels));
    scale_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(scale));
    out_gm.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(out));
    stats_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(stats));

    const int32_t tile = t.tile_blocks * n1 * kFractal;  // scores of a tile
    scores = Buffer<float>(pipe, scores_buffer, tile);
    folds = Buffer<float>(pipe, folds_buffer, Max(tile * 3 / 4, (d1 + 2) * t.tile_blocks * kFractal));
    weights = Buffer<half>(pipe, weights_buffer, t.weight_slots * tile);
    panel = Buffer<float>(pipe, panel_buffer, t.panel_slots * t.panel_rows * kSide);
    key_scale = Buffer<float>(pipe, key_scale_buffer, t.norm_units * n1 * kFractal);
    norms = Buffer<float>(pipe, norms_buffer, (t.norm_units > 1 ? 2 * t.norm_units : 1) * n1 * kLanes);
    lse = Buffer<float>(pipe, lse_buffer, n1 * kLanes);
    maxima = Buffer<float>(pipe, maxima_buffer, 2 * t.tile_blocks * kLanes);
    outputs = Buffer<half>(pipe, outputs_buffer, t.tile_blocks * d1 * kFractal);
    stage_slot = t.stage_tokens * (t.phases == 1 ? 3 : 2) * g * d;
    stage = Buffer<half>(pipe, stage_buffer, 2 * stage_slot);
    out_stage = Buffer<half>(pipe, out_stage_buffer, t.stage_tokens * g * d);
    identity = Buffer<float>(pipe, identity_buffer, kFractal);
    mask = Buffer<float>(pipe, mask_buffer, 4 * kLanes);
    one = Buffer<float>(pipe, one_buffer, kLanes);
    zeros = Buffer<half>(pipe, zeros_buffer, Max(g * d, kFractal));

    slabs = t.phases == 1 ? t.qkv_slots * 3 * units : 7 * third;
    l1_qkv = Buffer<half>(pipe, l1_qkv_buffer, slabs * d1 * n1 * kFractal);
    l1_weights = Buffer<half>(pipe, l1_weights_buffer, t.tile_blocks * t.key_blocks * kFractal);
    a_keys = Buffer<half>(pipe, a_keys_buffer, t.key_blocks * d1 * kFractal);
    a_weights = Buffer<half>(pipe, a_weights_buffer, t.tile_blocks * t.key_blocks * kFractal);
    b_queries = Buffer<half>(pipe, b_queries_buffer, t.tile_blocks * d1 * kFractal);
    b_values = Buffer<half>(pipe, b_values_buffer, t.key_blocks * d1 * kFractal);
    b_weights = Buffer<half>(pipe, b_weights_buffer, t.tile_blocks * t.key_blocks * kFractal);
    a_ones = Buffer<half>(pipe, a_ones_buffer, t.key_blocks * kFractal);
    b_ones = Buffer<half>(pipe, b_ones_buffer, t.key_blocks * kFractal);
    c_scores = Buffer<float>(pipe, c_scores_buffer, 2 * tile);
    c_weighed = Buffer<float>(pipe, c_weighed_buffer, (d1 + 2) * t.tile_blocks * kFractal);
    c_gram = Buffer<float>(pipe, c_gram_buffer, 2 * t.norm_units * n1 * kFractal);
  }

  __aicore__ inline void Run() {
    Open();
    if (t.qkv_slots == 2) Load(first_task, 0);
    for (int32_t index = first_task; index < last_task; ++index) {
      task = Locate(index);
      const bool ahead = t.qkv_slots == 2 && index + 1 < last_task;
      for (int32_t phase = 0; phase < t.phases; ++phase) {
        if (t.qkv_slots == 1) Load(index, phase);
        if (ahead) Expect(index + 1, 0);
        Attend(index, phase, ahead);
      }
      Store();
    }
    Close();
  }

 private:
  __aicore__ inline void Open() {
    Duplicate(zeros, half(0), Max(g * d, kFractal));
    Duplicate(identity, 0.f, kFractal);
    Duplicate(one, 1.f, kLanes);
    PipeBarrier<PIPE_V>();
    for (int32_t row = 0; row < kSide; ++row) {
      uint64_t lane[2] = {uint64_t(1) << row, 0};
      Duplicate(identity[row * kSide], 1.f, lane, 1, 1, 8);
    }
    InitConstValue(a_ones, InitConstValueParams<half>(t.key_blocks, half(1)));
    InitConstValue(b_ones, InitConstValueParams<half>(t.key_blocks, half(1)));
    PipeBarrier<PIPE_ALL>();
    // Tokens beyond N stay zero: no window writes them.
    if (n < n1 * kSide)
      for (int32_t i = 0; i < slabs * d1; ++i)
        DataCopy(l1_qkv[(i * n1 * kSide + n) * kSide], zeros, (n1 * kSide - n) * kSide);
    PipeBarrier<PIPE_ALL>();
    for (int32_t slot = 0; slot < 2; ++slot) {
      staged[slot].Open();
      c_scores_ready[slot].Open();
    }
    for (int32_t slot = 0; slot < t.qkv_slots; ++slot) laid[slot].Open();
    for (int32_t slot = 0; slot < t.weight_slots; ++slot) weights_ready[slot].Open();
    for (int32_t slot = 0; slot < t.panel_slots; ++slot) panel_ready[slot].Open();
    l1_weights_ready.Open();
    score_operands.Open();
    weigh_operands.Open();
    c_weighed_ready.Open();
    outputs_ready.Open();
    lse_ready.Open();
    if (t.cosine) {
      gram_operands.Open();
      c_gram_ready.Open();
    }
  }

  __aicore__ inline void Close() {
    for (int32_t slot = 0; slot < 2; ++slot) {
      staged[slot].Close();
      c_scores_ready[slot].Close();
    }
    for (int32_t slot = 0; slot < t.qkv_slots; ++slot) laid[slot].Close();
    for (int32_t slot = 0; slot < t.weight_slots; ++slot) weights_ready[slot].Close();
    for (int32_t slot = 0; slot < t.panel_slots; ++slot) panel_ready[slot].Close();
    l1_weights_ready.Close();
    score_operands.Close();
    weigh_operands.Close();
    c_weighed_ready.Close();
    outputs_ready.Close();
    lse_ready.Close();
    if (t.cosine) {
      gram_operands.Close();
      c_gram_ready.Close();
    }
  }

  __aicore__ inline Task Locate(int32_t index) const {
    Task found;
    const int32_t windows = t.batch * rows * cols, strips = windows / t.strip;
    found.window = index % strips * t.strip;
    found.head = index / strips * g;
    found.batch = found.window / (rows * cols);
    found.y.Locate(found.window / cols % rows, t.height, t.window_h, t.shift_h, t.valid_h);
    found.x.Locate(found.window % cols / t.strip, t.width, width, t.shift_w, t.valid_w);
    return found;
  }

  // The columns of one window of the task's strip.
  __aicore__ inline Axis ColumnsOf(int32_t window) const {
    Axis x;
    x.Locate(task.window % cols + window, t.width, t.window_w, t.shift_w, t.valid_w);
    return x;
  }

  // ---- load: GM -> UB -> L1 ----

  __aicore__ inline void Load(int32_t index, int32_t phase) {
    Expect(index, phase);
    Feed(chunks);
  }

  // The task and phase whose chunks come next; the first starts on its way.
  __aicore__ inline void Expect(int32_t index, int32_t phase) {
    coming = Locate(index);
    coming_phase = phase;
    coming_slot = t.qkv_slots == 2 ? (index - first_task) & 1 : 0;
    chunks_laid = 0;
    chunks_fetched = 1;
    Fetch(0);
  }

  // Brings chunks to L1 until `wanted` are there, and one more to UB.
  __aicore__ inline void Feed(int32_t wanted) {
    while (chunks_laid < wanted) {
      Lay(chunks_laid++);
      if (chunks_fetched < chunks) Fetch(chunks_fetched++);
    }
  }

  // qkv (tokens, [q|k|v], group, d) of a chunk of the strip, or a phase's part of it; padding gives zeros.
  __aicore__ inline void Fetch(int32_t chunk) {
    const int32_t begin = chunk * t.stage_tokens, end = Min(t.strip * n, begin + t.stage_tokens);
    const int32_t slot = stage_fetched++ & 1, row = (t.phases == 1 ? 3 : 2 - coming_phase) * g * d;
    const LocalTensor<half> to = stage[slot * stage_slot];
    staged[slot].Acquire();
    if (coming.y.Padded() || coming.x.Padded()) {
      SetFlag<HardEvent::MTE2_V>(kWipeEvent);
      WaitFlag<HardEvent::MTE2_V>(kWipeEvent);
      Duplicate(to, half(0), (end - begin) * row);
      SetFlag<HardEvent::V_MTE2>(kWipeEvent);
      WaitFlag<HardEvent::V_MTE2>(kWipeEvent);
    }
    for (int32_t token = begin; token < end;) {
      const Pixels run = RunOf(coming, token, end);
      if (run.valid > 0) FetchRun(to[(token - begin) * row], run);
      token += run.count;
    }
    staged[slot].Publish();
  }

  __aicore__ inline Pixels RunOf(const Task& at, int32_t token, int32_t end) const {
    const int64_t image = static_cast<int64_t>(at.batch) * t.height * t.width;
    return RunFrom(at.y, at.x, image, t.width, token, end);
  }

  __aicore__ inline void FetchRun(const LocalTensor<half>& to, const Pixels& run) {
    const GlobalTensor<half> from = qkv_gm[run.first * 3 * channels];
    if (t.phases == 2) {
      // The first two of three pieces, each two thirds of the heads, then the others.
      const int32_t piece = 2 * third * d1, taken = (2 - coming_phase) * piece;
      DataCopy(to, from[coming_phase * 2 * piece * kSide],
               DataCopyParams(run.valid / 2 * 3, taken, 3 * piece - taken, 0));
      return;
    }
    if (g == t.heads) {
      DataCopy(to, from, run.valid * 3 * channels);
      return;
    }
    const DataCopyParams rows_of_tokens(run.valid, g * d1, 3 * t.heads * d1 - g * d1, 2 * g * d1);
    for (int32_t part = 0; part < 3; ++part)
      DataCopy(to[part * g * d], from[part * channels + coming.head * d], rows_of_tokens);
  }

  // (tokens, [q|k|v], group, d) -> (strip, [q|k|v], group, d/16, tokens, 16).
  __aicore__ inline void Lay(int32_t chunk) {
    const int32_t begin = chunk * t.stage_tokens, end = Min(t.strip * n, begin + t.stage_tokens);
    const int32_t slot = stage_laid++ & 1, columns = 3 * g * d1;
    const LocalTensor<half> from = stage[slot * stage_slot];
    if (chunk == 0) laid[coming_slot].Acquire();
    staged[slot].Await();
    for (int32_t token = begin; token < end; token += t.phases)
      if (t.phases == 2)
        LayPair(from[(token - begin) * (2 - coming_phase) * g * d], token);
      else
        DataCopy(InL1(coming_slot, token % width / t.window_w, kQ, 0)[InWindow(token) * kSide],
                 from[(token - begin) * columns * kSide], DataCopyParams(columns, 1, 0, n1 * kSide - 1));
    staged[slot].Release();
    if (chunk + 1 == chunks) laid[coming_slot].Publish();
  }

  // A phase's part of a pair of tokens, (2, [q|k|v], [X|Y|Z], group / 3, d): thirds that lie side by side in
  // L1 go together.
  __aicore__ inline void LayPair(const LocalTensor<half>& from, int32_t token) {
    const int32_t columns = third * d1, taken = 4 - 2 * coming_phase;
    for (int32_t i = 0, together; i < 3 * taken; i += together) {
      const int32_t at = i / taken * 6 + coming_phase * 4 + i % taken;
      const int32_t odd = at / 9, part = at % 9 / 3, h = at % 3 * third;
      const LocalTensor<half> to = part == kQ ? InL1(0, 0, kQ, h)[(token + odd) * kSide]
                                              : InL1(0, 0, part, h, odd * n1 / 2)[token / 2 * kSide];
      together = part != kQ && h == 0 ? 1 : Min(3 - at % 3, taken - i % taken);
      DataCopy(to, from[i * columns * kSide], DataCopyParams(together * columns, 1, 0, n1 * kSide - 1));
    }
  }

  // A token of the strip as a token of its window.
  __aicore__ inline int32_t InWindow(int32_t token) const {
    return token / width * t.window_w + token % t.window_w;
  }

  // A block of tokens of q, k or v of a head; its d/16 fractals are N1 apart. In two phases q of X, Y, Z is
  // followed by k and v of Y, Z alone. Of these the first phase leaves the even keys of k and the odd ones of
  // v open, and there lie k and v of X: their even keys in Y's slabs, the odd ones in Z's.
  __aicore__ inline LocalTensor<half> InL1(int32_t slot, int32_t window, int32_t part, int32_t h,
                                           int32_t block = 0) const {
    int32_t slab = ((slot * t.strip + window) * 3 + part) * g + h;
    if (t.phases == 2 && part != kQ) {
      slab = 2 * part * third + h;
      if (h < third) {
        const int32_t odd = block >= n1 / 2, open = part == kK ? 0 : n1 / 2;
        slab += (1 + odd) * third;
        block += open - odd * n1 / 2;
      }
    }
    return l1_qkv[(slab * d1 * n1 + block) * kFractal];
  }
  __aicore__ inline LocalTensor<half> InL1(const Tile& tile, int32_t part, int32_t block = 0) const {
    return InL1(qkv_slot, tile.window, part, tile.head, block);
  }

  // ---- attend: the tiles of a task, each stage one tile ahead of the next ----

  __aicore__ inline void Attend(int32_t index, int32_t phase, bool ahead) {
    const bool more = phase + 1 < t.phases;
    const int32_t begin = phase * third, end = more ? third : units;
    qkv_slot = t.qkv_slots == 2 ? (index - first_task) & 1 : 0;
    laid[qkv_slot].Await();
    Tile tile = TileAt(begin, 0), before = tile;
    bool any_before = false;
    Measure(begin);
    Score(tile);
    Normalise(begin);
    for (;;) {
      const int32_t unit = UnitOf(tile);
      const bool last = tile.closes_unit && unit + 1 == end;
      Tile next = tile;
      if (!last) {
        next = NextTile(tile);
        if (tile.closes_unit && (unit + 1) % t.norm_units == 0) Measure(unit + 1);
        Score(next);
      }
      Softmax(tile, index);
      if (any_before) Output(before);
      Weigh(tile);
      if (tile.closes_unit && !last && (unit + 1) % t.norm_units == 0) Normalise(unit + 1);
      if (tile.closes_unit && ahead) Feed((unit + 1) * chunks / units);
      before = tile;
      any_before = true;
      if (last) break;
      tile = next;
    }
    if (more) laid[qkv_slot].Release();
    Output(before);
  }

  // A head of a window; the windows of a strip follow each other.
  __aicore__ inline int32_t UnitOf(const Tile& tile) const { return tile.head * t.strip + tile.window; }
  __aicore__ inline Tile NextTile(const Tile& tile) const {
    if (tile.closes_unit) return TileAt(UnitOf(tile) + 1, 0);
    if (tile.closes_class) return TileAt(UnitOf(tile), tile.first % t.classes + 1);
    return TileAt(UnitOf(tile), tile.first + tile.blocks * t.classes);
  }
  __aicore__ inline Tile TileAt(int32_t unit, int32_t first) const {
    const int32_t cls = first % t.classes, left = DivideUp(n1 - first, t.classes);
    Tile tile;
    tile.head = unit / t.strip;
    tile.window = unit % t.strip;
    tile.first = first;
    tile.blocks = Min(t.tile_blocks, left);
    tile.top = (first + (left - 1) * t.classes) * kSide / t.window_w;
    tile.closes_class = tile.blocks == left;
    tile.closes_unit = tile.closes_class && cls + 1 == t.classes;
    // The windows of a strip share the panel of a head that has only one.
    tile.opens_panel = first == cls && (t.classes > 1 || tile.window == 0);
    tile.closes_panel = tile.closes_class && (t.classes > 1 || tile.window + 1 == t.strip);
    return tile;
  }

  // |x|^2 of q and k of the units from `first` on: the diagonals of x x^T, block by block.
  __aicore__ inline void Measure(int32_t first) {
    if (!t.cosine) return;
    const int32_t count = Measured(first);
    c_gram_ready.Acquire();
    for (int32_t at = 0; at < 2 * count; ++at) {
      const Tile tile = TileAt(first + at % count, 0);
      for (int32_t j = 0; j < n1; j += t.key_blocks) {
        const int32_t blocks = Min(t.key_blocks, n1 - j);
        gram_operands.Acquire();
        score_operands.Acquire();
        weigh_operands.Acquire();
        for (int32_t i = 0; i < blocks; ++i) {
          const LocalTensor<half> x = InL1(tile, at < count ? kQ : kK, j + i);
          const LoadData2DParams row(0, d1, n1, 0, 0, false, 0);
          LoadData(a_keys[i * d1 * kFractal], x, row);
          LoadData(b_values[i * d1 * kFractal], x, row);
        }
        gram_operands.Publish();
        gram_operands.Await();
        for (int32_t i = 0; i < blocks; ++i)
          Multiply(c_gram[(at * n1 + j + i) * kFractal], a_keys[i * d1 * kFractal],
                   b_values[i * d1 * kFractal], kSide, kSide, d, true);
        gram_operands.Release();
        score_operands.Release();
        weigh_operands.Release();
      }
    }
    c_gram_ready.Publish();
  }
  __aicore__ inline int32_t Measured(int32_t first) const { return Min(t.norm_units, units - first); }

  // norms = scale / max(|q|, 1e-12), key_scale = 1 / max(|k|, 1e-12), of the units from `first` on.
  __aicore__ inline void Normalise(int32_t first) {
    if (!t.cosine) return;
    const int32_t count = Measured(first), blocks = count * n1;
    const LocalTensor<float> keys = t.norm_units > 1 ? norms[blocks * kLanes] : scores;
    c_gram_ready.Await();
    InverseNorms(norms, 0, blocks);
    InverseNorms(keys, blocks, blocks);
    c_gram_ready.Release();
    for (int32_t i = 0; i < count; ++i)
      Muls(norms[i * n1 * kLanes], norms[i * n1 * kLanes], ScaleOf(first + i), n1 * kLanes);
    SpreadToRows(key_scale, keys, blocks);
  }

  // to (blocks, 64) = 1 / max(|x|, 1e-12) of the gram blocks from `first` on; to may be scores.
  __aicore__ inline void InverseNorms(const LocalTensor<float>& to, int32_t first, int32_t blocks) {
    const int32_t room = t.tile_blocks * n1;
    for (int32_t at = 0; at < blocks; at += room) {
      const int32_t some = Min(room, blocks - at);
      FromCube(scores, c_gram[(first + at) * kFractal], some);
      PipeBarrier<PIPE_V>();
      Diagonal(to[at * kLanes], scores, some);
    }
    Adds(to, to, kTiny, blocks * kLanes);
    PipeBarrier<PIPE_V>();
    Sqrt(to, to, blocks * kLanes);
    PipeBarrier<PIPE_V>();
    Div(to, one, to, kLanes, blocks, BinaryRepeatParams(1, 1, 1, 8, 0, 8));
    PipeBarrier<PIPE_V>();
  }
  __aicore__ inline float ScaleOf(int32_t unit) { return scale_gm.GetValue(task.head + unit / t.strip); }

  // s^T = k q^T
  __aicore__ inline void Score(const Tile& tile) {
    const int32_t slot = tiles_scored++ & 1;
    const LocalTensor<half> q = InL1(tile, kQ);
    c_scores_ready[slot].Acquire();
    for (int32_t j = 0; j < n1; j += t.key_blocks) {
      const int32_t blocks = Min(t.key_blocks, n1 - j);
      score_operands.Acquire();
      for (int32_t i = 0; i < blocks; ++i)
        LoadData(a_keys[i * d1 * kFractal], InL1(tile, kK, j + i),
                 LoadData2DParams(0, d1, n1, 0, 0, false, 0));
      for (int32_t c = 0; c < d1; ++c)
        LoadData(b_queries[c * tile.blocks * kFractal], q[(c * n1 + tile.first) * kFractal],
                 LoadData2DParams(0, tile.blocks, t.classes, 0, 0, false, 0));
      score_operands.Publish();
      score_operands.Await();
      Multiply(CubeScores(slot, tile, j), a_keys, b_queries, blocks * kSide, tile.blocks * kSide, d, true);
      score_operands.Release();
    }
    c_scores_ready[slot].Publish();
  }

  // (query blocks, key blocks of the chunk from j on, 16, 16) in L0C.
  __aicore__ inline LocalTensor<float> CubeScores(int32_t slot, const Tile& tile, int32_t j) const {
    return c_scores[(slot * t.tile_blocks * n1 + j * tile.blocks) * kFractal];
  }

  // p^T = exp(s^T - max), s^T = scale q^ . k^ + bias + mask
  __aicore__ inline void Softmax(const Tile& tile, int32_t index) {
    const int32_t slot = tiles_softened & 1, weight_slot = t.weight_slots == 2 ? slot : 0;
    const int32_t block = n1 * kFractal, all = tile.blocks * block;
    const BinaryRepeatParams by_query(1, 1, 1, 8, 8, 0);
    ++tiles_softened;
    if (tile.opens_panel) OpenPanel(tile, index);

    c_scores_ready[slot].Await();
    for (int32_t j = 0; j < n1; j += t.key_blocks) {
      const int32_t blocks = Min(t.key_blocks, n1 - j);
      DataCopy(scores[j * kFractal], CubeScores(slot, tile, j),
               DataCopyParams(tile.blocks, blocks, 0, (n1 - blocks) * kFractal * 4 / kBlockBytes), Matrix());
    }
    c_scores_ready[slot].Release();
    PipeBarrier<PIPE_V>();

    const int32_t measured = UnitOf(tile) % t.norm_units * n1;
    if (!t.cosine) {
      Muls(scores, scores, ScaleOf(UnitOf(tile)), all);
      PipeBarrier<PIPE_V>();
    } else {
      for (int32_t i = 0; i < tile.blocks; ++i)
        Mul(scores[i * block], scores[i * block], key_scale[measured * kFractal], block);
      PipeBarrier<PIPE_V>();
      for (int32_t i = 0; i < tile.blocks; ++i)
        Mul(scores[i * block], scores[i * block], norms[(measured + tile.first + i * t.classes) * kLanes],
            kLanes, n1 * 4, by_query);
      PipeBarrier<PIPE_V>();
    }
    for (int32_t i = 0; i < tile.blocks; ++i)
      AddBias(scores[i * block],
              panel[(panel_slot * t.panel_rows + PanelRow(tile, tile.first + i * t.classes)) * kSide]);
    PipeBarrier<PIPE_V>();
    if (tile.closes_panel) panel_ready[panel_slot].Release();
    const Axis x = ColumnsOf(tile.window);
    if (task.y.Regions() + x.Regions() > 2)
      for (int32_t i = 0; i < tile.blocks; ++i) Mask(scores[i * block], x, tile.first + i * t.classes);
    if (task.y.Padded() || x.Padded())
      for (int32_t i = 0; i < tile.blocks; ++i) Forbid(scores[i * block], x);

    const LocalTensor<float> maximum = maxima[slot * t.tile_blocks * kLanes];
    Fold<true>(maximum, scores, n1 * 4, tile.blocks);
    for (int32_t i = 0; i < tile.blocks; ++i)
      Sub(scores[i * block], scores[i * block], maximum[i * kLanes], kLanes, n1 * 4, by_query);
    PipeBarrier<PIPE_V>();
    Exp(scores, scores, all);
    PipeBarrier<PIPE_V>();
    weights_ready[weight_slot].Acquire();
    Cast(weights[weight_slot * t.tile_blocks * block], scores, RoundMode::CAST_NONE, all);
    weights_ready[weight_slot].Publish();
    PipeBarrier<PIPE_V>();
  }

  // Keys are in raster order in a panel, in two phases those of even columns first in s: eight lanes of eight
  // keys a repeat.
  __aicore__ inline void AddBias(const LocalTensor<float>& s, const LocalTensor<float>& bias) {
    if (t.phases == 1) {
      Add(s, s, bias, n1 * kFractal);
      return;
    }
    for (int32_t odd = 0; odd < 2; ++odd)
      for (int32_t lane = 0; lane < kSide; lane += 8) {
        const LocalTensor<float> keys = s[odd * n1 / 2 * kFractal + lane];
        Add(keys, keys, bias[odd * kSide + lane], kLanes, n1, BinaryRepeatParams(2, 2, 4, 16, 16, 32));
      }
  }

  // Where the bias of a query block begins in its panel.
  __aicore__ inline int32_t PanelRow(const Tile& tile, int32_t block) const {
    if (n % kSide) return t.classes > 1 ? 0 : block * n1 * kSide;
    return (tile.top - block * kSide / t.window_w) * t.window_w;
  }

  // The panel of a tile's class; with two slots the next one is on its way already.
  __aicore__ inline void OpenPanel(const Tile& tile, int32_t index) {
    const int32_t of_head = PanelsOfHead(), of_task = g * of_head, all = (last_task - first_task) * of_task;
    const int32_t at = (index - first_task) * of_task + tile.head * of_head +
                       (t.classes > 1 ? tile.window * t.classes + tile.first : 0);
    while (panels_fetched < all && panels_fetched < at + t.panel_slots) FetchPanel();
    panel_slot = at % t.panel_slots;
    panel_ready[panel_slot].Await();
  }
  __aicore__ inline int32_t PanelsOfHead() const { return t.classes > 1 ? t.strip * t.classes : 1; }

  __aicore__ inline void FetchPanel() {
    const int32_t slot = panels_fetched % t.panel_slots, cls = panels_fetched % t.classes;
    const int32_t of_head = PanelsOfHead(), strips = t.batch * rows * cols / t.strip;
    const int32_t h = panels_fetched / of_head % g;
    const int64_t head = (first_task + panels_fetched / (g * of_head)) / strips * g + h;
    const int32_t count = t.panel_rows * kSide;
    ++panels_fetched;
    panel_ready[slot].Acquire();
    DataCopy(panel[slot * count], panels_gm[(head * t.classes + cls) * count], count);
    panel_ready[slot].Publish();
  }

  // Adds mask_value where the regions of key and query differ.
  __aicore__ inline void Mask(const LocalTensor<float>& s, const Axis& x, int32_t block) {
    const int32_t columns = t.window_w / t.phases;  // even ones, then odd ones in two phases
    uint64_t lanes[4] = {0, 0, 0, 0};               // queries of each region, four copies
    for (int32_t lane = 0; lane < kSide; ++lane) {
      const int32_t i = Min(block * kSide + lane, n - 1);
      const int32_t region = 2 * (i / t.window_w >= task.y.split) + (i % t.window_w >= x.split);
      lanes[region] |= uint64_t(0x0001000100010001) << lane;
    }
    Duplicate(mask, t.mask_value, 4 * kLanes);
    PipeBarrier<PIPE_V>();
    for (int32_t region = 0; region < 4; ++region) {
      uint64_t bits[2] = {lanes[region], 0};
      if (bits[0] != 0) Duplicate(mask[region * kLanes], 0.f, bits, 1, 1, 8);
    }
    PipeBarrier<PIPE_V>();
    for (int32_t ry = 0; ry < task.y.Regions(); ++ry)
      for (int32_t rx = 0; rx < x.Regions(); ++rx) {
        const int32_t region = 2 * ry + rx, top = task.y.Begin(ry), rows_here = task.y.End(ry) - top;
        if (lanes[region] == ~uint64_t(0)) continue;
        for (int32_t odd = 0; odd < t.phases; ++odd)
          for (int32_t w = x.Begin(rx) / t.phases; w < x.End(rx) / t.phases; w += 4) {
            const LocalTensor<float> keys = s[(odd * n / 2 + top * columns + w) * kSide];
            Add(keys, keys, mask[region * kLanes], Min(4, x.End(rx) / t.phases - w) * kSide, rows_here,
                BinaryRepeatParams(1, 1, 1, 2 * columns, 2 * columns, 0));
          }
      }
    PipeBarrier<PIPE_V>();
  }

  // Keys that are padding: no weight.
  __aicore__ inline void Forbid(const LocalTensor<float>& s, const Axis& x) {
    for (int32_t region = 0; region < task.y.Regions(); ++region) {
      const int32_t top = task.y.Padding(region), count = task.y.End(region) - top;
      if (count > 0) Duplicate(s[top * t.window_w * kSide], kForbidden, count * t.window_w * kSide);
    }
    PipeBarrier<PIPE_V>();
    for (int32_t region = 0; region < x.Regions(); ++region)
      for (int32_t w = x.Padding(region); w < x.End(region); ++w)
        Duplicate(s[w * kSide], kForbidden, kSide, t.window_h, 1, 2 * t.window_w);
    PipeBarrier<PIPE_V>();
  }

  // o = p v and the sums of p as rounded: p 1, o's divisor, in the rows of queries, 1 p^T in lanes.
  __aicore__ inline void Weigh(const Tile& tile) {
    const int32_t slot = t.weight_slots == 2 ? tiles_weighed & 1 : 0;
    ++tiles_weighed;
    weights_ready[slot].Await();
    for (int32_t j = 0; j < n1; j += t.key_blocks) {
      const int32_t blocks = Min(t.key_blocks, n1 - j);
      l1_weights_ready.Acquire();
      DataCopy(l1_weights, weights[(slot * t.tile_blocks * n1 + j) * kFractal],
               DataCopyParams(tile.blocks, blocks * kSide, (n1 - blocks) * kSide, 0));
      l1_weights_ready.Publish();
      if (j + blocks == n1) weights_ready[slot].Release();

      l1_weights_ready.Await();
      weigh_operands.Acquire();
      const LoadData2DParams fractals(0, tile.blocks * blocks, 1, 0, 0, true, 0);
      LoadData(a_weights, l1_weights, fractals);
      LoadData(b_weights, l1_weights, fractals);
      l1_weights_ready.Release();
      for (int32_t i = 0; i < blocks; ++i)
        LoadData(b_values[i * d1 * kFractal], InL1(tile, kV, j + i),
                 LoadData2DParams(0, d1, n1, 0, 0, true, 0));
      weigh_operands.Publish();
      weigh_operands.Await();
      if (j == 0) c_weighed_ready.Acquire();
      const int32_t m = tile.blocks * kSide, k = blocks * kSide, block = tile.blocks * kFractal;
      Multiply(c_weighed, a_weights, b_values, m, d, k, j == 0);
      Multiply(c_weighed[d1 * block], a_weights, b_ones, m, kSide, k, j == 0);
      for (int32_t i = 0; i < tile.blocks; ++i)
        Multiply(c_weighed[(d1 + 1) * block + i * kFractal], a_ones, b_weights[i * blocks * kFractal], kSide,
                 kSide, k, j == 0);
      weigh_operands.Release();
    }
    c_weighed_ready.Publish();
  }

  // o / sum to L1 over q, lse = max + ln(sum) to GM with the last tile of a unit.
  __aicore__ inline void Output(const Tile& tile) {
    const int32_t slot = tiles_put++ & 1, block = tile.blocks * kFractal;
    const LocalTensor<float> o = folds, sum = o[d1 * block], sum_of_lanes = sum[block];
    c_weighed_ready.Await();
    FromCube(o, c_weighed, (d1 + 2) * tile.blocks);
    c_weighed_ready.Release();
    PipeBarrier<PIPE_V>();
    for (int32_t c = 0; c < d1; ++c) Div(o[c * block], o[c * block], sum, block);
    PipeBarrier<PIPE_V>();
    outputs_ready.Acquire();
    Cast(outputs, o, RoundMode::CAST_NONE, d1 * block);
    outputs_ready.Publish();
    if (tile.first == 0) lse_ready.Acquire();
    Ln(sum_of_lanes, sum_of_lanes, kLanes, tile.blocks, UnaryRepeatParams(1, 1, 32, 32));
    PipeBarrier<PIPE_V>();
    Add(lse[tile.first * kLanes], sum_of_lanes, maxima[slot * t.tile_blocks * kLanes], kLanes, tile.blocks,
        BinaryRepeatParams(1, 1, 1, tile.blocks > 1 ? 8 * t.classes : 8, 32, 8));
    PipeBarrier<PIPE_V>();

    const LocalTensor<half> to = InL1(tile, kQ);
    outputs_ready.Await();
    for (int32_t c = 0; c < d1; ++c)
      for (int32_t i = 0; i < tile.blocks; ++i) {
        const int32_t at = tile.first + i * t.classes, tokens = Min(kSide, n - at * kSide);
        DataCopy(to[(c * n1 + at) * kFractal], outputs[(c * tile.blocks + i) * kFractal], tokens * kSide);
      }
    outputs_ready.Release();
    if (!tile.closes_unit) return;
    lse_ready.Publish();
    lse_ready.Await();
    const int32_t padded = DivideUp(n, 8) * 8;
    const int64_t at =
        (static_cast<int64_t>(task.window + tile.window) * t.heads + task.head + tile.head) * padded;
    if (padded / kSide > 0) DataCopy(stats_gm[at], lse, DataCopyParams(padded / kSide, 2, 6, 0));
    if (padded % kSide > 0) DataCopy(stats_gm[at + padded / kSide * kSide], lse[padded / kSide * kLanes], 8);
    lse_ready.Release();
  }

  // ---- store: L1 -> UB -> GM, whole rows of the task's heads ----

  __aicore__ inline void Store() {
    const int32_t tokens = t.strip * n, columns = g * d1;
    for (int32_t begin = 0; begin < tokens; begin += t.stage_tokens) {
      const int32_t end = Min(tokens, begin + t.stage_tokens);
      out_staged.Release();
      out_staged.Acquire();
      for (int32_t token = begin; token < end; ++token)
        DataCopy(out_stage[(token - begin) * columns * kSide],
                 InL1(qkv_slot, token % width / t.window_w, kQ, 0)[InWindow(token) * kSide],
                 DataCopyParams(columns, 1, n1 * kSide - 1, 0));
      if (end == tokens) laid[qkv_slot].Release();
      out_staged.Publish();
      out_staged.Await();
      for (int32_t token = begin; token < end;) {
        const Pixels run = RunOf(task, token, end);
        StoreRun(out_stage[(token - begin) * g * d], run);
        token += run.count;
      }
    }
  }

  __aicore__ inline void StoreRun(const LocalTensor<half>& from, const Pixels& run) {
    const GlobalTensor<half> to = out_gm[run.first * channels + task.head * d];
    if (run.valid > 0) {
      if (g == t.heads)
        DataCopy(to, from, run.valid * channels);
      else
        DataCopy(to, from, DataCopyParams(run.valid, g * d1, 0, (t.heads - g) * d1));
    }
    for (int32_t i = Max(run.valid, 0); i < run.count; ++i)
      DataCopy(to[static_cast<int64_t>(i) * channels], zeros, g * d);
  }

  // ---- cube and vector vocabulary ----

  // to (blocks, 64) = the maximum or sum down each block of x (blocks, repeats, 64) and across its four
  // groups of 16 lanes. Repeats are folded by their prime factors; x is kept.
  template <bool max>
  __aicore__ inline void Fold(const LocalTensor<float>& to, const LocalTensor<float>& x, int32_t repeats,
                              int32_t blocks) {
    const LocalTensor<float> halves = folds, quarters = folds[t.tile_blocks * n1 * kFractal / 2];
    LocalTensor<float> from = x, into = halves;
    bool even = false;
    while (repeats > 1) {
      int32_t factor = 2;
      while (repeats % factor) ++factor;
      repeats /= factor;
      into = even ? quarters : halves;
      even = !even;
      const uint8_t stride = 8 * factor, count = blocks * repeats;
      Combine<max>(into, from, from[kLanes], kLanes, count, BinaryRepeatParams(1, 1, 1, 8, stride, stride));
      for (int32_t i = 2; i < factor; ++i)
        Combine<max>(into, into, from[i * kLanes], kLanes, count, BinaryRepeatParams(1, 1, 1, 8, 8, stride));
      from = into;
    }
    into = even ? quarters : halves;
    const BinaryRepeatParams plain(1, 1, 1, 8, 8, 8);
    uint64_t pairs[2] = {0x0000ffff0000ffff, 0};
    Combine<max>(into, from, from[32], 32, blocks, plain);
    Combine<max>(into[32], from[32], from, 32, blocks, plain);
    Combine<max>(to, into, into[kSide], pairs, blocks, plain);
    Combine<max>(to[kSide], into[kSide], into, pairs, blocks, plain);
  }
  template <bool max, typename Lanes>
  __aicore__ inline void Combine(const LocalTensor<float>& to, const LocalTensor<float>& a,
                                 const LocalTensor<float>& b, Lanes lanes, uint8_t repeats,
                                 const BinaryRepeatParams& p) {
    if constexpr (max)
      AscendC::Max(to, a, b, lanes, repeats, p);
    else
      Add(to, a, b, lanes, repeats, p);
    PipeBarrier<PIPE_V>();
  }

  // to (blocks, 64) = the diagonals of x (blocks, 16, 16), which is overwritten.
  __aicore__ inline void Diagonal(const LocalTensor<float>& to, const LocalTensor<float>& x, int32_t blocks) {
    for (int32_t i = 0; i < 4; ++i)
      Mul(x[i * kLanes], x[i * kLanes], identity[i * kLanes], kLanes, blocks,
          BinaryRepeatParams(1, 1, 1, 32, 32, 0));
    PipeBarrier<PIPE_V>();
    Fold<false>(to, x, 4, blocks);
  }

  // to (keys, 16 equal lanes) = x (blocks, 64). There is no broadcast of an element on this chip: transposing
  // sixteen copies of eight floats, taken as 16-bit halves, gives blocks of low and of high halves in turn,
  // to be merged.
  __aicore__ inline void SpreadToRows(const LocalTensor<float>& to, const LocalTensor<float>& x,
                                      int32_t blocks) {
    const LocalTensor<int16_t> from = x.ReinterpretCast<int16_t>(), rows16 = to.ReinterpretCast<int16_t>();
    for (int32_t eight = 0; eight < 2; ++eight) {
      LocalTensor<int16_t> sources[16], targets[16];
      for (int32_t i = 0; i < 16; ++i) {
        sources[i] = from[eight * kSide];
        targets[i] = rows16[(eight * 16 + i) * kSide];
      }
      const bool more = blocks > 1;  // a single repeat would start a stride further on
      TransDataTo5HD(targets, sources, TransDataTo5HDParams(false, false, blocks, 32 * more, 8 * more));
    }
    PipeBarrier<PIPE_V>();
    uint64_t high[2] = {0xaaaaaaaaaaaaaaaa, 0xaaaaaaaaaaaaaaaa},
             low[2] = {0x5555555555555555, 0x5555555555555555};
    const BinaryRepeatParams every_other(2, 2, 2, 16, 16, 16);
    Or(rows16, rows16[kSide], rows16[kSide], high, 2 * blocks, every_other);
    PipeBarrier<PIPE_V>();
    Or(rows16[kSide], rows16, rows16, low, 2 * blocks, every_other);
    PipeBarrier<PIPE_V>();
  }

  static constexpr int32_t kWipeEvent = 2;

  const WindowAttentionTiling910 t;
  int32_t n, n1, d, d1, g, third, units, width, channels, rows, cols, chunks, slabs, stage_slot, first_task,
      last_task;
  Task task, coming;
  int32_t qkv_slot = 0, coming_slot = 0, coming_phase = 0, panel_slot = 0;
  int32_t chunks_fetched = 0, chunks_laid = 0, stage_fetched = 0, stage_laid = 0, panels_fetched = 0;
  int32_t tiles_scored = 0, tiles_softened = 0, tiles_weighed = 0, tiles_put = 0;

  const Mte2ToMte3 staged[2] = {{0}, {1}};
  const Mte3ToMte1 laid[2] = {{0}, {1}};
  const Mte3ToMte1 l1_weights_ready = {2};
  const Mte1ToMte3 out_staged = {3};
  const Mte1ToCube score_operands = {0}, weigh_operands = {1}, gram_operands = {2};
  const CubeToVector c_scores_ready[2] = {{0}, {1}};
  const CubeToVector c_weighed_ready = {2}, c_gram_ready = {3};
  const VectorToMte3 weights_ready[2] = {{0}, {1}};
  const VectorToMte3 outputs_ready = {2}, lse_ready = {3};
  const Mte2ToVector panel_ready[2] = {{0}, {1}};

  GlobalTensor<half> qkv_gm, out_gm;
  GlobalTensor<float> panels_gm, scale_gm, stats_gm;
  TBuf<TPosition::VECCALC> scores_buffer, folds_buffer, weights_buffer, panel_buffer, key_scale_buffer,
      norms_buffer, lse_buffer, maxima_buffer, outputs_buffer, stage_buffer, out_stage_buffer,
      identity_buffer, mask_buffer, one_buffer, zeros_buffer;
  TBuf<TPosition::A1> l1_qkv_buffer, l1_weights_buffer;
  TBuf<TPosition::A2> a_keys_buffer, a_weights_buffer, a_ones_buffer;
  TBuf<TPosition::B2> b_queries_buffer, b_values_buffer, b_weights_buffer, b_ones_buffer;
  TBuf<TPosition::CO1> c_scores_buffer, c_weighed_buffer, c_gram_buffer;

  LocalTensor<float> scores, folds;       // (tile blocks, keys, 16)
  LocalTensor<half> weights, l1_weights;  // (tile blocks, keys, 16), keys of a chunk in L1
  LocalTensor<float> panel;               // (panel rows, 16)
  LocalTensor<float> key_scale;           // (units, keys, 16 equal lanes)
  LocalTensor<float> norms, lse;          // ([q|k], units, blocks, 64): q alone of one unit; (blocks, 64)
  LocalTensor<float> maxima;              // (2, tile blocks, 64)
  LocalTensor<half> outputs;              // (d/16, tile blocks, 16, 16)
  LocalTensor<half> stage, out_stage;     // (2, tokens, [q|k|v], group, d), (tokens, group, d)
  LocalTensor<float> identity, mask, one;
  LocalTensor<half> zeros;
  LocalTensor<half> l1_qkv;  // (slots, strip, [q|k|v], group, d/16, tokens, 16) or see InL1; o replaces q
  LocalTensor<half> a_keys, a_weights, a_ones;               // Zz
  LocalTensor<half> b_queries, b_values, b_weights, b_ones;  // Zn
  LocalTensor<float> c_scores, c_weighed, c_gram;            // Nz
};

// panels: see prepare_bias (tiling_host.h).
__aicore__ inline void window_attention_910(GM_ADDR qkv, GM_ADDR panels, GM_ADDR scale, GM_ADDR out,
                                            GM_ADDR stats, const WindowAttentionTiling910& t) {
  TPipe pipe;
  WindowAttentionForward910(qkv, panels, scale, out, stats, t, pipe).Run();
}

}  // namespace swinv2

// tiling: the bytes of a WindowAttentionTiling910.
extern "C" __global__ __aicore__ void swinv2_window_attention_910(GM_ADDR qkv, GM_ADDR panels, GM_ADDR scale,
                                                                  GM_ADDR out, GM_ADDR stats,
                                                                  GM_ADDR workspace, GM_ADDR tiling) {
  (void)workspace;
  swinv2::window_attention_910(qkv, panels, scale, out, stats,
                               swinv2::ReadTiling<swinv2::WindowAttentionTiling910>(tiling));
}
