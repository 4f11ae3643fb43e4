# SPDX-License-Identifier: Apache-2.0
"""The kernels on NumPy arrays: every instruction set of this CPU, any number of threads, native errors."""

import os
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import oracle
import pytest
from cases import CASES, GOLDENS, case
from oracle import Expected

from swinv2_kernels import _native


def stored(array, dtype):
    return oracle.bfloat16_bits(array) if dtype == "bfloat16" else np.asarray(array, dtype)


def values(array):
    return oracle.bfloat16_from_bits(array) if array.dtype == np.uint16 else array


def run(case, dtype="float32", inputs=None):
    """(expected, dict(out, dqkv, dbias_table, dscale))"""
    given = inputs or case.inputs()
    scale = oracle.effective_scale(given["logit_scale"]).astype(np.float32)
    expected = Expected(
        dtype, given["qkv"], given["bias_table"], scale, given["dout"], cosine=case.cosine, **case.how
    )
    how = {"shift_size": case.shift_size, "valid_size": case.valid_size, "mask_value": case.mask_value}
    how["cosine"] = case.cosine
    qkv, dout = stored(expected.qkv, dtype), stored(expected.dout, dtype)
    out, stats = _native.window_attention_forward(qkv, given["bias_table"], scale, **how)
    gradients = _native.window_attention_backward(qkv, given["bias_table"], scale, out, stats, dout, **how)
    names = ("out", "dqkv", "dbias_table", "dscale")
    return expected, dict(zip(names, map(values, (out, *gradients))))


@pytest.mark.parametrize("dtype", oracle.DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("isa", _native.isas())
def test_parity(isa, case, dtype):
    _native.set_isa(isa)
    expected, actual = run(case, dtype)
    expected.check(**actual)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("isa", _native.isas())
def test_products_of_huge_vectors_do_not_overflow(isa, dtype):
    _native.set_isa(isa)
    shape = case(1, 16, 8, 4, 2)
    inputs = shape.inputs()
    expected, _ = run(shape, dtype, inputs)
    inputs["qkv"] = inputs["qkv"].copy()
    inputs["qkv"][:, :, :4, :128] *= 2.0**121  # q and k: the cosines stay what they were
    actual = run(shape, dtype, inputs)[1]
    del actual["dqkv"]
    expected.check(**actual)


@pytest.mark.parametrize("shift", [0, 4])
@pytest.mark.parametrize("window", [8, 12])
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("isa", _native.isas())
def test_exponentials_without_a_maximum(isa, dtype, window, shift):
    """Of 16 bits, p = exp2(s - base) up to 2^96. Values of 2^100 overflow with it: they are taken again."""
    _native.set_isa(isa)
    shape = case(1, 2 * window, window, shift, 3)
    inputs = shape.inputs()
    inputs["bias_table"] = inputs["bias_table"].copy()
    ranges = []
    for table, wide in zip(inputs["bias_table"], (0, 30, 80)):
        middle = table[window - 1, window - 1]
        table += wide
        table[window - 1, window - 1] = middle
        ranges.append((20 + table.max() - middle) / np.log(2))
    assert ranges[0] < 50 and 80 < ranges[1] < 95 and ranges[2] > 100  # the last is too wide for it
    inputs["logit_scale"] = np.full(3, np.log(10), np.float32)
    expected, actual = run(shape, dtype, inputs)
    expected.check(**actual)
    if dtype == "bfloat16":
        values = inputs["qkv"] = inputs["qkv"].copy()
        values[:, :3, :, 192:] *= 2.0**100
        expected, actual = run(shape, dtype, inputs)
        expected.check(out=actual["out"])


@pytest.mark.parametrize("isa", _native.isas())
def test_a_long_query_leaves_the_others_as_they_were(isa):
    """Forward and backward may share out queries to vectors differently: how one is scaled is its own."""
    _native.set_isa(isa)
    given = case(1, 16, 8, 4, 2).inputs()
    rest = given["bias_table"], oracle.effective_scale(given["logit_scale"]).astype(np.float32)
    want, _ = _native.window_attention_forward(given["qkv"], *rest, shift_size=(4, 4))
    qkv = given["qkv"].copy()
    qkv[0, 9, 9, :64] *= 1e7
    got, _ = _native.window_attention_forward(qkv, *rest, shift_size=(4, 4))
    np.testing.assert_allclose(got[0, 9, 9], want[0, 9, 9], rtol=1e-4, atol=1e-5)
    got[0, 9, 9] = want[0, 9, 9]
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("golden", GOLDENS, ids=str)
@pytest.mark.parametrize("isa", _native.isas())
def test_official_results(isa, golden):
    _native.set_isa(isa)
    inputs, shift = (golden.qkv, golden.bias_table, golden.scale), golden.how["shift_size"]
    out, stats = _native.window_attention_forward(*inputs, shift_size=shift)
    *gradients, dscale = _native.window_attention_backward(*inputs, out, stats, golden.dout, shift_size=shift)
    golden.check(out, *gradients, oracle.dlogit_scale(golden.logit_scale, dscale))


@pytest.mark.parametrize("isa", _native.isas())
def test_same_bits_for_any_number_of_threads(isa):
    _native.set_isa(isa)
    shape = case(3, 32, 8, 4, 3, valid_size=(29, 32))
    results = []
    for threads in (1, 2, 3, 5):
        _native.set_num_threads(threads)
        assert _native.num_threads() == threads
        results.append(run(shape)[1])
    for other in results[1:]:
        for name, value in other.items():
            np.testing.assert_array_equal(value, results[0][name], err_msg=name)


def some_gelu(rows):
    x = np.linspace(-3, 3, rows * 96, dtype=np.float32).reshape(rows, 96)
    return _native.bias_gelu_forward(x, np.zeros(96, np.float32))


def test_threads_are_the_cores_whatever_mindspore_sets():
    import mindspore as ms

    tensor = ms.Tensor([1.0])
    (tensor + tensor).asnumpy()  # sets OMP_NUM_THREADS=1
    assert _native.num_threads() == len(os.sched_getaffinity(0))


def test_callers_share_the_threads():
    _native.set_num_threads(3)
    expected = [some_gelu(rows) for rows in (1, 700, 3000)]
    with ThreadPoolExecutor(6) as callers:
        for rows, actual in [
            (i, callers.submit(some_gelu, rows)) for _ in range(50) for i, rows in enumerate((1, 700, 3000))
        ]:
            np.testing.assert_array_equal(actual.result(timeout=60), expected[rows])


def holds_in_a_child(claim):
    child = os.fork()
    if child == 0:  # pytest must not run on in the child
        code = 2
        try:
            code = 0 if claim() else 1
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1] == 0


