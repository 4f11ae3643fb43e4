// SPDX-License-Identifier: Apache-2.0
//
// What forward and backward share on the CPU. Queries sit in lanes, keys are broadcast: scores are s^T (keys,
// queries), softmax runs down the keys without crossing lanes, and no product needs its operand transposed.
//
//   key tile      up to kTileKeys keys, whole columns of the window: k^ and v rows (keys, d)
//   query block   kBlock = 2 vectors of queries in raster order: q^T (d, kBlock)
//   bias slab     for one key column w_j: slab[a, w_i] = table[a, w_i - w_j + Ww-1], a = 0 .. 2Wh-2. The bias
//   row of
//                 key (h_j, w_j) over all queries is then the contiguous run that starts at slab row
//                 Wh-1-h_j.
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

// The tokens of one window.
struct Window {
  int64_t wy, wx;
  int32_t* token;  // (N): index into (B, H, W), or -1 for padding
  float* mask;     // (4, padded N): what a key of region r adds to the score of each query; see masked
  bool masked;     // false: no pair of tokens is masked
};

struct KeyTile {
  int64_t count;
  int64_t columns;
  int32_t token[kTileKeys];
  int32_t bias[kTileKeys];  // offset of the key's bias row in the slabs
  int32_t region[kTileKeys];
  int32_t column[kTileKeys];  // w_j of each slab
};

struct Layout {
  const WindowAttention& op;
  int64_t N, d, d_pad, blocks, queries, slab, tile_columns, channels, out_channels;

  explicit Layout(const WindowAttention& op) : op(op) {
    const WindowGeometry& g = op.geometry;
    N = g.tokens();
    d = op.head_dim;
    d_pad = round_up(d, kLanes);
    blocks = (N + kBlock - 1) / kBlock;
    queries = blocks * kBlock;
    slab = round_up((2 * g.window_h - 1) * g.window_w + kBlock, 16);
    tile_columns = g.window_h < kTileKeys ? kTileKeys / g.window_h : 1;
    if (tile_columns > g.window_w) tile_columns = g.window_w;
    channels = 3 * op.num_heads * d;
    out_channels = op.num_heads * d;
  }

  void locate(Window& window, int64_t index) const {
    const WindowGeometry& g = op.geometry;
    const int64_t b = index / (g.rows() * g.cols());
    window.wy = index / g.cols() % g.rows();
    window.wx = index % g.cols();
    window.masked = g.has_regions(window.wy, window.wx);
    for (int64_t h = 0; h < g.window_h; ++h)
      for (int64_t w = 0; w < g.window_w; ++w) {
        const int64_t y = g.y(window.wy, h), x = g.x(window.wx, w);
        const bool valid = y < g.valid_h && x < g.valid_w;
        window.token[h * g.window_w + w] = valid ? int32_t((b * g.height + y) * g.width + x) : -1;
      }
    if (!window.masked) return;
    const float value = op.mask_value * kLog2E;
    for (int64_t r = 0; r < 4; ++r)
      for (int64_t i = 0; i < queries; ++i)
        window.mask[r * queries + i] = i < N && region(window, i) != r ? value : 0.f;
  }

  int64_t region(const Window& window, int64_t i) const {
    const WindowGeometry& g = op.geometry;
    return 2 * g.region_h(window.wy, i / g.window_w) + g.region_w(window.wx, i % g.window_w);
  }

  // The next tile from cursor (a key index in column-major order); false when the keys are used up.
  bool next(KeyTile& tile, const Window& window, int64_t& cursor) const {
    const WindowGeometry& g = op.geometry;
    tile.count = tile.columns = 0;
    for (; cursor < N && tile.count < kTileKeys; ++cursor) {
      const int64_t w = cursor / g.window_h, h = cursor % g.window_h, i = h * g.window_w + w;
      if (tile.columns == 0 || tile.column[tile.columns - 1] != w) {
        if (tile.columns == tile_columns) break;
        tile.column[tile.columns++] = int32_t(w);
      }
      if (window.token[i] < 0) continue;  // a padding key is no key
      tile.token[tile.count] = window.token[i];
      tile.bias[tile.count] = int32_t((tile.columns - 1) * slab + (g.window_h - 1 - h) * g.window_w);
      tile.region[tile.count] = window.masked ? int32_t(region(window, i)) : 0;
      ++tile.count;
    }
    return tile.columns > 0;
  }

