// SPDX-License-Identifier: Apache-2.0
// Sorting of pairs and region proposals.
#include <algorithm>
#include <numeric>
#include <string>
#include <vector>

#include "ascend_twin/half.h"
#include "machine.h"
#include "vector_common.h"

namespace ascend_twin {

namespace {

constexpr uint32_t kPair = 8, kProposal = 16;

float LoadScore(const uint8_t* p, DType type) {
  if (type == DType::kFloat) {
    float f;
    std::memcpy(&f, p, 4);
    return f;
  }
  uint16_t h;
  std::memcpy(&h, p, 2);
  return HalfBitsToFloat(h);
}

// Whether a comes before b; NaN before numbers.
bool Before(float a, float b) {
  return a > b || (a != a && b == b);
}

// Order of n scores, the largest first, equal ones as they came.
std::vector<uint32_t> OrderOf(const std::vector<float>& scores) {
  std::vector<uint32_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(),
                   [&](uint32_t a, uint32_t b) { return Before(scores[a], scores[b]); });
  return order;
}

bool CheckRepeats(Core& core, const char* name, const Where& where, int repeats) {
  if (repeats >= 0 && repeats <= 255) return true;
  core.Fail(Rule::kRepeatRange, name, where,
            "repeat times are " + std::to_string(repeats) + ", expected 0..255", Pipe::kV);
  return false;
}

bool CheckApart(Core& core, const char* name, const Where& where, uint32_t dst, uint32_t dst_bytes,
                uint32_t src, uint32_t src_bytes) {
  if (dst >= src + src_bytes || src >= dst + dst_bytes) return true;
  core.Fail(Rule::kOverlapInRepeat, name, where,
            "its destination, bytes " + std::to_string(dst) + " to " + std::to_string(dst + dst_bytes) +
                ", overlaps a source, " + std::to_string(src) + " to " + std::to_string(src + src_bytes),
            Pipe::kV, Mem::kUB, dst);
  return false;
}

// Proposals and which of their bytes were written: all but the score may be blank.
struct Proposals {
  std::vector<uint8_t> bytes;
  std::vector<bool> written;
  void Append(Core& k, int64_t addr, uint32_t n) {
    const uint8_t* p = k.At(Mem::kUB, addr);
    bytes.insert(bytes.end(), p, p + n * kProposal);
    for (uint32_t i = 0; i < n * kProposal; ++i) written.push_back(k.Written(Mem::kUB, addr + i));
  }
  void Store(Core& k, int64_t addr, uint32_t which) const {
    std::memcpy(k.At(Mem::kUB, addr), &bytes[which * kProposal], kProposal);
    for (uint32_t i = 0; i < kProposal; ++i)
      k.SetWritten(Mem::kUB, addr + i, 1, written[which * kProposal + i]);
  }
};

// A read of n proposals: their scores are compared, the rest moves along.
void TouchProposals(Instr& instr, int64_t addr, uint32_t n) {
  Access whole = Bursts(Mem::kUB, false, addr, 1, n * kProposal, 0);
  whole.moved = true;
  instr.Touch(whole).Touch(Bursts(Mem::kUB, false, addr + 8, n, 2, kProposal));
}

}  // namespace

void Sort32(Core& core, const Operand& dst, const Operand& score, const Operand& index, int repeats,
            const Where& where) {
  core.CheckStop();
  if (core.stopped()) return;
  const char* name = "Sort32";
  if (!CheckRepeats(core, name, where, repeats) || !CheckOperand(core, name, where, dst, 32) ||
      !CheckOperand(core, name, where, score, 32) || !CheckOperand(core, name, where, index, 32) || !repeats)
    return;
  const uint32_t n = static_cast<uint32_t>(repeats) * 32, size = static_cast<uint32_t>(SizeOf(score.type));
  const Access s = Bursts(Mem::kUB, false, score.addr, 1, n * size, 0),
               i = Bursts(Mem::kUB, false, index.addr, 1, n * 4, 0),
               d = Bursts(Mem::kUB, true, dst.addr, 1, n * kPair, 0);
  if (!CheckEndOfBuffer(core, name, where, score, s) || !CheckEndOfBuffer(core, name, where, index, i) ||
      !CheckEndOfBuffer(core, name, where, dst, d) ||
      !CheckApart(core, name, where, dst.addr, d.len, score.addr, s.len) ||
      !CheckApart(core, name, where, dst.addr, d.len, index.addr, i.len))
    return;
  Instr& instr = core.Begin(Pipe::kV, name, where);
  instr.Touch(s).Touch(i).Touch(d);
  instr.repeats = static_cast<uint32_t>(repeats);
  instr.cycles = 16.0 * repeats + 20;
  struct Job {
    int64_t score, index, to;
    uint32_t repeats, size;
    DType type;
  } job = {score.addr, index.addr, dst.addr, instr.repeats, size, score.type};
  instr.run.Set([job](Core& k) {
    for (uint32_t r = 0; r < job.repeats; ++r) {
      const uint8_t* from = k.At(Mem::kUB, job.score + r * 32 * job.size);
      const uint8_t* indices = k.At(Mem::kUB, job.index + r * 32 * 4);
      uint8_t* to = k.At(Mem::kUB, job.to + r * 32 * kPair);
      std::vector<float> scores(32);
      for (uint32_t e = 0; e < 32; ++e) scores[e] = LoadScore(from + e * job.size, job.type);
      for (const uint32_t e : OrderOf(scores)) {
        std::memset(to, 0xff, kPair);  // the two bytes between a half and its index are reserved
        std::memcpy(to, from + e * job.size, job.size);
        std::memcpy(to + 4, indices + e * 4, 4);
        to += kPair;
      }
    }
  });
  core.Commit(instr);
}

