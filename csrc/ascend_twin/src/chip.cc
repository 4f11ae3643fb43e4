// SPDX-License-Identifier: Apache-2.0
#include "ascend_twin/chip.h"

namespace ascend_twin {

const ChipLimits& Chip(Soc soc) {
  constexpr uint32_t k = 1024;
  //                    GM  UB       L1        L0A     L0B     L0C      bias fixbuf
  static const ChipLimits ascend910 = {"ascend910",
                                       Soc::kAscend910,
                                       {0, 256 * k, 1024 * k, 64 * k, 64 * k, 256 * k, 0, 0},
                                       {0, 248 * k, 1024 * k, 64 * k, 64 * k, 256 * k, 0, 0},
                                       32,
                                       32,
                                       4,
                                       1.0};
  static const ChipLimits ascend910b = {
      "ascend910b",
      Soc::kAscend910B,
      {0, 192 * k, 512 * k, 64 * k, 64 * k, 128 * k, 1 * k, 7 * k},
      {0, 192 * k - 256, 512 * k - 128, 64 * k, 64 * k, 128 * k, 1 * k, 7 * k},
      20,
      40,
      8,
      1.8};
  return soc == Soc::kAscend910 ? ascend910 : ascend910b;
}

const char* PipeName(Pipe pipe) {
  static const char* const names[] = {"S", "V", "M", "MTE1", "MTE2", "MTE3", "FIX"};
  return names[static_cast<int>(pipe)];
}

const char* MemName(Mem mem) {
  static const char* const names[] = {"GM", "UB", "L1", "L0A", "L0B", "L0C", "BT", "FIXBUF"};
  return names[static_cast<int>(mem)];
}

const char* CoreKindName(CoreKind kind) {
  static const char* const names[] = {"AICORE", "AIC", "AIV"};
  return names[static_cast<int>(kind)];
}

}  // namespace ascend_twin
