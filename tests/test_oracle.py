# SPDX-License-Identifier: Apache-2.0
"""The oracle itself: against the official float64 results, and against finite differences."""

from pathlib import Path

import numpy as np
import oracle
import pytest

GOLDEN = sorted((Path(__file__).parent / "golden").glob("op_*.npz"))


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
def test_oracle_agrees_with_the_official_results(path):
    golden = np.load(path)
    how = {"window_size": int(golden["window_size"]), "shift_size": int(golden["shift_size"])}
    table = oracle.table_of_bias(golden["relative_position_bias"], how["window_size"])
    np.testing.assert_array_equal(
        oracle.expand_table(table, how["window_size"]), golden["relative_position_bias"]
    )
    scale = oracle.effective_scale(golden["logit_scale"])
    out = oracle.forward(golden["qkv"], table, scale, **how)
    dqkv, dtable, dscale = oracle.backward(golden["qkv"], table, scale, golden["dout"], **how)
    for got, expected in [
        (out, golden["out"]),
        (dqkv, golden["dqkv"]),
        (dtable, oracle.table_grad_of_bias_grad(golden["drelative_position_bias"], how["window_size"])),
        (oracle.dlogit_scale(golden["logit_scale"], dscale), golden["dlogit_scale"]),
    ]:
        np.testing.assert_allclose(got, expected, rtol=3e-6, atol=3e-6 * np.abs(expected).max() + 1e-12)


CASES = {
    "shift": {"window_size": 3, "shift_size": 1},
    "strict-mask": {"window_size": 3, "shift_size": 1, "mask_value": -np.inf},
    "padding": {"window_size": 3, "shift_size": 1, "valid_size": (4, 5)},
    "one-valid-row": {"window_size": 3, "valid_size": (1, 6)},
    "nonsquare-window-dot": {"window_size": (2, 3), "shift_size": (0, 2), "cosine": False},
}


@pytest.mark.parametrize("how", CASES.values(), ids=CASES.keys())
def test_oracle_gradients_are_finite_differences(how):
    case = oracle.random_case(1, 1, 6, 6, 2, 3, how["window_size"])
    inputs = [case["qkv"].astype(float), case["bias_table"].astype(float), np.array([3.0, 1.3])]
    grads = oracle.backward(*inputs, case["dout"], **how)
    rng = np.random.default_rng(2)
    for position, grad in enumerate(grads):
        direction = rng.standard_normal(inputs[position].shape)

        def loss(step, position=position, direction=direction):
            moved = list(inputs)
            moved[position] = inputs[position] + step * direction
            return (oracle.forward(*moved, **how) * case["dout"]).sum()

        numeric = (loss(1e-5) - loss(-1e-5)) / 2e-5
        np.testing.assert_allclose((grad * direction).sum(), numeric, rtol=1e-7)


def test_padding_is_not_there():
    """Padded keys and their content change nothing; padded outputs and gradients are zero."""
    how = {"window_size": 4, "shift_size": 2, "valid_size": (6, 5)}
    case = oracle.random_case(3, 2, 8, 8, 1, 4, 4)
    dirty = case["qkv"].copy()
    dirty[:, 6:] = np.nan
    dirty[:, :, 5:] = np.inf
    scale = np.array([7.0])
    clean_out = oracle.forward(case["qkv"], case["bias_table"], scale, **how)
    np.testing.assert_array_equal(oracle.forward(dirty, case["bias_table"], scale, **how), clean_out)
    dqkv, _, _ = oracle.backward(dirty, case["bias_table"], scale, case["dout"], **how)
    for array in (clean_out, dqkv):
        assert not array[:, 6:].any() and not array[:, :, 5:].any()


def test_mask_is_minus_hundred_by_default_and_strict_on_request():
    """Queries of one region give keys of another exp(-100), or nothing at all."""
    case = oracle.random_case(4, 1, 4, 4, 1, 2, 2)
    zero = np.zeros_like(case["bias_table"])
    changed = case["qkv"].copy()
    changed[0, 3, 3] = 1e6  # rolled into one window with tokens of three other regions
    how = {"window_size": 2, "shift_size": 1}
    for mask_value, equal in ((-np.inf, True), (-0.5, False)):
        out = [
            oracle.forward(q, zero, [1.0], mask_value=mask_value, **how)[0, 0, 0]
            for q in (case["qkv"], changed)
        ]
        assert np.array_equal(*out) == equal


@pytest.mark.parametrize("dtype", oracle.DTYPES)
def test_tolerance_accepts_rounding_and_rejects_a_wrong_digit(dtype):
    case = oracle.random_case(5, 1, 8, 8, 2, 16, 4)
    scale = oracle.effective_scale(case.pop("logit_scale"))
    expected = oracle.Expected(
        dtype, case["qkv"], case["bias_table"], scale, case["dout"], window_size=4, shift_size=1
    )
    expected.check(**expected.rounded)
    for name, value in expected.rounded.items():
        wrong = value.copy()
        wrong.flat[0] += (64 if name == "dscale" else 24) * oracle.EPSILON[dtype] * np.abs(value).max()
        with pytest.raises(AssertionError, match=name):
            expected.check(**{name: wrong})


def test_bfloat16_rounds_to_nearest_even():
    values = np.array([1.0, 1 + 2.0**-8, 1 + 3 * 2.0**-8, -3.14159265, 0.0, np.inf], np.float32)
    expected = np.array([1.0, 1.0, 1 + 2.0**-6, -3.140625, 0.0, np.inf], np.float32)
    np.testing.assert_array_equal(oracle.round_to(values, "bfloat16"), expected)
    assert np.isnan(oracle.round_to(np.float32([np.nan]), "bfloat16")).all()
