// SPDX-License-Identifier: Apache-2.0
// For each rule the smallest kernel that breaks it, and its repaired sibling. Rules of both chips.
#include "kernels.h"

namespace {

constexpr uint32_t kUsable = k910B ? 184 * 1024 : 248 * 1024;
constexpr int kIds = k910B ? 8 : 4;

}  // namespace

TWIN_TEST(capacity) {
  auto kernel = [](uint32_t bytes) {
    return [bytes](Tensors) {
      TPipe pipe;
      TBuf<> a, b;
      pipe.InitBuffer(a, 64 * 1024);
      pipe.InitBuffer(b, bytes);
    };
  };
  ExpectRule(Rule::kCapacity, kernel(kUsable - 64 * 1024 + 32), kernel(kUsable - 64 * 1024));
}

TWIN_TEST(memory_range) {
  auto kernel = [](uint32_t addr) {
    return [addr](Tensors t) { DataCopy(Ub(addr, 4096), Global(t.in), 4096); };
  };
  ExpectRule(Rule::kMemoryRange, kernel((k910B ? 192 : 256) * 1024 - 8192), kernel(kUsable - 16384));
}

TWIN_TEST(reserved_memory) {
  auto kernel = [](uint32_t addr) { return [addr](Tensors t) { DataCopy(Ub(addr, 8), Global(t.in), 8); }; };
  ExpectRule(Rule::kReservedMemory, kernel(kUsable), kernel(kUsable - 32));
}

TWIN_TEST(tensor_range) {
  auto kernel = [](uint32_t bytes) {
    return [bytes](Tensors t) {
      TPipe pipe;
      TBuf<> a, b;
      pipe.InitBuffer(a, bytes);
      pipe.InitBuffer(b, 1024);
      DataCopy(a.Get<float>(), Global(t.in), 256);
    };
  };
  ExpectRule(Rule::kTensorRange, kernel(992), kernel(1024));
  // A level-0 instruction whose last, partial repeat reaches out.
  auto strided = [](uint8_t repeats) {
    return [repeats](Tensors) { Duplicate(Ub(0, 64 * 5), 1.f, 64, repeats, 1, 8); };
  };
  ExpectRule(Rule::kTensorRange, strided(6), strided(5));
  ExpectRule(
      Rule::kTensorRange, [](Tensors) { Ub(0, 8).SetValue(8, 1.f); },
      [](Tensors) { Ub(0, 8).SetValue(7, 1.f); });
}

TWIN_TEST(alignment) {
  auto kernel = [](uint32_t addr) { return [addr](Tensors t) { DataCopy(Ub(addr, 64), Global(t.in), 64); }; };
  ExpectRule(Rule::kAlignment, kernel(16), kernel(32));
  ExpectRule(
      Rule::kAlignment, [](Tensors) { Duplicate(Ub(4, 64), 1.f, 64); },
      [](Tensors) { Duplicate(Ub(64, 64), 1.f, 64); });
  if constexpr (!k910B) {
    auto cube = [](uint32_t addr) {
      return [addr](Tensors t) {
        GlobalTensor<half> g;
        g.SetGlobalBuffer((__gm__ half*)t.in);
        LoadData(LocalTensor<half>(TPosition::A2, addr, 256), g, LoadData2DParams(0, 1, 1, 0, 0, false, 0));
      };
    };
    ExpectRule(Rule::kAlignment, cube(256), cube(512));
  }
}

TWIN_TEST(repeat_range) {
  auto kernel = [](int repeats) {
    return [repeats](Tensors) { Duplicate(Ub(0, 64), 1.f, 64, repeats, 1, 0); };
  };
  ExpectRule(Rule::kRepeatRange, kernel(256), kernel(1));
  auto lists = [](uint8_t repeats) {
    return [repeats](Tensors) {
      LocalTensor<half> x(TPosition::VECCALC, 0, 256), list[16];
      Duplicate(x, half(1.f), 256);
      PipeBarrier<PIPE_V>();
      for (uint32_t i = 0; i < 16; ++i) list[i] = x[i * 16];
      TransDataTo5HD(list, list, TransDataTo5HDParams(false, false, repeats, 0, 0));
    };
  };
  if (!k910B) ExpectRule(Rule::kRepeatRange, kernel(0), kernel(1));
  if (!k910B) ExpectRule(Rule::kRepeatRange, lists(0), lists(1));
}

