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
  float *slabs, *dslabs, *keys, *values, *inverse_keys, *dkeys, *dvalues, *p, *ds, *dq;
  float *q_columns, *q_rows, *do_columns, *do_rows, *o_columns, *inverse_queries, *D, *lse;
  bool resident;  // the query side of the whole window is kept between key tiles
  size_t bytes;

  Scratch(const Layout& at, char* base) {
    const int64_t side = 2 * kBlock * (at.d + at.d_pad);
    resident = at.blocks * (side + kBlock * at.d) * sizeof(float) <= kScratchLimit * 3 / 4;
    const int64_t kept = resident ? at.blocks : 1;
    Arena arena{base};
    window.token = arena.take<int32_t>(at.N);
    window.mask = arena.take<float>(4 * at.queries);
    slabs = arena.take<float>(at.tile_columns * at.slab);
    dslabs = arena.take<float>(at.tile_columns * at.slab);
    keys = arena.take<float>(kTileKeys * at.d);
    values = arena.take<float>(kTileKeys * at.d);
    inverse_keys = arena.take<float>(kTileKeys);
    dkeys = arena.take<float>(kTileKeys * at.d_pad);
    dvalues = arena.take<float>(kTileKeys * at.d_pad);
    p = arena.take<float>(kTileKeys * kBlock);
    ds = arena.take<float>(kTileKeys * kBlock);
    dq = arena.take<float>(at.queries * at.d);
    q_columns = arena.take<float>(kept * kBlock * at.d);
    q_rows = arena.take<float>(kept * kBlock * at.d_pad);
    do_columns = arena.take<float>(kept * kBlock * at.d);
    do_rows = arena.take<float>(kept * kBlock * at.d_pad);
    o_columns = arena.take<float>(kBlock * at.d);
    inverse_queries = arena.take<float>(at.queries);
    D = arena.take<float>(at.queries);
    lse = arena.take<float>(at.queries);
    bytes = arena.used;
  }
};

// The query side of one block: q^ and do, both as columns (d, kBlock) and as rows (kBlock, d_pad).
struct QueryBlock {
  float *q_columns, *q_rows, *do_columns, *do_rows;
  QueryBlock(const Layout& at, const Scratch& s, int64_t block) {
    const int64_t i = s.resident ? block * kBlock : 0;
    q_columns = s.q_columns + i * at.d;
    q_rows = s.q_rows + i * at.d_pad;
    do_columns = s.do_columns + i * at.d;
    do_rows = s.do_rows + i * at.d_pad;
  }
};

template <class T>
void load_query_block(const Layout& at, const Scratch& s, int64_t block, const T* q, const T* out,
                      const T* dout, const float* stats) {
  const QueryBlock to(at, s, block);
  at.load_queries(to.q_columns, s.inverse_queries + block * kBlock, s.window, block, q);
  Vec unused[2];
  at.load_transposed(to.do_columns, s.window, block, dout, at.out_channels, unused);
  at.load_transposed(s.o_columns, s.window, block, out, at.out_channels, unused);
  for (int v = 0; v < 2;
       ++v) {  // D in the order of do . v below: where one p is 1 and o = v, ds cancels exactly
    Vec D{};
    for (int64_t c = 0; c < at.d; ++c)
      D += load(to.do_columns + c * kBlock + v * kLanes) * load(s.o_columns + c * kBlock + v * kLanes);
    store(s.D + block * kBlock + v * kLanes, D);
  }
  for (int64_t i = 0; i < kBlock; ++i) {
    const int64_t query = block * kBlock + i;
    const int32_t token = query < at.N ? s.window.token[query] : -1;
    float* q_row = to.q_rows + i * at.d_pad;
    float* do_row = to.do_rows + i * at.d_pad;
    if (token < 0) {  // p = exp2(s - lse) = 0, ds = 0
      for (int64_t c = 0; c < at.d_pad; c += kLanes) {
        store(q_row + c, Vec{});
        store(do_row + c, Vec{});
      }
      s.lse[query] = -kLowest;
      continue;
    }
    const float inverse = at.op.cosine ? s.inverse_queries[query] : 1.f;
    for (int64_t c = 0; c < at.d; c += kLanes) {
      store(do_row + c, load_first(dout + token * at.out_channels + c, at.d - c));
      store(q_row + c, load_first(q + token * at.channels + c, at.d - c) * inverse);
    }
    s.lse[query] = stats[query];
  }
}

