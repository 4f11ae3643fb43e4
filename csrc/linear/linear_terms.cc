// SPDX-License-Identifier: Apache-2.0
//
// With AMX float32 is multiplied in three terms (cpu/terms.h), 32 rows by 32 columns at a time, and so is float16,
// whose rows are made float32 first. The right operand lies in L2 in panels of 32 columns while rows of the left go by.
// Where rows of a are few, W is the left and a^T the right.
#include "linear/linear_terms.h"

#include <utility>

#include "cpu/terms.h"
#include "linear/linear_cpu.h"

namespace swinv2 {
namespace avx512 {
void linear_forward(const Linear&, const LinearForward&);
void linear_input_gradient(const Linear&, const LinearBackward&);
}  // namespace avx512
namespace SWINV2_ISA {
namespace {

constexpr int64_t kRightFloats = 320 << 10;  // 1.25 MB: CPUs with AMX have an L2 of 2 MB a core
constexpr int64_t kUnitRows = 192;  // of the left: the first 32 are split while nothing is multiplied
// Where tiles are not worth their operands, avx512 has it: few rows, for which W is read rather than multiplied, and
// sums so long that two blocks of 32 rows leave no room in L2.
constexpr int64_t kFewest = 8, kFewestOfGradient = 512, kLongest = 2048;

int64_t at_most(int64_t count, int64_t most) {
  return count < most ? count : most;
}

// Rows of a matrix (rows, K): of x as the operator views it, in float32.
template <class S, class T>
class FloatRows {
 public:
  FloatRows(const Linear& op, const T* x) : op_(op), x_(x) {}

  // Floats that `rows` rows need as copies.
  static int64_t copied(const Linear& op, int64_t rows) {
    return in_place<Singles, S, T>(op) ? 0 : rows * op.in;
  }
  // Rows `row` .. `row` + count, where they lie or in `copy`.
  const float* operator()(int64_t row, int64_t count, float* copy) const {
    if (in_place<Singles, S, T>(op_)) return reinterpret_cast<const float*>(x_ + row * op_.in);
    load_rows<S>(copy, op_, x_, row, count);
    return copy;
  }

