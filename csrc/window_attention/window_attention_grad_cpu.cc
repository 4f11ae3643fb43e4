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
  Window window;
  float *table, *slabs, *dslabs, *keys, *values, *inverse_keys, *dkeys, *dvalues, *p, *ds, *dq;
  float *q_columns, *q_rows, *do_columns, *do_rows, *o_columns, *inverse_queries, *D, *lse;
  bool resident;  // the query side of the whole window is kept between key tiles
  size_t bytes;

  template <class Layout>
  Scratch(const Layout& at, char* base) {
    const int64_t side = 2 * kBlock * (at.d() + at.d_pad());
    resident = at.blocks * (side + kBlock * at.d()) * sizeof(float) <= kScratchLimit * 3 / 4;
    const int64_t kept = resident ? at.blocks : 1;
    Arena arena{base};
    window.token = arena.take<int32_t>(at.queries);
    window.mask = arena.take<float>(4 * at.queries);
    table = arena.take<float>(at.padded_table());
    slabs = arena.take<float>(at.tile_columns * at.slab);
    dslabs = arena.take<float>(at.tile_columns * at.slab);
    keys = arena.take<float>(kTileKeys * at.d());
    values = arena.take<float>(kTileKeys * at.d());
    inverse_keys = arena.take<float>(kTileKeys);
    dkeys = arena.take<float>(kTileKeys * at.d_pad());
    dvalues = arena.take<float>(kTileKeys * at.d_pad());
    p = arena.take<float>(kTileKeys * kBlock);
    ds = arena.take<float>(kTileKeys * kBlock);
    dq = arena.take<float>(at.queries * at.d());
    q_columns = arena.take<float>(kept * kBlock * at.d());
    q_rows = arena.take<float>(kept * kBlock * at.d_pad());
    do_columns = arena.take<float>(kept * kBlock * at.d());
    do_rows = arena.take<float>(kept * kBlock * at.d_pad());
    o_columns = arena.take<float>(kBlock * at.d());
    inverse_queries = arena.take<float>(at.queries);
    D = arena.take<float>(at.queries);
    lse = arena.take<float>(at.queries);
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
  at.load_queries(to.q_columns, s.inverse_queries + i0, s.window, block, q);
  Vec unused[2];
  at.load_transposed(to.do_columns, s.window, block, dout, at.out_channels, unused);
  at.load_transposed(s.o_columns, s.window, block, out, at.out_channels, unused);
  for (int v = 0; v < 2;
       ++v) {  // D in the order of do . v below: where one p is 1 and o = v, ds cancels exactly
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

// One query block against one key tile: ds, and from it dslabs, dv, dk^ and dq^.
template <int V, class Layout>
void attend(const Layout& at, const Scratch& s, const KeyTile& tile, int64_t block, bool first) {
  const QueryBlock from(at, s, block);
  const int64_t i = block * kBlock;
  for (int64_t j = 0; j < tile.count; j += kRowBlock)
    with_rows(tile.count - j < kRowBlock ? tile.count - j : kRowBlock, [&](auto rows) {
      constexpr int M = decltype(rows)::value;
      Vec t[M][V];
      at.template scores<M, V>(t, tile, s.window, block, j, s.slabs, s.keys, from.q_columns);
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) {
          store(s.p + (j + m) * kBlock + v * kLanes, exp2(t[m][v] - load(s.lse + i + v * kLanes)));
          t[m][v] = Vec{};
        }
      multiply_add<M, V>(t, Broadcast{s.values + j * at.d(), at.d(), 1}, from.do_columns, kBlock, at.d());
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) {
          const Vec ds = load(s.p + (j + m) * kBlock + v * kLanes) * (t[m][v] - load(s.D + i + v * kLanes));
          store(s.ds + (j + m) * kBlock + v * kLanes, ds);
          float* dbias = s.dslabs + tile.bias[j + m] + i + v * kLanes;
          store(dbias, load(dbias) + ds);
        }
    });

  const Vec keep[2] = {splat(1.f), splat(1.f)};
  for (int64_t c = 0; c < at.d_pad(); c += kLanes) {
    product<1>(s.dvalues + c, at.d_pad(), block ? keep : nullptr, tile.count, Broadcast{s.p, kBlock, 1},
               from.do_rows + c, at.d_pad(), V * kLanes);
    product<1>(s.dkeys + c, at.d_pad(), block ? keep : nullptr, tile.count, Broadcast{s.ds, kBlock, 1},
               from.q_rows + c, at.d_pad(), V * kLanes);
  }
  product<V>(s.dq + block * kBlock * at.d(), kBlock, first ? nullptr : keep, at.d(),
             Broadcast{s.keys, 1, at.d()}, s.ds, kBlock, tile.count);
}

