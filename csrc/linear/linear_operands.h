// SPDX-License-Identifier: Apache-2.0
//
// The operands of linear's products on the CPU: rows of float32, or of pairs of bfloat16 (cpu/pairs.h) that take half
// the lanes. Rows of a are pairs as they are stored, rows of W are rounded.
#pragma once

#include <type_traits>

#include "cpu/pairs.h"
#include "cpu/rows.h"
#include "cpu/tile.h"
#include "linear/linear.h"

namespace swinv2 {
namespace SWINV2_ISA {

// Pairs that are multiplied by tiles (cpu/tile.h) where they fill them.
struct TiledPairs : Pairs {};
template <class P>
constexpr bool kTiled = std::is_same<P, TiledPairs>::value;

// The products of operands stored as T.
template <class T>
using Products = std::conditional_t<kHasPairs && std::is_same<T, BFloat16>::value,
                                    std::conditional_t<kHasTiles, TiledPairs, Pairs>, Singles>;

// Whether operands stored as T are split into terms instead (linear_terms.h).
template <class T>
constexpr bool kByTerms = kHasTiles && !std::is_same<T, BFloat16>::value;

// Rows of the left operand that are multiplied at a time.
template <class P>
constexpr int64_t kRows = kTiled<P> ? kTile : kRowBlock;

// Whether products of `terms` lanes go by tiles.
template <class P>
constexpr bool by_tiles(int64_t terms) {
  return kTiled<P> && terms % kTile == 0;
}

// Rows of a as they lie in x, when they can be read there.
template <class P, class S, class T>
bool in_place(const Linear& op) {
  return op.view.segments == 1 && std::is_same<S, T>::value && (P::kPairs ? op.in % 2 == 0 : sizeof(T) == 4);
}

// v as S holds it.
template <class S>
SWINV2_INLINE Vec rounded_to(Vec v) {
  if (std::is_same<S, float>::value) return v;
  alignas(64) S stored[kLanes];
  store(stored, v);
  return load(stored);
}

// Rows `row` .. `row + count` of a, (count, K), rounded to S.
template <class S, class T>
void load_rows(float* a, const Linear& op, const T* x, int64_t row, int64_t count) {
  for (int64_t m = 0; m < count; ++m) {
    const T* from = x + op.view.base(row + m);
    for (int64_t s = 0; s < op.view.segments; ++s, a += op.view.length) {
      const T* run = from + op.view.offset(s);
      for (int64_t c = 0; c < op.view.length; c += kLanes) {
        const int64_t left = op.view.length - c;
        const Vec v = load_first(run + c, left);
        store_first(a + c, std::is_same<S, T>::value ? v : rounded_to<S>(v), left);
      }
    }
  }
}

// The first `count` columns from c on of row `row` of da, into dx.
template <class T>
SWINV2_INLINE void store_in_row(T* dx, const Linear& op, int64_t row, int64_t c, Vec v, int64_t count) {
  const PatchView& view = op.view;
  T* to = dx + view.base(row);
  if (view.segments == 1) return store_first(to + c, v, count);
  if (view.length % kLanes == 0) return store(to + view.offset(c / view.length) + c % view.length, v);
  for (int64_t i = 0; i < kLanes && i < count; ++i)
    to[view.offset((c + i) / view.length) + (c + i) % view.length] = from_float<T>(v[i]);
}

// Lanes that hold a row of K elements.
template <class P>
int64_t terms_of(int64_t K) {
  return P::kPairs ? ceil_div(K, 2) : K;
}

inline void round_rows(float* pairs, float* steps, const float* rows, int64_t K, int64_t count) {
  for (int64_t m = 0; m < count; ++m) steps[m] = round_row(pairs + m * ceil_div(K, 2), rows + m * K, K);
}

// Rows of bfloat16 (count, K) as operands, where they are such as they stand: there, or in `packed` what would leave a
// tile unfilled; null where they are not.
template <class P>
const float* usual_rows(const float* there, int64_t K, int64_t count, float* packed, float* steps) {
  const int64_t pairs = K / 2;
  if (K % 2) return nullptr;
  for (int64_t m = 0; m < count; ++m) {
    if (!usual_row(there + m * pairs, pairs)) return nullptr;
    steps[m] = 1;
  }
  if (count % kRows<P> == 0 || !by_tiles<P>(pairs)) return there;
  __builtin_memcpy(packed, there, count * pairs * sizeof(float));
  return packed;
}

// Rows `row` .. `row + count` of a as operands (count, terms): in x or in `packed`, with `spare` (count, K) on the way;
// with pairs also their steps (see round_row).
template <class P, class S, class T>
const float* operand_rows(const Linear& op, const T* x, int64_t row, int64_t count, float* packed,
                          float* spare, float* steps) {
  const float* there = reinterpret_cast<const float*>(x + row * op.in);  // where a row is one run of x
  if constexpr (P::kPairs) {
    if (in_place<P, S, T>(op))
      if (const float* usual = usual_rows<P>(there, op.in, count, packed, steps)) return usual;
    const bool floats = std::is_same<T, float>::value && op.view.segments == 1;
    if (!floats) load_rows<T>(spare, op, x, row, count);
    round_rows(packed, steps, floats ? there : spare, op.in, count);
  } else {
    if (in_place<P, S, T>(op)) return there;
    load_rows<S>(packed, op, x, row, count);
  }
  return packed;
}

// Row `row` of W as it is stored.
inline const float* stored_weights(const Linear& op, const void* weight, int64_t row) {
  const int64_t size = op.weight_dtype == DType::kFloat32 ? 4 : 2;
  return reinterpret_cast<const float*>(static_cast<const char*>(weight) + row * op.in * size);
}

// Rows `row` .. `row + count` of W, as a's; packed (count, terms).
template <class P>
const float* operand_weights(const Linear& op, const void* weight, int64_t row, int64_t count, float* packed,
                             float* steps) {
  const float* rows = stored_weights(op, weight, row);
  if (op.weight_dtype == DType::kFloat32) {
    if (!P::kPairs) return rows;
    round_rows(packed, steps, rows, op.in, count);
    return packed;
  }
  if constexpr (P::kPairs)
    if (const float* there = usual_rows<P>(rows, op.in, count, packed, steps)) return there;
  const Floats row_of_floats(op.in);
  for (int64_t m = 0; m < count; ++m) {
    const BFloat16* from = reinterpret_cast<const BFloat16*>(rows) + m * op.in;
    float* to = P::kPairs ? row_of_floats + 0 : packed + m * op.in;
    for (int64_t k = 0; k < op.in; k += kLanes)
      store_first(to + k, load_first(from + k, op.in - k), op.in - k);
    if (P::kPairs) steps[m] = round_row(packed + m * terms_of<P>(op.in), to, op.in);
  }
  return packed;
}

inline bool any_step(const float* steps, int64_t count) {
  for (int64_t i = 0; i < count; ++i)
    if (steps[i] != 1) return true;
  return false;
}

}  // namespace SWINV2_ISA
}  // namespace swinv2
