// SPDX-License-Identifier: Apache-2.0
// Rules that only one of the chips has.
#include "kernels.h"

#if ASCEND_TWIN_ARCH == 1001

TWIN_TEST(ignored_parameter) {
  auto kernel = [](int gap) {
    return [gap](Tensors t) {
      GlobalTensor<half> g;
      g.SetGlobalBuffer((__gm__ half*)t.in);
      const LocalTensor<half> l1(TPosition::A1, 0, 1024), a(TPosition::A2, 0, 4096);
      DataCopy(l1, g, 1024);
      Order<HardEvent::MTE2_MTE1>();
      LoadData(a, l1, LoadData2DParams(0, 4, 1, 0, gap, false, 0));
    };
  };
  ExpectRule(Rule::kIgnoredParameter, kernel(1), kernel(0));
}

TWIN_TEST(round_mode) {
  auto kernel = [](RoundMode mode) {
    return [mode](Tensors t) {
      DataCopy(Ub(0, 64), Global(t.in), 64);
      Order<HardEvent::MTE2_V>();
      Cast(LocalTensor<half>(TPosition::VECCALC, 1024, 64), Ub(0, 64), mode, 64);
    };
  };
  ExpectRule(Rule::kRoundMode, kernel(RoundMode::CAST_RINT), kernel(RoundMode::CAST_NONE));
  ExpectRule(Rule::kRoundMode, kernel(RoundMode::CAST_FLOOR), kernel(RoundMode::CAST_ODD));
}

TWIN_TEST(not_on_chip_modes) {
  auto select = [](SELMODE mode) {
    return [mode](Tensors t) {
      DataCopy(Ub(0, 64), Global(t.in), 64);
      Order<HardEvent::MTE2_V>();
      const LocalTensor<uint8_t> bits(TPosition::VECCALC, 1024, 32);
      Duplicate(bits.ReinterpretCast<int16_t>(), int16_t{0x0f}, 16);
      PipeBarrier<PIPE_V>();
      Select(Ub(512, 64), bits, Ub(0, 64), Ub(0, 64), mode, 64, 1, BinaryRepeatParams());
    };
  };
  ExpectRule(Rule::kNotOnChip, select(SELMODE::VSEL_TENSOR_TENSOR_MODE), select(SELMODE::VSEL_CMPMASK_SPR));
  auto order = [](ReduceOrder o) {
    return [o](Tensors) {
      const LocalTensor<half> x(TPosition::VECCALC, 0, 128), y(TPosition::VECCALC, 1024, 16);
      Duplicate(x, half(1), 128);
      PipeBarrier<PIPE_V>();
      WholeReduceMax(y, x, 128, 1, 1, 1, 8, o);
    };
  };
  ExpectRule(Rule::kNotOnChip, order(ReduceOrder::ORDER_ONLY_VALUE), order(ReduceOrder::ORDER_VALUE_INDEX));
}

TWIN_TEST(kernel_type) {
  LaunchOptions o;
  o.kernel_type = KernelType::kMixAic1Aiv2;
  ExpectRule(Rule::kKernelType, [](Tensors) {}, nullptr, o);
  o.kernel_type = KernelType::kFused;
  ExpectClean("fused", [](Tensors) { KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2); }, o);
}

#else

TWIN_TEST(sum_by_count_takes_no_scratch) {
  auto kernel = [](bool by_count) {
    return [by_count](Tensors t) {
      DataCopy(Ub(0, 576), Global(t.in), 576);
      Order<HardEvent::MTE2_V>();
      DataCopy(Ub(4096, 8), Global(t.in), 8);
      if (by_count)
        ReduceSum(Ub(8192, 8), Ub(0, 576), Ub(4096, 8), 576);
      else
        ReduceSum(Ub(8192, 8), Ub(0, 576), Ub(4096, 8), 64, 9, 8);
      Order<HardEvent::MTE2_S>();
      CHECK(Ub(4096, 8).GetValue(1) == 1.f, "what lies there stays");
    };
  };
  ExpectRule(Rule::kTensorRange, kernel(false), kernel(true));
}

