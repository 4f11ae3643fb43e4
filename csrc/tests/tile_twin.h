// SPDX-License-Identifier: Apache-2.0
//
// The AMX instructions of cpu/tile.h in plain C++, after the encodings, operations and exceptions of Intel's manual. On
// a CPU without AMX each of them raises SIGILL; stand_in() has it done here instead, so that the very code that
// CPUs with AMX run is tested on any that has the rest.
#pragma once

#include <cstdint>
#include <stdexcept>

namespace swinv2 {
namespace tile_twin {

// What a CPU answers with #UD or #GP. Out of a trapped instruction its text ends the program.
struct Fault : std::logic_error {
  using std::logic_error::logic_error;
};

// From now on, for the whole process; true.
bool stand_in();

// Of the calling thread's tiles.
void ldtilecfg(const void* config);
void sttilecfg(void* config);
void tilerelease();
void tilezero(int tile);
void tileloadd(int tile, const void* from, int64_t stride);  // bytes from row to row
void tilestored(int tile, void* to, int64_t stride);
void tdpbf16ps(int c, int a, int b);  // c += a * b

int64_t products();  // tdpbf16ps so far, on all threads

}  // namespace tile_twin
}  // namespace swinv2