// One query block against one key tile: ds, and from it dslabs, dv, dk^ and dq^.
template <int V>
void attend(const Layout& at, const Scratch& s, const KeyTile& tile, int64_t block, bool first) {
  const QueryBlock from(at, s, block);
  const int64_t i = block * kBlock;
  for (int64_t j = 0; j < tile.count; j += kRowBlock)
    with_rows(tile.count - j < kRowBlock ? tile.count - j : kRowBlock, [&](auto rows) {
      constexpr int M = decltype(rows)::value;
      Vec t[M][V];
      at.scores<M, V>(t, tile, s.window, block, j, s.slabs, s.keys, from.q_columns);
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) {
          store(s.p + (j + m) * kBlock + v * kLanes, exp2(t[m][v] - load(s.lse + i + v * kLanes)));
          t[m][v] = Vec{};
        }
      multiply_add<M, V>(t, Broadcast{s.values + j * at.d, at.d, 1}, from.do_columns, kBlock, at.d);
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
  for (int64_t c = 0; c < at.d_pad; c += kLanes) {
    product<1>(s.dvalues + c, at.d_pad, keep, tile.count, Broadcast{s.p, kBlock, 1}, from.do_rows + c,
               at.d_pad, V * kLanes);
    product<1>(s.dkeys + c, at.d_pad, keep, tile.count, Broadcast{s.ds, kBlock, 1}, from.q_rows + c, at.d_pad,
               V * kLanes);
  }
  product<V>(s.dq + block * kBlock * at.d, kBlock, first ? nullptr : keep, at.d, Broadcast{s.keys, 1, at.d},
             s.ds, kBlock, tile.count);
}

// dx of x^ = x * inverse, given the gradient of x^, a row of d.
template <class T>
void store_normalised(const Layout& at, T* dx, const T* x, float inverse, const float* gradient,
                      float factor) {
  float radial = 0.f;  // x^ . dx^, the part the normalisation removes; kept where |x| is below its floor
  if (at.op.cosine && inverse < 1.f / kNormFloor) {
    Vec dot{};
    for (int64_t c = 0; c < at.d; c += kLanes)
      dot += load_first(x + c, at.d - c) * inverse * load_first(gradient + c, at.d - c);
    radial = reduce_add(dot) * factor;
  }
  for (int64_t c = 0; c < at.d; c += kLanes) {
    Vec g = load_first(gradient + c, at.d - c) * factor;
    if (at.op.cosine) g = (g - load_first(x + c, at.d - c) * inverse * radial) * inverse;
    store_first(dx + c, g, at.d - c);
  }
}

template <class T>
void window_head(const Layout& at, const Scratch& s, int64_t head, const WindowAttentionBackward& io,
                 const float* stats, float* dtable, double* dscale) {
  const WindowAttention& op = at.op;
  const T* q = static_cast<const T*>(io.qkv) + head * at.d;
  const T* k = q + at.out_channels;
  const T* v = k + at.out_channels;
  T* dq = static_cast<T*>(io.dqkv) + head * at.d;
  T* dk = dq + at.out_channels;
  T* dv = dk + at.out_channels;
  const T* out = static_cast<const T*>(io.out) + head * at.d;
  const T* dout = static_cast<const T*>(io.dout) + head * at.d;
  const float scale = io.scale[head];

  KeyTile tile;
  bool first = true;
  for (int64_t cursor = 0; at.next(tile, s.window, cursor); first = false) {
    at.load_keys(s.keys, s.inverse_keys, tile, k, scale * kLog2E);
    at.load_values(s.values, tile, v);
    at.expand_bias(s.slabs, tile, io.bias_table + head * op.table_size());
    __builtin_memset(s.dslabs, 0, tile.columns * at.slab * sizeof(float));
    __builtin_memset(s.dkeys, 0, tile.count * at.d_pad * sizeof(float));
    __builtin_memset(s.dvalues, 0, tile.count * at.d_pad * sizeof(float));

    for (int64_t block = 0; block < at.blocks; ++block) {
      if (first || !s.resident) load_query_block(at, s, block, q, out, dout, stats);
      with_vectors(at.N - block * kBlock,
                   [&](auto vectors) { attend<decltype(vectors)::value>(at, s, tile, block, first); });
    }

    at.reduce_bias(dtable, tile, s.dslabs);
    for (int64_t j = 0; j < tile.count; ++j) {
      const T* x = k + tile.token[j] * at.channels;
      const float* gradient = s.dkeys + j * at.d_pad;  // sum_i ds_ij q^_i
      const float inverse = op.cosine ? s.inverse_keys[j] : 1.f;
      Vec dot{};
      for (int64_t c = 0; c < at.d; c += kLanes)
        dot += load_first(x + c, at.d - c) * inverse * load_first(gradient + c, at.d - c);
      *dscale += reduce_add(dot);
      store_normalised(at, dk + tile.token[j] * at.channels, x, inverse, gradient, scale);
      for (int64_t c = 0; c < at.d; c += kLanes)
        store_first(dv + tile.token[j] * at.channels + c, load(s.dvalues + j * at.d_pad + c), at.d - c);
    }
  }

  // dq^ = sum_j ds_ij (scale k^_j): the keys carry scale * log2(e).
  for (int64_t block = 0; block < at.blocks; ++block) {
    float* columns = s.dq + block * kBlock * at.d;
    for (int64_t i0 = 0; i0 < kBlock; i0 += kLanes)
      for (int64_t c = 0; c < at.d; c += kLanes) {
        Vec r[kLanes];
        for (int64_t i = 0; i < kLanes; ++i)
          r[i] = c + i < at.d ? load(columns + (c + i) * kBlock + i0) : Vec{};
        transpose(r);
        for (int64_t i = 0; i < kLanes; ++i) store(s.q_rows + (i0 + i) * at.d_pad + c, r[i]);
      }
    for (int64_t i = 0; i < kBlock && block * kBlock + i < at.N; ++i) {
      const int64_t query = block * kBlock + i;
      const int32_t token = s.window.token[query];
      if (token < 0) continue;
      store_normalised(at, dq + token * at.channels, q + token * at.channels, s.inverse_queries[query],
                       s.q_rows + i * at.d_pad, kLn2);
    }
  }
}

template <class T>
void backward(const WindowAttention& op, const WindowAttentionBackward& io) {
  const Layout at(op);
  const WindowGeometry& g = op.geometry;
  const int64_t per_image = g.height * g.width * at.channels;
  if (g.valid_h < g.height || g.valid_w < g.width)
    parallel_for(g.batch, 1, [&](int64_t begin, int64_t end) {
      __builtin_memset(static_cast<T*>(io.dqkv) + begin * per_image, 0,
                       (end - begin) * per_image * sizeof(T));
    });

  // Partials (chunks, heads, table_size + 1), about 512 KB of them.
  const int64_t size = op.table_size() + 1;
  int64_t chunks = (int64_t{1} << 17) / (size * op.num_heads);
  chunks = chunks < 1 ? 1 : chunks > g.windows() ? g.windows() : chunks;
  if (chunks * op.num_heads < 16) chunks = g.windows() < 16 ? g.windows() : 16;
  const int64_t per_chunk = (g.windows() + chunks - 1) / chunks;
  chunks = (g.windows() + per_chunk - 1) / per_chunk;
  std::unique_ptr<float[]> partials(new float[chunks * op.num_heads * size]());

  parallel_for(chunks * op.num_heads, 1, [&](int64_t begin, int64_t end) {
    Scratch s(at, static_cast<char*>(thread_scratch(Scratch(at, nullptr).bytes)));
    for (int64_t unit = begin; unit < end; ++unit) {
      const int64_t chunk = unit / op.num_heads, head = unit % op.num_heads;
      float* dtable = partials.get() + unit * size;
      double dscale = 0;
      const int64_t stop = (chunk + 1) * per_chunk < g.windows() ? (chunk + 1) * per_chunk : g.windows();
      for (int64_t index = chunk * per_chunk; index < stop; ++index) {
        at.locate(s.window, index);
        window_head<T>(at, s, head, io, io.stats + (index * op.num_heads + head) * op.stats_tokens(), dtable,
                       &dscale);
      }
      dtable[size - 1] = float(dscale);
    }
  });

  parallel_for(op.num_heads, 1, [&](int64_t begin, int64_t end) {
    for (int64_t head = begin; head < end; ++head)
      for (int64_t e = 0; e < size; ++e) {
        double sum = 0;
        for (int64_t chunk = 0; chunk < chunks; ++chunk)
          sum += partials[(chunk * op.num_heads + head) * size + e];
        (e < size - 1 ? io.dbias_table[head * (size - 1) + e] : io.dscale[head]) = float(sum);
      }
  });
}

}  // namespace

size_t window_attention_backward_scratch(const WindowAttention& op) {
  return Scratch(Layout(op), nullptr).bytes;
}

void window_attention_backward(const WindowAttention& op, const WindowAttentionBackward& io) {
  switch (op.dtype) {
    case DType::kFloat32:
      return backward<float>(op, io);
    case DType::kFloat16:
      return backward<Half>(op, io);
    case DType::kBFloat16:
      return backward<BFloat16>(op, io);
  }
}

}  // namespace SWINV2_ISA
}  // namespace swinv2
