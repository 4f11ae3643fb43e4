// SPDX-License-Identifier: Apache-2.0
// Sorting: pairs of score and index on the 910B, region proposals on the 910.
#include <algorithm>
#include <numeric>

#include "check.h"

namespace {

template <typename T>
LocalTensor<T> Ub(uint32_t addr, uint32_t elements) {
  return {TPosition::VECCALC, addr, elements};
}
template <typename T>
GlobalTensor<T> Global(GM_ADDR p) {
  GlobalTensor<T> g;
  g.SetGlobalBuffer((__gm__ T*)p);
  return g;
}
template <HardEvent e>
void Order() {
  SetFlag<e>(0);
  WaitFlag<e>(0);
}

// Scores with many ties, and their order: the largest first, equal ones as they came.
std::vector<float> Scores(int n, unsigned seed) {
  std::mt19937 rng(seed);
  std::vector<float> v(static_cast<size_t>(n));
  for (float& f : v) f = static_cast<float>(static_cast<int>(rng() % 97)) - 48.f;
  return v;
}
std::vector<int> OrderOf(const std::vector<float>& v) {
  std::vector<int> order(v.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](int a, int b) { return v[static_cast<size_t>(a)] > v[static_cast<size_t>(b)]; });
  return order;
}

}  // namespace

#if ASCEND_TWIN_ARCH == 2201

namespace {

// 512 scores: 16 queues of 32, four of 128, one of 512; values and indices apart.
constexpr uint32_t kN = 512;
template <typename T>
void SortKernel(GM_ADDR x, GM_ADDR i, GM_ADDR values, GM_ADDR indices) {
  constexpr uint32_t step = 8 / sizeof(T);  // elements of T a pair
  const auto score = Ub<T>(0, kN), a = Ub<T>(8192, kN * step), b = Ub<T>(16384, kN * step),
             value = Ub<T>(32768, kN);
  const auto index = Ub<uint32_t>(4096, kN), index_out = Ub<uint32_t>(40960, kN);
  DataCopy(score, Global<T>(x), kN);
  DataCopy(index, Global<uint32_t>(i), kN);
  Order<HardEvent::MTE2_V>();
  Sort32(a, score, index, kN / 32);
  PipeBarrier<PIPE_V>();
  const uint16_t short_queues[4] = {32, 32, 32, 32}, long_queues[4] = {128, 128, 128, 128};
  MrgSort(b, MrgSortSrcList<T>(a, a[32 * step], a[64 * step], a[96 * step]),
          MrgSort4Info(short_queues, false, 15, 4));
  PipeBarrier<PIPE_V>();
  uint32_t none[4];
  MrgSort<T>(a, MrgSortSrcList<T>(b, b[GetSortOffset<T>(128)], b[GetSortLen<T>(256)], b[384 * step]),
             long_queues, none, 15, 1);
  PipeBarrier<PIPE_V>();
  Extract(value, index_out, a, kN / 32);
  Order<HardEvent::V_MTE3>();
  DataCopy(Global<T>(values), value, kN);
  DataCopy(Global<uint32_t>(indices), index_out, kN);
}

template <typename T>
void CheckSort() {
  const std::vector<float> scores = Scores(kN, 7);
  const std::vector<int> order = OrderOf(scores);
  std::vector<T> x(kN), values(kN);
  std::vector<uint32_t> i(kN), indices(kN);
  for (uint32_t e = 0; e < kN; ++e) {
    x[e] = T(scores[e]);
    i[e] = e | 0xabcd0000u;
  }
  for (int seed = 0; seed < kSeeds; ++seed) {
    Gm gm;
    uint8_t *xg = gm.Input("x", x.data(), kN * sizeof(T)), *ig = gm.Input("i", i.data(), kN * 4);
    uint8_t *vg = gm.Output("v", values.data(), kN * sizeof(T)), *ng = gm.Output("n", indices.data(), kN * 4);
    LaunchOptions options;
    options.seed = static_cast<uint64_t>(seed);
    const Report r = RunKernel(options, gm, [&] { SortKernel<T>(xg, ig, vg, ng); });
    CHECK(r.ok(), "seed %d: %s", seed, r.errors[0].ToString().c_str());
    if (!r.ok()) return;
    for (uint32_t e = 0; e < kN; ++e) {
      const auto from = static_cast<uint32_t>(order[e]);
      CHECK(float(values[e]) == scores[from] && indices[e] == i[from], "seed %d, place %u: %g of %x", seed, e,
            float(values[e]), indices[e]);
    }
  }
}

using Queues = MrgSortSrcList<float>;
constexpr uint32_t kQueue = 64 * 8;  // bytes apart
Queues FourQueues() {
  return {Ub<float>(0, 128), Ub<float>(kQueue, 128), Ub<float>(2 * kQueue, 128), Ub<float>(3 * kQueue, 128)};
}
void LoadPairs(Tensors t, float factor = -1) {  // four queues of 64 pairs: falling scores
  const auto all = Ub<float>(0, 512);
  DataCopy(all, Global<float>(t.in), 512);
  Order<HardEvent::MTE2_V>();
  Muls(all, all, factor, 512);
  PipeBarrier<PIPE_V>();
}
MrgSort4Info Info(uint16_t a, uint16_t b, uint16_t c, uint16_t d, bool suspend, uint16_t valid, int repeats) {
  const uint16_t lengths[4] = {a, b, c, d};
  return {lengths, suspend, valid, repeats};
}

}  // namespace

