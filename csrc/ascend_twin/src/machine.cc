// SPDX-License-Identifier: Apache-2.0
// The scheduler: which pipe of which core runs next is chosen by the seed, to be as unkind as the rules
// allow.
#include "machine.h"

#include <algorithm>
#include <numeric>

#include "queue_state.h"

namespace ascend_twin {

void SetCurrent(Core* core);

namespace {
thread_local Machine* g_machine = nullptr;
thread_local Core* g_starting = nullptr;
thread_local const std::function<void()>* g_kernel = nullptr;
thread_local std::string g_exception;

struct ProbeDone {
  KernelType type;
};

extern "C" void AscendTwinBodyEntry() {
  Core* core = g_starting;
  try {
    (*g_kernel)();
  } catch (const StopKernel&) {
  } catch (const std::exception& e) {
    core->Fail(Rule::kKernelException, "kernel", {}, e.what());
  } catch (...) {
    core->Fail(Rule::kKernelException, "kernel", {}, "an exception of unknown type");
  }
  core->BodyEnded();
}

const char* TypeName(KernelType type) {
  static const char* const names[] = {"auto", "AICORE", "AIV_ONLY", "AIC_ONLY", "MIX_AIC_1_1", "MIX_AIC_1_2"};
  return names[static_cast<int>(type)];
}
}  // namespace

Machine::Machine(const LaunchOptions& options_in, Gm& gm_in, const std::function<void()>& kernel)
    : options(options_in),
      chip(Chip(options_in.soc)),
      gm(gm_in),
      random(options_in.seed),
      type(options_in.kernel_type),
      kernel_(kernel) {}

void Machine::AddError(Error error) {
  if (stop) return;
  errors.push_back(std::move(error));
  if (static_cast<int>(errors.size()) >= options.max_errors) {
    stop = true;
    for (auto& core : cores) core->Stop();
  }
}

bool Machine::GmFind(const void* pointer, uint16_t* index, int64_t* offset) const {
  const auto address = reinterpret_cast<uintptr_t>(pointer);
  const std::vector<GmTensor>& tensors = gm.tensors();
  // A pointer into the gap around a tensor still means that tensor: its use is out of bounds by name.
  for (const int64_t slack : {int64_t{0}, Gm::kGap})
    for (size_t i = 0; i < tensors.size(); ++i) {
      const auto from = static_cast<int64_t>(address - reinterpret_cast<uintptr_t>(tensors[i].device));
      if (from >= -slack && from <= static_cast<int64_t>(tensors[i].bytes) + slack) {
        *index = static_cast<uint16_t>(i);
        *offset = from;
        return true;
      }
    }
  return false;
}

void Machine::MakeCores() {
  int index = 0;
  for (int block = 0; block < options.block_dim; ++block) {
    auto add = [&](CoreKind kind, int sub) {
      cores.push_back(std::make_unique<Core>(*this, index++, block, sub, kind));
    };
    switch (type) {
      case KernelType::kAicOnly:
        add(CoreKind::kAic, 0);
        break;
      case KernelType::kAivOnly:
        add(CoreKind::kAiv, 0);
        break;
      case KernelType::kMixAic1Aiv1:
        add(CoreKind::kAic, 0);
        add(CoreKind::kAiv, 0);
        break;
      case KernelType::kMixAic1Aiv2:
        add(CoreKind::kAic, 0);
        add(CoreKind::kAiv, 0);
        add(CoreKind::kAiv, 1);
        break;
      default:
        add(CoreKind::kFused, 0);
    }
  }
  cross.assign(cores.size(), std::vector<CrossFlag>(16));
  cached.resize(cores.size());
}

void Machine::Resume(Core& core) {
  g_machine = this;
  g_starting = &core;
  g_kernel = &kernel_;
  SetCurrent(&core);
  if (!core.started_) {
    core.started_ = true;
    core.coroutine_ = std::make_unique<Core::Coroutine>();
    core.coroutine_->stack.reset(new char[options.stack_bytes]);
    getcontext(&core.coroutine_->context);
    core.coroutine_->context.uc_stack.ss_sp = core.coroutine_->stack.get();
    core.coroutine_->context.uc_stack.ss_size = options.stack_bytes;
    core.coroutine_->context.uc_link = nullptr;
    makecontext(&core.coroutine_->context, AscendTwinBodyEntry, 0);
  }
  swapcontext(&scheduler_context, &core.coroutine_->context);
  SetCurrent(nullptr);
}

void Core::BodyEnded() {
  finished_ = true;
  setcontext(&machine.scheduler_context);
}

bool Machine::StepBody(Core& core) {
  if (core.finished_) return false;
  if (core.ready_ && !stop && !core.ready_(core, core.ready_arg_)) return false;
  Resume(core);
  return true;
}

// One attempt to advance a core, in an order that depends on the seed.
bool Machine::StepCore(Core& core) {
  constexpr int kBody = kPipes;
  int order[kPipes + 1];
  std::iota(order, order + kPipes + 1, 0);
  const int mode = static_cast<int>(options.seed % 4);
  if (mode == 1) {  // the body runs ahead as far as it can, then pipes in random order
    std::swap(order[0], order[kBody]);
    for (int i = kPipes; i > 1; --i) std::swap(order[i], order[1 + random.Below(static_cast<uint32_t>(i))]);
  } else if (mode == 2) {  // fixed priorities
    Random fixed(options.seed);
    for (int i = kPipes; i > 0; --i) std::swap(order[i], order[fixed.Below(static_cast<uint32_t>(i + 1))]);
  } else if (mode == 3) {
    for (int i = kPipes; i > 0; --i) std::swap(order[i], order[random.Below(static_cast<uint32_t>(i + 1))]);
  }  // mode 0: pipes drain before the body goes on
  for (int unit : order) {
    if (unit == kBody) {
      if (StepBody(core)) return true;
      continue;
    }
    if (core.queue_[unit].instrs.empty()) continue;
    const Pipe pipe = static_cast<Pipe>(unit);
    uint32_t quantum = mode == 0 || mode == 2 ? ~0u : 1 + random.Below(4);
    bool any = false;
    while (quantum-- && !stop && core.StepPipe(pipe)) any = true;
    if (any) return true;
  }
  return false;
}

Report Machine::Run() {
  if (options.soc == Soc::kAscend910) {
    if (type == KernelType::kAuto) type = KernelType::kFused;
  } else if (type == KernelType::kAuto) {
    type = ProbeType();
  }
  const bool fits = options.soc == Soc::kAscend910 ? type == KernelType::kFused : type != KernelType::kFused;
  if (!fits || options.block_dim < 1) {
    Error e;
    e.rule = fits ? Rule::kBlockDim : Rule::kKernelType;
    e.call = "Launch";
    e.detail = fits ? "block_dim is " + std::to_string(options.block_dim) + ", expected at least 1"
                    : std::string("kernel type ") + TypeName(type) + " does not exist on " + chip.name;
    errors.push_back(e);
    return MakeReport();
  }
  gm.BeforeLaunch();
  for (const GmTensor& t : gm.tensors()) {
    gm_state.emplace_back();
    if (t.kind == GmKind::kInput) continue;
    gm_state.back().blocks.resize((t.bytes + kBlock - 1) / kBlock);
    if (t.kind == GmKind::kInOut || gm.zeroed(gm_state.size() - 1))
      for (GmBlock& b : gm_state.back().blocks) b.written = ~0u;
  }
  const uint32_t capacities[] = {8, 32, 16, 24};
  queue_capacity = capacities[options.seed % 4] - random.Below(6);
  MakeCores();

  std::vector<Core*> active;
  for (auto& core : cores) active.push_back(core.get());
  // Even seed groups run cores in a random order nearly to their end, odd ones mix them finely.
  const bool sequential = options.seed / 4 % 2 == 0;
  for (size_t i = active.size(); i > 1; --i)
    std::swap(active[i - 1], active[random.Below(static_cast<uint32_t>(i))]);
  size_t at = 0;
  while (!active.empty() && !stop) {
    if (!sequential) at = random.Below(static_cast<uint32_t>(active.size()));
    bool progress = false;
    for (size_t tried = 0; tried < active.size() && !progress && !stop; ++tried) {
      if (tried) at = (at + 1) % active.size();
      progress = StepCore(*active[at]);
      if (active[at]->Done()) {
        active.erase(active.begin() + static_cast<long>(at));
        progress = true;
        if (at >= active.size()) at = 0;
      }
    }
    if (!progress && !stop && !active.empty() && !ReleasePolls()) {
      ReportDeadlock();
      break;
    }
  }
  for (auto& core : cores)
    if (core->started_ && !core->finished_) {
      core->Stop();
      Resume(*core);
    }
  if (!stop)
    for (auto& core : cores) {
      if (stop) break;
      Finish(*core);
    }
  if (errors.empty() && !suspected.empty()) errors.push_back(suspected.front());
  gm.AfterLaunch();
  return MakeReport();
}

bool Machine::ReleasePolls() {
  bool any = false;
  for (auto& core : cores) any |= core->PollWaiting();
  idle_polls_ = executed == polled_at_ ? idle_polls_ + 1 : 0;
  polled_at_ = executed;
  if (!any || idle_polls_ > 1000) return false;
  for (auto& core : cores) core->AfterPoll();
  return true;
}

// Runs the body until it names its type; nothing is issued.
KernelType Machine::ProbeType() {
  collecting_type = true;
  probed_ = KernelType::kAivOnly;
  gm.BeforeLaunch();
  type = KernelType::kMixAic1Aiv2;
  cores.push_back(std::make_unique<Core>(*this, 0, 0, 0, CoreKind::kAic));
  cross.assign(1, std::vector<CrossFlag>(16));
  cores[0]->Stop();
  Resume(*cores[0]);
  if (!cores[0]->finished_) Resume(*cores[0]);
  cores.clear();
  cross.clear();
  errors.clear();
  stop = false;
  collecting_type = false;
  return probed_;
}

void Machine::DeclareType(KernelType declared, const Where& where) {
  if (collecting_type) {
    probed_ = declared;
    throw StopKernel{};
  }
  if (options.soc == Soc::kAscend910B && declared != type)
    Current().Fail(Rule::kKernelType, "KERNEL_TASK_TYPE_DEFAULT", where,
                   std::string("declares ") + TypeName(declared) + " but was launched as " + TypeName(type));
}

void Machine::ReportDeadlock() {
  std::string text;
  const Core* blamed = nullptr;
  Where where;
  const char* call = "kernel";
  Pipe blamed_pipe = Pipe::kS;
  int lines = 0;
  for (auto& core : cores) {
    if (core->Done()) continue;
    auto add = [&](const std::string& what) {
      if (lines++ < 12)
        text += (text.empty() ? "" : "; ") + std::string("block ") + std::to_string(core->block) + " " +
                core->Name() + " " + what;
    };
    for (int p = 0; p < kPipes; ++p) {
      if (core->queue_[p].instrs.empty()) continue;
      const Instr& head = core->queue_[p].instrs.front();
      add(std::string("pipe ") + PipeName(static_cast<Pipe>(p)) + " waits for " + PipeName(head.other) + "_" +
          PipeName(head.pipe) + " " + std::to_string(head.id) + " (" + head.where.file + ":" +
          std::to_string(head.where.line) + ")");
      if (!blamed) {
        blamed = core.get();
        where = head.where;
        call = head.name;
        blamed_pipe = static_cast<Pipe>(p);
      }
    }
    if (!core->finished_ && core->waiting_) {
      add(std::string("body waits for ") + core->waiting_ + " (" + core->waiting_where_.file + ":" +
          std::to_string(core->waiting_where_.line) + ")");
      if (!blamed) {
        blamed = core.get();
        where = core->waiting_where_;
        call = core->waiting_;
      }
    }
  }
  if (!blamed) blamed = cores.front().get();
  AddError(
      blamed->MakeError(Rule::kDeadlock, call, where, "nothing can run: " + text, blamed_pipe, Mem::kGM, -1));
}

// What must hold when a core has ended.
void Machine::Finish(Core& core) {
  SetCurrent(&core);
  for (int s = 0; s < kPipes; ++s)
    for (int d = 0; d < kPipes; ++d)
      for (int id = 0; id < 8; ++id) {
        const FlagState& flag = core.flag_[s][d][id];
        if (flag.outstanding > 0)
          core.Fail(Rule::kFlagLeftSet, "SetFlag", flag.last_set,
                    std::string(PipeName(static_cast<Pipe>(s))) + "_" + PipeName(static_cast<Pipe>(d)) + " " +
                        std::to_string(id) + " was set and never waited for",
                    static_cast<Pipe>(s));
      }
  for (int id = 0; id < 16; ++id)
    if (!cross[core.index][id].sets.empty())
      core.Fail(Rule::kCrossCoreFlagLeft, "CrossCoreSetFlag", cross[core.index][id].last_set,
                "cross-core flag " + std::to_string(id) + " was set for this core and never waited for");
  if (core.vector.counter_mode ||
      (core.vector.explicit_mask && (core.vector.mask[0] != ~0ull || core.vector.mask[1] != ~0ull)))
    core.Fail(Rule::kMaskNotRestored, "SetVectorMask", core.vector.mask_set,
              "the kernel ends with a partial vector mask or in counter mode");
  if (core.atomic != AtomicOp::kNone)
    core.Fail(Rule::kAtomicNotRestored, "SetAtomicAdd", core.atomic_set,
              "the kernel ends without SetAtomicNone");
  core.tpipe->Finish(core);
  SetCurrent(nullptr);
}

void Machine::CrossSet(Core& core, int mode, int id, CrossClock clock, const Where& where) {
  auto deliver = [&](Core& to, const CrossClock& c) {
    CrossFlag& flag = cross[to.index][id];
    flag.sets.push_back(c);
    flag.last_set = where;
    if (flag.sets.size() > 15)
      core.Fail(Rule::kCrossCoreCounter, "CrossCoreSetFlag", where,
                "flag " + std::to_string(id) + " of block " + std::to_string(to.block) + " " + to.Name() +
                    " would count to " + std::to_string(flag.sets.size()) + ", its limit is 15");
  };
  auto member = [&](const Core& other) {  // whose sets count together with this one
    if (mode == 0) return other.kind == core.kind;
    return other.block == core.block && other.kind == core.kind;
  };
  cross[core.index][id].collected[mode].push_back(clock);
  for (const auto& other : cores)
    if (member(*other) && cross[other->index][id].collected[mode].empty()) return;
  auto merged = std::make_shared<std::vector<uint32_t>>(*clock);
  for (const auto& other : cores)
    if (member(*other)) {
      auto& collected = cross[other->index][id].collected[mode];
      const std::vector<uint32_t>& theirs = *collected.front();
      for (size_t i = 0; i < theirs.size(); ++i) (*merged)[i] = std::max((*merged)[i], theirs[i]);
      collected.pop_front();
    }
  for (const auto& other : cores) {
    const bool receives = mode == 2 ? other->block == core.block && other->kind != core.kind : member(*other);
    if (receives) deliver(*other, merged);
  }
}

Report Machine::MakeReport() {
  Report r;
  r.soc = chip.name;
  r.seed = options.seed;
  r.block_dim = options.block_dim;
  r.errors = errors;
  r.events = events;
  r.trace = std::move(trace);
  for (int s = 0; s < kMems; ++s)
    for (int d = 0; d < kMems; ++d) {
      PathReport row;
      for (auto& core : cores) {
        const PathCounter& c = core->path[s][d];
        row.instructions += c.instructions;
        row.bytes += c.bytes;
        for (size_t i = 0; i < c.bursts.size(); ++i) row.bursts[i] += c.bursts[i];
      }
      row.path = std::string(MemName(static_cast<Mem>(s))) + "->" + MemName(static_cast<Mem>(d));
      if (row.instructions) r.paths.push_back(row);
    }
  for (size_t i = 0; i < gm_state.size(); ++i) {
    TensorReport row;
    row.name = gm.tensors()[i].name;
    row.size = gm.tensors()[i].bytes;
    row.bytes_read = gm_state[i].bytes_read;
    row.bytes_written = gm_state[i].bytes_written;
    row.sector_bytes_read = gm_state[i].sectors_read * 512;
    row.sector_bytes_written = gm_state[i].sectors_written * 512;
    r.tensors.push_back(row);
  }
  for (CoreKind kind : {CoreKind::kFused, CoreKind::kAic, CoreKind::kAiv})
    for (int p = 0; p < kPipes; ++p) {
      PipeReport row;
      row.core = CoreKindName(kind);
      row.pipe = PipeName(static_cast<Pipe>(p));
      for (auto& core : cores) {
        if (core->kind != kind) continue;
        row.instructions += core->pipe_instructions[p];
        row.repeats += core->pipe_repeats[p];
        row.modelled_cycles += core->pipe_cycles[p];
        row.modelled_cycles_max = std::max(row.modelled_cycles_max, core->pipe_cycles[p]);
      }
      if (row.instructions) r.pipes.push_back(row);
    }
  for (auto& core : cores) {
    for (int m = 0; m < kMems; ++m) r.peak_bytes[m] = std::max(r.peak_bytes[m], core->memory[m].peak);
    r.instructions_per_core.push_back(
        std::accumulate(core->pipe_instructions, core->pipe_instructions + kPipes, uint64_t{0}));
    r.modelled_cycles_per_core.push_back(*std::max_element(core->pipe_cycles, core->pipe_cycles + kPipes));
  }
  std::vector<std::string> unique;
  for (const std::string& e : r.events)
    if (std::find(unique.begin(), unique.end(), e) == unique.end()) unique.push_back(e);
  r.events = unique;
  return r;
}

Report Launch(const LaunchOptions& options, Gm& gm, const std::function<void()>& kernel) {
  Machine machine(options, gm, kernel);
  return machine.Run();
}

}  // namespace ascend_twin
