# SPDX-License-Identifier: Apache-2.0
"""`python -m swinv2_kernels.op_package ascend910b`: the Ascend operators as an op package, for `backend="ascend"`.

CANN 8.1's own project template builds it (tools/op_project_templates of the toolkit): the sources are laid out as it
wants them, in a folder of their own, and installed to where ASCEND_CUSTOM_OPP_PATH is to point.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from swinv2_kernels.backend import CHIPS, OP_HEADER

VENDOR = "swinv2"
OPERATORS = ("swin_v2_window_attention_ascend", "swin_v2_window_attention_grad_ascend")  # files of op_kernel/
TEMPLATE = Path("tools/op_project_templates/ascendc/customize")
SOURCES = Path(__file__).resolve().parents[1] / "csrc"
HOST_SOURCES = (
    "window_attention/op_host.cc",
    "window_attention/tiling.cc",
    "window_attention/tiling_910b.cc",
    "window_attention/tiling_grad.cc",
    "window_attention/window_attention_shapes.cc",
)
# Lines of the template, and what they become: our sources are C++17, and name headers from csrc/.
EDITS = {
    "CMakeLists.txt": (
        "include(cmake/intf.cmake)",
        "include(cmake/intf.cmake)\ntarget_compile_options(intf_pub INTERFACE -std=c++17)",
    ),
    "op_host/CMakeLists.txt": ("opbuild(OPS_SRC ", "opbuild(OPS_SRC -std=c++17 "),
    "op_kernel/CMakeLists.txt": (
        "add_kernels_compile()",
        "add_ops_compile_options(ALL OPTIONS -I${CMAKE_SOURCE_DIR}/op_kernel)\nadd_kernels_compile()",
    ),
}


class OpPackageError(RuntimeError):
    """The op package cannot be built here; the text says why, and the mend."""


def find_cann(given=None):
    """The CANN toolkit: `given`, else what its set_env.sh says, else where it installs itself."""
    told = [os.environ.get(name) for name in ("ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME")]
    for path in [given] if given else [*told, "/usr/local/Ascend/ascend-toolkit/latest"]:
        if path and (Path(path) / TEMPLATE).is_dir():
            return Path(path).resolve()
    raise OpPackageError(
        f"--cann: expected a CANN toolkit with {TEMPLATE}, as 8.1 has it, got {given or 'none'}; source its "
        "set_env.sh, or name its folder, /usr/local/Ascend/ascend-toolkit/latest for example"
    )


def lay_out(folder, cann, chips):
    """The project of CANN's template in `folder`, which is made anew, with our sources in it."""
    if not (SOURCES / HOST_SOURCES[0]).is_file():
        raise OpPackageError(
            f"the sources are not in {SOURCES}; clone the repository and `pip install -e .` there"
        )
    # CANN's scripts take the first for a chip's name, the second for an option of theirs, and split at others.
    if found := re.search(r"ascend910|oom|[^\w./+-]", str(folder).lower(), re.ASCII):
        raise OpPackageError(
            f"--folder: expected a path without {found[0]!r}, over which CANN's scripts trip, got {folder}"
        )
    mark = folder / ".swinv2_op_package"
    if folder.exists() and any(folder.iterdir()) and not mark.exists():
        raise OpPackageError(
            f"--folder: expected an empty folder or one of an earlier build, got {folder} with other files"
        )
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    mark.touch()
    shutil.copytree(cann / TEMPLATE, folder, copy_function=shutil.copyfile, dirs_exist_ok=True)
    for path in (folder, *folder.rglob("*")):  # CANN may be installed read-only
        path.chmod(0o755 if path.is_dir() or path.suffix == ".sh" else 0o644)
    shutil.rmtree(folder / "framework", ignore_errors=True)  # plugins of other frameworks
    for name, (line, instead) in EDITS.items():
        text = (folder / name).read_text()
        if line not in text:
            raise OpPackageError(
                f"--cann: expected '{line}' in {TEMPLATE / name}, as 8.1 has it; {cann} is another version"
            )
        (folder / name).write_text(text.replace(line, instead, 1))
    presets = json.loads((folder / "CMakePresets.json").read_text())
    variables = presets["configurePresets"][0]["cacheVariables"]
    values = {
        "ASCEND_COMPUTE_UNIT": ";".join(chips),
        "ASCEND_CANN_PACKAGE_PATH": str(cann),
        "ASCEND_PYTHON_EXECUTABLE": sys.executable,
        "ENABLE_SOURCE_PACKAGE": "False",  # kernels of any shape are built here, none where it runs
        "vendor_name": VENDOR,
    }
    for name, value in values.items():
        variables[name]["value"] = value
    (folder / "CMakePresets.json").write_text(json.dumps(presets, indent=2))
    for name in HOST_SOURCES:
        shutil.copy(SOURCES / name, folder / "op_host")
    for part in ("core", "window_attention"):
        shutil.copytree(SOURCES / part, folder / "op_kernel" / part)
    for name in OPERATORS:
        shutil.copy(SOURCES / f"window_attention/op_kernel/{name}.cpp", folder / "op_kernel")