TWIN_TEST(rows_of_no_whole_blocks) {
  auto kernel = [](uint64_t step, bool read_back, bool wait) {
    return [step, read_back, wait](Tensors t) {
      Duplicate(Ub(0, 64), 1.f, 64);
      Order<HardEvent::V_MTE3>();
      for (uint32_t row = 0; row < 8; ++row)
        DataCopyPad(Global(t.out)[row * step], Ub(row * 32, 8), DataCopyExtParams(1, 12, 0, 0, 0));
      if (wait) Order<HardEvent::MTE3_MTE2>();
      if (read_back)
        DataCopyPad(Ub(1024, 8), Global(t.out), DataCopyExtParams(1, 12, 0, 0, 0),
                    DataCopyPadExtParams<float>());
    };
  };
  ExpectRule(Rule::kHazardWaw, kernel(2, false, false), kernel(3, false, false));
  // Every row of the block counts, not only the last one.
  ExpectRule(Rule::kHazardRaw, kernel(3, true, false), kernel(3, true, true));
}

TWIN_TEST(int32_compares_for_equality) {
  auto kernel = [](CMPMODE mode, bool scalar) {
    return [mode, scalar](Tensors) {
      const LocalTensor<int32_t> x(TPosition::VECCALC, 0, 64);
      const LocalTensor<uint8_t> bits(TPosition::VECCALC, 1024, 32);
      Duplicate(x, 5, 64);
      PipeBarrier<PIPE_V>();
      if (scalar)
        CompareScalar(bits, x, 5, mode, 64);
      else
        Compare(bits, x, x, mode, 64);
    };
  };
  for (const bool scalar : {false, true})
    ExpectRule(Rule::kNotOnChip, kernel(CMPMODE::NE, scalar), kernel(CMPMODE::EQ, scalar));
}

// The documents' no-operations. Nothing here was written or has room, and nothing is touched.
TWIN_TEST(no_operations) {
  ExpectClean("nothing", [](Tensors t) {
    const auto x = Ub(0, 8), y = Ub(1024, 8);
    const LocalTensor<uint32_t> offsets(TPosition::VECCALC, 2048, 8);
    uint64_t none[2] = {0, 0};
    Add(y, x, x, 0);
    Adds(y, x, 1.f, 0);
    Duplicate(y, 1.f, 0);
    Gather(y, x, offsets, 0, 0u);
    ReduceSum(y, x, y, 0);
    Add(y, x, x, uint64_t{0}, 1, BinaryRepeatParams());
    Add(y, x, x, none, 1, BinaryRepeatParams());
    Add(y, x, x, 64, 0, BinaryRepeatParams());
    WholeReduceSum(y, x, 0, 1, 1, 1, 8);
    SetVectorMask<float>(0, 0);
    WholeReduceSum<float, false>(y, x, MASK_PLACEHOLDER, 1, 1, 1, 8);
    ResetMask();
    DataCopy(y, Global(t.in), DataCopyParams(0, 1, 0, 0));
    DataCopy(y, Global(t.in), DataCopyParams(1, 0, 0, 0));
    DataCopyPad(Global(t.out), x, DataCopyExtParams(0, 4, 0, 0, 0));
    DataCopyPad(y, Global(t.in), DataCopyExtParams(0, 4, 0, 0, 0), DataCopyPadExtParams<float>());
    LocalTensor<float> list[16];
    for (auto& row : list) row = x;
    TransDataTo5HD(list, list, TransDataTo5HDParams(false, false, 0, 16, 1));
  });
}

