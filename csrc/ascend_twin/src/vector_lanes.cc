// SPDX-License-Identifier: Apache-2.0
// Which elements a vector instruction touches: masks, counts, strides, and the rules on them.
#include <algorithm>
#include <string>
#include <unordered_map>

#include "machine.h"
#include "vector_common.h"

namespace ascend_twin {

namespace {

void SetPrefix(uint64_t mask[2], int64_t n) {
  mask[0] = n >= 64 ? ~0ull : (1ull << n) - 1;
  mask[1] = n >= 128 ? ~0ull : n > 64 ? (1ull << (n - 64)) - 1 : 0;
}

void CheckNotCounter(Core& core, const char* name, const Where& where) {
  if (core.vector.counter_mode)
    core.Fail(
        Rule::kMaskNotRestored, name, where,
        "counter mode is still on (SetMaskCount), and this call sets a normal mask: SetMaskNorm is missing",
        Pipe::kV);
}

}  // namespace

// Count, repeats or mask 0 do nothing on the 910B (constraints of Add.md, ReduceRepeat.md and the others).
bool LanesFromCount(Core& core, const char* name, const Where& where, int element, int64_t count,
                    Lanes* lanes, bool set_mask) {
  core.CheckStop();
  if (core.stopped()) return false;
  // The 910B's headers issue one instruction under the mask that is there, and ignore the count.
  if (!set_mask) return LanesFromBits(core, name, where, element, false, nullptr, 1, lanes);
  const int64_t per_repeat = 256 / element;
  if (count == 0 && core.soc() == Soc::kAscend910B) return false;
  if (count <= 0) {
    core.Fail(Rule::kCountRange, name, where, "count is " + std::to_string(count) + ", expected at least 1",
              Pipe::kV);
    return false;
  }
  CheckNotCounter(core, name, where);
  lanes->repeats = static_cast<uint32_t>((count + per_repeat - 1) / per_repeat);
  const int64_t tail = count - static_cast<int64_t>(lanes->repeats - 1) * per_repeat;
  SetPrefix(lanes->mask, per_repeat);
  SetPrefix(lanes->last_mask, tail);
  // The 910 loops over 255 repeats and adds an instruction for the tail; the 910B counts in hardware.
  const uint32_t whole = static_cast<uint32_t>(count / per_repeat);
  lanes->instructions = core.soc() == Soc::kAscend910 ? (whole + 254) / 255 + (tail != per_repeat) : 1;
  core.vector.mask[0] = core.vector.mask[1] = ~0ull;
  return true;
}

bool LanesFromMask(Core& core, const char* name, const Where& where, int element, bool set_mask,
                   uint64_t count, int repeats, Lanes* lanes) {
  core.CheckStop();
  if (core.stopped()) return false;
  if (!set_mask) return LanesFromBits(core, name, where, element, false, nullptr, repeats, lanes);
  CheckNotCounter(core, name, where);
  const uint64_t per_repeat = static_cast<uint64_t>(256 / element);
  if (count > per_repeat) {
    core.Fail(Rule::kMaskRange, name, where,
              "mask is " + std::to_string(count) + ", expected at most " + std::to_string(per_repeat),
              Pipe::kV);
    return false;
  }
  uint64_t bits[2];
  SetPrefix(bits, static_cast<int64_t>(count));
  return LanesFromBits(core, name, where, element, true, bits, repeats, lanes);
}

bool LanesFromBits(Core& core, const char* name, const Where& where, int element, bool set_mask,
                   const uint64_t* bits, int repeats, Lanes* lanes) {
  core.CheckStop();
  if (core.stopped()) return false;
  if (repeats < 0 || repeats > 255) {
    core.Fail(Rule::kRepeatRange, name, where,
              "repeat times are " + std::to_string(repeats) + ", expected 0..255", Pipe::kV);
    return false;
  }
  const int per_repeat = 256 / element;
  lanes->instructions = 1;
  if (set_mask) {
    core.vector.mask[0] = bits[0];
    core.vector.mask[1] = bits[1];
    core.vector.explicit_mask = false;
  }
  if (core.vector.counter_mode) {
    if (core.vector.mask[0] > core.chip().bytes[static_cast<int>(Mem::kUB)]) {
      core.Fail(Rule::kMaskRange, name, where,
                "the mask is the count in counter mode, and " + std::to_string(core.vector.mask[0]) +
                    " elements are more than UB holds",
                Pipe::kV);
      return false;
    }
    const int64_t count = static_cast<int64_t>(core.vector.mask[0]);
    lanes->repeats = static_cast<uint32_t>((count + per_repeat - 1) / per_repeat);
    SetPrefix(lanes->mask, per_repeat);
    SetPrefix(lanes->last_mask, count - static_cast<int64_t>(lanes->repeats - 1) * per_repeat);
    return lanes->repeats > 0;
  }
  if (repeats == 0 && core.soc() == Soc::kAscend910) {
    core.Fail(Rule::kRepeatRange, name, where, "repeat times are 0, expected 1..255", Pipe::kV);
    return false;
  }
  lanes->repeats = static_cast<uint32_t>(repeats);
  if (set_mask && per_repeat <= 64 && bits[1] != 0 && bits[1] != ~0ull) {
    core.Fail(Rule::kMaskRange, name, where,
              "mask[1] has bits, but a repeat has only " + std::to_string(per_repeat) + " elements",
              Pipe::kV);
    return false;
  }
  uint64_t used[2] = {core.vector.mask[0], per_repeat > 64 ? core.vector.mask[1] : 0};
  if (per_repeat < 64) used[0] &= (1ull << per_repeat) - 1;
  if (used[0] == 0 && used[1] == 0) {
    if (core.soc() == Soc::kAscend910)
      core.Fail(Rule::kMaskRange, name, where, "the mask selects nothing", Pipe::kV);
    return false;
  }
  for (int w = 0; w < 2; ++w) lanes->mask[w] = lanes->last_mask[w] = used[w];
  return repeats > 0;
}

Access OperandAccess(const Operand& o, bool write, const Lanes& lanes, int per_repeat) {
  const int size = SizeOf(o.type);
  const int blocks = (per_repeat * size + 31) / 32;
  uint64_t full[2];
  SetPrefix(full, per_repeat);
  const bool whole = lanes.mask[0] == full[0] && lanes.mask[1] == full[1] && lanes.last_mask[0] == full[0] &&
                     lanes.last_mask[1] == full[1];
  if (whole && o.block_stride == 1)
    return Bursts(o.mem, write, o.addr, lanes.repeats, static_cast<uint32_t>(per_repeat * size),
                  static_cast<int64_t>(o.repeat_stride) * kBlock);
  Access a;
  a.mem = o.mem;
  a.write = write;
  a.addr = o.addr;
  a.count = lanes.repeats;
  a.stride = static_cast<int64_t>(o.repeat_stride) * kBlock;
  a.blocks = static_cast<uint16_t>(blocks);
  a.block_stride = o.block_stride * kBlock;
  a.element = static_cast<uint8_t>(size);
  for (int w = 0; w < 2; ++w) {
    a.mask[w] = lanes.mask[w] & full[w];
    a.last_mask[w] = lanes.last_mask[w] & full[w];
  }
  return a;
}

bool CheckOperand(Core& core, const char* name, const Where& where, const Operand& o, int align) {
  if (o.mem != Mem::kUB) {
    core.Fail(Rule::kWrongPosition, name, where,
              std::string("vector operands lie in UB, this one in ") + MemName(o.mem), Pipe::kV, o.mem,
              o.addr);
    return false;
  }
  if (o.addr % static_cast<uint32_t>(align)) {
    core.Fail(Rule::kAlignment, name, where,
              "address " + std::to_string(o.addr) + " of UB is not " + std::to_string(align) + " B aligned",
              Pipe::kV, o.mem, o.addr);
    return false;
  }
  return true;
}

bool CheckEndOfBuffer(Core& core, const char* name, const Where& where, const Operand& o, const Access& a) {
  if (!o.limit || a.count == 0) return true;
  int64_t end = a.addr + static_cast<int64_t>(a.count - 1) * a.stride;
  if (a.blocks && a.block_bytes) {
    end += static_cast<int64_t>(a.blocks - 1) * a.block_stride + a.block_bytes;
  } else if (a.blocks) {
    const int per_block = static_cast<int>(kBlock) / a.element;
    int last = -1;
    for (int bit = 0; bit < a.blocks * per_block && bit < 128; ++bit)
      if (((a.count > 1 ? a.mask[bit >> 6] : 0) | a.last_mask[bit >> 6]) >> (bit & 63) & 1) last = bit;
    if (last < 0) return true;
    end += static_cast<int64_t>(last / per_block) * a.block_stride + (last % per_block + 1) * a.element;
    // Only the last repeat may be partial: the one before can reach further.
    if (a.count > 1) {
      int body = -1;
      for (int bit = 0; bit < a.blocks * per_block && bit < 128; ++bit)
        if (a.mask[bit >> 6] >> (bit & 63) & 1) body = bit;
      int tail = -1;
      for (int bit = 0; bit < a.blocks * per_block && bit < 128; ++bit)
        if (a.last_mask[bit >> 6] >> (bit & 63) & 1) tail = bit;
      auto reach = [&](int bit) {
        return bit < 0 ? int64_t{0}
                       : static_cast<int64_t>(bit / per_block) * a.block_stride +
                             (bit % per_block + 1) * a.element;
      };
      end = std::max(a.addr + static_cast<int64_t>(a.count - 2) * a.stride + reach(body),
                     a.addr + static_cast<int64_t>(a.count - 1) * a.stride + reach(tail));
    }
  } else {
    end += a.len;
  }
  if (end <= o.limit) return true;
  core.Fail(Rule::kTensorRange, name, where,
            std::string(a.write ? "writes" : "reads") + " up to byte " + std::to_string(end) +
                " of UB, but its buffer ends at " + std::to_string(o.limit),
            Pipe::kV, o.mem, end - 1);
  return false;
}

int RepeatBlocks(const Operand& o, const Lanes& lanes, int per_repeat, uint32_t r, int64_t* out) {
  const uint64_t* mask = r + 1 == lanes.repeats ? lanes.last_mask : lanes.mask;
  const int per_block = static_cast<int>(kBlock) / SizeOf(o.type);
  int n = 0;
  for (int first = 0, b = 0; first < per_repeat; first += per_block, ++b) {
    bool active = false;
    for (int i = first; i < first + per_block && i < per_repeat; ++i) active |= mask[i >> 6] >> (i & 63) & 1;
    if (active)
      out[n++] = (o.addr + static_cast<int64_t>(r) * o.repeat_stride * kBlock +
                  static_cast<int64_t>(b) * o.block_stride * kBlock) /
                 kBlock;
  }
  return n;
}

int SpanBlocks(int64_t addr, int64_t bytes, int64_t* out) {
  int n = 0;
  for (int64_t b = addr / kBlock; b * kBlock < addr + bytes; ++b) out[n++] = b;
  return n;
}

// The blocks of a repeat would be written one onto the other.
bool CheckBlockStride(Core& core, const char* name, const Where& where, const Operand& dst,
                      const Lanes& lanes, int per_repeat) {
  int64_t blocks[64];
  if (dst.block_stride != 0 || std::max(RepeatBlocks(dst, lanes, per_repeat, 0, blocks),
                                        RepeatBlocks(dst, lanes, per_repeat, lanes.repeats - 1, blocks)) < 2)
    return true;
  core.Fail(Rule::kStrideRange, name, where, "the block stride of the destination is 0, expected at least 1",
            Pipe::kV, dst.mem, dst.addr);
  return false;
}

bool CheckOverlapOf(Core& core, const char* name, const Where& where, uint32_t repeats, const BlocksOf& dst,
                    const BlocksOf& src, bool within, bool across) {
  int64_t d[64], s[64];
  std::unordered_map<int64_t, uint32_t> last_read;
  for (uint32_t r = 0; r < repeats; ++r)
    for (int i = src(r, s) - 1; i >= 0; --i) last_read[s[i]] = r;
  for (uint32_t r = 0; r < repeats; ++r) {
    const int dst_blocks = dst(r, d), src_blocks = src(r, s);
    int common = 0;
    for (int i = 0; i < dst_blocks; ++i) common += std::find(s, s + src_blocks, d[i]) != s + src_blocks;
    if (within && common && !(common == dst_blocks && dst_blocks == src_blocks && d[0] == s[0])) {
      core.Fail(Rule::kOverlapInRepeat, name, where,
                "in repeat " + std::to_string(r) + " destination and source share " + std::to_string(common) +
                    " of " + std::to_string(dst_blocks) + " blocks",
                Pipe::kV, Mem::kUB, d[0] * kBlock);
      return false;
    }
    for (int i = 0; i < dst_blocks && across; ++i) {
      const auto later = last_read.find(d[i]);
      if (later == last_read.end() || later->second <= r) continue;
      core.Fail(Rule::kOverlapAcrossRepeats, name, where,
                "repeat " + std::to_string(r) + " writes a block that repeat " +
                    std::to_string(later->second) + " reads",
                Pipe::kV, Mem::kUB, d[i] * kBlock);
      return false;
    }
  }
  return true;
}

// Within a repeat, source and destination overlap wholly or not at all; no repeat reads what an earlier one
// wrote.
bool CheckOverlap(Core& core, const char* name, const Where& where, const Operand& dst, const Operand& src,
                  const Lanes& lanes, int per_repeat, bool accumulates) {
  const uint32_t repeats = lanes.repeats;
  const int dst_width = (per_repeat * SizeOf(dst.type) + 31) / 32,
            src_width = (per_repeat * SizeOf(src.type) + 31) / 32;
  auto extent = [&](const Operand& o, int blocks) {
    return o.addr + static_cast<int64_t>(repeats - 1) * o.repeat_stride * kBlock +
           static_cast<int64_t>(blocks - 1) * o.block_stride * kBlock + kBlock;
  };
  if (dst.mem != src.mem || repeats == 0 || extent(dst, dst_width) <= src.addr ||
      extent(src, src_width) <= dst.addr)
    return true;
  const bool same_shape = dst.addr == src.addr && dst.block_stride == src.block_stride &&
                          dst.repeat_stride == src.repeat_stride && dst_width == src_width;
  if (same_shape && dst.block_stride == 1 && static_cast<int>(dst.repeat_stride) >= dst_width) return true;
  if (same_shape && dst.repeat_stride == 0 && repeats == 1) return true;
  const bool chained = accumulates && (dst.repeat_stride == 0 || src.repeat_stride == 0);
  return CheckOverlapOf(
      core, name, where, repeats,
      [&](uint32_t r, int64_t* out) { return RepeatBlocks(dst, lanes, per_repeat, r, out); },
      [&](uint32_t r, int64_t* out) { return RepeatBlocks(src, lanes, per_repeat, r, out); }, true, !chained);
}

}  // namespace ascend_twin
