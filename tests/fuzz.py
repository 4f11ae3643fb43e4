# SPDX-License-Identifier: Apache-2.0
"""Random cases for the CPU kernels, each a pure function of its seed.

    python tests/fuzz.py 17            one case, or
    python tests/fuzz.py 300 10300     a range, and a summary

What is promised when inputs are not finite:

- A (window, head) with finite inputs gives what it would give alone, whatever the others hold. The sums over windows
  (`dbias_table`, `dscale`) of a head do not depend on the other heads.
- Within a (window, head), `out` and `dqkv` are not finite exactly where the formula is not: a NaN value spoils its
  channel for every query of the window, a NaN query its row, a NaN key everything.
- A head's `dbias_table` and `dscale` are not finite where the formula is not. Where the formula is finite although one
  of the head's windows is not, entries may still be NaN: padding shares vectors with tokens, and 0 * NaN is NaN.

Not promised: which of Inf and NaN it is (a weight may be 0 in float32 and 1e-60 in the formula, and 0 * Inf is NaN);
anything whose intermediates overflow float32; a head whose table or scale holds NaN or +Inf; and the gradients in a
(window, head) where a key of dot-product attention is infinite, or where all logits of a query are -Inf (0 / 0).
"""

import sys
from dataclasses import dataclass

import numpy as np
import oracle
from cases import Case
from rounding import Rounding, assert_within

from swinv2_kernels import _native

MASKS = (-100.0, -100.0, 0.0, -np.inf, -5.0)
HEAD_DIMS = (1, 2, 3, 5, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 47, 48, 63, 64, 65, 79, 80)
LAYOUTS = ("c", "c", "fortran", "reversed", "strided", "transposed", "shifted", "misaligned", "read-only")
# Factors of normal deviates, by what the dtype can hold.
FACTORS = {
    "float32": (0.0, 1e-40, 1e-30, 1e-13, 1e-11, 1e-3, 1.0, 30.0, 1e4, 1e18),
    "bfloat16": (0.0, 1e-39, 1e-30, 1e-13, 1e-11, 1e-3, 1.0, 30.0, 1e4, 1e18),
    "float16": (0.0, 1e-7, 1e-5, 1e-3, 1.0, 30.0, 1e4),
}
PAIRS = 1 << 20  # (query, key, head) triples a case may have
ELEMENTS = 1 << 18


def draw_case(rng):
    """A `Case` of any geometry whose oracle takes some ten milliseconds."""
    kind = rng.choice(["square", "oblong", "tall", "wide", "single"], p=[0.45, 0.3, 0.1, 0.1, 0.05])
    if kind == "square":
        window = (int(rng.integers(1, 21)),) * 2
    elif kind == "oblong":
        window = tuple(int(n) for n in rng.integers(1, 21, 2))
    elif kind == "tall":  # columns longer than a key tile
        window = (int(rng.integers(60, 140)), int(rng.integers(1, 4)))
    elif kind == "wide":
        window = (int(rng.integers(1, 4)), int(rng.integers(30, 140)))
    else:
        window = (1, int(rng.integers(1, 3)))
    tokens = window[0] * window[1]
    batch, heads, head_dim = int(rng.integers(1, 4)), int(rng.integers(1, 5)), int(rng.choice(HEAD_DIMS))
    rows, cols = (int(n) for n in rng.integers(1, 5, 2))

    def too_large():
        count = batch * rows * cols * heads * tokens
        return count * tokens > PAIRS or count * 3 * head_dim > ELEMENTS

    while too_large() and batch * rows * cols * heads > 1:
        batch, rows, cols, heads = (max(1, n - int(rng.integers(0, 2))) for n in (batch, rows, cols, heads))
    while too_large():
        head_dim = (head_dim + 1) // 2
    height, width = rows * window[0], cols * window[1]
    shift = tuple(int(rng.integers(0, n)) if rng.random() < 0.7 else 0 for n in window)
    valid = None
    if rng.random() < 0.4:
        valid = tuple(int(rng.integers(1, n + 1)) if rng.random() < 0.8 else n for n in (height, width))
    return Case(
        batch,
        height,
        width,
        window,
        shift,
        heads,
        head_dim,
        valid,
        mask_value=float(rng.choice(MASKS)),
        cosine=bool(rng.random() < 0.7),
    )


IMAGES = {
    "one factor": 0.24,
    "regions": 0.24,
    "some zero": 0.12,
    "constant": 0.08,
    "few values": 0.08,
    "strange elements": 0.14,
    "strange regions": 0.1,
}
TABLES = {"zero": 0.2, "sigmoid": 0.4, "large": 0.16, "some -inf": 0.16, "strange": 0.08}
SCALES = {"saturated": 0.48, "small": 0.4, "strange": 0.12}


def draw_kind(rng, kinds, usual):
    """One of `kinds` by its probability; "normal" always where `usual`, and half the time elsewhere."""
    special = str(rng.choice(list(kinds), p=list(kinds.values())))
    return "normal" if rng.random() < 0.5 or usual else special


