# SPDX-License-Identifier: Apache-2.0
"""From a name in the shared library to a MindSpore operator."""

from typing import Callable, Optional

from mindspore import ops

from swinv2_kernels.backend import library_path

SYMBOL_SUFFIX = {"cpu": "", "twin-910": "Ascend", "twin-910b": "Ascend", "ascend": "Ascend"}


def custom_operator(
    name: str, backend: str, outputs: int, bprop: Optional[Callable] = None, **attributes: object
) -> ops.Custom:
    """The AOT operator `name` for `backend`, with `attributes` set at construction.

    Build it after the device is set: `ops.Custom` reads the target in its constructor.

    Raises:
        ValueError: SWINV2_KERNELS_ISA or SWINV2_KERNELS_NUM_THREADS asks for what cannot be.
    """
    from swinv2_kernels import _native  # type: ignore[attr-defined]

    # A bad variable of the environment shows here; in a kernel its text is lost.
    _native.isa()
    _native.num_threads()
    symbol = name + SYMBOL_SUFFIX[backend]
    operator = ops.Custom(f"{library_path()}:{symbol}", None, None, "aot", bprop=bprop)
    if backend != "ascend":  # there MindSpore reads both off the op package
        operator.add_prim_attr("reg_op_name", symbol)
        operator.add_prim_attr("multi_output", outputs > 1)
    for key, value in attributes.items():
        operator.add_prim_attr(key, value)
    return operator
