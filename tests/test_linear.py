# SPDX-License-Identifier: Apache-2.0
"""linear, patch_merging and patch_embedding against float64, on every back end and instruction set."""

import math

import mindspore as ms
import numpy as np
import oracle
import pytest
from mindspore import Tensor, nn, ops
from test_row_operators import MS, gelu, run, stored_as, values

import swinv2_kernels as sk
from swinv2_kernels import _native

BACKENDS = ("cpu", "reference")


def gather(x, view, patch):
    """Rows a (..., K) of a view of x."""
    if view == "merging":
        return np.concatenate([x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)], -1)
    if view == "embedding":
        b, c, h, w = x.shape
        x = x.reshape(b, c, h // patch, patch, w // patch, patch)
        return x.transpose(0, 2, 4, 1, 3, 5).reshape(b, h // patch, w // patch, -1)
    return x


def scatter(da, shape, view, patch):
    """The transpose of `gather`."""
    dx = np.zeros(shape, da.dtype)
    if view == "merging":
        parts = np.split(da, 4, -1)
        for part, (j, i) in zip(parts, [(0, 0), (0, 1), (1, 0), (1, 1)]):
            dx[:, i::2, j::2] = part
        return dx
    if view == "embedding":
        b, c, h, w = shape
        da = da.reshape(b, h // patch, w // patch, c, patch, patch)
        return da.transpose(0, 3, 1, 4, 2, 5).reshape(shape)
    return da


def linear(x, weight, bias, dout, view, patch):
    """(out, dx, dweight, dbias)"""
    a = gather(x, view, patch)
    rows, do = a.reshape(-1, a.shape[-1]), dout.reshape(-1, dout.shape[-1])
    return (
        a @ weight.T + bias,
        scatter(dout @ weight, x.shape, view, patch),
        do.T @ rows,
        do.sum(0),
    )


class Case:
    """View, shape of x, N, patch size; inputs drawn from a seed, rounded to a dtype."""

    def __init__(self, view, shape, outputs, patch=0):
        self.view, self.shape, self.outputs, self.patch = view, shape, outputs, patch

    def __str__(self):
        return f"{self.view}-{'x'.join(map(str, self.shape))}-{self.outputs}"

    def inputs(self, dtype, seed=0):
        rng = np.random.default_rng(seed)
        x = oracle.round_to(rng.standard_normal(self.shape, np.float32), dtype)
        a = gather(x, self.view, self.patch)
        weight = rng.standard_normal((self.outputs, a.shape[-1]), np.float32)
        bias = rng.standard_normal(self.outputs, np.float32)
        dout = oracle.round_to(rng.standard_normal((*a.shape[:-1], self.outputs), np.float32), dtype)
        return x, weight, bias, dout

    def check(self, dtype, actual, x, weight, bias, dout):
        exact = linear(*(a.astype(np.float64) for a in (x, weight, bias, dout)), self.view, self.patch)
        plain = linear(x, weight, bias, dout, self.view, self.patch)
        rows = dout.size // self.outputs
        # Each result measured against its terms: sums of K, N and rows products.
        sizes = [4 * math.sqrt(n) for n in (weight.shape[1], self.outputs, rows, rows)]
        for i, name in enumerate(("out", "dx", "dweight", "dbias")):
            kind = dtype if i < 2 else "float32"
            oracle.assert_close(name, actual[i], exact[i], oracle.round_to(plain[i], kind), kind, sizes[i])


# Rows and outputs that straddle blocks of rows, vectors, panels and chunks.
CASES = [
    Case("tokens", (5,), 3),
    Case("tokens", (1, 1), 1),
    Case("tokens", (9, 33), 17),
    Case("tokens", (2, 7, 3, 96), 288),
    Case("tokens", (1300, 96), 100),
    Case("tokens", (7, 1537), 49),
    Case("tokens", (700, 50), 801),
    Case("tokens", (3, 11, 50), 70),  # few rows, of which a is packed
    Case("tokens", (100, 1100), 210),
    Case("merging", (2, 4, 6, 96), 192),
    Case("merging", (1, 2, 2, 5), 7),
    Case("embedding", (2, 3, 16, 24), 96, 4),
    Case("embedding", (1, 1, 6, 4), 5, 2),
    Case("embedding", (1, 2, 32, 16), 9, 16),
]


@pytest.mark.parametrize("dtype", oracle.DTYPES)
@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("isa", _native.isas())
def test_native(isa, case, dtype):
    _native.set_isa(isa)
    x, weight, bias, dout = case.inputs(dtype)
    how = {"view": case.view, "patch_size": case.patch}
    stored, cotangent = stored_as(x, dtype), stored_as(dout, dtype)
    out = _native.linear_forward(stored, weight, bias, **how)
    gradients = _native.linear_backward(stored, weight, cotangent, **how)
    case.check(dtype, [values(a) for a in (out, *gradients)], x, weight, bias, dout)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("case", [CASES[i] for i in (2, 3, 5, 7, 9, 10, 11, 13)], ids=str)
@pytest.mark.parametrize("isa", _native.isas())
def test_native_rounds_float32_on_loading(isa, case, dtype):
    _native.set_isa(isa)
    x, weight, bias, _ = case.inputs("float32")
    how = {"view": case.view, "patch_size": case.patch}
    out = _native.linear_forward(x, weight, bias, dtype=dtype, **how)
    before = _native.linear_forward(stored_as(x, dtype), weight, bias, **how)
    assert out.dtype == before.dtype
    np.testing.assert_array_equal(out, before)


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("isa", _native.isas())
def test_native_weight_in_bfloat16(isa, case):
    """What the same numbers in float32 give, to the bit, for x in bfloat16 and for x that is rounded on loading."""
    _native.set_isa(isa)
    x, weight, bias, _ = case.inputs("float32")
    weight = oracle.round_to(weight, "bfloat16")
    weight[-1], bias[-1] = np.sign(weight[-1]) * np.float32(2.0**-130), 0  # nothing, as pairs stand
    for given in (x, stored_as(x, "bfloat16")):
        how = {"view": case.view, "patch_size": case.patch, "dtype": "bfloat16"}
        out = _native.linear_forward(given, stored_as(weight, "bfloat16"), bias, "tanh", **how)
        np.testing.assert_array_equal(out, _native.linear_forward(given, weight, bias, "tanh", **how))


@pytest.mark.parametrize("gelu", [None, "none"])
def test_reference_in_bfloat16(gelu):
    """MindSpore has no bfloat16 products on the CPU: the reference makes them from float32 ones."""
    x, weight, bias, _ = Case("tokens", (50, 24), 70).inputs("bfloat16")
    x, weight, bias = Tensor(x).astype(ms.bfloat16), Tensor(weight), Tensor(bias)
    want, got = (
        sk.linear(x, weight, bias, gelu, backend=b).astype(ms.float32).asnumpy() for b in ("cpu", "reference")
    )
    np.testing.assert_allclose(got, want, rtol=2.0**-6, atol=2.0**-7 * np.abs(want).max())


@pytest.mark.parametrize("form", ["none", "tanh"])
@pytest.mark.parametrize("isa", _native.isas())
def test_native_gelu(isa, form):
    _native.set_isa(isa)
    x, weight, bias, dout = Case("tokens", (50, 24), 70).inputs("float32")
    weight /= 4
    z = _native.linear_forward(x, weight, bias)
    out = _native.linear_forward(x, weight, bias, form)
    zero = np.zeros_like(bias)
    exact, rounded = (
        gelu(z.astype(t), zero.astype(t), dout.astype(t), form)[0] for t in (np.float64, np.float32)
    )
    oracle.assert_close("out", out, exact, rounded, "float32")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("isa", _native.isas())
def test_same_bits_for_any_number_of_threads(isa, dtype):
    _native.set_isa(isa)
    x, weight, bias, dout = Case("tokens", (1500, 96), 200).inputs(dtype)
    x[700:705] *= np.float32(2.0**-100)
    x, dout = stored_as(x, dtype), stored_as(dout, dtype)
    results = []
    for threads in (1, 2, 3, 7):
        _native.set_num_threads(threads)
        results.append([_native.linear_forward(x, weight, bias), *_native.linear_backward(x, weight, dout)])
    for other in results[1:]:
        for a, b in zip(results[0], other):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    "view, shape, patch",
    [("tokens", (300, 40), 0), ("tokens", (600, 520), 0), ("embedding", (9, 3, 24, 24), 4)],
)
@pytest.mark.parametrize("isa", _native.isas())
def test_a_row_is_the_same_among_few(isa, view, shape, patch, dtype):
    _native.set_isa(isa)
    few = 8 if (isa, dtype) == ("amx_bf16", "float32") else 3  # fewer do not go by tiles
    x, weight, bias, _ = Case(view, shape, 230, patch).inputs(dtype)
    x[1] *= np.float32(2.0**-100)
    x, how = stored_as(x, dtype), {"view": view, "patch_size": patch}
    out = _native.linear_forward(x, weight, bias, **how)
    np.testing.assert_array_equal(_native.linear_forward(x[:few], weight, bias, **how), out[:few])


@pytest.mark.parametrize("dtype", oracle.DTYPES)
@pytest.mark.parametrize("isa", _native.isas())
def test_nan_stays_in_its_row(isa, dtype):
    _native.set_isa(isa)
    x, weight, bias, dout = Case("tokens", (40, 24), 30).inputs(dtype)
    clean = values(_native.linear_forward(stored_as(x, dtype), weight, bias))
    x[11, 3] = np.nan
    out = values(_native.linear_forward(stored_as(x, dtype), weight, bias))
    assert np.isnan(out[11]).all()
    np.testing.assert_array_equal(np.delete(out, 11, 0), np.delete(clean, 11, 0))


def assert_product(name, actual, a, b, dtype, rounding):
    """actual = a b: each row and column as exact as if alone, whatever its magnitude; denormals count."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    exact, size = a @ b, np.abs(a) @ np.abs(b)
    with np.errstate(over="ignore"):
        infinite = np.isinf(oracle.round_to(exact, dtype))
    allowed = rounding * size + 2.0**-133
    held = ~infinite & (size < 2.0**126)
    assert (np.abs(actual - exact)[held] <= allowed[held]).all(), name
    assert not np.isfinite(actual[infinite]).any() and held.mean() > 0.8 and infinite.any(), name


@pytest.mark.parametrize(
    "rows, channels, outputs", [(70, 35, 150), (400, 48, 151), (129, 100, 40), (520, 35, 50)]
)
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
@pytest.mark.parametrize("isa", _native.isas())
def test_products_of_any_magnitude(isa, dtype, rows, channels, outputs):
    _native.set_isa(isa)
    rng = np.random.default_rng(0)
    rounding = 2.0**-7 if dtype == "bfloat16" else 2.0**-20  # of the weight and of the result, or of the sum

    def normal(down, across, dtype="float32"):
        """Rows or columns of all magnitudes, the first of them zero."""
        shape, factors = (down[0], across[0]), []
        for count, spread in (down, across):
            factors.append(2.0 ** (rng.integers(-140, 120, count) if spread else np.zeros(count)))
            if spread:
                factors[-1][0] = 0
        return oracle.round_to(rng.standard_normal(shape) * factors[0][:, None] * factors[1], dtype)

    x = normal((rows, True), (channels, False), dtype)
    weight = normal((outputs, True), (channels, False))
    out = _native.linear_forward(stored_as(x, dtype), weight, np.zeros(outputs, np.float32))
    assert_product("out", values(out), x, weight.T, dtype, rounding)

    weight = normal((outputs, False), (channels, True))
    dout = normal((rows, True), (outputs, False), dtype)
    dx, _, _ = _native.linear_backward(stored_as(x, dtype), weight, stored_as(dout, dtype))
    assert_product("dx", values(dx), dout, weight, dtype, rounding)

    x, dout = normal((rows, False), (channels, True), dtype), normal((rows, False), (outputs, True), dtype)
    _, dweight, _ = _native.linear_backward(stored_as(x, dtype), weight, stored_as(dout, dtype))
    assert_product("dweight", dweight, dout.T, x, "float32", rounding)


class Product(nn.Cell):
    def __init__(self, case, backend, form=None, dtype=None):
        super().__init__()
        self.view, self.backend, self.form, self.dtype = case.view, backend, form, dtype

    def construct(self, x, weight, bias):
        how = {"dtype": self.dtype, "backend": self.backend}
        if self.view == "merging":
            return sk.patch_merging(x, weight, bias, **how)
        if self.view == "embedding":
            return sk.patch_embedding(x, weight, bias, **how)
        return sk.linear(x, weight, bias, self.form, **how)


@pytest.mark.parametrize("dtype", oracle.DTYPES)
@pytest.mark.parametrize("view", ["tokens", "merging", "embedding"])
def test_in_mindspore(mode, view, dtype):
    case = {"tokens": CASES[3], "merging": CASES[7], "embedding": CASES[9]}[view]
    x, weight, bias, dout = case.inputs(dtype)
    given = weight.reshape(case.outputs, -1, case.patch, case.patch) if case.patch else weight
    tensors = [Tensor(x).astype(MS[dtype]), Tensor(given), Tensor(bias)]
    actual = run(Product(case, "cpu"), Tensor(dout).astype(MS[dtype]), *tensors)
    actual[2] = actual[2].reshape(weight.shape)
    case.check(dtype, actual, x, weight, bias, dout)
    if dtype == "float32":
        reference = run(Product(case, "reference"), Tensor(dout), *tensors)
        reference[2] = reference[2].reshape(weight.shape)
        case.check(dtype, reference, x, weight, bias, dout)


@pytest.mark.parametrize("backend, form", [("cpu", None), ("cpu", "tanh"), ("reference", None)])
@pytest.mark.parametrize("view", ["tokens", "merging", "embedding"])
def test_dtype_is_that_of_a_copy(mode, view, backend, form):
    """float32 x with dtype=float16 gives what x.astype(float16) does, and its gradient in float32."""
    case = {"tokens": CASES[3], "merging": CASES[7], "embedding": CASES[9]}[view]
    x, weight, bias, dout = case.inputs("float32")
    weight = weight.reshape(case.outputs, -1, case.patch, case.patch) if case.patch else weight

    class Copied(Product):
        def construct(self, x, weight, bias):
            return Product.construct(self, x.astype(ms.float16), weight, bias)

    inputs = Tensor(dout).astype(ms.float16), Tensor(x), Tensor(weight), Tensor(bias)
    form = form if view == "tokens" else None
    cell = Product(case, backend, form, ms.float16)
    assert cell(*inputs[1:]).dtype == ms.float16
    for got, expected in zip(run(cell, *inputs), run(Copied(case, backend, form), *inputs)):
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("form", [None, "none"])
@pytest.mark.parametrize("rounds", [False, True])
@pytest.mark.parametrize("view", ["tokens", "merging"])
def test_weight_in_bfloat16(mode, view, rounds, form):
    """Results and gradients of the same numbers in float32; that of the weight is in bfloat16, as the weight."""
    case = {"tokens": CASES[3], "merging": CASES[10]}[view]
    x, weight, bias, dout = case.inputs("bfloat16")
    weight = Tensor(weight).astype(ms.bfloat16)
    x, bias, dout = Tensor(x), Tensor(bias), Tensor(dout).astype(ms.bfloat16)
    x = x if rounds else x.astype(ms.bfloat16)
    cell = Product(case, "cpu", form, ms.bfloat16 if rounds else None)
    got = run(cell, dout, x, weight, bias)
    expected = run(cell, dout, x, weight.astype(ms.float32), bias)
    expected[2] = oracle.round_to(expected[2], "bfloat16")
    for one, other in zip(got, expected):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("form", ["none", "tanh"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_gelu_and_its_gradients(mode, backend, form):
    case = Case("tokens", (2, 9, 24), 40)
    x, weight, bias, dout = case.inputs("float32")
    weight /= 4
    actual = run(Product(case, backend, form), Tensor(dout), *map(Tensor, (x, weight, bias)))

    def formula(x, weight, bias, dout):
        out, dz, _ = gelu(x @ weight.T, bias, dout, form)
        return out, *linear(x, weight, bias, dz, "tokens", 0)[1:]

    exact = formula(*(a.astype(np.float64) for a in (x, weight, bias, dout)))
    plain = formula(x, weight, bias, dout)
    for name, a, e, p, size in zip(("out", "dx", "dweight", "dbias"), actual, exact, plain, (20, 25, 20, 20)):
        oracle.assert_close(name, a, e, p, "float32", size)


@pytest.mark.parametrize("view", ["tokens", "merging", "embedding"])
def test_dynamic_batch(mode, view):
    case = {"tokens": CASES[3], "merging": CASES[7], "embedding": CASES[9]}[view]
    x, weight, bias, _ = case.inputs("float32")
    weight = weight.reshape(case.outputs, -1, case.patch, case.patch) if case.patch else weight
    tensors = [Tensor(x), Tensor(weight), Tensor(bias)]
    cell = Product(case, "cpu")
    cell.set_inputs(Tensor(shape=[None, *x.shape[1:]], dtype=ms.float32), *tensors[1:])
    np.testing.assert_array_equal(cell(*tensors).asnumpy(), Product(case, "cpu")(*tensors).asnumpy())
    tensors[0] = Tensor(x[:1])
    np.testing.assert_array_equal(cell(*tensors).asnumpy(), Product(case, "cpu")(*tensors).asnumpy())


X, W, B = ops.zeros((2, 4, 6, 8), ms.float32), ops.zeros((5, 8), ms.float32), ops.zeros((5,), ms.float32)
P = ops.zeros((5, 4, 2, 2), ms.float32)
MERGE = ops.zeros((5, 32), ms.float32)
BAD = {
    "x-dtype": (lambda: sk.linear(X.astype(ms.int32), W), TypeError, "x: expected float32, float16"),
    "weight-dtype": (lambda: sk.linear(X, W.astype(ms.float16)), TypeError, "weight: expected float32"),
    "weight": (lambda: sk.linear(X, W[:, :7]), ValueError, r"weight: expected shape \(5, 8\).* got \(5, 7\)"),
    "weight-rank": (lambda: sk.linear(X, B), ValueError, r"weight: expected 2 dimensions \(N, K\)"),
    "bias": (lambda: sk.linear(X, W, B[:4]), ValueError, r"bias: expected shape \(5,\)"),
    "bias-dtype": (lambda: sk.linear(X, W, B.astype(ms.float16)), TypeError, "bias: expected float32"),
    "gelu": (
        lambda: sk.linear(X, W, B, "erf"),
        ValueError,
        "gelu: expected None, 'none' or 'tanh', got 'erf'",
    ),
    "dtype": (
        lambda: sk.linear(X, W, dtype=ms.int32),
        TypeError,
        "dtype: expected None, .* for float32 x one of",
    ),
    "dtype-of-half": (
        lambda: sk.linear(X.astype(ms.float16), W, dtype=ms.float32),
        TypeError,
        "dtype: expected None, that of x, Float16",
    ),
    "native-dtype": (
        lambda: _native.linear_forward(
            X.asnumpy().astype(np.float16), W.asnumpy(), B.asnumpy(), dtype="bfloat16"
        ),
        ValueError,
        "dtype: expected that of x, float16, got bfloat16; only float32 x",
    ),
    "native-dtype-name": (
        lambda: _native.linear_forward(X.asnumpy(), W.asnumpy(), B.asnumpy(), dtype="half"),
        ValueError,
        "dtype: expected None, 'float32', 'float16' or 'bfloat16', got 'half'",
    ),
    "empty": (lambda: sk.linear(X[:0], W), ValueError, "x: expected every dimension"),
    "odd": (
        lambda: sk.patch_merging(X[:, :3], MERGE),
        ValueError,
        "x: expected H and W to be multiples of 2, .* pad",
    ),
    "merge": (lambda: sk.patch_merging(X, W), ValueError, r"weight: expected shape \(5, 32\), 4C"),
    "merge-rank": (lambda: sk.patch_merging(X[0], MERGE), ValueError, "x: expected 4 dimensions"),
    "patch": (
        lambda: sk.patch_embedding(X, P[..., :1]),
        ValueError,
        "weight: expected shape .* square patches",
    ),
    "channels": (
        lambda: sk.patch_embedding(X, P[:, :3]),
        ValueError,
        "x: expected shape .* the channels of weight",
    ),
    "size": (
        lambda: sk.patch_embedding(X[..., :7], P),
        ValueError,
        "H and W to be multiples of 2, got 6 x 7",
    ),
    "native-weight": (
        lambda: _native.linear_forward(
            np.zeros((3, 8), np.float32), np.zeros((5, 7), np.float32), np.zeros(5, np.float32)
        ),
        ValueError,
        r"weight: expected shape \(N, 8\).* got \(5, 7\)",
    ),
    "weight-stored-otherwise": (
        lambda: sk.linear(X, W.astype(ms.bfloat16)),
        TypeError,
        "weight: expected float32, .* or bfloat16 where the result is bfloat16, got BFloat16 for a result in Float32",
    ),
    "patch-stored-otherwise": (
        lambda: sk.patch_embedding(X.astype(ms.bfloat16), P.astype(ms.bfloat16)),
        TypeError,
        "weight: expected float32",
    ),
    "native-weight-stored-otherwise": (
        lambda: _native.linear_forward(X.asnumpy(), W.asnumpy().astype(np.float16), B.asnumpy()),
        ValueError,
        "weight: expected float32, or bfloat16 where the result is bfloat16, got float16 for a result of float32",
    ),
    "native-view": (
        lambda: _native.linear_forward(X.asnumpy(), W.asnumpy(), B.asnumpy(), view="rows"),
        ValueError,
        "view: expected 'tokens', 'merging' or 'embedding', got 'rows'",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named(name):
    call, error, message = BAD[name]
    with pytest.raises(error, match=message):
        call()
