// SPDX-License-Identifier: Apache-2.0
// What the instructions compute: strides, masks, rounding, reductions, selection, layouts.
#include "kernel_operator_intf.h"
#include "kernels.h"

namespace {

// Loads n floats of `values` into UB at 0, runs the body, returns `m` floats from UB at 32768.
std::vector<float> OnVector(const std::vector<float>& values, size_t m, const std::function<void()>& body,
                            LaunchOptions options = {}) {
  std::vector<float> out(m);
  Gm gm;
  GM_ADDR in = gm.Input("in", values.data(), values.size() * 4);
  GM_ADDR to = gm.Output("out", out.data(), m * 4);
  options.auto_pipe_v = true;
  const auto n = static_cast<uint32_t>(values.size());
  const Report r = RunKernel(options, gm, [&] {
    DataCopy(Ub(0, n), Global(in), n);
    SetFlag<HardEvent::MTE2_V>(0);
    WaitFlag<HardEvent::MTE2_V>(0);
    Duplicate(Ub(32768, static_cast<uint32_t>(m)), -7.f, static_cast<int32_t>(m));
    body();
    SetFlag<HardEvent::V_MTE3>(0);
    WaitFlag<HardEvent::V_MTE3>(0);
    DataCopy(Global(to), Ub(32768, static_cast<uint32_t>(m)), static_cast<uint32_t>(m));
  });
  CHECK(r.ok(), "%s", r.errors[0].ToString().c_str());
  return out;
}

std::vector<float> Ramp(size_t n, float start = 0, float step = 1) {
  std::vector<float> v(n);
  for (size_t i = 0; i < n; ++i) v[i] = start + step * static_cast<float>(i);
  return v;
}

}  // namespace

TWIN_TEST(strides_and_masks) {
  // dst: every second block of a repeat of 16; src: blocks backwards is not possible, every third instead.
  auto out = OnVector(Ramp(512), 512, [] {
    uint64_t mask[2] = {0xf0f0f0f0f0f0f0f0ull, 0};
    Adds(Ub(32768, 512), Ub(0, 512), 1000.f, mask, 2, UnaryRepeatParams(2, 3, 16, 24));
  });
  for (int i = 0; i < 512; ++i) {
    const int repeat = i / 128, block = i % 128 / 16, lane = i % 16;
    const bool touched = repeat < 2 && lane >= 4 && lane < 8;
    const float want = touched ? 1000.f + repeat * 192 + block * 24 + lane : -7.f;
    CHECK(out[i] == want, "element %d is %g, not %g", i, out[i], want);
  }
  // A count that ends in the middle of a block leaves the rest alone.
  out = OnVector(Ramp(512), 512, [] { Muls(Ub(32768, 512), Ub(0, 512), 2.f, 301); });
  for (int i = 0; i < 512; ++i) CHECK(out[i] == (i < 301 ? 2.f * i : -7.f), "element %d is %g", i, out[i]);
}

// In counter mode the low word of the mask is the count of the whole call, whoever sets it.
TWIN_TEST(counter_mode) {
  for (const bool set : {true, false}) {
    const auto out = OnVector(Ramp(256), 256, [set] {
      uint64_t mask[2] = {130, 0};
      SetMaskCount();
      if (set) {
        Adds(Ub(32768, 256), Ub(0, 256), 1.f, mask, 1, UnaryRepeatParams());
      } else {
        SetVectorMask<float, MaskMode::COUNTER>(130);
        Adds<float, false>(Ub(32768, 256), Ub(0, 256), 1.f, MASK_PLACEHOLDER, 1, UnaryRepeatParams());
      }
      SetMaskNorm();
      ResetMask();
    });
    for (int i = 0; i < 256; ++i) CHECK(out[i] == (i < 130 ? i + 1 : -7), "element %d is %g", i, out[i]);
  }
}

