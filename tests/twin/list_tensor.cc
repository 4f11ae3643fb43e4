// SPDX-License-Identifier: Apache-2.0
// Dynamic inputs: a list of tensors in GM.
#include "check.h"
#include "kernel_operator_list_tensor_intf.h"

namespace {

constexpr uint32_t kFloatsEach = 64;

// out = a + b, both found through `list`; `body` may ask the list more.
Report AddThroughList(std::vector<uint64_t> list, int seed, std::vector<float>* out,
                      const std::function<void(ListTensorDesc&)>& body, uint32_t length = 0xffffffff,
                      uint32_t tensors = 0xffffffff) {
  std::vector<float> a(kFloatsEach), b(kFloatsEach);
  for (uint32_t i = 0; i < kFloatsEach; ++i)
    a[i] = static_cast<float>(i), b[i] = 1000.f * static_cast<float>(i);
  out->assign(kFloatsEach, 0.f);
  Gm gm;
  uint8_t *ag = gm.Input("a", a.data(), kFloatsEach * 4), *bg = gm.Input("b", b.data(), kFloatsEach * 4);
  list.push_back(reinterpret_cast<uint64_t>(ag));
  list.push_back(reinterpret_cast<uint64_t>(bg));
  uint8_t *lg = gm.Input("list", list.data(), list.size() * 8),
          *og = gm.Output("out", out->data(), kFloatsEach * 4);
  LaunchOptions options;
  options.seed = static_cast<uint64_t>(seed);
  return RunKernel(options, gm, [&] {
    ListTensorDesc desc(lg, length, tensors);
    CHECK(desc.GetSize() == 2, "%u tensors", desc.GetSize());
    body(desc);
    const LocalTensor<float> x(TPosition::VECCALC, 0, kFloatsEach), y(TPosition::VECCALC, 1024, kFloatsEach);
    GlobalTensor<float> p, q, r;
    p.SetGlobalBuffer(desc.GetDataPtr<float>(0), kFloatsEach);
    q.SetGlobalBuffer(desc.GetDataPtr<float>(1), kFloatsEach);
    r.SetGlobalBuffer((__gm__ float*)og, kFloatsEach);
    DataCopy(x, p, kFloatsEach);
    DataCopy(y, q, kFloatsEach);
    SetFlag<HardEvent::MTE2_V>(0);
    WaitFlag<HardEvent::MTE2_V>(0);
    Add(x, x, y, kFloatsEach);
    SetFlag<HardEvent::V_MTE3>(0);
    WaitFlag<HardEvent::V_MTE3>(0);
    DataCopy(r, x, kFloatsEach);
  });
}

const std::vector<uint64_t> kShapes = {56, 2, 4, 16, 1ull << 32 | 2, 8, 8};
const std::vector<uint64_t> kNoShapes = {24, 2ull << 32, 0xffffffff};

}  // namespace

TWIN_TEST(list_of_tensors) {
  for (int seed = 0; seed < kSeeds; ++seed)
    for (const auto& list : {kShapes, kNoShapes}) {
      std::vector<float> out;
      const Report r = AddThroughList(
          list, seed, &out,
          [&](ListTensorDesc& desc) {
#if ASCEND_TWIN_ARCH == 2201
            if (list[0] == 24) return;
            uint64_t shape[8] = {};
            TensorDesc<float> t;
            t.SetShapeAddr(shape);
            desc.GetDesc(t, 1);
            CHECK(t.GetDim() == 2 && t.GetIndex() == 1 && t.GetShape(0) == 8 && t.GetShape(1) == 8,
                  "tensor 1");
            CHECK(t.GetDataPtr() == desc.GetDataPtr<float>(1) && t.GetDataObj().GetValue(3) == 3000.f,
                  "its data");
            desc.GetDesc(t, 0);
            CHECK(t.GetIndex() == 0 && t.GetShape(0) == 4 && t.GetShape(1) == 16, "tensor 0");
#else
            (void)desc;
#endif
          },
          static_cast<uint32_t>(list.size() + 2) * 8, 2);
      CHECK(r.ok(), "seed %d: %s", seed, r.errors[0].ToString().c_str());
      for (uint32_t i = 0; i < kFloatsEach; ++i) CHECK(out[i] == 1001.f * static_cast<float>(i), "%u", i);
    }
}

TWIN_TEST(tensor_list) {
  auto expect = [](const std::vector<uint64_t>& list, const std::function<void(ListTensorDesc&)>& body,
                   uint32_t length, uint32_t tensors) {
    for (int seed = 0; seed < kSeeds; ++seed) {
      std::vector<float> out;
      const Report r = AddThroughList(list, seed, &out, body, length, tensors);
      CHECK(!r.ok() && r.errors[0].rule == Rule::kTensorList, "seed %d: %s", seed,
            r.ok() ? "passed" : r.errors[0].ToString().c_str());
    }
  };
  const auto nothing = [](ListTensorDesc&) {};
  expect(kShapes, [](ListTensorDesc& d) { d.GetDataPtr<float>(2); }, 0xffffffff, 0xffffffff);
  expect({56, 3, 4, 16, 1ull << 32 | 2, 8, 8}, nothing, 0xffffffff, 0xffffffff);
  expect({24, 2ull << 32, 0}, nothing, 0xffffffff, 0xffffffff);
  expect({8, 2ull << 32, 0xffffffff}, nothing, 0xffffffff, 0xffffffff);
  expect(kShapes, nothing, 72, 3);
  expect(kShapes, nothing, 64, 2);
#if ASCEND_TWIN_ARCH == 2201
  uint64_t shape[8] = {};
  TensorDesc<float> blank;
  expect(kShapes, [&](ListTensorDesc& d) { d.GetDesc(blank, 0); }, 0xffffffff, 0xffffffff);
  TensorDesc<float> t;
  t.SetShapeAddr(shape);
  expect(kShapes, [&](ListTensorDesc& d) { d.GetDesc(t, 2); }, 0xffffffff, 0xffffffff);
  expect(kNoShapes, [&](ListTensorDesc& d) { d.GetDesc(t, 0); }, 0xffffffff, 0xffffffff);
  expect(
      kShapes,
      [&](ListTensorDesc& d) {
        d.GetDesc(t, 0);
        t.GetShape(2);
      },
      0xffffffff, 0xffffffff);
#endif
}
