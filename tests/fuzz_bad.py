# SPDX-License-Identifier: Apache-2.0
"""Random calls with one argument wrong, of the kernels on NumPy arrays and of the public operators, each a pure
function of its seed.

    python tests/fuzz_bad.py 17            one call, or
    python tests/fuzz_bad.py 300 10300     a range
"""

import sys
from dataclasses import dataclass, replace

import mindspore as ms
import numpy as np

import swinv2_kernels as sk
from swinv2_kernels import _native

DTYPES = ("float64", "int32", "int16", "uint8", "bool", "complex64", ">f4", "S4", "object", "float16,float16")
TENSOR_DTYPES = ("float64", "int64", "int32", "int8", "uint8", "uint16", "bool", "complex64")
PYTHON = ("8", 3.5, [1.0], {}, object())  # None too, where it is not the default
WIDE = np.float32(0)
EMPTY, HUGE = 0, (2**20 + 1, 2**40 + 1)

# What else may be named when an argument has another shape or dtype: whatever is compared with it.
WITH = {
    "qkv": "out|stats|dout",
    "bias_table": "qkv|scale|logit_scale|shift_size|window_size",
    "x": "y|gamma|beta|keep|bias|dout|weight",
    "weight": "x|bias|dout",
    "bias": "weight",
    "view": "x|weight|patch_size",
    "patch_size": "x|weight",
    "y": "x|gamma|beta|keep|stats|dout",
    "dout": "x|y|gamma|beta|keep",
    "w0": "b0|w2",
    "window_size": "bias_table|qkv|shift_size",
}
STORED = ("qkv", "out", "dout", "x", "y")  # of any storage dtype


@dataclass(frozen=True)
class Call:
    """function(*arrays, **options); wrong: values of each option that must raise."""

    function: object
    arrays: dict
    options: dict
    wrong: dict
    public: bool = False  # of MindSpore tensors

    def run(self):
        arrays = self.arrays.values()
        if self.public:
            arrays = (ms.Tensor(a) if isinstance(a, np.ndarray) else a for a in arrays)
        return self.function(*arrays, **self.options)

    def with_array(self, name, array):
        return replace(self, arrays=self.arrays | {name: array})

    def with_option(self, name, value):
        return replace(self, options=self.options | {name: value})

    def __str__(self):
        return f"{'' if self.public else '_native.'}{self.function.__name__}"


def pick(rng, values):
    return values[int(rng.integers(0, len(values)))]


