# SPDX-License-Identifier: Apache-2.0
"""The road to the Ascend operators: layouts, gradients through them, the choice of back end, the op package.

No device and no CANN are at hand: the twin stands in for the one, a made-up toolkit for the other.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import mindspore as ms
import numpy as np
import pytest
from cases import case
from mindspore import Tensor, nn, ops
from test_twin_window_attention import arguments, every_soc, twin

import swinv2_kernels as sk
from swinv2_kernels import _native, ascend, backend, op_package
from swinv2_kernels.ascend import AscendAttention

CSRC = Path(__file__).resolve().parents[1] / "csrc/window_attention"
SOCS = ("ascend910", "ascend910b")

# Shifted, several cores a head and heads a core; blocks of 16 that are not whole; a window of several classes; every
# option off its default.
SHAPES = [case(2, (16, 24), 8, 4, 3), case(1, 14, 7, 3, 2), case(1, (24, 12), 12, 6, 5)]
SHAPES += [case(1, 16, 8, (3, 5), 2, valid_size=(13, 10), mask_value=-1.5, cosine=False)]


def attention(c, kernel):
    options = c.window_size, c.shift_size, c.valid_size or (-1, -1), c.mask_value, c.cosine
    return AscendAttention(kernel.soc.replace("ascend", "twin-"), *options)


# ---- the operators between plain ones ----


@every_soc
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_same_as_the_kernels_from_table_to_table(shape, kernel):
    (qkv, table, scale), how = arguments(shape)
    qkv = qkv.astype(np.float16)
    dout = np.random.default_rng(1).standard_normal(qkv.shape[:3] + (qkv.shape[3] // 3,)).astype(np.float16)
    out, stats, _ = twin.window_attention_forward(qkv, table, scale, soc=kernel.soc, **how)
    want = twin.window_attention_backward(qkv, table, scale, out, stats, dout, soc=kernel.soc, **how)

    class Weighed(nn.Cell):
        def __init__(self):
            super().__init__()
            self.attention = attention(shape, kernel)

        def construct(self, qkv, table, scale):
            return self.attention(qkv, table, scale)[0]

    inputs = [Tensor(x) for x in (qkv, table, scale)]
    got = attention(shape, kernel)(*inputs)
    np.testing.assert_array_equal(got[0].asnumpy(), out)
    np.testing.assert_array_equal(got[1].asnumpy(), stats)
    gradient = ops.GradOperation(get_all=True, sens_param=True)(Weighed())
    dqkv, dtable, dscale = (x.asnumpy() for x in gradient(*inputs, Tensor(dout)))
    np.testing.assert_array_equal(dqkv, want[0])
    for found, exact in ((dtable, want[1]), (dscale, want[2])):  # the same sums, in float32
        np.testing.assert_allclose(found, exact, rtol=0, atol=2e-6 * np.abs(exact).max())


def test_gradients_want_known_shapes():
    operator = sk.WindowAttention(8, backend="twin-910")
    given = case(1, (16, 8), 8, 0, 1).inputs()
    table, logit_scale = Tensor(given["bias_table"]), Tensor(given["logit_scale"])
    qkv = Tensor(given["qkv"]).astype(ms.float16)
    operator.set_inputs(Tensor(shape=[None, None, None, qkv.shape[3]], dtype=ms.float16), table, logit_scale)
    ms.set_context(mode=ms.GRAPH_MODE)
    want = sk.WindowAttention(8, backend="twin-910")(qkv, table, logit_scale).asnumpy()
    np.testing.assert_array_equal(operator(qkv, table, logit_scale).asnumpy(), want)

    class Gradient(nn.Cell):
        def __init__(self):
            super().__init__()
            self.of = ops.GradOperation(get_all=True)(operator)

        def construct(self, *inputs):
            return self.of(*inputs)

    gradient = Gradient()
    gradient.set_inputs(Tensor(shape=[None, 16, 8, qkv.shape[3]], dtype=ms.float16), table, logit_scale)
    with pytest.raises(
        RuntimeError, match="qkv: expected a shape that is known where gradients by the Ascend"
    ):
        gradient(qkv, table, logit_scale)


@pytest.mark.parametrize("unknown", ["channels", "heads"])
def test_channels_and_heads_have_to_be_known(unknown):
    ms.set_context(mode=ms.GRAPH_MODE)
    operator = sk.WindowAttention(8, backend="twin-910b")
    heads = None if unknown == "heads" else 1
    operator.set_inputs(
        Tensor(shape=[1, 16, 8, None if unknown == "channels" else 96], dtype=ms.float16),
        Tensor(shape=[heads, 15, 15], dtype=ms.float32),
        Tensor(shape=[heads], dtype=ms.float32),
    )
    given = case(1, (16, 8), 8, 0, 1).inputs()
    inputs = (
        Tensor(given["qkv"].astype(np.float16)),
        Tensor(given["bias_table"]),
        Tensor(given["logit_scale"]),
    )
    with pytest.raises(ValueError, match="qkv, bias_table: expected known channels and heads"):
        operator(*inputs)


# ---- layouts ----


@pytest.mark.parametrize("soc", SOCS)
@pytest.mark.parametrize("window", [(8, 8), (7, 7), (12, 12), (16, 16), (3, 10), (23, 23), (1, 1)])
def test_index_is_what_prepares_the_bias(window, soc):
    heads, channels = 2, 3 * 2 * 16
    table = np.random.default_rng(0).standard_normal((heads, 2 * window[0] - 1, 2 * window[1] - 1))
    table = table.astype(np.float32)
    index = _native.ascend.window_attention_bias_index(channels, heads, window, soc=soc, backward=False)
    assert index.dtype == np.int32 and index.min() >= 0 and index.max() <= table[0].size + 1
    want = twin.window_attention_prepared_bias(table, qkv_shape=(1, *window, channels), soc=soc)
    np.testing.assert_array_equal(ascend._laid_out(Tensor(table), Tensor(index)).asnumpy(), want)


@pytest.mark.parametrize("soc", SOCS)
def test_every_pair_has_one_place_in_the_backward(soc):
    window, tokens = (4, 6), 24
    index = _native.ascend.window_attention_bias_index(96, 2, window, soc=soc, backward=True)
    y, x = np.divmod(np.arange(tokens), window[1])
    pairs = (y[:, None] - y + 3) * 11 + x[:, None] - x + 5
    counts = np.bincount(index.reshape(-1), minlength=7 * 11 + 2)
    np.testing.assert_array_equal(counts[:77], np.bincount(pairs.reshape(-1), minlength=77))
    assert counts[78] == 0


@pytest.mark.parametrize("soc", SOCS)
@pytest.mark.parametrize(("batch", "heads"), [(1, 1), (3, 2), (2, 40), (50, 3)])
def test_slots_cover_the_units_of_every_head(soc, batch, heads):
    shape = (batch, 8, 16, 3 * heads * 16)
    slots = _native.ascend.window_attention_partial_heads(shape, heads, (8, 8), soc=soc)
    tiling = twin.window_attention_grad_tiling(shape, (heads, 15, 15), soc=soc)
    sides = 2 if soc == "ascend910b" else 1
    assert len(slots) == sides * tiling["cores"] * tiling["heads_a_core"]
    assert set(slots[slots >= 0]) == set(range(heads))
    # A core's slots: its heads in order, then unwritten ones.
    for core in slots.reshape(-1, tiling["heads_a_core"]):
        written = core[core >= 0]
        np.testing.assert_array_equal(written, np.arange(len(written)) + (written[0] if len(written) else 0))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda f: f.window_attention_bias_index(96, 2, (8, 8), soc="ascend310", backward=True),
            "soc: expected",
        ),
        (
            lambda f: f.window_attention_bias_index(97, 2, (8, 8), soc="ascend910", backward=True),
            "qkv: expected",
        ),
        (
            lambda f: f.window_attention_bias_index(96, 0, (8, 8), soc="ascend910", backward=True),
            "at least one head",
        ),
        (
            lambda f: f.window_attention_bias_index(96, 2, (0, 8), soc="ascend910", backward=False),
            "at least 1",
        ),
        (
            lambda f: f.window_attention_bias_index(96, 2, (40, 40), soc="ascend910", backward=False),
            "window_size: ",
        ),
        (
            lambda f: f.window_attention_partial_heads((1, 8, 9, 96), 2, (8, 8), soc="ascend910b"),
            "qkv: expected",
        ),
    ],
)
def test_bad_layouts(call, message):
    with pytest.raises(ValueError, match=message):
        call(_native.ascend)


# ---- the back end `ascend` ----


@pytest.fixture
def device(monkeypatch):
    """A 910B, as far as the choice of back end can see."""
    monkeypatch.setattr(backend, "device_target", lambda: "Ascend")
    monkeypatch.setattr(backend, "soc_of", lambda name: "ascend910b")
    monkeypatch.delenv("ASCEND_CUSTOM_OPP_PATH", raising=False)
    monkeypatch.delenv("ASCEND_OPP_PATH", raising=False)


def install(vendor, soc="ascend910b"):
    for file in (backend.OP_HEADER, f"op_impl/ai_core/tbe/config/{soc}/aic-{soc}-ops-info.json"):
        (vendor / file).parent.mkdir(parents=True)
        (vendor / file).touch()


def test_ascend_wants_a_device():
    with pytest.raises(
        sk.BackendUnavailable, match="device_target 'Ascend', which is 'CPU'; on a CPU use 'cpu'"
    ):
        backend.resolve_backend("ascend")


def test_ascend_wants_a_chip_with_kernels(device, monkeypatch):
    monkeypatch.setattr(backend, "soc_of", lambda name: "ascend310p")
    with pytest.raises(
        sk.BackendUnavailable, match="for ascend910 and ascend910b, and the device is ascend310p"
    ):
        backend.resolve_backend()


def test_ascend_wants_the_op_package(device, monkeypatch, tmp_path):
    with pytest.raises(sk.BackendUnavailable, match="ASCEND_OPP_PATH is not set; source CANN's set_env.sh"):
        backend.resolve_backend()
    monkeypatch.setenv("ASCEND_OPP_PATH", str(tmp_path))
    install(tmp_path / "of_another_chip", "ascend910")
    monkeypatch.setenv("ASCEND_CUSTOM_OPP_PATH", str(tmp_path / "of_another_chip"))
    with pytest.raises(sk.BackendUnavailable, match="no op package for ascend910b .*op_package ascend910b"):
        backend.resolve_backend()
    monkeypatch.setenv("ASCEND_CUSTOM_OPP_PATH", f"{tmp_path / 'nothing'}:{tmp_path / 'swinv2'}")
    install(tmp_path / "swinv2")
    assert backend.resolve_backend() == "ascend"
    assert "ascend" in backend.available_backends()
    assert backend.resolve_row_backend() == "reference"  # MindSpore's own operators
    assert backend.storage_dtypes("ascend") == ("float16", "bfloat16")


def test_ascend_finds_an_installed_vendor(device, monkeypatch, tmp_path):
    monkeypatch.setenv("ASCEND_OPP_PATH", str(tmp_path))
    install(tmp_path / "vendors" / "swinv2")
    with pytest.raises(sk.BackendUnavailable):  # MindSpore asks those that are listed
        backend.resolve_backend()
    (tmp_path / "vendors" / "config.ini").write_text("load_priority=other, swinv2\n")
    assert backend.resolve_backend() == "ascend"


def declared():
    """{operator: (inputs, outputs)} and the attributes, of op_host.cc."""
    text = (CSRC / "op_host.cc").read_text()
    tensors = re.findall(r'\{"(\w+)", k(Storage|Float32)\}', text)
    attributes = re.findall(r'op\.Attr\("(\w+)"\)\.AttrType\((\w+)\)\.(\w+)\(', text)
    forward, backward = "SwinV2WindowAttentionAscend", "SwinV2WindowAttentionGradAscend"
    assert f"OP_ADD({forward});" in text and f"OP_ADD({backward});" in text
    return {forward: (tensors[:3], tensors[3:5]), backward: (tensors[5:11], tensors[11:])}, attributes


def write_package(vendor, soc):
    """Header and JSON of each operator, as CANN's opbuild and parse_ini_to_json.py write them of op_host.cc."""
    operators, attributes = declared()
    types = {
        "ListInt": ("listInt", "const aclIntArray *"),
        "Float": ("float", "double "),
        "Bool": ("bool", "bool "),
    }
    info = {}
    for name, (inputs, outputs) in operators.items():
        entry = info[name] = {"attr": {"list": ",".join(attribute for attribute, _, _ in attributes)}}
        for side, several in (("input", inputs), ("output", outputs)):
            for i, (tensor, kind) in enumerate(several):
                dtype = "float16,bfloat16" if kind == "Storage" else "float32,float32"
                entry[f"{side}{i}"] = {
                    "name": tensor,
                    "dtype": dtype,
                    "format": "ND,ND",
                    "paramType": "required",
                }
        for attribute, needed, kind in attributes:
            entry[f"attr_{attribute}"] = {"type": types[kind][0], "paramType": needed.lower(), "value": "all"}
        parameters = [f"const aclTensor *{tensor}" for tensor, _ in inputs]
        parameters += [types[kind][1] + attribute for attribute, _, kind in attributes]
        parameters += [f"const aclTensor *{tensor}Out" for tensor, _ in outputs]
        parameters += ["uint64_t *workspaceSize", "aclOpExecutor **executor"]
        words = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower()
        header = vendor / "op_api/include" / f"aclnn_{words}.h"
        header.parent.mkdir(parents=True, exist_ok=True)
        header.write_text(f"aclnnStatus aclnn{name}GetWorkspaceSize(\n    {', '.join(parameters)});\n")
    config = vendor / f"op_impl/ai_core/tbe/config/{soc}/aic-{soc}-ops-info.json"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps(info))