TWIN_TEST(half_arithmetic_rounds_to_nearest_even) {
  std::mt19937 rng(4);
  for (int i = 0; i < 200000; ++i) {
    const float f = ascend_twin::BitsFloat(static_cast<uint32_t>(rng()));
    const uint16_t h = ascend_twin::FloatToHalfBits(f);
    const float back = ascend_twin::HalfBitsToFloat(h);
    if (f != f) {
      CHECK(back != back, "NaN stays NaN");
      continue;
    }
    // No neighbour is nearer; ties are even.
    for (const int step : {-1, 1}) {
      const uint16_t other = static_cast<uint16_t>(h + step);
      if ((other & 0x7fff) >= 0x7c00 || ((other ^ h) & 0x8000) || std::isinf(back)) continue;
      const double d = std::fabs(double(back) - f),
                   e = std::fabs(double(ascend_twin::HalfBitsToFloat(other)) - f);
      CHECK(d < e || (d == e && h % 2 == 0), "%a to %a", f, back);
    }
  }
  for (uint32_t h = 0; h < 0x7c00; ++h)
    CHECK(ascend_twin::FloatToHalfBits(ascend_twin::HalfBitsToFloat(static_cast<uint16_t>(h))) == h,
          "half %x", h);
  CHECK(ascend_twin::FloatToHalfBits(65519.9f) == 0x7bff && ascend_twin::FloatToHalfBits(65520.f) == 0x7c00,
        "overflow");
  CHECK(float(bfloat16_t(1.00390625f)) == 1.f && float(bfloat16_t(1.01171875f)) == 1.015625f,
        "bfloat16 ties to even");
}

TWIN_TEST(cast_rounding_modes) {
  const std::vector<float> v = {2.5f, -2.5f, 3.5f, -3.5f, 2.3f, -2.3f, 2.7f, -2.7f};
  struct Case {
    RoundMode mode;
    std::vector<float> want;
  };
  const Case cases[] = {{RoundMode::CAST_RINT, {2, -2, 4, -4, 2, -2, 3, -3}},
                        {RoundMode::CAST_FLOOR, {2, -3, 3, -4, 2, -3, 2, -3}},
                        {RoundMode::CAST_CEIL, {3, -2, 4, -3, 3, -2, 3, -2}},
                        {RoundMode::CAST_ROUND, {3, -3, 4, -4, 2, -2, 3, -3}},
                        {RoundMode::CAST_TRUNC, {2, -2, 3, -3, 2, -2, 2, -2}}};
  for (const Case& c : cases) {
    const RoundMode mode = c.mode;
    const auto out = OnVector(v, 8, [mode] {
      const LocalTensor<int32_t> i(TPosition::VECCALC, 16384, 8);
      Cast(i, Ub(0, 8), mode, 8);
      Cast(Ub(32768, 8), i, RoundMode::CAST_NONE, 8);
    });
    for (int i = 0; i < 8; ++i)
      CHECK(out[i] == c.want[i], "mode %d: %g to %g", static_cast<int>(mode), v[i], out[i]);
  }
  // Float to half and back: nearest even, and to odd, which both chips have.
  const std::vector<float> fine = {
      1.f + 1.f / 2048, 1.f + 3.f / 2048, 1.f + 1.f / 4096, 2049, 2051, -2049, 0.1f, 65504};
  for (const RoundMode mode : {RoundMode::CAST_NONE, RoundMode::CAST_ODD}) {
    const auto out = OnVector(fine, 8, [mode] {
      const LocalTensor<half> h(TPosition::VECCALC, 16384, 16);
      Cast(h, Ub(0, 8), mode, 8);
      Cast(Ub(32768, 8), h, RoundMode::CAST_NONE, 8);
    });
    const float nearest[] = {1, 1 + 4.f / 2048, 1, 2048, 2052, -2048, 0.0999755859375f, 65504};
    const float odd[] = {1 + 2.f / 2048, 1 + 2.f / 2048, 1 + 2.f / 2048,    2050,
                         2050,           -2050,          0.10003662109375f, 65504};
    for (int i = 0; i < 8; ++i)
      CHECK(out[i] == (mode == RoundMode::CAST_NONE ? nearest : odd)[i], "mode %d: %g to %.9g",
            static_cast<int>(mode), fine[i], out[i]);
  }
}

