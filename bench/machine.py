# SPDX-License-Identifier: Apache-2.0
"""The machine: threads in use, its name, its measured peaks. Import it before MindSpore."""

import contextlib
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from bench.rows import Row, percentiles

ROOT = Path(__file__).resolve().parent.parent


def available_threads():
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def limit_threads(threads):
    """Make every pool of this process and its children use `threads` threads; before any of them starts.

    Raises:
        ValueError: threads outside 1 .. available_threads().
        RuntimeError: MindSpore is loaded already.
    """
    if not 1 <= threads <= available_threads():
        raise ValueError(f"threads: expected 1 to {available_threads()} (the cores here), got {threads}")
    if "mindspore" in sys.modules and threads < available_threads():
        raise RuntimeError("threads must be limited before mindspore is imported")
    for library in ("SWINV2_KERNELS", "OMP", "MKL", "OPENBLAS"):
        os.environ[f"{library}_NUM_THREADS"] = str(threads)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])


def cpu_name():
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def commit():
    """The commit of the working tree, with a + if it has other changes than results."""

    def git(*arguments):
        return subprocess.run(
            ["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!bench/results")
        return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


class OtherWork:
    """How busy these cores have been with other processes since this object was made."""

    def __init__(self):
        self.start = self._now()

    def share(self):
        """Between 0 and 1, of the cores of the whole machine; 0 where the system does not tell."""
        ours, busy, total = (now - then for now, then in zip(self._now(), self.start))
        return min(1.0, max(0.0, (busy - ours) / total)) if total else 0.0

    @staticmethod
    def _now():
        """(this process and its children, all processes, all cores), in clock ticks."""
        try:
            ticks = [int(t) for t in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
        except (OSError, ValueError):
            return 0, 0, 0
        ours = sum(os.times()[:4]) * os.sysconf("SC_CLK_TCK")
        return ours, sum(ticks) - ticks[3] - ticks[4], sum(ticks)  # without idle and waiting for input


@dataclass(frozen=True)
class Machine:
    """What every row says of where it was measured."""

    device: str
    threads: int
    commit: str

    @classmethod
    def here(cls, threads):
        from swinv2_kernels import _native

        return cls(f"{cpu_name()} ({_native.isa()})", threads, commit())

    def row(self, case, impl, unit, samples, *, batch=0, dtype="float32"):
        p20, p50, p80 = percentiles(samples)
        return Row(
            case,
            impl,
            self.device,
            dtype,
            self.threads,
            batch,
            unit,
            p20,
            p50,
            p80,
            len(samples),
            self.commit,
        )


PEAKS = {
    "gflops": ("fp32 multiply-add", "GFLOP/s"),
    "copy": ("stream copy", "GB/s"),
    "triad": ("stream triad", "GB/s"),
}


@dataclass(frozen=True)
class Peaks:
    gflops: float
    gbs: float  # the better of copy and triad


def measure_peaks(machine, repetitions):
    """([Row], Peaks): the best sample is the peak: whatever else runs only lowers the others."""
    from swinv2_kernels import _native

    measured = _native.measure_peaks(repetitions)
    rows = [machine.row(case, "machine", unit, measured[name]) for name, (case, unit) in PEAKS.items()]
    return rows, Peaks(max(measured["gflops"]), max(measured["copy"] + measured["triad"]))
