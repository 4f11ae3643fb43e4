// SPDX-License-Identifier: Apache-2.0
//
// Backward window attention (window_attention.h) on dav-c220, one AIC with two AIVs a block, cut up as
// WindowAttentionGradTiling910B (tiling_910b.h) says. All of it is float32, products too; only what comes from the
// image and goes there is in the storage type.
//
//   AIV  Prepare  q^, k^, v, do as float32 rows                       image -> workspace
//   AIC  Score    s = q^ k^T, dp = do v^T                             workspace
//   AIV  Soften   p = exp(scale s + bias + mask - lse), ds = p (S dp - D), over s and dp; dbias += ds
//   AIC  Pull     a = ds k^, b = ds^T q^, dv = p^T do
//   AIV  Finish   dq = scale (a - q^ (q^ . a)) / |q|, dk likewise of b; dscale += q^ . a        -> image
//
// D = do . o is taken as sum_j p_ij dp_ij, out being rounded, and S = sum_j p_ij is 1 but for rounding: a query of one
// key has ds = 0 to the bit.
//
// A step takes a unit to each AIV. While these soften a step, the AIC pulls the step before and scores the next.
#include "window_attention/tiling_910b.h"
#include "window_attention/window_attention_ascend_910b.h"

namespace swinv2 {

constexpr uint16_t kPrepared = 0, kScored = 1, kSoftened = 2, kPulled = 3;  // cross-core flags, once a step
constexpr int32_t kP = 0, kDs = 1;

// What both kinds of core know: units, windows, the workspace.
class WindowAttentionGrad910B {
 public:
  __aicore__ inline WindowAttentionGrad910B(GM_ADDR workspace, const WindowAttentionGradTiling910B& tiling,
                                            int64_t core)
      : t(tiling) {
    n = t.window_h * t.window_w;
    row = t.blocks * kSide;
    d = t.head_dim;
    windows = t.units / t.heads;
    first_unit = static_cast<int32_t>(core * t.units / t.cores);
    units = static_cast<int32_t>((core + 1) * t.units / t.cores) - first_unit;
    steps = DivideUp(units, 2);
    auto* from = reinterpret_cast<__gm__ float*>(workspace);
    const int64_t rows = int64_t{row} * d, pairs = int64_t{row} * row;
    const int64_t sizes[3] = {kPreparedUnits * 4 * rows, kPulledUnits * 3 * rows, kPulledUnits * 2 * pairs};
    GlobalTensor<float>* const parts[3] = {&prepared_gm, &pulled_gm, &pairs_gm};
    for (int32_t i = 0; i < 3; ++i) {
      parts[i]->SetGlobalBuffer(from + core * sizes[i]);
      from += t.cores * sizes[i];
    }
  }

 protected:
  // Unit `index` of the core: one head of a window.
  __aicore__ inline int32_t HeadOf(int32_t index) const { return (first_unit + index) / windows; }
  __aicore__ inline Window WindowOf(int32_t index) const {
    Window window;
    window.Locate(t, (first_unit + index) % windows);
    return window;
  }
  __aicore__ inline GlobalTensor<float> Prepared(int32_t index, int32_t part) const {
    return prepared_gm[(static_cast<int64_t>(index % kPreparedUnits) * 4 + part) * row * d];
  }
  __aicore__ inline GlobalTensor<float> Pulled(int32_t index, int32_t part) const {
    return pulled_gm[(static_cast<int64_t>(index % kPulledUnits) * 3 + part) * row * d];
  }
  __aicore__ inline GlobalTensor<float> Pairs(int32_t index, int32_t which) const {
    return pairs_gm[(static_cast<int64_t>(index % kPulledUnits) * 2 + which) * row * row];
  }

  const WindowAttentionGradTiling910B t;
  int32_t n, row, d, windows, first_unit, units, steps;  // row: N rounded up to 16
  GlobalTensor<float> prepared_gm;                       // (units in flight, [q^|k^|v|do], row, d)
  GlobalTensor<float> pulled_gm;                         // (units in flight, [a|b|dv], row, d)
  GlobalTensor<float> pairs_gm;  // (units in flight, [s, then p | dp, then ds], row, row)
};

// ---- AIC ----

class WindowAttentionGradCube910B : public WindowAttentionGrad910B {
 public:
  __aicore__ inline WindowAttentionGradCube910B(GM_ADDR workspace,
                                                const WindowAttentionGradTiling910B& tiling, TPipe& pipe)
      : WindowAttentionGrad910B(workspace, tiling, GetBlockIdx()) {
    l1 = Buffer<float>(pipe, l1_buffer, 2 * 2 * kPart);
    a = Buffer<float>(pipe, a_buffer, 2 * kPart);
    b = Buffer<float>(pipe, b_buffer, 2 * kPart);
    c = Buffer<float>(pipe, c_buffer, 2 * kTile * kTile);
  }

