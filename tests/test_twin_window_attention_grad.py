# SPDX-License-Identifier: Apache-2.0
"""The backward kernels on the host twin: parity with the oracle, no broken rule, under any interleaving."""

import numpy as np
import oracle
import pytest
from cases import Case
from oracle import Expected
from test_twin_window_attention import (
    GOLDEN,
    KERNELS,
    SINGLES,
    SUPPORTED,
    arguments,
    every_kernel,
    every_soc,
    forward,
    seeded,
    twin,
)

RESULTS = ("dqkv", "dbias_table", "dscale")


def backward(kernel, inputs, dout, how, library="", **options):
    """(dqkv, dbias_table, dscale), dqkv in numbers; report. The forward is the kernel compiled in."""
    out, stats, _ = twin.window_attention_forward(*inputs, soc=kernel.soc, **how)
    dqkv, *sums, report = twin.window_attention_backward(
        *inputs, out, stats, dout, soc=kernel.soc, **how, **options, kernel_library=library
    )
    return (kernel.load(dqkv), *sums), report


def run(case, kernel, **options):
    """(dqkv, dbias_table, dscale), report: the report has no errors."""
    inputs, how = arguments(case, kernel)
    gradients, report = backward(kernel, inputs, kernel.store(case.inputs()["dout"]), how, **options)
    assert not report["errors"], report["errors"][0]["text"]
    return gradients, report


def expected(kernel, inputs, dout, **how):
    qkv, table, scale = inputs
    return Expected(kernel.dtype, kernel.load(qkv), table, scale, kernel.load(dout), **how)


def check(case, kernel, gradients):
    inputs, _ = arguments(case, kernel)
    exact = expected(kernel, inputs, kernel.store(case.inputs()["dout"]), cosine=case.cosine, **case.how)
    exact.check(**dict(zip(RESULTS, gradients)))


MOST_TOKENS = {16: 720, 32: 672, 48: 496, 64: 400}  # of the 910


def fits(case, kernel):
    tokens = case.window_size[0] * case.window_size[1]
    return kernel.soc != "ascend910" or tokens <= MOST_TOKENS[case.head_dim]


def check_case(case, kernel, **options):
    if fits(case, kernel):
        gradients, _ = run(case, kernel, **options)
        check(case, kernel, gradients)
    else:
        with pytest.raises(
            ValueError, match="window_size: a window of .* does not fit the memories of ascend910;"
        ):
            run(case, kernel, **options)


@every_kernel
@pytest.mark.parametrize("case", SUPPORTED + SINGLES, ids=str)
def test_parity(case, kernel):
    check_case(case, kernel)


@every_kernel
@pytest.mark.parametrize("seed", range(40))
def test_parity_of_seeded_shapes(seed, kernel):
    case, options = seeded(seed)
    check_case(case, kernel, **options)


# head_dim 48, of the 910 alone; windows whose N is large and no multiple of 16.
OTHERS = [
    Case(2, 16, 16, (8, 8), (4, 4), 3, 48),
    Case(1, 22, 11, (11, 11), (5, 5), 2, 48, (20, 11)),
    Case(1, 17, 17, (17, 17), (0, 0), 1, 48, cosine=False),
    Case(1, 25, 25, (25, 25), (12, 12), 1, 32),
    Case(1, 26, 26, (26, 26), (0, 0), 1, 16),
]


@pytest.mark.parametrize("case", OTHERS, ids=str)
def test_parity_of_the_910(case):
    check_case(case, KERNELS[0])


@pytest.mark.exhaustive
@every_kernel
@pytest.mark.parametrize("seed", range(40, 1040))
def test_parity_of_many_shapes(seed, kernel):
    test_parity_of_seeded_shapes(seed, kernel)


@every_soc
@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_official_results(path, kernel):
    golden = np.load(path)
    window, shift = oracle.pair(golden["window_size"]), oracle.pair(golden["shift_size"])
    table = oracle.table_of_bias(golden["relative_position_bias"], window)
    scale = oracle.effective_scale(golden["logit_scale"]).astype(np.float32)
    inputs, dout = (kernel.store(golden["qkv"]), table, scale), kernel.store(golden["dout"])
    (dqkv, dtable, _), report = backward(kernel, inputs, dout, {"shift_size": shift})
    assert not report["errors"], report["errors"][0]["text"]
    exact = expected(kernel, inputs, dout, window_size=window, shift_size=shift)
    exact.check(dqkv=dqkv, dbias_table=dtable)
    # Against the official float64 gradients themselves: rounding qkv and dout moves them, so at that distance.
    official = {
        "dqkv": golden["dqkv"],
        "dbias_table": oracle.table_grad_of_bias_grad(golden["drelative_position_bias"], window),
    }
    for name, got in zip(official, (dqkv, dtable)):
        moved = np.abs(exact.exact[name] - official[name]).max()
        allowed = oracle.tolerance(kernel.dtype, exact.exact[name], exact.rounded[name])
        assert np.abs(got.astype(np.float64) - official[name]).max() <= moved + allowed, name