def test_attributes_go_as_arguments_in_the_order_of_op_host(monkeypatch):
    _, attributes = declared()
    built = []
    monkeypatch.setattr(ascend, "custom_operator", lambda name, backend, outputs, **options: options)
    monkeypatch.setattr(ascend, "soc_of", lambda name: "ascend910")
    monkeypatch.setattr(ascend, "_with_arguments", lambda operator, values: built.append((operator, values)))
    AscendAttention("ascend", (8, 8), (4, 4), (-1, -1), -100.0, True)
    assert len(built) == 2
    for operator, values in built:
        assert values == tuple(operator[name] for name, _, _ in attributes)


def test_arguments_go_behind_tensors(mode):
    call = ascend._with_arguments(ops.select, (Tensor([1.0, 2.0]), Tensor([3.0, 4.0])))
    np.testing.assert_array_equal(call(Tensor([True, False])).asnumpy(), [1, 4])


@pytest.mark.parametrize("jit", [False, True], ids=["direct", "jit"])
def test_ascend_in_mindspore_as_far_as_the_kernel(mode, jit, monkeypatch, tmp_path):
    """What MindSpore makes of the op package's files, of the attributes as arguments and of the shapes; the kernel is
    the twin's, for the operators have the same names on a CPU."""
    utils = pytest.importorskip("mindspore.ops.operations._custom_ops_utils")  # since 2.8
    from mindspore.ops.operations import custom_ops

    write_package(tmp_path / "swinv2", "ascend910b")
    (tmp_path / "cann/include/acl").mkdir(parents=True)
    (tmp_path / "cann/include/acl/acl_base.h").write_text("#include <cstdint>\ntypedef int aclDataType;\n")
    monkeypatch.setenv("ASCEND_OPP_PATH", str(tmp_path / "cann/opp"))
    monkeypatch.setenv("ASCEND_CUSTOM_OPP_PATH", str(tmp_path / "swinv2"))
    monkeypatch.setenv("MS_COMPILER_CACHE_PATH", str(tmp_path / "cache"))

    class Chip:
        get_instance = get_ascend_soc_version = None

    Chip.get_instance = staticmethod(lambda: Chip)
    Chip.get_ascend_soc_version = staticmethod(lambda: "ascend910b")
    real = custom_ops.context.get_context
    monkeypatch.setattr(utils, "MSContext", Chip)
    monkeypatch.setattr(ascend, "soc_of", lambda name: "ascend910b")
    options = (8, 8), (3, 5), (13, 10), -1.5, False
    with monkeypatch.context() as on_ascend:
        on_ascend.setattr(
            custom_ops.context, "get_context", lambda key: "Ascend" if key == "device_target" else real(key)
        )
        cell = AscendAttention("ascend", *options)
    (qkv, table, scale), _ = arguments(SHAPES[3])
    inputs = [Tensor(x) for x in (qkv, table, scale)]

    def results(attention):
        def total(qkv, table, scale):
            return attention(qkv, table, scale)[0].astype(ms.float32).sum()

        gradient = ms.grad(total, (0, 1, 2))
        if jit:
            total, gradient = ms.jit(total), ms.jit(gradient)
        return [x.asnumpy() for x in (total(*inputs), *gradient(*inputs))]

    for got, want in zip(results(cell), results(AscendAttention("twin-910b", *options))):
        np.testing.assert_array_equal(got, want)


