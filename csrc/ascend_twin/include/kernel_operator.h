// SPDX-License-Identifier: Apache-2.0
// The Ascend C basic API on the host. See docs/ascend_twin.md for what it promises.
#pragma once

#include "ascend_twin/cube.h"
#include "ascend_twin/data_copy.h"
#include "ascend_twin/fill.h"
#include "ascend_twin/launch.h"
#include "ascend_twin/list_tensor.h"
#include "ascend_twin/queue.h"
#include "ascend_twin/scalar.h"
#include "ascend_twin/sync.h"
#include "ascend_twin/tensor.h"
#include "ascend_twin/vector.h"
#include "ascend_twin/vector_layout.h"
#include "ascend_twin/vector_reduce.h"
#include "ascend_twin/vector_select.h"
#include "ascend_twin/vector_sort.h"

#define ASCEND_IS_AIC (::ascend_twin::IsAic())
#define ASCEND_IS_AIV (::ascend_twin::IsAiv())
#define ASCEND_IS_NOT_AIC (!::ascend_twin::IsAic())
#define ASCEND_IS_NOT_AIV (!::ascend_twin::IsAiv())
#define KERNEL_TASK_TYPE_DEFAULT(value) \
  ::ascend_twin::DeclareKernelType(static_cast<int>(value), {__builtin_FILE(), __builtin_LINE()})
#define KERNEL_TASK_TYPE(key, value)                         \
  do {                                                       \
    if (TILING_KEY_IS(key)) KERNEL_TASK_TYPE_DEFAULT(value); \
  } while (0)
#define TILING_KEY_VAR (::ascend_twin::TilingKey())
#define TILING_KEY_IS(key) (TILING_KEY_VAR == static_cast<uint64_t>(key))

#define ascendc_assert(condition, ...)                                                       \
  do {                                                                                       \
    if (!(condition))                                                                        \
      ::ascend_twin::Current().Fail(::ascend_twin::Rule::kKernelException, "ascendc_assert", \
                                    {__builtin_FILE(), __builtin_LINE()}, #condition);       \
  } while (0)

#ifndef ASSERT
#define ASSERT(x) ascendc_assert(x)
#endif
#ifndef likely
#define likely(x) __builtin_expect(!!(x), 1)
#endif
#ifndef unlikely
#define unlikely(x) __builtin_expect(!!(x), 0)
#endif

// Tiling data passes through GM as bytes.
#define REGISTER_TILING_DEFAULT(type) \
  static_assert(std::is_trivially_copyable<type>::value, "tiling data is copied as bytes")
#define GET_TILING_DATA_WITH_STRUCT(type, name, gm)                                         \
  static_assert(std::is_trivially_copyable<type>::value, "tiling data is copied as bytes"); \
  type name;                                                                                \
  std::memcpy(&name, gm, sizeof(type))
#define COPY_TILING_WITH_STRUCT(type, gm, name) GET_TILING_DATA_WITH_STRUCT(type, name, gm)

namespace AscendC {
inline namespace ASCEND_TWIN_NAMESPACE {

// Runs a kernel of this chip: options.soc is set here, the rest is the caller's.
inline ::ascend_twin::Report RunKernel(::ascend_twin::LaunchOptions options, ::ascend_twin::Gm& gm,
                                       const std::function<void()>& kernel) {
  options.soc = kSoc;
  return ::ascend_twin::Launch(options, gm, kernel);
}

}  // namespace ASCEND_TWIN_NAMESPACE
}  // namespace AscendC
