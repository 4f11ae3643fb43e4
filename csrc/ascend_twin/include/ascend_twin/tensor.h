// SPDX-License-Identifier: Apache-2.0
// LocalTensor and GlobalTensor.
#pragma once

#include <string>

#include "ascend_twin/params.h"

namespace ascend_twin {
bool FindGm(Core& core, const void* pointer, uint16_t* index, int64_t* offset);
}

namespace AscendC {
inline namespace ASCEND_TWIN_NAMESPACE {

using TBufHandle = uint8_t*;

struct TBuffAddr {
  uint32_t dataLen = 0;     // bytes
  uint32_t bufferAddr = 0;  // bytes from the start of its memory
  TBufHandle bufferHandle = nullptr;
  uint8_t logicPos = 0;
  uint32_t bufferEnd = 0;  // twin only: end of the underlying buffer, 0 if unknown
};

namespace detail {
using ::ascend_twin::Access;
using ::ascend_twin::Core;
using ::ascend_twin::Current;
using ::ascend_twin::Instr;
using ::ascend_twin::Mem;
using ::ascend_twin::Operand;
using ::ascend_twin::Pipe;
using ::ascend_twin::Rule;

struct None {
  None(float) {}
};
// A reference to an element of a tensor that reads and writes as the scalar unit does.
template <typename Tensor, typename Index>
class ElementOf {
 public:
  using T = typename Tensor::PrimType;
  ElementOf(const Tensor& tensor, Index index, const Where& where)
      : tensor_(tensor), index_(index), where_(where) {}
  ElementOf(const ElementOf&) = default;
  operator T() const { return Get(); }
  // A half is a float wherever one is wanted; a bfloat16_t where one is asked for.
  operator std::conditional_t<std::is_same<T, half>::value, float, None>() const { return float(Get()); }
  template <typename U,
            typename = std::enable_if_t<std::is_same<T, bfloat16_t>::value && std::is_same<U, float>::value>>
  explicit operator U() const {
    return static_cast<U>(Get());
  }
  const ElementOf& operator=(const T& value) const {
    tensor_.SetValue(index_, value, where_);
    return *this;
  }
  const ElementOf& operator=(const ElementOf& other) const { return *this = other.Get(); }
#define ASCEND_TWIN_ASSIGN(OP)                              \
  template <typename U>                                     \
  const ElementOf& operator OP## = (const U& value) const { \
    return *this = static_cast<T>(Get() OP value);          \
  }
  ASCEND_TWIN_ASSIGN(+)
  ASCEND_TWIN_ASSIGN(-)
  ASCEND_TWIN_ASSIGN(*)
  ASCEND_TWIN_ASSIGN(/)
  ASCEND_TWIN_ASSIGN(%)
  ASCEND_TWIN_ASSIGN(&)
  ASCEND_TWIN_ASSIGN(|)
  ASCEND_TWIN_ASSIGN(^)
  ASCEND_TWIN_ASSIGN(<<)
  ASCEND_TWIN_ASSIGN(>>)
#undef ASCEND_TWIN_ASSIGN
  const ElementOf& operator++() const { return *this += 1; }
  const ElementOf& operator--() const { return *this -= 1; }
  T operator++(int) const {
    const T before = Get();
    *this = static_cast<T>(before + 1);
    return before;
  }
  T operator--(int) const {
    const T before = Get();
    *this = static_cast<T>(before - 1);
    return before;
  }

 private:
  T Get() const { return tensor_.GetValue(index_, where_); }
  const Tensor& tensor_;
  Index index_;
  Where where_;
};
}  // namespace detail

constexpr int32_t K_MAX_SHAPE_DIM = 8;
// Kept for the kernel; no call reads it.
struct ShapeInfo {
  ShapeInfo() {}
  ShapeInfo(const uint8_t inputShapeDim, const uint32_t inputShape[], const uint8_t inputOriginalShapeDim,
            const uint32_t inputOriginalShape[], const DataFormat inputFormat)
      : shapeDim(inputShapeDim), originalShapeDim(inputOriginalShapeDim), dataFormat(inputFormat) {
    for (int i = 0; i < shapeDim && i < K_MAX_SHAPE_DIM; ++i) shape[i] = inputShape[i];
    for (int i = 0; i < originalShapeDim && i < K_MAX_SHAPE_DIM; ++i)
      originalShape[i] = inputOriginalShape[i];
  }
  ShapeInfo(const uint8_t inputShapeDim, const uint32_t inputShape[],
            const DataFormat inputFormat = DataFormat::ND)
      : ShapeInfo(inputShapeDim, inputShape, inputShapeDim, inputShape, inputFormat) {}
  uint8_t shapeDim = 0;
  uint8_t originalShapeDim = 0;
  uint32_t shape[K_MAX_SHAPE_DIM] = {};
  uint32_t originalShape[K_MAX_SHAPE_DIM] = {};
  DataFormat dataFormat = DataFormat::ND;
};

template <typename T>
class LocalTensor {
 public:
  using PrimType = T;
  LocalTensor() = default;
  // `tileSize` elements at byte `addr` of the memory of `pos`.
  LocalTensor(TPosition pos, uint32_t addr, uint32_t tileSize) {
    address_.logicPos = static_cast<uint8_t>(pos);
    address_.bufferAddr = addr;
    address_.dataLen = tileSize * static_cast<uint32_t>(sizeof(T));
    address_.bufferEnd = addr + address_.dataLen;
  }

