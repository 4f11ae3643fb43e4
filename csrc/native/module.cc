// SPDX-License-Identifier: Apache-2.0
//
// swinv2_kernels._native: the CPU kernels on NumPy arrays, without MindSpore, and what the build and the CPU
// are.
#include "bias_gelu/bias_gelu_host.h"
#include "cpu/isa.h"
#include "cpu/parallel.h"
#include "cpu/peak.h"
#include "linear/linear_host.h"
#include "native/arrays.h"
#include "residual_layer_norm/residual_layer_norm_host.h"

namespace swinv2 {

void register_ascend(py::module_ ascend);  // ascend.cc
#if defined(SWINV2_TWIN)
void register_twin(py::module_ twin);  // twin.cc
#endif

namespace {

py::tuple forward(const py::object& qkv_in, const py::object& table_in, const py::object& scale_in,
                  py::object shift_size, py::object valid_size, py::object mask_value, py::object cosine) {
  py::array qkv = array(qkv_in, "qkv"), table = array(table_in, "bias_table"),
            scale = array(scale_in, "scale");
  const WindowAttention op = check(qkv, table, scale, {shift_size, valid_size, mask_value, cosine});
  make_contiguous({&qkv, &table, &scale});
  py::array out(qkv.dtype(), out_shape(op));
  Floats stats(stats_shape(op));
  const WindowAttentionForward io{qkv.data(), float_data(table), float_data(scale), out.mutable_data(),
                                  stats.mutable_data()};
  {
    py::gil_scoped_release release;
    window_attention_forward(op, io);
  }
  return py::make_tuple(out, stats);
}

py::tuple backward(const py::object& qkv_in, const py::object& table_in, const py::object& scale_in,
                   const py::object& out_in, const py::object& stats_in, const py::object& dout_in,
                   py::object shift_size, py::object valid_size, py::object mask_value, py::object cosine) {
  BackwardArrays a(qkv_in, table_in, scale_in, out_in, stats_in, dout_in,
                   {shift_size, valid_size, mask_value, cosine});
  {
    py::gil_scoped_release release;
    window_attention_backward(a.op, a.io);
  }
  return py::make_tuple(a.dqkv, a.dtable, a.dscale);
}

py::array empty_like(const py::array& a) {
  return py::array(a.dtype(), shape_of(a));
}

ResidualLayerNorm check(const py::array& x, const py::array& y, const char* name, const py::array& gamma,
                        const py::array& beta, const py::array& keep, const py::object& epsilon) {
  expect_float32(gamma, "gamma");
  expect_float32(beta, "beta");
  expect_float32(keep, "keep");
  return check_residual_layer_norm(shape_of(x), dtype_of(x, name), shape_of(y), dtype_of(y, "y"),
                                   shape_of(gamma), shape_of(beta), shape_of(keep),
                                   read_as<float>(epsilon, "epsilon", "a number"));
}

py::tuple layer_norm_forward(const py::object& x_in, const py::object& y_in, const py::object& gamma_in,
                             const py::object& beta_in, const py::object& keep_in,
                             const py::object& epsilon) {
  py::array x = array(x_in, "x"), y = array(y_in, "y"), gamma = array(gamma_in, "gamma"),
            beta = array(beta_in, "beta"), keep = array(keep_in, "keep");
  const ResidualLayerNorm op = check(x, y, "x", gamma, beta, keep, epsilon);
  make_contiguous({&x, &y, &gamma, &beta, &keep});
  Shape stats_shape = shape_of(x);
  stats_shape.back() = 2;
  py::array out = empty_like(x);
  Floats stats(stats_shape);
  const ResidualLayerNormForward io{
      x.data(),         y.data(),           float_data(gamma),   float_data(beta),
      float_data(keep), out.mutable_data(), stats.mutable_data()};
  {
    py::gil_scoped_release release;
    residual_layer_norm_forward(op, io);
  }
  return py::make_tuple(out, stats);
}

py::tuple layer_norm_backward(const py::object& y_in, const py::object& gamma_in, const py::object& beta_in,
                              const py::object& keep_in, const py::object& stats_in,
                              const py::object& dout_in, const py::object& epsilon) {
  py::array y = array(y_in, "y"), gamma = array(gamma_in, "gamma"), beta = array(beta_in, "beta"),
            keep = array(keep_in, "keep"), stats = array(stats_in, "stats"), dout = array(dout_in, "dout");
  const ResidualLayerNorm op = check(dout, y, "dout", gamma, beta, keep, epsilon);
  Shape stats_shape = shape_of(y);
  stats_shape.back() = 2;
  expect("stats", stats, py::dtype::of<float>(), stats_shape);
  make_contiguous({&y, &gamma, &beta, &keep, &stats, &dout});
  py::array dy = empty_like(y);
  Floats dgamma(shape_of(gamma)), dbeta(shape_of(beta)), dkeep(shape_of(keep));
  const ResidualLayerNormBackward io{
      y.data(),    float_data(gamma), float_data(beta),      float_data(keep),     float_data(stats),
      dout.data(), dy.mutable_data(), dgamma.mutable_data(), dbeta.mutable_data(), dkeep.mutable_data()};
  {
    py::gil_scoped_release release;
    residual_layer_norm_backward(op, io);
  }
  return py::make_tuple(dy, dgamma, dbeta, dkeep);
}

View view_named(const py::object& object) {
  const auto name = read_as<std::string>(object, "view", "a name");
  if (name == "tokens") return View::kTokens;
  if (name == "merging") return View::kMerging;
  if (name == "embedding") return View::kEmbedding;
  throw InvalidArgument("view: expected 'tokens', 'merging' or 'embedding', got '" + name + "'");
}

Gelu gelu_named(const py::object& object) {
  if (object.is_none()) return Gelu::kNone;
  const auto name = read_as<std::string>(object, "gelu", "None, 'none' or 'tanh'");
  if (name == "none") return Gelu::kExact;
  if (name == "tanh") return Gelu::kTanh;
  throw InvalidArgument("gelu: expected None, 'none' or 'tanh', got '" + name + "'");
}

DType dtype_named(const py::object& value) {
  const auto name = read_as<std::string>(value, "dtype", "None, 'float32', 'float16' or 'bfloat16'");
  for (DType dtype : {DType::kFloat32, DType::kFloat16, DType::kBFloat16})
    if (name == dtype_name(dtype)) return dtype;
  throw InvalidArgument("dtype: expected None, 'float32', 'float16' or 'bfloat16', got '" + name + "'");
}

py::array linear(const py::object& x_in, const py::object& weight_in, const py::object& bias_in,
                 const py::object& gelu, const py::object& view_in, const py::object& patch_size_in,
                 const py::object& dtype_in) {
  py::array x = array(x_in, "x"), weight = array(weight_in, "weight"), bias = array(bias_in, "bias");
  const View view = view_named(view_in);
  const auto patch_size = read_as<int64_t>(patch_size_in, "patch_size", "an int");
  const DType dtype = dtype_of(x, "x");
  expect_float32(bias, "bias");
  Linear op = check_linear(shape_of(x), dtype, shape_of(weight), view, patch_size, gelu_named(gelu));
  if (!dtype_in.is_none()) round_x(op, dtype_named(dtype_in));
  weigh_in(op, dtype_of(weight, "weight"));
  check_linear_bias(op, shape_of(bias));
  make_contiguous({&x, &weight, &bias});
  const Shape shape = linear_out_shape(shape_of(x), shape_of(weight), view, patch_size);
  py::array out(op.dtype == DType::kBFloat16 ? py::dtype("uint16") : py::dtype(dtype_name(op.dtype)), shape);
  {
    const LinearForward io{x.data(), weight.data(), float_data(bias), out.mutable_data()};
    py::gil_scoped_release release;
    linear_forward(op, io);
  }
  return out;
}

py::tuple linear_gradients(const py::object& x_in, const py::object& weight_in, const py::object& dout_in,
                           const py::object& view_in, const py::object& patch_size_in) {
  py::array x = array(x_in, "x"), weight = array(weight_in, "weight"), dout = array(dout_in, "dout");
  const View view = view_named(view_in);
  const auto patch_size = read_as<int64_t>(patch_size_in, "patch_size", "an int");
  const DType dtype = dtype_of(x, "x");
  expect_float32(weight, "weight");
  const Linear op = check_linear(shape_of(x), dtype, shape_of(weight), view, patch_size, Gelu::kNone);
  expect("dout", dout, x.dtype(), linear_out_shape(shape_of(x), shape_of(weight), view, patch_size));
  make_contiguous({&x, &weight, &dout});
  py::array dx = empty_like(x);
  Floats dweight(shape_of(weight)), dbias(Shape{op.out});
  const LinearBackward io{x.data(),          float_data(weight),     dout.data(),
                          dx.mutable_data(), dweight.mutable_data(), dbias.mutable_data()};
  {
    py::gil_scoped_release release;
    linear_input_gradient(op, io);
    linear_weight_gradient(op, io);
  }
  return py::make_tuple(dx, dweight, dbias);
}

BiasGelu check(const py::array& x, const py::array& bias, const py::object& approximate) {
  const DType dtype = dtype_of(x, "x");
  expect_float32(bias, "bias");
  const auto name = read_as<std::string>(approximate, "approximate", "'none' or 'tanh'");
  if (name != "none" && name != "tanh")
    throw InvalidArgument("approximate: expected 'none' or 'tanh', got '" + name + "'");
  return check_bias_gelu(shape_of(x), dtype, shape_of(bias), name == "tanh");
}

py::array gelu_forward(const py::object& x_in, const py::object& bias_in, const py::object& approximate) {
  py::array x = array(x_in, "x"), bias = array(bias_in, "bias");
  const BiasGelu op = check(x, bias, approximate);
  make_contiguous({&x, &bias});
  py::array out = empty_like(x);
  const BiasGeluForward io{x.data(), float_data(bias), out.mutable_data()};
  {
    py::gil_scoped_release release;
    bias_gelu_forward(op, io);
  }
  return out;
}

py::tuple gelu_backward(const py::object& x_in, const py::object& bias_in, const py::object& dout_in,
                        const py::object& approximate) {
  py::array x = array(x_in, "x"), bias = array(bias_in, "bias"), dout = array(dout_in, "dout");
  const BiasGelu op = check(x, bias, approximate);
  expect("dout", dout, x.dtype(), shape_of(x));
  make_contiguous({&x, &bias, &dout});
  py::array dx = empty_like(x);
  Floats dbias(shape_of(bias));
  const BiasGeluBackward io{x.data(), float_data(bias), dout.data(), dx.mutable_data(), dbias.mutable_data()};
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
        "keep (B,), or (1,) for all samples. "
        "Formula: csrc/residual_layer_norm/residual_layer_norm.h.");
  m.def("residual_layer_norm_backward", &layer_norm_backward, py::arg("y"), py::arg("gamma"), py::arg("beta"),
        py::arg("keep"), py::arg("stats"), py::arg("dout"), epsilon,
        "The gradients (dy, dgamma, dbeta, dkeep) for the cotangent dout; dx is dout.");
  m.def("bias_gelu_forward", &gelu_forward, py::arg("x"), py::arg("bias"), approximate,
        "gelu(x + bias); x (..., C), bias (C,), approximate 'none' or 'tanh'. Formula: "
        "csrc/bias_gelu/bias_gelu.h.");
  m.def("bias_gelu_backward", &gelu_backward, py::arg("x"), py::arg("bias"), py::arg("dout"), approximate,
        "The gradients (dx, dbias) for the cotangent dout.");

