// SPDX-License-Identifier: Apache-2.0
//
// What forward and backward share on the CPU. Queries sit in lanes, keys are broadcast: scores are s^T (keys,
// queries), softmax runs down the keys without crossing lanes, and no product needs its operand transposed.
//
//   key tile      up to kTileKeys keys, whole columns of the window: k^ and v rows (keys, d)
//   query block   kBlock = 2 vectors of queries in raster order: q^T (d, kBlock)
//   bias slab     of one key column w_j: slab[a, w_i] = table[a, w_i - w_j + Ww-1], a = 0 .. 2Wh-2. The bias row of
//                 key (h_j, w_j) over all queries is the contiguous run that starts at slab row Wh-1-h_j.
#pragma once

#include "core/dtype.h"
#include "cpu/matmul.h"
#include "cpu/simd.h"
#include "window_attention/window_attention.h"

namespace swinv2 {
namespace SWINV2_ISA {

constexpr int64_t kTileKeys = 64;
constexpr int64_t kBlock = 2 * kLanes;
constexpr float kLog2E = 1.4426950408889634f, kLn2 = 0.6931471805599453f;
constexpr float kLowest = -3.4028234e38f;

// Bump allocation over the thread's scratch; with a null base it only counts.
struct Arena {
  char* base;
  size_t used = 0;
  template <class T>
  T* take(int64_t n) {
    T* p = reinterpret_cast<T*>(base + used);
    used += round_up(n * sizeof(T), 64);
    return p;
  }
};

// The tokens of one window, padded to whole query blocks.
struct Window {
  int32_t* token;            // (queries): index into (B, H, W), or -1 for padding
  float* mask;               // (4, queries): what a key of region r adds to the score of each query
  bool masked;               // false: no pair of tokens is masked, mask is undefined
  int64_t split_h, split_w;  // first row and column of region 1 on each axis
};

struct KeyTile {
  int64_t count;
  int64_t columns;
  int32_t token[kTileKeys];
  int32_t bias[kTileKeys];  // offset of the key's bias row in the slabs
  int32_t region[kTileKeys];
  int32_t column[kTileKeys];  // w_j of each slab
};

// Head_dim is 32 in every published Swin: D = 32 gives the loops over it a constant length, D = 0 reads it at
// run time.
template <int D>
struct Layout {
  const WindowAttention& op;
  int64_t N, blocks, queries, slab, tile_columns, channels, out_channels;
  bool single_tile;  // all keys of a window in one tile, whose columns are then the same for every window

  explicit Layout(const WindowAttention& op) : op(op) {
    const WindowGeometry& g = op.geometry;
    N = g.tokens();
    blocks = ceil_div(N, kBlock);
    queries = blocks * kBlock;
    slab = round_up((2 * g.window_h - 1) * g.window_w + kBlock, 16);
    tile_columns = g.window_h < kTileKeys ? kTileKeys / g.window_h : 1;
    if (tile_columns > g.window_w) tile_columns = g.window_w;
    single_tile = N <= kTileKeys;
    channels = 3 * op.num_heads * d();
    out_channels = op.num_heads * d();
  }

  int64_t d() const { return D ? D : op.head_dim; }
  int64_t d_pad() const { return round_up(d(), kLanes); }

