// SPDX-License-Identifier: Apache-2.0
// One core of the twin: its memories, pipes, flags and masks. The API headers talk to this and nothing else.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <deque>
#include <memory>
#include <string>
#include <type_traits>
#include <vector>

#include "ascend_twin/chip.h"
#include "ascend_twin/errors.h"
#include "ascend_twin/launch.h"
#include "ascend_twin/report.h"

namespace ascend_twin {

class Machine;
class Core;

constexpr uint32_t kBlock = 32;  // bytes; the granularity of alignment and of hazards

// Bytes an instruction touches: `count` bursts of `len` bytes, or, with `blocks`, `count` repeats of `blocks`
// 32 B blocks `block_stride` bytes apart, of which only the elements in the mask count.
struct Access {
  Mem mem = Mem::kUB;
  bool write = false;
  uint8_t atomic = 0;              // an atomic update: its operation and type, unordered with its like
  bool moved = false;              // read only to be copied on chip: bytes nobody wrote move along as such
  bool same_pipe_ordered = false;  // the hardware itself orders it behind the same pipe
  uint16_t gm = 0xffff;            // index of the GM tensor
  uint16_t blocks = 0;
  uint8_t element = 1;  // bytes, for masks
  int64_t addr = 0;     // bytes from the start of the memory, or of the tensor
  uint32_t count = 1;
  uint32_t len = 0;
  int64_t stride = 0;  // bytes from burst to burst, or from repeat to repeat
  uint32_t block_stride = kBlock;
  uint32_t block_bytes = 0;                // bytes used of each block, instead of the masks
  uint64_t mask[2] = {~0ull, ~0ull};       // element i of a repeat: bit i
  uint64_t last_mask[2] = {~0ull, ~0ull};  // the same for the last repeat
};

Access Bursts(Mem mem, bool write, int64_t addr, uint32_t count, uint32_t len, int64_t stride);

// A trivially copyable closure.
class Action {
 public:
  template <typename F>
  void Set(F f) {
    static_assert(std::is_trivially_copyable<F>::value && sizeof(F) <= kBytes, "closures hold plain values");
    std::memcpy(storage_, &f, sizeof(F));
    call_ = [](unsigned char* p, Core& core) { (*reinterpret_cast<F*>(p))(core); };
  }
  void operator()(Core& core) { call_(storage_, core); }
  explicit operator bool() const { return call_ != nullptr; }

 private:
  static constexpr size_t kBytes = 320;
  void (*call_)(unsigned char*, Core&) = nullptr;
  alignas(16) unsigned char storage_[kBytes];
};

enum class InstrKind : uint8_t { kExecute, kSetFlag, kWaitFlag, kBarrier, kFresh, kCrossSet };

struct Clock {
  uint32_t done[kPipes] = {};  // up to which seq each pipe is known to be complete
};

struct Instr {
  InstrKind kind = InstrKind::kExecute;
  Pipe pipe = Pipe::kS;
  Pipe other = Pipe::kS;  // of a flag: the pipe at its other end
  uint8_t id = 0;         // of a flag
  uint8_t mode = 0;       // of a cross-core flag
  uint8_t accesses = 0;
  const char* name = "";
  Where where;
  uint32_t seq = 0;  // program order in its core
  uint32_t repeats = 1;
  uint64_t bytes = 0;
  double cycles = 0;    // modelled
  Clock issued;         // what the scalar unit knew when it issued this
  uint32_t remote = 0;  // index into Core::remote
  Access access[10];
  std::shared_ptr<std::vector<Access>> more;  // beyond ten
  Action run;

