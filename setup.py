# SPDX-License-Identifier: Apache-2.0
"""`python setup.py install` or `develop`, for hands that are used to it: pip builds, by pyproject.toml and CMake."""

import subprocess
import sys
from pathlib import Path

COMMANDS = {"install": [], "develop": ["-e"]}

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in COMMANDS:
        given = " ".join(sys.argv[1:]) or "nothing"
        sys.exit(f"setup.py: expected install or develop, got {given}; or use pip install -e .")
    options = [*COMMANDS[sys.argv[1]], str(Path(__file__).resolve().parent)]
    sys.exit(subprocess.call([sys.executable, "-m", "pip", "install", *options]))