  void locate(Window& window, int64_t index) const {
    const WindowGeometry& g = op.geometry;
    const int64_t b = index / (g.rows() * g.cols()), wy = index / g.cols() % g.rows(), wx = index % g.cols();
    int32_t* token = window.token;
    for (int64_t h = 0; h < g.window_h; ++h) {
      const int64_t y = g.y(wy, h);
      for (int64_t w = 0; w < g.window_w; ++w) {
        const int64_t x = g.x(wx, w);
        *token++ = y < g.valid_h && x < g.valid_w ? int32_t((b * g.height + y) * g.width + x) : -1;
      }
    }
    for (int64_t i = N; i < queries; ++i) *token++ = -1;

    window.masked = g.has_regions(wy, wx);
    window.split_h = g.split_h(wy);
    window.split_w = g.split_w(wx);
    if (!window.masked) return;
    float* mask = window.mask;
    const float differs = op.mask_value * kLog2E;
    for (int64_t region = 0; region < 4; ++region) {
      for (int64_t h = 0; h < g.window_h; ++h) {
        const int64_t region_h = 2 * (h >= window.split_h);
        for (int64_t w = 0; w < g.window_w; ++w)
          *mask++ = region_h + (w >= window.split_w) == region ? 0.f : differs;
      }
      for (int64_t i = N; i < queries; ++i) *mask++ = 0.f;
    }
  }

  // The tile that starts at key column `column`, row `row` of the window; moves both on. False when none is
  // left.
  bool next(KeyTile& tile, const Window& window, int64_t& column, int64_t& row) const {
    const WindowGeometry& g = op.geometry;
    tile.count = tile.columns = 0;
    for (; column < g.window_w && tile.columns < tile_columns && tile.count < kTileKeys; ++column, row = 0) {
      const int64_t offset = tile.columns * slab;
      tile.column[tile.columns++] = int32_t(column);
      const int64_t region_w = column >= window.split_w;
      for (; row < g.window_h; ++row) {
        const int32_t token = window.token[row * g.window_w + column];
        if (token < 0) continue;  // a padding key is no key
        if (tile.count == kTileKeys) return true;
        tile.token[tile.count] = token;
        tile.bias[tile.count] = int32_t(offset + (g.window_h - 1 - row) * g.window_w);
        tile.region[tile.count] = int32_t(2 * (row >= window.split_h) + region_w);
        ++tile.count;
      }
    }
    return tile.columns > 0;
  }

  // A head's table in log2 units, with a vector to spare behind it for expand_bias.
  int64_t padded_table() const { return op.table_size() + kLanes; }
  void load_table(float* to, const float* table) const {
    const int64_t size = op.table_size();
    for (int64_t e = 0; e < size; e += kLanes) store(to + e, load_first(table + e, size - e) * kLog2E);
    store(to + size, Vec{});
  }

  // slabs (columns, slab) from load_table's table. Rows are written in order with whole vectors: what one
  // writes past its end, the next overwrites.
  void expand_bias(float* slabs, const KeyTile& tile, const float* table) const {
    const WindowGeometry& g = op.geometry;
    const int64_t rows = 2 * g.window_h - 1, width = 2 * g.window_w - 1;
    for (int64_t c = 0; c < tile.columns; ++c) {
      float* to = slabs + c * slab;
      for (int64_t i = rows * g.window_w; i < slab; ++i) to[i] = 0.f;
      const float* from = table + g.window_w - 1 - tile.column[c];
      for (int64_t a = 0; a < rows; ++a)
        for (int64_t w = 0; w < g.window_w; w += kLanes)
          store(to + a * g.window_w + w, load(from + a * width + w));
    }
  }

  // The transpose of expand_bias: dtable += dslabs.
  void reduce_bias(float* dtable, const KeyTile& tile, const float* dslabs) const {
    const WindowGeometry& g = op.geometry;
    const int64_t rows = 2 * g.window_h - 1, width = 2 * g.window_w - 1;
    for (int64_t c = 0; c < tile.columns; ++c) {
      float* to = dtable + g.window_w - 1 - tile.column[c];
      const float* from = dslabs + c * slab;
      for (int64_t a = 0; a < rows; ++a)
        for (int64_t w = 0; w < g.window_w; w += kLanes) {
          const int64_t n = g.window_w - w;
          float* p = to + a * width + w;
          store_first(p, load_first(p, n) + load_first(from + a * g.window_w + w, n), n);
        }
    }
  }