TWIN_TEST(reductions) {
  // A sum a repeat of 40 lanes.
  auto out = OnVector(Ramp(256), 8, [] { WholeReduceSum(Ub(32768, 8), Ub(0, 256), 40, 4, 1, 1, 8); });
  for (int r = 0; r < 4; ++r) CHECK(out[r] == 40 * 64 * r + 780, "repeat %d sums to %g", r, out[r]);
  // Maxima of half repeats come as pairs of value and index.
  std::vector<float> v = Ramp(256, 0, -1);
  v[77] = 5, v[128 + 3] = 9;
  out = OnVector(v, 8, [] {
    const LocalTensor<half> h(TPosition::VECCALC, 16384, 256), m(TPosition::VECCALC, 24576, 16);
    Cast(h, Ub(0, 256), RoundMode::CAST_NONE, 256);
    WholeReduceMax(m, h, 128, 2, 1, 1, 8);
    Cast(Ub(32768, 4), m, RoundMode::CAST_NONE, 4);
  });
  CHECK(out[0] == 5 && out[2] == 9, "values %g %g", out[0], out[2]);
  CHECK(out[1] == ascend_twin::HalfBitsToFloat(77) && out[3] == ascend_twin::HalfBitsToFloat(3),
        "indices as bits");
  // Blocks of half: 16 elements each.
  out = OnVector(Ramp(128), 8, [] {
    const LocalTensor<half> h(TPosition::VECCALC, 16384, 128), m(TPosition::VECCALC, 24576, 16);
    Cast(h, Ub(0, 128), RoundMode::CAST_NONE, 128);
    BlockReduceMax(m, h, 1, 128, 1, 1, 8);
    Cast(Ub(32768, 8), m, RoundMode::CAST_NONE, 8);
  });
  for (int b = 0; b < 8; ++b) CHECK(out[b] == 16 * b + 15, "block %d: %g", b, out[b]);
}

// What the headers let a kernel write down.
TWIN_TEST(numbers_and_elements) {
  constexpr half third(1.f / 3);
  static_assert(third.bits == 0x3555 && half(65504).bits == 0x7bff && half(6e-8f).bits == 1, "a constant");
  half h(1);
  h += 0.5f, h *= half(3), h -= 1, h /= 2.0;
  CHECK(float(h) == 1.75f, "%g", float(h));
  const DataCopyPadExtParams<bfloat16_t> pad{true, 0, 0, 0};
  CHECK(pad.paddingValue.bits == 0, "a bfloat16_t of 0");
  std::vector<float> out(8, 5.f);
  Gm gm;
  GM_ADDR to = gm.InOut("out", out.data(), 32);
  const Report r = RunKernel({}, gm, [&] {
    const LocalTensor<half> t(TPosition::VECCALC, 0, 16);
    const LocalTensor<uint16_t> bits(TPosition::VECCALC, 0, 16);
    t(0) = half(2);
    t(1) = t(0);
    t(0) += 0.25f;
    const float sum = static_cast<float>(t(0)) + t(1);
    CHECK(sum == 4.25f && t(1)-- == half(2) && float(t(1)) == 1, "%g", sum);
    bits(2) = 5;
    bits(2) |= 8;
    ++bits(2) <<= 1;
    CHECK(bits(2) == 28, "%d", int(bits(2)));
    auto g = Global(to);
    g(0) = 2.f;
    g(1) *= 3;
    g(2) = g(0);
    g(3)++;
    const uint32_t dims[2] = {2, 4};
    g.SetShapeInfo(ShapeInfo(2, dims));
    CHECK(g.GetShapeInfo().shape[1] == 4, "the shape");
  });
  CHECK(r.ok(), "%s", r.errors[0].ToString().c_str());
  CHECK(out[0] == 2 && out[1] == 15 && out[2] == 2 && out[3] == 6 && out[4] == 5, "%g %g %g %g", out[0],
        out[1], out[2], out[3]);
}

TWIN_TEST(reductions_of_a_tensor_under_bits) {
  OnVector(Ramp(128), 8, [] {
    const LocalTensor<half> h(TPosition::VECCALC, 16384, 128), sum(TPosition::VECCALC, 24576, 16),
        high(TPosition::VECCALC, 24608, 16), low(TPosition::VECCALC, 24640, 16),
        work(TPosition::VECCALC, 32000, 64);
    const uint64_t mask[2] = {0xf0, 2};
    Cast(h, Ub(0, 128), RoundMode::CAST_NONE, 128);
    ReduceSum(sum, h, work, mask, 1, 8);
    ReduceMax(high, h, work, mask, 1, 8);
    ReduceMin(low, h, work, mask, 1, 8);
    CHECK(float(sum(0)) == 87 && float(high(0)) == 65 && float(low(0)) == 4, "%g %g %g", float(sum(0)),
          float(high(0)), float(low(0)));
  });
}

TWIN_TEST(compare_and_select) {
  // One 64-bit mask serves every repeat in mode 0.
  std::vector<float> v = Ramp(256);
  auto out = OnVector(v, 128, [] {
    const LocalTensor<uint8_t> bits(TPosition::VECCALC, 16384, 64);
    Duplicate(Ub(20480, 128), 20.f, 128);
    Duplicate(Ub(24576, 128), -1.f, 128);
    Compare(bits, Ub(0, 64), Ub(20480, 64), CMPMODE::LT, 64);
    Select(Ub(32768, 128), bits, Ub(0, 128), Ub(24576, 128), SELMODE::VSEL_CMPMASK_SPR, 64, 2,
           BinaryRepeatParams());
  });
  for (int i = 0; i < 128; ++i) CHECK(out[i] == (i % 64 < 20 ? v[i] : -1.f), "element %d is %g", i, out[i]);
}

