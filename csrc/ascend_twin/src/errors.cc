// SPDX-License-Identifier: Apache-2.0
#include "ascend_twin/errors.h"

#include <cstdio>

#include "ascend_twin/report.h"

namespace ascend_twin {

const char* RuleName(Rule rule) {
  static const char* const names[] = {
#define ASCEND_TWIN_RULE_NAME(id, name, text) name,
      ASCEND_TWIN_RULES(ASCEND_TWIN_RULE_NAME)
#undef ASCEND_TWIN_RULE_NAME
  };
  return names[static_cast<int>(rule)];
}

const char* RuleText(Rule rule) {
  static const char* const texts[] = {
#define ASCEND_TWIN_RULE_TEXT(id, name, text) text,
      ASCEND_TWIN_RULES(ASCEND_TWIN_RULE_TEXT)
#undef ASCEND_TWIN_RULE_TEXT
  };
  return texts[static_cast<int>(rule)];
}

std::string Error::ToString() const {
  std::string s =
      std::string(RuleName(rule)) + ": " + call + ": " + detail + " [rule: " + RuleText(rule) + "]";
  if (line) s += " at " + file + ":" + std::to_string(line);
  if (block >= 0) s += ", block " + std::to_string(block) + " " + core + ", pipe " + pipe;
  if (address >= 0) s += ", " + memory + " address " + std::to_string(address);
  return s;
}

std::string Report::ToString() const {
  std::string s;
  char line[256];
  for (const Error& e : errors) s += e.ToString() + "\n";
  std::snprintf(line, sizeof line, "%s, %d blocks, seed %llu\n", soc.c_str(), block_dim,
                static_cast<unsigned long long>(seed));
  s += line;
  for (const PathReport& p : paths) {
    std::snprintf(line, sizeof line, "%-12s %8llu instructions %12llu bytes; bursts", p.path.c_str(),
                  static_cast<unsigned long long>(p.instructions), static_cast<unsigned long long>(p.bytes));
    s += line;
    for (size_t i = 0; i < p.bursts.size(); ++i)
      if (p.bursts[i]) s += " " + std::to_string(1u << i) + "B:" + std::to_string(p.bursts[i]);
    s += "\n";
  }
  for (const TensorReport& t : tensors) {
    std::snprintf(line, sizeof line,
                  "%-16s %10llu bytes; read %llu (%llu in sectors), written %llu (%llu in sectors)\n",
                  t.name.c_str(), static_cast<unsigned long long>(t.size),
                  static_cast<unsigned long long>(t.bytes_read),
                  static_cast<unsigned long long>(t.sector_bytes_read),
                  static_cast<unsigned long long>(t.bytes_written),
                  static_cast<unsigned long long>(t.sector_bytes_written));
    s += line;
  }
  for (const PipeReport& p : pipes) {
    std::snprintf(line, sizeof line,
                  "%-6s %-5s %8llu instructions %10llu repeats %12.0f cycles modelled (busiest core %.0f)\n",
                  p.core.c_str(), p.pipe.c_str(), static_cast<unsigned long long>(p.instructions),
                  static_cast<unsigned long long>(p.repeats), p.modelled_cycles, p.modelled_cycles_max);
    s += line;
  }
  s += "peak bytes";
  for (int m = 1; m < kMems; ++m)
    if (peak_bytes[m])
      s += std::string(" ") + MemName(static_cast<Mem>(m)) + ":" + std::to_string(peak_bytes[m]);
  s += "\nevents";
  for (const std::string& e : events) s += " " + e + ",";
  return s + "\n";
}

}  // namespace ascend_twin
