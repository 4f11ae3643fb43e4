// SPDX-License-Identifier: Apache-2.0
//
// Forward: for each window and head, key tiles outside, query blocks inside, softmax carried along as sum l, unnormalised
// o and, where nothing bounds the scores, running maximum m (see window_attention.h for the mathematics,
// window_attention_cpu.h for the layout). With pairs the operands are bfloat16 (window_attention_pairs.h).
#include "cpu/parallel.h"
#include "window_attention/window_attention_pairs.h"
#include "window_attention/window_attention_regions.h"

namespace swinv2 {
namespace SWINV2_ISA {
namespace {

struct Scratch : Windows {
  float *table, *slabs, *keys, *values, *key_factor, *query_factor, *copies, *p, *q, *o, *m, *l, *divisor,
      *decay, *inverse_l;
  bool resident;  // q^T of the whole window is kept between key tiles
  size_t bytes;

  template <int D>
  Scratch(const Layout<D>& at, const Regions<D>& regions, char* base) : Scratch(at, regions, Arena{base}) {}

 private:
  template <int D>
  Scratch(const Layout<D>& at, const Regions<D>& regions, Arena arena) : Windows(at, arena) {
    resident = at.single_tile || at.queries * (at.d() + at.d_pad()) * sizeof(float) <= kScratchLimit * 2 / 3;
    const int64_t kept = resident && !at.single_tile ? at.queries : kBlock;
    table = arena.take<float>(at.padded_table());
    slabs = arena.take<float>(regions.slabs(at));
    keys = arena.take<float>(kTileKeys * at.d_pad());
    values = arena.take<float>(kTileKeys * at.d_pad());
    key_factor = arena.take<float>(kTileKeys);
    query_factor = arena.take<float>(kept);
    copies = arena.take<float>(kLanes * at.d_pad());
    p = arena.take<float>(kTileKeys * kBlock);
    q = arena.take<float>(kept * at.d());
    o = arena.take<float>(at.single_tile ? 0 : at.queries * at.d_pad());
    m = arena.take<float>(at.queries);
    l = arena.take<float>(at.queries);
    divisor =
        arena.take<float>(at.queries);  // with pairs: the sum of p as rounded; l is exact for the backward
    decay = arena.take<float>(kBlock);
    inverse_l = arena.take<float>(kBlock);
    bytes = arena.used;
  }
};

// A head of a forward, or how it is attended.
//
// `base`: that p = exp2(s - base), and nothing waits for a maximum. It is what the largest score of any row reaches, as
// a token is a key of its own, so that the largest p of a row is at least 1; no p is more than 2^kRange. A whole number
// of log2 units, so that no score is rounded once more. Where a sum leaves float32 all the same, o shows it, and the
// head is done again. NaN: p = exp2(s - m) with the running maximum m. float32 has it always, for a p that is 1 and an o
// that is v where one key has all the weight: ds is then 0, as it should be. The rounding of o to 16 bits gives that too.
//
// `least`: the least lse at which a p between regions is at most 2^-46 / N^2; Inf where an lse is hardly that large.
struct Head {
  float base, least;
  bool based() const { return base == base; }
};
constexpr float kRange = 96;

template <class T>
constexpr bool kMayBeBased = sizeof(T) == 2;

template <class T>
Head head_of(const WindowAttention& op, const float* table, float scale) {
  const Scores scores = bound_scores(op, table, scale);
  const float base = std::floor(scores.least_top);
  const bool within = op.cosine && scores.most - base <= kRange && std::fabs(base) < 0x1p20f;  // for exp2
  const float least = scores.away + 46 + 2 * std::log2(float(op.geometry.tokens()));
  return {within && kMayBeBased<T> ? base : NAN, least <= scores.lse ? least : HUGE_VALF};
}

// Where a key tile stands among those of its window.
struct Step {
  bool first, last;
};

// q^T (d, kBlock) of the block, and the factor of each query's scores; padding gives zeros.
template <class T, class Layout>
void load_queries(const Layout& at, const Scratch& s, float* columns, float* factor, int64_t block,
                  const T* q) {
  const int64_t left = at.N - block * kBlock;
  for (int64_t v = 0; v < kBlock && v < left; v += kLanes, columns += kLanes, factor += kLanes) {
    const int32_t* token = s.window.token + block * kBlock + v;
    const auto query = [&](int64_t i) { return q + (token[i] < 0 ? 0 : token[i]) * at.channels; };
    const float* row[kLanes];
    for (int64_t i = 0; i < kLanes; ++i)
      row[i] = at.row_of(query(i), token[i] >= 0, s.copies + i * at.d_pad());
    at.load_query_columns(columns, factor, row, query);
  }
}

// p^T (keys, queries) of one query block against one key tile, and the running l of its queries: exp2(s^T - base), or
// exp2(s^T - m) with the running maximum m and decay, which brings what earlier tiles gave to the new m. The first block
// loads the values too, a few beside each product, whose instructions leave room for it.
template <int V, bool kPairs, bool kBased, class T, class Layout>
void soften(const Layout& at, const Scratch& s, const KeyTile& tile, int64_t block, bool first, Head head,
            const float* q, const float* query_factor, const T* v, Ahead& ahead) {
  constexpr bool kByTiles = kPairs && kHasTiles;
  const int64_t i = block * kBlock, count = tile.count;
  float *const p = s.p, *const running_m = s.m + i, *const running_l = s.l + i;
  if constexpr (kByTiles) multiply_keys<V>(at, p, s.keys, q, count);
  Vec maximum[V];
  for (int v = 0; v < V; ++v) maximum[v] = first ? splat(kLowest) : load(running_m + v * kLanes);
  Vec sum[V] = {}, rounded[V] = {};
  const Vec less = splat(head.base);

  for (int64_t j = 0; j < count; j += kRowBlock)
    with_rows(count - j < kRowBlock ? count - j : kRowBlock, [&](auto rows) SWINV2_INLINE_LAMBDA {
      constexpr int M = decltype(rows)::value;
      ahead.fetch(kLines / (kPairs ? 2 : 1));
      float* row = p + j * kBlock;
      Vec scores[M][V];
      if constexpr (kPairs) {
        const int64_t pairs = at.d() / 2;
        const float* factor = s.key_factor + j;
        if constexpr (kByTiles) {
          load_rows(scores, row, kBlock);
        } else {
          clear(scores);
          multiply_add<M, V, Pairs>(scores, Broadcast{s.keys + j * pairs, pairs, 1}, q, kBlock, pairs);
        }
#pragma GCC unroll 8
        for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
          for (int v = 0; v < V; ++v) scores[m][v] *= load(query_factor + v * kLanes) * factor[m];
        at.add_bias(scores, tile, s.window, block, j, s.slabs);
      } else {
        at.template scores<M, V>(scores, tile, s.window, block, j, s.slabs, s.keys, q, query_factor);
        if (block == 0) at.load_values(s.values, tile, v, j, j + M);
      }
      if constexpr (kBased) {
#pragma GCC unroll 8
        for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
          for (int v = 0; v < V; ++v) sum[v] += scores[m][v] = exp2(scores[m][v], less);
        if constexpr (kPairs) {
          row = p + j / 2 * kBlock;
#pragma GCC unroll 4
          for (int m = 0; m < M; m += 2)
#pragma GCC unroll 2
            for (int v = 0; v < V; ++v)
              store(row + m / 2 * kBlock + v * kLanes,
                    round_pair(scores[m][v], m + 1 < M ? scores[m + 1][v] : Vec{}, rounded[v]));
          return;
        }
      }
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) {
          store(row + m * kBlock + v * kLanes, scores[m][v]);
          maximum[v] = vmax(maximum[v], scores[m][v]);
        }
    });