TWIN_TEST(transpose) {
  const auto out = OnVector(Ramp(256), 256, [] {
    const LocalTensor<half> h(TPosition::VECCALC, 16384, 256), t(TPosition::VECCALC, 24576, 256);
    Cast(h, Ub(0, 256), RoundMode::CAST_NONE, 256);
    Transpose(t, h);
    Cast(Ub(32768, 256), t, RoundMode::CAST_NONE, 256);
  });
  for (int i = 0; i < 256; ++i) CHECK(out[i] == i % 16 * 16 + i / 16, "element %d is %g", i, out[i]);
}

// A repeat takes 16 rows of a block. The strides are in blocks, and a single repeat starts one further on, as the
// document has it: kernels give it none.
TWIN_TEST(transposes_by_lists) {
  for (const auto& [repeats, dst_stride, src_stride] :
       {std::array<int, 3>{2, 32, 16}, {2, 16, 32}, {1, 0, 0}, {1, 16, 32}}) {
    const auto out =
        OnVector(Ramp(1024), 1024, [repeats = repeats, dst_stride = dst_stride, src_stride = src_stride] {
          const LocalTensor<half> h(TPosition::VECCALC, 16384, 1024), t(TPosition::VECCALC, 24576, 1024);
          Cast(h, Ub(0, 1024), RoundMode::CAST_NONE, 1024);
          Duplicate(t, half(-7.f), 1024);
          LocalTensor<half> from[16], to[16];
          for (int i = 0; i < 16; ++i) from[i] = h[i * 16], to[i] = t[i * 16];
          TransDataTo5HD(to, from, TransDataTo5HDParams(false, false, repeats, dst_stride, src_stride));
          Cast(Ub(32768, 1024), t, RoundMode::CAST_NONE, 1024);
        });
    std::vector<float> want(1024, -7.f);
    for (int r = 0; r < repeats; ++r) {
      const int step = repeats == 1 ? 1 : r;
      for (int i = 0; i < 16; ++i)
        for (int j = 0; j < 16; ++j)
          want[(step * dst_stride + j) * 16 + i] = static_cast<float>((step * src_stride + i) * 16 + j);
    }
    CHECK(out == want, "%d repeats, strides %d and %d", repeats, dst_stride, src_stride);
  }
}

// Approximate instructions are off by what the device may be off, and exact when asked to be.
TWIN_TEST(approximations) {
  const std::vector<float> v(8, 3.f), tiny(8, -87.5f);
  for (const bool approximate : {true, false}) {
    LaunchOptions o;
    o.approximate = approximate;
    const auto r = OnVector(v, 8, [] { Rsqrt(Ub(32768, 8), Ub(0, 8), 8); }, o);
    const double error = std::fabs(r[0] * std::sqrt(3.0) - 1);
    CHECK(approximate ? error > 1e-4 && error < 1e-3 : error < 1e-6, "Rsqrt is off by %g", error);
    const auto e = OnVector(tiny, 8, [] { Exp(Ub(32768, 8), Ub(0, 8), 8); }, o);
    CHECK(approximate ? e[0] == 0 : e[0] > 0, "exp(-87.5) is %g", e[0]);
  }
  // The alternatives are exact always.
  const auto s = OnVector(v, 8, [] { Sqrt(Ub(32768, 8), Ub(0, 8), 8); });
  CHECK(s[0] == std::sqrt(3.f), "Sqrt is %.9g", s[0]);
}

TWIN_TEST(atomic_add) {
  std::vector<float> out(64, 1.f);
  std::vector<float> in = Ramp(64);
  for (int seed = 0; seed < kSeeds; ++seed) {
    std::fill(out.begin(), out.end(), 1.f);
    Gm gm;
    GM_ADDR xg = gm.Input("in", in.data(), 256);
    GM_ADDR og = gm.InOut("out", out.data(), 256);
    LaunchOptions o;
    o.block_dim = 5;
    o.seed = static_cast<uint64_t>(seed);
    const Report r = RunKernel(o, gm, [&] {
      DataCopy(Ub(0, 64), Global(xg), 64);
      SetFlag<HardEvent::MTE2_MTE3>(0);
      WaitFlag<HardEvent::MTE2_MTE3>(0);
      SetAtomicAdd<float>();
      DataCopy(Global(og), Ub(0, 64), 64);
      SetAtomicNone();
    });
    CHECK(r.ok(), "%s", r.errors[0].ToString().c_str());
    for (int i = 0; i < 64; ++i) CHECK(out[i] == 1 + 5 * i, "element %d is %g", i, out[i]);
  }
}

