# SPDX-License-Identifier: Apache-2.0
"""Random cases for the CPU kernels of residual_layer_norm and bias_gelu, each a pure function of its seed.

    python tests/fuzz_rows.py 17            one case, or
    python tests/fuzz_rows.py 300 10300     a range, and a summary

Bounds are a running error analysis as in tests/rounding.py. Not promised: anything whose intermediates overflow
float32, which of Inf and NaN it is, and gelu of an infinite argument.
"""

import numpy as np
import oracle
from fuzz import FACTORS, LAYOUTS, draw_kind, laid_out, main, stored, values
from rounding import ETA, FLUSH, Bound, U, assert_within
from scipy.special import expit, ndtr

from swinv2_kernels import _native

KINDS = {
    "one factor": 0.3,
    "factor a row": 0.3,
    "constant rows": 0.1,
    "large mean": 0.15,
    "strange elements": 0.15,
}
CHANNELS = (1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 48, 63, 64, 96, 100, 127, 192, 384, 1000)
ELEMENTS = 1 << 16


def draw_shape(rng, least):
    channels = int(rng.choice(CHANNELS))
    shape = [channels]
    for _ in range(int(rng.integers(least - 1, 4))):
        room = ELEMENTS // np.prod(shape)
        shape.insert(0, int(rng.integers(1, min(room, 2 ** int(rng.integers(1, 11))) + 1)))
    return tuple(shape)


def draw_rows(rng, shape, dtype, usual):
    """(..., C) float32 and what it is made of."""
    kind = draw_kind(rng, KINDS, usual)
    rows, factors = rng.standard_normal(shape, np.float32), FACTORS[dtype]
    if kind == "one factor":
        rows *= np.float32(rng.choice(factors))
    elif kind == "factor a row":
        rows *= rng.choice(factors, (*shape[:-1], 1)).astype(np.float32)
    elif kind == "constant rows":
        rows[:] = rows[..., :1]
    elif kind == "large mean":
        rows += np.float32(rng.choice([10, 1e3, 3e4]))
    elif kind == "strange elements":
        for _ in range(int(rng.integers(1, 4))):
            rows[tuple(rng.integers(0, n) for n in shape)] = rng.choice([np.nan, np.inf, -np.inf])
    return oracle.round_to(rows, dtype), kind


def draw_channels(rng, channels, usual):
    """gamma, beta, bias or keep: (C,)"""
    kind = draw_kind(rng, {"zero": 0.3, "one factor": 0.5, "strange": 0.2}, usual)
    x = rng.standard_normal(channels, np.float32)
    if kind == "zero":
        x[:] = 0
    elif kind == "one factor":
        x *= np.float32(rng.choice(FACTORS["float32"]))
    elif kind == "strange":
        x[rng.integers(0, channels)] = rng.choice([np.nan, np.inf])
    return x, kind


def held(error, *peaks):
    """Bound of elements whose intermediates stay below `peaks`."""
    peak = np.zeros(np.shape(error))
    for p in peaks:
        peak = np.maximum(peak, np.where(np.isfinite(p), np.abs(p), np.inf))
    return Bound(error, peak)


