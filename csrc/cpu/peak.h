// SPDX-License-Identifier: Apache-2.0
//
// What this machine can do, on num_threads() threads in the instruction set in force: the yardstick of bench.
#pragma once

#include <vector>

namespace swinv2 {

// One sample a repetition.
struct Peaks {
  std::vector<double> gflops;  // float32 multiply-adds held in registers, two operations each
  std::vector<double> copy;    // GB/s of a = b, far beyond the caches: bytes read plus bytes written
  std::vector<double> triad;   // GB/s of a = b + s * c
};

Peaks measure_peaks(int repetitions);

}  // namespace swinv2
