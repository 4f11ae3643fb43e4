# SPDX-License-Identifier: Apache-2.0
"""Random cases for the CPU kernels of linear, patch_merging and patch_embedding, each a pure function of its seed.

    python tests/fuzz_linear.py 17            one case, or
    python tests/fuzz_linear.py 300 10300     a range, and a summary

A sum of n products in any order lies within n u sum |terms| (u = 2^-24). With pairs of bfloat16 (csrc/cpu/pairs.h) the
product is that of the rounded weight; in terms of them (csrc/cpu/terms.h) products far below the largest may be lost.
Not promised: as in tests/fuzz_rows.py.
"""

import numpy as np
import oracle
from fuzz import FACTORS, LAYOUTS, draw_kind, main, stored, values
from fuzz_rows import Rows, draw_rows, gelu, held
from rounding import ETA, U, assert_within
from test_linear import gather, scatter

from swinv2_kernels import _native

WEIGHTS = {"zero": 0.2, "one factor": 0.6, "strange": 0.2}
SIZES = (1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 47, 48, 49, 63, 64, 65, 96, 97, 144, 200, 385)
PRODUCTS = 1 << 21


def draw_view(rng):
    """view, shape of x, N, patch size"""
    view = str(rng.choice(["tokens", "tokens", "merging", "embedding"]))
    outputs, patch = int(rng.choice(SIZES)), 0
    if view == "tokens":
        K, leading = int(rng.choice(SIZES)), int(rng.integers(0, 4))
        room = max(PRODUCTS // (K * outputs), 1)
        shape = [K]
        for _ in range(leading):
            most = max(room * K // int(np.prod(shape)), 1)
            shape.insert(0, int(rng.integers(1, min(most, 2 ** int(rng.integers(1, 12))) + 1)))
        return view, tuple(shape), outputs, patch
    batch, rows, cols = (int(n) for n in rng.integers(1, 7, 3))
    if view == "merging":
        return view, (batch, 2 * rows, 2 * cols, int(rng.choice(SIZES[:16]))), outputs, patch
    patch, channels = int(rng.integers(1, 9)), int(rng.integers(1, 5))
    return view, (batch, channels, patch * rows, patch * cols), outputs, patch


def draw_weight(rng, shape, usual):
    kind = draw_kind(rng, WEIGHTS, usual)
    weight = rng.standard_normal(shape, np.float32)
    if kind == "zero":
        weight[rng.random(shape[0]) < 0.5] = 0
    elif kind == "one factor":
        weight *= np.float32(rng.choice(FACTORS["float32"]))
    elif kind == "strange":
        weight[tuple(rng.integers(0, n) for n in shape)] = rng.choice([np.nan, np.inf])
    return weight, kind


def rounded(weight):
    """To the 8 bits of a bfloat16, as if no exponent were too small."""
    fraction, exponent = np.frexp(weight)
    return np.where(np.isfinite(weight), np.ldexp(np.round(fraction * 2**8), exponent - 8), weight)


def flushed(share, a, weight):
    """What may be lost besides: of the product of the largest elements such a share for each term."""
    if not share:
        return 0
    rows, columns = np.abs(a).max(-1, keepdims=True), np.abs(weight).max(-1)
    return a.shape[-1] * (share * rows * columns + ETA)


def product(a, b):
    """a b, its error and the size of its terms."""
    size = np.abs(a) @ np.abs(b)
    terms = a.shape[-1] + 2
    return a @ b, U * terms * size + terms * ETA, size


class FuzzLinear(Rows):
    """One random case: everything but the instruction set depends on the seed alone."""

    script = "fuzz_linear.py"

    def __init__(self, seed):
        rng = self.rng = np.random.default_rng([seed, 2])
        self.seed, self.dtype = seed, str(rng.choice(oracle.DTYPES))
        self.threads = int(rng.integers(1, 4))
        self.isa = _native.isas()[int(rng.integers(0, 60)) % len(_native.isas())]
        self.view, shape, outputs, self.patch = draw_view(rng)
        self.gelu = None
        if self.view == "tokens" and rng.random() < 0.5:
            self.gelu = str(rng.choice(["none", "tanh"]))
        usual = rng.random() < 0.3
        with np.errstate(all="ignore"):
            x, x_kind = draw_rows(rng, shape, self.dtype, usual)
            rows = gather(x, self.view, self.patch).shape
            dout, dout_kind = draw_rows(rng, (*rows[:-1], outputs), self.dtype, usual)
            weight, weight_kind = draw_weight(rng, (outputs, rows[-1]), usual)
            bias, bias_kind = draw_weight(rng, (outputs,), usual)
        self.arrays = {"x": x, "weight": weight, "bias": bias, "dout": dout}
        self.kinds = {"x": x_kind, "weight": weight_kind, "bias": bias_kind, "dout": dout_kind}
        self.layouts = dict(zip(self.arrays, map(str, rng.choice(LAYOUTS, len(self.arrays)))))
        self.weight_dtype = "bfloat16" if self.dtype == "bfloat16" and rng.random() < 0.5 else "float32"
        with np.errstate(over="ignore"):
            self.arrays["weight"] = oracle.round_to(weight, self.weight_dtype)

    def name(self):
        shapes = f"{self.arrays['x'].shape} {self.arrays['weight'].shape}"
        return f"linear of {self.view} {shapes} {self.weight_dtype} {self.gelu} {self.dtype}"

    def results(self):
        x, dout = (self.lay(name, stored(self.arrays[name], self.dtype)) for name in ("x", "dout"))
        weight, bias = (self.lay(name, self.arrays[name]) for name in ("weight", "bias"))
        how = {"view": self.view, "patch_size": self.patch}
        given = self.lay("weight", stored(self.arrays["weight"], self.weight_dtype))
        out = _native.linear_forward(x, given, bias, self.gelu, **how)
        gradients = _native.linear_backward(x, weight, dout, **how)
        return dict(zip(("out", "dx", "dweight", "dbias"), map(values, (out, *gradients))))

    def compare(self, actual):
        x, weight, bias, dout = (array.astype(np.float64) for array in self.arrays.values())
        a = gather(x, self.view, self.patch)
        rows, flat = a.reshape(-1, a.shape[-1]), dout.reshape(-1, dout.shape[-1])
        pairs = self.dtype == "bfloat16" and self.isa.endswith("bf16")
        factor = rounded(weight) if pairs else weight
        share = 2.0**-26 if pairs else 2.0**-43 if self.isa == "amx_bf16" else 0  # round_row, step_of
        out, error, size = product(a, factor.T)
        error = error + flushed(share, a, weight)
        z, error, exempt = out + bias, error + 2 * U * (size + np.abs(bias)) + ETA, False
        bounds = {"out": (z, held(error, size, bias))}
        if self.gelu:
            value, bound = gelu(z, np.zeros(1), np.zeros_like(z), self.gelu == "tanh")["out"]
            # gelu's slope is at most 1.13, and its value for another z as exact as for this one.
            error = bound.error + 1.2 * error + 64 * U * (np.abs(z) + error)
            bounds["out"] = (
                value,
                held(error, size, bias, (np.abs(z) + error) ** (3 if self.gelu == "tanh" else 2)),
            )
            exempt = np.isinf(z)
        da, error, size = product(dout, factor)
        parts = da, error + flushed(share, dout, weight.T), size
        da, error, size = (scatter(part, x.shape, self.view, self.patch) for part in parts)
        bounds["dx"] = da, held(error, size)
        dweight, error, size = product(flat.T, rows)
        bounds["dweight"] = dweight, held(error + flushed(share, flat.T, rows.T), size)
        size = np.abs(flat).sum(0)
        bounds["dbias"] = flat.sum(0), held(U * (len(flat) + 2) * size, size)
        dtypes = {"out": self.dtype, "dx": self.dtype}
        return min(
            assert_within(
                name,
                actual[name],
                exact,
                bound,
                dtypes.get(name, "float32"),
                exempt if name == "out" else False,
            )
            for name, (exact, bound) in bounds.items()
        )


if __name__ == "__main__":
    main(FuzzLinear)
