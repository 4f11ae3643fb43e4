// SPDX-License-Identifier: Apache-2.0
//
// swinv2_kernels._native.ascend: how the Ascend kernels' tensors lie, for swinv2_kernels/ascend.py.
#include <algorithm>

#include "native/arrays.h"
#include "window_attention/tiling_host.h"
#include "window_attention/window_attention_shapes.h"

namespace swinv2 {
namespace {

using Integers = py::array_t<int32_t, py::array::c_style>;

Integers filled(const Shape& shape, const std::vector<int32_t>& values) {
  Integers result(shape);
  std::copy(values.begin(), values.end(), result.mutable_data());
  return result;
}

WindowAttention problem(const Shape& qkv, int64_t heads, const Pair& window) {
  return check_problem(qkv, DType::kFloat16, heads, window.first, window.second, {});
}

Integers index_of_bias(int64_t channels, int64_t heads, const Pair& window, const std::string& soc,
                       bool backward) {
  const WindowAttention op = problem({1, window.first, window.second, channels}, heads, window);
  const auto index_of = [](const auto& t) {
    const Shape shape = bias_shape(t);
    return filled({shape.begin() + 1, shape.end()}, bias_index(t));
  };
  const ChipLimits& chip = chip_of(soc.c_str());
  return backward ? with_grad_tiling(op, chip, index_of) : with_tiling(op, chip, index_of);
}

Integers heads_of_slots(const Shape& qkv, int64_t heads, const Pair& window, const std::string& soc) {
  return with_grad_tiling(problem(qkv, heads, window), chip_of(soc.c_str()), [](const auto& t) {
    const std::vector<int32_t> slots = heads_of_partials(t);
    return filled({int64_t(slots.size())}, slots);
  });
}

}  // namespace

void register_ascend(py::module_ m) {
  const py::arg heads("heads"), window("window_size"), soc("soc");
  m.def("window_attention_bias_index", &index_of_bias, py::arg("channels"), heads, window, py::kw_only(), soc,
        py::arg("backward"),
        R"(The bias of one head as the chip's kernel reads it, int32, by number: an entry of the head's table
((2Wh-1) * (2Ww-1) of them, in C order), or behind them zero, then -1e30, which forbids. The backward's is also how a
slot of its partial dbias lies. channels are qkv's, 3 * heads * head_dim; its other dimensions do not matter.)");
  m.def("window_attention_partial_heads", &heads_of_slots, py::arg("qkv_shape"), heads, window, py::kw_only(),
        soc,
        "The head that each slot of the backward's partial sums belongs to, int32 (slots,); -1: unwritten.");
}

}  // namespace swinv2