def layer_norm(x, y, gamma, beta, keep, epsilon, dout):
    """{name: (exact, Bound)} of residual_layer_norm.h in float64."""
    C, rows = y.shape[-1], tuple(range(y.ndim - 1))
    count = y.size // C

    def mean(a):
        return a.sum(-1, keepdims=True) / C

    k = keep.reshape((-1,) + (1,) * (y.ndim - 1))
    d = y - mean(y)
    d_error = U * ((C + 2) * mean(np.abs(y)) + 2 * np.abs(d)) + ETA
    variance = mean(d * d)
    v_error = (
        mean(2 * np.abs(d) * d_error + d_error**2) + U * (C + 4) * (variance + mean(d_error**2)) + C * ETA
    )
    low = np.maximum(variance - v_error, 0) + epsilon * (1 - 2 * U)
    r = 1 / np.sqrt(variance + epsilon)
    r_error = np.maximum(
        1 / np.sqrt(low) - r, r - 1 / np.sqrt(variance + v_error + epsilon)
    ) + 4 * U / np.sqrt(low)
    n = d * r
    n_error = np.abs(d) * r_error + d_error * (r + r_error) + 2 * U * np.abs(n) + ETA * (1 + r)
    affine = n * gamma + beta
    terms = np.abs(n * gamma) + np.abs(beta)
    a_error = np.abs(gamma) * n_error + 3 * U * (terms + np.abs(gamma) * n_error) + ETA
    out = x + k * affine
    top = C * np.maximum(mean(np.abs(y)), mean(d * d) + mean(d_error**2))
    results = {
        "out": (
            out,
            held(
                np.abs(k) * a_error + 3 * U * (np.abs(x) + np.abs(k) * (terms + a_error)) + ETA,
                top + 0 * y,
                np.abs(k) * (terms + a_error),
                terms + a_error,
            ),
        )
    }
    g = k * dout * gamma
    gn = g * n
    gn_error = np.abs(g) * n_error + 5 * U * (np.abs(gn) + np.abs(g) * n_error) + ETA * (2 + np.abs(n))
    m_error = U * (C + 5) * mean(np.abs(g)) + 2 * ETA
    mn_error = mean(gn_error) + U * (C + 3) * mean(np.abs(gn) + gn_error) + ETA
    size = np.abs(g) + mean(np.abs(g)) + (np.abs(n) + n_error) * mean(np.abs(gn) + gn_error)
    inner_error = (
        m_error + (np.abs(n) + n_error) * mn_error + n_error * np.abs(mean(gn)) + 8 * U * size + 4 * ETA
    )
    inner = g - mean(g) - n * mean(gn)
    dy_error = r_error * np.abs(inner) + (r + r_error) * (inner_error + 8 * U * size) + ETA * (2 + r)
    kd = np.maximum(np.abs(k), 1) * np.abs(dout) * np.maximum(np.abs(gamma), 1)
    peak = np.maximum(top, C * mean(kd * (1 + np.abs(n) + n_error)))
    peak = np.maximum(peak, np.maximum(r + r_error, 1) * np.maximum(np.abs(k), 1) * (size + kd))
    results["dy"] = r * inner, held(dy_error, peak)
    kdn = np.abs(k * dout) * (np.abs(n) + n_error)
    error = (np.abs(k * dout) * n_error).sum(rows) + U * (count + 6) * kdn.sum(rows) + count * ETA
    row_peak = np.broadcast_to(np.maximum(top, np.abs(k) * np.abs(dout)), y.shape)
    largest = row_peak.max(rows) if rows else row_peak
    results["dgamma"] = (k * dout * n).sum(rows), held(error, largest, kdn.sum(rows))
    kd = np.abs(k * dout)
    results["dbeta"] = (k * dout).sum(rows), held(U * (count + 4) * kd.sum(rows) + count * ETA, kd.sum(rows))
    rest = tuple(range(1, y.ndim))
    per_sample = y.size // y.shape[0]
    size = np.abs(dout) * (terms + np.abs(gamma) * n_error)
    error = (
        (np.abs(dout * gamma) * n_error).sum(rest)
        + U * (per_sample + 8) * size.sum(rest)
        + per_sample * 3 * ETA
    )
    error += ETA * (np.abs(n) + n_error).sum(rest)
    results["dkeep"] = (dout * affine).sum(rest), held(error, row_peak.max(rest), size.sum(rest))
    return results


def gelu(x, bias, dout, tanh):
    """{name: (exact, Bound)} of bias_gelu.h in float64."""
    z = x + bias
    z_error = U * np.abs(z) + ETA
    if tanh:
        root, cube = np.sqrt(2 / np.pi), 0.044715
        u, du = root * (z + cube * z**3), root * (1 + 3 * cube * z * z)
        s = expit(2 * u)
        rest = expit(-2 * u)  # 1 - s
        u_error = 8 * U * np.abs(u) + du * z_error
        relative = np.expm1(np.minimum(2 * u_error * (1 + U), 600)) + 8 * U
        s_error = np.minimum(s * relative * rest + 4 * U * s, 1) + s * s * 0 + FLUSH
        bend = 2 * z * s * rest * du
        slope = s + bend
        bend_error = 2 * np.abs(z) * du * (s_error * rest + s * (s_error + U)) + 12 * U * np.abs(bend)
        slope_error = s_error + bend_error + 2 * U * (s + np.abs(bend)) + 2 * z_error
        peak = np.maximum(np.abs(z), 1) ** 3
    else:
        s, bell = ndtr(z), np.exp(-z * z / 2)
        relative = np.expm1(np.minimum(U * (3 * z * z + 8) + 2 * np.abs(z) * z_error, 600))
        tail = ndtr(-np.abs(z))
        s_error = tail * (relative + 24 * U) + U * s + 2 * FLUSH
        bend = z * bell / np.sqrt(2 * np.pi)
        slope = s + bend
        bend_error = np.abs(bend) * (relative + 6 * U) + np.abs(z) * FLUSH
        slope_error = s_error + bend_error + U * np.abs(slope) + z_error * bell
        peak = z * z
    out_error = np.abs(z) * s_error + z_error * (s + np.abs(bend)) + 3 * U * np.abs(z * s) + ETA
    dx, dx_error = dout * slope, np.abs(dout) * slope_error * (1 + U) + U * np.abs(dout * slope) + ETA
    rows = tuple(range(x.ndim - 1))
    count = x.size // x.shape[-1]
    size = np.abs(dx) + dx_error
    sum_error = dx_error.sum(rows) + U * (count + 2) * size.sum(rows) + count * ETA
    worst = peak.max(rows) if rows else peak
    return {
        "out": (z * s, held(out_error, peak)),
        "dx": (dx, held(dx_error, peak, 2 * dout)),
        "dbias": (dx.sum(rows), held(sum_error, worst, 2 * np.abs(dout).sum(rows))),
    }