// dk and dv of the tile from dkeys (keys, d_pad) = sum_i ds_ij q^_i and dvalues. Returns sum_j k^_j .
// dkeys_j.
template <class T, class Layout>
float store_key_gradients(const Layout& at, const Scratch& s, const KeyTile& tile, const T* k, T* dk, T* dv,
                          float scale) {
  float dscale = 0;
  for (int64_t j0 = 0; j0 < tile.count; j0 += kLanes) {
    const int64_t count = tile.count - j0 < kLanes ? tile.count - j0 : kLanes;
    const Vec inverse = at.op.cosine ? load(s.inverse_keys + j0) : splat(1.f);
    Vec dots[kLanes];
#pragma GCC unroll 16
    for (int64_t j = 0; j < kLanes; ++j) {
      dots[j] = Vec{};
      if (j >= count) continue;
      for (int64_t c = 0; c < at.d(); c += kLanes)  // k^ first: k alone may take a product out of range
        dots[j] += load_first(k + tile.token[j0 + j] * at.channels + c, at.d() - c) * inverse[j] *
                   load(s.dkeys + (j0 + j) * at.d_pad() + c);
    }
    const Vec dot = sum_rows(dots);
    for (int64_t j = 0; j < count; ++j) dscale += dot[j];
    const Vec radial = at.radial(dot, inverse);
    for (int64_t j = 0; j < count; ++j) {
      const int64_t token = tile.token[j0 + j];
      const float a = scale * inverse[j];  // dk = (dk^ - k^ (k^ . dk^)) a
      for (int64_t c = 0; c < at.d(); c += kLanes) {
        Vec g = load(s.dkeys + (j0 + j) * at.d_pad() + c);
        if (at.op.cosine) g -= load_first(k + token * at.channels + c, at.d() - c) * inverse[j] * radial[j];
        g *= a;
        store_first(dk + token * at.channels + c, g, at.d() - c);
        store_first(dv + token * at.channels + c, load(s.dvalues + (j0 + j) * at.d_pad() + c), at.d() - c);
      }
    }
  }
  return dscale;
}

// dq of one block from dq^ = sum_j ds_ij scale k^_j; the keys carry scale * log2(e).
template <class T, class Layout>
void store_query_gradients(const Layout& at, const Scratch& s, int64_t block, const T* q, T* dq) {
  const QueryBlock from(at, s, block);
  if (!s.resident) at.load_queries(from.q_columns, s.inverse_queries + block * kBlock, s.window, block, q);
  float* columns = s.dq + block * kBlock * at.d();
  for (int v = 0; v < 2; ++v) {
    const Vec inverse = at.op.cosine ? load(s.inverse_queries + block * kBlock + v * kLanes) : splat(1.f);
    Vec dot{};
    for (int64_t c = 0; c < at.d(); ++c)
      dot += load(from.q_columns + c * kBlock + v * kLanes) * load(columns + c * kBlock + v * kLanes);
    const Vec radial = at.radial(dot, inverse);
    for (int64_t c = 0; c < at.d(); ++c) {
      float* p = columns + c * kBlock + v * kLanes;
      store(p, (load(p) - load(from.q_columns + c * kBlock + v * kLanes) * radial) * inverse * kLn2);
    }
  }
  at.store_transposed(dq, at.channels, s.window, block, columns);
}

template <class T, class Layout>
void window_head(const Layout& at, const Scratch& s, int64_t head, bool new_head, bool end_of_head,
                 const WindowAttentionBackward& io, const float* stats, float* dtable, double* dscale) {
  const T* q = static_cast<const T*>(io.qkv) + head * at.d();
  const T* k = q + at.out_channels;
  const T* v = k + at.out_channels;
  T* dq = static_cast<T*>(io.dqkv) + head * at.d();
  T* dk = dq + at.out_channels;
  T* dv = dk + at.out_channels;
  const T* out = static_cast<const T*>(io.out) + head * at.d();
  const T* dout = static_cast<const T*>(io.dout) + head * at.d();
  const float scale = io.scale[head];

  KeyTile tile;
  bool first = true;
  for (int64_t column = 0, row = 0; at.next(tile, s.window, column, row); first = false) {
    if (new_head || !at.single_tile) {
      at.expand_bias(s.slabs, tile, s.table);
      __builtin_memset(s.dslabs, 0, tile.columns * at.slab * sizeof(float));
    }
    at.load_keys(s.keys, s.inverse_keys, tile, k, scale * kLog2E);
    at.load_values(s.values, tile, v);
    for (int64_t block = 0; block < at.blocks; ++block) {
      if (first || !s.resident) load_query_block(at, s, block, q, out, dout, stats);
      with_vectors(at.N - block * kBlock,
                   [&](auto vectors) { attend<decltype(vectors)::value>(at, s, tile, block, first); });
    }
    if (end_of_head || !at.single_tile) at.reduce_bias(dtable, tile, s.dslabs);
    *dscale += store_key_gradients(at, s, tile, k, dk, dv, scale);
  }
  for (int64_t block = 0; block < at.blocks; ++block) store_query_gradients(at, s, block, q, dq);
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

  // Partials (units, table_size + 1), about 512 KB of them.
  const int64_t size = op.table_size() + 1, wanted = (int64_t{1} << 17) / (size * op.num_heads);
  const Units units(op, wanted * op.num_heads < 16 ? 16 : wanted);
  std::unique_ptr<float[]> partials(new float[units.count() * size]());
  parallel_for(units.count(), 1, [&](int64_t begin, int64_t end) {
    Scratch s(at, static_cast<char*>(thread_scratch(Scratch(at, nullptr).bytes)));
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t head = units.head(unit), start = units.begin(unit), stop = units.end(unit);
      float* dtable = partials.get() + unit * size;
      double dscale = 0;
      at.load_table(s.table, io.bias_table + head * op.table_size());
      for (int64_t index = start; index < stop; ++index) {
        at.locate(s.window, index);
        const float* stats = io.stats + (index * op.num_heads + head) * op.stats_tokens();
        window_head<T>(at, s, head, index == start, index == stop - 1, io, stats, dtable, &dscale);
      }
      dtable[size - 1] = float(dscale);
    }
  });

  parallel_for(op.num_heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t head = begin; head < end; ++head)
      for (int64_t e = 0; e < size; ++e) {
        double sum = 0;
        for (int64_t chunk = 0; chunk < units.chunks; ++chunk)
          sum += partials[(chunk * op.num_heads + head) * size + e];
        (e < size - 1 ? io.dbias_table[head * (size - 1) + e] : io.dscale[head]) = float(sum);
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
