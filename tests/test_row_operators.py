# SPDX-License-Identifier: Apache-2.0
"""residual_layer_norm and bias_gelu against float64, on every back end and instruction set."""

import math

import mindspore as ms
import numpy as np
import oracle
import pytest
from mindspore import Tensor, nn, ops

import swinv2_kernels as sk
from swinv2_kernels import _native

BACKENDS = ("cpu", "reference")
erf = np.vectorize(math.erf, otypes=[np.float64])


# ---- the formulas, at the precision of their arguments ----


def layer_norm(x, y, gamma, beta, keep, dout):
    """(out, dx, dy, dgamma, dbeta, dkeep)"""
    rows, C = tuple(range(y.ndim - 1)), y.shape[-1]
    k = keep.reshape((-1,) + (1,) * (y.ndim - 1))
    d = y - y.mean(-1, keepdims=True)
    rstd = 1 / np.sqrt((d * d).mean(-1, keepdims=True) + y.dtype.type(1e-5))
    n = d * rstd
    g = k * dout * gamma
    dy = rstd * (g - g.mean(-1, keepdims=True) - n * (g * n).sum(-1, keepdims=True) / C)
    dkeep = (dout * (n * gamma + beta)).sum(tuple(range(1, y.ndim)))
    return x + k * (n * gamma + beta), dout, dy, (k * dout * n).sum(rows), (k * dout).sum(rows), dkeep


def gelu(x, bias, dout, approximate):
    """(out, dx, dbias)"""
    z = x + bias
    if approximate == "none":
        Phi = (0.5 * (1 + erf(z * z.dtype.type(math.sqrt(0.5))))).astype(z.dtype)
        slope = Phi + z * np.exp(-z * z / 2) * z.dtype.type(1 / math.sqrt(2 * math.pi))
    else:
        root, cube = z.dtype.type(math.sqrt(2 / math.pi)), z.dtype.type(0.044715)
        Phi = (1 + np.tanh(root * (z + cube * z**3))) / 2
        slope = Phi + 2 * z * Phi * (1 - Phi) * root * (1 + 3 * cube * z * z)
    dx = dout * slope
    return z * Phi, dx, dx.sum(tuple(range(x.ndim - 1)))


def expected(formula, dtype, storage, rest, *options):
    """Exact results, and those of plain NumPy rounded to `dtype` where the operator stores its own."""
    stored = [oracle.round_to(a, dtype) for a in storage]
    exact = formula(*(a.astype(np.float64) for a in (*stored[:-1], *rest, stored[-1])), *options)
    plain = formula(*stored[:-1], *rest, stored[-1], *options)
    rounded = [oracle.round_to(p, dtype) if p.ndim > 1 else p for p in plain]
    return stored, exact, rounded


def check(names, actual, exact, rounded, dtype, sizes):
    for name, a, e, r, size in zip(names, actual, exact, rounded, sizes):
        oracle.assert_close(name, a, e, r, dtype if e.ndim > 1 else "float32", size)


# A sum over rows is measured against its terms, not against what is left of them.
def layer_norm_case(seed, shape, dtype, drop):
    rng = np.random.default_rng(seed)
    x, y, dout = (rng.standard_normal(shape, np.float32) * s for s in (1, 3, 1))
    y += 2
    gamma, beta = (rng.standard_normal(shape[-1], np.float32) for _ in range(2))
    keep = rng.choice([0, 1.25], shape[0]).astype(np.float32) if drop else np.ones(shape[0], np.float32)
    stored, exact, rounded = expected(layer_norm, dtype, (x, y, dout), (gamma, beta, keep))
    rows = math.sqrt(np.prod(shape[:-1]))
    # One channel: the exact dy is 0, the difference of two equal terms of size rstd.
    dy_size = 10 / math.sqrt(1e-5) if shape[-1] == 1 else None
    sizes = (None, None, dy_size, 4 * rows, 4 * rows, 16 * math.sqrt(np.prod(shape[1:])))
    return stored, (gamma, beta, keep), exact, rounded, sizes


