# SPDX-License-Identifier: Apache-2.0
"""The Ascend C twin: every rule broken and repaired, small programs, calls that a chip lacks."""

import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

HERE = Path(__file__).parent
TWIN = HERE.parents[1] / "csrc" / "ascend_twin"
SOCS = {"910": 1001, "910B": 2201}
FILES = [
    "rules.cc",
    "rules_memory.cc",
    "rules_chip.cc",
    "vector.cc",
    "sort.cc",
    "load3d.cc",
    "list_tensor.cc",
    "programs.cc",
    "programs_910.cc",
    "programs_910b.cc",
]
FLAGS = [
    "-std=c++17",
    "-O0",
    "-Wall",
    "-Wextra",
    "-Werror",
    f"-I{TWIN / 'include'}",
    f"-I{TWIN / 'src'}",
    f"-I{HERE}",
]
CXX = os.environ.get("CXX") or shutil.which("g++")


def names_of(soc):
    """Names of the tests that exist for a chip, read from the sources."""
    names = []
    for file in FILES:
        stack = [True]
        for line in (HERE / file).read_text().splitlines():
            arch = re.match(r"#if ASCEND_TWIN_ARCH == (\d+)", line)
            if arch:
                stack.append(int(arch[1]) == SOCS[soc])
            elif line.startswith("#if"):
                stack.append(stack[-1])
            elif line.startswith("#else"):
                stack[-1] = not stack[-1]
            elif line.startswith("#endif"):
                stack.pop()
            elif stack[-1] and (name := re.match(r"TWIN_TEST\((\w+)\)", line)):
                names.append(name[1])
    return names


def compile_(source, target, *flags):
    subprocess.run([CXX, *FLAGS, *flags, "-c", str(source), "-o", str(target)], check=True)
    return target


@pytest.fixture(scope="session")
def binaries(tmp_path_factory):
    """One test program per chip, built from the sources as a stranger would."""
    if CXX is None:
        pytest.fail("the twin's tests need g++ (or CXX)")
    out = tmp_path_factory.mktemp("twin")
    jobs = [(p, out / f"{p.stem}.o", ["-O2"]) for p in sorted((TWIN / "src").glob("*.cc"))]
    for soc in SOCS:
        for file in [*FILES, "main.cc"]:
            jobs.append((HERE / file, out / f"{Path(file).stem}_{soc}.test.o", [f"-DASCEND_TWIN_SOC={soc}"]))
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(lambda j: compile_(j[0], j[1], *j[2]), jobs))
    core = [str(o) for o in objects if not o.name.endswith(".test.o")]
    result = {}
    for soc in SOCS:
        own = [str(o) for o in objects if o.name.endswith(f"_{soc}.test.o")]
        subprocess.run([CXX, *own, *core, "-o", str(out / soc)], check=True)
        result[soc] = out / soc
    return result


