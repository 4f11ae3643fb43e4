// SPDX-License-Identifier: Apache-2.0
// Chip selection (-DASCEND_TWIN_SOC=910 or 910B) and the keywords of the device language.
#pragma once

#ifndef ASCEND_TWIN_SOC
#error "choose the chip of the twin: -DASCEND_TWIN_SOC=910 or -DASCEND_TWIN_SOC=910B"
#endif

#define ASCEND_TWIN_ARCH_910 1001
#define ASCEND_TWIN_ARCH_910B 2201
#define ASCEND_TWIN_PASTE2(a, b) a##b
#define ASCEND_TWIN_PASTE(a, b) ASCEND_TWIN_PASTE2(a, b)
#define ASCEND_TWIN_ARCH ASCEND_TWIN_PASTE(ASCEND_TWIN_ARCH_, ASCEND_TWIN_SOC)

#if ASCEND_TWIN_ARCH == 1001
#define ASCEND_TWIN_CHIP "ascend910"
#define ASCEND_TWIN_NAMESPACE chip_910
#ifndef __CCE_AICORE__
#define __CCE_AICORE__ 100
#endif
#elif ASCEND_TWIN_ARCH == 2201
#define ASCEND_TWIN_CHIP "ascend910b"
#define ASCEND_TWIN_NAMESPACE chip_910b
#ifndef __CCE_AICORE__
#define __CCE_AICORE__ 220
#endif
#else
#error "ASCEND_TWIN_SOC must be 910 or 910B"
#endif
#ifndef __NPU_ARCH__
#define __NPU_ARCH__ ASCEND_TWIN_ARCH
#endif

#define __aicore__
#define __global__
#define __gm__
#define __ubuf__
#define __cbuf__
#define __ca__
#define __cb__
#define __cc__
#define __fbuf__
#define __ssbuf__
#define __vector__
#define __cube__
#define __mix__(cube, vector)
#define __inout_pipe__(pipe)
#define __in_pipe__(pipe)
#define __out_pipe__(pipe)
#define __sync_alias__
#define __sync_noalias__
#define __check_sync_alias__
#define GM_ADDR __gm__ uint8_t*

// A call that the chip lacks ends here, at compile time.
#define ASCEND_TWIN_REQUIRE(condition, call) \
  static_assert(condition, call " does not exist on " ASCEND_TWIN_CHIP " with these data types")
