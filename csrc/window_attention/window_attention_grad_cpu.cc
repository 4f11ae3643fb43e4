// SPDX-License-Identifier: Apache-2.0
//
// Backward: the loops of the forward, with p recomputed from lse. Sums that cross windows (dbias_table,
// dscale) go to one partial a (window chunk, head) and are added in that order: the chunks depend on the
// shape alone, so the result does not depend on the number of threads.
#include <memory>

#include "cpu/parallel.h"
#include "window_attention/window_attention_regions.h"

namespace swinv2 {
namespace SWINV2_ISA {
namespace {

struct Scratch : Windows {
  float *table, *slabs, *dslabs, *keys, *values, *inverse_keys, *dkeys, *dvalues, *p, *ds, *dq;
  float *q_columns, *q_rows, *do_columns, *do_rows, *query_factor, *D, *inverse_queries, *lse;
  float *region_table,
      *largest;   // dbias_table of a window's regions; the largest p of each key, over queries in lanes
  bool resident;  // the query side of the whole window is kept between key tiles
  // Those of whole windows (heads of the group, columns, slab) live as long as a chunk of windows; null: no room.
  float *kept_slabs, *kept_dslabs;
  size_t bytes;

  template <int d>
  Scratch(const Layout<d>& at, const Regions<d>& regions, char* base) : Scratch(at, regions, Arena{base}) {}

