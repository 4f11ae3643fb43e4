// SPDX-License-Identifier: Apache-2.0
//
// Forward window attention (window_attention.h) on dav-c220, one AIC with two AIVs a block, cut up as
// tiling_910b.h says.
//
//   AIC  s = q k^T of a unit to the workspace                      o = p v of a unit to the image
//   AIV  p = softmax(scale q^ . k^ + bias + mask), from workspace to workspace
//
// q and k meet the cube unit as they came: the AIV measures their norms itself and divides the float32
// scores, where no rounding to the storage type follows. p leaves the AIV divided by its sum, so that o is
// stored as the cube unit leaves it, and as its rounded value and the rest, because nothing divides that
// rounding out of o again. A lane is a key, a row a query.
#include "window_attention/window_attention_ascend_910b.h"

#include "window_attention/tiling_910b.h"

namespace swinv2 {

constexpr int32_t kWipeEvent = 3;
constexpr uint16_t kScored = 0, kSoftened = 1;  // cross-core flags, once a step

// What both kinds of core know: units, windows, the workspace.
template <typename T>
class WindowAttention910B {
 public:
  __aicore__ inline WindowAttention910B(GM_ADDR qkv, GM_ADDR out, GM_ADDR workspace,
                                        const WindowAttentionTiling910B& tiling, int64_t core)
      : t(tiling) {
    n = t.window_h * t.window_w;
    row = t.blocks * kSide;
    d = t.head_dim;
    d1 = d / kSide;
    g = t.head_group;
    channels = t.heads * d;
    windows = t.batch * (t.height / t.window_h) * (t.width / t.window_w);
    first_task = static_cast<int32_t>(core * t.tasks / t.cores);
    last_task = static_cast<int32_t>((core + 1) * t.tasks / t.cores);
    units = (last_task - first_task) * t.tiles * g;
    steps = DivideUp(units, 2);
    const int64_t all = int64_t{kUnitsInFlight} * t.tile_rows * row;
    qkv_gm.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(qkv));
    out_gm.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(out));
    scores_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(workspace) + core * all);
    weights_gm.SetGlobalBuffer(reinterpret_cast<__gm__ T*>(workspace + t.cores * all * 4) +
                               core * all * kWeightParts);
  }

 protected:
  // Queries [first, first + rows) of a window, one head.
  struct Unit {
    int32_t index, task, head, first, rows;
    bool opens_task, closes_task, opens_tile, closes_tile;
  };

  __aicore__ inline Unit UnitAt(int32_t index) const {
    const int32_t of_task = t.tiles * g, tile = index / g % t.tiles;
    Unit unit;
    unit.index = index;
    unit.task = first_task + index / of_task;
    unit.head = index % g;
    unit.first = tile * t.tile_rows;
    unit.rows = Min(t.tile_rows, n - unit.first);
    unit.opens_tile = unit.head == 0;
    unit.closes_tile = unit.head + 1 == g;
    unit.opens_task = unit.opens_tile && tile == 0;
    unit.closes_task = unit.closes_tile && tile + 1 == t.tiles;
    return unit;
  }
  __aicore__ inline Window WindowOf(int32_t task) const {
    Window window;
    window.Locate(t, task % windows);
    return window;
  }
  // The first head of a task's group.
  __aicore__ inline int32_t HeadOf(int32_t task) const { return task / windows * g; }
  __aicore__ inline Pixels RunOf(const Window& at, int32_t token, int32_t end) const {
    return RunFrom(at.y, at.x, at.image, t.width, token, end);
  }
  __aicore__ inline int64_t InWorkspace(const Unit& unit) const {
    return static_cast<int64_t>(unit.index % kUnitsInFlight) * t.tile_rows * row;
  }

  const WindowAttentionTiling910B t;
  int32_t n, row, d, d1, g, channels, windows, first_task, last_task, units,
      steps;  // row: N rounded up to 16
  GlobalTensor<T> qkv_gm, out_gm, weights_gm;
  GlobalTensor<float> scores_gm;
};

// ---- AIC ----

template <typename T>
class WindowAttentionCube910B : public WindowAttention910B<T> {
  using Base = WindowAttention910B<T>;
  using Base::first_task, Base::last_task, Base::qkv_gm, Base::out_gm, Base::scores_gm, Base::weights_gm;
  using Base::t, Base::n, Base::row, Base::d, Base::d1, Base::g, Base::channels, Base::units, Base::steps;
  using typename Base::Unit;

