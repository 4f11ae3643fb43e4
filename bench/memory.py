# SPDX-License-Identifier: Apache-2.0
"""Peak memory of one implementation of one job, in a process of its own: `python -m bench.memory JOB BACKEND BATCH`.

Prints the high-water mark of the resident set above what it was once MindSpore, the inputs and the weights were there,
in MiB.
"""

import contextlib
import os
import subprocess
import sys
from pathlib import Path

from bench.machine import ROOT

JOBS = {
    "operator": "window_attention T stage 1 w16 s8 forward+backward",
    "inference": "SwinV2-T w16 inference",
}
REPEATS = 2


def measure_memory(machine, job, batch, implementations):
    """[Row], one process an implementation, one after the other."""
    rows = []
    for impl, backend in implementations.items():
        command = [sys.executable, "-m", "bench.memory", job, backend, str(batch)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command[1:])} failed:\n{done.stderr}")
        rows.append(
            machine.row(
                f"peak memory, {JOBS[job]}", impl, "MiB", [float(done.stdout.split()[-1])], batch=batch
            )
        )
    return rows


def _resident():
    """(now, high-water mark) in MiB."""
    found = {}
    with open("/proc/self/status") as status:
        for line in status:
            name, _, value = line.partition(":")
            if name in ("VmRSS", "VmHWM"):
                found[name] = int(value.split()[0]) / 1024
    return found["VmRSS"], found["VmHWM"]


def _job(job, backend, batch):
    from bench import cases, models, operators

    if job == "operator":
        return operators.compiled(cases.window_attention(1, 16, batch), "forward+backward", backend)
    return models.inference(16, backend, models.parameters(16), models.images(batch))


def main(job, backend, batch):
    os.environ.setdefault("GLOG_v", "3")
    run = _job(job, backend, int(batch))
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # the mark starts again from here
    before, _ = _resident()
    for _ in range(REPEATS):
        run()
    print(f"{max(0.0, _resident()[1] - before):.1f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
