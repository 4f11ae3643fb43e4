// SPDX-License-Identifier: Apache-2.0
//
// With AMX float32 and float16 go by tiles of three terms (cpu/terms.h): linear_terms.cc.
#pragma once

#include "linear/linear.h"

namespace swinv2 {
namespace SWINV2_ISA {

void linear_forward_by_terms(const Linear& op, const LinearForward& io);
void linear_input_gradient_by_terms(const Linear& op, const LinearBackward& io);
// dweight (N, K) += do^T a over the rows [row0, row1), outputs [n0, n1); dbias (n1 - n0) += do's sums.
void add_weight_gradient_by_terms(float* dweight, float* dbias, const Linear& op, const LinearBackward& io,
                                  int64_t n0, int64_t n1, int64_t row0, int64_t row1);

}  // namespace SWINV2_ISA
}  // namespace swinv2
