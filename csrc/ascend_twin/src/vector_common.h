// SPDX-License-Identifier: Apache-2.0
// Shared by the files of the vector unit.
#pragma once

#include "ascend_twin/vector_ops.h"

namespace ascend_twin {

void HalfToFloat(float* out, const uint16_t* in, int n);
void FloatToHalf(uint16_t* out, const float* in, int n);
double VectorCost(VOp op, DType type, uint32_t repeats);

Access OperandAccess(const Operand& o, bool write, const Lanes& lanes, int per_repeat);
bool CheckOperand(Core& core, const char* name, const Where& where, const Operand& o, int align);
bool CheckEndOfBuffer(Core& core, const char* name, const Where& where, const Operand& o, const Access& a);
bool CheckOverlap(Core& core, const char* name, const Where& where, const Operand& dst, const Operand& src,
                  const Lanes& lanes, int per_repeat, bool accumulates);

// One repeat of a float operand.
void LoadFloats(Core& core, const Operand& o, uint32_t repeat, int n, float* out);
void StoreFloats(Core& core, const Operand& o, uint32_t repeat, int n, const float* in,
                 const uint64_t mask[2]);

}  // namespace ascend_twin
