// SPDX-License-Identifier: Apache-2.0
#include "window_attention/window_attention_twin.h"

#include <stdexcept>

#include "window_attention/tiling_host.h"
#include "window_attention/window_attention_twin_host.h"

extern "C" void swinv2_window_attention_910(uint8_t* qkv, uint8_t* panels, uint8_t* scale, uint8_t* out,
                                            uint8_t* stats, uint8_t* workspace, uint8_t* tiling);

namespace swinv2 {

ascend_twin::Report window_attention_twin_910(const WindowAttention& op, const WindowAttentionForward& io,
                                              const TwinRun& run) {
  return window_attention_twin_910(tile_window_attention(op, kAscend910), io, run);
}

ascend_twin::Report window_attention_twin_910(const WindowAttentionTiling910& t,
                                              const WindowAttentionForward& io, const TwinRun& run) {
  const std::vector<float> panels = prepare_bias(t, io.bias_table);
  const uint64_t tokens = uint64_t(t.batch) * t.height * t.width, channels = uint64_t(t.heads) * t.head_dim;
  const uint64_t window = uint64_t(t.window_h) * t.window_w, windows = tokens / window;

  ascend_twin::Gm gm;
  uint8_t* qkv = gm.Input("qkv", io.qkv, tokens * 3 * channels * 2);
  uint8_t* bias = gm.Input("bias", panels.data(), panels.size() * sizeof(float));
  uint8_t* scale = gm.Input("scale", io.scale, t.heads * sizeof(float));
  uint8_t* out = gm.Output("out", io.out, tokens * channels * 2);
  uint8_t* stats = gm.Output("stats", io.stats, windows * t.heads * ((window + 7) / 8 * 8) * sizeof(float));
  uint8_t* tiling = gm.Input("tiling", &t, sizeof(t));

  ascend_twin::LaunchOptions options;
  options.soc = ascend_twin::Soc::kAscend910;
  options.block_dim = t.cores;
  options.seed = run.seed;
  options.trace = run.trace;
  const Kernel910 kernel = run.kernel ? run.kernel : &swinv2_window_attention_910;
  return ascend_twin::Launch(options, gm, [&] { kernel(qkv, bias, scale, out, stats, nullptr, tiling); });
}

void window_attention_forward_twin_910(const WindowAttention& op, const WindowAttentionForward& io) {
  const ascend_twin::Report report = window_attention_twin_910(op, io, TwinRun{});
  if (report.ok()) return;
  std::string text = "the kernel broke a rule of " + report.soc;
  for (const ascend_twin::Error& error : report.errors) text += "\n" + error.ToString();
  throw std::runtime_error(text);
}

}  // namespace swinv2