  Instr& Touch(const Access& a) {
    access[accesses++] = a;
    return *this;
  }
};

// State of a 32 B block of a local memory.
struct BlockState {
  uint32_t writer = 0;      // seq << 3 | pipe
  uint32_t reader[3] = {};  // last reader of each class of pipes, likewise
  uint32_t written = 0;     // a bit per byte that holds a value of this run
  uint32_t fresh = 0;       // seq of the AllocTensor that handed it out last
  // What instruction `seq` finds written: one issued before that AllocTensor may still come for the old content.
  uint32_t Written(uint32_t seq) const { return seq > fresh && (writer >> 3) < fresh ? 0 : written; }
};

struct LocalMemory {
  std::unique_ptr<uint8_t[]> data;
  std::vector<BlockState> state;
  uint32_t bytes = 0;
  uint32_t usable = 0;
  uint64_t peak = 0;
};

struct FlagState {
  int outstanding = 0;     // sets minus waits in program order
  std::deque<Clock> sets;  // executed and not yet consumed
  Where last_set;
  bool used = false;
};

struct PathCounter {
  uint64_t instructions = 0, bytes = 0;
  std::array<uint64_t, 24> bursts{};
};

// What the last instruction of TPipe, masks and modes left behind; the API headers keep their state here.
struct VectorState {
  uint64_t mask[2] = {~0ull, ~0ull};
  bool counter_mode = false;
  bool explicit_mask = false;  // set by SetVectorMask and not by a call since
  Where mask_set;
  uint64_t cmp_mask[2] = {0, 0};
};

// The registers of LoadData 3D: image and padding (left, right), the value of padding, the end of the source.
struct Load3DState {
  struct Image {
    bool set = false;
    uint16_t h = 0, w = 0;
    uint8_t pad[4] = {};
  } image[2];
  bool padding_set = false;
  uint32_t padding = 0;
  uint32_t boundary = 0;  // bytes of L1, 0: none
};

enum class AtomicOp : uint8_t { kNone, kAdd, kMax, kMin };

struct TPipeState;  // queue.cc

class Core {
 public:
  Core(Machine& machine, int index, int block, int sub_block, CoreKind kind);
  ~Core();

  Machine& machine;
  const int index;  // among all cores of the launch
  const int block;
  const int sub_block;  // AIV 0 or 1 of its block
  const CoreKind kind;

  const ChipLimits& chip() const;
  Soc soc() const;
  std::string Name() const;

  // Issuing. Begin returns a slot at the end of the pipe's queue (it may wait for room), Commit makes it
  // final. A call that broke a rule reports it and drops its instruction.
  Instr& Begin(Pipe pipe, const char* name, const Where& where);
  void Commit(Instr& instr);

  void SetFlag(Pipe src, Pipe dst, int id, const char* name, const Where& where);
  void WaitFlag(Pipe src, Pipe dst, int id, const char* name, const Where& where);
  void Barrier(Pipe pipe, const Where& where);
  void BarrierAll(const Where& where);
  // Waits for a pipe without learning its clock, as a scalar read of its registers would.
  void Drain(Pipe pipe, const char* what, const Where& where);
  // The same before a scalar read of a register that vector instruction `seq` writes; false: no V_S flag orders it.
  bool DrainRegister(uint32_t seq, const char* name, const char* writer, const Where& where);
  void DrainAll(const char* what, const Where& where);
  // Whether the scalar unit knows that an instruction is complete.
  bool Knows(Pipe pipe, uint32_t seq) const { return queue_[0].known.done[static_cast<int>(pipe)] >= seq; }
  // The queue hands this memory out anew: what it holds no longer counts as written.
  void Fresh(Pipe pipe, Mem mem, uint32_t addr, uint32_t bytes, const Where& where);
  void CrossCoreSet(int mode, Pipe pipe, int id, const Where& where);
  void CrossCoreWait(int id, const Where& where);

  // Waits until `cores` cores of the launch have come as often as this one.
  void SoftMeet(int cores, const Where& where);

  // A software flag in GM between two blocks.
  void BlockSet(uint64_t flag);
  void BlockWait(uint64_t flag, const Where& where);

  // Scalar access, at once.
  void ScalarAccess(const Access& access, const char* name, const Where& where);
  // Lets the others run before a scalar read of a tensor that may change.
  void Yield(uint16_t gm);

  void Fail(Rule rule, const char* call, const Where& where, const std::string& detail, Pipe pipe = Pipe::kS,
            Mem mem = Mem::kGM, int64_t address = -1);
  Error MakeError(Rule rule, const char* call, const Where& where, const std::string& detail, Pipe pipe,
                  Mem mem, int64_t address) const;
  bool stopped() const { return stopped_; }
  // Throws if this core is to stop; never while unwinding.
  void CheckStop();

  // An access whose address or extent only the executing instruction knows.
  void CheckLate(const Access& access);

  // Whether the byte at an address holds a value to the executing instruction, and to say so.
  bool Written(Mem mem, int64_t addr) const {
    const BlockState& s = memory[static_cast<int>(mem)].state[static_cast<size_t>(addr / kBlock)];
    return s.Written(executing_->seq) >> (addr % kBlock) & 1;
  }
  void SetWritten(Mem mem, int64_t addr, uint32_t bytes, bool written);
  bool AllWritten(Mem mem, int64_t addr, int64_t bytes) const;
  // A copy of whole blocks carries along which of its bytes were written.
  void MoveWritten(Mem from, int64_t src, Mem to, int64_t dst, int64_t bytes);

