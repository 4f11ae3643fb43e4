// SPDX-License-Identifier: Apache-2.0
// What is shared by the files of the cube unit.
#pragma once

#include <cstring>
#include <string>

#include "ascend_twin/copy_ops.h"
#include "ascend_twin/half.h"

namespace ascend_twin {

constexpr uint32_t kFractal = 512;  // bytes, in L0A, L0B and L1

inline std::string N(int64_t v) {
  return std::to_string(v);
}

inline float Load(const uint8_t* p, DType type) {
  switch (type) {
    case DType::kHalf: {
      uint16_t h;
      std::memcpy(&h, p, 2);
      return HalfBitsToFloat(h);
    }
    case DType::kBf16: {
      uint16_t h;
      std::memcpy(&h, p, 2);
      return Bfloat16BitsToFloat(h);
    }
    case DType::kI8:
      return static_cast<float>(static_cast<int8_t>(*p));
    default: {
      float f;
      std::memcpy(&f, p, 4);
      return f;
    }
  }
}

inline bool CheckAddress(Core& core, const char* name, const Where& where, Pipe pipe, const Place& p,
                         Mem want, int align) {
  if (p.mem != want) {
    core.Fail(Rule::kWrongPosition, name, where,
              std::string("expects a tensor in ") + MemName(want) + ", got one in " + MemName(p.mem), pipe);
    return false;
  }
  if (p.addr % align) {
    core.Fail(Rule::kAlignment, name, where,
              "address " + N(p.addr) + " of " + MemName(p.mem) + " is not " + N(align) + " B aligned", pipe,
              p.mem, p.addr);
    return false;
  }
  return true;
}

inline bool CheckEnd(Core& core, const char* name, const Where& where, Pipe pipe, const Place& p,
                     int64_t end) {
  if (!p.limit || end <= p.limit) return true;
  core.Fail(Rule::kTensorRange, name, where,
            "touches " + std::string(MemName(p.mem)) + " up to byte " + N(end) + ", but its buffer ends at " +
                N(p.limit),
            pipe, p.mem, end - 1);
  return false;
}

}  // namespace ascend_twin
