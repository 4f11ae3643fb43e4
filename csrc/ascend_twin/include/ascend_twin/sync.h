// SPDX-License-Identifier: Apache-2.0
// Flags, barriers, cross-core flags, masks, modes and system variables.
#pragma once

#include <cstdio>

#include "ascend_twin/queue.h"
#include "ascend_twin/system_ops.h"

namespace AscendC {
inline namespace ASCEND_TWIN_NAMESPACE {

namespace detail {
constexpr Pipe PipeOf(pipe_t pipe) {
  switch (pipe) {
    case PIPE_V:
      return Pipe::kV;
    case PIPE_M:
      return Pipe::kM;
    case PIPE_MTE1:
      return Pipe::kMTE1;
    case PIPE_MTE2:
      return Pipe::kMTE2;
    case PIPE_MTE3:
      return Pipe::kMTE3;
    case PIPE_FIX:
      return Pipe::kFIX;
    default:
      return Pipe::kS;
  }
}
}  // namespace detail

template <HardEvent event>
void SetFlag(int32_t eventID, ASCEND_TWIN_WHERE) {
  static_assert(kIs910B || !detail::UsesFix(event), "PIPE_FIX does not exist on " ASCEND_TWIN_CHIP);
  constexpr auto pipes = detail::EventPipes(event);
  if (event == HardEvent::V_V) return;  // the wait is a PipeBarrier<PIPE_V>
  detail::Current().SetFlag(pipes.src, pipes.dst, eventID, "SetFlag", where);
}
template <HardEvent event>
void WaitFlag(int32_t eventID, ASCEND_TWIN_WHERE) {
  static_assert(kIs910B || !detail::UsesFix(event), "PIPE_FIX does not exist on " ASCEND_TWIN_CHIP);
  constexpr auto pipes = detail::EventPipes(event);
  if (event == HardEvent::V_V)
    detail::Current().Barrier(detail::Pipe::kV, where);
  else
    detail::Current().WaitFlag(pipes.src, pipes.dst, eventID, "WaitFlag", where);
}

template <pipe_t src, pipe_t dst>
class TQueSync {
 public:
  void SetFlag(TEventID id, ASCEND_TWIN_WHERE) {
    detail::Current().SetFlag(detail::PipeOf(src), detail::PipeOf(dst), id, "TQueSync::SetFlag", where);
  }
  void WaitFlag(TEventID id, ASCEND_TWIN_WHERE) {
    detail::Current().WaitFlag(detail::PipeOf(src), detail::PipeOf(dst), id, "TQueSync::WaitFlag", where);
  }
};

template <pipe_t pipe>
void PipeBarrier(ASCEND_TWIN_WHERE) {
  static_assert(pipe != PIPE_S, "PipeBarrier<PIPE_S> does not exist: the scalar unit is in order");
  static_assert(kIs910B || pipe != PIPE_FIX, "PIPE_FIX does not exist on " ASCEND_TWIN_CHIP);
  if (pipe == PIPE_ALL)
    detail::Current().BarrierAll(where);
  else
    detail::Current().Barrier(detail::PipeOf(pipe), where);
}
template <MemDsbT arg0>
void DataSyncBarrier() {}

// Flags between cores of the 910B; ids 0..15 count to 15, 11..14 belong to SyncAll.
template <uint8_t modeId, pipe_t pipe>
void CrossCoreSetFlag(uint16_t flagId, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B && modeId <= 2, "CrossCoreSetFlag");
  static_assert(pipe != PIPE_S && pipe != PIPE_ALL, "CrossCoreSetFlag names one pipe other than PIPE_S");
  ::ascend_twin::CrossCoreSet(detail::Current(), modeId, detail::PipeOf(pipe), flagId, false, where);
}
template <uint8_t modeId = 0, pipe_t pipe = PIPE_S>
void CrossCoreWaitFlag(uint16_t flagId, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B && modeId <= 2, "CrossCoreWaitFlag");
  ::ascend_twin::CrossCoreWait(detail::Current(), flagId, where);
}

