// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stdexcept>
#include <string>

namespace swinv2 {

// Bad input; pybind11 makes a ValueError of it, MindSpore a RuntimeError where an InferShape or InferType throws it.
// The text names the argument, what was expected, what came, and the mend.
struct InvalidArgument : std::invalid_argument {
  using std::invalid_argument::invalid_argument;
};

// MindSpore turns a failed AOT kernel into "error code N" without a text; the text stays here for Python to
// fetch.
std::string last_error();
void set_last_error(const char* text);  // char*: called across the two std::string ABIs (core/aot.h)

}  // namespace swinv2
