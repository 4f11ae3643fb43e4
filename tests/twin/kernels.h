// SPDX-License-Identifier: Apache-2.0
// What the tests' kernels start from.
#pragma once

#include "check.h"

constexpr bool k910B = ASCEND_TWIN_ARCH == 2201;

inline LocalTensor<float> Ub(uint32_t addr, uint32_t elements) {
  return {TPosition::VECCALC, addr, elements};
}
inline GlobalTensor<float> Global(GM_ADDR p) {
  GlobalTensor<float> g;
  g.SetGlobalBuffer((__gm__ float*)p);
  return g;
}

template <HardEvent e>
void Order(int id = 0) {
  SetFlag<e>(id);
  WaitFlag<e>(id);
}

// in[0, n) doubled into out: every rule's kernel starts from this one.
inline void Double(Tensors t, const std::function<void(LocalTensor<float>, LocalTensor<float>)>& compute,
                   int n = 256) {
  auto x = Ub(0, 2048), y = Ub(8192, 2048);
  DataCopy(x, Global(t.in), n);
  Order<HardEvent::MTE2_V>();
  compute(x, y);
  Order<HardEvent::V_MTE3>();
  DataCopy(Global(t.out), y, n);
}