TWIN_TEST(sort_of_pairs) {
  CheckSort<float>();
  CheckSort<half>();
}

// A merge that stops with its first empty queue: what it took, what it wrote, what it left alone.
TWIN_TEST(merge_stops_at_the_end_of_a_queue) {
  std::vector<float> in(512), out(512);
  const uint32_t lengths[4] = {5, 9, 7, 6};
  for (uint32_t q = 0; q < 4; ++q)
    for (uint32_t e = 0; e < 64; ++e) {
      in[q * 128 + e * 2] =
          static_cast<float>(q == 2 ? 90 - static_cast<int>(e) : 50 - 3 * static_cast<int>(e));
      in[q * 128 + e * 2 + 1] = static_cast<float>(q * 64 + e);
    }
  for (const bool header : {false, true})
    for (int seed = 0; seed < kSeeds; ++seed) {
      uint32_t taken[4] = {99, 99, 99, 99};
      Gm gm;
      uint8_t *x = gm.Input("in", in.data(), 2048), *y = gm.Output("out", out.data(), 2048);
      LaunchOptions options;
      options.seed = static_cast<uint64_t>(seed);
      const Report r = RunKernel(options, gm, [&] {
        DataCopy(Ub<float>(0, 512), Global<float>(x), 512);
        Order<HardEvent::MTE2_V>();
        const auto to = Ub<float>(8192, 512);
        Duplicate(to, -7.f, 512);
        PipeBarrier<PIPE_V>();
        const MrgSort4Info info = Info(5, 9, 7, 6, true, 15, 1);
        if (header) {
          MrgSort<float, true>(to, FourQueues(), info.elementLengths, taken, 15, 1);
        } else {
          MrgSort(to, FourQueues(), info);
          Order<HardEvent::V_S>();
          uint16_t a, b, c, d;
          GetMrgSortResult(a, b, c, d);
          taken[0] = a, taken[1] = b, taken[2] = c, taken[3] = d;
        }
        Order<HardEvent::V_MTE3>();
        DataCopy(Global<float>(y), to, 512);
      });
      CHECK(r.ok(), "seed %d: %s", seed, r.errors[0].ToString().c_str());
      // Queue 2 is above the others and used up first.
      CHECK(taken[0] == 0 && taken[1] == 0 && taken[2] == 7 && taken[3] == 0, "taken %u %u %u %u", taken[0],
            taken[1], taken[2], taken[3]);
      for (uint32_t e = 0; e < 512; ++e)
        CHECK(out[e] == (e < 2 * lengths[2] ? in[256 + e] : -7.f), "seed %d: element %u is %g", seed, e,
              out[e]);
    }
}

TWIN_TEST(mrgsort_queues) {
  auto merge = [](MrgSort4Info info, float factor = -1) {
    return [=](Tensors t) {
      LoadPairs(t, factor);
      MrgSort(Ub<float>(8192, 2048), FourQueues(), info);
    };
  };
  const Kernel right = merge(Info(64, 64, 64, 64, false, 15, 1));
  ExpectRule(Rule::kMergeQueues, merge(Info(64, 64, 64, 64, false, 5, 1)), right);
  ExpectRule(Rule::kMergeQueues, merge(Info(4096, 64, 64, 64, false, 15, 1)), right);
  ExpectRule(Rule::kMergeQueues, merge(Info(64, 64, 0, 64, true, 15, 1)),
             merge(Info(64, 64, 1, 64, true, 15, 1)));
  // More repeats than one: four equal queues that follow each other, no suspension.
  ExpectRule(Rule::kMergeQueues, merge(Info(32, 32, 32, 32, false, 15, 2)), right);
  ExpectRule(Rule::kMergeQueues, merge(Info(64, 64, 64, 64, true, 15, 2)), right);
  ExpectRule(Rule::kMergeQueues, merge(Info(64, 64, 64, 64, false, 7, 2)),
             merge(Info(64, 64, 64, 64, false, 7, 1)));
  // Rising scores.
  ExpectRule(Rule::kMergeQueues, merge(Info(64, 64, 64, 64, false, 15, 1), 1), right);
}