def good_calls():
    """A valid call of everything: 8 x 12 image, windows of 4 x 6, two heads of five channels; rows of nine."""
    rng = np.random.default_rng(7)

    def normal(*shape):
        return rng.standard_normal(shape, np.float32)

    qkv, table, scale, dout = (
        normal(2, 8, 12, 30),
        normal(2, 7, 11),
        np.float32([9, 30]),
        normal(2, 8, 12, 10),
    )
    options = {"shift_size": (2, 3), "valid_size": (7, 11), "mask_value": -100.0, "cosine": True}
    pairs = [(1,), (1, 2, 3), (1.5, 2), ("1", 2), *PYTHON]
    valid = [(0, 11), (7, 0), (-1, -1), (9, 11), (7, 13), (2**62, 1), (-(2**63), 5)]
    shift = [(-1, 3), (4, 3), (2, 6), (2, -(2**62)), (2**62, 0), (2**63 - 1, 2**63 - 1)]
    mask = [np.nan, np.inf, 1.0, 1e-30, -np.nan, 1e300]
    wrong = {
        "shift_size": [None, (2**64, 0), *shift, *pairs],
        "valid_size": [(2**64, 0), *valid, *pairs],
        "mask_value": [None, "-100", [1.0], *mask],
        "cosine": ["yes", [1.0], object()],
    }
    inputs = {"qkv": qkv, "bias_table": table, "scale": scale}
    out, stats = _native.window_attention_forward(*inputs.values(), **options)
    more = {"out": out, "stats": stats, "dout": dout}
    calls = [
        Call(_native.window_attention_forward, inputs, options, wrong),
        Call(_native.window_attention_backward, inputs | more, options, wrong),
    ]

    x, y, dout = normal(2, 4, 9), normal(2, 4, 9), normal(2, 4, 9)
    rows = {"gamma": normal(9), "beta": normal(9), "keep": np.float32([0, 1.25])}
    wrong = {"epsilon": [0.0, -1e-5, np.nan, -np.inf, 1e-300, None, "1e-5", [1.0]]}
    out, stats = _native.residual_layer_norm_forward(x, y, *rows.values())
    calls += [
        Call(_native.residual_layer_norm_forward, {"x": x, "y": y} | rows, {"epsilon": 1e-5}, wrong),
        Call(
            _native.residual_layer_norm_backward,
            {"y": y} | rows | {"stats": stats, "dout": dout},
            {"epsilon": 1e-5},
            wrong,
        ),
    ]
    form, wrong = {"approximate": "tanh"}, {"approximate": ["erf", "", "Tanh", None, 3.5, [1.0]]}
    biased = {"x": x, "bias": rows["gamma"]}
    calls += [
        Call(_native.bias_gelu_forward, biased, form, wrong),
        Call(_native.bias_gelu_backward, biased | {"dout": dout}, form, wrong),
        Call(sk.bias_gelu, biased, form, wrong | {"backend": ["tpu", "", 3.5]}, public=True),
    ]

    wrong = {
        "window_size": [None, 0, -4, (4, 0), (4, 5), (2**40, 6), True, 4.0, *pairs],
        "shift_size": [None, -1, 6, True, *shift, *pairs],
        "valid_size": [0, 13, *valid, *pairs],
        "scale": [0.5],
        "mask_value": [None, "-100", [1.0], True, *mask],
        "backend": ["tpu", "", 3.5],
    }
    inputs = {"qkv": qkv, "bias_table": table, "logit_scale": np.float32([2, 3])}
    options = {"window_size": (4, 6), "shift_size": (2, 3), "valid_size": (7, 11)}
    calls.append(Call(sk.window_attention, inputs, options, wrong, public=True))
    inputs = {"x": x, "y": y} | {name: rows[name] for name in ("gamma", "beta")}
    options = {"epsilon": 1e-5, "keep": ms.Tensor(rows["keep"])}
    wrong = {
        "epsilon": [0.0, -1e-5, np.nan, -np.inf, 1e-300, None, "1e-5", True],
        "keep": [
            ms.ops.ones((3,), ms.float32),
            ms.ops.ones((2, 1), ms.float32),
            ms.ops.ones((2,), ms.float16),
            *PYTHON,
        ],
        "backend": ["tpu", "", 3.5],
    }
    calls.append(Call(sk.residual_layer_norm, inputs, options, wrong, public=True))
    inputs = {name: inputs[name] for name in ("y", "gamma", "beta")}
    calls.append(
        Call(sk.layer_norm, inputs, {"epsilon": 1e-5}, {k: v for k, v in wrong.items() if k != "keep"}, True)
    )
    x, weight, bias, dout = normal(2, 4, 9), normal(5, 9), normal(5), normal(2, 4, 5)
    image, kernel = normal(2, 3, 8, 6), normal(5, 3, 2, 2)
    native = {
        "view": ["", "token", None, 3.5],
        "gelu": ["erf", "", 3.5, [1.0]],
        "dtype": ["half", "", 3.5, [1.0]],
    }
    backward = {"view": native["view"], "patch_size": [None, "8", 2.5, [1.0]]}
    form = {"gelu": ["erf", "", 3.5, [1.0], True]}
    backend = {"backend": ["tpu", "", 3.5], "dtype": [ms.int32, ms.float64, "float16", 3.5]}
    inputs = {"x": x, "weight": weight, "bias": bias}
    embedding = {"x": image, "weight": kernel.reshape(5, 12), "bias": bias}
    embedded = native | {"patch_size": [0, -2, 3, 5, 2**62, None, "8", 2.5]}
    merging = {"x": normal(2, 4, 6, 3), "weight": normal(5, 12), "bias": bias}
    calls += [
        Call(_native.linear_forward, inputs, {"gelu": "tanh"}, native),
        Call(_native.linear_forward, embedding, {"view": "embedding", "patch_size": 2}, embedded),
        Call(_native.linear_forward, merging, {"view": "merging"}, native),
        Call(_native.linear_backward, {"x": x, "weight": weight, "dout": dout}, {}, backward),
        Call(sk.linear, inputs, {"gelu": "none"}, form | backend, public=True),
        Call(sk.patch_merging, merging, {}, backend, public=True),
        Call(sk.patch_embedding, embedding | {"weight": kernel}, {}, backend, public=True),
    ]
    weights = {"w0": normal(16, 2), "b0": normal(16), "w2": normal(3, 16)}
    wrong = {
        "window_size": [None, 0, -4, (4, 0), True, 4.0, *pairs],
        "pretrained_window_size": [None, -1, (4, -1), True, 4.0, *pairs],
    }
    options = {"window_size": (4, 6), "pretrained_window_size": 3}
    calls.append(Call(sk.relative_position_bias_table, weights, options, wrong, public=True))
    return calls


def bad_dtype(rng, call):
    name = pick(rng, list(call.arrays))
    dtypes = TENSOR_DTYPES if call.public else DTYPES
    if name not in STORED and call.function is not sk.relative_position_bias_table:
        dtypes = (*dtypes, "float16", *([] if call.public else ["uint16"]))
    return name, call.with_array(name, np.zeros(call.arrays[name].shape, pick(rng, dtypes)))


def free_dimensions(call, name):
    """How many leading dimensions of an array nothing else decides."""
    if name == "qkv" and len(call.arrays) == 3:
        return 1
    if name == "x" and ("weight" in call.arrays or len(call.arrays) == 2) and "dout" not in call.arrays:
        return 1 if call.arrays["x"].ndim == 4 else 2
    if name == "y" and call.function is sk.layer_norm:
        return 2
    return 1 if name == "w2" else 0


def bad_rank(rng, call):
    name = pick(rng, list(call.arrays))
    array = call.arrays[name]
    wrong = [array.reshape(-1, 1, 1, 1, 1), array.sum()]
    wrong += [] if free_dimensions(call, name) and array.ndim == 3 else [array[None], array[0]]
    return name, call.with_array(name, np.asarray(pick(rng, wrong)))


