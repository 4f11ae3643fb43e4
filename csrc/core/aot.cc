// SPDX-License-Identifier: Apache-2.0
#include "core/aot.h"

#include "core/check.h"

namespace swinv2 {
namespace aot {

DType Arguments::dtype(int i, const char* name) const {
  const std::string given = dtypes[i];
  if (given == "float32") return DType::kFloat32;
  if (given == "float16") return DType::kFloat16;
  if (given == "bfloat16") return DType::kBFloat16;
  fail(name, ": expected float32, float16 or bfloat16, got ", given);
}

void Arguments::expect(int i, const char* name, DType expected) const {
  if (dtype(i, name) == expected) return;
  fail(name, ": expected ", dtype_name(expected), ", got ", dtypes[i]);
}

void Arguments::expect(int i, const char* name, DType expected,
                       const std::vector<int64_t>& expected_shape) const {
  expect(i, name, expected);
  if (shape(i) == expected_shape) return;
  fail(name, ": expected shape ", text(expected_shape), ", got ", text(shape(i)));
}

}  // namespace aot
}  // namespace swinv2