  void SetAddr(const TBuffAddr& address) { address_ = address; }
  void InitBuffer(const uint32_t bufferOffset, const uint32_t bufferSize) {
    address_.bufferAddr = bufferOffset;
    address_.dataLen = bufferSize * static_cast<uint32_t>(sizeof(T));
    address_.bufferEnd = bufferOffset + address_.dataLen;
  }
  TBufHandle GetBufferHandle() const { return address_.bufferHandle; }

  uint64_t GetPhyAddr() const { return address_.bufferAddr; }
  uint64_t GetPhyAddr(const uint32_t offset) const { return address_.bufferAddr + offset * sizeof(T); }
  int32_t GetPosition() const { return address_.logicPos; }
  void SetSize(const uint32_t size) { address_.dataLen = size * static_cast<uint32_t>(sizeof(T)); }
  uint32_t GetSize() const { return address_.dataLen / static_cast<uint32_t>(sizeof(T)); }
  uint32_t GetLength() const { return address_.dataLen; }
  void SetBufferLen(uint32_t dataLen) { address_.dataLen = dataLen; }
  void SetUserTag(const TTagType tag) { tag_ = tag; }
  TTagType GetUserTag() const { return tag_; }
  void SetShapeInfo(const ShapeInfo& shapeInfo) { shape_ = shapeInfo; }
  ShapeInfo GetShapeInfo() const { return shape_; }

  LocalTensor operator[](const uint32_t offset) const {
    LocalTensor result = *this;
    const uint32_t bytes = offset * static_cast<uint32_t>(sizeof(T));
    result.address_.bufferAddr += bytes;
    result.address_.dataLen = address_.dataLen > bytes ? address_.dataLen - bytes : 0;
    return result;
  }
  template <typename U>
  LocalTensor<U> ReinterpretCast() const {
    LocalTensor<U> result;
    result.address_ = address_;
    return result;
  }

  T GetValue(const uint32_t index, ASCEND_TWIN_WHERE) const {
    T value{};
    Scalar(index, false, "GetValue", where, [&](uint8_t* p) { std::memcpy(&value, p, sizeof(T)); });
    return value;
  }
  template <typename S>
  void SetValue(const uint32_t index, const S value, ASCEND_TWIN_WHERE) const {
    const T typed = static_cast<T>(value);
    Scalar(index, true, "SetValue", where, [&](uint8_t* p) { std::memcpy(p, &typed, sizeof(T)); });
  }

  using Element = detail::ElementOf<LocalTensor, uint32_t>;
  Element operator()(const uint32_t offset, ASCEND_TWIN_WHERE) const { return Element(*this, offset, where); }

  detail::Mem Memory() const { return PositionMem(static_cast<TPosition>(address_.logicPos)); }
  detail::Operand AsOperand(uint32_t block_stride = 1, uint32_t repeat_stride = 8) const {
    detail::Operand o;
    o.type = TypeOf<T>();
    o.mem = Memory();
    o.addr = address_.bufferAddr;
    o.limit = address_.bufferEnd;
    o.block_stride = block_stride;
    o.repeat_stride = repeat_stride;
    return o;
  }

  TBuffAddr address_;

 private:
  template <typename F>
  void Scalar(uint32_t index, bool write, const char* name, const Where& where, F f) const {
    detail::Core& core = detail::Current();
    if (core.stopped()) return core.CheckStop();
    if (Memory() != detail::Mem::kUB) {
      core.Fail(detail::Rule::kWrongPosition, name, where,
                std::string("the scalar unit reaches only UB and GM, this tensor lies in ") +
                    ::ascend_twin::MemName(Memory()));
      return core.CheckStop();
    }
    const int64_t at = address_.bufferAddr + static_cast<int64_t>(index) * static_cast<int64_t>(sizeof(T));
    if (address_.bufferEnd && at + static_cast<int64_t>(sizeof(T)) > address_.bufferEnd) {
      core.Fail(detail::Rule::kTensorRange, name, where,
                "element " + std::to_string(index) + " lies behind the end of its buffer", detail::Pipe::kS,
                Memory(), at);
      return core.CheckStop();
    }
    core.ScalarAccess(::ascend_twin::Bursts(Memory(), write, at, 1, sizeof(T), 0), name, where);
    if (core.stopped()) return core.CheckStop();
    f(core.At(Memory(), at));
  }
  TTagType tag_ = 0;
  ShapeInfo shape_;
};

template <typename T>
class GlobalTensor {
 public:
  using PrimType = T;
  void SetGlobalBuffer(__gm__ T* buffer, uint64_t bufferSize, ASCEND_TWIN_WHERE) {
    bufferSize_ = bufferSize;
    Bind(buffer, where);
  }
  void SetGlobalBuffer(__gm__ T* buffer, ASCEND_TWIN_WHERE) {
    bufferSize_ = 0;
    Bind(buffer, where);
  }
  const __gm__ T* GetPhyAddr() const { return address_; }
  __gm__ T* GetPhyAddr(const uint64_t offset) const { return address_ + offset; }
  uint64_t GetSize() const { return bufferSize_; }
  GlobalTensor operator[](const uint64_t offset) const {
    GlobalTensor result = *this;
    result.address_ = address_ + offset;
    result.offset_ = offset_ + static_cast<int64_t>(offset * sizeof(T));
    return result;
  }
  template <CacheRwMode rwMode = CacheRwMode::RW>
  void SetL2CacheHint(CacheMode) {}

