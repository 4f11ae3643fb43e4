// SPDX-License-Identifier: Apache-2.0
//
// NumPy arrays and options as the kernels take them.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>

#include "core/error.h"
#include "window_attention/window_attention_host.h"

namespace py = pybind11;

namespace swinv2 {

using Pair = std::pair<int64_t, int64_t>;
using Floats = py::array_t<float, py::array::c_style>;

// NumPy has no bfloat16: its bits travel as uint16.
inline DType dtype_of(const py::array& a, const char* name) {
  if (py::isinstance<py::array_t<float>>(a)) return DType::kFloat32;
  if (a.dtype().is(py::dtype("float16"))) return DType::kFloat16;
  if (a.dtype().is(py::dtype("uint16"))) return DType::kBFloat16;
  throw py::type_error(std::string(name) +
                       ": expected float32, float16 or uint16 (the bits of bfloat16), got " +
                       py::str(a.dtype()).cast<std::string>());
}

inline Shape shape_of(const py::array& a) {
  return {a.shape(), a.shape() + a.ndim()};
}

// C order is what the kernels read; any other layout is copied.
inline py::array contiguous(const py::array& a) {
  return py::array::ensure(a, py::array::c_style);
}

inline Floats floats(const py::array& a, const char* name) {
  if (!py::isinstance<py::array_t<float>>(a))
    throw py::type_error(std::string(name) + ": expected float32, got " +
                         py::str(a.dtype()).cast<std::string>());
  return contiguous(a);
}

inline WindowAttentionOptions options(Pair shift_size, const std::optional<Pair>& valid_size, float mask_value,
                               bool cosine) {
  const Pair valid = valid_size.value_or(Pair{-1, -1});
  if (valid_size && (valid.first < 1 || valid.second < 1))
    throw InvalidArgument("valid_size: expected at least (1, 1), got (" + std::to_string(valid.first) + ", " +
                          std::to_string(valid.second) + ")");
  return {shift_size.first, shift_size.second, valid.first, valid.second, mask_value, cosine};
}

inline void expect(const char* name, const py::array& a, const py::dtype& dtype, const Shape& shape) {
  if (a.dtype().is(dtype) && shape_of(a) == shape) return;
  throw InvalidArgument(std::string(name) + ": expected " + py::str(dtype).cast<std::string>() +
                        " of shape " + py::str(py::cast(shape)).cast<std::string>() + ", got " +
                        py::str(a.dtype()).cast<std::string>() + " of shape " +
                        py::str(py::cast(shape_of(a))).cast<std::string>());
}

}  // namespace swinv2
