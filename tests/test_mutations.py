# SPDX-License-Identifier: Apache-2.0
"""Every way the Ascend kernels can be broken by a slip is noticed: by a rule of the twin or by parity.

Each mutation replaces text of a kernel's source or of the header that both share; the mutant is compiled against the
twin and run on small cases.
"""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import mutations_910
import mutations_910b
import numpy as np
import pytest
from cases import Case
from test_twin_window_attention import KERNELS, arguments, expected, forward

from swinv2_kernels import _native

CSRC = Path(__file__).parents[1] / "csrc"
LIBRARY = Path(_native.__file__).with_name("libswinv2_kernels.so")
HEADER = Path("window_attention") / "window_attention_ascend.h"


@dataclass(frozen=True)
class Chip:
    name: str
    runs: list  # (case, options, kernel)
    mutations: dict

    @property
    def source(self):
        return Path("window_attention") / f"window_attention_ascend_{self.name}.cc"


CHIPS = [
    Chip("910", [(case, how, KERNELS[0]) for case, how in mutations_910.RUNS], mutations_910.MUTATIONS),
    Chip(
        "910b",
        [(case, how, KERNELS[1 + i % 2]) for i, (case, how) in enumerate(mutations_910b.RUNS)],
        mutations_910b.MUTATIONS,
    ),
]


def build(directory, chip, old="", new=""):
    """The kernel, `old` replaced by `new`, as a shared library that shares the twin of the package."""
    texts = {path: (CSRC / path).read_text() for path in (chip.source, HEADER)}
    count = sum(text.count(old) for text in texts.values())
    assert not old or count == 1, f"its text occurs {count} times in {chip.source.name} and {HEADER.name}"
    for path, text in texts.items():
        (directory / path).parent.mkdir(exist_ok=True)
        (directory / path).write_text(text.replace(old, new) if old else text)
    library = directory / "mutant.so"
    command = [os.environ.get("CXX", "c++"), "-std=c++17", "-O0", "-w", "-shared", "-fPIC"]
    command += [f"-DASCEND_TWIN_SOC={chip.name.upper()}"]
    command += ["-fvisibility-inlines-hidden", "-Wl,-Bsymbolic"]  # its own code before that of the package
    command += [f"-I{directory}", f"-I{CSRC}", f"-I{CSRC}/ascend_twin/include", str(directory / chip.source)]
    subprocess.run([*command, "-o", str(library), str(LIBRARY)], check=True)
    return str(library)


def run(case, kernel, options, library="", poison=False):
    inputs, how = arguments(case, kernel)
    if poison:
        inputs[0][0] = np.nan
    return forward(kernel, *inputs, **how, **options, kernel_library=library)


def complaint(chip, library):
    """What is wrong with the kernel in `library`: a broken rule, a wrong number, or None."""
    for case, options, kernel in chip.runs:
        out, stats, report = run(case, kernel, options, library)
        if report["errors"]:
            return report["errors"][0]["text"]
        try:
            with np.errstate(all="ignore"):
                expected(case, kernel).check(out=out)
            np.testing.assert_array_equal(stats, run(case, kernel, options)[1])
        except AssertionError as wrong:
            return str(wrong)
    tails, kernel = Case(3, 7, 7, (7, 7), (0, 0), 1, 16), chip.runs[0][2]
    if np.isnan(run(tails, kernel, {"cores": 1}, library, poison=True)[0][1:]).any():
        return "the NaN of one task reached another"
    return None


@pytest.mark.parametrize("chip", CHIPS, ids=lambda chip: chip.name)
def test_the_kernel_itself_passes(chip, tmp_path):
    library = build(tmp_path, chip)
    assert complaint(chip, library) is None
    assert library not in Path("/proc/self/maps").read_text()  # closed after each call


@pytest.mark.parametrize(
    ("chip", "name"),
    [pytest.param(chip, name, id=f"{chip.name}-{name}") for chip in CHIPS for name in chip.mutations],
)
def test_mutant_is_killed(chip, name, tmp_path):
    assert complaint(chip, build(tmp_path, chip, *chip.mutations[name])) is not None, f"{name}: survived"
