// SPDX-License-Identifier: Apache-2.0
// Calls that the 910B lacks, one a line: its vector unit has no bfloat16 arithmetic.
// clang-format off
#include "kernel_operator.h"
using namespace AscendC;

void Missing(LocalTensor<half> h, LocalTensor<bfloat16_t> bf, LocalTensor<float> f,
             LocalTensor<int32_t> i32, LocalTensor<uint32_t> u32) {
  Add(bf, bf, bf, 64);                     // Add
  Muls(bf, bf, bfloat16_t(1.f), 64);       // Muls
  Exp(bf, bf, 64);                         // Exp
  WholeReduceSum(bf, bf, 64, 1, 1, 1, 8);  // WholeReduceSum
  Mmad(h, h, h, MmadParams());             // Mmad
  Cast(bf, h, RoundMode::CAST_RINT, 64);   // Cast
  Div(i32, i32, i32, 64);                  // Div
  Gatherb(f, f, u32, 1, GatherRepeatParams());  // Gatherb
  Sort32(bf, bf, u32, 1);                  // Sort32
  ProposalConcat(h, h, 1, 4);              // ProposalConcat
  ProposalExtract(h, h, 1, 4);             // ProposalExtract
  RpSort16(h, h, 1);                       // RpSort16
  MrgSort4(h, MrgSortSrcList<half>(), MrgSort4Info());  // MrgSort4
  CompareScalar(f, f, 0.f, CMPMODE::LT, 64);  // CompareScalar
  CrossCoreSetFlag<4, PIPE_MTE3>(0);       // CrossCoreSetFlag
}