// 512 floats at 0, offsets 0, 4, 8, ... at 32768.
TWIN_TEST(ends_and_overlaps_of_layouts) {
  auto kernel = [](const std::function<void(LocalTensor<float>)>& body) {
    return [body](Tensors t) {
      const LocalTensor<int32_t> offsets(TPosition::VECCALC, 32768, 256);
      DataCopy(Ub(0, 512), Global(t.in), 512);
      CreateVecIndex(offsets, 0, 256);
      PipeBarrier<PIPE_V>();
      Muls(offsets, offsets, 4, 256);
      PipeBarrier<PIPE_V>();
      Order<HardEvent::MTE2_V>();
      body(Ub(0, 512));
    };
  };
  auto brcb = [&](uint32_t to, uint32_t n, int repeats = 2) {
    return kernel([=](auto x) { Brcb(Ub(to, n), x, repeats, BrcbRepeatParams(1, 8)); });
  };
  const Kernel right = brcb(65536, 128);
  ExpectRule(Rule::kTensorRange, brcb(65536, 120), right);
  ExpectRule(Rule::kOverlapInRepeat, brcb(0, 128), right);
  ExpectRule(Rule::kOverlapAcrossRepeats, brcb(64, 256, 4), right);
  auto strides = [&](int stride, bool indices) {
    return kernel([=](auto x) {
      if (indices)
        CreateVecIndex(Ub(65536, 512), 0.f, 64, 2, stride, 8);
      else
        Brcb(Ub(65536, 512), x, 2, BrcbRepeatParams(stride, 8));
    });
  };
  for (const bool indices : {false, true})
    ExpectRule(Rule::kStrideRange, strides(0, indices), strides(1, indices));
  ExpectClean("Gatherb takes a stride of 0 for 1", kernel([](auto x) {
                const LocalTensor<int32_t> offsets(TPosition::VECCALC, 32768, 8);
                Muls(offsets, offsets, 8, 8);
                PipeBarrier<PIPE_V>();
                Gatherb(Ub(65536, 64).ReinterpretCast<uint32_t>(), x.template ReinterpretCast<uint32_t>(),
                        offsets.ReinterpretCast<uint32_t>(), 1, GatherRepeatParams(0, 8));
                PipeBarrier<PIPE_V>();
                Adds(Ub(65792, 64), Ub(65536, 64), 1.f, 64);
              }));
  auto gather = [&](uint32_t to, uint32_t n, uint32_t offsets, uint32_t mask) {
    return kernel([=](auto x) {
      const LocalTensor<uint32_t> from(TPosition::VECCALC, 32768, offsets);
      Gather(Ub(to, n), x, from, 0, mask, 2, 8);
    });
  };
  const Kernel gathers = gather(65536, 128, 128, 64);
  ExpectRule(Rule::kTensorRange, gather(65536, 120, 128, 64), gathers);
  ExpectRule(Rule::kTensorRange, gather(65536, 128, 120, 64), gather(65536, 96, 96, 32));
  ExpectRule(Rule::kOverlapAcrossRepeats, gather(0, 128, 128, 64), gathers);
  ExpectRule(Rule::kOverlapAcrossRepeats, gather(32768 + 256, 128, 128, 64), gather(32768, 128, 128, 64));
  auto whole = [&](uint32_t to) {
    return kernel([=](auto x) { WholeReduceSum(Ub(to, 64), x, 64, 8, 1, 1, 8); });
  };
  ExpectRule(Rule::kOverlapAcrossRepeats, whole(512), whole(0));
  auto select = [&](uint32_t bytes) {
    return kernel([=](auto x) {
      const LocalTensor<uint8_t> mask(TPosition::VECCALC, 32768 + 32, bytes);
      Select(Ub(65536, 512), mask, x, 0.f, SELMODE::VSEL_TENSOR_SCALAR_MODE, 256);
    });
  };
  ExpectRule(Rule::kTensorRange, select(24), select(32));
  auto maximum = [&](uint32_t elements, bool index) {
    return kernel([=](auto x) { ReduceMax(Ub(65536, elements), x, Ub(66560, 256), 128, index); });
  };
  ExpectRule(Rule::kTensorRange, maximum(1, true), maximum(2, true));
  ExpectClean("no index", maximum(1, false));
  auto lists = [&](uint32_t rows) {
    return kernel([=](auto) {
      const LocalTensor<half> from(TPosition::VECCALC, 0, 512), to(TPosition::VECCALC, 65536, rows * 16);
      LocalTensor<half> src[16], dst[16];
      for (uint32_t i = 0; i < 16; ++i) src[i] = from[i * 16], dst[i] = to[i * 16];
      TransDataTo5HD(dst, src, TransDataTo5HDParams(false, false, 2, 16, 16));
    });
  };
  ExpectRule(Rule::kTensorRange, lists(31), lists(32));
  auto over = [&](uint32_t to, uint32_t step) {
    return kernel([=](auto) {
      const LocalTensor<half> from(TPosition::VECCALC, 0, 1024), into(TPosition::VECCALC, to, 1024);
      LocalTensor<half> src[16], dst[16];
      for (uint32_t i = 0; i < 16; ++i) src[i] = from[i * 16], dst[i] = into[i * 16];
      TransDataTo5HD(dst, src, TransDataTo5HDParams(false, false, 2, step, 16));
    });
  };
  ExpectRule(Rule::kOverlapInRepeat, over(64, 32), over(1024, 16));
  ExpectRule(Rule::kOverlapAcrossRepeats, over(512, 48), over(0, 16));
  // Packed into the place of its source, not beside it nor onto its pattern.
  auto pack = [&](uint32_t to, bool bits, uint16_t repeats) {
    return kernel([=](auto x) {
      const LocalTensor<uint32_t> pattern(TPosition::VECCALC, 32768, 64);
      uint64_t n;
      if (bits)
        GatherMask(Ub(to, 512), x, pattern, true, 64, GatherMaskParams(1, 1, 8, 8), n);
      else
        GatherMask(Ub(to, 512), x, uint8_t{7}, false, 0, GatherMaskParams(1, repeats, 8, 0), n);
    });
  };
  ExpectRule(Rule::kOverlapInRepeat, pack(32, false, 2), pack(0, false, 2));
  ExpectRule(Rule::kOverlapAcrossRepeats, pack(256, false, 2), pack(256, false, 1));
  ExpectRule(Rule::kOverlapInRepeat, pack(32768, true, 1), pack(0, true, 1));
  auto choose = [&](uint32_t to) {
    return kernel([=](auto x) {
      const LocalTensor<uint8_t> mask(TPosition::VECCALC, 32768, 64);
      Select(Ub(to, 320), mask, x, 0.f, SELMODE::VSEL_TENSOR_SCALAR_MODE, 320);
    });
  };
  ExpectRule(Rule::kOverlapInRepeat, choose(32768), choose(0));
  ExpectRule(Rule::kOverlapAcrossRepeats, choose(32768 + 32), choose(32768 + 64));
  auto compare = [&](uint32_t to) {
    return kernel([=](auto x) {
      Compare(LocalTensor<uint8_t>(TPosition::VECCALC, to, 32), x, x[256], CMPMODE::LT, 256);
    });
  };
  ExpectRule(Rule::kOverlapInRepeat, compare(0), compare(2048));
  ExpectRule(Rule::kOverlapAcrossRepeats, compare(2048 - 32), compare(2048));
}

