// SPDX-License-Identifier: Apache-2.0
#include "cpu/parallel.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#define SWINV2_ASAN
#elif defined(__has_feature)  // older clang
#if __has_feature(address_sanitizer)
#define SWINV2_ASAN
#endif
#endif
#if defined(SWINV2_ASAN)
#include <sanitizer/asan_interface.h>
#endif

#include "core/error.h"
#include "cpu/float_mode.h"

namespace swinv2 {
namespace {

constexpr int kMaxThreads = 1024;
// Looks before a thread sleeps: some 0.1 ms, as operators of a graph lie apart; and where a loop is on its last pieces,
// which end, or are followed by the next loop, sooner than a sleeper would be up.
constexpr int kSpins = 3000, kLongSpins = 10000;

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

// The cores that this process may use.
int available_cores() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// The pool's mutex is held for a moment: a thread that slept for it would wake when the loop is half done.
std::unique_lock<std::mutex> lock_soon(std::mutex& mutex) {
  for (int i = 0; i < kSpins; ++i, pause())
    if (mutex.try_lock()) return {mutex, std::adopt_lock};
  return std::unique_lock<std::mutex>(mutex);
}

// Pieces in a row, which one thread takes in turn.
struct alignas(64) Stretch {
  std::atomic<int64_t> next;
  int64_t end;
  bool taken;  // by the thread that begins there; guarded by the pool's mutex
};

// A loop that is being shared out; it lives on its caller's stack. Each thread begins in a stretch of its own: what two
// write at a time lies far apart, whose cores would otherwise fetch lines from each other, and what a thread wrote in
// one loop it finds in its cache in the next. A thread that has no more helps the others.
struct Loop {
  const std::function<void(int64_t, int64_t)>& piece;  // throws nothing
  int64_t pieces;
  bool ahead;  // a thread claims a piece while it is on the one before
  int wanted;  // threads that may still join; guarded by the pool's mutex
  std::vector<Stretch> stretches;
  std::atomic<int> helpers{0};

  Loop(const std::function<void(int64_t, int64_t)>& piece, int64_t pieces, bool ahead, int threads)
      : piece(piece), pieces(pieces), ahead(ahead), wanted(threads - 1), stretches(std::max(threads, 1)) {
    const int64_t n = stretches.size();
    for (int64_t t = 0; t < n; ++t) {
      stretches[t].next = pieces * t / n;
      stretches[t].end = pieces * (t + 1) / n;
      stretches[t].taken = t == 0;  // by the caller
    }
  }

  // Where a thread begins: in the same place from loop to loop if it can.
  size_t take_stretch(size_t preferred) {
    if (preferred >= stretches.size() || stretches[preferred].taken)
      for (preferred = 0; stretches[preferred].taken;) ++preferred;
    stretches[preferred].taken = true;
    return preferred;
  }

  void work(size_t first) {
    const size_t n = stretches.size();
    for (size_t t = 0; t < n; ++t) work(stretches[(first + t) % n]);
  }

  void work(Stretch& stretch) {
    // One of the pieces below `end`, or none.
    const auto take = [&](int64_t end) {
      if (stretch.next.load(std::memory_order_relaxed) >= end) return pieces;
      const int64_t i = stretch.next.fetch_add(1, std::memory_order_relaxed);
      return i < stretch.end ? i : pieces;
    };
    for (int64_t i = take(stretch.end), coming; i < pieces;
         i = coming < pieces ? coming : take(stretch.end)) {
      coming = ahead ? take(stretch.end - 1) : pieces;  // the last is left to whoever is free
      piece(i, coming);
    }
  }

  bool any_left() const {
    return std::any_of(stretches.begin(), stretches.end(),
                       [](const Stretch& s) { return s.next.load(std::memory_order_relaxed) < s.end; });
  }
};

// A thread of the pool, guarded by its mutex.
struct Sleeper {
  pthread_t thread;
  cpu_set_t given;    // the cores that it was born with or moved to last
  int cpu = -1;       // where it worked last; -1: at work
  size_t number = 0;  // from 1 on
};

// Not OpenMP: its idle threads spin for milliseconds on the cores that MindSpore's own threads, which share
// out matrix products, need next. These look for work for a moment, then sleep.
class Pool {
 public:
  void run(Loop& loop) {
    {
      const auto lock = lock_soon(mutex_);
      grow(loop.wanted);
      loops_.push_back(&loop);
      move_off(sched_getcpu());
    }
    unfinished_.fetch_add(1, std::memory_order_relaxed);
    posted_.fetch_add(1, std::memory_order_relaxed);  // those who look for work take the mutex next
    wake_.notify_all();
    loop.work(0);
    {
      const auto lock = lock_soon(mutex_);
      loops_.erase(std::find(loops_.begin(), loops_.end(), &loop));
    }
    for (int i = 0; i < kLongSpins; ++i, pause())
      if (loop.helpers.load(std::memory_order_acquire) == 0) return finished();
    std::unique_lock<std::mutex> lock(mutex_);
    done_.wait(lock, [&] { return loop.helpers.load(std::memory_order_acquire) == 0; });
    finished();
  }

 private:
  void grow(int threads) {
    while (static_cast<int>(sleepers_.size()) < threads) {
      Sleeper& added = sleepers_.emplace_back();
      added.number = sleepers_.size();
      try {
        std::thread thread([this, &added] { help(added); });
        added.thread = thread.native_handle();
        thread.detach();
      } catch (const std::system_error&) {
        sleepers_.pop_back();
        return;  // the system refuses: those there are do the work
      }
      CPU_ZERO(&added.given);
      pthread_getaffinity_np(added.thread, sizeof added.given, &added.given);
      added.cpu = sched_getcpu();
    }
  }

