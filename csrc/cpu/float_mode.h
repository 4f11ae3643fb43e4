// SPDX-License-Identifier: Apache-2.0
//
// Denormals count, whatever the calling thread does with them: a library built with -ffast-math, or a framework, may
// have told it to flush them, and results must not depend on which thread runs a piece.
#pragma once

#include <cstdint>

namespace swinv2 {

#if defined(__x86_64__)
constexpr uint64_t kFlushDenormals = 0x8040;  // FTZ and DAZ of MXCSR
inline uint64_t float_mode() {
  return __builtin_ia32_stmxcsr();
}
inline void set_float_mode(uint64_t mode) {
  __builtin_ia32_ldmxcsr(static_cast<unsigned>(mode));
}
#elif defined(__aarch64__)
constexpr uint64_t kFlushDenormals = (1u << 24) | (1u << 19);  // FZ and FZ16 of FPCR
inline uint64_t float_mode() {
  uint64_t mode;
  asm volatile("mrs %0, fpcr" : "=r"(mode));
  return mode;
}
inline void set_float_mode(uint64_t mode) {
  asm volatile("msr fpcr, %0" : : "r"(mode));
}
#else
constexpr uint64_t kFlushDenormals = 0;
inline uint64_t float_mode() {
  return 0;
}
inline void set_float_mode(uint64_t) {}
#endif

// Keeps denormals in this thread, and in threads it starts, while it lives.
class WithDenormals {
 public:
  WithDenormals() : before_(float_mode()) {
    if (before_ & kFlushDenormals) set_float_mode(before_ & ~kFlushDenormals);
  }
  ~WithDenormals() {
    if (before_ & kFlushDenormals) set_float_mode(before_);
  }
  WithDenormals(const WithDenormals&) = delete;
  WithDenormals& operator=(const WithDenormals&) = delete;

 private:
  uint64_t before_;
};

}  // namespace swinv2
