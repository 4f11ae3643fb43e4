// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>

namespace swinv2 {

// Threads the next kernel uses: set_num_threads, else SWINV2_KERNELS_NUM_THREADS, else one a core.
// InvalidArgument outside 0 .. 1024; 0 is the default.
int num_threads();
void set_num_threads(int n);

// body(begin, end) over [0, n) in pieces of about `grain`. Which thread runs a piece is left to the
// scheduler: a body must not depend on it. An exception of a body is thrown on, after the other pieces.
void parallel_for(int64_t n, int64_t grain, const std::function<void(int64_t begin, int64_t end)>& body);

// body(i, coming) over [0, n); `coming` is what the same thread takes after i, for it claims a piece ahead; n or
// more: none yet, as for the last.
void parallel_ahead(int64_t n, const std::function<void(int64_t i, int64_t coming)>& body);

// This thread's scratch: 64-byte aligned, kept between calls, contents undefined. Window attention takes at most
// kScratchLimit, linear one panel of weights, twice 256 rows, or with AMX twice 32 rows in three terms, if that is
// more.
constexpr size_t kScratchLimit = size_t{1} << 20;
void* thread_scratch(size_t bytes);

// Another, for what the threads of this thread's loop share.
void* shared_scratch(size_t bytes);

}  // namespace swinv2
