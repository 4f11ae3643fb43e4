// SPDX-License-Identifier: Apache-2.0
// Rules on what is read and written when: blank memory, hazards, GM and its races.
#include "kernels.h"

TWIN_TEST(uninitialised_read) {
  auto kernel = [](int n) {
    return [n](Tensors t) {
      Double(t, [n](LocalTensor<float> x, LocalTensor<float> y) { Muls(y, x, 2.f, n); });
    };
  };
  ExpectRule(Rule::kUninitialised, kernel(257), kernel(256));
  // A buffer that the queue hands out again holds nothing.
  auto queue = [](bool load) {
    return [load](Tensors t) {
      TPipe pipe;
      TQue<TPosition::VECIN, 1> q;
      TBuf<> b;
      pipe.InitBuffer(q, 1, 256);
      pipe.InitBuffer(b, 256);
      for (int i = 0; i < 2; ++i) {
        auto x = q.AllocTensor<float>();
        if (i == 0 || load) DataCopy(x, Global(t.in), 64);
        q.EnQue(x);
        x = q.DeQue<float>();
        PipeBarrier<PIPE_V>();
        Muls(b.Get<float>(), x, 2.f, 64);
        q.FreeTensor(x);
      }
    };
  };
  ExpectRule(Rule::kUninitialised, queue(false), queue(true));
  // Its buffers may be filled by another pipe than the queue's.
  ExpectClean("filled by vectors", [](Tensors) {
    TPipe pipe;
    TQue<TPosition::VECIN, 1> q;
    pipe.InitBuffer(q, 1, 256);
    for (int i = 0; i < 4; ++i) {
      auto x = q.AllocTensor<float>();
      Duplicate(x, 1.f, 64);
      PipeBarrier<PIPE_V>();
      Muls(x, x, 2.f, 64);
      PipeBarrier<PIPE_V>();
      q.FreeTensor(x);
    }
  });
  // AllocTensor of the next one does not wait for the store of the last one.
  LaunchOptions automatic;
  automatic.auto_scalar = true;
  ExpectClean(
      "filled by the scalar unit",
      [](Tensors t) {
        TPipe pipe;
        TQue<TPosition::VECIN, 1> q;
        pipe.InitBuffer(q, 1, 32);
        for (int i = 0; i < 3; ++i) {
          auto x = q.AllocTensor<float>();
          for (uint32_t e = 0; e < 8; ++e) x.SetValue(e, 1.f);
          q.EnQue(x);
          x = q.DeQue<float>();
          DataCopy(Global(t.out)[static_cast<uint64_t>(i * 8)], x, 8);
          q.FreeTensor(x);
        }
      },
      automatic);
  // GM that nobody wrote.
  auto gm = [](bool from_in) {
    return [from_in](Tensors t) { DataCopy(Ub(0, 64), Global(from_in ? t.in : t.workspace), 64); };
  };
  ExpectRule(Rule::kUninitialised, gm(false), gm(true));
}