TWIN_TEST(stride_range) {
  auto kernel = [](int stride) {
    return [stride](Tensors t) {
      Double(t, [stride](LocalTensor<float> x, LocalTensor<float> y) {
        Adds(y, x, 0.f, 64, 4, UnaryRepeatParams(1, 1, 8, stride));
      });
    };
  };
  ExpectRule(Rule::kStrideRange, kernel(256), kernel(8));
  // Blocks of a destination do not lie on each other, unless there is one.
  auto block = [](int stride, uint64_t mask, bool source) {
    return [=](Tensors t) {
      Double(t, [=](LocalTensor<float> x, LocalTensor<float> y) {
        Duplicate(y, 0.f, 256);
        PipeBarrier<PIPE_V>();
        if (source)
          Adds(y, x, 0.f, mask, 2, UnaryRepeatParams(stride, 1, 8, 8));
        else
          Duplicate(y, 1.f, mask, 2, stride, 8);
      });
    };
  };
  for (const bool source : {false, true}) {
    ExpectRule(Rule::kStrideRange, block(0, 9, source), block(0, 8, source));
    ExpectRule(Rule::kStrideRange, block(0, 64, source), block(1, 64, source));
  }
  // An image row of 3 C channels that no u16 holds.
  auto field = [](int row) {
    return [row](Tensors) {
      Nd2NzParams p;
      p.srcDValue = row;
      CHECK(p.srcDValue <= 65535, "fields keep their width");
    };
  };
  ExpectRule(Rule::kStrideRange, field(65536), field(65535));
}

TWIN_TEST(mask_range) {
  auto kernel = [](uint64_t mask) { return [mask](Tensors) { Duplicate(Ub(0, 64), 1.f, mask, 1, 1, 8); }; };
  ExpectRule(Rule::kMaskRange, kernel(65), kernel(64));
  if (!k910B) ExpectRule(Rule::kMaskRange, kernel(0), kernel(1));
  auto bits = [](uint64_t low) {
    return [low](Tensors) {
      uint64_t mask[2] = {low, 0};
      Duplicate(Ub(0, 64), 1.f, mask, 1, 1, 8);
    };
  };
  if (!k910B) ExpectRule(Rule::kMaskRange, bits(0), bits(5));
}

TWIN_TEST(count_range) {
  auto kernel = [](int count) { return [count](Tensors) { Duplicate(Ub(0, 64), 1.f, count); }; };
  ExpectRule(Rule::kCountRange, kernel(-1), kernel(3));
  if (!k910B) ExpectRule(Rule::kCountRange, kernel(0), kernel(3));
}

TWIN_TEST(buffer_count) {
  auto kernel = [](int buffers) {
    return [buffers](Tensors) {
      TPipe pipe;
      std::vector<TBuf<>> b(static_cast<size_t>(buffers));
      for (auto& x : b) pipe.InitBuffer(x, 32);
    };
  };
  ExpectRule(Rule::kBufferCount, kernel(65), kernel(64));
}

TWIN_TEST(event_ids_exhausted) {
  auto kernel = [](int tensors) {
    return [tensors](Tensors t) {
      TPipe pipe;
      TQue<TPosition::VECIN, 16> q;
      pipe.InitBuffer(q, 16, 32);
      for (int i = 0; i < tensors; ++i) {
        auto x = q.AllocTensor<float>();
        DataCopy(x, Global(t.in), 8);
        q.EnQue(x);
      }
      for (int i = 0; i < tensors; ++i) q.FreeTensor(q.DeQue<float>());
    };
  };
  ExpectRule(Rule::kEventIdsExhausted, kernel(kIds + 1), kernel(kIds));
}

