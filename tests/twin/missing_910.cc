// SPDX-License-Identifier: Apache-2.0
// Calls that the 910 lacks, one a line. tests/twin/test_twin.py compiles this file and expects a message for
// each.
// clang-format off
#include "kernel_operator.h"
using namespace AscendC;

void Missing(LocalTensor<half> h, LocalTensor<float> f, LocalTensor<int16_t> i16, LocalTensor<int32_t> i32,
             LocalTensor<uint32_t> u32, LocalTensor<uint8_t> u8, LocalTensor<bfloat16_t> bf,
             GlobalTensor<half> g, GlobalTensor<float> gf) {
  uint64_t count = 0;
  Brcb(f, f, 1, BrcbRepeatParams(1, 8));                                 // Brcb
  DataCopyPad(h, g, DataCopyExtParams(), DataCopyPadExtParams<half>());  // DataCopyPad
  Cast(bf, f, RoundMode::CAST_RINT, 64);                                 // Cast
  Fixpipe<float, float, CFG_ROW_MAJOR>(gf, f, FixpipeParamsV220());      // Fixpipe
  Mmad(f, bf, bf, MmadParams());                                         // Mmad
  Mmad(f, f, f, MmadParams());                                           // Mmad
  Mmad(f, h, h, f, MmadParams());                                        // Mmad with bias
  LoadDataWithTranspose(h, h, LoadData2dTransposeParams());              // LoadDataWithTranspose
  Maxs(f, f, 0.f, 64);                                                   // Maxs
  Mins(f, f, 0.f, 64);                                                   // Mins
  CompareScalar(u8, f, 0.f, CMPMODE::LT, 64);                            // CompareScalar
  MulAddDst(f, f, f, 64);                                                // MulAddDst
  FusedMulAdd(f, f, f, 64);                                              // FusedMulAdd
  AddRelu(f, f, f, 64);                                                  // AddRelu
  SetDeqScale(half(1));                                                  // SetDeqScale
  Gather(f, f, u32, 0, 64);                                              // Gather
  GatherMask(f, f, uint8_t{1}, false, 0, GatherMaskParams(), count);     // GatherMask
  Copy(f, f, 64, 1, CopyRepeatParams());                                 // Copy
  CreateVecIndex(i32, 0, 64);                                            // CreateVecIndex
  ShiftLeft(i32, i32, 1, 64);                                            // ShiftLeft
  ShiftRight(i32, i32, 1, 64);                                           // ShiftRight
  LeakyRelu(f, f, 0.1f, 64);                                             // LeakyRelu
  Add(i16, i16, i16, 64);                                                // Add
  CrossCoreSetFlag<2, PIPE_MTE3>(0);                                     // CrossCoreSetFlag
  CrossCoreWaitFlag(0);                                                  // CrossCoreWaitFlag
  SyncAll();                                                             // SyncAll without a workspace
  DataCopy(h, g, Nd2NzParams());                                         // DataCopy with Nd2NzParams
  WholeReduceMax(f, f, 64, 1, 1, 1, 8);                                  // WholeReduceMax
  BlockReduceMax(f, f, 1, 64, 1, 1, 8);                                  // BlockReduceMax
  BlockReduceSum(f, f, 1, 64, 1, 1, 8);                                  // BlockReduceSum
  ReduceSum(f, f, f, 64);                                                // ReduceSum
  ReduceMax(f, f, f, 64);                                                // ReduceMax
  SetAtomicAdd<half>();                                                  // SetAtomicAdd
  SetAtomicMax<float>();                                                 // SetAtomicMax
  Select(f, u8, f, 0.f, SELMODE::VSEL_TENSOR_SCALAR_MODE, 64);           // Select against a scalar
  uint16_t n = 0;
  TensorDesc<float> desc;
  ListTensorDesc().GetDesc(desc, 0);                                     // GetDesc
  const uint8_t pad[4] = {};
  SetFmatrix(1, 1, pad, FmatrixMode::FMATRIX_LEFT);                      // SetFmatrix
  SetLoadDataPaddingValue(0);                                            // SetLoadDataPaddingValue
  SetLoadDataBoundary(0);                                                // SetLoadDataBoundary
  ScalarCountLeadingZero(1);  // ScalarCountLeadingZero
  ScalarGetSFFValue<1>(1);  // ScalarGetSFFValue
  ToFloat(bfloat16_t(1));  // ToFloat
  Sort32(f, f, u32, 1);                                                  // Sort32
  MrgSort(f, MrgSortSrcList<float>(f, f, f, f), MrgSort4Info());         // MrgSort
  GetMrgSortResult(n, n, n, n);                                          // GetMrgSortResult
  Extract(h, u32, h, 1);                                                 // Extract
  SetFlag<HardEvent::M_FIX>(0);                                          // PIPE_FIX
}