TWIN_TEST(hazard_read_after_write) {
  auto kernel = [](bool wait) {
    return [wait](Tensors t) {
      auto x = Ub(0, 256), y = Ub(8192, 256);
      DataCopy(x, Global(t.in), 256);
      if (wait) Order<HardEvent::MTE2_V>();
      Muls(y, x, 2.f, 256);
    };
  };
  ExpectRule(Rule::kHazardRaw, kernel(false), kernel(true));
  // Within the vector pipe a barrier is needed; the compiler's automatic sync puts it there.
  auto pipe_v = [](bool barrier) {
    return [barrier](Tensors t) {
      Double(t, [barrier](LocalTensor<float> x, LocalTensor<float> y) {
        Muls(y, x, 2.f, 256);
        if (barrier) PipeBarrier<PIPE_V>();
        Adds(y[512], y, 1.f, 256);
      });
    };
  };
  ExpectRule(Rule::kHazardRaw, pipe_v(false), pipe_v(true));
  LaunchOptions automatic;
  automatic.auto_pipe_v = true;
  ExpectClean("automatic sync", pipe_v(false), automatic);
  // Scalar reads need V_S, scalar writes S_V.
  auto scalar = [](bool wait) {
    return [wait](Tensors) {
      auto x = Ub(0, 64);
      Duplicate(x, 3.f, 64);
      if (wait) Order<HardEvent::V_S>();
      CHECK(!wait || x.GetValue(5) == 3.f, "a waited read sees the value");
      if (!wait) (void)x.GetValue(5);
    };
  };
  ExpectRule(Rule::kHazardRaw, scalar(false), scalar(true));
  // Also where the block held something before: the write has not run when the read sees what was there.
  auto scalar_again = [](bool wait) {
    return [wait](Tensors) {
      auto x = Ub(0, 64);
      Duplicate(x, 2.f, 64);
      Order<HardEvent::V_S>();
      CHECK(x.GetValue(5) == 2.f, "the first value");
      Duplicate(x, 3.f, 64);
      if (wait) Order<HardEvent::V_S>();
      CHECK(x.GetValue(5) == 3.f || !wait, "the second value");
    };
  };
  ExpectRule(Rule::kHazardRaw, scalar_again(false), scalar_again(true));
  auto scalar_write = [](bool wait) {
    return [wait](Tensors t) {
      Double(t, [wait](LocalTensor<float> x, LocalTensor<float> y) {
        y.SetValue(300, 7.f);
        if (wait) Order<HardEvent::S_V>();
        Adds(x[512], y[296], 1.f, 1, 1, UnaryRepeatParams());
      });
    };
  };
  (void)scalar_write;
  auto scalar_to_vector = [](bool wait) {
    return [wait](Tensors) {
      auto x = Ub(0, 64), y = Ub(512, 64);
      for (uint32_t i = 0; i < 64; ++i) x.SetValue(i, 1.f);
      if (wait) Order<HardEvent::S_V>();
      Adds(y, x, 1.f, 64);
    };
  };
  ExpectRule(Rule::kHazardRaw, scalar_to_vector(false), scalar_to_vector(true));
  // GM written and read back by one core.
  auto through_gm = [](bool wait) {
    return [wait](Tensors t) {
      auto x = Ub(0, 64);
      DataCopy(x, Global(t.in), 64);
      Order<HardEvent::MTE2_MTE3>();
      DataCopy(Global(t.workspace), x, 64);
      if (wait) Order<HardEvent::MTE3_MTE2>();
      DataCopy(Ub(1024, 64), Global(t.workspace), 64);
    };
  };
  ExpectRule(Rule::kHazardRaw, through_gm(false), through_gm(true));
}

// The compiler's automatic sync of scalar accesses puts their flags there, and no others.
TWIN_TEST(automatic_scalar_sync) {
  auto kernel = [](bool flag) {
    return [flag](Tensors t) {
      auto x = Ub(0, 64), y = Ub(512, 64);
      DataCopy(x, Global(t.in), 64);
      const float three = x(3);
      x.SetValue(5, three);
      Order<HardEvent::MTE2_V>();
      Adds(y, x, three, 64);
      CHECK(y.GetValue(5) == 6.f, "a read waits for what was issued before it");
      if (flag) Order<HardEvent::V_MTE3>();
      DataCopy(Global(t.out), y, 64);
      y(5) = 0.f;
      GlobalTensor<float> out = Global(t.out);
      CHECK(out.GetValue(5) == 6.f, "a write waits for the reads before it");
    };
  };
  LaunchOptions automatic;
  automatic.auto_scalar = true;
  ExpectRule(Rule::kHazardRaw, kernel(false), kernel(true), automatic);
}

