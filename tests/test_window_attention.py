# SPDX-License-Identifier: Apache-2.0
"""Parity of every back end with the float64 oracle and with the official results, forward and backward."""

import mindspore as ms
import numpy as np
import oracle
import pytest
from cases import CASES, GOLDENS, case
from mindspore import Tensor, nn, ops
from oracle import Expected

import swinv2_kernels as sk
from swinv2_kernels.custom import custom_operator

BACKENDS = ("cpu", "reference")


def tensor(array, dtype="float32"):
    if dtype == "bfloat16":
        return Tensor(np.asarray(array, np.float32)).astype(ms.bfloat16)
    return Tensor(np.asarray(array).astype(dtype))


def numpy(x):
    return (x.astype(ms.float32) if x.dtype == ms.bfloat16 else x).asnumpy()


class Operator(nn.Cell):
    def __init__(self, scale=None, backend=None, **how):
        super().__init__()
        self.attention = sk.WindowAttention(scale=scale, backend=backend, **how)

    def construct(self, qkv, bias_table, logit_scale=None):
        return self.attention(qkv, bias_table, logit_scale)


def forward_backward(operator, dout, *inputs):
    """out, then the gradients of the inputs for the cotangent dout."""
    gradient = ops.GradOperation(get_all=True, sens_param=True)(operator)
    return [numpy(x) for x in (operator(*inputs), *gradient(*inputs, dout))]


def check(case, dtype, backend):
    given = case.inputs()
    logit_scale = given["logit_scale"] if case.cosine else None
    scale = None if case.cosine else case.head_dim**-0.5
    factor = oracle.effective_scale(logit_scale) if case.cosine else np.full(case.heads, scale)
    expected = Expected(
        dtype, given["qkv"], given["bias_table"], factor, given["dout"], cosine=case.cosine, **case.how
    )
    inputs = [tensor(expected.qkv, dtype), Tensor(given["bias_table"])]
    inputs += [Tensor(logit_scale)] if case.cosine else []
    operator = Operator(scale=scale, backend=backend, **case.how)
    out, dqkv, dbias_table, *dlogit_scale = forward_backward(operator, tensor(expected.dout, dtype), *inputs)
    expected.check(out=out, dqkv=dqkv, dbias_table=dbias_table)
    for gradient in dlogit_scale:
        expected.check(dscale=gradient / factor)


