// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

namespace swinv2 {

enum class DType : int32_t { kFloat32, kFloat16, kBFloat16 };

// Storage: arithmetic is float32, with pairs (cpu/pairs.h) its sums are. Conversions live in cpu/simd.h.
struct Half {
  uint16_t bits;
};
struct BFloat16 {
  uint16_t bits;
};

constexpr const char* dtype_name(DType dtype) {
  return dtype == DType::kFloat32 ? "float32" : dtype == DType::kFloat16 ? "float16" : "bfloat16";
}

constexpr size_t size_of(DType dtype) {
  return dtype == DType::kFloat32 ? 4 : 2;
}

}  // namespace swinv2
