// SPDX-License-Identifier: Apache-2.0
//
// The forward in the op package, built once a chip and dtype by CANN, which names file and function after the operator
// (op_host.cc) and defines GET_TILING_DATA_WITH_STRUCT.
#include "kernel_operator.h"
#if __CCE_AICORE__ == 220
#include "lib/matmul_intf.h"  // CANN's wrapper of a mixed kernel needs it
#include "window_attention/window_attention_ascend_910b.cc"
#else
#include "window_attention/window_attention_ascend_910.cc"
#endif

extern "C" __global__ __aicore__ void swin_v2_window_attention_ascend(GM_ADDR qkv, GM_ADDR bias,
                                                                      GM_ADDR scale, GM_ADDR out,
                                                                      GM_ADDR stats, GM_ADDR workspace,
                                                                      GM_ADDR tiling) {
#if __CCE_AICORE__ == 220
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
  REGISTER_TILING_DEFAULT(swinv2::WindowAttentionTiling910B);
  GET_TILING_DATA_WITH_STRUCT(swinv2::WindowAttentionTiling910B, t, tiling);
  swinv2::window_attention_910b(qkv, bias, scale, out, stats, AscendC::GetUserWorkspace(workspace), t);
#else
  REGISTER_TILING_DEFAULT(swinv2::WindowAttentionTiling910);
  GET_TILING_DATA_WITH_STRUCT(swinv2::WindowAttentionTiling910, t, tiling);
  swinv2::window_attention_910(qkv, bias, scale, out, stats, t);
#endif
}
