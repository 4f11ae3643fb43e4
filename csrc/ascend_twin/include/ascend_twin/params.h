// SPDX-License-Identifier: Apache-2.0
// Parameter structs of the API, in the field order of the public headers.
#pragma once

#include "ascend_twin/types.h"

namespace AscendC {
inline namespace ASCEND_TWIN_NAMESPACE {

// A field of a parameter struct. The device truncates what does not fit; the twin reports it.
template <typename T>
class Field {
 public:
  Field() = default;
  constexpr Field(T value) : value_(value) {}
  template <typename U,
            typename = std::enable_if_t<std::is_arithmetic<U>::value && !std::is_same<U, T>::value>>
  constexpr Field(U value, const char* file = __builtin_FILE(), int line = __builtin_LINE())
      : value_(static_cast<T>(value)) {
    if (static_cast<U>(value_) != value || (value < U(0)) != (value_ < T(0)))
      Overflow(static_cast<double>(value), file, line);
  }
  template <typename U>
  constexpr Field(const Field<U>& other, const char* file = __builtin_FILE(), int line = __builtin_LINE())
      : Field(static_cast<U>(other), file, line) {}
  constexpr operator T() const { return value_; }

 private:
  static void Overflow(double value, const char* file, int line) {
    if (!::ascend_twin::HasCurrent()) return;
    ::ascend_twin::Core& core = ::ascend_twin::Current();
    core.CheckStop();
    if (!core.stopped())
      core.Fail(::ascend_twin::Rule::kStrideRange, "parameter struct", {file, line},
                std::to_string(static_cast<long long>(value)) + " does not fit a field of " +
                    std::to_string(8 * sizeof(T)) + " bits");
  }
  T value_ = 0;
};

struct UnaryRepeatParams {
  UnaryRepeatParams() {}
  UnaryRepeatParams(const Field<uint16_t> dstBlkStrideIn, const Field<uint16_t> srcBlkStrideIn,
                    const Field<uint8_t> dstRepStrideIn, const Field<uint8_t> srcRepStrideIn,
                    const bool halfBlockIn = false)
      : dstBlkStride(dstBlkStrideIn),
        srcBlkStride(srcBlkStrideIn),
        dstRepStride(dstRepStrideIn),
        srcRepStride(srcRepStrideIn),
        halfBlock(halfBlockIn) {}
  Field<uint32_t> blockNumber = DEFAULT_BLK_NUM;
  Field<uint16_t> dstBlkStride = DEFAULT_BLK_STRIDE;
  Field<uint16_t> srcBlkStride = DEFAULT_BLK_STRIDE;
  Field<uint8_t> dstRepStride = DEFAULT_REPEAT_STRIDE;
  Field<uint8_t> srcRepStride = DEFAULT_REPEAT_STRIDE;
  bool repeatStrideMode = false;
  bool strideSizeMode = false;
  bool halfBlock = false;
};

struct BinaryRepeatParams {
  BinaryRepeatParams() {}
  BinaryRepeatParams(const Field<uint8_t> dstBlkStrideIn, const Field<uint8_t> src0BlkStrideIn,
                     const Field<uint8_t> src1BlkStrideIn, const Field<uint8_t> dstRepStrideIn,
                     const Field<uint8_t> src0RepStrideIn, const Field<uint8_t> src1RepStrideIn)
      : dstBlkStride(dstBlkStrideIn),
        src0BlkStride(src0BlkStrideIn),
        src1BlkStride(src1BlkStrideIn),
        dstRepStride(dstRepStrideIn),
        src0RepStride(src0RepStrideIn),
        src1RepStride(src1RepStrideIn) {}
  Field<uint32_t> blockNumber = DEFAULT_BLK_NUM;
  Field<uint8_t> dstBlkStride = DEFAULT_BLK_STRIDE;
  Field<uint8_t> src0BlkStride = DEFAULT_BLK_STRIDE;
  Field<uint8_t> src1BlkStride = DEFAULT_BLK_STRIDE;
  Field<uint8_t> dstRepStride = DEFAULT_REPEAT_STRIDE;
  Field<uint8_t> src0RepStride = DEFAULT_REPEAT_STRIDE;
  Field<uint8_t> src1RepStride = DEFAULT_REPEAT_STRIDE;
  bool repeatStrideMode = false;
  bool strideSizeMode = false;
};

struct BrcbRepeatParams {
  BrcbRepeatParams() {}
  BrcbRepeatParams(const Field<uint16_t> dstBlkStrideIn, const Field<uint16_t> dstRepStrideIn)
      : dstRepStride(dstRepStrideIn), dstBlkStride(dstBlkStrideIn) {}
  Field<uint32_t> blockNumber = DEFAULT_BLK_NUM;
  Field<uint16_t> dstRepStride = DEFAULT_REPEAT_STRIDE;
  Field<uint16_t> dstBlkStride = DEFAULT_BLK_STRIDE;
  Field<uint8_t> src0BlkStride = DEFAULT_BLK_STRIDE;
  Field<uint8_t> src1BlkStride = DEFAULT_BLK_STRIDE;
  Field<uint8_t> src0RepStride = DEFAULT_REPEAT_STRIDE;
  Field<uint8_t> src1RepStride = DEFAULT_REPEAT_STRIDE;
  bool repeatStrideMode = false;
  bool strideSizeMode = false;
};

struct CopyRepeatParams {
  CopyRepeatParams() {}
  CopyRepeatParams(const Field<uint16_t> dstStrideIn, const Field<uint16_t> srcStrideIn,
                   Field<uint16_t> dstRepeatSizeIn, Field<uint16_t> srcRepeatSizeIn)
      : dstStride(dstStrideIn),
        srcStride(srcStrideIn),
        dstRepeatSize(dstRepeatSizeIn),
        srcRepeatSize(srcRepeatSizeIn) {}
  Field<uint16_t> dstStride = 0;
  Field<uint16_t> srcStride = 0;
  Field<uint16_t> dstRepeatSize = DEFAULT_REPEAT_STRIDE;
  Field<uint16_t> srcRepeatSize = DEFAULT_REPEAT_STRIDE;
};

struct GatherRepeatParams {
  GatherRepeatParams() {}
  GatherRepeatParams(const Field<uint8_t> dstBlkStrideIn, const Field<uint8_t> dstRepStrideIn)
      : dstRepStride(dstRepStrideIn), dstBlkStride(dstBlkStrideIn) {}
  Field<uint32_t> blockNumber = DEFAULT_BLK_NUM;
  Field<uint16_t> dstRepStride = DEFAULT_REPEAT_STRIDE;
  Field<uint8_t> dstBlkStride = DEFAULT_BLK_STRIDE;
  Field<uint8_t> src0BlkStride = DEFAULT_BLK_STRIDE;
  Field<uint8_t> src1BlkStride = DEFAULT_BLK_STRIDE;
  Field<uint8_t> src0RepStride = DEFAULT_REPEAT_STRIDE;
  Field<uint8_t> src1RepStride = DEFAULT_REPEAT_STRIDE;
  bool repeatStrideMode = false;
  bool strideSizeMode = false;
};

struct DataCopyParams {
  DataCopyParams() {}
  DataCopyParams(const Field<uint16_t> count, const Field<uint16_t> len, const Field<uint16_t> srcStrideIn,
                 const Field<uint16_t> dstStrideIn)
      : blockCount(count), blockLen(len), srcStride(srcStrideIn), dstStride(dstStrideIn) {}
  Field<uint16_t> blockCount = 1;
  Field<uint16_t> blockLen = 0;
  union {
    Field<uint16_t> srcGap = 0;
    Field<uint16_t> srcStride;
  };
  union {
    Field<uint16_t> dstGap = 0;
    Field<uint16_t> dstStride;
  };
};

struct DataCopyEnhancedParams {
  DataCopyEnhancedParams() {}
  DataCopyEnhancedParams(const BlockMode blockModeIn, const DeqScale deqScaleIn, const uint64_t deqValueIn,
                         const Field<uint8_t> sidStoreModeIn, const bool isReluIn, const pad_t padModeIn,
                         const uint64_t padValueIn)
      : blockMode(blockModeIn),
        deqScale(deqScaleIn),
        deqValue(deqValueIn),
        sidStoreMode(sidStoreModeIn),
        isRelu(isReluIn),
        padMode(padModeIn),
        padValue(padValueIn) {}
  BlockMode blockMode = BlockMode::BLOCK_MODE_NORMAL;
  DeqScale deqScale = DeqScale::DEQ_NONE;
  uint64_t deqValue = 0;
  Field<uint8_t> sidStoreMode = 0;
  bool isRelu = false;
  pad_t padMode = pad_t::PAD_NONE;
  uint64_t padValue = 0;
  uint64_t deqTensorAddr = 0;
};

struct DataCopyPadParams {
  DataCopyPadParams() {}
  DataCopyPadParams(const bool isPadValue, const Field<uint8_t> leftPadValue,
                    const Field<uint8_t> rightPadValue, const uint64_t padValue)
      : isPad(isPadValue), leftPadding(leftPadValue), rightPadding(rightPadValue), paddingValue(padValue) {}
  bool isPad = false;
  Field<uint8_t> leftPadding = 0;
  Field<uint8_t> rightPadding = 0;
  uint64_t paddingValue = 0;
};

struct DataCopyExtParams {
  DataCopyExtParams() {}
  DataCopyExtParams(const Field<uint16_t> count, const Field<uint32_t> len, const Field<uint32_t> srcStrideIn,
                    const Field<uint32_t> dstStrideIn, const Field<uint32_t> rsvIn)
      : blockCount(count), blockLen(len), srcStride(srcStrideIn), dstStride(dstStrideIn), rsv(rsvIn) {}
  Field<uint16_t> blockCount = 1;
  Field<uint32_t> blockLen = 0;
  Field<uint32_t> srcStride = 0;
  Field<uint32_t> dstStride = 0;
  Field<uint32_t> rsv = 0;
};

template <typename T>
struct DataCopyPadExtParams {
  DataCopyPadExtParams() {}
  DataCopyPadExtParams(const bool isPadValue, const Field<uint8_t> leftPadValue,
                       const Field<uint8_t> rightPadValue, T padValue)
      : isPad(isPadValue), leftPadding(leftPadValue), rightPadding(rightPadValue), paddingValue(padValue) {}
  bool isPad = false;
  Field<uint8_t> leftPadding = 0;
  Field<uint8_t> rightPadding = 0;
  T paddingValue = T(0);
};

struct Nd2NzParams {
  Nd2NzParams() {}
  Nd2NzParams(const Field<uint16_t> ndNumIn, const Field<uint16_t> nValueIn, const Field<uint16_t> dValueIn,
              const Field<uint16_t> srcNdMatrixStrideIn, const Field<uint16_t> srcDValueIn,
              const Field<uint16_t> dstNzC0StrideIn, const Field<uint16_t> dstNzNStrideIn,
              const Field<uint16_t> dstNzMatrixStrideIn)
      : ndNum(ndNumIn),
        nValue(nValueIn),
        dValue(dValueIn),
        srcNdMatrixStride(srcNdMatrixStrideIn),
        srcDValue(srcDValueIn),
        dstNzC0Stride(dstNzC0StrideIn),
        dstNzNStride(dstNzNStrideIn),
        dstNzMatrixStride(dstNzMatrixStrideIn) {}
  Field<uint16_t> ndNum = 0;
  Field<uint16_t> nValue = 0;
  Field<uint16_t> dValue = 0;
  Field<uint16_t> srcNdMatrixStride = 0;
  Field<uint16_t> srcDValue = 0;
  Field<uint16_t> dstNzC0Stride = 0;
  Field<uint16_t> dstNzNStride = 0;
  Field<uint16_t> dstNzMatrixStride = 0;
};

struct Nz2NdParamsFull {
  Nz2NdParamsFull() {}
  Nz2NdParamsFull(const Field<uint16_t> ndNumIn, const Field<uint16_t> nValueIn,
                  const Field<uint16_t> dValueIn, const Field<uint16_t> srcNdMatrixStrideIn,
                  const Field<uint16_t> srcNStrideIn, const Field<uint16_t> dstDStrideIn,
                  const Field<uint16_t> dstNdMatrixStrideIn)
      : ndNum(ndNumIn),
        nValue(nValueIn),
        dValue(dValueIn),
        srcNdMatrixStride(srcNdMatrixStrideIn),
        srcNStride(srcNStrideIn),
        dstDStride(dstDStrideIn),
        dstNdMatrixStride(dstNdMatrixStrideIn) {}
  Field<uint16_t> ndNum = 1;
  Field<uint16_t> nValue = 0;
  Field<uint16_t> dValue = 0;
  Field<uint16_t> srcNdMatrixStride = 1;
  Field<uint16_t> srcNStride = 0;
  Field<uint16_t> dstDStride = 0;
  Field<uint16_t> dstNdMatrixStride = 1;
};

struct SliceInfo {
  SliceInfo() {}
  SliceInfo(const Field<uint32_t> startIndexIn, const Field<uint32_t> endIndexIn,
            const Field<uint32_t> strideIn, const Field<uint32_t> burstLenIn,
            const Field<uint32_t> shapeValueIn = 0)
      : startIndex(startIndexIn),
        endIndex(endIndexIn),
        stride(strideIn),
        burstLen(burstLenIn),
        shapeValue(shapeValueIn) {}
  Field<uint32_t> startIndex = 0;
  Field<uint32_t> endIndex = ONE_BLK_SIZE - 1;
  Field<uint32_t> stride = 0;
  Field<uint32_t> burstLen = ONE_BLK_SIZE;
  Field<uint32_t> shapeValue = 0;
};

struct DataCopyCO12DstParams {
  DataCopyCO12DstParams() {}
  DataCopyCO12DstParams(const Field<uint16_t> nSizeIn, const Field<uint16_t> mSizeIn,
                        const Field<uint32_t> dstStrideIn, const Field<uint16_t> srcStrideIn,
                        const QuantMode_t quantPreIn, const uint8_t reluPreIn, const bool channelSplitIn,
                        const bool nz2ndEnIn)
      : nSize(nSizeIn),
        mSize(mSizeIn),
        dstStride(dstStrideIn),
        srcStride(srcStrideIn),
        quantPre(quantPreIn),
        reluPre(reluPreIn),
        channelSplit(channelSplitIn),
        nz2ndEn(nz2ndEnIn) {}
  Field<uint8_t> sid = 0;
  Field<uint16_t> nSize = 0;
  Field<uint16_t> mSize = 0;
  Field<uint32_t> dstStride = 0;
  Field<uint16_t> srcStride = 0;
  Field<uint8_t> unitFlag = 0;
  Field<uint8_t> clipReluPre = 0;
  Field<uint8_t> eltWiseOp = 0;
  QuantMode_t quantPre = QuantMode_t::NoQuant;
  Field<uint8_t> reluPre = 0;
  bool channelSplit = false;
  bool nz2ndEn = false;
};

struct LoadData2DParams {
  LoadData2DParams() {}
  LoadData2DParams(const Field<uint16_t> startIndexIn, const Field<uint8_t> repeatTimesIn,
                   const Field<uint16_t> srcStrideIn, const Field<uint8_t> sidIn,
                   const Field<uint16_t> dstGapIn, const bool ifTransposeIn, const Field<uint8_t> addrModeIn)
      : startIndex(startIndexIn),
        dstGap(dstGapIn),
        srcStride(srcStrideIn),
        ifTranspose(ifTransposeIn),
        repeatTimes(repeatTimesIn),
        sid(sidIn),
        addrMode(addrModeIn) {}
  Field<uint16_t> startIndex = 0;
  Field<uint16_t> dstGap = 0;
  Field<uint16_t> srcStride = 0;
  bool ifTranspose = 0;
  Field<uint8_t> repeatTimes = 0;
  Field<uint8_t> sid = 0;
  Field<uint8_t> addrMode = 0;
};
using LoadData2dParams = LoadData2DParams;

struct LoadData2dTransposeParams {
  LoadData2dTransposeParams() {}
  LoadData2dTransposeParams(const Field<uint16_t> startIndexIn, const Field<uint8_t> repeatTimesIn,
                            const Field<uint16_t> srcStrideIn, const Field<uint16_t> dstGapIn,
                            const Field<uint16_t> dstfracGapIn, const Field<uint8_t> addrModeIn = 0)
      : startIndex(startIndexIn),
        repeatTimes(repeatTimesIn),
        srcStride(srcStrideIn),
        dstGap(dstGapIn),
        dstFracGap(dstfracGapIn),
        addrMode(addrModeIn) {}
  Field<uint16_t> startIndex = 0;
  Field<uint8_t> repeatTimes = 0;
  Field<uint16_t> srcStride = 0;
  Field<uint16_t> dstGap = 0;
  Field<uint16_t> dstFracGap = 0;
  Field<uint8_t> addrMode = 0;
};

template <typename T>
struct LoadData3DParamsV2 {
  LoadData3DParamsV2() {}
  LoadData3DParamsV2(const uint8_t padListIn[4], const Field<uint16_t> l1HIn, const Field<uint16_t> l1WIn,
                     const Field<uint16_t> channelSizeIn, const Field<uint16_t> kExtensionIn,
                     const Field<uint16_t> mExtensionIn, const Field<uint16_t> kStartPtIn,
                     const Field<uint16_t> mStartPtIn, const Field<uint8_t> strideWIn,
                     const Field<uint8_t> strideHIn, const Field<uint8_t> filterWIn,
                     const Field<uint8_t> filterHIn, const Field<uint8_t> dilationFilterWIn,
                     const Field<uint8_t> dilationFilterHIn, const bool enTransposeIn, const bool enSmallKIn,
                     const T padValueIn, const bool filterSizeWIn = false, const bool filterSizeHIn = false,
                     const bool fMatrixCtrlIn = false)
      : l1H(l1HIn),
        l1W(l1WIn),
        channelSize(channelSizeIn),
        kExtension(kExtensionIn),
        mExtension(mExtensionIn),
        kStartPt(kStartPtIn),
        mStartPt(mStartPtIn),
        strideW(strideWIn),
        strideH(strideHIn),
        filterW(filterWIn),
        filterH(filterHIn),
        dilationFilterW(dilationFilterWIn),
        dilationFilterH(dilationFilterHIn),
        enTranspose(enTransposeIn),
        enSmallK(enSmallKIn),
        padValue(padValueIn),
        filterSizeW(filterSizeWIn),
        filterSizeH(filterSizeHIn),
        fMatrixCtrl(fMatrixCtrlIn) {
    for (int i = 0; i < 4; ++i) padList[i] = padListIn[i];
  }
  uint8_t padList[4] = {0, 0, 0, 0};
  Field<uint16_t> l1H = 0;
  Field<uint16_t> l1W = 0;
  Field<uint16_t> channelSize = 0;
  Field<uint16_t> kExtension = 0;
  Field<uint16_t> mExtension = 0;
  Field<uint16_t> kStartPt = 0;
  Field<uint16_t> mStartPt = 0;
  Field<uint8_t> strideW = 1;
  Field<uint8_t> strideH = 1;
  Field<uint8_t> filterW = 1;
  Field<uint8_t> filterH = 1;
  Field<uint8_t> dilationFilterW = 1;
  Field<uint8_t> dilationFilterH = 1;
  bool enTranspose = false;
  bool enSmallK = false;
  T padValue = T(0);
  bool filterSizeW = false;
  bool filterSizeH = false;
  bool fMatrixCtrl = false;
};

struct MmadParams {
  MmadParams() {}
  MmadParams(const Field<uint16_t> mIn, const Field<uint16_t> nIn, const Field<uint16_t> kIn,
             const bool isBiasIn, const int32_t fmOffsetIn, const bool enSsparseIn, const bool enWinogradAIn,
             const bool enWinogradBIn)
      : m(mIn),
        n(nIn),
        k(kIn),
        isBias(isBiasIn),
        fmOffset(fmOffsetIn),
        enSsparse(enSsparseIn),
        enWinogradA(enWinogradAIn),
        enWinogradB(enWinogradBIn) {}
  MmadParams(const Field<uint16_t> mIn, const Field<uint16_t> nIn, const Field<uint16_t> kIn,
             const Field<uint8_t> unitFlagIn, const bool cmatrixSourceIn, const bool cmatrixInitValIn)
      : m(mIn),
        n(nIn),
        k(kIn),
        unitFlag(unitFlagIn),
        cmatrixSource(cmatrixSourceIn),
        cmatrixInitVal(cmatrixInitValIn) {}
  Field<uint16_t> m = 0;
  Field<uint16_t> n = 0;
  Field<uint16_t> k = 0;
  bool isBias = false;
  int32_t fmOffset = 0;
  bool enSsparse = false;
  bool enWinogradA = false;
  bool enWinogradB = false;
  Field<uint8_t> unitFlag = 0;
  bool kDirectionAlign = false;
  bool cmatrixSource = false;
  bool cmatrixInitVal = true;
};

template <typename T>
struct InitConstValueParams {
  InitConstValueParams() {}
  InitConstValueParams(const Field<uint16_t> repeatTimesIn, const Field<uint16_t> blockNumIn,
                       const Field<uint16_t> dstGapIn, const T initValueIn)
      : repeatTimes(repeatTimesIn), blockNum(blockNumIn), dstGap(dstGapIn), initValue(initValueIn) {}
  InitConstValueParams(const Field<uint16_t> repeatTimesIn, const T initValueIn)
      : repeatTimes(repeatTimesIn), initValue(initValueIn) {}
  Field<uint16_t> repeatTimes = 0;
  Field<uint16_t> blockNum = 0;
  Field<uint16_t> dstGap = 0;
  T initValue = T(0);
};

enum class CO2Layout : uint8_t { NZ = 0, ROW_MAJOR, COLUMN_MAJOR };
struct FixpipeConfig {
  CO2Layout format;
};
constexpr FixpipeConfig CFG_NZ = {CO2Layout::NZ};
constexpr FixpipeConfig CFG_ROW_MAJOR = {CO2Layout::ROW_MAJOR};

struct FixpipeParamsV220 {
  FixpipeParamsV220() {}
  FixpipeParamsV220(const Field<uint16_t> nSizeIn, const Field<uint16_t> mSizeIn,
                    const Field<uint16_t> srcStrideIn, const Field<uint32_t> dstStrideIn, const bool reluEnIn)
      : nSize(nSizeIn), mSize(mSizeIn), srcStride(srcStrideIn), dstStride(dstStrideIn), reluEn(reluEnIn) {}
  FixpipeParamsV220(const Field<uint16_t> nSizeIn, const Field<uint16_t> mSizeIn,
                    const Field<uint16_t> srcStrideIn, const Field<uint32_t> dstStrideIn, const bool reluEnIn,
                    const QuantMode_t quantPreIn, const int64_t deqScalarIn, const Field<uint16_t> ndNumIn,
                    const Field<uint16_t> srcNdStrideIn, const Field<uint16_t> dstNdStrideIn,
                    const Field<uint8_t> unitFlagIn, const bool isChannelSplitIn = false)
      : nSize(nSizeIn),
        mSize(mSizeIn),
        srcStride(srcStrideIn),
        dstStride(dstStrideIn),
        quantPre(quantPreIn),
        deqScalar(static_cast<uint64_t>(deqScalarIn)),
        ndNum(ndNumIn),
        srcNdStride(srcNdStrideIn),
        dstNdStride(dstNdStrideIn),
        reluEn(reluEnIn),
        unitFlag(unitFlagIn),
        isChannelSplit(isChannelSplitIn) {}
  Field<uint16_t> nSize = 0;
  Field<uint16_t> mSize = 0;
  Field<uint16_t> srcStride = 0;
  Field<uint32_t> dstStride = 0;
  QuantMode_t quantPre = QuantMode_t::NoQuant;
  uint64_t deqScalar = 0;
  Field<uint16_t> ndNum = 1;
  Field<uint16_t> srcNdStride = 0;
  Field<uint16_t> dstNdStride = 0;
  bool reluEn = false;
  Field<uint8_t> unitFlag = 0;
  bool isChannelSplit = false;
};

}  // namespace ASCEND_TWIN_NAMESPACE
}  // namespace AscendC
