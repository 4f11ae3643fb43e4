// SPDX-License-Identifier: Apache-2.0
//
// Entry points for MindSpore's ops.Custom(func_type="aot"):
//   SwinV2WindowAttention      (qkv, bias_table, scale) -> (out, stats)
//   SwinV2WindowAttentionGrad  (qkv, bias_table, scale, out, stats, dout) -> (dqkv, dbias_table, dscale)
#include "core/aot.h"

#include "window_attention/window_attention_host.h"

namespace swinv2 {
namespace {

WindowAttentionOptions options(aot::Extra* extra) {
  const std::vector<int64_t> shift = extra->GetAttrIntVec("shift_size"),
                             valid = extra->GetAttrIntVec("valid_size");
  return {shift[0],
          shift[1],
          valid[0],
          valid[1],
          extra->GetAttrFloat("mask_value"),
          extra->GetAttrBool("cosine")};
}

WindowAttention check(const aot::Arguments& a, aot::Extra* extra) {
  for (int i : {1, 2}) a.expect(i, i == 1 ? "bias_table" : "scale", DType::kFloat32);
  return check_window_attention(a.shape(0), a.dtype(0, "qkv"), a.shape(1), a.shape(2), options(extra));
}

// Unknown (-1) dimensions of a dynamic shape stay unknown.
int64_t times(int64_t a, int64_t b) {
  return a < 0 || b < 0 ? -1 : a * b;
}
int64_t over(int64_t a, int64_t b) {
  return a < 0 || b < 0 ? -1 : a / b;
}

}  // namespace
}  // namespace swinv2

using namespace swinv2;

extern "C" {

std::vector<std::vector<int64_t>> SwinV2WindowAttentionInferShape(int* ndims, int64_t** shapes, aot::Extra*) {
  if (ndims[0] != 4 || ndims[1] != 3) return {{-2}, {-2}};  // dynamic rank
  const int64_t *qkv = shapes[0], *table = shapes[1];
  const int64_t window_h = over(times(table[1], 1) + 1, 2), window_w = over(table[2] + 1, 2);
  const int64_t windows = times(qkv[0], times(over(qkv[1], window_h), over(qkv[2], window_w)));
  const int64_t tokens = times(over(times(window_h, window_w) + 7, 8), 8);
  return {{qkv[0], qkv[1], qkv[2], over(qkv[3], 3)}, {windows, table[0], tokens}};
}

std::vector<aot::TypeId> SwinV2WindowAttentionInferType(std::vector<aot::TypeId> types, aot::Extra*) {
  return {types[0], aot::kFloat32};
}

int SwinV2WindowAttention(int count, void** data, int* ndims, int64_t** shapes, const char** dtypes, void*,
                          void* extra) {
  return aot::run([&] {
    const aot::Arguments a{count, data, ndims, shapes, dtypes};
    const WindowAttention op = check(a, static_cast<aot::Extra*>(extra));
    window_attention_forward(op, {a.data[0], a.f32(1), a.f32(2), a.data[3], a.f32(4)});
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
    window_attention_backward(
        op, {a.data[0], a.f32(1), a.f32(2), a.data[3], a.f32(4), a.data[5], a.data[6], a.f32(7), a.f32(8)});
  });
}

}  // extern "C"