  // 1 / max(|x|, floor) of kLanes tokens from their sums of squares; x(i) is token i's row. A sum beyond
  // float32 is taken again in double.
  template <class Row>
  inline __attribute__((always_inline)) Vec inverse_norms(Vec squares, int64_t count, Row x) const {
    Vec inverse = 1.f / vmax(splat(kNormFloor), sqrt(squares));
    if (__builtin_expect(!all(squares < 1e37f), 0))
      for (int64_t i = 0; i < kLanes && i < count; ++i)
        if (!(squares[i] < 1e37f)) {
          double sum = 0;
          for (int64_t c = 0; c < d(); ++c) sum += double(to_float(x(i)[c])) * double(to_float(x(i)[c]));
          inverse[i] = float(1.0 / __builtin_sqrt(sum));
        }
    return inverse;
  }

  // x^ . dx^, the part of the gradient that the normalisation removes; it stays where |x| is below its floor.
  Vec radial(Vec dot, Vec inverse) const {
    return op.cosine ? (inverse < 1.f / kNormFloor ? dot : Vec{}) : Vec{};
  }

  // rows (keys, d) = factor * k^ (or k), and 1 / |k| of each.
  template <class T>
  void load_keys(float* rows, float* inverse, const KeyTile& tile, const T* k, float factor) const {
    for (int64_t j0 = 0; j0 < tile.count; j0 += kLanes) {
      const int64_t count = tile.count - j0 < kLanes ? tile.count - j0 : kLanes;
      Vec factors = splat(factor);
      if (op.cosine) {
        Vec squares[kLanes];
#pragma GCC unroll 16
        for (int64_t j = 0; j < kLanes; ++j) {
          squares[j] = Vec{};
          if (j >= count) continue;
          const T* from = k + tile.token[j0 + j] * channels;
          for (int64_t c = 0; c < d(); c += kLanes) {
            const Vec x = load_first(from + c, d() - c);
            squares[j] += x * x;
          }
        }
        const Vec inv = inverse_norms(sum_rows(squares), count,
                                      [&](int64_t j) { return k + tile.token[j0 + j] * channels; });
        store(inverse + j0, inv);
        factors *= inv;
      }
      alignas(64) float f[kLanes];
      store(f, factors);
      for (int64_t j = 0; j < count; ++j)
        for (int64_t c = 0; c < d(); c += kLanes)
          store_first(rows + (j0 + j) * d() + c,
                      load_first(k + tile.token[j0 + j] * channels + c, d() - c) * f[j], d() - c);
    }
  }

  template <class T>
  void load_values(float* rows, const KeyTile& tile, const T* v) const {
    for (int64_t j = 0; j < tile.count; ++j)
      for (int64_t c = 0; c < d(); c += kLanes)
        store_first(rows + j * d() + c, load_first(v + tile.token[j] * channels + c, d() - c), d() - c);
  }

  // columns (d, kBlock) = the block's rows of x, transposed; padding gives zeros. Returns in squares[v] sums
  // over d.
  template <class T>
  void load_transposed(float* columns, const Window& window, int64_t block, const T* x, int64_t stride,
                       Vec (&squares)[2]) const {
    for (int v = 0; v < 2; ++v) {
      squares[v] = Vec{};
      const int32_t* token = window.token + block * kBlock + v * kLanes;
      for (int64_t c = 0; c < d(); c += kLanes) {
        Vec r[kLanes];
#pragma GCC unroll 16
        for (int64_t i = 0; i < kLanes; ++i)
          r[i] = token[i] < 0 ? Vec{} : load_first(x + token[i] * stride + c, d() - c);
        transpose(r);
        float* to = columns + c * kBlock + v * kLanes;
#pragma GCC unroll 16
        for (int64_t i = 0; i < kLanes; ++i) {
          squares[v] += r[i] * r[i];
          if (c + i < d()) store(to + i * kBlock, r[i]);
        }
      }
    }
  }

