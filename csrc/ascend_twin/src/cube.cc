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
#include "machine.h"

#if defined(__x86_64__) && defined(__GNUC__)
#define ASCEND_TWIN_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define ASCEND_TWIN_CLONES
#endif

namespace ascend_twin {

namespace {

constexpr uint32_t kFractal = 512;  // bytes, in L0A, L0B and L1

std::string N(int64_t v) {
  return std::to_string(v);
}

bool CheckAddress(Core& core, const char* name, const Where& where, Pipe pipe, const Place& p, Mem want,
                  int align) {
  if (p.mem != want) {
    core.Fail(Rule::kWrongPosition, name, where,
              std::string("expects a tensor in ") + MemName(want) + ", got one in " + MemName(p.mem), pipe);
    return false;
  }
  if (p.addr % align) {
    core.Fail(Rule::kAlignment, name, where,
              "address " + N(p.addr) + " of " + MemName(p.mem) + " is not " + N(align) + " B aligned", pipe,
              p.mem, p.addr);
    return false;
  }
  return true;
}

bool CheckEnd(Core& core, const char* name, const Where& where, Pipe pipe, const Place& p, int64_t end) {
  if (!p.limit || end <= p.limit) return true;
  core.Fail(Rule::kTensorRange, name, where,
            "touches " + std::string(MemName(p.mem)) + " up to byte " + N(end) + ", but its buffer ends at " +
                N(p.limit),
            pipe, p.mem, end - 1);
  return false;
}

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

float Load(const uint8_t* p, DType type) {
  switch (type) {
    case DType::kHalf: {
      uint16_t h;
      std::memcpy(&h, p, 2);
      return HalfBitsToFloat(h);
    }
    case DType::kBf16: {
      uint16_t h;
      std::memcpy(&h, p, 2);
      return Bfloat16BitsToFloat(h);
    }
    case DType::kI8:
      return static_cast<float>(static_cast<int8_t>(*p));
    default: {
      float f;
      std::memcpy(&f, p, 4);
      return f;
    }
  }
}

}  // namespace

void Load2D(Core& core, const char* name, const Place& dst, const Place& src, const Load2DCall& p,
            const Where& where) {
  core.CheckStop();
  if (core.stopped()) return;
  const Pipe pipe = CopyPipe(core.soc(), src.mem, dst.mem);
  const bool to_l0 = dst.mem == Mem::kL0A || dst.mem == Mem::kL0B;
  if (pipe == Pipe::kS || (src.mem != Mem::kL1 && src.mem != Mem::kGM) || (!to_l0 && dst.mem != Mem::kL1)) {
    core.Fail(
        Rule::kWrongPosition, name, where,
        std::string("loads L0A or L0B from L1 or GM, not ") + MemName(dst.mem) + " from " + MemName(src.mem));
    return;
  }
  if (dst.addr % (to_l0 ? 512 : 32) || (src.mem == Mem::kL1 && src.addr % 32)) {
    core.Fail(Rule::kAlignment, name, where,
              "addresses " + N(dst.addr) + " of " + MemName(dst.mem) + " and " + N(src.addr) + " of " +
                  MemName(src.mem) + "; L0 is 512 B aligned, L1 32 B",
              pipe, dst.mem, dst.addr);
    return;
  }
  if (p.transpose && (SizeOf(dst.type) != 2 || src.mem != Mem::kL1)) {
    core.Fail(Rule::kNotOnChip, name, where, "ifTranspose works on 16-bit types from L1 only", pipe);
    return;
  }
  if (p.dst_gap && core.soc() == Soc::kAscend910) {
    core.Fail(Rule::kIgnoredParameter, name, where,
              "dstGap is " + N(p.dst_gap) + ", but ascend910 ignores it", pipe);
    return;
  }
  if (p.decreasing) {
    core.Fail(Rule::kIgnoredParameter, name, where, "addrMode is 1, which only GM to L1 heeds", pipe);
    return;
  }
  if (p.repeats == 0) return;
  Place from = src;
  from.addr += static_cast<int64_t>(p.start) * kFractal;
  Access s =
      Bursts(src.mem, false, from.addr, p.repeats, kFractal, static_cast<int64_t>(p.src_stride) * kFractal);
  s.gm = src.gm;
  s.moved = src.mem == Mem::kL1;
  Access d =
      Bursts(dst.mem, true, dst.addr, p.repeats, kFractal, static_cast<int64_t>(1 + p.dst_gap) * kFractal);
  if (!CheckEnd(core, name, where, pipe, dst,
                dst.addr + static_cast<int64_t>(p.repeats - 1) * (1 + p.dst_gap) * kFractal + kFractal) ||
      (src.mem == Mem::kL1 &&
       !CheckEnd(core, name, where, pipe, src,
                 from.addr + static_cast<int64_t>(p.repeats - 1) * p.src_stride * kFractal + kFractal)))
    return;
  Instr& instr = core.Begin(pipe, name, where);
  instr.Touch(s).Touch(d);
  instr.repeats = p.repeats;
  instr.bytes = static_cast<uint64_t>(p.repeats) * kFractal;
  instr.cycles = static_cast<double>(instr.bytes) / (core.soc() == Soc::kAscend910
                                                         ? (dst.mem == Mem::kL0A ? 512 : 256)
                                                         : (dst.mem == Mem::kL0A ? 256 : 128)) +
                 10;
  struct Job {
    Place from, dst;
    Load2DCall p;
    Access gm;
  } job = {from, dst, p, s};
  instr.run.Set([job](Core& k) {
    const uint8_t* in =
        job.from.mem == Mem::kGM ? k.GmAt(job.from.gm, job.from.addr) : k.At(job.from.mem, job.from.addr);
    uint8_t* out = k.At(job.dst.mem, job.dst.addr);
    for (uint32_t i = 0; i < job.p.repeats; ++i) {
      const uint8_t* f = in + static_cast<size_t>(i) * job.p.src_stride * kFractal;
      uint8_t* t = out + static_cast<size_t>(i) * (1 + job.p.dst_gap) * kFractal;
      const int64_t s = job.from.addr + static_cast<int64_t>(i) * job.p.src_stride * kFractal;
      const int64_t d = job.dst.addr + static_cast<int64_t>(i) * (1 + job.p.dst_gap) * kFractal;
      const bool whole = job.from.mem == Mem::kGM || k.AllWritten(job.from.mem, s, kFractal);
      if (!job.p.transpose) {
        std::memcpy(t, f, kFractal);
        if (!whole) k.MoveWritten(job.from.mem, s, job.dst.mem, d, kFractal);
        continue;
      }
      for (int e = 0; e < 256 && !whole; ++e)
        k.SetWritten(job.dst.mem, d + (e % 16 * 16 + e / 16) * 2, 2, k.Written(job.from.mem, s + e * 2));
      const uint16_t* a = reinterpret_cast<const uint16_t*>(f);
      uint16_t* b = reinterpret_cast<uint16_t*>(t);
      for (int r = 0; r < 16; ++r)
        for (int c = 0; c < 16; ++c) b[c * 16 + r] = a[r * 16 + c];
    }
    k.Count(job.from.mem, job.dst.mem, job.p.repeats, kFractal, job.from.mem == Mem::kGM ? &job.gm : nullptr);
  });
  core.Commit(instr);
}

void Load2DTranspose(Core& core, const char* name, const Place& dst, const Place& src,
                     const Load2DTransposeCall& p, const Where& where) {
  core.CheckStop();
  if (core.stopped()) return;
  const Pipe pipe = Pipe::kMTE1;
  if (!CheckAddress(core, name, where, pipe, src, Mem::kL1, 32)) return;
  if (dst.mem != Mem::kL0B && dst.mem != Mem::kL0A) {
    core.Fail(Rule::kWrongPosition, name, where, std::string("loads L0, not ") + MemName(dst.mem), pipe);
    return;
  }
  if (p.repeats == 0) return;
  // A square of 16 x 16 (16 bit, one fractal), 32 x 32 (8 bit, two) or 16 x 16 (32 bit, two), transposed.
  const uint32_t size = static_cast<uint32_t>(SizeOf(dst.type));
  const uint32_t fractals = size == 2 ? 1 : 2;
  const int64_t src_step = static_cast<int64_t>(p.src_stride) * fractals * kFractal;
  const int64_t dst_step = static_cast<int64_t>(1 + p.dst_gap) * kFractal;
  const int64_t frac_step = static_cast<int64_t>(1 + p.dst_frac_gap) * kFractal;
  const int64_t from = src.addr + static_cast<int64_t>(p.start) * fractals * kFractal;
  Instr& instr = core.Begin(pipe, name, where);
  Access source = Bursts(Mem::kL1, false, from, p.repeats, fractals * kFractal, src_step);
  source.moved = true;
  instr.Touch(source);
  for (uint32_t f = 0; f < fractals; ++f)
    instr.Touch(Bursts(dst.mem, true, dst.addr + f * frac_step, p.repeats, kFractal, dst_step));
  instr.repeats = p.repeats;
  instr.bytes = static_cast<uint64_t>(p.repeats) * fractals * kFractal;
  instr.cycles = static_cast<double>(instr.bytes) / 128 + 10;
  struct Job {
    Mem mem;
    int64_t from, to, src_step, dst_step, frac_step;
    uint32_t repeats, size, fractals;
  } job = {dst.mem, from, dst.addr, src_step, dst_step, frac_step, p.repeats, size, fractals};
  instr.run.Set([job](Core& k) {
    const uint32_t c0 = kBlock / job.size;
    const uint32_t side = job.size == 1 ? 32 : 16;
    for (uint32_t i = 0; i < job.repeats; ++i) {
      const uint8_t* in = k.At(Mem::kL1, job.from + i * job.src_step);
      uint8_t* out = k.At(job.mem, job.to + i * job.dst_step);
      // Source fractals: 8 bit stack by rows (16 x 32 each), 32 bit side by side (16 x 8 each).
      for (uint32_t r = 0; r < side; ++r)
        for (uint32_t c = 0; c < side; ++c) {
          const uint32_t sf = job.size == 1 ? r / 16 : c / c0;
          const uint8_t* e = in + sf * kFractal + (r % 16) * kBlock + (c % c0) * job.size;
          const uint32_t df = job.size == 1 ? c / 16 : r / c0;
          uint8_t* t = out + df * job.frac_step + (c % 16) * kBlock + (r % c0) * job.size;
          std::memcpy(t, e, job.size);
        }
      if (k.AllWritten(Mem::kL1, job.from + i * job.src_step, job.fractals * kFractal)) continue;
      for (uint32_t r = 0; r < side; ++r)
        for (uint32_t c = 0; c < side; ++c) {
          const uint32_t sf = job.size == 1 ? r / 16 : c / c0, df = job.size == 1 ? c / 16 : r / c0;
          const int64_t e =
              job.from + i * job.src_step + sf * kFractal + (r % 16) * kBlock + (c % c0) * job.size;
          const int64_t t =
              job.to + i * job.dst_step + df * job.frac_step + (c % 16) * kBlock + (r % c0) * job.size;
          k.SetWritten(job.mem, t, job.size, k.Written(Mem::kL1, e));
        }
    }
    k.Count(Mem::kL1, job.mem, job.repeats, job.fractals * kFractal, nullptr);
  });
  core.Commit(instr);
}

void Load3D(Core& core, const char* name, const Place& dst, const Place& src, const Load3DCall& p,
            const Where& where) {
  core.CheckStop();
  if (core.stopped()) return;
  const Pipe pipe = Pipe::kMTE1;
  if (!CheckAddress(core, name, where, pipe, src, Mem::kL1, 32)) return;
  if ((dst.mem != Mem::kL0A && dst.mem != Mem::kL0B) || dst.addr % 512) {
    core.Fail(dst.addr % 512 ? Rule::kAlignment : Rule::kWrongPosition, name, where,
              "writes L0A or L0B at a multiple of 512 B, not byte " + N(dst.addr) + " of " + MemName(dst.mem),
              pipe);
    return;
  }
  if (!p.h || !p.w || !p.channels || !p.k_extension || !p.m_extension || !p.filter_w || !p.filter_h ||
      !p.stride_w || !p.stride_h)
    return;
  const uint32_t size = static_cast<uint32_t>(SizeOf(dst.type)), c0 = kBlock / size;
  if (p.k_start % c0 || p.m_extension % 16 || p.k_extension % c0) {
    core.Fail(Rule::kDmaLimit, name, where,
              "kStartPt " + N(p.k_start) + ", kExtension " + N(p.k_extension) + ", mExtension " +
                  N(p.m_extension) + "; expected multiples of " + N(c0) + ", " + N(c0) + " and 16",
              pipe);
    return;
  }
  const uint32_t bytes = p.m_extension * p.k_extension * size;
  if (!CheckEnd(core, name, where, pipe, dst, dst.addr + bytes)) return;
  const int64_t plane = static_cast<int64_t>(p.h) * p.w * kBlock;
  const uint32_t window = p.filter_w * p.filter_h;
  const uint32_t c1_first = p.k_start / c0 / window,
                 c1_last = ((p.k_start + p.k_extension) / c0 - 1) / window;
  const bool pointwise =
      window == 1 && p.stride_w == 1 && p.stride_h == 1 && !(p.pad[0] | p.pad[1] | p.pad[2] | p.pad[3]);
  const uint32_t pixels = p.h * p.w;
  // Which part of the image a window touches is taken whole unless the filter is a point.
  const uint32_t first = pointwise ? std::min(p.m_start, pixels) : 0;
  const uint32_t last = pointwise ? std::min(p.m_start + p.m_extension, pixels) : pixels;
  Instr& instr = core.Begin(pipe, name, where);
  Access source = Bursts(Mem::kL1, false, src.addr + c1_first * plane + static_cast<int64_t>(first) * kBlock,
                         c1_last - c1_first + 1, (last - first) * kBlock, plane);
  source.moved = true;
  instr.Touch(source);
  instr.Touch(Bursts(dst.mem, true, dst.addr, 1, bytes, 0));
  instr.repeats = bytes / kFractal;
  instr.bytes = bytes;
  instr.cycles = static_cast<double>(bytes) / 128 + 20;
  struct Job {
    Place dst, src;
    Load3DCall p;
    uint32_t size, c0, window;
    int64_t plane;
  } job = {dst, src, p, size, c0, window, plane};
  instr.run.Set([job](Core& k) {
    const Load3DCall& p = job.p;
    const uint32_t k_blocks = p.k_extension / job.c0;
    const int out_w = (static_cast<int>(p.w) + p.pad[0] + p.pad[1] -
                       static_cast<int>(p.dilation_w * (p.filter_w - 1)) - 1) /
                          static_cast<int>(p.stride_w) +
                      1;
    uint8_t* out = k.At(job.dst.mem, job.dst.addr);
    for (uint32_t i = 0; i < p.m_extension; ++i) {
      const int m = static_cast<int>(p.m_start + i), oy = m / std::max(out_w, 1), ox = m % std::max(out_w, 1);
      for (uint32_t j = 0; j < p.k_extension; ++j) {
        const uint32_t kk = (p.k_start + j) / job.c0, c1 = kk / job.window, f = kk % job.window;
        const int y =
            oy * static_cast<int>(p.stride_h) - p.pad[2] + static_cast<int>(f / p.filter_w * p.dilation_h);
        const int x =
            ox * static_cast<int>(p.stride_w) - p.pad[0] + static_cast<int>(f % p.filter_w * p.dilation_w);
        const uint8_t* value = reinterpret_cast<const uint8_t*>(&p.pad_bits);
        bool written = true;
        if (y >= 0 && y < static_cast<int>(p.h) && x >= 0 && x < static_cast<int>(p.w)) {
          const int64_t from = job.src.addr + c1 * job.plane + (static_cast<int64_t>(y) * p.w + x) * kBlock +
                               j % job.c0 * job.size;
          value = k.At(Mem::kL1, from);
          written = k.Written(Mem::kL1, from);
        }
        size_t at;
        if (job.dst.mem == Mem::kL0B)  // Zn: fractals (m, k), their lines along k
          at = (static_cast<size_t>(i / job.c0) * (p.k_extension / 16) + j / 16) * kFractal +
               j % 16 * kBlock + i % job.c0 * job.size;
        else if (p.transpose)  // Zz of the transposed matrix
          at = (static_cast<size_t>(j / 16) * (p.m_extension / job.c0) + i / job.c0) * kFractal +
               j % 16 * kBlock + i % job.c0 * job.size;
        else
          at = (static_cast<size_t>(i / 16) * k_blocks + j / job.c0) * kFractal + i % 16 * kBlock +
               j % job.c0 * job.size;
        std::memcpy(out + at, value, job.size);
        if (!written) k.SetWritten(job.dst.mem, job.dst.addr + static_cast<int64_t>(at), job.size, false);
      }
    }
    k.Count(Mem::kL1, job.dst.mem, 1, p.m_extension * p.k_extension * job.size, nullptr);
  });
  core.Commit(instr);
}

void FillFractals(Core& core, const char* name, const Place& dst, uint32_t repeats, uint32_t blocks,
                  uint32_t gap, uint32_t bits, const Where& where) {
  core.CheckStop();
  if (core.stopped()) return;
  const bool l1 = dst.mem == Mem::kL1;
  const bool c100 = core.soc() == Soc::kAscend910;
  const Pipe pipe = l1 ? Pipe::kMTE2 : Pipe::kMTE1;
  if (dst.mem != Mem::kL0A && dst.mem != Mem::kL0B && !(l1 && !c100)) {
    core.Fail(Rule::kNotOnChip, name, where,
              std::string("cannot fill ") + MemName(dst.mem) + " on " + core.chip().name, pipe);
    return;
  }
  if (c100) {
    if (gap || blocks > 1)
      core.Fail(Rule::kIgnoredParameter, name, where, "ascend910 ignores blockNum and dstGap", pipe);
    blocks = 1;
    gap = 0;
  }
  const uint32_t unit = l1 ? kBlock : kFractal;
  if (dst.addr % unit) {
    core.Fail(Rule::kAlignment, name, where, "address " + N(dst.addr) + " is not " + N(unit) + " B aligned",
              pipe, dst.mem, dst.addr);
    return;
  }
  if (!repeats || !blocks) return;
  const int64_t stride = static_cast<int64_t>(blocks + gap) * unit;
  if (!CheckEnd(core, name, where, pipe, dst,
                dst.addr + (repeats - 1) * stride + static_cast<int64_t>(blocks) * unit))
    return;
  Instr& instr = core.Begin(pipe, name, where);
  instr.Touch(Bursts(dst.mem, true, dst.addr, repeats, blocks * unit, stride));
  instr.repeats = repeats;
  struct Job {
    Place dst;
    uint32_t repeats, bytes, bits;
    int64_t stride;
  } job = {dst, repeats, blocks * unit, bits, stride};
  instr.run.Set([job](Core& k) {
    for (uint32_t i = 0; i < job.repeats; ++i) {
      uint8_t* to = k.At(job.dst.mem, job.dst.addr + i * job.stride);
      for (uint32_t b = 0; b < job.bytes; b += 4) std::memcpy(to + b, &job.bits, 4);
    }
  });
  core.Commit(instr);
}

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

void SetNz2Nd(Core& core, uint32_t nd_num, uint32_t src_nd_stride, uint32_t dst_nd_stride) {
  core.nz2nd[0] = nd_num;
  core.nz2nd[1] = src_nd_stride;
  core.nz2nd[2] = dst_nd_stride;
}
void SetPreQuant(Core& core, uint64_t bits) {
  const uint32_t low = static_cast<uint32_t>(bits);
  std::memcpy(&core.pre_quant, &low, 4);
}
FixpipeCall Nz2NdOf(Core& core) {
  FixpipeCall call;
  call.nd_num = core.nz2nd[0];
  call.src_nd_stride = core.nz2nd[1];
  call.dst_nd_stride = core.nz2nd[2];
  call.scale = core.pre_quant;
  return call;
}

void FixpipeOp(Core& core, const char* name, const Place& dst, const Place& src, const FixpipeCall& p,
               const Where& where) {
  core.CheckStop();
  if (core.stopped()) return;
  const Pipe pipe = Pipe::kFIX;
  if (!CheckAddress(core, name, where, pipe, src, Mem::kL0C, 64)) return;
  if (dst.mem != Mem::kGM && dst.mem != Mem::kL1) {
    core.Fail(Rule::kNotOnChip, name, where, std::string("Fixpipe writes GM or L1, not ") + MemName(dst.mem),
              pipe);
    return;
  }
  if (dst.mem == Mem::kGM ? dst.gm == 0xffff : dst.addr % 32 != 0) {
    core.Fail(dst.mem == Mem::kGM ? Rule::kGmUnknown : Rule::kAlignment, name, where,
              "bad destination address", pipe);
    return;
  }
  const uint32_t max_n = p.row_major ? 4095 : 4096;
  if (p.n > max_n || p.m > (p.row_major ? 8192u : 65535u) || (!p.row_major && p.n % 8)) {
    core.Fail(Rule::kDmaLimit, name, where,
              "nSize " + N(p.n) + " and mSize " + N(p.m) +
                  "; expected nSize <= 4095 (a multiple of 16 without NZ2ND, of 8 with channel split), mSize "
                  "<= 8192",
              pipe);
    return;
  }
  if (!p.n || !p.m || !p.nd_num) return;
  const bool wants = dst.type == DType::kHalf   ? p.quant == 1 || p.quant == 5
                     : dst.type == DType::kBf16 ? p.quant == 16
                                                : true;
  if (!wants) {
    core.Fail(Rule::kNotOnChip, name, where, "quantPre does not convert to the data type of the destination",
              pipe);
    return;
  }
  // Channel split leaves float columns of 8 instead of 16.
  const uint32_t width = p.channel_split && !p.row_major && dst.type == DType::kFloat ? 8 : 16;
  const uint32_t size = static_cast<uint32_t>(SizeOf(dst.type)), columns = (p.n + 15) / 16,
                 out_columns = (p.n + width - 1) / width;
  if (dst.mem == Mem::kL1 && !p.row_major &&
      !CheckEnd(
          core, name, where, pipe, dst,
          dst.addr + static_cast<int64_t>(out_columns - 1) * p.dst_stride * kBlock + p.m * width * size))
    return;
  if (!CheckEnd(core, name, where, pipe, src,
                src.addr + static_cast<int64_t>(columns - 1) * p.src_stride * 64 + p.m * 64))
    return;
  const uint32_t nds = p.row_major ? p.nd_num : 1;
  for (uint32_t nd = 0; nd < nds; ++nd) {
    Instr& instr = core.Begin(pipe, name, where);
    Place s = src, d = dst;
    s.addr += static_cast<int64_t>(nd) * p.src_nd_stride * 1024;
    d.addr += static_cast<int64_t>(nd) * p.dst_nd_stride * size;
    instr.Touch(Bursts(Mem::kL0C, false, s.addr, columns, p.m * 64, static_cast<int64_t>(p.src_stride) * 64));
    Access w = p.row_major
                   ? Bursts(d.mem, true, d.addr, p.m, p.n * size, static_cast<int64_t>(p.dst_stride) * size)
                   : Bursts(d.mem, true, d.addr, out_columns, p.m * width * size,
                            static_cast<int64_t>(p.dst_stride) * kBlock);
    w.gm = d.gm;
    w.atomic = d.mem == Mem::kGM && core.atomic != AtomicOp::kNone;
    instr.Touch(w);
    instr.bytes = static_cast<uint64_t>(p.m) * p.n * size;
    instr.cycles = static_cast<double>(instr.bytes) / 41 + 30;
    struct Job {
      Place s, d;
      FixpipeCall p;
      uint32_t size, columns, width;
      AtomicOp op;
      Access gm;
    } job = {s, d, p, size, out_columns, width, d.mem == Mem::kGM ? core.atomic : AtomicOp::kNone, w};
    instr.run.Set([job](Core& k) {
      const uint8_t* from = k.At(Mem::kL0C, job.s.addr);
      uint8_t* to = job.d.mem == Mem::kGM ? k.GmAt(job.d.gm, job.d.addr) : k.At(job.d.mem, job.d.addr);
      for (uint32_t i = 0; i < job.p.m; ++i)
        for (uint32_t t = 0; t < (job.p.row_major ? job.p.n : job.columns * job.width); ++t) {
          const uint8_t* e =
              from + static_cast<size_t>(t / 16) * job.p.src_stride * 64 + i * 64 + (t % 16) * 4;
          uint8_t* o =
              to + (job.p.row_major ? (static_cast<size_t>(i) * job.p.dst_stride + t) * job.size
                                    : static_cast<size_t>(t / job.width) * job.p.dst_stride * kBlock +
                                          (i * job.width + t % job.width) * job.size);
          if (job.s.type == DType::kI32) {
            int32_t v;
            std::memcpy(&v, e, 4);
            if (job.p.relu && v < 0) v = 0;
            if (job.d.type == DType::kI32) {
              std::memcpy(o, &v, 4);
            } else if (job.d.type == DType::kHalf) {
              const uint16_t h = FloatToHalfBits(static_cast<float>(v) * job.p.scale);
              std::memcpy(o, &h, 2);
            } else {
              const float q = std::nearbyint(static_cast<float>(v) * job.p.scale);
              *o = job.d.type == DType::kI8
                       ? static_cast<uint8_t>(static_cast<int8_t>(std::min(127.f, std::max(-128.f, q))))
                       : static_cast<uint8_t>(std::min(255.f, std::max(0.f, q)));
            }
            continue;
          }
          float v;
          std::memcpy(&v, e, 4);
          if (job.p.relu && v < 0) v = 0;
          if (job.d.type == DType::kFloat) {
            if (job.op == AtomicOp::kAdd) {
              float old;
              std::memcpy(&old, o, 4);
              v += old;
            }
            std::memcpy(o, &v, 4);
          } else {
            float old = 0;
            if (job.op == AtomicOp::kAdd) old = Load(o, job.d.type);
            uint16_t h = job.d.type == DType::kHalf ? FloatToHalfBits(v) : FloatToBfloat16Bits(v);
            if (job.op == AtomicOp::kAdd) {
              const float rounded = job.d.type == DType::kHalf ? HalfBitsToFloat(h) : Bfloat16BitsToFloat(h);
              h = job.d.type == DType::kHalf ? FloatToHalfBits(rounded + old)
                                             : FloatToBfloat16Bits(rounded + old);
            }
            std::memcpy(o, &h, 2);
          }
        }
      k.Count(Mem::kL0C, job.d.mem, job.p.row_major ? job.p.m : job.columns,
              job.p.row_major ? job.p.n * job.size : job.p.m * job.width * job.size,
              job.d.mem == Mem::kGM ? &job.gm : nullptr);
    });
    core.Commit(instr);
  }
}

}  // namespace ascend_twin
