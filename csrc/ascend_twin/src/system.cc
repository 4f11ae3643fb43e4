// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <string>

#include "ascend_twin/system_ops.h"
#include "ascend_twin/vector_ops.h"
#include "machine.h"

namespace ascend_twin {

namespace {
bool Mixed(KernelType type) {
  return type == KernelType::kMixAic1Aiv1 || type == KernelType::kMixAic1Aiv2;
}

bool CheckBlocks(Core& core, const char* name, const Where& where) {
  const ChipLimits& chip = core.chip();
  const int cores =
      core.kind == CoreKind::kAiv && !Mixed(core.machine.type) ? chip.physical_aiv : chip.physical_aic;
  if (core.machine.options.block_dim <= cores) return true;
  core.Fail(Rule::kBlockDim, name, where,
            "all blocks must run at once: " + std::to_string(core.machine.options.block_dim) + " blocks on " +
                std::to_string(cores) + " cores would hang");
  core.CheckStop();
  return false;
}
}  // namespace

void CrossCoreSet(Core& core, int mode, Pipe pipe, int id, bool by_library, const Where& where) {
  core.CheckStop();
  if (core.stopped()) return;
  const bool reserved = id >= 11 && id <= 14;
  (by_library ? core.machine.sync_all_used : core.machine.sync_all_flags_taken) |= reserved;
  if (id < 0 || id > 15) {
    core.Fail(Rule::kCrossCoreFlagId, "CrossCoreSetFlag", where,
              "flag " + std::to_string(id) + "; there are 0..15", pipe);
    return;
  }
  if (reserved && core.machine.sync_all_used && core.machine.sync_all_flags_taken) {
    core.Fail(Rule::kCrossCoreFlagId, by_library ? "SyncAll" : "CrossCoreSetFlag", where,
              "flags 11..14 belong to SyncAll, which this kernel calls, and it sets one of them itself",
              pipe);
    return;
  }
  const KernelType type = core.machine.type;
  if ((mode == 1 && type != KernelType::kMixAic1Aiv2) || (mode == 2 && !Mixed(type)) ||
      (mode == 1 && core.kind == CoreKind::kAic)) {
    core.Fail(Rule::kCrossCoreMode, "CrossCoreSetFlag", where,
              "mode " + std::to_string(mode) + " does not fit this kernel type or core", pipe);
    return;
  }
  if (mode == 0 && !CheckBlocks(core, "CrossCoreSetFlag", where)) return;
  core.CrossCoreSet(mode, pipe, id, where);
}

void CrossCoreWait(Core& core, int id, const Where& where) {
  core.CheckStop();
  if (core.stopped()) return;
  if (id < 0 || id > 15) {
    core.Fail(Rule::kCrossCoreFlagId, "CrossCoreWaitFlag", where,
              "flag " + std::to_string(id) + "; there are 0..15");
    return;
  }
  core.CrossCoreWait(id, where);
}

void SyncAllHard(Core& core, bool aiv_only, const Where& where) {
  core.CheckStop();
  if (core.stopped() || !CheckBlocks(core, "SyncAll", where)) return;
  core.BarrierAll(where);
  const bool mixed = Mixed(core.machine.type) && !aiv_only;
  if (core.kind == CoreKind::kAic) {
    if (aiv_only && Mixed(core.machine.type)) return;
    // All AIC meet; in a mixed kernel each has heard of its AIVs before and tells them after.
    if (mixed) core.CrossCoreWait(12, where);
    CrossCoreSet(core, 0, Pipe::kFIX, 11, true, where);
    core.CrossCoreWait(11, where);
    if (mixed) CrossCoreSet(core, 2, Pipe::kMTE3, 13, true, where);
    return;
  }
  if (mixed) {
    CrossCoreSet(core, 2, Pipe::kMTE3, 12, true, where);
    core.CrossCoreWait(13, where);
    return;
  }
  CrossCoreSet(core, 0, Pipe::kMTE3, 14, true, where);
  core.CrossCoreWait(14, where);
}

void SyncAllSoft(Core& core, uint16_t gm, int64_t gm_offset, uint32_t ub_addr, uint32_t ub_bytes,
                 int used_cores, const Where& where) {
  core.CheckStop();
  if (core.stopped()) return;
  const char* name = "SyncAll";
  Machine& machine = core.machine;
  const int blocks = used_cores ? used_cores : static_cast<int>(machine.cores.size());
  if (!CheckBlocks(core, name, where)) return;
  if (gm == 0xffff) {
    core.Fail(Rule::kGmUnknown, name, where, "its workspace has no GM buffer");
    return;
  }
  // 32 B a core, in GM and in UB.
  const int64_t need = static_cast<int64_t>(blocks) * kBlock;
  const GmTensor& tensor = machine.gm.tensors()[gm];
  if (gm_offset + need > static_cast<int64_t>(tensor.bytes) || ub_bytes < need) {
    core.Fail(Rule::kSyncWorkspace, name, where,
              "needs " + std::to_string(need) + " bytes in GM and in UB, has " +
                  std::to_string(static_cast<int64_t>(tensor.bytes) - gm_offset) + " and " +
                  std::to_string(ub_bytes));
    return;
  }
  if (!machine.soft_sync_started) {
    for (int64_t i = 0; i < need; ++i)
      if (tensor.device[gm_offset + i] != 0) {
        core.Fail(Rule::kSyncWorkspace, name, where, "GM tensor '" + tensor.name + "' must start zeroed");
        return;
      }
    machine.soft_sync_started = true;
  }
  (void)ub_addr;
  core.BarrierAll(where);
  core.SoftMeet(blocks, where);
}

void BlockFlagSet(Core& core, int64_t workspace, int block, int event, const Where& where) {
  core.CheckStop();
  if (core.stopped() || !CheckBlocks(core, "IBSet", where)) return;
  core.BarrierAll(where);
  core.BlockSet(static_cast<uint64_t>(workspace) << 32 | static_cast<uint64_t>(event & 0xffff) << 16 |
                static_cast<uint64_t>(block & 0xffff));
}
void BlockFlagWait(Core& core, int64_t workspace, int block, int event, const Where& where) {
  core.CheckStop();
  if (core.stopped() || !CheckBlocks(core, "IBWait", where)) return;
  core.BarrierAll(where);
  core.BlockWait(static_cast<uint64_t>(workspace) << 32 | static_cast<uint64_t>(event & 0xffff) << 16 |
                     static_cast<uint64_t>(block & 0xffff),
                 where);
}

namespace {
constexpr int kTurns = 0x8000;  // events of turns, apart from those of IBSet
}
void WaitPreBlock(Core& core, int64_t workspace, const Where& where) {
  const int block = static_cast<int>(BlockIdx(core)), turn = static_cast<int>(core.block_turn);
  core.CheckStop();
  if (core.stopped()) return;
  core.BarrierAll(where);
  if (block > 0)
    BlockFlagWait(core, workspace, block - 1, kTurns | turn, where);
  else if (turn > 0)
    BlockFlagWait(core, workspace, static_cast<int>(BlockNum(core)) - 1, kTurns | (turn - 1), where);
}
void NotifyNextBlock(Core& core, int64_t workspace, const Where& where) {
  BlockFlagSet(core, workspace, static_cast<int>(BlockIdx(core)),
               kTurns | static_cast<int>(core.block_turn++), where);
}

void SetVectorMask(Core& core, uint64_t high, uint64_t low, const Where& where) {
  core.CheckStop();
  if (core.stopped()) return;
  core.vector.mask[0] = low;
  core.vector.mask[1] = high;
  core.vector.explicit_mask = true;
  core.vector.mask_set = where;
}

void SetMaskMode(Core& core, bool counter, const Where& where) {
  core.CheckStop();
  if (core.stopped()) return;
  core.vector.counter_mode = counter;
  core.vector.mask_set = where;
}

void SetAtomic(Core& core, AtomicOp op, int type, const Where& where) {
  core.CheckStop();
  if (core.stopped()) return;
  core.atomic = op;
  core.atomic_type = type;
  core.atomic_set = where;
}

double DeqScale(Core& core) {
  return core.deq_scale;
}
void SetDeqScale(Core& core, double scale) {
  core.deq_scale = scale;
}

void SetAtomicType(Core& core, int type, const Where& where) {
  core.CheckStop();
  if (core.stopped()) return;
  core.atomic_type = type;
  core.atomic_set = where;
}

void CleanCache(Core& core, uint16_t gm, int64_t offset, bool all, const Where&) {
  core.CheckStop();
  if (core.stopped() || gm == 0xffff) return;
  auto& lines = core.machine.cached[static_cast<size_t>(core.index)];
  lines.erase(
      std::remove_if(lines.begin(), lines.end(),
                     [&](const CachedLine& c) { return all || (c.tensor == gm && c.line == offset / 64); }),
      lines.end());
  for (size_t t = 0; t < core.machine.gm_state.size(); ++t) {
    auto& blocks = core.machine.gm_state[t].blocks;
    const size_t line = static_cast<size_t>(offset) / 64 * 2;
    const size_t first = all ? 0 : t == gm ? line : blocks.size(), last = all ? blocks.size() : line + 2;
    for (size_t b = first; b < last && b < blocks.size(); ++b)
      blocks[b].writers.All([&](GmAccess& w) {
        if ((w.who - 1) / kPipes == static_cast<uint32_t>(core.index)) w.dirty = false;
        return true;
      });
  }
}

void DeclareKernelType(int meta_type, const Where& where) {
  Core& core = Current();
  static const KernelType types[] = {KernelType::kAivOnly,     KernelType::kAicOnly,
                                     KernelType::kAivOnly,     KernelType::kAicOnly,
                                     KernelType::kMixAic1Aiv1, KernelType::kMixAic1Aiv2};
  if (core.soc() == Soc::kAscend910 || meta_type > 5) return;
  core.machine.DeclareType(types[meta_type], where);
}

int64_t BlockNum(Core& core) {
  return core.machine.options.block_dim;
}
int64_t BlockIdx(Core& core) {
  if (core.kind != CoreKind::kAiv) return core.block;
  return core.block * TaskRatio(core) + core.sub_block;
}
int64_t TaskRatio(Core& core) {
  return core.machine.type == KernelType::kMixAic1Aiv2 && core.kind == CoreKind::kAiv ? 2 : 1;
}
int64_t SystemCycle(Core& core) {
  return static_cast<int64_t>(core.machine.executed);
}
uint64_t TilingKey() {
  return Current().machine.options.tiling_key;
}
bool IsAic() {
  return Current().kind == CoreKind::kAic;
}
bool IsAiv() {
  return Current().kind == CoreKind::kAiv;
}

}  // namespace ascend_twin
