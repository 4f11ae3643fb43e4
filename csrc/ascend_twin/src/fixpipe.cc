// SPDX-License-Identifier: Apache-2.0
// Fixpipe: L0C to GM or L1, converting, quantising and untangling Nz on the way.
#include <algorithm>
#include <cmath>
#include <string>

#include "ascend_twin/copy_ops.h"
#include "ascend_twin/half.h"
#include "cube_common.h"
#include "machine.h"

namespace ascend_twin {

namespace {

// QuantMode_t.
constexpr uint8_t kToHalf = 1, kVReq8 = 2, kReq8 = 3, kVDeqF16 = 4, kDeqF16 = 5, kToBf16 = 16, kVQuantB8 = 23,
                  kQuantB8 = 24;

bool Converts(uint8_t quant, DType src, DType dst) {
  const bool integer = src == DType::kI32;
  switch (dst) {
    case DType::kHalf:
      return integer ? quant == kDeqF16 || quant == kVDeqF16 : quant == kToHalf;
    case DType::kBf16:
      return !integer && quant == kToBf16;
    case DType::kI8:
    case DType::kU8:
      return integer ? quant == kReq8 || quant == kVReq8 : quant == kQuantB8 || quant == kVQuantB8;
    default:
      return quant == 0;
  }
}

int32_t LoadInt(const uint8_t* p) {
  int32_t v;
  std::memcpy(&v, p, 4);
  return v;
}

// A factor: bits 31..13 a float without its low mantissa, 45..37 an offset of nine bits, 46 whether the
// result is signed; the last two for 8-bit results.
void Quantise(float v, uint64_t factor, DType type, uint8_t* to) {
  const uint32_t bits = static_cast<uint32_t>(factor) & 0xffffe000u;
  float scale;
  std::memcpy(&scale, &bits, 4);
  v *= scale;
  if (type == DType::kHalf) {
    const uint16_t h = FloatToHalfBits(v);
    std::memcpy(to, &h, 2);
    return;
  }
  int offset = static_cast<int>(factor >> 37 & 0x1ff);
  if (offset > 255) offset -= 512;
  const int rounded =
      std::isnan(v) ? 0 : static_cast<int>(std::min(255.f, std::max(-256.f, std::nearbyint(v))));
  const int q = rounded + offset;
  *to = type == DType::kI8 ? static_cast<uint8_t>(static_cast<int8_t>(std::min(127, std::max(-128, q))))
                           : static_cast<uint8_t>(std::min(255, std::max(0, q)));
}

constexpr uint32_t kMatrices = 4;

struct Job {
  Place s, d;
  FixpipeCall p;
  uint32_t size, columns, width, matrices;
  bool by_column;
  AtomicOp op;
  Access gm;  // of the first matrix
};

// Matrix `index` of a job.
void Convert(Core& k, const Job& job, uint32_t index) {
  const FixpipeCall& p = job.p;
  const uint8_t* from = k.At(Mem::kL0C, job.s.addr + static_cast<int64_t>(index) * p.src_nd_stride * 1024);
  const int64_t first = job.d.addr + static_cast<int64_t>(index) * p.dst_nd_stride * job.size;
  uint8_t* to = job.d.mem == Mem::kGM ? k.GmAt(job.d.gm, first) : k.At(job.d.mem, first);
  for (uint32_t i = 0; i < p.m; ++i)
    for (uint32_t t = 0; t < (p.row_major ? p.n : job.columns * job.width); ++t) {
      const uint8_t* e = from + static_cast<size_t>(t / 16) * p.src_stride * 64 + i * 64 + (t % 16) * 4;
      uint8_t* o = to + (p.row_major ? (static_cast<size_t>(i) * p.dst_stride + t) * job.size
                                     : static_cast<size_t>(t / job.width) * p.dst_stride * kBlock +
                                           (i * job.width + t % job.width) * job.size);
      if (job.s.type == DType::kI32 && job.d.type == DType::kI32) {
        const int32_t v = p.relu ? std::max(0, LoadInt(e)) : LoadInt(e);
        std::memcpy(o, &v, 4);
        continue;
      }
      float v = 0;
      if (t < (p.n + 15) / 16 * 16)  // else of a column of 32 half filled
        v = job.s.type == DType::kI32 ? static_cast<float>(LoadInt(e)) : Load(e, DType::kFloat);
      if (p.relu && v < 0) v = 0;
      if (p.quant > kToHalf && p.quant != kToBf16) {
        uint64_t factor = p.factor;
        if (job.by_column && t < p.n)
          std::memcpy(&factor, k.At(p.table.mem, p.table.addr) + size_t{t} * 8, 8);
        Quantise(v, factor, job.d.type, o);
        continue;
      }
      const bool add = job.op == AtomicOp::kAdd;
      if (job.d.type == DType::kFloat) {
        if (add) v += Load(o, DType::kFloat);
        std::memcpy(o, &v, 4);
        continue;
      }
      const bool half = job.d.type == DType::kHalf;
      uint16_t h = half ? FloatToHalfBits(v) : FloatToBfloat16Bits(v);
      if (add) {
        const float sum = (half ? HalfBitsToFloat(h) : Bfloat16BitsToFloat(h)) + Load(o, job.d.type);
        h = half ? FloatToHalfBits(sum) : FloatToBfloat16Bits(sum);
      }
      std::memcpy(o, &h, 2);
    }
}

}  // namespace

void SetNz2Nd(Core& core, uint32_t nd_num, uint32_t src_nd_stride, uint32_t dst_nd_stride) {
  core.nz2nd[0] = nd_num;
  core.nz2nd[1] = src_nd_stride;
  core.nz2nd[2] = dst_nd_stride;
}
void SetPreQuant(Core& core, uint64_t bits) {
  core.pre_quant = bits;
}
void SetQuantTable(Core& core, const Place& table) {
  core.quant_table = table.addr;
}
FixpipeCall Nz2NdOf(Core& core) {
  FixpipeCall call;
  call.nd_num = core.nz2nd[0];
  call.src_nd_stride = core.nz2nd[1];
  call.dst_nd_stride = core.nz2nd[2];
  call.factor = core.pre_quant;
  call.table.mem = Mem::kFixbuf;
  call.table.type = DType::kU64;
  call.table.addr = core.quant_table;
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
  if (!Converts(p.quant, src.type, dst.type)) {
    core.Fail(Rule::kNotOnChip, name, where, "quantPre does not convert to the data type of the destination",
              pipe);
    return;
  }
  const bool by_column = p.quant == kVDeqF16 || p.quant == kVReq8 || p.quant == kVQuantB8;
  if (by_column && p.table.mem != Mem::kL1 && p.table.mem != Mem::kFixbuf) {
    core.Fail(Rule::kWrongPosition, name, where,
              "quantPre wants a factor a column: a tensor of uint64 in C1, or SetFixPipeConfig", pipe);
    return;
  }
  // Channel split leaves float columns of 8 instead of 16.
  const uint32_t size = static_cast<uint32_t>(SizeOf(dst.type)),
                 width = p.channel_split && !p.row_major && dst.type == DType::kFloat ? 8
                         : size == 1                                                  ? 32
                                                                                      : 16;
  const uint32_t columns = (p.n + 15) / 16, out_columns = (p.n + width - 1) / width;
  if (dst.mem == Mem::kL1 && !p.row_major &&
      !CheckEnd(
          core, name, where, pipe, dst,
          dst.addr + static_cast<int64_t>(out_columns - 1) * p.dst_stride * kBlock + p.m * width * size))
    return;
  if (!CheckEnd(core, name, where, pipe, src,
                src.addr + static_cast<int64_t>(columns - 1) * p.src_stride * 64 + p.m * 64))
    return;
  const uint32_t nds = p.row_major ? p.nd_num : 1;
  // Matrices of one call may meet in a block of GM: as few instructions as accesses allow.
  for (uint32_t nd = 0; nd < nds; nd += kMatrices) {
    const uint32_t matrices = std::min(kMatrices, nds - nd);
    Instr& instr = core.Begin(pipe, name, where);
    Job job = {src,      dst,         p,
               size,     out_columns, width,
               matrices, by_column,   dst.mem == Mem::kGM ? core.atomic : AtomicOp::kNone,
               {}};
    job.s.addr += static_cast<int64_t>(nd) * p.src_nd_stride * 1024;
    job.d.addr += static_cast<int64_t>(nd) * p.dst_nd_stride * size;
    for (uint32_t i = 0; i < matrices; ++i) {
      instr.Touch(Bursts(Mem::kL0C, false, job.s.addr + static_cast<int64_t>(i) * p.src_nd_stride * 1024,
                         columns, p.m * 64, static_cast<int64_t>(p.src_stride) * 64));
      const int64_t to = job.d.addr + static_cast<int64_t>(i) * p.dst_nd_stride * size;
      Access w = p.row_major
                     ? Bursts(dst.mem, true, to, p.m, p.n * size, static_cast<int64_t>(p.dst_stride) * size)
                     : Bursts(dst.mem, true, to, out_columns, p.m * width * size,
                              static_cast<int64_t>(p.dst_stride) * kBlock);
      w.gm = dst.gm;
      w.atomic = dst.mem == Mem::kGM ? core.AtomicKind() : 0;
      if (i == 0) job.gm = w;
      instr.Touch(w);
    }
    if (by_column) instr.Touch(Bursts(p.table.mem, false, p.table.addr, 1, p.n * 8, 0));
    instr.bytes = static_cast<uint64_t>(matrices) * p.m * p.n * size;
    instr.cycles = static_cast<double>(instr.bytes) / 41 + 30;
    instr.run.Set([job](Core& k) {
      for (uint32_t i = 0; i < job.matrices; ++i) {
        Convert(k, job, i);
        Access gm = job.gm;
        gm.addr += static_cast<int64_t>(i) * job.p.dst_nd_stride * job.size;
        k.Count(Mem::kL0C, job.d.mem, job.p.row_major ? job.p.m : job.columns,
                job.p.row_major ? job.p.n * job.size : job.p.m * job.width * job.size,
                job.d.mem == Mem::kGM ? &gm : nullptr);
      }
    });
    core.Commit(instr);
  }
}

}  // namespace ascend_twin