TWIN_TEST(queue_order) {
  auto start = [](TPipe& pipe, TQue<TPosition::VECIN, 2>& q) { pipe.InitBuffer(q, 2, 32); };
  auto good = [start](Tensors t) {
    TPipe pipe;
    TQue<TPosition::VECIN, 2> q;
    start(pipe, q);
    auto x = q.AllocTensor<float>();
    DataCopy(x, Global(t.in), 8);
    q.EnQue(x);
    auto y = q.DeQue<float>();
    q.FreeTensor(y);
  };
  ExpectRule(
      Rule::kQueueOrder,
      [start](Tensors) {
        TPipe pipe;
        TQue<TPosition::VECIN, 2> q;
        start(pipe, q);
        q.DeQue<float>();
      },
      good);
  ExpectRule(
      Rule::kQueueOrder,
      [start](Tensors t) {
        TPipe pipe;
        TQue<TPosition::VECIN, 2> q;
        start(pipe, q);
        auto x = q.AllocTensor<float>();
        DataCopy(x, Global(t.in), 8);
        q.EnQue(x);
        q.EnQue(x);
      },
      nullptr);
  ExpectRule(
      Rule::kQueueOrder,
      [start](Tensors t) {
        TPipe pipe;
        TQue<TPosition::VECIN, 2> q;
        start(pipe, q);
        auto x = q.AllocTensor<float>();
        DataCopy(x, Global(t.in), 8);
        q.EnQue(x);
        auto y = q.DeQue<float>();
        q.FreeTensor(y);
        q.FreeTensor(y);
      },
      nullptr);
}

TWIN_TEST(queue_depth) {
  auto kernel = [](int in_a_row) {
    return [in_a_row](Tensors) {
      TPipe pipe;
      TQue<TPosition::VECIN, 2> q;
      pipe.InitBuffer(q, 3, 32);
      for (int i = 0; i < in_a_row; ++i) q.EnQue(q.AllocTensor<float>());
      for (int i = 0; i < in_a_row; ++i) q.FreeTensor(q.DeQue<float>());
    };
  };
  ExpectRule(Rule::kQueueDepth, kernel(3), kernel(2));
}

TWIN_TEST(queue_no_buffer) {
  auto kernel = [](bool free) {
    return [free](Tensors) {
      TPipe pipe;
      TQue<TPosition::VECIN, 1> q;
      pipe.InitBuffer(q, 1, 32);
      auto x = q.AllocTensor<float>();
      if (free) q.FreeTensor(x);
      auto y = q.AllocTensor<float>();
      q.FreeTensor(y);
    };
  };
  ExpectRule(Rule::kQueueNoBuffer, kernel(false), kernel(true));
}

TWIN_TEST(queue_not_freed) {
  auto kernel = [](bool free) {
    return [free](Tensors) {
      TPipe pipe;
      TQue<TPosition::VECIN, 1> q;
      pipe.InitBuffer(q, 1, 32);
      auto x = q.AllocTensor<float>();
      if (free) q.FreeTensor(x);
    };
  };
  ExpectRule(Rule::kQueueNotFreed, kernel(false), kernel(true));
}

TWIN_TEST(overlap_in_repeat) {
  auto kernel = [](uint32_t shift) {
    return [shift](Tensors t) {
      Double(t, [shift](LocalTensor<float> x, LocalTensor<float> y) {
        Duplicate(y, 0.f, 256);
        PipeBarrier<PIPE_V>();
        Adds(x[shift], x, 1.f, 64, 1, UnaryRepeatParams());
      });
    };
  };
  ExpectRule(Rule::kOverlapInRepeat, kernel(8), kernel(0));
  auto transpose = [](uint32_t shift) {
    return [shift](Tensors) {
      const LocalTensor<half> x(TPosition::VECCALC, 0, 512);
      Duplicate(x, half(1.f), 512);
      PipeBarrier<PIPE_V>();
      Transpose(x[shift], x);
    };
  };
  ExpectRule(Rule::kOverlapInRepeat, transpose(16), transpose(0));
}

