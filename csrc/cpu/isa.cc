// SPDX-License-Identifier: Apache-2.0
#include "cpu/isa.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>

#include "core/error.h"

#if defined(SWINV2_TILE_TWIN)
#include "tests/tile_twin.h"
#endif

namespace swinv2 {
namespace {

constexpr int kAuto = -1;
std::atomic<int> forced{kAuto};

#if defined(SWINV2_X86)
// Linux saves tiles only for processes that ask for it: once, for all threads and children.
bool has_tiles() {
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  if (__builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-bf16")) {
    static const bool granted = syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
    return granted;
  }
#if defined(SWINV2_TILE_TWIN)
  return tile_twin::stand_in();
#else
  return false;
#endif
}
#endif

bool runs_here(Isa isa) {
#if defined(SWINV2_X86)
  switch (isa) {
    case Isa::kBaseline:
      return true;
    case Isa::kAvx2:
      return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
             __builtin_cpu_supports("f16c");
    case Isa::kAvx512:
      return runs_here(Isa::kAvx2) && __builtin_cpu_supports("avx512f") &&
             __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
             __builtin_cpu_supports("avx512vl");
    case Isa::kAvx512Bf16:
      return runs_here(Isa::kAvx512) && __builtin_cpu_supports("avx512bf16");
    case Isa::kAmxBf16:
      return runs_here(Isa::kAvx512Bf16) && has_tiles();
  }
  return false;
#else
  return isa == Isa::kBaseline;
#endif
}

std::string names(const std::vector<Isa>& isas) {
  std::string text;
  for (Isa isa : isas) text += (text.empty() ? "" : ", ") + std::string(isa_name(isa));
  return text;
}

Isa parse(const std::string& name, const char* argument) {
  for (Isa isa : supported_isas())
    if (name == isa_name(isa)) return isa;
  throw InvalidArgument(std::string(argument) + ": expected one of " + names(supported_isas()) +
                        " (what this build and this CPU run), got '" + name + "'");
}

}  // namespace

const char* isa_name(Isa isa) {
  switch (isa) {
    case Isa::kAvx2:
      return "avx2";
    case Isa::kAvx512:
      return "avx512";
    case Isa::kAvx512Bf16:
      return "avx512_bf16";
    case Isa::kAmxBf16:
      return "amx_bf16";
    default:
      return "baseline";
  }
}

const std::vector<Isa>& supported_isas() {
  static const std::vector<Isa> isas = [] {
    std::vector<Isa> found;
    for (Isa isa : {Isa::kBaseline, Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Bf16, Isa::kAmxBf16})
      if (runs_here(isa)) found.push_back(isa);
    return found;
  }();
  return isas;
}

bool fetches_into_l2() {
#if defined(SWINV2_X86)
  static const bool into_l2 = __builtin_cpu_is("intel") || sysconf(_SC_LEVEL1_DCACHE_SIZE) < (48 << 10);
  return into_l2;
#else
  return false;
#endif
}

std::vector<std::string> cpu_features() {
  std::vector<std::string> found;
#if defined(SWINV2_X86)
#define SWINV2_FEATURE(name) \
  if (__builtin_cpu_supports(name)) found.push_back(name);
  SWINV2_FEATURE("sse2")
  SWINV2_FEATURE("avx")
  SWINV2_FEATURE("avx2")
  SWINV2_FEATURE("fma")
  SWINV2_FEATURE("f16c")
  SWINV2_FEATURE("avx512f")
  SWINV2_FEATURE("avx512bw")
  SWINV2_FEATURE("avx512dq")
  SWINV2_FEATURE("avx512vl")
  SWINV2_FEATURE("avx512bf16")
  SWINV2_FEATURE("amx-tile")
  SWINV2_FEATURE("amx-bf16")
#undef SWINV2_FEATURE
#elif defined(__ARM_NEON)
  found.push_back("neon");
#endif
  return found;
}

Isa active_isa() {
  const int isa = forced.load();
  if (isa != kAuto) return static_cast<Isa>(isa);
  const char* asked = std::getenv("SWINV2_KERNELS_ISA");
  if (asked && *asked) return parse(asked, "SWINV2_KERNELS_ISA");
  return supported_isas().back();
}

void set_isa(const std::string& name) {
  forced.store(name.empty() ? kAuto : static_cast<int>(parse(name, "isa")));
}

}  // namespace swinv2