// All cores of one kind (or, with isAIVOnly = false, of both) meet.
template <bool aiv_only>
struct AllCores {};
template <bool isAIVOnly = true>
void SyncAll(ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B || sizeof(AllCores<isAIVOnly>) == 0, "SyncAll without a workspace");
  ::ascend_twin::SyncAllHard(detail::Current(), isAIVOnly, where);
}
template <bool isAIVOnly = true>
void SyncAll(const GlobalTensor<int32_t>& gmWorkspace, const LocalTensor<int32_t>& ubWorkspace,
             const int usedCores = 0, ASCEND_TWIN_WHERE) {
  ::ascend_twin::SyncAllSoft(detail::Current(), gmWorkspace.Tensor(), gmWorkspace.Offset(),
                             ubWorkspace.address_.bufferAddr, ubWorkspace.address_.dataLen, usedCores, where);
}

// Some blocks wait for all of others: each that arrives tells each that waits, in memory of the kernel's own.
enum class PipeMode : uint8_t { SCALAR_MODE = 0, MTE3_MODE = 1, MAX };
template <PipeMode pipeMode>
class GroupBarrier {
 public:
  GroupBarrier(__gm__ uint8_t* groupWorkspace, uint32_t arriveSizeIn, uint32_t waitSizeIn)
      : memory_(static_cast<int64_t>(reinterpret_cast<uintptr_t>(groupWorkspace) & 0x7fffffff)),
        arrive_(static_cast<int>(arriveSizeIn)),
        wait_(static_cast<int>(waitSizeIn)) {
    ASCEND_TWIN_REQUIRE(kIs910B && pipeMode != PipeMode::MAX, "GroupBarrier");
  }
  void Arrive(uint32_t arriveIndex, ASCEND_TWIN_WHERE) {
    for (int i = 0; i < wait_; ++i)
      ::ascend_twin::BlockFlagSet(detail::Current(), memory_, static_cast<int>(arriveIndex), kEvents | i,
                                  where);
  }
  void Wait(uint32_t waitIndex, ASCEND_TWIN_WHERE) {
    for (int i = 0; i < arrive_; ++i)
      ::ascend_twin::BlockFlagWait(detail::Current(), memory_, i, kEvents | static_cast<int>(waitIndex),
                                   where);
  }
  uint64_t GetWorkspaceLen() const { return static_cast<uint64_t>(arrive_ > wait_ ? arrive_ : wait_) * 512; }

 private:
  static constexpr int kEvents = 0x4000;  // apart from those of IBSet
  int64_t memory_;
  int arrive_, wait_;
};

// Blocks one after the other: each waits for the one before, the first for the last one's previous turn.
inline void InitDetermineComputeWorkspace(const GlobalTensor<int32_t>&, const LocalTensor<int32_t>&) {
  detail::Current().block_turn = 0;
}
inline void WaitPreBlock(const GlobalTensor<int32_t>& gmWorkspace, const LocalTensor<int32_t>&,
                         ASCEND_TWIN_WHERE) {
  ::ascend_twin::WaitPreBlock(detail::Current(), gmWorkspace.Offset(), where);
}
inline void NotifyNextBlock(const GlobalTensor<int32_t>& gmWorkspace, const LocalTensor<int32_t>&,
                            ASCEND_TWIN_WHERE) {
  ::ascend_twin::NotifyNextBlock(detail::Current(), gmWorkspace.Offset(), where);
}

// Software flags between blocks: block `blockIdx` sets, another waits for it.
template <bool isAIVOnly = true>
void IBSet(const GlobalTensor<int32_t>& gmWorkspace, const LocalTensor<int32_t>&, int32_t blockIdx,
           int32_t eventID, ASCEND_TWIN_WHERE) {
  ::ascend_twin::BlockFlagSet(detail::Current(), gmWorkspace.Offset(), blockIdx, eventID, where);
}
template <bool isAIVOnly = true>
void IBWait(const GlobalTensor<int32_t>& gmWorkspace, const LocalTensor<int32_t>&, int32_t blockIdx,
            int32_t eventID, ASCEND_TWIN_WHERE) {
  ::ascend_twin::BlockFlagWait(detail::Current(), gmWorkspace.Offset(), blockIdx, eventID, where);
}

