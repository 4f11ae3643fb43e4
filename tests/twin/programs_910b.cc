// SPDX-License-Identifier: Apache-2.0
// The mixed program of the 910B: matmul on AIC, activation on two AIVs, ping-pong through a GM workspace.
#include "check.h"

#if ASCEND_TWIN_ARCH == 2201

namespace {

constexpr int M = 32, N = 64, K = 32;
constexpr uint16_t kReady = 0, kTaken = 2;  // + slot

// out[t] = leaky_relu(a[t] b), one tile after the other; AIV i works on rows [i M/2, (i + 1) M/2).
__mix__(1, 2) __global__
    void MatmulLeakyRelu(GM_ADDR a_gm, GM_ADDR b_gm, GM_ADDR out_gm, GM_ADDR workspace, int tiles) {
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
  GlobalTensor<half> a, b;
  GlobalTensor<float> out, exchange;
  a.SetGlobalBuffer((__gm__ half*)a_gm);
  b.SetGlobalBuffer((__gm__ half*)b_gm);
  out.SetGlobalBuffer((__gm__ float*)out_gm);
  if ASCEND_IS_AIC {
    exchange.SetGlobalBuffer((__gm__ float*)workspace + GetBlockIdx() * 2 * M * N);
    const LocalTensor<half> l1_a(TPosition::A1, 0, M * K), l1_b(TPosition::B1, 4096, K * N);
    const LocalTensor<half> l0_a(TPosition::A2, 0, M * K), l0_b(TPosition::B2, 0, K * N);
    const LocalTensor<float> l0_c(TPosition::CO1, 0, M * N);
    DataCopy(l1_b, b, Nd2NzParams(1, K, N, 0, N, K, 1, 0));
    SetFlag<HardEvent::MTE2_MTE1>(0);
    WaitFlag<HardEvent::MTE2_MTE1>(0);
    for (int i = 0; i < K / 16; ++i)
      LoadData(l0_b[i * N * 16], l1_b, LoadData2DParams(i, N / 16, K / 16, 0, 0, true, 0));
    SetFlag<HardEvent::MTE1_MTE2>(0);
    SetFlag<HardEvent::M_MTE1>(0);
    SetFlag<HardEvent::FIX_M>(0);
    int turn = 0;
    for (int t = static_cast<int>(GetBlockIdx()); t < tiles; t += static_cast<int>(GetBlockNum()), ++turn) {
      const uint16_t slot = turn % 2;
      WaitFlag<HardEvent::MTE1_MTE2>(0);
      DataCopy(l1_a, a[static_cast<uint64_t>(t) * M * K], Nd2NzParams(1, M, K, 0, K, M, 1, 0));
      SetFlag<HardEvent::MTE2_MTE1>(0);
      WaitFlag<HardEvent::MTE2_MTE1>(0);
      WaitFlag<HardEvent::M_MTE1>(0);
      for (int i = 0; i < M / 16; ++i)
        LoadData(l0_a[i * K * 16], l1_a, LoadData2DParams(i, K / 16, M / 16, 0, 0, false, 0));
      SetFlag<HardEvent::MTE1_MTE2>(0);
      SetFlag<HardEvent::MTE1_M>(0);
      WaitFlag<HardEvent::MTE1_M>(0);
      WaitFlag<HardEvent::FIX_M>(0);
      MmadParams p;
      p.m = M, p.n = N, p.k = K;
      Mmad(l0_c, l0_a, l0_b, p);
      SetFlag<HardEvent::M_MTE1>(0);
      SetFlag<HardEvent::M_FIX>(0);
      WaitFlag<HardEvent::M_FIX>(0);
      if (turn >= 2) CrossCoreWaitFlag(kTaken + slot);
      Fixpipe<float, float, CFG_ROW_MAJOR>(exchange[slot * M * N], l0_c,
                                           FixpipeParamsV220(N, M, M, N, false));
      SetFlag<HardEvent::FIX_M>(0);
      CrossCoreSetFlag<2, PIPE_FIX>(kReady + slot);
    }
    WaitFlag<HardEvent::MTE1_MTE2>(0);
    WaitFlag<HardEvent::M_MTE1>(0);
    WaitFlag<HardEvent::FIX_M>(0);
    for (int i = std::max(0, turn - 2); i < turn; ++i)
      CrossCoreWaitFlag(static_cast<uint16_t>(kTaken + i % 2));
  } else {
    const int block = static_cast<int>(GetBlockIdx() / GetTaskRatio()),
              half_of = static_cast<int>(GetSubBlockIdx());
    exchange.SetGlobalBuffer((__gm__ float*)workspace + block * 2 * M * N);
    constexpr int kPart = M / 2 * N;
    TPipe pipe;
    TQue<TPosition::VECIN, 1> in;
    TQue<TPosition::VECOUT, 1> result;
    pipe.InitBuffer(in, 2, kPart * 4);
    pipe.InitBuffer(result, 2, kPart * 4);
    int turn = 0;
    for (int t = block; t < tiles; t += static_cast<int>(GetBlockNum()), ++turn) {
      const uint16_t slot = turn % 2;
      CrossCoreWaitFlag(kReady + slot);
      auto x = in.AllocTensor<float>();
      DataCopy(x, exchange[slot * M * N + half_of * kPart], kPart);
      CrossCoreSetFlag<2, PIPE_MTE2>(kTaken + slot);
      in.EnQue(x);
      x = in.DeQue<float>();
      auto y = result.AllocTensor<float>();
      LeakyRelu(y, x, 0.25f, kPart);
      result.EnQue(y);
      in.FreeTensor(x);
      y = result.DeQue<float>();
      DataCopy(out[static_cast<uint64_t>(t) * M * N + static_cast<uint64_t>(half_of) * kPart], y, kPart);
      result.FreeTensor(y);
    }
  }
}

}  // namespace

