// SPDX-License-Identifier: Apache-2.0
// The vector unit: what the API headers hand to it.
#pragma once

#include <cstdint>

#include "ascend_twin/core.h"

namespace ascend_twin {

enum class DType : uint8_t { kHalf, kFloat, kBf16, kI8, kU8, kI16, kU16, kI32, kU32, kI64, kU64, kOther };
constexpr int SizeOf(DType t) {
  switch (t) {
    case DType::kI8:
    case DType::kU8:
    case DType::kOther:
      return 1;
    case DType::kHalf:
    case DType::kBf16:
    case DType::kI16:
    case DType::kU16:
      return 2;
    case DType::kFloat:
    case DType::kI32:
    case DType::kU32:
      return 4;
    default:
      return 8;
  }
}

enum class VOp : uint8_t {
  kAdd,
  kSub,
  kMul,
  kDiv,
  kMax,
  kMin,
  kAnd,
  kOr,
  kAddRelu,
  kSubRelu,  // two sources
  kMulAddDst,
  kFusedMulAdd,
  kFusedMulAddRelu,  // two sources and the destination
  kAdds,
  kMuls,
  kMaxs,
  kMins,
  kShiftLeft,
  kShiftRight,
  kLeakyRelu,  // source and scalar
  kAxpy,       // source, scalar and the destination
  kExp,
  kLn,
  kSqrt,
  kRsqrt,
  kReciprocal,
  kAbs,
  kRelu,
  kNot,
  kCopy,
  kCast,       // one source
  kDuplicate,  // scalar only
};

// A tensor operand. Strides are in blocks of 32 B.
struct Operand {
  DType type = DType::kFloat;
  Mem mem = Mem::kUB;
  uint32_t addr = 0;
  uint32_t limit = 0;  // end of its buffer, 0 if unknown
  uint32_t block_stride = 1;
  uint32_t repeat_stride = 8;
};

struct Lanes {
  uint64_t mask[2] = {~0ull, ~0ull};
  uint64_t last_mask[2] = {~0ull, ~0ull};
  uint32_t repeats = 1;
  uint32_t instructions = 1;  // as the chip's headers would issue
};

struct VectorCall {
  VOp op;
  const char* name;
  Operand dst, src0, src1;
  int sources = 1;
  Lanes lanes;
  double scalar = 0;
  int64_t integer = 0;  // the scalar, for integer types
  uint8_t round = 0;    // RoundMode of a cast; whether a shift rounds
};

// Lanes of the three ways to select elements; false: a rule was broken and reported, or there is nothing to do.
bool LanesFromCount(Core& core, const char* name, const Where& where, int element, int64_t count,
                    Lanes* lanes, bool set_mask = true);
bool LanesFromMask(Core& core, const char* name, const Where& where, int element, bool set_mask,
                   uint64_t count, int repeats, Lanes* lanes);
bool LanesFromBits(Core& core, const char* name, const Where& where, int element, bool set_mask,
                   const uint64_t* bits, int repeats, Lanes* lanes);

// The factor of casts from int32 to half.
double DeqScale(Core& core);
void SetDeqScale(Core& core, double scale);

void Elementwise(Core& core, const VectorCall& call, const Where& where);

enum class ReduceKind : uint8_t { kSum, kMax, kMin };
enum class ReduceSpan : uint8_t { kRepeat, kBlock, kPair };
struct ReduceCall {
  ReduceKind kind;
  ReduceSpan span;
  const char* name;
  Operand dst, src;  // dst.repeat_stride in elements, pairs or blocks as the call counts them
  Lanes lanes;
  uint8_t order = 0;  // ReduceOrder, kRepeat max and min only
};
void Reduce(Core& core, const ReduceCall& call, const Where& where);

// The whole of `count` elements, or of `lanes`, into one, through `work`; index as well if asked.
struct ReduceAllCall {
  ReduceKind kind;
  const char* name;
  Operand dst, src, work;
  Lanes lanes;
  bool index = false;
  bool sum_by_count = false;
};
void ReduceAll(Core& core, const ReduceAllCall& call, const Where& where);

// What the last reduction left in its registers: the sum, or the extremum (bits of its index if asked).
float ReducedSum(Core& core, const Where& where);
float ReducedExtremum(Core& core, uint32_t* index, const Where& where);

struct CompareCall {
  const char* name;
  Operand dst, src0, src1;
  bool scalar_source = false;
  bool to_register = false;  // CMPMASK instead of dst
  double scalar = 0;
  uint8_t mode = 0;  // CMPMODE
  Lanes lanes;
};
void Compare(Core& core, const CompareCall& call, const Where& where);

struct SelectCall {
  const char* name;
  Operand dst, mask, src0, src1;
  bool scalar_source = false;
  bool from_register = false;
  double scalar = 0;
  uint8_t mode = 0;  // SELMODE
  Lanes lanes;
};
void Select(Core& core, const SelectCall& call, const Where& where);
void SetCmpMask(Core& core, const Operand& src, const Where& where);
void GetCmpMask(Core& core, const Operand& dst, const Where& where);

struct ImageShape {
  uint32_t n, c, pixels;
  bool to_nhwc;  // else back
};
void TransposeImage(Core& core, const Operand& dst, const Operand& src, const Operand& scratch,
                    const ImageShape& shape, const Where& where);
void Transpose16(Core& core, const Operand& dst, const Operand& src, const Where& where);
void TransDataTo5HD(Core& core, const Operand dst[16], const Operand src[16], int repeats, int dst_stride,
                    int src_stride, bool dst_high, bool src_high, const Where& where);
void Brcb(Core& core, const Operand& dst, const Operand& src, int repeats, const Where& where);
struct GatherCall {
  const char* name;
  Operand dst, src, offset;
  uint32_t base = 0;
  Lanes lanes;
  bool blocks = false;  // Gatherb
};
void Gather(Core& core, const GatherCall& call, const Where& where);
void CreateIndex(Core& core, const char* name, const Operand& dst, double first, const Lanes& lanes,
                 const Where& where);
struct GatherMaskCall {
  Operand dst, src, pattern;
  int fixed = 0;  // 1..7, 0: a tensor of bits
  bool counted = false;
  uint32_t mask = 0;
  uint32_t repeats = 1;
};
uint64_t GatherMask(Core& core, const GatherMaskCall& call, const Where& where);

// Sorting, descending and stable. A pair: 8 B, score (half or float) at 0, index (uint32) at 4. A proposal: 16 B,
// eight halves, the score at 8.
void Sort32(Core& core, const Operand& dst, const Operand& score, const Operand& index, int repeats,
            const Where& where);
void ExtractPairs(Core& core, const Operand& value, const Operand& index, const Operand& src, int repeats,
                  const Where& where);
void SortProposals(Core& core, const Operand& dst, const Operand& src, int repeats, const Where& where);
struct MergeCall {
  const char* name;
  Operand dst, src[4];
  uint16_t lengths[4] = {};  // elements
  uint16_t valid = 0;        // bit i: queue i takes part
  uint16_t repeats = 1;
  bool suspend = false;  // stop as soon as a queue is used up
  bool proposals = false;
};
void Merge(Core& core, const MergeCall& call, const Where& where);
void MergeResult(Core& core, uint16_t taken[4], bool wait, const Where& where);
// One field of 16 proposals a repeat, from or to 16 halves that follow each other.
void ProposalField(Core& core, const char* name, const Operand& dst, const Operand& src, int repeats,
                   int field, bool extract, const Where& where);

}  // namespace ascend_twin
