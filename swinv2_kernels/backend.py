# SPDX-License-Identifier: Apache-2.0
"""Which back end runs an operator: one visible choice, made when a Cell is built or a function called or traced.

argument `backend=`  >  `with use_backend(name)`  >  environment SWINV2_KERNELS_BACKEND  >  the device's own
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from pathlib import Path
from typing import Optional

import mindspore as ms
from mindspore.ops import constexpr

logger = logging.getLogger("swinv2_kernels")

TWINS = ("twin-910", "twin-910b")
BACKENDS = ("cpu", "ascend", *TWINS, "reference")
CHIPS = {"ascend910": ("float16",), "ascend910b": ("float16", "bfloat16")}  # and what their kernels store
ENVIRONMENT_VARIABLE = "SWINV2_KERNELS_BACKEND"
OP_HEADER = "op_api/include/aclnn_swin_v2_window_attention_ascend.h"  # of a vendor's folder

_forced: ContextVar[Optional[str]] = ContextVar("swinv2_kernels_backend", default=None)


class BackendUnavailable(RuntimeError):
    """A back end cannot run here; the text says why and how to get it."""


@contextmanager
def use_backend(name: str) -> Iterator[None]:
    """Operators called, and Cells built, inside the `with` block run on back end `name`, one of `BACKENDS`.

    A Cell keeps the back end it was built with; a `ms.jit` function keeps the one it was compiled with. Threads started
    inside the block do not inherit it.

    Raises:
        ValueError: `name` is not a back end.
        BackendUnavailable: it cannot run here; the text says how to get it.
    """
    _check_available(_check_name(name, "use_backend"))
    token = _forced.set(name)
    try:
        yield
    finally:
        _forced.reset(token)


def resolve_backend(backend: Optional[str] = None) -> str:
    """The back end that runs now, given the `backend` argument of an operator.

    Raises:
        ValueError: a name that is no back end, from the argument or the environment.
        BackendUnavailable: it cannot run here; the text says how to get it.
    """
    if backend is not None:
        name, origin = _check_name(backend, "backend"), "argument"
    elif (forced := _forced.get()) is not None:
        name, origin = forced, "use_backend"
    elif os.environ.get(ENVIRONMENT_VARIABLE):
        name, origin = _check_name(os.environ[ENVIRONMENT_VARIABLE], ENVIRONMENT_VARIABLE), "environment"
    else:
        name, origin = _device_default(), "device"
    _check_available(name)
    _log_once(name, origin)
    return name


def resolve_row_backend(backend: Optional[str] = None) -> str:
    """The back end of the operators beside window attention on `backend`.

    There are Ascend kernels of window attention alone. The operators between are the CPU's beside a twin, which runs
    there, and MindSpore's own on Ascend.
    """
    name = resolve_backend(backend)
    return "cpu" if name in TWINS else "reference" if name == "ascend" else name


@constexpr
def resolve_in_graph(backend):
    """`resolve_backend`, callable from a function that graph mode traces."""
    return resolve_backend(backend)


@constexpr
def resolve_row_in_graph(backend):
    """`resolve_row_backend`, callable from a function that graph mode traces."""
    return resolve_row_backend(backend)


def available_backends() -> tuple[str, ...]:
    """The back ends that can run in this process on the device in force."""
    return tuple(name for name in BACKENDS if _why_unavailable(name) is None)


def device_target() -> str:
    """MindSpore's device in force: CPU, Ascend or GPU."""
    return ms.get_context("device_target")


def storage_dtypes(name: str) -> tuple[str, ...]:
    """The dtypes of features that back end `name` takes."""
    if name in TWINS or name == "ascend":
        return CHIPS[soc_of(name)]
    return "float32", "float16", "bfloat16"


def soc_of(name: str) -> str:
    """The chip whose kernels the back end `ascend` or a twin runs, by CANN's name, one of `CHIPS` if it can run."""
    if name in TWINS:
        return name.replace("twin-", "ascend")
    from mindspore._c_expression import MSContext

    return MSContext.get_instance().get_ascend_soc_version()


def _has_twin() -> bool:
    from swinv2_kernels import _native  # type: ignore[attr-defined]

    return hasattr(_native, "twin")


@cache
def library_path() -> str:
    """The shared library that holds the AOT operators."""
    from swinv2_kernels import _native  # type: ignore[attr-defined]

    return str(Path(_native.__file__).with_name("libswinv2_kernels.so"))


def find_op_package(soc: str) -> Optional[Path]:
    """The folder of the vendor whose op package has our operators for a chip, where MindSpore looks for it."""
    folders = [Path(path) for path in os.environ.get("ASCEND_CUSTOM_OPP_PATH", "").split(":") if path]
    vendors = Path(os.environ.get("ASCEND_OPP_PATH", ""), "vendors")
    if (vendors / "config.ini").is_file():
        lines = (line.partition("=") for line in (vendors / "config.ini").read_text().splitlines())
        names = [names for key, _, names in lines if key.strip() == "load_priority"]
        folders += [vendors / name.strip() for name in ",".join(names).split(",") if name.strip()]
    files = OP_HEADER, f"op_impl/ai_core/tbe/config/{soc}/aic-{soc}-ops-info.json"
    return next((folder for folder in folders if all((folder / file).is_file() for file in files)), None)


def _check_name(name: str, argument: str) -> str:
    if name not in BACKENDS:
        raise ValueError(f"{argument}: expected one of {', '.join(BACKENDS)}, got {name!r}")
    return name


def _device_default() -> str:
    target = device_target()
    if target == "CPU":
        return "cpu"
    if target == "Ascend":
        return "ascend"
    raise BackendUnavailable(
        f"no fused kernels for device_target {target!r}; pass backend='reference' for plain MindSpore operators"
    )


def _why_unavailable(name: str) -> Optional[str]:
    target = device_target()
    if name == "ascend":
        if target != "Ascend":
            return f"it needs device_target 'Ascend', which is {target!r}; on a CPU use 'cpu', or 'twin-910b' to test"
        if (soc := soc_of(name)) not in CHIPS:
            return (
                f"it has kernels for {' and '.join(CHIPS)}, and the device is {soc}; use backend='reference'"
            )
        if not os.environ.get("ASCEND_OPP_PATH"):
            return "ASCEND_OPP_PATH is not set; source CANN's set_env.sh, or use backend='reference'"
        if find_op_package(soc) is None:
            return (
                f"no op package for {soc} is where ASCEND_CUSTOM_OPP_PATH or ASCEND_OPP_PATH point; build it with "
                f"`python -m swinv2_kernels.op_package {soc}`, or use backend='reference'"
            )
    if name == "cpu" or name in TWINS:
        if target != "CPU":
            return (
                f"it needs device_target 'CPU', which is {target!r}; set it with mindspore.set_device('CPU')"
            )
        if name in TWINS and not _has_twin():
            return "this build leaves the twins out; build with CMake's SWINV2_TWIN=ON"
    return None


def _check_available(name: str) -> None:
    why = _why_unavailable(name)
    if why is not None:
        raise BackendUnavailable(f"back end {name!r} cannot run: {why}")


@cache
def _log_once(name: str, origin: str) -> None:
    logger.info("back end %s (chosen by %s)", name, origin)