TWIN_TEST(mixed_matmul_leaky_relu) {
  constexpr int tiles = 7;
  std::mt19937 rng(9);
  std::normal_distribution<float> normal;
  std::vector<half> a(tiles * M * K), b(K * N);
  for (half& x : a) x = half(normal(rng));
  for (half& x : b) x = half(normal(rng));
  for (int seed = 0; seed < kSeeds; ++seed) {
    std::vector<float> out(tiles * M * N);
    Gm gm;
    GM_ADDR ag = gm.Input("a", a.data(), a.size() * 2);
    GM_ADDR bg = gm.Input("b", b.data(), b.size() * 2);
    GM_ADDR og = gm.Output("out", out.data(), out.size() * 4);
    GM_ADDR wg = gm.Workspace("workspace", 2 * 2 * M * N * 4);
    LaunchOptions o;
    o.seed = static_cast<uint64_t>(seed);
    o.block_dim = 2;
    const Report r = RunKernel(o, gm, [&] { MatmulLeakyRelu(ag, bg, og, wg, tiles); });
    CHECK(r.ok(), "seed %d: %s", seed, r.errors[0].ToString().c_str());
    if (!r.ok()) return;
    double worst = 0;
    for (int t = 0; t < tiles; ++t)
      for (int i = 0; i < M; ++i)
        for (int j = 0; j < N; ++j) {
          double want = 0;
          for (int k = 0; k < K; ++k) want += double(float(a[(t * M + i) * K + k])) * float(b[k * N + j]);
          if (want < 0) want *= 0.25;
          worst = std::max(worst, std::fabs(want - out[(t * M + i) * N + j]));
        }
    CHECK(worst < 1e-5, "seed %d: error %g", seed, worst);
    CHECK(r.Tensor("workspace")->bytes_written == static_cast<uint64_t>(tiles) * M * N * 4,
          "exchange written");
    CHECK(r.Path("L0C->GM") && !r.Path("L0C->UB"), "paths of the chip");
  }
}

