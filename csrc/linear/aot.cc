// SPDX-License-Identifier: Apache-2.0
//
// Entry points for MindSpore's ops.Custom(func_type="aot"):
//   SwinV2Linear            (x, weight, bias) -> out
//   SwinV2LinearGradInput   (weight, dout) -> dx
//   SwinV2LinearGradWeight  (x, dout) -> (dweight, dbias)
#include "core/aot.h"

#include "core/check.h"
#include "linear/linear_host.h"

using namespace swinv2;

namespace {

struct Attributes {
  View view;
  int64_t patch_size;
  Gelu gelu;
  int64_t dtype;  // of out as a DType, -1 for that of x

  explicit Attributes(void* extra) {
    auto* attributes = static_cast<aot::Extra*>(extra);
    view = static_cast<View>(attributes->GetAttrInt("view"));
    patch_size = attributes->GetAttrInt("patch_size");
    gelu = static_cast<Gelu>(attributes->GetAttrInt("gelu"));
    dtype = attributes->GetAttrInt("dtype");
  }
};

// With the weight's shape from x and dout, which must belong together.
Shape weight_shape(const aot::Arguments& a) {
  const Shape dout = a.shape(1);
  const int64_t N = dout.empty() ? 0 : dout.back();
  const int64_t rows = N > 0 ? product_of(dout) / N : 0;
  return {N, rows > 0 ? product_of(a.shape(0)) / rows : 0};
}

// A shape of so many dimensions, unknown (-1) where it has another number, as MindSpore's for an unknown rank, (-2,).
Shape ranked(const Shape& shape, size_t rank) {
  return shape.size() == rank ? shape : Shape(rank, -1);
}

Shape ranked(const Shape& x, View view) {
  return view == View::kTokens ? x : ranked(x, 4);
}

}  // namespace

extern "C" {

Shape SwinV2LinearInferShape(int* ndims, int64_t** shapes, aot::Extra* extra) {
  const aot::Arguments a{3, nullptr, ndims, shapes, nullptr};
  const Attributes how(extra);
  if (a.known(0) && a.known(1) && a.known(2))
    check_linear_bias(
        check_linear(a.shape(0), DType::kFloat32, a.shape(1), how.view, how.patch_size, how.gelu),
        a.shape(2));
  return linear_out_shape(ranked(a.shape(0), how.view), ranked(a.shape(1), 2), how.view, how.patch_size);
}

aot::TypeId SwinV2LinearInferType(std::vector<aot::TypeId> types, aot::Extra* extra) {
  constexpr aot::TypeId kTypes[] = {aot::kFloat32, aot::kFloat16, aot::kBFloat16};
  const Attributes how(extra);
  const aot::TypeId out = how.dtype < 0 ? types[0] : kTypes[how.dtype];
  if (types[1] == aot::kBFloat16 && out == types[1]) types[1] = aot::kFloat32;  // weight may be stored as out
  aot::expect_types(types, {"x"}, {"weight", "bias"});
  return out;
}

int SwinV2Linear(int count, void** data, int* ndims, int64_t** shapes, const char** dtypes, void*,
                 void* extra) {
  return aot::run([&] {
    const aot::Arguments a{count, data, ndims, shapes, dtypes};
    const Attributes how(extra);
    a.expect(2, "bias", DType::kFloat32);
    Linear op = check_linear(a.shape(0), a.dtype(0, "x"), a.shape(1), how.view, how.patch_size, how.gelu);
    if (how.dtype >= 0) round_x(op, static_cast<DType>(how.dtype));
    weigh_in(op, a.dtype(1, "weight"));
    check_linear_bias(op, a.shape(2));
    linear_forward(op, {a.data[0], a.data[1], a.f32(2), a.data[3]});
  });
}

Shape SwinV2LinearGradInputInferShape(int* ndims, int64_t** shapes, aot::Extra* extra) {
  const aot::Arguments a{2, nullptr, ndims, shapes, nullptr};
  const Attributes how(extra);
  return linear_x_shape(ranked(a.shape(1), how.view), ranked(a.shape(0), 2), how.view, how.patch_size);
}

aot::TypeId SwinV2LinearGradInputInferType(std::vector<aot::TypeId> types, aot::Extra*) {
  return types[1];
}

int SwinV2LinearGradInput(int count, void** data, int* ndims, int64_t** shapes, const char** dtypes, void*,
                          void* extra) {
  return aot::run([&] {
    const aot::Arguments a{count, data, ndims, shapes, dtypes};
    const Attributes how(extra);
    a.expect(0, "weight", DType::kFloat32);
    const Shape x = linear_x_shape(a.shape(1), a.shape(0), how.view, how.patch_size);
    const Linear op = check_linear(x, a.dtype(1, "dout"), a.shape(0), how.view, how.patch_size, Gelu::kNone);
    linear_input_gradient(op, {nullptr, a.f32(0), a.data[1], a.data[2], nullptr, nullptr});
  });
}

std::vector<Shape> SwinV2LinearGradWeightInferShape(int* ndims, int64_t** shapes, aot::Extra* extra) {
  const aot::Arguments a{2, nullptr, ndims, shapes, nullptr};
  const Attributes how(extra);
  const auto last = [](const Shape& rows) { return rows.empty() || rows.back() < 0 ? -1 : rows.back(); };
  const int64_t N = last(a.shape(1)),
                channels = how.view == View::kEmbedding ? ranked(a.shape(0), 4)[1] : last(a.shape(0)),
                pixels = how.view == View::kTokens    ? 1
                         : how.view == View::kMerging ? 4
                                                      : how.patch_size * how.patch_size;
  return {{N, channels < 0 ? -1 : channels * pixels}, {N}};
}

std::vector<aot::TypeId> SwinV2LinearGradWeightInferType(std::vector<aot::TypeId>, aot::Extra*) {
  return {aot::kFloat32, aot::kFloat32};
}

int SwinV2LinearGradWeight(int count, void** data, int* ndims, int64_t** shapes, const char** dtypes, void*,
                           void* extra) {
  return aot::run([&] {
    const aot::Arguments a{count, data, ndims, shapes, dtypes};
    const Attributes how(extra);
    const Shape weight = weight_shape(a);
    const Linear op =
        check_linear(a.shape(0), a.dtype(0, "x"), weight, how.view, how.patch_size, Gelu::kNone);
    a.expect(1, "dout", op.dtype, linear_out_shape(a.shape(0), weight, how.view, how.patch_size));
    linear_weight_gradient(op, {a.data[0], nullptr, a.data[1], nullptr, a.f32(2), a.f32(3)});
  });
}

}  // extern "C"