  for (int64_t j = 0; j < count && !kBased; j += 2) {
    for (int v = 0; v < V; ++v) {
      const float* from = p + j * kBlock + v * kLanes;
      const Vec e = exp2(load(from) - maximum[v]);
      const Vec next = j + 1 < count ? exp2(load(from + kBlock) - maximum[v]) : Vec{};
      sum[v] += e;
      sum[v] += next;
      if constexpr (kPairs) {
        store(p + j / 2 * kBlock + v * kLanes, round_pair(e, next, rounded[v]));
      } else {
        store(p + j * kBlock + v * kLanes, e);
        store(p + (j + 1) * kBlock + v * kLanes, next);
      }
    }
  }
  for (int v = 0; v < V; ++v) {
    float *m = running_m + v * kLanes, *l = running_l + v * kLanes, *divisor = s.divisor + i + v * kLanes;
    if (!first) {
      const Vec decay = kBased ? splat(1.f) : exp2(load(m) - maximum[v]);
      store(s.decay + v * kLanes, decay);
      sum[v] += load(l) * decay;
      if constexpr (kPairs) rounded[v] += load(divisor) * decay;
    }
    store(m, maximum[v]);
    store(l, sum[v]);
    if constexpr (kPairs) store(divisor, rounded[v]);
  }
}

// M rows of o (queries, d) = p v + decay o from query i on, at channels c; with the last tile out rows = o / l, and what
// of 16 bits is not finite shows in `flaws`. d is in lanes, p is broadcast.
template <int M, int V, bool kPairs, class T, class Layout>
inline __attribute__((always_inline)) void weigh_rows(const Layout& at, const Scratch& s, int64_t keys,
                                                      int64_t i, int64_t c, Step step, T* out, Vec& flaws,
                                                      Ahead& ahead) {
  const int64_t lane = i % kBlock, d = at.d(), d_pad = at.d_pad(), stride = at.out_channels;
  const int32_t* token = s.window.token + i;
  const float *decay = s.decay + lane, *inverse_l = s.inverse_l + lane;
  float* o = s.o + i * d_pad + c;
  Vec acc[M][V];
  ahead.fetch(kLines * (kPairs ? 1 : 2));
  if constexpr (kPairs && kHasTiles) {
    load_rows(acc, s.p + lane * d + c, d);
  } else {
    clear(acc);
    const Broadcast p{s.p + lane, 1, kBlock};
    if constexpr (kPairs)
      multiply_add<M, V, Pairs>(acc, p, s.values + c, d_pad, ceil_div(keys, 2));
    else
      multiply_add<M, V>(acc, p, s.values + c, d_pad, keys);
  }
  if (!step.first)
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) acc[m][v] += load(o + m * d_pad + v * kLanes) * decay[m];
  if (!step.last) {
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) store(o + m * d_pad + v * kLanes, acc[m][v]);
    return;
  }
  Vec flaw{};
#pragma GCC unroll 8
  for (int m = 0; m < M; ++m) {
    if (token[m] < 0) continue;  // padding
    T* row = out + token[m] * stride + c;
#pragma GCC unroll 2
    for (int v = 0; v < V; ++v) {
      const Vec o = acc[m][v] * inverse_l[m];
      if constexpr (kMayBeBased<T>) flaw += o * 0.f;
      store_first(row + v * kLanes, o, d - c - v * kLanes);
    }
  }
  flaws += flaw;
}

