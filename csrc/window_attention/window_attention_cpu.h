// SPDX-License-Identifier: Apache-2.0
//
// What forward and backward share on the CPU. Scores are s^T (keys, queries), queries in lanes and keys broadcast, so
// that the softmax runs down the keys without crossing lanes. Products over keys or queries (o, dq, dk, dv) have the
// channels in lanes and broadcast p or ds: rows come and go as they are. Only q^T and do^T are transposed, on loading.
//
//   key tile      up to kTileKeys keys, whole columns of the window: k^ and v rows (keys, d)
//   query block   kBlock = 2 vectors of queries in raster order: q^T (d, kBlock)
//   bias slab     of one key column w_j: slab[a, w_i] = table[a, w_i - w_j + Ww-1], a = 0 .. 2Wh-2. The bias row of
//                 key (h_j, w_j) over all queries is the contiguous run that starts at slab row Wh-1-h_j. (Of a region
//                 h rows high: the 2h-1 rows in the middle.)
#pragma once

#include <type_traits>

#include "core/dtype.h"
#include "cpu/isa.h"
#include "cpu/matmul.h"
#include "cpu/parallel.h"
#include "cpu/simd.h"
#include "window_attention/window_attention.h"

namespace swinv2 {
namespace SWINV2_ISA {

constexpr int64_t kTileKeys = 64;
constexpr int64_t kBlock = 2 * kLanes;
constexpr float kLog2E = 1.4426950408889634f, kLn2 = 0.6931471805599453f;
constexpr float kHighest = 3.4028234e38f, kLowest = -kHighest;

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

// A run of a window's rows or columns.
struct Span {
  int64_t first, count;
};

// The tokens of one window, or of a region of it, padded to whole query blocks.
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

// The `group` heads of a window from `first_head` on, which are taken one after the other.
struct HeadGroup {
  int64_t window, first_head, group;
};

// A head of them, and what comes after them on this thread (a group of 0: nothing).
struct Unit {
  int64_t window, head, chunk;
  bool new_window, first_window, last_window;  // first, last: of the chunk
  HeadGroup now, coming;
};

// Sums of squares over the channels, in four chains: a single one would wait for each addition. One order for forward
// and backward, whose p = exp2(s - lse) is off by what s is off.
struct Squares {
  Vec chain[4] = {};
  inline __attribute__((always_inline)) void add(int64_t c, Vec x) { chain[c % 4] += x * x; }
  Vec sum() const { return (chain[0] + chain[1]) + (chain[2] + chain[3]); }
};

// Lines to fetch beside a product of a few keys with a query block of d = 32. At N = 64 the products of a head are then
// enough for the 550 lines that the forward reads and writes, of 16 such products and 8 twice as long, and for the 1100
// of the backward, of 64. bfloat16 has half of both.
constexpr int64_t kLines = ceil_div(20 * kRowBlock * kBlock, 8 * 32);

// Brings the lines of the next window towards the core, a few beside each product: the gather of a window's rows is
// more than the hardware's prefetchers follow, and a burst of prefetches stalls. Each head of a group fetches its
// share of the tokens, for all heads of the group.
class Ahead {
 public:
  template <class Layout>
  Ahead(const Layout& at, const Unit& unit, const Window& coming)
      : token_(coming.token),
        first_(unit.coming.first_head * at.d()),
        width_(unit.coming.group * at.d()),
        part_(at.out_channels) {
    const int64_t h = unit.head - unit.now.first_head;
    next_ = at.N * h / unit.now.group;
    end_ = unit.coming.group ? at.N * (h + 1) / unit.now.group : 0;
  }

  // An array (B, H, W, parts, heads, d).
  template <class T>
  void add(const T* x, int parts) {
    const int64_t stride = parts * part_ * sizeof(T);
    const int rows = width_ == part_ ? 1 : parts;  // of all heads: the parts are one run
    const int64_t bytes = parts / rows * width_ * sizeof(T);
    for (int p = 0; p < rows; ++p) {
      const char* first = reinterpret_cast<const char*>(x + p * part_ + first_);
      const int64_t into = reinterpret_cast<uintptr_t>(first) % 64;  // its line
      rows_[count_++] = {first - into, stride, ceil_div(into + bytes, 64)};
    }
  }