@pytest.mark.parametrize("case", [SUPPORTED[0], SUPPORTED[4], SUPPORTED[6], SUPPORTED[11]], ids=str)
@every_soc
def test_every_interleaving_gives_the_same_bits(case, kernel):
    want, _ = run(case, kernel, cores=3)
    for seed in range(1, 9):
        for got, bits in zip(run(case, kernel, cores=3, seed=seed)[0], want):
            np.testing.assert_array_equal(got, bits)


@every_soc
@pytest.mark.parametrize("cores", [1, 2, 3, 5, 20])
def test_any_number_of_cores(cores, kernel):
    """The same bits of dqkv; sums over windows are those of other cores."""
    case = Case(2, 24, 16, (8, 8), (4, 4), 6, 16)
    gradients, _ = run(case, kernel, cores=cores)
    np.testing.assert_array_equal(gradients[0], run(case, kernel)[0][0])
    check(case, kernel, gradients)


# ---- what a window may see ----


@every_soc
@pytest.mark.parametrize("where", ["q", "k", "v", "dout"])
def test_nan_stays_in_its_window(where, kernel):
    case = Case(2, 16, 16, (8, 8), (0, 0), 2, 32)
    inputs, how = arguments(case, kernel)
    dout = kernel.store(case.inputs()["dout"])
    clean, _ = backward(kernel, inputs, dout, how, cores=1)
    if where == "dout":
        dout[1, 2, 3, 0] = np.nan
    else:
        inputs[0][1, 2, 3, 64 * "qkv".index(where)] = np.nan
    dirty, report = backward(kernel, inputs, dout, how, cores=1)
    assert not report["errors"]
    assert np.isnan(dirty[0][1, :8, :8]).any()
    assert np.isnan(dirty[2][0])
    dirty[0][1, :8, :8] = clean[0][1, :8, :8]
    np.testing.assert_array_equal(dirty[0], clean[0])
    for got, want in zip(dirty[1:], clean[1:]):  # the other head
        np.testing.assert_array_equal(got[1], want[1])


@pytest.mark.parametrize(
    "case",
    [
        Case(3, 8, 8, (8, 8), (0, 0), 2, 32),
        Case(4, 7, 7, (7, 7), (0, 0), 2, 16),
        Case(3, 6, 6, (6, 6), (0, 0), 2, 32),  # rows of scores longer than all blocks of keys
    ],
    ids=str,
)
@every_soc
def test_nan_does_not_outlive_its_unit(case, kernel):
    inputs, how = arguments(case, kernel)
    dout = kernel.store(case.inputs()["dout"])
    clean, _ = backward(kernel, inputs, dout, how, cores=1)
    inputs[0][0] = np.nan
    dirty, _ = backward(kernel, inputs, dout, how, cores=1)
    np.testing.assert_array_equal(dirty[0][1:], clean[0][1:])


@every_soc
@pytest.mark.parametrize("where", ["q", "k", "v", "dout"])
def test_nan_does_not_reach_padding(where, kernel):
    case = Case(1, 8, 8, (8, 8), (4, 4), 1, 32, (5, 7))
    inputs, how = arguments(case, kernel)
    dout = kernel.store(case.inputs()["dout"])
    part = dout if where == "dout" else inputs[0][..., 32 * "qkv".index(where) :]
    part[0, 2, 3, 0] = np.nan
    (dqkv, *_), report = backward(kernel, inputs, dout, how)
    assert not report["errors"]
    assert np.isnan(dqkv).any()
    assert not dqkv[:, 5:].any() and not dqkv[:, :, 7:].any()


