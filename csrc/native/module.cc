// SPDX-License-Identifier: Apache-2.0
//
// swinv2_kernels._native: the CPU kernels on NumPy arrays, without MindSpore, and what the build and the CPU
// are.
#include "cpu/isa.h"
#include "cpu/parallel.h"
#include "native/arrays.h"

namespace swinv2 {

void register_twin(py::module_ native);  // twin.cc

namespace {

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

  register_twin(m.def_submodule("twin", "The Ascend kernels on the host: the Ascend C twin."));
  m.def("last_error", &last_error, "Text of the last kernel that failed inside MindSpore, or ''.");
  m.def("cpu_features", &cpu_features, "Instruction set extensions of this CPU.");
  m.def("isas", &isas, "Instruction sets compiled in that this CPU runs, slowest first.");
  m.def("isa", [] { return isa_name(active_isa()); }, "The instruction set in force.");
  m.def("set_isa", &set_isa, py::arg("isa"), "Force one of isas(); '' returns to the fastest.");
  m.def("num_threads", &num_threads, "Threads the next kernel uses.");
  m.def("set_num_threads", &set_num_threads, py::arg("n"), "Set num_threads(); 0 returns to the default.");
}

}  // namespace swinv2
