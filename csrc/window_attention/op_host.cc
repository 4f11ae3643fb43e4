// SPDX-License-Identifier: Apache-2.0
//
// The operators as CANN knows them on ascend910 and ascend910b: prototypes, shapes and tiling. Built into the op package
// by `python -m swinv2_kernels.op_package`, not by this project's CMake. bias is prepare_bias of the table for the chip,
// dbias and dscale are sums for gather_gradients (tiling_host.h); window_size cannot be read off them and is an
// attribute. scale is the factor itself, exp(min(logit_scale, ln 100)) of cosine attention.
#include <cstring>

#include "base/err_msg.h"
#include "core/check.h"
#include "register/op_def_registry.h"
#include "tiling/platform/platform_ascendc.h"
#include "window_attention/tiling_host.h"
#include "window_attention/window_attention_shapes.h"

namespace swinv2 {
namespace {

enum Input { kQkv, kBias, kScale };
enum GradOutput { kDqkv, kDbias, kDscale };
enum Attribute { kWindowSize, kShiftSize, kValidSize, kMaskValue, kCosine };

Shape dimensions(const gert::Shape& shape) {
  Shape all;
  for (size_t i = 0; i < shape.GetDimNum(); ++i) all.push_back(shape.GetDim(i));
  return all;
}

void set(gert::Shape* shape, const Shape& dimensions) {
  shape->SetDimNum(dimensions.size());
  for (size_t i = 0; i < dimensions.size(); ++i) shape->SetDim(i, dimensions[i]);
}

template <class Context>
WindowAttention problem(const Context* context, const Shape& qkv, const Shape& scale, DType dtype) {
  const gert::RuntimeAttrs* attributes = context->GetAttrs();
  const auto pair = [&](Attribute a, const char* name) {
    const auto* numbers = attributes->GetListInt(a);
    if (numbers->GetSize() != 2) fail(name, ": expected 2 numbers, got ", numbers->GetSize());
    return numbers->GetData();
  };
  const int64_t *window = pair(kWindowSize, "window_size"), *shift = pair(kShiftSize, "shift_size"),
                *valid = pair(kValidSize, "valid_size");
  if (scale.size() != 1) fail("scale: expected shape (heads,), one a head, got ", text(scale));
  return check_problem(qkv, dtype, scale[0], window[0], window[1],
                       {shift[0], shift[1], valid[0], valid[1], *attributes->GetFloat(kMaskValue),
                        *attributes->GetBool(kCosine)});
}

// An error's text becomes CANN's, for aclGetRecentErrMsg.
template <class F>
ge::graphStatus reported(F&& body) {
  try {
    return body();
  } catch (const InvalidArgument& error) {
    if (ge::ReportUserDefinedErrMsg != nullptr)  // a weak symbol
      ge::ReportUserDefinedErrMsg("EU0001", "%s", error.what());
    return ge::GRAPH_FAILED;
  }
}

template <class Tiling>
ge::graphStatus hand_over(gert::TilingContext* context, const Tiling& tiling, int64_t workspace) {
  gert::TilingData* data = context->GetRawTilingData();
  if (data->GetCapacity() < sizeof(tiling))
    fail("tiling: expected room for ", sizeof(tiling), " bytes, got ", data->GetCapacity());
  std::memcpy(data->GetData(), &tiling, sizeof(tiling));
  data->SetDataSize(sizeof(tiling));
  context->SetBlockDim(tiling.cores);
  context->SetTilingKey(0);
  context->GetWorkspaceSizes(1)[0] = workspace;
  return ge::GRAPH_SUCCESS;
}

void expect(const char* name, const gert::StorageShape* given, const Shape& expected) {
  const Shape shape = dimensions(given->GetStorageShape());
  if (shape != expected) fail(name, ": expected shape ", text(expected), ", got ", text(shape));
}

WindowAttention problem(const gert::TilingContext* context) {
  const DType dtype =
      context->GetInputDesc(kQkv)->GetDataType() == ge::DT_BF16 ? DType::kBFloat16 : DType::kFloat16;
  return problem(context, dimensions(context->GetInputShape(kQkv)->GetStorageShape()),
                 dimensions(context->GetInputShape(kScale)->GetStorageShape()), dtype);
}

using Platform = platform_ascendc::PlatformAscendC;

bool on_910b(const Platform& platform) {
  return platform.GetSocVersion() == platform_ascendc::SocVersion::ASCEND910B;
}

// Ours behind the library's, where there is any: the 910's kernels exchange nothing.
template <class Tiling>
int64_t whole_workspace(const Platform& platform, const Tiling& tiling) {
  return on_910b(platform) ? platform.GetLibApiWorkSpaceSize() + workspace_bytes(tiling) : 0;
}

ge::graphStatus tile(gert::TilingContext* context) {
  return reported([&] {
    const WindowAttention op = problem(context);
    const Platform platform(context->GetPlatformInfo());
    ChipLimits chip = on_910b(platform) ? kAscend910B : kAscend910;
    if (const int32_t cores = platform.GetCoreNumAic()) chip.cores = cores;
    return with_tiling(op, chip, [&](const auto& tiling) {
      expect("bias", context->GetInputShape(kBias), bias_shape(tiling));
      return hand_over(context, tiling, whole_workspace(platform, tiling));
    });
  });
}

// The sums' shapes, and so the cores, were settled when the graph was built (aot_ascend.cc); a device that has fewer runs
// the others after them.
ge::graphStatus tile_grad(gert::TilingContext* context) {
  return reported([&] {
    const WindowAttention op = problem(context);
    const Platform platform(context->GetPlatformInfo());
    return with_grad_tiling(op, on_910b(platform) ? kAscend910B : kAscend910, [&](const auto& tiling) {
      const Partials partials = partials_of(tiling);
      expect("bias", context->GetInputShape(kBias), bias_shape(tiling));
      expect("dbias", context->GetOutputShape(kDbias), partials.dbias);
      expect("dscale", context->GetOutputShape(kDscale), partials.dscale);
      return hand_over(context, tiling, whole_workspace(platform, tiling));
    });
  });
}

// Checks as soon as every dimension is known; before that, unknown ones stay unknown.
ge::graphStatus infer_shape(gert::InferShapeContext* context) {
  if (context->GetInputShape(kQkv) == nullptr || context->GetInputShape(kScale) == nullptr)
    return ge::GRAPH_FAILED;
  return reported([&] {
    const Shape qkv = dimensions(*context->GetInputShape(kQkv)),
                scale = dimensions(*context->GetInputShape(kScale));
    std::vector<Shape> shapes;
    if (known(qkv) && known(scale)) {
      const WindowAttention op = problem(context, qkv, scale, DType::kFloat16);
      shapes = {out_shape(op), stats_shape(op)};
    } else {
      shapes = unknown_shapes(qkv, scale.size() == 1 && known(scale) ? scale[0] : -1);
    }
    for (int i = 0; i < 2; ++i) set(context->GetOutputShape(i), shapes[i]);
    return ge::GRAPH_SUCCESS;
  });
}

ge::graphStatus infer_data_type(gert::InferDataTypeContext* context) {
  context->SetOutputDataType(0, context->GetInputDataType(kQkv));
  context->SetOutputDataType(1, ge::DT_FLOAT);
  return ge::GRAPH_SUCCESS;
}

// How many sums there are depends on the chip, which is not known here.
ge::graphStatus infer_grad_shape(gert::InferShapeContext* context) {
  if (context->GetInputShape(kQkv) == nullptr) return ge::GRAPH_FAILED;
  *context->GetOutputShape(kDqkv) = *context->GetInputShape(kQkv);
  for (const GradOutput sums : {kDbias, kDscale}) set(context->GetOutputShape(sums), {-2});
  return ge::GRAPH_SUCCESS;
}

ge::graphStatus infer_grad_data_type(gert::InferDataTypeContext* context) {
  context->SetOutputDataType(kDqkv, context->GetInputDataType(kQkv));
  for (const GradOutput sums : {kDbias, kDscale}) context->SetOutputDataType(sums, ge::DT_FLOAT);
  return ge::GRAPH_SUCCESS;
}

}  // namespace
}  // namespace swinv2