  // q^T (d, kBlock) = q^ (or q) of the block, and 1 / |q| of each query.
  template <class T>
  void load_queries(float* columns, float* inverse, const Window& window, int64_t block, const T* q) const {
    Vec squares[2];
    load_transposed(columns, window, block, q, channels, squares);
    if (!op.cosine) return;
    Vec inv[2];
    for (int v = 0; v < 2; ++v) {
      const int32_t* token = window.token + block * kBlock + v * kLanes;
      inv[v] = inverse_norms(squares[v], kLanes,
                             [&](int64_t i) { return q + (token[i] < 0 ? 0 : token[i]) * channels; });
      store(inverse + v * kLanes, inv[v]);
    }
    for (int64_t c = 0; c < d(); ++c)
      for (int v = 0; v < 2; ++v) {
        float* p = columns + c * kBlock + v * kLanes;
        store(p, load(p) * inv[v]);
      }
  }

  // The block's rows of x = columns^T; padding tokens are left alone.
  template <class T>
  void store_transposed(T* x, int64_t stride, const Window& window, int64_t block,
                        const float* columns) const {
    for (int v = 0; v < 2; ++v) {
      const int32_t* token = window.token + block * kBlock + v * kLanes;
      for (int64_t c = 0; c < d(); c += kLanes) {
        Vec r[kLanes];
        const float* from = columns + c * kBlock + v * kLanes;
#pragma GCC unroll 16
        for (int64_t i = 0; i < kLanes; ++i) r[i] = c + i < d() ? load(from + i * kBlock) : Vec{};
        transpose(r);
#pragma GCC unroll 16
        for (int64_t i = 0; i < kLanes; ++i)
          if (token[i] >= 0) store_first(x + token[i] * stride + c, r[i], d() - c);
      }
    }
  }

  // s^T of M keys and V vectors of queries, in log2 units: k^ . q^ + bias + mask. The bias comes last: the
  // product's partial sums are rounded at its own size.
  template <int M, int V>
  inline __attribute__((always_inline)) void scores(Vec (&s)[M][V], const KeyTile& tile, const Window& window,
                                                    int64_t block, int64_t j, const float* slabs,
                                                    const float* keys, const float* q) const {
    const int64_t i = block * kBlock;
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) s[m][v] = Vec{};
    multiply_add<M, V>(s, Broadcast{keys + j * d(), d(), 1}, q, kBlock, d());
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) {
        s[m][v] += load(slabs + tile.bias[j + m] + i + v * kLanes);
        if (window.masked) s[m][v] += load(window.mask + tile.region[j + m] * queries + i + v * kLanes);
      }
  }
};

// Calls f with the number of vectors, 1 or 2, that the queries left fill of a block.
template <class F>
SWINV2_INLINE void with_vectors(int64_t queries_left, F&& f) {
  if (queries_left > kLanes)
    f(Rows<2>{});
  else
    f(Rows<1>{});
}

// Window chunks of one head: the unit of work. Heads run fastest, so that the heads of a chunk share its
// cache lines.
struct Units {
  int64_t heads, windows, per_chunk, chunks;
  Units(const WindowAttention& op, int64_t wanted_chunks)
      : heads(op.num_heads), windows(op.geometry.windows()) {
    if (wanted_chunks > windows) wanted_chunks = windows;
    if (wanted_chunks < 1) wanted_chunks = 1;
    per_chunk = ceil_div(windows, wanted_chunks);
    chunks = ceil_div(windows, per_chunk);
  }
  int64_t count() const { return chunks * heads; }
  int64_t head(int64_t unit) const { return unit % heads; }
  int64_t begin(int64_t unit) const { return unit / heads * per_chunk; }
  int64_t end(int64_t unit) const {
    const int64_t stop = begin(unit) + per_chunk;
    return stop < windows ? stop : windows;
  }
};

}  // namespace SWINV2_ISA
}  // namespace swinv2