def bad_length(rng, call):
    """One dimension shorter, longer, empty, or far beyond memory."""
    name = pick(rng, list(call.arrays))
    shape = list(call.arrays[name].shape)
    free = free_dimensions(call, name)
    axis = int(rng.integers(0, len(shape)))
    wrong = [EMPTY, 1, shape[axis] - 1, shape[axis] + 1, *([] if call.public else HUGE)]
    if axis < free:
        wrong = [EMPTY]
    elif name == "qkv" and axis == 3:
        wrong = [n for n in wrong if n % 6 or n == 0]
    elif name == "logit_scale":
        wrong.remove(EMPTY)
    elif name == "keep":  # one for all samples is a choice
        wrong = [n for n in wrong if n != 1]
    shape[axis] = pick(rng, [n for n in wrong if n != call.arrays[name].shape[axis]])
    return name, call.with_array(name, np.broadcast_to(WIDE, shape))


def bad_type(rng, call):
    """No array."""
    name = pick(rng, list(call.arrays))
    optional = call.public and name == "bias" and "weight" in call.arrays
    return name, call.with_array(name, pick(rng, PYTHON if optional else (*PYTHON, None)))


def bad_option(rng, call):
    name = pick(rng, list(call.wrong))
    return name, call.with_option(name, pick(rng, call.wrong[name]))


def empty_patches(rng, call):
    if call.function is not sk.patch_embedding:
        return bad_rank(rng, call)
    empty = pick(rng, [(5, 3, 0, 0), (0, 3, 2, 2), (5, 0, 2, 2)])
    return "weight", call.with_array("weight", np.zeros(empty, np.float32)).with_array("bias", None)


def window_too_large(rng, call):
    if "scale" not in call.arrays:
        return bad_option(rng, call)
    n, d = int(rng.integers(100, 2**14)), int(rng.integers(16, 2**20))
    call = call.with_array("qkv", np.broadcast_to(WIDE, (1, n, n, 6 * d))).with_option("shift_size", (0, 0))
    call = call.with_option("valid_size", None)
    return "window_size", call.with_array("bias_table", np.broadcast_to(WIDE, (2, 2 * n - 1, 2 * n - 1)))


def too_many_tokens(rng, call):
    if "scale" not in call.arrays:
        return bad_option(rng, call)
    batch = int(rng.integers(2**25, 2**40))
    return "qkv", call.with_array("qkv", np.broadcast_to(WIDE, (batch, 8, 12, 30)))


def too_large_to_tile(rng, _):
    """More tokens, or heads of windows, than a tiling's 32-bit numbers hold."""
    height, width, heads = (2 ** int(n) for n in rng.integers((0, 0, 0), (63, 63, 11)))
    batch = max(1, 2**31 // (height * width * heads))
    shapes = {"qkv": (batch, height, width, 48 * heads), "bias_table": (heads, 1, 1)}
    soc = pick(rng, ("ascend910", "ascend910b"))
    return "qkv", Call(_native.twin.window_attention_tiling, shapes, {"soc": soc}, {})


KINDS = (
    bad_dtype,
    bad_rank,
    bad_length,
    bad_type,
    bad_option,
    bad_option,
    empty_patches,
    window_too_large,
    too_many_tokens,
    too_large_to_tile,
)


class Checker:
    """Bad calls; after each, the next of the good ones still gives the same, bit for bit."""

    def __init__(self):
        self.calls = good_calls()
        self.want = [results(call) for call in self.calls]

    def check(self, seed):
        rng = np.random.default_rng(seed)
        kind, call = pick(rng, KINDS), pick(rng, self.calls)
        named, bad = kind(rng, call)
        where = f"seed {seed}: {kind.__name__} of {named} in {call}"
        again = f"reproduce: python tests/fuzz_bad.py {seed}"
        try:
            bad.run()
        except (ValueError, TypeError) as error:
            text = str(error)
            allowed = {named, *WITH.get(named, "").split("|")}
            assert text.split(":")[0] in allowed, f"{where}\nnot named: {text}\n{again}"
        except Exception as error:
            raise AssertionError(f"{where}\n{type(error).__name__}: {error}\n{again}") from error
        else:
            raise AssertionError(f"{where}\nnothing was raised\n{again}")
        good = seed % len(self.calls)
        for got, expected in zip(results(self.calls[good]), self.want[good]):
            np.testing.assert_array_equal(got, expected, err_msg=f"{self.calls[good]} after {where}\n{again}")
        return f"{where}\n{text.splitlines()[0]}"


def results(call):
    got = call.run()
    if call.public:
        return [got.asnumpy()]
    return got if isinstance(got, tuple) else [got]


def main(first, stop=None):
    checker, failed = Checker(), 0
    for seed in range(int(first), int(stop or int(first) + 1)):
        try:
            told = checker.check(seed)
            if stop is None:
                print(told)
        except AssertionError as error:
            print(error, flush=True)
            failed += 1
    print(f"{failed} fail")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
