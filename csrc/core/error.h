// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdexcept>
#include <string>

namespace swinv2 {

// Bad input. The text names the argument, what was expected, what came, and the mend.
struct InvalidArgument : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// MindSpore turns a failed AOT kernel into "error code N" without a text; the text stays here for Python to
// fetch.
std::string last_error();
void set_last_error(const char* text);  // char*: called across the two std::string ABIs (core/aot.h)

}  // namespace swinv2
