// SPDX-License-Identifier: Apache-2.0
#include "cpu/parallel.h"

#if defined(SWINV2_STD_THREADS)
#include <thread>
#include <vector>
#else
#include <omp.h>
#endif

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <string>

#include "core/error.h"

namespace swinv2 {
namespace {

constexpr int kMaxThreads = 1024;  // libgomp ends the process when the system refuses a thread

std::atomic<int> requested{0};

int checked(long n, const char* argument, const std::string& got) {
  if (n >= 0 && n <= kMaxThreads) return static_cast<int>(n);
  throw InvalidArgument(std::string(argument) + ": expected 0 (the default) to " +
                        std::to_string(kMaxThreads) + " threads, got " + got);
}

int threads_from_environment() {
  constexpr const char* kName = "SWINV2_KERNELS_NUM_THREADS";
  const char* value = std::getenv(kName);
  if (!value || !*value) return 0;
  char* end;
  const long n = std::strtol(value, &end, 10);
  return checked(*end ? -1 : n, kName, std::string("'") + value + "'");
}

int default_threads() {
#if defined(SWINV2_STD_THREADS)
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
#else
  return omp_get_max_threads();
#endif
}

// Calls piece(i) for i in 0 .. pieces - 1.
template <class F>
void share(int64_t pieces, int threads, F&& piece) {
#if defined(SWINV2_STD_THREADS)
  std::atomic<int64_t> next{0};
  const auto work = [&] {
    for (int64_t i; (i = next.fetch_add(1, std::memory_order_relaxed)) < pieces;) piece(i);
  };
  std::vector<std::thread> others;
  for (int t = 1; t < threads; ++t) others.emplace_back(work);
  work();
  for (std::thread& other : others) other.join();
#else
#pragma omp parallel for schedule(dynamic, 1) num_threads(std::max(1, threads)) if (threads > 1)
  for (int64_t i = 0; i < pieces; ++i) piece(i);
#endif
}

struct Free {
  void operator()(void* p) const { std::free(p); }
};

}  // namespace

int num_threads() {
  if (const int n = requested.load()) return n;
  if (const int n = threads_from_environment()) return n;
  return default_threads();
}

void set_num_threads(int n) {
  requested.store(checked(n, "n", std::to_string(n)));
}

void parallel_for(int64_t n, int64_t grain, const std::function<void(int64_t, int64_t)>& body) {
  const int64_t pieces = (n + grain - 1) / grain;
  std::mutex mutex;
  std::exception_ptr failure;  // an exception may not leave a thread
  share(pieces, static_cast<int>(std::min<int64_t>(num_threads(), pieces)), [&](int64_t i) {
    try {
      body(i * grain, std::min(n, (i + 1) * grain));
    } catch (...) {
      const std::lock_guard<std::mutex> lock(mutex);
      failure = std::current_exception();
    }
  });
  if (failure) std::rethrow_exception(failure);
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