def test_a_forked_child_has_threads_of_its_own():
    _native.set_num_threads(2)
    expected = some_gelu(3000)
    assert holds_in_a_child(lambda: np.array_equal(some_gelu(3000), expected))


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core")
def test_a_helper_keeps_to_the_cores_it_may_use():
    """It leaves its caller's core for those that the caller may use by then, unless it was bound from outside."""
    first, second = sorted(os.sched_getaffinity(0))[:2]

    def claim():
        os.sched_setaffinity(0, {first})
        some_gelu(3000)
        (helper,) = {int(task) for task in os.listdir("/proc/self/task")} - {os.getpid()}

        def leaves_first(callers):
            for _ in range(200):
                os.sched_setaffinity(0, {first})
                os.sched_setaffinity(0, callers)
                some_gelu(3000)
                if os.sched_getaffinity(helper) != {first}:
                    return True
            return False

        left = [leaves_first({first, second})]  # a caller that was bound as it made the helper
        for callers in ({first}, {first, second}):
            os.sched_setaffinity(helper, {first})
            left.append(leaves_first(callers))
        return left == [True, False, False]

    _native.set_num_threads(2)
    assert holds_in_a_child(claim)


def special(kind, shape):
    given = shape.inputs()
    qkv = given["qkv"]
    if kind == "zero-vectors":
        qkv[:, ::3] = 0
    elif kind == "all-zero":
        qkv[:] = 0
    elif kind == "constant-image":
        qkv[:] = 0.37
    elif kind == "large":
        qkv *= 1e18
    elif kind == "overflowing-square":
        qkv[..., : 2 * qkv.shape[-1] // 3] *= 1e25  # |q|^2 is beyond float32
    elif kind == "tiny":
        qkv *= 1e-11  # |q| around 1e-10, its floor is 1e-12
    elif kind == "below-floor":
        qkv[..., : 2 * qkv.shape[-1] // 3] *= 1e-14
        given["dout"] *= 1e-9
    elif kind == "subnormal":
        qkv *= 1e-40
        given["dout"] *= 1e-9
    elif kind in ("tiny-keys-large-values", "vanishing-keys-and-values"):
        channels = qkv.shape[-1] // 3
        qkv[..., channels : 2 * channels] *= 1e-11 if "large" in kind else 1e-30
        qkv[..., 2 * channels :] *= 1e18 if "large" in kind else 1e-13
    elif kind == "saturated":
        given["logit_scale"][:] = 9.0
    elif kind == "large-bias":
        given["bias_table"] *= 1e4
    return given


@pytest.mark.parametrize(
    "kind",
    [
        "zero-vectors",
        "all-zero",
        "constant-image",
        "large",
        "overflowing-square",
        "tiny",
        "below-floor",
        "subnormal",
        "tiny-keys-large-values",
        "vanishing-keys-and-values",
        "saturated",
        "large-bias",
    ],
)
@pytest.mark.parametrize("isa", _native.isas())
def test_extreme_values(isa, kind):
    _native.set_isa(isa)
    shape = case(1, 16, 8, 4, 2)
    with np.errstate(all="ignore"):
        expected, actual = run(shape, inputs=special(kind, shape))
        expected.check(**actual)


def test_strided_arrays_are_copied():
    shape = case(1, 16, 8, 4, 2)
    given = shape.inputs()
    scale = oracle.effective_scale(given["logit_scale"]).astype(np.float32)
    want, _ = _native.window_attention_forward(given["qkv"], given["bias_table"], scale)
    fortran = np.asfortranarray(given["qkv"])
    got, _ = _native.window_attention_forward(fortran, given["bias_table"][:, ::-1][:, ::-1], scale)
    np.testing.assert_array_equal(got, want)


def test_arrays_of_any_origin():
    """A pickled array has a dtype object of its own, a view into a file may be misaligned."""
    given = case(1, 8, 4, 1, 1).inputs()
    inputs = given["qkv"].astype(np.float16), given["bias_table"], np.ones(1, np.float32)
    want, _ = _native.window_attention_forward(*inputs)
    again = pickle.loads(pickle.dumps(inputs))
    assert again[0].dtype is not inputs[0].dtype
    np.testing.assert_array_equal(_native.window_attention_forward(*again)[0], want)
    odd = [np.frombuffer(b"?" + a.tobytes(), a.dtype, offset=1).reshape(a.shape) for a in inputs]
    assert not odd[0].flags.aligned
    np.testing.assert_array_equal(_native.window_attention_forward(*odd)[0], want)


QKV, TABLE, SCALE = (
    np.zeros((1, 8, 8, 96), np.float32),
    np.zeros((1, 15, 15), np.float32),
    np.ones(1, np.float32),
)
BAD = {
    "rank": ((QKV[0], TABLE, SCALE), {}, ValueError, "qkv: expected 4 dimensions"),
    "empty": ((QKV[:0], TABLE, SCALE), {}, ValueError, "qkv: expected every dimension"),
    "dtype": ((QKV.astype(np.float64), TABLE, SCALE), {}, TypeError, "qkv: expected float32.* got float64"),
    "table-dtype": ((QKV, TABLE.astype(np.float16), SCALE), {}, TypeError, "bias_table: expected float32"),
    "table": (
        (QKV, TABLE[:, :14], SCALE),
        {},
        ValueError,
        r"bias_table: expected shape .* got \(1, 14, 15\)",
    ),
    "channels": ((QKV[..., :95], TABLE, SCALE), {}, ValueError, "qkv: expected channels divisible"),
    "scale": ((QKV, TABLE, np.ones(2, np.float32)), {}, ValueError, r"scale: expected shape \(1,\)"),
    "size": ((QKV[:, :7], TABLE, SCALE), {}, ValueError, "qkv: expected a height that is a multiple"),
    "shift": ((QKV, TABLE, SCALE), {"shift_size": (0, 8)}, ValueError, "shift_size: expected 0 <= shift"),
    "valid": ((QKV, TABLE, SCALE), {"valid_size": (0, 8)}, ValueError, "valid_size: expected at least"),
    "valid-large": (
        (QKV, TABLE, SCALE),
        {"valid_size": (8, 9)},
        ValueError,
        "valid_size: expected 1 <= valid",
    ),
    "mask": ((QKV, TABLE, SCALE), {"mask_value": float("nan")}, ValueError, "mask_value: expected a number"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name):
    arrays, options, error, text = BAD[name]
    with pytest.raises(error, match=text):
        _native.window_attention_forward(*arrays, **options)


def test_shapes_are_checked_before_anything_is_copied():
    endless = np.broadcast_to(np.float32(0), (1, 2**20, 2**20, 96))
    with pytest.raises(ValueError, match="qkv: expected fewer than 2\\^31 tokens"):
        _native.window_attention_forward(endless, TABLE[:, :1, :1], SCALE)
    with pytest.raises(ValueError, match="scale: expected shape"):
        _native.window_attention_forward(QKV, TABLE, np.broadcast_to(np.float32(0), 2**50))
    out, stats = _native.window_attention_forward(QKV, TABLE, SCALE)
    with pytest.raises(ValueError, match="dout: expected"):
        _native.window_attention_backward(QKV, TABLE, SCALE, out, stats, endless)


@pytest.mark.parametrize("threads", [-1, 1025, 2**31 - 1])
def test_bad_number_of_threads(threads):
    with pytest.raises(ValueError, match=f"n: expected 0 .* to 1024 threads, got {threads}"):
        _native.set_num_threads(threads)


@pytest.mark.parametrize("value", ["two", "-1", "3x", "4096"])
def test_bad_number_of_threads_in_the_environment(monkeypatch, value):
    monkeypatch.setenv("SWINV2_KERNELS_NUM_THREADS", value)
    with pytest.raises(ValueError, match=f"SWINV2_KERNELS_NUM_THREADS: expected 0 .* got '{value}'"):
        _native.window_attention_forward(QKV, TABLE, SCALE)
    monkeypatch.setenv("SWINV2_KERNELS_NUM_THREADS", "3")
    assert _native.num_threads() == 3


def test_the_number_of_threads_set_beats_the_environment(monkeypatch):
    monkeypatch.setenv("SWINV2_KERNELS_NUM_THREADS", "3")
    _native.set_num_threads(2)
    assert _native.num_threads() == 2


def test_window_beyond_the_scratch_limit():
    qkv, table = np.zeros((1, 128, 128, 96), np.float32), np.zeros((1, 255, 255), np.float32)
    with pytest.raises(ValueError, match=r"window_size: .* 128 x 128 .* the limit is 1048576; use a smaller"):
        _native.window_attention_forward(qkv, table, SCALE)


def test_large_windows_fit_by_reloading_queries():
    for isa in _native.isas():
        _native.set_isa(isa)
        expected, actual = run(case(1, 48, 48, 0, 1))
        expected.check(**actual)


def test_backward_checks_its_own_arguments():
    out, stats = _native.window_attention_forward(QKV, TABLE, SCALE)
    with pytest.raises(ValueError, match=r"dout: expected float32 of shape \[1, 8, 8, 32\], got"):
        _native.window_attention_backward(QKV, TABLE, SCALE, out, stats, out[:, :4])
    with pytest.raises(ValueError, match="stats: expected"):
        _native.window_attention_backward(QKV, TABLE, SCALE, out, stats[..., :8], out)


def test_cpu_information():
    assert _native.isa() == _native.isas()[-1]
    assert _native.isas()[0] == "baseline"
    assert _native.cpu_features()
    with pytest.raises(ValueError, match="isa: expected one of .* got 'mmx'"):
        _native.set_isa("mmx")
    for isa in {"avx2", "avx512", "avx512_bf16", "amx_bf16"} - set(_native.isas()):
        with pytest.raises(ValueError, match=f"isa: expected one of .* got '{isa}'"):
            _native.set_isa(isa)


def test_without_mindspore():
    """The package then has the kernels on NumPy arrays alone."""
    code = """
import importlib.util, sys
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "mindspore" else found(name, *rest)
from swinv2_kernels import _native
assert _native.isa() and "mindspore" not in sys.modules
from swinv2_kernels import *
"""
    subprocess.run([sys.executable, "-c", code], check=True)