TWIN_TEST(registers_of_reductions_wait) {
  auto kernel = [](bool sum, bool reduce, bool wait, bool check) {
    return [=](Tensors t) {
      Double(t, [=](LocalTensor<float> x, LocalTensor<float> y) {
        Muls(y, x, 2.f, 256);
        if (reduce && sum) WholeReduceSum(y[1024], x, 64, 1, 1, 1, 8);
        if (reduce && !sum) WholeReduceMax(y[1024], x, 64, 1, 1, 1, 8);
        if (wait) Order<HardEvent::V_S>();
        float value, index;
        if (sum)
          value = GetReduceRepeatSumSpr<float>();
        else
          GetReduceRepeatMaxMinSpr(value, index);
        CHECK(!check || value == (sum ? 2016 : 63), "%g", value);
      });
    };
  };
  LaunchOptions automatic;
  automatic.auto_pipe_v = true;
  for (const bool sum : {true, false}) {
    ExpectRule(Rule::kHazardRaw, kernel(sum, true, false, false), kernel(sum, true, true, true));
    ExpectRule(Rule::kUninitialised, kernel(sum, false, true, false), nullptr);
    ExpectClean("automatic", kernel(sum, true, false, true), automatic);
  }
}

// Only its count makes the scalar unit wait: a GatherMask needs its flags and barriers like any vector instruction.
TWIN_TEST(gather_mask_orders_nothing) {
  struct Slip {
    bool load = true, barrier = true, store = true;
    uint32_t from = 128, to = 64;
  };
  auto kernel = [](Slip s) {
    return [s](Tensors t) {
      uint64_t n = 0;
      DataCopy(Ub(0, 128), Global(t.in), 128);
      if (s.load) Order<HardEvent::MTE2_V>();
      GatherMask(Ub(8192, s.to), Ub(0, s.from), uint8_t{1}, false, 0u, GatherMaskParams(1, 2, 8, 8), n);
      if (s.barrier) PipeBarrier<PIPE_V>();
      Muls(Ub(8192, 64), Ub(8192, 64), 2.f, 64);
      if (s.store) Order<HardEvent::V_MTE3>();
      DataCopy(Global(t.out), Ub(8192, 64), static_cast<uint32_t>(n));
    };
  };
  ExpectRule(Rule::kHazardRaw, kernel({false}), kernel({}));
  ExpectRule(Rule::kHazardRaw, kernel({true, false}), nullptr);
  ExpectRule(Rule::kHazardRaw, kernel({true, true, false}), nullptr);
  ExpectRule(Rule::kTensorRange, kernel({true, true, true, 120}), nullptr);
  ExpectRule(Rule::kTensorRange, kernel({true, true, true, 128, 56}), nullptr);
}

