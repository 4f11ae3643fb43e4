// SPDX-License-Identifier: Apache-2.0
// The cube unit on its physical layouts: L0A Zz, L0B Zn, L0C Nz, fractals of 16 rows of 32 B (L0C: 16
// elements).
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "ascend_twin/copy_ops.h"
#include "ascend_twin/half.h"
#include "cube_common.h"
#include "machine.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define ASCEND_TWIN_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define ASCEND_TWIN_CLONES
#endif

namespace ascend_twin {

namespace {

Access Rows(Mem mem, int64_t addr, uint32_t count, int64_t stride, uint32_t rows, uint32_t bytes) {
  Access a;
  a.mem = mem;
  a.addr = addr;
  a.count = rows ? count : 0;
  a.stride = stride;
  a.blocks = static_cast<uint16_t>(rows);
  a.block_stride = kBlock;
  a.block_bytes = bytes;
  return a;
}

// What Mmad reads of a matrix of `outer` x `inner` fractals: `lines` valid lines (16 a fractal, along
// `lines_outer`) of `k` valid elements.
void TouchMatrix(Instr& instr, const Place& p, uint32_t lines, uint32_t k, uint32_t c0, uint32_t size,
                 bool lines_outer, uint32_t k_blocks) {
  const uint32_t line_blocks = (lines + 15) / 16;
  const uint32_t full = lines / 16, part = lines % 16, k_full = k / c0, k_part = (k % c0) * size;
  const int64_t line_step = lines_outer ? static_cast<int64_t>(k_blocks) * kFractal : kFractal;
  const int64_t k_step = lines_outer ? kFractal : static_cast<int64_t>(line_blocks) * kFractal;
  auto bursts = [&](int64_t addr, uint32_t count, uint32_t len, int64_t stride) {
    if (count && len) instr.Touch(Bursts(p.mem, false, addr, count, len, stride));
  };
  if (lines_outer) {
    bursts(p.addr, full, k_full * kFractal, line_step);
    bursts(p.addr + full * line_step, part ? k_full : 0, part * kBlock, k_step);
  } else {
    bursts(p.addr, k_full, full * kFractal, k_step);
    bursts(p.addr + full * line_step, part ? k_full : 0, part * kBlock, k_step);
  }
  if (k_part) {
    const int64_t tail = p.addr + k_full * k_step;
    if (full) instr.Touch(Rows(p.mem, tail, full, line_step, 16, k_part));
    if (part) instr.Touch(Rows(p.mem, tail + full * line_step, 1, 0, part, k_part));
  }
}

// c (m, n) += a (m, k) x b (k, n), in the order of k.
ASCEND_TWIN_CLONES void MultiplyFloat(float* __restrict c, const float* __restrict a,
                                      const float* __restrict b, int m, int n, int k) {
  for (int i = 0; i < m; ++i) {
    float* __restrict row = c + static_cast<size_t>(i) * n;
    for (int j = 0; j < k; ++j) {
      const float x = a[static_cast<size_t>(i) * k + j];
      const float* __restrict y = b + static_cast<size_t>(j) * n;
      for (int t = 0; t < n; ++t) row[t] += x * y[t];
    }
  }
}

}  // namespace

void MmadOp(Core& core, const MmadCall& p, const Where& where) {
  core.CheckStop();
  if (core.stopped()) return;
  const char* name = "Mmad";
  const Pipe pipe = Pipe::kM;
  const bool half_c = p.c.type == DType::kHalf;
  if (p.m > 4095 || p.n > 4095 || p.k > 4095) {
    core.Fail(Rule::kMmadRange, name, where,
              "m, n, k are " + N(p.m) + ", " + N(p.n) + ", " + N(p.k) + ", expected at most 4095 each", pipe);
    return;
  }
  if (p.m == 1 && !core.machine.options.allow_gemv) {
    core.Fail(Rule::kMmadGemv, name, where,
              "m is 1: the unit would read A as one row of " + N(p.k) +
                  " elements instead of fractals; pad m to 2 or more",
              pipe);
    return;
  }
  if (!CheckAddress(core, name, where, pipe, p.c, Mem::kL0C, half_c ? 512 : 1024) ||
      !CheckAddress(core, name, where, pipe, p.a, Mem::kL0A, 512) ||
      !CheckAddress(core, name, where, pipe, p.b, Mem::kL0B, 512))
    return;
  if (p.has_bias && !CheckAddress(core, name, where, pipe, p.bias, Mem::kBias, 64)) return;
  if (!p.m || !p.n || !p.k) return;
  const uint32_t size = static_cast<uint32_t>(SizeOf(p.a.type)), c0 = kBlock / size,
                 c_size = static_cast<uint32_t>(SizeOf(p.c.type));
  const uint32_t m1 = (p.m + 15) / 16, n1 = (p.n + 15) / 16,
                 k1 = p.align_k && size == 4 ? (p.k + 15) / 16 * 2 : (p.k + c0 - 1) / c0;
  const bool gemv = p.m == 1;
  if (!CheckEnd(core, name, where, pipe, p.a,
                p.a.addr + (gemv ? p.k * size : static_cast<int64_t>(m1) * k1 * kFractal)) ||
      !CheckEnd(core, name, where, pipe, p.b,
                p.b.addr + static_cast<int64_t>(n1) * ((p.k + c0 - 1) / c0) * kFractal) ||
      !CheckEnd(core, name, where, pipe, p.c, p.c.addr + static_cast<int64_t>(m1) * n1 * 256 * c_size))
    return;
  Instr& instr = core.Begin(pipe, name, where);
  if (gemv)
    instr.Touch(Bursts(Mem::kL0A, false, p.a.addr, 1, p.k * size, 0));
  else
    TouchMatrix(instr, p.a, p.m, p.k, c0, size, true, k1);
  TouchMatrix(instr, p.b, p.n, p.k, c0, size, false, k1);
  // The unit writes whole fractals; large tiles are kept in order by the unit itself.
  Access c = Bursts(Mem::kL0C, false, p.c.addr, 1, m1 * n1 * 256 * c_size, 0);
  c.same_pipe_ordered = (p.m / 16) * (p.n / 16) >= 10;
  if (!p.init) instr.Touch(c);
  c.write = true;
  instr.Touch(c);
  if (p.has_bias)
    instr.Touch(
        Bursts(Mem::kBias, false, p.bias.addr, 1, p.n * static_cast<uint32_t>(SizeOf(p.bias.type)), 0));
  instr.repeats = m1 * n1 * k1;
  instr.cycles = static_cast<double>(m1) * n1 * k1 * (p.a.type == DType::kFloat ? 2 : 1) + 6;
  const MmadCall call = p;
  instr.run.Set([call, c0, size, m1, n1, k1](Core& k) {
    const int m = static_cast<int>(call.m), n = static_cast<int>(call.n), kk = static_cast<int>(call.k);
    static thread_local std::vector<float> a, b, c;
    a.resize(static_cast<size_t>(m) * kk);
    b.resize(static_cast<size_t>(kk) * n);
    c.assign(static_cast<size_t>(m) * n, 0.f);
    const uint8_t* pa = k.At(Mem::kL0A, call.a.addr);
    const uint8_t* pb = k.At(Mem::kL0B, call.b.addr);
    uint8_t* pc = k.At(Mem::kL0C, call.c.addr);
    for (int i = 0; i < m; ++i)
      for (int j = 0; j < kk; ++j) {
        const size_t at = m == 1 ? static_cast<size_t>(j) * size
                                 : (static_cast<size_t>(i / 16) * k1 + j / c0) * kFractal +
                                       (i % 16) * kBlock + (j % c0) * size;
        a[static_cast<size_t>(i) * kk + j] = Load(pa + at, call.a.type);
      }
    for (int j = 0; j < kk; ++j)
      for (int t = 0; t < n; ++t) {
        const size_t at =
            (static_cast<size_t>(j / c0) * n1 + t / 16) * kFractal + (t % 16) * kBlock + (j % c0) * size;
        b[static_cast<size_t>(j) * n + t] = Load(pb + at, call.b.type);
      }
    auto c_at = [&](int i, int t) {
      return (static_cast<size_t>(t / 16) * m1 + i / 16) * 256 + (i % 16) * 16 + t % 16;
    };
    if (call.c.type == DType::kI32) {
      // int8 products: the float sums above would round beyond 2^24.
      int32_t* out = reinterpret_cast<int32_t*>(pc);
      for (int i = 0; i < m; ++i)
        for (int t = 0; t < n; ++t) {
          int64_t sum = call.init ? 0 : out[c_at(i, t)];
          if (call.has_bias) sum = reinterpret_cast<const int32_t*>(k.At(Mem::kBias, call.bias.addr))[t];
          for (int j = 0; j < kk; ++j)
            sum += static_cast<int32_t>(a[static_cast<size_t>(i) * kk + j]) *
                   static_cast<int32_t>(b[static_cast<size_t>(j) * n + t]);
          out[c_at(i, t)] = static_cast<int32_t>(
              std::min<int64_t>(std::max<int64_t>(sum, std::numeric_limits<int32_t>::min()),
                                std::numeric_limits<int32_t>::max()));
        }
      return;
    }
    const bool half_c = call.c.type == DType::kHalf;
    float* out = reinterpret_cast<float*>(pc);
    uint16_t* out_half = reinterpret_cast<uint16_t*>(pc);
    if (!call.init)
      for (int i = 0; i < m; ++i)
        for (int t = 0; t < n; ++t)
          c[static_cast<size_t>(i) * n + t] =
              half_c ? HalfBitsToFloat(out_half[c_at(i, t)]) : out[c_at(i, t)];
    if (call.has_bias)
      for (int i = 0; i < m; ++i)
        for (int t = 0; t < n; ++t)
          c[static_cast<size_t>(i) * n + t] =
              Load(k.At(Mem::kBias, call.bias.addr) + t * SizeOf(call.bias.type), call.bias.type);
    MultiplyFloat(c.data(), a.data(), b.data(), m, n, kk);
    for (int t = 0; t < static_cast<int>(n1) * 16; ++t)
      for (int i = 0; i < static_cast<int>(m1) * 16; ++i) {
        // Lanes outside (m, n) hold whatever the fractal's unused rows gave: NaN here.
        const float v =
            i < m && t < n ? c[static_cast<size_t>(i) * n + t] : std::numeric_limits<float>::quiet_NaN();
        if (half_c)
          out_half[c_at(i, t)] = FloatToHalfBits(v);
        else
          out[c_at(i, t)] = v;
      }
  });
  core.Commit(instr);
}

}  // namespace ascend_twin