template <bool kPairs, class T, class Layout>
void weigh(const Layout& at, const Scratch& s, const KeyTile& tile, int64_t block, Step step, T* out,
           Vec& flaws, Ahead& ahead) {
  const int64_t i0 = block * kBlock, count = at.N - i0 < kBlock ? at.N - i0 : kBlock;
  if (step.last)
    for (int v = 0; v < 2; ++v)
      store(s.inverse_l + v * kLanes, 1.f / load((kPairs ? s.divisor : s.l) + i0 + v * kLanes));
  if constexpr (kPairs && kHasTiles)
    with_vectors(count, [&](auto vectors) {
      multiply_values<decltype(vectors)::value>(at, s.p, s.values, tile.count);
    });
  for (int64_t i = 0; i < count; i += kRowBlock)
    with_rows(count - i < kRowBlock ? count - i : kRowBlock, [&](auto rows) SWINV2_INLINE_LAMBDA {
      at.each_columns([&](int64_t c, auto vectors) SWINV2_INLINE_LAMBDA {
        weigh_rows<decltype(rows)::value, decltype(vectors)::value, kPairs>(at, s, tile.count, i0 + i, c,
                                                                            step, out, flaws, ahead);
      });
    });
}

// lse = base or m + log2(l), kLowest where nothing is a key. False where another is below head.least or NaN.
template <class Layout>
bool store_stats(const Layout& at, const Scratch& s, float* stats, Head head) {
  bool none_below = true;
  for (int64_t i = 0; i < at.N; i += kLanes) {
    const Vec l = load(s.l + i), m = head.based() ? splat(head.base) : load(s.m + i);
    const Vec lse = l == 0.f ? splat(kLowest) : m + log2(l);
    store(s.m + i, lse);
    const VecI fine = (lse >= head.least) | (lse == kLowest);
    if (i + kLanes <= at.N)
      none_below &= all(fine);
    else
      for (int64_t lane = 0; i + lane < at.N; ++lane) none_below &= fine[lane] != 0;
  }
  at.each_row([&](int64_t i, int64_t count, int64_t to) {
    __builtin_memcpy(stats + to, s.m + i, count * sizeof(float));
  });
  return none_below;
}