void ExtractPairs(Core& core, const Operand& value, const Operand& index, const Operand& src, int repeats,
                  const Where& where) {
  core.CheckStop();
  if (core.stopped()) return;
  const char* name = "Extract";
  if (!CheckRepeats(core, name, where, repeats) || !CheckOperand(core, name, where, value, 32) ||
      !CheckOperand(core, name, where, index, 32) || !CheckOperand(core, name, where, src, 32) || !repeats)
    return;
  const uint32_t n = static_cast<uint32_t>(repeats) * 32, size = static_cast<uint32_t>(SizeOf(value.type));
  const Access s = Bursts(Mem::kUB, false, src.addr, 1, n * kPair, 0),
               i = Bursts(Mem::kUB, true, index.addr, 1, n * 4, 0),
               v = Bursts(Mem::kUB, true, value.addr, 1, n * size, 0);
  if (!CheckEndOfBuffer(core, name, where, src, s) || !CheckEndOfBuffer(core, name, where, index, i) ||
      !CheckEndOfBuffer(core, name, where, value, v) ||
      !CheckApart(core, name, where, value.addr, v.len, src.addr, s.len) ||
      !CheckApart(core, name, where, index.addr, i.len, src.addr, s.len) ||
      !CheckApart(core, name, where, index.addr, i.len, value.addr, v.len))
    return;
  struct Job {
    int64_t from, value, index;
    uint32_t n, size;
  } job = {src.addr, value.addr, index.addr, n, size};
  Instr& instr = core.Begin(Pipe::kV, name, where);
  instr.Touch(s).Touch(v).Touch(i);
  instr.repeats = static_cast<uint32_t>(repeats);
  instr.cycles = 4.0 * repeats + 60;  // two gathers and a barrier
  instr.run.Set([job](Core& k) {
    for (uint32_t e = 0; e < job.n; ++e) {
      const uint8_t* p = k.At(Mem::kUB, job.from + e * kPair);
      std::memcpy(k.At(Mem::kUB, job.value + e * job.size), p, job.size);
      std::memcpy(k.At(Mem::kUB, job.index + e * 4), p + 4, 4);
    }
  });
  core.Commit(instr);
}

void SortProposals(Core& core, const Operand& dst, const Operand& src, int repeats, const Where& where) {
  core.CheckStop();
  if (core.stopped()) return;
  const char* name = "RpSort16";
  if (!CheckRepeats(core, name, where, repeats) || !CheckOperand(core, name, where, dst, 32) ||
      !CheckOperand(core, name, where, src, 32) || !repeats)
    return;
  const uint32_t n = static_cast<uint32_t>(repeats) * 16;
  const Access s = Bursts(Mem::kUB, false, src.addr, 1, n * kProposal, 0),
               d = Bursts(Mem::kUB, true, dst.addr, 1, n * kProposal, 0);
  if (!CheckEndOfBuffer(core, name, where, src, s) || !CheckEndOfBuffer(core, name, where, dst, d) ||
      !core.CheckRange(d, name, where, Pipe::kV) ||
      (dst.addr != src.addr && !CheckApart(core, name, where, dst.addr, d.len, src.addr, s.len)))
    return;
  Instr& instr = core.Begin(Pipe::kV, name, where);
  TouchProposals(instr, src.addr, n);
  instr.repeats = static_cast<uint32_t>(repeats);
  instr.cycles = 16.0 * repeats + 20;
  const int64_t from = src.addr, to = dst.addr;
  instr.run.Set([from, to, n, d](Core& k) {
    Proposals all;
    all.Append(k, from, n);
    k.CheckLate(d);
    for (uint32_t first = 0; first < n; first += 16) {
      std::vector<float> scores(16);
      for (uint32_t e = 0; e < 16; ++e)
        scores[e] = LoadScore(&all.bytes[(first + e) * kProposal + 8], DType::kHalf);
      uint32_t place = first;
      for (const uint32_t e : OrderOf(scores)) all.Store(k, to + place++ * kProposal, first + e);
    }
  });
  core.Commit(instr);
}