// The headers' reductions of a tensor mostly end with a scalar write and its flags, and else on pipe V.
TWIN_TEST(reductions_order_their_result) {
  enum Form { kMax, kMaxIndex, kSum, kSumMask };
  enum Use { kGet, kStore, kCompute };
  auto kernel = [](Form form, int repeats, Use use) {
    return [form, repeats, use](Tensors t) {
      const LocalTensor<half> x(TPosition::VECCALC, 0, 33024), y(TPosition::VECCALC, 66048, 16),
          work(TPosition::VECCALC, 66560, 2048);
      GlobalTensor<half> out;
      out.SetGlobalBuffer((__gm__ half*)t.out);
      Duplicate(x, half(1), 128 * repeats);
      Duplicate(y, half(0), 16);
      PipeBarrier<PIPE_V>();
      if (form == kSum)
        ReduceSum(y, x, work, 128 * repeats);
      else if (form == kSumMask)
        ReduceSum(y, x, work, 128, repeats, 8);
      else
        ReduceMax(y, x, work, 128 * repeats, form == kMaxIndex);
      if (use == kGet) CHECK(float(y.GetValue(0)) == (form >= kSum ? 128 * repeats : 1), "the result");
      if (use == kStore) DataCopy(out, y, 16);
      if (use == kCompute) Adds(x, y, half(1), 16);
    };
  };
  for (const Use use : {kGet, kStore, kCompute}) {
    for (const Form form : {kMax, kMaxIndex, kSum, kSumMask}) ExpectClean("flags", kernel(form, 3, use));
    ExpectRule(Rule::kHazardRaw, kernel(kMaxIndex, 1, use), kernel(kMax, 1, use));
    ExpectRule(Rule::kHazardRaw, kernel(kSumMask, 129, use), kernel(kSumMask, 128, use));
    ExpectClean("by count", kernel(kSum, 129, use));
  }
}

TWIN_TEST(hazard_write_after_read) {
  auto kernel = [](bool wait) {
    return [wait](Tensors t) {
      auto x = Ub(0, 256), y = Ub(8192, 256);
      DataCopy(x, Global(t.in), 256);
      Order<HardEvent::MTE2_V>();
      Muls(y, x, 2.f, 256);
      if (wait) Order<HardEvent::V_MTE2>();
      DataCopy(x, Global(t.in), 256);
    };
  };
  ExpectRule(Rule::kHazardWar, kernel(false), kernel(true));
  auto store = [](bool wait) {
    return [wait](Tensors t) {
      Double(t, [](LocalTensor<float> x, LocalTensor<float> y) { Muls(y, x, 2.f, 256); });
      if (wait) Order<HardEvent::MTE3_V>();
      Duplicate(Ub(8192, 256), 0.f, 256);
    };
  };
  ExpectRule(Rule::kHazardWar, store(false), store(true));
}

TWIN_TEST(hazard_write_after_write) {
  auto kernel = [](bool wait) {
    return [wait](Tensors t) {
      auto x = Ub(0, 256);
      Duplicate(x, 0.f, 256);
      if (wait) Order<HardEvent::V_MTE2>();
      DataCopy(x, Global(t.in), 256);
    };
  };
  ExpectRule(Rule::kHazardWaw, kernel(false), kernel(true));
  auto dma = [](bool barrier) {
    return [barrier](Tensors t) {
      DataCopy(Ub(0, 64), Global(t.in), 64);
      if (barrier) PipeBarrier<PIPE_MTE2>();
      DataCopy(Ub(128, 64), Global(t.in), 64);
    };
  };
  ExpectRule(Rule::kHazardWaw, dma(false), dma(true));
}

// Accumulating Mmads into one tile: small ones need PipeBarrier<PIPE_M>, large ones are kept in order.
TWIN_TEST(mmad_accumulation_barrier) {
  LaunchOptions o;
  if constexpr (k910B) o.kernel_type = KernelType::kAicOnly;
  auto kernel = [](int m, int n, bool barrier) {
    return [m, n, barrier](Tensors t) {
      GlobalTensor<half> g;
      g.SetGlobalBuffer((__gm__ half*)t.in);
      const LocalTensor<half> a(TPosition::A2, 0, 16384), b(TPosition::B2, 0, 16384);
      LoadData(a, g, LoadData2DParams(0, 16, 1, 0, 0, false, 0));
      LoadData(b, g, LoadData2DParams(0, 16, 1, 0, 0, false, 0));
      Order<HardEvent::MTE2_M>();
      MmadParams p;
      p.m = m, p.n = n, p.k = 16;
      const LocalTensor<float> c(TPosition::CO1, 0, 16384);
      Mmad(c, a, b, p);
      if (barrier) PipeBarrier<PIPE_M>();
      p.cmatrixInitVal = false;
      Mmad(c, a, b, p);
    };
  };
  ExpectRule(Rule::kHazardRaw, kernel(48, 48, false), kernel(48, 48, true), o);
  ExpectClean("ten fractals", kernel(32, 80, false), o);
}

