// SPDX-License-Identifier: Apache-2.0
// The two chips and their limits (docs/ascend_twin.md lists the public sources).
#pragma once

#include <cstdint>

namespace ascend_twin {

enum class Soc : uint8_t { kAscend910 = 0, kAscend910B = 1 };

enum class Pipe : uint8_t { kS, kV, kM, kMTE1, kMTE2, kMTE3, kFIX };
constexpr int kPipes = 7;
const char* PipeName(Pipe pipe);

enum class Mem : uint8_t { kGM, kUB, kL1, kL0A, kL0B, kL0C, kBias, kFixbuf };
constexpr int kMems = 8;
const char* MemName(Mem mem);

// What one body of a kernel runs on: the fused core of the 910, or one half of a 910B core.
enum class CoreKind : uint8_t { kFused, kAic, kAiv };
const char* CoreKindName(CoreKind kind);

struct ChipLimits {
  const char* name;
  Soc soc;
  uint32_t bytes[kMems];  // what the hardware has; 0 for GM
  // What TPipe may hand out, and of UB all that may be used: without header scratch, dump area and KFC.
  uint32_t usable[kMems];
  int physical_aic, physical_aiv;
  int event_ids;  // per pair of pipes, and so outstanding AllocTensors per TPosition
  double clock_ghz;
};

const ChipLimits& Chip(Soc soc);

// True where the chip has a path for an instruction between the two memories.
constexpr bool HasPath(Soc soc, Mem src, Mem dst) {
  const bool c220 = soc == Soc::kAscend910B;
  switch (src) {
    case Mem::kGM:
      return dst == Mem::kUB || dst == Mem::kL1 || dst == Mem::kL0A || dst == Mem::kL0B;
    case Mem::kUB:
      return dst == Mem::kGM || dst == Mem::kUB || (!c220 && (dst == Mem::kL1 || dst == Mem::kL0C));
    case Mem::kL1:
      return dst == Mem::kL0A || dst == Mem::kL0B ||
             (c220 ? dst == Mem::kGM || dst == Mem::kBias || dst == Mem::kFixbuf : dst == Mem::kUB);
    case Mem::kL0C:
      return c220 ? dst == Mem::kGM || dst == Mem::kL1 : dst == Mem::kUB;
    default:
      return false;
  }
}

}  // namespace ascend_twin
