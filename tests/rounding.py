# SPDX-License-Identifier: Apache-2.0
"""How far float32 arithmetic may lie from the oracle, element by element: a running error analysis in float64.

`oracle.tolerance` measures against plain NumPy's own luck, which needs many values. Ten thousand random cases of any
size need a bound that does not depend on luck: every intermediate x of the formula carries |x|'s rounding, n u |terms|
for a sum of n terms in any order (u = 2^-24), plus what its inputs bring (Higham, Accuracy and Stability of Numerical
Algorithms, chapters 3 and 4). Logits come with an absolute error delta; softmax weights then stay within

    p exp(-delta) / sum p exp(delta)  <=  p'  <=  min(1, p exp(delta + sum p delta))

to all orders, so saturated softmaxes (logits of 1e36) are bounded as tightly as flat ones.
"""

import numpy as np
from oracle import _scatter, round_to

U = 2.0**-24
ETA = 2.0**-149  # an underflow rounds by this much
FLUSH = 2.0**-125  # a weight below 2^-126 may become zero, before its row is normalised
RANGE = 2.0**125  # intermediates beyond may overflow, whatever units they are kept in
BF16 = 2.0**-8 * 1.01  # a weight rounded to bfloat16, to all orders
EXP = 6  # ulps of an exp2 or log2, and of the multiplications around it


class Bound:
    """What is promised of one element array: `error`, and `promised` where nothing overflows on the way."""

    def __init__(self, error, peak):
        self.error = error
        self.promised = (peak < RANGE) & np.isfinite(error)