NAMES = ("out", "dx", "dy", "dgamma", "dbeta", "dkeep")
SHAPES = [(2, 8, 8, 96), (3, 5, 1), (2, 7), (1, 3, 37), (4, 16, 768), (300, 33)]


def stored_as(array, dtype):
    return oracle.bfloat16_bits(array) if dtype == "bfloat16" else array.astype(dtype)


def values(array):
    return oracle.bfloat16_from_bits(array) if array.dtype == np.uint16 else array


@pytest.mark.parametrize("dtype", oracle.DTYPES)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("isa", _native.isas())
def test_native_layer_norm(isa, shape, dtype):
    _native.set_isa(isa)
    (x, y, dout), rest, exact, rounded, sizes = layer_norm_case(0, shape, dtype, drop=True)
    x, y, dout = (stored_as(a, dtype) for a in (x, y, dout))
    out, stats = _native.residual_layer_norm_forward(x, y, *rest)
    gradients = _native.residual_layer_norm_backward(y, *rest, stats, dout)
    check(NAMES, map(values, (out, dout, *gradients)), exact, rounded, dtype, sizes)


@pytest.mark.parametrize("approximate", ["none", "tanh"])
@pytest.mark.parametrize("dtype", oracle.DTYPES)
@pytest.mark.parametrize("shape", [*SHAPES, (5,)], ids=str)
@pytest.mark.parametrize("isa", _native.isas())
def test_native_gelu(isa, shape, dtype, approximate):
    _native.set_isa(isa)
    rng = np.random.default_rng(0)
    x, dout = 3 * rng.standard_normal(shape, np.float32), rng.standard_normal(shape, np.float32)
    bias = rng.standard_normal(shape[-1], np.float32)
    (x, dout), exact, rounded = expected(gelu, dtype, (x, dout), (bias,), approximate)
    if len(shape) == 1:
        rounded = [oracle.round_to(rounded[0], dtype), oracle.round_to(rounded[1], dtype), rounded[2]]
    x, dout = (stored_as(a, dtype) for a in (x, dout))
    out = _native.bias_gelu_forward(x, bias, approximate)
    gradients = _native.bias_gelu_backward(x, bias, dout, approximate)
    for name, a, e, r in zip(("out", "dx"), (out, gradients[0]), exact, rounded):
        oracle.assert_close(name, values(a), e, r, dtype)
    size = 2 * math.sqrt(np.prod(shape[:-1]))
    oracle.assert_close("dbias", gradients[1], exact[2], rounded[2], "float32", size)


@pytest.mark.parametrize("isa", _native.isas())
def test_gelu_far_out(isa):
    _native.set_isa(isa)
    z = np.array([-np.inf, -3e38, -40, -13, -5, -0.0, 0, 5, 13, 40, 3e38, np.inf, np.nan], np.float32)
    zero = np.zeros(z.size, np.float32)
    for approximate in ("none", "tanh"):
        out = _native.bias_gelu_forward(z, zero, approximate)
        np.testing.assert_allclose(
            out[2:5], [0, 0, -1.4333e-6 if approximate == "none" else 0], rtol=1e-3, atol=3e-7
        )
        np.testing.assert_array_equal(out[[8, 9, 10, 11]], z[[8, 9, 10, 11]])
        np.testing.assert_array_equal(out[[1, 5, 6]], [0, 0, 0])
        assert np.isnan(out[12])


@pytest.mark.parametrize("isa", _native.isas())
def test_same_bits_for_any_number_of_threads(isa):
    _native.set_isa(isa)
    (x, y, dout), rest, *_ = layer_norm_case(1, (3, 250, 100), "float32", drop=True)  # done in several parts
    bias = rest[0]
    results = []
    for threads in (1, 2, 3):
        _native.set_num_threads(threads)
        out, stats = _native.residual_layer_norm_forward(x, y, *rest)
        results.append([out, *_native.residual_layer_norm_backward(y, *rest, stats, dout)])
        results[-1] += [_native.bias_gelu_forward(x, bias), *_native.bias_gelu_backward(x, bias, dout)]
    for other in results[1:]:
        for a, b in zip(results[0], other):
            np.testing.assert_array_equal(a, b)


