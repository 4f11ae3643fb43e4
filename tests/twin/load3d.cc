// SPDX-License-Identifier: Apache-2.0
// Image to columns from parameters and from registers (910B).
#include "check.h"

#if ASCEND_TWIN_ARCH == 2201

namespace {

// A 3 x 3 convolution of a 4 x 4 image, 16 channels to 16: (16 pixels, 144) x (144, 16).
constexpr int kSide = 4, kC = 16, kPixels = kSide * kSide, kTaps = 9, kK = kTaps * kC;
constexpr IsResetLoad3dConfig kRegisters = {false, false};

struct Setup {
  bool registers = true;                  // else the parameters tell
  bool image = true, padding = true;      // SetFmatrix, SetLoadDataPaddingValue are called
  bool right = false, ask_right = false;  // the register that is set, that is read
  uint32_t source = 0, boundary = 0;      // bytes of L1
  int height = kSide;
  bool wait = true;
  bool late = false;  // what lies at the start of L1 arrives unordered
};

void Convolve(GM_ADDR image_gm, GM_ADDR filter_gm, GM_ADDR out_gm, Setup s) {
  GlobalTensor<half> image, filter;
  GlobalTensor<float> out;
  image.SetGlobalBuffer((__gm__ half*)image_gm);
  filter.SetGlobalBuffer((__gm__ half*)filter_gm);
  out.SetGlobalBuffer((__gm__ float*)out_gm);
  const uint32_t wrapped = s.source < s.boundary && s.source + kPixels * 32 > s.boundary
                               ? (s.source + kPixels * 32 - s.boundary) / 32
                               : 0;  // pixels that lie at the start of L1
  const LocalTensor<half> l1_image(TPosition::A1, s.source, kPixels * kC),
      l1_start(TPosition::A1, 0, kPixels * kC), l1_filter(TPosition::B1, 16384, kK * 16);
  const LocalTensor<half> a(TPosition::A2, 0, kPixels * kK), b(TPosition::B2, 0, kK * 16);
  const LocalTensor<float> c(TPosition::CO1, 0, kPixels * 16);
  DataCopy(l1_image, image, (kPixels - wrapped) * kC);
  if (wrapped && !s.late) DataCopy(l1_start, image[(kPixels - wrapped) * kC], wrapped * kC);
  DataCopy(l1_filter, filter, kK * 16);
  SetFlag<HardEvent::MTE2_MTE1>(0);
  if (s.wait) WaitFlag<HardEvent::MTE2_MTE1>(0);
  if (wrapped && s.late) DataCopy(l1_start, image[(kPixels - wrapped) * kC], wrapped * kC);
  LoadData(b, l1_filter, LoadData2DParams(0, kTaps, 1, 0, 0, false, 0));

  const uint8_t pad[4] = {1, 1, 1, 1}, none[4] = {9, 9, 9, 9};
  LoadData3DParamsV2<half> p(s.registers ? none : pad, s.registers ? 77 : kSide, kSide, kC, kK, kPixels, 0, 0,
                             1, 1, 3, 3, 1, 1, false, false, half(s.registers ? 55.f : 2.f), false, false,
                             s.ask_right);
  if (s.boundary) SetLoadDataBoundary(s.boundary);
  if (s.image && s.registers)
    SetFmatrix(s.height, kSide, pad, s.right ? FmatrixMode::FMATRIX_RIGHT : FmatrixMode::FMATRIX_LEFT);
  if (s.padding && s.registers) SetLoadDataPaddingValue(half(2.f));
  if (s.registers)
    LoadData<half, kRegisters>(a, l1_image, p);
  else
    LoadData(a, l1_image, p);
  SetFlag<HardEvent::MTE1_M>(0);
  WaitFlag<HardEvent::MTE1_M>(0);
  MmadParams m;
  m.m = kPixels, m.n = 16, m.k = kK;
  Mmad(c, a, b, m);
  SetFlag<HardEvent::M_FIX>(0);
  WaitFlag<HardEvent::M_FIX>(0);
  Fixpipe<float, float, CFG_ROW_MAJOR>(out, c, FixpipeParamsV220(16, kPixels, kPixels, 16, false));
  if (!s.wait) WaitFlag<HardEvent::MTE2_MTE1>(0);
}

Report RunConvolution(const Setup& s, int seed, std::vector<float>* error) {
  std::mt19937 rng(3);
  std::vector<float> x(kPixels * kC), w(kK * 16), out(kPixels * 16);
  std::vector<half> xh(x.size()), wh(w.size());
  for (size_t i = 0; i < x.size(); ++i)
    xh[i] = half(x[i] = static_cast<float>(static_cast<int>(rng() % 7)) - 3);
  // L0B holds a fractal (16, 16) a tap, by columns.
  for (size_t k = 0; k < kK; ++k)
    for (size_t n = 0; n < 16; ++n)
      wh[k / 16 * 256 + n * 16 + k % 16] =
          half(w[k * 16 + n] = static_cast<float>(static_cast<int>(rng() % 5)) - 2);
  Gm gm;
  uint8_t *xg = gm.Input("x", xh.data(), xh.size() * 2), *wg = gm.Input("w", wh.data(), wh.size() * 2);
  uint8_t* og = gm.Output("out", out.data(), out.size() * 4);
  LaunchOptions options;
  options.kernel_type = KernelType::kAicOnly;
  options.seed = static_cast<uint64_t>(seed);
  const Report r = RunKernel(options, gm, [&] { Convolve(xg, wg, og, s); });
  error->clear();
  for (int y = 0; y < kSide; ++y)
    for (int u = 0; u < kSide; ++u)
      for (int n = 0; n < 16; ++n) {
        float sum = 0;
        for (int t = 0; t < kTaps; ++t)
          for (int c = 0; c < kC; ++c) {
            const int yy = y + t / 3 - 1, uu = u + t % 3 - 1;
            const bool inside = yy >= 0 && yy < kSide && uu >= 0 && uu < kSide;
            sum += (inside ? x[static_cast<size_t>((yy * kSide + uu) * kC + c)] : 2.f) *
                   w[static_cast<size_t>((t * kC + c) * 16 + n)];
          }
        error->push_back(out[static_cast<size_t>((y * kSide + u) * 16 + n)] - sum);
      }
  return r;
}

void ExpectState(Rule rule, const Setup& s) {
  std::vector<float> error;
  for (int seed = 0; seed < kSeeds; ++seed) {
    const Report r = RunConvolution(s, seed, &error);
    CHECK(!r.ok() && r.errors[0].rule == rule, "seed %d: expected %s, got %s", seed, RuleName(rule),
          r.ok() ? "nothing" : r.errors[0].ToString().c_str());
  }
}

}  // namespace

