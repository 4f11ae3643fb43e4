// SPDX-License-Identifier: Apache-2.0
#include "core/error.h"

#include <mutex>

namespace swinv2 {
namespace {
// Not thread local: MindSpore runs kernels on its own launch thread and Python reads from another.
std::mutex mutex;
std::string text;
}  // namespace

std::string last_error() {
  std::lock_guard<std::mutex> lock(mutex);
  return text;
}

void set_last_error(const char* value) {
  std::lock_guard<std::mutex> lock(mutex);
  text = value;
}

}  // namespace swinv2
