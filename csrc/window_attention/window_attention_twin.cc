// SPDX-License-Identifier: Apache-2.0
#include "window_attention/window_attention_twin.h"

#include <stdexcept>

#include "window_attention/tiling_host.h"

extern "C" {
void swinv2_window_attention_910(uint8_t* qkv, uint8_t* panels, uint8_t* scale, uint8_t* out, uint8_t* stats,
                                 uint8_t* workspace, uint8_t* tiling);
void swinv2_window_attention_910b(uint8_t* qkv, uint8_t* bias, uint8_t* scale, uint8_t* out, uint8_t* stats,
                                  uint8_t* workspace, uint8_t* tiling);
void swinv2_window_attention_grad_910(uint8_t* qkv, uint8_t* bias, uint8_t* scale, uint8_t* out,
                                      uint8_t* stats, uint8_t* dout, uint8_t* dqkv, uint8_t* dbias,
                                      uint8_t* dscale, uint8_t* workspace, uint8_t* tiling);
void swinv2_window_attention_grad_910b(uint8_t* qkv, uint8_t* bias, uint8_t* scale, uint8_t* out,
                                       uint8_t* stats, uint8_t* dout, uint8_t* dqkv, uint8_t* dbias,
                                       uint8_t* dscale, uint8_t* workspace, uint8_t* tiling);
}