TWIN_TEST(wrong_core) {
  LaunchOptions aic, aiv;
  aic.kernel_type = KernelType::kAicOnly;
  aiv.kernel_type = KernelType::kAivOnly;
  auto vector = [](Tensors) { Duplicate(Ub(0, 64), 1.f, 64); };
  auto cube = [](Tensors t) {
    GlobalTensor<half> g;
    g.SetGlobalBuffer((__gm__ half*)t.in);
    DataCopy(LocalTensor<half>(TPosition::A1, 0, 64), g, 64);
  };
  ExpectRule(Rule::kWrongCore, vector, nullptr, aic);
  ExpectClean("vector on AIV", vector, aiv);
  ExpectRule(Rule::kWrongCore, cube, nullptr, aiv);
  ExpectClean("cube on AIC", cube, aic);
}

TWIN_TEST(tpipe_presets_m_mte1) {
  LaunchOptions o;
  o.kernel_type = KernelType::kAicOnly;
  auto kernel = [](int id) {
    return [id](Tensors) {
      TPipe pipe;
      SetFlag<HardEvent::M_MTE1>(id);
      WaitFlag<HardEvent::M_MTE1>(id);
    };
  };
  ExpectRule(Rule::kFlagSetTwice, kernel(2), kernel(3), o);
  // Without a TPipe the ids are free.
  ExpectClean("no TPipe", [](Tensors) { Order<HardEvent::M_MTE1>(0); }, o);
}

TWIN_TEST(cross_core_flag_id) {
  LaunchOptions o;
  o.kernel_type = KernelType::kMixAic1Aiv2;
  auto kernel = [](int id) {
    return [id](Tensors) {
      if ASCEND_IS_AIC {
        CrossCoreSetFlag<2, PIPE_FIX>(static_cast<uint16_t>(id));
      } else {
        CrossCoreWaitFlag(static_cast<uint16_t>(id));
      }
    };
  };
  ExpectRule(Rule::kCrossCoreFlagId, kernel(16), kernel(10), o);
  // 11..14 are the kernel's own only while it does not call SyncAll.
  auto with_sync = [kernel](int id) {
    return [kernel, id](Tensors t) {
      SyncAll<false>();
      kernel(id)(t);
    };
  };
  ExpectRule(Rule::kCrossCoreFlagId, with_sync(12), kernel(12), o);
  ExpectClean("SyncAll and a flag of its own", with_sync(10), o);
}

