// SPDX-License-Identifier: Apache-2.0
// A launch: its cores, the scheduler, the state of GM and the cross-core flags.
#pragma once

#include <ucontext.h>

#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ascend_twin/core.h"

namespace ascend_twin {

struct StopKernel {};

struct Core::Coroutine {
  ucontext_t context;
  std::unique_ptr<char[]> stack;
};

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15ull + 0x1234567) {}
  uint64_t Next() {
    state_ += 0x9e3779b97f4a7c15ull;
    uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
  }
  uint32_t Below(uint32_t n) { return static_cast<uint32_t>((Next() >> 32) * n >> 32); }

 private:
  uint64_t state_;
};

// An access of a 32 B block of GM, as long as bytes of it matter.
struct GmAccess {
  uint32_t who = 0;  // core * kPipes + pipe + 1
  uint32_t seq = 0, bytes = 0;
  uint8_t atomic = 0;  // Access::atomic
  bool dirty = false;  // written by a scalar unit and still in its cache
};

// Those of a block: mostly one.
class GmAccesses {
 public:
  // Whether f holds for all; stops at the first for which it does not.
  template <typename F>
  bool All(F f) {
    if (first_.bytes && !f(first_)) return false;
    for (size_t i = 0; rest_ && i < rest_->size(); ++i)
      if ((*rest_)[i].bytes && !f((*rest_)[i])) return false;
    return true;
  }
  // Takes bytes from those of which `from` holds.
  template <typename F>
  void Take(uint32_t bytes, F from) {
    All([&](GmAccess& a) {
      if (from(a)) a.bytes &= ~bytes;
      return true;
    });
  }
  void Add(const GmAccess& a) {
    GmAccess* to = &first_;
    for (size_t i = 0; to->bytes && !(to->who == a.who && to->seq == a.seq); ++i) {
      if (!rest_) rest_ = std::make_unique<std::vector<GmAccess>>();
      if (i == rest_->size()) rest_->emplace_back();
      to = &(*rest_)[i];
    }
    const uint32_t bytes = to->bytes | a.bytes;
    *to = a;
    to->bytes = bytes;
  }

 private:
  GmAccess first_;
  std::unique_ptr<std::vector<GmAccess>> rest_;
};

struct GmBlock {
  GmAccesses writers, readers;
  uint32_t written = 0;
  uint32_t version = 0;  // counts the writes
};

// A 64 B line of GM in a scalar unit's data cache, as it was when the unit read it.
struct CachedLine {
  uint16_t tensor;
  uint32_t line, version;
};

struct GmState {
  std::vector<GmBlock> blocks;
  uint64_t bytes_read = 0, bytes_written = 0, sectors_read = 0, sectors_written = 0;
};

// A set of a cross-core flag: what its core had completed.
using CrossClock = std::shared_ptr<const std::vector<uint32_t>>;

struct CrossFlag {
  std::deque<CrossClock> sets;          // ready for this core's waits
  std::deque<CrossClock> collected[3];  // sets of this core not yet matched by its group, per mode
  Where last_set;
};

class Machine {
 public:
  Machine(const LaunchOptions& options, Gm& gm, const std::function<void()>& kernel);
  Report Run();

  const LaunchOptions options;
  const ChipLimits& chip;
  Gm& gm;
  std::vector<std::unique_ptr<Core>> cores;
  std::vector<GmState> gm_state;
  std::vector<std::vector<CachedLine>> cached;  // per core
  std::vector<Error> errors;
  std::vector<Error> suspected;  // uninitialised GM reads: errors unless a race explains them
  std::vector<TraceEntry> trace;
  std::vector<std::string> events;
  std::vector<std::vector<CrossFlag>> cross;  // [core][flag id]
  Random random;
  uint32_t queue_capacity = 16;
  uint64_t executed = 0;
  bool stop = false;
  KernelType type;
  bool collecting_type = false;
  bool soft_sync_started = false;
  bool sync_all_used = false;  // it owns the flags 11..14 then
  bool sync_all_flags_taken = false;
  struct Meeting {
    int came = 0;
    std::vector<uint32_t> clock;
  };
  std::deque<Meeting> meetings;
  std::map<uint64_t, std::deque<CrossClock>> block_flags;

  void AddError(Error error);
  void DeclareType(KernelType declared, const Where& where);
  int BlockOf(const Core& core) const { return core.block; }
  void CrossSet(Core& core, int mode, int id, CrossClock clock, const Where& where);
  bool GmFind(const void* pointer, uint16_t* index, int64_t* offset) const;
  bool CheckStale(Core& core, const Instr& instr, const Access& access);
  void CheckGm(Core& core, const Instr& instr, const Access& access, const Clock& known, uint32_t remote);

  ucontext_t scheduler_context;

 private:
  void MakeCores();
  KernelType ProbeType();
  bool ReleasePolls();
  bool StepCore(Core& core);
  bool StepBody(Core& core);
  void Resume(Core& core);
  void ReportDeadlock();
  void Finish(Core& core);
  Report MakeReport();

  const std::function<void()>& kernel_;
  KernelType probed_ = KernelType::kAivOnly;
  int idle_polls_ = 0;
  uint64_t polled_at_ = 0;
  friend class Core;
};

}  // namespace ascend_twin
