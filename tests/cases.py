# SPDX-License-Identifier: Apache-2.0
"""The cases every back end of window attention is held to."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import oracle
from oracle import Expected, pair


@dataclass(frozen=True)
class Case:
    batch: int
    height: int
    width: int
    window_size: tuple
    shift_size: tuple
    heads: int
    head_dim: int
    valid_size: tuple = None
    mask_value: float = -100.0
    cosine: bool = True
    seed: int = field(default=0)

    @property
    def how(self):
        return {
            "window_size": self.window_size,
            "shift_size": self.shift_size,
            "valid_size": self.valid_size,
            "mask_value": self.mask_value,
        }

    def __str__(self):
        window, shift = self.window_size, self.shift_size
        parts = [
            f"B{self.batch}-H{self.height}-W{self.width}",
            f"w{window[0]}" if window[0] == window[1] else f"w{window[0]}x{window[1]}",
            f"s{shift[0]}" if shift[0] == shift[1] else f"s{shift[0]}x{shift[1]}",
            f"h{self.heads}-d{self.head_dim}",
        ]
        parts += [f"valid{self.valid_size[0]}x{self.valid_size[1]}"] if self.valid_size else []
        parts += ["inf"] if self.mask_value == -np.inf else []
        parts += [] if self.cosine else ["dot"]
        return "-".join(parts)

    def inputs(self):
        """dict(qkv, bias_table, logit_scale, dout) float32."""
        return oracle.random_case(
            self.seed, self.batch, self.height, self.width, self.heads, self.head_dim, self.window_size
        )


def case(batch, size, window_size, shift_size, heads, head_dim=32, **rest):
    return Case(batch, *pair(size), pair(window_size), pair(shift_size), heads, head_dim, **rest)


CASES = [
    case(2, 16, 8, 4, 3),  # several windows, all four regions
    case(1, (16, 24), 8, 0, 2),
    case(2, 8, 8, 0, 1),  # single window
    case(1, 8, 8, 3, 2),  # single shifted window
    case(1, (14, 21), 7, 3, 3),  # N = 49: vectors with a tail
    case(1, (12, 24), 6, 3, 1, 16),  # N = 36
    case(3, 8, 4, 1, 2, 24),  # N = 16: half a query block; head_dim with a tail
    case(1, 24, 12, 6, 2),  # N = 144: several key tiles
    case(1, 32, 16, 8, 1),
    case(1, 24, 24, 0, 1, 64),  # N = 576
    case(1, (16, 12), (8, 4), (4, 2), 2),  # non-square windows, shifts that differ
    case(1, (9, 20), (3, 10), (0, 5), 1, 8),
    case(1, (80, 5), (80, 1), (7, 0), 1, 16),  # one column longer than a key tile
    case(1, (4, 96), (1, 96), (0, 1), 2, 5),
    case(1, 3, 1, 0, 2, 3),  # N = 1
    case(2, 16, 8, 4, 2, valid_size=(13, 10)),
    case(1, 16, 8, 4, 2, valid_size=(3, 16)),  # whole windows of padding
    case(1, (16, 8), 8, 0, 1, valid_size=(8, 1)),
    case(1, 24, 12, 6, 2, valid_size=(1, 1)),
    case(1, 16, 8, 4, 3, mask_value=-np.inf),
    case(1, 16, 8, 2, 2, cosine=False),
    case(1, 14, 7, 3, 2, 20, cosine=False, valid_size=(12, 14)),
]


class Golden:
    """A file of official float64 results (float32 inputs); plain NumPy's error is the tolerance."""

    def __init__(self, path):
        self.name, given = path.stem, np.load(path)
        self.qkv, self.dout, self.logit_scale = (given[name] for name in ("qkv", "dout", "logit_scale"))
        self.how = {name: pair(given[name]) for name in ("window_size", "shift_size")}
        window = self.how["window_size"]
        self.bias_table = oracle.table_of_bias(given["relative_position_bias"], window)
        self.scale = oracle.effective_scale(self.logit_scale).astype(np.float32)
        exact = {
            "out": given["out"],
            "dqkv": given["dqkv"],
            "dbias_table": oracle.table_grad_of_bias_grad(given["drelative_position_bias"], window),
            "dlogit_scale": given["dlogit_scale"].reshape(-1),
        }
        self.exact = {name: value.astype(np.float64) for name, value in exact.items()}

    def __str__(self):
        return self.name

    def check(self, out, dqkv, dbias_table, dlogit_scale):
        expected = Expected("float32", self.qkv, self.bias_table, self.scale, self.dout, **self.how)
        rounded = dict(
            expected.rounded, dlogit_scale=oracle.dlogit_scale(self.logit_scale, expected.rounded["dscale"])
        )
        actual = {"out": out, "dqkv": dqkv, "dbias_table": dbias_table, "dlogit_scale": dlogit_scale}
        for name, value in actual.items():
            size = expected.size["dscale"] * self.scale.max() if name == "dlogit_scale" else None
            oracle.assert_close(name, value, self.exact[name], rounded[name], "float32", size)
        clamped = self.logit_scale.reshape(-1) > oracle.LN_100
        assert (np.asarray(dlogit_scale).reshape(-1)[clamped] == 0).all()


GOLDENS = [Golden(path) for path in sorted((Path(__file__).parent / "golden").glob("op_*.npz"))]