  // Linux wakes a thread where it slept, even if its caller runs there now and other cores are idle: the two would
  // take turns on one core until the load is balanced, which a short loop does not live to see. It goes to the cores
  // that the caller may use now, unless others have set its own meanwhile.
  void move_off(int cpu) {
    for (Sleeper& sleeper : sleepers_) {
      if (sleeper.cpu != cpu || cpu < 0) continue;
      cpu_set_t callers, its;
      if (sched_getaffinity(0, sizeof callers, &callers) != 0 || CPU_COUNT(&callers) < 2) return;
      if (pthread_getaffinity_np(sleeper.thread, sizeof its, &its) != 0) continue;
      if (!CPU_EQUAL(&its, &sleeper.given) && !CPU_EQUAL(&its, &callers)) continue;
      CPU_CLR(cpu, &callers);
      pthread_setaffinity_np(sleeper.thread, sizeof callers, &callers);
      sleeper.given = callers;
      sleeper.cpu = -1;
    }
  }

  [[noreturn]] void help(Sleeper& self) {
    const WithDenormals denormals;
    unsigned seen = 0;
    for (;;) {
      for (int i = kLongSpins; i > 0 && posted_.load(std::memory_order_relaxed) == seen; --i, pause())
        if (i > kSpins && unfinished_.load(std::memory_order_relaxed) == 0) i = kSpins;
      auto lock = lock_soon(mutex_);
      Loop* loop = nullptr;
      wake_.wait(lock, [&] {
        seen = posted_.load(std::memory_order_relaxed);
        return (loop = join()) != nullptr;
      });
      const size_t first = loop->take_stretch(self.number);
      self.cpu = -1;
      lock.unlock();
      loop->work(first);
      lock = lock_soon(mutex_);
      self.cpu = sched_getcpu();
      loop->helpers.fetch_sub(1, std::memory_order_release);  // the last touch: its caller may now return
      lock.unlock();
      done_.notify_all();
    }
  }

  void finished() { unfinished_.fetch_sub(1, std::memory_order_relaxed); }

  Loop* join() {
    for (Loop* loop : loops_)
      if (loop->wanted > 0 && loop->any_left()) {
        --loop->wanted;
        loop->helpers.fetch_add(1, std::memory_order_relaxed);
        return loop;
      }
    return nullptr;
  }

  std::mutex mutex_;
  std::condition_variable wake_, done_;
  std::vector<Loop*> loops_;
  std::deque<Sleeper> sleepers_;
  std::atomic<unsigned> posted_{0};  // loops so far
  std::atomic<int> unfinished_{0};   // of them
};

// Never destroyed: its threads outlive main. A forked child has none of them and starts a pool of its own.
Pool* the_pool = nullptr;

Pool& pool() {
  static const bool once = [] {
    the_pool = new Pool;
    pthread_atfork(nullptr, nullptr, [] { the_pool = new Pool; });
    return true;
  }();
  (void)once;
  return *the_pool;
}

struct Free {
  void operator()(void* p) const { std::free(p); }
};

}  // namespace

int num_threads() {
  if (const int n = requested.load()) return n;
  if (const int n = threads_from_environment()) return n;
  return available_cores();  // not OMP_NUM_THREADS: MindSpore sets it to 1 at its first operator
}

void set_num_threads(int n) {
  requested.store(checked(n, "n", std::to_string(n)));
}

namespace {

void share_out(int64_t pieces, bool ahead, const std::function<void(int64_t, int64_t)>& body) {
  std::mutex mutex;
  std::exception_ptr failure;  // an exception may not leave a thread
  const std::function<void(int64_t, int64_t)> piece = [&](int64_t i, int64_t coming) {
    try {
      body(i, coming);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(mutex);
      failure = std::current_exception();
    }
  };
  const int threads = static_cast<int>(std::min<int64_t>(num_threads(), pieces));
  Loop loop(piece, pieces, ahead, threads);
  if (loop.wanted > 0)
    pool().run(loop);
  else
    loop.work(0);
  if (failure) std::rethrow_exception(failure);
}

}  // namespace

void parallel_for(int64_t n, int64_t grain, const std::function<void(int64_t, int64_t)>& body) {
  share_out((n + grain - 1) / grain, false,
            [&](int64_t i, int64_t) { body(i * grain, std::min(n, (i + 1) * grain)); });
}

void parallel_ahead(int64_t n, const std::function<void(int64_t, int64_t)>& body) {
  share_out(n, true, body);
}

namespace {

class Buffer {
 public:
  void* room(size_t bytes) {
    if (bytes > capacity_) {
      const size_t rounded = (bytes + 4095) / 4096 * 4096;
      void* p = std::aligned_alloc(4096, rounded);
      if (!p) throw std::bad_alloc();
      buffer_.reset(p);
      capacity_ = rounded;
    }
#if defined(SWINV2_ASAN)  // a step beyond what was asked for shows
    ASAN_UNPOISON_MEMORY_REGION(buffer_.get(), bytes);
    ASAN_POISON_MEMORY_REGION(static_cast<char*>(buffer_.get()) + bytes, capacity_ - bytes);
#endif
    return buffer_.get();
  }

 private:
  std::unique_ptr<void, Free> buffer_;
  size_t capacity_ = 0;
};

}  // namespace

void* thread_scratch(size_t bytes) {
  thread_local Buffer buffer;
  return buffer.room(bytes);
}

void* shared_scratch(size_t bytes) {
  thread_local Buffer buffer;
  return buffer.room(bytes);
}

}  // namespace swinv2
