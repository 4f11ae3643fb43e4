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
ENVIRONMENT_VARIABLE = "SWINV2_KERNELS_BACKEND"

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

    The twins run window attention alone; the operators between run on the CPU, where the twins run.
    """
    name = resolve_backend(backend)
    return "cpu" if name in TWINS else name


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


def _has_twin() -> bool:
    from swinv2_kernels import _native  # type: ignore[attr-defined]

    return hasattr(_native, "twin")


@cache
def library_path() -> str:
    """The shared library that holds the AOT operators."""
    from swinv2_kernels import _native  # type: ignore[attr-defined]

    return str(Path(_native.__file__).with_name("libswinv2_kernels.so"))


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
        return "this version has no Ascend op package; use backend='reference', or on a CPU 'cpu'"
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
