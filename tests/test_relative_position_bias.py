# SPDX-License-Identifier: Apache-2.0
"""The continuous position bias against the official results, its gradient against float64."""

from pathlib import Path

import mindspore as ms
import numpy as np
import oracle
import pytest
from mindspore import Tensor

from swinv2_kernels.relative_position_bias import relative_coords_table, relative_position_bias_table

GOLDEN = sorted((Path(__file__).parent / "golden").glob("cpb_*.npz"))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
def test_agrees_with_the_official_results(path):
    golden = np.load(path)
    how = {name: int(golden[name]) for name in ("window_size", "pretrained_window_size")}
    np.testing.assert_allclose(relative_coords_table(**how), golden["relative_coords_table"], atol=2e-7)
    weights = [Tensor(golden[name]) for name in ("w0", "b0", "w2")]
    expected = golden["relative_position_bias"]
    plain = exact_table(golden["w0"], golden["b0"], golden["w2"], golden["relative_coords_table"])
    plain = oracle.expand_table(plain, how["window_size"])[:, : expected.shape[1]]
    for function in (relative_position_bias_table, ms.jit(relative_position_bias_table)):
        table = function(*weights, **how).asnumpy()
        bias = oracle.expand_table(table, how["window_size"])[:, : expected.shape[1]]
        oracle.assert_close("bias", bias, expected, plain, "float32")


def exact_table(w0, b0, w2, coords):
    """The formula in the precision of the weights."""
    hidden = np.maximum(coords.reshape(-1, 2).astype(w0.dtype) @ w0.T + b0, 0)
    return 16 / (1 + np.exp(-(hidden @ w2.T).T.reshape(w2.shape[0], *coords.shape[1:3])))


@pytest.mark.parametrize(
    "window, pretrained", [((3, 5), 0), ((4, 6), (2, 3)), ((1, 4), 0), (1, 1), ((2, 3), (0, 8))]
)
def test_table_and_gradient(window, pretrained):
    rng = np.random.default_rng(0)
    weights = [rng.standard_normal(s).astype(np.float32) / 4 for s in ((32, 2), (32,), (3, 32))]
    coords = relative_coords_table(window, pretrained)
    exact = exact_table(*(w.astype(np.float64) for w in weights), coords)
    dout = rng.standard_normal(exact.shape).astype(np.float32)

    def loss(*weights):
        table = relative_position_bias_table(*weights, window_size=window, pretrained_window_size=pretrained)
        return (table * Tensor(dout)).sum(), table

    (_, table), grads = ms.jit(ms.value_and_grad(loss, (0, 1, 2), has_aux=True))(*map(Tensor, weights))
    oracle.assert_close("table", table.asnumpy(), exact, exact_table(*weights, coords), "float32")
    for position, grad in enumerate(grads):
        direction = rng.standard_normal(weights[position].shape)
        ends = []
        for step in (1e-6, -1e-6):
            moved = [w.astype(np.float64) for w in weights]
            moved[position] += step * direction
            ends.append((exact_table(*moved, coords) * dout).sum())
        grad = grad.asnumpy()
        np.testing.assert_allclose(
            (grad * direction).sum(), (ends[0] - ends[1]) / 2e-6, atol=1e-5 * np.sqrt((grad**2).sum()) + 1e-7
        )


def test_an_axis_of_one_token_has_coordinate_zero():
    coords = relative_coords_table((1, 3))
    assert coords.shape == (1, 1, 5, 2)
    np.testing.assert_array_equal(coords[..., 0], 0)
    assert np.isfinite(coords).all() and coords[0, 0, -1, 1] == pytest.approx(np.log2(9) / 3)


def test_pretrained_window_stretches_the_coordinates():
    same = relative_coords_table(4, 4)
    np.testing.assert_array_equal(same, relative_coords_table(4))
    wide = relative_coords_table(7, 4)
    np.testing.assert_array_equal(wide[:, 3:-3, 3:-3], same)
    np.testing.assert_array_equal(wide, -wide[:, ::-1, ::-1])


GOOD = {"w0": (8, 2), "b0": (8,), "w2": (3, 8)}


@pytest.mark.parametrize(
    "shapes, how, message",
    [
        ({"w0": (8, 3)}, {}, r"w0: expected shape \(hidden, 2\), got \(8, 3\)"),
        ({"b0": (7,)}, {}, r"b0: expected shape \(8,\) to match w0 \(8, 2\), got \(7,\)"),
        ({"w2": (3, 9)}, {}, r"w2: expected shape \(heads, 8\) to match w0 \(8, 2\), got \(3, 9\)"),
        ({}, {"window_size": 0}, r"window_size: expected at least 1 token on each axis, got \(0, 0\)"),
        ({}, {"window_size": (4, 4, 4)}, r"window_size: expected an int or a pair of ints.*got \(4, 4, 4\)"),
        ({}, {"window_size": 4.0}, "window_size: expected an int or a pair of ints.*got 4.0"),
        ({}, {"pretrained_window_size": -1}, "pretrained_window_size: expected 0 or more on each axis"),
    ],
)
def test_bad_input_is_named(shapes, how, message):
    weights = [Tensor(np.zeros({**GOOD, **shapes}[name], np.float32)) for name in GOOD]
    with pytest.raises((ValueError, TypeError), match=message):
        relative_position_bias_table(*weights, **{"window_size": 4, **how})
