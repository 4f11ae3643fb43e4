// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace swinv2 {

using Shape = std::vector<int64_t>;

inline int64_t product_of(const Shape& shape, size_t begin = 0) {
  int64_t n = 1;
  for (size_t i = begin; i < shape.size(); ++i) n *= shape[i];
  return n;
}

inline bool known(const Shape& shape) {  // false under a dynamic shape (-1) or rank (-2)
  for (int64_t n : shape)
    if (n < 0) return false;
  return true;
}

}  // namespace swinv2