@every_soc
def test_the_lse_of_padding_is_of_no_account(kernel):
    case = Case(1, 8, 8, (8, 8), (0, 0), 2, 32, (5, 7))
    inputs, how = arguments(case, kernel)
    out, stats, _ = forward(kernel, *inputs, **how)
    dout = kernel.store(case.inputs()["dout"])
    clean = twin.window_attention_backward(*inputs, out, stats, dout, soc=kernel.soc, **how)
    stats.reshape(2, 8, 8)[:, 5:] = stats.reshape(2, 8, 8)[:, :, 7:] = -1e4  # exp(s + 1e4) is Inf
    dirty = twin.window_attention_backward(*inputs, out, stats, dout, soc=kernel.soc, **how)
    for got, want in zip(dirty[:3], clean):
        np.testing.assert_array_equal(got, want)


@every_soc
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_padding_is_never_read(value, kernel):
    case = Case(1, 16, 16, (8, 8), (4, 4), 3, 16, (11, 13))
    inputs, how = arguments(case, kernel)
    out, stats, _ = forward(kernel, *inputs, **how)
    dout = kernel.store(case.inputs()["dout"])
    clean = twin.window_attention_backward(*inputs, out, stats, dout, soc=kernel.soc, **how)
    for image in (inputs[0], out, dout):
        image[:, 11:] = image[:, :, 13:] = value
    dirty = twin.window_attention_backward(*inputs, out, stats, dout, soc=kernel.soc, **how)
    assert not dirty[3]["errors"]
    for got, want in zip(dirty[:3], clean):
        np.testing.assert_array_equal(got, want)
    assert not dirty[0][:, 11:].any() and not dirty[0][:, :, 13:].any()


@every_soc
@pytest.mark.parametrize("cosine", [True, False], ids=["cosine", "dot"])
@pytest.mark.parametrize(
    ("qk_by", "dout_by", "v_by"),
    [
        (2.0**-12, 2.0**-18, 1.0),
        (2.0**-12, 1.0, 2.0**-14),
        (1.0, 2.0**-18, 2.0**-14),
        (1.0, 2.0**-18, 60.0),
        (1.0, 64.0, 2.0**-14),
        (60.0, 1.0, 60.0),
        (60.0, 64.0, 60.0),
    ],
)
def test_magnitudes(qk_by, dout_by, v_by, cosine, kernel):
    """Neither 1/|k| nor a small or large gradient leaves the range of the products."""
    case = Case(1, 8, 8, (8, 8), (4, 4), 1, 32, cosine=cosine)
    inputs, how = arguments(case, kernel)
    dout = kernel.store(case.inputs()["dout"] * np.float32(dout_by))
    inputs[0][..., :64] *= np.float16(qk_by)
    inputs[0][..., 64:] *= np.float16(v_by)
    gradients, report = backward(kernel, inputs, dout, how)
    assert not report["errors"]
    with np.errstate(over="ignore"):
        exact = expected(kernel, inputs, dout, cosine=cosine, **case.how)
    exact.check(**dict(zip(RESULTS, gradients)))


@pytest.mark.parametrize("scale_by", [1e-30, 1e-13, 1e-12, 1e15])
def test_magnitudes_of_bfloat16(scale_by):
    """Norms below 1e-12 are divided by that, and are constants."""
    case, kernel = Case(1, 8, 8, (8, 8), (0, 0), 1, 32), KERNELS[2]
    (_, *rest), how = arguments(case, kernel)
    qkv = case.inputs()["qkv"]
    qkv[..., :64] *= np.float32(scale_by)
    inputs, dout = (kernel.store(qkv), *rest), kernel.store(case.inputs()["dout"])
    gradients, report = backward(kernel, inputs, dout, how)
    assert not report["errors"]
    expected(kernel, inputs, dout, **case.how).check(**dict(zip(RESULTS, gradients)))


@pytest.mark.parametrize(
    "case",
    [
        Case(1, 4, 12, (4, 4), (1, 1), 8, 16, (2, 1), -np.inf, seed=570),
        Case(1, 12, 12, (12, 12), (1, 1), 4, 32, (2, 2), -np.inf),
    ],
    ids=str,
)
@every_kernel
def test_a_query_of_one_key(case, kernel):
    """Its softmax is 1 whatever q, k, bias and scale are: their gradients are 0 to the bit."""
    gradients, _ = run(case, kernel)
    check(case, kernel, gradients)
    dqkv, dtable, dscale = gradients
    assert not dqkv[..., : 2 * case.heads * case.head_dim].any() and not dtable.any() and not dscale.any()


