# SPDX-License-Identifier: Apache-2.0
"""One process or several: MindSpore's own engine, started by msrun; MCCL on the CPU, HCCL on Ascend."""

from __future__ import annotations

import os

import numpy as np


def graph_mode():
    """Run Cells as graphs, whatever their caller does.

    In PyNative mode who waits for the result of a `ms.jit` function spins, on a core that its kernels need: on
    two cores a training step takes 1.6 times as long.
    """
    import mindspore as ms

    ms.set_context(mode=ms.GRAPH_MODE)


def start(device_target: str = "CPU", device_id: int | None = None) -> tuple[int, int]:
    """Choose the device and, under msrun, join the other ranks: (rank, number of ranks).

    Raises:
        ValueError: the device is none of CPU and Ascend, or its back end is not installed.
    """
    import mindspore as ms
    from mindspore import communication

    if device_target not in ("CPU", "Ascend"):
        raise ValueError(f"device_target: expected CPU or Ascend, got {device_target!r}.")
    try:
        # A device cannot be set again once it is in use; the CPU has no number.
        if device_target == "Ascend":  # operators of an op package get their attributes at these levels alone
            ms.set_context(jit_config={"jit_level": "O0"})
        if device_target == "Ascend" and device_id is not None:
            ms.set_device(device_target, device_id)
        elif ms.get_context("device_target") != device_target:
            ms.set_device(device_target)
    except (RuntimeError, ValueError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"device_target: {device_target} is not available here ({reason}).") from None
    if int(os.environ.get("MS_WORKER_NUM", "1")) < 2:
        return 0, 1
    communication.init("mccl" if device_target == "CPU" else "hccl")
    return communication.get_rank(), communication.get_group_size()


def sum_over_ranks(values: np.ndarray, ranks: int) -> np.ndarray:
    """The elementwise sum of an array of integers over all ranks, exact for sums below 2^24.

    MCCL adds only floats; integers below 2^24 are exact in float32 in any order.
    """
    if ranks == 1:
        return values
    from mindspore import Tensor, ops

    total = ops.AllReduce(ops.ReduceOp.SUM)(Tensor(values.astype(np.float32))).asnumpy()
    return total.astype(values.dtype)
