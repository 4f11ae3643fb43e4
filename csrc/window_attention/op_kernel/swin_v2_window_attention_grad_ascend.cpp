// SPDX-License-Identifier: Apache-2.0
//
// The backward in the op package; see swin_v2_window_attention_ascend.cpp.
#include "kernel_operator.h"
#if __CCE_AICORE__ == 220
#include "lib/matmul_intf.h"
#include "window_attention/window_attention_grad_ascend_910b.cc"
#else
#include "window_attention/window_attention_grad_ascend_910.cc"
#endif

extern "C" __global__ __aicore__ void swin_v2_window_attention_grad_ascend(
    GM_ADDR qkv, GM_ADDR bias, GM_ADDR scale, GM_ADDR out, GM_ADDR stats, GM_ADDR dout, GM_ADDR dqkv,
    GM_ADDR dbias, GM_ADDR dscale, GM_ADDR workspace, GM_ADDR tiling) {
  (void)out;  // the kernels take its sums anew
#if __CCE_AICORE__ == 220
  KERNEL_TASK_TYPE_DEFAULT(KERNEL_TYPE_MIX_AIC_1_2);
  REGISTER_TILING_DEFAULT(swinv2::WindowAttentionGradTiling910B);
  GET_TILING_DATA_WITH_STRUCT(swinv2::WindowAttentionGradTiling910B, t, tiling);
  swinv2::window_attention_grad_910b(qkv, bias, scale, stats, dout, dqkv, dbias, dscale,
                                     AscendC::GetUserWorkspace(workspace), t);
#else
  REGISTER_TILING_DEFAULT(swinv2::WindowAttentionGradTiling910);
  GET_TILING_DATA_WITH_STRUCT(swinv2::WindowAttentionGradTiling910, t, tiling);
  swinv2::window_attention_grad_910(qkv, bias, scale, stats, dout, dqkv, dbias, dscale, t);
#endif
}
