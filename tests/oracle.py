# SPDX-License-Identifier: Apache-2.0
"""What window attention must compute: float64 NumPy, from the formula, sharing no code with any back end.

    out = softmax(scale * <q', k'> + bias_table[h, dy, dx] + mask) v      q' = q / max(|q|, 1e-12) (dot: q)

Also the tolerance every back end is held to: its error against float64 is at most twice the error of the same
formula in plain float32 NumPy rounded to the storage dtype at the operator's boundaries, plus a small floor. Where
that is passed, plain NumPy's error is the median over a few orders of tokens and channels: one order may be lucky.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np

NORM_EPS = 1e-12
LN_100 = float(np.log(100.0))
DTYPES = ("float32", "float16", "bfloat16")
EPSILON = {"float32": 2.0**-23, "float16": 2.0**-10, "bfloat16": 2.0**-7}
# Floors, as a share of the largest exact value: what is left where plain NumPy happens to be (nearly) exact.
FLOOR = {"float32": 8 * 2.0**-23, "float16": 2.0**-12, "bfloat16": 2.0**-9}


def pair(value):
    """An int or a pair as a pair of ints."""
    return tuple(int(v) for v in value) if np.ndim(value) else (int(value), int(value))


def round_to(array, dtype):
    """Nearest values of `dtype` (ties to even), kept in float32. bfloat16 by hand: NumPy has none."""
    array = np.asarray(array, np.float32)
    if dtype == "float16":
        with np.errstate(over="ignore"):
            return array.astype(np.float16).astype(np.float32)
    if dtype == "bfloat16":
        return bfloat16_from_bits(bfloat16_bits(array))
    return array


def bfloat16_bits(array):
    """float32 values as bfloat16 bit patterns (uint16), nearest-even; NaN stays NaN."""
    array = np.ascontiguousarray(array, np.float32)
    bits = array.view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(array), np.uint16(0x7FC0), rounded)


def bfloat16_from_bits(bits):
    """The float32 values of bfloat16 bit patterns."""
    return (np.asarray(bits, np.uint16).astype(np.uint32) << 16).view(np.float32)


@dataclass
class Geometry:
    """Where each token of each window sits: every array (windows, N)."""

    rows: np.ndarray
    cols: np.ndarray
    region: np.ndarray  # tokens of a window attend freely where regions agree
    valid: np.ndarray  # image, not padding
    dy: np.ndarray  # (N, N) row of the bias table for query i, key j
    dx: np.ndarray  # (N, N) column

    def reordered(self, order):
        """The same with the tokens of every window listed in another order."""
        per_token = (a[:, order] for a in (self.rows, self.cols, self.region, self.valid))
        return Geometry(*per_token, *(a[np.ix_(order, order)] for a in (self.dy, self.dx)))


def geometry(height, width, window_size, shift_size=0, valid_size=None):
    """The index arithmetic of shifted windows over a (height, width) grid."""
    window, shift = pair(window_size), pair(shift_size)
    valid_h, valid_w = pair(valid_size) if valid_size is not None else (height, width)
    at = [(wy, wx) for wy in range(height // window[0]) for wx in range(width // window[1])]
    inside = [(y, x) for y in range(window[0]) for x in range(window[1])]
    # Position after the cyclic shift; the token there came from position + shift.
    y = np.array([[wy * window[0] + iy for iy, _ in inside] for wy, _ in at])
    x = np.array([[wx * window[1] + ix for _, ix in inside] for _, wx in at])
    rows, cols = (y + shift[0]) % height, (x + shift[1]) % width

    def band(position, size, win, sh):
        return (position >= size - win).astype(int) + (position >= size - sh).astype(int)

    region = 3 * band(y, height, window[0], shift[0]) + band(x, width, window[1], shift[1])
    iy, ix = np.array(inside).T
    return Geometry(
        rows,
        cols,
        region,
        (rows < valid_h) & (cols < valid_w),
        iy[:, None] - iy[None, :] + window[0] - 1,
        ix[:, None] - ix[None, :] + window[1] - 1,
    )


def _gather(image, geo, parts, num_heads):
    """(B, H, W, parts*heads*d) -> (parts, B, windows, heads, N, d), padding replaced by zeros."""
    batch, _, _, channels = image.shape
    tokens = image[:, geo.rows, geo.cols]
    tokens = np.where(geo.valid[None, :, :, None], tokens, 0)
    shape = (batch, *geo.rows.shape, parts, num_heads, channels // parts // num_heads)
    return tokens.reshape(shape).transpose(3, 0, 1, 4, 2, 5)


def _scatter(tokens, geo, height, width):
    """(parts, B, windows, heads, N, d) -> (B, H, W, parts*heads*d), zero at padding."""
    parts, batch, windows, heads, count, dim = tokens.shape
    tokens = tokens.transpose(1, 2, 4, 0, 3, 5).reshape(batch, windows, count, parts * heads * dim)
    image = np.zeros((batch, height, width, tokens.shape[-1]), tokens.dtype)
    image[:, geo.rows, geo.cols] = np.where(geo.valid[None, :, :, None], tokens, 0)
    return image


def _unit(x):
    """x / max(|x|, 1e-12) and that divisor, and whether the norm (not the constant) divides."""
    norm = np.sqrt((x * x).sum(-1, keepdims=True))
    return (
        x / np.maximum(norm, x.dtype.type(NORM_EPS)),
        np.maximum(norm, x.dtype.type(NORM_EPS)),
        norm > NORM_EPS,
    )


def _unit_grad(unit, norm, norm_divides, grad):
    return (grad - norm_divides * unit * (unit * grad).sum(-1, keepdims=True)) / norm


def _product(a, b):
    """a @ b; in float32 term by term, for the order in which a BLAS adds, and so its error, changes with the CPU."""
    if a.dtype == np.float64:
        return a @ b
    total = a[..., :1] * b[..., :1, :]
    for k in range(1, a.shape[-1]):
        total += a[..., k : k + 1] * b[..., k : k + 1, :]
    return total


class _Attention:
    """One evaluation at precision `real`; keeps what the backward needs."""

    def __init__(
        self,
        qkv,
        bias_table,
        scale,
        real,
        *,
        window_size,
        shift_size=0,
        valid_size=None,
        mask_value=-100.0,
        cosine=True,
        shuffle=None,
    ):
        qkv, self.table, scale = (np.asarray(a).astype(real) for a in (qkv, bias_table, scale))
        self.heads, (self.height, self.width) = self.table.shape[0], qkv.shape[1:3]
        self.scale, self.cosine = scale.reshape(-1, 1, 1), cosine
        geo = geometry(self.height, self.width, window_size, shift_size, valid_size)
        self.geo = geo = geo if shuffle is None else geo.reordered(shuffle.permutation(geo.rows.shape[1]))
        q, k, self.v = _gather(qkv, geo, 3, self.heads)
        self.q, self.k, self.q_norm, self.k_norm = q, k, None, None
        if cosine:
            self.q, *self.q_norm = _unit(q)
            self.k, *self.k_norm = _unit(k)
        self.products = _product(self.q, self.k.swapaxes(-1, -2))
        mask = np.where(geo.region[:, :, None] == geo.region[:, None, :], 0.0, mask_value).astype(real)
        logits = self.scale * self.products + self.table[:, geo.dy, geo.dx] + mask[:, None]
        is_query = geo.valid[:, None, :, None]  # padding is no key, and asks nothing: weights 0, not 0 / 0
        self.pairs = is_query & geo.valid[:, None, None, :]
        self.logits = logits = np.where(self.pairs, logits, -np.inf)
        weights = np.exp(logits - np.where(is_query, logits.max(-1, keepdims=True), 0))
        self.weights = weights / np.where(is_query, weights.sum(-1, keepdims=True), 1)
        self.out = _scatter(_product(self.weights, self.v)[None], geo, self.height, self.width)

    def backward(self, dout, out):
        geo = self.geo
        dout, out = (_gather(np.asarray(a).astype(self.v.dtype), geo, 1, self.heads)[0] for a in (dout, out))
        self.dout, self.stored = dout, out
        dv = _product(self.weights.swapaxes(-1, -2), dout)
        dweights = _product(dout, self.v.swapaxes(-1, -2))
        dlogits = self.weights * (dweights - (dout * out).sum(-1, keepdims=True))
        self.dlogits = dlogits = np.where(self.pairs, dlogits, 0)  # not 0 * NaN
        dscale = (dlogits * self.products).sum((0, 1, 3, 4))
        self.dscale_size = np.sqrt((np.abs(dlogits * self.products).sum(-1) ** 2).sum((0, 1, 3)).max())
        dtable = np.zeros_like(self.table)
        for head, total in enumerate(dlogits.sum((0, 1))):
            np.add.at(dtable[head], (geo.dy, geo.dx), total)
        dq = self.scale * _product(dlogits, self.k)
        dk = self.scale * _product(dlogits.swapaxes(-1, -2), self.q)
        if self.cosine:
            dq, dk = _unit_grad(self.q, *self.q_norm, dq), _unit_grad(self.k, *self.k_norm, dk)
        return _scatter(np.stack([dq, dk, dv]), geo, self.height, self.width), dtable, dscale


def forward(qkv, bias_table, scale, **how):
    """out (B, H, W, C), float64.

    `how`: window_size, shift_size=0, valid_size=None, mask_value=-100.0, cosine=True. `scale` (heads,) is the
    factor itself: exp(min(logit_scale, ln 100)), or the dot-product scale with cosine=False.
    """
    return _Attention(qkv, bias_table, scale, np.float64, **how).out


def backward(qkv, bias_table, scale, dout, **how):
    """(dqkv, dbias_table, dscale) for the cotangent dout, float64; dscale is with respect to `scale`."""
    attention = _Attention(qkv, bias_table, scale, np.float64, **how)
    return attention.backward(dout, attention.out)


def numpy_rounded(dtype, qkv, bias_table, scale, dout=None, *, order=0, **how):
    """The same formula in plain float32 NumPy, rounded to `dtype` where the operator stores its results.

    The backward reads the rounded `out`, as the operator's does. Returns {"out"} and, with dout, gradients. `order`
    draws another order of the channels of a head and of the tokens of a window: the same results but for rounding.
    """
    shuffle = np.random.default_rng(order) if order else None
    heads = np.shape(bias_table)[0]
    there = np.arange(np.shape(qkv)[-1] // 3 // heads)
    there = there if shuffle is None else shuffle.permutation(there)

    def channels(image, order):
        image = np.asarray(image)
        return image.reshape(*image.shape[:3], -1, order.size)[..., order].reshape(image.shape)

    qkv, back = channels(round_to(qkv, dtype), there), np.argsort(there)
    attention = _Attention(qkv, bias_table, scale, np.float32, shuffle=shuffle, **how)
    result = {"out": round_to(attention.out, dtype)}
    if dout is not None:
        dqkv, dtable, dscale = attention.backward(channels(round_to(dout, dtype), there), result["out"])
        result.update(dqkv=channels(round_to(dqkv, dtype), back), dbias_table=dtable, dscale=dscale)
    return {**result, "out": channels(result["out"], back)}


def effective_scale(logit_scale):
    """exp(min(logit_scale, ln 100)), (heads,), float64."""
    return np.exp(np.minimum(np.asarray(logit_scale, np.float64).reshape(-1), LN_100))


def dlogit_scale(logit_scale, dscale):
    """Gradient of the raw logit_scale: 0 where clamped."""
    logit_scale = np.asarray(logit_scale, np.float64).reshape(-1)
    return np.where(logit_scale < LN_100, dscale * effective_scale(logit_scale), 0.0)


def tolerance(dtype, exact, rounded, size=None):
    """Largest error allowed: twice plain NumPy's, plus the floor times `size` (largest exact value)."""
    finite = np.isfinite(exact) & np.isfinite(rounded)
    if not finite.any():
        return 0.0
    exact, rounded = np.asarray(exact, np.float64)[finite], np.asarray(rounded, np.float64)[finite]
    return 2 * np.abs(rounded - exact).max() + FLOOR[dtype] * (np.abs(exact).max() if size is None else size)


