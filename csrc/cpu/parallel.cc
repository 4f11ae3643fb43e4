// SPDX-License-Identifier: Apache-2.0
#include "cpu/parallel.h"

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <new>

namespace swinv2 {
namespace {

int threads_from_environment() {
  const char* value = std::getenv("SWINV2_KERNELS_NUM_THREADS");
  return value ? std::max(0, std::atoi(value)) : 0;
}

std::atomic<int> requested{threads_from_environment()};

struct Free {
  void operator()(void* p) const { std::free(p); }
};

}  // namespace

int num_threads() {
  const int n = requested.load();
  return n > 0 ? n : omp_get_max_threads();
}

void set_num_threads(int n) {
  requested.store(std::max(0, n));
}

void parallel_for(int64_t n, int64_t grain, const std::function<void(int64_t, int64_t)>& body) {
  const int64_t pieces = (n + grain - 1) / grain;
  const int threads = static_cast<int>(std::min<int64_t>(num_threads(), pieces));
#pragma omp parallel for schedule(dynamic, 1) num_threads(std::max(1, threads)) if (threads > 1)
  for (int64_t i = 0; i < pieces; ++i) body(i * grain, std::min(n, (i + 1) * grain));
}

void* thread_scratch(size_t bytes) {
  thread_local std::unique_ptr<void, Free> buffer;
  thread_local size_t capacity = 0;
  if (bytes > capacity) {
    const size_t rounded = (bytes + 4095) / 4096 * 4096;
    void* p = std::aligned_alloc(4096, rounded);
    if (!p) throw std::bad_alloc();
    buffer.reset(p);
    capacity = rounded;
  }
  return buffer.get();
}

}  // namespace swinv2
