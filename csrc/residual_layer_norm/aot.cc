// SPDX-License-Identifier: Apache-2.0
//
// Entry points for MindSpore's ops.Custom(func_type="aot"):
//   SwinV2ResidualLayerNorm      (x, y, gamma, beta, keep) -> (out, stats)
//   SwinV2ResidualLayerNormGrad  (y, gamma, beta, keep, stats, dout) -> (dy, dgamma, dbeta, dkeep); dx = dout
//   SwinV2LayerNorm              (y, gamma, beta) -> (out float32, stats)
//   SwinV2LayerNormGrad          (y, gamma, beta, stats, dout) -> (dy, dgamma, dbeta)
#include "core/aot.h"

#include "residual_layer_norm/residual_layer_norm_host.h"

using namespace swinv2;

namespace {

Shape stats_shape(Shape x) {
  x.back() = 2;
  return x;
}

float epsilon(void* extra) {
  return static_cast<aot::Extra*>(extra)->GetAttrFloat("epsilon");
}

}  // namespace

extern "C" {

std::vector<Shape> SwinV2ResidualLayerNormInferShape(int* ndims, int64_t** shapes, aot::Extra* extra) {
  const aot::Arguments a{5, nullptr, ndims, shapes, nullptr};
  if (a.known(0) && a.known(1) && a.known(2) && a.known(3) && a.known(4))
    check_residual_layer_norm(a.shape(0), DType::kFloat32, a.shape(1), DType::kFloat32, a.shape(2),
                              a.shape(3), a.shape(4), epsilon(extra));
  return {a.shape(0), ndims[0] > 1 ? stats_shape(a.shape(0)) : a.shape(0)};
}

std::vector<aot::TypeId> SwinV2ResidualLayerNormInferType(std::vector<aot::TypeId> types, aot::Extra*) {
  aot::expect_types(types, {"x", "y"}, {"gamma", "beta", "keep"});
  return {types[0], aot::kFloat32};
}

int SwinV2ResidualLayerNorm(int count, void** data, int* ndims, int64_t** shapes, const char** dtypes, void*,
                            void* extra) {
  return aot::run([&] {
    const aot::Arguments a{count, data, ndims, shapes, dtypes};
    a.expect(2, "gamma", DType::kFloat32);
    a.expect(3, "beta", DType::kFloat32);
    a.expect(4, "keep", DType::kFloat32);
    const ResidualLayerNorm op =
        check_residual_layer_norm(a.shape(0), a.dtype(0, "x"), a.shape(1), a.dtype(1, "y"), a.shape(2),
                                  a.shape(3), a.shape(4), epsilon(extra));
    residual_layer_norm_forward(op,
                                {a.data[0], a.data[1], a.f32(2), a.f32(3), a.f32(4), a.data[5], a.f32(6)});
  });
}

std::vector<Shape> SwinV2ResidualLayerNormGradInferShape(int* ndims, int64_t** shapes, aot::Extra*) {
  const aot::Arguments a{6, nullptr, ndims, shapes, nullptr};
  return {a.shape(0), a.shape(1), a.shape(2), a.shape(3)};
}

std::vector<aot::TypeId> SwinV2ResidualLayerNormGradInferType(std::vector<aot::TypeId> types, aot::Extra*) {
  return {types[0], aot::kFloat32, aot::kFloat32, aot::kFloat32};
}

int SwinV2ResidualLayerNormGrad(int count, void** data, int* ndims, int64_t** shapes, const char** dtypes,
                                void*, void* extra) {
  return aot::run([&] {
    const aot::Arguments a{count, data, ndims, shapes, dtypes};
    a.expect(1, "gamma", DType::kFloat32);
    a.expect(2, "beta", DType::kFloat32);
    a.expect(3, "keep", DType::kFloat32);
    a.expect(4, "stats", DType::kFloat32, stats_shape(a.shape(0)));
    const ResidualLayerNorm op =
        check_residual_layer_norm(a.shape(5), a.dtype(5, "dout"), a.shape(0), a.dtype(0, "y"), a.shape(1),
                                  a.shape(2), a.shape(3), epsilon(extra));
    residual_layer_norm_backward(op, {a.data[0], a.f32(1), a.f32(2), a.f32(3), a.f32(4), a.data[5], a.data[6],
                                      a.f32(7), a.f32(8), a.f32(9)});
  });
}

std::vector<Shape> SwinV2LayerNormInferShape(int* ndims, int64_t** shapes, aot::Extra* extra) {
  const aot::Arguments a{3, nullptr, ndims, shapes, nullptr};
  if (a.known(0) && a.known(1) && a.known(2))
    check_layer_norm(a.shape(0), DType::kFloat32, a.shape(1), a.shape(2), epsilon(extra));
  return {a.shape(0), ndims[0] > 0 ? stats_shape(a.shape(0)) : a.shape(0)};
}

std::vector<aot::TypeId> SwinV2LayerNormInferType(std::vector<aot::TypeId> types, aot::Extra*) {
  aot::expect_types(types, {"y"}, {"gamma", "beta"});
  return {aot::kFloat32, aot::kFloat32};
}

int SwinV2LayerNorm(int count, void** data, int* ndims, int64_t** shapes, const char** dtypes, void*,
                    void* extra) {
  return aot::run([&] {
    const aot::Arguments a{count, data, ndims, shapes, dtypes};
    a.expect(1, "gamma", DType::kFloat32);
    a.expect(2, "beta", DType::kFloat32);
    const ResidualLayerNorm op =
        check_layer_norm(a.shape(0), a.dtype(0, "y"), a.shape(1), a.shape(2), epsilon(extra));
    residual_layer_norm_forward(op, {nullptr, a.data[0], a.f32(1), a.f32(2), nullptr, a.data[3], a.f32(4)});
  });
}

std::vector<Shape> SwinV2LayerNormGradInferShape(int* ndims, int64_t** shapes, aot::Extra*) {
  const aot::Arguments a{5, nullptr, ndims, shapes, nullptr};
  return {a.shape(0), a.shape(1), a.shape(2)};
}

std::vector<aot::TypeId> SwinV2LayerNormGradInferType(std::vector<aot::TypeId> types, aot::Extra*) {
  return {types[0], aot::kFloat32, aot::kFloat32};
}

int SwinV2LayerNormGrad(int count, void** data, int* ndims, int64_t** shapes, const char** dtypes, void*,
                        void* extra) {
  return aot::run([&] {
    const aot::Arguments a{count, data, ndims, shapes, dtypes};
    a.expect(1, "gamma", DType::kFloat32);
    a.expect(2, "beta", DType::kFloat32);
    a.expect(3, "stats", DType::kFloat32, stats_shape(a.shape(0)));
    a.expect(4, "dout", DType::kFloat32, a.shape(0));
    const ResidualLayerNorm op =
        check_layer_norm(a.shape(0), a.dtype(0, "y"), a.shape(1), a.shape(2), epsilon(extra));
    residual_layer_norm_backward(op, {a.data[0], a.f32(1), a.f32(2), nullptr, a.f32(3), a.data[4], a.data[5],
                                      a.f32(6), a.f32(7), nullptr});
  });
}

}  // extern "C"
