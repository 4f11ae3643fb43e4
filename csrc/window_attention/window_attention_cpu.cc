// SPDX-License-Identifier: Apache-2.0
//
// Forward: for each window and head, key tiles outside, query blocks inside, softmax carried along as running
// maximum m, sum l and unnormalised o^T (see window_attention.h for the mathematics, window_attention_cpu.h
// for the layout).
#include "window_attention/window_attention_cpu.h"

#include "cpu/parallel.h"

namespace swinv2 {
namespace SWINV2_ISA {
namespace {

struct Scratch {
  Window window;
  float *table, *slabs, *keys, *values, *inverse, *p, *q, *o, *m, *l;
  bool resident;  // q^T of the whole window is kept between key tiles
  size_t bytes;

  template <class Layout>
  Scratch(const Layout& at, char* base) {
    resident = 2 * at.queries * at.d() * sizeof(float) <= kScratchLimit * 3 / 4;
    Arena arena{base};
    window.token = arena.take<int32_t>(at.queries);
    window.mask = arena.take<float>(4 * at.queries);
    table = arena.take<float>(at.padded_table());
    slabs = arena.take<float>(at.tile_columns * at.slab);
    keys = arena.take<float>(kTileKeys * at.d());
    values = arena.take<float>(kTileKeys * at.d());
    inverse = arena.take<float>(kBlock > kTileKeys ? kBlock : kTileKeys);
    p = arena.take<float>(kTileKeys * kBlock);
    q = arena.take<float>((resident && !at.single_tile ? at.queries : kBlock) * at.d());
    o = arena.take<float>((at.single_tile ? kBlock : at.queries) * at.d());
    m = arena.take<float>(at.queries);
    l = arena.take<float>(at.queries);
    bytes = arena.used;
  }
};

// One query block against one key tile.
template <int V, class Layout>
void attend(const Layout& at, const Scratch& s, const KeyTile& tile, int64_t block, bool first,
            const float* q, float* o) {
  const int64_t i = block * kBlock;
  Vec maximum[V];
  for (int v = 0; v < V; ++v) maximum[v] = first ? splat(kLowest) : load(s.m + i + v * kLanes);

  for (int64_t j = 0; j < tile.count; j += kRowBlock)
    with_rows(tile.count - j < kRowBlock ? tile.count - j : kRowBlock, [&](auto rows) {
      constexpr int M = decltype(rows)::value;
      Vec scores[M][V];
      at.template scores<M, V>(scores, tile, s.window, block, j, s.slabs, s.keys, q);
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) {
          store(s.p + (j + m) * kBlock + v * kLanes, scores[m][v]);
          maximum[v] = vmax(maximum[v], scores[m][v]);
        }
    });

  Vec sum[V], decay[V];  // decay: what earlier tiles gave, brought to the new maximum
  for (int v = 0; v < V; ++v) {
    sum[v] = Vec{};
    decay[v] = first ? Vec{} : exp2(load(s.m + i + v * kLanes) - maximum[v]);
    store(s.m + i + v * kLanes, maximum[v]);
  }
  for (int64_t j = 0; j < tile.count; ++j)
    for (int v = 0; v < V; ++v) {
      float* p = s.p + j * kBlock + v * kLanes;
      const Vec e = exp2(load(p) - maximum[v]);
      sum[v] += e;
      store(p, e);
    }
  for (int v = 0; v < V; ++v)
    store(s.l + i + v * kLanes, first ? sum[v] : sum[v] + load(s.l + i + v * kLanes) * decay[v]);

