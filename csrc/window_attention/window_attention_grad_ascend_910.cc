// SPDX-License-Identifier: Apache-2.0
//
// Backward window attention (window_attention.h) on a fused core of dav-c100, cut up as WindowAttentionGradTiling910
// (tiling.h) says; a plain kernel: its stages follow each other, with a barrier for all pipes between them.
//
// A token is a lane. Rows of the image are turned, (64 tokens, d) -> (d, 64), and on them norms are folds of whole
// vectors; in L1 they are blocks of 16 tokens, (blocks, d, 16). Scores are transposed as in the forward, (blocks of 16
// queries, keys, 16 queries).
//
//   s^T = k^ q^T    dp^T = v do^T     p = exp(scale s + bias + mask - lse) / its sum, ds = p (dp - D)
//   a^T = k^^T ds^T                   dq = scale (a - q^ (q^ . a)) / |q|, dscale += q^ . a
//   b^T += q^^T ds                    dk likewise of b
//   dv^T += do^T p                    over tiles of queries, in L0C
//
// D = do . o is taken as sum_j p_ij dp_ij, and p is divided by its sum: out and lse bear the roundings of the forward's
// float16 p.
//
// The cube unit knows float16 alone. A float32 number x of q^, k^, p, ds goes to it as a pair, x as rounded and the
// rest, and a product of pairs as three (the fourth is beyond float32); float16 goes as it is. Powers of two keep what
// may be small in the range of pairs: 2^8 of q^ and k^, 2^14 of p; v of a unit is brought to numbers below 1, do to
// numbers below 2^10, so that |ds| = p |do . (v - o)| <= p (1 - p) * 2 * 64 * 2^10 <= 2^15.
#include "window_attention/window_attention_ascend_910.h"