  __aicore__ inline void Run() {
    SetHF32Mode(false);  // nothing else resets it between kernels
    for (int32_t slot = 0; slot < 2; ++slot) {
      laid[slot].Open();
      operands[slot].Open();
      multiplied[slot].Open();
    }
    for (int32_t step = 0; step <= steps; ++step) {
      if (step < steps) {
        CrossCoreWaitFlag(kPrepared);
        for (int32_t unit = 2 * step; unit < Min(units, 2 * step + 2); ++unit) Score(unit);
        CrossCoreSetFlag<2, PIPE_FIX>(kScored);
      }
      if (step > 0) {
        CrossCoreWaitFlag(kSoftened);
        for (int32_t unit = 2 * step - 2; unit < Min(units, 2 * step); ++unit) Pull(unit);
        CrossCoreSetFlag<2, PIPE_FIX>(kPulled);
      }
    }
    for (int32_t slot = 0; slot < 2; ++slot) {
      laid[slot].Close();
      operands[slot].Close();
      multiplied[slot].Close();
    }
  }

 private:
  static constexpr int32_t kTile = 128, kDepth = 64, kPart = kTile * kDepth;
  static constexpr int32_t kColumns = 8, kFractal32 = kSide * kColumns;  // of a fractal of float32

  // A matrix in the workspace. Its lines are the product's rows or columns; or, `turned`, the sum goes over them.
  struct Operand {
    GlobalTensor<float> at;
    int32_t pitch;
    bool turned;
  };

  __aicore__ inline void Score(int32_t unit) {
    const Operand q{Prepared(unit, kQ), d, false}, k{Prepared(unit, kK), d, false};
    const Operand v{Prepared(unit, kV), d, false}, dout{Prepared(unit, kDout), d, false};
    Multiply(q, k, Pairs(unit, kP), row, row, d);
    Multiply(dout, v, Pairs(unit, kDs), row, row, d);
  }

  __aicore__ inline void Pull(int32_t unit) {
    const Operand q{Prepared(unit, kQ), d, true}, k{Prepared(unit, kK), d, true},
        dout{Prepared(unit, kDout), d, true};
    const Operand p{Pairs(unit, kP), row, true}, ds{Pairs(unit, kDs), row, false},
        ds_turned{Pairs(unit, kDs), row, true};
    Multiply(ds, k, Pulled(unit, kQ), row, d, row);
    Multiply(ds_turned, q, Pulled(unit, kK), row, d, row);
    Multiply(p, dout, Pulled(unit, kV), row, d, row);
  }

  // to (m, n) = left (m, k) right (k, n); all multiples of 16, `to` dense.
  __aicore__ inline void Multiply(const Operand& left, const Operand& right, const GlobalTensor<float>& to,
                                  int32_t m, int32_t columns, int32_t k) {
    for (int32_t i = 0; i < m; i += kTile)
      for (int32_t j = 0; j < columns; j += kTile) {
        const int32_t m1 = Min(kTile, m - i) / kSide, n1 = Min(kTile, columns - j) / kSide;
        const int32_t slot = products++ & 1;
        const LocalTensor<float> product = c[slot * kTile * kTile];
        multiplied[slot].Acquire();
        for (int32_t l = 0; l < k; l += kDepth) {
          const int32_t k1 = Min(kDepth, k - l) / kSide, part = parts++ & 1;
          const LocalTensor<float> in_a = a[part * kPart], in_b = b[part * kPart];
          const LocalTensor<float> laid_a = l1[2 * part * kPart], laid_b = l1[(2 * part + 1) * kPart];
          laid[part].Acquire();
          Lay(laid_a, left, i, m1, l, k1);
          Lay(laid_b, right, j, n1, l, k1);
          laid[part].Publish();
          laid[part].Await();
          operands[part].Acquire();
          LoadA(in_a, laid_a, left.turned, m1, k1);
          LoadB(in_b, laid_b, right.turned, n1, k1);
          laid[part].Release();
          operands[part].Publish();
          operands[part].Await();
          if (l > 0) PipeBarrier<PIPE_M>();
          swinv2::Multiply(product, in_a, in_b, m1 * kSide, n1 * kSide, k1 * kSide, l == 0);
          operands[part].Release();
        }
        multiplied[slot].Publish();
        multiplied[slot].Await();
        Fixpipe<float, float, CFG_ROW_MAJOR>(
            to[static_cast<int64_t>(i) * columns + j], product,
            FixpipeParamsV220(n1 * kSide, m1 * kSide, m1 * kSide, columns, false));
        multiplied[slot].Release();
      }
  }

