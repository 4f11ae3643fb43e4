// SPDX-License-Identifier: Apache-2.0
// LoadData, Mmad, Fixpipe: L0A is Zz, L0B Zn, L0C Nz.
#pragma once

#include "ascend_twin/data_copy.h"

namespace AscendC {
inline namespace ASCEND_TWIN_NAMESPACE {

namespace detail {
inline ::ascend_twin::Load2DCall Load2DOf(const LoadData2DParams& p) {
  return {p.startIndex, p.repeatTimes, p.srcStride, p.dstGap, p.ifTranspose, p.addrMode != 0};
}
}  // namespace detail

// Fractals of 512 B: srcStride counts from start to start, dstGap is a gap (the 910 has none).
template <typename T>
void LoadData(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LoadData2DParams& params,
              ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(sizeof(T) <= 2 || kIs910B, "LoadData with LoadData2DParams");
  ::ascend_twin::Load2D(detail::Current(), "LoadData", detail::At(dst), detail::At(src),
                        detail::Load2DOf(params), where);
}
template <typename T>
void LoadData(const LocalTensor<T>& dst, const GlobalTensor<T>& src, const LoadData2DParams& params,
              ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(sizeof(T) <= 2 || kIs910B, "LoadData with LoadData2DParams");
  ::ascend_twin::Load2D(detail::Current(), "LoadData", detail::At(dst), detail::At(src),
                        detail::Load2DOf(params), where);
}
template <typename T>
void LoadDataWithTranspose(const LocalTensor<T>& dst, const LocalTensor<T>& src,
                           const LoadData2dTransposeParams& p, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B && (sizeof(T) <= 4), "LoadDataWithTranspose");
  ::ascend_twin::Load2DTranspose(detail::Current(), "LoadDataWithTranspose", detail::At(dst), detail::At(src),
                                 {p.startIndex, p.repeatTimes, p.srcStride, p.dstGap, p.dstFracGap}, where);
}

// Which registers LoadData 3D sets from its parameters, instead of taking what SetFmatrix and
// SetLoadDataPaddingValue left in them.
struct IsResetLoad3dConfig {
  constexpr IsResetLoad3dConfig(const bool isSetFMatrixIn, const bool isSetPaddingIn)
      : isSetFMatrix(isSetFMatrixIn), isSetPadding(isSetPaddingIn) {}
  bool isSetFMatrix = true;
  bool isSetPadding = true;
};
inline constexpr IsResetLoad3dConfig IS_RESER_LOAD3D_DEFAULT_CONFIG = {true, true};
enum class FmatrixMode : uint8_t { FMATRIX_LEFT = 0, FMATRIX_RIGHT = 1 };

// Image to columns; absent on the 910. L0B is always loaded transposed.
template <typename T, const IsResetLoad3dConfig& defaultConfig = IS_RESER_LOAD3D_DEFAULT_CONFIG>
void LoadData(const LocalTensor<T>& dst, const LocalTensor<T>& src, const LoadData3DParamsV2<T>& p,
              ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B && sizeof(T) <= 4, "LoadData with LoadData3DParamsV2");
  ::ascend_twin::Load3DCall call = {};
  call.h = p.l1H, call.w = p.l1W, call.channels = p.channelSize;
  call.k_extension = p.kExtension, call.m_extension = p.mExtension;
  call.k_start = p.kStartPt, call.m_start = p.mStartPt;
  call.stride_w = p.strideW, call.stride_h = p.strideH;
  call.filter_w = p.filterW + (p.filterSizeW ? 256u : 0u),
  call.filter_h = p.filterH + (p.filterSizeH ? 256u : 0u);
  call.dilation_w = p.dilationFilterW, call.dilation_h = p.dilationFilterH;
  for (int i = 0; i < 4; ++i) call.pad[i] = p.padList[i];
  call.transpose = p.enTranspose;
  std::memcpy(&call.pad_bits, &p.padValue, sizeof(T));
  call.right = p.fMatrixCtrl;
  call.set_image = defaultConfig.isSetFMatrix;
  call.set_padding = defaultConfig.isSetPadding;
  ::ascend_twin::Load3D(detail::Current(), "LoadData 3D", detail::At(dst), detail::At(src), call, where);
}

template <typename T = uint16_t>
void SetFmatrix(const T l1H, const T l1W, const uint8_t padList[4], const FmatrixMode& fmatrixMode,
                ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B && std::is_integral<T>::value, "SetFmatrix");
  ::ascend_twin::SetImage(detail::Current(), fmatrixMode == FmatrixMode::FMATRIX_RIGHT, l1H, l1W, padList,
                          where);
}
template <typename T>
void SetLoadDataPaddingValue(const T padValue) {
  ASCEND_TWIN_REQUIRE(kIs910B && sizeof(T) <= 4, "SetLoadDataPaddingValue");
  ::ascend_twin::Load3DState& state = detail::Current().load3d;
  state.padding = 0;
  std::memcpy(&state.padding, &padValue, sizeof(T));
  state.padding_set = true;
}
// L1 beyond this many bytes (0: no boundary) is read from its start.
template <typename T = uint32_t>
void SetLoadDataBoundary(const T boundaryValue, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B && std::is_integral<T>::value, "SetLoadDataBoundary");
  ::ascend_twin::SetLoad3DBoundary(detail::Current(), static_cast<int64_t>(boundaryValue), where);
}