namespace swinv2 {

constexpr float kNothing = 1e-30f;  // under the sum of p, which is 0 for padding
constexpr int32_t kVectorBits = 8, kGradientBits = 10, kWeightBits = 14;  // of the powers of two

class WindowAttentionGrad910 {
 public:
  __aicore__ inline WindowAttentionGrad910(GM_ADDR qkv, GM_ADDR bias, GM_ADDR scale, GM_ADDR stats,
                                           GM_ADDR dout, GM_ADDR dqkv, GM_ADDR dbias, GM_ADDR dscale,
                                           const WindowAttentionGradTiling910& tiling, TPipe& pipe)
      : t(tiling) {
    n = t.window_h * t.window_w;
    n1 = t.blocks;
    row = n1 * kSide;
    d = t.head_dim;
    d1 = d / kSide;
    channels = t.heads * d;
    windows = t.units / t.heads;
    const int64_t core = GetBlockIdx();
    first_unit = static_cast<int32_t>(core * t.units / t.cores);
    last_unit = static_cast<int32_t>((core + 1) * t.units / t.cores);
    image_gm[kQ].SetGlobalBuffer(reinterpret_cast<__gm__ half*>(qkv));
    image_gm[kK].SetGlobalBuffer(reinterpret_cast<__gm__ half*>(qkv) + channels);
    image_gm[kV].SetGlobalBuffer(reinterpret_cast<__gm__ half*>(qkv) + 2 * channels);
    image_gm[kDout].SetGlobalBuffer(reinterpret_cast<__gm__ half*>(dout));
    dqkv_gm.SetGlobalBuffer(reinterpret_cast<__gm__ half*>(dqkv));
    bias_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(bias));
    scale_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(scale));
    stats_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(stats));
    dbias_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(dbias) + core * t.heads_a_core * row * row);
    dscale_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(dscale) + core * t.heads_a_core * kLanes);

    const int32_t tile = t.tile_blocks * n1 * kFractal, turned_rows = d * kLanes;
    stage = Buffer<half>(pipe, stage_buffer, turned_rows);
    turned = Buffer<half>(pipe, turned_buffer, turned_rows);
    wide = Buffer<float>(pipe, wide_buffer, turned_rows);
    other = Buffer<float>(pipe, other_buffer, turned_rows);
    third = Buffer<float>(pipe, third_buffer, turned_rows);
    s = Buffer<float>(pipe, s_buffer, tile);
    ds = Buffer<float>(pipe, ds_buffer, tile);
    bias_tile = Buffer<float>(pipe, bias_buffer, tile);
    pairs = Buffer<half>(pipe, pairs_buffer, 4 * tile);
    lse = Buffer<float>(pipe, lse_buffer, DivideUp(row, kLanes) * kLanes);
    inverse = Buffer<float>(pipe, inverse_buffer, kLanes);
    ones = Buffer<float>(pipe, ones_buffer, kLanes);
    copies = Buffer<float>(pipe, copies_buffer, kLanes);
    mask = Buffer<float>(pipe, mask_buffer, 4 * kSide);
    dscale_lanes = Buffer<float>(pipe, dscale_buffer, kLanes);
    largest = Buffer<half>(pipe, largest_buffer, kLanes);

    l1_rows = Buffer<half>(pipe, l1_rows_buffer, kOperands * row * d);
    l1_pairs = Buffer<half>(pipe, l1_pairs_buffer, 4 * tile);
    a = Buffer<half>(pipe, a_buffer, row * d);
    b = Buffer<half>(pipe, b_buffer, t.tile_blocks * Max(n1, d1) * kFractal);
    c = Buffer<float>(pipe, c_buffer, 2 * tile + t.tile_blocks * d1 * kFractal + 2 * row * d);
    c_s = c;
    c_dp = c[tile];
    c_dq = c[2 * tile];
    c_dk = c[2 * tile + t.tile_blocks * d1 * kFractal];
    c_dv = c_dk[row * d];
  }

  __aicore__ inline void Run() {
    Duplicate(ones, 1.f, kLanes);
    Duplicate(dscale_lanes, 0.f, kLanes);
    Duplicate(inverse, 1.f, kLanes);
    for (unit = first_unit; unit < last_unit; ++unit) {
      window.Locate(t, unit % windows);
      head = unit / windows;
      scale = scale_gm.GetValue(head);
      Prepare();
      for (int32_t block = 0; block < n1; block += t.tile_blocks)
        Attend(block, Min(t.tile_blocks, n1 - block));
      for (int32_t first = 0; first < row; first += kLanes) {
        Finish(kK, c_dk, first, Min(kLanes, row - first), first * d);
        Finish(kV, c_dv, first, Min(kLanes, row - first), first * d);
      }
      if (unit + 1 == last_unit || (unit + 1) / windows != head) StoreScale();
    }
  }

 private:
  // q^ and k^ are pairs, v and do float16: what L1 holds of a unit, each (blocks, d, 16).
  static constexpr int32_t kRest = 1, kKeys = 2, kValues = 4, kCotangents = 5, kOperands = 6;
  // What L1 holds of a tile, each (query blocks, keys, 16): p and ds, pairs.
  static constexpr int32_t kP = 0, kDs = 2;

  __aicore__ inline void Sync() const { PipeBarrier<PIPE_ALL>(); }

  // ---- rows of the image, 64 tokens at a time ----

  // turned (d, 64): one head of tokens [first, first + tokens); beyond them, padding and beyond N zeros.
  __aicore__ inline void Fetch(int32_t part, int32_t first, int32_t tokens) {
    const int32_t pitch = part < kDout ? 3 * channels : channels, end = Min(first + tokens, n);
    Sync();
    Duplicate(stage, half(0), d * kLanes);
    Sync();
    for (int32_t token = first; token < end;) {
      const Pixels run = RunFrom(window.y, window.x, window.image, t.width, token, end);
      if (run.valid > 0)
        DataCopy(stage[(token - first) * d], image_gm[part][run.first * pitch + head * d],
                 DataCopyParams(run.valid, d1, pitch / kSide - d1, 0));
      token += run.count;
    }
    Sync();
    Turn(false);
  }

  // stage (64, d) to turned (d, 64), or `back`
  __aicore__ inline void Turn(bool back) const {
    for (int32_t i = 0; i < d1; ++i) {
      LocalTensor<half> tokens[16], lanes[16];
      for (int32_t j = 0; j < kSide; ++j) {
        tokens[j] = stage[j * d + i * kSide];
        lanes[j] = turned[(i * kSide + j) * kLanes];
      }
      if (back)
        TransDataTo5HD(tokens, lanes, TransDataTo5HDParams(false, false, kLanes / kSide, d, 1));
      else
        TransDataTo5HD(lanes, tokens, TransDataTo5HDParams(false, false, kLanes / kSide, 1, d));
    }
    PipeBarrier<PIPE_V>();
  }

  // wide (d, 64) = q^ or k^, and `inverse`, 1 / max(|x|, 1e-12); v or do as they are.
  __aicore__ inline void Load(int32_t part, int32_t first, int32_t tokens) {
    Fetch(part, first, tokens);
    Cast(wide, turned, RoundMode::CAST_NONE, d * kLanes);
    PipeBarrier<PIPE_V>();
    if (part > kK || !t.cosine) return;
    Mul(other, wide, wide, d * kLanes);
    PipeBarrier<PIPE_V>();
    SumRows(other, d, kLanes);
    Adds(other, other, kTiny, kLanes);
    PipeBarrier<PIPE_V>();
    Sqrt(other, other, kLanes);
    PipeBarrier<PIPE_V>();
    Div(inverse, ones, other, kLanes);
    PipeBarrier<PIPE_V>();
    ScaleLanes(wide, inverse);
  }

  // The first row of x (rows, lanes) becomes their sum.
  __aicore__ inline void SumRows(const LocalTensor<float>& x, int32_t rows, int32_t lanes) const {
    for (; rows > 1; rows -= rows / 2) {
      Add(x, x, x[(rows - rows / 2) * lanes], rows / 2 * lanes);
      PipeBarrier<PIPE_V>();
    }
  }
  // x (d, 64) *= by (64)
  __aicore__ inline void ScaleLanes(const LocalTensor<float>& x, const LocalTensor<float>& by) const {
    Mul(x, x, by, kLanes, d, BinaryRepeatParams(1, 1, 1, 8, 8, 0));
    PipeBarrier<PIPE_V>();
  }

  // ---- prepare ----

  __aicore__ inline void Prepare() {
    dout_power = PowerOf(kDout, kGradientBits);
    v_power = PowerOf(kV, 0);
    vector_power = t.cosine ? Power(kVectorBits) : 1.f;
    for (int32_t first = 0; first < row; first += kLanes) {
      const int32_t tokens = Min(kLanes, row - first);
      for (int32_t part = kQ; part <= kK; ++part) {
        Load(part, first, tokens);
        if (t.cosine) {
          Muls(wide, wide, vector_power, d * kLanes);
          PipeBarrier<PIPE_V>();
          Split(turned, stage, wide, other, d * kLanes);
        }
        Lay(turned, 2 * part, first, tokens);
        if (t.cosine) Lay(stage, 2 * part + kRest, first, tokens);
      }
      Load(kV, first, tokens);
      LayScaled(v_power, kValues, first, tokens);
      Load(kDout, first, tokens);
      LayScaled(dout_power, kCotangents, first, tokens);
    }
    const int32_t padded = DivideUp(n, 8) * 8;
    Duplicate(lse, kNever, DivideUp(row, kLanes) * kLanes);
    Sync();
    DataCopy(lse, stats_gm[(static_cast<int64_t>(window.index) * t.heads + head) * padded], padded);
    Sync();
    for (int32_t first = 0; first < row; first += kSide) {
      uint64_t lanes[2] = {0, 0};
      for (int32_t i = 0; i < kSide; ++i)
        if (first + i >= n || window.Region(first + i) < 0) lanes[0] |= uint64_t(1) << i;
      if (lanes[0] != 0) Duplicate(lse[first], kNever, lanes, 1, 1, 8);
    }
    Sync();
  }

  // The power of two that brings the unit's largest number of v or do to [2^(bits - 1), 2^bits), a subnormal below.
  __aicore__ inline float PowerOf(int32_t part, int32_t bits) {
    Sync();
    Duplicate(largest, half(0), kLanes);
    for (int32_t first = 0; first < row; first += kLanes) {
      Fetch(part, first, Min(kLanes, row - first));
      Abs(turned, turned, d * kLanes);
      PipeBarrier<PIPE_V>();
      for (int32_t rows = d; rows > 1; rows -= rows / 2) {
        AscendC::Max(turned, turned, turned[(rows - rows / 2) * kLanes], rows / 2 * kLanes);
        PipeBarrier<PIPE_V>();
      }
      AscendC::Max(largest, largest, turned, kLanes);
      PipeBarrier<PIPE_V>();
    }
    Sync();
    const LocalTensor<uint16_t> of_lanes =
        largest.ReinterpretCast<uint16_t>();  // numbers >= 0 are in their order
    int32_t most = 0;
    for (int32_t i = 0; i < kLanes; ++i) most = Max(most, of_lanes.GetValue(i));
    return Power(bits + 14 - (most >> 10));
  }
  __aicore__ inline float Power(int32_t exponent) const {
    union {
      uint32_t bits;
      float number;
    } power = {static_cast<uint32_t>(127 + exponent) << 23};
    return power.number;
  }

  // x = rounded + rest; scratch is lost.
  __aicore__ inline void Split(const LocalTensor<half>& rounded, const LocalTensor<half>& rest,
                               const LocalTensor<float>& x, const LocalTensor<float>& scratch,
                               int32_t count) const {
    Cast(rounded, x, RoundMode::CAST_NONE, count);
    PipeBarrier<PIPE_V>();
    Cast(scratch, rounded, RoundMode::CAST_NONE, count);
    PipeBarrier<PIPE_V>();
    Sub(scratch, x, scratch, count);
    PipeBarrier<PIPE_V>();
    Cast(rest, scratch, RoundMode::CAST_NONE, count);
    PipeBarrier<PIPE_V>();
  }

  // (d, 64) -> (blocks, d, 16) in L1
  __aicore__ inline void Lay(const LocalTensor<half>& from, int32_t operand, int32_t first,
                             int32_t tokens) const {
    Sync();
    for (int32_t i = 0; i < tokens; i += kSide)
      DataCopy(l1_rows[operand * row * d + (first + i) * d], from[i],
               DataCopyParams(d, 1, kLanes / kSide - 1, 0));
  }
  // wide *= power: exact in float16, but for numbers 2^14 and more below the largest where that is large
  __aicore__ inline void LayScaled(float power, int32_t operand, int32_t first, int32_t tokens) {
    Muls(wide, wide, power, d * kLanes);
    PipeBarrier<PIPE_V>();
    Cast(turned, wide, RoundMode::CAST_NONE, d * kLanes);
    Lay(turned, operand, first, tokens);
  }

  // ---- attend: a tile of query blocks against all keys ----

  __aicore__ inline void Attend(int32_t block, int32_t blocks) {
    const int32_t count = blocks * n1 * kFractal, queries = blocks * kSide;
    Sync();
    for (int32_t i = 0; i < (t.cosine ? 3 : 1); ++i)
      Multiply(c_s, row, queries, d, Tokens(kKeys + KeysOf(i)), Queries(OthersOf(i), block, blocks, true),
               i == 0);
    Multiply(c_dp, row, queries, d, Tokens(kValues), Queries(kCotangents, block, blocks, true), true);
    FromCube(s, c_s, count / kFractal);
    FromCube(ds, c_dp, count / kFractal);
    DataCopy(bias_tile, bias_gm[(static_cast<int64_t>(head) * n1 + block) * row * kSide], count);
    Sync();
    Soften(block, blocks);
    StoreBias(block, count);
    Muls(s, s, Power(kWeightBits), count);
    PipeBarrier<PIPE_V>();
    const int32_t tile = t.tile_blocks * n1 * kFractal;
    Split(pairs[kP * tile], pairs[(kP + kRest) * tile], s, bias_tile, count);
    Split(pairs[kDs * tile], pairs[(kDs + kRest) * tile], ds, bias_tile, count);
    Sync();
    for (int32_t i = 0; i < 4; ++i) DataCopy(l1_pairs[i * tile], pairs[i * tile], count);
    Sync();
    for (int32_t i = 0; i < (t.cosine ? 3 : 2); ++i) {
      const bool first = block == 0 && i == 0;
      Multiply(c_dq, d, queries, row, Turned(kKeys + KeysOf(i)), Pairs(kDs + OthersOf(i), blocks, true),
               i == 0);
      Multiply(c_dk, d, row, queries, Queries(KeysOf(i), block, blocks, false),
               Pairs(kDs + OthersOf(i), blocks, false), first);
      if (i < 2)
        Multiply(c_dv, d, row, queries, Queries(kCotangents, block, blocks, false),
                 Pairs(kP + i, blocks, false), first);
    }
    Finish(kQ, c_dq, block * kSide, queries, 0);
  }

  // dbias += ds of a tile, the powers of two taken back
  __aicore__ inline void StoreBias(int32_t block, int32_t count) {
    const bool fresh =
        unit == first_unit || (unit - 1) / windows != head;  // the head's first unit on this core
    const int64_t at = static_cast<int64_t>(head - first_unit / windows) * n1 + block;
    Muls(bias_tile, ds, 1.f / (dout_power * v_power), count);
    Sync();
    if (!fresh) SetAtomicAdd<float>();
    DataCopy(dbias_gm[at * row * kSide], bias_tile, count);
    if (!fresh) SetAtomicNone();
    Sync();
  }

  // The products of two pairs: rounded by rounded, rounded by rest, rest by rounded. q and k of dot products have no
  // rest, and the third falls away, with s the second too.
  __aicore__ inline int32_t KeysOf(int32_t product) const { return product == 2 ? kRest : 0; }
  __aicore__ inline int32_t OthersOf(int32_t product) const { return product == 1 ? kRest : 0; }

  static constexpr int32_t kMaxRun = 255;  // repeats of an instruction

  // s -> p, dp -> ds
  __aicore__ inline void Soften(int32_t block, int32_t blocks) {
    const int32_t count = blocks * n1 * kFractal, repeats = row * kSide / kLanes;
    const BinaryRepeatParams by_query(1, 1, 1, 8, 8, 0);  // of `copies`
    Muls(s, s, scale / (vector_power * vector_power), count);
    PipeBarrier<PIPE_V>();
    Add(s, s, bias_tile, count);
    PipeBarrier<PIPE_V>();
    for (int32_t i = 0; i < blocks; ++i) {
      const LocalTensor<float> scores = s[i * n1 * kFractal];
      if (window.Split()) MakeMask((block + i) * kSide);
      // Runs of keys of one region; padding and beyond N: -1.
      for (int32_t key = 0, end; key < row; key = end) {
        const int32_t region = RegionOf(key);
        for (end = key + 1; end < row && end - key < kMaxRun && RegionOf(end) == region;) ++end;
        if (region < 0)
          Duplicate(scores[key * kSide], kForbidden, (end - key) * kSide);
        else if (window.Split())
          Add(scores[key * kSide], scores[key * kSide], mask[region * kSide], kSide, end - key,
              BinaryRepeatParams(1, 1, 1, 2, 2, 0));
      }
      PipeBarrier<PIPE_V>();
      Spread(lse[(block + i) * kSide]);
      Sub(scores, scores, copies, kLanes, repeats, by_query);
    }
    PipeBarrier<PIPE_V>();
    Exp(s, s, count);
    PipeBarrier<PIPE_V>();
    for (int32_t i = 0; i < blocks; ++i) {
      const LocalTensor<float> weights = s[i * n1 * kFractal], slopes = ds[i * n1 * kFractal];
      DataCopy(bias_tile, weights, row * kSide);
      PipeBarrier<PIPE_V>();
      SumRows(bias_tile, row, kSide);
      Adds(bias_tile, bias_tile, kNothing, kSide);
      PipeBarrier<PIPE_V>();
      Div(bias_tile, ones, bias_tile, kSide);
      PipeBarrier<PIPE_V>();
      Spread(bias_tile);
      Mul(weights, weights, copies, kLanes, repeats, by_query);
      PipeBarrier<PIPE_V>();
      Mul(bias_tile, weights, slopes, row * kSide);
      PipeBarrier<PIPE_V>();
      SumRows(bias_tile, row, kSide);
      Spread(bias_tile);
      Sub(slopes, slopes, copies, kLanes, repeats, by_query);
      PipeBarrier<PIPE_V>();
    }
    Mul(ds, ds, s, count);
    PipeBarrier<PIPE_V>();
  }

  __aicore__ inline int32_t RegionOf(int32_t token) const { return token < n ? window.Region(token) : -1; }

  // mask (regions of the key, 16 queries)
  __aicore__ inline void MakeMask(int32_t first) {
    PipeBarrier<PIPE_V>();
    Duplicate(mask, t.mask_value, 4 * kSide);
    PipeBarrier<PIPE_V>();
    for (int32_t region = 0; region < 4; ++region) {
      uint64_t lanes[2] = {0, 0};
      for (int32_t i = 0; i < kSide; ++i)
        if (RegionOf(first + i) == region) lanes[0] |= uint64_t(1) << i;
      if (lanes[0] != 0) Duplicate(mask[region * kSide], 0.f, lanes, 1, 1, 8);
    }
    PipeBarrier<PIPE_V>();
  }

  // copies (4, 16) of x (16)
  __aicore__ inline void Spread(const LocalTensor<float>& x) const {
    for (int32_t i = 0; i < kLanes; i += kSide) DataCopy(copies[i], x, kSide);
    PipeBarrier<PIPE_V>();
  }

  // ---- products ----

  // Groups of fractals in L1 on their way to L0A or L0B, each `stride` from the one before.
  struct Fractals {
    LocalTensor<half> from;
    int32_t groups, count, stride;
    bool turned;
  };

  // L0A (tokens, d) of all tokens
  __aicore__ inline Fractals Tokens(int32_t operand) const {
    return {l1_rows[operand * row * d], 1, n1 * d1, 1, true};
  }
  // L0A (d, tokens) of all tokens
  __aicore__ inline Fractals Turned(int32_t operand) const {
    return {l1_rows[operand * row * d], d1, n1, d1, false};
  }
  // L0B (d, queries) (`turned`) or L0A (d, queries) of a tile
  __aicore__ inline Fractals Queries(int32_t operand, int32_t block, int32_t blocks, bool is_turned) const {
    return {l1_rows[operand * row * d + block * kSide * d], d1, blocks, d1, is_turned};
  }
  // L0B (keys, queries) (`turned`) or (queries, keys)
  __aicore__ inline Fractals Pairs(int32_t which, int32_t blocks, bool is_turned) const {
    const LocalTensor<half> from = l1_pairs[which * t.tile_blocks * n1 * kFractal];
    if (is_turned) return {from, n1, blocks, n1, true};
    return {from, 1, blocks * n1, 1, false};
  }

  // to (m, columns) (+)= left right, over k
  __aicore__ inline void Multiply(const LocalTensor<float>& to, int32_t m, int32_t columns, int32_t k,
                                  const Fractals& left, const Fractals& right, bool first) const {
    Bring(a, left);
    Bring(b, right);
    Sync();
    swinv2::Multiply(to, a, b, m, columns, k, first);
    Sync();
  }
  __aicore__ inline void Bring(const LocalTensor<half>& to, const Fractals& x) const {
    for (int32_t i = 0; i < x.groups; ++i)
      LoadData(to[i * x.count * kFractal], x.from[i * kFractal],
               LoadData2DParams(0, x.count, x.stride, 0, 0, x.turned, 0));
  }

  // ---- finish: the gradient of q, k or v of tokens, (blocks, d, 16) in L0C, to the image ----

  __aicore__ inline void Finish(int32_t part, const LocalTensor<float>& gradient, int32_t first,
                                int32_t tokens, int32_t at) {
    if (part != kV) Load(part, first, tokens);
    Sync();
    FromCube(third, gradient[at], tokens / kSide * d1);
    Duplicate(other, 0.f, d * kLanes);
    PipeBarrier<PIPE_V>();
    for (int32_t i = 0; i < tokens / kSide; ++i)
      DataCopy(other[i * kSide], third[i * kSide * d], DataCopyParams(d, 2, 0, kLanes / 8 - 2));
    PipeBarrier<PIPE_V>();
    Muls(other, other,
         1.f / (part == kV ? dout_power * Power(kWeightBits) : dout_power * v_power * vector_power),
         d * kLanes);
    PipeBarrier<PIPE_V>();
    if (part != kV) {
      Mul(third, wide, other, d * kLanes);
      PipeBarrier<PIPE_V>();
      SumRows(third, d, kLanes);
      if (part == kQ) Add(dscale_lanes, dscale_lanes, third, kLanes);
      if (t.cosine) {
        ScaleLanes(wide, third);
        Sub(other, other, wide, d * kLanes);
        PipeBarrier<PIPE_V>();
        ScaleLanes(other, inverse);
      }
      Muls(other, other, scale, d * kLanes);
      PipeBarrier<PIPE_V>();
    }
    Cast(turned, other, RoundMode::CAST_NONE, d * kLanes);
    PipeBarrier<PIPE_V>();
    Turn(true);
    const int32_t end = Min(first + tokens, n);
    if (window.Padded()) ClearPadding(stage, window, t.width, first, end, d);
    Sync();
    for (int32_t token = first; token < end;) {
      const Pixels run = RunFrom(window.y, window.x, window.image, t.width, token, end);
      DataCopy(dqkv_gm[run.first * 3 * channels + part * channels + head * d], stage[(token - first) * d],
               DataCopyParams(run.count, d1, 0, 3 * channels / kSide - d1));
      token += run.count;
    }
  }

  // The sums of the head's q^ . a, in lanes; they start again at 0.
  __aicore__ inline void StoreScale() {
    Sync();
    DataCopy(dscale_gm[static_cast<int64_t>(head - first_unit / windows) * kLanes], dscale_lanes, kLanes);
    Sync();
    Duplicate(dscale_lanes, 0.f, kLanes);
    PipeBarrier<PIPE_V>();
  }

  const WindowAttentionGradTiling910 t;
  int32_t n, n1, row, d, d1, channels, windows, first_unit, last_unit, unit, head;
  float scale, dout_power, v_power, vector_power;
  Window window;
  GlobalTensor<half> image_gm[4], dqkv_gm;
  GlobalTensor<float> bias_gm, scale_gm, stats_gm, dbias_gm, dscale_gm;
  TBuf<TPosition::VECCALC> stage_buffer, turned_buffer, wide_buffer, other_buffer, third_buffer, s_buffer,
      ds_buffer, bias_buffer, pairs_buffer, lse_buffer, inverse_buffer, ones_buffer, copies_buffer,
      mask_buffer, dscale_buffer, largest_buffer;
  TBuf<TPosition::A1> l1_rows_buffer, l1_pairs_buffer;
  TBuf<TPosition::A2> a_buffer;
  TBuf<TPosition::B2> b_buffer;
  TBuf<TPosition::CO1> c_buffer;
  LocalTensor<half> stage, turned;                    // (64 tokens, d), (d, 64)
  LocalTensor<float> wide, other, third;              // (d, 64)
  LocalTensor<float> s, ds, bias_tile;                // (query blocks, keys, 16)
  LocalTensor<half> pairs, l1_pairs;                  // ([p|rest|ds|rest], query blocks, keys, 16)
  LocalTensor<float> lse;                             // (tokens)
  LocalTensor<float> inverse, ones, dscale_lanes;     // (64)
  LocalTensor<float> copies, mask;                    // (4 x 16 queries), (regions of the key, 16 queries)
  LocalTensor<half> largest;                          // (64)
  LocalTensor<half> l1_rows;                          // ([q|rest|k|rest|v|do], blocks, d, 16)
  LocalTensor<half> a, b;                             // Zz, Zn
  LocalTensor<float> c, c_s, c_dp, c_dq, c_dk, c_dv;  // Nz
};

