// SPDX-License-Identifier: Apache-2.0
//
// Backward: the loops of the forward, with p recomputed from lse. Sums that cross windows (dbias_table,
// dscale) go to one partial a (window chunk, head) and are added in that order: the chunks depend on the
// shape alone, so the result does not depend on the number of threads.
#include <memory>

#include "cpu/parallel.h"
#include "window_attention/window_attention_cpu.h"

namespace swinv2 {
namespace SWINV2_ISA {
namespace {

struct Scratch {
  Window window, coming;
  float *table, *slabs, *dslabs, *keys, *values, *inverse_keys, *dkeys, *dvalues, *p, *ds, *dq;
  float *q_columns, *q_rows, *do_columns, *do_rows, *o_columns, *copies, *inverse_queries, *D, *lse;
  bool resident;     // the query side of the whole window is kept between key tiles
  bool accumulates;  // dslabs (heads of the group, columns, slab) sum over the windows of a chunk
  size_t bytes;

  template <class Layout>
  Scratch(const Layout& at, char* base) {
    const int64_t side = 2 * kBlock * (at.d() + at.d_pad());
    resident = at.blocks * (side + kBlock * at.d()) * sizeof(float) <= kScratchLimit * 3 / 4;
    const int64_t kept = resident ? at.blocks : 1;
    Arena arena{base};
    for (Window* w : {&window, &coming}) {
      w->token = arena.take<int32_t>(at.queries);
      w->mask = arena.take<float>(4 * at.queries);
    }
    table = arena.take<float>(at.padded_table());
    slabs = arena.take<float>(at.tile_columns * at.slab);
    keys = arena.take<float>(kTileKeys * at.d_pad());
    values = arena.take<float>(kTileKeys * at.d_pad());
    inverse_keys = arena.take<float>(kTileKeys);
    dkeys = arena.take<float>(kTileKeys * at.d_pad());
    dvalues = arena.take<float>(kTileKeys * at.d_pad());
    p = arena.take<float>(kTileKeys * kBlock);
    ds = arena.take<float>(kTileKeys * kBlock);
    dq = arena.take<float>(at.queries * at.d_pad());
    q_columns = arena.take<float>(kept * kBlock * at.d());
    q_rows = arena.take<float>(kept * kBlock * at.d_pad());
    do_columns = arena.take<float>(kept * kBlock * at.d());
    do_rows = arena.take<float>(kept * kBlock * at.d_pad());
    o_columns = arena.take<float>(kBlock * at.d());
    copies = arena.take<float>(kLanes * at.d_pad());
    inverse_queries = arena.take<float>(at.queries);
    D = arena.take<float>(at.queries);
    lse = arena.take<float>(at.queries);
    const int64_t of_head = at.tile_columns * at.slab, of_heads = at.op.num_heads * of_head;
    accumulates = at.single_tile && arena.used + of_heads * sizeof(float) <= kScratchLimit;
    dslabs = arena.take<float>(accumulates ? of_heads : of_head);
    bytes = arena.used;
  }
};

// The query side of one block: q^ and do, both as columns (d, kBlock) and as rows (kBlock, d_pad).
struct QueryBlock {
  float *q_columns, *q_rows, *do_columns, *do_rows;
  template <class Layout>
  QueryBlock(const Layout& at, const Scratch& s, int64_t block) {
    const int64_t i = s.resident ? block * kBlock : 0;
    q_columns = s.q_columns + i * at.d();
    q_rows = s.q_rows + i * at.d_pad();
    do_columns = s.do_columns + i * at.d();
    do_rows = s.do_rows + i * at.d_pad();
  }
};

template <class T, class Layout>
void load_query_block(const Layout& at, const Scratch& s, int64_t block, const T* q, const T* out,
                      const T* dout, const float* stats) {
  const QueryBlock to(at, s, block);
  const int64_t i0 = block * kBlock;
  at.load_queries(to.q_columns, s.inverse_queries + i0, s.window, block, q, s.copies);
  Vec unused[2];
  at.load_transposed(to.do_columns, s.window, block, dout, at.out_channels, s.copies, unused);
  at.load_transposed(s.o_columns, s.window, block, out, at.out_channels, s.copies, unused);
  // D in the order of do . v below: where one p is 1 and o = v, ds cancels exactly.
  for (int v = 0; v < 2; ++v) {
    Vec D{};
    for (int64_t c = 0; c < at.d(); ++c)
      D += load(to.do_columns + c * kBlock + v * kLanes) * load(s.o_columns + c * kBlock + v * kLanes);
    store(s.D + i0 + v * kLanes, D);
  }
  for (int64_t i = 0; i < kBlock; ++i) {
    const int32_t token = s.window.token[i0 + i];
    s.lse[i0 + i] = token < 0 ? -kLowest : stats[i0 + i];  // padding: p = exp2(s - lse) = 0
    const float inverse = at.op.cosine ? s.inverse_queries[i0 + i] : 1.f;
    for (int64_t c = 0; c < at.d(); c += kLanes) {
      const int64_t n = at.d() - c;
      store(to.q_rows + i * at.d_pad() + c,
            token < 0 ? Vec{} : load_first(q + token * at.channels + c, n) * inverse);
      store(to.do_rows + i * at.d_pad() + c,
            token < 0 ? Vec{} : load_first(dout + token * at.out_channels + c, n));
    }
  }
}

// One query block against one key tile: p and ds, both (keys, kBlock), and dslabs.
template <int V, class Layout>
void weights_and_gradients(const Layout& at, const Scratch& s, const KeyTile& tile, int64_t block,
                           float* dslabs, Ahead& ahead) {
  const QueryBlock from(at, s, block);
  const int64_t i = block * kBlock;
  Vec lse[V], D[V];
  for (int v = 0; v < V; ++v) {
    lse[v] = load(s.lse + i + v * kLanes);
    D[v] = load(s.D + i + v * kLanes);
  }
  for (int64_t j = 0; j < tile.count; j += kRowBlock)
    with_rows(tile.count - j < kRowBlock ? tile.count - j : kRowBlock, [&](auto rows) {
      constexpr int M = decltype(rows)::value;
      Vec t[M][V];
      ahead.fetch(32);
      at.template scores<M, V>(t, tile, s.window, block, j, s.slabs, s.keys, from.q_columns);
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) store(s.p + (j + m) * kBlock + v * kLanes, exp2(t[m][v] - lse[v]));
      ahead.fetch(32);
      clear(t);
      multiply_add<M, V>(t, Broadcast{s.values + j * at.d_pad(), at.d_pad(), 1}, from.do_columns, kBlock,
                         at.d());
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) {
          const Vec ds = load(s.p + (j + m) * kBlock + v * kLanes) * (t[m][v] - D[v]);
          store(s.ds + (j + m) * kBlock + v * kLanes, ds);
          float* dbias = dslabs + tile.bias[j + m] + i + v * kLanes;
          store(dbias, load(dbias) + ds);
        }
    });
}

// dv (keys, d) += p do, dk^ (keys, d) += ds q^, dq^ (queries, d) += ds^T k^; the first adds to nothing.
template <class Layout>
void multiply_gradients(const Layout& at, const Scratch& s, const KeyTile& tile, int64_t block, bool first) {
  const QueryBlock from(at, s, block);
  const int64_t left = at.N - block * kBlock, queries = left < kBlock ? left : kBlock, ld = at.d_pad();
  at.each_columns([&](int64_t c, auto vectors) {
    constexpr int V = decltype(vectors)::value;
    product<V>(s.dvalues + c, ld, block > 0, tile.count, Broadcast{s.p, kBlock, 1}, from.do_rows + c, ld,
               queries);
    product<V>(s.dkeys + c, ld, block > 0, tile.count, Broadcast{s.ds, kBlock, 1}, from.q_rows + c, ld,
               queries);
    product<V>(s.dq + block * kBlock * ld + c, ld, !first, queries, Broadcast{s.ds, 1, kBlock}, s.keys + c,
               ld, tile.count);
  });
}

// dx = (dx^ - x^ (x^ . dx^)) a / |x| of up to kLanes tokens from dx^ (tokens, d_pad). Returns the sum of x^ . dx^.
template <class T, class Layout>
float store_gradients(const Layout& at, const int32_t* token, int64_t count, const float* gradients,
                      const float* inverses, float a, const T* x, T* dx) {
  const Vec inverse = at.op.cosine ? load(inverses) : splat(1.f);
  const int64_t stride = at.channels;
  Vec dots[kLanes];
#pragma GCC unroll 16
  for (int64_t j = 0; j < kLanes; ++j) {
    dots[j] = Vec{};
    if (j >= count || token[j] < 0) continue;
    for (int64_t c = 0; c < at.d(); c += kLanes)  // x^ first: x alone may take a product out of range
      dots[j] += load_first(x + token[j] * stride + c, at.d() - c) * inverse[j] *
                 load(gradients + j * at.d_pad() + c);
  }
  const Vec dot = sum_rows(dots), radial = at.radial(dot, inverse);
  float sum = 0;
  for (int64_t j = 0; j < count; ++j) {
    if (token[j] < 0) continue;
    sum += dot[j];
    for (int64_t c = 0; c < at.d(); c += kLanes) {
      const Vec x_hat = load_first(x + token[j] * stride + c, at.d() - c) * inverse[j];
      const Vec g = load(gradients + j * at.d_pad() + c) - x_hat * radial[j];
      store_first(dx + token[j] * stride + c, g * (a * inverse[j]), at.d() - c);
    }
  }
  return sum;
}

template <class T, class Layout>
void window_head(const Layout& at, Scratch& s, const Unit& unit, const WindowAttentionBackward& io,
                 const float* stats, float* dtable, double* dscale, Ahead& ahead) {
  const int64_t head = unit.head;
  const T* q = static_cast<const T*>(io.qkv) + head * at.d();
  const T* k = q + at.out_channels;
  const T* v = k + at.out_channels;
  T* dq = static_cast<T*>(io.dqkv) + head * at.d();
  T* dk = dq + at.out_channels;
  T* dv = dk + at.out_channels;
  const T* out = static_cast<const T*>(io.out) + head * at.d();
  const T* dout = static_cast<const T*>(io.dout) + head * at.d();
  const float scale = io.scale[head];

  at.load_table(s.table, io.bias_table + head * at.op.table_size());
  KeyTile tile;
  bool first = true;
  for (int64_t column = 0, row = 0; at.next(tile, s.window, column, row); first = false) {
    at.expand_bias(s.slabs, tile, s.table);
    float* dslabs = s.dslabs + (s.accumulates ? (head - unit.first_head) * at.tile_columns * at.slab : 0);
    if (!s.accumulates || unit.first_window)
      __builtin_memset(dslabs, 0, tile.columns * at.slab * sizeof(float));
    at.load_keys(s.keys, s.inverse_keys, tile, k, scale * kLog2E);
    at.load_values(s.values, tile, v);
    for (int64_t block = 0; block < at.blocks; ++block) {
      if (first || !s.resident) load_query_block(at, s, block, q, out, dout, stats);
      with_vectors(at.N - block * kBlock, [&](auto vectors) {
        weights_and_gradients<decltype(vectors)::value>(at, s, tile, block, dslabs, ahead);
      });
      multiply_gradients(at, s, tile, block, first);
    }
    if (!s.accumulates || unit.last_window) at.reduce_bias(dtable, tile, dslabs);
    for (int64_t j = 0; j < tile.count; j += kLanes) {
      const int64_t left = tile.count - j, count = left < kLanes ? left : kLanes;
      *dscale += store_gradients(at, tile.token + j, count, s.dkeys + j * at.d_pad(), s.inverse_keys + j,
                                 scale, k, dk);
    }
    for (int64_t j = 0; j < tile.count; ++j)
      for (int64_t c = 0; c < at.d(); c += kLanes)
        store_first(dv + tile.token[j] * at.channels + c, load(s.dvalues + j * at.d_pad() + c), at.d() - c);
  }
  for (int64_t i = 0; i < at.N; i += kLanes)  // the keys in dq^ carry scale * log2(e)
    store_gradients(at, s.window.token + i, kLanes, s.dq + i * at.d_pad(), s.inverse_queries + i, kLn2, q,
                    dq);
}

template <class T, int D>
void backward(const WindowAttention& op, const WindowAttentionBackward& io) {
  const Layout<D> at(op);
  const WindowGeometry& g = op.geometry;
  const int64_t per_image = g.height * g.width * at.channels;
  if (g.valid_h < g.height || g.valid_w < g.width)
    parallel_for(g.batch, 1, [&](int64_t begin, int64_t end) {
      __builtin_memset(static_cast<T*>(io.dqkv) + begin * per_image, 0,
                       (end - begin) * per_image * sizeof(T));
    });

  // Partials (chunks, heads, table_size), at most 512 KB of them.
  const int64_t size = op.table_size(), wanted = (int64_t{1} << 17) / (size * op.num_heads);
  const Units units(op, wanted < 64 ? wanted : 64, 16 * num_threads());
  const int64_t count = units.chunks * op.num_heads;
  std::unique_ptr<float[]> partials(new float[count * size]());
  std::unique_ptr<double[]> dscale(new double[count]());
  parallel_for(units.count(), 1, [&](int64_t begin, int64_t) {
    Scratch s(at, static_cast<char*>(thread_scratch(Scratch(at, nullptr).bytes)));
    units.each(begin, [&](const Unit& unit) {
      at.advance(s.window, s.coming, unit);
      Ahead ahead(at, unit, s.coming);
      ahead.add(static_cast<const T*>(io.qkv), 3);
      ahead.add(static_cast<const T*>(io.out), 1);
      ahead.add(static_cast<const T*>(io.dout), 1);
      ahead.add(static_cast<const T*>(io.dqkv), 3);
      const int64_t to = unit.chunk * op.num_heads + unit.head;
      const float* stats = io.stats + (unit.window * op.num_heads + unit.head) * op.stats_tokens();
      window_head<T>(at, s, unit, io, stats, partials.get() + to * size, dscale.get() + to, ahead);
    });
  });

  parallel_for(op.num_heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t head = begin; head < end; ++head) {
      for (int64_t e = 0; e < size; ++e) {
        double sum = 0;
        for (int64_t to = head; to < count; to += op.num_heads) sum += partials[to * size + e];
        io.dbias_table[head * size + e] = float(sum);
      }
      double sum = 0;
      for (int64_t to = head; to < count; to += op.num_heads) sum += dscale[to];
      io.dscale[head] = float(sum);
    }
  });
}

}  // namespace

size_t window_attention_backward_scratch(const WindowAttention& op) {
  return Scratch(Layout<0>(op), nullptr).bytes;
}

void window_attention_backward(const WindowAttention& op, const WindowAttentionBackward& io) {
  with_storage(op.dtype, [&](auto x) {
    using T = decltype(x);
    op.head_dim == 32 ? backward<T, 32>(op, io) : backward<T, 0>(op, io);
  });
}

}  // namespace SWINV2_ISA
}  // namespace swinv2
