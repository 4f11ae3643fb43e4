// SPDX-License-Identifier: Apache-2.0
//
// Entry points for MindSpore's ops.Custom(func_type="aot"):
//   SwinV2BiasGelu      (x, bias) -> out
//   SwinV2BiasGeluGrad  (x, bias, dout) -> (dx, dbias)
#include "core/aot.h"

#include "bias_gelu/bias_gelu_host.h"

using namespace swinv2;

namespace {

bool tanh(void* extra) {
  return static_cast<aot::Extra*>(extra)->GetAttrBool("tanh");
}

}  // namespace

extern "C" {

Shape SwinV2BiasGeluInferShape(int* ndims, int64_t** shapes, aot::Extra* extra) {
  const aot::Arguments a{2, nullptr, ndims, shapes, nullptr};
  if (a.known(0) && a.known(1)) check_bias_gelu(a.shape(0), DType::kFloat32, a.shape(1), tanh(extra));
  return a.shape(0);
}

aot::TypeId SwinV2BiasGeluInferType(std::vector<aot::TypeId> types, aot::Extra*) {
  aot::expect_types(types, {"x"}, {"bias"});
  return types[0];
}

int SwinV2BiasGelu(int count, void** data, int* ndims, int64_t** shapes, const char** dtypes, void*,
                   void* extra) {
  return aot::run([&] {
    const aot::Arguments a{count, data, ndims, shapes, dtypes};
    a.expect(1, "bias", DType::kFloat32);
    const BiasGelu op = check_bias_gelu(a.shape(0), a.dtype(0, "x"), a.shape(1), tanh(extra));
    bias_gelu_forward(op, {a.data[0], a.f32(1), a.data[2]});
  });
}

std::vector<Shape> SwinV2BiasGeluGradInferShape(int* ndims, int64_t** shapes, aot::Extra*) {
  const aot::Arguments a{3, nullptr, ndims, shapes, nullptr};
  return {a.shape(0), a.shape(1)};
}

std::vector<aot::TypeId> SwinV2BiasGeluGradInferType(std::vector<aot::TypeId> types, aot::Extra*) {
  return {types[0], aot::kFloat32};
}

int SwinV2BiasGeluGrad(int count, void** data, int* ndims, int64_t** shapes, const char** dtypes, void*,
                       void* extra) {
  return aot::run([&] {
    const aot::Arguments a{count, data, ndims, shapes, dtypes};
    a.expect(1, "bias", DType::kFloat32);
    const BiasGelu op = check_bias_gelu(a.shape(0), a.dtype(0, "x"), a.shape(1), tanh(extra));
    a.expect(2, "dout", op.dtype, a.shape(0));
    bias_gelu_backward(op, {a.data[0], a.f32(1), a.data[2], a.data[3], a.f32(4)});
  });
}

}  // extern "C"
