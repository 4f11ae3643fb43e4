// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdio>
#include <sstream>
#include <string>

namespace swinv2 {

struct Tally {
  long checks = 0, failures = 0;
};
inline Tally tally;

// Counts a check, and tells of the first twenty that fail.
inline void report(bool passed, const char* file, int line, const std::string& text) {
  ++tally.checks;
  if (!passed && ++tally.failures <= 20) std::printf("%s:%d: %s\n", file, line, text.c_str());
}

// The program's exit code.
inline int summary(const std::string& name) {
  std::printf("%s: %ld checks, %ld failures\n", name.c_str(), tally.checks, tally.failures);
  return tally.failures > 0 || tally.checks == 0;
}

}  // namespace swinv2

#define CHECK(condition, message)                               \
  do {                                                          \
    if (condition) {                                            \
      ++::swinv2::tally.checks;                                 \
    } else {                                                    \
      std::ostringstream text_;                                 \
      text_ << message;                                         \
      ::swinv2::report(false, __FILE__, __LINE__, text_.str()); \
    }                                                           \
  } while (false)
