// SPDX-License-Identifier: Apache-2.0
// Some kernels include this name.
#pragma once

#include "kernel_operator.h"
