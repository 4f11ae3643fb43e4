# SPDX-License-Identifier: Apache-2.0
"""The Ascend kernels on the host twin: parity with the oracle, no broken rule, under any interleaving; traffic."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import oracle
import pytest
from cases import CASES, Case
from oracle import Expected

from swinv2_kernels import _native

twin = _native.twin
GOLDEN = sorted((Path(__file__).parent / "golden").glob("op_*.npz"))
HEAD_DIMS = (16, 32, 64)
SUPPORTED = [case for case in CASES if case.head_dim in HEAD_DIMS]
WINDOWS = [4, 6, 7, 8, 9, 10, 12, 16, 24, (8, 4), (5, 3), (2, 16), (3, 10), (20, 1), (1, 48)]


@dataclass(frozen=True)
class Kernel:
    """The kernel of a chip, on qkv of a storage type."""

    soc: str
    dtype: str

    def __str__(self):
        return f"{self.soc}-{self.dtype}"

    def store(self, array):
        return oracle.bfloat16_bits(array) if self.dtype == "bfloat16" else np.asarray(array, np.float16)

    def load(self, array):
        return oracle.bfloat16_from_bits(array) if self.dtype == "bfloat16" else array


KERNELS = [
    Kernel("ascend910", "float16"),
    Kernel("ascend910b", "float16"),
    Kernel("ascend910b", "bfloat16"),
]
SOCS = KERNELS[:2]
every_kernel = pytest.mark.parametrize("kernel", KERNELS, ids=str)
every_soc = pytest.mark.parametrize("kernel", SOCS, ids=lambda kernel: kernel.soc)


def arguments(case, kernel=KERNELS[0]):
    given = case.inputs()
    if case.cosine:
        scale = oracle.effective_scale(given["logit_scale"])
    else:
        scale = np.full(case.heads, case.head_dim**-0.5)
    how = {name: value for name, value in case.how.items() if name != "window_size"} | {"cosine": case.cosine}
    return (kernel.store(given["qkv"]), given["bias_table"], scale.astype(np.float32)), how


def forward(kernel, *inputs, **how):
    """out, in numbers; stats; report."""
    out, stats, report = twin.window_attention_forward(*inputs, soc=kernel.soc, **how)
    return kernel.load(out), stats, report


def run(case, kernel=KERNELS[0], **options):
    """out, stats, report: the report has no errors."""
    inputs, how = arguments(case, kernel)
    out, stats, report = forward(kernel, *inputs, **how, **options)
    assert not report["errors"], report["errors"][0]["text"]
    return out, stats, report


def expected(case, kernel=KERNELS[0]):
    (qkv, table, scale), _ = arguments(case, kernel)
    return Expected(kernel.dtype, kernel.load(qkv), table, scale, cosine=case.cosine, **case.how)


def seeded(seed):
    """A shape drawn from the seed: windows, heads and options of every kind, small enough to be quick."""
    rng = np.random.default_rng(seed)
    window = oracle.pair(WINDOWS[seed % len(WINDOWS)])
    large = window[0] * window[1] > 200
    rows, cols = rng.integers(1, 3 if large else 4, 2)
    size = int(window[0] * rows), int(window[1] * cols)
    shifted = rng.random() < 0.7
    shift = tuple(int(rng.integers(0, w)) if shifted else 0 for w in window)
    valid = tuple(int(rng.integers(1, s + 1)) for s in size) if rng.random() < 0.3 else None
    heads = int(rng.choice([1, 2] if large else [1, 2, 3, 4, 6, 8, 16]))
    mask = float(rng.choice([-100.0, -100.0, -np.inf, -3.3]))
    batch, dim, cosine = int(rng.integers(1, 3)), int(rng.choice(HEAD_DIMS)), bool(rng.random() < 0.75)
    case = Case(batch, *size, window, shift, heads, dim, valid, mask, cosine, seed)
    return case, {"seed": int(rng.integers(1 << 30)), "cores": int(rng.integers(0, 5))}


@every_kernel
@pytest.mark.parametrize("case", SUPPORTED, ids=str)
def test_parity(case, kernel):
    out, *_ = run(case, kernel)
    expected(case, kernel).check(out=out)


@every_kernel
@pytest.mark.parametrize("seed", range(60))
def test_parity_of_seeded_shapes(seed, kernel):
    case, options = seeded(seed)
    out, *_ = run(case, kernel, **options)
    expected(case, kernel).check(out=out)


STRIPS = [
    Case(1, 16, 32, (8, 8), (4, 4), 3, 32),
    Case(2, 8, 64, (8, 8), (0, 4), 3, 32, (7, 45)),
    Case(1, 14, 28, (7, 7), (3, 3), 3, 32),
    Case(1, 12, 24, (12, 12), (6, 6), 6, 32),
    Case(1, 6, 12, (3, 3), (1, 2), 2, 16, (6, 8), -3.0, False),
]


@pytest.mark.parametrize("cores", [1, 2])
@pytest.mark.parametrize("case", STRIPS, ids=str)
def test_parity_of_strips(case, cores):
    """Windows side by side in one task, so that no sector is read by two."""
    (qkv, table, _), how = arguments(case)
    tiling = twin.window_attention_tiling(qkv.shape, table.shape, cores=cores, **how)
    assert tiling["strip"] > 1 or cores == 2
    out, *_ = run(case, cores=cores, seed=cores)
    expected(case).check(out=out)


# Norms of one unit and one block: instructions of a single repeat.
SINGLES = [
    Case(1, 4, 4, (4, 4), (0, 0), 1, 32),
    Case(1, 4, 4, (4, 4), (0, 0), 5, 32),  # four units, then one
    Case(2, 3, 8, (3, 4), (0, 1), 24, 16),
    Case(1, 1, 1, (1, 1), (0, 0), 2, 64),
]


@every_kernel
@pytest.mark.parametrize("case", SINGLES, ids=str)
def test_parity_of_single_blocks(case, kernel):
    out, *_ = run(case, kernel)
    expected(case, kernel).check(out=out)


# Many blocks, each a class of its own.
@pytest.mark.parametrize("window", [(23, 23), (25, 25), (27, 27), (7, 71)], ids=str)
def test_large_windows_of_ragged_blocks(window):
    case = Case(1, *window, window, (0, 0), 1, 16)
    out, *_ = run(case)
    expected(case).check(out=out)


PHASES = [
    Case(1, 24, 48, (24, 24), (12, 12), 12, 32),  # a row of Large w24, stage 1
    Case(1, 24, 24, (24, 24), (0, 0), 12, 32),
    Case(1, 16, 24, (8, 12), (3, 2), 60, 32),
    Case(2, 12, 16, (12, 8), (5, 4), 30, 64, mask_value=-np.inf),
    Case(1, 16, 10, (16, 10), (1, 8), 36, 32, cosine=False),
    Case(1, 10, 16, (10, 16), (0, 0), 24, 48),
    Case(1, 16, 4, (16, 2), (5, 0), 30, 64),  # norms of two heads at a time, ten heads a third
]


@pytest.mark.parametrize("case", PHASES, ids=str)
def test_two_phases(case):
    """Heads that do not fit L1 together: parity, and every sector of qkv and out once."""
    (qkv, table, _), how = arguments(case)
    tiling = twin.window_attention_tiling(qkv.shape, table.shape, cores=1, **how)
    assert tiling["phases"] == 2
    out, _, report = run(case, cores=1, seed=case.heads)
    expected(case).check(out=out)
    for name, moved in [("qkv", "sectors_read"), ("out", "sectors_written")]:
        assert report["tensors"][name][moved] == report["tensors"][name]["size"]
    check_report(report, tiling)


def test_interleavings_of_two_phases():
    case = PHASES[2]
    want = run(case, cores=2)[:2]
    for seed in range(1, 5):
        for got, expected_bits in zip(run(case, cores=2, seed=seed), want):
            np.testing.assert_array_equal(got, expected_bits)


@pytest.mark.exhaustive
@every_kernel
@pytest.mark.parametrize("seed", range(60, 1060))
def test_parity_of_many_shapes(seed, kernel):
    test_parity_of_seeded_shapes(seed, kernel)


@every_kernel
@pytest.mark.parametrize("path", GOLDEN, ids=lambda path: path.stem)
def test_official_results(path, kernel):
    golden = np.load(path)
    window, shift = oracle.pair(golden["window_size"]), oracle.pair(golden["shift_size"])
    qkv, table = kernel.store(golden["qkv"]), oracle.table_of_bias(golden["relative_position_bias"], window)
    scale = oracle.effective_scale(golden["logit_scale"]).astype(np.float32)
    out, _, report = forward(kernel, qkv, table, scale, shift_size=shift)
    assert not report["errors"], report["errors"][0]["text"]
    exact = Expected(kernel.dtype, kernel.load(qkv), table, scale, window_size=window, shift_size=shift)
    exact.check(out=out)
    # Against the official float64 result itself: rounding qkv moves it, so at that distance.
    moved = np.abs(exact.exact["out"] - golden["out"]).max()
    assert np.abs(out.astype(np.float64) - golden["out"]).max() <= moved + oracle.tolerance(
        kernel.dtype, exact.exact["out"], exact.rounded["out"]
    )


@pytest.mark.parametrize("case", [SUPPORTED[0], SUPPORTED[4], SUPPORTED[6], SUPPORTED[11]], ids=str)
@every_soc
def test_every_interleaving_gives_the_same_bits(case, kernel):
    want = run(case, kernel, cores=3)[:2]
    for seed in range(1, 9):
        for got, expected_bits in zip(run(case, kernel, cores=3, seed=seed), want):
            np.testing.assert_array_equal(got, expected_bits)


@every_soc
@pytest.mark.parametrize("cores", [1, 2, 3, 5, 20])
def test_any_number_of_cores_gives_the_same_bits(cores, kernel):
    case = Case(2, 24, 16, (8, 8), (4, 4), 6, 16)
    for got, want in zip(run(case, kernel, cores=cores), run(case, kernel)[:2]):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("case", [SUPPORTED[0], SUPPORTED[4], SUPPORTED[5]], ids=str)
@every_kernel
def test_stats_is_the_logarithm_of_the_softmax_sum(case, kernel):
    (qkv, table, scale), _ = arguments(case, kernel)
    attention = oracle._Attention(kernel.load(qkv), table, scale, np.float64, cosine=case.cosine, **case.how)
    geo = attention.geo
    mask = np.where(geo.region[:, :, None] == geo.region[:, None, :], 0.0, case.mask_value)
    logits = attention.scale * attention.products + attention.table[:, geo.dy, geo.dx] + mask[:, None]
    lse = np.log(np.exp(logits).sum(-1))  # (batch, windows, heads, N)
    tokens = lse.shape[-1]
    stats = run(case, kernel)[1]
    assert stats.shape[-1] == (tokens + 7) // 8 * 8
    np.testing.assert_allclose(stats[..., :tokens].reshape(lse.shape), lse, rtol=0, atol=2e-3)


# ---- what a window may see ----


@every_soc
@pytest.mark.parametrize("where", [0, 64, 128], ids=["q", "k", "v"])
def test_nan_stays_in_its_window(where, kernel):
    case = Case(2, 16, 16, (8, 8), (0, 0), 2, 32)
    (qkv, table, scale), how = arguments(case, kernel)
    clean, *_ = forward(kernel, qkv, table, scale, cores=1, **how)
    qkv[1, 2, 3, where] = np.nan
    out, _, report = forward(kernel, qkv, table, scale, cores=1, **how)
    assert not report["errors"]
    assert np.isnan(out[1, :8, :8]).any()
    out[1, :8, :8] = clean[1, :8, :8]
    np.testing.assert_array_equal(out, clean)


@every_soc
@pytest.mark.parametrize(
    "case",
    [
        Case(3, 8, 8, (8, 8), (0, 0), 2, 32),
        Case(3, 7, 7, (7, 7), (0, 0), 2, 32),
        Case(2, 8, 12, (8, 12), (0, 0), 60, 32),  # two phases on the 910
    ],
    ids=str,
)
def test_nan_does_not_outlive_its_task(case, kernel):
    """Buffers are used again, their tails never written: a task of NaN leaves nothing behind."""
    (qkv, table, scale), how = arguments(case, kernel)
    clean, *_ = forward(kernel, qkv, table, scale, cores=1, **how)
    qkv[0] = np.nan
    out, _, _ = forward(kernel, qkv, table, scale, cores=1, **how)
    np.testing.assert_array_equal(out[1:], clean[1:])


@every_soc
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_padding_is_never_read(value, kernel):
    case = Case(1, 16, 16, (8, 8), (4, 4), 3, 16, (11, 13))
    (qkv, table, scale), how = arguments(case, kernel)
    clean, *_ = forward(kernel, qkv, table, scale, **how)
    qkv[:, 11:] = qkv[:, :, 13:] = value
    dirty, _, report = forward(kernel, qkv, table, scale, **how)
    assert not report["errors"]
    np.testing.assert_array_equal(dirty, clean)
    assert not dirty[:, 11:].any() and not dirty[:, :, 13:].any()


@every_soc
@pytest.mark.parametrize("scale_by", [2.0**-14, 60.0, 6e3], ids=["tiny", "large", "huge"])
def test_magnitudes(scale_by, kernel):
    """Norms are divided out in float32: q and k of any float16 size give the same weights."""
    case = Case(1, 8, 8, (8, 8), (0, 0), 1, 32)
    (qkv, table, scale), how = arguments(case, kernel)
    qkv[..., :64] *= np.float16(scale_by)
    out, _, report = forward(kernel, qkv, table, scale, **how)
    assert not report["errors"]
    Expected("float16", qkv, table, scale, **case.how).check(out=out)


@pytest.mark.parametrize("scale_by", [1e-30, 1e-12, 1e18])
def test_magnitudes_of_bfloat16(scale_by):
    case, kernel = Case(1, 8, 8, (8, 8), (0, 0), 1, 32), KERNELS[2]
    (_, table, scale), how = arguments(case, kernel)
    qkv = case.inputs()["qkv"]
    qkv[..., :64] *= np.float32(scale_by)
    out, _, report = forward(kernel, kernel.store(qkv), table, scale, **how)
    assert not report["errors"]
    Expected("bfloat16", qkv, table, scale, **case.how).check(out=out)


@every_soc
def test_zero_and_constant_vectors(kernel):
    case = Case(1, 8, 8, (8, 8), (0, 0), 1, 32)
    (qkv, table, scale), how = arguments(case, kernel)
    qkv[:, 3, :, :64] = 0
    qkv[:, 5] = 1
    out, *_ = forward(kernel, qkv, table, scale, **how)
    Expected("float16", qkv, table, scale, **case.how).check(out=out)


# ---- traffic and memory, as the twin counts them ----


@pytest.mark.parametrize(
    "case",
    [
        Case(1, 32, 32, (8, 8), (4, 4), 4, 32),
        Case(1, 16, 16, (16, 16), (0, 0), 16, 32),
        Case(2, 24, 24, (12, 12), (6, 6), 3, 32),
        Case(1, 14, 14, (7, 7), (3, 3), 3, 32),
        Case(1, 16, 16, (8, 8), (4, 4), 2, 32, (13, 11)),
        STRIPS[0],
        STRIPS[2],
    ],
    ids=str,
)
@pytest.mark.parametrize("cores", [0, 1])
def test_traffic_is_what_the_tiling_says(case, cores):
    _, how = arguments(case)
    _, _, report = run(case, cores=cores)
    qkv, table = (
        (case.batch, case.height, case.width, 3 * case.heads * case.head_dim),
        case.inputs()["bias_table"],
    )
    tiling = twin.window_attention_tiling(qkv, table.shape, cores=cores, **how)
    check_report(report, tiling, padding=case.valid_size is not None)


def check_report(report, tiling, padding=False):
    """The tiling predicts traffic and memory; not that of padding, whose zeros go out token by token."""
    tensors, traffic = report["tensors"], tiling["traffic"]
    assert tensors["bias"]["read"] == traffic["bias"]
    if not padding:
        assert tensors["qkv"]["sectors_read"] + tensors["out"]["sectors_written"] == traffic["qkv_out"]
        size = tensors["qkv"]["size"] + tensors["out"]["size"]
        assert tensors["qkv"]["read"] + tensors["out"]["written"] == size == traffic["compulsory"]
    assert report["peak_bytes"] == tiling["bytes"]


def test_bursts_are_long():
    _, _, report = run(Case(1, 16, 16, (16, 16), (0, 0), 16, 32), cores=1)
    assert min(report["paths"]["GM->UB"]["bursts"]) >= 512


@every_kernel
@pytest.mark.parametrize("case", [SUPPORTED[0], SUPPORTED[4], SUPPORTED[8]], ids=str)
def test_memory_is_what_the_tiling_says(case, kernel):
    (qkv, table, _), how = arguments(case, kernel)
    *_, report = run(case, kernel)
    tiling = twin.window_attention_tiling(qkv.shape, table.shape, soc=kernel.soc, **how)
    assert report["peak_bytes"] == tiling["bytes"]


def test_exchange_of_the_910b():
    """Scores go out and probabilities come back once, in two parts; the bias of small windows comes once an AIV."""
    case = Case(2, 16, 16, (8, 8), (4, 4), 3, 32)
    *_, report = run(case, KERNELS[1], cores=1)
    pairs = 2 * 4 * 3 * 64 * 64
    exchange = report["tensors"]["workspace"]
    assert exchange["read"] == exchange["written"] == pairs * (4 + 2 * 2)
    assert report["tensors"]["bias"]["read"] == 2 * 3 * 64 * 64 * 4
    assert report["tensors"]["out"]["written"] == report["tensors"]["out"]["size"]


# ---- bad input ----


@pytest.mark.parametrize(
    ("soc", "dtype"),
    [("ascend910", np.float32), ("ascend910", np.uint16), ("ascend910b", np.float32)],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_other_dtypes_are_an_error(soc, dtype):
    (qkv, table, scale), how = arguments(SUPPORTED[0])
    with pytest.raises(ValueError, match=f"qkv: expected float16.* on {soc}.* cast qkv to float16"):
        twin.window_attention_forward(qkv.astype(dtype), table, scale, soc=soc, **how)


@pytest.mark.parametrize(("soc", "dims"), [("ascend910", "16, 32, 48 or 64"), ("ascend910b", "16, 32 or 64")])
@pytest.mark.parametrize("dim", [8, 24, 80, 128])
def test_head_dim_is_checked(soc, dims, dim):
    with pytest.raises(ValueError, match=f"qkv: expected head_dim {dims} on {soc}, got {dim}"):
        twin.window_attention_tiling((1, 8, 8, 3 * dim), (1, 15, 15), soc=soc)


def test_large_windows_are_named():
    with pytest.raises(
        ValueError, match="window_size: expected at most 1008 tokens on ascend910, got 32 x 32"
    ):
        twin.window_attention_tiling((1, 32, 32, 96), (1, 63, 63))
    with pytest.raises(ValueError, match="window_size: expected at most 127 columns on ascend910, got 128"):
        twin.window_attention_tiling((1, 1, 128, 96), (1, 1, 255))
    with pytest.raises(ValueError, match="window_size: expected at most 255 rows on ascend910, got 256"):
        twin.window_attention_tiling((1, 256, 1, 96), (1, 511, 1))
    with pytest.raises(
        ValueError, match="window_size: expected at most 1024 tokens on ascend910b, got 33 x 32"
    ):
        twin.window_attention_tiling((1, 33, 32, 96), (1, 65, 63), soc="ascend910b")


@pytest.mark.parametrize(
    "source",
    [None, "", 'asm(".globl swinv2_window_attention_910\\nswinv2_window_attention_910 = 0");'],
    ids=["no file", "no kernel", "kernel at 0"],
)
def test_library_without_a_kernel(source, tmp_path):
    library = str(tmp_path / "kernel.so")
    if source is not None:
        command = [os.environ.get("CXX", "c++"), "-shared", "-fPIC", "-xc++", "-"]
        subprocess.run([*command, "-o", library], input=source, text=True, check=True)
    inputs, how = arguments(CASES[0])
    with pytest.raises(ValueError, match="kernel_library: "):
        forward(KERNELS[0], *inputs, **how, kernel_library=library)


def test_unknown_soc():
    with pytest.raises(ValueError, match="soc: expected ascend910 or ascend910b, got 'ascend310'"):
        twin.window_attention_tiling((1, 8, 8, 96), (1, 15, 15), soc="ascend310")
