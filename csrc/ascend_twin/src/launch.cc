// SPDX-License-Identifier: Apache-2.0
#include "ascend_twin/launch.h"

#include <cstring>

namespace ascend_twin {

namespace {
constexpr uint64_t kAlign = 512;
}  // namespace

uint8_t* Gm::Add(const std::string& name, GmKind kind, void* host, uint64_t bytes, bool zeroed) {
  storage_.push_back(std::make_unique<uint8_t[]>(bytes + kAlign + 2 * static_cast<uint64_t>(kGap)));
  auto address = reinterpret_cast<uintptr_t>(storage_.back().get()) + kGap;
  auto* device = reinterpret_cast<uint8_t*>((address + kAlign - 1) / kAlign * kAlign);
  tensors_.push_back({name, kind, bytes, device, host});
  zeroed_.push_back(zeroed);
  return device;
}

uint8_t* Gm::Input(const std::string& name, const void* host, uint64_t bytes) {
  return Add(name, GmKind::kInput, const_cast<void*>(host), bytes, false);
}
uint8_t* Gm::Output(const std::string& name, void* host, uint64_t bytes) {
  return Add(name, GmKind::kOutput, host, bytes, false);
}
uint8_t* Gm::InOut(const std::string& name, void* host, uint64_t bytes) {
  return Add(name, GmKind::kInOut, host, bytes, false);
}
uint8_t* Gm::Workspace(const std::string& name, uint64_t bytes) {
  return Add(name, GmKind::kWorkspace, nullptr, bytes, false);
}
uint8_t* Gm::ZeroedWorkspace(const std::string& name, uint64_t bytes) {
  return Add(name, GmKind::kWorkspace, nullptr, bytes, true);
}

void Gm::BeforeLaunch() {
  for (size_t i = 0; i < tensors_.size(); ++i) {
    const GmTensor& t = tensors_[i];
    if (t.kind == GmKind::kInOut && !t.host) continue;  // lives on the device from launch to launch
    const bool copied = (t.kind == GmKind::kInput || t.kind == GmKind::kInOut) && t.host;
    if (copied)
      std::memcpy(t.device, t.host, t.bytes);
    else
      std::memset(t.device, zeroed_[i] ? 0 : 0xff, t.bytes);  // 0xff..ff is a NaN in every float type
  }
}

void Gm::AfterLaunch() {
  for (const GmTensor& t : tensors_)
    if ((t.kind == GmKind::kOutput || t.kind == GmKind::kInOut) && t.host)
      std::memcpy(t.host, t.device, t.bytes);
}

}  // namespace ascend_twin
