# SPDX-License-Identifier: Apache-2.0
"""Random cases and random bad calls (fuzz.py, fuzz_rows.py, fuzz_bad.py); a failure prints how to run it again."""

import fuzz
import fuzz_bad
import fuzz_rows
import numpy as np
import oracle
import pytest

from swinv2_kernels import _native

CASES, BLOCK, EXHAUSTIVE = 300, 25, 10_000


@pytest.mark.parametrize("first", range(0, CASES, BLOCK))
@pytest.mark.parametrize("kind", [fuzz.Fuzz, fuzz_rows.FuzzRows])
def test_random_cases(kind, first):
    for seed in range(first, first + BLOCK):
        kind(seed).check()


@pytest.mark.exhaustive
@pytest.mark.parametrize("first", range(CASES, EXHAUSTIVE, 100))
@pytest.mark.parametrize("kind", [fuzz.Fuzz, fuzz_rows.FuzzRows])
def test_many_random_cases(kind, first):
    for seed in range(first, first + 100):
        kind(seed).check()


@pytest.fixture(scope="module")
def checker():
    return fuzz_bad.Checker()


@pytest.mark.parametrize("first", range(0, CASES, 100))
def test_random_bad_calls(checker, first):
    for seed in range(first, first + 100):
        checker.check(seed)


@pytest.mark.exhaustive
@pytest.mark.parametrize("first", range(CASES, EXHAUSTIVE, 100))
def test_many_random_bad_calls(checker, first):
    test_random_bad_calls(checker, first)


# ---- the fuzzer itself ----


def test_the_seeds_of_every_run_reach_everything():
    cases = [fuzz.Fuzz(seed) for seed in range(CASES)]
    assert {(c.isa, c.dtype, c.threads) for c in cases} >= {
        (isa, dtype, threads) for isa in _native.isas() for dtype in oracle.DTYPES for threads in (1, 2, 3)
    }
    for part in ("qkv", "table", "scale", "out", "stats", "dout"):
        assert {c.layouts[part] for c in cases} == set(fuzz.LAYOUTS)
    for part in ("q", "k", "v", "dout"):
        assert {c.kinds[part] for c in cases} == {"normal", *fuzz.IMAGES}
    assert {c.kinds["table"] for c in cases} == {"normal", *fuzz.TABLES}
    assert {c.kinds["scale"] for c in cases} == {"normal", "dot", *fuzz.SCALES}
    assert {c.case.mask_value for c in cases} == set(fuzz.MASKS)
    assert any(c.case.window_size[0] > 64 for c in cases)  # columns longer than a key tile
    assert sum(set(c.kinds.values()) <= {"normal", "dot"} for c in cases) > CASES / 5


def test_nearly_everything_is_promised():
    """Where inputs are usual every element is held to a value."""
    cases = [fuzz.Fuzz(seed) for seed in range(30)]
    assert all(c.check() == 1 for c in cases if set(c.kinds.values()) <= {"normal", "dot"})
    assert np.mean([c.check() for c in cases]) > 0.9


def test_the_seeds_of_every_run_reach_every_row_operator():
    cases = [fuzz_rows.FuzzRows(seed) for seed in range(CASES)]
    assert {(c.norm, c.isa, c.dtype) for c in cases} == {
        (norm, isa, dtype) for norm in (True, False) for isa in _native.isas() for dtype in oracle.DTYPES
    }
    assert {c.y_dtype for c in cases if c.norm and c.dtype == "float32"} == set(oracle.DTYPES)
    assert {c.option for c in cases if not c.norm} == {"none", "tanh"}
    for part in ("x", "y", "dout", "gamma", "beta", "keep", "bias", "stats"):
        having = [c for c in cases if part in c.layouts]
        assert {c.layouts[part] for c in having} == set(fuzz.LAYOUTS)
        if part in ("x", "y", "dout"):
            assert {c.kinds[part] for c in having} == {"normal", *fuzz_rows.KINDS}
    assert np.mean([c.check() for c in cases[:30]]) > 0.9


WRONG = [(fuzz.Fuzz, name) for name in ("out", "dqkv", "dbias_table", "dscale")]
WRONG += [(fuzz_rows.FuzzRows, name) for name in ("out", "dy", "dgamma", "dbeta", "dkeep", "dx", "dbias")]


@pytest.mark.parametrize("kind, result", WRONG)
def test_a_wrong_digit_is_found(monkeypatch, kind, result):
    case = next(
        c
        for c in map(kind, range(100))
        if set(c.kinds.values()) <= {"normal"} and c.dtype == "float32" and result in c.run()
    )
    right = case.run()
    case.check()
    wrong = dict(right, **{result: right[result].copy()})
    at = np.unravel_index(np.abs(wrong[result]).argmax(), wrong[result].shape)
    wrong[result][at] *= 1.1 if result == "dscale" else 1.001
    monkeypatch.setattr(case, "run", lambda: wrong)
    with pytest.raises(AssertionError, match=f"(?s)seed {case.seed}: .*{result}: 1 of .*reproduce: python"):
        case.check()


def test_a_finite_number_in_place_of_nan_is_found(monkeypatch):
    for seed in range(CASES):
        case = fuzz.Fuzz(seed)
        right = case.run()
        strange = np.isnan(right["out"])
        if strange.any() and case.kinds["table"] != "strange" and case.kinds["scale"] != "strange":
            break
    monkeypatch.setattr(case, "run", lambda: dict(right, out=np.where(strange, 0, right["out"])))
    with pytest.raises(AssertionError, match="out: .* exact (nan|inf|-inf)"):
        case.check()
