// SPDX-License-Identifier: Apache-2.0
//
// swinv2_kernels._native: the CPU kernels on NumPy arrays, without MindSpore, and what the build and the CPU
// are.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <optional>

#include "bias_gelu/bias_gelu_host.h"
#include "core/error.h"
#include "cpu/isa.h"
#include "cpu/parallel.h"
#include "cpu/peak.h"
#include "residual_layer_norm/residual_layer_norm_host.h"
#include "window_attention/window_attention_host.h"

namespace py = pybind11;

namespace swinv2 {
namespace {

using Pair = std::pair<int64_t, int64_t>;
using Floats = py::array_t<float, py::array::c_style>;

// NumPy has no bfloat16: its bits travel as uint16.
DType dtype_of(const py::array& a, const char* name) {
  if (py::isinstance<py::array_t<float>>(a)) return DType::kFloat32;
  if (a.dtype().is(py::dtype("float16"))) return DType::kFloat16;
  if (a.dtype().is(py::dtype("uint16"))) return DType::kBFloat16;
  throw py::type_error(std::string(name) +
                       ": expected float32, float16 or uint16 (the bits of bfloat16), got " +
                       py::str(a.dtype()).cast<std::string>());
}

Shape shape_of(const py::array& a) {
  return {a.shape(), a.shape() + a.ndim()};
}

// C order is what the kernels read; any other layout is copied.
py::array contiguous(const py::array& a) {
  return py::array::ensure(a, py::array::c_style);
}

Floats floats(const py::array& a, const char* name) {
  if (!py::isinstance<py::array_t<float>>(a))
    throw py::type_error(std::string(name) + ": expected float32, got " +
                         py::str(a.dtype()).cast<std::string>());
  return contiguous(a);
}

WindowAttentionOptions options(Pair shift_size, const std::optional<Pair>& valid_size, float mask_value,
                               bool cosine) {
  const Pair valid = valid_size.value_or(Pair{-1, -1});
  if (valid_size && (valid.first < 1 || valid.second < 1))
    throw InvalidArgument("valid_size: expected at least (1, 1), got (" + std::to_string(valid.first) + ", " +
                          std::to_string(valid.second) + ")");
  return {shift_size.first, shift_size.second, valid.first, valid.second, mask_value, cosine};
}

void expect(const char* name, const py::array& a, const py::dtype& dtype, const Shape& shape) {
  if (a.dtype().is(dtype) && shape_of(a) == shape) return;
  throw InvalidArgument(std::string(name) + ": expected " + py::str(dtype).cast<std::string>() +
                        " of shape " + py::str(py::cast(shape)).cast<std::string>() + ", got " +
                        py::str(a.dtype()).cast<std::string>() + " of shape " +
                        py::str(py::cast(shape_of(a))).cast<std::string>());
}

py::tuple forward(const py::array& qkv_in, const py::array& table_in, const py::array& scale_in,
                  Pair shift_size, std::optional<Pair> valid_size, float mask_value, bool cosine) {
  const DType dtype = dtype_of(qkv_in, "qkv");
  const py::array qkv = contiguous(qkv_in);
  const Floats table = floats(table_in, "bias_table"), scale = floats(scale_in, "scale");
  const WindowAttention op = check_window_attention(shape_of(qkv), dtype, shape_of(table), shape_of(scale),
                                                    options(shift_size, valid_size, mask_value, cosine));
  py::array out(qkv.dtype(), out_shape(op));
  Floats stats(stats_shape(op));
  const WindowAttentionForward io{qkv.data(), table.data(), scale.data(), out.mutable_data(),
                                  stats.mutable_data()};
  {
    py::gil_scoped_release release;
    window_attention_forward(op, io);
  }
  return py::make_tuple(out, stats);
}

py::tuple backward(const py::array& qkv_in, const py::array& table_in, const py::array& scale_in,
                   const py::array& out_in, const py::array& stats_in, const py::array& dout_in,
                   Pair shift_size, std::optional<Pair> valid_size, float mask_value, bool cosine) {
  const DType dtype = dtype_of(qkv_in, "qkv");
  const py::array qkv = contiguous(qkv_in), out = contiguous(out_in), dout = contiguous(dout_in);
  const Floats table = floats(table_in, "bias_table"), scale = floats(scale_in, "scale"),
               stats = floats(stats_in, "stats");
  const WindowAttention op = check_window_attention(shape_of(qkv), dtype, shape_of(table), shape_of(scale),
                                                    options(shift_size, valid_size, mask_value, cosine));
  expect("out", out, qkv.dtype(), out_shape(op));
  expect("dout", dout, qkv.dtype(), out_shape(op));
  expect("stats", stats, py::dtype::of<float>(), stats_shape(op));
  py::array dqkv(qkv.dtype(), shape_of(qkv));
  Floats dtable(shape_of(table)), dscale(shape_of(scale));
  const WindowAttentionBackward io{qkv.data(),          table.data(),          scale.data(),
                                   out.data(),          stats.data(),          dout.data(),
                                   dqkv.mutable_data(), dtable.mutable_data(), dscale.mutable_data()};
  {
    py::gil_scoped_release release;
    window_attention_backward(op, io);
  }
  return py::make_tuple(dqkv, dtable, dscale);
}

py::array empty_like(const py::array& a) {
  return py::array(a.dtype(), shape_of(a));
}

py::tuple layer_norm_forward(const py::array& x_in, const py::array& y_in, const py::array& gamma_in,
                             const py::array& beta_in, const py::array& keep_in, float epsilon) {
  const py::array x = contiguous(x_in), y = contiguous(y_in);
  const Floats gamma = floats(gamma_in, "gamma"), beta = floats(beta_in, "beta"),
               keep = floats(keep_in, "keep");
  const ResidualLayerNorm op = check_residual_layer_norm(
      shape_of(x), shape_of(y), dtype_of(x, "x"), shape_of(gamma), shape_of(beta), shape_of(keep), epsilon);
  expect("y", y, x.dtype(), shape_of(x));
  Shape stats_shape = shape_of(x);
  stats_shape.back() = 2;
  py::array out = empty_like(x);
  Floats stats(stats_shape);
  const ResidualLayerNormForward io{x.data(),    y.data(),           gamma.data(),        beta.data(),
                                    keep.data(), out.mutable_data(), stats.mutable_data()};
  {
    py::gil_scoped_release release;
    residual_layer_norm_forward(op, io);
  }
  return py::make_tuple(out, stats);
}

py::tuple layer_norm_backward(const py::array& y_in, const py::array& gamma_in, const py::array& beta_in,
                              const py::array& keep_in, const py::array& stats_in, const py::array& dout_in,
                              float epsilon) {
  const py::array y = contiguous(y_in), dout = contiguous(dout_in);
  const Floats gamma = floats(gamma_in, "gamma"), beta = floats(beta_in, "beta"),
               keep = floats(keep_in, "keep"), stats = floats(stats_in, "stats");
  const ResidualLayerNorm op = check_residual_layer_norm(
      shape_of(y), shape_of(y), dtype_of(y, "y"), shape_of(gamma), shape_of(beta), shape_of(keep), epsilon);
  Shape stats_shape = shape_of(y);
  stats_shape.back() = 2;
  expect("stats", stats, py::dtype::of<float>(), stats_shape);
  expect("dout", dout, y.dtype(), shape_of(y));
  py::array dy = empty_like(y);
  Floats dgamma(shape_of(gamma)), dbeta(shape_of(beta)), dkeep(shape_of(keep));
  const ResidualLayerNormBackward io{
      y.data(),    gamma.data(),      beta.data(),           keep.data(),          stats.data(),
      dout.data(), dy.mutable_data(), dgamma.mutable_data(), dbeta.mutable_data(), dkeep.mutable_data()};
  {
    py::gil_scoped_release release;
    residual_layer_norm_backward(op, io);
  }
  return py::make_tuple(dy, dgamma, dbeta, dkeep);
}

bool is_tanh(const std::string& approximate) {
  if (approximate == "tanh") return true;
  if (approximate == "none") return false;
  throw InvalidArgument("approximate: expected 'none' or 'tanh', got '" + approximate + "'");
}

py::array gelu_forward(const py::array& x_in, const py::array& bias_in, const std::string& approximate) {
  const py::array x = contiguous(x_in);
  const Floats bias = floats(bias_in, "bias");
  const BiasGelu op = check_bias_gelu(shape_of(x), dtype_of(x, "x"), shape_of(bias), is_tanh(approximate));
  py::array out = empty_like(x);
  const BiasGeluForward io{x.data(), bias.data(), out.mutable_data()};
  {
    py::gil_scoped_release release;
    bias_gelu_forward(op, io);
  }
  return out;
}

py::tuple gelu_backward(const py::array& x_in, const py::array& bias_in, const py::array& dout_in,
                        const std::string& approximate) {
  const py::array x = contiguous(x_in), dout = contiguous(dout_in);
  const Floats bias = floats(bias_in, "bias");
  const BiasGelu op = check_bias_gelu(shape_of(x), dtype_of(x, "x"), shape_of(bias), is_tanh(approximate));
  expect("dout", dout, x.dtype(), shape_of(x));
  py::array dx = empty_like(x);
  Floats dbias(shape_of(bias));
  const BiasGeluBackward io{x.data(), bias.data(), dout.data(), dx.mutable_data(), dbias.mutable_data()};
  {
    py::gil_scoped_release release;
    bias_gelu_backward(op, io);
  }
  return py::make_tuple(dx, dbias);
}

py::dict peaks(int repetitions) {
  const Peaks measured = [&] {
    py::gil_scoped_release release;
    return measure_peaks(repetitions);
  }();
  return py::dict(py::arg("gflops") = measured.gflops, py::arg("copy") = measured.copy,
                  py::arg("triad") = measured.triad);
}

std::vector<std::string> isas() {
  std::vector<std::string> names;
  for (Isa isa : supported_isas()) names.push_back(isa_name(isa));
  return names;
}

}  // namespace

PYBIND11_MODULE(_native, m) {
  m.doc() = "The kernels on NumPy arrays, without MindSpore.";

  const py::arg_v shift("shift_size", Pair{0, 0}), valid("valid_size", py::none()),
      mask("mask_value", -100.f), cosine("cosine", true);
  m.def(
      "window_attention_forward", &forward, py::arg("qkv"), py::arg("bias_table"), py::arg("scale"),
      py::kw_only(), shift, valid, mask, cosine,
      R"(window_attention_forward(qkv, bias_table, scale, *, shift_size, valid_size, mask_value, cosine) -> (out, stats)

qkv (B, H, W, 3*heads*head_dim) float32, float16 or uint16 (bfloat16 bits); bias_table (heads, 2*Wh-1, 2*Ww-1) float32;
scale (heads,) float32, already exp(min(logit_scale, ln 100)). out (B, H, W, heads*head_dim) in qkv's dtype; stats is
for the backward only. Formula: csrc/window_attention/window_attention.h.)");
  m.def("window_attention_backward", &backward, py::arg("qkv"), py::arg("bias_table"), py::arg("scale"),
        py::arg("out"), py::arg("stats"), py::arg("dout"), py::kw_only(), shift, valid, mask, cosine,
        "The gradients (dqkv, dbias_table, dscale) for the cotangent dout; options as in the forward.");

  const py::arg_v epsilon("epsilon", 1e-5f), approximate("approximate", "none");
  m.def("residual_layer_norm_forward", &layer_norm_forward, py::arg("x"), py::arg("y"), py::arg("gamma"),
        py::arg("beta"), py::arg("keep"), epsilon,
        "(out, stats): out = x + keep * LayerNorm(y) over the last axis; x, y (B, ..., C), gamma, beta (C,), "
        "keep (B,). "
        "Formula: csrc/residual_layer_norm/residual_layer_norm.h.");
  m.def("residual_layer_norm_backward", &layer_norm_backward, py::arg("y"), py::arg("gamma"), py::arg("beta"),
        py::arg("keep"), py::arg("stats"), py::arg("dout"), epsilon,
        "The gradients (dy, dgamma, dbeta, dkeep) for the cotangent dout; dx is dout.");
  m.def("bias_gelu_forward", &gelu_forward, py::arg("x"), py::arg("bias"), approximate,
        "gelu(x + bias); x (..., C), bias (C,), approximate 'none' or 'tanh'. Formula: "
        "csrc/bias_gelu/bias_gelu.h.");
  m.def("bias_gelu_backward", &gelu_backward, py::arg("x"), py::arg("bias"), py::arg("dout"), approximate,
        "The gradients (dx, dbias) for the cotangent dout.");

  m.def("last_error", &last_error, "Text of the last kernel that failed inside MindSpore, or ''.");
  m.def("cpu_features", &cpu_features, "Instruction set extensions of this CPU.");
  m.def("isas", &isas, "Instruction sets compiled in that this CPU runs, slowest first.");
  m.def("isa", [] { return isa_name(active_isa()); }, "The instruction set in force.");
  m.def("set_isa", &set_isa, py::arg("isa"), "Force one of isas(); '' returns to the fastest.");
  m.def("num_threads", &num_threads, "Threads the next kernel uses.");
  m.def("set_num_threads", &set_num_threads, py::arg("n"), "Set num_threads(); 0 returns to the default.");
  m.def("measure_peaks", &peaks, py::arg("repetitions") = 20,
        "What the machine does on num_threads() threads, a sample a repetition: dict(gflops: float32 "
        "multiply-adds, "
        "copy and triad: GB/s of streaming 64 MiB arrays).");
}

}  // namespace swinv2