TWIN_TEST(overlap_across_repeats) {
  auto kernel = [](uint32_t shift) {
    return [shift](Tensors t) {
      Double(t, [shift](LocalTensor<float> x, LocalTensor<float> y) {
        Duplicate(y, 0.f, 256);
        PipeBarrier<PIPE_V>();
        Adds(x[shift], x, 1.f, 64, 2, UnaryRepeatParams());
      });
    };
  };
  ExpectRule(Rule::kOverlapAcrossRepeats, kernel(64), kernel(128));
}

// The one exception: an accumulating destination on the second source, repeat stride 0.
TWIN_TEST(accumulation_in_place_is_allowed) {
  std::vector<float> out;
  for (int seed = 0; seed < kSeeds; ++seed) {
    LaunchOptions o;
    o.seed = static_cast<uint64_t>(seed);
    const Report r = RunOnce(
        [](Tensors t) {
          Double(t, [](LocalTensor<float> x, LocalTensor<float> y) {
            Duplicate(y, 0.f, 256);
            PipeBarrier<PIPE_V>();
            Add(y, x, y, 64, 4, BinaryRepeatParams(1, 1, 1, 0, 8, 0));
          });
        },
        o, &out);
    CHECK(r.ok(), "%s", r.errors[0].ToString().c_str());
    for (int i = 0; i < 64; ++i) CHECK(out[i] == 4 * i + 64 + 128 + 192, "lane %d is %g", i, out[i]);
  }
  ExpectRule(
      Rule::kOverlapAcrossRepeats,
      [](Tensors t) {
        Double(t, [](LocalTensor<float> x, LocalTensor<float> y) {
          Duplicate(y, 0.f, 256);
          PipeBarrier<PIPE_V>();
          Add(y, y, x, 64, 4, BinaryRepeatParams(1, 1, 1, 0, 0, 8));
        });
      },
      nullptr);
}

TWIN_TEST(flag_set_twice) {
  auto kernel = [](bool twice) {
    return [twice](Tensors) {
      SetFlag<HardEvent::MTE2_V>(0);
      if (twice) SetFlag<HardEvent::MTE2_V>(0);
      WaitFlag<HardEvent::MTE2_V>(0);
    };
  };
  ExpectRule(Rule::kFlagSetTwice, kernel(true), kernel(false));
}

TWIN_TEST(flag_left_set) {
  auto kernel = [](bool wait) {
    return [wait](Tensors) {
      SetFlag<HardEvent::V_MTE3>(1);
      if (wait) WaitFlag<HardEvent::V_MTE3>(1);
    };
  };
  ExpectRule(Rule::kFlagLeftSet, kernel(false), kernel(true));
}

TWIN_TEST(flag_id) {
  auto kernel = [](int id) { return [id](Tensors) { Order<HardEvent::MTE2_V>(id); }; };
  ExpectRule(Rule::kFlagId, kernel(kIds), kernel(kIds - 1));
}

TWIN_TEST(deadlock) {
  // Two pipes that wait for each other before setting.
  ExpectRule(
      Rule::kDeadlock,
      [](Tensors) {
        WaitFlag<HardEvent::V_MTE2>(0);
        SetFlag<HardEvent::MTE2_V>(0);
        WaitFlag<HardEvent::MTE2_V>(0);
        SetFlag<HardEvent::V_MTE2>(0);
      },
      [](Tensors) {
        SetFlag<HardEvent::V_MTE2>(0);
        WaitFlag<HardEvent::V_MTE2>(0);
        SetFlag<HardEvent::MTE2_V>(0);
        WaitFlag<HardEvent::MTE2_V>(0);
      });
  // A wait without a set, by a pipe and by the scalar unit.
  ExpectRule(Rule::kDeadlock, [](Tensors) { WaitFlag<HardEvent::MTE2_V>(0); }, nullptr);
  ExpectRule(Rule::kDeadlock, [](Tensors) { WaitFlag<HardEvent::V_S>(0); }, nullptr);
  LaunchOptions o;
  const Report r = RunOnce([](Tensors) { WaitFlag<HardEvent::MTE2_V>(0); }, o);
  CHECK(r.errors[0].detail.find("MTE2_V 0") != std::string::npos, "says who waits for what: %s",
        r.errors[0].ToString().c_str());
}