TWIN_TEST(trace_and_report) {
  LaunchOptions o;
  o.trace = true;
  const Report r = RunOnce(
      [](Tensors t) {
        DataCopy(Ub(0, 64), Global(t.in)[124],
                 DataCopyParams(2, 4, 60, 0));  // bursts of 128 B in sectors 0, 1 and 4, 5
        SetFlag<HardEvent::MTE2_V>(1);
        WaitFlag<HardEvent::MTE2_V>(1);
        Adds(Ub(1024, 64), Ub(0, 64), 1.f, 64);
      },
      o);
  CHECK(r.ok(), "%s", r.errors[0].ToString().c_str());
  CHECK(r.trace.size() == 4, "%zu entries", r.trace.size());
  bool copy = false, wait = false;
  for (const auto& e : r.trace) {
    copy |= e.instruction == "DataCopy" && e.pipe == "MTE2" && e.bytes == 256;
    wait |= e.instruction == "WaitFlag" && e.pipe == "V" && e.waits == "MTE2_V 1";
  }
  CHECK(copy && wait, "copy and wait are in the trace");
  CHECK(r.Path("GM->UB")->bursts[7] == 2 && r.Path("GM->UB")->bytes == 256, "two bursts of 128 B");
  CHECK(r.Tensor("in")->bytes_read == 256 && r.Tensor("in")->sector_bytes_read == 4 * 512, "%llu in sectors",
        static_cast<unsigned long long>(r.Tensor("in")->sector_bytes_read));
  CHECK(r.peak_bytes[1] == 1280, "peak of UB is %llu", static_cast<unsigned long long>(r.peak_bytes[1]));
  CHECK(r.events.size() == 1 && r.events[0] == "MTE2_V 1", "events");
  CHECK(r.ToString().find("GM->UB") != std::string::npos, "a person can read it");
}

#if ASCEND_TWIN_ARCH == 2201

// Without a mask of their own, level-2 calls are one instruction under the mask that is there.
TWIN_TEST(level_2_calls_under_an_outer_mask) {
  auto out = OnVector(Ramp(256), 256, [] {
    SetVectorMask<float>(0, 0xf0);
    Adds<float, false>(Ub(32768, 256), Ub(0, 256), 1.f, 200);
    ResetMask();
  });
  for (int i = 0; i < 256; ++i)
    CHECK(out[i] == (i >= 4 && i < 8 ? i + 1 : -7), "element %d is %g", i, out[i]);
  out = OnVector(Ramp(256), 256, [] {
    SetMaskCount();
    SetVectorMask<float, MaskMode::COUNTER>(130);
    Muls<float, false>(Ub(32768, 256), Ub(0, 256), 2.f, 1);
    ReduceSum<float, false>(Ub(32768 + 800, 8), Ub(0, 256), Ub(40960, 64), 1);
    SetMaskNorm();
    ResetMask();
  });
  for (int i = 0; i < 256; ++i)
    CHECK(out[i] == (i < 130 ? 2 * i : i == 200 ? 130 * 129 / 2 : -7), "element %d is %g", i, out[i]);
}

TWIN_TEST(compare_and_select_against_a_scalar) {
  const std::vector<float> v = Ramp(256);
  const auto out = OnVector(v, 128, [] {
    const LocalTensor<uint8_t> bits(TPosition::VECCALC, 16384, 64);
    CompareScalar(bits, Ub(0, 128), 100.f, CMPMODE::GE, 128);
    Select(Ub(32768, 128), bits, Ub(0, 128), -1.f, SELMODE::VSEL_TENSOR_SCALAR_MODE, 128);
  });
  for (int i = 0; i < 128; ++i) CHECK(out[i] == (i >= 100 ? v[i] : -1.f), "element %d is %g", i, out[i]);
}