  const py::arg_v view("view", "tokens"), patch_size("patch_size", 0);
  m.def("linear_forward", &linear, py::arg("x"), py::arg("weight"), py::arg("bias"),
        py::arg("gelu") = py::none(), py::kw_only(), view, patch_size, py::arg("dtype") = py::none(),
        R"(g(a W^T + b): weight (N, K), bias (N,), g None, 'none' (exact GELU) or 'tanh'.

dtype: 'float16' or 'bfloat16' rounds float32 x to it first, and gives out in it. weight is float32, or uint16
(bfloat16 bits) where out is that.

view 'tokens': x (..., K); 'merging': x (B, H, W, C), K = 4C; 'embedding': x (B, C, H, W), K = C * patch_size^2.
Formula: csrc/linear/linear.h.)");
  m.def("linear_backward", &linear_gradients, py::arg("x"), py::arg("weight"), py::arg("dout"), py::kw_only(),
        view, patch_size,
        "The gradients (dx, dweight, dbias) of linear_forward without g for the cotangent dout.");

  register_ascend(m.def_submodule("ascend", "How the tensors of the Ascend kernels lie."));
#if defined(SWINV2_TWIN)
  register_twin(m.def_submodule("twin", "The Ascend kernels on the host: the Ascend C twin."));
#endif
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
