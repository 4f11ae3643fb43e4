// SPDX-License-Identifier: Apache-2.0
//
// What tilings ask of an Ascend chip. Sources: the platform tables of the CANN toolkits.
#pragma once

#include <cstdint>

namespace swinv2 {

struct ChipLimits {
  const char* name;
  int32_t cores;   // fused cores (910), AICs (910B)
  int32_t ub, l1;  // bytes a kernel may use
  int32_t l0a, l0b, l0c;
  int32_t event_ids;           // per pair of pipes
  int32_t gm_sector;           // bytes moved at least per burst
  int32_t gm_bytes_per_cycle;  // of one core
};

// dav-c100. The last 8 KB of UB are scratch of the headers.
constexpr ChipLimits kAscend910 = {"ascend910", 32,         248 * 1024, 1024 * 1024, 64 * 1024,
                                   64 * 1024,   256 * 1024, 4,          512,         32};

// dav-c220 with 20 AICs, each with two AIVs (910B3). The headers keep 8 KB and 256 B of UB, 128 B of L1.
constexpr ChipLimits kAscend910B = {
    "ascend910b", 20, 184 * 1024 - 256, 512 * 1024 - 128, 64 * 1024, 64 * 1024, 128 * 1024, 8, 512, 41};

}  // namespace swinv2