 public:
  __aicore__ inline WindowAttentionCube910B(GM_ADDR qkv, GM_ADDR out, GM_ADDR workspace,
                                            const WindowAttentionTiling910B& tiling, TPipe& pipe)
      : Base(qkv, out, workspace, tiling, GetBlockIdx()) {
    pipe.InitBuffer(l1_qkv_buffer, t.qkv_slots * Columns() * row * kSide * sizeof(T));
    pipe.InitBuffer(l1_weights_buffer, 2 * kWeightParts * t.tile_rows * row * sizeof(T));
    pipe.InitBuffer(a_buffer, 2 * kSlot);
    pipe.InitBuffer(b_buffer, 2 * kSlot);
    pipe.InitBuffer(c_buffer, 4 * kSlot);
    l1_qkv = l1_qkv_buffer.template Get<T>();
    l1_weights = l1_weights_buffer.template Get<T>();
    a = a_buffer.template Get<T>();
    b = b_buffer.template Get<T>();
    c = c_buffer.template Get<float>();
  }

  __aicore__ inline void Run() {
    Open();
    for (int32_t task = first_task; task < Min(last_task, first_task + t.qkv_slots); ++task) Load(task);
    for (int32_t step = 0; step <= steps; ++step) {
      if (step < steps) {
        for (int32_t unit = 2 * step; unit < Min(units, 2 * step + 2); ++unit) Score(this->UnitAt(unit));
        CrossCoreSetFlag<2, PIPE_FIX>(kScored);
      }
      if (step > 0) {
        CrossCoreWaitFlag(kSoftened);
        for (int32_t unit = 2 * step - 2; unit < Min(units, 2 * step); ++unit) Weigh(this->UnitAt(unit));
      }
    }
    Close();
  }

 private:
  static constexpr int32_t kSlot = 32 * 1024;

  __aicore__ inline void Open() {
    // Tokens beyond N and rows beyond a tile's stay zero: nothing writes them.
    if (n < row)
      InitConstValue(l1_qkv[n * kSide], InitConstValueParams<T>(t.qkv_slots * Columns(), row - n, n, T(0)));
    InitConstValue(l1_weights,
                   InitConstValueParams<T>(1, 2 * kWeightParts * t.tile_rows * row / kSide, 0, T(0)));
    PipeBarrier<PIPE_MTE2>();
    for (int32_t slot = 0; slot < t.qkv_slots; ++slot) laid[slot].Open();
    for (int32_t slot = 0; slot < 2; ++slot) {
      weights_laid[slot].Open();
      operands[slot].Open();
      c_scores_ready[slot].Open();
      c_weighed_ready[slot].Open();
    }
  }
  __aicore__ inline void Close() {
    for (int32_t slot = 0; slot < t.qkv_slots; ++slot) laid[slot].Close();
    for (int32_t slot = 0; slot < 2; ++slot) {
      weights_laid[slot].Close();
      operands[slot].Close();
      c_scores_ready[slot].Close();
      c_weighed_ready[slot].Close();
    }
  }

  // Columns of 16 channels of a task's q, k, v.
  __aicore__ inline int32_t Columns() const { return 3 * g * d1; }
  __aicore__ inline int32_t SlotOf(int32_t task) const { return (task - first_task) % t.qkv_slots; }
  __aicore__ inline LocalTensor<T> InL1(int32_t task, int32_t part, int32_t head) const {
    return l1_qkv[(SlotOf(task) * Columns() + (part * g + head) * d1) * row * kSide];
  }

  // q, k, v of a task's window, (3, group, d/16, tokens, 16); padding gives zeros.
  __aicore__ inline void Load(int32_t task) {
    const Window window = this->WindowOf(task);
    laid[SlotOf(task)].Acquire();
    if (window.Padded()) {
      InitConstValue(InL1(task, kQ, 0), InitConstValueParams<T>(1, Columns() * row, 0, T(0)));
      PipeBarrier<PIPE_MTE2>();
    }
    for (int32_t token = 0; token < n;) {
      const Pixels run = this->RunOf(window, token, n);
      const int64_t from = run.first * 3 * channels;
      if (run.valid > 0) {
        if (g == t.heads)
          DataCopy(InL1(task, kQ, 0)[token * kSide], qkv_gm[from],
                   Nd2NzParams(1, run.valid, 3 * channels, 0, 3 * channels, row, 1, 0));
        else
          for (int32_t part = kQ; part <= kV; ++part)
            DataCopy(InL1(task, part, 0)[token * kSide],
                     qkv_gm[from + part * channels + this->HeadOf(task) * d],
                     Nd2NzParams(1, run.valid, g * d, 0, 3 * channels, row, 1, 0));
      }
      token += run.count;
    }
    laid[SlotOf(task)].Publish();
  }

