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

std::string text_of(TypeId type) {
  return type == kFloat32    ? "float32"
         : type == kFloat16  ? "float16"
         : type == kBFloat16 ? "bfloat16"
                             : "MindSpore's type " + std::to_string(type);
}

void expect_types(const std::vector<TypeId>& types, std::initializer_list<const char*> storage,
                  std::initializer_list<const char*> float32) {
  size_t i = 0;
  for (const char* name : storage) {
    const TypeId type = types[i++];
    if (type != kFloat32 && type != kFloat16 && type != kBFloat16)
      fail(name, ": expected float32, float16 or bfloat16, got ", text_of(type));
  }
  for (const char* name : float32)
    if (const TypeId type = types[i++]; type != kFloat32)
      fail(name, ": expected float32, got ", text_of(type),
           "; cast it, and keep MindSpore's to_float and amp, which cast all inputs of an operator, off this "
           "cell");
}

}  // namespace aot
}  // namespace swinv2