namespace {

// A factor of quantisation: a float without its low mantissa, an offset, whether the result is signed.
uint64_t Factor(float scale, int offset, bool is_signed) {
  uint32_t bits;
  std::memcpy(&bits, &scale, 4);
  return bits | static_cast<uint64_t>(offset & 0x1ff) << 37 | static_cast<uint64_t>(is_signed) << 46;
}

// c (16, 32) = (row + 1) * (column - 15) in L0C, then `out` takes it away.
template <typename F>
Report Quantised(std::vector<int8_t>& result, const std::vector<uint64_t>& factors, F out) {
  std::vector<half> a(16 * 16, half(0.f)), b(16 * 32, half(0.f));
  for (int i = 0; i < 16; ++i) a[static_cast<size_t>(i) * 16] = half(float(i + 1));
  for (int i = 0; i < 32; ++i) b[static_cast<size_t>(i)] = half(float(i - 15));
  Gm gm;
  GM_ADDR ag = gm.Input("a", a.data(), a.size() * 2);
  GM_ADDR bg = gm.Input("b", b.data(), b.size() * 2);
  GM_ADDR fg = gm.Input("factors", factors.data(), factors.size() * 8);
  GM_ADDR og = gm.Output("out", result.data(), result.size());
  LaunchOptions options;
  options.kernel_type = KernelType::kAicOnly;
  return RunKernel(options, gm, [&] {
    GlobalTensor<half> x, y;
    GlobalTensor<uint64_t> f;
    GlobalTensor<int8_t> o;
    x.SetGlobalBuffer((__gm__ half*)ag);
    y.SetGlobalBuffer((__gm__ half*)bg);
    f.SetGlobalBuffer((__gm__ uint64_t*)fg);
    o.SetGlobalBuffer((__gm__ int8_t*)og);
    const LocalTensor<half> l1_a(TPosition::A1, 0, 256), l1_b(TPosition::B1, 4096, 512);
    const LocalTensor<half> l0_a(TPosition::A2, 0, 256), l0_b(TPosition::B2, 0, 512);
    const LocalTensor<uint64_t> table(TPosition::C1, 8192, 32);
    const LocalTensor<float> c(TPosition::CO1, 0, 512);
    DataCopy(l1_a, x, Nd2NzParams(1, 16, 16, 0, 16, 16, 1, 0));
    DataCopy(l1_b, y, Nd2NzParams(1, 16, 32, 0, 32, 16, 1, 0));
    DataCopy(table, f, 32);
    SetFlag<HardEvent::MTE2_MTE1>(0);
    WaitFlag<HardEvent::MTE2_MTE1>(0);
    SetFlag<HardEvent::MTE2_FIX>(0);
    WaitFlag<HardEvent::MTE2_FIX>(0);
    LoadData(l0_a, l1_a, LoadData2DParams(0, 1, 1, 0, 0, false, 0));
    LoadData(l0_b, l1_b, LoadData2DParams(0, 2, 1, 0, 0, true, 0));
    SetFlag<HardEvent::MTE1_M>(0);
    WaitFlag<HardEvent::MTE1_M>(0);
    MmadParams p;
    p.m = 16, p.n = 32, p.k = 16;
    Mmad(c, l0_a, l0_b, p);
    SetFlag<HardEvent::M_FIX>(0);
    WaitFlag<HardEvent::M_FIX>(0);
    out(o, c, table);
  });
}

}  // namespace

TWIN_TEST(fixpipe_quantises) {
  const auto quantised = [](int row, int column, float scale, int offset) {
    const float v = std::nearbyint((row + 1) * (column - 15) * scale);
    return std::min(127.f, std::max(-128.f, std::min(255.f, std::max(-256.f, v)) + offset));
  };
  std::vector<int8_t> out(512);
  std::vector<uint64_t> factors(32, Factor(1.f, 0, true));
  FixpipeParamsV220 params(32, 16, 16, 32, false);
  params.quantPre = QuantMode_t::QF322B8_PRE;
  params.deqScalar = Factor(0.75f, -3, true);
  Report r = Quantised(out, factors, [&](auto& o, auto& c, auto&) { Fixpipe<int8_t, float>(o, c, params); });
  CHECK(r.ok(), "%s", r.errors[0].ToString().c_str());
  for (int i = 0; i < 512; ++i)
    CHECK(out[i] == quantised(i / 32, i % 32, 0.75f, -3), "element %d is %d", i, out[i]);

  // A factor a column.
  for (int i = 0; i < 32; ++i) factors[i] = Factor(i % 2 ? 0.5f : 2.f, 0, true);
  params.quantPre = QuantMode_t::VQF322B8_PRE;
  r = Quantised(out, factors, [&](auto& o, auto& c, auto& t) { Fixpipe<int8_t, float>(o, c, t, params); });
  CHECK(r.ok(), "%s", r.errors[0].ToString().c_str());
  for (int i = 0; i < 512; ++i)
    CHECK(out[i] == quantised(i / 32, i % 32, i % 2 ? 0.5f : 2.f, 0), "element %d is %d", i, out[i]);

  r = Quantised(out, factors, [&](auto& o, auto& c, auto&) { Fixpipe<int8_t, float>(o, c, params); });
  CHECK(!r.ok() && r.errors[0].rule == Rule::kWrongPosition, "factors without a table were accepted");
}