# ---- the op package ----

BUILD = """\
mkdir -p build_out
cat > build_out/custom.run <<'RUN'
for a in "$@"; do case $a in --install-path=*) to=${a#*=};; esac; done
mkdir -p $to/vendors/swinv2/op_api/include
touch $to/vendors/swinv2/op_api/include/aclnn_swin_v2_window_attention_ascend.h
RUN
"""


@pytest.fixture
def cann(tmp_path):
    """What op_package asks of CANN's template; its build.sh makes a package that installs one header."""
    template = tmp_path / "cann" / op_package.TEMPLATE
    for name, (line, _) in op_package.EDITS.items():
        (template / name).parent.mkdir(parents=True, exist_ok=True)
        (template / name).write_text(f"# before\n{line}\n# after\n")
    names = (
        "ASCEND_COMPUTE_UNIT",
        "ASCEND_CANN_PACKAGE_PATH",
        "ASCEND_PYTHON_EXECUTABLE",
        "ENABLE_SOURCE_PACKAGE",
    )
    variables = ", ".join(f'"{name}": {{"type": "STRING", "value": ""}}' for name in (*names, "vendor_name"))
    (template / "CMakePresets.json").write_text(
        f'{{"configurePresets": [{{"cacheVariables": {{{variables}}}}}]}}'
    )
    (template / "build.sh").write_text(BUILD)
    (template / "framework").mkdir()
    return tmp_path / "cann"


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Where to build: pytest names its folders after tests, and CANN's scripts trip over some names."""
    monkeypatch.chdir(tmp_path)
    return ["--folder", str(tmp_path / "project"), "--install_path", str(tmp_path / "opp")]