  T GetValue(const uint64_t offset, ASCEND_TWIN_WHERE) const {
    T value{};
    if (Scalar(offset, false, "GetValue", where)) std::memcpy(&value, address_ + offset, sizeof(T));
    return value;
  }
  void SetValue(const uint64_t offset, T value, ASCEND_TWIN_WHERE) const {
    if (Scalar(offset, true, "SetValue", where)) std::memcpy(address_ + offset, &value, sizeof(T));
  }
  using Element = detail::ElementOf<GlobalTensor, uint64_t>;
  Element operator()(const uint64_t offset, ASCEND_TWIN_WHERE) const { return Element(*this, offset, where); }
  void SetShapeInfo(const ShapeInfo& shapeInfo) { shape_ = shapeInfo; }
  ShapeInfo GetShapeInfo() const { return shape_; }

  // Twin only: the tensor of the launch and this tensor's first byte in it.
  uint16_t Tensor() const { return tensor_; }
  int64_t Offset() const { return offset_; }

 private:
  void Bind(__gm__ T* buffer, const Where& where) {
    address_ = buffer;
    detail::Core& core = detail::Current();
    if (core.stopped()) return core.CheckStop();
    if (core.soc() != kSoc)
      core.Fail(detail::Rule::kKernelType, "SetGlobalBuffer", where,
                "the kernel was compiled for " ASCEND_TWIN_CHIP ", the launch is for another chip");
    // An optional tensor may be null; using it is the error.
    if (!::ascend_twin::FindGm(core, buffer, &tensor_, &offset_)) tensor_ = 0xffff;
  }
  bool Scalar(uint64_t offset, bool write, const char* name, const Where& where) const {
    detail::Core& core = detail::Current();
    core.CheckStop();
    if (core.stopped()) return false;
    if (tensor_ == 0xffff) {
      core.Fail(detail::Rule::kGmUnknown, name, where,
                "its GlobalTensor points into no tensor of this launch");
      core.CheckStop();
      return false;
    }
    if (!write) core.Yield(tensor_);
    detail::Access a = ::ascend_twin::Bursts(
        detail::Mem::kGM, write, offset_ + static_cast<int64_t>(offset * sizeof(T)), 1, sizeof(T), 0);
    a.gm = tensor_;
    core.ScalarAccess(a, name, where);
    core.CheckStop();
    return !core.stopped();
  }
  __gm__ T* address_ = nullptr;
  uint64_t bufferSize_ = 0;
  uint16_t tensor_ = 0xffff;
  int64_t offset_ = 0;
  ShapeInfo shape_;
};

// Hands out a memory from its start, tensor behind tensor; alignment is the caller's business.
template <Hardware hard = Hardware::UB>
class LocalMemAllocator {
 public:
  uint32_t GetCurAddr() const { return head_; }
  template <TPosition pos, class DataType, uint32_t tileSize>
  LocalTensor<DataType> Alloc() {
    return Take<DataType>(pos, tileSize);
  }
  template <TPosition pos, class DataType>
  LocalTensor<DataType> Alloc(uint32_t tileSize) {
    return Take<DataType>(pos, tileSize);
  }
  template <class DataType, uint32_t tileSize>
  LocalTensor<DataType> Alloc() {
    return Take<DataType>(Default(), tileSize);
  }
  template <class DataType>
  LocalTensor<DataType> Alloc(uint32_t tileSize) {
    return Take<DataType>(Default(), tileSize);
  }

 private:
  static constexpr TPosition Default() {
    switch (hard) {
      case Hardware::L1:
        return TPosition::A1;
      case Hardware::L0A:
        return TPosition::A2;
      case Hardware::L0B:
        return TPosition::B2;
      case Hardware::L0C:
        return TPosition::CO1;
      case Hardware::BIAS:
        return TPosition::C2;
      case Hardware::FIXBUF:
        return TPosition::C2PIPE2GM;
      default:
        return TPosition::VECCALC;
    }
  }
  template <class T>
  LocalTensor<T> Take(TPosition pos, uint32_t elements) {
    const LocalTensor<T> t(pos, head_, elements);
    head_ += elements * static_cast<uint32_t>(sizeof(T));
    return t;
  }
  uint32_t head_ = 0;
};

}  // namespace ASCEND_TWIN_NAMESPACE
}  // namespace AscendC
