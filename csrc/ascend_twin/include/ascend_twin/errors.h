// SPDX-License-Identifier: Apache-2.0
// Every rule of the hardware that a run can break, by name. docs/ascend_twin.md has the table.
#pragma once

#include <cstdint>
#include <string>

namespace ascend_twin {

#define ASCEND_TWIN_RULES(X)                                                                                \
  X(kCapacity, "CAPACITY", "buffers fit in their memory, less what headers and TPipe reserve")              \
  X(kMemoryRange, "MEMORY_RANGE", "an instruction stays inside its local memory")                           \
  X(kReservedMemory, "RESERVED_MEMORY", "a kernel does not touch the scratch area of the headers")          \
  X(kTensorRange, "TENSOR_RANGE", "an instruction stays inside the tensor it was given")                    \
  X(kAlignment, "ALIGNMENT", "addresses are aligned as their memory asks")                                  \
  X(kRepeatRange, "REPEAT_RANGE", "repeat times are at most 255")                                           \
  X(kStrideRange, "STRIDE_RANGE", "strides fit their fields")                                               \
  X(kMaskRange, "MASK_RANGE", "a mask has between 1 and 256 B / sizeof(T) elements")                        \
  X(kCountRange, "COUNT_RANGE", "element counts are whole and positive")                                    \
  X(kBufferCount, "BUFFER_COUNT", "TPipe holds at most 64 buffers")                                         \
  X(kEventIdsExhausted, "EVENT_IDS_EXHAUSTED",                                                              \
    "outstanding tensors per position are at most 4 (910), 8 (910B)")                                       \
  X(kQueueOrder, "QUEUE_ORDER", "a tensor goes AllocTensor, EnQue, DeQue, FreeTensor")                      \
  X(kQueueDepth, "QUEUE_DEPTH", "consecutive EnQues are at most the depth of the queue")                    \
  X(kQueueNoBuffer, "QUEUE_NO_BUFFER", "AllocTensor finds a free buffer")                                   \
  X(kQueueNotFreed, "QUEUE_NOT_FREED", "every tensor of a queue is freed")                                  \
  X(kOverlapInRepeat, "OVERLAP_IN_REPEAT",                                                                  \
    "source and destination of one repeat overlap wholly or not at all")                                    \
  X(kOverlapAcrossRepeats, "OVERLAP_ACROSS_REPEATS",                                                        \
    "the destination of a repeat is no source of a later one")                                              \
  X(kFlagSetTwice, "FLAG_SET_TWICE", "a flag is not set again before it was waited for")                    \
  X(kFlagLeftSet, "FLAG_LEFT_SET", "every SetFlag has its WaitFlag")                                        \
  X(kFlagId, "FLAG_ID", "event ids are 0..3 (910), 0..7 (910B)")                                            \
  X(kDeadlock, "DEADLOCK", "something can always make progress")                                            \
  X(kCrossCoreFlagId, "CROSS_CORE_FLAG_ID",                                                                 \
    "cross-core flag ids are 0..15; 11..14 belong to SyncAll where it is called")                           \
  X(kCrossCoreCounter, "CROSS_CORE_COUNTER", "a cross-core flag counts to at most 15")                      \
  X(kCrossCoreFlagLeft, "CROSS_CORE_FLAG_LEFT", "every cross-core set is waited for")                       \
  X(kCrossCoreMode, "CROSS_CORE_MODE", "the mode of a cross-core flag fits the kernel type")                \
  X(kMaskNotRestored, "MASK_NOT_RESTORED", "the vector mask is full again when others rely on it")          \
  X(kAtomicNotRestored, "ATOMIC_NOT_RESTORED", "the atomic mode is off again at the end")                   \
  X(kDmaLimit, "DMA_LIMIT", "block counts, lengths and gaps of a copy are in range")                        \
  X(kNotOnChip, "NOT_ON_CHIP", "the chip has this call, path or mode")                                      \
  X(kWrongCore, "WRONG_CORE", "cube instructions run on AIC, vector instructions on AIV")                   \
  X(kWrongPosition, "WRONG_POSITION", "operands lie in the memories the instruction reads and writes")      \
  X(kIgnoredParameter, "IGNORED_PARAMETER", "a parameter that the chip ignores keeps its default")          \
  X(kUninitialised, "UNINITIALISED_READ", "what is read was written in this run")                           \
  X(kHazardRaw, "HAZARD_READ_AFTER_WRITE", "a read waits for the write before it")                          \
  X(kHazardWar, "HAZARD_WRITE_AFTER_READ", "a write waits for the reads before it")                         \
  X(kHazardWaw, "HAZARD_WRITE_AFTER_WRITE", "a write waits for the write before it")                        \
  X(kGmOutOfBounds, "GM_OUT_OF_BOUNDS", "a copy stays inside its tensor, the 32 B rounding included")       \
  X(kGmUnknown, "GM_UNKNOWN_POINTER", "a GlobalTensor points into a tensor of the launch")                  \
  X(kGmWriteToInput, "GM_WRITE_TO_INPUT", "inputs are not written")                                         \
  X(kGmRace, "GM_RACE", "two cores share bytes of GM (64 B lines with scalar writes) only in an order")     \
  X(kGmCache, "GM_CACHE", "scalar GM writes are cleaned, and stale lines invalidated, around DMA")          \
  X(kMmadRange, "MMAD_RANGE", "m, n, k are at most 4095")                                                   \
  X(kMmadGemv, "MMAD_GEMV", "m = 1 is a GEMV and reads A as ND")                                            \
  X(kNd2NzRange, "ND2NZ_RANGE", "the strides of ND2NZ fit their fields")                                    \
  X(kRoundMode, "ROUND_MODE", "the chip has this rounding for this cast")                                   \
  X(kLoad3dState, "LOAD3D_STATE", "LoadData 3D finds its registers set and starts inside its boundary")     \
  X(kTensorList, "TENSOR_LIST", "a ListTensorDesc reads a list of the documented layout, inside its count") \
  X(kMergeQueues, "MRGSORT_QUEUES", "a merge has 2 to 4 sorted queues of at most 4095 elements")            \
  X(kMergeResult, "MRGSORT_RESULT", "GetMrgSortResult follows a MrgSort with ifExhaustedSuspension")        \
  X(kBlockDim, "BLOCK_DIM", "a global sync needs no more blocks than cores")                                \
  X(kSyncWorkspace, "SYNC_WORKSPACE", "the workspace of a soft sync is large enough and starts zeroed")     \
  X(kKernelType, "KERNEL_TYPE", "the kernel runs as the type it declares")                                  \
  X(kRunaway, "RUNAWAY", "a kernel ends within the instruction limit")                                      \
  X(kKernelException, "KERNEL_EXCEPTION", "the kernel throws nothing")

enum class Rule : uint8_t {
#define ASCEND_TWIN_RULE_ENUM(id, name, text) id,
  ASCEND_TWIN_RULES(ASCEND_TWIN_RULE_ENUM)
#undef ASCEND_TWIN_RULE_ENUM
      kCount
};

const char* RuleName(Rule rule);
const char* RuleText(Rule rule);

// The line of the kernel that made a call.
struct Where {
  const char* file = "";
  int line = 0;
};

struct Error {
  Rule rule;
  std::string call;    // the instruction, as the kernel names it
  std::string detail;  // one sentence: expected and got
  std::string file;
  int line = 0;
  int block = -1;    // block of the launch
  std::string core;  // AICORE, AIC, AIV0, AIV1
  std::string pipe;
  std::string memory;  // of the offending address, empty if none
  int64_t address = -1;

  std::string ToString() const;
};

}  // namespace ascend_twin

// Where a call was made, as the last argument of every function of the API.
#define ASCEND_TWIN_WHERE const ::ascend_twin::Where& where = {__builtin_FILE(), __builtin_LINE()}
