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

#endif
