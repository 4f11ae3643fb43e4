// SPDX-License-Identifier: Apache-2.0
#include "cpu/peak.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <string>

#include "core/error.h"
#include "cpu/isa.h"
#include "cpu/parallel.h"

namespace swinv2 {

SWINV2_PER_ISA(double peak_flops(int64_t steps);
               float peak_multiply_add(int64_t steps, float factor, float term);
               void peak_copy(float* a, const float* b, int64_t begin, int64_t end);
               void peak_triad(float* a, const float* b, const float* c, float s, int64_t begin,
                               int64_t end);)

namespace {

double flops(int64_t steps) {
  SWINV2_DISPATCH(peak_flops(steps));
}
float multiply_add(int64_t steps) {
  SWINV2_DISPATCH(peak_multiply_add(steps, 0.999f, 1e-3f));
}
void copy(float* a, const float* b, int64_t begin, int64_t end) {
  SWINV2_DISPATCH(peak_copy(a, b, begin, end));
}
void triad(float* a, const float* b, const float* c, int64_t begin, int64_t end) {
  SWINV2_DISPATCH(peak_triad(a, b, c, 3.f, begin, end));
}

template <class F>
double seconds(F&& f) {
  const auto start = std::chrono::steady_clock::now();
  f();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

constexpr int64_t kSteps = int64_t{1} << 18;   // about 1 ms
constexpr int64_t kFloats = int64_t{1} << 24;  // 64 MiB an array
constexpr int64_t kGrain = int64_t{1} << 18;

}  // namespace

Peaks measure_peaks(int repetitions) {
  if (repetitions < 1)
    throw InvalidArgument("repetitions: expected at least 1, got " + std::to_string(repetitions));
  const int64_t threads = num_threads();
  std::atomic<float> sink{0.f};
  Peaks peaks;

  const auto compute = [&](int64_t steps) {
    return seconds([&] {
      parallel_for(threads, 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) sink.store(multiply_add(steps));
      });
    });
  };
  compute(16 * kSteps);  // wake the threads and the clock
  for (int r = 0; r < repetitions; ++r)
    peaks.gflops.push_back(double(threads) * flops(kSteps) / compute(kSteps) * 1e-9);

  std::vector<float> a(kFloats, 0.f), b(kFloats, 1.f), c(kFloats, 2.f);
  const auto stream = [&](double arrays, const std::function<void(int64_t, int64_t)>& body) {
    return arrays * 4.0 * double(kFloats) / seconds([&] { parallel_for(kFloats, kGrain, body); }) * 1e-9;
  };
  for (int r = 0; r < repetitions; ++r) {
    peaks.copy.push_back(
        stream(2, [&](int64_t begin, int64_t end) { copy(a.data(), b.data(), begin, end); }));
    peaks.triad.push_back(
        stream(3, [&](int64_t begin, int64_t end) { triad(a.data(), b.data(), c.data(), begin, end); }));
  }
  return peaks;
}

}  // namespace swinv2