TWIN_TEST(brcb_gather_index) {
  auto out = OnVector(Ramp(16), 128, [] { Brcb(Ub(32768, 128), Ub(0, 16), 2, BrcbRepeatParams(1, 8)); });
  for (int i = 0; i < 128; ++i) CHECK(out[i] == i / 8, "element %d is %g", i, out[i]);
  out = OnVector(Ramp(64), 64, [] {
    const LocalTensor<int32_t> index(TPosition::VECCALC, 16384, 64);
    CreateVecIndex(index, 0, 64);
    Muls(index, index, -4, 64);
    Adds(index, index, 63 * 4, 64);
    Gather(Ub(32768, 64), Ub(0, 64), index.ReinterpretCast<uint32_t>(), 0, 64);
  });
  for (int i = 0; i < 64; ++i) CHECK(out[i] == 63 - i, "element %d is %g", i, out[i]);
}

TWIN_TEST(an_index_alone_takes_four_bytes) {
  std::vector<float> v = Ramp(256, 0, -1);
  v[77] = 5, v[128 + 3] = 9;
  OnVector(v, 8, [] {
    const LocalTensor<half> h(TPosition::VECCALC, 16384, 256), m(TPosition::VECCALC, 24576, 16);
    Cast(h, Ub(0, 256), RoundMode::CAST_NONE, 256);
    WholeReduceMax(m, h, 128, 2, 1, 1, 8, ReduceOrder::ORDER_ONLY_INDEX);
    SetFlag<HardEvent::V_S>(0);
    WaitFlag<HardEvent::V_S>(0);
    const auto index = m.ReinterpretCast<uint32_t>();
    CHECK(index.GetValue(0) == 77 && index.GetValue(1) == 3, "%u and %u", index.GetValue(0),
          index.GetValue(1));
  });
}

TWIN_TEST(registers_of_reductions) {
  std::vector<float> v = Ramp(256);
  v[70] = 900, v[200] = 900, v[130] = -5;
  OnVector(v, 64, [] {
    const auto to = Ub(32768, 64), work = Ub(40960, 64);
    ReduceSum(to, Ub(0, 64), work, 64);
    CHECK(GetReduceRepeatSumSpr<float>() == 2016, "the sum");
    float value, index;
    uint32_t at;
    WholeReduceMax(to, Ub(0, 256), 64, 4, 1, 1, 8);
    GetReduceRepeatMaxMinSpr(value, index);
    std::memcpy(&at, &index, 4);
    CHECK(value == 900 && at == 70, "the maximum of all repeats, %g at %u", value, at);
    ReduceMin(to, Ub(0, 256), work, 256);
    GetReduceRepeatMaxMinSpr(value, index);
    CHECK(value == -5, "the minimum, %g", value);
    BlockReduceMax(to, Ub(0, 256), 1, 64, 1, 1, 8);
    GetReduceRepeatMaxMinSpr(value);
    CHECK(value == -5, "blocks leave no maximum, %g", value);
  });
}

// Sums of repeats are added one after the other by a call with a count; else they meet in a tree.
TWIN_TEST(the_order_of_sums) {
  std::vector<float> v(256, 0.f);
  v[0] = 16777216, v[64] = v[128] = v[192] = 1;
  for (const bool count : {false, true}) {
    const auto out = OnVector(v, 8, [count] {
      if (count)
        ReduceSum(Ub(32768, 8), Ub(0, 256), Ub(16384, 64), 256);
      else
        ReduceSum(Ub(32768, 8), Ub(0, 256), Ub(16384, 64), 64, 4, 8);
    });
    CHECK(out[0] == (count ? 16777216 : 16777218), "%s: %.9g", count ? "count" : "mask", out[0]);
  }
}

TWIN_TEST(large_integers_round_once) {
  const int64_t tie = (int64_t{1} << 62) + (int64_t{1} << 38), up = int64_t{1} << 39;
  const int64_t v[] = {tie, tie + 1, -tie - 1, INT64_MAX};
  const int64_t rint[] = {tie - up / 2, tie + up / 2, -tie - up / 2, INT64_MIN},
                floor[] = {tie - up / 2, tie - up / 2, -tie - up / 2, INT64_MAX - up + 1};
  std::vector<float> bits(8);
  std::memcpy(bits.data(), v, 32);
  for (const RoundMode mode : {RoundMode::CAST_RINT, RoundMode::CAST_FLOOR}) {
    const auto out = OnVector(
        bits, 8, [mode] { Cast(Ub(32768, 4), LocalTensor<int64_t>(TPosition::VECCALC, 0, 4), mode, 4); });
    for (int i = 0; i < 4; ++i) {
      const int64_t want = (mode == RoundMode::CAST_RINT ? rint : floor)[i];
      CHECK(std::fabs(out[i]) == std::fabs(static_cast<float>(want)), "%lld to %.9g, not %.9g",
            static_cast<long long>(v[i]), out[i], static_cast<double>(want));
    }
  }
}

