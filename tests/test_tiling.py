# SPDX-License-Identifier: Apache-2.0
"""The tiling of window attention for Ascend: pure arithmetic, held to the chip's limits without hardware."""

import math

import numpy as np
import pytest

from swinv2_kernels import _native

tiling = _native.twin.window_attention_tiling
L0 = {"L0A": 64 << 10, "L0B": 64 << 10}
CHIPS = {
    "ascend910": {"cores": 32, "UB": 248 << 10, "L1": 1 << 20, "L0C": 256 << 10, **L0},
    "ascend910b": {"cores": 20, "UB": 184 << 10, "L1": (512 << 10) - 128, "L0C": 128 << 10, **L0},
}
HEADS = {"tiny": (3, 6, 12, 24), "base": (4, 8, 16, 32), "large": (6, 12, 24, 48)}
PRESETS = [
    (family, window, resolution)
    for family, window, resolution in [
        ("tiny", 8, 256),
        ("tiny", 16, 256),
        ("base", 8, 256),
        ("base", 12, 192),
        ("base", 16, 256),
        ("base", 24, 384),
        ("large", 12, 192),
        ("large", 16, 256),
        ("large", 24, 384),
        ("tiny", 7, 224),
    ]
]


def stages(preset):
    """(qkv shape at batch 32, bias table shape, shift) of every kind of block."""
    family, window, resolution = preset
    for stage, heads in enumerate(HEADS[family]):
        size = (resolution // 4) >> stage
        win = min(window, size)
        for shift in [0, win // 2] if size > win else [0]:
            yield (32, size, size, 3 * heads * 32), (heads, 2 * win - 1, 2 * win - 1), shift


def check(t, qkv, table, soc="ascend910", cores=0):
    """Capacity, coverage and the rules tiling.h and tiling_910b.h state."""
    chip = CHIPS[soc]
    batch, height, width, channels = qkv
    heads, window = table[0], ((table[1] + 1) // 2, (table[2] + 1) // 2)
    dim, tokens = channels // 3 // heads, window[0] * window[1]
    windows = batch * height // window[0] * (width // window[1])
    for memory, used in t["bytes"].items():
        assert 0 < used <= chip[memory], memory
    # Every head of every window is some core's.
    assert t["heads"] == heads and t["head_dim"] == dim and heads % t["head_group"] == 0
    strip = t.get("strip", 1)
    assert (width // window[1]) % strip == 0 and (strip == 1 or t["head_group"] == heads)
    assert t["tasks"] * strip * t["head_group"] == windows * heads
    assert 1 <= t["cores"] == min(cores or chip["cores"], t["tasks"])
    assert len(t["work_of_cores"]) == t["cores"] and min(t["work_of_cores"]) > 0
    assert sum(t["work_of_cores"]) == windows * heads
    assert t["blocks"] == -(-tokens // 16)
    if soc == "ascend910b":
        # Tiles cover the window; a product's operands and results fit half, a quarter of their memories.
        assert t["tile_rows"] % 16 == 0 and (t["tiles"] - 1) * t["tile_rows"] < tokens
        assert t["tiles"] * t["tile_rows"] >= tokens
        keys = 16 * t["key_blocks"]
        assert keys * t["tile_rows"] * 4 <= 32 << 10 and keys * dim * 2 <= 32 << 10
        assert t["tile_rows"] * t["head_group"] * dim * 4 <= 32 << 10
        assert tokens <= t["pitch"] <= 1024 and t["pitch"] % 64 == 0
        assert t["score_slots"] in (1, 2)
        # Two steps are four units: the tasks they span are in L1 together.
        of_task = t["tiles"] * t["head_group"]
        assert t["qkv_slots"] >= (4 if of_task == 1 else 2)
        return t
    # Every block of queries is in one class, every key in one chunk.
    assert t["blocks"] <= 63
    assert 1 <= t["tile_blocks"] <= -(-t["blocks"] // t["classes"])
    assert 1 <= t["key_blocks"] <= t["blocks"]
    assert t["tile_blocks"] * t["blocks"] * 4 // 2 <= 255  # repeats of the first fold
    assert 1 <= t["stage_tokens"] <= tokens * strip
    assert strip == 1 or t["stage_tokens"] % (strip * window[1]) == 0
    assert t["weight_slots"] in (1, 2) and t["panel_slots"] in (1, 2) and t["qkv_slots"] in (1, 2)
    # In two phases a pair of tokens stays together, a unit of measured norms in its third.
    assert t["phases"] in (1, 2)
    if t["phases"] == 2:
        assert strip == t["qkv_slots"] == 1 and t["head_group"] == heads
        assert t["stage_tokens"] % 2 == 0 and heads // 3 % t["norm_units"] == 0
        assert t["traffic"]["qkv_out"] == t["traffic"]["compulsory"]
    # Panels: blocks of one class start in one column; each finds its keys in the panel.
    rows = {}
    for block in range(t["blocks"]):
        rows.setdefault(block % t["classes"], []).append(divmod(block * 16, window[1]))
    if tokens % 16:
        assert t["classes"] * t["panel_rows"] == t["blocks"] * t["blocks"] * 16
        return t
    for members in rows.values():
        assert len({column for _, column in members}) == 1
        start = (max(row for row, _ in members) - min(row for row, _ in members)) * window[1]
        assert start + tokens <= t["panel_rows"]
    return t


@pytest.mark.parametrize("preset", PRESETS, ids=lambda p: f"{p[0]}-w{p[1]}-{p[2]}")
def test_presets(preset):
    for qkv, table, shift in stages(preset):
        t = check(tiling(qkv, table, shift_size=(shift, shift)), qkv, table)
        work, traffic = t["work_of_cores"], t["traffic"]
        assert t["cores"] == 32
        assert max(work) <= 1.05 * sum(work) / len(work)
        assert traffic["qkv_out"] <= 1.05 * traffic["compulsory"]
        assert traffic["compulsory"] == math.prod(qkv) // 3 * 4 * 2


@pytest.mark.parametrize("preset", PRESETS, ids=lambda p: f"{p[0]}-w{p[1]}-{p[2]}")
def test_presets_on_the_910b(preset):
    for qkv, table, shift in stages(preset):
        t = check(
            tiling(qkv, table, shift_size=(shift, shift), soc="ascend910b"), qkv, table, soc="ascend910b"
        )
        work = t["work_of_cores"]
        assert t["cores"] == 20
        assert max(work) <= 1.05 * sum(work) / len(work)


def test_two_phases():
    """Where all heads do not fit L1, their groups cut sectors, and even columns stay even."""

    def phases(heads=12, dim=32, window=(24, 24), **how):
        qkv, table = (1, 2 * window[0], 2 * window[1], 3 * heads * dim), [2 * w - 1 for w in window]
        t = check(tiling(qkv, (heads, *table), cores=1, **how), qkv, (heads, *table), cores=1)
        return t["phases"]

    assert phases() == phases(shift_size=(12, 12)) == phases(shift_size=(1, 2)) == 2
    assert phases(60, window=(8, 12)) == phases(24, 48, window=(10, 16)) == 2
    assert phases(6) == phases(12, window=(16, 16)) == 1  # fits
    assert phases(24) == phases(24, window=(16, 16)) == 1  # groups of whole sectors
    assert phases(11) == phases(9) == 1  # no thirds; two thirds are no whole sectors
    assert phases(shift_size=(12, 1)) == phases(window=(32, 17)) == 1
    assert phases(30, 64, window=(6, 24)) == 1  # half of the keys is no whole blocks
    assert phases(valid_size=(48, 46)) == phases(valid_size=(46, 48)) == 1


def drawn(seed):
    rng = np.random.default_rng(seed)
    window = tuple(int(w) for w in rng.integers(1, 33, 2))
    while window[0] * window[1] > 576:
        window = tuple(int(w) for w in rng.integers(1, 33, 2))
    rows, cols = (int(n) for n in rng.integers(1, 9, 2))
    heads, dim = int(rng.choice([1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 32, 48])), int(rng.choice([16, 32, 64]))
    qkv = int(rng.integers(1, 65)), window[0] * rows, window[1] * cols, 3 * heads * dim
    shift = tuple(int(rng.integers(0, w)) for w in window)
    return qkv, (heads, 2 * window[0] - 1, 2 * window[1] - 1), shift


@pytest.mark.parametrize(
    "seeds", [range(i, i + 100) for i in range(0, 500, 100)], ids=lambda r: f"{r[0]}-{r[-1]}"
)
@pytest.mark.parametrize("soc", CHIPS)
def test_seeded_shapes(seeds, soc):
    for seed in seeds:
        qkv, table, shift = drawn(seed)
        for cores in (0, 1 + seed % CHIPS[soc]["cores"]):
            t = tiling(qkv, table, shift_size=shift, cores=cores, soc=soc)
            if cores == 0:
                check(t, qkv, table, soc)
            assert t["cores"] <= (cores or CHIPS[soc]["cores"])
            assert max(t["work_of_cores"]) - min(t["work_of_cores"]) <= t["head_group"] * t.get("strip", 1)


@pytest.mark.parametrize("soc", CHIPS)
@pytest.mark.parametrize(
    ("qkv", "heads", "error"),
    [
        ((1, 2**62, 4, 3), 1, "tokens"),
        ((1, 2**31, 1, 48), 1, "tokens"),
        ((1, 2**15, 2**15, 96), 2, "heads of windows, got 1073741824 windows of 2 heads; split the batch"),
        ((1, 2**16, 2**14, 192), 4, "heads of windows"),
        ((1, 1, 1, 48 * (2**32 + 1)), 2**32 + 1, "channels"),
        ((1, 1, 1, 3), 2**62, "channels"),
    ],
)
def test_what_32_bits_do_not_hold(qkv, heads, error, soc):
    with pytest.raises(ValueError, match=f"qkv: expected .*{error}"):
        tiling(qkv, (heads, 1, 1), soc=soc)


@pytest.mark.parametrize("soc", CHIPS)
def test_pure(soc):
    qkv, table, shift = drawn(7)
    first, second = (tiling(qkv, table, shift_size=shift, soc=soc) for _ in range(2))
    assert first == second


@pytest.mark.parametrize(
    "window",
    [(8, 8), (16, 16), (12, 12), (7, 7), (6, 6), (4, 8), (24, 24), (3, 10), (1, 48), (20, 1), (10, 10)],
)
def test_panels_hold_the_bias(window):
    """Row (panel_top - row of block) * Ww + key, lane: the bias of that key for that query."""
    heads, tokens = 2, window[0] * window[1]
    rng = np.random.default_rng(0)
    bias_table = rng.standard_normal((heads, 2 * window[0] - 1, 2 * window[1] - 1)).astype(np.float32)
    qkv = (1, *window, 3 * heads * 16)
    t = tiling(qkv, bias_table.shape)
    panels = _native.twin.window_attention_prepared_bias(bias_table, qkv_shape=qkv)
    assert panels.shape == (heads, t["classes"], t["panel_rows"], 16)
    h, w = np.divmod(np.arange(tokens), window[1])
    bias = bias_table[
        :, h[:, None] - h + window[0] - 1, w[:, None] - w + window[1] - 1
    ]  # (heads, queries, keys)
    panels = panels if tokens % 16 == 0 else panels.reshape(heads, t["blocks"], -1, 16)
    for block in range(t["blocks"]):
        cls = block % panels.shape[1]
        last = block if tokens % 16 else cls + (t["blocks"] - 1 - cls) // t["classes"] * t["classes"]
        start = (last * 16 // window[1] - block * 16 // window[1]) * window[1]
        queries = np.arange(block * 16, min(tokens, block * 16 + 16))
        np.testing.assert_array_equal(
            panels[:, cls, start : start + tokens, : len(queries)], bias[:, queries].transpose(0, 2, 1)
        )
        if tokens % 16:
            assert (panels[:, cls, tokens:] < -1e29).all()


@pytest.mark.parametrize("window", [(8, 8), (7, 7), (3, 10)])
def test_rows_hold_the_bias(window):
    """On the 910B: the bias of every query and key, keys rounded up to whole blocks."""
    heads, tokens = 2, window[0] * window[1]
    table = np.random.default_rng(0).standard_normal((heads, 2 * window[0] - 1, 2 * window[1] - 1))
    rows = _native.twin.window_attention_prepared_bias(
        table.astype(np.float32), qkv_shape=(1, *window, 3 * heads * 16), soc="ascend910b"
    )
    h, w = np.divmod(np.arange(tokens), window[1])
    bias = table.astype(np.float32)[:, h[:, None] - h + window[0] - 1, w[:, None] - w + window[1] - 1]
    np.testing.assert_array_equal(rows[..., :tokens], bias)
    assert rows.shape[-1] % 16 == 0 and not rows[..., tokens:].any()
