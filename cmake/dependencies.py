# SPDX-License-Identifier: Apache-2.0
"""Run-time dependencies, as scikit-build-core's dynamic metadata.

MindSpore is asked for only where the target environment has none: whatever build is installed (an Ascend wheel, a
source build, another version) stays as it is.
"""

import os
import subprocess
import sys

MINDSPORE = "mindspore>=2.7,<2.11"
OTHERS = [
    "numpy>=1.22,<2",
    "pyyaml>=6",
    "jsonargparse[signatures]>=4.27",
    "rich>=13",
    "matplotlib>=3.7",
    "scikit-learn>=1.2",
    "pillow>=9",
    "safetensors>=0.4",
]


def has_mindspore() -> bool:
    # pip hides the target environment from an isolated build by these variables alone.
    hidden = ("PYTHONPATH", "PYTHONNOUSERSITE")
    environment = {key: value for key, value in os.environ.items() if key not in hidden}
    probe = "import importlib.util, sys; sys.exit(importlib.util.find_spec('mindspore') is None)"
    return subprocess.run([sys.executable, "-c", probe], env=environment, cwd="/").returncode == 0


def dynamic_wheel(settings):
    """A wheel built from an sdist asks its own environment: PKG-INFO says that its list is not the last word."""
    return {"dependencies": True}


def dynamic_metadata(settings, project):
    return {"dependencies": OTHERS if has_mindspore() else [MINDSPORE, *OTHERS]}