def draw_image(rng, shape, dtype, usual):
    """(B, H, W, C) float32 and what it is made of."""
    kind = draw_kind(rng, IMAGES, usual)
    image = rng.standard_normal(shape, np.float32)
    batch, height, width, channels = shape
    factors = FACTORS[dtype]
    if kind == "one factor":
        image *= np.float32(rng.choice(factors))
    elif kind == "some zero":
        image[rng.random(shape[:3]) < rng.random()] = 0
    elif kind == "constant":
        image[:] = image[:1, :1, :1]
    elif kind == "few values":
        image = np.round(image)
    elif kind == "strange elements":
        for _ in range(int(rng.integers(1, 4))):
            image[tuple(rng.integers(0, n) for n in shape)] = rng.choice([np.nan, np.inf, -np.inf])
    elif kind in ("regions", "strange regions"):
        for _ in range(int(rng.integers(1, 7))):
            top, left = int(rng.integers(0, height)), int(rng.integers(0, width))
            bottom, right = int(rng.integers(top, height)) + 1, int(rng.integers(left, width)) + 1
            image[rng.integers(0, batch), top:bottom, left:right] *= np.float32(rng.choice(factors))
        if kind == "strange regions":
            image[rng.integers(0, batch), top:bottom, left:right] = rng.choice([np.nan, np.inf, -np.inf])
    return image, kind


def draw_table(rng, shape, usual):
    kind = draw_kind(rng, TABLES, usual)
    table = 2 * rng.standard_normal(shape, np.float32)
    if kind == "zero":
        table[:] = 0
    elif kind == "sigmoid":
        table = np.float32(16) / (1 + np.exp(-table))
    elif kind == "large":
        table *= np.float32(rng.choice([1e2, 1e4, 1e18]))
    elif kind == "some -inf":
        table[rng.random(shape) < 0.3] = -np.inf
    elif kind == "strange":
        table[tuple(rng.integers(0, n) for n in shape)] = rng.choice([np.nan, np.inf])
    return table.astype(np.float32), kind


def draw_scale(rng, heads, head_dim, cosine, usual):
    if not cosine:
        factor = head_dim**-0.5 if usual else rng.choice([head_dim**-0.5, 1.0, -0.3])
        return np.full(heads, factor, np.float32), "dot"
    kind = draw_kind(rng, SCALES, usual)
    scale = oracle.effective_scale(rng.uniform(1.5, 3.5, heads))
    if kind == "saturated":
        scale[:] = 100
    elif kind == "small":
        scale = np.exp(rng.uniform(-20, 1, heads))
    elif kind == "strange":
        scale[rng.integers(0, heads)] = rng.choice([np.nan, np.inf])
    return scale.astype(np.float32), kind


def laid_out(array, layout, rng):
    """The same values in another memory layout; what lies between is NaN or all bits set."""
    array = np.ascontiguousarray(array)
    if layout == "fortran":
        return np.asfortranarray(array)
    if layout == "reversed":
        axes = tuple(rng.permutation(array.ndim)[: rng.integers(1, array.ndim + 1)])
        return np.flip(np.ascontiguousarray(np.flip(array, axes)), axes)
    if layout == "strided":
        steps = rng.integers(1, 4, array.ndim)
        room = np.full([n * s for n, s in zip(array.shape, steps)], 0xFF, np.uint8)
        room = np.repeat(room, array.itemsize, -1).view(array.dtype)
        view = room[tuple(slice(int(rng.integers(0, s)), None, int(s)) for s in steps)]
        view[...] = array
        return view
    if layout == "transposed":
        axes = rng.permutation(array.ndim)
        return np.ascontiguousarray(array.transpose(axes)).transpose(np.argsort(axes))
    if layout in ("shifted", "misaligned"):
        start = array.itemsize * int(rng.integers(1, 16)) + (layout == "misaligned")
        return np.frombuffer(b"\xff" * start + array.tobytes(), array.dtype, offset=start).reshape(
            array.shape
        )
    if layout == "read-only":
        array = array.copy()
        array.flags.writeable = False
    return array


def stored(array, dtype):
    return oracle.bfloat16_bits(array) if dtype == "bfloat16" else np.asarray(array, dtype)


def values(array):
    return oracle.bfloat16_from_bits(array) if array.dtype == np.uint16 else array