// A head of a window or of a region. False where it is to be done again: an lse is below head.least, a sum left
// float32 against head.base or, with pairs, a q or k is too large for them.
template <bool kPairs, class T, class Layout>
bool window_head(const Layout& at, const Scratch& s, int64_t index, Head head,
                 const WindowAttentionForward& io, float* stats, Ahead& ahead) {
  const T* q = static_cast<const T*>(io.qkv) + index * at.d();
  const T* k = q + at.out_channels;
  const T* v = k + at.out_channels;
  T* out = static_cast<T*>(io.out) + index * at.d();

  Vec flaws{};
  KeyTile& tile = *s.tile;
  int64_t column = 0, row = 0;
  Step step{true, false};
  for (; !step.last; step.first = false) {
    if (!at.single_tile) at.next(tile, s.window, column, row);
    step.last = at.single_tile || column == at.cols.count;
    at.expand_bias(s.slabs, tile, s.table);
    const float scale = io.scale[index] * kLog2E;
    if constexpr (kPairs) {
      if (!load_key_pairs(at, s.keys, s.key_factor, tile, k, scale)) return false;
      load_value_pairs(at, s.values, tile, v);
    } else {
      at.load_keys(s.keys, s.key_factor, tile, k, scale);
    }
    for (int64_t block = 0; block < at.blocks; ++block) {
      const int64_t kept = s.resident && !at.single_tile ? block * kBlock : 0;
      float *qt = s.q + kept * at.d(), *query_factor = s.query_factor + kept;
      if (step.first || !s.resident) {
        if constexpr (kPairs) {
          if (!load_query_pairs(at, qt, query_factor, s.window, block, q)) return false;
        } else {
          load_queries(at, s, qt, query_factor, block, q);
        }
      }
      with_vectors(at.N - block * kBlock, [&](auto vectors) {
        const auto run = [&](auto based) {
          soften<decltype(vectors)::value, kPairs, decltype(based)::value>(at, s, tile, block, step.first,
                                                                           head, qt, query_factor, v, ahead);
        };
        if constexpr (kMayBeBased<T>)
          if (head.based()) return run(std::true_type{});
        run(std::false_type{});
      });
      weigh<kPairs>(at, s, tile, block, step, out, flaws, ahead);
    }
  }
  return store_stats(at, s, stats, head) && (!head.based() || all(flaws == 0.f));
}

template <class T, int D>
void forward(const WindowAttention& op, const WindowAttentionForward& io) {
  const Layout<D> at(op);
  const Regions<D> regions(op);
  std::vector<Head> heads;
  for (int64_t head = 0; head < op.num_heads; ++head)
    heads.push_back(head_of<T>(op, io.bias_table + head * op.table_size(), io.scale[head]));
  const WindowGeometry& g = op.geometry;
  const int64_t per_image = g.height * g.width * at.out_channels;
  if (g.valid_h < g.height || g.valid_w < g.width)  // padding tokens are written by nobody else
    parallel_for(g.batch, 1, [&](int64_t begin, int64_t end) {
      __builtin_memset(static_cast<T*>(io.out) + begin * per_image, 0, (end - begin) * per_image * sizeof(T));
    });

  constexpr bool kPairs = kHasPairs && std::is_same<T, BFloat16>::value && D == 32;
  const float bits = op.mask_value == -HUGE_VALF ? kHighest : 20;  // log2 V
  const Units units(op, 16 * num_threads(), 16 * num_threads());
  parallel_ahead(units.count(), [&](int64_t piece, int64_t after) {
    const Tiles<kPairs> tiles(op.cosine);
    Scratch s(at, regions, static_cast<char*>(thread_scratch(Scratch(at, regions, nullptr).bytes)));
    units.each(piece, after, [&](const Unit& unit) {
      s.enter(at, regions, unit);
      const Window& window = s.whole;
      Ahead ahead(at, unit, s.coming);
      ahead.add(static_cast<const T*>(io.qkv), 3);
      ahead.add(static_cast<const T*>(io.out), 1);
      float* stats = io.stats + (unit.window * op.num_heads + unit.head) * op.stats_tokens();
      for (int64_t i = at.N; i < op.stats_tokens(); ++i) stats[i] = 0;

      const T* values = static_cast<const T*>(io.qkv) + 2 * at.out_channels + unit.head * at.d();
      const Head head = heads[unit.head];
      const bool apart = window.masked && regions.any() && head.least < HUGE_VALF &&
                         spread(at, window, values, at.channels).bits <= bits;
      if (apart) ahead.hurry();
      at.load_table(s.table, io.bias_table + unit.head * op.table_size());
      const auto attend = [&](auto with_pairs, Head how) {
        constexpr bool kWith = decltype(with_pairs)::value;
        bool done = apart;
        for (int r = 0; done && r < int(regions.of(window).size()); ++r) {
          s.attend(1 + r);
          done = window_head<kWith, T>(regions.of(window)[r], s, unit.head, how, io, stats, ahead);
        }
        s.attend(0);
        return done || window_head<kWith, T>(at, s, unit.head, {how.base, kLowest}, io, stats, ahead);
      };
      if constexpr (kPairs) {
        if (op.cosine && attend(std::true_type{}, head)) return;
      } else if (head.based() && attend(std::false_type{}, head)) {
        return;
      }
      attend(std::false_type{}, Head{NAN, head.least});
    });
  });
}

}  // namespace

size_t window_attention_forward_scratch(const WindowAttention& op) {
  return Scratch(Layout<0>(op), Regions<0>(op), nullptr).bytes;
}

void window_attention_forward(const WindowAttention& op, const WindowAttentionForward& io) {
  with_storage(op.dtype, [&](auto x) {
    using T = decltype(x);
    op.head_dim == 32 ? forward<T, 32>(op, io) : forward<T, 0>(op, io);
  });
}

}  // namespace SWINV2_ISA
}  // namespace swinv2
