// SPDX-License-Identifier: Apache-2.0
//
// swinv2_kernels._native.twin: the Ascend kernels on NumPy arrays, with the twin's report.
#include <dlfcn.h>

#include <algorithm>
#include <limits>
#include <memory>

#include "native/arrays.h"
#include "window_attention/tiling_host.h"
#include "window_attention/window_attention_twin.h"

namespace swinv2 {
namespace {

ChipLimits limited(const std::string& soc, int cores) {
  ChipLimits chip = chip_of(soc.c_str());
  if (cores < 0 || cores > chip.cores)
    throw InvalidArgument("cores: expected 0 (all) to " + std::to_string(chip.cores) + " on " + soc +
                          ", got " + std::to_string(cores));
  if (cores > 0) chip.cores = cores;
  return chip;
}

WindowAttention problem(const Shape& qkv, const Shape& table, const Options& options) {
  return check_window_attention(qkv, DType::kFloat16, table, {table.empty() ? 0 : table[0]}, options.read());
}

py::dict traffic_dict(const WindowAttentionTiling910& tiling, const ChipLimits& chip) {
  const Traffic moved = traffic(tiling, chip);
  return py::dict(py::arg("compulsory") = moved.compulsory, py::arg("qkv_out") = moved.qkv_out,
                  py::arg("bias") = moved.bias);
}
template <class Tiling>
py::dict traffic_dict(const Tiling& tiling, const ChipLimits&) {
  return py::dict(py::arg("workspace") = workspace_bytes(tiling));
}

template <class Tiling>
py::dict as_dict(const Tiling& tiling, const ChipLimits& chip) {
  py::dict result;
  for (const auto& field : fields(tiling)) {
    if (field.first == "mask_value")
      result[field.first.c_str()] = field.second;
    else
      result[field.first.c_str()] = int64_t(field.second);
  }
  const MemoryUse use = memory_use(tiling);
  result["bytes"] = py::dict(py::arg("UB") = use.ub, py::arg("L1") = use.l1, py::arg("L0A") = use.l0a,
                             py::arg("L0B") = use.l0b, py::arg("L0C") = use.l0c);
  result["traffic"] = traffic_dict(tiling, chip);
  result["work_of_cores"] = work_of_cores(tiling);
  return result;
}

py::dict as_dict(const ascend_twin::Report& report) {
  py::list errors, trace;
  for (const auto& e : report.errors)
    errors.append(py::dict(py::arg("rule") = ascend_twin::RuleName(e.rule), py::arg("call") = e.call,
                           py::arg("line") = e.line, py::arg("text") = e.ToString()));
  py::dict paths, tensors, pipes, peaks;
  for (const auto& p : report.paths) {
    py::dict bursts;
    for (size_t i = 0; i < p.bursts.size(); ++i)
      if (p.bursts[i]) bursts[py::int_(int64_t{1} << i)] = p.bursts[i];
    paths[p.path.c_str()] = py::dict(py::arg("instructions") = p.instructions, py::arg("bytes") = p.bytes,
                                     py::arg("bursts") = bursts);
  }
  for (const auto& t : report.tensors)
    tensors[t.name.c_str()] = py::dict(
        py::arg("size") = t.size, py::arg("read") = t.bytes_read, py::arg("written") = t.bytes_written,
        py::arg("sectors_read") = t.sector_bytes_read, py::arg("sectors_written") = t.sector_bytes_written);
  for (const auto& p : report.pipes)
    pipes[(p.core + " " + p.pipe).c_str()] =
        py::dict(py::arg("instructions") = p.instructions, py::arg("repeats") = p.repeats,
                 py::arg("cycles") = p.modelled_cycles, py::arg("cycles_max") = p.modelled_cycles_max);
  for (int i = 0; i < ascend_twin::kMems; ++i)
    if (report.peak_bytes[i])
      peaks[ascend_twin::MemName(static_cast<ascend_twin::Mem>(i))] = report.peak_bytes[i];
  for (const auto& e : report.trace)
    trace.append(py::make_tuple(e.block, e.core, e.pipe, e.instruction, e.bytes, e.repeats, e.waits, e.line));
  py::dict result;
  result["soc"] = report.soc;
  result["seed"] = report.seed;
  result["errors"] = errors;
  result["paths"] = paths;
  result["tensors"] = tensors;
  result["pipes"] = pipes;
  result["peak_bytes"] = peaks;
  result["events"] = report.events;
  result["cycles_of_cores"] = report.modelled_cycles_per_core;
  result["trace"] = trace;
  return result;
}

// A shared library with a kernel of its own, built against this one; '': none.
using Library = std::unique_ptr<void, int (*)(void*)>;

Library open(const std::string& path) {
  Library library(path.empty() ? nullptr : dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL), dlclose);
  if (!path.empty() && !library) throw InvalidArgument("kernel_library: " + std::string(dlerror()));
  return library;
}

template <class Kernel>
Kernel kernel_of(const Library& library, const char* name) {
  if (!library) return nullptr;
  void* symbol = dlsym(library.get(), name);
  if (!symbol)
    throw InvalidArgument("kernel_library: expected a function " + std::string(name) + ", got none");
  return reinterpret_cast<Kernel>(symbol);
}

py::tuple forward(const py::object& qkv_in, const py::object& table_in, const py::object& scale_in,
                  py::object shift_size, py::object valid_size, py::object mask_value, py::object cosine,
                  const std::string& soc, uint64_t seed, int cores, bool trace,
                  const std::string& kernel_library) {
  py::array qkv = array(qkv_in, "qkv"), table = array(table_in, "bias_table"),
            scale = array(scale_in, "scale");
  const WindowAttention op = check(qkv, table, scale, {shift_size, valid_size, mask_value, cosine});
  const ChipLimits chip = limited(soc, cores);
  make_contiguous({&qkv, &table, &scale});
  py::array out(qkv.dtype(), out_shape(op));
  Floats stats(stats_shape(op));
  const WindowAttentionForward io{qkv.data(), float_data(table), float_data(scale), out.mutable_data(),
                                  stats.mutable_data()};
  const Library library = open(kernel_library);
  const char* name = is_910(chip) ? "swinv2_window_attention_910" : "swinv2_window_attention_910b";
  const TwinRun<AscendKernel> how{seed, trace, kernel_of<AscendKernel>(library, name)};
  const ascend_twin::Report report = [&] {
    py::gil_scoped_release release;
    return window_attention_twin(op, chip, io, how);
  }();
  return py::make_tuple(out, stats, as_dict(report));
}

py::tuple backward(const py::object& qkv, const py::object& table, const py::object& scale,
                   const py::object& out, const py::object& stats, const py::object& dout,
                   py::object shift_size, py::object valid_size, py::object mask_value, py::object cosine,
                   const std::string& soc, uint64_t seed, int cores, bool trace,
                   const std::string& kernel_library) {
  BackwardArrays a(qkv, table, scale, out, stats, dout, {shift_size, valid_size, mask_value, cosine});
  const ChipLimits chip = limited(soc, cores);
  const Library library = open(kernel_library);
  const char* name = is_910(chip) ? "swinv2_window_attention_grad_910" : "swinv2_window_attention_grad_910b";
  const TwinRun<AscendGradKernel> how{seed, trace, kernel_of<AscendGradKernel>(library, name)};
  for (Floats* sums : {&a.dtable, &a.dscale})  // of a run with errors
    std::fill_n(sums->mutable_data(), sums->size(), std::numeric_limits<float>::quiet_NaN());
  const ascend_twin::Report report = [&] {
    py::gil_scoped_release release;
    return window_attention_twin(a.op, chip, a.io, how);
  }();
  return py::make_tuple(a.dqkv, a.dtable, a.dscale, as_dict(report));
}

py::dict grad_tiling(const Shape& qkv, const Shape& table, py::object shift_size, py::object valid_size,
                     py::object mask_value, py::object cosine, const std::string& soc, int cores) {
  const WindowAttention op = problem(qkv, table, {shift_size, valid_size, mask_value, cosine});
  const ChipLimits chip = limited(soc, cores);
  return with_grad_tiling(op, chip, [&](const auto& tiling) { return as_dict(tiling, chip); });
}

py::dict tiling(const Shape& qkv, const Shape& table, py::object shift_size, py::object valid_size,
                py::object mask_value, py::object cosine, const std::string& soc, int cores) {
  const WindowAttention op = problem(qkv, table, {shift_size, valid_size, mask_value, cosine});
  const ChipLimits chip = limited(soc, cores);
  return with_tiling(op, chip, [&](const auto& tiling) { return as_dict(tiling, chip); });
}

py::array prepared_bias(const py::object& table_in, const Shape& qkv, const std::string& soc) {
  py::array table = array(table_in, "bias_table");
  expect_float32(table, "bias_table");
  const Shape shape = shape_of(table);
  const WindowAttention op =
      check_window_attention(qkv, DType::kFloat16, shape, {shape.empty() ? 0 : shape[0]}, {});
  make_contiguous({&table});
  const ChipLimits& chip = chip_of(soc.c_str());
  return with_tiling(op, chip, [&](const auto& t) {
    const std::vector<float> bias = prepare_bias(t, float_data(table));
    Floats result(bias_shape(t));
    std::copy(bias.begin(), bias.end(), result.mutable_data());
    return result;
  });
}

}  // namespace

