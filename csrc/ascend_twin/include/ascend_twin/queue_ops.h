// SPDX-License-Identifier: Apache-2.0
// What TPipe and the queues do, free of templates.
#pragma once

#include <cstdint>
#include <vector>

#include "ascend_twin/core.h"

namespace ascend_twin {

struct PipePair {
  Pipe src = Pipe::kS, dst = Pipe::kS;  // S to S: no flag
};

enum class BufferPhase : uint8_t { kFree, kOccupied, kEnqueued, kDequeued };

struct BufferState {
  BufferPhase phase = BufferPhase::kFree;
  Mem mem = Mem::kUB;
  uint32_t addr = 0, len = 0;
  PipePair enque, free;  // the flags last used
  int enque_event = -1, free_event = -1;
  Where last;
};

struct QueueState {
  Mem mem = Mem::kUB;
  uint8_t logic = 0;
  int depth = 0;
  PipePair forward, backward;
  int first = -1, num = 0, cursor = 0;  // buffers in TPipeState
  int queued = 0, head = 0;
  std::vector<BufferState*> fifo;
};

bool QueueInit(Core& core, QueueState& queue, int num, uint32_t len, uint32_t pool, const Where& where);
BufferState* QueueAlloc(Core& core, QueueState& queue, const Where& where);
void QueueFree(Core& core, QueueState& queue, BufferState* buffer, const Where& where);
bool QueueEnQue(Core& core, QueueState& queue, BufferState* buffer, PipePair event, const Where& where);
BufferState* QueueDeQue(Core& core, QueueState& queue, PipePair event, const Where& where);
bool QueueHasIdle(Core& core, QueueState& queue);
void QueueFreeAllEvent(Core& core, QueueState& queue, const Where& where);
bool BufInit(Core& core, Mem mem, uint32_t len, uint32_t pool, uint32_t* addr, uint32_t* out_len,
             const Where& where);
bool PoolInit(Core& core, Mem mem, uint32_t len, uint32_t parent, uint32_t share, uint32_t* id,
              const Where& where);
void PoolReset(Core& core, uint32_t pool, const Where& where);

void TPipeInit(Core& core, bool preset_m_mte1, const Where& where);
void TPipeDestroy(Core& core, const Where& where);
void TPipeReset(Core& core, const Where& where);
void SetTPipe(Core& core, void* pipe);
void* GetTPipe(Core& core);

int AllocEvent(Core& core, PipePair event, const Where& where);
void ReleaseEvent(Core& core, PipePair event, int id, const Where& where);
int FetchEvent(Core& core, PipePair event, const Where& where);

// The UB that no buffer of the pipe has taken, where the headers put scratch of their own: its start; bytes: its size.
uint32_t FreeUb(Core& core, uint32_t* bytes);

}  // namespace ascend_twin
