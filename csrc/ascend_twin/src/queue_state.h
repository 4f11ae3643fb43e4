// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <deque>
#include <vector>

#include "ascend_twin/queue_ops.h"

namespace ascend_twin {

struct Pool {
  Mem mem = Mem::kUB;
  uint32_t start = 0, used = 0, end = 0;
  std::vector<int> buffers;
};

struct TPipeState {
  bool alive = false;
  bool preset = false;
  void* user = nullptr;
  uint32_t used[kMems] = {};
  std::deque<BufferState> buffers;
  int total = 0;
  std::vector<Pool> pools;
  uint8_t events[kPipes][kPipes] = {};  // bit per id: taken

  void Finish(Core& core);  // at the end of the kernel
};

}  // namespace ascend_twin
