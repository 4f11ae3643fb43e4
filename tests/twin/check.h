// SPDX-License-Identifier: Apache-2.0
// The frame of the twin's tests: named tests, and rules broken and repaired under every seed.
#pragma once

#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "kernel_operator.h"

namespace twin_test {

using ascend_twin::Gm;
using ascend_twin::KernelType;
using ascend_twin::LaunchOptions;
using ascend_twin::Report;
using ascend_twin::Rule;

constexpr int kSeeds = 16;  // four schedulers, twice sequential and twice mixed cores

struct Test {
  const char* name;
  void (*run)();
};
inline std::vector<Test>& Tests() {
  static std::vector<Test> tests;
  return tests;
}
inline int& Failures() {
  static int failures = 0;
  return failures;
}
struct Register {
  Register(const char* name, void (*run)()) { Tests().push_back({name, run}); }
};

#define TWIN_TEST(name)                                          \
  static void name();                                            \
  static const twin_test::Register register_##name(#name, name); \
  static void name()

#define CHECK(condition, ...)                                              \
  do {                                                                     \
    if (!(condition)) {                                                    \
      ++twin_test::Failures();                                             \
      std::printf("%s:%d: %s is false; ", __FILE__, __LINE__, #condition); \
      std::printf(__VA_ARGS__);                                            \
      std::printf("\n");                                                   \
    }                                                                      \
  } while (0)

// in: 8192 floats 0, 1, 2, ... ; out: 8192 floats; workspace: 64 KB, zeroed: 4 KB.
struct Tensors {
  uint8_t *in, *out, *workspace, *zeroed;
};
using Kernel = std::function<void(Tensors)>;
constexpr int kFloats = 8192;

inline Report RunOnce(const Kernel& kernel, LaunchOptions options, std::vector<float>* result = nullptr) {
  std::vector<float> in(kFloats), out(kFloats);
  for (int i = 0; i < kFloats; ++i) in[static_cast<size_t>(i)] = static_cast<float>(i);
  Gm gm;
  Tensors t;
  t.in = gm.Input("in", in.data(), kFloats * 4);
  t.out = gm.Output("out", out.data(), kFloats * 4);
  t.workspace = gm.Workspace("workspace", 65536);
  t.zeroed = gm.ZeroedWorkspace("zeroed", 4096);
  Report r = AscendC::RunKernel(options, gm, [&] { kernel(t); });
  if (result) *result = out;
  return r;
}

inline void ExpectClean(const char* what, const Kernel& kernel, const LaunchOptions& options = {}) {
  for (int seed = 0; seed < kSeeds; ++seed) {
    LaunchOptions o = options;
    o.seed = static_cast<uint64_t>(seed);
    const Report r = RunOnce(kernel, o);
    CHECK(r.ok(), "%s, seed %d: %s", what, seed, r.errors[0].ToString().c_str());
    if (!r.ok()) return;
  }
}

// The broken kernel is caught with exactly this rule under every seed, its repaired sibling passes.
inline void ExpectRule(Rule rule, const Kernel& broken, const Kernel& repaired,
                       const LaunchOptions& options = {}) {
  for (int seed = 0; seed < kSeeds; ++seed) {
    LaunchOptions o = options;
    o.seed = static_cast<uint64_t>(seed);
    const Report r = RunOnce(broken, o);
    CHECK(!r.ok(), "seed %d: the broken kernel passed, expected %s", seed, RuleName(rule));
    if (r.ok()) return;
    CHECK(r.errors.size() == 1 && r.errors[0].rule == rule, "seed %d: expected %s, got %s", seed,
          RuleName(rule), r.errors[0].ToString().c_str());
    if (r.errors[0].rule != rule) return;
  }
  if (repaired) ExpectClean("repaired", repaired, options);
}

inline int Main(int argc, char** argv) {
  int ran = 0;
  for (const Test& t : Tests()) {
    if (argc > 1 && std::strcmp(argv[1], "--list") == 0) {
      std::printf("%s\n", t.name);
      continue;
    }
    if (argc > 1 && std::strcmp(argv[1], t.name) != 0) continue;
    const int before = Failures();
    t.run();
    ++ran;
    std::printf("%s %s\n", Failures() == before ? "PASS" : "FAIL", t.name);
  }
  return Failures() ? 1 : 0;
}

}  // namespace twin_test

using namespace AscendC;
using namespace twin_test;