def build(folder, install_path):
    """Builds the project in `folder` and installs it; its vendor's folder, for ASCEND_CUSTOM_OPP_PATH."""
    environment = {**os.environ, "ENABLE_SOURCE_PACKAGE": "False"}  # CANN's opbuild reads it too
    _run(["bash", "build.sh"], folder, environment, folder / "build.log")
    packages = sorted((folder / "build_out").glob("*.run"))
    if not packages:
        raise OpPackageError(f"CANN's build made no .run file; its output is in {folder / 'build.log'}")
    install_path.mkdir(parents=True, exist_ok=True)
    command = ["bash", str(packages[0]), "--quiet", f"--install-path={install_path}"]
    _run(command, folder, environment, folder / "install.log")
    vendor = install_path / "vendors" / VENDOR
    if not (vendor / OP_HEADER).is_file():
        raise OpPackageError(
            f"the package did not install to {vendor}; its output is in {folder / 'install.log'}"
        )
    return vendor


def _run(command, folder, environment, log):
    with open(log, "w") as output:
        status = subprocess.call(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )
    if status:
        last = "\n".join(log.read_text(errors="replace").splitlines()[-20:])
        raise OpPackageError(
            f"{' '.join(command[:2])} failed ({status}); all of its output is in {log}, the end:\n{last}"
        )


def main(arguments=None):
    parser = argparse.ArgumentParser(
        prog="python -m swinv2_kernels.op_package", description=__doc__.split("\n")[0]
    )
    parser.add_argument(
        "chips", nargs="+", choices=tuple(CHIPS), help="whose kernels: Ascend 910 or 910B (B1 to B4)"
    )
    parser.add_argument("--cann", help="the CANN toolkit; else ASCEND_HOME_PATH")
    parser.add_argument(
        "--folder", type=Path, default=Path("build/op_package"), help="where to build, made anew"
    )
    parser.add_argument("--install_path", type=Path, default=Path("build/opp"), help="where to install")
    given = parser.parse_args(arguments)
    folder, install_path = given.folder.resolve(), given.install_path.resolve()
    try:
        cann = find_cann(given.cann)
        lay_out(folder, cann, given.chips)
        print(
            f"building for {' and '.join(given.chips)} with {cann}; output in {folder / 'build.log'} ...",
            flush=True,
        )
        vendor = build(folder, install_path)
    except (OpPackageError, OSError) as error:
        print(f"op_package: {error}", file=sys.stderr)
        return 1
    print(f"installed. Before Python starts:\nexport ASCEND_CUSTOM_OPP_PATH={vendor}:$ASCEND_CUSTOM_OPP_PATH")
    return 0


if __name__ == "__main__":
    sys.exit(main())