namespace ops {
namespace {

enum Kind { kStorage, kFloat32 };
struct Tensor {
  const char* name;
  Kind kind;
};
using Tensors = std::vector<Tensor>;

// Of an operator, or what is special of one on a chip.
template <class Definition>
void define(Definition& definition, const Tensors& inputs, const Tensors& outputs,
            const std::vector<ge::DataType>& storage) {
  const std::vector<ge::Format> formats(storage.size(), ge::FORMAT_ND);
  const auto tensor = [&](OpParamDef& parameter, Kind kind) {
    parameter.ParamType(REQUIRED)
        .DataType(kind == kStorage ? storage : std::vector<ge::DataType>(storage.size(), ge::DT_FLOAT))
        .Format(formats)
        .UnknownShapeFormat(formats);
  };
  for (const Tensor& t : inputs) tensor(definition.Input(t.name), t.kind);
  for (const Tensor& t : outputs) tensor(definition.Output(t.name), t.kind);
}

void define(OpDef& op, const Tensors& inputs, const Tensors& outputs) {
  define(op, inputs, outputs, {ge::DT_FLOAT16, ge::DT_BF16});
  op.Attr("window_size").AttrType(REQUIRED).ListInt();
  op.Attr("shift_size").AttrType(OPTIONAL).ListInt({0, 0});
  op.Attr("valid_size").AttrType(OPTIONAL).ListInt({-1, -1});
  op.Attr("mask_value").AttrType(OPTIONAL).Float(-100.f);
  op.Attr("cosine").AttrType(OPTIONAL).Bool(true);
  OpAICoreConfig without_bfloat16;
  without_bfloat16.DynamicCompileStaticFlag(true)
      .DynamicFormatFlag(true)
      .DynamicRankSupportFlag(true)
      .DynamicShapeSupportFlag(true)
      .NeedCheckSupportFlag(false)
      .PrecisionReduceFlag(true);
  define(without_bfloat16, inputs, outputs, {ge::DT_FLOAT16});
  op.AICore().AddConfig("ascend910", without_bfloat16).AddConfig("ascend910b");
}

}  // namespace

class SwinV2WindowAttentionAscend : public OpDef {
 public:
  explicit SwinV2WindowAttentionAscend(const char* name) : OpDef(name) {
    define(*this, {{"qkv", kStorage}, {"bias", kFloat32}, {"scale", kFloat32}},
           {{"out", kStorage}, {"stats", kFloat32}});
    this->SetInferShape(swinv2::infer_shape).SetInferDataType(swinv2::infer_data_type);
    this->AICore().SetTiling(swinv2::tile);
  }
};

class SwinV2WindowAttentionGradAscend : public OpDef {
 public:
  explicit SwinV2WindowAttentionGradAscend(const char* name) : OpDef(name) {
    define(*this,
           {{"qkv", kStorage},
            {"bias", kFloat32},
            {"scale", kFloat32},
            {"out", kStorage},
            {"stats", kFloat32},
            {"dout", kStorage}},
           {{"dqkv", kStorage}, {"dbias", kFloat32}, {"dscale", kFloat32}});
    this->SetInferShape(swinv2::infer_grad_shape).SetInferDataType(swinv2::infer_grad_data_type);
    this->AICore().SetTiling(swinv2::tile_grad);
  }
};

OP_ADD(SwinV2WindowAttentionAscend);
OP_ADD(SwinV2WindowAttentionGradAscend);

}  // namespace ops