TWIN_TEST(mask_not_restored) {
  auto kernel = [](bool restore) {
    return [restore](Tensors) {
      SetVectorMask<float>(0, 0xff);
      Duplicate<float, false>(Ub(0, 64), 1.f, MASK_PLACEHOLDER, 1, 1, 8);
      if (restore) ResetMask();
    };
  };
  ExpectRule(Rule::kMaskNotRestored, kernel(false), kernel(true));
  auto counter = [](bool restore) {
    return [restore](Tensors) {
      SetMaskCount();
      SetVectorMask<float, MaskMode::COUNTER>(100);
      Duplicate<float, false>(Ub(0, 128), 1.f, MASK_PLACEHOLDER, 1, 1, 8);
      if (restore) {
        SetMaskNorm();
        ResetMask();
      }
      Duplicate(Ub(512, 64), 1.f, 64);
      SetMaskNorm();
      ResetMask();
    };
  };
  ExpectRule(Rule::kMaskNotRestored, counter(false), counter(true));
  // A mask of consecutive elements would become a count of bits; one that is still full counts beyond UB.
  ExpectRule(
      Rule::kMaskNotRestored,
      [](Tensors) {
        SetMaskCount();
        Duplicate(Ub(0, 64), 1.f, 64, 1, 1, 8);
      },
      nullptr);
  ExpectRule(
      Rule::kMaskRange,
      [](Tensors) {
        SetMaskCount();
        Duplicate<float, false>(Ub(0, 64), 1.f, MASK_PLACEHOLDER, 1, 1, 8);
      },
      nullptr);
}

TWIN_TEST(atomic_not_restored) {
  auto kernel = [](bool restore) {
    return [restore](Tensors) {
      SetAtomicAdd<float>();
      if (restore) SetAtomicNone();
    };
  };
  ExpectRule(Rule::kAtomicNotRestored, kernel(false), kernel(true));
}

TWIN_TEST(dma_limit) {
  auto kernel = [](int blocks) {
    return
        [blocks](Tensors t) { DataCopy(Ub(0, 32768), Global(t.in), DataCopyParams(blocks, 1, -1 + 1, 0)); };
  };
  auto length = [](int blocks) {
    return [blocks](Tensors t) { DataCopy(Ub(0, 64), Global(t.in), DataCopyParams(1, blocks, 0, 0)); };
  };
  if (!k910B) ExpectRule(Rule::kDmaLimit, length(0), length(1));
  if (!k910B) ExpectRule(Rule::kDmaLimit, kernel(0), kernel(1));
  auto count = [](uint32_t n) { return [n](Tensors t) { DataCopy(Ub(0, 64), Global(t.in), n); }; };
  ExpectRule(Rule::kDmaLimit, count(9), count(8));
  ExpectRule(
      Rule::kDmaLimit,
      [](Tensors t) {
        LocalTensor<float> x = Ub(0, 4096 * 8);
        DataCopy(x, Global(t.in), DataCopyParams(4096, 1, 0, 0));
      },
      nullptr);
}

TWIN_TEST(not_on_chip_path) {
  auto to_l1 = [](Tensors t) {
    DataCopy(LocalTensor<float>(TPosition::A1, 0, 64), Global(t.in), 64);
    Order<HardEvent::MTE2_MTE1>();
    if constexpr (k910B) {
      DataCopy(Ub(0, 64), LocalTensor<float>(TPosition::A1, 0, 64), 64);  // no L1 -> UB
    } else {
      DataCopy(Global(t.out), LocalTensor<float>(TPosition::A1, 0, 64), 64);  // no L1 -> GM
    }
  };
  LaunchOptions o;
  if constexpr (k910B) o.kernel_type = KernelType::kAicOnly;
  ExpectRule(Rule::kNotOnChip, to_l1, nullptr, o);
}