TWIN_TEST(blocks_in_order) {
  // Each block appends to what the ones before it wrote, twice around.
  for (int seed = 0; seed < kSeeds; ++seed) {
    LaunchOptions o;
    o.seed = static_cast<uint64_t>(seed);
    o.block_dim = 4;
    o.kernel_type = KernelType::kAivOnly;
    std::vector<float> out;
    const Report r = RunOnce(
        [](Tensors t) {
          GlobalTensor<int32_t> flags;
          GlobalTensor<float> sum;
          flags.SetGlobalBuffer((__gm__ int32_t*)t.zeroed);
          sum.SetGlobalBuffer((__gm__ float*)t.out);
          const LocalTensor<int32_t> scratch(TPosition::VECCALC, 8192, 40);
          const LocalTensor<float> x(TPosition::VECCALC, 0, 8);
          InitDetermineComputeWorkspace(flags, scratch);
          const int me = static_cast<int>(GetBlockIdx());
          for (int turn = 0; turn < 2; ++turn) {
            WaitPreBlock(flags, scratch);
            if (turn + me > 0) {
              DataCopy(x, sum, 8);
              SetFlag<HardEvent::MTE2_V>(0);
              WaitFlag<HardEvent::MTE2_V>(0);
              Muls(x, x, 2.f, 8);
              PipeBarrier<PIPE_V>();
              Adds(x, x, float(me), 8);
            } else {
              Duplicate(x, 1.f, 8);
            }
            SetFlag<HardEvent::V_MTE3>(0);
            WaitFlag<HardEvent::V_MTE3>(0);
            DataCopy(sum, x, 8);
            NotifyNextBlock(flags, scratch);
          }
        },
        o, &out);
    CHECK(r.ok(), "seed %d: %s", seed, r.errors[0].ToString().c_str());
    float want = 1;
    for (int i = 1; i < 8; ++i) want = want * 2 + i % 4;
    CHECK(r.ok() && out[0] == want, "seed %d: %g, expected %g", seed, out[0], want);
  }
}

TWIN_TEST(group_barrier) {
  // Blocks 0 and 1 fill their halves, past the data cache or not; blocks 2 to 4 read both.
  for (int seed = 0; seed < kSeeds; ++seed) {
    LaunchOptions o;
    o.seed = static_cast<uint64_t>(seed);
    o.block_dim = 5;
    o.kernel_type = KernelType::kAivOnly;
    std::vector<float> out;
    const auto kernel = [](Tensors t, bool wait) {
      TPipe pipe;
      TBuf<TPosition::VECCALC> buffer;
      pipe.InitBuffer(buffer, 1024);
      GlobalTensor<float> shared, result;
      shared.SetGlobalBuffer((__gm__ float*)t.workspace, 128);
      result.SetGlobalBuffer((__gm__ float*)t.out, 1024);
      const uint32_t me = static_cast<uint32_t>(GetBlockIdx());
      GroupBarrier<PipeMode::MTE3_MODE> barrier(t.zeroed, 2, 3);
      if (me < 2) {
        Fill(shared[me * 64], 60, float(me + 1));
        WriteGmByPassDCache((__gm__ float*)t.workspace + me * 64 + 63, 7.f);
        barrier.Arrive(me);
      } else {
        if (wait) barrier.Wait(me - 2);
        const LocalTensor<float> x = buffer.Get<float>();
        DataCopy(x, shared, 56);
        DataCopy(x[64], shared[64], 56);
        const float last = ReadGmByPassDCache((__gm__ float*)t.workspace + 127);
        SetFlag<HardEvent::MTE2_V>(0);
        WaitFlag<HardEvent::MTE2_V>(0);
        Add(x, x, x[64], 56);
        PipeBarrier<PIPE_V>();
        Adds(x, x, last, 56);
        SetFlag<HardEvent::V_MTE3>(0);
        WaitFlag<HardEvent::V_MTE3>(0);
        DataCopy(result[me * 64], x, 56);
      }
    };
    Report r = RunOnce([&](Tensors t) { kernel(t, true); }, o, &out);
    CHECK(r.ok(), "seed %d: %s", seed, r.errors[0].ToString().c_str());
    for (int i = 128; i < 320; ++i) CHECK(i % 64 > 55 || out[i] == 10.f, "element %d is %g", i, out[i]);
    r = RunOnce([&](Tensors t) { kernel(t, false); }, o);
    CHECK(!r.ok(), "seed %d: nobody waited, nobody complained", seed);
  }
}

#endif
