// SPDX-License-Identifier: Apache-2.0
// Shared by the files of the vector unit.
#pragma once

#include <functional>

#include "ascend_twin/vector_ops.h"

namespace ascend_twin {

void HalfToFloat(float* out, const uint16_t* in, int n);
void FloatToHalf(uint16_t* out, const float* in, int n);
double VectorCost(VOp op, DType type, uint32_t repeats);

Access OperandAccess(const Operand& o, bool write, const Lanes& lanes, int per_repeat);
bool CheckOperand(Core& core, const char* name, const Where& where, const Operand& o, int align);
bool CheckEndOfBuffer(Core& core, const char* name, const Where& where, const Operand& o, const Access& a);
bool CheckBlockStride(Core& core, const char* name, const Where& where, const Operand& dst,
                      const Lanes& lanes, int per_repeat);
bool CheckOverlap(Core& core, const char* name, const Where& where, const Operand& dst, const Operand& src,
                  const Lanes& lanes, int per_repeat, bool accumulates);
// The same for what is no row of lanes: the 32 B blocks (at most 64) of a repeat, each side's; which rules hold.
using BlocksOf = std::function<int(uint32_t repeat, int64_t* blocks)>;
bool CheckOverlapOf(Core& core, const char* name, const Where& where, uint32_t repeats, const BlocksOf& dst,
                    const BlocksOf& src, bool within, bool across);
// The blocks of a repeat with an active lane; those of bytes that follow each other.
int RepeatBlocks(const Operand& o, const Lanes& lanes, int per_repeat, uint32_t r, int64_t* out);
int SpanBlocks(int64_t addr, int64_t bytes, int64_t* out);

// One repeat of a float operand.
void LoadFloats(Core& core, const Operand& o, uint32_t repeat, int n, float* out);
void StoreFloats(Core& core, const Operand& o, uint32_t repeat, int n, const float* in,
                 const uint64_t mask[2]);

}  // namespace ascend_twin