def test_builds_with_canns_template(cann, place, tmp_path, capsys):
    assert op_package.main(["ascend910", "ascend910b", "--cann", str(cann), *place]) == 0
    vendor = tmp_path / "opp" / "vendors" / "swinv2"
    assert f"export ASCEND_CUSTOM_OPP_PATH={vendor}:" in capsys.readouterr().out
    project = tmp_path / "project"
    assert "-std=c++17" in (project / "CMakeLists.txt").read_text()
    assert '"ascend910;ascend910b"' in (project / "CMakePresets.json").read_text()
    assert f'"{sys.executable}"' in (project / "CMakePresets.json").read_text()
    assert not (project / "framework").exists()
    # Every header that the staged sources name is there.
    for source in [*project.glob("op_host/*.cc"), *project.glob("op_kernel/*.cpp")]:
        pending, seen = [source], set()
        while pending:
            for name in re.findall(
                r'#include "((?:core|window_attention)/[^"]+)"', pending.pop().read_text()
            ):
                if name not in seen:
                    seen.add(name)
                    pending.append(project / "op_kernel" / name)
    assert op_package.main(["ascend910b", "--cann", str(cann), *place]) == 0  # again, over its own


def test_the_sources_are_all_there(cann, tmp_path):
    """What op_host.cc calls is defined in the others, as C++17 with the staged headers."""
    op_package.lay_out(tmp_path / "project", cann, ["ascend910b"])
    sources = [path for path in (tmp_path / "project/op_host").glob("*.cc") if path.name != "op_host.cc"]
    command = ["c++", "-std=c++17", "-O0", "-fPIC", "-shared", "-Wl,--no-undefined", "-I"]
    command += [str(tmp_path / "project/op_kernel"), "-o", str(tmp_path / "host.so"), *map(str, sources)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]