TWIN_TEST(gm_out_of_bounds) {
  auto kernel = [](int from) {
    return [from](Tensors t) { DataCopy(Ub(0, 64), Global(t.in)[static_cast<uint64_t>(from)], 64); };
  };
  ExpectRule(Rule::kGmOutOfBounds, kernel(kFloats - 63), kernel(kFloats - 64));
  auto write = [](int gap) {
    return [gap](Tensors t) {
      Duplicate(Ub(0, 64), 0.f, 64);
      Order<HardEvent::V_MTE3>();
      DataCopy(Global(t.out)[kFloats - 64], Ub(0, 64), DataCopyParams(2, 4, 0, gap));
    };
  };
  ExpectRule(Rule::kGmOutOfBounds, write(1), write(0));
}

TWIN_TEST(gm_pointers_beyond_a_tensor_mean_that_tensor) {
  const Report r = RunOnce([](Tensors t) { DataCopy(Ub(0, 64), Global(t.in + kFloats * 4 + 64), 64); }, {});
  CHECK(!r.ok() && r.errors[0].rule == Rule::kGmOutOfBounds, "out of bounds");
  CHECK(!r.ok() && r.errors[0].detail.find("'in'") != std::string::npos, "by name");
  ExpectClean("a null tensor that nobody uses", [](Tensors) { (void)Global(nullptr); });
}

TWIN_TEST(gm_unknown_pointer) {
  ExpectRule(
      Rule::kGmUnknown,
      [](Tensors) {
        static float outside[64];
        DataCopy(Ub(0, 64), Global(reinterpret_cast<GM_ADDR>(outside)), 64);
      },
      [](Tensors t) { DataCopy(Ub(0, 64), Global(t.in + 256), 64); });
}

TWIN_TEST(gm_write_to_input) {
  auto kernel = [](bool to_input) {
    return [to_input](Tensors t) {
      Duplicate(Ub(0, 64), 0.f, 64);
      Order<HardEvent::V_MTE3>();
      DataCopy(Global(to_input ? t.in : t.out), Ub(0, 64), 64);
    };
  };
  ExpectRule(Rule::kGmWriteToInput, kernel(true), kernel(false));
}

TWIN_TEST(gm_race) {
  LaunchOptions two;
  two.block_dim = 2;
  auto kernel = [](int step) {
    return [step](Tensors t) {
      Duplicate(Ub(0, 16), 1.f, 16);
      Order<HardEvent::V_MTE3>();
      DataCopy(Global(t.out)[static_cast<uint64_t>(GetBlockIdx() * step)], Ub(0, 16), 16);
    };
  };
  ExpectRule(Rule::kGmRace, kernel(8), kernel(16), two);
  // Scalar writes: neighbours within 64 B.
  auto scalar = [](int step) {
    return [step](Tensors t) { Global(t.out).SetValue(static_cast<uint64_t>(GetBlockIdx() * step), 1.f); };
  };
  ExpectRule(Rule::kGmRace, scalar(8), scalar(16), two);
  // One core reads what the other writes.
  ExpectRule(
      Rule::kGmRace,
      [](Tensors t) {
        if (GetBlockIdx() == 0) {
          Duplicate(Ub(0, 64), 1.f, 64);
          Order<HardEvent::V_MTE3>();
          DataCopy(Global(t.workspace), Ub(0, 64), 64);
        } else {
          DataCopy(Ub(0, 64), Global(t.workspace), 64);
        }
      },
      nullptr, two);
}

