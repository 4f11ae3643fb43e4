// SPDX-License-Identifier: Apache-2.0
// Modes, cross-core synchronisation and system variables, free of templates.
#pragma once

#include "ascend_twin/core.h"

namespace ascend_twin {

void CrossCoreSet(Core& core, int mode, Pipe pipe, int id, bool by_library, const Where& where);
void CrossCoreWait(Core& core, int id, const Where& where);
void SyncAllHard(Core& core, bool aiv_only, const Where& where);
void SyncAllSoft(Core& core, uint16_t gm, int64_t gm_offset, uint32_t ub_addr, uint32_t ub_bytes,
                 int used_cores, const Where& where);
void BlockFlagSet(Core& core, int64_t workspace, int block, int event, const Where& where);
void BlockFlagWait(Core& core, int64_t workspace, int block, int event, const Where& where);
// Blocks one after the other, turn by turn.
void WaitPreBlock(Core& core, int64_t workspace, const Where& where);
void NotifyNextBlock(Core& core, int64_t workspace, const Where& where);
void SetVectorMask(Core& core, uint64_t high, uint64_t low, const Where& where);
void SetMaskMode(Core& core, bool counter, const Where& where);
void SetAtomic(Core& core, AtomicOp op, int type, const Where& where);
void SetAtomicType(Core& core, int type, const Where& where);
void CleanCache(Core& core, uint16_t gm, int64_t offset, bool all, const Where& where);
void DeclareKernelType(int meta_type, const Where& where);

int64_t BlockNum(Core& core);
int64_t BlockIdx(Core& core);
int64_t TaskRatio(Core& core);
int64_t SystemCycle(Core& core);
uint64_t TilingKey();
bool IsAic();
bool IsAiv();

}  // namespace ascend_twin