// Masks persist until the next call that sets one.
template <typename T, MaskMode mode = MaskMode::NORMAL>
void SetVectorMask(const uint64_t maskHigh, const uint64_t maskLow, ASCEND_TWIN_WHERE) {
  ::ascend_twin::SetVectorMask(detail::Current(), maskHigh, maskLow, where);
}
template <typename T, MaskMode mode = MaskMode::NORMAL>
void SetVectorMask(int32_t len, ASCEND_TWIN_WHERE) {
  if (mode == MaskMode::COUNTER) {
    ::ascend_twin::SetVectorMask(detail::Current(), 0, static_cast<uint64_t>(len), where);
    return;
  }
  const uint64_t low = len >= 64 ? ~0ull : (1ull << len) - 1;
  const uint64_t high = len >= 128 ? ~0ull : len > 64 ? (1ull << (len - 64)) - 1 : 0;
  // A full mask for the type leaves every bit set.
  const bool full = len >= static_cast<int32_t>(256 / sizeof(T)) && len != 64;
  ::ascend_twin::SetVectorMask(detail::Current(), full ? ~0ull : high, full ? ~0ull : low, where);
}
inline void ResetMask(ASCEND_TWIN_WHERE) {
  ::ascend_twin::SetVectorMask(detail::Current(), ~0ull, ~0ull, where);
}
inline void SetMaskCount(ASCEND_TWIN_WHERE) {
  ::ascend_twin::SetMaskMode(detail::Current(), true, where);
}
inline void SetMaskNorm(ASCEND_TWIN_WHERE) {
  ::ascend_twin::SetMaskMode(detail::Current(), false, where);
}

// Atomic updates of GM by later copies. The 910 adds float only.
template <typename T>
void SetAtomicAdd(ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(
      (std::is_same<T, float>::value) || (kIs910B && OneOf<T, half, bfloat16_t, int8_t, int16_t, int32_t>),
      "SetAtomicAdd");
  ::ascend_twin::SetAtomic(detail::Current(), ::ascend_twin::AtomicOp::kAdd, static_cast<int>(TypeOf<T>()),
                           where);
}
template <typename T>
void SetAtomicMax(ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B && (OneOf<T, float, half, bfloat16_t, int8_t, int16_t, int32_t>),
                      "SetAtomicMax");
  ::ascend_twin::SetAtomic(detail::Current(), ::ascend_twin::AtomicOp::kMax, static_cast<int>(TypeOf<T>()),
                           where);
}
template <typename T>
void SetAtomicMin(ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B && (OneOf<T, float, half, bfloat16_t, int8_t, int16_t, int32_t>),
                      "SetAtomicMin");
  ::ascend_twin::SetAtomic(detail::Current(), ::ascend_twin::AtomicOp::kMin, static_cast<int>(TypeOf<T>()),
                           where);
}
template <typename T>
void SetAtomicType(ASCEND_TWIN_WHERE) {
  ::ascend_twin::SetAtomicType(detail::Current(), static_cast<int>(TypeOf<T>()), where);
}
inline void SetAtomicNone(ASCEND_TWIN_WHERE) {
  ::ascend_twin::SetAtomic(detail::Current(), ::ascend_twin::AtomicOp::kNone, -1, where);
}
inline void DisableDmaAtomic(ASCEND_TWIN_WHERE) {
  SetAtomicNone(where);
}

// A scalar unit reads and writes GM through its data cache.
template <typename T, CacheLine entireType, DcciDst dcciDst>
void DataCacheCleanAndInvalid(const GlobalTensor<T>& dst, ASCEND_TWIN_WHERE) {
  ::ascend_twin::CleanCache(detail::Current(), dst.Tensor(), dst.Offset(),
                            entireType == CacheLine::ENTIRE_DATA_CACHE, where);
}
template <typename T, CacheLine entireType>
void DataCacheCleanAndInvalid(const GlobalTensor<T>& dst, ASCEND_TWIN_WHERE) {
  ::ascend_twin::CleanCache(detail::Current(), dst.Tensor(), dst.Offset(),
                            entireType == CacheLine::ENTIRE_DATA_CACHE, where);
}