TWIN_TEST(cross_core_counter) {
  LaunchOptions o;
  o.kernel_type = KernelType::kMixAic1Aiv2;
  auto kernel = [](int ahead) {
    return [ahead](Tensors) {
      if ASCEND_IS_AIC {
        for (int i = 0; i < ahead; ++i) CrossCoreSetFlag<2, PIPE_FIX>(1);
        CrossCoreWaitFlag(2);
      } else {
        CrossCoreSetFlag<2, PIPE_MTE3>(2);
        CrossCoreWaitFlag(3);
        for (int i = 0; i < ahead; ++i) CrossCoreWaitFlag(1);
      }
      if ASCEND_IS_AIC
        CrossCoreSetFlag<2, PIPE_FIX>(3);
    };
  };
  ExpectRule(Rule::kCrossCoreCounter, kernel(16), kernel(15), o);
}

TWIN_TEST(cross_core_flag_left) {
  LaunchOptions o;
  o.kernel_type = KernelType::kMixAic1Aiv2;
  auto kernel = [](bool wait) {
    return [wait](Tensors) {
      if ASCEND_IS_AIC {
        CrossCoreSetFlag<2, PIPE_FIX>(1);
      } else if (wait) {
        CrossCoreWaitFlag(1);
      }
    };
  };
  ExpectRule(Rule::kCrossCoreFlagLeft, kernel(false), kernel(true), o);
}

TWIN_TEST(cross_core_mode) {
  LaunchOptions o;
  o.kernel_type = KernelType::kAivOnly;
  o.block_dim = 2;
  ExpectRule(
      Rule::kCrossCoreMode, [](Tensors) { CrossCoreSetFlag<2, PIPE_MTE3>(1); },
      [](Tensors) {
        CrossCoreSetFlag<0, PIPE_MTE3>(1);
        CrossCoreWaitFlag(1);
      },
      o);
}

TWIN_TEST(cross_core_deadlock) {
  LaunchOptions o;
  o.kernel_type = KernelType::kMixAic1Aiv2;
  // One of the two AIVs does not set: the AIC waits for both.
  auto kernel = [](bool both) {
    return [both](Tensors) {
      if ASCEND_IS_AIC {
        CrossCoreWaitFlag(1);
      } else if (both || GetSubBlockIdx() == 0) {
        CrossCoreSetFlag<2, PIPE_MTE3>(1);
      }
    };
  };
  ExpectRule(Rule::kDeadlock, kernel(false), kernel(true), o);
}

TWIN_TEST(cross_core_order_of_gm) {
  LaunchOptions o;
  o.kernel_type = KernelType::kMixAic1Aiv2;
  // Both AIVs write their half, the AIC reads both: only a flag from the writing pipe orders that.
  auto kernel = [](bool flag) {
    return [flag](Tensors t) {
      GlobalTensor<half> g;
      g.SetGlobalBuffer((__gm__ half*)t.workspace);
      if ASCEND_IS_AIV {
        const LocalTensor<half> x(TPosition::VECCALC, 0, 256);
        Duplicate(x, half(1), 256);
        Order<HardEvent::V_MTE3>();
        if (!flag) CrossCoreSetFlag<2, PIPE_MTE3>(1);
        DataCopy(g[static_cast<uint64_t>(GetSubBlockIdx()) * 256], x, 256);
        if (flag) CrossCoreSetFlag<2, PIPE_MTE3>(1);
      } else {
        CrossCoreWaitFlag(1);
        DataCopy(LocalTensor<half>(TPosition::A1, 0, 512), g, 512);
      }
    };
  };
  const int seeds = kSeeds;
  for (int seed = 0; seed < seeds; ++seed) {
    LaunchOptions s = o;
    s.seed = static_cast<uint64_t>(seed);
    const Report r = RunOnce(kernel(false), s);
    CHECK(!r.ok() && r.errors[0].rule == Rule::kGmRace, "seed %d: %s", seed,
          r.ok() ? "passed" : r.errors[0].ToString().c_str());
  }
  ExpectClean("set behind the copy", kernel(true), o);
}

