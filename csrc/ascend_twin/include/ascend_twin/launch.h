// SPDX-License-Identifier: Apache-2.0
// How host code runs a kernel on the twin: register the GM tensors, then launch.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ascend_twin/report.h"

namespace ascend_twin {

enum class KernelType : uint8_t {
  kAuto,         // what KERNEL_TASK_TYPE_DEFAULT says; without it fused on the 910, AIV only on the 910B
  kFused,        // 910
  kAivOnly,      // 910B
  kAicOnly,      // 910B
  kMixAic1Aiv1,  // 910B: one AIC with one AIV a block
  kMixAic1Aiv2,  // 910B: one AIC with two AIV a block
};

struct LaunchOptions {
  Soc soc = Soc::kAscend910;
  int block_dim = 1;
  uint64_t seed = 0;  // chooses the interleaving of pipes and cores
  KernelType kernel_type = KernelType::kAuto;
  bool approximate = true;   // Rsqrt and Reciprocal at worst-case error, Exp flushes denormals
  bool auto_pipe_v = false;  // the compiler's automatic sync: a PIPE_V barrier between vector instructions
  bool auto_scalar = false;  // likewise: flags around scalar accesses of local tensors and scalar reads of GM
  bool copy_uninitialised = false;  // copies to GM may carry bytes nobody wrote (rounding up to 32 B)
  bool trace = false;               // keep every instruction
  int max_errors = 1;               // a core stops issuing once this many errors are known
  uint64_t instruction_limit = 200'000'000;
  uint64_t tiling_key = 0;
  bool allow_gemv = false;       // Mmad with m = 1 computes as the device does instead of being an error
  bool reserved_ubuf = true;     // 910B: the headers keep 8 KB of UB (compile option of the same name)
  size_t stack_bytes = 1 << 20;  // of one body
};

enum class GmKind : uint8_t { kInput, kOutput, kInOut, kWorkspace };

struct GmTensor {
  std::string name;
  GmKind kind;
  uint64_t bytes;
  uint8_t* device;  // what the kernel sees, 512 B aligned with a gap before its neighbours
  void* host;       // copied from before, copied to after a launch; may be null
};

// The device memory of a launch. Outputs and workspaces are filled with NaN before every launch.
class Gm {
 public:
  static constexpr int64_t kGap = 4096;  // bytes before and behind every tensor
  Gm() = default;
  Gm(const Gm&) = delete;
  Gm& operator=(const Gm&) = delete;

  uint8_t* Input(const std::string& name, const void* host, uint64_t bytes);
  uint8_t* Output(const std::string& name, void* host, uint64_t bytes);
  uint8_t* InOut(const std::string& name, void* host, uint64_t bytes);
  uint8_t* Workspace(const std::string& name, uint64_t bytes);
  // A workspace that starts zeroed, as the host promises for soft syncs.
  uint8_t* ZeroedWorkspace(const std::string& name, uint64_t bytes);

  const std::vector<GmTensor>& tensors() const { return tensors_; }
  bool zeroed(size_t index) const { return zeroed_[index]; }
  void BeforeLaunch();
  void AfterLaunch();

 private:
  uint8_t* Add(const std::string& name, GmKind kind, void* host, uint64_t bytes, bool zeroed);
  std::vector<GmTensor> tensors_;
  std::vector<bool> zeroed_;
  std::vector<std::unique_ptr<uint8_t[]>> storage_;
};

// Runs `kernel` once per core of `options.block_dim` blocks. The kernel's arguments are what Gm returned:
//   uint8_t* x = gm.Input("x", x_host, bytes);
//   Report report = AscendC::RunKernel(options, gm, [&] { add_custom(x, y, z); });
// RunKernel of kernel_operator.h is this with options.soc set to the chip of its translation unit.
Report Launch(const LaunchOptions& options, Gm& gm, const std::function<void()>& kernel);

}  // namespace ascend_twin
