# SPDX-License-Identifier: Apache-2.0
"""The pure-op mathematics against the float64 oracle, in every mode MindSpore runs them in."""

import math
from pathlib import Path

import mindspore as ms
import numpy as np
import oracle
import pytest
from mindspore import Tensor, nn

from swinv2_kernels import reference

GOLDEN = sorted((Path(__file__).parent / "golden").glob("op_*.npz"))
MS_DTYPE = {"float32": ms.float32, "float16": ms.float16, "bfloat16": ms.bfloat16}


class Core(nn.Cell):
    """out, and with `dout` its product with the cotangent."""

    def __init__(self, window_size, shift_size=0, valid_size=None, mask_value=-100.0, cosine=True):
        super().__init__()
        self.window_size, self.shift_size = oracle.pair(window_size), oracle.pair(shift_size)
        self.valid_size, self.mask_value, self.cosine = valid_size, mask_value, cosine

    def construct(self, qkv, bias_table, scale):
        return reference.window_attention(
            qkv,
            bias_table,
            scale,
            window_size=self.window_size,
            shift_size=self.shift_size,
            valid_size=self.valid_size,
            mask_value=self.mask_value,
            cosine=self.cosine,
        )


def run(core, qkv, bias_table, scale, dout, dtype="float32", jit=True):
    """dict(out, dqkv, dbias_table, dscale) as float64 arrays; `jit` compiles both directions."""
    inputs = [Tensor(qkv, MS_DTYPE[dtype]), Tensor(bias_table), Tensor(np.float32(scale))]

    def both(qkv, bias_table, scale, dout):
        out = core(qkv, bias_table, scale)
        return (out.astype(ms.float32) * dout).sum(), out

    grad = ms.value_and_grad(both, (0, 1, 2), has_aux=True)
    (_, out), grads = (ms.jit(grad) if jit else grad)(*inputs, Tensor(dout))
    names = ("out", "dqkv", "dbias_table", "dscale")
    return {n: a.astype(ms.float32).asnumpy().astype(np.float64) for n, a in zip(names, (out, *grads))}


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
def test_reference_agrees_with_the_official_results(path):
    golden = np.load(path)
    how = {"window_size": int(golden["window_size"]), "shift_size": int(golden["shift_size"])}
    table = oracle.table_of_bias(golden["relative_position_bias"], how["window_size"])
    scale = np.float32(oracle.effective_scale(golden["logit_scale"]))
    got = run(Core(**how), golden["qkv"], table, scale, golden["dout"])
    rounded = oracle.numpy_rounded("float32", golden["qkv"], table, scale, golden["dout"], **how)
    dtable = oracle.table_grad_of_bias_grad(golden["drelative_position_bias"], how["window_size"])
    for name, exact in {"out": golden["out"], "dqkv": golden["dqkv"], "dbias_table": dtable}.items():
        oracle.assert_close(name, got[name], exact, rounded[name], "float32")
    dlogit_scale = oracle.dlogit_scale(golden["logit_scale"], got["dscale"])
    np.testing.assert_allclose(dlogit_scale, golden["dlogit_scale"], rtol=1e-5)


# id: batch, height, width, heads, head_dim, how
CASES = {
    "B2-H12-W12-w4-s2": (2, 12, 12, 3, 8, {"window_size": 4, "shift_size": 2}),
    "strict-mask": (1, 8, 8, 2, 8, {"window_size": 4, "shift_size": 1, "mask_value": -math.inf}),
    "single-window": (2, 8, 8, 1, 16, {"window_size": 8}),
    "nonsquare": (1, 6, 12, 2, 8, {"window_size": (3, 4), "shift_size": (1, 2)}),
    "shift-one-axis": (1, 8, 8, 2, 8, {"window_size": 4, "shift_size": (0, 2)}),
    "w7-dot": (1, 14, 14, 3, 32, {"window_size": 7, "shift_size": 3, "cosine": False}),
    "padding-shift": (2, 12, 8, 2, 8, {"window_size": 4, "shift_size": 2, "valid_size": (9, 7)}),
    "padding-whole-window": (1, 12, 8, 2, 8, {"window_size": 4, "valid_size": (5, 3)}),
}


ROUNDED = ("B2-H12-W12-w4-s2", "padding-shift")
CASES_AND_DTYPES = [(c, d) for c in CASES for d in oracle.DTYPES if d == "float32" or c in ROUNDED]


@pytest.mark.parametrize("case, dtype", CASES_AND_DTYPES)
def test_reference_agrees_with_the_oracle(case, dtype):
    *shape, how = CASES[case]
    data = oracle.random_case(7, *shape, how["window_size"])
    scale = np.float32(
        oracle.effective_scale(data.pop("logit_scale")) if how.get("cosine", True) else [0.4] * shape[3]
    )
    expected = oracle.Expected(dtype, data["qkv"], data["bias_table"], scale, data["dout"], **how)
    got = run(Core(**how), expected.qkv, data["bias_table"], scale, expected.dout, dtype)
    expected.check(**got)


def _small(seed=11):
    data = oracle.random_case(seed, 3, 8, 8, 2, 8, 4)
    how = {"window_size": 4, "shift_size": 2}
    scale = np.float32(oracle.effective_scale(data.pop("logit_scale")))
    return (
        data,
        scale,
        how,
        oracle.Expected("float32", data["qkv"], data["bias_table"], scale, data["dout"], **how),
    )


def test_pynative_forward_and_backward():
    data, scale, how, expected = _small()
    expected.check(**run(Core(**how), data["qkv"], data["bias_table"], scale, data["dout"], jit=False))


def test_graph_mode_and_dynamic_batch():
    data, scale, how, expected = _small()
    ms.set_context(mode=ms.GRAPH_MODE)
    core = Core(**how)
    core.set_inputs(
        Tensor(shape=[None, 8, 8, 48], dtype=ms.float32), Tensor(data["bias_table"]), Tensor(scale)
    )
    for batch in (3, 1, 2):
        out = core(Tensor(data["qkv"][:batch]), Tensor(data["bias_table"]), Tensor(scale)).asnumpy()
        exact, rounded = (results["out"][:batch] for results in (expected.exact, expected.rounded))
        oracle.assert_close("out", out, exact, rounded, "float32")


def test_padding_is_never_read():
    data, scale, _, _ = _small()
    how = {"window_size": 4, "shift_size": 2, "valid_size": (6, 7)}
    clean = run(Core(**how), data["qkv"], data["bias_table"], scale, data["dout"])
    data["qkv"][:, 6:], data["qkv"][:, :, 7:] = np.nan, np.inf
    dirty = run(Core(**how), data["qkv"], data["bias_table"], scale, data["dout"])
    for name in clean:
        np.testing.assert_array_equal(clean[name], dirty[name])


def test_zero_vectors_and_large_magnitudes():
    data, scale, how, _ = _small()
    data["qkv"][0, 1, 2] = 0
    data["qkv"][1] *= 3e4
    expected = oracle.Expected("float32", data["qkv"], data["bias_table"], scale, **how)
    expected.check(out=run(Core(**how), data["qkv"], data["bias_table"], scale, data["dout"])["out"])


def test_bias_gelu_rejects_an_unknown_form():
    with pytest.raises(ValueError, match="approximate: expected 'none' or 'tanh', got 'erf'"):
        reference.bias_gelu(Tensor(np.ones((2, 3), np.float32)), Tensor(np.ones(3, np.float32)), "erf")
