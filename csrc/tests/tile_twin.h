// SPDX-License-Identifier: Apache-2.0
//
// The AMX instructions of cpu/tile.h in plain C++, after the Operation and Exceptions sections of Intel's manual, for
// CPUs that have none. Every thread has its own tiles. What the CPU answers with #UD or #GP is a Fault here.
#pragma once

#include <cstdint>
#include <stdexcept>

namespace swinv2 {
namespace tile_twin {

struct Fault : std::logic_error {
  using std::logic_error::logic_error;
};

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
