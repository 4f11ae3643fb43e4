// SPDX-License-Identifier: Apache-2.0
//
// The twin as a back end: no strings or reports cross here, so that sources of either std::string ABI may
// call it.
#pragma once

#include "window_attention/window_attention.h"

namespace swinv2 {

// Throw InvalidArgument where the chip cannot run the problem, naming the argument and the mend.
void check_twin_910(const WindowAttention& op);
void check_twin_910b(const WindowAttention& op);
void check_twin_grad_910(const WindowAttention& op);
void check_twin_grad_910b(const WindowAttention& op);

// Throw std::runtime_error with the report's errors where the kernel breaks a rule of the chip,
// InvalidArgument where the chip cannot run the problem.
void window_attention_forward_twin_910(const WindowAttention& op, const WindowAttentionForward& io);
void window_attention_forward_twin_910b(const WindowAttention& op, const WindowAttentionForward& io);
void window_attention_backward_twin_910(const WindowAttention& op, const WindowAttentionBackward& io);
void window_attention_backward_twin_910b(const WindowAttention& op, const WindowAttentionBackward& io);

}  // namespace swinv2
