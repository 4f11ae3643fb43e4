// SPDX-License-Identifier: Apache-2.0
// TPipe and queues: the same flags, event ids and waits that the public headers issue on each chip.
#include <string>

#include "machine.h"
#include "queue_state.h"

namespace ascend_twin {

namespace {

constexpr int kMaxBuffers = 64;

bool HasFlag(PipePair event) {
  return event.src != Pipe::kS || event.dst != Pipe::kS;
}
bool SamePipe(PipePair event) {
  return event.src == event.dst;
}
int Index(Pipe pipe) {
  return static_cast<int>(pipe);
}
std::string EventName(PipePair e) {
  return std::string(PipeName(e.src)) + "_" + PipeName(e.dst);
}

const char* PhaseName(BufferPhase phase) {
  static const char* const names[] = {"free", "allocated", "enqueued", "dequeued"};
  return names[static_cast<int>(phase)];
}

// Takes `bytes` of a memory, from the pool if one is named.
bool Take(Core& core, const char* call, Mem mem, uint32_t bytes, uint32_t pool_id, uint32_t* addr,
          const Where& where) {
  TPipeState& t = *core.tpipe;
  const uint32_t limit = core.memory[static_cast<int>(mem)].bytes ? core.memory[static_cast<int>(mem)].usable
                                                                  : core.chip().usable[static_cast<int>(mem)];
  if (pool_id) {
    Pool& pool = t.pools[pool_id - 1];
    *addr = pool.used;
    if (pool.used + bytes > pool.end) {
      core.Fail(Rule::kCapacity, call, where,
                "needs " + std::to_string(bytes) + " bytes, its pool has " +
                    std::to_string(pool.end - pool.used) + " left");
      return false;
    }
    pool.used += bytes;
    return true;
  }
  uint32_t& used = t.used[static_cast<int>(mem)];
  *addr = used;
  if (bytes == 0 || used + bytes > limit) {
    core.Fail(Rule::kCapacity, call, where,
              "needs " + std::to_string(bytes) + " bytes of " + MemName(mem) + " behind " +
                  std::to_string(used) + " in use; a kernel on " + core.chip().name + " has " +
                  std::to_string(limit),
              Pipe::kS, mem, used);
    return false;
  }
  used += bytes;
  LocalMemory& local = core.memory[static_cast<int>(mem)];
  local.peak = std::max<uint64_t>(local.peak, used);
  return true;
}

bool CountBuffers(Core& core, int more, const Where& where) {
  TPipeState& t = *core.tpipe;
  t.total += more;
  if (t.total <= kMaxBuffers) return true;
  core.Fail(Rule::kBufferCount, "InitBuffer", where,
            "buffer " + std::to_string(t.total) + " of a TPipe that holds " + std::to_string(kMaxBuffers));
  return false;
}

void WaitFree(Core& core, BufferState& buffer, const Where& where) {
  if (buffer.free_event < 0) return;
  core.WaitFlag(buffer.free.src, buffer.free.dst, buffer.free_event, "AllocTensor", where);
  ReleaseEvent(core, buffer.free, buffer.free_event, where);
  buffer.free_event = -1;
}

}  // namespace

bool QueueInit(Core& core, QueueState& queue, int num, uint32_t len, uint32_t pool, const Where& where) {
  core.CheckStop();
  if (core.stopped()) return false;
  TPipeState& t = *core.tpipe;
  queue.first = static_cast<int>(t.buffers.size());
  queue.num = num;
  queue.cursor = queue.queued = queue.head = 0;
  queue.fifo.clear();
  const uint32_t rounded = (len + kBlock - 1) / kBlock * kBlock;
  if (num < 1) {
    core.Fail(Rule::kBufferCount, "InitBuffer", where, "a queue needs at least one buffer");
    return false;
  }
  if (!CountBuffers(core, num, where)) return false;
  for (int i = 0; i < num; ++i) {
    BufferState buffer;
    buffer.mem = queue.mem;
    buffer.len = rounded;
    if (!Take(core, "InitBuffer", queue.mem, rounded, pool, &buffer.addr, where)) return false;
    if (pool) t.pools[pool - 1].buffers.push_back(static_cast<int>(t.buffers.size()));
    t.buffers.push_back(buffer);
  }
  return true;
}

BufferState* QueueAlloc(Core& core, QueueState& queue, const Where& where) {
  core.CheckStop();
  if (core.stopped()) return nullptr;
  if (queue.first < 0) {
    core.Fail(Rule::kQueueOrder, "AllocTensor", where, "InitBuffer was not called for this queue");
    core.CheckStop();
    return nullptr;
  }
  TPipeState& t = *core.tpipe;
  for (int tried = 0; tried < queue.num; ++tried) {
    BufferState& buffer = t.buffers[static_cast<size_t>(queue.first + queue.cursor)];
    queue.cursor = (queue.cursor + 1) % queue.num;
    if (buffer.phase != BufferPhase::kFree) continue;
    buffer.phase = BufferPhase::kOccupied;
    buffer.last = where;
    WaitFree(core, buffer, where);
    // Behind that wait, in the pipe that fills the buffer, its old content is gone.
    const Pipe filler = HasFlag(queue.backward) ? queue.backward.dst : queue.forward.src;
    const bool has_pipe = !((core.kind == CoreKind::kAic && filler == Pipe::kV) ||
                            (core.kind == CoreKind::kAiv &&
                             (filler == Pipe::kM || filler == Pipe::kMTE1 || filler == Pipe::kFIX)));
    if (filler != Pipe::kS && has_pipe && core.memory[static_cast<int>(buffer.mem)].bytes)
      core.Fresh(filler, buffer.mem, buffer.addr, buffer.len, where);
    return &buffer;
  }
  core.Fail(Rule::kQueueNoBuffer, "AllocTensor", where,
            "all " + std::to_string(queue.num) + " buffers of the queue are in use: the device would hang");
  core.CheckStop();
  return nullptr;
}

void QueueFree(Core& core, QueueState& queue, BufferState* buffer, const Where& where) {
  core.CheckStop();
  if (core.stopped()) return;
  TPipeState& t = *core.tpipe;
  bool mine = false;
  for (int i = 0; i < queue.num; ++i) mine |= &t.buffers[static_cast<size_t>(queue.first + i)] == buffer;
  if (!mine || buffer->phase == BufferPhase::kFree || buffer->phase == BufferPhase::kEnqueued) {
    core.Fail(
        Rule::kQueueOrder, "FreeTensor", where,
        mine ? std::string("the tensor is ") + PhaseName(buffer->phase) : "the tensor is not of this queue");
    return;
  }
  if (HasFlag(queue.backward) && !SamePipe(queue.backward)) {
    buffer->free = queue.backward;
    buffer->free_event = AllocEvent(core, queue.backward, where);
    core.SetFlag(queue.backward.src, queue.backward.dst, buffer->free_event, "FreeTensor", where);
  }
  buffer->phase = BufferPhase::kFree;
  buffer->last = where;
}

bool QueueEnQue(Core& core, QueueState& queue, BufferState* buffer, PipePair event, const Where& where) {
  core.CheckStop();
  if (core.stopped()) return false;
  TPipeState& t = *core.tpipe;
  bool mine = false;
  for (int i = 0; i < queue.num; ++i) mine |= &t.buffers[static_cast<size_t>(queue.first + i)] == buffer;
  if (!mine || (buffer->phase != BufferPhase::kOccupied && buffer->phase != BufferPhase::kDequeued)) {
    core.Fail(
        Rule::kQueueOrder, "EnQue", where,
        mine ? std::string("the tensor is ") + PhaseName(buffer->phase) : "the tensor is not of this queue");
    return false;
  }
  if (queue.queued >= std::max(queue.depth, 1)) {
    core.Fail(Rule::kQueueDepth, "EnQue", where,
              "EnQue " + std::to_string(queue.queued + 1) + " in a row on a queue of depth " +
                  std::to_string(queue.depth));
    return false;
  }
  buffer->phase = BufferPhase::kEnqueued;
  buffer->last = where;
  buffer->enque = event;
  if (HasFlag(event) && !SamePipe(event)) {
    buffer->enque_event = AllocEvent(core, event, where);
    core.SetFlag(event.src, event.dst, buffer->enque_event, "EnQue", where);
  }
  queue.fifo.push_back(buffer);
  ++queue.queued;
  return true;
}

BufferState* QueueDeQue(Core& core, QueueState& queue, PipePair event, const Where& where) {
  core.CheckStop();
  if (core.stopped()) return nullptr;
  if (queue.fifo.empty()) {
    core.Fail(Rule::kQueueOrder, "DeQue", where, "nothing was enqueued");
    core.CheckStop();
    return nullptr;
  }
  BufferState* buffer = queue.fifo.front();
  queue.fifo.erase(queue.fifo.begin());
  --queue.queued;
  if (buffer->enque.src != event.src || buffer->enque.dst != event.dst)
    core.Fail(Rule::kQueueOrder, "DeQue", where,
              "waits for " + EventName(event) + " but EnQue set " + EventName(buffer->enque));
  buffer->phase = BufferPhase::kDequeued;
  buffer->last = where;
  if (buffer->enque_event >= 0) {
    core.WaitFlag(event.src, event.dst, buffer->enque_event, "DeQue", where);
    ReleaseEvent(core, event, buffer->enque_event, where);
    buffer->enque_event = -1;
  } else if (HasFlag(event) && SamePipe(event)) {
    core.Barrier(event.src, where);
  }
  return buffer;
}

bool QueueHasIdle(Core& core, QueueState& queue) {
  for (int i = 0; i < queue.num; ++i)
    if (core.tpipe->buffers[static_cast<size_t>(queue.first + i)].phase == BufferPhase::kFree) return true;
  return false;
}

void QueueFreeAllEvent(Core& core, QueueState& queue, const Where& where) {
  for (int i = 0; i < queue.num; ++i)
    WaitFree(core, core.tpipe->buffers[static_cast<size_t>(queue.first + i)], where);
}

bool BufInit(Core& core, Mem mem, uint32_t len, uint32_t pool, uint32_t* addr, uint32_t* out_len,
             const Where& where) {
  core.CheckStop();
  if (core.stopped()) return false;
  const uint32_t rounded = (len + kBlock - 1) / kBlock * kBlock;
  if (!CountBuffers(core, 1, where) || !Take(core, "InitBuffer", mem, rounded, pool, addr, where))
    return false;
  *out_len = rounded;
  return true;
}

bool PoolInit(Core& core, Mem mem, uint32_t len, uint32_t parent, uint32_t share, uint32_t* id,
              const Where& where) {
  core.CheckStop();
  if (core.stopped()) return false;
  TPipeState& t = *core.tpipe;
  Pool pool;
  pool.mem = mem;
  const uint32_t rounded = (len + kBlock - 1) / kBlock * kBlock;
  if (share) {
    pool.start = t.pools[share - 1].start;
    pool.end = t.pools[share - 1].end;
    if (rounded > pool.end - pool.start) {
      core.Fail(Rule::kCapacity, "InitBufPool", where, "longer than the pool it shares");
      return false;
    }
  } else {
    if (!Take(core, "InitBufPool", mem, rounded, parent, &pool.start, where)) return false;
    pool.end = pool.start + rounded;
  }
  pool.used = pool.start;
  t.pools.push_back(pool);
  *id = static_cast<uint32_t>(t.pools.size());
  return true;
}

void PoolReset(Core& core, uint32_t pool_id, const Where& where) {
  core.CheckStop();
  if (core.stopped() || !pool_id) return;
  TPipeState& t = *core.tpipe;
  Pool& pool = t.pools[pool_id - 1];
  for (int b : pool.buffers) WaitFree(core, t.buffers[static_cast<size_t>(b)], where);
  t.total -= static_cast<int>(pool.buffers.size());
  pool.buffers.clear();
  pool.used = pool.start;
}

void TPipeInit(Core& core, bool preset_m_mte1, const Where& where) {
  core.CheckStop();
  if (core.stopped()) return;
  void* user = core.tpipe->user;
  *core.tpipe = TPipeState{};
  TPipeState& t = *core.tpipe;
  t.user = user;
  t.alive = true;
  core.atomic = AtomicOp::kNone;
  core.vector = VectorState{};
  if (preset_m_mte1 && core.kind == CoreKind::kAic) {
    t.preset = true;
    for (int id = 0; id < 3; ++id) {
      AllocEvent(core, {Pipe::kM, Pipe::kMTE1}, where);
      core.SetFlag(Pipe::kM, Pipe::kMTE1, id, "TPipe", where);
    }
  }
}

void TPipeDestroy(Core& core, const Where& where) {
  TPipeState& t = *core.tpipe;
  if (core.stopped() || !t.alive) return;
  core.no_throw = true;
  t.alive = false;
  for (const BufferState& buffer : t.buffers)
    if (buffer.phase != BufferPhase::kFree) {
      core.Fail(Rule::kQueueNotFreed, "TPipe::Destroy", buffer.last,
                std::string("a tensor is still ") + PhaseName(buffer.phase) + " when the TPipe ends",
                Pipe::kS, buffer.mem, buffer.addr);
      break;
    }
  for (BufferState& buffer : t.buffers) WaitFree(core, buffer, where);
  if (t.preset)
    for (int id = 0; id < 3; ++id) {
      core.WaitFlag(Pipe::kM, Pipe::kMTE1, id, "TPipe::Destroy", where);
      ReleaseEvent(core, {Pipe::kM, Pipe::kMTE1}, id, where);
    }
  t.preset = false;
  core.BarrierAll(where);
  core.no_throw = false;
}

void TPipeReset(Core& core, const Where& where) {
  core.CheckStop();
  if (core.stopped()) return;
  TPipeState& t = *core.tpipe;
  for (BufferState& buffer : t.buffers) WaitFree(core, buffer, where);
  for (uint32_t& used : t.used) used = 0;
  t.buffers.clear();
  t.pools.clear();
  t.total = 0;
  core.atomic = AtomicOp::kNone;
}

void SetTPipe(Core& core, void* pipe) {
  core.tpipe->user = pipe;
}
void* GetTPipe(Core& core) {
  return core.tpipe->user;
}

void TPipeState::Finish(Core& core) {
  if (!alive) return;
  for (const BufferState& buffer : buffers)
    if (buffer.phase != BufferPhase::kFree) {
      core.Fail(Rule::kQueueNotFreed, "kernel", buffer.last,
                std::string("a tensor is still ") + PhaseName(buffer.phase) + " when the kernel ends",
                Pipe::kS, buffer.mem, buffer.addr);
      return;
    }
}

int FetchEvent(Core& core, PipePair event, const Where& where) {
  core.CheckStop();
  if (core.stopped()) return 0;
  const uint8_t taken = core.tpipe->events[Index(event.src)][Index(event.dst)];
  for (int id = 0; id < core.chip().event_ids; ++id)
    if (!(taken >> id & 1)) return id;
  core.Fail(Rule::kEventIdsExhausted, "event id", where,
            std::string("all ") + std::to_string(core.chip().event_ids) + " ids of " + EventName(event) +
                " are in use: too many tensors of one position are outstanding");
  core.CheckStop();
  return 0;
}

int AllocEvent(Core& core, PipePair event, const Where& where) {
  const int id = FetchEvent(core, event, where);
  if (!core.stopped())
    core.tpipe->events[Index(event.src)][Index(event.dst)] |= static_cast<uint8_t>(1 << id);
  return id;
}

void ReleaseEvent(Core& core, PipePair event, int id, const Where&) {
  if (id < 0 || id > 7) return;
  core.tpipe->events[Index(event.src)][Index(event.dst)] &= static_cast<uint8_t>(~(1 << id));
}

bool FindGm(Core& core, const void* pointer, uint16_t* index, int64_t* offset) {
  return core.machine.GmFind(pointer, index, offset);
}

uint32_t FreeUb(Core& core, uint32_t* bytes) {
  const uint32_t used = core.tpipe ? core.tpipe->used[static_cast<int>(Mem::kUB)] : 0;
  *bytes = core.memory[static_cast<int>(Mem::kUB)].usable - used;
  return used;
}

}  // namespace ascend_twin