TWIN_TEST(numbers_of_the_scalar_unit) {
  CHECK(ScalarCountLeadingZero(0x0100000000000020ull) == 7 && CountLeadingZero(0) == 64, "leading zeros");
  CHECK(ScalarGetCountOfValue<1>(0x101) == 2 && GetBitCount<0>(0x101) == 62, "bits");
  CHECK(CountBitsCntSameAsSignBit(0x0100000000000020) == 6 && CountBitsCntSameAsSignBit(-1) == -1,
        "like the sign");
  CHECK(ScalarGetSFFValue<1>(0x1000000000000100ull) == 8 && GetSFFValue<0>(7) == 3 && GetSFFValue<1>(0) == -1,
        "first");
  const bfloat16_t b = Cast(1.01171875f);
  CHECK(ToFloat(b) == 1.015625f && Cast(b) == ToFloat(b) && GetDataBlockSizeInBytes() == 32, "casts");
}

TWIN_TEST(shifts_that_round) {
  const std::vector<float> v = {17, 15, -17, -16, -15, 48, 47, 0};
  for (const bool round : {false, true}) {
    const auto out = OnVector(v, 8, [round] {
      const LocalTensor<int32_t> x(TPosition::VECCALC, 16384, 8);
      uint64_t mask[2] = {0xf0, 0};
      Cast(x, Ub(0, 8), RoundMode::CAST_RINT, 8);
      ShiftRight(x, x, 5, uint64_t{4}, 1, UnaryRepeatParams(), round);
      ShiftRight(x, x, 5, mask, 1, UnaryRepeatParams(), round);
      Cast(Ub(32768, 8), x, RoundMode::CAST_NONE, 8);
    });
    for (int i = 0; i < 8; ++i) {
      const float want = std::floor(v[i] / 32 + (round ? 0.5f : 0.f));
      CHECK(out[i] == want, "%g to %g, not %g", v[i], out[i], want);
    }
  }
}

TWIN_TEST(results_without_a_lane_stay) {
  const std::vector<float> v(128, 3.f);
  for (const bool pairs : {false, true}) {
    const auto out = OnVector(v, 64, [pairs] {
      if (pairs)
        PairReduceSum(Ub(32768, 64), Ub(0, 128), 2, 18, 1, 1, 8);
      else
        BlockReduceMax(Ub(32768, 64), Ub(0, 128), 2, 18, 1, 1, 8);
    });
    const int outputs = pairs ? 32 : 8, active = pairs ? 9 : 3;
    for (int i = 0; i < 2 * outputs; ++i)
      CHECK(out[i] == (i % outputs >= active ? -7.f : pairs ? 6.f : 3.f), "result %d is %g", i, out[i]);
  }
  // Nor do they count as written, or need room.
  const auto kernel = [](uint32_t read) {
    return [read](Tensors) {
      Duplicate(Ub(0, 64), 1.f, 64);
      PipeBarrier<PIPE_V>();
      BlockReduceSum(Ub(1024, 3), Ub(0, 64), 1, 24, 1, 1, 8);
      PipeBarrier<PIPE_V>();
      Adds(Ub(2048, 8), Ub(1024, 8), 1.f, read, 1, UnaryRepeatParams());
    };
  };
  ExpectRule(Rule::kUninitialised, kernel(4), kernel(3));
}

TWIN_TEST(gather_mask) {
  // Even elements of two repeats.
  auto out = OnVector(Ramp(128), 64, [] {
    uint64_t n = 0;
    GatherMask(Ub(32768, 64), Ub(0, 128), uint8_t{1}, false, 0u, GatherMaskParams(1, 2, 8, 8), n);
    CHECK(n == 64, "%llu elements", static_cast<unsigned long long>(n));
  });
  for (int i = 0; i < 64; ++i) CHECK(out[i] == 2 * i, "element %d is %g", i, out[i]);
  // By bits, two times 70 elements, every second block of the source: the first and last of each four.
  out = OnVector(Ramp(512), 72, [] {
    const LocalTensor<uint32_t> bits(TPosition::VECCALC, 16384, 64);
    Duplicate(bits, 0x99999999u, 64);
    uint64_t n = 0;
    GatherMask(Ub(32768, 72), Ub(0, 512), bits, true, 70u, GatherMaskParams(2, 2, 18, 0), n);
    CHECK(n == 70, "%llu elements", static_cast<unsigned long long>(n));
  });
  for (int i = 0; i < 70; ++i) {
    const int e = i % 35 / 2 * 4 + (i % 35 % 2) * 3;
    const float want = i / 35 * 144 + e / 8 * 16 + e % 8;
    CHECK(out[i] == want, "element %d is %g, not %g", i, out[i], want);
  }
}