def assert_close(name, actual, exact, rounded, dtype, size=None, others=lambda: ()):
    """`actual` (array-like) within `tolerance` of `exact`; inf and NaN exactly where plain NumPy has them.

    others() gives further plain results, asked for only where `rounded` alone would not allow the error.
    """
    actual = np.asarray(actual, np.float64).reshape(np.shape(exact))
    strange = ~np.isfinite(rounded)
    np.testing.assert_array_equal(~np.isfinite(actual), strange, err_msg=f"{name}: inf/NaN at other places")
    allowed = tolerance(dtype, exact, rounded, size)
    error = np.abs(np.where(strange, 0, actual) - np.where(strange, 0, exact))
    if error.size == 0:
        return
    worst = np.unravel_index(error.argmax(), error.shape)
    if error[worst] > allowed:
        usual = np.median([allowed, *(tolerance(dtype, exact, other, size) for other in others())])
        allowed = max(allowed, usual)
    assert error[worst] <= allowed, (
        f"{name} ({dtype}): error {error[worst]:.3g} at {[int(i) for i in worst]}, allowed {allowed:.3g}; "
        f"got {actual[worst]:.9g}, exact {np.asarray(exact)[worst]:.9g}"
    )


class Expected:
    """Exact and plain-NumPy results of one case, inputs rounded to `dtype`."""

    def __init__(self, dtype, qkv, bias_table, scale, dout=None, **how):
        self.dtype, self.qkv = dtype, round_to(qkv, dtype)
        self.dout = None if dout is None else round_to(dout, dtype)
        attention = _Attention(self.qkv, bias_table, scale, np.float64, **how)
        self.exact, self.size = {"out": attention.out}, {}
        if dout is not None:
            names = ("dqkv", "dbias_table", "dscale")
            self.exact.update(zip(names, attention.backward(self.dout, attention.out)))
            # A few sums of millions of cancelling terms: luck, unless measured against the terms.
            self.size["dscale"] = attention.dscale_size
        self.plain = partial(numpy_rounded, dtype, self.qkv, bias_table, scale, self.dout, **how)
        self.rounded = self.plain()

    def check(self, **actual):
        """check(out=..., dqkv=..., dbias_table=..., dscale=...): any subset."""
        for name, value in actual.items():
            exact, rounded, size = self.exact[name], self.rounded[name], self.size.get(name)
            others = lambda name=name: (self.plain(order=order)[name] for order in range(1, 5))  # noqa: E731
            assert_close(name, value, exact, rounded, self.dtype, size, others)