@pytest.mark.parametrize("dtype", oracle.DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_parity(case, dtype):
    check(case, dtype, "cpu")  # test_reference holds the reference


TWINS = [("twin-910", "float16"), ("twin-910b", "float16"), ("twin-910b", "bfloat16")]


@pytest.mark.parametrize(("backend", "dtype"), TWINS)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_parity_of_the_twins(case, backend, dtype):
    """The Ascend kernels; test_twin_window_attention and its _grad have what the twin itself reports."""
    if case.head_dim not in (16, 32, 64):
        with pytest.raises(ValueError, match=f"qkv: expected head_dim 16, 32.*, got {case.head_dim}"):
            check(case, dtype, backend)
    elif backend == "twin-910" and case.head_dim == 64 and case.window_size == (24, 24):
        with pytest.raises(ValueError, match="window_size: a window of 24 x 24 at head_dim 64 does not fit"):
            check(case, dtype, backend)
    else:
        check(case, dtype, backend)


@pytest.mark.parametrize(
    ("backend", "dtypes"), [("twin-910", "float16"), ("twin-910b", "float16 or bfloat16")]
)
def test_what_the_twins_lack_is_an_error(backend, dtypes):
    given = case(1, 16, 8, 4, 2).inputs()
    qkv, table, logit_scale = (Tensor(given[name]) for name in ("qkv", "bias_table", "logit_scale"))
    operator = Operator(backend=backend, window_size=8, shift_size=4)
    with pytest.raises(RuntimeError, match=f"qkv: expected {dtypes} on ascend.* cast qkv to float16"):
        operator(qkv, table, logit_scale)


@pytest.mark.parametrize("golden", GOLDENS, ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_official_results(backend, golden):
    inputs = golden.dout, golden.qkv, golden.bias_table, golden.logit_scale
    golden.check(*forward_backward(Operator(backend=backend, **golden.how), *map(Tensor, inputs)))


# ---- the ways MindSpore runs it ----

SHAPE = case(2, 16, 8, 4, 3)


@pytest.fixture(scope="module")
def given():
    return {name: Tensor(value) for name, value in SHAPE.inputs().items()}


@pytest.fixture(scope="module")
def want(given):
    return forward_backward(
        Operator(**SHAPE.how), given["dout"], given["qkv"], given["bias_table"], given["logit_scale"]
    )


def test_modes_agree_bitwise(mode, given, want):
    operator = Operator(**SHAPE.how)
    got = forward_backward(operator, given["dout"], given["qkv"], given["bias_table"], given["logit_scale"])
    for a, b in zip(got, want):
        np.testing.assert_array_equal(a, b)


def test_dynamic_batch_and_size(mode, given, want):
    operator = Operator(**SHAPE.how)
    table, logit_scale = given["bias_table"], given["logit_scale"]
    operator.set_inputs(
        Tensor(shape=[None, None, None, given["qkv"].shape[3]], dtype=ms.float32), table, logit_scale
    )
    np.testing.assert_array_equal(operator(given["qkv"], table, logit_scale).asnumpy(), want[0])
    one = operator(given["qkv"][:1], table, logit_scale)
    np.testing.assert_array_equal(one.asnumpy(), want[0][:1])
    with pytest.raises((ValueError, RuntimeError), match="multiples? of"):
        operator(given["qkv"][:, :13], table, logit_scale).asnumpy()


def test_function_in_jit_with_gradient(given, want):
    def loss(qkv, bias_table, logit_scale, dout):
        out = sk.window_attention(qkv, bias_table, logit_scale, window_size=8, shift_size=4)
        return (out * dout).sum()

    @ms.jit
    def gradients(*args):
        return ms.grad(loss, (0, 1, 2))(*args)

    got = gradients(given["qkv"], given["bias_table"], given["logit_scale"], given["dout"])
    for a, b in zip(got, want[1:]):
        np.testing.assert_array_equal(a.asnumpy(), b)


def test_logit_scale_of_the_checkpoint_shape(given, want):
    logit_scale = given["logit_scale"].reshape(-1, 1, 1)
    out, *gradients = forward_backward(
        Operator(**SHAPE.how), given["dout"], given["qkv"], given["bias_table"], logit_scale
    )
    np.testing.assert_array_equal(out, want[0])
    assert gradients[2].shape == (3, 1, 1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_logit_scale_is_clamped(given, backend):
    raw = np.array([4.0, 4.7, 80.0], np.float32)  # ln 100 = 4.605
    inputs = given["qkv"], given["bias_table"]
    out, *gradients = forward_backward(
        Operator(backend=backend, **SHAPE.how), given["dout"], *inputs, Tensor(raw)
    )
    expected = Expected(
        "float32",
        *(numpy(x) for x in inputs),
        oracle.effective_scale(raw),
        numpy(given["dout"]),
        **SHAPE.how,
    )
    expected.check(out=out, dqkv=gradients[0], dbias_table=gradients[1])
    assert gradients[2][0] != 0
    np.testing.assert_array_equal(gradients[2][1:], 0)


@pytest.mark.parametrize("backend", BACKENDS)
def test_logit_scale_at_the_limit_and_nan(given, backend):
    at = [np.float32(np.log(100)), np.float32(np.nan), 1.0]
    inputs = given["qkv"], given["bias_table"], Tensor(np.array(at, np.float32))
    out, *gradients = forward_backward(Operator(backend=backend, **SHAPE.how), given["dout"], *inputs)
    heads = out.reshape(*out.shape[:3], 3, -1)
    assert np.isnan(heads[..., 1, :]).all() and np.isfinite(heads[..., ::2, :]).all()
    assert gradients[2][0] != 0 and np.isnan(gradients[2][1]) and np.isfinite(gradients[2][2])


def test_logit_scale_with_a_dynamic_shape(given):
    operator = Operator(**SHAPE.how)
    table, channels = given["bias_table"], given["qkv"].shape[3]
    for shape in ((3, 2), (3, 1), (1, 3)):
        raw = Tensor(np.zeros(shape, np.float32))
        operator.set_inputs(Tensor(shape=[None, None, None, channels], dtype=ms.float32), table, raw)
        with pytest.raises(
            (ValueError, RuntimeError), match=r"logit_scale: expected shape \(3,\) or \(3, 1, 1\)"
        ):
            operator(given["qkv"], table, raw).asnumpy()


@pytest.mark.parametrize("window", [7, (4, 8)])
def test_window_of_another_table_with_a_dynamic_shape(given, window):
    """What the table says of the window must be what was asked for: qkv alone fits many."""
    operator = Operator(window_size=window)
    inputs = given["qkv"], given["bias_table"], given["logit_scale"]
    operator.set_inputs(Tensor(shape=[None, *given["qkv"].shape[1:]], dtype=ms.float32), *inputs[1:])
    with pytest.raises((ValueError, RuntimeError), match=r"bias_table: expected shape .* for window_size"):
        operator(*inputs).asnumpy()


def test_under_to_float(given, mode):
    """MindSpore casts an operator's inputs behind Python's checks; the text comes through all the same."""
    operator = Operator(**SHAPE.how).to_float(ms.float16)
    with pytest.raises(
        (TypeError, ValueError, RuntimeError), match="bias_table: expected float32.* got [Ff]loat16"
    ):
        operator(given["qkv"], given["bias_table"], given["logit_scale"]).asnumpy()


@pytest.mark.parametrize("name, value", [("NUM_THREADS", "abc"), ("NUM_THREADS", "-1"), ("ISA", "sse9")])
def test_a_bad_environment(monkeypatch, name, value):
    monkeypatch.setenv(f"SWINV2_KERNELS_{name}", value)
    with pytest.raises(ValueError, match=f"SWINV2_KERNELS_{name}: expected .* got '{value}'"):
        custom_operator("SwinV2BiasGelu", "cpu", 1, tanh=False)


def test_numbers_of_numpy(given, want):
    how = {"window_size": np.int64(8), "shift_size": (np.int32(4), 4), "mask_value": np.float32(-100)}
    out = Operator(**how)(given["qkv"], given["bias_table"], given["logit_scale"])
    np.testing.assert_array_equal(out.asnumpy(), want[0])


def test_a_graph_of_an_older_version(given):
    """Its operator took exp(min(logit_scale, ln 100)), and has no attribute of that name."""
    how = {"shift_size": [4, 4], "valid_size": [-1, -1], "mask_value": -100.0, "cosine": True}
    operator = custom_operator("SwinV2WindowAttention", "cpu", 2, **how)
    with pytest.raises((ValueError, RuntimeError), match="older swinv2_kernels; export it again"):
        operator(given["qkv"], given["bias_table"], given["logit_scale"])[0].asnumpy()


def test_mindir_round_trip(given, want, tmp_path):
    inputs = given["qkv"], given["bias_table"], given["logit_scale"]
    ms.export(Operator(**SHAPE.how), *inputs, file_name=str(tmp_path / "op"), file_format="MINDIR")
    loaded = nn.GraphCell(ms.load(str(tmp_path / "op.mindir")))
    np.testing.assert_array_equal(loaded(*inputs).asnumpy(), want[0])


# ---- which back end runs ----


def test_backend_choice_and_its_order(monkeypatch, given):
    assert sk.resolve_backend() == "cpu"
    monkeypatch.setenv("SWINV2_KERNELS_BACKEND", "reference")
    assert sk.resolve_backend() == "reference"
    with sk.use_backend("cpu"):
        assert sk.resolve_backend() == "cpu"
        assert sk.resolve_backend("reference") == "reference"
        assert sk.WindowAttention(8).backend == "cpu"
    assert sk.WindowAttention(8).backend == "reference"


def test_backend_choice_is_logged_once(caplog):
    from swinv2_kernels import backend

    backend._log_once.cache_clear()
    with caplog.at_level("INFO", "swinv2_kernels"):
        for _ in range(3):
            sk.resolve_backend("reference")
    assert [record.getMessage() for record in caplog.records] == ["back end reference (chosen by argument)"]


def test_absent_backend_is_an_error(monkeypatch):
    with pytest.raises(RuntimeError, match="back end 'ascend' cannot run"):
        sk.WindowAttention(8, backend="ascend")
    with pytest.raises(ValueError, match="backend: expected one of cpu, .* got 'gpu'"):
        sk.WindowAttention(8, backend="gpu")
    with pytest.raises(ValueError, match="use_backend: expected one of"), sk.use_backend("CPU"):
        pass
    monkeypatch.setenv("SWINV2_KERNELS_BACKEND", "npu")
    with pytest.raises(ValueError, match="SWINV2_KERNELS_BACKEND: expected one of"):
        sk.WindowAttention(8)


# ---- bad input ----


def zeros(*shape, dtype=ms.float32):
    return ops.zeros(shape, dtype)


GOOD = {"qkv": (1, 8, 8, 96), "bias_table": (1, 15, 15), "logit_scale": (1,)}
BAD = {
    "rank": (
        {"qkv": zeros(8, 8, 96)},
        {},
        ValueError,
        r"qkv: expected 4 dimensions .* got shape \(8, 8, 96\)",
    ),
    "empty-batch": (
        {"qkv": zeros(0, 8, 8, 96)},
        {},
        ValueError,
        r"qkv: .* at least 1, got shape \(0, 8, 8, 96\)",
    ),
    "channels": (
        {"qkv": zeros(1, 8, 8, 97)},
        {},
        ValueError,
        r"qkv: .* divisible by 3\*heads = 3 .* 97 channels",
    ),
    "size": (
        {"qkv": zeros(1, 12, 8, 96)},
        {},
        ValueError,
        r"qkv: .* multiples of window_size \(8, 8\), got \(12, 8\)",
    ),
    "qkv-dtype": (
        {"qkv": zeros(1, 8, 8, 96, dtype=ms.float64)},
        {},
        TypeError,
        "qkv: expected float32.* Float64",
    ),
    "qkv-int": ({"qkv": zeros(1, 8, 8, 96, dtype=ms.int32)}, {}, TypeError, "qkv: expected float32.* Int32"),
    "table-shape": (
        {"bias_table": zeros(1, 64, 64)},
        {},
        ValueError,
        r"bias_table: .*\(heads, 15, 15\).*\(1, 64, 64\)",
    ),
    "table-rank": ({"bias_table": zeros(225, 1)}, {}, ValueError, r"bias_table: .* got \(225, 1\)"),
    "table-dtype": (
        {"bias_table": zeros(1, 15, 15, dtype=ms.float16)},
        {},
        TypeError,
        "bias_table: .* Float16; cast",
    ),
    "scale-shape": (
        {"logit_scale": zeros(2)},
        {},
        ValueError,
        r"logit_scale: expected shape \(1,\) or .* got \(2,\)",
    ),
    "scale-dtype": (
        {"logit_scale": zeros(1, dtype=ms.float16)},
        {},
        TypeError,
        "logit_scale: .* Float16; cast",
    ),
    "neither": ({"logit_scale": None}, {}, ValueError, "logit_scale: expected a tensor"),
    "both": ({}, {"scale": 0.5}, ValueError, "scale: expected None together with logit_scale"),
    "scale": (
        {"logit_scale": None},
        {"scale": np.inf},
        ValueError,
        "scale: expected a number that is finite in float32, got inf",
    ),
    "scale-type": ({"logit_scale": None}, {"scale": "1"}, TypeError, "scale: expected a float, got '1'"),
    "scale-range": (
        {"logit_scale": None},
        {"scale": 1e39},
        ValueError,
        "scale: .* finite in float32, got 1e",
    ),
    "scale-int": (
        {"logit_scale": None},
        {"scale": 10**400},
        ValueError,
        "scale: .* finite in float32, got 1000",
    ),
    "window": ({}, {"window_size": 0}, ValueError, r"window_size: expected at least 1 .* got \(0, 0\)"),
    "window-type": ({}, {"window_size": 8.0}, TypeError, "window_size: expected an int or a pair of ints"),
    "window-length": ({}, {"window_size": (8, 8, 8)}, TypeError, "window_size: expected an int or a pair"),
    "shift": (
        {},
        {"shift_size": 8},
        ValueError,
        r"shift_size: expected 0 <= shift < window_size .* got \(8, 8\)",
    ),
    "shift-negative": ({}, {"shift_size": (0, -1)}, ValueError, r"shift_size: .* got \(0, -1\)"),
    "valid-large": (
        {},
        {"valid_size": (9, 8)},
        ValueError,
        r"valid_size: expected at most .*\(8, 8\), got \(9, 8\)",
    ),
    "valid-zero": (
        {},
        {"valid_size": (0, 8)},
        ValueError,
        r"valid_size: expected at least 1 .* got \(0, 8\)",
    ),
    "mask": ({}, {"mask_value": 1.0}, ValueError, "mask_value: expected a number <= 0 or -inf, got 1.0"),
    "mask-nan": (
        {},
        {"mask_value": np.nan},
        ValueError,
        "mask_value: expected a number <= 0 or -inf, got nan",
    ),
    "mask-type": ({}, {"mask_value": None}, TypeError, "mask_value: expected a float, got None"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name, mode):
    tensors, options, error, text = BAD[name]
    inputs = {key: zeros(*shape) for key, shape in GOOD.items()} | tensors
    options = {"window_size": 8} | options
    with pytest.raises(error, match=text):
        sk.window_attention(**inputs, **options)


# ---- isolation and determinism ----


@pytest.mark.parametrize("where", [0, 96, 192], ids=["q", "k", "v"])
def test_nan_stays_in_its_window(given, want, where):
    qkv = given["qkv"].asnumpy().copy()
    qkv[1, 2, 3, where] = np.nan
    out, dqkv, *_ = forward_backward(
        Operator(window_size=8), given["dout"], Tensor(qkv), given["bias_table"], given["logit_scale"]
    )
    clean = forward_backward(
        Operator(window_size=8), given["dout"], given["qkv"], given["bias_table"], given["logit_scale"]
    )
    for got, expected in ((out, clean[0]), (dqkv, clean[1])):
        assert np.isnan(got[1, :8, :8]).any()
        got[1, :8, :8] = expected[1, :8, :8]
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_padding_is_never_read(given, value):
    clean = given["qkv"].asnumpy().copy()
    clean[:, 11:] = clean[:, :, 13:] = 0
    dirty = clean.copy()
    dirty[:, 11:] = dirty[:, :, 13:] = value
    operator = Operator(window_size=8, shift_size=4, valid_size=(11, 13))
    rest = given["bias_table"], given["logit_scale"]
    for a, b in zip(
        forward_backward(operator, given["dout"], Tensor(dirty), *rest),
        forward_backward(operator, given["dout"], Tensor(clean), *rest),
    ):
        np.testing.assert_array_equal(a, b)
    out, dqkv, *_ = forward_backward(operator, given["dout"], Tensor(dirty), *rest)
    for image in (out, dqkv):
        assert not image[:, 11:].any() and not image[:, :, 13:].any()


def test_same_bits_every_run(given, want):
    operator = Operator(**SHAPE.how)
    for _ in range(5):
        got = forward_backward(
            operator, given["dout"], given["qkv"], given["bias_table"], given["logit_scale"]
        )
        for a, b in zip(got, want):
            np.testing.assert_array_equal(a, b)