  // Checks at issue; false: reported, drop the instruction.
  bool CheckRange(const Access& access, const char* name, const Where& where, Pipe pipe);

  uint8_t* At(Mem mem, int64_t addr) { return memory[static_cast<int>(mem)].data.get() + addr; }
  uint8_t* GmAt(uint16_t gm, int64_t addr);

  void Count(Mem src, Mem dst, uint32_t bursts, uint64_t burst_bytes, const Access* gm);

  LocalMemory memory[kMems];
  VectorState vector;
  AtomicOp atomic = AtomicOp::kNone;
  int atomic_type = -1;
  uint8_t AtomicKind() const {
    return atomic == AtomicOp::kNone ? 0 : static_cast<uint8_t>(static_cast<int>(atomic) | atomic_type << 2);
  }
  Where atomic_set;
  std::unique_ptr<TPipeState> tpipe;
  double deq_scale = 1;
  uint32_t nz2nd[3] = {1, 0, 0};  // of the fixpipe
  uint64_t pre_quant = 0x3f800000;
  Load3DState load3d;
  uint32_t block_turn = 0;   // of WaitPreBlock
  uint32_t quant_table = 0;  // address in the fixpipe's buffer
  uint64_t pad_value = 0;    // of DataCopyPad without a value of its own
  bool pad_value_set = false;
  struct Reduced {
    uint32_t seq = 0;  // of the last reduction issued, 0: none
    float value = 0;   // of the last one executed
    int index = 0;
  } sum, extremum;
  uint64_t gathered = 0;         // elements, by the last GatherMask executed
  uint32_t merge_seq = 0;        // of the last MrgSort issued, 0: none
  bool merge_suspends = false;   // it stops at the end of a queue
  uint16_t merge_taken[4] = {};  // of each queue, by the last one executed
  bool header_scratch = false;   // a call implemented by the headers may use their scratch area
  bool no_throw = false;         // inside a destructor

  void AfterPoll() { polls_seen_ = polls_; }
  bool PollWaiting() const { return polls_seen_ != polls_; }
  void Stop() { stopped_ = true; }
  void BodyEnded();
  bool Done() const {
    if (!finished_) return false;
    for (const Queue& queue : queue_)
      if (!queue.instrs.empty()) return false;
    return true;
  }

  // Accounting.
  uint64_t pipe_instructions[kPipes] = {}, pipe_repeats[kPipes] = {};
  double pipe_cycles[kPipes] = {};
  PathCounter path[kMems][kMems];

 private:
  friend class Machine;
  struct Queue {
    std::deque<Instr> instrs;
    uint32_t issued = 0, executed = 0;
    Clock known;  // what its next instruction may rely on
    uint32_t remote = 0;
  };
  bool StepPipe(Pipe pipe);
  void Execute(Instr& instr);
  void CheckHazards(const Instr& instr, const Access& access, const Clock& known, uint32_t remote);
  void CheckLocal(const Instr& instr, const Access& access, const Clock& known);
  void Trace(const Instr& instr);
  const char* FlagText(Pipe src, Pipe dst, int id);
  void SwitchToScheduler();
  // Whether an instruction issued before this one, and not yet run, touches the block.
  bool Pending(const Instr& before, Mem mem, int64_t addr, bool write) const;

  Queue queue_[kPipes];
  FlagState flag_[kPipes][kPipes][8];
  std::deque<std::vector<uint32_t>> remote_;  // [version][core * kPipes + pipe]
  Instr scratch_;
  const Instr* executing_ = nullptr;
  uint32_t issue_counter_ = 0;
  uint64_t polls_ = 0, polls_seen_ = 0;
  uint32_t meetings_ = 0;
  std::string flag_text_;
  bool stopped_ = false, finished_ = false, started_ = false;
  const char* waiting_ = nullptr;  // what the body waits for, for the deadlock report
  Where waiting_where_;
  bool (*ready_)(Core&, uint64_t) = nullptr;
  uint64_t ready_arg_ = 0;
  void BlockUntil(bool (*ready)(Core&, uint64_t), uint64_t arg, const char* what, const Where& where);
  struct Coroutine;
  std::unique_ptr<Coroutine> coroutine_;
};

// The core whose body is running, or whose instruction is executing.
Core& Current();
bool HasCurrent();

}  // namespace ascend_twin