  // s = q k^T, key chunk by key chunk
  __aicore__ inline void Score(const Unit& unit) {
    const LocalTensor<T> q = InL1(unit.task, kQ, unit.head), k = InL1(unit.task, kK, unit.head);
    const int32_t m1 = DivideUp(unit.rows, kSide);
    if (unit.opens_task) laid[SlotOf(unit.task)].Await();
    for (int32_t j = 0; j < t.blocks; j += t.key_blocks) {
      const int32_t blocks = Min(t.key_blocks, t.blocks - j), slot = chunks_scored++ & 1;
      const LocalTensor<float> s = c[slot * kSlot / 4];
      const int32_t operand = NextOperands();
      for (int32_t i = 0; i < m1; ++i)
        LoadData(A(operand)[i * d1 * kFractal], q[unit.first * kSide + i * kFractal],
                 LoadData2DParams(0, d1, t.blocks, 0, 0, false, 0));
      for (int32_t column = 0; column < d1; ++column)
        LoadData(B(operand)[column * blocks * kFractal], k[(column * t.blocks + j) * kFractal],
                 LoadData2DParams(0, blocks, 1, 0, 0, false, 0));
      operands[operand].Publish();
      operands[operand].Await();
      c_scores_ready[slot].Acquire();
      Multiply(s, operand, m1 * kSide, blocks * kSide, d, true);
      operands[operand].Release();
      c_scores_ready[slot].Publish();
      c_scores_ready[slot].Await();
      Fixpipe<float, float, CFG_ROW_MAJOR>(
          scores_gm[this->InWorkspace(unit) + j * kSide], s,
          FixpipeParamsV220(blocks * kSide, unit.rows, m1 * kSide, row, false));
      c_scores_ready[slot].Release();
    }
  }

  // o = p v; with the last head of a tile its rows go to the image.
  __aicore__ inline void Weigh(const Unit& unit) {
    const LocalTensor<T> v = InL1(unit.task, kV, unit.head);
    const int32_t slot = unit.index & 1, m1 = DivideUp(unit.rows, kSide), o_slot = tiles_weighed & 1;
    const LocalTensor<T> p = l1_weights[slot * kWeightParts * t.tile_rows * row];
    const LocalTensor<float> o = c[(2 + o_slot) * kSlot / 4];
    weights_laid[slot].Acquire();
    DataCopy(p, weights_gm[this->InWorkspace(unit) * kWeightParts],
             Nd2NzParams(1, unit.rows, kWeightParts * row, 0, kWeightParts * row, m1 * kSide, 1, 0));
    weights_laid[slot].Publish();
    weights_laid[slot].Await();
    if (unit.opens_tile) c_weighed_ready[o_slot].Acquire();
    for (int32_t part = 0; part < kWeightParts; ++part)
      for (int32_t j = 0; j < t.blocks; j += t.key_blocks) {
        const int32_t blocks = Min(t.key_blocks, t.blocks - j), operand = NextOperands();
        for (int32_t i = 0; i < m1; ++i)
          LoadData(A(operand)[i * blocks * kFractal], p[((part * t.blocks + j) * m1 + i) * kFractal],
                   LoadData2DParams(0, blocks, m1, 0, 0, false, 0));
        for (int32_t i = 0; i < blocks; ++i)
          LoadData(B(operand)[i * d1 * kFractal], v[(j + i) * kFractal],
                   LoadData2DParams(0, d1, t.blocks, 0, 0, true, 0));
        operands[operand].Publish();
        operands[operand].Await();
        Multiply(o[unit.head * d1 * m1 * kFractal], operand, m1 * kSide, d, blocks * kSide,
                 part == 0 && j == 0);
        operands[operand].Release();
      }
    weights_laid[slot].Release();
    if (unit.closes_task) laid[SlotOf(unit.task)].Release();
    if (unit.closes_tile) {
      c_weighed_ready[o_slot].Publish();
      c_weighed_ready[o_slot].Await();
      Store(o, unit);
      c_weighed_ready[o_slot].Release();
      ++tiles_weighed;
    }
    if (unit.closes_task && unit.task + t.qkv_slots < last_task) Load(unit.task + t.qkv_slots);
  }

  __aicore__ inline void Store(const LocalTensor<float>& o, const Unit& unit) {
    const Window window = this->WindowOf(unit.task);
    for (int32_t i = 0; i < unit.rows;) {
      const Pixels run = this->RunOf(window, unit.first + i, unit.first + unit.rows);
      if (run.valid > 0) {
        FixpipeParamsV220 params(g * d, run.valid, DivideUp(unit.rows, kSide) * kSide, channels, false);
        params.quantPre = std::is_same<T, half>::value ? QuantMode_t::F322F16 : QuantMode_t::F322BF16;
        Fixpipe<T, float, CFG_ROW_MAJOR>(out_gm[run.first * channels + this->HeadOf(unit.task) * d],
                                         o[i * kSide], params);
      }
      i += run.count;
    }
  }