// One element of GM past the data cache.
template <typename T>
T ReadGmByPassDCache(__gm__ T* addr, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B && sizeof(T) <= 8, "ReadGmByPassDCache");
  GlobalTensor<T> one;
  one.SetGlobalBuffer(addr, 1);
  ::ascend_twin::CleanCache(detail::Current(), one.Tensor(), one.Offset(), false, where);
  return one.GetValue(0, where);
}
template <typename T>
void WriteGmByPassDCache(__gm__ T* addr, T value, ASCEND_TWIN_WHERE) {
  ASCEND_TWIN_REQUIRE(kIs910B && sizeof(T) <= 8, "WriteGmByPassDCache");
  GlobalTensor<T> one;
  one.SetGlobalBuffer(addr, 1);
  one.SetValue(0, value, where);
  ::ascend_twin::CleanCache(detail::Current(), one.Tensor(), one.Offset(), false, where);
}

inline int64_t GetBlockNum() {
  return ::ascend_twin::BlockNum(detail::Current());
}
// On an AIV of a mixed kernel this spans [0, ratio * GetBlockNum()).
inline int64_t GetBlockIdx() {
  return ::ascend_twin::BlockIdx(detail::Current());
}
inline int64_t GetSubBlockIdx() {
  return detail::Current().sub_block;
}
inline int64_t GetSubBlockNum() {
  return ::ascend_twin::TaskRatio(detail::Current());
}
inline int64_t GetTaskRatio() {
  return ::ascend_twin::TaskRatio(detail::Current());
}
inline int64_t GetSystemCycle() {
  return ::ascend_twin::SystemCycle(detail::Current());
}
inline void Trap() {
  detail::Current().Fail(detail::Rule::kKernelException, "Trap", {}, "the kernel trapped");
}
template <int count = 1>
void Nop() {}
// Between the tasks of a super kernel; without effect on these chips.
inline void SetNextTaskStart() {}
inline void WaitPreTaskEnd() {}
// The toolkit's older name.
inline int64_t GetTaskRation() {
  return GetTaskRatio();
}
inline void InitSocState(ASCEND_TWIN_WHERE) {
  SetAtomicNone(where);
  SetMaskNorm(where);
  ResetMask(where);
}
inline __gm__ uint8_t* GetUserWorkspace(__gm__ uint8_t* workspace) {
  return workspace;
}
inline __gm__ uint8_t* GetSysWorkSpacePtr() {
  return nullptr;
}

// Dumps for the toolkit's debugger: accepted, nothing is written.
template <typename Tensor>
void DumpTensor(const Tensor&, uint32_t /*desc*/, uint32_t /*dumpSize*/) {}
template <typename Tensor, typename Shape>
void DumpTensor(const Tensor&, uint32_t /*desc*/, uint32_t /*dumpSize*/, const Shape&) {}
template <typename Tensor>
void DumpAccChkPoint(const Tensor&, uint32_t /*index*/, uint32_t /*countOff*/, uint32_t /*dumpSize*/) {}

// Text from a kernel goes to the host's standard output.
template <typename... Args>
void printf(const char* format, Args... args) {
  if constexpr (sizeof...(args) == 0)
    std::fputs(format, stdout);
  else
    std::printf(format, args...);
}
template <typename... Args>
void PRINTF(const char* format, Args... args) {
  AscendC::printf(format, args...);
}

}  // namespace ASCEND_TWIN_NAMESPACE
}  // namespace AscendC

// The built-in variables of the device language.
struct AscendTwinBlockIdx {
  operator int64_t() const { return AscendC::GetBlockIdx(); }
};
struct AscendTwinBlockNum {
  operator int64_t() const { return AscendC::GetBlockNum(); }
};
constexpr AscendTwinBlockIdx block_idx{};
constexpr AscendTwinBlockNum block_num{};