@pytest.mark.parametrize(
    ("soc", "name"), [pytest.param(s, n, id=f"{s}-{n}") for s in SOCS for n in names_of(s)]
)
def test_twin(binaries, soc, name):
    run = subprocess.run([str(binaries[soc]), name], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0 and f"PASS {name}" in run.stdout, run.stdout[:4000] + run.stderr[:1000]


@pytest.mark.parametrize("soc", SOCS)
def test_source_and_binary_agree_on_the_tests(binaries, soc):
    listed = subprocess.run([str(binaries[soc]), "--list"], capture_output=True, text=True, check=True).stdout
    assert sorted(listed.split()) == sorted(names_of(soc))


@pytest.mark.parametrize(("soc", "file"), [("910", "missing_910.cc"), ("910B", "missing_910b.cc")])
def test_missing_calls_do_not_compile(soc, file):
    """Each line names a call the chip lacks; the compiler's message names the call and the chip."""
    flags = [f for f in FLAGS if f != "-Werror"]
    run = subprocess.run(
        [CXX, *flags, f"-DASCEND_TWIN_SOC={soc}", "-fsyntax-only", "-fmax-errors=0", str(HERE / file)],
        capture_output=True,
        text=True,
    )
    assert run.returncode != 0
    lines = (HERE / file).read_text().splitlines()
    chip = {"910": "ascend910", "910B": "ascend910b"}[soc]
    # g++ reports the assertion inside the header and then the line that required it.
    blocks = re.split(r"(?=In instantiation of|required from here)", run.stderr)
    reported = {}
    for i, block in enumerate(blocks):
        for line in re.findall(
            rf"{re.escape(file)}:(\d+):\d+:\s+required from here", "".join(blocks[i - 1 : i + 1])
        ):
            message = re.search(r"static assertion failed: ([^\n]*)", block)
            if message:
                reported.setdefault(int(line), message[1])
    wanted = {n: m[1] for n, line in enumerate(lines, 1) if (m := re.search(r";\s+// (.+)$", line))}
    assert wanted
    for number, call in wanted.items():
        assert number in reported, (
            f"line {number} compiled: {lines[number - 1].strip()}\n{run.stderr[-3000:]}"
        )
        assert call in reported[number] and chip in reported[number], (number, call, reported[number])


@pytest.mark.parametrize("soc", ["910B"])
def test_the_documented_line_builds_a_kernel(tmp_path, soc):
    """One g++ line, no CMake, a kernel written in the style of the public samples."""
    (tmp_path / "kernel.cc").write_text(
        '#include "kernel_operator.h"\n'
        "using namespace AscendC;\n"
        'extern "C" __global__ __aicore__ void scale(GM_ADDR x, GM_ADDR y) {\n'
        "  GlobalTensor<float> a, b;\n"
        "  a.SetGlobalBuffer((__gm__ float*)x, 64);\n"
        "  b.SetGlobalBuffer((__gm__ float*)y, 64);\n"
        "  TPipe pipe;\n"
        "  TQueBind<TPosition::VECIN, TPosition::VECOUT, 1> queue;\n"
        "  pipe.InitBuffer(queue, 1, 256);\n"
        "  auto t = queue.AllocTensor<float>();\n"
        "  DataCopy(t, a, 64);\n"
        "  queue.EnQue(t);\n"
        "  t = queue.DeQue<float>();\n"
        "  DataCopy(b, t, 64);\n"
        "  queue.FreeTensor(t);\n"
        "}\n"
        "int main() {\n"
        "  float x[64], y[64];\n"
        "  for (int i = 0; i < 64; ++i) x[i] = i;\n"
        "  ascend_twin::Gm gm;\n"
        '  GM_ADDR xg = gm.Input("x", x, 256);\n'
        '  GM_ADDR yg = gm.Output("y", y, 256);\n'
        "  auto report = RunKernel({}, gm, [&] { scale(xg, yg); });\n"
        "  return !report.ok() || y[63] != 63;\n"
        "}\n"
    )
    sources = [str(p) for p in sorted((TWIN / "src").glob("*.cc"))]
    includes = [f"-I{TWIN / 'include'}", f"-I{TWIN / 'src'}"]
    command = [
        CXX,
        "-std=c++17",
        "-O0",
        f"-DASCEND_TWIN_SOC={soc}",
        *includes,
        str(tmp_path / "kernel.cc"),
        *sources,
    ]
    subprocess.run([*command, "-o", str(tmp_path / "kernel")], check=True)
    subprocess.run([str(tmp_path / "kernel")], check=True, timeout=30)


def test_every_rule_is_documented_and_broken_by_a_test():
    rules = re.findall(r'X\(\s*(\w+),\s*"(\w+)"', (TWIN / "include" / "ascend_twin" / "errors.h").read_text())
    docs = (HERE.parents[1] / "docs" / "ascend_twin.md").read_text()
    tests = "".join((HERE / f).read_text() for f in FILES)
    assert len(rules) >= 50
    for code, name in rules:
        assert f"| `{name}` |" in docs, name
        assert f"Rule::{code}," in tests or f"== Rule::{code}" in tests, f"no test breaks {name}"
