// SPDX-License-Identifier: Apache-2.0
//
// Python's values as the kernels take them.
#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <new>
#include <optional>

#include "core/error.h"
#include "window_attention/window_attention_host.h"

namespace py = pybind11;

namespace swinv2 {

using Pair = std::pair<int64_t, int64_t>;
using Floats = py::array_t<float, py::array::c_style>;

// What came, for an error's text.
inline std::string kind(const py::handle& value) {
  return py::repr(py::type::handle_of(value)).cast<std::string>();
}

inline py::array array(const py::object& value, const char* name) {
  if (!py::isinstance<py::array>(value))
    throw py::type_error(std::string(name) + ": expected a NumPy array, got " + kind(value));
  return value;
}

template <class T>
T read_as(const py::object& value, const char* name, const char* expected) {
  try {
    return value.cast<T>();
  } catch (const py::cast_error&) {
    throw py::type_error(std::string(name) + ": expected " + expected + ", got " +
                         py::repr(value).cast<std::string>());
  }
}

// Compared by value: an array that was pickled carries its own copy of the dtype.
inline bool has_dtype(const py::array& a, const char* name) {
  return a.dtype().equal(py::dtype(name));
}

inline std::string text(const py::array& a) {
  return py::str(a.dtype()).cast<std::string>();
}

// NumPy has no bfloat16: its bits travel as uint16.
inline DType dtype_of(const py::array& a, const char* name) {
  if (has_dtype(a, "float32")) return DType::kFloat32;
  if (has_dtype(a, "float16")) return DType::kFloat16;
  if (has_dtype(a, "uint16")) return DType::kBFloat16;
  throw py::type_error(std::string(name) +
                       ": expected float32, float16 or uint16 (the bits of bfloat16), got " + text(a));
}

inline void expect_float32(const py::array& a, const char* name) {
  if (!has_dtype(a, "float32"))
    throw py::type_error(std::string(name) + ": expected float32, got " + text(a));
}

inline Shape shape_of(const py::array& a) {
  return {a.shape(), a.shape() + a.ndim()};
}

// Aligned and in C order is what the kernels read; any other layout is copied. Shapes are checked before: a
// broadcast array may stand for more than memory holds.
inline void make_contiguous(std::initializer_list<py::array*> arrays) {
  for (py::array* a : arrays) {
    *a = py::array::ensure(*a, py::array::c_style | py::detail::npy_api::NPY_ARRAY_ALIGNED_);
    if (!*a) throw std::bad_alloc();
  }
}

inline const float* float_data(const py::array& a) {
  return static_cast<const float*>(a.data());
}

struct Options {
  py::object shift_size, valid_size, mask_value, cosine;

  WindowAttentionOptions read() const {
    const Pair shift = read_as<Pair>(shift_size, "shift_size", "a pair of ints");
    const auto valid = read_as<std::optional<Pair>>(valid_size, "valid_size", "None or a pair of ints");
    if (valid && (valid->first < 1 || valid->second < 1))
      throw InvalidArgument("valid_size: expected at least (1, 1), got (" + std::to_string(valid->first) +
                            ", " + std::to_string(valid->second) + ")");
    const Pair size = valid.value_or(Pair{-1, -1});
    return {shift.first,
            shift.second,
            size.first,
            size.second,
            read_as<float>(mask_value, "mask_value", "a number"),
            read_as<bool>(cosine, "cosine", "a bool")};
  }
};

inline WindowAttention check(const py::array& qkv, const py::array& table, const py::array& scale,
                             const Options& options) {
  const DType dtype = dtype_of(qkv, "qkv");
  expect_float32(table, "bias_table");
  expect_float32(scale, "scale");
  return check_window_attention(shape_of(qkv), dtype, shape_of(table), shape_of(scale), options.read());
}

inline void expect(const char* name, const py::array& a, const py::dtype& dtype, const Shape& shape) {
  if (a.dtype().equal(dtype) && shape_of(a) == shape) return;
  throw InvalidArgument(std::string(name) + ": expected " + py::str(dtype).cast<std::string>() +
                        " of shape " + py::str(py::cast(shape)).cast<std::string>() + ", got " + text(a) +
                        " of shape " + py::str(py::cast(shape_of(a))).cast<std::string>());
}

// What a backward takes, checked, and arrays for its results.
struct BackwardArrays {
  BackwardArrays(const py::object& qkv_in, const py::object& table_in, const py::object& scale_in,
                 const py::object& out_in, const py::object& stats_in, const py::object& dout_in,
                 const Options& options)
      : qkv(array(qkv_in, "qkv")),
        table(array(table_in, "bias_table")),
        scale(array(scale_in, "scale")),
        out(array(out_in, "out")),
        stats(array(stats_in, "stats")),
        dout(array(dout_in, "dout")),
        op(check(qkv, table, scale, options)) {
    expect("out", out, qkv.dtype(), out_shape(op));
    expect("dout", dout, qkv.dtype(), out_shape(op));
    expect("stats", stats, py::dtype::of<float>(), stats_shape(op));
    make_contiguous({&qkv, &table, &scale, &out, &stats, &dout});
    dqkv = py::array(qkv.dtype(), shape_of(qkv));
    dtable = Floats(shape_of(table));
    dscale = Floats(shape_of(scale));
    io = {qkv.data(),  float_data(table),   float_data(scale),     out.data(),           float_data(stats),
          dout.data(), dqkv.mutable_data(), dtable.mutable_data(), dscale.mutable_data()};
  }

  py::array qkv, table, scale, out, stats, dout;
  WindowAttention op;
  py::array dqkv;
  Floats dtable, dscale;
  WindowAttentionBackward io;
};

}  // namespace swinv2