namespace swinv2 {
namespace {

// Bytes of the tensors of an image and its windows.
struct Sizes {
  explicit Sizes(const WindowAttentionProblem& t) {
    const uint64_t tokens = uint64_t(t.batch) * t.height * t.width,
                   window = uint64_t(t.window_h) * t.window_w;
    out = tokens * t.heads * t.head_dim * 2;
    qkv = 3 * out;
    scale = t.heads * sizeof(float);
    stats = tokens / window * t.heads * ((window + 7) / 8 * 8) * sizeof(float);
  }
  uint64_t qkv, out, scale, stats;
};

template <class Kernel>
ascend_twin::LaunchOptions options_of(const TwinRun<Kernel>& run, ascend_twin::Soc soc, int32_t cores) {
  ascend_twin::LaunchOptions options;
  options.soc = soc;
  options.block_dim = cores;
  options.seed = run.seed;
  options.trace = run.trace;
  return options;
}

constexpr AscendKernel kForward910 = swinv2_window_attention_910, kForward910B = swinv2_window_attention_910b;
constexpr AscendGradKernel kBackward910 = swinv2_window_attention_grad_910,
                           kBackward910B = swinv2_window_attention_grad_910b;

// launch(arguments of the kernel between tensors and tiling)
template <class Tiling, class Kernel, class Call>
ascend_twin::Report launch(const Tiling& t, ascend_twin::Gm& gm, const TwinRun<Kernel>& run,
                           ascend_twin::Soc soc, Call call) {
  const int64_t workspace_size = workspace_bytes(t);
  uint8_t* workspace = workspace_size ? gm.Workspace("workspace", workspace_size) : nullptr;
  uint8_t* tiling = gm.Input("tiling", &t, sizeof(t));
  return ascend_twin::Launch(options_of(run, soc, t.cores), gm, [&] { call(workspace, tiling); });
}

uint64_t bytes_of(const Shape& floats) {
  return product_of(floats) * sizeof(float);
}

ascend_twin::Soc soc_of(const ChipLimits& chip) {
  return is_910(chip) ? ascend_twin::Soc::kAscend910 : ascend_twin::Soc::kAscend910B;
}

void expect_no_errors(const ascend_twin::Report& report) {
  if (report.ok()) return;
  std::string text = "the kernel broke a rule of " + report.soc;
  for (const ascend_twin::Error& error : report.errors) text += "\n" + error.ToString();
  throw std::runtime_error(text);
}

}  // namespace

ascend_twin::Report window_attention_twin(const WindowAttention& op, const ChipLimits& chip,
                                          const AscendForward& io, const TwinRun<AscendKernel>& run) {
  const AscendKernel kernel = run.kernel ? run.kernel : is_910(chip) ? kForward910 : kForward910B;
  return with_tiling(op, chip, [&](const auto& t) {
    const Sizes size(t);
    ascend_twin::Gm gm;
    uint8_t* qkv = gm.Input("qkv", io.qkv, size.qkv);
    uint8_t* bias = gm.Input("bias", io.bias, bytes_of(bias_shape(t)));
    uint8_t* scale = gm.Input("scale", io.scale, size.scale);
    uint8_t* out = gm.Output("out", io.out, size.out);
    uint8_t* stats = gm.Output("stats", io.stats, size.stats);
    return launch(t, gm, run, soc_of(chip), [=](uint8_t* workspace, uint8_t* tiling) {
      kernel(qkv, bias, scale, out, stats, workspace, tiling);
    });
  });
}

ascend_twin::Report window_attention_twin(const WindowAttention& op, const ChipLimits& chip,
                                          const AscendBackward& io, const TwinRun<AscendGradKernel>& run) {
  const AscendGradKernel kernel = run.kernel ? run.kernel : is_910(chip) ? kBackward910 : kBackward910B;
  return with_grad_tiling(op, chip, [&](const auto& t) {
    const Sizes size(t);
    const Partials partials = partials_of(t);
    ascend_twin::Gm gm;
    uint8_t* qkv = gm.Input("qkv", io.qkv, size.qkv);
    uint8_t* bias = gm.Input("bias", io.bias, bytes_of(bias_shape(t)));
    uint8_t* scale = gm.Input("scale", io.scale, size.scale);
    uint8_t* out = gm.Input("out", io.out, size.out);
    uint8_t* stats = gm.Input("stats", io.stats, size.stats);
    uint8_t* dout = gm.Input("dout", io.dout, size.out);
    uint8_t* dqkv = gm.Output("dqkv", io.dqkv, size.qkv);
    uint8_t* dbias = gm.Output("dbias", io.dbias, bytes_of(partials.dbias));
    uint8_t* dscale = gm.Output("dscale", io.dscale, bytes_of(partials.dscale));
    return launch(t, gm, run, soc_of(chip), [=](uint8_t* workspace, uint8_t* tiling) {
      kernel(qkv, bias, scale, out, stats, dout, dqkv, dbias, dscale, workspace, tiling);
    });
  });
}

ascend_twin::Report window_attention_twin(const WindowAttention& op, const ChipLimits& chip,
                                          const WindowAttentionForward& io,
                                          const TwinRun<AscendKernel>& run) {
  const std::vector<float> bias =
      with_tiling(op, chip, [&](const auto& t) { return prepare_bias(t, io.bias_table); });
  return window_attention_twin(op, chip, AscendForward{io.qkv, bias.data(), io.scale, io.out, io.stats}, run);
}

ascend_twin::Report window_attention_twin(const WindowAttention& op, const ChipLimits& chip,
                                          const WindowAttentionBackward& io,
                                          const TwinRun<AscendGradKernel>& run) {
  return with_grad_tiling(op, chip, [&](const auto& t) {
    const std::vector<float> bias = prepare_bias(t, io.bias_table);
    const Partials partials = partials_of(t);
    std::vector<float> dbias(product_of(partials.dbias)), dscale(product_of(partials.dscale));
    const ascend_twin::Report report =
        window_attention_twin(op, chip,
                              AscendBackward{io.qkv, bias.data(), io.scale, io.out, io.stats, io.dout,
                                             io.dqkv, dbias.data(), dscale.data()},
                              run);
    if (report.ok()) gather_gradients(t, dbias.data(), dscale.data(), io.dbias_table, io.dscale);
    return report;
  });
}

void window_attention_forward_twin(const WindowAttention& op, const ChipLimits& chip,
                                   const AscendForward& io) {
  expect_no_errors(window_attention_twin(op, chip, io, {}));
}

void window_attention_backward_twin(const WindowAttention& op, const ChipLimits& chip,
                                    const AscendBackward& io) {
  expect_no_errors(window_attention_twin(op, chip, io, {}));
}

}  // namespace swinv2