// What an access finds out is not forgotten for what others do to the block in between.
TWIN_TEST(gm_race_of_atomic_updates) {
  LaunchOptions two;
  two.block_dim = 2;
  enum Sync { kNone, kAll };
  const auto add = [](Tensors t) {
    Duplicate(Ub(0, 64), 1.f, 64);
    Order<HardEvent::V_MTE3>();
    SetAtomicAdd<float>();
    DataCopy(Global(t.zeroed), Ub(0, 64), 64);
    SetAtomicNone();
  };
  const auto sync = [](Tensors t, Sync how) {
    if (how == kNone) return;
    PipeBarrier<PIPE_ALL>();
    GlobalTensor<int32_t> g;
    g.SetGlobalBuffer((__gm__ int32_t*)(t.zeroed + 2048));
    SyncAll(g, LocalTensor<int32_t>(TPosition::VECCALC, 1024, 64));
  };
  // The total is read before everybody has added.
  const auto total = [&](Sync how, bool scalar) {
    return [=](Tensors t) {
      add(t);
      sync(t, how);
      if (GetBlockIdx() == 0) return;
      Order<HardEvent::MTE3_MTE2>();
      Order<HardEvent::MTE3_S>();
      if (scalar)
        (void)Global(t.zeroed).GetValue(0);
      else
        DataCopy(Ub(8192, 64), Global(t.zeroed), 64);
    };
  };
  for (const bool scalar : {false, true})
    ExpectRule(Rule::kGmRace, total(kNone, scalar), total(kAll, scalar), two);
  // One core clears or reads what both add to.
  const auto first = [&](Sync how, bool clear) {
    return [=](Tensors t) {
      if (GetBlockIdx() == 0 && clear) {
        Duplicate(Ub(4096, 64), 0.f, 64);
        Order<HardEvent::V_MTE3>();
        DataCopy(Global(t.zeroed), Ub(4096, 64), 64);
        PipeBarrier<PIPE_MTE3>();
      } else if (GetBlockIdx() == 0) {
        DataCopy(Ub(4096, 64), Global(t.zeroed), 64);
        Order<HardEvent::MTE2_MTE3>();
      }
      sync(t, how);
      add(t);
    };
  };
  for (const bool clear : {false, true})
    ExpectRule(Rule::kGmRace, first(kNone, clear), first(kAll, clear), two);
}

TWIN_TEST(gm_cache) {
  auto kernel = [](bool clean) {
    return [clean](Tensors t) {
      auto g = Global(t.workspace);
      for (uint64_t i = 0; i < 8; ++i) g.SetValue(i, 1.f);
      if (clean) DataCacheCleanAndInvalid<float, CacheLine::SINGLE_CACHE_LINE, DcciDst::CACHELINE_OUT>(g);
      Order<HardEvent::S_MTE2>();
      DataCopy(Ub(0, 8), g, 8);
    };
  };
  ExpectRule(Rule::kGmCache, kernel(false), kernel(true));
  auto stale = [](bool invalidate) {
    return [invalidate](Tensors t) {
      auto g = Global(t.zeroed);
      (void)g.GetValue(0);
      Duplicate(Ub(0, 8), 2.f, 8);
      Order<HardEvent::V_MTE3>();
      DataCopy(g, Ub(0, 8), 8);
      Order<HardEvent::MTE3_S>();
      if (invalidate)
        DataCacheCleanAndInvalid<float, CacheLine::ENTIRE_DATA_CACHE, DcciDst::CACHELINE_OUT>(g);
      CHECK(!invalidate || g.GetValue(1) == 2.f, "an invalidated line is read anew");
      if (!invalidate) (void)g.GetValue(1);
    };
  };
  ExpectRule(Rule::kGmCache, stale(false), stale(true));
}

TWIN_TEST(sync_workspace_and_block_dim) {
  LaunchOptions o;
  o.block_dim = 4;
  auto kernel = [](bool zeroed, uint32_t bytes) {
    return [zeroed, bytes](Tensors t) {
      GlobalTensor<int32_t> g;
      g.SetGlobalBuffer((__gm__ int32_t*)(zeroed ? t.zeroed : t.workspace));
      LocalTensor<int32_t> ub(TPosition::VECCALC, 1024, bytes / 4);
      auto x = Ub(0, 64);
      Duplicate(x, static_cast<float>(GetBlockIdx()), 64);
      Order<HardEvent::V_MTE3>();
      DataCopy(Global(t.workspace)[4096 + static_cast<uint64_t>(GetBlockIdx()) * 64], x, 64);
      SyncAll(g, ub);
      const auto other = static_cast<uint64_t>((GetBlockIdx() + 1) % GetBlockNum());
      DataCopy(x, Global(t.workspace)[4096 + other * 64], 64);
      Order<HardEvent::MTE2_S>();
      CHECK(x.GetValue(0) == static_cast<float>(other), "what the neighbour wrote before the sync");
    };
  };
  ExpectRule(Rule::kSyncWorkspace, kernel(true, 96), kernel(true, 128), o);
  ExpectRule(Rule::kSyncWorkspace, kernel(false, 128), nullptr, o);
  o.block_dim = 41;
  ExpectRule(Rule::kBlockDim, kernel(true, 2048), nullptr, o);
}

