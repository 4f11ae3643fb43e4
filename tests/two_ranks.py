# SPDX-License-Identifier: Apache-2.0
"""The real thing: msrun starts two processes on the CPU, which talk over MCCL."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest


def on_two_ranks(arguments, folder):
    """What each rank of `python -m swinv2_model ...` said, run in `folder`."""
    msrun = shutil.which("msrun", path=str(Path(sys.executable).parent)) or shutil.which("msrun")
    if msrun is None:
        pytest.skip("msrun of MindSpore is not on the path")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [msrun, "--worker_num=2", "--local_worker_num=2", f"--master_port={port}", "--join=True"]
    command += [f"--log_dir={folder / 'log'}", "python", "-m", "swinv2_model", *map(str, arguments)]
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(command, capture_output=True, timeout=300, env=environment, cwd=folder)
    said = [(folder / "log" / f"worker_{rank}.log").read_text() for rank in range(2)]
    assert done.returncode == 0, said[0][-2000:]
    return said
