# SPDX-License-Identifier: Apache-2.0
"""Every way the Ascend kernels can be broken by a slip is noticed: by a rule of the twin or by parity.

Each mutation replaces text of a kernel's source or of the headers that kernels share; the mutant is compiled against
the twin and run on small cases.
"""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import mutations_910
import mutations_910b
import mutations_grad_910
import mutations_grad_910b
import numpy as np
import pytest
import test_twin_window_attention as forward
import test_twin_window_attention_grad as backward
from cases import Case
from test_twin_window_attention import KERNELS, arguments

from swinv2_kernels import _native

CSRC = Path(__file__).parents[1] / "csrc"
LIBRARY = Path(_native.__file__).with_name("libswinv2_kernels.so")
HEADERS = [path.relative_to(CSRC) for path in sorted((CSRC / "window_attention").glob("*_ascend*.h"))]
TAILS = [Case(3, 7, 7, (7, 7), (0, 0), 1, 16), Case(3, 6, 6, (6, 6), (0, 0), 1, 16)]


def run_forward(case, kernel, options, library="", poison=False):
    """(out, stats), report."""
    inputs, how = arguments(case, kernel)
    if poison:
        inputs[0][0] = np.nan
    out, stats, report = forward.forward(kernel, *inputs, **how, **options, kernel_library=library)
    return (out, stats), report


def check_forward(case, kernel, options, results):
    out, stats = results
    forward.expected(case, kernel).check(out=out)
    np.testing.assert_array_equal(stats, run_forward(case, kernel, options)[0][1])


def run_backward(case, kernel, options, library="", poison=False):
    """(dqkv, dbias_table, dscale), report."""
    inputs, how = arguments(case, kernel)
    if poison:
        inputs[0][0] = np.nan
    return backward.backward(kernel, inputs, kernel.store(case.inputs()["dout"]), how, library, **options)


def check_backward(case, kernel, _, results):
    backward.check(case, kernel, results)


@dataclass(frozen=True)
class Source:
    """A kernel's source, its mutations, and what is run on each."""

    name: str
    kernels: list  # taken in turn
    mutations: object
    run: object
    check: object

    @property
    def path(self):
        *grad, chip = self.name.split("-")
        return Path("window_attention") / "_".join(["window_attention", *grad, "ascend", f"{chip}.cc"])

    @property
    def soc(self):
        return self.name.split("-")[-1].upper()

    def runs(self):
        """(case, options, kernel)"""
        for i, (case, options) in enumerate(self.mutations.RUNS):
            yield case, options, self.kernels[i % len(self.kernels)]


SOURCES = [
    Source("910", KERNELS[:1], mutations_910, run_forward, check_forward),
    Source("910b", KERNELS[1:], mutations_910b, run_forward, check_forward),
    Source("grad-910", KERNELS[:1], mutations_grad_910, run_backward, check_backward),
    Source("grad-910b", KERNELS[1:], mutations_grad_910b, run_backward, check_backward),
]


def build(directory, source, old="", new=""):
    """The kernel, `old` replaced by `new`, as a shared library that shares the twin of the package."""
    texts = {path: (CSRC / path).read_text() for path in (source.path, *HEADERS)}
    count = sum(text.count(old) for text in texts.values())
    assert not old or count == 1, f"its text occurs {count} times in {source.path.name} and the headers"
    for path, text in texts.items():
        (directory / path).parent.mkdir(exist_ok=True)
        (directory / path).write_text(text.replace(old, new) if old else text)
    library = directory / "mutant.so"
    command = [os.environ.get("CXX", "c++"), "-std=c++17", "-O0", "-w", "-shared", "-fPIC"]
    command += [f"-DASCEND_TWIN_SOC={source.soc}"]
    command += ["-fvisibility-inlines-hidden", "-Wl,-Bsymbolic"]  # its own code before that of the package
    command += [f"-I{directory}", f"-I{CSRC}", f"-I{CSRC}/ascend_twin/include", str(directory / source.path)]
    subprocess.run([*command, "-o", str(library), str(LIBRARY)], check=True)
    return str(library)


def complaint(source, library):
    """What is wrong with the kernel in `library`: a broken rule, a wrong number, or None."""
    for case, options, kernel in source.runs():
        results, report = source.run(case, kernel, options, library)
        if report["errors"]:
            return report["errors"][0]["text"]
        try:
            with np.errstate(all="ignore"):
                source.check(case, kernel, options, results)
        except AssertionError as wrong:
            return str(wrong)
    for case in TAILS:
        results, _ = source.run(case, source.kernels[0], {"cores": 1}, library, poison=True)
        if np.isnan(results[0][1:]).any():
            return "the NaN of one task reached another"
    padded = Case(1, 8, 8, (8, 8), (0, 0), 1, 16, (5, 7))
    if np.isnan(source.run(padded, source.kernels[0], {"cores": 1}, library, poison=True)[0][0][:, 5:]).any():
        return "NaN reached padding"
    return None


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)
def test_the_kernel_itself_passes(source, tmp_path):
    library = build(tmp_path, source)
    assert complaint(source, library) is None
    assert library not in Path("/proc/self/maps").read_text()  # closed after each call


@pytest.mark.parametrize(
    ("source", "name"),
    [
        pytest.param(source, name, id=f"{source.name}-{name}")
        for source in SOURCES
        for name in source.mutations.MUTATIONS
    ],
)
def test_mutant_is_killed(source, name, tmp_path):
    assert complaint(source, build(tmp_path, source, *source.mutations.MUTATIONS[name])) is not None, (
        f"{name}: survived"
    )
