// SPDX-License-Identifier: Apache-2.0
// Kernels with dynamic inputs include this name.
#pragma once

#include "kernel_operator.h"
