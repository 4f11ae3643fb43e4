// SPDX-License-Identifier: Apache-2.0
// Happens-before checks. Every 32 B block knows its last writer and its last readers, of GM every access of a byte that
// still matters; a conflicting access is an error unless the accessing pipe knows, through flags and barriers, that they
// are complete.
#include <algorithm>

#include "machine.h"

namespace ascend_twin {

namespace {

int Index(Pipe pipe) {
  return static_cast<int>(pipe);
}

uint32_t Stamp(uint32_t seq, Pipe pipe) {
  return seq << 3 | static_cast<uint32_t>(pipe);
}

// The bytes of a block that an element mask selects.
uint32_t ByteMask(const uint64_t mask[2], int block, int element) {
  const int per_block = kBlock / element;
  const int bit = block * per_block;
  const uint64_t bits = mask[bit >> 6] >> (bit & 63);
  uint32_t bytes = 0;
  const uint32_t one = element == 4 ? 0xfu : element == 2 ? 0x3u : element == 8 ? 0xffu : 0x1u;
  for (int i = 0; i < per_block; ++i)
    if (bits >> i & 1) bytes |= one << (i * element);
  return bytes;
}

// Calls f(block index, byte mask) for every block of an access; f returns false to stop.
template <typename F>
void ForBlocks(const Access& a, F f) {
  if (a.blocks) {
    uint32_t body[32], tail[32];
    const int blocks = std::min<int>(a.blocks, 32);
    for (int b = 0; b < blocks; ++b) {
      if (a.block_bytes) {
        body[b] = tail[b] = a.block_bytes >= kBlock ? ~0u : (1u << a.block_bytes) - 1;
        continue;
      }
      const bool in_mask = b * static_cast<int>(kBlock) / a.element < 128;
      body[b] = in_mask ? ByteMask(a.mask, b, a.element) : ~0u;
      tail[b] = in_mask ? ByteMask(a.last_mask, b, a.element) : ~0u;
    }
    for (uint32_t r = 0; r < a.count; ++r) {
      const uint32_t* m = r + 1 == a.count ? tail : body;
      const int64_t start = a.addr + static_cast<int64_t>(r) * a.stride;
      for (int b = 0; b < blocks; ++b)
        if (m[b] && !f((start + static_cast<int64_t>(b) * a.block_stride) / kBlock, m[b])) return;
    }
    return;
  }
  if (a.len == 0) return;
  for (uint32_t i = 0; i < a.count; ++i) {
    const int64_t start = a.addr + static_cast<int64_t>(i) * a.stride, end = start + a.len;
    const int64_t first = start / kBlock, last = (end - 1) / kBlock;
    for (int64_t b = first; b <= last; ++b) {
      uint32_t m = ~0u;
      if (b == first) m &= ~0u << (start % kBlock);
      if (b == last && end % kBlock) m &= ~0u >> (kBlock - end % kBlock);
      if (!f(b, m)) return;
    }
  }
}

// Readers of one memory fall into at most three classes that are remembered apart.
int ReaderClass(Mem mem, Pipe pipe) {
  switch (mem) {
    case Mem::kUB:
      return pipe == Pipe::kV ? 0 : pipe == Pipe::kMTE3 ? 1 : 2;
    case Mem::kL1:
      return pipe == Pipe::kMTE1 ? 0 : pipe == Pipe::kMTE3 ? 1 : 2;
    default:
      return pipe == Pipe::kM ? 0 : pipe == Pipe::kMTE1 ? 1 : 2;
  }
}

std::string Since(Pipe other, const char* what) {
  return std::string("no flag or barrier orders it behind the ") + what + " by pipe " + PipeName(other);
}

}  // namespace

void Core::CheckHazards(const Instr& instr, const Access& access, const Clock& known, uint32_t remote) {
  if (access.count == 0) return;
  if (access.mem == Mem::kGM)
    machine.CheckGm(*this, instr, access, known, remote);
  else
    CheckLocal(instr, access, known);
}

bool Core::Pending(const Instr& before, Mem mem, int64_t addr, bool write) const {
  const auto touches = [&](const Access& a) {
    bool hit = false;
    if (a.write == write && a.mem == mem)
      ForBlocks(a, [&](int64_t b, uint32_t) {
        hit = b == addr / kBlock;
        return !hit;
      });
    return hit;
  };
  for (const Queue& queue : queue_)
    for (const Instr& instr : queue.instrs) {
      if (instr.seq >= before.seq || instr.kind != InstrKind::kExecute) continue;
      if (std::any_of(instr.access, instr.access + instr.accesses, touches)) return true;
      if (instr.more && std::any_of(instr.more->begin(), instr.more->end(), touches)) return true;
    }
  return false;
}

void Core::SetWritten(Mem mem, int64_t addr, uint32_t bytes, bool written) {
  BlockState* state = memory[static_cast<int>(mem)].state.data();
  for (int64_t b = addr; b < addr + bytes; ++b) {
    const uint32_t bit = 1u << (b % kBlock);
    uint32_t& mask = state[b / kBlock].written;
    mask = written ? mask | bit : mask & ~bit;
  }
}

bool Core::AllWritten(Mem mem, int64_t addr, int64_t bytes) const {
  const BlockState* state = memory[static_cast<int>(mem)].state.data();
  for (int64_t b = addr / kBlock; b < (addr + bytes + kBlock - 1) / kBlock; ++b)
    if (~state[b].Written(executing_->seq)) return false;
  return true;
}

void Core::MoveWritten(Mem from, int64_t src, Mem to, int64_t dst, int64_t bytes) {
  const BlockState* source = memory[static_cast<int>(from)].state.data();
  BlockState* target = memory[static_cast<int>(to)].state.data();
  for (int64_t b = 0; b < bytes / kBlock; ++b)
    target[dst / kBlock + b].written = source[src / kBlock + b].Written(executing_->seq);
}

void Core::CheckLocal(const Instr& instr, const Access& access, const Clock& known) {
  LocalMemory& local = memory[static_cast<int>(access.mem)];
  BlockState* state = local.state.data();
  const uint32_t me = Stamp(instr.seq, instr.pipe);
  const int reader_class = ReaderClass(access.mem, instr.pipe);
  const bool scalar = instr.pipe == Pipe::kS;
  // An earlier access is fine if complete, or if it is this very instruction or an in-order scalar access.
  auto ordered = [&](uint32_t stamp) {
    const uint32_t seq = stamp >> 3, pipe = stamp & 7;
    return stamp == 0 || known.done[pipe] >= seq || stamp == me || (scalar && pipe == 0) ||
           (access.same_pipe_ordered && static_cast<int>(pipe) == Index(instr.pipe));
  };
  auto fail = [&](Rule rule, int64_t b, Pipe other, const char* what) {
    Fail(rule, instr.name, instr.where, Since(other, what), instr.pipe, access.mem, b * kBlock);
  };
  ForBlocks(access, [&](int64_t b, uint32_t bytes) {
    BlockState& s = state[b];
    const uint32_t written = s.Written(instr.seq), missing = bytes & ~written;
    if (!access.write) {
      if (!ordered(s.writer)) {
        const bool writer_first = (s.writer >> 3) < instr.seq;
        fail(writer_first ? Rule::kHazardRaw : Rule::kHazardWar, b, static_cast<Pipe>(s.writer & 7),
             writer_first ? "write" : "later write");
        return false;
      }
      if (access.moved && missing && !Pending(instr, access.mem, b * kBlock, true)) {
        s.reader[reader_class] = me;
        return true;
      }
      const bool copied_out = machine.options.copy_uninitialised && instr.pipe == Pipe::kMTE3;
      if (missing && !(copied_out && !Pending(instr, access.mem, b * kBlock, true))) {
        if (Pending(instr, access.mem, b * kBlock, true)) {
          Fail(Rule::kHazardRaw, instr.name, instr.where,
               "an earlier instruction that writes this block had not run, and nothing makes this one wait",
               instr.pipe, access.mem, b * kBlock);
        } else {
          const int64_t first = b * kBlock + __builtin_ctz(missing);
          Fail(Rule::kUninitialised, instr.name, instr.where,
               std::string("byte ") + std::to_string(first) + " of " + MemName(access.mem) +
                   " was never written, or not since its buffer was allocated",
               instr.pipe, access.mem, first);
        }
        return false;
      }
      s.reader[reader_class] = me;
      return true;
    }
    for (uint32_t reader : s.reader)
      if (!ordered(reader)) {
        const bool reader_first = (reader >> 3) < instr.seq;
        // A scalar read is complete before the scalar unit issues anything else.
        if (reader_first && (reader & 7) == 0) continue;
        fail(reader_first ? Rule::kHazardWar : Rule::kHazardRaw, b, static_cast<Pipe>(reader & 7),
             reader_first ? "read" : "later read");
        return false;
      }
    if (!ordered(s.writer)) {
      if (Pending(instr, access.mem, b * kBlock, false))  // the read in between has not even run
        Fail(Rule::kHazardWar, instr.name, instr.where,
             "an earlier instruction that reads this block had not run", instr.pipe, access.mem, b * kBlock);
      else
        fail(Rule::kHazardWaw, b, static_cast<Pipe>(s.writer & 7), "write");
      return false;
    }
    s.writer = me;
    s.reader[0] = s.reader[1] = s.reader[2] = 0;
    s.written = written | bytes;
    return true;
  });
}

// A scalar read of a line that the data cache holds as it was before someone wrote it.
bool Machine::CheckStale(Core& core, const Instr& instr, const Access& access) {
  const uint32_t line = static_cast<uint32_t>(access.addr / 64);
  const auto& blocks = gm_state[access.gm].blocks;
  uint32_t version = 0;
  for (size_t b = line * 2; b < line * 2 + 2 && b < blocks.size(); ++b) version += blocks[b].version;
  for (CachedLine& c : cached[static_cast<size_t>(core.index)])
    if (c.tensor == access.gm && c.line == line) {
      if (access.write || c.version == version) return true;
      core.Fail(Rule::kGmCache, instr.name, instr.where,
                "the scalar unit read this line of GM tensor '" + gm.tensors()[access.gm].name +
                    "' before it was written; DataCacheCleanAndInvalid is missing",
                Pipe::kS, Mem::kGM, access.addr);
      return false;
    }
  if (!access.write) cached[static_cast<size_t>(core.index)].push_back({access.gm, line, version});
  return true;
}

void Machine::CheckGm(Core& core, const Instr& instr, const Access& access, const Clock& known,
                      uint32_t remote) {
  GmState& state = gm_state[access.gm];
  const GmTensor& tensor = gm.tensors()[access.gm];
  if (tensor.kind == GmKind::kInput) return;
  const uint32_t me = static_cast<uint32_t>(core.index * kPipes + Index(instr.pipe)) + 1;
  const std::vector<uint32_t>& seen = core.remote_[remote];
  const bool scalar = instr.pipe == Pipe::kS;
  auto by_scalar = [](const GmAccess& a) { return (a.who - 1) % kPipes == 0; };
  auto by_other = [&](const GmAccess& a) {
    return (a.who - 1) / kPipes != static_cast<uint32_t>(core.index);
  };
  auto ordered = [&](const GmAccess& a) {
    if (by_other(a)) return a.who - 1 < seen.size() && seen[a.who - 1] >= a.seq;
    return known.done[(a.who - 1) % kPipes] >= a.seq || (a.who == me && a.seq == instr.seq) ||
           (scalar && by_scalar(a));
  };
  auto fail = [&](Rule same_core, const GmAccess& a, int64_t b, const char* what) {
    const Core& other = *cores[(a.who - 1) / kPipes];
    const Pipe pipe = static_cast<Pipe>((a.who - 1) % kPipes);
    if (&other == &core) {
      core.Fail(same_core, instr.name, instr.where, Since(pipe, what) + " of GM tensor '" + tensor.name + "'",
                instr.pipe, Mem::kGM, b * kBlock);
    } else {
      core.Fail(Rule::kGmRace, instr.name, instr.where,
                std::string(access.write ? "writes" : "reads") + " bytes of GM tensor '" + tensor.name +
                    "' with no order to the " + what + " by block " + std::to_string(other.block) + " " +
                    other.Name() + " pipe " + PipeName(pipe),
                instr.pipe, Mem::kGM, b * kBlock);
    }
    return false;
  };
  if (scalar && !CheckStale(core, instr, access)) return;
  ForBlocks(access, [&](int64_t b, uint32_t bytes) {
    GmBlock& s = state.blocks[b];
    // A scalar write takes the whole 64 B line through its cache: the other half must not be someone else's.
    if (access.write && static_cast<size_t>(b ^ 1) < state.blocks.size() &&
        !state.blocks[b ^ 1].writers.All([&](const GmAccess& w) {
          return !(scalar || by_scalar(w)) || !by_other(w) || ordered(w) ||
                 fail(Rule::kGmRace, w, b, "write of the same 64 B line");
        }))
      return false;
    if (!access.write) {
      if (!s.writers.All([&](const GmAccess& w) {
            if (!(w.bytes & bytes)) return true;
            if (!ordered(w))
              return fail(w.seq < instr.seq ? Rule::kHazardRaw : Rule::kHazardWar, w, b, "write");
            if (!w.dirty || (scalar && !by_other(w))) return true;
            core.Fail(Rule::kGmCache, instr.name, instr.where,
                      "reads what a scalar unit wrote to GM tensor '" + tensor.name +
                          "' and did not clean out of its cache (DataCacheCleanAndInvalid)",
                      instr.pipe, Mem::kGM, b * kBlock);
            return false;
          }))
        return false;
      if (bytes & ~s.written) {
        const bool pending = core.Pending(instr, Mem::kGM, b * kBlock, true);
        Error error =
            core.MakeError(pending ? Rule::kHazardRaw : Rule::kUninitialised, instr.name, instr.where,
                           "byte " + std::to_string(b * kBlock + __builtin_ctz(bytes & ~s.written)) +
                               " of GM tensor '" + tensor.name + "' was not written before",
                           instr.pipe, Mem::kGM, b * kBlock);
        if (pending) {
          AddError(std::move(error));
          return false;
        }
        if (suspected.empty())
          suspected.push_back(std::move(error));  // a later, unordered write makes it a race
      }
      s.readers.Take(bytes, [&](const GmAccess& r) { return r.who == me; });
      s.readers.Add({me, instr.seq, bytes});
      return true;
    }
    if (!s.writers.All([&](const GmAccess& w) {
          const bool beside = !(w.bytes & bytes) && !scalar && !by_scalar(w);
          return beside || (access.atomic && w.atomic == access.atomic) || ordered(w) ||
                 fail(Rule::kHazardWaw, w, b, "write");
        }))
      return false;
    if (!s.readers.All([&](const GmAccess& r) {
          return !(r.bytes & bytes) || ordered(r) || (!by_other(r) && by_scalar(r)) ||
                 fail(r.seq < instr.seq ? Rule::kHazardWar : Rule::kHazardRaw, r, b, "read");
        }))
      return false;
    if (access.atomic && (bytes & ~s.written) && tensor.kind != GmKind::kInOut) {
      core.Fail(Rule::kUninitialised, instr.name, instr.where,
                "an atomic update of GM tensor '" + tensor.name + "', which holds no value yet", instr.pipe,
                Mem::kGM, b * kBlock);
      return false;
    }
    // Who races with what an atomic update found there need not race with the update itself.
    s.writers.Take(bytes, [&](const GmAccess& w) {
      return !access.atomic || (w.atomic == access.atomic && (w.who == me || ordered(w)));
    });
    if (!access.atomic) s.readers.Take(bytes, [](const GmAccess&) { return true; });
    s.writers.Add({me, instr.seq, bytes, access.atomic, scalar});
    s.written |= bytes;
    if (!scalar) ++s.version;
    return true;
  });
}

}  // namespace ascend_twin