 private:
  template <int d>
  Scratch(const Layout<d>& at, const Regions<d>& regions, Arena arena) : Windows(at, arena) {
    const int64_t side = 2 * kBlock * (at.d() + at.d_pad());
    resident =
        !at.single_tile && at.blocks * (side + kBlock * at.d_pad()) * sizeof(float) <= kScratchLimit * 2 / 3;
    const int64_t kept = resident ? at.blocks : 1;
    table = arena.take<float>(at.padded_table());
    keys = arena.take<float>(kTileKeys * at.d_pad());
    values = arena.take<float>(kTileKeys * at.d_pad());
    inverse_keys = arena.take<float>(kTileKeys);
    dkeys = arena.take<float>(kTileKeys * at.d_pad());
    dvalues = arena.take<float>(kTileKeys * at.d_pad());
    p = arena.take<float>(kRowBlock * kBlock);
    const int64_t of_tile = kTileKeys * kBlock, of_rows = kLanes * at.d_pad();
    ds = arena.take<float>(of_tile > of_rows ? of_tile : of_rows);  // and rows of o, before there is ds
    dq = arena.take<float>((at.single_tile ? kBlock : at.queries) * at.d_pad());
    q_columns = arena.take<float>(kept * kBlock * at.d());
    q_rows = arena.take<float>(kept * kBlock * at.d_pad());
    do_columns = arena.take<float>(kept * kBlock * at.d());
    do_rows = arena.take<float>(kept * kBlock * at.d_pad());
    query_factor = arena.take<float>(kept * kBlock);
    D = arena.take<float>(kept * kBlock);
    inverse_queries = arena.take<float>(at.queries);
    lse = arena.take<float>(at.queries);
    slabs = arena.take<float>(regions.slabs(at));
    dslabs = arena.take<float>(regions.slabs(at));
    region_table = arena.take<float>(regions.any() ? at.op.table_size() : 0);
    largest = arena.take<float>(regions.any() ? kTileKeys * kLanes : 0);
    const int64_t of_heads = at.op.num_heads * at.tile_columns * at.slab;
    kept_slabs = kept_dslabs = nullptr;
    if (at.single_tile && arena.used + 2 * of_heads * sizeof(float) <= kScratchLimit) {
      kept_slabs = arena.take<float>(of_heads);
      kept_dslabs = arena.take<float>(of_heads);
    }
    bytes = arena.used;
  }
};

// The query side of one block: q and do as columns (d, kBlock), q^ and do as rows (kBlock, d_pad); dq^ (kBlock, d_pad).
struct QueryBlock {
  float *q_columns, *q_rows, *do_columns, *do_rows, *query_factor, *D, *dq;
  template <class Layout>
  QueryBlock(const Layout& at, const Scratch& s, int64_t block) {
    const int64_t i = s.resident ? block * kBlock : 0;
    q_columns = s.q_columns + i * at.d();
    q_rows = s.q_rows + i * at.d_pad();
    do_columns = s.do_columns + i * at.d();
    do_rows = s.do_rows + i * at.d_pad();
    query_factor = s.query_factor + i;
    D = s.D + i;
    dq = s.dq + (at.single_tile ? 0 : block * kBlock * at.d_pad());
  }
};

// Rounds the scores as the forward does.
template <class T, class Layout>
void load_query_block(const Layout& at, const Scratch& s, int64_t block, const T* q, const T* out,
                      const T* dout) {
  const QueryBlock to(at, s, block);
  const int64_t ld = at.d_pad(), left = at.N - block * kBlock;
  for (int64_t i0 = 0; i0 < kBlock && i0 < left; i0 += kLanes) {
    const int64_t first = block * kBlock + i0;
    const int32_t* token = s.window.token + first;
    const auto source = [&](const T* x, int64_t stride, int64_t i) {
      return x + (token[i] < 0 ? 0 : token[i]) * stride;
    };
    const auto list_rows = [&](const float*(&row)[kLanes], const T* x, int64_t stride, float* copies) {
      for (int64_t i = 0; i < kLanes; ++i)
        row[i] = at.row_of(source(x, stride, i), token[i] >= 0, copies + i * ld);
    };
    float *q_rows = to.q_rows + i0 * ld, *q_columns = to.q_columns + i0;
    float *do_rows = to.do_rows + i0 * ld, *do_columns = to.do_columns + i0;
    const float *q_row[kLanes], *do_row[kLanes], *o_row[kLanes];

    list_rows(q_row, q, at.channels, q_rows);
    store(s.inverse_queries + first,
          at.load_query_columns(q_columns, to.query_factor + i0, q_row,
                                [&](int64_t i) { return source(q, at.channels, i); }));

    list_rows(do_row, dout, at.out_channels, do_rows);
    list_rows(o_row, out, at.out_channels, s.ds);
    Vec D{};  // in the order of do . v below: where one p is 1 and o = v, ds cancels exactly
    for (int64_t c = 0; c < at.d(); c += kColumns) {
      Vec y[kColumns], o[kColumns];
      load_columns(y, do_row, c);
      load_columns(o, o_row, c);
#pragma GCC unroll 8
      for (int64_t a = 0; a < kColumns; ++a) {
        D += y[a] * o[a];
        if (c + a < at.d()) store(do_columns + (c + a) * kBlock, y[a]);
      }
    }
    store(to.D + i0, D);

    for (int64_t i = 0; i < kLanes; ++i) {
      if (token[i] < 0) s.lse[first + i] = kHighest;  // padding: p = exp2(s - lse) = 0
      at.load_row(q_rows + i * ld, q_row[i], s.inverse_queries[first + i]);
      at.load_row(do_rows + i * ld, do_row[i], 1);
    }
  }
}

// One query block against one key tile, a few keys at a time: p and ds (keys, kBlock), which go to dslabs,
// dv (keys, d) += p do and dk^ (keys, d) += ds q^; then dq^ (queries, d) += ds^T k^. The first adds to nothing. largest
// (keys, kLanes): of p, over the query blocks; null: not asked for.
template <int V, class Layout>
void multiply(const Layout& at, const Scratch& s, const KeyTile& tile, int64_t block, bool first,
              const float* slabs, float* dslabs, float* largest, Ahead& ahead) {
  const QueryBlock from(at, s, block);
  const int64_t i0 = block * kBlock, queries = at.N - i0 < kBlock ? at.N - i0 : kBlock, ld = at.d_pad();
  Vec lse[V], D[V];
  for (int v = 0; v < V; ++v) {
    lse[v] = load(s.lse + i0 + v * kLanes);
    D[v] = load(from.D + v * kLanes);
  }
  for (int64_t j = 0; j < tile.count; j += kRowBlock)
    with_rows(tile.count - j < kRowBlock ? tile.count - j : kRowBlock, [&](auto rows) SWINV2_INLINE_LAMBDA {
      constexpr int M = decltype(rows)::value;
      float* ds = s.ds + j * kBlock;
      Vec t[M][V];
      ahead.fetch(kLines);
      at.template scores<M, V>(t, tile, s.window, block, j, slabs, s.keys, from.q_columns, from.query_factor);
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) store(s.p + m * kBlock + v * kLanes, exp2(t[m][v] - lse[v]));
      if (largest)
#pragma GCC unroll 8
        for (int m = 0; m < M; ++m) {
          float* to = largest + (j + m) * kLanes;
          Vec most = block ? load(to) : Vec{};
          for (int v = 0; v < V; ++v) most = vmax(most, load(s.p + m * kBlock + v * kLanes));
          store(to, most);
        }
      ahead.fetch(kLines);
      clear(t);
      multiply_add<M, V>(t, Broadcast{s.values + j * ld, ld, 1}, from.do_columns, kBlock, at.d());
#pragma GCC unroll 8
      for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
        for (int v = 0; v < V; ++v) {
          t[m][v] = load(s.p + m * kBlock + v * kLanes) * (t[m][v] - D[v]);
          store(ds + m * kBlock + v * kLanes, t[m][v]);
          float* dbias = dslabs + tile.bias[j + m] + i0 + v * kLanes;
          store(dbias, load(dbias) + t[m][v]);
        }
      at.each_columns([&](int64_t c, auto vectors) SWINV2_INLINE_LAMBDA {
        constexpr int W = decltype(vectors)::value;
        ahead.fetch(kLines);
        product<M, W>(s.dvalues + j * ld + c, ld, block > 0, Broadcast{s.p, kBlock, 1}, from.do_rows + c, ld,
                      queries);
        ahead.fetch(kLines);
        product<M, W>(s.dkeys + j * ld + c, ld, block > 0, Broadcast{ds, kBlock, 1}, from.q_rows + c, ld,
                      queries);
      });
    });
  for (int64_t i = 0; i < queries; i += kRowBlock)
    with_rows(queries - i < kRowBlock ? queries - i : kRowBlock, [&](auto rows) SWINV2_INLINE_LAMBDA {
      constexpr int M = decltype(rows)::value;
      at.each_columns([&](int64_t c, auto vectors) SWINV2_INLINE_LAMBDA {
        constexpr int W = decltype(vectors)::value;
        product<M, W>(from.dq + i * ld + c, ld, !first, Broadcast{s.ds + i, 1, kBlock}, s.keys + c, ld,
                      tile.count);
      });
    });
}

// dx = (dx^ - x^ (x^ . dx^)) a / |x| of up to kLanes tokens from dx^ (tokens, d_pad); x_hat(j, c) is x^ of token j from
// channel c on. Returns the sum of x^ . dx^.
template <class T, class Layout, class X>
float store_gradients(const Layout& at, const int32_t* token, int64_t count, const float* gradients, X x_hat,
                      const float* inverses, float a, T* dx) {
  const Vec inverse = at.op.cosine ? load(inverses) : splat(1.f);
  Vec dots[kLanes];
#pragma GCC unroll 16
  for (int64_t j = 0; j < kLanes; ++j) {
    dots[j] = Vec{};
    if (j >= count || token[j] < 0) continue;
    for (int64_t c = 0; c < at.d(); c += kLanes)
      dots[j] += x_hat(j, c) * load(gradients + j * at.d_pad() + c);
  }
  const Vec dot = sum_rows(dots), radial = at.radial(dot, inverse);
  for (int64_t j = 0; j < count; ++j) {
    if (token[j] < 0) continue;
    for (int64_t c = 0; c < at.d(); c += kLanes) {
      const Vec g = load(gradients + j * at.d_pad() + c) - x_hat(j, c) * radial[j];
      store_first(dx + token[j] * at.channels + c, g * (a * inverse[j]), at.d() - c);
    }
  }
  return sum_lanes(dot);
}

// Bias slabs of the tile at hand, from the head's table, and zeros for their gradient.
template <class Layout>
void open_slabs(const Layout& at, const Scratch& s, float* slabs, float* dslabs) {
  at.expand_bias(slabs, *s.tile, s.table);
  __builtin_memset(dslabs, 0, s.tile->columns * at.slab * sizeof(float));
}

// What a head of a window or of a region adds to: its slabs, when they are opened and closed elsewhere, else null; the
// bias table's gradient and dscale; and the least of its keys' largest p, or null.
struct Sums {
  float *slabs, *dslabs, *dtable;
  double* dscale;
  float* weakest;
};

template <class T, class Layout>
void window_head(const Layout& at, Scratch& s, int64_t head, const WindowAttentionBackward& io,
                 const float* stats, const Sums& to, Ahead& ahead) {
  const T* q = static_cast<const T*>(io.qkv) + head * at.d();
  const T* k = q + at.out_channels;
  const T* v = k + at.out_channels;
  T* dq = static_cast<T*>(io.dqkv) + head * at.d();
  T* dk = dq + at.out_channels;
  T* dv = dk + at.out_channels;
  const T* out = static_cast<const T*>(io.out) + head * at.d();
  const T* dout = static_cast<const T*>(io.dout) + head * at.d();
  const float scale = io.scale[head];
  at.each_row([&](int64_t i, int64_t count, int64_t from) {
    __builtin_memcpy(s.lse + i, stats + from, count * sizeof(float));
  });

  KeyTile& tile = *s.tile;
  float *const slabs = to.slabs ? to.slabs : s.slabs, *const dslabs = to.slabs ? to.dslabs : s.dslabs;
  float* const largest = to.weakest ? s.largest : nullptr;
  int64_t column = 0, row = 0;
  for (bool first = true, last = false; !last; first = false) {
    // By rows: the bias rows of two keys in a column overlap, and their sums would wait for each other.
    if (!at.single_tile) at.next(tile, s.window, column, row, true);
    last = at.single_tile || column == at.cols.count;
    if (!to.slabs) open_slabs(at, s, slabs, dslabs);
    at.load_keys(s.keys, s.inverse_keys, tile, k, scale * kLog2E);
    at.load_values(s.values, tile, v, 0, tile.count);
    for (int64_t block = 0; block < at.blocks; ++block) {
      const QueryBlock of(at, s, block);
      const int64_t i0 = block * kBlock, left = at.N - i0;
      if (first || !s.resident) load_query_block(at, s, block, q, out, dout);
      with_vectors(left, [&](auto vectors) {
        multiply<decltype(vectors)::value>(at, s, tile, block, first, slabs, dslabs, largest, ahead);
      });
      for (int64_t i = 0; last && i < kBlock && i < left; i += kLanes) {
        const float* q_rows = of.q_rows + i * at.d_pad();
        const auto q_hat = [&](int64_t j, int64_t c) { return load(q_rows + j * at.d_pad() + c); };
        store_gradients(at, s.window.token + i0 + i, kLanes, of.dq + i * at.d_pad(), q_hat,
                        s.inverse_queries + i0 + i, kLn2, dq);  // the keys in dq^ carry scale * log2(e)
      }
    }
    if (!to.slabs) at.reduce_bias(to.dtable, tile, dslabs);
    for (int64_t j0 = 0; j0 < tile.count; j0 += kLanes) {
      const int64_t left = tile.count - j0, count = left < kLanes ? left : kLanes;
      const auto k_hat = [&](int64_t j, int64_t c) {  // k alone may take a product out of range
        const float inverse = at.op.cosine ? s.inverse_keys[j0 + j] : 1.f;
        return load_first(k + tile.token[j0 + j] * at.channels + c, at.d() - c) * inverse;
      };
      *to.dscale += store_gradients(at, tile.token + j0, count, s.dkeys + j0 * at.d_pad(), k_hat,
                                    s.inverse_keys + j0, scale, dk);
      if (!largest) continue;
      Vec most[kLanes];
      for (int64_t j = 0; j < kLanes; ++j)
        most[j] = j < count ? load(largest + (j0 + j) * kLanes) : splat(kHighest);
      const float weakest = -max_lanes(-max_rows(most));
      if (weakest < *to.weakest) *to.weakest = weakest;
    }
    for (int64_t j = 0; j < tile.count; ++j)
      for (int64_t c = 0; c < at.d(); c += kLanes)
        store_first(dv + tile.token[j] * at.channels + c, load(s.dvalues + j * at.d_pad() + c), at.d() - c);
  }
}

// Whether a head that leaves something out would hardly pass in the end: without a whole window of tokens, none of
// them padding, some entries of the bias table have no pairs at home; and where attention is sharp they are as small
// as what is left out.
bool in_vain(const WindowAttention& op, float scale) {
  constexpr float kSharp = 40;
  const WindowGeometry& g = op.geometry;
  return g.valid_h < g.window_h + g.shift_h || g.valid_w < g.window_w + g.shift_w ||
         std::fabs(scale) > kSharp;
}

// A head of a window by its regions: true where (2) holds, and then all is added to `to`, and to `left_out` the most
// that is left out of an entry of its table.
template <class T, int D>
bool by_regions(const Layout<D>& at, const Regions<D>& regions, Scratch& s, int64_t head, float away,
                const WindowAttentionBackward& io, const float* stats, const Sums& to, double* left_out,
                Ahead& ahead) {
  const T *q = static_cast<const T*>(io.qkv) + head * at.d(), *k = q + at.out_channels,
          *v = k + at.out_channels, *dout = static_cast<const T*>(io.dout) + head * at.d();
  const float N = float(at.N);
  float A = away - least_of(stats, at.N);
  if (A < -127) A = -HUGE_VALF;  // exp2 gives 0, with the mask too
  if (A > -HUGE_VALF && (s.alone || in_vain(at.op, io.scale[head]))) return false;
  // log2 of P and of O V max(Q, K)^2 as they usually are: beyond them it is not tried.
  constexpr float kUsualP = -12, kUsualSpread = 40;
  float least = A + 2 * std::log2(N) + 28;  // what log2 P has to be
  if (!(least + kUsualSpread <= kUsualP)) return false;
  const Spread v_spread = spread(at, s.whole, v, at.channels),
               do_spread = spread(at, s.whole, dout, at.out_channels),
               q_spread = spread(at, s.whole, q, at.channels), k_spread = spread(at, s.whole, k, at.channels);
  least +=
      v_spread.bits + do_spread.bits + 2 * (q_spread.bits > k_spread.bits ? q_spread.bits : k_spread.bits);
  if (!(least <= kUsualP)) return false;

  ahead.hurry();
  float weakest = 1;
  double dscale = 0;
  __builtin_memset(s.region_table, 0, at.op.table_size() * sizeof(float));
  const Sums sums{nullptr, nullptr, s.region_table, &dscale, &weakest};
  int r = 0;
  for (const Layout<D>& region : regions.of(s.whole)) {
    s.attend(++r);
    window_head<T>(region, s, head, io, stats, sums, ahead);
  }
  s.attend(0);
  if (!(least <= std::log2(weakest))) return false;
  for (int64_t e = 0; e < at.op.table_size(); ++e) to.dtable[e] += s.region_table[e];
  *to.dscale += dscale;
  *left_out += std::exp2(double(A)) * 2 * N * at.d() * do_spread.largest * v_spread.largest;
  return true;
}

template <class T, int D>
void backward(const WindowAttention& op, const WindowAttentionBackward& io) {
  const Layout<D> at(op);
  const Regions<D> regions(op);
  const Floats away(op.num_heads);
  for (int64_t head = 0; regions.any() && head < op.num_heads; ++head)
    *(away + head) = bound_scores(op, io.bias_table + head * op.table_size(), io.scale[head]).away;
  const WindowGeometry& g = op.geometry;
  const int64_t per_image = g.height * g.width * at.channels;
  if (g.valid_h < g.height || g.valid_w < g.width)
    parallel_for(g.batch, 1, [&](int64_t begin, int64_t end) {
      __builtin_memset(static_cast<T*>(io.dqkv) + begin * per_image, 0,
                       (end - begin) * per_image * sizeof(T));
    });

  // Partials (chunks, heads, table_size), at most 512 KB of them. A chunk has four windows or more where that leaves 32
  // pieces of work; the heads of a group have at most 256 KB of a window, or they push each other out of the L2.
  const int64_t size = op.table_size(), most = (int64_t{1} << 17) / (size * op.num_heads);
  int64_t wanted = ceil_div(32, op.num_heads);
  if (wanted < g.windows() / 4) wanted = g.windows() / 4;
  if (wanted > 64) wanted = 64;
  const int64_t bytes = 8 * at.N * at.d() * sizeof(T);
  const Units units(op, wanted < most ? wanted : most, 16 * num_threads(), (int64_t{1} << 18) / bytes);
  const int64_t count = units.chunks * op.num_heads;
  std::unique_ptr<float[]> partials(new float[count * size]);
  std::unique_ptr<double[]> dscale(new double[count]), left_out(new double[count]);
  std::unique_ptr<bool[]> to_do(new bool[op.num_heads]);  // heads
  for (int64_t head = 0; head < op.num_heads; ++head) to_do[head] = true;
  const auto each_unit = [&](bool whole_windows) {
    parallel_ahead(units.count(), [&](int64_t piece, int64_t after) {
      Scratch s(at, regions, static_cast<char*>(thread_scratch(Scratch(at, regions, nullptr).bytes)));
      units.each(piece, after, [&](const Unit& unit) {
        s.enter(at, regions, unit, true);
        if (!to_do[unit.head]) return;
        Ahead ahead(at, unit, s.coming);
        ahead.add(static_cast<const T*>(io.qkv), 3);
        ahead.add(static_cast<const T*>(io.out), 1);
        ahead.add(static_cast<const T*>(io.dout), 1);
        ahead.add(static_cast<const T*>(io.dqkv), 3);
        const int64_t head = unit.head, to = unit.chunk * op.num_heads + head;
        const float* stats = io.stats + (unit.window * op.num_heads + head) * op.stats_tokens();
        const int64_t of_head = (head - unit.now.first_head) * at.tile_columns * at.slab;
        Sums sums{s.kept_slabs, s.kept_dslabs, partials.get() + to * size, dscale.get() + to, nullptr};
        if (sums.slabs) sums.slabs += of_head, sums.dslabs += of_head;
        at.load_table(s.table, io.bias_table + head * size);
        s.attend(0);
        if (unit.first_window) {
          __builtin_memset(sums.dtable, 0, size * sizeof(float));
          *sums.dscale = left_out[to] = 0;
          if (sums.slabs) open_slabs(at, s, sums.slabs, sums.dslabs);
        }
        if (whole_windows || !s.whole.masked || !regions.any() ||
            !by_regions<T>(at, regions, s, head, *(away + head), io, stats, sums, left_out.get() + to, ahead))
          window_head<T>(at, s, head, io, stats, sums, ahead);
        if (sums.slabs && unit.last_window) at.reduce_bias(sums.dtable, *s.tile, sums.dslabs);
      });
    });
  };

  // Adds up the partials of the heads to do. Those that what is left out could have changed remain to be done.
  const auto sum_up = [&] {
    parallel_for(op.num_heads, 1, [&](int64_t begin, int64_t end) {
      for (int64_t head = begin; head < end; ++head) {
        if (!to_do[head]) continue;
        double scale_sum = 0, left = 0;
        for (int64_t to = head; to < count; to += op.num_heads) scale_sum += dscale[to], left += left_out[to];
        io.dscale[head] = float(scale_sum);
        bool changed = false;
        for (int64_t e = 0; e < size; ++e) {
          double sum = 0;
          for (int64_t to = head; to < count; to += op.num_heads) sum += partials[to * size + e];
          io.dbias_table[head * size + e] = float(sum);
          changed |= std::fabs(sum) < 0x1p20 * left;
        }
        to_do[head] = changed;
      }
    });
  };
  each_unit(false);
  sum_up();
  for (int64_t head = 0; head < op.num_heads; ++head)
    if (to_do[head]) {
      each_unit(true);
      sum_up();
      break;
    }
}

}  // namespace

size_t window_attention_backward_scratch(const WindowAttention& op) {
  return Scratch(Layout<0>(op), Regions<0>(op), nullptr).bytes;
}

void window_attention_backward(const WindowAttention& op, const WindowAttentionBackward& io) {
  with_storage(op.dtype, [&](auto x) {
    using T = decltype(x);
    op.head_dim == 32 ? backward<T, 32>(op, io) : backward<T, 0>(op, io);
  });
}

}  // namespace SWINV2_ISA
}  // namespace swinv2