TWIN_TEST(data_copy_pad) {
  std::vector<float> in = Ramp(64), out(64, 0.f);
  Gm gm;
  GM_ADDR xg = gm.Input("in", in.data(), 256);
  GM_ADDR og = gm.InOut("out", out.data(), 256);
  const Report r = RunKernel({}, gm, [&] {
    // Rows of 5 floats out of rows of 9, one float of padding left, two right.
    DataCopyPad(Ub(0, 64), Global(xg), DataCopyExtParams(3, 20, 16, 0, 0),
                DataCopyPadExtParams<float>(true, 1, 2, -5.f));
    SetFlag<HardEvent::MTE2_MTE3>(0);
    WaitFlag<HardEvent::MTE2_MTE3>(0);
    DataCopyPad(Global(og), Ub(0, 64), DataCopyExtParams(3, 28, 0, 4, 0));
  });
  CHECK(r.ok(), "%s", r.errors[0].ToString().c_str());
  for (int row = 0; row < 3; ++row)
    for (int i = 0; i < 8; ++i) {
      const float want = i == 7 ? 0.f : i == 0 || i > 5 ? -5.f : row * 9 + i - 1;
      CHECK(out[row * 8 + i] == want, "row %d element %d is %g", row, i, out[row * 8 + i]);
    }
  CHECK(r.Tensor("in")->bytes_read == 60, "only what was asked for is read");
}

TWIN_TEST(nd2nz_towards_ub) {
  constexpr int n = 5, d = 20, row = 24, column = 6;
  const std::vector<float> in = Ramp(n * row);
  std::vector<float> out(3 * column * 8, 0.f);
  Gm gm;
  GM_ADDR xg = gm.Input("in", in.data(), in.size() * 4);
  GM_ADDR og = gm.InOut("out", out.data(), out.size() * 4);
  const Report r = RunKernel({}, gm, [&] {
    GlobalTensor<int32_t> x;
    x.SetGlobalBuffer((__gm__ int32_t*)xg);
    DataCopy(LocalTensor<int32_t>(TPosition::VECCALC, 0, 144), x, Nd2NzParams(1, n, d, 0, row, column, 1, 0));
    SetFlag<HardEvent::MTE2_MTE3>(0);
    WaitFlag<HardEvent::MTE2_MTE3>(0);
    DataCopy(Global(og), Ub(0, 144), DataCopyParams(3, n, column - n, column - n));
  });
  CHECK(r.ok(), "%s", r.errors[0].ToString().c_str());
  for (int y = 0; y < n; ++y)
    for (int x = 0; x < d; ++x) {
      const float got = out[x / 8 * column * 8 + y * 8 + x % 8];
      CHECK(got == in[y * row + x], "row %d, column %d is %g", y, x, got);
    }
}

TWIN_TEST(transpose_of_images) {
  constexpr int n = 2, c = 3, pixels = 8;
  const std::vector<float> in = Ramp(n * c * pixels);
  const auto there = OnVector(in, n * c * pixels, [] {
    const LocalTensor<uint8_t> scratch(TPosition::VECCALC, 65536, 8192);
    const TransposeParamsExt params(n, c, 2, 4, TransposeType::TRANSPOSE_NCHW2NHWC);
    Transpose(Ub(32768, n * c * pixels), Ub(0, n * c * pixels), scratch, params);
  });
  const auto back = OnVector(there, n * c * pixels, [] {
    const LocalTensor<uint8_t> scratch(TPosition::VECCALC, 65536, 8192);
    const TransposeParamsExt params(n, c, 2, 4, TransposeType::TRANSPOSE_NHWC2NCHW);
    Transpose(Ub(32768, n * c * pixels), Ub(0, n * c * pixels), scratch, params);
  });
  for (int i = 0; i < n * c * pixels; ++i) {
    const int image = i / (c * pixels), pixel = i / c % pixels, channel = i % c;
    CHECK(there[i] == (image * c + channel) * pixels + pixel, "element %d is %g", i, there[i]);
    CHECK(back[i] == in[i], "element %d came back as %g", i, back[i]);
  }
}

#endif