  __aicore__ inline int32_t NextOperands() {
    const int32_t slot = products++ & 1;
    operands[slot].Acquire();
    return slot;
  }
  __aicore__ inline LocalTensor<T> A(int32_t slot) const { return a[slot * kSlot / sizeof(T)]; }
  __aicore__ inline LocalTensor<T> B(int32_t slot) const { return b[slot * kSlot / sizeof(T)]; }
  __aicore__ inline void Multiply(const LocalTensor<float>& to, int32_t slot, int32_t m, int32_t columns,
                                  int32_t k, bool first) {
    if (!first) PipeBarrier<PIPE_M>();
    swinv2::Multiply(to, A(slot), B(slot), m, columns, k, first);
  }

  const Mte2ToMte1 laid[4] = {{0}, {1}, {2}, {3}}, weights_laid[2] = {{4}, {5}};
  const Mte1ToCube operands[2] = {{3}, {4}};  // TPipe holds M_MTE1 0..2
  const CubeToFix c_scores_ready[2] = {{0}, {1}}, c_weighed_ready[2] = {{2}, {3}};
  int32_t chunks_scored = 0, products = 0, tiles_weighed = 0;
  TBuf<TPosition::A1> l1_qkv_buffer, l1_weights_buffer;
  TBuf<TPosition::A2> a_buffer;
  TBuf<TPosition::B2> b_buffer;
  TBuf<TPosition::CO1> c_buffer;
  LocalTensor<T> l1_qkv;      // (slots, [q|k|v], group, d/16, tokens, 16)
  LocalTensor<T> l1_weights;  // (2, parts, keys/16, rows, 16)
  LocalTensor<T> a, b;        // (2, ...) Zz, Zn
  LocalTensor<float> c;       // two slots of scores (keys/16, rows, 16), two of o (group * d/16, rows, 16)
};

// ---- AIV ----

template <typename T>
class WindowAttentionVector910B : public WindowAttention910B<T> {
  using Base = WindowAttention910B<T>;
  using Base::qkv_gm, Base::out_gm, Base::scores_gm, Base::weights_gm;
  using Base::t, Base::n, Base::row, Base::d, Base::g, Base::channels, Base::units, Base::steps;
  using typename Base::Unit;

