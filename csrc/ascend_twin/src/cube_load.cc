// SPDX-License-Identifier: Apache-2.0
// Loading the cube unit: fractals of 16 rows of 32 B, plain, transposed, image to columns, constants.
#include <algorithm>

#include "cube_common.h"
#include "machine.h"

namespace ascend_twin {

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

void SetImage(Core& core, bool right, int64_t h, int64_t w, const uint8_t pad[4], const Where& where) {
  core.CheckStop();
  if (core.stopped()) return;
  if (h < 1 || w < 1 || h > 32767 || w > 32767) {
    core.Fail(Rule::kLoad3dState, "SetFmatrix", where,
              "l1H is " + std::to_string(h) + ", l1W " + std::to_string(w) + ", expected 1..32767");
    return;
  }
  Load3DState::Image& image = core.load3d.image[right];
  image.set = true;
  image.h = static_cast<uint16_t>(h), image.w = static_cast<uint16_t>(w);
  std::copy(pad, pad + 4, image.pad);
}

void SetLoad3DBoundary(Core& core, int64_t bytes, const Where& where) {
  core.CheckStop();
  if (core.stopped()) return;
  if (bytes && (bytes < 1024 || bytes > UINT32_MAX)) {
    core.Fail(Rule::kLoad3dState, "SetLoadDataBoundary", where,
              "the boundary is " + std::to_string(bytes) + ", expected 0 or at least 1024 bytes");
    return;
  }
  core.load3d.boundary = static_cast<uint32_t>(bytes);
}

void Load3D(Core& core, const char* name, const Place& dst, const Place& src, const Load3DCall& call,
            const Where& where) {
  core.CheckStop();
  if (core.stopped()) return;
  const Pipe pipe = Pipe::kMTE1;
  Load3DCall p = call;
  Load3DState& state = core.load3d;
  if (p.set_image) {
    state.image[0].set = true;
    state.image[0].h = static_cast<uint16_t>(p.h), state.image[0].w = static_cast<uint16_t>(p.w);
    std::copy(p.pad, p.pad + 4, state.image[0].pad);
  }
  if (p.set_padding) state.padding_set = true, state.padding = p.pad_bits;
  const Load3DState::Image& image = state.image[p.right];
  if (!image.set || !state.padding_set) {
    core.Fail(Rule::kLoad3dState, name, where,
              image.set ? "SetLoadDataPaddingValue was not called before"
                        : std::string("SetFmatrix was not called before for FMATRIX_") +
                              (p.right ? "RIGHT" : "LEFT") + ", which fMatrixCtrl selects",
              pipe);
    return;
  }
  p.h = image.h, p.w = image.w, p.pad_bits = state.padding;
  std::copy(image.pad, image.pad + 4, p.pad);
  const int64_t boundary = state.boundary;
  if (boundary && src.addr >= boundary) {
    core.Fail(Rule::kLoad3dState, name, where,
              "its source starts at byte " + N(src.addr) + " of L1, the boundary is " + N(state.boundary),
              pipe, Mem::kL1, src.addr);
    return;
  }
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
  // Transposed, lines come in sixteens; those beyond kExtension are blank.
  const uint32_t lines = dst.mem == Mem::kL0B || p.transpose ? (p.k_extension + 15) / 16 * 16 : p.k_extension;
  const uint32_t bytes = p.m_extension * lines * size;
  if (!CheckEnd(core, name, where, pipe, dst, dst.addr + p.m_extension * p.k_extension * size)) return;
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
  const int64_t start = src.addr + c1_first * plane + static_cast<int64_t>(first) * kBlock;
  const int64_t length = static_cast<int64_t>(last - first) * kBlock;
  Access source =
      Bursts(Mem::kL1, false, start, c1_last - c1_first + 1, static_cast<uint32_t>(length), plane);
  source.moved = true;
  if (boundary && start + (c1_last - c1_first) * plane + length > boundary) {
    instr.more = std::make_shared<std::vector<Access>>();
    for (uint32_t c1 = c1_first; c1 <= c1_last; ++c1)
      for (int64_t at = 0, take; at < length; at += take) {
        const int64_t from = (start + (c1 - c1_first) * plane + at) % boundary;
        take = std::min(length - at, boundary - from);
        Access part = Bursts(Mem::kL1, false, from, 1, static_cast<uint32_t>(take), 0);
        part.moved = true;
        instr.more->push_back(part);
      }
  } else {
    instr.Touch(source);
  }
  instr.Touch(Bursts(dst.mem, true, dst.addr, 1, bytes, 0));
  instr.repeats = bytes / kFractal;
  instr.bytes = bytes;
  instr.cycles = static_cast<double>(bytes) / 128 + 20;
  struct Job {
    Place dst, src;
    Load3DCall p;
    uint32_t size, c0, window, lines;
    int64_t plane, boundary;
  } job = {dst, src, p, size, c0, window, lines, plane, boundary};
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
      for (uint32_t j = 0; j < job.lines; ++j) {
        const uint32_t kk = (p.k_start + j) / job.c0, c1 = kk / job.window, f = kk % job.window;
        const int y =
            oy * static_cast<int>(p.stride_h) - p.pad[2] + static_cast<int>(f / p.filter_w * p.dilation_h);
        const int x =
            ox * static_cast<int>(p.stride_w) - p.pad[0] + static_cast<int>(f % p.filter_w * p.dilation_w);
        const uint8_t* value = reinterpret_cast<const uint8_t*>(&p.pad_bits);
        bool written = j < p.k_extension;
        if (written && y >= 0 && y < static_cast<int>(p.h) && x >= 0 && x < static_cast<int>(p.w)) {
          int64_t from = job.src.addr + c1 * job.plane + (static_cast<int64_t>(y) * p.w + x) * kBlock +
                         j % job.c0 * job.size;
          if (job.boundary) from %= job.boundary;
          value = k.At(Mem::kL1, from);
          written = k.Written(Mem::kL1, from);
        }
        size_t at;
        if (job.dst.mem == Mem::kL0B)  // Zn: fractals (m, k), their lines along k
          at = (static_cast<size_t>(i / job.c0) * (job.lines / 16) + j / 16) * kFractal + j % 16 * kBlock +
               i % job.c0 * job.size;
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

}  // namespace ascend_twin
