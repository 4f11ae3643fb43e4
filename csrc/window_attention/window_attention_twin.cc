// SPDX-License-Identifier: Apache-2.0
#include "window_attention/window_attention_twin.h"

#include <stdexcept>

#include "window_attention/tiling_host.h"
#include "window_attention/window_attention_twin_host.h"

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

template <class Tiling>
ascend_twin::Report launch(const Tiling& t, const WindowAttentionForward& io,
                           const TwinRun<AscendKernel>& run, ascend_twin::Soc soc, AscendKernel compiled_in) {
  const std::vector<float> prepared = prepare_bias(t, io.bias_table);
  const Sizes size(t);
  ascend_twin::Gm gm;
  uint8_t* qkv = gm.Input("qkv", io.qkv, size.qkv);
  uint8_t* bias = gm.Input("bias", prepared.data(), prepared.size() * sizeof(float));
  uint8_t* scale = gm.Input("scale", io.scale, size.scale);
  uint8_t* out = gm.Output("out", io.out, size.out);
  uint8_t* stats = gm.Output("stats", io.stats, size.stats);
  const int64_t workspace_size = workspace_bytes(t);
  uint8_t* workspace = workspace_size ? gm.Workspace("workspace", workspace_size) : nullptr;
  uint8_t* tiling = gm.Input("tiling", &t, sizeof(t));
  const AscendKernel kernel = run.kernel ? run.kernel : compiled_in;
  return ascend_twin::Launch(options_of(run, soc, t.cores), gm,
                             [&] { kernel(qkv, bias, scale, out, stats, workspace, tiling); });
}

template <class Tiling>
ascend_twin::Report launch(const Tiling& t, const WindowAttentionBackward& io,
                           const TwinRun<AscendGradKernel>& run, ascend_twin::Soc soc,
                           AscendGradKernel compiled_in) {
  const std::vector<float> prepared = prepare_bias(t, io.bias_table);
  const Partials partials = partials_of(t);
  std::vector<float> dbias_partials(partials.dbias), dscale_partials(partials.dscale);
  const Sizes size(t);
  ascend_twin::Gm gm;
  uint8_t* qkv = gm.Input("qkv", io.qkv, size.qkv);
  uint8_t* bias = gm.Input("bias", prepared.data(), prepared.size() * sizeof(float));
  uint8_t* scale = gm.Input("scale", io.scale, size.scale);
  uint8_t* out = gm.Input("out", io.out, size.out);
  uint8_t* stats = gm.Input("stats", io.stats, size.stats);
  uint8_t* dout = gm.Input("dout", io.dout, size.out);
  uint8_t* dqkv = gm.Output("dqkv", io.dqkv, size.qkv);
  uint8_t* dbias = gm.Output("dbias", dbias_partials.data(), partials.dbias * sizeof(float));
  uint8_t* dscale = gm.Output("dscale", dscale_partials.data(), partials.dscale * sizeof(float));
  const int64_t workspace_size = workspace_bytes(t);
  uint8_t* workspace = workspace_size ? gm.Workspace("workspace", workspace_size) : nullptr;
  uint8_t* tiling = gm.Input("tiling", &t, sizeof(t));
  const AscendGradKernel kernel = run.kernel ? run.kernel : compiled_in;
  const ascend_twin::Report report = ascend_twin::Launch(options_of(run, soc, t.cores), gm, [&] {
    kernel(qkv, bias, scale, out, stats, dout, dqkv, dbias, dscale, workspace, tiling);
  });
  if (report.ok())
    gather_gradients(t, dbias_partials.data(), dscale_partials.data(), io.dbias_table, io.dscale);
  return report;
}

void expect_no_errors(const ascend_twin::Report& report) {
  if (report.ok()) return;
  std::string text = "the kernel broke a rule of " + report.soc;
  for (const ascend_twin::Error& error : report.errors) text += "\n" + error.ToString();
  throw std::runtime_error(text);
}

}  // namespace

ascend_twin::Report window_attention_twin(const WindowAttentionTiling910& tiling,
                                          const WindowAttentionForward& io,
                                          const TwinRun<AscendKernel>& run) {
  return launch(tiling, io, run, ascend_twin::Soc::kAscend910, &swinv2_window_attention_910);
}

ascend_twin::Report window_attention_twin(const WindowAttentionTiling910B& tiling,
                                          const WindowAttentionForward& io,
                                          const TwinRun<AscendKernel>& run) {
  return launch(tiling, io, run, ascend_twin::Soc::kAscend910B, &swinv2_window_attention_910b);
}

ascend_twin::Report window_attention_twin(const WindowAttentionGradTiling910& tiling,
                                          const WindowAttentionBackward& io,
                                          const TwinRun<AscendGradKernel>& run) {
  return launch(tiling, io, run, ascend_twin::Soc::kAscend910, &swinv2_window_attention_grad_910);
}

ascend_twin::Report window_attention_twin(const WindowAttentionGradTiling910B& tiling,
                                          const WindowAttentionBackward& io,
                                          const TwinRun<AscendGradKernel>& run) {
  return launch(tiling, io, run, ascend_twin::Soc::kAscend910B, &swinv2_window_attention_grad_910b);
}

void check_twin_910(const WindowAttention& op) {
  tile_window_attention(op, kAscend910);
}
void check_twin_910b(const WindowAttention& op) {
  tile_window_attention_910b(op, kAscend910B);
}

void check_twin_grad_910(const WindowAttention& op) {
  tile_window_attention_grad(op, kAscend910);
}
void check_twin_grad_910b(const WindowAttention& op) {
  tile_window_attention_grad_910b(op, kAscend910B);
}

void window_attention_forward_twin_910(const WindowAttention& op, const WindowAttentionForward& io) {
  expect_no_errors(window_attention_twin(tile_window_attention(op, kAscend910), io, {}));
}

void window_attention_forward_twin_910b(const WindowAttention& op, const WindowAttentionForward& io) {
  expect_no_errors(window_attention_twin(tile_window_attention_910b(op, kAscend910B), io, {}));
}

void window_attention_backward_twin_910(const WindowAttention& op, const WindowAttentionBackward& io) {
  expect_no_errors(window_attention_twin(tile_window_attention_grad(op, kAscend910), io, {}));
}

void window_attention_backward_twin_910b(const WindowAttention& op, const WindowAttentionBackward& io) {
  expect_no_errors(window_attention_twin(tile_window_attention_grad_910b(op, kAscend910B), io, {}));
}

}  // namespace swinv2