 public:
  __aicore__ inline WindowAttentionVector910B(GM_ADDR qkv, GM_ADDR bias, GM_ADDR scale, GM_ADDR out,
                                              GM_ADDR stats, GM_ADDR workspace,
                                              const WindowAttentionTiling910B& tiling, TPipe& pipe)
      : Base(qkv, out, workspace, tiling, GetBlockIdx() / GetSubBlockNum()) {
    side = static_cast<int32_t>(GetSubBlockIdx());
    chunks = t.pitch / kLanes;
    bias_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(bias));
    scale_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(scale));
    stats_gm.SetGlobalBuffer(reinterpret_cast<__gm__ float*>(stats));
    const int32_t tile = t.tile_rows * t.pitch, rows = DivideUp(t.tile_rows, kLanes) * kLanes;
    scores = Buffer<float>(pipe, scores_buffer, t.score_slots * tile);
    bias_rows = Buffer<float>(pipe, bias_buffer, (t.bias_resident ? g : t.score_slots) * tile);
    weights = Buffer<T>(pipe, weights_buffer, kWeightParts * t.tile_rows * row);
    folds = Buffer<float>(pipe, folds_buffer, t.tile_rows * kLanes);
    eighths = Buffer<float>(pipe, eighths_buffer, t.tile_rows * 8);
    copies = Buffer<float>(pipe, copies_buffer, t.tile_rows * 8);
    query_scale = Buffer<float>(pipe, query_scale_buffer, rows);
    maxima = Buffer<float>(pipe, maxima_buffer, rows);
    sums = Buffer<float>(pipe, sums_buffer, rows);
    lse = Buffer<float>(pipe, lse_buffer, rows);
    key_scale = Buffer<float>(pipe, key_scale_buffer, g * t.pitch);
    keys.Init(pipe, n, t.pitch, t.mask_value);
    stage = Buffer<T>(pipe, stage_buffer, kNormTokens * d);
    squares = Buffer<float>(pipe, squares_buffer, kNormTokens * d);
    halves = Buffer<float>(pipe, halves_buffer, kNormTokens * 8);
    quarters = Buffer<float>(pipe, quarters_buffer, kNormTokens * 4);
    one = Buffer<float>(pipe, one_buffer, kLanes);
    zeros = Buffer<T>(pipe, zeros_buffer, g * d);
  }

  __aicore__ inline void Run() {
    Open();
    if (t.score_slots == 2 && steps > 0) Fetch(0);
    for (int32_t step = 0; step < steps; ++step) {
      const int32_t ahead = step + t.score_slots - 1, unit = 2 * step + side;
      if (ahead < steps) Fetch(ahead);
      if (unit < units) Soften(this->UnitAt(unit));
      CrossCoreSetFlag<2, PIPE_MTE3>(kSoftened);
    }
    Close();
  }

 private:
  // Lanes beyond N and rows beyond a tile's are computed on like others.
  __aicore__ inline void Open() {
    Duplicate(scores, 0.f, t.score_slots * t.tile_rows * t.pitch);
    Duplicate(bias_rows, 0.f, (t.bias_resident ? g : t.score_slots) * t.tile_rows * t.pitch);
    if (t.bias_resident) Duplicate(folds, 0.f, t.tile_rows * kLanes);
    Duplicate(eighths, 1.f, t.tile_rows * 8);
    const int32_t rows = DivideUp(t.tile_rows, kLanes) * kLanes;
    Duplicate(query_scale, 1.f, rows);
    Duplicate(maxima, 0.f, rows);
    Duplicate(sums, 1.f, rows);
    Duplicate(key_scale, 1.f, g * t.pitch);
    Duplicate(stage.template ReinterpretCast<int16_t>(), int16_t(0), kNormTokens * d);
    Duplicate(halves, 0.f, kNormTokens * 8);
    Duplicate(quarters, 0.f, kNormTokens * 4);
    Duplicate(one, 1.f, kLanes);
    Duplicate(zeros.template ReinterpretCast<int16_t>(), int16_t(0), g * d);
    PipeBarrier<PIPE_ALL>();
    for (int32_t slot = 0; slot < t.score_slots; ++slot) scores_ready[slot].Open();
    staged.Open();
    bias_ready.Open();
    weights_ready.Open();
    lse_ready.Open();
  }
  __aicore__ inline void Close() {
    for (int32_t slot = 0; slot < t.score_slots; ++slot) scores_ready[slot].Close();
    staged.Close();
    if (t.bias_resident && task >= 0) bias_ready.Release();
    bias_ready.Close();
    weights_ready.Close();
    lse_ready.Close();
  }

  __aicore__ inline int32_t SlotOf(int32_t step) const { return step % t.score_slots; }

  // Scores (rows, keys) and their bias.
  __aicore__ inline void Fetch(int32_t step) {
    CrossCoreWaitFlag(kScored);
    if (2 * step + side >= units) return;
    const Unit unit = this->UnitAt(2 * step + side);
    const int32_t slot = SlotOf(step), tile = t.tile_rows * t.pitch;
    scores_ready[slot].Acquire();
    DataCopy(scores[slot * tile], scores_gm[this->InWorkspace(unit)], Lines(unit.rows));
    if (!t.bias_resident) FetchBias(bias_rows[slot * tile], unit.task, unit.head, unit.first, unit.rows);
    scores_ready[slot].Publish();
  }

  __aicore__ inline DataCopyParams Lines(int32_t rows) const {
    return DataCopyParams(rows, row * 4 / kBlockBytes, 0, (t.pitch - row) * 4 / kBlockBytes);
  }
  __aicore__ inline void FetchBias(const LocalTensor<float>& to, int32_t of_task, int32_t head, int32_t first,
                                   int32_t rows) const {
    const int64_t at = static_cast<int64_t>(of_task / this->windows * g + head) * n + first;
    DataCopy(to, bias_gm[at * row], Lines(rows));
  }

  // p = exp(s - max) / sum, s = scale q^ . k^ + bias + mask
  __aicore__ inline void Soften(const Unit& unit) {
    if (unit.task != task) Enter(unit.task);
    const int32_t slot = SlotOf(unit.index / 2), rows = unit.rows, tile = t.tile_rows * t.pitch;
    const float scale = scale_gm.GetValue(group + unit.head);
    const LocalTensor<float> s = scores[slot * tile],
                             bias = bias_rows[(t.bias_resident ? unit.head : slot) * tile],
                             scratch = t.bias_resident ? folds : bias;
    if (t.cosine) {
      MeasureKeys(unit.head);
      Measure(query_scale, kQ, unit.head, unit.first, unit.first + rows);
      Muls(query_scale, query_scale, scale, t.tile_rows);
      PipeBarrier<PIPE_V>();
      Spread(query_scale);
    }
    scores_ready[slot].Await();
    if (t.cosine) {
      for (int32_t i = 0; i < chunks; ++i)
        Mul(s[i * kLanes], s[i * kLanes], key_scale[unit.head * t.pitch + i * kLanes], kLanes, rows,
            Rows(1, 0));
      PipeBarrier<PIPE_V>();
      for (int32_t i = 0; i < chunks; ++i)
        Mul(s[i * kLanes], s[i * kLanes], copies, kLanes, rows, Rows(0, 1));
    } else {
      Muls(s, s, scale, rows * t.pitch);
    }
    PipeBarrier<PIPE_V>();
    Add(s, s, bias, rows * t.pitch);
    PipeBarrier<PIPE_V>();
    keys.Mask(s, unit.first, rows);
    keys.Forbid(s, rows, kForbidden);

    Reduce<true>(maxima, s, rows);
    Spread(maxima);
    for (int32_t i = 0; i < chunks; ++i) Sub(s[i * kLanes], s[i * kLanes], copies, kLanes, rows, Rows(0, 1));
    PipeBarrier<PIPE_V>();
    Exp(s, s, rows * t.pitch);
    PipeBarrier<PIPE_V>();
    Reduce<false>(sums, s, rows);
    StoreLse(unit);
    Div(sums, one, sums, kLanes, DivideUp(t.tile_rows, kLanes), BinaryRepeatParams(1, 1, 1, 8, 0, 8));
    PipeBarrier<PIPE_V>();
    Spread(sums);
    for (int32_t i = 0; i < chunks; ++i) Mul(s[i * kLanes], s[i * kLanes], copies, kLanes, rows, Rows(0, 1));
    PipeBarrier<PIPE_V>();
    weights_ready.Acquire();
    Part(0, s, rows);
    PipeBarrier<PIPE_V>();
    for (int32_t i = 0; i < chunks; ++i)
      Cast(scratch[i * kLanes], weights[i * kLanes], RoundMode::CAST_NONE, Lanes(i), rows,
           UnaryRepeatParams(1, 1, t.pitch / 8, kWeightParts * t.blocks));
    PipeBarrier<PIPE_V>();
    for (int32_t i = 0; i < chunks; ++i)
      Sub(s[i * kLanes], s[i * kLanes], scratch[i * kLanes], Lanes(i), rows, Rows(1, t.pitch / 8));
    PipeBarrier<PIPE_V>();
    Part(1, s, rows);
    scores_ready[slot].Release();
    weights_ready.Publish();
    weights_ready.Await();
    DataCopy(weights_gm[this->InWorkspace(unit) * kWeightParts], weights, rows * kWeightParts * row);
    weights_ready.Release();
    if (unit.opens_tile && window.Padded()) ClearPadding(unit);
  }

  // The rounded rows of s are one part of the weights.
  __aicore__ inline void Part(int32_t part, const LocalTensor<float>& s, int32_t rows) {
    for (int32_t i = 0; i < chunks; ++i)
      Cast(weights[part * row + i * kLanes], s[i * kLanes], RoundMode::CAST_RINT, Lanes(i), rows,
           UnaryRepeatParams(1, 1, kWeightParts * t.blocks, t.pitch / 8));
  }
  // Lanes of a row's chunk that hold keys.
  __aicore__ inline int32_t Lanes(int32_t chunk) const { return Min(kLanes, row - chunk * kLanes); }

  // Strides of rows of scores by rows of an operand: lanes of their own (1, 0), or a number a row (0, 1).
  __aicore__ inline BinaryRepeatParams Rows(uint8_t block, uint8_t repeat) const {
    const uint8_t pitch = t.pitch / 8;
    return BinaryRepeatParams(1, 1, block, pitch, pitch, repeat);
  }

  // A task's window, and the bias of its heads, if they are others.
  __aicore__ inline void Enter(int32_t index) {
    if (t.bias_resident && (task < 0 || index / this->windows != task / this->windows)) {
      if (task >= 0) bias_ready.Release();
      bias_ready.Acquire();
      for (int32_t head = 0; head < g; ++head)
        FetchBias(bias_rows[head * t.tile_rows * t.pitch], index, head, 0, n);
      bias_ready.Publish();
      bias_ready.Await();
    }
    task = index;
    window = this->WindowOf(index);
    group = this->HeadOf(index);
    keys_measured = 0;
    keys.Enter(window);
  }

  // ---- norms ----

  __aicore__ inline void MeasureKeys(int32_t head) {
    if (keys_measured >> head & 1) return;
    Measure(key_scale[head * t.pitch], kK, head, 0, n);
    keys_measured |= uint64_t(1) << head;
  }

  // to (tokens) = 1 / max(|x|, 1e-12) of tokens [begin, end) of q or k.
  __aicore__ inline void Measure(const LocalTensor<float>& to, int32_t part, int32_t head, int32_t begin,
                                 int32_t end) {
    for (int32_t first = begin; first < end; first += kNormTokens) {
      const int32_t tokens = Min(kNormTokens, end - first), count = DivideUp(tokens, 8) * 8;
      const LocalTensor<float> norms = to[first - begin];
      Stage(part, head, first, tokens);
      staged.Await();
      Cast(squares, stage, RoundMode::CAST_NONE, count * d);
      PipeBarrier<PIPE_V>();
      staged.Release();
      Mul(squares, squares, squares, count * d);
      PipeBarrier<PIPE_V>();
      BlockReduceSum(d == 16 ? quarters : halves, squares, count * d / kLanes, kLanes, 1, 1, 8);
      PipeBarrier<PIPE_V>();
      // (tokens, d/8): two, four or eight numbers a token are left.
      if (d == 64) {
        BlockReduceSum(norms, halves, count / 8, kLanes, 1, 1, 8);
      } else {
        if (d == 32) {
          PairReduceSum(quarters, halves, DivideUp(count * 4, kLanes), kLanes, 1, 1, 8);
          PipeBarrier<PIPE_V>();
        }
        PairReduceSum(squares, quarters, DivideUp(count * 2, kLanes), kLanes, 1, 1, 8);
        PipeBarrier<PIPE_V>();
        DataCopy(norms, squares, count);
      }
      PipeBarrier<PIPE_V>();
      Sqrt(norms, norms, count);
      PipeBarrier<PIPE_V>();
      Maxs(norms, norms, kSmallestNorm, count);
      PipeBarrier<PIPE_V>();
      Div(norms, one, norms, count);
      PipeBarrier<PIPE_V>();
    }
  }

  // x (tokens, d) of one head; padding gives zeros.
  __aicore__ inline void Stage(int32_t part, int32_t head, int32_t first, int32_t tokens) {
    staged.Acquire();
    if (window.Padded()) {
      SetFlag<HardEvent::MTE2_V>(kWipeEvent);
      WaitFlag<HardEvent::MTE2_V>(kWipeEvent);
      Duplicate(stage.template ReinterpretCast<int16_t>(), int16_t(0), tokens * d);
      SetFlag<HardEvent::V_MTE2>(kWipeEvent);
      WaitFlag<HardEvent::V_MTE2>(kWipeEvent);
    }
    for (int32_t token = first; token < first + tokens;) {
      const Pixels run = this->RunOf(window, token, first + tokens);
      if (run.valid > 0)
        DataCopy(stage[(token - first) * d],
                 qkv_gm[run.first * 3 * channels + part * channels + (group + head) * d],
                 DataCopyParams(run.valid, d / kSide, (3 * channels - d) / kSide, 0));
      token += run.count;
    }
    staged.Publish();
  }

  // ---- rows ----

  // to (rows) = maximum or sum of each row of s.
  template <bool max>
  __aicore__ inline void Reduce(const LocalTensor<float>& to, const LocalTensor<float>& s, int32_t rows) {
    const uint8_t pitch = t.pitch / 8;
    LocalTensor<float> from = s;
    int32_t stride = pitch;
    for (int32_t i = 1; i < chunks; ++i) {
      const BinaryRepeatParams by_row(1, 1, 1, 8, stride, pitch);
      if constexpr (max)
        AscendC::Max(folds, from, s[i * kLanes], kLanes, rows, by_row);
      else
        Add(folds, from, s[i * kLanes], kLanes, rows, by_row);
      PipeBarrier<PIPE_V>();
      from = folds;
      stride = 8;
    }
    if constexpr (max) {
      BlockReduceMax(eighths, from, rows, kLanes, 1, 1, stride);
      PipeBarrier<PIPE_V>();
      BlockReduceMax(to, eighths, DivideUp(rows, 8), kLanes, 1, 1, 8);
    } else {
      BlockReduceSum(eighths, from, rows, kLanes, 1, 1, stride);
      PipeBarrier<PIPE_V>();
      BlockReduceSum(to, eighths, DivideUp(rows, 8), kLanes, 1, 1, 8);
    }
    PipeBarrier<PIPE_V>();
  }

  // copies (rows, 8) of x (rows)
  __aicore__ inline void Spread(const LocalTensor<float>& x) {
    Brcb(copies, x, t.tile_rows / 8, BrcbRepeatParams(1, 8));
    PipeBarrier<PIPE_V>();
  }

  // lse = max + ln(sum); rows beyond N get a finite number.
  __aicore__ inline void StoreLse(const Unit& unit) {
    const int32_t padded = DivideUp(n, 8) * 8, count = Min(t.tile_rows, padded - unit.first);
    lse_ready.Acquire();
    Ln(lse, sums, t.tile_rows);
    PipeBarrier<PIPE_V>();
    Add(lse, lse, maxima, t.tile_rows);
    PipeBarrier<PIPE_V>();
    uint64_t beyond[2] = {uint64_t(0xff) << unit.rows % 8 & 0xff, 0};
    if (unit.rows % 8) Duplicate(lse[unit.rows / 8 * 8], 0.f, beyond, 1, 1, 8);
    lse_ready.Publish();
    lse_ready.Await();
    DataCopy(
        stats_gm[(static_cast<int64_t>(window.index) * t.heads + group + unit.head) * padded + unit.first],
        lse, count);
    lse_ready.Release();
  }

  // Outputs of a tile's padding, of all heads of the task.
  __aicore__ inline void ClearPadding(const Unit& unit) {
    for (int32_t i = 0; i < unit.rows;) {
      const Pixels run = this->RunOf(window, unit.first + i, unit.first + unit.rows);
      for (int32_t k = Max(run.valid, 0); k < run.count; ++k)
        DataCopy(out_gm[(run.first + k) * channels + group * d], zeros, g * d);
      i += run.count;
    }
  }

  const Mte2ToVector scores_ready[2] = {{0}, {1}}, staged = {2}, bias_ready = {4};
  const VectorToMte3 weights_ready = {0}, lse_ready = {1};

  int32_t side, chunks, task = -1, group;  // group: the task's first head
  Window window;
  KeyMask keys;
  uint64_t keys_measured = 0;
  GlobalTensor<float> bias_gm, scale_gm, stats_gm;
  TBuf<TPosition::VECCALC> scores_buffer, bias_buffer, weights_buffer, folds_buffer, eighths_buffer,
      copies_buffer, query_scale_buffer, maxima_buffer, sums_buffer, lse_buffer, key_scale_buffer,
      stage_buffer, squares_buffer, halves_buffer, quarters_buffer, one_buffer, zeros_buffer;
  LocalTensor<float> scores, bias_rows;       // (slots, rows, pitch); a resident bias (group, rows, pitch)
  LocalTensor<T> weights;                     // (rows, parts, keys)
  LocalTensor<float> folds, eighths, copies;  // (rows, 64), (rows, 8), (rows, 8)
  LocalTensor<float> query_scale, maxima, sums, lse;  // (rows)
  LocalTensor<float> key_scale;                       // (group, pitch)
  LocalTensor<T> stage, zeros;                        // (tokens, d), (group, d)
  LocalTensor<float> squares, halves, quarters, one;
};