  // Twice as many beside a product: a window has half of them or less.
  void hurry() { pace_ = 2; }

  // The next `lines` of all rows, or what is left of them. Not inline: the products beside it need the registers.
  __attribute__((noinline)) void fetch(int64_t lines) {
    lines *= pace_;
    while (lines > 0 && (left_ > 0 || next_row())) {
      const int64_t n = lines < left_ ? lines : left_;
      if (into_l2_)
#pragma GCC unroll 4
        for (int64_t i = 0; i < n; ++i) __builtin_prefetch(line_ + 64 * i, 0, 2);
      else
#pragma GCC unroll 4
        for (int64_t i = 0; i < n; ++i) __builtin_prefetch(line_ + 64 * i);
      line_ += 64 * n;
      left_ -= n;
      lines -= n;
    }
  }

 private:
  bool next_row() {
    while (next_ < end_) {
      const Rows& rows = rows_[row_];
      const int64_t token = token_[next_];
      if (++row_ == count_) {
        row_ = 0;
        ++next_;
      }
      if (token < 0) continue;
      line_ = rows.base + token * rows.stride;
      left_ = rows.lines;
      return true;
    }
    return false;
  }

  struct Rows {
    const char* base;
    int64_t stride, lines;  // bytes from token to token; of a row, with those it has a part of
  };
  Rows rows_[8];
  const int32_t* token_;
  int64_t first_, width_, part_;  // elements
  int64_t next_, end_;            // tokens
  int count_ = 0, row_ = 0;
  const char* line_ = nullptr;
  int64_t left_ = 0, pace_ = 1;
  const bool into_l2_ = fetches_into_l2();
};

// Calls f(Rows<V>) with the number of vectors, 1 or 2, that the elements left fill of a pair.
template <class F>
SWINV2_INLINE void with_vectors(int64_t left, F&& f) {
  if (left > kLanes)
    f(Rows<2>{});
  else
    f(Rows<1>{});
}

// Head_dim is 32 in every published Swin: D = 32 gives the loops over it a constant length, D = 0 reads it at
// run time.
template <int D>
struct Layout {
  static constexpr int64_t kHeadDim = D;
  const WindowAttention& op;
  Span rows, cols;  // of the window: all of it, or a region
  int64_t N, blocks, queries, slab, tile_columns, channels, out_channels;
  bool single_tile;  // all keys of a window in one tile, whose columns are then the same for every window

  Layout(const WindowAttention& op, Span rows, Span cols) : op(op), rows(rows), cols(cols) {
    N = rows.count * cols.count;
    blocks = ceil_div(N, kBlock);
    queries = blocks * kBlock;
    slab = round_up((2 * rows.count - 1) * cols.count + kLanes, 16);
    tile_columns = rows.count < kTileKeys ? kTileKeys / rows.count : 1;
    if (tile_columns > cols.count) tile_columns = cols.count;
    single_tile = N <= kTileKeys;
    channels = 3 * op.num_heads * d();
    out_channels = op.num_heads * d();
  }
  explicit Layout(const WindowAttention& op)
      : Layout(op, {0, op.geometry.window_h}, {0, op.geometry.window_w}) {}

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
  }

