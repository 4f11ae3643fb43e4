// SPDX-License-Identifier: Apache-2.0
//
// Entry points for MindSpore's ops.Custom(func_type="aot") of the Ascend operators (op_host.cc):
//   SwinV2WindowAttentionAscend      (qkv, bias, scale) -> (out, stats)
//   SwinV2WindowAttentionGradAscend  (qkv, bias, scale, out, stats, dout) -> (dqkv, dbias, dscale)
// bias, dbias and dscale are as the kernels have them (tiling_host.h); swinv2_kernels/ascend.py makes the one of the
// table and adds the others up. On Ascend MindSpore asks here for shapes and types, and the op package has the kernels;
// on a CPU the twin runs them. The attribute soc names the chip.
#include "core/aot.h"
#include "core/check.h"
#include "window_attention/tiling_host.h"
#include "window_attention/window_attention_shapes.h"
#include "window_attention/window_attention_twin_host.h"

namespace swinv2 {
namespace {

const ChipLimits& asked_chip(aot::Extra* extra) {
  return chip_of(extra->GetAttrStr("soc").c_str());
}

WindowAttention problem(const aot::Arguments& a, DType dtype, aot::Extra* extra) {
  const std::vector<int64_t> window = extra->GetAttrIntVec("window_size"),
                             shift = extra->GetAttrIntVec("shift_size"),
                             valid = extra->GetAttrIntVec("valid_size");
  const Shape scale = a.shape(2);
  if (scale.size() != 1) fail("scale: expected shape (heads,), one a head, got ", text(scale));
  return check_problem(a.shape(0), dtype, scale[0], window[0], window[1],
                       {shift[0], shift[1], valid[0], valid[1], extra->GetAttrFloat("mask_value"),
                        extra->GetAttrBool("cosine")});
}

#if defined(SWINV2_TWIN)

WindowAttention check(const aot::Arguments& a, aot::Extra* extra) {
  a.expect(2, "scale", DType::kFloat32);
  return problem(a, a.dtype(0, "qkv"), extra);
}

void run_forward(const aot::Arguments& a, aot::Extra* extra) {
  const WindowAttention op = check(a, extra);
  const ChipLimits& chip = asked_chip(extra);
  a.expect(1, "bias", DType::kFloat32, with_tiling(op, chip, [](const auto& t) { return bias_shape(t); }));
  window_attention_forward_twin(op, chip, {a.data[0], a.f32(1), a.f32(2), a.data[3], a.f32(4)});
}

void run_backward(const aot::Arguments& a, aot::Extra* extra) {
  const WindowAttention op = check(a, extra);
  const ChipLimits& chip = asked_chip(extra);
  a.expect(1, "bias", DType::kFloat32,
           with_grad_tiling(op, chip, [](const auto& t) { return bias_shape(t); }));
  a.expect(3, "out", op.dtype, out_shape(op));
  a.expect(4, "stats", DType::kFloat32, stats_shape(op));
  a.expect(5, "dout", op.dtype, out_shape(op));
  window_attention_backward_twin(
      op, chip,
      {a.data[0], a.f32(1), a.f32(2), a.data[3], a.f32(4), a.data[5], a.data[6], a.f32(7), a.f32(8)});
}

#else

void run_forward(const aot::Arguments&, aot::Extra*) {
  fail("backend: this build leaves the twins out; build with CMake's SWINV2_TWIN=ON");
}
void run_backward(const aot::Arguments& a, aot::Extra* extra) {
  run_forward(a, extra);
}

#endif

}  // namespace
}  // namespace swinv2

using namespace swinv2;

extern "C" {

// What the chip cannot run is an error with its text, as soon as every dimension is known.
std::vector<std::vector<int64_t>> SwinV2WindowAttentionAscendInferShape(int* ndims, int64_t** shapes,
                                                                        aot::Extra* extra) {
  const aot::Arguments a{3, nullptr, ndims, shapes, nullptr};
  const Shape scale = a.shape(2);
  if (!a.known(0) || !known(scale))
    return unknown_shapes(a.shape(0), scale.size() == 1 && known(scale) ? scale[0] : -1);
  const WindowAttention op = problem(a, DType::kFloat16, extra);
  with_tiling(op, asked_chip(extra), [](const auto&) {});
  return {out_shape(op), stats_shape(op)};
}

std::vector<aot::TypeId> SwinV2WindowAttentionAscendInferType(std::vector<aot::TypeId> types,
                                                              aot::Extra* extra) {
  aot::expect_types(types, {"qkv"}, {"bias_table", "logit_scale"});
  const ChipLimits& chip = asked_chip(extra);
  const bool bfloat16 = !is_910(chip);
  if (types[0] != aot::kFloat16 && !(bfloat16 && types[0] == aot::kBFloat16))
    fail("qkv: expected ", bfloat16 ? "float16 or bfloat16" : "float16", " on ", chip.name, ", got ",
         aot::text_of(types[0]), "; cast qkv to float16 (bias_table and logit_scale stay float32)");
  return {types[0], aot::kFloat32};
}

int SwinV2WindowAttentionAscend(int count, void** data, int* ndims, int64_t** shapes, const char** dtypes,
                                void*, void* extra) {
  return aot::run(
      [&] { run_forward({count, data, ndims, shapes, dtypes}, static_cast<aot::Extra*>(extra)); });
}

std::vector<std::vector<int64_t>> SwinV2WindowAttentionGradAscendInferShape(int* ndims, int64_t** shapes,
                                                                            aot::Extra* extra) {
  const aot::Arguments a{3, nullptr, ndims, shapes, nullptr};
  if (!a.known(0) || !a.known(2))
    fail("qkv: expected a shape that is known where gradients by the Ascend kernels are built, got ",
         text(a.shape(0)), "; compile with static shapes");
  const Partials partials = with_grad_tiling(problem(a, DType::kFloat16, extra), asked_chip(extra),
                                             [](const auto& t) { return partials_of(t); });
  return {a.shape(0), partials.dbias, partials.dscale};
}

std::vector<aot::TypeId> SwinV2WindowAttentionGradAscendInferType(std::vector<aot::TypeId> types,
                                                                  aot::Extra*) {
  return {types[0], aot::kFloat32, aot::kFloat32};
}

int SwinV2WindowAttentionGradAscend(int count, void** data, int* ndims, int64_t** shapes, const char** dtypes,
                                    void*, void* extra) {
  return aot::run(
      [&] { run_backward({count, data, ndims, shapes, dtypes}, static_cast<aot::Extra*>(extra)); });
}

}  // extern "C"