def test_takes_a_read_only_toolkit(cann, place, tmp_path):
    for path in (cann / op_package.TEMPLATE).rglob("*"):
        path.chmod(0o550 if path.is_dir() else 0o440)
    op_package.lay_out(tmp_path / "project", cann, ["ascend910b"])
    modes = {oct(path.stat().st_mode & 0o777) for path in (tmp_path / "project").rglob("*") if path.is_dir()}
    assert modes == {"0o755"}


def test_needs_cann(place, monkeypatch, capsys, tmp_path):
    for name in ("ASCEND_HOME_PATH", "ASCEND_TOOLKIT_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert op_package.main(["ascend910b", *place]) == 1
    assert "--cann: expected a CANN toolkit with tools/op_project_templates" in capsys.readouterr().err
    assert op_package.main(["ascend910b", "--cann", str(tmp_path), *place]) == 1
    assert f"got {tmp_path};" in capsys.readouterr().err


def test_leaves_other_folders_alone(cann, place, tmp_path, capsys):
    (tmp_path / "project").mkdir()
    (tmp_path / "project" / "mine").touch()
    assert op_package.main(["ascend910b", "--cann", str(cann), *place]) == 1
    assert "--folder: expected an empty folder or one of an earlier build" in capsys.readouterr().err
    assert (tmp_path / "project" / "mine").exists()


def test_says_what_another_template_lacks(cann, place, capsys):
    (cann / op_package.TEMPLATE / "op_host/CMakeLists.txt").write_text("ascendc_library()")
    assert op_package.main(["ascend910b", "--cann", str(cann), *place]) == 1
    assert "op_host/CMakeLists.txt, as 8.1 has it" in capsys.readouterr().err


def test_says_how_the_build_failed(cann, place, tmp_path, capsys):
    (cann / op_package.TEMPLATE / "build.sh").write_text("echo no bisheng here; exit 3")
    assert op_package.main(["ascend910b", "--cann", str(cann), *place]) == 1
    said = capsys.readouterr().err
    assert "bash build.sh failed (3)" in said and "no bisheng here" in said and "build.log" in said
    (cann / op_package.TEMPLATE / "build.sh").write_text("true")
    assert op_package.main(["ascend910b", "--cann", str(cann), *place]) == 1
    assert "made no .run file" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["Ascend910", "bathroom", "a b", "a,b"])
def test_refuses_folders_that_cann_trips_over(cann, tmp_path, name, capsys):
    assert op_package.main(["ascend910b", "--cann", str(cann), "--folder", str(tmp_path / name)]) == 1
    assert "--folder: expected a path without" in capsys.readouterr().err
    assert not os.path.exists(tmp_path / name)