 private:
  const Linear& op_;
  const T* x_;
};

// Columns (or for the left rows) [begin, stop) of operands of 32 each, `floats` apart, by halves: pack(half, steps, c,
// count) for up to 16 of a matrix from c0 + begin on.
template <class Pack>
void pack_halves(float* operands, int64_t floats, float* steps, int64_t c0, int64_t begin, int64_t stop,
                 Pack&& pack) {
  for (int64_t c = begin; c < stop; c += kTile)
    pack(half_of(operands + c / kSquare * floats, c / kTile % 2), steps + c, c0 + c,
         at_most(stop - c, kTile));
}

// The sums of a tile (32, 32) of up to 32 rows and columns, brought back from their steps.
void bring_square_back(float* tile, const float* row_steps, const float* column_steps, int64_t rows,
                       int64_t columns) {
  if (__builtin_expect(any_step(row_steps, rows) || any_step(column_steps, columns), 0))
    bring_back(tile, rows, ceil_div(columns, kLanes), row_steps, column_steps, kSquare);
}

// How often the left is split for a right of so many columns: once for each share of them that has room.
int64_t shares(int64_t columns, int64_t K) {
  return ceil_div(ceil_div(columns, kSquare) * operand_floats(K), kRightFloats);
}

// (rows, K) times (K, columns), or with kTurned the transpose of such a product, a share of the columns after the
// other, which all threads pack and then use:
//   pack(half, steps, c, count)          up to 16 columns of the right from c on
//   load(left, steps, row, count, copy)  -> what splits up to 32 rows of the left; copy is room for `copied` floats
//   put(row, count, c, tile, left)       takes a tile (count, 32) of the result, its first `left` columns
template <bool kTurned, class Pack, class Load, class Put>
void rows_times_panels(int64_t rows, int64_t K, int64_t columns, int64_t copied, Pack&& pack, Load&& load,
                       Put&& put) {
  const int64_t floats = operand_floats(K), panels = ceil_div(columns, kSquare),
                share = ceil_div(panels, shares(columns, K));
  float* right = static_cast<float*>(shared_scratch(share * (floats + kSquare) * sizeof(float)));
  float* column_steps = right + share * floats;
  int64_t each = ceil_div(rows, num_threads());
  if (each > kUnitRows) each = ceil_div(each, at_most(4, each / kUnitRows));
  each = round_up(each, kSquare);
  for (int64_t c0 = 0; c0 < columns; c0 += share * kSquare) {
    const int64_t width = at_most(columns - c0, share * kSquare);
    const int64_t packed =  // columns at a time
        at_most(2 * kSquare, round_up(ceil_div(width, 2 * num_threads()), kTile));
    parallel_for(width, packed, [&](int64_t begin, int64_t stop) {
      pack_halves(right, floats, column_steps, c0, begin, stop, pack);
    });
    // Where there are more threads than that, each has a part of the panels.
    const int64_t chunks = ceil_div(rows, each),
                  parts = at_most(ceil_div(width, kSquare), ceil_div(num_threads(), chunks));
    parallel_for(chunks * parts, 1, [&](int64_t unit, int64_t) {
      const int64_t begin = share_of(unit % parts, parts, width, kSquare),
                    stop = share_of(unit % parts + 1, parts, width, kSquare);
      const Tiles<true> tiles(true);
      float* left = static_cast<float*>(thread_scratch((2 * floats + copied) * sizeof(float)));
      float *coming = left + floats, *copy = coming + floats;
      float steps[2][kSquare], *row_steps = steps[0], *coming_steps = steps[1];
      const int64_t first = unit / parts * each, end = at_most(first + each, rows);
      load(left, row_steps, first, at_most(end - first, kSquare), copy).finish();
      for (int64_t row = first; row < end; row += kSquare) {
        const int64_t count = at_most(end - row, kSquare), then = row + kSquare;
        LeftRows split;
        if (then < end) split = load(coming, coming_steps, then, at_most(end - then, kSquare), copy);
        const int64_t pieces =
            ceil_div(kSquare * kSquare, 6 * (stop - begin));  // each time: 1 where 6 panels or more
        for (int64_t c = begin; c < stop; c += kSquare) {
          const int64_t there = at_most(width - c, kSquare);
          alignas(64) float tile[kSquare * kSquare];
          multiply_square<kTurned>(tile, left, right + c / kSquare * floats, K, [&]() SWINV2_INLINE_LAMBDA {
            for (int64_t i = 0; i < pieces; ++i) split.step();
          });
          bring_square_back(tile, row_steps, column_steps + c, count, there);
          put(row, count, c0 + c, tile, there);
        }
        split.finish();
        std::swap(left, coming);
        std::swap(row_steps, coming_steps);
      }
    });
  }
}

// Whether an operand of `rows` rows is better the right, and that of `columns` columns the left: turning a row costs
// twice what splitting does.
bool swapped(int64_t rows, int64_t K, int64_t columns) {
  return 2 * rows + shares(rows, K) * columns < 2 * columns + shares(columns, K) * rows;
}

// Rows as the left, or turned as the right.
template <class Rows>
auto left_of(const Rows& rows_of, int64_t K) {
  return [=](float* left, float* steps, int64_t row, int64_t count, float* copy) {
    return LeftRows(left, steps, rows_of(row, count, copy), count, K);
  };
}
template <class Rows>
auto right_of(const Rows& rows_of, int64_t K, int64_t copied) {
  return [=](float* half, float* steps, int64_t row, int64_t count) {
    float* copy = copied ? static_cast<float*>(thread_scratch(kTile * K * sizeof(float))) : nullptr;
    split_rows_as_columns(half, steps, rows_of(row, count, copy), K, count, K);
  };
}

template <class S, class T, class G>
void forward(const Linear& op, const LinearForward& io) {
  const FloatRows<S, T> a(op, static_cast<const T*>(io.x));
  const int64_t K = op.in, N = op.out;
  const auto weights = [=](int64_t n, int64_t, float*) { return stored_weights(op, io.weight, n); };
  S* const out = static_cast<S*>(io.out);
  if (swapped(op.rows, K, N))
    return rows_times_panels<true>(
        N, K, op.rows, 0, right_of(a, K, a.copied(op, 1)), left_of(weights, K),
        [&](int64_t n, int64_t outputs, int64_t row, const float* tile, int64_t count) {
          put_turned<G>(out + row * N, N, io.bias, n, tile, kSquare, outputs, count);
        });
  rows_times_panels<false>(op.rows, K, N, a.copied(op, kSquare), right_of(weights, K, 0), left_of(a, K),
                           [&](int64_t row, int64_t count, int64_t n, const float* tile, int64_t left) {
                             S* to = out + row * N;
                             expect_below(to + n, N, count, kSquare);
                             if (left == kSquare)
                               return put_outputs<G, 2>(to, N, io.bias, n, tile, kSquare, count, Whole{});
                             for (int64_t c = 0; c < left; c += kLanes)
                               put_outputs<G, 1>(to, N, io.bias, n + c, tile + c, kSquare, count, left - c);
                           });
}

template <class T>
void input_gradient(const Linear& op, const LinearBackward& io) {
  const Linear of_dout = rows_of_dout(op);
  const FloatRows<T, T> dout(of_dout, static_cast<const T*>(io.dout));
  const int64_t K = op.in, N = op.out;
  T* const dx = static_cast<T*>(io.dx);
  rows_times_panels<false>(
      op.rows, N, K, dout.copied(of_dout, kSquare),
      [&](float* half, float* steps, int64_t k, int64_t count) {
        split_columns<false>(half, steps, io.weight + k, K, count, N);
      },
      left_of(dout, N),
      [&](int64_t row, int64_t count, int64_t k, const float* tile, int64_t left) {
        if (op.view.segments == 1) expect_below(dx + row * K + k, K, count, kSquare);
        for (int64_t m = 0; m < count; ++m)
          for (int64_t c = 0; c < left; c += kLanes)
            store_in_row(dx, op, row + m, k + c, load(tile + m * kSquare + c), left - c);
      });
}

}  // namespace

void linear_forward_by_terms(const Linear& op, const LinearForward& io) {
  if (op.rows < kFewest || op.in > kLongest) return avx512::linear_forward(op, io);
  const auto with_output = [&](auto out) {
    using S = decltype(out);
    with_input<S>(op, [&](auto x, auto g) { forward<S, decltype(x), decltype(g)>(op, io); });
  };
  op.dtype == DType::kFloat16 ? with_output(Half{}) : with_output(float{});
}

void linear_input_gradient_by_terms(const Linear& op, const LinearBackward& io) {
  if (op.rows < kFewestOfGradient || op.out > kLongest) return avx512::linear_input_gradient(op, io);
  op.dtype == DType::kFloat16 ? input_gradient<Half>(op, io) : input_gradient<float>(op, io);
}

void add_weight_gradient_by_terms(float* dweight, float* dbias, const Linear& op, const LinearBackward& io,
                                  int64_t n0, int64_t n1, int64_t row0, int64_t row1) {
  const int64_t K = op.in, N = op.out, blocks = ceil_div(n1 - n0, kSquare), floats = operand_floats(kSumRows);
  const auto add = [&](auto of) {
    using T = decltype(of);
    const FloatRows<T, T> a(op, static_cast<const T*>(io.x));
    float* left = static_cast<float*>(
        thread_scratch(((blocks + 1) * (floats + kSquare) + a.copied(op, kSumRows)) * sizeof(float)));
    float *right = left + blocks * floats, *row_steps = right + floats,
          *column_steps = row_steps + blocks * kSquare, *copies = column_steps + kSquare;
    for (int64_t row = row0; row < row1; row += kSumRows) {
      const int64_t rows = at_most(row1 - row, kSumRows);
      const T* dout = static_cast<const T*>(io.dout) + row * N;
      add_rows(dbias, dout + n0, N, rows, n1 - n0);
      pack_halves(left, floats, row_steps, n0, 0, n1 - n0,
                  [&](float* half, float* steps, int64_t n, int64_t count) {
                    split_columns<true>(half, steps, dout + n, N, count, rows);
                  });
      const float* x = a(row, rows, copies);
      for (int64_t k = 0; k < K; k += kSquare) {
        const int64_t columns = at_most(K - k, kSquare);
        pack_halves(right, floats, column_steps, k, 0, columns,
                    [&](float* half, float* steps, int64_t first, int64_t count) {
                      split_columns<false>(half, steps, x + first, K, count, rows);
                    });
        for (int64_t b = 0; b < blocks; ++b) {
          const int64_t n = n0 + b * kSquare, outputs = at_most(n1 - n, kSquare);
          alignas(64) float tile[kSquare * kSquare];
          multiply_square<false>(tile, left + b * floats, right, rows, [] {});
          bring_square_back(tile, row_steps + b * kSquare, column_steps, outputs, columns);
          add_tile(dweight + n * K + k, K, tile, outputs, columns, kSquare);
        }
      }
    }
  };
  op.dtype == DType::kFloat16 ? add(Half{}) : add(float{});
}

}  // namespace SWINV2_ISA
}  // namespace swinv2