#if ASCEND_TWIN_ARCH == 2201

// Sums do not commute with maxima.
TWIN_TEST(gm_race_of_unlike_updates) {
  LaunchOptions two;
  two.block_dim = 2;
  const auto kernel = [](bool alike) {
    return [alike](Tensors t) {
      Duplicate(Ub(0, 64), 1.f, 64);
      Order<HardEvent::V_MTE3>();
      if (alike || GetBlockIdx() == 0)
        SetAtomicAdd<float>();
      else
        SetAtomicMax<float>();
      DataCopy(Global(t.zeroed), Ub(0, 64), 64);
      SetAtomicNone();
    };
  };
  ExpectRule(Rule::kGmRace, kernel(false), kernel(true), two);
}

// Rows of no whole blocks: two cores store different bytes of a block, but not beside a scalar write's line.
TWIN_TEST(gm_race_of_bytes) {
  LaunchOptions two;
  two.block_dim = 2;
  const auto kernel = [](uint64_t step, bool scalar) {
    return [step, scalar](Tensors t) {
      const auto row = Global(t.out)[static_cast<uint64_t>(GetBlockIdx()) * step];
      Duplicate(Ub(0, 64), 1.f, 64);
      Order<HardEvent::V_MTE3>();
      if (scalar && GetBlockIdx() == 0)
        row.SetValue(0, 1.f);
      else
        DataCopyPad(row, Ub(0, 64), DataCopyExtParams(1, 12, 0, 0, 0));
    };
  };
  ExpectRule(Rule::kGmRace, kernel(2, false), kernel(3, false), two);
  ExpectRule(Rule::kGmRace, kernel(3, true), kernel(16, true), two);
}

// A store of some bytes of a block says nothing about accesses of the others.
TWIN_TEST(gm_hazards_of_bytes) {
  const DataCopyExtParams half_block(1, 16, 0, 0, 0);
  const auto store = [=](Tensors t, int first) {
    DataCopyPad(Global(t.zeroed)[static_cast<uint64_t>(first)], Ub(0, 64), half_block);
  };
  const auto load = [=](Tensors t) {
    DataCopyPad(Ub(8192, 8), Global(t.zeroed), half_block, DataCopyPadExtParams<float>());
  };
  const auto read_first = [=](bool flag) {
    return [=](Tensors t) {
      Duplicate(Ub(0, 64), 1.f, 64);
      Order<HardEvent::V_MTE3>();
      load(t);
      if (flag) SetFlag<HardEvent::MTE2_MTE3>(0);
      store(t, 4);
      if (flag) WaitFlag<HardEvent::MTE2_MTE3>(0);
      PipeBarrier<PIPE_MTE3>();
      store(t, 0);
    };
  };
  ExpectRule(Rule::kHazardWar, read_first(false), read_first(true));
  const auto read_last = [=](bool flag) {
    return [=](Tensors t) {
      Duplicate(Ub(0, 64), 1.f, 64);
      Order<HardEvent::V_MTE3>();
      store(t, 0);
      if (flag) SetFlag<HardEvent::MTE3_MTE2>(0);
      PipeBarrier<PIPE_MTE3>();
      store(t, 4);
      if (flag) WaitFlag<HardEvent::MTE3_MTE2>(0);
      load(t);
    };
  };
  ExpectRule(Rule::kHazardRaw, read_last(false), read_last(true));
}

#endif
