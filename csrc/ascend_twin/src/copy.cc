// SPDX-License-Identifier: Apache-2.0
// The data movers: GM, UB, L1, L0.
#include <algorithm>
#include <string>

#include "ascend_twin/copy_ops.h"
#include "ascend_twin/half.h"
#include "machine.h"

namespace ascend_twin {

namespace {

std::string N(int64_t v) {
  return std::to_string(v);
}

// Published DMA costs of one vector core: bytes per cycle and head.
double CopyCycles(Mem src, Mem dst, uint64_t bytes) {
  if (src == Mem::kGM) return static_cast<double>(bytes) / 10.3 + 27;
  if (dst == Mem::kGM) return static_cast<double>(bytes) / 10.05 + 12;
  if (dst == Mem::kL0A) return static_cast<double>(bytes) / 256 + 10;
  if (dst == Mem::kL0B) return static_cast<double>(bytes) / 128 + 10;
  return static_cast<double>(bytes) / 128 + 20;
}

int AlignmentOf(Mem mem) {
  switch (mem) {
    case Mem::kL0A:
    case Mem::kL0B:
      return 512;
    case Mem::kL0C:
    case Mem::kBias:
      return 64;
    case Mem::kGM:
      return 1;
    default:
      return 32;
  }
}

bool CheckPlace(Core& core, const char* name, const Where& where, Pipe pipe, const Place& p) {
  if (p.mem == Mem::kGM) {
    if (p.gm == 0xffff) {
      core.Fail(Rule::kGmUnknown, name, where, "its GlobalTensor points into no tensor of this launch", pipe);
      return false;
    }
    if (p.addr % SizeOf(p.type)) {
      core.Fail(Rule::kAlignment, name, where, "a GM address is not a multiple of the element size", pipe,
                p.mem, p.addr);
      return false;
    }
    return true;
  }
  const int align = AlignmentOf(p.mem);
  if (p.addr % align) {
    core.Fail(
        Rule::kAlignment, name, where,
        std::string("address ") + N(p.addr) + " of " + MemName(p.mem) + " is not " + N(align) + " B aligned",
        pipe, p.mem, p.addr);
    return false;
  }
  return true;
}

bool CheckLimit(Core& core, const char* name, const Where& where, Pipe pipe, const Place& p,
                const Access& a) {
  if (!p.limit || a.count == 0 || a.len == 0) return true;
  const int64_t end = a.addr + std::max<int64_t>(0, static_cast<int64_t>(a.count - 1) * a.stride) + a.len;
  if (end <= p.limit) return true;
  core.Fail(Rule::kTensorRange, name, where,
            std::string(a.write ? "writes" : "reads") + " up to byte " + N(end) + " of " + MemName(p.mem) +
                ", but its buffer ends at " + N(p.limit),
            pipe, p.mem, end - 1);
  return false;
}

uint8_t* Pointer(Core& core, const Place& p) {
  return p.mem == Mem::kGM ? core.GmAt(p.gm, p.addr) : core.At(p.mem, p.addr);
}

Access AccessOf(const Place& p, bool write, uint32_t count, uint32_t len, int64_t stride) {
  Access a = Bursts(p.mem, write, p.addr, count, len, stride);
  a.gm = p.gm;
  return a;
}

template <typename T, typename F>
void Accumulate(uint8_t* dst, const uint8_t* src, uint32_t len, F f) {
  for (uint32_t i = 0; i + sizeof(T) <= len; i += sizeof(T)) {
    T a, b;
    std::memcpy(&a, dst + i, sizeof(T));
    std::memcpy(&b, src + i, sizeof(T));
    const T c = f(a, b);
    std::memcpy(dst + i, &c, sizeof(T));
  }
}

template <typename T>
void AtomicTyped(AtomicOp op, uint8_t* dst, const uint8_t* src, uint32_t len) {
  switch (op) {
    case AtomicOp::kAdd:
      Accumulate<T>(dst, src, len, [](T a, T b) { return T(a + b); });
      break;
    case AtomicOp::kMax:
      Accumulate<T>(dst, src, len, [](T a, T b) { return a < b ? b : a; });
      break;
    case AtomicOp::kMin:
      Accumulate<T>(dst, src, len, [](T a, T b) { return b < a ? b : a; });
      break;
    default:
      std::memcpy(dst, src, len);
  }
}

struct Bf16Value {
  bfloat16_t v;
  friend Bf16Value operator+(Bf16Value a, Bf16Value b) { return {bfloat16_t(float(a.v) + float(b.v))}; }
  friend bool operator<(Bf16Value a, Bf16Value b) { return float(a.v) < float(b.v); }
};

void StoreBurst(uint8_t* dst, const uint8_t* src, uint32_t len, AtomicOp op, int type) {
  if (op == AtomicOp::kNone) {
    std::memmove(dst, src, len);
    return;
  }
  switch (static_cast<DType>(type)) {
    case DType::kFloat:
      return AtomicTyped<float>(op, dst, src, len);
    case DType::kHalf:
      return AtomicTyped<half>(op, dst, src, len);
    case DType::kI32:
      return AtomicTyped<int32_t>(op, dst, src, len);
    case DType::kI16:
      return AtomicTyped<int16_t>(op, dst, src, len);
    case DType::kI8:
      return AtomicTyped<int8_t>(op, dst, src, len);
    case DType::kBf16:
      if (op == AtomicOp::kAdd)
        return Accumulate<Bf16Value>(dst, src, len, [](Bf16Value a, Bf16Value b) { return a + b; });
      if (op == AtomicOp::kMax)
        return Accumulate<Bf16Value>(dst, src, len, [](Bf16Value a, Bf16Value b) { return a < b ? b : a; });
      return Accumulate<Bf16Value>(dst, src, len, [](Bf16Value a, Bf16Value b) { return b < a ? b : a; });
    default:
      std::memmove(dst, src, len);
  }
}

bool CheckAtomicType(Core& core, const char* name, const Where& where, Pipe pipe, const Place& dst) {
  if (dst.mem != Mem::kGM || core.atomic == AtomicOp::kNone) return true;
  if (static_cast<int>(dst.type) == core.atomic_type) return true;
  core.Fail(Rule::kAtomicNotRestored, name, where,
            "the atomic mode is set for another data type than this copy's: SetAtomicNone is missing", pipe);
  return false;
}

}  // namespace

Pipe CopyPipe(Soc soc, Mem src, Mem dst) {
  if (!HasPath(soc, src, dst)) return Pipe::kS;
  if (src == Mem::kGM) return Pipe::kMTE2;
  if (src == Mem::kL0C) return soc == Soc::kAscend910 ? Pipe::kV : Pipe::kFIX;
  if (src == Mem::kUB) return dst == Mem::kUB || dst == Mem::kL0C ? Pipe::kV : Pipe::kMTE3;
  if (dst == Mem::kGM) return Pipe::kMTE3;
  if (dst == Mem::kFixbuf) return Pipe::kFIX;
  return Pipe::kMTE1;
}

void Copy(Core& core, const CopyCall& call, const Where& where) {
  core.CheckStop();
  if (core.stopped()) return;
  const Pipe pipe = CopyPipe(core.soc(), call.src.mem, call.dst.mem);
  if (pipe == Pipe::kS) {
    core.Fail(Rule::kNotOnChip, call.name, where,
              std::string(core.chip().name) + " has no path from " + MemName(call.src.mem) + " to " +
                  MemName(call.dst.mem));
    return;
  }
  if (!CheckPlace(core, call.name, where, pipe, call.src) ||
      !CheckPlace(core, call.name, where, pipe, call.dst))
    return;
  if (!CheckAtomicType(core, call.name, where, pipe, call.dst)) return;
  if (call.count == 0 || call.len == 0) return;
  Access src = AccessOf(call.src, false, call.count, call.len, call.src_stride);
  Access dst = AccessOf(call.dst, true, call.count, call.len, call.dst_stride);
  const AtomicOp op = call.dst.mem == Mem::kGM ? core.atomic : AtomicOp::kNone;
  dst.atomic = call.dst.mem == Mem::kGM ? core.AtomicKind() : 0;
  if (!CheckLimit(core, call.name, where, pipe, call.src, src) ||
      !CheckLimit(core, call.name, where, pipe, call.dst, dst))
    return;
  const bool on_chip = call.src.mem != Mem::kGM && call.dst.mem != Mem::kGM;
  src.moved = on_chip;
  Instr& instr = core.Begin(pipe, call.name, where);
  instr.bytes = static_cast<uint64_t>(call.count) * call.len;
  instr.cycles = CopyCycles(call.src.mem, call.dst.mem, instr.bytes);
  instr.Touch(src).Touch(dst);
  const CopyCall c = call;
  const int type = core.atomic_type;
  const Access gm = call.src.mem == Mem::kGM ? src : dst;
  const bool has_gm = call.src.mem == Mem::kGM || call.dst.mem == Mem::kGM;
  struct Job {
    CopyCall c;
    AtomicOp op;
    int type;
    Access gm;
    bool has_gm;
  } job = {c, op, type, gm, has_gm};
  instr.run.Set([job](Core& k) {
    uint8_t* d = Pointer(k, job.c.dst);
    const uint8_t* s = Pointer(k, job.c.src);
    for (uint32_t i = 0; i < job.c.count; ++i)
      StoreBurst(d + static_cast<int64_t>(i) * job.c.dst_stride,
                 s + static_cast<int64_t>(i) * job.c.src_stride, job.c.len, job.op, job.type);
    if (!job.has_gm)
      for (uint32_t i = 0; i < job.c.count; ++i)
        k.MoveWritten(job.c.src.mem, job.c.src.addr + static_cast<int64_t>(i) * job.c.src_stride,
                      job.c.dst.mem, job.c.dst.addr + static_cast<int64_t>(i) * job.c.dst_stride, job.c.len);
    k.Count(job.c.src.mem, job.c.dst.mem, job.c.count, job.c.len, job.has_gm ? &job.gm : nullptr);
  });
  core.Commit(instr);
}

void DataCopyBlocks(Core& core, const char* name, const Place& dst, const Place& src, uint32_t block_count,
                    uint32_t block_len, uint32_t src_gap, uint32_t dst_gap, const Where& where) {
  core.CheckStop();
  if (core.stopped()) return;
  const bool none = core.soc() == Soc::kAscend910B && (block_count == 0 || block_len == 0);
  if (none) return;  // a no-operation, says the document of each path
  if (block_count > 4095 || block_count < 1 || block_len < 1) {
    core.Fail(
        Rule::kDmaLimit, name, where,
        "blockCount is " + N(block_count) + ", blockLen " + N(block_len) + "; expected 1..4095, at least 1");
    return;
  }
  // Lengths count 32 B; towards the bias table 64 B and towards the fixpipe buffer 128 B.
  const int64_t unit = dst.mem == Mem::kBias ? 64 : dst.mem == Mem::kFixbuf ? 128 : kBlock;
  const int64_t bytes = block_len * unit;
  CopyCall call = {name, src, dst, block_count, static_cast<uint32_t>(bytes), 0, 0};
  call.src_stride = bytes + static_cast<int64_t>(src_gap) * kBlock;
  call.dst_stride = bytes + static_cast<int64_t>(dst_gap) * unit;
  Copy(core, call, where);
}

void DataCopyCount(Core& core, const char* name, const Place& dst, const Place& src, int64_t count,
                   const Where& where) {
  const int64_t bytes = count * SizeOf(dst.type);
  if (bytes % kBlock || bytes <= 0) {
    core.Fail(Rule::kDmaLimit, name, where,
              N(count) + " elements are " + N(bytes) +
                  " bytes, expected a positive multiple of 32: the device would copy " +
                  N(bytes / kBlock * kBlock));
    return;
  }
  CopyCall call = {name, src, dst, 1, static_cast<uint32_t>(bytes), 0, 0};
  Copy(core, call, where);
}

void DataCopyPadOp(Core& core, const char* name, const Place& dst, const Place& src, const PadCall& p,
                   const Where& where) {
  core.CheckStop();
  if (core.stopped()) return;
  const bool load = src.mem == Mem::kGM;
  // A no-operation, but towards L1, where the document counts from 1.
  if (p.block_len == 0 || (p.block_count == 0 && dst.mem != Mem::kL1)) return;
  const Pipe pipe = CopyPipe(core.soc(), src.mem, dst.mem);
  if (pipe == Pipe::kS || (load ? dst.mem != Mem::kUB && dst.mem != Mem::kL1 : dst.mem != Mem::kGM)) {
    core.Fail(Rule::kNotOnChip, name, where,
              std::string("no path from ") + MemName(src.mem) + " to " + MemName(dst.mem));
    return;
  }
  if (!CheckPlace(core, name, where, pipe, src) || !CheckPlace(core, name, where, pipe, dst) ||
      !CheckAtomicType(core, name, where, pipe, dst))
    return;
  const uint32_t size = static_cast<uint32_t>(SizeOf(dst.type));
  const uint32_t left = p.left * size, right = p.right * size;
  if (p.block_len % size || (p.pad && size == 8 && p.value != 0)) {
    core.Fail(Rule::kDmaLimit, name, where,
              "blockLen " + N(p.block_len) + " holds whole elements of " + N(size) +
                  " bytes, and paddingValue of 64 bits is 0",
              pipe);
    return;
  }
  if (p.block_count < 1 || p.block_count > 4095 || p.block_len > 2097151 || left > 32 || right > 32) {
    core.Fail(Rule::kDmaLimit, name, where,
              "blockCount " + N(p.block_count) + ", blockLen " + N(p.block_len) + ", padding " + N(left) +
                  " and " + N(right) + " bytes; expected 1..4095, at most 2097151 and at most 32 bytes each",
              pipe);
    return;
  }
  // The local side holds whole blocks: left padding, data, right padding, and rounding that is written when
  // loading.
  const uint32_t local = (left + p.block_len + right + kBlock - 1) / kBlock * kBlock;
  const int64_t gm_stride = static_cast<int64_t>(p.block_len) + (load ? p.src_stride : p.dst_stride);
  const int64_t local_stride =
      static_cast<int64_t>(local) + static_cast<int64_t>(load ? p.dst_stride : p.src_stride) * kBlock;
  Access gm = AccessOf(load ? src : dst, !load, p.block_count, p.block_len, gm_stride);
  Access ub = AccessOf(load ? dst : src, load, p.block_count, load ? local : p.block_len, local_stride);
  const AtomicOp op = load ? AtomicOp::kNone : core.atomic;
  gm.atomic = load ? 0 : core.AtomicKind();
  if (!CheckLimit(core, name, where, pipe, load ? dst : src, ub)) return;
  Instr& instr = core.Begin(pipe, name, where);
  instr.bytes = static_cast<uint64_t>(p.block_count) * p.block_len;
  instr.cycles = CopyCycles(src.mem, dst.mem, instr.bytes);
  instr.Touch(load ? gm : ub).Touch(load ? ub : gm);
  struct Job {
    Place src, dst;
    PadCall p;
    uint32_t local, left, size;
    int64_t gm_stride, local_stride;
    bool load;
    AtomicOp op;
    int type;
    Access gm;
    bool pad_register;
    uint64_t value;
  } job = {src,
           dst,
           p,
           local,
           left,
           size,
           gm_stride,
           local_stride,
           load,
           op,
           core.atomic_type,
           gm,
           core.pad_value_set,
           p.pad ? p.value : core.pad_value};
  instr.run.Set([job](Core& k) {
    uint8_t* d = Pointer(k, job.dst);
    const uint8_t* s = Pointer(k, job.src);
    for (uint32_t i = 0; i < job.p.block_count; ++i) {
      const int64_t g = static_cast<int64_t>(i) * job.gm_stride,
                    u = static_cast<int64_t>(i) * job.local_stride;
      if (!job.load) {
        StoreBurst(d + g, s + u, job.p.block_len, job.op, job.type);
        continue;
      }
      // With neither isPad nor SetPadValue the device leaves anything there; the twin leaves NaN.
      if (job.p.pad || job.pad_register)
        for (uint32_t b = 0; b + job.size <= job.local; b += job.size)
          std::memcpy(d + u + b, &job.value, job.size);
      else
        std::memset(d + u, 0xff, job.local);
      std::memcpy(d + u + job.left, s + g, job.p.block_len);
    }
    k.Count(job.src.mem, job.dst.mem, job.p.block_count, job.p.block_len, &job.gm);
  });
  core.Commit(instr);
}

namespace {

// The headers' own emulation: a DataCopyPad a column of 32 B, and what it makes of parameters as documented.
void Nd2NzToUb(Core& core, const char* name, const Place& dst, const Place& src, const Nd2NzCall& p,
               const Where& where) {
  constexpr uint32_t kRows = 255;  // of a copy
  const uint32_t size = static_cast<uint32_t>(SizeOf(dst.type)), c0 = kBlock / size,
                 columns = (p.d + c0 - 1) / c0;
  if (dst.type == DType::kFloat) {
    core.Fail(Rule::kNotOnChip, name, where,
              "towards UB the headers give float rows of 64 B, not those of the document", Pipe::kMTE2);
    return;
  }
  if (p.nd_num > 1 || p.src_nd_stride || p.dst_nz_stride || p.dst_n_stride != 1 || p.src_d < p.d ||
      (p.n > kRows && (p.src_d != p.d || kRows * p.d > 65535)) ||
      uint64_t{columns} * p.dst_c0_stride * c0 > 65535) {
    core.Fail(Rule::kNd2NzRange, name, where,
              "towards UB the headers heed one matrix, dstNzNStride 1, 255 rows (more where they follow each "
              "other) and 65535 elements",
              Pipe::kMTE2);
    return;
  }
  for (uint32_t c = 0; c < columns && p.nd_num; ++c)
    for (uint32_t r = 0; r < p.n; r += kRows) {
      Place s = src, d = dst;
      s.addr += (static_cast<int64_t>(r) * p.src_d + c * c0) * size;
      d.addr += (static_cast<int64_t>(c) * p.dst_c0_stride + r) * kBlock;
      const uint32_t bytes = std::min(c0, p.d - c * c0) * size;
      DataCopyPadOp(core, name, d, s,
                    {std::min(kRows, p.n - r), bytes, p.src_d * size - bytes, 0, false, 0, 0, 0}, where);
    }
}

}  // namespace

void DataCopyNd2Nz(Core& core, const char* name, const Place& dst, const Place& src, const Nd2NzCall& p,
                   const Where& where) {
  core.CheckStop();
  if (core.stopped()) return;
  if (dst.mem == Mem::kUB) return Nd2NzToUb(core, name, dst, src, p, where);
  const Pipe pipe = Pipe::kMTE2;
  if (dst.mem != Mem::kL1) {
    core.Fail(Rule::kWrongPosition, name, where, std::string("writes L1 or UB, not ") + MemName(dst.mem),
              pipe);
    return;
  }
  if (!CheckPlace(core, name, where, pipe, src) || !CheckPlace(core, name, where, pipe, dst)) return;
  if (p.nd_num > 4095 || p.n > 16384 || p.dst_c0_stride > 16384 || p.dst_n_stride > 16384 ||
      (p.n > 1 && p.src_d < p.d)) {
    core.Fail(Rule::kNd2NzRange, name, where,
              "ndNum " + N(p.nd_num) + ", nValue " + N(p.n) + ", dValue " + N(p.d) + ", srcDValue " +
                  N(p.src_d) + ", dstNzC0Stride " + N(p.dst_c0_stride) + ", dstNzNStride " +
                  N(p.dst_n_stride) +
                  "; expected ndNum <= 4095, nValue and destination strides <= 16384, srcDValue >= dValue (a "
                  "u16: strides "
                  "above 65535 elements overflow)",
              pipe);
    return;
  }
  if (!p.nd_num || !p.n || !p.d) return;
  const uint32_t size = static_cast<uint32_t>(SizeOf(dst.type)), c0 = kBlock / size;
  const uint32_t columns = (p.d + c0 - 1) / c0;
  for (uint32_t nd = 0; nd < p.nd_num; ++nd) {
    Place s = src, d = dst;
    s.addr += static_cast<int64_t>(nd) * p.src_nd_stride * size;
    d.addr += static_cast<int64_t>(nd) * p.dst_nz_stride * size;
    Access gm = AccessOf(s, false, p.n, p.d * size, static_cast<int64_t>(p.src_d) * size);
    // (columns, n, c0): one access a column would be many; one covers them all when rows are adjacent.
    Instr& instr = core.Begin(pipe, name, where);
    instr.Touch(gm);
    const int64_t column_stride = static_cast<int64_t>(p.dst_c0_stride) * kBlock;
    if (p.dst_n_stride == 1) {
      instr.Touch(AccessOf(d, true, columns, p.n * kBlock, column_stride));
    } else {
      Access a = AccessOf(d, true, p.n, 0, static_cast<int64_t>(p.dst_n_stride) * kBlock);
      a.count = p.n;
      a.blocks = static_cast<uint16_t>(std::min<uint32_t>(columns, 32));
      a.block_stride = static_cast<uint32_t>(column_stride);
      a.block_bytes = kBlock;
      instr.Touch(a);
      if (columns > 32) {
        core.Fail(Rule::kNd2NzRange, name, where, "the twin takes at most 32 columns with dstNzNStride > 1",
                  pipe);
        return;
      }
    }
    if (!CheckLimit(core, name, where, pipe, dst, instr.access[1])) return;
    instr.bytes = static_cast<uint64_t>(p.n) * p.d * size;
    instr.cycles = CopyCycles(Mem::kGM, Mem::kL1, instr.bytes);
    struct Job {
      Place s, d;
      Nd2NzCall p;
      uint32_t size, c0, columns;
      Access gm;
    } job = {s, d, p, size, c0, columns, gm};
    instr.run.Set([job](Core& k) {
      const uint8_t* from = Pointer(k, job.s);
      uint8_t* to = Pointer(k, job.d);
      for (uint32_t r = 0; r < job.p.n; ++r)
        for (uint32_t c = 0; c < job.columns; ++c) {
          uint8_t* cell = to + static_cast<int64_t>(c) * job.p.dst_c0_stride * kBlock +
                          static_cast<int64_t>(r) * job.p.dst_n_stride * kBlock;
          const uint32_t have = std::min(job.c0, job.p.d - c * job.c0) * job.size;
          std::memset(cell, 0, kBlock);
          std::memcpy(cell, from + static_cast<int64_t>(r) * job.p.src_d * job.size + c * kBlock, have);
        }
      k.Count(Mem::kGM, Mem::kL1, job.p.n, job.p.d * job.size, &job.gm);
    });
    core.Commit(instr);
  }
}

void DataCopyNz2Nd(Core& core, const char* name, const Place& dst, const Place& src, const Nz2NdCall& p,
                   const Where& where) {
  // As the headers do it: one strided copy per 16 columns.
  const uint32_t size = static_cast<uint32_t>(SizeOf(dst.type));
  if (p.d % 16) {
    core.Fail(Rule::kDmaLimit, name, where, "dValue is " + N(p.d) + ", expected a multiple of 16");
    return;
  }
  for (uint32_t nd = 0; nd < p.nd_num; ++nd)
    for (uint32_t c = 0; c < p.d / 16; ++c) {
      CopyCall call = {
          name, src, dst, p.n, 16 * size, 16 * size, static_cast<int64_t>(p.dst_d_stride) * size};
      call.src.addr +=
          (static_cast<int64_t>(nd) * p.src_nd_stride * 256 + static_cast<int64_t>(c) * p.src_n_stride * 16) *
          size;
      call.dst.addr += (static_cast<int64_t>(nd) * p.dst_nd_stride + c * 16) * size;
      Copy(core, call, where);
    }
}

void DataCopyFractals(Core& core, const char* name, const Place& dst, const Place& src,
                      const FractalCopyCall& p, const Where& where) {
  core.CheckStop();
  if (core.stopped()) return;
  const bool out = src.mem == Mem::kL0C;
  const Pipe pipe = CopyPipe(core.soc(), src.mem, dst.mem);
  if (pipe == Pipe::kS || (src.mem != Mem::kL0C && dst.mem != Mem::kL0C)) {
    core.Fail(Rule::kNotOnChip, name, where,
              std::string(core.chip().name) +
                  " copies fractals only between L0C and UB, and only on ascend910; asked for " +
                  MemName(src.mem) + " to " + MemName(dst.mem));
    return;
  }
  if (!CheckPlace(core, name, where, pipe, src) || !CheckPlace(core, name, where, pipe, dst)) return;
  if (p.block_count < 1 || p.block_count > 4095 || p.block_len < 1) {
    core.Fail(Rule::kDmaLimit, name, where,
              "blockCount is " + N(p.block_count) + " and blockLen " + N(p.block_len) +
                  ", expected 1..4095 and 1..65535",
              pipe);
    return;
  }
  const uint32_t l0c_size = static_cast<uint32_t>(SizeOf(out ? src.type : dst.type)),
                 ub_size = static_cast<uint32_t>(SizeOf(out ? dst.type : src.type));
  const uint32_t elements = p.matrix ? 256 : 16;
  const uint32_t l0c_fractal = 256 * l0c_size;
  // Lengths and the L0C stride count fractals, the UB stride 32 B; both strides are gaps.
  const uint32_t l0c_len = p.matrix ? p.block_len * l0c_fractal : p.block_len * elements * l0c_size;
  const uint32_t ub_len = p.block_len * elements * ub_size;
  const uint32_t l0c_gap = out ? p.src_stride : p.dst_stride, ub_gap = out ? p.dst_stride : p.src_stride;
  const int64_t l0c_stride = static_cast<int64_t>(l0c_len) + static_cast<int64_t>(l0c_gap) * l0c_fractal;
  const int64_t ub_stride = static_cast<int64_t>(ub_len) + static_cast<int64_t>(ub_gap) * kBlock;
  const Access s = AccessOf(src, false, p.block_count, out ? l0c_len : ub_len, out ? l0c_stride : ub_stride);
  const Access d = AccessOf(dst, true, p.block_count, out ? ub_len : l0c_len, out ? ub_stride : l0c_stride);
  if (!CheckLimit(core, name, where, pipe, src, s) || !CheckLimit(core, name, where, pipe, dst, d)) return;
  Instr& instr = core.Begin(pipe, name, where);
  instr.Touch(s).Touch(d);
  instr.bytes = static_cast<uint64_t>(p.block_count) * (out ? ub_len : l0c_len);
  instr.cycles = static_cast<double>(p.block_count) * l0c_len / 256 + 20;
  struct Job {
    Place src, dst;
    uint32_t count, elements;
    int64_t src_stride, dst_stride;
    bool relu, to_half, out;
    uint32_t bytes;
  } job = {src,
           dst,
           p.block_count,
           p.block_len * elements,
           out ? l0c_stride : ub_stride,
           out ? ub_stride : l0c_stride,
           p.relu,
           out && src.type == DType::kFloat && dst.type == DType::kHalf,
           out,
           out ? ub_len : l0c_len};
  instr.run.Set([job](Core& k) {
    for (uint32_t i = 0; i < job.count; ++i) {
      const uint8_t* from = k.At(job.src.mem, job.src.addr + static_cast<int64_t>(i) * job.src_stride);
      uint8_t* to = k.At(job.dst.mem, job.dst.addr + static_cast<int64_t>(i) * job.dst_stride);
      if (job.to_half) {
        const float* f = reinterpret_cast<const float*>(from);
        uint16_t* h = reinterpret_cast<uint16_t*>(to);
        for (uint32_t e = 0; e < job.elements; ++e) h[e] = FloatToHalfBits(job.relu && f[e] < 0 ? 0.f : f[e]);
      } else {
        std::memcpy(to, from, job.bytes);
        if (job.relu && job.src.type == DType::kFloat) {
          float* f = reinterpret_cast<float*>(to);
          for (uint32_t e = 0; e < job.elements; ++e) f[e] = f[e] < 0 ? 0.f : f[e];
        } else if (job.relu && job.src.type == DType::kI32) {
          int32_t* f = reinterpret_cast<int32_t*>(to);
          for (uint32_t e = 0; e < job.elements; ++e) f[e] = std::max(f[e], 0);
        }
      }
    }
    k.Count(job.src.mem, job.dst.mem, job.count, job.bytes, nullptr);
  });
  core.Commit(instr);
}

}  // namespace ascend_twin
