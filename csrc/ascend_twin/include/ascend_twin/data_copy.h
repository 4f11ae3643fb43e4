// SPDX-License-Identifier: Apache-2.0
// DataCopy and DataCopyPad.
#pragma once

#include <utility>
#include <vector>

#include "ascend_twin/copy_ops.h"
#include "ascend_twin/tensor.h"

namespace AscendC {
inline namespace ASCEND_TWIN_NAMESPACE {

namespace detail {
using ::ascend_twin::Place;
template <typename T>
Place At(const LocalTensor<T>& t) {
  Place p;
  p.mem = t.Memory();
  p.addr = t.address_.bufferAddr;
  p.limit = t.address_.bufferEnd;
  p.type = TypeOf<T>();
  return p;
}
template <typename T>
Place At(const GlobalTensor<T>& t) {
  Place p;
  p.mem = Mem::kGM;
  p.gm = t.Tensor();
  p.addr = t.Offset();
  p.type = TypeOf<T>();
  return p;
}
template <typename A, typename B>
void Blocks(const A& dst, const B& src, const DataCopyParams& p, const Where& where) {
  ::ascend_twin::DataCopyBlocks(Current(), "DataCopy", At(dst), At(src), p.blockCount, p.blockLen,
                                p.srcStride, p.dstStride, where);
}
}  // namespace detail

// Blocks of 32 B; strides are gaps from the end of one burst to the start of the next.
template <typename T>
void DataCopy(const LocalTensor<T>& dst, const GlobalTensor<T>& src, const DataCopyParams& params,
              ASCEND_TWIN_WHERE) {
  detail::Blocks(dst, src, params, where);
}
template <typename T>
void DataCopy(const GlobalTensor<T>& dst, const LocalTensor<T>& src, const DataCopyParams& params,
              ASCEND_TWIN_WHERE) {
  detail::Blocks(dst, src, params, where);
}
template <typename T>
void DataCopy(const LocalTensor<T>& dst, const LocalTensor<T>& src, const DataCopyParams& params,
              ASCEND_TWIN_WHERE) {
  detail::Blocks(dst, src, params, where);
}
template <typename T, typename U>
void DataCopy(const LocalTensor<T>& dst, const LocalTensor<U>& src, const DataCopyParams& params,
              ASCEND_TWIN_WHERE) {
  detail::Blocks(dst, src, params, where);
}

// Elements; their bytes are a multiple of 32.
template <typename T>
void DataCopy(const LocalTensor<T>& dst, const GlobalTensor<T>& src, const uint32_t count,
              ASCEND_TWIN_WHERE) {
  ::ascend_twin::DataCopyCount(detail::Current(), "DataCopy", detail::At(dst), detail::At(src), count, where);
}
template <typename T>
void DataCopy(const GlobalTensor<T>& dst, const LocalTensor<T>& src, const uint32_t count,
              ASCEND_TWIN_WHERE) {
  ::ascend_twin::DataCopyCount(detail::Current(), "DataCopy", detail::At(dst), detail::At(src), count, where);
}
template <typename T>
void DataCopy(const LocalTensor<T>& dst, const LocalTensor<T>& src, const uint32_t count, ASCEND_TWIN_WHERE) {
  ::ascend_twin::DataCopyCount(detail::Current(), "DataCopy", detail::At(dst), detail::At(src), count, where);
}

// Enhanced: between GM and local memory only the normal block mode; between L0C and UB whole fractals (910).
template <typename T>
void DataCopy(const LocalTensor<T>& dst, const GlobalTensor<T>& src, const DataCopyParams& params,
              const DataCopyEnhancedParams&, ASCEND_TWIN_WHERE) {
  detail::Blocks(dst, src, params, where);
}
template <typename T>
void DataCopy(const GlobalTensor<T>& dst, const LocalTensor<T>& src, const DataCopyParams& params,
              const DataCopyEnhancedParams&, ASCEND_TWIN_WHERE) {
  detail::Blocks(dst, src, params, where);
}
template <typename T, typename U>
void DataCopy(const LocalTensor<T>& dst, const LocalTensor<U>& src, const DataCopyParams& params,
              const DataCopyEnhancedParams& enhanced, ASCEND_TWIN_WHERE) {
  static_assert(
      std::is_same<T, U>::value || (std::is_same<T, half>::value && std::is_same<U, float>::value),
      "DataCopy converts only float to half on the way; the dequantising forms are not in the twin");
  if (enhanced.blockMode == BlockMode::BLOCK_MODE_NORMAL) {
    detail::Blocks(dst, src, params, where);
    return;
  }
  detail::Core& core = detail::Current();
  if (enhanced.deqScale != DeqScale::DEQ_NONE || enhanced.blockMode > BlockMode::BLOCK_MODE_VECTOR) {
    core.Fail(detail::Rule::kNotOnChip, "DataCopy", where,
              "the twin has the block modes MATRIX and VECTOR without dequantisation");
    return;
  }
  ::ascend_twin::FractalCopyCall call;
  call.matrix = enhanced.blockMode == BlockMode::BLOCK_MODE_MATRIX;
  call.relu = enhanced.isRelu;
  call.block_count = params.blockCount;
  call.block_len = params.blockLen;
  call.src_stride = params.srcStride;
  call.dst_stride = params.dstStride;
  ::ascend_twin::DataCopyFractals(core, "DataCopy", detail::At(dst), detail::At(src), call, where);
}

// Row-major (n, d) to Nz while loading L1. The 910 emulates it in its headers with scratch; treated as
// absent.
template <typename T>
void DataCopy(const LocalTensor<T>& dst, const GlobalTensor<T>& src, const Nd2NzParams& p,
              ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B && sizeof(T) > 0, "DataCopy with Nd2NzParams");
  ::ascend_twin::DataCopyNd2Nz(detail::Current(), "DataCopy ND2NZ", detail::At(dst), detail::At(src),
                               {p.ndNum, p.nValue, p.dValue, p.srcNdMatrixStride, p.srcDValue,
                                p.dstNzC0Stride, p.dstNzNStride, p.dstNzMatrixStride},
                               where);
}

// Nz in UB to row-major in GM.
template <typename T>
void DataCopy(const GlobalTensor<T>& dst, const LocalTensor<T>& src, const Nz2NdParamsFull& p,
              ASCEND_TWIN_WHERE) {
  ::ascend_twin::DataCopyNz2Nd(
      detail::Current(), "DataCopy NZ2ND", detail::At(dst), detail::At(src),
      {p.ndNum, p.nValue, p.dValue, p.srcNdMatrixStride, p.srcNStride, p.dstDStride, p.dstNdMatrixStride},
      where);
}

// Slices: element ranges of each dimension, bursts of burstLen blocks in the first.
namespace detail {
inline std::vector<int64_t> SliceOffsets(const SliceInfo info[], uint32_t dims, uint32_t size) {
  std::vector<int64_t> offsets;
  const uint32_t burst = info[0].burstLen * ONE_BLK_SIZE / size, step = burst + info[0].stride;
  const uint32_t bursts = (info[0].endIndex - info[0].startIndex + 1 + info[0].stride) / (step ? step : 1);
  for (uint32_t i = 0; i < bursts; ++i)
    offsets.push_back(info[0].startIndex + static_cast<int64_t>(i) * step);
  int64_t row = info[0].shapeValue;
  for (uint32_t d = 1; d < dims; ++d) {
    std::vector<int64_t> all;
    for (uint32_t i = info[d].startIndex; i <= info[d].endIndex; i += 1 + info[d].stride)
      for (const int64_t o : offsets) all.push_back(o + i * row);
    offsets = std::move(all);
    row *= info[d].shapeValue;
  }
  return offsets;
}
template <typename A, typename B, typename T>
void CopySlices(const A& dst, const B& src, const SliceInfo d[], const SliceInfo s[], uint32_t dims,
                const Where& where) {
  const auto to = SliceOffsets(d, dims, sizeof(T)), from = SliceOffsets(s, dims, sizeof(T));
  if (to.size() != from.size() || d[0].burstLen != s[0].burstLen) {
    Current().Fail(Rule::kDmaLimit, "DataCopy", where,
                   "the two slices differ in their number or length of bursts");
    return;
  }
  for (size_t i = 0; i < to.size(); ++i)
    ::ascend_twin::DataCopyBlocks(Current(), "DataCopy", At(dst[static_cast<uint32_t>(to[i])]),
                                  At(src[static_cast<uint32_t>(from[i])]), 1, s[0].burstLen, 0, 0, where);
}
}  // namespace detail
template <typename T>
void DataCopy(const LocalTensor<T>& dst, const GlobalTensor<T>& src, const SliceInfo dstSliceInfo[],
              const SliceInfo srcSliceInfo[], const uint32_t dimValue = 1, ASCEND_TWIN_WHERE) {
  detail::CopySlices<LocalTensor<T>, GlobalTensor<T>, T>(dst, src, dstSliceInfo, srcSliceInfo, dimValue,
                                                         where);
}
template <typename T>
void DataCopy(const GlobalTensor<T>& dst, const LocalTensor<T>& src, const SliceInfo dstSliceInfo[],
              const SliceInfo srcSliceInfo[], const uint32_t dimValue = 1, ASCEND_TWIN_WHERE) {
  detail::CopySlices<GlobalTensor<T>, LocalTensor<T>, T>(dst, src, dstSliceInfo, srcSliceInfo, dimValue,
                                                         where);
}

template <typename T, TPosition pos = TPosition::MAX>
void SetPadValue(T paddingValue) {
  ASCEND_TWIN_REQUIRE(kIs910B && sizeof(T) > 0, "SetPadValue");
  uint64_t value = 0;
  std::memcpy(&value, &paddingValue, sizeof(T));
  detail::Current().pad_value = value;
  detail::Current().pad_value_set = true;
}

// Byte-granular copies with padding; absent on the 910.
template <typename T>
void DataCopyPad(const LocalTensor<T>& dst, const GlobalTensor<T>& src, const DataCopyParams& p,
                 const DataCopyPadParams& pad, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B && sizeof(T) > 0, "DataCopyPad");
  ::ascend_twin::DataCopyPadOp(detail::Current(), "DataCopyPad", detail::At(dst), detail::At(src),
                               {p.blockCount, p.blockLen, p.srcStride, p.dstStride, pad.isPad,
                                pad.leftPadding, pad.rightPadding, pad.paddingValue},
                               where);
}
template <typename T>
void DataCopyPad(const GlobalTensor<T>& dst, const LocalTensor<T>& src, const DataCopyParams& p,
                 ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B && sizeof(T) > 0, "DataCopyPad");
  ::ascend_twin::DataCopyPadOp(detail::Current(), "DataCopyPad", detail::At(dst), detail::At(src),
                               {p.blockCount, p.blockLen, p.srcStride, p.dstStride, false, 0, 0, 0}, where);
}
template <typename T>
void DataCopyPad(const LocalTensor<T>& dst, const GlobalTensor<T>& src, const DataCopyExtParams& p,
                 const DataCopyPadExtParams<T>& pad, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B && sizeof(T) > 0, "DataCopyPad");
  uint64_t value = 0;
  std::memcpy(&value, &pad.paddingValue, sizeof(T));
  ::ascend_twin::DataCopyPadOp(detail::Current(), "DataCopyPad", detail::At(dst), detail::At(src),
                               {p.blockCount, p.blockLen, p.srcStride, p.dstStride, pad.isPad,
                                pad.leftPadding, pad.rightPadding, value},
                               where);
}
template <typename T>
void DataCopyPad(const GlobalTensor<T>& dst, const LocalTensor<T>& src, const DataCopyExtParams& p,
                 ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B && sizeof(T) > 0, "DataCopyPad");
  ::ascend_twin::DataCopyPadOp(detail::Current(), "DataCopyPad", detail::At(dst), detail::At(src),
                               {p.blockCount, p.blockLen, p.srcStride, p.dstStride, false, 0, 0, 0}, where);
}

}  // namespace ASCEND_TWIN_NAMESPACE
}  // namespace AscendC
