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
}

namespace swinv2 {
namespace {

template <class Tiling>
ascend_twin::Report launch(const Tiling& t, const WindowAttentionForward& io, const TwinRun& run,
                           ascend_twin::Soc soc, AscendKernel compiled_in, int64_t workspace_size) {
  const std::vector<float> prepared = prepare_bias(t, io.bias_table);
  const uint64_t tokens = uint64_t(t.batch) * t.height * t.width, channels = uint64_t(t.heads) * t.head_dim;
  const uint64_t window = uint64_t(t.window_h) * t.window_w, windows = tokens / window;

  ascend_twin::Gm gm;
  uint8_t* qkv = gm.Input("qkv", io.qkv, tokens * 3 * channels * 2);
  uint8_t* bias = gm.Input("bias", prepared.data(), prepared.size() * sizeof(float));
  uint8_t* scale = gm.Input("scale", io.scale, t.heads * sizeof(float));
  uint8_t* out = gm.Output("out", io.out, tokens * channels * 2);
  uint8_t* stats = gm.Output("stats", io.stats, windows * t.heads * ((window + 7) / 8 * 8) * sizeof(float));
  uint8_t* workspace = workspace_size ? gm.Workspace("workspace", workspace_size) : nullptr;
  uint8_t* tiling = gm.Input("tiling", &t, sizeof(t));

  ascend_twin::LaunchOptions options;
  options.soc = soc;
  options.block_dim = t.cores;
  options.seed = run.seed;
  options.trace = run.trace;
  const AscendKernel kernel = run.kernel ? run.kernel : compiled_in;
  return ascend_twin::Launch(options, gm, [&] { kernel(qkv, bias, scale, out, stats, workspace, tiling); });
}

void expect_no_errors(const ascend_twin::Report& report) {
  if (report.ok()) return;
  std::string text = "the kernel broke a rule of " + report.soc;
  for (const ascend_twin::Error& error : report.errors) text += "\n" + error.ToString();
  throw std::runtime_error(text);
}

}  // namespace

ascend_twin::Report window_attention_twin(const WindowAttentionTiling910& tiling,
                                          const WindowAttentionForward& io, const TwinRun& run) {
  return launch(tiling, io, run, ascend_twin::Soc::kAscend910, &swinv2_window_attention_910, 0);
}

ascend_twin::Report window_attention_twin(const WindowAttentionTiling910B& tiling,
                                          const WindowAttentionForward& io, const TwinRun& run) {
  return launch(tiling, io, run, ascend_twin::Soc::kAscend910B, &swinv2_window_attention_910b,
                workspace_bytes(tiling));
}

void check_twin_910(const WindowAttention& op) {
  tile_window_attention(op, kAscend910);
}
void check_twin_910b(const WindowAttention& op) {
  tile_window_attention_910b(op, kAscend910B);
}

void window_attention_forward_twin_910(const WindowAttention& op, const WindowAttentionForward& io) {
  expect_no_errors(window_attention_twin(tile_window_attention(op, kAscend910), io, TwinRun{}));
}

void window_attention_forward_twin_910b(const WindowAttention& op, const WindowAttentionForward& io) {
  expect_no_errors(window_attention_twin(tile_window_attention_910b(op, kAscend910B), io, TwinRun{}));
}

}  // namespace swinv2