void Merge(Core& core, const MergeCall& c, const Where& where) {
  core.CheckStop();
  if (core.stopped()) return;
  const uint32_t bytes = c.proposals ? kProposal : kPair;
  auto fail = [&](const std::string& detail) {
    core.Fail(Rule::kMergeQueues, c.name, where, detail, Pipe::kV);
  };
  if (c.valid != 3 && c.valid != 7 && c.valid != 15)
    return fail("validBit is " + std::to_string(c.valid) + ", expected 3, 7 or 15");
  const int queues = c.valid == 3 ? 2 : c.valid == 7 ? 3 : 4;
  uint32_t total = 0;
  bool even = queues == 4 && !c.suspend;
  for (int q = 0; q < queues; ++q) {
    if (c.lengths[q] > 4095)
      return fail("queue " + std::to_string(q) + " has " + std::to_string(c.lengths[q]) +
                  " elements, expected at most 4095");
    if (c.suspend && !c.lengths[q])
      return fail("queue " + std::to_string(q) +
                  " is empty, so a merge that stops at an empty queue does nothing");
    total += c.lengths[q];
    even = even && c.lengths[q] == c.lengths[0] &&
           c.src[q].addr == c.src[0].addr + static_cast<uint32_t>(q) * c.lengths[0] * bytes;
  }
  if (c.repeats > 1 && !even)
    return fail("repeatTimes is " + std::to_string(c.repeats) +
                ", which takes four queues of one length that follow each other, without suspension");
  if (c.repeats < 1) {
    if (c.proposals)
      core.Fail(Rule::kRepeatRange, c.name, where, "repeat times are 0, expected 1..255", Pipe::kV);
    return;
  }
  const uint32_t out = total * bytes * c.repeats;
  if (!CheckOperand(core, c.name, where, c.dst, c.proposals ? 16 : 32)) return;
  for (int q = 0; q < queues; ++q) {
    const Access s =
        Bursts(Mem::kUB, false, c.src[q].addr, 1, c.lengths[q] * bytes + (c.repeats - 1u) * total * bytes, 0);
    if (!CheckOperand(core, c.name, where, c.src[q], static_cast<int>(bytes)) ||
        !CheckEndOfBuffer(core, c.name, where, c.src[q], s) ||
        !CheckApart(core, c.name, where, c.dst.addr, out, c.src[q].addr, s.len))
      return;
  }
  // How much a merge that stops early writes is known when it runs.
  const Access whole = Bursts(Mem::kUB, true, c.dst.addr, 1, out, 0);
  if (!c.suspend && (!CheckEndOfBuffer(core, c.name, where, c.dst, whole) ||
                     !core.CheckRange(whole, c.name, where, Pipe::kV)))
    return;
  Instr& instr = core.Begin(Pipe::kV, c.name, where);
  for (int q = 0; q < queues; ++q) {
    const uint32_t n = c.repeats > 1 ? (q ? 0 : total * c.repeats) : c.lengths[q];
    if (!n) continue;
    if (c.proposals)
      TouchProposals(instr, c.src[q].addr, n);
    else
      instr.Touch(Bursts(Mem::kUB, false, c.src[q].addr, 1, n * bytes, 0));
  }
  instr.repeats = c.repeats;
  instr.cycles = 2.0 * total * c.repeats + 20;
  const MergeCall call = c;
  const Where at = where;
  instr.run.Set([call, at, queues, bytes, total](Core& k) {
    Proposals all;
    std::vector<float> scores;
    uint16_t taken[4] = {};
    std::vector<uint32_t> order;
    for (uint32_t r = 0; r < call.repeats; ++r) {
      uint32_t first[4], next[4], end[4];
      for (int q = 0; q < queues; ++q) {
        first[q] = next[q] = static_cast<uint32_t>(scores.size());
        const int64_t from = call.src[q].addr + static_cast<int64_t>(r) * total * bytes;
        for (uint32_t e = 0; e < call.lengths[q]; ++e)
          scores.push_back(
              LoadScore(k.At(Mem::kUB, from + e * bytes + (call.proposals ? 8 : 0)), call.src[q].type));
        end[q] = static_cast<uint32_t>(scores.size());
        if (call.proposals) {
          all.Append(k, from, call.lengths[q]);
        } else {
          const uint8_t* p = k.At(Mem::kUB, from);
          all.bytes.insert(all.bytes.end(), p, p + call.lengths[q] * bytes);
        }
        for (uint32_t e = next[q] + 1; e < end[q]; ++e)
          if (Before(scores[e], scores[e - 1]))
            return k.Fail(Rule::kMergeQueues, call.name, at,
                          "queue " + std::to_string(q) + " is not sorted: element " +
                              std::to_string(e - next[q]) + " is larger than the one before",
                          Pipe::kV, Mem::kUB, from + static_cast<int64_t>(e - next[q]) * bytes);
      }
      for (bool stop = false; !stop;) {
        int best = -1;
        for (int q = 0; q < queues; ++q)
          if (next[q] < end[q] && (best < 0 || Before(scores[next[q]], scores[next[best]]))) best = q;
        if (best < 0) break;
        order.push_back(next[best]++);
        stop = call.suspend && next[best] == end[best];
      }
      for (int q = 0; q < queues; ++q) taken[q] = static_cast<uint16_t>(next[q] - first[q]);
    }
    const Access d = Bursts(Mem::kUB, true, call.dst.addr, 1, static_cast<uint32_t>(order.size()) * bytes, 0);
    if (!CheckEndOfBuffer(k, call.name, at, call.dst, d) || !k.CheckRange(d, call.name, at, Pipe::kV)) return;
    k.CheckLate(d);
    int64_t to = call.dst.addr;
    for (const uint32_t e : order) {
      if (call.proposals)
        all.Store(k, to, e);
      else
        std::memcpy(k.At(Mem::kUB, to), &all.bytes[e * bytes], bytes);
      to += bytes;
    }
    std::copy(taken, taken + 4, k.merge_taken);
  });
  core.Commit(instr);
  core.merge_seq = instr.seq;
  core.merge_suspends = c.suspend;
}