void register_twin(py::module_ m) {
  const py::arg_v shift("shift_size", Pair{0, 0}), valid("valid_size", py::none()),
      mask("mask_value", -100.f), cosine("cosine", true), soc("soc", "ascend910"), cores("cores", 0);
  m.def("window_attention_forward", &forward, py::arg("qkv"), py::arg("bias_table"), py::arg("scale"),
        py::kw_only(), shift, valid, mask, cosine, soc, py::arg("seed") = 0, cores, py::arg("trace") = false,
        py::arg("kernel_library") = "",
        R"(window_attention_forward(qkv, bias_table, scale, *, ..., soc, seed, cores, trace, kernel_library)
    -> (out, stats, report)

As _native.window_attention_forward, by the kernel for `soc` ("ascend910", "ascend910b") on the twin; qkv is float16, on
the 910b also bfloat16 (as uint16). `seed` chooses the interleaving of pipes and cores; `kernel_library` is a shared
library to take the kernel from. stats (windows, heads, N rounded up to 8) is the natural logarithm of the softmax's sum.
report: errors, paths, tensors (bytes, and whole 512 B sectors), pipes, peak_bytes, events, cycles_of_cores.)");
  m.def("window_attention_backward", &backward, py::arg("qkv"), py::arg("bias_table"), py::arg("scale"),
        py::arg("out"), py::arg("stats"), py::arg("dout"), py::kw_only(), shift, valid, mask, cosine, soc,
        py::arg("seed") = 0, cores, py::arg("trace") = false, py::arg("kernel_library") = "",
        R"(window_attention_backward(qkv, bias_table, scale, out, stats, dout, *, ...)
    -> (dqkv, dbias_table, dscale, report)

The gradients for the cotangent dout, by the backward kernel for `soc`; out and stats are its forward's. Other
arguments and the report as in window_attention_forward.)");
  m.def("window_attention_grad_tiling", &grad_tiling, py::arg("qkv_shape"), py::arg("bias_table_shape"),
        py::kw_only(), shift, valid, mask, cosine, soc, cores,
        "window_attention_tiling of the backward kernel.");
  m.def("window_attention_tiling", &tiling, py::arg("qkv_shape"), py::arg("bias_table_shape"), py::kw_only(),
        shift, valid, mask, cosine, soc, cores,
        "The tiling of a float16 problem as a dict, with the bytes of each memory, the traffic and the work "
        "of cores.");
  m.def(
      "window_attention_prepared_bias", &prepared_bias, py::arg("bias_table"), py::kw_only(),
      py::arg("qkv_shape"), soc,
      "The bias as the kernel of the chip reads it: panels (heads, classes, panel rows, 16) on the 910, rows "
      "(heads, N, N rounded up to 16) on the 910b. See csrc/window_attention/tiling_host.h.");
}

}  // namespace swinv2
