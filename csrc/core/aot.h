// SPDX-License-Identifier: Apache-2.0
//
// MindSpore's side of an AOT Custom operator. `Extra` has the virtual layout of mindspore::AotExtra
// (custom_aot_extra.h, the same from 2.3 to 2.10), whose own header needs half of MindSpore to compile.
// MindSpore wheels use the old std::string: sources that include this are compiled with
// _GLIBCXX_USE_CXX11_ABI=0.
#pragma once

#include <algorithm>
#include <cstdint>
#include <exception>
#include <initializer_list>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "core/error.h"

namespace swinv2 {
namespace aot {

enum TypeId : int { kFloat16 = 42, kFloat32 = 43, kBFloat16 = 45 };

class Extra {
 public:
  virtual ~Extra() = default;
  virtual bool HasAttr(std::string name) = 0;
  virtual bool GetAttrBool(std::string name) = 0;
  virtual int64_t GetAttrInt(std::string name) = 0;
  virtual float GetAttrFloat(std::string name) = 0;
  virtual std::string GetAttrStr(std::string name) = 0;
  virtual std::vector<int64_t> GetAttrIntVec(std::string name) = 0;
  virtual std::vector<float> GetAttrFloatVec(std::string name) = 0;
};

struct Arguments {
  int count;
  void** data;
  int* ndims;
  int64_t** shapes;
  const char** dtypes;

  std::vector<int64_t> shape(int i) const { return {shapes[i], shapes[i] + ndims[i]}; }
  bool known(int i) const {  // false under a dynamic shape (-1) or rank (-2)
    return std::all_of(shapes[i], shapes[i] + ndims[i], [](int64_t n) { return n >= 0; });
  }
  float* f32(int i) const { return static_cast<float*>(data[i]); }
  DType dtype(int i, const char* name) const;
  void expect(int i, const char* name, DType dtype) const;
  void expect(int i, const char* name, DType dtype, const std::vector<int64_t>& shape) const;
};

std::string text_of(TypeId type);

// What an InferType checks, for its text reaches the user, a kernel's does not; and MindSpore casts inputs behind
// Python's checks, under to_float and amp. `storage` names the first arguments, of any of the three types, `float32`
// those after.
void expect_types(const std::vector<TypeId>& types, std::initializer_list<const char*> storage,
                  std::initializer_list<const char*> float32);

// MindSpore sees only the code; the text is kept for swinv2_kernels._native.last_error().
template <class F>
int run(F&& body) {
  try {
    body();
    return 0;
  } catch (const std::exception& e) {
    set_last_error(e.what());
    return 1;
  }
}

}  // namespace aot
}  // namespace swinv2