TWIN_TEST(mrgsort_result) {
  auto ask = [](bool suspend, bool ordered) {
    return [=](Tensors t) {
      LoadPairs(t);
      MrgSort(Ub<float>(8192, 2048), FourQueues(), Info(64, 64, 64, 64, suspend, 15, 1));
      if (ordered) Order<HardEvent::V_S>();
      uint16_t n;
      GetMrgSortResult(n, n, n, n);
    };
  };
  ExpectRule(Rule::kMergeResult, ask(false, true), ask(true, true));
  ExpectRule(Rule::kHazardRaw, ask(true, false), ask(true, true));
  ExpectRule(
      Rule::kMergeResult,
      [](Tensors) {
        uint16_t n;
        GetMrgSortResult(n, n, n, n);
      },
      nullptr);
}

TWIN_TEST(rules_of_sorting_pairs) {
  struct Places {
    uint32_t dst, index, limit, repeats;
    bool barrier;
  };
  auto sort = [](Places p) {
    return [=](Tensors t) {
      DataCopy(Ub<float>(0, 256), Global<float>(t.in), 256);
      Order<HardEvent::MTE2_V>();
      const auto sorted = Ub<float>(p.dst, p.limit);
      Sort32(sorted, Ub<float>(0, 128), Ub<uint32_t>(p.index, 128), static_cast<int>(p.repeats));
      if (p.barrier) PipeBarrier<PIPE_V>();
      MrgSort(Ub<float>(8192, 256), {sorted, sorted[64], sorted[128], sorted[192]},
              Info(32, 32, 32, 32, false, 15, 1));
    };
  };
  const Kernel right = sort({2048, 512, 256, 4, true});
  ExpectRule(Rule::kHazardRaw, sort({2048, 512, 256, 4, false}), right);
  ExpectRule(Rule::kAlignment, sort({2064, 512, 256, 4, true}), right);
  ExpectRule(Rule::kOverlapInRepeat, sort({256, 512, 256, 4, true}), right);
  ExpectRule(Rule::kTensorRange, sort({2048, 512, 192, 4, true}), right);
  ExpectRule(Rule::kUninitialised, sort({2048, 1024, 256, 4, true}), right);
  ExpectRule(Rule::kUninitialised, sort({2048, 512, 256, 3, true}), right);
  ExpectRule(Rule::kRepeatRange, sort({2048, 512, 256, 256, true}), right);
  // The end of the destination counts for what a merge writes.
  auto merge = [](uint32_t dst, uint32_t size, bool suspend) {
    return [=](Tensors t) {
      LoadPairs(t);
      MrgSort(Ub<float>(dst, size), FourQueues(), Info(64, 64, 64, 64, suspend, 15, 1));
    };
  };
  ExpectRule(Rule::kTensorRange, merge(8192, 448, false), merge(8192, 512, false));
  ExpectRule(Rule::kTensorRange, merge(8192, 64, true), merge(8192, 128, true));
  ExpectRule(Rule::kOverlapInRepeat, merge(kQueue, 512, false), merge(8192, 512, false));
  // Its late write is tracked too.
  auto store = [](bool ordered) {
    return [=](Tensors t) {
      LoadPairs(t);
      MrgSort(Ub<float>(8192, 512), FourQueues(), Info(64, 64, 64, 64, true, 15, 1));
      if (ordered) Order<HardEvent::V_MTE2>();
      DataCopy(Ub<float>(8192, 64), Global<float>(t.in), 64);
    };
  };
  int caught = 0;
  for (int seed = 0; seed < kSeeds; ++seed) {
    LaunchOptions o;
    o.seed = static_cast<uint64_t>(seed);
    caught += !RunOnce(store(false), o).ok();
  }
  CHECK(caught == kSeeds, "a copy over the destination of a merge was caught under %d seeds", caught);
  ExpectClean("ordered", store(true));
}

#else

