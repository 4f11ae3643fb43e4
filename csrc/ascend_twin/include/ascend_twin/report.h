// SPDX-License-Identifier: Apache-2.0
// What a launch did: errors, traffic, instructions, peaks, and, if asked for, the trace.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "ascend_twin/chip.h"
#include "ascend_twin/errors.h"

namespace ascend_twin {

// Bursts of one path; bucket i counts bursts of [2^i, 2^(i+1)) bytes.
struct PathReport {
  std::string path;  // "GM->UB"
  uint64_t instructions = 0;
  uint64_t bytes = 0;
  std::array<uint64_t, 24> bursts{};
};

struct TensorReport {
  std::string name;
  uint64_t size = 0;  // bytes
  uint64_t bytes_read = 0, bytes_written = 0;
  uint64_t sector_bytes_read = 0, sector_bytes_written = 0;  // 512 B per sector touched by an instruction
};

struct PipeReport {
  std::string core;  // AICORE, AIC or AIV: one row per kind and pipe, summed over cores
  std::string pipe;
  uint64_t instructions = 0;
  uint64_t repeats = 0;
  double modelled_cycles = 0;      // summed over cores, from published instruction costs
  double modelled_cycles_max = 0;  // of the busiest core
};

struct TraceEntry {
  int block = 0;
  std::string core, pipe, instruction;
  uint64_t bytes = 0, repeats = 0;
  std::string waits;  // "V_MTE3 0" for flag instructions, else empty
  std::string file;
  int line = 0;
};

struct Report {
  std::string soc;
  uint64_t seed = 0;
  int block_dim = 0;
  std::vector<Error> errors;
  std::vector<PathReport> paths;
  std::vector<TensorReport> tensors;
  std::vector<PipeReport> pipes;
  std::array<uint64_t, kMems> peak_bytes{};  // highest address used + 1, of any core
  std::vector<std::string> events;           // "V_MTE3 0": event ids used, in order of first use
  std::vector<uint64_t> instructions_per_core;
  std::vector<double> modelled_cycles_per_core;  // its busiest pipe
  std::vector<TraceEntry> trace;

  bool ok() const { return errors.empty(); }
  bool Has(Rule rule) const {
    for (const Error& e : errors)
      if (e.rule == rule) return true;
    return false;
  }
  const TensorReport* Tensor(const std::string& name) const {
    for (const TensorReport& t : tensors)
      if (t.name == name) return &t;
    return nullptr;
  }
  const PathReport* Path(const std::string& name) const {
    for (const PathReport& p : paths)
      if (p.path == name) return &p;
    return nullptr;
  }
  std::string ToString() const;  // the errors and the tables, for a person
};

}  // namespace ascend_twin