TWIN_TEST(sync_all) {
  for (const KernelType type : {KernelType::kAivOnly, KernelType::kMixAic1Aiv2}) {
    LaunchOptions o;
    o.kernel_type = type;
    o.block_dim = 3;
    auto kernel = [type](bool sync) {
      return [sync, type](Tensors t) {
        if ASCEND_IS_AIV {
          Duplicate(Ub(0, 64), 1.f + static_cast<float>(GetBlockIdx()), 64);
          Order<HardEvent::V_MTE3>();
          DataCopy(Global(t.workspace)[static_cast<uint64_t>(GetBlockIdx()) * 64], Ub(0, 64), 64);
        }
        if (sync) {
          if (type == KernelType::kAivOnly)
            SyncAll();
          else
            SyncAll<false>();
        }
        if ASCEND_IS_AIV {
          const auto all = GetBlockNum() * GetTaskRatio();
          const auto other = static_cast<uint64_t>((GetBlockIdx() + 1) % all);
          Order<HardEvent::MTE3_MTE2>();
          DataCopy(Ub(1024, 64), Global(t.workspace)[other * 64], 64);
          Order<HardEvent::MTE2_S>();
          const float v = Ub(1024, 64).GetValue(3);
          CHECK(v == 1.f + static_cast<float>(other), "block %d sees %g", static_cast<int>(GetBlockIdx()), v);
        }
      };
    };
    ExpectClean("SyncAll", kernel(true), o);
  }
  LaunchOptions o;
  o.kernel_type = KernelType::kAivOnly;
  o.block_dim = 41;
  ExpectRule(Rule::kBlockDim, [](Tensors) { SyncAll(); }, nullptr, o);
}

TWIN_TEST(nd2nz_range) {
  LaunchOptions o;
  o.kernel_type = KernelType::kAicOnly;
  auto kernel = [](int row) {
    return [row](Tensors t) {
      GlobalTensor<half> g;
      g.SetGlobalBuffer((__gm__ half*)t.in);
      DataCopy(LocalTensor<half>(TPosition::A1, 0, 1024), g, Nd2NzParams(1, 32, 32, 0, row, 32, 1, 0));
    };
  };
  ExpectRule(Rule::kNd2NzRange, kernel(16), kernel(96), o);
  // Towards UB the headers' copies leave out what they do not heed, and have a layout of their own for float.
  auto ub = [](Nd2NzParams p) {
    return [p](Tensors t) {
      GlobalTensor<half> g;
      g.SetGlobalBuffer((__gm__ half*)t.in);
      DataCopy(LocalTensor<half>(TPosition::VECCALC, 0, 8192), g, p);
    };
  };
  const Nd2NzParams one(1, 16, 16, 0, 16, 16, 1, 0);
  for (const Nd2NzParams& p :
       {Nd2NzParams(2, 16, 16, 256, 16, 16, 1, 256), Nd2NzParams(1, 16, 16, 0, 16, 32, 2, 0),
        Nd2NzParams(1, 256, 16, 0, 17, 256, 1, 0)})
    ExpectRule(Rule::kNd2NzRange, ub(p), ub(one));
  ExpectClean("rows that follow each other", ub({1, 300, 16, 0, 16, 300, 1, 0}));
  ExpectRule(Rule::kNotOnChip, [one](Tensors t) { DataCopy(Ub(0, 8192), Global(t.in), one); }, nullptr);
}

TWIN_TEST(kernel_type) {
  LaunchOptions o;
  auto kernel = [](Tensors) {
    KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
    if ASCEND_IS_AIV
      Duplicate(Ub(0, 64), 1.f, 64);
  };
  o.kernel_type = KernelType::kAivOnly;
  ExpectRule(Rule::kKernelType, kernel, nullptr, o);
  o.kernel_type = KernelType::kAuto;  // found from the declaration
  ExpectClean("declared", kernel, o);
  o.kernel_type = KernelType::kFused;
  ExpectRule(Rule::kKernelType, [](Tensors) {}, nullptr, o);
}