  // What keys of each region add.
  void write_mask(const Window& window) const {
    const WindowGeometry& g = op.geometry;
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

  // The tokens of this region of a window.
  void select(Window& region, const Window& window) const {
    int32_t* token = region.token;
    for (int64_t h = 0; h < rows.count; ++h)
      for (int64_t w = 0; w < cols.count; ++w)
        *token++ = window.token[(rows.first + h) * op.geometry.window_w + cols.first + w];
    for (int64_t i = N; i < queries; ++i) *token++ = -1;
    region.mask = window.mask;
    region.masked = false;
    region.split_h = rows.count;
    region.split_w = cols.count;
  }

  // f(i, n, at): tokens i .. i + n of N stand at `at` of the window's.
  template <class F>
  void each_row(F&& f) const {
    const int64_t window_w = op.geometry.window_w;
    if (cols.count == window_w) return f(0, N, rows.first * window_w);
    for (int64_t h = 0; h < rows.count; ++h)
      f(h * cols.count, cols.count, (rows.first + h) * window_w + cols.first);
  }

  // The tile that starts at key column `column`, row `row` of the window; moves both on. False when none is left.
  // Its keys stand in order of columns, or with by_rows of rows. The list of tokens is filled up to whole vectors with
  // its last.
  bool next(KeyTile& tile, const Window& window, int64_t& column, int64_t& row, bool by_rows = false) const {
    const int64_t window_h = rows.count, window_w = cols.count;
    if (column == window_w) return false;
    const int64_t columns = tile_columns < window_w - column ? tile_columns : window_w - column;
    int64_t count = 0;
    for (int64_t c = 0; c < columns; ++c) tile.column[c] = int32_t(column + c);
    const int64_t end = window_h - row < kTileKeys ? window_h : row + kTileKeys;
    const auto add = [&](int64_t h, int64_t c) {
      const int32_t token = window.token[h * window_w + column + c];
      if (token < 0) return;  // a padding key is no key
      tile.token[count] = token;
      tile.bias[count] = int32_t(c * slab + (window_h - 1 - h) * window_w);
      tile.region[count] = int32_t(2 * (h >= window.split_h) + (column + c >= window.split_w));
      ++count;
    };
    if (by_rows)
      for (int64_t h = row; h < end; ++h)
        for (int64_t c = 0; c < columns; ++c) add(h, c);
    else
      for (int64_t c = 0; c < columns; ++c)
        for (int64_t h = row; h < end; ++h) add(h, c);
    row = end;
    for (int64_t j = count; j % kLanes; ++j) tile.token[j] = tile.token[count - 1];
    tile.count = count;
    tile.columns = columns;
    if (row == window_h) {
      column += columns;
      row = 0;
    }
    return true;
  }

  // A head's table in log2 units, with a vector to spare behind it for expand_bias.
  int64_t padded_table() const { return op.table_size() + kLanes; }
  void load_table(float* to, const float* table) const {
    const int64_t size = op.table_size();
    for (int64_t e = 0; e < size; e += kLanes) store(to + e, load_first(table + e, size - e) * kLog2E);
    store(to + size, Vec{});
  }

  // Of a table (2Wh-1, 2Ww-1): entries a row, and the first one that keys of a column need.
  int64_t table_width() const { return 2 * op.geometry.window_w - 1; }
  int64_t first_entry(int64_t column) const {
    return (op.geometry.window_h - rows.count) * table_width() + op.geometry.window_w - 1 - column;
  }

  // slabs (columns, slab) from load_table's table, and zeros where a query block is filled up.
  void expand_bias(float* slabs, const KeyTile& tile, const float* table) const {
    const int64_t width = table_width(), count = 2 * rows.count - 1, length = cols.count;
    for (int64_t c = 0; c < tile.columns; ++c) {
      float* to = slabs + c * slab;
      const float* from = table + first_entry(tile.column[c]);
      const auto copy_rows = [&](auto of) {  // of a length that one instruction has
        constexpr int kLength = decltype(of)::value;
        for (int64_t a = 0; a < count; ++a)
          __builtin_memcpy(to + a * kLength, from + a * width, kLength * sizeof(float));
      };
      if (length == 4)
        copy_rows(Rows<4>{});
      else if (length == 8)
        copy_rows(Rows<8>{});
      else  // in order: what a vector writes past the end of its row, the next row overwrites
        for (int64_t a = 0; a < count; ++a)
          for (int64_t w = 0; w < length; w += kLanes) store(to + a * length + w, load(from + a * width + w));
      store(to + count * length, Vec{});
    }
  }

  // The transpose of expand_bias: dtable += dslabs, whose rows of one column lie an entry beside those of the next.
  // Column by column where vectors are whole. Else a row of the table at a time, from all columns: a load that overlaps
  // a store in flight at another place waits for it.
  void reduce_bias(float* dtable, const KeyTile& tile, const float* dslabs) const {
    const int64_t width = table_width(), count = 2 * rows.count - 1, length = cols.count,
                  columns = tile.columns;
    const int64_t first = first_entry(tile.column[0]), end = first + length, least = first - (columns - 1);
    if (length % kLanes == 0) {
      for (int64_t c = 0; c < columns; ++c)
        for (int64_t a = 0; a < count; ++a)
          for (int64_t w = 0; w < length; w += kLanes) {
            float* to = dtable + first - c + a * width + w;
            store(to, load(to) + load(dslabs + c * slab + a * length + w));
          }
      return;
    }
    for (int64_t e = least; e < end; e += kLanes) {
      Between lanes[kTileKeys];  // those that column c has
      for (int64_t c = 0; c < columns; ++c) lanes[c] = {first - c - e, first - c - e + length};
      Vec next = load_first(dtable + e, end - e);
      for (int64_t a = 0; a < count; ++a) {
        float* to = dtable + a * width + e;
        const float* from = dslabs + a * length + e - first;
        Vec sum = next;
        if (a + 1 < count) next = load_first(to + width, end - e);
        for (int64_t c = 0; c < columns; ++c) sum += lanes[c].load(from + c * (slab + 1));
        store_first(to, sum, end - e);
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

  // rows (keys, d_pad) = factor * k^ (or k), and 1 / |k| of each, up to a whole vector of them. Sums, roots and rows
  // one after the other: within a vector of keys each would wait for the one before.
  template <class T>
  void load_keys(float* rows, float* inverse, const KeyTile& tile, const T* k, float factor) const {
    const auto row = [&](int64_t j) { return k + tile.token[j] * channels; };
    if (op.cosine) {
      for (int64_t j0 = 0; j0 < tile.count; j0 += kLanes) {
        Vec squares[kLanes];
#pragma GCC unroll 16
        for (int64_t j = 0; j < kLanes; ++j) {
          const T* x = row(j0 + j);
          squares[j] = Vec{};
          for (int64_t c = 0; c < d(); c += kLanes) {
            const Vec x_c = load_first(x + c, d() - c);
            squares[j] += x_c * x_c;
          }
        }
        store(inverse + j0, sum_rows(squares));
      }
      for (int64_t j0 = 0; j0 < tile.count; j0 += kLanes)
        store(inverse + j0,
              inverse_norms(load(inverse + j0), kLanes, [&](int64_t j) { return row(j0 + j); }));
    }
    for (int64_t j = 0; j < tile.count; ++j)
      load_row(rows + j * d_pad(), row(j), op.cosine ? factor * inverse[j] : factor);
  }

  // Rows first .. end of (keys, d_pad)
  template <class T>
  void load_values(float* rows, const KeyTile& tile, const T* v, int64_t first, int64_t end) const {
    for (int64_t j = first; j < end; ++j) load_row(rows + j * d_pad(), v + tile.token[j] * channels, 1);
  }

  // to (d_pad) = factor * x
  template <class T>
  void load_row(float* to, const T* x, float factor) const {
    for (int64_t c = 0; c < d(); c += kLanes) store(to + c, load_first(x + c, d() - c) * factor);
  }

  // Row x as float32 for load_columns: where it lies, or in `copy` (d_pad); zeros where it is not there.
  template <class T>
  const float* row_of(const T* x, bool there, float* copy) const {
    if constexpr (std::is_same<T, float>::value)
      if (d() % kColumns == 0 && there) return x;
    for (int64_t c = 0; c < d(); c += kLanes) store(copy + c, there ? load_first(x + c, d() - c) : Vec{});
    return copy;
  }

  // What the products of kLanes queries with the keys are still to be multiplied by: 1 / |q|. The column of a query
  // (d, kBlock) is instead where its products could overflow, or where it would be one more rounding.
  Vec query_factor(float* columns, Vec inverse) const {
    const VecI later = kFused ? inverse > 1e-6f : VecI{};
    if (__builtin_expect(all(later), kFused)) return inverse;
    const Vec one = splat(1.f), now = later ? one : inverse;
    for (int64_t c = 0; c < d(); ++c) store(columns + c * kBlock, load(columns + c * kBlock) * now);
    return later ? inverse : one;
  }

  // columns (d, kBlock) of kLanes queries from row_of's rows, the factor of each one's products, and 1 / |q| (or 1);
  // query(i) is where query i lies.
  template <class Query>
  inline __attribute__((always_inline)) Vec load_query_columns(float* columns, float* factor,
                                                               const float* const* row, Query query) const {
    Squares squares;
    for (int64_t c = 0; c < d(); c += kColumns) {
      Vec y[kColumns];
      load_columns(y, row, c);
#pragma GCC unroll 8
      for (int64_t a = 0; a < kColumns; ++a) {
        squares.add(a, y[a]);
        if (c + a < d()) store(columns + (c + a) * kBlock, y[a]);
      }
    }
    const Vec inverse = op.cosine ? inverse_norms(squares.sum(), kLanes, query) : splat(1.f);
    store(factor, query_factor(columns, inverse));
    return inverse;
  }

  // f(c, Rows<V>) over the vectors of a row of d channels, two at a time.
  template <class F>
  inline __attribute__((always_inline)) void each_columns(F&& f) const {
    for (int64_t c = 0; c < d(); c += 2 * kLanes) with_vectors(d() - c, [&](auto vectors) { f(c, vectors); });
  }

  // s^T of M keys and V vectors of queries, in log2 units: factor * (k^ . q) + bias + mask. The bias comes last: the
  // product's partial sums are rounded at its own size.
  template <int M, int V>
  inline __attribute__((always_inline)) void scores(Vec (&s)[M][V], const KeyTile& tile, const Window& window,
                                                    int64_t block, int64_t j, const float* slabs,
                                                    const float* keys, const float* q,
                                                    const float* query_factor) const {
    clear(s);
    multiply_add<M, V>(s, Broadcast{keys + j * d_pad(), d_pad(), 1}, q, kBlock, d());
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) s[m][v] *= load(query_factor + v * kLanes);
    add_bias(s, tile, window, block, j, slabs);
  }
  template <int M, int V>
  inline __attribute__((always_inline)) void add_bias(Vec (&s)[M][V], const KeyTile& tile,
                                                      const Window& window, int64_t block, int64_t j,
                                                      const float* slabs) const {
    const int32_t *row = tile.bias + j, *region = tile.region + j;
    const float *bias = slabs + block * kBlock, *mask = window.mask + block * kBlock;
    const int64_t stride = queries;
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) s[m][v] += load(bias + row[m] + v * kLanes);
    if (!window.masked) return;
#pragma GCC unroll 8
    for (int m = 0; m < M; ++m)
#pragma GCC unroll 2
      for (int v = 0; v < V; ++v) s[m][v] += load(mask + region[m] * stride + v * kLanes);
  }
};

// Work is shared out in pieces, a chunk of windows and a group of heads each, heads inside windows, so that a window's
// lines are fetched once. A group is all heads, or `most_heads`, where there are windows enough.
struct Units {
  int64_t heads, windows, per_chunk, chunks, per_group, groups;
  Units(const WindowAttention& op, int64_t wanted_chunks, int64_t wanted_pieces, int64_t most_heads)
      : heads(op.num_heads), windows(op.geometry.windows()) {
    per_chunk = ceil_div(windows, wanted_chunks < 1 ? 1 : wanted_chunks);
    chunks = ceil_div(windows, per_chunk);
    per_group = ceil_div(heads * chunks, wanted_pieces);
    if (per_group > most_heads) per_group = most_heads;
    if (per_group < 1) per_group = 1;
    groups = ceil_div(heads, per_group);
  }
  Units(const WindowAttention& op, int64_t wanted_chunks, int64_t wanted_pieces)
      : Units(op, wanted_chunks, wanted_pieces, op.num_heads) {}
  int64_t count() const { return chunks * groups; }

  // f(Unit) over piece `index`, which piece `after` follows on this thread.
  template <class F>
  void each(int64_t index, int64_t after, F&& f) const {
    const HeadGroup first = piece(index), next = piece(after);
    const int64_t chunk = index / groups,
                  end = windows < first.window + per_chunk ? windows : first.window + per_chunk;
    for (HeadGroup now = first; now.window < end; ++now.window) {
      const bool last = now.window + 1 == end;
      const HeadGroup coming = last ? next : HeadGroup{now.window + 1, now.first_head, now.group};
      for (int64_t h = 0; h < now.group; ++h)
        f(Unit{now.window, now.first_head + h, chunk, h == 0, now.window == first.window, last, now, coming});
    }
  }

 private:
  // The first of piece `index`.
  HeadGroup piece(int64_t index) const {
    const int64_t first = index % groups * per_group,
                  group = heads - first < per_group ? heads - first : per_group;
    return {index / groups * per_chunk, first, index < count() ? group : 0};
  }
};

}  // namespace SWINV2_ISA
}  // namespace swinv2
