# SPDX-License-Identifier: Apache-2.0
"""Random calls of the CPU kernels with one argument wrong, each a pure function of its seed.

python tests/fuzz_bad.py 17            one call, or
python tests/fuzz_bad.py 300 10300     a range
"""

import sys
from dataclasses import dataclass, replace

import numpy as np

from swinv2_kernels import _native

DTYPES = ("float64", "int32", "int16", "uint8", "bool", "complex64", ">f4", "S4", "object", "float16,float16")
PYTHON = (None, "8", 3.5, [1.0], {}, object())
WIDE = np.float32(0)


@dataclass(frozen=True)
class Call:
    """A valid call: 8 x 12 image, windows of 4 x 6, two heads of five."""

    backward: bool
    arrays: dict
    options: dict

    def run(self):
        names = ["qkv", "bias_table", "scale"] + ["out", "stats", "dout"] * self.backward
        kernel = _native.window_attention_backward if self.backward else _native.window_attention_forward
        return kernel(*(self.arrays[name] for name in names), **self.options)

    def with_array(self, name, array):
        return replace(self, arrays=self.arrays | {name: array})

    def with_option(self, name, value):
        return replace(self, options=self.options | {name: value})


def valid_call(backward):
    rng = np.random.default_rng(7)
    arrays = {
        "qkv": rng.standard_normal((2, 8, 12, 30), np.float32),
        "bias_table": rng.standard_normal((2, 7, 11), np.float32),
        "scale": np.float32([9.0, 30.0]),
        "dout": rng.standard_normal((2, 8, 12, 10), np.float32),
    }
    options = {"shift_size": (2, 3), "valid_size": (7, 11), "mask_value": -100.0, "cosine": True}
    inputs = arrays["qkv"], arrays["bias_table"], arrays["scale"]
    arrays["out"], arrays["stats"] = _native.window_attention_forward(*inputs, **options)
    return Call(backward, arrays, options)


def bad_dtype(rng, call):
    name = str(rng.choice(list(call.arrays) if call.backward else ["qkv", "bias_table", "scale"]))
    dtypes = DTYPES if name in ("qkv", "out", "dout") else (*DTYPES, "float16", "uint16")
    array = call.arrays[name]
    wrong = np.zeros(array.shape, dtypes[rng.integers(0, len(dtypes))])
    return name, call.with_array(name, wrong)


def bad_rank(rng, call):
    name = str(rng.choice(list(call.arrays) if call.backward else ["qkv", "bias_table", "scale"]))
    array = call.arrays[name]
    return name, call.with_array(
        name, [array[None], array[0], array.reshape(-1, 1, 1, 1, 1), array.sum()][rng.integers(0, 4)]
    )


def bad_length(rng, call):
    """One dimension shorter, longer, empty, or far beyond memory."""
    name = str(rng.choice(list(call.arrays) if call.backward else ["qkv", "bias_table", "scale"]))
    shape = list(call.arrays[name].shape)
    axis = int(rng.integers(1 if name == "qkv" else 0, len(shape)))
    wrong = [0, 1, shape[axis] - 1, shape[axis] + 1, 2**20 + 1, 2**40 + 1]
    shape[axis] = int(
        rng.choice(
            [n for n in wrong if n != shape[axis] and not (name == "qkv" and axis == 3 and n % 6 == 0 and n)]
        )
    )
    named = {"bias_table": "bias_table|qkv|scale|shift_size|window_size", "scale": "scale"}.get(name, name)
    return named, call.with_array(name, np.broadcast_to(WIDE, shape))


def bad_shift(rng, call):
    good = call.options["shift_size"]
    wrong = [
        (-1, good[1]),
        (4, good[1]),
        (good[0], 6),
        (good[0], -(2**62)),
        (2**62, 0),
        (2**63 - 1, 2**63 - 1),
    ]
    return "shift_size", call.with_option("shift_size", wrong[rng.integers(0, len(wrong))])


def bad_valid(rng, call):
    wrong = [(0, 11), (7, 0), (-1, -1), (9, 11), (7, 13), (2**62, 1), (-(2**63), 5)]
    return "valid_size", call.with_option("valid_size", wrong[rng.integers(0, len(wrong))])


def bad_mask(rng, call):
    wrong = [np.nan, np.inf, 1.0, 1e-30, -np.nan, 1e300]
    return "mask_value", call.with_option("mask_value", wrong[rng.integers(0, len(wrong))])


def bad_type(rng, call):
    """No array, no pair, no number."""
    names = ["qkv", "bias_table", "scale", "shift_size", "valid_size", "mask_value"]
    name = str(rng.choice(names + ["out", "stats", "dout"] * call.backward))
    wrong = PYTHON[rng.integers(0, len(PYTHON))]
    if name == "mask_value" and isinstance(wrong, float) or name == "valid_size" and wrong is None:
        wrong = "-100"
    if name in ("shift_size", "valid_size") and rng.random() < 0.5:
        wrong = [(1,), (1, 2, 3), (1.5, 2), ("1", 2), (2**64, 0)][rng.integers(0, 5)]
    return name, (call.with_array if name in call.arrays else call.with_option)(name, wrong)


def window_too_large(rng, call):
    n, d = int(rng.integers(100, 2**14)), int(rng.integers(16, 2**20))
    call = call.with_array("qkv", np.broadcast_to(WIDE, (1, n, n, 6 * d))).with_option("shift_size", (0, 0))
    call = call.with_option("valid_size", None)
    return "window_size", call.with_array("bias_table", np.broadcast_to(WIDE, (2, 2 * n - 1, 2 * n - 1)))


def too_many_tokens(rng, call):
    batch = int(rng.integers(2**25, 2**40))
    return "qkv", call.with_array("qkv", np.broadcast_to(WIDE, (batch, 8, 12, 30)))


KINDS = (
    bad_dtype,
    bad_rank,
    bad_length,
    bad_shift,
    bad_valid,
    bad_mask,
    bad_type,
    window_too_large,
    too_many_tokens,
)


def check(seed, good, want):
    """A bad call raises and names its argument; then the valid call `good` still gives `want`, bit for bit."""
    rng = np.random.default_rng(seed)
    kind = KINDS[rng.integers(0, len(KINDS))]
    call = valid_call(bool(rng.integers(0, 2)))
    named, call = kind(rng, call)
    where = f"seed {seed}: {kind.__name__} of {named}, {'backward' if call.backward else 'forward'}"
    again = f"reproduce: python tests/fuzz_bad.py {seed}"
    try:
        call.run()
    except (ValueError, TypeError) as error:
        text = str(error)
        assert text.split(":")[0] in named.split("|"), f"{where}\nnot named: {text}\n{again}"
    except Exception as error:
        raise AssertionError(f"{where}\n{type(error).__name__}: {error}\n{again}") from error
    else:
        raise AssertionError(f"{where}\nnothing was raised\n{again}")
    for got, expected in zip(good.run(), want):
        np.testing.assert_array_equal(got, expected, err_msg=f"after {where}\n{again}")
    return f"{where}\n{text.splitlines()[0]}"


def main(first, stop=None):
    good = valid_call(True)
    want, failed = good.run(), 0
    for seed in range(int(first), int(stop or int(first) + 1)):
        try:
            told = check(seed, good, want)
            if stop is None:
                print(told)
        except AssertionError as error:
            print(error, flush=True)
            failed += 1
    print(f"{failed} fail")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