TWIN_TEST(round_mode) {
  auto kernel = [](auto to, RoundMode mode) {
    return [to, mode](Tensors t) {
      DataCopy(Ub(0, 64), Global(t.in), 64);
      Order<HardEvent::MTE2_V>();
      Cast(to, Ub(0, 64), mode, 64);
    };
  };
  const LocalTensor<int32_t> integers(TPosition::VECCALC, 1024, 64);
  const LocalTensor<bfloat16_t> bf16(TPosition::VECCALC, 1024, 64);
  ExpectRule(Rule::kRoundMode, kernel(integers, RoundMode::CAST_NONE),
             kernel(integers, RoundMode::CAST_RINT));
  ExpectRule(Rule::kRoundMode, kernel(bf16, RoundMode::CAST_NONE), kernel(bf16, RoundMode::CAST_RINT));
}

TWIN_TEST(modes_of_select) {
  auto kernel = [](SELMODE mode, bool scalar) {
    return [mode, scalar](Tensors t) {
      DataCopy(Ub(0, 64), Global(t.in), 64);
      const LocalTensor<int16_t> bits(TPosition::VECCALC, 1024, 16);
      Duplicate(bits, int16_t{0x0f}, 16);
      PipeBarrier<PIPE_V>();
      Order<HardEvent::MTE2_V>();
      if (scalar)
        Select(Ub(512, 64), bits.ReinterpretCast<uint8_t>(), Ub(0, 64), 0.f, mode, 64);
      else
        Select(Ub(512, 64), bits.ReinterpretCast<uint8_t>(), Ub(0, 64), Ub(0, 64), mode, 64);
    };
  };
  const Kernel right = kernel(SELMODE::VSEL_TENSOR_SCALAR_MODE, true);
  ExpectRule(Rule::kNotOnChip, kernel(SELMODE::VSEL_TENSOR_TENSOR_MODE, true), right);
  ExpectRule(Rule::kNotOnChip, kernel(SELMODE::VSEL_TENSOR_SCALAR_MODE, false),
             kernel(SELMODE::VSEL_TENSOR_TENSOR_MODE, false));
}

TWIN_TEST(elements_of_data_copy_pad) {
  auto length = [](uint32_t bytes) {
    return [bytes](Tensors t) {
      DataCopyPad(Ub(0, 8), Global(t.in), DataCopyExtParams(1, bytes, 0, 0, 0),
                  DataCopyPadExtParams<float>());
    };
  };
  ExpectRule(Rule::kDmaLimit, length(6), length(8));
  auto padding = [](int64_t value) {
    return [value](Tensors t) {
      GlobalTensor<int64_t> in;
      in.SetGlobalBuffer((__gm__ int64_t*)t.in);
      DataCopyPad(LocalTensor<int64_t>(TPosition::VECCALC, 0, 8), in, DataCopyExtParams(1, 8, 0, 0, 0),
                  DataCopyPadExtParams<int64_t>(true, 0, 1, value));
    };
  };
  ExpectRule(Rule::kDmaLimit, padding(1), padding(0));
}

TWIN_TEST(the_end_of_l1) {
  LaunchOptions o;
  o.kernel_type = KernelType::kAicOnly;
  ExpectClean(
      "explicit",
      [](Tensors t) { DataCopy(LocalTensor<float>(TPosition::A1, 512 * 1024 - 32, 8), Global(t.in), 8); }, o);
  auto pipe = [](uint32_t bytes) {
    return [bytes](Tensors) {
      TPipe p;
      TBuf<TPosition::A1> b;
      p.InitBuffer(b, bytes);
    };
  };
  ExpectRule(Rule::kCapacity, pipe(512 * 1024), pipe(512 * 1024 - 128), o);
}

TWIN_TEST(reserved_ubuf_option) {
  LaunchOptions o;
  o.reserved_ubuf = false;
  auto kernel = [](uint32_t addr) { return [addr](Tensors) { Duplicate(Ub(addr, 8), 1.f, 8); }; };
  ExpectRule(Rule::kReservedMemory, kernel(192 * 1024 - 256), kernel(192 * 1024 - 256 - 32), o);
}

#endif