class Rounding:
    """Bounds for one `oracle._Attention` in float64: `out`, then `backward`."""

    def __init__(self, attention, mask_value, rounds_weights=False):
        a, geo = attention, attention.geo
        self.a = a
        self.q, self.k, self.v = np.abs(a.q), np.abs(a.k), np.abs(a.v)
        self.count, self.dim = a.v.shape[-2:]
        # Longest chain of a sum over tokens: each term once, and three operations for each tile of 32 or column.
        self.chain = self.count + 3 * (self.count // 32 + a.table.shape[-1]) + 8
        self.unit = self.dim / 2 + 4 if a.cosine else 0.0  # ulps of q^ and k^
        self.scale = np.abs(a.scale)
        self.products = self.q @ self.k.swapaxes(-1, -2)
        seen = a.logits > -np.inf
        self.blind = (geo.valid[None, :, None] & ~seen.any(-1)).any(
            -1
        )  # (B, windows, heads): a query without a key
        mask = np.where(geo.region[:, :, None] == geo.region[:, None, :], 0, max(-mask_value, 0))[:, None]
        terms = np.where(seen, self.scale * self.products, 0)
        bias = np.where(seen, np.abs(a.table[:, geo.dy, geo.dx]), 0)
        mask, logits = np.where(seen, mask, 0), np.where(seen, a.logits, 0)
        row_top = np.where(seen, a.logits, -np.inf).max(-1, keepdims=True)
        row_top = np.where(row_top == -np.inf, 0, row_top)
        sizes = (self.dim + 2 * self.unit + 6) * terms + 4 * (bias + mask)
        delta = np.where(seen, U * (sizes + 3 * np.abs(logits) + 3 * np.abs(row_top) + EXP), 0)
        total = np.where(seen, np.exp(logits - row_top), 0).sum(-1, keepdims=True)
        log_total = np.log(np.where(total == 0, 1, total))
        self.lse = row_top + log_total
        self.log_p = np.where(seen, logits - row_top - log_total, -np.inf)  # lse of 1e17 has no digits left
        p = np.exp(self.log_p)
        lift = (p * delta).sum(-1, keepdims=True)
        drop = np.log((p * np.exp(np.minimum(delta, 600))).sum(-1, keepdims=True).clip(1))
        # A product that overflows is Inf, which -Inf of the mask or the table makes a NaN.
        unseen = np.where(a.pairs & ~seen & np.isfinite(self.products), self.scale * self.products, 0)
        self.p, self.delta, self.peak = p, delta, (terms + bias + mask + unseen).max(-1, keepdims=True)
        self.lse_error = np.maximum(lift, drop) + U * (self.chain + 4 * np.abs(self.lse) + EXP)
        moved = self._moved(lift, drop)
        moved = np.minimum(
            moved, moved.sum(-1, keepdims=True) - moved
        )  # what one weight loses the others gain
        size = (p + moved) @ self.v
        error = moved @ self.v + moved.sum(-1, keepdims=True) * np.abs(p @ a.v)
        error += U * (self.chain + EXP) * size + (FLUSH + self.chain * ETA) * self.v.sum(-2, keepdims=True)
        error += self.chain * ETA * (self.v.sum(-2, keepdims=True) > 0)
        if rounds_weights:  # as products of bfloat16 do, which also take denormals for zero
            error += BF16 * (size + np.abs(p @ a.v)) + FLUSH
        self.out = Bound(
            self.image(error[None]), self.image(np.maximum(self.peak, self.v.sum(-2, keepdims=True))[None])
        )

    def _moved(self, lift, drop):
        """|p' - p| at most."""
        up = np.exp(np.minimum(self.log_p + self.delta + lift, 0)) - self.p
        return np.maximum(up, self.p * -np.expm1(-self.delta - drop))

    def image(self, tokens):
        return _scatter(tokens, self.a.geo, self.a.height, self.a.width)

    def backward(self):
        """Bounds of (dqkv, dbias_table, dscale), after the backward of the attention."""
        a, geo, scale, n = self.a, self.a.geo, self.scale, self.chain
        dout, out = a.dout, a.stored
        g = dout @ a.v.swapaxes(-1, -2) - (dout * out).sum(-1, keepdims=True)
        do, g = np.abs(dout), np.abs(g)
        g_size = do @ self.v.swapaxes(-1, -2) + (do * np.abs(out)).sum(-1, keepdims=True)
        moved = self._moved(self.lse_error, self.lse_error)
        p = self.p + moved
        g_error = U * (self.dim + 4) * g_size + (2 * self.dim + 2) * ETA
        error = np.where(a.pairs, moved * g + p * (g_error + 3 * U * g) + FLUSH * g + ETA, 0)
        size = np.where(a.pairs, self.p * g, 0) + error  # of ds
        dv = moved.swapaxes(-1, -2) @ do + U * n * p.swapaxes(-1, -2) @ do
        dv += FLUSH * do.sum(-2, keepdims=True) + n * ETA
        dv_peak = np.maximum(self.peak.max(-2, keepdims=True), (p.swapaxes(-1, -2) @ do))
        peak = np.where(a.pairs, np.maximum(g_size, self.peak), 0)  # of what goes into each ds
        factor = np.maximum(scale, 1)

        def side(error, size, peak, other, raw, norm, dhat):
            """dq from the keys, or dk from the queries: ds (.., N, M), other and raw (.., M or N, d)."""
            e = (
                scale * (error @ other)
                + U * (self.unit + n + 6) * scale * (size @ other)
                + factor * (n + 4) * ETA
            )
            top = np.maximum(peak.max(-1, keepdims=True), factor * (size @ other).max(-1, keepdims=True))
            if norm is None:
                return e, np.broadcast_to(top, e.shape)
            x, (length, divides) = np.abs(raw), norm
            grad = np.abs(dhat) + e
            radial = (x * grad).sum(-1, keepdims=True)
            along = divides * (
                x * (x * e).sum(-1, keepdims=True) + U * (3 * self.unit + self.dim + 8) * x * radial
            )
            e = (e + along + U * (self.unit + 8) * grad + 2 * self.dim * ETA) / length + 2 * ETA
            return e, np.broadcast_to(np.maximum(top, radial), e.shape)

        dq, dq_peak = side(error, size, peak, self.k, a.q, a.q_norm, a.scale * (a.dlogits @ a.k))
        swap = [x.swapaxes(-1, -2) for x in (error, size, peak, a.dlogits)]
        dk, dk_peak = side(*swap[:3], self.q, a.k, a.k_norm, a.scale * (swap[3] @ a.q))

        chain = U * (n + 2 * self.dim + 2 * self.unit + geo.rows.shape[0] * dout.shape[0])
        entry = error + chain * size + n * ETA
        table = np.stack([_per_offset(e, geo, a.table.shape) for e in entry.sum((0, 1))])
        read = np.stack([_per_offset(e, geo, a.table.shape) for e in peak.max((0, 1))])
        dscale = (error * self.products + chain * size * self.products + n * ETA * (1 + self.products)).sum(
            (0, 1, 3, 4)
        )
        top = np.maximum(peak, size * self.products).sum((0, 1, 3, 4))
        return (
            Bound(self.image(np.stack([dq, dk, dv])), self.image(np.stack([dq_peak, dk_peak, dv_peak]))),
            Bound(table, read),
            Bound(dscale[:, None, None], top[:, None, None]),
        )


def _per_offset(pairs, geo, table):
    at = np.ravel_multi_index((geo.dy, geo.dx), table[1:])
    return np.bincount(at.ravel(), pairs.ravel(), table[1] * table[2]).reshape(table[1:])


def assert_within(name, actual, exact, bound, dtype, exempt=False, dirty=False):
    """`actual`, rounded to `dtype`, where exact arithmetic plus `bound` puts it; not finite where `exact` is not.

    exempt: elements of which nothing is promised; dirty: elements that may be NaN where `exact` is finite. Returns
    the share of elements that were held to a value.
    """
    actual = np.asarray(actual, np.float64)
    strange = ~np.isfinite(exact)
    bad = strange & np.isfinite(actual) & ~exempt
    promised = bound.promised & ~strange & ~exempt & ~(dirty & ~np.isfinite(actual))
    x, e = np.where(promised, exact, 0), np.where(promised, bound.error, 0)
    low, high = (round_to(end, dtype) for end in (x - e, x + e))
    bad |= promised & ~((actual >= low) & (actual <= high))
    if bad.any():
        at = tuple(int(i[0]) for i in np.nonzero(bad))
        raise AssertionError(
            f"{name}: {bad.sum()} of {bad.size} elements; first at {list(at)}: got {actual[at]:.9g}, "
            f"exact {exact[at]:.9g}, allowed +- {bound.error[at]:.3g} before rounding to {dtype}"
        )
    return (promised | strange).mean()
