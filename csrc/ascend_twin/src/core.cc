// SPDX-License-Identifier: Apache-2.0
// Issuing, pipes and flags of one core.
#include "ascend_twin/core.h"

#include <algorithm>

#include "machine.h"
#include "queue_state.h"

namespace ascend_twin {

namespace {
thread_local Core* g_current = nullptr;

void Merge(Clock& into, const Clock& from) {
  for (int p = 0; p < kPipes; ++p) into.done[p] = std::max(into.done[p], from.done[p]);
}

int Index(Pipe pipe) {
  return static_cast<int>(pipe);
}
int Index(Mem mem) {
  return static_cast<int>(mem);
}
}  // namespace

void SetCurrent(Core* core) {
  g_current = core;
}
Core& Current() {
  if (!g_current) throw StopKernel{};
  return *g_current;
}
bool HasCurrent() {
  return g_current != nullptr;
}

Access Bursts(Mem mem, bool write, int64_t addr, uint32_t count, uint32_t len, int64_t stride) {
  Access a;
  a.mem = mem;
  a.write = write;
  a.addr = addr;
  a.count = count;
  a.len = len;
  a.stride = stride;
  if (count > 1 && stride == static_cast<int64_t>(len)) {
    a.len = count * len;
    a.count = 1;
  }
  return a;
}

Core::Core(Machine& machine_in, int index_in, int block_in, int sub_block_in, CoreKind kind_in)
    : machine(machine_in), index(index_in), block(block_in), sub_block(sub_block_in), kind(kind_in) {
  for (int m = 1; m < kMems; ++m) {
    LocalMemory& local = memory[m];
    const Mem mem = static_cast<Mem>(m);
    const bool cube_only = mem != Mem::kUB;
    if ((kind == CoreKind::kAiv && cube_only) || (kind == CoreKind::kAic && !cube_only)) continue;
    local.bytes = chip().bytes[m];
    local.usable = chip().usable[m];
    if (mem == Mem::kUB && soc() == Soc::kAscend910B && machine.options.reserved_ubuf)
      local.usable = 184 * 1024;
    if (!local.bytes) continue;
    local.data = std::make_unique<uint8_t[]>(local.bytes);
    std::memset(local.data.get(), 0xff, local.bytes);
    local.state.resize(local.bytes / kBlock);
  }
  remote_.emplace_back();
  tpipe = std::make_unique<TPipeState>();
}

Core::~Core() = default;

const ChipLimits& Core::chip() const {
  return machine.chip;
}
Soc Core::soc() const {
  return machine.chip.soc;
}

std::string Core::Name() const {
  switch (kind) {
    case CoreKind::kFused:
      return "AICORE";
    case CoreKind::kAic:
      return "AIC";
    case CoreKind::kAiv:
      return "AIV" + std::to_string(sub_block);
  }
  return "";
}

uint8_t* Core::GmAt(uint16_t gm, int64_t addr) {
  return machine.gm.tensors()[gm].device + addr;
}

void Core::Fail(Rule rule, const char* call, const Where& where, const std::string& detail, Pipe pipe,
                Mem mem, int64_t address) {
  machine.AddError(MakeError(rule, call, where, detail, pipe, mem, address));
}

Error Core::MakeError(Rule rule, const char* call, const Where& where, const std::string& detail, Pipe pipe,
                      Mem mem, int64_t address) const {
  Error e;
  e.rule = rule;
  e.call = call;
  e.detail = detail;
  e.file = where.file;
  e.line = where.line;
  e.block = block;
  e.core = Name();
  e.pipe = PipeName(pipe);
  if (address >= 0) {
    e.memory = MemName(mem);
    e.address = address;
  }
  return e;
}

void Core::CheckStop() {
  if (stopped_ && !no_throw && std::uncaught_exceptions() == 0) throw StopKernel{};
}

void Core::BlockUntil(bool (*ready)(Core&, uint64_t), uint64_t arg, const char* what, const Where& where) {
  CheckStop();
  if (stopped_) return;
  if (ready(*this, arg)) return;
  waiting_ = what;
  waiting_where_ = where;
  ready_ = ready;
  ready_arg_ = arg;
  SwitchToScheduler();
  waiting_ = nullptr;
  ready_ = nullptr;
  CheckStop();
}

void Core::SwitchToScheduler() {
  swapcontext(&coroutine_->context, &machine.scheduler_context);
}

void Core::Yield(uint16_t gm) {
  if (machine.gm.tensors()[gm].kind == GmKind::kInput) return;
  ++polls_;
  BlockUntil([](Core& c, uint64_t polls) { return c.polls_seen_ >= polls; }, polls_, "its turn, polling GM",
             {});
}

Instr& Core::Begin(Pipe pipe, const char* name, const Where& where) {
  CheckStop();
  const bool cube_pipe = pipe == Pipe::kM || pipe == Pipe::kMTE1 || pipe == Pipe::kFIX;
  if ((kind == CoreKind::kAiv && cube_pipe) || (kind == CoreKind::kAic && pipe == Pipe::kV))
    Fail(Rule::kWrongCore, name, where,
         std::string(name) + " runs on pipe " + PipeName(pipe) + ", which an " + CoreKindName(kind) +
             " core lacks",
         pipe);
  Queue& queue = queue_[Index(pipe)];
  if (queue.instrs.size() >= machine.queue_capacity)
    BlockUntil([](Core& c, uint64_t p) { return c.queue_[p].instrs.size() < c.machine.queue_capacity; },
               static_cast<uint64_t>(pipe), "room in the queue of a pipe", where);
  scratch_ = Instr{};
  scratch_.pipe = pipe;
  scratch_.name = name;
  scratch_.where = where;
  return scratch_;
}

void Core::Commit(Instr& instr) {
  if (stopped_) return;
  for (int i = 0; i < instr.accesses; ++i)
    if (!CheckRange(instr.access[i], instr.name, instr.where, instr.pipe)) return;
  if (instr.more)
    for (const Access& a : *instr.more)
      if (!CheckRange(a, instr.name, instr.where, instr.pipe)) return;
  instr.seq = ++issue_counter_;
  instr.issued = queue_[0].known;
  instr.remote = static_cast<uint32_t>(remote_.size() - 1);
  Queue& queue = queue_[Index(instr.pipe)];
  queue.issued = instr.seq;
  queue.instrs.push_back(instr);
  if (machine.options.auto_pipe_v && instr.pipe == Pipe::kV && instr.kind == InstrKind::kExecute) {
    Instr barrier;
    barrier.kind = InstrKind::kBarrier;
    barrier.pipe = Pipe::kV;
    barrier.name = "PipeBarrier (automatic)";
    barrier.where = instr.where;
    barrier.seq = ++issue_counter_;
    barrier.issued = queue_[0].known;
    barrier.remote = instr.remote;
    queue.issued = barrier.seq;
    queue.instrs.push_back(barrier);
  }
  if (issue_counter_ > machine.options.instruction_limit)
    Fail(Rule::kRunaway, instr.name, instr.where,
         "more than " + std::to_string(machine.options.instruction_limit) + " instructions on one core");
}

bool Core::CheckRange(const Access& a, const char* name, const Where& where, Pipe pipe) {
  if (a.count == 0) return true;
  int64_t low = a.addr, high = a.addr;
  if (a.blocks && a.block_bytes) {
    high = a.addr + static_cast<int64_t>(a.count - 1) * a.stride +
           static_cast<int64_t>(a.blocks - 1) * a.block_stride + a.block_bytes;
  } else if (a.blocks) {
    const int64_t span = static_cast<int64_t>(a.count - 1) * a.stride;
    int last = -1, last_bit = 0;
    const int per_block = kBlock / a.element;
    for (int b = a.blocks - 1; b >= 0 && last < 0; --b)
      for (int i = per_block - 1; i >= 0; --i) {
        const int bit = b * per_block + i;
        if (((a.count > 1 ? a.mask[bit >> 6] : 0) | a.last_mask[bit >> 6]) >> (bit & 63) & 1) {
          last = b;
          last_bit = i;
          break;
        }
      }
    if (last < 0) return true;
    high = a.addr + std::max<int64_t>(span, 0) + static_cast<int64_t>(last) * a.block_stride +
           (last_bit + 1) * a.element;
  } else {
    if (a.len == 0) return true;
    const int64_t span = static_cast<int64_t>(a.count - 1) * a.stride;
    low += std::min<int64_t>(span, 0);
    high += std::max<int64_t>(span, 0) + a.len;
  }
  auto bytes_text = [&] { return "bytes [" + std::to_string(low) + ", " + std::to_string(high) + ")"; };
  if (a.mem == Mem::kGM && a.gm >= machine.gm.tensors().size()) {
    Fail(Rule::kGmUnknown, name, where, "its GlobalTensor points into no tensor of this launch", pipe);
    return false;
  }
  if (a.mem == Mem::kGM) {
    const GmTensor& t = machine.gm.tensors()[a.gm];
    if (low < 0 || high > static_cast<int64_t>(t.bytes)) {
      Fail(Rule::kGmOutOfBounds, name, where,
           std::string(a.write ? "writes " : "reads ") + bytes_text() + " of GM tensor '" + t.name +
               "', which has " + std::to_string(t.bytes) + " bytes",
           pipe, Mem::kGM, low);
      return false;
    }
    if (a.write && t.kind == GmKind::kInput) {
      Fail(Rule::kGmWriteToInput, name, where, "writes input tensor '" + t.name + "'", pipe, Mem::kGM, low);
      return false;
    }
    return true;
  }
  LocalMemory& local = memory[Index(a.mem)];
  if (local.bytes == 0) {
    const bool has = chip().bytes[Index(a.mem)] != 0;
    Fail(has ? Rule::kWrongCore : Rule::kNotOnChip, name, where,
         std::string("touches ") + MemName(a.mem) + ", which " + (has ? CoreKindName(kind) : chip().name) +
             " lacks",
         pipe, a.mem, low);
    return false;
  }
  if (low < 0 || high > local.bytes) {
    Fail(Rule::kMemoryRange, name, where,
         std::string(a.write ? "writes " : "reads ") + bytes_text() + " of " + MemName(a.mem) +
             ", which has " + std::to_string(local.bytes) + " bytes",
         pipe, a.mem, low);
    return false;
  }
  // What KFC keeps of L1 is TPipe's limit, and that of nobody who places tensors (kernel_utils_constants.h).
  if (high > local.usable && a.mem == Mem::kUB && !header_scratch) {
    Fail(Rule::kReservedMemory, name, where,
         std::string(a.write ? "writes " : "reads ") + bytes_text() + " of " + MemName(a.mem) +
             ", where everything from " + std::to_string(local.usable) + " is reserved",
         pipe, a.mem, low);
    return false;
  }
  local.peak = std::max<uint64_t>(local.peak, static_cast<uint64_t>(high));
  return true;
}

void Core::SetFlag(Pipe src, Pipe dst, int id, const char* name, const Where& where) {
  CheckStop();
  if (stopped_) return;
  if (id < 0 || id >= chip().event_ids) {
    Fail(Rule::kFlagId, name, where,
         "event id " + std::to_string(id) + ", but " + chip().name + " has 0.." +
             std::to_string(chip().event_ids - 1),
         src);
    return;
  }
  FlagState& flag = flag_[Index(src)][Index(dst)][id];
  if (flag.outstanding >= 1) {
    Fail(Rule::kFlagSetTwice, name, where,
         std::string(PipeName(src)) + "_" + PipeName(dst) + " " + std::to_string(id) + " was set at " +
             flag.last_set.file + ":" + std::to_string(flag.last_set.line) + " and not waited for since",
         src);
    return;
  }
  ++flag.outstanding;
  flag.last_set = where;
  if (!flag.used) {
    flag.used = true;
    machine.events.push_back(std::string(PipeName(src)) + "_" + PipeName(dst) + " " + std::to_string(id));
  }
  if (src == Pipe::kS) {
    Clock clock = queue_[0].known;
    clock.done[0] = ++issue_counter_;
    flag.sets.push_back(clock);
    return;
  }
  Instr& instr = Begin(src, name, where);
  instr.kind = InstrKind::kSetFlag;
  instr.other = dst;
  instr.id = static_cast<uint8_t>(id);
  Commit(instr);
}

void Core::WaitFlag(Pipe src, Pipe dst, int id, const char* name, const Where& where) {
  CheckStop();
  if (stopped_) return;
  if (id < 0 || id >= chip().event_ids) {
    Fail(Rule::kFlagId, name, where,
         "event id " + std::to_string(id) + ", but " + chip().name + " has 0.." +
             std::to_string(chip().event_ids - 1),
         dst);
    return;
  }
  FlagState& flag = flag_[Index(src)][Index(dst)][id];
  --flag.outstanding;
  if (dst == Pipe::kS) {
    const uint64_t arg = static_cast<uint64_t>(Index(src)) << 8 | static_cast<uint64_t>(id);
    BlockUntil([](Core& c, uint64_t a) { return !c.flag_[a >> 8][0][a & 255].sets.empty(); }, arg,
               FlagText(src, dst, id), where);
    if (stopped_) return;
    Merge(queue_[0].known, flag.sets.front());
    flag.sets.pop_front();
    return;
  }
  Instr& instr = Begin(dst, name, where);
  instr.kind = InstrKind::kWaitFlag;
  instr.other = src;
  instr.id = static_cast<uint8_t>(id);
  Commit(instr);
}

const char* Core::FlagText(Pipe src, Pipe dst, int id) {
  flag_text_ =
      std::string("WaitFlag<") + PipeName(src) + "_" + PipeName(dst) + ">(" + std::to_string(id) + ")";
  return flag_text_.c_str();
}

void Core::Barrier(Pipe pipe, const Where& where) {
  Instr& instr = Begin(pipe, "PipeBarrier", where);
  instr.kind = InstrKind::kBarrier;
  Commit(instr);
}

void Core::Drain(Pipe pipe, const char* what, const Where& where) {
  BlockUntil([](Core& c, uint64_t p) { return c.queue_[p].instrs.empty(); }, static_cast<uint64_t>(pipe),
             what, where);
}

bool Core::DrainRegister(uint32_t seq, const char* name, const char* writer, const Where& where) {
  if (!machine.options.auto_pipe_v && !Knows(Pipe::kV, seq)) {
    Fail(Rule::kHazardRaw, name, where,
         std::string("no V_S flag orders it behind the ") + writer + " it asks about", Pipe::kS);
    return false;
  }
  Drain(Pipe::kV, name, where);
  return true;
}

void Core::DrainAll(const char* what, const Where& where) {
  BlockUntil(
      [](Core& c, uint64_t) {
        for (const Queue& q : c.queue_)
          if (!q.instrs.empty()) return false;
        return true;
      },
      0, what, where);
}

void Core::BarrierAll(const Where& where) {
  DrainAll("PipeBarrier<PIPE_ALL>", where);
  if (stopped_) return;
  ++issue_counter_;
  for (uint32_t& done : queue_[0].known.done) done = issue_counter_;
  ++pipe_instructions[0];
}

void Core::Fresh(Pipe pipe, Mem mem, uint32_t addr, uint32_t bytes, const Where& where) {
  Instr& instr = Begin(pipe, "AllocTensor", where);
  instr.kind = InstrKind::kFresh;
  instr.access[0] = Bursts(mem, true, addr, 1, bytes, 0);
  Commit(instr);
}

void Core::CrossCoreSet(int mode, Pipe pipe, int id, const Where& where) {
  CheckStop();
  if (stopped_) return;
  Instr& instr = Begin(pipe, "CrossCoreSetFlag", where);
  instr.kind = InstrKind::kCrossSet;
  instr.id = static_cast<uint8_t>(id);
  instr.mode = static_cast<uint8_t>(mode);
  Commit(instr);
}

void Core::CrossCoreWait(int id, const Where& where) {
  flag_text_ = "CrossCoreWaitFlag(" + std::to_string(id) + ")";
  BlockUntil([](Core& c, uint64_t flag) { return !c.machine.cross[c.index][flag].sets.empty(); },
             static_cast<uint64_t>(id), flag_text_.c_str(), where);
  if (stopped_) return;
  CrossFlag& flag = machine.cross[index][id];
  std::vector<uint32_t> known(machine.cores.size() * kPipes, 0);
  const std::vector<uint32_t>& old = remote_.back();
  for (size_t i = 0; i < old.size(); ++i) known[i] = old[i];
  const std::vector<uint32_t>& got = *flag.sets.front();
  for (size_t i = 0; i < got.size(); ++i) known[i] = std::max(known[i], got[i]);
  // What others saw this core complete, its scalar unit now knows too.
  for (int p = 0; p < kPipes; ++p)
    queue_[0].known.done[p] = std::max(queue_[0].known.done[p], known[index * kPipes + p]);
  remote_.push_back(std::move(known));
  flag.sets.pop_front();
  ++pipe_instructions[0];
}

void Core::SoftMeet(int cores, const Where& where) {
  CheckStop();
  if (stopped_) return;
  const uint32_t round = meetings_++;
  while (machine.meetings.size() <= round) machine.meetings.emplace_back();
  Machine::Meeting& meeting = machine.meetings[round];
  meeting.clock.resize(machine.cores.size() * kPipes, 0);
  const std::vector<uint32_t>& old = remote_.back();
  for (size_t i = 0; i < old.size(); ++i) meeting.clock[i] = std::max(meeting.clock[i], old[i]);
  for (int p = 0; p < kPipes; ++p) meeting.clock[index * kPipes + p] = queue_[0].known.done[p];
  ++meeting.came;
  flag_text_ = "SyncAll, where " + std::to_string(cores) + " cores meet";
  BlockUntil([](Core& c,
                uint64_t a) { return c.machine.meetings[a >> 32].came >= static_cast<int>(a & 0xffffffff); },
             static_cast<uint64_t>(round) << 32 | static_cast<uint32_t>(cores), flag_text_.c_str(), where);
  if (stopped_) return;
  remote_.push_back(machine.meetings[round].clock);
}

void Core::BlockSet(uint64_t flag) {
  CheckStop();
  if (stopped_) return;
  auto clock = std::make_shared<std::vector<uint32_t>>(machine.cores.size() * kPipes, 0);
  const std::vector<uint32_t>& old = remote_.back();
  for (size_t i = 0; i < old.size(); ++i) (*clock)[i] = old[i];
  for (int p = 0; p < kPipes; ++p)
    (*clock)[static_cast<size_t>(index * kPipes + p)] = queue_[0].known.done[p];
  machine.block_flags[flag].push_back(clock);
}

void Core::BlockWait(uint64_t flag, const Where& where) {
  flag_text_ = "IBWait on the flag of block " + std::to_string(flag & 0xffff);
  BlockUntil([](Core& c, uint64_t f) { return !c.machine.block_flags[f].empty(); }, flag, flag_text_.c_str(),
             where);
  if (stopped_) return;
  auto& sets = machine.block_flags[flag];
  std::vector<uint32_t> known = *sets.front();
  sets.pop_front();
  const std::vector<uint32_t>& old = remote_.back();
  for (size_t i = 0; i < old.size(); ++i) known[i] = std::max(known[i], old[i]);
  remote_.push_back(std::move(known));
}

void Core::ScalarAccess(const Access& access, const char* name, const Where& where) {
  CheckStop();
  if (stopped_) return;
  if (!CheckRange(access, name, where, Pipe::kS)) return;
  const bool automatic = machine.options.auto_scalar && !(access.mem == Mem::kGM && access.write);
  if (automatic) DrainAll("the pipes before a scalar access (automatic)", where);
  if (stopped_) return;
  Instr instr;
  instr.pipe = Pipe::kS;
  instr.name = name;
  instr.where = where;
  instr.seq = ++issue_counter_;
  instr.issued = queue_[0].known;
  instr.remote = static_cast<uint32_t>(remote_.size() - 1);
  ++pipe_instructions[0];
  Clock known = queue_[0].known;
  if (automatic)
    for (uint32_t& done : known.done) done = instr.seq;
  CheckHazards(instr, access, known, instr.remote);
  // Its own flags go there and back; those between two other pipes remain the kernel's.
  if (automatic) queue_[0].known.done[0] = instr.seq;
}

void Core::CheckLate(const Access& access) {
  if (executing_) CheckLocal(*executing_, access, queue_[Index(executing_->pipe)].known);
}

bool Core::StepPipe(Pipe pipe) {
  Queue& queue = queue_[Index(pipe)];
  if (queue.instrs.empty()) return false;
  Instr& head = queue.instrs.front();
  if (head.kind == InstrKind::kWaitFlag) {
    FlagState& flag = flag_[Index(head.other)][Index(pipe)][head.id];
    if (flag.sets.empty()) return false;
    Merge(queue.known, flag.sets.front());
    flag.sets.pop_front();
  }
  Merge(queue.known, head.issued);
  queue.remote = std::max(queue.remote, head.remote);
  Core* before = g_current;
  g_current = this;
  Execute(head);
  g_current = before;
  queue.executed = head.seq;
  queue.instrs.pop_front();
  return true;
}

void Core::Execute(Instr& instr) {
  Queue& queue = queue_[Index(instr.pipe)];
  ++machine.executed;
  ++pipe_instructions[Index(instr.pipe)];
  switch (instr.kind) {
    case InstrKind::kExecute:
      pipe_repeats[Index(instr.pipe)] += instr.repeats;
      pipe_cycles[Index(instr.pipe)] += instr.cycles;
      for (int i = 0; i < instr.accesses; ++i)
        CheckHazards(instr, instr.access[i], queue.known, queue.remote);
      if (instr.more)
        for (const Access& a : *instr.more) CheckHazards(instr, a, queue.known, queue.remote);
      executing_ = &instr;
      if (instr.run && !machine.stop) instr.run(*this);
      executing_ = nullptr;
      break;
    case InstrKind::kSetFlag: {
      Clock clock = queue.known;
      clock.done[Index(instr.pipe)] = queue.executed;
      flag_[Index(instr.pipe)][Index(instr.other)][instr.id].sets.push_back(clock);
      break;
    }
    case InstrKind::kWaitFlag:
      break;
    case InstrKind::kBarrier:
      queue.known.done[Index(instr.pipe)] = std::max(queue.known.done[Index(instr.pipe)], queue.executed);
      break;
    case InstrKind::kFresh: {
      const Access& a = instr.access[0];
      for (int64_t b = a.addr / kBlock; b < (a.addr + a.len + kBlock - 1) / kBlock; ++b)
        memory[Index(a.mem)].state[b].fresh = instr.seq;
      break;
    }
    case InstrKind::kCrossSet: {
      auto clock = std::make_shared<std::vector<uint32_t>>(machine.cores.size() * kPipes, 0);
      const std::vector<uint32_t>& remote = remote_[queue.remote];
      for (size_t i = 0; i < remote.size(); ++i) (*clock)[i] = remote[i];
      for (int p = 0; p < kPipes; ++p) {
        uint32_t& mine = (*clock)[index * kPipes + p];
        mine = std::max(mine, p == Index(instr.pipe) ? queue.executed : queue.known.done[p]);
      }
      machine.CrossSet(*this, instr.mode, instr.id, clock, instr.where);
      break;
    }
  }
  if (machine.options.trace) Trace(instr);
}

void Core::Trace(const Instr& instr) {
  TraceEntry t;
  t.block = block;
  t.core = Name();
  t.pipe = PipeName(instr.pipe);
  t.instruction = instr.name;
  t.bytes = instr.bytes;
  t.repeats = instr.repeats;
  if (instr.kind == InstrKind::kSetFlag)
    t.waits =
        std::string(PipeName(instr.pipe)) + "_" + PipeName(instr.other) + " " + std::to_string(instr.id);
  if (instr.kind == InstrKind::kWaitFlag)
    t.waits =
        std::string(PipeName(instr.other)) + "_" + PipeName(instr.pipe) + " " + std::to_string(instr.id);
  t.file = instr.where.file;
  t.line = instr.where.line;
  machine.trace.push_back(std::move(t));
}

void Core::Count(Mem src, Mem dst, uint32_t bursts, uint64_t burst_bytes, const Access* gm) {
  PathCounter& counter = path[Index(src)][Index(dst)];
  ++counter.instructions;
  counter.bytes += bursts * burst_bytes;
  int bucket = 0;
  while (bucket < 23 && (burst_bytes >> (bucket + 1))) ++bucket;
  counter.bursts[bucket] += bursts;
  if (!gm) return;
  constexpr int64_t kSector = 512;
  int64_t last = -1;
  uint64_t sectors = 0;
  for (uint32_t i = 0; i < gm->count; ++i) {
    const int64_t start = gm->addr + static_cast<int64_t>(i) * gm->stride;
    const int64_t first = std::max(start / kSector, last + 1);
    const int64_t end = (start + gm->len - 1) / kSector;
    if (end >= first) sectors += static_cast<uint64_t>(end - first + 1);
    last = std::max(last, end);
  }
  GmState& state = machine.gm_state[gm->gm];
  (gm->write ? state.bytes_written : state.bytes_read) += static_cast<uint64_t>(gm->count) * gm->len;
  (gm->write ? state.sectors_written : state.sectors_read) += sectors;
}

}  // namespace ascend_twin
