// SPDX-License-Identifier: Apache-2.0
// Lists of tensors, as dynamic inputs arrive: 64-bit words in GM. Word 0: bytes up to the pointers; then, per
// tensor, index << 32 | dimensions and that many sizes; then a pointer each. Without shapes: 24, count << 32,
// 0xffffffff.
#pragma once

#include "ascend_twin/tensor.h"

namespace AscendC {
inline namespace ASCEND_TWIN_NAMESPACE {

template <typename T>
class TensorDesc {
 public:
  void SetShapeAddr(uint64_t* shapePtr) { shape_ = shapePtr; }
  uint64_t GetDim() const { return dim_; }
  uint64_t GetIndex() const { return index_; }
  uint64_t GetShape(uint32_t offset, ASCEND_TWIN_WHERE) const {
    if (shape_ && offset < dim_) return shape_[offset];
    detail::Current().Fail(detail::Rule::kTensorList, "GetShape", where,
                           "dimension " + std::to_string(offset) + " of " + std::to_string(dim_));
    detail::Current().CheckStop();
    return 0;
  }
  __gm__ T* GetDataPtr() const { return data_; }
  // As in the headers its size is that of the tensor in bytes.
  GlobalTensor<T> GetDataObj(ASCEND_TWIN_WHERE) const {
    uint64_t size = sizeof(T);
    for (uint32_t i = 0; i < dim_; ++i) size *= shape_[i];
    GlobalTensor<T> tensor;
    tensor.SetGlobalBuffer(data_, size, where);
    return tensor;
  }

 private:
  friend class ListTensorDesc;
  uint64_t* shape_ = nullptr;
  uint32_t dim_ = 0, index_ = 0;
  __gm__ T* data_ = nullptr;
};

class ListTensorDesc {
 public:
  ListTensorDesc() = default;
  ListTensorDesc(__gm__ void* data, uint32_t length = 0xffffffff, uint32_t shapeSize = 0xffffffff,
                 ASCEND_TWIN_WHERE) {
    Init(data, length, shapeSize, where);
  }
  void Init(__gm__ void* data, uint32_t length = 0xffffffff, uint32_t shapeSize = 0xffffffff,
            ASCEND_TWIN_WHERE) {
    count_ = 0;
    list_.SetGlobalBuffer(static_cast<__gm__ uint64_t*>(data), where);
    const uint64_t bytes = list_.GetValue(0, where), first = list_.GetValue(1, where);
    if (detail::Current().stopped()) return;
    dim_ = static_cast<uint32_t>(first);
    words_ = dim_ ? dim_ + 1 : 2;
    pointers_ = bytes / 8;
    if (bytes % 8 || pointers_ < 1 + words_)
      return Fail("Init", "its pointers start at byte " + std::to_string(bytes), where);
    const uint64_t count = first >> 32 ? first >> 32
                           : dim_      ? (list_.GetValue(pointers_ - words_, where) >> 32) + 1
                                       : 0;
    const bool whole =
        dim_ ? count * words_ + 1 == pointers_ : pointers_ == 3 && list_.GetValue(2, where) == 0xffffffff;
    if (!whole)
      return Fail("Init",
                  std::to_string(count) + " tensors of " + std::to_string(dim_) +
                      " dimensions do not fit the " + std::to_string(bytes) + " bytes before its pointers",
                  where);
    if (length != 0xffffffff && shapeSize != 0xffffffff &&
        (count != shapeSize || length != bytes + count * 8))
      return Fail("Init",
                  "it holds " + std::to_string(count) + " tensors in " + std::to_string(bytes + count * 8) +
                      " bytes, expected " + std::to_string(shapeSize) + " in " + std::to_string(length),
                  where);
    count_ = static_cast<uint32_t>(count);
  }
  // Absent on the 910.
  template <typename T>
  void GetDesc(TensorDesc<T>& desc, uint32_t index, ASCEND_TWIN_WHERE) const {
    ASCEND_TWIN_REQUIRE(kIs910B && sizeof(T), "GetDesc");
    if (index >= count_ || !dim_ || !desc.shape_)
      return Fail("GetDesc",
                  !desc.shape_ ? std::string("SetShapeAddr was not called")
                               : "tensor " + std::to_string(index) + " of " + std::to_string(count_) + ", " +
                                     std::to_string(dim_) + " dimensions",
                  where);
    desc.dim_ = dim_;
    desc.index_ = index;
    desc.data_ = GetDataPtr<T>(index, where);
    for (uint32_t i = 0; i < dim_; ++i) desc.shape_[i] = list_.GetValue(1 + index * words_ + 1 + i, where);
  }
  template <typename T>
  __gm__ T* GetDataPtr(uint32_t index, ASCEND_TWIN_WHERE) const {
    if (index < count_) return reinterpret_cast<__gm__ T*>(list_.GetValue(pointers_ + index, where));
    Fail("GetDataPtr", "tensor " + std::to_string(index) + " of " + std::to_string(count_), where);
    return nullptr;
  }
  uint32_t GetSize() const { return count_; }

 private:
  void Fail(const char* name, const std::string& what, const Where& where) const {
    detail::Core& core = detail::Current();
    core.CheckStop();
    if (!core.stopped()) core.Fail(detail::Rule::kTensorList, name, where, what);
    core.CheckStop();
  }
  GlobalTensor<uint64_t> list_;
  uint64_t pointers_ = 0;  // word
  uint32_t dim_ = 0, words_ = 0, count_ = 0;
};

}  // namespace ASCEND_TWIN_NAMESPACE
}  // namespace AscendC