namespace {

// 64 scores with labels into proposals, sorted 16 at a time in place, merged, taken apart.
constexpr uint32_t kN = 64;
struct Sorted {
  bool label = true, barrier = true;
  uint32_t dst = 8192;
};
void ProposalKernel(GM_ADDR x, GM_ADDR labels, GM_ADDR scores_out, GM_ADDR labels_out, Sorted s) {
  const auto score = Ub<half>(0, kN), label = Ub<half>(512, kN), all = Ub<half>(2048, kN * 8),
             merged = Ub<half>(s.dst, kN * 8), a = Ub<half>(16384, kN), b = Ub<half>(16640, kN);
  DataCopy(score, Global<half>(x), kN);
  DataCopy(label, Global<half>(labels), kN);
  Order<HardEvent::MTE2_V>();
  ProposalConcat(all, score, kN / 16, 4);
  PipeBarrier<PIPE_V>();
  if (s.label) ProposalConcat(all, label, kN / 16, 5);
  PipeBarrier<PIPE_V>();
  RpSort16(all, all, kN / 16);
  if (s.barrier) PipeBarrier<PIPE_V>();
  const uint16_t lengths[4] = {16, 16, 16, 16};
  MrgSort4(merged, MrgSortSrcList<half>(all, all[128], all[256], all[384]),
           MrgSort4Info(lengths, false, 15, 1));
  PipeBarrier<PIPE_V>();
  ProposalExtract(a, merged, kN / 16, 4);
  ProposalExtract(b, merged, kN / 16, 5);
  Order<HardEvent::V_MTE3>();
  DataCopy(Global<half>(scores_out), a, kN);
  DataCopy(Global<half>(labels_out), b, kN);
}

}  // namespace

TWIN_TEST(sort_of_proposals) {
  const std::vector<float> scores = Scores(kN, 9);
  const std::vector<int> order = OrderOf(scores);
  std::vector<half> x(kN), labels(kN), a(kN), b(kN);
  for (uint32_t e = 0; e < kN; ++e) {
    x[e] = half(scores[e]);
    labels[e] = half(static_cast<float>(e));
  }
  for (int seed = 0; seed < kSeeds; ++seed) {
    Gm gm;
    uint8_t *xg = gm.Input("x", x.data(), kN * 2), *lg = gm.Input("l", labels.data(), kN * 2);
    uint8_t *ag = gm.Output("a", a.data(), kN * 2), *bg = gm.Output("b", b.data(), kN * 2);
    LaunchOptions options;
    options.seed = static_cast<uint64_t>(seed);
    const Report r = RunKernel(options, gm, [&] { ProposalKernel(xg, lg, ag, bg, {}); });
    CHECK(r.ok(), "seed %d: %s", seed, r.errors[0].ToString().c_str());
    if (!r.ok()) return;
    for (uint32_t e = 0; e < kN; ++e)
      CHECK(
          float(a[e]) == scores[static_cast<size_t>(order[e])] && float(b[e]) == static_cast<float>(order[e]),
          "seed %d, place %u: %g of %g", seed, e, float(a[e]), float(b[e]));
  }
}

TWIN_TEST(rules_of_proposals) {
  // 64 scores 0, 1, ... as halves.
  auto kernel = [](Sorted s, int field = 4, uint16_t valid = 15, int repeats = 1) {
    return [=](Tensors t) {
      const auto numbers = Ub<float>(32768, kN);
      const auto score = Ub<half>(0, kN), all = Ub<half>(2048, kN * 8), merged = Ub<half>(s.dst, kN * 8);
      DataCopy(numbers, Global<float>(t.in), kN);
      Order<HardEvent::MTE2_V>();
      Cast(score, numbers, RoundMode::CAST_NONE, kN);
      PipeBarrier<PIPE_V>();
      ProposalConcat(all, score, kN / 16, field);
      PipeBarrier<PIPE_V>();
      if (s.label) ProposalConcat(all, score, kN / 16, 5);
      PipeBarrier<PIPE_V>();
      RpSort16(all, all, kN / 16);
      if (s.barrier) PipeBarrier<PIPE_V>();
      const uint16_t lengths[4] = {16, 16, 16, 16};
      MrgSort4(merged, {all, all[128], all[256], all[384]}, MrgSort4Info(lengths, false, valid, repeats));
      PipeBarrier<PIPE_V>();
      ProposalExtract(Ub<half>(16384, kN), merged, kN / 16, 5);
    };
  };
  const Kernel right = kernel({});
  ExpectRule(Rule::kMergeQueues, kernel({}, 4, 1), right);
  ExpectRule(Rule::kHazardRaw, kernel({true, false}), right);
  ExpectRule(Rule::kUninitialised, kernel({false, true}), right);  // blank labels move along until read
  ExpectRule(Rule::kUninitialised, kernel({}, 3), right);          // sorts scores that are not there
  ExpectRule(Rule::kCountRange, kernel({}, 6), right);
  ExpectRule(Rule::kRepeatRange, kernel({}, 4, 15, 0), right);
  ExpectRule(Rule::kOverlapInRepeat, kernel({true, true, 2560}), right);
  ExpectRule(Rule::kAlignment, kernel({true, true, 8200}), right);
}

#endif