  // Blocks of 16 lines and 16 steps of the sum, from line `first` and step `l` on, as (blocks of the matrix's rows,
  // columns / 8, 16, 8): squares of 16 are two fractals side by side, as turning them needs.
  __aicore__ inline void Lay(const LocalTensor<float>& to, const Operand& x, int32_t first, int32_t blocks,
                             int32_t l, int32_t k1) const {
    const int32_t rows = x.turned ? k1 : blocks, columns = (x.turned ? blocks : k1) * kSide;
    const int64_t from =
        x.turned ? static_cast<int64_t>(l) * x.pitch + first : static_cast<int64_t>(first) * x.pitch + l;
    DataCopy(to, x.at[from],
             Nd2NzParams(rows, kSide, columns, kSide * x.pitch, x.pitch, kSide, 1, kSide * columns));
  }

  // Zz: (m1, k / 8) fractals of (16, 8)
  __aicore__ inline void LoadA(const LocalTensor<float>& to, const LocalTensor<float>& from, bool turned,
                               int32_t m1, int32_t k1) const {
    if (!turned) {
      LoadData(to, from, LoadData2DParams(0, m1 * 2 * k1, 1, 0, 0, false, 0));
      return;
    }
    for (int32_t i = 0; i < m1; ++i)
      LoadDataWithTranspose(to[i * 2 * k1 * kFractal32], from, LoadData2dTransposeParams(i, k1, m1, 1, 0));
  }

  // Zn: (k / 8, n1) fractals of (16 columns, 8)
  __aicore__ inline void LoadB(const LocalTensor<float>& to, const LocalTensor<float>& from, bool turned,
                               int32_t n1, int32_t k1) const {
    if (!turned) {
      for (int32_t i = 0; i < 2 * k1; ++i)
        LoadData(to[i * n1 * kFractal32], from[i * kFractal32],
                 LoadData2DParams(0, n1, 2 * k1, 0, 0, false, 0));
      return;
    }
    for (int32_t i = 0; i < k1; ++i)
      LoadDataWithTranspose(to[i * 2 * n1 * kFractal32], from,
                            LoadData2dTransposeParams(i * n1, n1, 1, 0, n1 - 1));
  }

