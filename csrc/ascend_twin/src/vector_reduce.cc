// SPDX-License-Identifier: Apache-2.0
// Reductions, compare and select.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "ascend_twin/half.h"
#include "ascend_twin/queue_ops.h"
#include "machine.h"
#include "vector_common.h"

namespace ascend_twin {

namespace {

bool Bit(const uint64_t mask[2], int i) {
  return mask[i >> 6] >> (i & 63) & 1;
}

float Rounded(float v, bool as_half) {
  return as_half ? HalfBitsToFloat(FloatToHalfBits(v)) : v;
}

// The device adds pairs of neighbours in a tree.
float TreeSum(float* v, int n, bool as_half) {
  while (n > 1) {
    const int next = (n + 1) / 2;
    for (int i = 0; i < n / 2; ++i) v[i] = Rounded(v[2 * i] + v[2 * i + 1], as_half);
    if (n % 2) v[next - 1] = v[n - 1];
    n = next;
  }
  return n ? v[0] : 0.f;
}

struct Found {
  float value = 0;
  int index = -1;
};

Found Extreme(const float* v, const uint64_t mask[2], int first, int n, bool max) {
  Found f;
  for (int i = 0; i < n; ++i) {
    if (!Bit(mask, first + i)) continue;
    const float x = v[first + i];
    if (f.index < 0 || (max ? x > f.value : x < f.value) || (x != x && f.value == f.value)) {
      f.value = x;
      f.index = i;
    }
  }
  return f;
}

// `first`: the place of the index' origin in the tensor.
void Improve(Found* best, const Found& f, int first, bool max) {
  if (f.index < 0 || (best->index >= 0 && !(max ? f.value > best->value : f.value < best->value))) return;
  best->value = f.value;
  best->index = f.index + first;
}

void StoreOne(uint8_t* p, DType type, float v) {
  if (type == DType::kHalf) {
    const uint16_t h = FloatToHalfBits(v);
    std::memcpy(p, &h, 2);
  } else {
    std::memcpy(p, &v, 4);
  }
}
void StoreIndex(uint8_t* p, int bytes, int index) {
  if (bytes == 2) {
    const uint16_t h = static_cast<uint16_t>(index);
    std::memcpy(p, &h, 2);
  } else {
    const uint32_t u = static_cast<uint32_t>(index);
    std::memcpy(p, &u, 4);
  }
}

// The elements of the active lanes, sums gathered without gaps.
float SumOf(const float* v, const uint64_t mask[2], int first, int n, bool as_half) {
  float active[256];
  int m = 0;
  for (int i = 0; i < n; ++i)
    if (Bit(mask, first + i)) active[m++] = v[first + i];
  return TreeSum(active, m, as_half);
}

// The results that a repeat writes: all, or those with an active lane.
uint64_t Results(const ReduceCall& c, int outputs, bool all, uint32_t repeat) {
  if (all) return ~0ull;
  const uint64_t* mask = repeat + 1 == c.lanes.repeats ? c.lanes.last_mask : c.lanes.mask;
  const int lanes = 256 / SizeOf(c.src.type) / outputs;
  uint64_t results = 0;
  for (int i = 0; i < outputs * lanes; ++i)
    if (Bit(mask, i)) results |= 1ull << i / lanes;
  return results;
}

// Sets and waits for a flag as the headers do, with an id that is free.
void Order(Core& core, PipePair event, const char* name, const Where& where) {
  const int id = FetchEvent(core, event, where);
  core.SetFlag(event.src, event.dst, id, name, where);
  core.WaitFlag(event.src, event.dst, id, name, where);
}

}  // namespace

void Reduce(Core& core, const ReduceCall& c, const Where& where) {
  core.CheckStop();
  if (core.stopped()) return;
  const int size = SizeOf(c.src.type), per_repeat = 256 / size, per_block = 32 / size;
  const bool pair = c.span == ReduceSpan::kRepeat && c.kind != ReduceKind::kSum && c.order <= 1;
  // Outputs of one repeat: one value (or value and index), eight block results, or half the elements.
  const int outputs = c.span == ReduceSpan::kRepeat  ? (pair ? 2 : 1)
                      : c.span == ReduceSpan::kBlock ? 8
                                                     : per_repeat / 2;
  // ReduceRepeat.md, table 3: an index alone is a uint32, of half too.
  const bool only_index = c.span == ReduceSpan::kRepeat && c.kind != ReduceKind::kSum && c.order == 3;
  const int out_bytes = only_index ? 4 : outputs * size;
  if (!CheckOperand(core, c.name, where, c.src, 32) ||
      !CheckOperand(core, c.name, where, c.dst,
                    c.span == ReduceSpan::kRepeat  ? out_bytes
                    : c.span == ReduceSpan::kBlock ? (size == 2 ? 16 : 32)
                                                   : 32))
    return;
  Access src = OperandAccess(c.src, false, c.lanes, per_repeat);
  // The destination stride counts results of a repeat: elements or pairs (repeat), 8 elements (block), 128 B
  // (pair).
  const int64_t dst_step = static_cast<int64_t>(c.dst.repeat_stride) * out_bytes;
  // ReduceDataBlock.md, ReducePairElem.md: the 910B leaves a result without an active lane as it was.
  const bool all = c.span == ReduceSpan::kRepeat || core.soc() == Soc::kAscend910;
  const auto writes = std::make_shared<std::vector<Access>>();
  for (uint32_t r = 0; r < c.lanes.repeats && !all; ++r) {
    const uint64_t results = Results(c, outputs, all, r);
    for (int g = 0; g < outputs; ++g)
      if (results >> g & 1)
        writes->push_back(Bursts(c.dst.mem, true, c.dst.addr + r * dst_step + g * size, 1, size, 0));
  }
  if (all || writes->size() == static_cast<size_t>(outputs) * c.lanes.repeats)
    *writes = {
        Bursts(c.dst.mem, true, c.dst.addr, c.lanes.repeats, static_cast<uint32_t>(out_bytes), dst_step)};
  if (!CheckEndOfBuffer(core, c.name, where, c.src, src)) return;
  for (const Access& dst : *writes)
    if (!CheckEndOfBuffer(core, c.name, where, c.dst, dst)) return;
  // In place is fine where a repeat writes only what this or an earlier repeat read.
  const auto written = [&](uint32_t r, int64_t* out) {
    return SpanBlocks(c.dst.addr + r * dst_step, out_bytes, out);
  };
  const auto read = [&](uint32_t r, int64_t* out) {
    return RepeatBlocks(c.src, c.lanes, per_repeat, r, out);
  };
  if (!CheckOverlapOf(core, c.name, where, c.lanes.repeats, written, read, false, true)) return;
  Instr& instr = core.Begin(Pipe::kV, c.name, where);
  instr.Touch(src);
  instr.more = writes;
  instr.repeats = c.lanes.repeats;
  const bool block_fast = c.span == ReduceSpan::kBlock && size == 4;
  instr.cycles = (block_fast ? 1.3 : 7.0) * c.lanes.repeats + (c.span == ReduceSpan::kBlock ? 17 : 26);
  const ReduceCall call = c;
  instr.run.Set([call, per_repeat, per_block, size, dst_step, pair, outputs, all](Core& k) {
    float v[256];
    Found best;
    for (uint32_t r = 0; r < call.lanes.repeats; ++r) {
      const uint64_t* mask = r + 1 == call.lanes.repeats ? call.lanes.last_mask : call.lanes.mask;
      LoadFloats(k, call.src, r, per_repeat, v);
      uint8_t* out = k.At(call.dst.mem, call.dst.addr + r * dst_step);
      const bool as_half = size == 2;
      const uint64_t results = Results(call, outputs, all, r);
      if (call.span == ReduceSpan::kPair) {
        for (int i = 0; i < outputs; ++i)
          if (results >> i & 1) StoreOne(out + i * size, call.dst.type, SumOf(v, mask, 2 * i, 2, as_half));
        continue;
      }
      const int groups = call.span == ReduceSpan::kBlock ? 8 : 1;
      const int n = call.span == ReduceSpan::kBlock ? per_block : per_repeat;
      for (int g = 0; g < groups; ++g) {
        if (!(results >> g & 1)) continue;
        if (call.kind == ReduceKind::kSum) {
          const float sum = SumOf(v, mask, g * n, n, as_half);
          if (groups == 1) k.sum.value = sum;
          StoreOne(out + g * size, call.dst.type, sum);
          continue;
        }
        const Found f = Extreme(v, mask, g * n, n, call.kind == ReduceKind::kMax);
        if (groups == 1) {
          Improve(&best, f, static_cast<int>(r) * per_repeat, call.kind == ReduceKind::kMax);
          k.extremum.value = best.value;
          k.extremum.index = best.index;
        }
        if (call.span == ReduceSpan::kBlock) {
          StoreOne(out + g * size, call.dst.type, f.value);
        } else if (pair) {
          StoreOne(out + (call.order == 1 ? size : 0), call.dst.type, f.value);
          StoreIndex(out + (call.order == 1 ? 0 : size), size, f.index);
        } else if (call.order == 2) {
          StoreOne(out, call.dst.type, f.value);
        } else {
          StoreIndex(out, 4, f.index);
        }
      }
    }
  });
  core.Commit(instr);
  if (c.span == ReduceSpan::kRepeat) (c.kind == ReduceKind::kSum ? core.sum : core.extremum).seq = instr.seq;
}

namespace {

const Core::Reduced& ReadReduced(Core& core, const Core::Reduced& reduced, const char* name,
                                 const Where& where) {
  core.CheckStop();
  if (core.stopped()) return reduced;
  if (!reduced.seq)
    core.Fail(Rule::kUninitialised, name, where, "no reduction that it could ask about came before it");
  else
    core.DrainRegister(reduced.seq, name, "reduction", where);
  return reduced;
}

}  // namespace

float ReducedSum(Core& core, const Where& where) {
  return ReadReduced(core, core.sum, "GetReduceRepeatSumSpr", where).value;
}

float ReducedExtremum(Core& core, uint32_t* index, const Where& where) {
  const Core::Reduced& best = ReadReduced(core, core.extremum, "GetReduceRepeatMaxMinSpr", where);
  *index = static_cast<uint32_t>(best.index);
  return best.value;
}

void ReduceAll(Core& core, const ReduceAllCall& c, const Where& where) {
  core.CheckStop();
  if (core.stopped()) return;
  const int size = SizeOf(c.src.type), per_repeat = 256 / size;
  // ReduceSum.md: with a count, the 910B adds repeat after repeat and takes no scratch.
  const bool scratch = !(c.sum_by_count && core.soc() == Soc::kAscend910B);
  if (!CheckOperand(core, c.name, where, c.src, 32) ||
      (scratch && !CheckOperand(core, c.name, where, c.work, 32)) ||
      !CheckOperand(core, c.name, where, c.dst, size))
    return;
  // The scratch the instructions of the headers use: one result (or pair) a repeat, level by level, in whole
  // blocks.
  uint32_t need = 0;
  uint32_t left = scratch ? c.lanes.repeats : 0;
  const uint32_t each = static_cast<uint32_t>(size) * (c.kind == ReduceKind::kSum ? 1 : 2);
  for (;;) {
    const uint32_t bytes = (left * each + kBlock - 1) / kBlock * kBlock;
    need += bytes;
    if (c.kind == ReduceKind::kSum || !c.index || left <= 1) break;
    left = (left * 2 + static_cast<uint32_t>(per_repeat) - 1) / static_cast<uint32_t>(per_repeat);
  }
  Access src = OperandAccess(c.src, false, c.lanes, per_repeat);
  if (!CheckEndOfBuffer(core, c.name, where, c.src, src)) return;
  if (need && c.work.limit && c.work.addr + need > c.work.limit) {
    core.Fail(Rule::kTensorRange, c.name, where,
              "its scratch tensor needs " + std::to_string(need) + " bytes and has " +
                  std::to_string(c.work.limit - c.work.addr),
              Pipe::kV, c.work.mem, c.work.addr);
    return;
  }
  Access dst = Bursts(c.dst.mem, true, c.dst.addr, 1, static_cast<uint32_t>(size) * (c.index ? 2 : 1), 0);
  if (!CheckEndOfBuffer(core, c.name, where, c.dst, dst) || !core.CheckRange(dst, c.name, where, Pipe::kV))
    return;
  // kernel_operator_vec_reduce_impl.h: the scalar unit waits and writes the result, unless one instruction gives it
  // in its place: the pair of a single repeat, or the sum of more than a repeat of sums (by count it waits there too).
  const bool scalar_end = c.kind == ReduceKind::kSum
                              ? c.sum_by_count || c.lanes.repeats <= static_cast<uint32_t>(per_repeat)
                              : !c.index || c.lanes.repeats > 1;
  Instr& instr = core.Begin(Pipe::kV, c.name, where);
  instr.Touch(src);
  instr.Touch(Bursts(c.work.mem, true, c.work.addr, 1, need, 0));
  if (!scalar_end) instr.Touch(dst);
  instr.repeats = c.lanes.repeats;
  instr.cycles = 7.0 * c.lanes.repeats + 26 + 3 * 60;  // further levels and scalar steps between them
  const ReduceAllCall call = c;
  instr.run.Set([call, per_repeat, size, need, scratch](Core& k) {
    std::vector<float> partial;
    float v[256];
    Found best;
    for (uint32_t r = 0; r < call.lanes.repeats; ++r) {
      const uint64_t* mask = r + 1 == call.lanes.repeats ? call.lanes.last_mask : call.lanes.mask;
      LoadFloats(k, call.src, r, per_repeat, v);
      if (call.kind == ReduceKind::kSum) {
        const float sum = SumOf(v, mask, 0, per_repeat, size == 2);
        if (scratch || r == 0)
          partial.push_back(sum);
        else
          partial[0] = Rounded(partial[0] + sum, size == 2);
        continue;
      }
      const bool max = call.kind == ReduceKind::kMax;
      Improve(&best, Extreme(v, mask, 0, per_repeat, max), static_cast<int>(r) * per_repeat, max);
    }
    if (need) std::memset(k.At(call.work.mem, call.work.addr), 0xff, need);
    uint8_t* out = k.At(call.dst.mem, call.dst.addr);
    if (call.kind == ReduceKind::kSum) {
      k.sum.value = TreeSum(partial.data(), static_cast<int>(partial.size()), size == 2);
      StoreOne(out, call.dst.type, k.sum.value);
    } else {
      k.extremum.value = best.value;
      k.extremum.index =
          -1;  // GetReduceRepeatMaxMinSpr.md: behind ReduceMax and ReduceMin it is not to be used
      StoreOne(out, call.dst.type, best.value);
      if (call.index) StoreIndex(out + size, size, best.index);
    }
  });
  core.Commit(instr);
  (c.kind == ReduceKind::kSum ? core.sum : core.extremum).seq = instr.seq;
  if (!scalar_end) return;
  Order(core, {Pipe::kV, Pipe::kS}, c.name, where);
  core.ScalarAccess(dst, c.name, where);
  Order(core, {Pipe::kS, Pipe::kV}, c.name, where);
  Order(core, {Pipe::kS, Pipe::kMTE3}, c.name, where);
}

namespace {

template <typename T>
bool CompareValues(T a, T b, uint8_t mode) {
  switch (mode) {
    case 0:
      return a < b;
    case 1:
      return a > b;
    case 2:
      return a == b;
    case 3:
      return a <= b;
    case 4:
      return a >= b;
    default:
      return a != b;
  }
}

void LoadAny(Core& core, const Operand& o, uint32_t r, int n, double* out) {
  if (o.type == DType::kI32) {
    for (int i = 0; i < n; ++i) {
      int32_t v;
      std::memcpy(&v,
                  core.At(o.mem, o.addr + static_cast<int64_t>(r) * o.repeat_stride * kBlock +
                                     static_cast<int64_t>(i / 8) * o.block_stride * kBlock + (i % 8) * 4),
                  4);
      out[i] = v;
    }
    return;
  }
  float f[256];
  LoadFloats(core, o, r, n, f);
  for (int i = 0; i < n; ++i) out[i] = f[i];
}

}  // namespace

void Compare(Core& core, const CompareCall& c, const Where& where) {
  core.CheckStop();
  if (core.stopped()) return;
  const int size = SizeOf(c.src0.type), per_repeat = 256 / size;
  if (c.src0.type == DType::kI32 && c.mode != 2) {
    core.Fail(Rule::kNotOnChip, c.name, where, "ascend910b compares int32 only for CMPMODE::EQ", Pipe::kV);
    return;
  }
  if (!CheckOperand(core, c.name, where, c.src0, 32) ||
      (!c.scalar_source && !CheckOperand(core, c.name, where, c.src1, 32)) ||
      (!c.to_register && !CheckOperand(core, c.name, where, c.dst, 32)))
    return;
  // The bits of repeat after repeat follow each other; the mask does not apply to them.
  const uint32_t bytes = static_cast<uint32_t>(per_repeat / 8);
  Access s0 = OperandAccess(c.src0, false, c.lanes, per_repeat);
  Access s1 = OperandAccess(c.src1, false, c.lanes, per_repeat);
  if (!CheckEndOfBuffer(core, c.name, where, c.src0, s0) ||
      (!c.scalar_source && !CheckEndOfBuffer(core, c.name, where, c.src1, s1)))
    return;
  if (!c.to_register && c.dst.limit && c.dst.addr + bytes * c.lanes.repeats > c.dst.limit) {
    core.Fail(
        Rule::kTensorRange, c.name, where,
        "writes " + std::to_string(bytes * c.lanes.repeats) + " bytes of bits, behind the end of its buffer",
        Pipe::kV, c.dst.mem, c.dst.addr);
    return;
  }
  const auto written = [&](uint32_t r, int64_t* out) {
    return SpanBlocks(c.dst.addr + r * bytes, bytes, out);
  };
  for (const Operand* src : {&c.src0, &c.src1}) {
    const auto read = [&](uint32_t r, int64_t* out) {
      return RepeatBlocks(*src, c.lanes, per_repeat, r, out);
    };
    if (!c.to_register && !(src == &c.src1 && c.scalar_source) &&
        !CheckOverlapOf(core, c.name, where, c.lanes.repeats, written, read, true, true))
      return;
  }
  Instr& instr = core.Begin(Pipe::kV, c.name, where);
  instr.Touch(s0);
  if (!c.scalar_source) instr.Touch(s1);
  if (!c.to_register) instr.Touch(Bursts(c.dst.mem, true, c.dst.addr, 1, bytes * c.lanes.repeats, 0));
  instr.repeats = c.lanes.repeats;
  instr.cycles = 1.35 * c.lanes.repeats + 24;
  const CompareCall call = c;
  instr.run.Set([call, per_repeat, bytes](Core& k) {
    double a[256], b[256];
    for (uint32_t r = 0; r < call.lanes.repeats; ++r) {
      LoadAny(k, call.src0, r, per_repeat, a);
      if (call.scalar_source)
        std::fill(b, b + per_repeat, call.scalar);
      else
        LoadAny(k, call.src1, r, per_repeat, b);
      uint64_t bits[2] = {0, 0};
      for (int i = 0; i < per_repeat; ++i)
        if (CompareValues(a[i], b[i], call.mode)) bits[i >> 6] |= 1ull << (i & 63);
      if (call.to_register) {
        k.vector.cmp_mask[0] = bits[0];
        k.vector.cmp_mask[1] = bits[1];
      } else {
        std::memcpy(k.At(call.dst.mem, call.dst.addr + static_cast<int64_t>(r) * bytes), bits, bytes);
      }
    }
  });
  core.Commit(instr);
}

void SetCmpMask(Core& core, const Operand& src, const Where& where) {
  core.CheckStop();
  if (core.stopped() || !CheckOperand(core, "SetCmpMask", where, src, 16)) return;
  Instr& instr = core.Begin(Pipe::kV, "SetCmpMask", where);
  instr.Touch(Bursts(src.mem, false, src.addr, 1, 16, 0));
  const Operand o = src;
  instr.run.Set([o](Core& k) { std::memcpy(k.vector.cmp_mask, k.At(o.mem, o.addr), 16); });
  core.Commit(instr);
}

void GetCmpMask(Core& core, const Operand& dst, const Where& where) {
  core.CheckStop();
  if (core.stopped() || !CheckOperand(core, "GetCmpMask", where, dst, 16)) return;
  Instr& instr = core.Begin(Pipe::kV, "GetCmpMask", where);
  instr.Touch(Bursts(dst.mem, true, dst.addr, 1, 16, 0));
  const Operand o = dst;
  instr.run.Set([o](Core& k) { std::memcpy(k.At(o.mem, o.addr), k.vector.cmp_mask, 16); });
  core.Commit(instr);
}

void Select(Core& core, const SelectCall& c, const Where& where) {
  core.CheckStop();
  if (core.stopped()) return;
  const int size = SizeOf(c.src0.type), per_repeat = 256 / size;
  if (core.soc() == Soc::kAscend910 && c.mode != 0) {
    core.Fail(Rule::kNotOnChip, c.name, where, "ascend910 selects only in mode VSEL_CMPMASK_SPR", Pipe::kV);
    return;
  }
  if (c.scalar_source != (c.mode == 1)) {
    core.Fail(Rule::kNotOnChip, c.name, where,
              "src1 is a scalar in mode VSEL_TENSOR_SCALAR_MODE, and a tensor in the others", Pipe::kV);
    return;
  }
  if (!CheckOperand(core, c.name, where, c.dst, 32) || !CheckOperand(core, c.name, where, c.src0, 32) ||
      (!c.scalar_source && !CheckOperand(core, c.name, where, c.src1, 32)) ||
      (!c.from_register && !CheckOperand(core, c.name, where, c.mask, c.mode == 0 ? 16 : 32)))
    return;
  if (!CheckBlockStride(core, c.name, where, c.dst, c.lanes, per_repeat) ||
      !CheckOverlap(core, c.name, where, c.dst, c.src0, c.lanes, per_repeat, false) ||
      (!c.scalar_source && !CheckOverlap(core, c.name, where, c.dst, c.src1, c.lanes, per_repeat, false)))
    return;
  Access s0 = OperandAccess(c.src0, false, c.lanes, per_repeat),
         s1 = OperandAccess(c.src1, false, c.lanes, per_repeat);
  Access d = OperandAccess(c.dst, true, c.lanes, per_repeat);
  if (!CheckEndOfBuffer(core, c.name, where, c.src0, s0) ||
      !CheckEndOfBuffer(core, c.name, where, c.dst, d) ||
      (!c.scalar_source && !CheckEndOfBuffer(core, c.name, where, c.src1, s1)))
    return;
  // Mode 0 has one mask for every repeat; the others read on, repeat by repeat.
  const uint32_t bytes = static_cast<uint32_t>(per_repeat / 8);
  int last = 0;
  for (int i = 0; i < per_repeat; ++i)
    if (Bit(c.lanes.repeats > 1 ? c.lanes.mask : c.lanes.last_mask, i)) last = i;
  const uint32_t used = static_cast<uint32_t>(last / 8 + 1);
  const Access bits =
      Bursts(c.mask.mem, false, c.mask.addr, 1, c.mode == 0 ? used : bytes * (c.lanes.repeats - 1) + used, 0);
  const auto written = [&](uint32_t r, int64_t* out) {
    return RepeatBlocks(c.dst, c.lanes, per_repeat, r, out);
  };
  const auto read = [&](uint32_t r, int64_t* out) {
    return SpanBlocks(c.mask.addr + (c.mode == 0 ? 0 : r * bytes), bytes, out);
  };
  if (!c.from_register && (!CheckEndOfBuffer(core, c.name, where, c.mask, bits) ||
                           !CheckOverlapOf(core, c.name, where, c.lanes.repeats, written, read, true, true)))
    return;
  Instr& instr = core.Begin(Pipe::kV, c.name, where);
  instr.Touch(s0).Touch(d);
  if (!c.scalar_source) instr.Touch(s1);
  if (!c.from_register) instr.Touch(bits);
  instr.repeats = c.lanes.repeats;
  instr.cycles = 1.5 * c.lanes.repeats + 44;
  const SelectCall call = c;
  instr.run.Set([call, per_repeat, bytes](Core& k) {
    float a[256], b[256], d[256];
    uint64_t bits[2] = {0, 0};
    if (call.from_register) std::memcpy(bits, k.vector.cmp_mask, 16);
    for (uint32_t r = 0; r < call.lanes.repeats; ++r) {
      const uint64_t* mask = r + 1 == call.lanes.repeats ? call.lanes.last_mask : call.lanes.mask;
      LoadFloats(k, call.src0, r, per_repeat, a);
      if (call.scalar_source)
        std::fill(b, b + per_repeat, static_cast<float>(call.scalar));
      else
        LoadFloats(k, call.src1, r, per_repeat, b);
      if (!call.from_register) {
        std::memcpy(
            bits,
            k.At(call.mask.mem, call.mask.addr + (call.mode == 0 ? 0 : static_cast<int64_t>(r) * bytes)),
            bytes);
        if (call.mode == 0) std::memcpy(k.vector.cmp_mask, bits, 16);
      }
      for (int i = 0; i < per_repeat; ++i) d[i] = Bit(bits, i) ? a[i] : b[i];
      StoreFloats(k, call.dst, r, per_repeat, d, mask);
    }
  });
  core.Commit(instr);
}

}  // namespace ascend_twin