def expand_table(bias_table, window_size):
    """(heads, 2Wh-1, 2Ww-1) -> (heads, N, N), rows are queries."""
    geo = geometry(*pair(window_size), window_size)
    return np.asarray(bias_table)[:, geo.dy, geo.dx]


def table_of_bias(bias, window_size):
    """Inverse of expand_table: every table entry occurs in the expanded bias."""
    window = pair(window_size)
    geo = geometry(*window, window)
    table = np.zeros((bias.shape[0], 2 * window[0] - 1, 2 * window[1] - 1), bias.dtype)
    table[:, geo.dy, geo.dx] = bias
    return table


def table_grad_of_bias_grad(dbias, window_size):
    """(heads, N, N) gradient of the expanded bias -> gradient of the table: sums over equal offsets."""
    window = pair(window_size)
    geo = geometry(*window, window)
    table = np.zeros((dbias.shape[0], 2 * window[0] - 1, 2 * window[1] - 1), np.float64)
    for head in range(dbias.shape[0]):
        np.add.at(table[head], (geo.dy, geo.dx), dbias[head].astype(np.float64))
    return table


def random_case(seed, batch, height, width, num_heads, head_dim, window_size, *, bias_spread=2.0):
    """Inputs drawn from `seed`: dict(qkv, bias_table, logit_scale, dout), float32."""
    rng = np.random.default_rng(seed)
    window = pair(window_size)
    channels = num_heads * head_dim
    return {
        "qkv": rng.standard_normal((batch, height, width, 3 * channels), np.float32),
        "bias_table": (
            bias_spread * rng.standard_normal((num_heads, 2 * window[0] - 1, 2 * window[1] - 1))
        ).astype(np.float32),
        "logit_scale": rng.uniform(1.5, 3.5, num_heads).astype(np.float32),
        "dout": rng.standard_normal((batch, height, width, channels), np.float32),
    }