@dataclass
class Fuzz:
    """One random case: everything but the instruction set depends on the seed alone."""

    seed: int

    def __post_init__(self):
        rng = self.rng = np.random.default_rng(self.seed)
        self.case = case = draw_case(rng)
        self.dtype = str(rng.choice(oracle.DTYPES))
        self.threads = int(rng.integers(1, 4))
        usual = rng.random() < 0.3
        channels = case.heads * case.head_dim
        shape = (case.batch, case.height, case.width, channels)
        with np.errstate(all="ignore"):
            parts, kinds = zip(*(draw_image(rng, shape, self.dtype, usual) for _ in range(4)))
            self.qkv = oracle.round_to(np.concatenate(parts[:3], -1), self.dtype)
            self.dout = oracle.round_to(parts[3], self.dtype)
        self.table, table_kind = draw_table(rng, (case.heads, *(2 * n - 1 for n in case.window_size)), usual)
        self.scale, scale_kind = draw_scale(rng, case.heads, case.head_dim, case.cosine, usual)
        self.kinds = dict(
            zip(("q", "k", "v", "dout"), map(str, kinds)), table=str(table_kind), scale=str(scale_kind)
        )
        names = ("qkv", "table", "scale", "out", "stats", "dout")
        self.layouts = dict(zip(names, map(str, rng.choice(LAYOUTS, len(names)))))
        self.isa = _native.isas()[int(rng.integers(0, 60)) % len(_native.isas())]

    def __str__(self):
        kinds = ", ".join(f"{name} {kind}" for name, kind in self.kinds.items() if kind != "normal")
        layouts = ", ".join(f"{name} {layout}" for name, layout in self.layouts.items() if layout != "c")
        return (
            f"seed {self.seed}: {self.case} mask {self.case.mask_value:g} {self.dtype} {self.isa} "
            f"{self.threads} threads; {kinds or 'normal'}; {layouts or 'c'}"
        )

    @property
    def options(self):
        case = self.case
        return {
            "shift_size": case.shift_size,
            "valid_size": case.valid_size,
            "mask_value": case.mask_value,
            "cosine": case.cosine,
        }

    @property
    def rounds_weights(self):
        """Whether the forward multiplies bfloat16 by bfloat16."""
        pairs = self.isa in ("avx512_bf16", "amx_bf16") and self.dtype == "bfloat16"
        return pairs and self.case.cosine and self.case.head_dim == 32

    def lay(self, name, array):
        return laid_out(array, self.layouts[name], self.rng)

    def run(self):
        """dict(out, dqkv, dbias_table, dscale) as float32, from the kernels."""
        _native.set_isa(self.isa)
        _native.set_num_threads(self.threads)
        try:
            qkv, dout = (stored(x, self.dtype) for x in (self.qkv, self.dout))
            inputs = self.lay("qkv", qkv), self.lay("table", self.table), self.lay("scale", self.scale)
            out, stats = _native.window_attention_forward(*inputs, **self.options)
            rest = self.lay("out", out), self.lay("stats", stats), self.lay("dout", dout)
            gradients = _native.window_attention_backward(*inputs, *rest, **self.options)
        finally:
            _native.set_isa("")
            _native.set_num_threads(0)
        return dict(zip(("out", "dqkv", "dbias_table", "dscale"), map(values, (out, *gradients))))

    def check(self):
        """Run, and hold every result to the oracle. Returns the smallest share of promised elements."""
        try:
            with np.errstate(all="ignore"):
                return self._check(self.run())
        except Exception as error:
            raise AssertionError(f"{self}\n{error}\nreproduce: python tests/fuzz.py {self.seed}") from error

    def _check(self, actual):
        case = self.case
        a = oracle._Attention(self.qkv, self.table, self.scale, np.float64, cosine=case.cosine, **case.how)
        rounding = Rounding(a, case.mask_value, self.rounds_weights)
        odd_head = ~(
            np.isfinite(self.scale) & (np.isfinite(self.table) | (self.table == -np.inf)).all((1, 2))
        )
        dqkv, dtable, dscale = a.backward(self.dout, actual["out"])
        bounds = rounding.backward()
        finite = [
            np.isfinite(x).all((-1, -2)) for x in (a.q, a.k, a.v, a.dout, a.stored)
        ]  # (B, windows, heads)
        dirty = ~np.logical_and.reduce(finite).all((0, 1))[:, None, None]
        loose = rounding.blind | odd_head | (~finite[1] & (not case.cosine))
        tokens = np.broadcast_to(loose[None, ..., None, None], (3, *a.v.shape))
        loose_tokens, loose_heads = rounding.image(tokens), loose.any((0, 1))[:, None, None]

        def within(name, exact, bound, dtype="float32", exempt=loose_heads, dirty=dirty):
            got, shape = actual[name], np.shape(exact) + (1,) * (3 - np.ndim(exact))
            return assert_within(name, got.reshape(shape), exact.reshape(shape), bound, dtype, exempt, dirty)

        return min(
            within("out", a.out, rounding.out, self.dtype, np.repeat(odd_head, case.head_dim), False),
            within("dqkv", dqkv, bounds[0], self.dtype, loose_tokens, False),
            within("dbias_table", dtable, bounds[1]),
            within("dscale", dscale, bounds[2]),
        )


def main(kind):
    """The command line of a module of cases: a seed, or a range of them."""
    first, stop = (*map(int, sys.argv[1:3]), None)[:2]
    failed, shares = [], []
    for seed in range(first, stop or first + 1):
        try:
            shares.append(kind(seed).check())
            if stop is None:
                print(f"{kind(seed)}\nholds; {shares[0]:.0%} of the elements are promised")
        except AssertionError as error:
            print(error, flush=True)
            failed.append(seed)
    if stop is not None:
        print(
            f"{len(shares)} hold, {len(failed)} fail {failed}; {np.mean(shares):.1%} of the elements are promised"
        )
    sys.exit(bool(failed))


if __name__ == "__main__":
    main(Fuzz)