  const Mte2ToMte1 laid[2] = {{0}, {1}};
  const Mte1ToCube operands[2] = {{3}, {4}};  // TPipe holds M_MTE1 0..2
  const CubeToFix multiplied[2] = {{0}, {1}};
  int32_t parts = 0, products = 0;
  TBuf<TPosition::A1> l1_buffer;
  TBuf<TPosition::A2> a_buffer;
  TBuf<TPosition::B2> b_buffer;
  TBuf<TPosition::CO1> c_buffer;
  LocalTensor<float> l1, a, b, c;
};

// ---- AIV ----

template <typename T>
class WindowAttentionGradVector910B : public WindowAttentionGrad910B {
 public:
  __aicore__ inline WindowAttentionGradVector910B(GM_ADDR qkv, GM_ADDR bias, GM_ADDR scale, GM_ADDR stats,
                                                  GM_ADDR dout, GM_ADDR dqkv, GM_ADDR dbias, GM_ADDR dscale,
                                                  GM_ADDR workspace,
                                                  const WindowAttentionGradTiling910B& tiling, TPipe& pipe)
      : WindowAttentionGrad910B(workspace, tiling, GetBlockIdx() / GetSubBlockNum()) {
    side = static_cast<int32_t>(GetSubBlockIdx());
    chunks = t.pitch / kLanes;
    channels = t.heads * d;
    tokens_a_chunk = kChunk / d;
    qkv_gm.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(qkv));
    dout_gm.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(dout));
    dqkv_gm.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(dqkv));
    bias_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(bias));
    scale_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(scale));
    stats_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(stats));
    const int64_t partial = GetBlockIdx() * int64_t{t.heads_a_core};
    dbias_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(dbias) + partial * n * row);
    dscale_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(dscale) + partial * kScaleLanes);

    const int32_t tile = t.tile_rows * t.pitch;
    keys.Init(pipe, n, t.pitch, t.mask_value);
    s = Buffer<float>(pipe, s_buffer, tile);
    ds = Buffer<float>(pipe, ds_buffer, tile);
    bias_rows = Buffer<float>(pipe, bias_buffer, tile);
    lse = Buffer<float>(pipe, lse_buffer, t.pitch);
    of_tokens = Buffer<float>(pipe, of_tokens_buffer, kUnitsKept * kFacts * t.pitch);
    stage = Buffer<T>(pipe, stage_buffer, kChunk);
    wide = Buffer<float>(pipe, wide_buffer, kChunk);
    other = Buffer<float>(pipe, other_buffer, kChunk);
    product = Buffer<float>(pipe, product_buffer, kChunk);
    copies = Buffer<float>(pipe, copies_buffer, kScaleLanes * 8);
    numbers = Buffer<float>(pipe, numbers_buffer, kScaleLanes);
    deltas = Buffer<float>(pipe, deltas_buffer, kScaleLanes);
    ones = Buffer<float>(pipe, ones_buffer, kScaleLanes);
    dscale_lanes = Buffer<float>(pipe, dscale_buffer, kScaleLanes);
  }

  __aicore__ inline void Run() {
    Open();
    PrepareStep(0);
    for (int32_t step = 0; step <= steps; ++step) {
      const int32_t unit = 2 * step + side;
      if (step + 1 < steps) PrepareStep(step + 1);
      if (step < steps) {
        CrossCoreWaitFlag(kScored);
        if (unit < units) Soften(unit);
        CrossCoreSetFlag<2, PIPE_MTE3>(kSoftened);
      }
      if (step > 0) {
        CrossCoreWaitFlag(kPulled);
        if (unit - 2 < units) Finish(unit - 2);
      }
    }
    Close();
  }

 private:
  // A buffer that is loaded, changed and stored, in this order.
  struct Turn {
    int32_t id;
    __aicore__ inline void Open() const { SetFlag<HardEvent::MTE3_MTE2>(id); }
    __aicore__ inline void Load() const { WaitFlag<HardEvent::MTE3_MTE2>(id); }
    __aicore__ inline void Change() const {
      SetFlag<HardEvent::MTE2_V>(id);
      WaitFlag<HardEvent::MTE2_V>(id);
    }
    __aicore__ inline void Store() const {
      SetFlag<HardEvent::V_MTE3>(id);
      WaitFlag<HardEvent::V_MTE3>(id);
    }
    __aicore__ inline void End() const { SetFlag<HardEvent::MTE3_MTE2>(id); }
    __aicore__ inline void Close() const { WaitFlag<HardEvent::MTE3_MTE2>(id); }
  };

  // Numbers of a unit's tokens: 1 / max(|x|, 1e-12), and 1 where that is the norm, 0 where it is the floor.
  static constexpr int32_t kInverse = 0, kAboveFloor = 2, kFacts = 4;  // of q, then k
  static constexpr int32_t kUnitsKept = 3;                             // of an AIV, from Prepare to Finish
  static constexpr int32_t kOnceEvent = 2;

  // Lanes beyond N and rows beyond a window's are computed on like others.
  __aicore__ inline void Open() {
    Duplicate(s, 0.f, t.tile_rows * t.pitch);
    Duplicate(ds, 0.f, t.tile_rows * t.pitch);
    Duplicate(bias_rows, 0.f, t.tile_rows * t.pitch);
    Duplicate(ones, 1.f, kScaleLanes);
    Duplicate(dscale_lanes, 0.f, kScaleLanes);
    // Dot products: no norms.
    for (int32_t unit = 0; unit < kUnitsKept; ++unit) {
      Duplicate(Fact(2 * unit, kInverse), 1.f, 2 * t.pitch);
      Duplicate(Fact(2 * unit, kAboveFloor), 0.f, 2 * t.pitch);
    }
    PipeBarrier<PIPE_ALL>();
    rows_turn.Open();
    tile_turn.Open();
    lse_ready.Open();
  }
  __aicore__ inline void Close() {
    if (head >= 0) StoreScale();
    rows_turn.Close();
    tile_turn.Close();
    lse_ready.Close();
  }

  __aicore__ inline LocalTensor<float> Fact(int32_t unit, int32_t which) const {
    return of_tokens[(unit / 2 % kUnitsKept * kFacts + which) * t.pitch];
  }

  // ---- Prepare ----

  __aicore__ inline void PrepareStep(int32_t step) {
    if (2 * step + side < units) Prepare(2 * step + side);
    CrossCoreSetFlag<2, PIPE_MTE3>(kPrepared);
  }

  __aicore__ inline void Prepare(int32_t unit) {
    const Window window = WindowOf(unit);
    const int32_t at = HeadOf(unit) * d;
    for (int32_t part = kQ; part <= kDout; ++part)
      for (int32_t first = 0; first < row; first += tokens_a_chunk) {
        const int32_t tokens = Min(tokens_a_chunk, row - first);
        rows_turn.Load();
        if (window.Padded() || first + tokens > n) Wipe();
        if (part == kDout)
          Gather(dout_gm[at], channels, window, first, tokens);
        else
          Gather(qkv_gm[part * channels + at], 3 * channels, window, first, tokens);
        rows_turn.Change();
        Cast(wide, stage, RoundMode::CAST_NONE, tokens * d);
        PipeBarrier<PIPE_V>();
        if (t.cosine && part < kV)
          Normalise(Fact(unit, kInverse + part)[first], Fact(unit, kAboveFloor + part)[first], tokens);
        rows_turn.Store();
        DataCopy(Prepared(unit, part)[first * d], wide, tokens * d);
        rows_turn.End();
      }
  }

  // Rows of padding and beyond N are zeros.
  __aicore__ inline void Wipe() const {
    SetFlag<HardEvent::MTE2_V>(kOnceEvent);
    WaitFlag<HardEvent::MTE2_V>(kOnceEvent);
    Duplicate(stage.template ReinterpretCast<int16_t>(), int16_t(0), kChunk);
    SetFlag<HardEvent::V_MTE2>(kOnceEvent);
    WaitFlag<HardEvent::V_MTE2>(kOnceEvent);
  }

  // stage (tokens, d): one head's part of an image of `pitch` channels, without padding.
  __aicore__ inline void Gather(const GlobalTensor<T>& from, int32_t pitch, const Window& window,
                                int32_t first, int32_t tokens) const {
    const int32_t end = Min(first + tokens, n);
    for (int32_t token = first; token < end;) {
      const Pixels run = RunFrom(window.y, window.x, window.image, t.width, token, end);
      if (run.valid > 0)
        DataCopy(stage[(token - first) * d], from[run.first * pitch],
                 DataCopyParams(run.valid, d / kSide, (pitch - d) / kSide, 0));
      token += run.count;
    }
  }

  // wide = x / max(|x|, 1e-12) by rows
  __aicore__ inline void Normalise(const LocalTensor<float>& inverse, const LocalTensor<float>& free,
                                   int32_t tokens) {
    constexpr float kSteep =
        1e20f;  // times an ulp of 1e-12 above 1, times the largest norms Inf, which Mins takes
    Mul(other, wide, wide, tokens * d);
    PipeBarrier<PIPE_V>();
    SumRows(numbers, other, tokens);
    Sqrt(numbers, numbers, tokens);
    PipeBarrier<PIPE_V>();
    Adds(free, numbers, -kSmallestNorm, tokens);
    Maxs(numbers, numbers, kSmallestNorm, tokens);
    PipeBarrier<PIPE_V>();
    Muls(free, free, kSteep, tokens);
    Div(inverse, ones, numbers, tokens);
    PipeBarrier<PIPE_V>();
    Maxs(free, free, 0.f, tokens);
    PipeBarrier<PIPE_V>();
    Mins(free, free, 1.f, tokens);
    ScaleRows(wide, inverse, tokens);
  }

  // to (tokens) = sums of x (tokens, d)
  __aicore__ inline void SumRows(const LocalTensor<float>& to, const LocalTensor<float>& x,
                                 int32_t tokens) const {
    WholeReduceSum(to, x, d, tokens, 1, 1, d / 8);
    PipeBarrier<PIPE_V>();
  }
  // x (tokens, d) *= by (tokens)
  __aicore__ inline void ScaleRows(const LocalTensor<float>& x, const LocalTensor<float>& by,
                                   int32_t tokens) const {
    Spread(by, tokens);
    Mul(x, x, copies, d, tokens, BinaryRepeatParams(1, 1, 0, d / 8, d / 8, 1));
    PipeBarrier<PIPE_V>();
  }
  // copies (count, 8) of x (count)
  __aicore__ inline void Spread(const LocalTensor<float>& x, int32_t count) const {
    Brcb(copies, x, count / 8, BrcbRepeatParams(1, 8));
    PipeBarrier<PIPE_V>();
  }

  // ---- Soften ----

  __aicore__ inline void Soften(int32_t unit) {
    const Window window = WindowOf(unit);
    const int32_t of = HeadOf(unit), padded = DivideUp(n, 8) * 8;
    const float scale = scale_gm.GetValue(of);
    const bool fresh = unit < 2 || HeadOf(unit - 2) != of;  // the head's first unit on this AIV
    const GlobalTensor<float> dbias = dbias_gm[static_cast<int64_t>(of - HeadOf(0)) * n * row];
    keys.Enter(window);
    lse_ready.Acquire();
    DataCopy(lse, stats_gm[(static_cast<int64_t>(window.index) * t.heads + of) * padded], padded);
    lse_ready.Publish();
    lse_ready.Await();
    keys.Forbid(lse, 1, kNever);
    for (int32_t first = 0; first < row; first += t.tile_rows) {
      const int32_t rows = Min(t.tile_rows, row - first), queries = Max(0, Min(rows, n - first));
      const int64_t at = static_cast<int64_t>(first) * row;
      tile_turn.Load();
      DataCopy(s, Pairs(unit, kP)[at], Lines(rows));
      DataCopy(ds, Pairs(unit, kDs)[at], Lines(rows));
      if (queries > 0)
        DataCopy(bias_rows, bias_gm[(static_cast<int64_t>(of) * n + first) * row], Lines(queries));
      tile_turn.Change();
      Muls(s, s, scale, rows * t.pitch);
      PipeBarrier<PIPE_V>();
      Add(s, s, bias_rows, queries * t.pitch);
      PipeBarrier<PIPE_V>();
      keys.Mask(s, first, queries);
      keys.Forbid(s, rows, kForbidden);
      keys.Forbid(ds, rows, 0.f);  // lanes beyond `row` are never loaded: a NaN would stay
      SubRows(s, lse[first], rows);
      Exp(s, s, rows * t.pitch);
      PipeBarrier<PIPE_V>();
      SumWeights(numbers, rows);
      SumProducts(deltas, rows);
      MulRows(ds, numbers, rows);
      SubRows(ds, deltas, rows);
      Mul(ds, ds, s, rows * t.pitch);
      tile_turn.Store();
      DataCopy(Pairs(unit, kP)[at], s, LinesBack(rows));
      DataCopy(Pairs(unit, kDs)[at], ds, LinesBack(rows));
      if (queries > 0) {
        if (!fresh) SetAtomicAdd<float>();
        DataCopy(dbias[at], ds, LinesBack(queries));
        if (!fresh) SetAtomicNone();
      }
      tile_turn.End();
    }
    lse_ready.Release();
  }

  // Rows of scores, (rows, row) in GM, (rows, pitch) in UB.
  __aicore__ inline DataCopyParams Lines(int32_t rows) const {
    return DataCopyParams(rows, row * 4 / kBlockBytes, 0, (t.pitch - row) * 4 / kBlockBytes);
  }
  __aicore__ inline DataCopyParams LinesBack(int32_t rows) const {
    return DataCopyParams(rows, row * 4 / kBlockBytes, (t.pitch - row) * 4 / kBlockBytes, 0);
  }
  // to (rows) = sums of p. Lanes are gathered where the bias was, (rows, 64).
  __aicore__ inline void SumWeights(const LocalTensor<float>& to, int32_t rows) const {
    const uint8_t pitch = t.pitch / 8;
    const LocalTensor<float> sums = chunks == 1 ? s : bias_rows;
    for (int32_t i = 1; i < chunks; ++i) {
      Add(sums, i == 1 ? s : sums, s[i * kLanes], kLanes, rows,
          BinaryRepeatParams(1, 1, 1, 8, i == 1 ? pitch : 8, pitch));
      PipeBarrier<PIPE_V>();
    }
    SumLanes(to, sums, rows);
  }
  // to (rows) = sums of p dp, likewise
  __aicore__ inline void SumProducts(const LocalTensor<float>& to, int32_t rows) const {
    const uint8_t pitch = t.pitch / 8;
    const BinaryRepeatParams by_row(1, 1, 1, 8, pitch, pitch);
    Mul(bias_rows, s, ds, kLanes, rows, by_row);
    PipeBarrier<PIPE_V>();
    for (int32_t i = 1; i < chunks; ++i) {
      MulAddDst(bias_rows, s[i * kLanes], ds[i * kLanes], kLanes, rows, by_row);
      PipeBarrier<PIPE_V>();
    }
    SumLanes(to, bias_rows, rows);
  }
  // to (rows) = sums of x (rows, 64)
  __aicore__ inline void SumLanes(const LocalTensor<float>& to, const LocalTensor<float>& x,
                                  int32_t rows) const {
    BlockReduceSum(copies, x, rows, kLanes, 1, 1, 8);
    PipeBarrier<PIPE_V>();
    BlockReduceSum(to, copies, rows / 8, kLanes, 1, 1, 8);
    PipeBarrier<PIPE_V>();
  }
  // x (rows, pitch) *= by (rows)
  __aicore__ inline void MulRows(const LocalTensor<float>& x, const LocalTensor<float>& by,
                                 int32_t rows) const {
    const uint8_t pitch = t.pitch / 8;
    Spread(by, rows);
    for (int32_t i = 0; i < chunks; ++i)
      Mul(x[i * kLanes], x[i * kLanes], copies, kLanes, rows, BinaryRepeatParams(1, 1, 0, pitch, pitch, 1));
    PipeBarrier<PIPE_V>();
  }
  // x (rows, pitch) -= by (rows)
  __aicore__ inline void SubRows(const LocalTensor<float>& x, const LocalTensor<float>& by,
                                 int32_t rows) const {
    const uint8_t pitch = t.pitch / 8;
    Spread(by, rows);
    for (int32_t i = 0; i < chunks; ++i)
      Sub(x[i * kLanes], x[i * kLanes], copies, kLanes, rows, BinaryRepeatParams(1, 1, 0, pitch, pitch, 1));
    PipeBarrier<PIPE_V>();
  }

  // ---- Finish ----

  __aicore__ inline void Finish(int32_t unit) {
    const Window window = WindowOf(unit);
    const int32_t of = HeadOf(unit);
    const float scale = scale_gm.GetValue(of);
    if (of != head) {
      if (head >= 0) StoreScale();
      head = of;
    }
    for (int32_t part = kQ; part <= kV; ++part)
      for (int32_t first = 0; first < n; first += tokens_a_chunk) {
        const int32_t tokens = Min(tokens_a_chunk, row - first), count = tokens * d;
        rows_turn.Load();
        DataCopy(wide, Pulled(unit, part)[first * d], count);
        if (part != kV) DataCopy(other, Prepared(unit, part)[first * d], count);
        rows_turn.Change();
        if (part != kV) {
          Mul(product, wide, other, count);
          PipeBarrier<PIPE_V>();
          SumRows(numbers, product, tokens);
          if (part == kQ) Add(dscale_lanes, dscale_lanes, numbers, tokens);
          PipeBarrier<PIPE_V>();
          Mul(numbers, numbers, Fact(unit, kAboveFloor + part)[first], tokens);
          PipeBarrier<PIPE_V>();
          ScaleRows(other, numbers, tokens);
          Sub(wide, wide, other, count);
          Muls(numbers, Fact(unit, kInverse + part)[first], scale, tokens);
          PipeBarrier<PIPE_V>();
          ScaleRows(wide, numbers, tokens);
        }
        Cast(stage, wide, RoundMode::CAST_RINT, count);
        PipeBarrier<PIPE_V>();
        const int32_t end = Min(first + tokens, n);
        if (window.Padded())
          ClearPadding(stage.template ReinterpretCast<int16_t>(), window, t.width, first, end, d);
        rows_turn.Store();
        for (int32_t token = first; token < end;) {
          const Pixels run = RunFrom(window.y, window.x, window.image, t.width, token, end);
          DataCopy(dqkv_gm[run.first * 3 * channels + part * channels + of * d], stage[(token - first) * d],
                   DataCopyParams(run.count, d / kSide, 0, (3 * channels - d) / kSide));
          token += run.count;
        }
        rows_turn.End();
      }
  }

  // The sums of a head's q^ . a, in lanes; they start again at 0.
  __aicore__ inline void StoreScale() const {
    SetFlag<HardEvent::V_MTE3>(kOnceEvent);
    WaitFlag<HardEvent::V_MTE3>(kOnceEvent);
    DataCopy(dscale_gm[static_cast<int64_t>(head - HeadOf(0)) * kScaleLanes], dscale_lanes, kScaleLanes);
    SetFlag<HardEvent::MTE3_V>(kOnceEvent);
    WaitFlag<HardEvent::MTE3_V>(kOnceEvent);
    Duplicate(dscale_lanes, 0.f, kScaleLanes);
    PipeBarrier<PIPE_V>();
  }

  const Turn rows_turn = {0}, tile_turn = {1};
  const Mte2ToVector lse_ready = {3};

  int32_t side, chunks, channels, tokens_a_chunk, head = -1;  // head: whose dscale the lanes hold
  KeyMask keys;
  GlobalTensor<T> qkv_gm, dout_gm, dqkv_gm;
  GlobalTensor<float> bias_gm, scale_gm, stats_gm, dbias_gm, dscale_gm;
  TBuf<TPosition::VECCALC> s_buffer, ds_buffer, bias_buffer, lse_buffer, of_tokens_buffer, stage_buffer,
      wide_buffer, other_buffer, product_buffer, copies_buffer, numbers_buffer, deltas_buffer, ones_buffer,
      dscale_buffer;
  LocalTensor<float> s, ds, bias_rows;                     // (tile_rows, pitch)
  LocalTensor<float> lse, of_tokens;                       // (pitch), (units, facts, pitch)
  LocalTensor<T> stage;                                    // (tokens, d)
  LocalTensor<float> wide, other, product;                 // (tokens, d)
  LocalTensor<float> copies;                               // (tokens, 8)
  LocalTensor<float> numbers, deltas, ones, dscale_lanes;  // (tokens)
};