// Fills L0A, L0B (both chips) or L1 (910B) with a constant.
template <typename T, typename U = T>
void InitConstValue(const LocalTensor<T>& dst, const InitConstValueParams<U>& p, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(
      (OneOf<T, half, int16_t, uint16_t>) || (kIs910B && OneOf<T, bfloat16_t, float, int32_t, uint32_t>),
      "InitConstValue");
  uint32_t bits = 0;
  std::memcpy(&bits, &p.initValue, sizeof(U));
  if (sizeof(T) == 2) bits |= bits << 16;
  ::ascend_twin::FillFractals(detail::Current(), "InitConstValue", detail::At(dst), p.repeatTimes, p.blockNum,
                              p.dstGap, bits, where);
}
template <typename T, typename U = T>
void Fill(const LocalTensor<T>& dst, const InitConstValueParams<U>& p, ASCEND_TWIN_WHERE) {
  InitConstValue<T, U>(dst, p, where);
}

// C (m, n) = A (m, k) x B (k, n), plus C unless cmatrixInitVal; float accumulation.
template <typename T, typename U, typename S>
void Mmad(const LocalTensor<T>& dst, const LocalTensor<U>& fm, const LocalTensor<S>& filter,
          const MmadParams& p, ASCEND_TWIN_WHERE) {
  constexpr bool same = std::is_same<U, S>::value;
  ASCEND_TWIN_REQUIRE((same && std::is_same<U, half>::value && std::is_same<T, float>::value) ||
                          (same && std::is_same<U, int8_t>::value && std::is_same<T, int32_t>::value) ||
                          (same && kIs910B && OneOf<U, bfloat16_t, float> && std::is_same<T, float>::value) ||
                          (same && !kIs910B && std::is_same<U, half>::value && std::is_same<T, half>::value),
                      "Mmad");
  ::ascend_twin::MmadCall call;
  call.c = detail::At(dst);
  call.a = detail::At(fm);
  call.b = detail::At(filter);
  call.m = p.m;
  call.n = p.n;
  call.k = p.k;
  call.init = p.cmatrixInitVal && !p.isBias;
  call.unit_flag = p.unitFlag;
  call.align_k = p.kDirectionAlign;
  // C starts from the bias table, whose start the unit takes without a tensor to name it.
  if (p.cmatrixSource && !p.cmatrixInitVal) {
    if (!kIs910B) {
      detail::Current().Fail(detail::Rule::kNotOnChip, "Mmad", where, "ascend910 has no bias table");
      return;
    }
    call.bias.mem = detail::Mem::kBias;
    call.bias.type = TypeOf<T>();
    call.has_bias = true;
    call.init = true;
  }
  ::ascend_twin::MmadOp(detail::Current(), call, where);
}
template <typename T, typename U, typename S, typename V>
void Mmad(const LocalTensor<T>& dst, const LocalTensor<U>& fm, const LocalTensor<S>& filter,
          const LocalTensor<V>& bias, const MmadParams& p, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B && sizeof(T) > 0, "Mmad with bias");
  ::ascend_twin::MmadCall call;
  call.c = detail::At(dst);
  call.a = detail::At(fm);
  call.b = detail::At(filter);
  call.bias = detail::At(bias);
  call.has_bias = true;
  call.m = p.m;
  call.n = p.n;
  call.k = p.k;
  call.init = true;
  call.unit_flag = p.unitFlag;
  call.align_k = p.kDirectionAlign;
  ::ascend_twin::MmadOp(detail::Current(), call, where);
}

namespace detail {
template <typename T, typename U>
constexpr bool FixpipePair =
    (std::is_same<U, float>::value && OneOf<T, float, half, bfloat16_t, int8_t, uint8_t>) ||
    (std::is_same<U, int32_t>::value && OneOf<T, int32_t, half, int8_t, uint8_t>);
inline ::ascend_twin::FixpipeCall FixpipeOf(const FixpipeParamsV220& p, CO2Layout layout) {
  ::ascend_twin::FixpipeCall call;
  call.n = p.nSize;
  call.m = p.mSize;
  call.src_stride = p.srcStride;
  call.dst_stride = p.dstStride;
  call.quant = static_cast<uint8_t>(p.quantPre);
  call.factor = p.deqScalar;
  call.relu = p.reluEn;
  call.row_major = layout == CO2Layout::ROW_MAJOR;
  call.nd_num = p.ndNum;
  call.src_nd_stride = p.srcNdStride;
  call.dst_nd_stride = p.dstNdStride;
  call.channel_split = p.isChannelSplit;
  return call;
}
template <typename T, typename U, typename D>
void Fixpipe(const D& dst, const LocalTensor<U>& src, const ::ascend_twin::FixpipeCall& call,
             const Where& where) {
  ASCEND_TWIN_REQUIRE(kIs910B && (FixpipePair<T, U>), "Fixpipe");
  ::ascend_twin::FixpipeOp(Current(), "Fixpipe", At(dst), At(src), call, where);
}
}  // namespace detail