template <typename T>
__aicore__ inline void attend_910b(GM_ADDR qkv, GM_ADDR bias, GM_ADDR scale, GM_ADDR out, GM_ADDR stats,
                                   GM_ADDR workspace, const WindowAttentionTiling910B& t) {
  TPipe pipe;
  if ASCEND_IS_AIC {
    WindowAttentionCube910B<T>(qkv, out, workspace, t, pipe).Run();
  } else {
    WindowAttentionVector910B<T>(qkv, bias, scale, out, stats, workspace, t, pipe).Run();
  }
}

// bias: see prepare_bias (tiling_host.h).
__aicore__ inline void window_attention_910b(GM_ADDR qkv, GM_ADDR bias, GM_ADDR scale, GM_ADDR out,
                                             GM_ADDR stats, GM_ADDR workspace,
                                             const WindowAttentionTiling910B& t) {
  if (t.bfloat16)
    attend_910b<bfloat16_t>(qkv, bias, scale, out, stats, workspace, t);
  else
    attend_910b<half>(qkv, bias, scale, out, stats, workspace, t);
}

}  // namespace swinv2

// tiling: the bytes of a WindowAttentionTiling910B.
extern "C" __global__ __aicore__ void swinv2_window_attention_910b(GM_ADDR qkv, GM_ADDR bias, GM_ADDR scale,
                                                                   GM_ADDR out, GM_ADDR stats,
                                                                   GM_ADDR workspace, GM_ADDR tiling) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
  swinv2::window_attention_910b(qkv, bias, scale, out, stats, AscendC::GetUserWorkspace(workspace),
                                swinv2::ReadTiling<swinv2::WindowAttentionTiling910B>(tiling));
}
