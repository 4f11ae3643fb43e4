// SPDX-License-Identifier: Apache-2.0
//
// A kernel source is compiled once per instruction set, each time with another SWINV2_ISA (baseline, avx2, avx512;
// avx512_bf16 and amx_bf16 where they make a difference), into a namespace of that name; active_isa picks one at run
// time. Everything a kernel includes must be inside that namespace or free of code, or the linker may keep the AVX-512
// copy of a shared inline function.
#pragma once

#include <string>
#include <vector>

#include "cpu/float_mode.h"

namespace swinv2 {

enum class Isa : int { kBaseline, kAvx2, kAvx512, kAvx512Bf16, kAmxBf16 };

const char* isa_name(Isa isa);
const std::vector<Isa>& supported_isas();  // compiled in and runnable on this CPU, slowest first
std::vector<std::string> cpu_features();

// The fastest supported, unless SWINV2_KERNELS_ISA or set_isa asks for another; an unsupported name throws.
Isa active_isa();
void set_isa(const std::string& name);  // "" returns to the default

// Whether lines that are read later are better fetched into L2 than into L1: where L1 has 32 KB, which what is worked
// on fills, and on Intel's CPUs, where every prefetch holds one of L1's few fill buffers until its line is there.
bool fetches_into_l2();

// return call, in the namespace of the instruction set in force; with AMX that of `amx` and with AVX512_BF16 that of
// `bf16`, which are avx512 for kernels that do not use them. SWINV2_PER_ISA repeats a declaration in each.
#if defined(SWINV2_X86)
#define SWINV2_PER_ISA(...) \
  namespace baseline {      \
  __VA_ARGS__               \
  }                         \
  namespace avx2 {          \
  __VA_ARGS__               \
  }                         \
  namespace avx512 {        \
  __VA_ARGS__               \
  }                         \
  namespace avx512_bf16 {   \
  __VA_ARGS__               \
  }                         \
  namespace amx_bf16 {      \
  __VA_ARGS__               \
  }
#define SWINV2_DISPATCH_TO(amx, bf16, ...) \
  const WithDenormals denormals;           \
  switch (active_isa()) {                  \
    case Isa::kAmxBf16:                    \
      return amx::__VA_ARGS__;             \
    case Isa::kAvx512Bf16:                 \
      return bf16::__VA_ARGS__;            \
    case Isa::kAvx512:                     \
      return avx512::__VA_ARGS__;          \
    case Isa::kAvx2:                       \
      return avx2::__VA_ARGS__;            \
    case Isa::kBaseline:                   \
      return baseline::__VA_ARGS__;        \
  }                                        \
  __builtin_unreachable()
#else
#define SWINV2_PER_ISA(...) \
  namespace baseline {      \
  __VA_ARGS__               \
  }
#define SWINV2_DISPATCH_TO(amx, bf16, ...) \
  const WithDenormals denormals;           \
  return baseline::__VA_ARGS__
#endif
#define SWINV2_DISPATCH(...) SWINV2_DISPATCH_TO(avx512, avx512, __VA_ARGS__)

}  // namespace swinv2