def test_zero_and_constant_vectors():
    case, kernel = Case(1, 8, 8, (8, 8), (0, 0), 1, 32), KERNELS[2]
    (_, *rest), how = arguments(case, kernel)
    given = case.inputs()
    given["qkv"][:, 3, :, :64] = 0
    given["qkv"][:, 5] = 1
    given["dout"][:, 2] = 0
    inputs, dout = (kernel.store(given["qkv"]), *rest), kernel.store(given["dout"])
    gradients, report = backward(kernel, inputs, dout, how)
    assert not report["errors"]
    expected(kernel, inputs, dout, **case.how).check(**dict(zip(RESULTS, gradients)))


# ---- traffic and memory, as the twin counts them ----


@pytest.mark.parametrize(
    "case",
    [
        SUPPORTED[0],
        SUPPORTED[4],
        Case(1, 20, 20, (20, 20), (0, 0), 1, 64),
        Case(1, 24, 24, (24, 24), (0, 0), 2, 32),
        Case(1, 5, 3, (5, 3), (0, 0), 1, 64),
    ],
    ids=str,
)
@every_soc
def test_memory_is_what_the_tiling_says(case, kernel):
    (qkv, table, _), how = arguments(case, kernel)
    _, report = run(case, kernel)
    tiling = twin.window_attention_grad_tiling(qkv.shape, table.shape, soc=kernel.soc, **how)
    assert report["peak_bytes"] == tiling["bytes"]
    if kernel.soc == "ascend910b":
        assert report["tensors"]["workspace"]["size"] == tiling["traffic"]["workspace"]


def test_exchange_of_the_910b():
    """What a unit of 64 tokens moves through the workspace, in rows of q, k, v, do (8 KB) and of pairs (16 KB)."""
    case = Case(2, 16, 16, (8, 8), (4, 4), 3, 32)
    _, report = run(case, KERNELS[1], cores=1)
    units, exchange, tensors = 2 * 4 * 3, report["tensors"]["workspace"], report["tensors"]
    rows, pairs = 64 * 32 * 4, 64 * 64 * 4
    assert exchange["written"] == units * (4 * rows + 2 * pairs + 2 * pairs + 3 * rows)
    assert exchange["read"] == units * ((4 + 3) * rows + 2 * pairs + 3 * pairs + (3 + 2) * rows)
    assert tensors["bias"]["read"] == units * pairs
    for name, moved in (("qkv", "read"), ("dout", "read"), ("dqkv", "written")):
        assert tensors[name][moved] == tensors[name]["size"]
    assert tensors["out"]["read"] == 0


@every_soc
def test_work_is_shared(kernel):
    shapes = {"qkv_shape": (32, 64, 64, 3 * 96), "bias_table_shape": (3, 15, 15)}
    work = twin.window_attention_grad_tiling(**shapes, soc=kernel.soc)["work_of_cores"]
    assert sum(work) == 32 * 64 * 3 and max(work) - min(work) <= 1


# ---- bad input ----


@pytest.mark.parametrize("name", ["out", "stats", "dout"])
def test_shapes_are_checked(name):
    inputs, how = arguments(SUPPORTED[0], KERNELS[0])
    out, stats, _ = forward(KERNELS[0], *inputs, **how)
    given = {"out": out, "stats": stats, "dout": out}
    given[name] = given[name][:1]
    with pytest.raises(ValueError, match=f"{name}: expected .* of shape"):
        twin.window_attention_backward(*inputs, *given.values(), **how)


@pytest.mark.parametrize(
    ("soc", "window", "dim"),
    [
        ("ascend910b", 32, 64),
        ("ascend910", 21, 64),
        ("ascend910", 23, 48),
        ("ascend910", 26, 32),
        ("ascend910", 27, 16),
    ],
)
def test_what_does_not_fit_is_an_error(soc, window, dim):
    def tiling(window):
        shape, table = (1, window, window, 3 * dim), (1, 2 * window - 1, 2 * window - 1)
        return twin.window_attention_grad_tiling(shape, table, soc=soc)

    with pytest.raises(
        ValueError,
        match=f"window_size: a window of {window} x {window} at head_dim {dim} does not fit.* {soc};",
    ):
        tiling(window)
    assert tiling(window - 1 if soc == "ascend910" else 27)["heads"] == 1


@pytest.mark.parametrize(("soc", "dims"), [("ascend910", "16, 32, 48 or 64"), ("ascend910b", "16, 32 or 64")])
def test_head_dim_is_checked(soc, dims):
    with pytest.raises(ValueError, match=f"qkv: expected head_dim {dims} on {soc}, got 24"):
        twin.window_attention_grad_tiling((1, 8, 8, 3 * 24), (1, 15, 15), soc=soc)
