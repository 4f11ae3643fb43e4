// SPDX-License-Identifier: Apache-2.0
// Transpose, broadcast of blocks, gather, indices.
#include <algorithm>
#include <string>
#include <unordered_map>
#include <vector>

#include "ascend_twin/half.h"
#include "machine.h"
#include "vector_common.h"

namespace ascend_twin {

void Transpose16(Core& core, const Operand& dst, const Operand& src, const Where& where) {
  core.CheckStop();
  if (core.stopped()) return;
  if (!CheckOperand(core, "Transpose", where, dst, 32) || !CheckOperand(core, "Transpose", where, src, 32))
    return;
  const Access s = Bursts(src.mem, false, src.addr, 1, 512, 0),
               d = Bursts(dst.mem, true, dst.addr, 1, 512, 0);
  if (!CheckEndOfBuffer(core, "Transpose", where, src, s) ||
      !CheckEndOfBuffer(core, "Transpose", where, dst, d))
    return;
  const auto written = [&](uint32_t, int64_t* out) { return SpanBlocks(dst.addr, 512, out); };
  const auto read = [&](uint32_t, int64_t* out) { return SpanBlocks(src.addr, 512, out); };
  if (!CheckOverlapOf(core, "Transpose", where, 1, written, read, true, false)) return;
  Instr& instr = core.Begin(Pipe::kV, "Transpose", where);
  instr.Touch(s).Touch(d);
  instr.cycles = 30;
  const int64_t from = src.addr, to = dst.addr;
  instr.run.Set([from, to](Core& k) {
    uint16_t in[256], out[256];
    std::memcpy(in, k.At(Mem::kUB, from), 512);
    for (int r = 0; r < 16; ++r)
      for (int c = 0; c < 16; ++c) out[c * 16 + r] = in[r * 16 + c];
    std::memcpy(k.At(Mem::kUB, to), out, 512);
  });
  core.Commit(instr);
}

// (n, c, pixels) to (n, pixels, c) or back. The headers make it of 16 x 16 transposes through scratch memory.
void TransposeImage(Core& core, const Operand& dst, const Operand& src, const Operand& scratch,
                    const ImageShape& shape, const Where& where) {
  core.CheckStop();
  if (core.stopped()) return;
  const char* name = "Transpose";
  const uint32_t size = static_cast<uint32_t>(SizeOf(src.type)), side = size == 1 ? 32 : 16;
  if (shape.c > 4095 || shape.pixels > 4095 || shape.pixels * size % kBlock) {
    core.Fail(Rule::kCountRange, name, where,
              "cSize is " + std::to_string(shape.c) + ", hSize * wSize " + std::to_string(shape.pixels) +
                  "; expected at most 4095 each, and whole blocks of 32 B of pixels",
              Pipe::kV);
    return;
  }
  if (!CheckOperand(core, name, where, dst, 32) || !CheckOperand(core, name, where, src, 32) ||
      !CheckOperand(core, name, where, scratch, 32))
    return;
  const uint32_t bytes = shape.n * shape.c * shape.pixels * size;
  const uint32_t tiles = shape.to_nhwc ? shape.c + 2u : 2 * shape.c + 1u;
  if (bytes == 0) return;
  const Access s = Bursts(src.mem, false, src.addr, 1, bytes, 0),
               d = Bursts(dst.mem, true, dst.addr, 1, bytes, 0),
               w = Bursts(scratch.mem, true, scratch.addr, 1, tiles * side * kBlock, 0);
  if (!CheckEndOfBuffer(core, name, where, src, s) || !CheckEndOfBuffer(core, name, where, dst, d) ||
      !CheckEndOfBuffer(core, name, where, scratch, w))
    return;
  Instr& instr = core.Begin(Pipe::kV, name, where);
  instr.Touch(s).Touch(d).Touch(w);
  instr.repeats = (bytes + 511) / 512 * 2;
  instr.cycles = 30.0 * instr.repeats;
  struct Job {
    ImageShape shape;
    uint32_t size;
    int64_t from, to;
  } job = {shape, size, src.addr, dst.addr};
  instr.run.Set([job](Core& k) {
    const size_t rows = job.shape.to_nhwc ? job.shape.c : job.shape.pixels;
    const size_t columns = job.shape.to_nhwc ? job.shape.pixels : job.shape.c,
                 image = rows * columns * job.size;
    std::vector<uint8_t> in(image * job.shape.n);
    std::memcpy(in.data(), k.At(Mem::kUB, job.from), in.size());
    uint8_t* out = k.At(Mem::kUB, job.to);
    for (size_t n = 0; n < job.shape.n; ++n)
      for (size_t r = 0; r < rows; ++r)
        for (size_t c = 0; c < columns; ++c)
          std::memcpy(out + n * image + (c * rows + r) * job.size,
                      &in[n * image + (r * columns + c) * job.size], job.size);
  });
  core.Commit(instr);
}

// 16 rows of a block become the 16 columns of 16 rows: (16, c0) to (c0, 16), repeat by repeat.
void TransDataTo5HD(Core& core, const Operand dst[16], const Operand src[16], int repeats, int dst_stride,
                    int src_stride, bool dst_high, bool src_high, const Where& where) {
  core.CheckStop();
  if (core.stopped()) return;
  const char* name = "TransDataTo5HD";
  const int size = SizeOf(dst[0].type);
  if (core.soc() == Soc::kAscend910 && size == 4) {
    core.Fail(Rule::kNotOnChip, name, where, "32-bit types do not exist on ascend910", Pipe::kV);
    return;
  }
  for (int i = 0; i < 16; ++i)
    if (!CheckOperand(core, name, where, dst[i], 32) || !CheckOperand(core, name, where, src[i], 32)) return;
  const int least = core.soc() == Soc::kAscend910;
  if (repeats < least || repeats > 255) {
    core.Fail(Rule::kRepeatRange, name, where,
              "repeat times are " + std::to_string(repeats) + ", expected " + std::to_string(least) + "..255",
              Pipe::kV);
    return;
  }
  if (!repeats) return;
  struct Job {
    uint32_t dst[16], src[16];
    int size, dst_step, src_step, repeats;
    bool dst_high, src_high;
  } job;
  job.size = size;
  job.dst_step = dst_stride * static_cast<int>(kBlock);
  job.src_step = src_stride * static_cast<int>(kBlock);
  job.repeats = repeats;
  const bool once = repeats == 1;  // starts a stride further on (TransDataTo5HD.md, table 3)
  for (int i = 0; i < 16; ++i) {
    job.dst[i] = dst[i].addr + static_cast<uint32_t>(once ? job.dst_step : 0);
    job.src[i] = src[i].addr + static_cast<uint32_t>(once ? job.src_step : 0);
  }
  job.dst_high = dst_high;
  job.src_high = src_high;
  const auto rows = std::make_shared<std::vector<Access>>();
  for (const bool write : {false, true})
    for (int i = 0; i < 16; ++i) {
      rows->push_back(Bursts(Mem::kUB, write, (write ? job.dst : job.src)[i], static_cast<uint32_t>(repeats),
                             kBlock, write ? job.dst_step : job.src_step));
      if (!CheckEndOfBuffer(core, name, where, (write ? dst : src)[i], rows->back())) return;
    }
  const auto blocks = [](const uint32_t* row, int64_t offset, int64_t* out) {
    for (int i = 0; i < 16; ++i) out[i] = (row[i] + offset) / kBlock;
    std::sort(out, out + 16);
    return 16;
  };
  const auto written = [&](uint32_t r, int64_t* out) {
    return blocks(job.dst, int64_t{r} * job.dst_step, out);
  };
  const auto read = [&](uint32_t r, int64_t* out) { return blocks(job.src, int64_t{r} * job.src_step, out); };
  if (!CheckOverlapOf(core, name, where, static_cast<uint32_t>(repeats), written, read, true, true)) return;
  Instr& instr = core.Begin(Pipe::kV, name, where);
  instr.more = rows;
  instr.repeats = static_cast<uint32_t>(repeats);
  instr.cycles = 16.0 * repeats + 20;
  instr.run.Set([job](Core& k) {
    for (int r = 0; r < job.repeats; ++r) {
      uint8_t in[16][32], out[16][32];
      for (int i = 0; i < 16; ++i) {
        std::memcpy(in[i], k.At(Mem::kUB, job.src[i] + static_cast<int64_t>(r) * job.src_step), 32);
        std::memcpy(out[i], k.At(Mem::kUB, job.dst[i] + static_cast<int64_t>(r) * job.dst_step), 32);
      }
      if (job.size == 2) {
        for (int i = 0; i < 16; ++i)
          for (int j = 0; j < 16; ++j) std::memcpy(out[j] + i * 2, in[i] + j * 2, 2);
      } else if (job.size == 4) {
        // (16, 8) to (8, 16): row j fills destinations 2j and 2j + 1.
        for (int i = 0; i < 16; ++i)
          for (int j = 0; j < 8; ++j) std::memcpy(out[2 * j + i / 8] + (i % 8) * 4, in[i] + j * 4, 4);
      } else {
        const int from = job.src_high ? 16 : 0, to = job.dst_high ? 16 : 0;
        for (int i = 0; i < 16; ++i)
          for (int j = 0; j < 16; ++j) out[j][to + i] = in[i][from + j];
      }
      for (int i = 0; i < 16; ++i)
        std::memcpy(k.At(Mem::kUB, job.dst[i] + static_cast<int64_t>(r) * job.dst_step), out[i], 32);
    }
  });
  core.Commit(instr);
}

void Brcb(Core& core, const Operand& dst, const Operand& src, int repeats, const Where& where) {
  core.CheckStop();
  if (core.stopped()) return;
  const char* name = "Brcb";
  const int size = SizeOf(dst.type);
  if (repeats < 0 || repeats > 254) {
    core.Fail(Rule::kRepeatRange, name, where,
              "repeat times are " + std::to_string(repeats) + ", expected 0..254", Pipe::kV);
    return;
  }
  if (!CheckOperand(core, name, where, dst, 32) || !CheckOperand(core, name, where, src, 32)) return;
  Lanes lanes;
  lanes.repeats = static_cast<uint32_t>(repeats);
  if (!repeats || !CheckBlockStride(core, name, where, dst, lanes, 256 / size)) return;
  // Each repeat takes 8 elements and fills 8 blocks with one of them each.
  Access s = Bursts(src.mem, false, src.addr, 1, static_cast<uint32_t>(repeats * 8 * size), 0);
  Access d;
  d.write = true;
  d.addr = dst.addr;
  d.count = static_cast<uint32_t>(repeats);
  d.stride = static_cast<int64_t>(dst.repeat_stride) * kBlock;
  d.blocks = 8;
  d.block_stride = dst.block_stride * kBlock;
  d.block_bytes = kBlock;
  if (!CheckEndOfBuffer(core, name, where, src, s) || !CheckEndOfBuffer(core, name, where, dst, d)) return;
  const auto written = [&](uint32_t r, int64_t* out) { return RepeatBlocks(dst, lanes, 256 / size, r, out); };
  const auto read = [&](uint32_t r, int64_t* out) {
    return SpanBlocks(src.addr + r * 8 * size, 8 * size, out);
  };
  if (!CheckOverlapOf(core, name, where, lanes.repeats, written, read, true, true)) return;
  Instr& instr = core.Begin(Pipe::kV, name, where);
  instr.Touch(s).Touch(d);
  instr.repeats = static_cast<uint32_t>(repeats);
  instr.cycles = 1.0 * repeats + 22;
  struct Job {
    Operand dst, src;
    int repeats, size;
  } job = {dst, src, repeats, size};
  instr.run.Set([job](Core& k) {
    for (int r = 0; r < job.repeats; ++r)
      for (int b = 0; b < 8; ++b) {
        const uint8_t* e = k.At(Mem::kUB, job.src.addr + (r * 8 + b) * job.size);
        uint8_t* to = k.At(Mem::kUB, job.dst.addr + (static_cast<int64_t>(r) * job.dst.repeat_stride +
                                                     static_cast<int64_t>(b) * job.dst.block_stride) *
                                                        kBlock);
        for (int i = 0; i < static_cast<int>(kBlock); i += job.size)
          std::memcpy(to + i, e, static_cast<size_t>(job.size));
      }
  });
  core.Commit(instr);
}

void Gather(Core& core, const GatherCall& c, const Where& where) {
  core.CheckStop();
  if (core.stopped()) return;
  const int size = SizeOf(c.dst.type), per_repeat = c.blocks ? 8 : 256 / size;
  if (!CheckOperand(core, c.name, where, c.dst, 32) || !CheckOperand(core, c.name, where, c.offset, 32) ||
      !CheckOperand(core, c.name, where, c.src, 32))
    return;
  Access offsets = Bursts(c.offset.mem, false, c.offset.addr, 1, 0, 0);
  const int offsets_needed = c.blocks ? static_cast<int>(c.lanes.repeats) * 8 : 0;
  if (c.blocks) {
    offsets.len = static_cast<uint32_t>(offsets_needed) * 4;
  } else {
    int last = 0;
    for (int i = 0; i < per_repeat; ++i)
      if (c.lanes.last_mask[i >> 6] >> (i & 63) & 1) last = i;
    offsets.len =
        ((c.lanes.repeats - 1) * static_cast<uint32_t>(per_repeat) + static_cast<uint32_t>(last) + 1) * 4;
  }
  Operand dst = c.dst;
  Lanes lanes = c.lanes;
  Access d;
  if (c.blocks) {
    d.write = true;
    d.addr = dst.addr;
    d.count = lanes.repeats;
    d.stride = static_cast<int64_t>(dst.repeat_stride) * kBlock;
    d.blocks = 8;
    d.block_stride = dst.block_stride * kBlock;
    d.block_bytes = kBlock;
  } else {
    d = OperandAccess(dst, true, lanes, per_repeat);
  }
  const auto written = [&](uint32_t r, int64_t* out) { return RepeatBlocks(dst, lanes, 256 / size, r, out); };
  const auto read = [&](uint32_t r, int64_t* out) {
    return SpanBlocks(c.offset.addr + r * static_cast<uint32_t>(per_repeat) * 4, per_repeat * 4, out);
  };
  if (!CheckEndOfBuffer(core, c.name, where, c.offset, offsets) ||
      !CheckEndOfBuffer(core, c.name, where, dst, d) ||
      !CheckOverlapOf(core, c.name, where, lanes.repeats, written, read, false, true))
    return;
  Instr& instr = core.Begin(Pipe::kV, c.name, where);
  instr.Touch(offsets).Touch(d);
  instr.repeats = lanes.repeats;
  instr.cycles = 8.0 * lanes.repeats + 30;
  const GatherCall call = c;
  const Where at = where;
  instr.run.Set([call, size, per_repeat, at](Core& k) {
    Instr reads;  // its sources are known only now
    reads.pipe = Pipe::kV;
    reads.name = call.name;
    reads.where = at;
    int64_t blocks[64];
    std::vector<int64_t> written;  // 32 B blocks, by the repeats so far
    for (uint32_t r = 0; r < call.lanes.repeats; ++r) {
      const int n = RepeatBlocks(call.dst, call.lanes, 256 / size, r, blocks);
      written.insert(written.end(), blocks, blocks + n);
      const uint64_t* mask = r + 1 == call.lanes.repeats ? call.lanes.last_mask : call.lanes.mask;
      for (int i = 0; i < per_repeat; ++i) {
        if (!call.blocks && !(mask[i >> 6] >> (i & 63) & 1)) continue;
        uint32_t offset;
        std::memcpy(&offset,
                    k.At(Mem::kUB, call.offset.addr + (static_cast<int64_t>(r) * per_repeat + i) * 4), 4);
        const int64_t from = static_cast<int64_t>(call.src.addr) + (call.blocks ? 0 : call.base) + offset;
        const uint32_t len = call.blocks ? kBlock : static_cast<uint32_t>(size);
        const int64_t end = call.src.limit ? call.src.limit : k.memory[static_cast<int>(Mem::kUB)].usable;
        if (from + len > end || from % len) {
          k.Fail(from % len ? Rule::kAlignment : Rule::kTensorRange, call.name, at,
                 "offset " + std::to_string(offset) + " points outside its source or between elements",
                 Pipe::kV, Mem::kUB, from);
          return;
        }
        if (std::find(written.begin(), written.end(), from / kBlock) != written.end()) {
          k.Fail(Rule::kOverlapAcrossRepeats, call.name, at,
                 "repeat " + std::to_string(r) + " reads a block that it or an earlier one writes", Pipe::kV,
                 Mem::kUB, from);
          return;
        }
        k.CheckLate(Bursts(Mem::kUB, false, from, 1, len, 0));
        uint8_t* to =
            call.blocks
                ? k.At(Mem::kUB, call.dst.addr + (static_cast<int64_t>(r) * call.dst.repeat_stride +
                                                  static_cast<int64_t>(i) * call.dst.block_stride) *
                                                     kBlock)
                : k.At(Mem::kUB,
                       call.dst.addr + static_cast<int64_t>(r) * call.dst.repeat_stride * kBlock + i * size);
        std::memmove(to, k.At(Mem::kUB, from), len);
      }
    }
  });
  core.Commit(instr);
}

void CreateIndex(Core& core, const char* name, const Operand& dst, double first, const Lanes& lanes,
                 const Where& where) {
  core.CheckStop();
  if (core.stopped() || !CheckOperand(core, name, where, dst, 32)) return;
  const int size = SizeOf(dst.type), per_repeat = 256 / size;
  const Access d = OperandAccess(dst, true, lanes, per_repeat);
  if (!CheckBlockStride(core, name, where, dst, lanes, per_repeat) ||
      !CheckEndOfBuffer(core, name, where, dst, d))
    return;
  Instr& instr = core.Begin(Pipe::kV, name, where);
  instr.Touch(d);
  instr.repeats = lanes.repeats;
  instr.cycles = 1.0 * lanes.repeats + 60;
  struct Job {
    Operand dst;
    Lanes lanes;
    double first;
    int size, per_repeat;
  } job = {dst, lanes, first, size, per_repeat};
  instr.run.Set([job](Core& k) {
    const int per_block = 32 / job.size;
    for (uint32_t r = 0; r < job.lanes.repeats; ++r) {
      const uint64_t* mask = r + 1 == job.lanes.repeats ? job.lanes.last_mask : job.lanes.mask;
      for (int i = 0; i < job.per_repeat; ++i) {
        if (!(mask[i >> 6] >> (i & 63) & 1)) continue;
        uint8_t* to = k.At(Mem::kUB, job.dst.addr +
                                         (static_cast<int64_t>(r) * job.dst.repeat_stride +
                                          static_cast<int64_t>(i / per_block) * job.dst.block_stride) *
                                             kBlock +
                                         (i % per_block) * job.size);
        const double v = job.first + static_cast<double>(r) * job.per_repeat + i;
        if (job.dst.type == DType::kHalf) {
          const uint16_t h = FloatToHalfBits(static_cast<float>(v));
          std::memcpy(to, &h, 2);
        } else if (job.dst.type == DType::kFloat) {
          const float f = static_cast<float>(v);
          std::memcpy(to, &f, 4);
        } else {
          const int64_t n = static_cast<int64_t>(v);
          std::memcpy(to, &n, static_cast<size_t>(job.size));
        }
      }
    }
  });
  core.Commit(instr);
}

// Elements whose pattern bit is set, packed. An instruction of pipe V like others: it is reading their number back that
// makes the scalar unit wait, and a wait without a flag orders nothing else.
uint64_t GatherMask(Core& core, const GatherMaskCall& c, const Where& where) {
  core.CheckStop();
  if (core.stopped()) return 0;
  const char* name = "GatherMask";
  const int size = SizeOf(c.dst.type), per_repeat = 256 / size;
  if (!CheckOperand(core, name, where, c.dst, 32) || !CheckOperand(core, name, where, c.src, 32)) return 0;
  if (!c.fixed && !CheckOperand(core, name, where, c.pattern, 32)) return 0;
  // It sets mask and mode itself, and ends as SetMaskNorm.
  core.vector.counter_mode = core.vector.explicit_mask = false;
  if (c.counted && !c.mask) {
    core.Fail(Rule::kCountRange, name, where, "a mask of 0 elements, expected at least 1", Pipe::kV);
    return 0;
  }
  Lanes lanes;
  // By count, each repeat takes `mask` elements; else 256 B.
  if (!LanesFromCount(core, name, where, size, c.counted ? c.mask : per_repeat, &lanes)) return 0;
  core.vector.mask[0] = c.mask;
  core.vector.mask[1] = 0;
  core.gathered = 0;
  if (!c.repeats) return 0;
  const uint32_t each = c.counted ? c.mask : static_cast<uint32_t>(per_repeat);
  const Access pattern = Bursts(Mem::kUB, false, c.pattern.addr, c.repeats, (each + 7) / 8,
                                static_cast<int64_t>(c.pattern.repeat_stride) * kBlock);
  if (!c.fixed && !CheckEndOfBuffer(core, name, where, c.pattern, pattern)) return 0;
  const auto sources = std::make_shared<std::vector<Access>>();
  for (uint32_t r = 0; r < c.repeats; ++r) {
    Operand from = c.src;
    from.addr += r * c.src.repeat_stride * kBlock;
    from.repeat_stride = 8 * c.src.block_stride;
    sources->push_back(OperandAccess(from, false, lanes, per_repeat));
    sources->back().moved = true;  // what is not taken may be blank
    if (!CheckEndOfBuffer(core, name, where, from, sources->back())) return 0;
  }
  Instr& instr = core.Begin(Pipe::kV, name, where);
  instr.more = sources;
  if (!c.fixed) instr.Touch(pattern);
  instr.repeats = c.repeats * lanes.repeats;
  instr.cycles = 1.35 * instr.repeats + 24;
  const GatherMaskCall call = c;
  const Where at = where;
  instr.run.Set([call, size, each, name, at](Core& k) {
    const uint32_t per_block = kBlock / static_cast<uint32_t>(size), per_repeat = 8 * per_block;
    std::vector<uint8_t> out;
    std::vector<size_t> ends;                               // of what each instruction's repeat adds to it
    std::unordered_map<int64_t, size_t> sources, patterns;  // blocks, and the last repeat that reads them
    for (uint32_t r = 0; r < call.repeats; ++r)
      for (uint32_t i = 0; i < each; ++i) {
        if (i % per_repeat == 0) ends.push_back(0);
        const int64_t bits =
            call.pattern.addr + static_cast<int64_t>(r) * call.pattern.repeat_stride * kBlock;
        const bool take = !call.fixed      ? *k.At(Mem::kUB, bits + i / 8) >> (i % 8) & 1
                          : call.fixed < 3 ? i % 2 == static_cast<uint32_t>(call.fixed - 1)
                          : call.fixed < 7 ? i % 4 == static_cast<uint32_t>(call.fixed - 3)
                                           : true;
        const int64_t from = call.src.addr +
                             (static_cast<int64_t>(r) * call.src.repeat_stride +
                              static_cast<int64_t>(i / per_block) * call.src.block_stride) *
                                 kBlock +
                             i % per_block * static_cast<uint32_t>(size);
        sources[from / kBlock] = ends.size();
        if (!call.fixed) patterns[(bits + i / 8) / kBlock] = ends.size();
        ends.back() = out.size() + (take ? static_cast<size_t>(size) : 0);
        if (!take) continue;
        k.CheckLate(Bursts(Mem::kUB, false, from, 1, static_cast<uint32_t>(size), 0));
        const uint8_t* e = k.At(Mem::kUB, from);
        out.insert(out.end(), e, e + size);
      }
    k.gathered = out.size() / static_cast<size_t>(size);
    const Access to = Bursts(Mem::kUB, true, call.dst.addr, 1, static_cast<uint32_t>(out.size()), 0);
    if (!CheckEndOfBuffer(k, name, at, call.dst, to) || !k.CheckRange(to, name, at, Pipe::kV)) return;
    for (size_t r = 1, at_byte = 0; r <= ends.size(); ++r)
      for (; at_byte < ends[r - 1]; at_byte += static_cast<size_t>(size)) {
        const int64_t b = (call.dst.addr + static_cast<int64_t>(at_byte)) / kBlock;
        const auto s = sources.find(b), p = patterns.find(b);
        const size_t read = std::max(s == sources.end() ? 0 : s->second, p == patterns.end() ? 0 : p->second);
        const bool in_place = call.dst.addr == call.src.addr && p == patterns.end();
        if (read < r || (read == r && in_place)) continue;
        k.Fail(read == r ? Rule::kOverlapInRepeat : Rule::kOverlapAcrossRepeats, name, at,
               "a repeat writes a block that it or a later one reads", Pipe::kV, Mem::kUB, b * kBlock);
        return;
      }
    k.CheckLate(to);
    if (!out.empty()) std::memcpy(k.At(Mem::kUB, call.dst.addr), out.data(), out.size());
  });
  core.Commit(instr);
  core.Drain(Pipe::kV, name, where);
  return core.gathered;
}

}  // namespace ascend_twin