// L0C to GM or L1, converting, quantising (with one factor, or one a column: uint64 in C1) and untangling Nz
// on the way. dstStride: elements of a row (row-major), or 32 B.
template <typename T, typename U, const FixpipeConfig& config = CFG_ROW_MAJOR>
void Fixpipe(const GlobalTensor<T>& dst, const LocalTensor<U>& src, const FixpipeParamsV220& params,
             ASCEND_TWIN_WHERE) {
  detail::Fixpipe<T, U>(dst, src, detail::FixpipeOf(params, config.format), where);
}
template <typename T, typename U, const FixpipeConfig& config = CFG_ROW_MAJOR>
void Fixpipe(const GlobalTensor<T>& dst, const LocalTensor<U>& src, const LocalTensor<uint64_t>& factors,
             const FixpipeParamsV220& params, ASCEND_TWIN_WHERE) {
  ::ascend_twin::FixpipeCall call = detail::FixpipeOf(params, config.format);
  call.table = detail::At(factors);
  detail::Fixpipe<T, U>(dst, src, call, where);
}
template <typename T, typename U, const FixpipeConfig& config = CFG_ROW_MAJOR>
void Fixpipe(const LocalTensor<T>& dst, const LocalTensor<U>& src, const FixpipeParamsV220& params,
             ASCEND_TWIN_WHERE) {
  detail::Fixpipe<T, U>(dst, src, detail::FixpipeOf(params, config.format), where);
}
template <typename T, typename U, const FixpipeConfig& config = CFG_ROW_MAJOR>
void Fixpipe(const LocalTensor<T>& dst, const LocalTensor<U>& src, const LocalTensor<uint64_t>& factors,
             const FixpipeParamsV220& params, ASCEND_TWIN_WHERE) {
  ::ascend_twin::FixpipeCall call = detail::FixpipeOf(params, config.format);
  call.table = detail::At(factors);
  detail::Fixpipe<T, U>(dst, src, call, where);
}

// The same copy under the name DataCopy. SetFixpipeNz2ndFlag gives the strides of several matrices.
inline void SetFixpipeNz2ndFlag(uint16_t ndNum, uint16_t srcNdStride, uint16_t dstNdStride) {
  ::ascend_twin::SetNz2Nd(detail::Current(), ndNum, srcNdStride, dstNdStride);
}
// The factors of the columns that follow, in C2PIPE2GM.
template <typename T, bool setRelu = false>
void SetFixPipeConfig(const LocalTensor<T>& preData, bool /*isUnitFlag*/ = false) {
  ASCEND_TWIN_REQUIRE(kIs910B && !setRelu, "SetFixPipeConfig");
  ::ascend_twin::SetQuantTable(detail::Current(), detail::At(preData));
}
inline void SetFixpipePreQuantFlag(uint64_t config) {
  ::ascend_twin::SetPreQuant(detail::Current(), config);
}
namespace detail {
template <typename D, typename T, typename U>
void CopyFromL0C(const D& dst, const LocalTensor<U>& src, const DataCopyCO12DstParams& p,
                 const Where& where) {
  ASCEND_TWIN_REQUIRE(kIs910B && (FixpipePair<T, U>), "DataCopy with DataCopyCO12DstParams");
  ::ascend_twin::FixpipeCall call = ::ascend_twin::Nz2NdOf(Current());
  call.n = p.nSize;
  call.m = p.mSize;
  call.src_stride = p.srcStride;
  call.dst_stride = p.dstStride;
  call.quant = static_cast<uint8_t>(p.quantPre);
  call.relu = p.reluPre != 0;
  call.row_major = p.nz2ndEn;
  call.channel_split = p.channelSplit;
  ::ascend_twin::FixpipeOp(Current(), "DataCopy", At(dst), At(src), call, where);
}
}  // namespace detail
template <typename T, typename U>
void DataCopy(const GlobalTensor<T>& dst, const LocalTensor<U>& src, const DataCopyCO12DstParams& p,
              ASCEND_TWIN_WHERE) {
  detail::CopyFromL0C<GlobalTensor<T>, T, U>(dst, src, p, where);
}
template <typename T, typename U>
void DataCopy(const LocalTensor<T>& dst, const LocalTensor<U>& src, const DataCopyCO12DstParams& p,
              ASCEND_TWIN_WHERE) {
  detail::CopyFromL0C<LocalTensor<T>, T, U>(dst, src, p, where);
}

inline void SetHF32Mode(bool) {}
inline void SetHF32TransMode(bool) {}
inline void SetMMLayoutTransform(bool) {}

}  // namespace ASCEND_TWIN_NAMESPACE
}  // namespace AscendC