// bias: prepare_bias of the table. dbias, dscale: partial sums for gather_gradients (tiling_host.h).
__aicore__ inline void window_attention_grad_910(GM_ADDR qkv, GM_ADDR bias, GM_ADDR scale, GM_ADDR stats,
                                                 GM_ADDR dout, GM_ADDR dqkv, GM_ADDR dbias, GM_ADDR dscale,
                                                 const WindowAttentionGradTiling910& t) {
  TPipe pipe;
  WindowAttentionGrad910(qkv, bias, scale, stats, dout, dqkv, dbias, dscale, t, pipe).Run();
}

}  // namespace swinv2

// tiling: the bytes of a WindowAttentionGradTiling910.
extern "C" __global__ __aicore__ void swinv2_window_attention_grad_910(
    GM_ADDR qkv, GM_ADDR bias, GM_ADDR scale, GM_ADDR out, GM_ADDR stats, GM_ADDR dout, GM_ADDR dqkv,
    GM_ADDR dbias, GM_ADDR dscale, GM_ADDR workspace, GM_ADDR tiling) {
  (void)out, (void)workspace;
  swinv2::window_attention_grad_910(qkv, bias, scale, stats, dout, dqkv, dbias, dscale,
                                    swinv2::ReadTiling<swinv2::WindowAttentionGradTiling910>(tiling));
}