TWIN_TEST(wrong_position) {
  LaunchOptions o;
  if constexpr (k910B) o.kernel_type = KernelType::kAicOnly;
  auto kernel = [](bool swap) {
    return [swap](Tensors t) {
      GlobalTensor<half> g;
      g.SetGlobalBuffer((__gm__ half*)t.in);
      const LocalTensor<half> a(TPosition::A2, 0, 256), b(TPosition::B2, 0, 256);
      LoadData(a, g, LoadData2DParams(0, 1, 1, 0, 0, false, 0));
      LoadData(b, g, LoadData2DParams(0, 1, 1, 0, 0, false, 0));
      Order<HardEvent::MTE2_M>();
      MmadParams p;
      p.m = p.n = p.k = 16;
      Mmad(LocalTensor<float>(TPosition::CO1, 0, 256), swap ? b : a, swap ? a : b, p);
    };
  };
  ExpectRule(Rule::kWrongPosition, kernel(true), kernel(false), o);
}

TWIN_TEST(mmad_range_and_gemv) {
  LaunchOptions o;
  if constexpr (k910B) o.kernel_type = KernelType::kAicOnly;
  auto kernel = [](int m, int k) {
    return [m, k](Tensors t) {
      GlobalTensor<half> g;
      g.SetGlobalBuffer((__gm__ half*)t.in);
      const LocalTensor<half> a(TPosition::A2, 0, 16384), b(TPosition::B2, 0, 16384);
      LoadData(a, g, LoadData2DParams(0, 8, 1, 0, 0, false, 0));
      LoadData(b, g, LoadData2DParams(0, 8, 1, 0, 0, false, 0));
      Order<HardEvent::MTE2_M>();
      MmadParams p;
      p.m = m, p.n = 16, p.k = k;
      Mmad(LocalTensor<float>(TPosition::CO1, 0, 16384), a, b, p);
    };
  };
  ExpectRule(Rule::kMmadRange, kernel(16, 4096), kernel(16, 128), o);
  ExpectRule(Rule::kMmadGemv, kernel(1, 32), kernel(2, 32), o);
}

TWIN_TEST(runaway_and_exceptions) {
  LaunchOptions o;
  o.instruction_limit = 1000;
  auto kernel = [](int n) {
    return [n](Tensors) {
      for (int i = 0; i < n; ++i) PipeBarrier<PIPE_V>();
    };
  };
  ExpectRule(Rule::kRunaway, kernel(2000), kernel(900), o);
  ExpectRule(Rule::kKernelException, [](Tensors) { throw std::runtime_error("no"); }, nullptr);
  auto assertion = [](bool holds) {
    return [holds](Tensors) {
      ASSERT(holds && "what it says");
      if (unlikely(!holds) && likely(holds)) PipeBarrier<PIPE_V>();
    };
  };
  ExpectRule(Rule::kKernelException, assertion(false), assertion(true));
  // The process and the next launch are none the worse.
  ExpectClean("after an exception", kernel(10));
}

TWIN_TEST(errors_say_where) {
  const Report r = RunOnce([](Tensors t) { DataCopy(Ub(0, 64), Global(t.in), 9); }, LaunchOptions());
  CHECK(r.errors.size() == 1, "one error");
  const ascend_twin::Error& e = r.errors[0];
  CHECK(e.file.find("rules.cc") != std::string::npos && e.line == __LINE__ - 3, "%s:%d", e.file.c_str(),
        e.line);
  CHECK(e.call == "DataCopy" && e.block == 0, "%s", e.ToString().c_str());
  const Report h = RunOnce(
      [](Tensors t) {
        DataCopy(Ub(0, 64), Global(t.in), 64);
        Adds(Ub(512, 64), Ub(0, 64), 1.f, 64);
      },
      LaunchOptions());
  CHECK(h.errors[0].pipe == "V" && h.errors[0].memory == "UB" && h.errors[0].address == 0, "%s",
        h.errors[0].ToString().c_str());
}

TWIN_TEST(every_rule_has_a_name) {
  for (int i = 0; i < static_cast<int>(Rule::kCount); ++i) {
    CHECK(std::strlen(RuleName(static_cast<Rule>(i))) > 3, "rule %d", i);
    CHECK(std::strlen(RuleText(static_cast<Rule>(i))) > 10, "rule %d", i);
  }
}