void MergeResult(Core& core, uint16_t taken[4], bool wait, const Where& where) {
  core.CheckStop();
  if (core.stopped()) return;
  const char* name = "GetMrgSortResult";
  if (!core.merge_seq || !core.merge_suspends) {
    core.Fail(
        Rule::kMergeResult, name, where,
        core.merge_seq ? "the last MrgSort had ifExhaustedSuspension = false" : "no MrgSort came before it");
    return;
  }
  if (wait)
    core.Drain(Pipe::kV, name, where);
  else if (!core.DrainRegister(core.merge_seq, name, "MrgSort", where))
    return;
  std::copy(core.merge_taken, core.merge_taken + 4, taken);
}

void ProposalField(Core& core, const char* name, const Operand& dst, const Operand& src, int repeats,
                   int field, bool extract, const Where& where) {
  core.CheckStop();
  if (core.stopped()) return;
  if (field < 0 || field > 5) {
    core.Fail(Rule::kCountRange, name, where,
              "modeNumber is " + std::to_string(field) + ", expected 0..5 (x1, y1, x2, y2, score, label)",
              Pipe::kV);
    return;
  }
  if (!CheckRepeats(core, name, where, repeats) || !CheckOperand(core, name, where, dst, 32) ||
      !CheckOperand(core, name, where, src, 32) || !repeats)
    return;
  const uint32_t n = static_cast<uint32_t>(repeats) * 16;
  const Operand& proposals = extract ? src : dst;
  const Operand& halves = extract ? dst : src;
  const Access whole = Bursts(Mem::kUB, !extract, proposals.addr, 1, n * kProposal, 0),
               some = Bursts(Mem::kUB, !extract, proposals.addr + field * 2, n, 2, kProposal),
               dense = Bursts(Mem::kUB, extract, halves.addr, 1, n * 2, 0);
  if (!CheckEndOfBuffer(core, name, where, proposals, whole) ||
      !CheckEndOfBuffer(core, name, where, halves, dense) ||
      !CheckApart(core, name, where, dst.addr, extract ? n * 2 : n * kProposal, src.addr,
                  extract ? n * kProposal : n * 2))
    return;
  Instr& instr = core.Begin(Pipe::kV, name, where);
  instr.Touch(extract ? some : dense).Touch(extract ? dense : some);
  instr.repeats = static_cast<uint32_t>(repeats);
  instr.cycles = 16.0 * repeats + 20;
  const int64_t fields = some.addr, list = halves.addr;
  instr.run.Set([fields, list, n, extract](Core& k) {
    for (uint32_t e = 0; e < n; ++e) {
      uint8_t *f = k.At(Mem::kUB, fields + e * kProposal), *h = k.At(Mem::kUB, list + e * 2);
      std::memcpy(extract ? h : f, extract ? f : h, 2);
    }
  });
  core.Commit(instr);
}

}  // namespace ascend_twin
