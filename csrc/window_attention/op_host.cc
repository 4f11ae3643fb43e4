// SPDX-License-Identifier: Apache-2.0
//
// The operator as CANN knows it on ascend910 and ascend910b: prototype, shapes and tiling. Built into an op package
// with CANN 8.1, not by this project's CMake. prepared_bias is prepare_bias of the table for the chip (tiling_host.h);
// window_size cannot be read off it and is an attribute here. scale is exp(min(logit_scale, ln 100)): what depends on
// parameters alone comes prepared.
#include <cstring>

#include "core/error.h"
#include "register/op_def_registry.h"
#include "tiling/platform/platform_ascendc.h"
#include "window_attention/tiling_host.h"

namespace swinv2 {
namespace {

enum Input { kQkv, kPreparedBias, kScale };
enum Attribute { kWindowSize, kShiftSize, kValidSize, kMaskValue, kCosine };

template <class Context>
WindowAttention problem(const Context* context, const gert::Shape& qkv, int64_t heads, DType dtype) {
  const gert::RuntimeAttrs* attributes = context->GetAttrs();
  const auto pair = [&](Attribute a) {
    return static_cast<const int64_t*>(attributes->GetListInt(a)->GetData());
  };
  const int64_t *window = pair(kWindowSize), *shift = pair(kShiftSize), *valid = pair(kValidSize);
  const int64_t batch = qkv.GetDim(0), height = qkv.GetDim(1), width = qkv.GetDim(2),
                channels = qkv.GetDim(3);
  return {{batch, height, width, window[0], window[1], shift[0], shift[1], valid[0] < 0 ? height : valid[0],
           valid[1] < 0 ? width : valid[1]},
          heads,
          channels / 3 / heads,
          *attributes->GetFloat(kMaskValue),
          *attributes->GetBool(kCosine),
          dtype};
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
  const WindowAttention op =
      problem(context, qkv->GetStorageShape(), scale->GetStorageShape().GetDim(0), dtype);
  const platform_ascendc::PlatformAscendC platform(context->GetPlatformInfo());
  try {
    if (platform.GetSocVersion() != platform_ascendc::SocVersion::ASCEND910B)
      return hand_over(context, tile_window_attention(op, kAscend910), 0);
    ChipLimits chip = kAscend910B;
    chip.cores = platform.GetCoreNumAic();
    const WindowAttentionTiling910B tiling = tile_window_attention_910b(op, chip);
    return hand_over(context, tiling, platform.GetLibApiWorkSpaceSize() + workspace_bytes(tiling));
  } catch (const InvalidArgument&) {
    return ge::GRAPH_FAILED;
  }
}

ge::graphStatus infer_shape(gert::InferShapeContext* context) {
  const gert::Shape *qkv = context->GetInputShape(kQkv), *scale = context->GetInputShape(kScale);
  if (qkv == nullptr || scale == nullptr || qkv->GetDimNum() != 4) return ge::GRAPH_FAILED;
  const WindowAttention op = problem(context, *qkv, scale->GetDim(0), DType::kFloat16);
  gert::Shape *out = context->GetOutputShape(0), *stats = context->GetOutputShape(1);
  *out = *qkv;
  out->SetDim(3, qkv->GetDim(3) / 3);
  stats->SetDimNum(3);
  stats->SetDim(0, op.geometry.windows());
  stats->SetDim(1, op.num_heads);
  stats->SetDim(2, op.stats_tokens());
  return ge::GRAPH_SUCCESS;
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