  // slabs (columns, slab) from the head's table, in log2 units.
  void expand_bias(float* slabs, const KeyTile& tile, const float* table) const {
    const WindowGeometry& g = op.geometry;
    const int64_t rows = 2 * g.window_h - 1, width = 2 * g.window_w - 1;
    for (int64_t c = 0; c < tile.columns; ++c) {
      float* to = slabs + c * slab;
      const float* from = table + g.window_w - 1 - tile.column[c];
      for (int64_t a = 0; a < rows; ++a)
        for (int64_t w = 0; w < g.window_w; w += kLanes)
          store_first(to + a * g.window_w + w, load_first(from + a * width + w, g.window_w - w) * kLog2E,
                      g.window_w - w);
      for (int64_t i = rows * g.window_w; i < slab; ++i) to[i] = 0.f;
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

  // 1 / max(|x|, floor). A sum of squares beyond float32 is taken again in double.
  template <class T>
  float inverse_norm(float sum_of_squares, const T* x) const {
    if (!(sum_of_squares < 1e37f)) {
      double sum = 0;
      for (int64_t c = 0; c < d; ++c) sum += double(to_float(x[c])) * double(to_float(x[c]));
      return float(1.0 / __builtin_sqrt(sum));
    }
    const float norm = __builtin_sqrtf(sum_of_squares);
    return 1.f / (norm < kNormFloor ? kNormFloor : norm);
  }

  // rows (keys, d) = factor * k^ (or k), and 1 / |k| of each.
  template <class T>
  void load_keys(float* rows, float* inverse, const KeyTile& tile, const T* k, float factor) const {
    for (int64_t j = 0; j < tile.count; ++j) {
      const T* from = k + tile.token[j] * channels;
      float* to = rows + j * d;
      float f = factor;
      if (op.cosine) {
        Vec squares{};
        for (int64_t c = 0; c < d; c += kLanes) {
          const Vec x = load_first(from + c, d - c);
          squares += x * x;
        }
        inverse[j] = inverse_norm(reduce_add(squares), from);
        f *= inverse[j];
      }
      for (int64_t c = 0; c < d; c += kLanes) store_first(to + c, load_first(from + c, d - c) * f, d - c);
    }
  }

  template <class T>
  void load_values(float* rows, const KeyTile& tile, const T* v) const {
    for (int64_t j = 0; j < tile.count; ++j) {
      const T* from = v + tile.token[j] * channels;
      for (int64_t c = 0; c < d; c += kLanes)
        store_first(rows + j * d + c, load_first(from + c, d - c), d - c);
    }
  }

  // columns (d, kBlock) = the block's rows of x, transposed; padding gives zeros. squares[v]: sums over d.
  template <class T>
  void load_transposed(float* columns, const Window& window, int64_t block, const T* x, int64_t stride,
                       Vec (&squares)[2]) const {
    for (int v = 0; v < 2; ++v) {
      squares[v] = Vec{};
      const int64_t i0 = block * kBlock + v * kLanes;
      for (int64_t c = 0; c < d; c += kLanes) {
        Vec r[kLanes];
        for (int64_t i = 0; i < kLanes; ++i) {
          const int32_t token = i0 + i < N ? window.token[i0 + i] : -1;
          r[i] = token < 0 ? Vec{} : load_first(x + token * stride + c, d - c);
        }
        transpose(r);
        for (int64_t i = 0; i < kLanes && c + i < d; ++i) {
          squares[v] += r[i] * r[i];
          store(columns + (c + i) * kBlock + v * kLanes, r[i]);
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
    for (int v = 0; v < 2; ++v) {
      Vec inv;
      for (int i = 0; i < kLanes; ++i) {
        const int64_t query = block * kBlock + v * kLanes + i;
        const int32_t token = query < N ? window.token[query] : -1;
        inv[i] = token < 0 ? 0.f : inverse_norm(squares[v][i], q + token * channels);
      }
      store(inverse + v * kLanes, inv);
      for (int64_t c = 0; c < d; ++c) {
        float* p = columns + c * kBlock + v * kLanes;
        store(p, load(p) * inv);
      }
    }
  }

  // The block's rows of x = columns^T; padding tokens are left alone.
  template <class T>
  void store_transposed(T* x, int64_t stride, const Window& window, int64_t block,
                        const float* columns) const {
    for (int v = 0; v < 2; ++v) {
      const int64_t i0 = block * kBlock + v * kLanes;
      for (int64_t c = 0; c < d; c += kLanes) {
        Vec r[kLanes];
        for (int64_t i = 0; i < kLanes; ++i)
          r[i] = c + i < d ? load(columns + (c + i) * kBlock + v * kLanes) : Vec{};
        transpose(r);
        for (int64_t i = 0; i < kLanes && i0 + i < N; ++i)
          if (window.token[i0 + i] >= 0) store_first(x + window.token[i0 + i] * stride + c, r[i], d - c);
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
    multiply_add<M, V>(s, Broadcast{keys + j * d, d, 1}, q, kBlock, d);
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

}  // namespace SWINV2_ISA
}  // namespace swinv2