  // o^T (d, queries) = v^T p^T + decay o^T
  product<V>(o, kBlock, first ? nullptr : decay, at.d(), Broadcast{s.values, 1, at.d()}, s.p, kBlock,
             tile.count);
}

// out rows and stats of one query block: o / l, lse = m + log2(l).
template <class T, class Layout>
void finish(const Layout& at, const Scratch& s, int64_t block, float* o, T* out, float* stats) {
  for (int v = 0; v < 2; ++v) {
    const int64_t i = block * kBlock + v * kLanes;
    if (i >= at.N) break;
    const Vec l = load(s.l + i), inverse = 1.f / l, lse = load(s.m + i) + log2(l);
    const int64_t left = at.op.stats_tokens() - i;
    store_first(stats + i, lse, left < kLanes ? left : kLanes);
    for (int64_t c = 0; c < at.d(); ++c) {
      float* p = o + c * kBlock + v * kLanes;
      store(p, load(p) * inverse);
    }
  }
  at.store_transposed(out, at.out_channels, s.window, block, o);
}

template <class T, class Layout>
void window_head(const Layout& at, const Scratch& s, int64_t head, bool new_head,
                 const WindowAttentionForward& io, float* stats) {
  const T* q = static_cast<const T*>(io.qkv) + head * at.d();
  const T* k = q + at.out_channels;
  const T* v = k + at.out_channels;
  T* out = static_cast<T*>(io.out) + head * at.d();

  KeyTile tile;
  int64_t column = 0, row = 0;
  bool first = true, more = at.next(tile, s.window, column, row);
  while (more) {
    const bool last = column == at.op.geometry.window_w;
    if (new_head || !at.single_tile) at.expand_bias(s.slabs, tile, s.table);
    at.load_keys(s.keys, s.inverse, tile, k, io.scale[head] * kLog2E);
    at.load_values(s.values, tile, v);
    for (int64_t block = 0; block < at.blocks; ++block) {
      float* qt = s.q + (s.resident && !at.single_tile ? block * kBlock * at.d() : 0);
      float* o = s.o + (at.single_tile ? 0 : block * kBlock * at.d());
      if (first || !s.resident) at.load_queries(qt, s.inverse, s.window, block, q);
      with_vectors(at.N - block * kBlock,
                   [&](auto vectors) { attend<decltype(vectors)::value>(at, s, tile, block, first, qt, o); });
      if (last) finish(at, s, block, o, out, stats);
    }
    first = false;
    more = at.next(tile, s.window, column, row);
  }
}

template <class T, int D>
void forward(const WindowAttention& op, const WindowAttentionForward& io) {
  const Layout<D> at(op);
  const WindowGeometry& g = op.geometry;
  const int64_t per_image = g.height * g.width * at.out_channels;
  if (g.valid_h < g.height || g.valid_w < g.width)  // padding tokens are written by nobody else
    parallel_for(g.batch, 1, [&](int64_t begin, int64_t end) {
      __builtin_memset(static_cast<T*>(io.out) + begin * per_image, 0, (end - begin) * per_image * sizeof(T));
    });

  const Units units(op, ceil_div(256, op.num_heads));
  parallel_for(units.count(), 1, [&](int64_t begin, int64_t end) {
    Scratch s(at, static_cast<char*>(thread_scratch(Scratch(at, nullptr).bytes)));
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t head = units.head(unit), start = units.begin(unit);
      at.load_table(s.table, io.bias_table + head * op.table_size());
      for (int64_t index = start; index < units.end(unit); ++index) {
        at.locate(s.window, index);
        float* stats = io.stats + (index * op.num_heads + head) * op.stats_tokens();
        window_head<T>(at, s, head, index == start, io, stats);
      }
    }
  });
}

}  // namespace

size_t window_attention_forward_scratch(const WindowAttention& op) {
  return Scratch(Layout<0>(op), nullptr).bytes;
}

void window_attention_forward(const WindowAttention& op, const WindowAttentionForward& io) {
  with_storage(op.dtype, [&](auto x) {
    using T = decltype(x);
    op.head_dim == 32 ? forward<T, 32>(op, io) : forward<T, 0>(op, io);
  });
}

}  // namespace SWINV2_ISA
}  // namespace swinv2