// The same convolution from the parameters, either register, and around the boundary of L1.
TWIN_TEST(load_3d_registers) {
  Setup parameters, right, boundary;
  parameters.registers = false;
  right.right = right.ask_right = true;
  boundary.boundary = 2048, boundary.source = 1792;  // half of the image lies at the start
  for (const Setup& s : {parameters, Setup{}, right, boundary})
    for (int seed = 0; seed < kSeeds; ++seed) {
      std::vector<float> error;
      const Report r = RunConvolution(s, seed, &error);
      CHECK(r.ok(), "seed %d: %s", seed, r.errors[0].ToString().c_str());
      for (const float e : error) CHECK(e == 0, "seed %d: off by %g", seed, e);
    }
}

TWIN_TEST(load_3d_state) {
  auto with = [](auto change) {
    Setup s;
    change(s);
    return s;
  };
  ExpectState(Rule::kLoad3dState, with([](Setup& s) { s.image = false; }));
  ExpectState(Rule::kLoad3dState, with([](Setup& s) { s.padding = false; }));
  ExpectState(Rule::kLoad3dState, with([](Setup& s) { s.ask_right = true; }));
  ExpectState(Rule::kLoad3dState, with([](Setup& s) { s.height = 0; }));
  ExpectState(Rule::kLoad3dState, with([](Setup& s) { s.height = 32768; }));
  ExpectState(Rule::kLoad3dState, with([](Setup& s) { s.boundary = 1000; }));
  ExpectState(Rule::kLoad3dState, with([](Setup& s) { s.boundary = 1024, s.source = 1024; }));
  ExpectState(Rule::kHazardRaw, with([](Setup& s) { s.wait = false; }));
  ExpectState(Rule::kHazardRaw, with([](Setup& s) { s.boundary = 2048, s.source = 1792, s.late = true; }));
}

#endif