class Rows:
    """What every random case of an operator over rows does: run it, and hold the results to the oracle.

    A subclass has its script's name, draws seed, isa, threads, arrays, kinds and layouts, and has name(), results()
    and compare(results).
    """

    def __str__(self):
        kinds = ", ".join(f"{name} {kind}" for name, kind in self.kinds.items() if kind != "normal")
        layouts = ", ".join(f"{name} {layout}" for name, layout in self.layouts.items() if layout != "c")
        told = f"{self.name()} {self.isa} {self.threads} threads; {kinds or 'normal'}; {layouts or 'c'}"
        return f"seed {self.seed}: {told}"

    def lay(self, name, array):
        return laid_out(array, self.layouts[name], self.rng)

    def run(self):
        """{name: float32 array} from the kernels."""
        _native.set_isa(self.isa)
        _native.set_num_threads(self.threads)
        try:
            return self.results()
        finally:
            _native.set_isa("")
            _native.set_num_threads(0)

    def check(self):
        """Run, and hold every result to the oracle. Returns the smallest share of promised elements."""
        try:
            with np.errstate(all="ignore"):
                return self.compare(self.run())
        except Exception as error:
            again = f"reproduce: python tests/{self.script} {self.seed}"
            raise AssertionError(f"{self}\n{error}\n{again}") from error


class FuzzRows(Rows):
    """One random case: everything but the instruction set depends on the seed alone."""

    script = "fuzz_rows.py"

    def __init__(self, seed):
        rng = self.rng = np.random.default_rng([seed, 1])
        self.seed, self.norm = seed, bool(rng.integers(0, 2))
        self.dtype = self.y_dtype = str(rng.choice(oracle.DTYPES))
        if self.norm and rng.random() < 0.25:
            self.dtype = "float32"  # a residual stream beside y of any dtype
        self.threads = int(rng.integers(1, 4))
        self.isa = _native.isas()[int(rng.integers(0, 60)) % len(_native.isas())]
        shape, usual = draw_shape(rng, 2 if self.norm else 1), rng.random() < 0.3
        names = ("x", "y", "dout") if self.norm else ("x", "dout")
        with np.errstate(all="ignore"):
            drawn = {
                name: draw_rows(rng, shape, self.y_dtype if name == "y" else self.dtype, usual)
                for name in names
            }
            rest = ("gamma", "beta") if self.norm else ("bias",)
            drawn |= {name: draw_channels(rng, shape[-1], usual) for name in rest}
        self.kinds = {name: str(kind) for name, (_, kind) in drawn.items()}
        self.arrays = {name: array for name, (array, _) in drawn.items()}
        if self.norm:
            self.arrays["keep"] = rng.choice([0, 1, 1.25], shape[0]).astype(np.float32)
            self.option = float(rng.choice([1e-5, 1e-5, 1e-12, 1e-3, 1.0]))
        else:
            self.option = str(rng.choice(["none", "tanh"]))
        names = (*self.arrays, "stats") if self.norm else tuple(self.arrays)
        self.layouts = dict(zip(names, map(str, rng.choice(LAYOUTS, len(names)))))

    def name(self):
        operator = "residual_layer_norm" if self.norm else "bias_gelu"
        return f"{operator} {self.arrays['x'].shape} {self.option} {self.dtype} {self.y_dtype}"

    def results(self):
        def lay(*names):
            for name in names:
                dtype = {"y": self.y_dtype, "x": self.dtype, "dout": self.dtype}.get(name, "float32")
                yield self.lay(name, stored(self.arrays[name], dtype))

        if self.norm:
            rest = ("gamma", "beta", "keep")
            out, stats = _native.residual_layer_norm_forward(*lay("x", "y", *rest), self.option)
            given = (*lay("y", *rest), self.lay("stats", stats), *lay("dout"), self.option)
            results = out, *_native.residual_layer_norm_backward(*given)
            names = ("out", "dy", "dgamma", "dbeta", "dkeep")
        else:
            out = _native.bias_gelu_forward(*lay("x", "bias"), self.option)
            results = out, *_native.bias_gelu_backward(*lay("x", "bias", "dout"), self.option)
            names = ("out", "dx", "dbias")
        return {name: values(array) for name, array in zip(names, results)}

    def compare(self, actual):
        wide = {name: array.astype(np.float64) for name, array in self.arrays.items()}
        exempt = {}
        if self.norm:
            dout = wide.pop("dout")
            expected = layer_norm(**wide, epsilon=float(np.float32(self.option)), dout=dout)
        else:
            expected = gelu(**wide, tanh=self.option == "tanh")
            infinite = np.isinf(wide["x"] + wide["bias"])
            columns = infinite.any(tuple(range(infinite.ndim - 1))) if infinite.ndim > 1 else infinite
            exempt = {"out": infinite, "dx": infinite, "dbias": columns}
        dtypes = {"out": self.dtype, "dx": self.dtype, "dy": self.y_dtype}
        return min(
            assert_within(
                name, actual[name], exact, bound, dtypes.get(name, "float32"), exempt.get(name, False)
            )
            for name, (exact, bound) in expected.items()
        )


if __name__ == "__main__":
    main(FuzzRows)
