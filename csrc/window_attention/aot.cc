// SPDX-License-Identifier: Apache-2.0
//
// Entry points for MindSpore's ops.Custom(func_type="aot"):
//   SwinV2WindowAttention      (qkv, bias_table, logit_scale) -> (out, stats)
//   SwinV2WindowAttentionGrad  (qkv, bias_table, logit_scale, out, stats, dout)
//                              -> (dqkv, dbias_table, dlogit_scale)
// window_size is an attribute beside what bias_table says of it: where shapes are dynamic nobody else compares the two.
// logit_scale (heads,) or (heads, 1, 1) becomes the kernels' scale here; without the attribute of its name it is the
// scale, of dot products.
#include "core/aot.h"

#include <cmath>
#include <vector>

#include "core/check.h"
#include "window_attention/window_attention_host.h"

namespace swinv2 {
namespace {

WindowAttentionOptions options(aot::Extra* extra) {
  if (!extra->HasAttr("logit_scale"))  // it took the scale once, and would take that for a logit_scale now
    fail("graph: it has a SwinV2WindowAttention of an older swinv2_kernels; export it again");
  const std::vector<int64_t> shift = extra->GetAttrIntVec("shift_size"),
                             valid = extra->GetAttrIntVec("valid_size");
  return {shift[0],
          shift[1],
          valid[0],
          valid[1],
          extra->GetAttrFloat("mask_value"),
          extra->GetAttrBool("logit_scale")};
}

WindowAttention check_shapes(const aot::Arguments& a, DType dtype, aot::Extra* extra) {
  const WindowAttentionOptions how = options(extra);
  const Shape table = a.shape(1);
  const std::vector<int64_t> window = extra->GetAttrIntVec("window_size");
  if (table.size() == 3 && (table[1] != 2 * window[0] - 1 || table[2] != 2 * window[1] - 1))
    fail("bias_table: expected shape (heads, ", 2 * window[0] - 1, ", ", 2 * window[1] - 1,
         ") for window_size ", text(window), ", got ", text(table));
  Shape scale = a.shape(2);
  if (how.cosine && table.size() == 3) {
    const Shape one_a_head{table[0]};
    if (scale == Shape{table[0], 1, 1}) scale = one_a_head;
    if (scale != one_a_head)
      fail("logit_scale: expected shape (", table[0], ",) or (", table[0], ", 1, 1), one a head, got ",
           text(scale));
  }
  return check_window_attention(a.shape(0), dtype, table, scale, how);
}

WindowAttention check(const aot::Arguments& a, aot::Extra* extra) {
  a.expect(1, "bias_table", DType::kFloat32);
  a.expect(2, "logit_scale", DType::kFloat32);
  return check_shapes(a, a.dtype(0, "qkv"), extra);
}

constexpr float kLogitScaleMax = 4.605170186f;  // ln 100

// scale of each head, rounded once: an error in it is one in every logit. NaN stays NaN.
std::vector<float> scale_of(const WindowAttention& op, const float* logit_scale) {
  std::vector<float> scale(logit_scale, logit_scale + op.num_heads);
  if (!op.cosine) return scale;
  for (float& s : scale)
    s = static_cast<float>(std::exp(static_cast<double>(s > kLogitScaleMax ? kLogitScaleMax : s)));
  return scale;
}

// dlogit_scale from dscale, in its place.
void through_scale(const WindowAttention& op, const float* logit_scale, const std::vector<float>& scale,
                   float* gradient) {
  if (!op.cosine) return;
  for (int64_t h = 0; h < op.num_heads; ++h)
    gradient[h] = logit_scale[h] > kLogitScaleMax ? 0.f : gradient[h] * scale[h];
}

}  // namespace
}  // namespace swinv2

using namespace swinv2;

extern "C" {

// Checks as soon as every dimension is known, so that bad shapes are an error with its text in every mode; before
// that, unknown (-1) dimensions stay unknown.
std::vector<std::vector<int64_t>> SwinV2WindowAttentionInferShape(int* ndims, int64_t** shapes,
                                                                  aot::Extra* extra) {
  const aot::Arguments a{3, nullptr, ndims, shapes, nullptr};
  if (a.known(0) && a.known(1) && a.known(2)) {
    const WindowAttention op = check_shapes(a, DType::kFloat32, extra);
    return {out_shape(op), stats_shape(op)};
  }
  const Shape table = a.shape(1);
  return unknown_shapes(a.shape(0), table.size() == 3 ? table[0] : -1);
}

std::vector<aot::TypeId> SwinV2WindowAttentionInferType(std::vector<aot::TypeId> types, aot::Extra*) {
  aot::expect_types(types, {"qkv"}, {"bias_table", "logit_scale"});
  return {types[0], aot::kFloat32};
}

int SwinV2WindowAttention(int count, void** data, int* ndims, int64_t** shapes, const char** dtypes, void*,
                          void* extra) {
  return aot::run([&] {
    const aot::Arguments a{count, data, ndims, shapes, dtypes};
    const WindowAttention op = check(a, static_cast<aot::Extra*>(extra));
    const std::vector<float> scale = scale_of(op, a.f32(2));
    window_attention_forward(op, {a.data[0], a.f32(1), scale.data(), a.data[3], a.f32(4)});
  });
}

std::vector<std::vector<int64_t>> SwinV2WindowAttentionGradInferShape(int* ndims, int64_t** shapes,
                                                                      aot::Extra*) {
  std::vector<std::vector<int64_t>> out;
  for (int i = 0; i < 3; ++i) out.emplace_back(shapes[i], shapes[i] + ndims[i]);
  return out;
}

std::vector<aot::TypeId> SwinV2WindowAttentionGradInferType(std::vector<aot::TypeId> types, aot::Extra*) {
  return {types[0], aot::kFloat32, aot::kFloat32};
}

int SwinV2WindowAttentionGrad(int count, void** data, int* ndims, int64_t** shapes, const char** dtypes,
                              void*, void* extra) {
  return aot::run([&] {
    const aot::Arguments a{count, data, ndims, shapes, dtypes};
    const WindowAttention op = check(a, static_cast<aot::Extra*>(extra));
    a.expect(3, "out", op.dtype, out_shape(op));
    a.expect(4, "stats", DType::kFloat32, stats_shape(op));
    a.expect(5, "dout", op.dtype, out_shape(op));
    const std::vector<float> scale = scale_of(op, a.f32(2));
    window_attention_backward(op, {a.data[0], a.f32(1), scale.data(), a.data[3], a.f32(4), a.data[5],
                                   a.data[6], a.f32(7), a.f32(8)});
    through_scale(op, a.f32(2), scale, a.f32(8));
  });
}

}  // extern "C"