template <typename T>
__aicore__ inline void backward_910b(GM_ADDR qkv, GM_ADDR bias, GM_ADDR scale, GM_ADDR stats, GM_ADDR dout,
                                     GM_ADDR dqkv, GM_ADDR dbias, GM_ADDR dscale, GM_ADDR workspace,
                                     const WindowAttentionGradTiling910B& t) {
  TPipe pipe;
  if ASCEND_IS_AIC {
    WindowAttentionGradCube910B(workspace, t, pipe).Run();
  } else {
    WindowAttentionGradVector910B<T>(qkv, bias, scale, stats, dout, dqkv, dbias, dscale, workspace, t, pipe)
        .Run();
  }
}

// bias: prepare_bias of the table. dbias, dscale: partial sums for gather_gradients (tiling_host.h).
__aicore__ inline void window_attention_grad_910b(GM_ADDR qkv, GM_ADDR bias, GM_ADDR scale, GM_ADDR stats,
                                                  GM_ADDR dout, GM_ADDR dqkv, GM_ADDR dbias, GM_ADDR dscale,
                                                  GM_ADDR workspace, const WindowAttentionGradTiling910B& t) {
  if (t.bfloat16)
    backward_910b<bfloat16_t>(qkv, bias, scale, stats, dout, dqkv, dbias, dscale, workspace, t);
  else
    backward_910b<half>(qkv, bias, scale, stats, dout, dqkv, dbias, dscale, workspace, t);
}

}  // namespace swinv2

// out is not read. tiling: the bytes of a WindowAttentionGradTiling910B.
extern "C" __global__ __aicore__ void swinv2_window_attention_grad_910b(
    GM_ADDR qkv, GM_ADDR bias, GM_ADDR scale, GM_ADDR out, GM_ADDR stats, GM_ADDR dout, GM_ADDR dqkv,
    GM_ADDR dbias, GM_ADDR dscale, GM_ADDR workspace, GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
  (void)out;
  swinv2::window_attention_grad_910b(qkv, bias, scale, stats, dout, dqkv, dbias, dscale,
                                     AscendC::GetUserWorkspace(workspace),
                                     swinv2::ReadTiling<swinv2::WindowAttentionGradTiling910B>(tiling));
}
