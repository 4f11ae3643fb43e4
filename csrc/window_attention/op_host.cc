// SPDX-License-Identifier: Apache-2.0
//
// The operator as CANN knows it on ascend910 and ascend910b: prototype, shapes and tiling. Built into an op package
// with CANN 8.1, not by this project's CMake. prepared_bias is prepare_bias of the table for the chip (tiling_host.h);
// window_size cannot be read off it and is an attribute here. scale is exp(min(logit_scale, ln 100)): what depends on
// parameters alone comes prepared.
#include <cstring>

#include "base/err_msg.h"
#include "core/check.h"
#include "register/op_def_registry.h"
#include "tiling/platform/platform_ascendc.h"
#include "window_attention/tiling_host.h"
#include "window_attention/window_attention_shapes.h"

namespace swinv2 {
namespace {

enum Input { kQkv, kPreparedBias, kScale };
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
  if (data->GetCapacity() < sizeof(tiling)) return ge::GRAPH_FAILED;
  std::memcpy(data->GetData(), &tiling, sizeof(tiling));
  data->SetDataSize(sizeof(tiling));
  context->SetBlockDim(tiling.cores);
  context->GetWorkspaceSizes(1)[0] = workspace;
  return ge::GRAPH_SUCCESS;
}

ge::graphStatus tile(gert::TilingContext* context) {
  const gert::StorageShape *qkv = context->GetInputShape(kQkv), *scale = context->GetInputShape(kScale);
  if (qkv == nullptr || scale == nullptr) return ge::GRAPH_FAILED;
  const DType dtype =
      context->GetInputDesc(kQkv)->GetDataType() == ge::DT_BF16 ? DType::kBFloat16 : DType::kFloat16;
  return reported([&] {
    const WindowAttention op =
        problem(context, dimensions(qkv->GetStorageShape()), dimensions(scale->GetStorageShape()), dtype);
    const platform_ascendc::PlatformAscendC platform(context->GetPlatformInfo());
    if (platform.GetSocVersion() != platform_ascendc::SocVersion::ASCEND910B)
      return hand_over(context, tile_window_attention(op, kAscend910), 0);
    ChipLimits chip = kAscend910B;
    chip.cores = platform.GetCoreNumAic();
    const WindowAttentionTiling910B tiling = tile_window_attention_910b(op, chip);
    return hand_over(context, tiling, platform.GetLibApiWorkSpaceSize() + workspace_bytes(tiling));
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

}  // namespace
}  // namespace swinv2

namespace ops {

class SwinV2WindowAttention : public OpDef {
 public:
  explicit SwinV2WindowAttention(const char* name) : OpDef(name) {
    const auto tensor = [](OpParamDef& parameter, ge::DataType half, ge::DataType bfloat16) {
      parameter.ParamType(REQUIRED)
          .DataType({half, bfloat16})
          .Format({ge::FORMAT_ND, ge::FORMAT_ND})
          .UnknownShapeFormat({ge::FORMAT_ND, ge::FORMAT_ND});
    };
    tensor(this->Input("qkv"), ge::DT_FLOAT16, ge::DT_BF16);
    tensor(this->Input("prepared_bias"), ge::DT_FLOAT, ge::DT_FLOAT);
    tensor(this->Input("scale"), ge::DT_FLOAT, ge::DT_FLOAT);
    tensor(this->Output("out"), ge::DT_FLOAT16, ge::DT_BF16);
    tensor(this->Output("stats"), ge::DT_FLOAT, ge::DT_FLOAT);
    this->Attr("window_size").AttrType(REQUIRED).ListInt();
    this->Attr("shift_size").AttrType(OPTIONAL).ListInt({0, 0});
    this->Attr("valid_size").AttrType(OPTIONAL).ListInt({-1, -1});
    this->Attr("mask_value").AttrType(OPTIONAL).Float(-100.f);
    this->Attr("cosine").AttrType(OPTIONAL).Bool(true);
    this->SetInferShape(swinv2::infer_shape).SetInferDataType(swinv2::infer_data_type);
    this->AICore().SetTiling(swinv2::tile).AddConfig("ascend910").AddConfig("ascend910b");
  }
};

OP_ADD(SwinV2WindowAttention);

}  // namespace ops