# ---- in MindSpore ----

MS = {"float32": ms.float32, "float16": ms.float16, "bfloat16": ms.bfloat16}


class LayerNorm(nn.Cell):
    def __init__(self, backend):
        super().__init__()
        self.backend = backend

    def construct(self, x, y, gamma, beta, keep=None):
        return sk.residual_layer_norm(x, y, gamma, beta, keep=keep, backend=self.backend)


class Gelu(nn.Cell):
    def __init__(self, backend, approximate):
        super().__init__()
        self.backend, self.approximate = backend, approximate

    def construct(self, x, bias):
        return sk.bias_gelu(x, bias, self.approximate, backend=self.backend)


def run(cell, dout, *inputs):
    gradient = ops.GradOperation(get_all=True, sens_param=True)(cell)
    return [a.astype(ms.float32).asnumpy() for a in (cell(*inputs), *gradient(*inputs, dout))]


@pytest.mark.parametrize("dtype", oracle.DTYPES)
@pytest.mark.parametrize("drop", [False, True], ids=["all", "drop"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_layer_norm(mode, backend, drop, dtype):
    stored, rest, exact, rounded, sizes = layer_norm_case(2, (2, 4, 6, 40), dtype, drop)
    x, y, dout = (Tensor(a).astype(MS[dtype]) for a in stored)
    rest = [Tensor(a) for a in (rest if drop else rest[:2])]
    check(NAMES, run(LayerNorm(backend), dout, x, y, *rest), exact, rounded, dtype, sizes)


@pytest.mark.parametrize("dtype", oracle.DTYPES)
@pytest.mark.parametrize("backend", BACKENDS)
def test_layer_norm_alone(mode, backend, dtype):
    class Norm(nn.Cell):
        def construct(self, y, gamma, beta):
            return sk.layer_norm(y, gamma, beta, backend=backend)

    rng = np.random.default_rng(0)
    y = oracle.round_to(rng.standard_normal((2, 4, 6, 40), np.float32) * 3 + 2, dtype)
    gamma, beta = (rng.standard_normal(40, np.float32) for _ in range(2))
    dout = rng.standard_normal(y.shape, np.float32)

    def formula(t):
        zero, one = np.zeros_like(y, t), np.ones(2, t)
        out, _, *gradients, _ = layer_norm(
            zero, *(a.astype(t) for a in (y, gamma, beta)), one, dout.astype(t)
        )
        return out, *gradients

    exact, plain = formula(np.float64), formula(np.float32)
    plain = (plain[0], oracle.round_to(plain[1], dtype), *plain[2:])
    actual = run(Norm(), Tensor(dout), Tensor(y).astype(MS[dtype]), Tensor(gamma), Tensor(beta))
    kinds, sizes = ("float32", dtype, "float32", "float32"), (None, None, 28, 28)
    for name, a, e, p, kind, size in zip(
        ("out", "dy", "dgamma", "dbeta"), actual, exact, plain, kinds, sizes
    ):
        oracle.assert_close(name, a, e, p, kind, size)


@pytest.mark.parametrize("dtype", oracle.DTYPES)
@pytest.mark.parametrize("approximate", ["none", "tanh"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_gelu(mode, backend, approximate, dtype):
    rng = np.random.default_rng(3)
    x, dout = 2 * rng.standard_normal((2, 5, 40), np.float32), rng.standard_normal((2, 5, 40), np.float32)
    bias = rng.standard_normal(40, np.float32)
    stored, exact, rounded = expected(gelu, dtype, (x, dout), (bias,), approximate)
    x, dout = (Tensor(a).astype(MS[dtype]) for a in stored)
    check(
        ("out", "dx", "dbias"),
        run(Gelu(backend, approximate), dout, x, Tensor(bias)),
        exact,
        rounded,
        dtype,
        (None, None, 8),
    )


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_half_branch_beside_a_float32_stream(mode, dtype):
    (x, y, dout), rest, exact, rounded, sizes = layer_norm_case(2, (2, 4, 6, 40), dtype, True)
    inputs = [Tensor(x), Tensor(y).astype(MS[dtype]), *map(Tensor, rest)]
    actual = run(LayerNorm("cpu"), Tensor(dout), *inputs)
    check(NAMES, actual, exact, rounded, dtype, sizes)
    assert LayerNorm("cpu")(*inputs).dtype == ms.float32
    assert np.abs(actual[0] - exact[0]).max() < 1e-5  # float32 storage


def test_dynamic_shapes(mode):
    x, bias = Tensor(np.ones((2, 3, 8), np.float32)), Tensor(np.ones(8, np.float32))
    unknown = Tensor(shape=[None, None, 8], dtype=ms.float32)
    cell = Gelu("cpu", "none")
    cell.set_inputs(unknown, bias)
    np.testing.assert_array_equal(cell(x, bias).asnumpy(), Gelu("cpu", "none")(x, bias).asnumpy())
    cell = LayerNorm("cpu")
    cell.set_inputs(unknown, unknown, bias, bias)
    np.testing.assert_allclose(cell(x, x, bias, bias).asnumpy(), 2.0)


def test_a_graph_of_fixed_batch_takes_another(tmp_path):
    """What None stands for is no constant of the exported batch."""
    gamma, beta = (Tensor(np.random.default_rng(i).standard_normal(8, np.float32)) for i in range(2))
    x = Tensor(np.random.default_rng(2).standard_normal((5, 4, 8), np.float32))
    cell = Residual(gamma, beta)
    ms.export(cell, x[:2], file_name=str(tmp_path / "op"), file_format="MINDIR")
    loaded = nn.GraphCell(ms.load(str(tmp_path / "op.mindir")))
    for batch in (2, 5, 1):
        np.testing.assert_array_equal(loaded(x[:batch]).asnumpy(), cell(x[:batch]).asnumpy())


class Residual(nn.Cell):
    def __init__(self, gamma, beta):
        super().__init__()
        self.gamma, self.beta = ms.Parameter(gamma, name="gamma"), ms.Parameter(beta, name="beta")

    def construct(self, x):
        return sk.residual_layer_norm(x, 2 * x, self.gamma, self.beta)


DYNAMIC = {
    "residual_layer_norm": ([(2, 3, 8), (2, 3, 8), (8,), (8,)], {}),
    "layer_norm": ([(2, 3, 8), (8,), (8,)], {}),
    "bias_gelu": ([(2, 3, 8), (8,)], {}),
    "linear": ([(2, 3, 8), (5, 8), (5,)], {}),
    "patch_merging": ([(2, 6, 4, 3), (5, 12), (5,)], {}),
    "patch_embedding": ([(2, 3, 6, 4), (5, 3, 2, 2), (5,)], {}),
    "window_attention": ([(1, 4, 8, 48), (2, 7, 7), (2, 1, 1)], {"window_size": 4, "shift_size": 2}),
}


@pytest.mark.parametrize("name", DYNAMIC)
def test_any_tensor_may_be_dynamic(name):
    """An unknown shape is checked when it is known, wherever it comes; others compute with what it becomes."""
    rng = np.random.default_rng(0)
    shapes, how = DYNAMIC[name]
    tensors = [Tensor(rng.standard_normal(shape, np.float32)) for shape in shapes]

    class Forward(nn.Cell):
        def construct(self, *tensors):
            return getattr(sk, name)(*tensors, **how) * 2 + 1

    class Cell(nn.Cell):
        def __init__(self):
            super().__init__()
            self.forward, self.grad = Forward(), ops.GradOperation(get_all=True)

        def construct(self, *tensors):
            return self.forward(*tensors), [2 * gradient for gradient in self.grad(self.forward)(*tensors)]

    ms.set_context(mode=ms.GRAPH_MODE)
    want = Cell()(*tensors)
    for i, shape in enumerate(shapes):
        unknown = [[None, *shape[1:]], [None] * len(shape), None]
        for dynamic in unknown[:1] if len(shape) == 4 and i == 1 else unknown:  # the patch size is known
            cell = Cell()
            cell.set_inputs(*tensors[:i], Tensor(shape=dynamic, dtype=ms.float32), *tensors[i + 1 :])
            out, gradients = cell(*tensors)
            for got, expected in zip((out, *gradients), (want[0], *want[1])):
                np.testing.assert_array_equal(got.asnumpy(), expected.asnumpy())
    if name == "linear":
        cell = Cell()
        cell.set_inputs(tensors[0], Tensor(shape=[None, 8], dtype=ms.float32))
        with pytest.raises(ValueError, match="bias: expected a Tensor where weight's rows are unknown"):
            cell(*tensors[:2])


X, C = ops.zeros((2, 3, 8), ms.float32), ops.zeros((8,), ms.float32)
HALF = ops.zeros((2, 3, 8), ms.float16)
BAD = {
    "y-shape": (
        lambda: sk.residual_layer_norm(X, X[:1], C, C),
        ValueError,
        r"y: expected the shape of x, \(2, 3, 8\)",
    ),
    "array": (
        lambda: sk.bias_gelu(np.zeros((40, 40), np.float32), C),
        TypeError,
        r"^x: expected a Tensor, got a NumPy array of shape \(40, 40\), float32; wrap it: mindspore.Tensor\(...\)$",
    ),
    "y-dtype": (
        lambda: sk.residual_layer_norm(HALF, X, C, C),
        TypeError,
        "y: expected the dtype of x, Float16",
    ),
    "gamma": (
        lambda: sk.residual_layer_norm(X, X, C[:7], C),
        ValueError,
        r"gamma: expected shape \(8,\).* got \(7,\)",
    ),
    "gamma-alone": (lambda: sk.layer_norm(X, C[:5], C[:5]), ValueError, r"gamma: expected shape \(8,\)"),
    "beta": (
        lambda: sk.residual_layer_norm(HALF, HALF, C, C.astype(ms.float16)),
        TypeError,
        "beta: expected float32",
    ),
    "keep": (lambda: sk.residual_layer_norm(X, X, C, C, keep=C), ValueError, r"keep: expected shape \(2,\)"),
    "epsilon": (
        lambda: sk.residual_layer_norm(X, X, C, C, 0.0),
        ValueError,
        "epsilon: expected a number > 0",
    ),
    "rank": (lambda: sk.residual_layer_norm(C, C, C, C), ValueError, "x: expected at least 2 dimensions"),
    "empty": (lambda: sk.residual_layer_norm(X[:0], X[:0], C, C), ValueError, "x: expected every dimension"),
    "x-dtype": (lambda: sk.bias_gelu(X.astype(ms.int32), C), TypeError, "x: expected float32, .* Int32"),
    "bias": (
        lambda: sk.bias_gelu(X, C[:4]),
        ValueError,
        r"bias: expected shape \(8,\), the channels of x, got \(4,\)",
    ),
    "bias-dtype": (lambda: sk.bias_gelu(X, C.astype(ms.float16)), TypeError, "bias: expected float32"),
    "form": (
        lambda: sk.bias_gelu(X, C, "erf"),
        ValueError,
        "approximate: expected 'none' or 'tanh', got 'erf'",
    ),
    "backend": (lambda: sk.bias_gelu(X, C, backend="tpu"), ValueError, "backend: expected one of"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=message):
        call()
