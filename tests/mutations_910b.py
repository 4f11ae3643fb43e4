# SPDX-License-Identifier: Apache-2.0
"""Slips of the 910B kernel: text of its source, and what stands there instead."""

from cases import Case

# Several tasks a core, shifts, tails, tiles, key chunks, padding, head groups, an odd number of units; with the cores.
RUNS = [
    (Case(2, 16, 16, (8, 8), (4, 4), 4, 32), {"cores": 1}),
    (Case(1, 14, 14, (7, 7), (3, 3), 2, 16, (13, 11)), {"cores": 2, "seed": 1}),
    (Case(1, 24, 24, (12, 12), (6, 6), 2, 32, mask_value=-3.0), {"cores": 2, "seed": 2}),
    (Case(1, 20, 20, (20, 20), (0, 0), 1, 64, cosine=False), {"seed": 3}),
    (Case(2, 16, 16, (16, 16), (0, 0), 2, 32), {"seed": 4}),
    (Case(1, 8, 8, (8, 8), (0, 0), 8, 32), {"cores": 2}),
    (Case(1, 8, 24, (8, 8), (4, 4), 3, 64), {"cores": 1, "seed": 5}),
    (Case(3, 12, 4, (4, 4), (1, 1), 1, 16), {"cores": 1, "seed": 6}),
    (Case(1, 8, 16, (8, 8), (0, 0), 1, 16, (6, 13)), {"cores": 1, "seed": 7}),
]

MUTATIONS = {
    # flags and barriers
    "scores-not-announced": ("        CrossCoreSetFlag<2, PIPE_FIX>(kScored);\n", ""),
    "scores-announced-by-the-cube": (
        "CrossCoreSetFlag<2, PIPE_FIX>(kScored)",
        "CrossCoreSetFlag<2, PIPE_M>(kScored)",
    ),
    "scores-not-waited-for": ("    CrossCoreWaitFlag(kScored);\n", ""),
    "weights-not-waited-for": ("        CrossCoreWaitFlag(kSoftened);\n", ""),
    "weights-announced-by-the-vector-unit": (
        "CrossCoreSetFlag<2, PIPE_MTE3>(kSoftened)",
        "CrossCoreSetFlag<2, PIPE_V>(kSoftened)",
    ),
    "idle-side-says-nothing": (
        "      CrossCoreSetFlag<2, PIPE_MTE3>(kSoftened);\n",
        "      if (unit < units) CrossCoreSetFlag<2, PIPE_MTE3>(kSoftened);\n",
    ),
    "event-ids-of-tpipe": ("operands[2] = {{3}, {4}}", "operands[2] = {{2}, {1}}"),
    "qkv-read-before-laid": ("    if (unit.opens_task) laid[SlotOf(unit.task)].Await();\n", ""),
    "qkv-never-released": ("    if (unit.closes_task) laid[SlotOf(unit.task)].Release();\n", ""),
    "qkv-released-with-every-tile": (
        "if (unit.closes_task) laid[SlotOf(unit.task)].Release();",
        "if (unit.closes_tile) laid[SlotOf(unit.task)].Release();",
    ),
    "weights-read-before-laid": ("    weights_laid[slot].Await();\n", ""),
    "operands-not-awaited-for-scores": (
        "      operands[operand].Await();\n      c_scores_ready[slot].Acquire();\n",
        "      c_scores_ready[slot].Acquire();\n",
    ),
    "operands-overwritten": ("    operands[slot].Acquire();\n    return slot;", "    return slot;"),
    "scores-leave-before-computed": ("      c_scores_ready[slot].Await();\n", ""),
    "outputs-leave-before-computed": ("      c_weighed_ready[o_slot].Await();\n", ""),
    "outputs-overwritten": ("    if (unit.opens_tile) c_weighed_ready[o_slot].Acquire();\n", ""),
    "no-barrier-between-products": ("    if (!first) PipeBarrier<PIPE_M>();\n", ""),
    "no-barrier-behind-the-wipe": (
        "InitConstValueParams<T>(1, Columns() * row, 0, T(0)));\n      PipeBarrier<PIPE_MTE2>();\n",
        "InitConstValueParams<T>(1, Columns() * row, 0, T(0)));\n",
    ),
    "scores-not-awaited-in-ub": ("    scores_ready[slot].Await();\n", ""),
    "scores-released-before-the-rest": (
        "    scores_ready[slot].Await();\n    if (t.cosine) {",
        "    scores_ready[slot].Await();\n    scores_ready[slot].Release();\n    if (t.cosine) {",
    ),
    "weights-stored-before-cast": ("    weights_ready.Await();\n", ""),
    "lse-stored-before-computed": ("    lse_ready.Await();\n", ""),
    "tokens-measured-before-staged": ("      staged.Await();\n", ""),
    "wipe-not-awaited": ("      WaitFlag<HardEvent::V_MTE2>(kWipeEvent);\n", ""),
    "no-barrier-after-exp": (
        "    Exp(s, s, rows * t.pitch);\n    PipeBarrier<PIPE_V>();\n",
        "    Exp(s, s, rows * t.pitch);\n",
    ),
    "no-barrier-after-spreading": (
        "BrcbRepeatParams(1, 8));\n    PipeBarrier<PIPE_V>();\n",
        "BrcbRepeatParams(1, 8));\n",
    ),
    "bias-of-other-heads-overwritten": (
        "      if (task >= 0) bias_ready.Release();\n      bias_ready.Acquire();\n",
        "",
    ),
    "bias-read-before-fetched": ("      bias_ready.Await();\n", ""),
    "bias-of-the-first-heads-kept": ("index / this->windows != task / this->windows)", "false)"),
    # memory
    "too-few-units-in-the-workspace": ("unit.index % kUnitsInFlight", "unit.index % 2"),
    "weights-over-scores": (
        "reinterpret_cast<__gm__ T*>(workspace + t.cores * all * 4)",
        "reinterpret_cast<__gm__ T*>(workspace + t.cores * all * 2)",
    ),
    "scores-too-small": (
        "Buffer<float>(pipe, scores_buffer, t.score_slots * tile)",
        "Buffer<float>(pipe, scores_buffer, t.score_slots * tile - kLanes)",
    ),
    "l1-weights-too-small": (
        "l1_weights_buffer, 2 * kWeightParts * t.tile_rows",
        "l1_weights_buffer, kWeightParts * t.tile_rows",
    ),
    "tails-not-zeroed": ("    if (n < row)\n", "    if (false)\n"),
    "weights-beyond-rows-not-zeroed": (
        "InitConstValueParams<T>(1, 2 * kWeightParts * t.tile_rows * row / kSide, 0, T(0))",
        "InitConstValueParams<T>(1, 1, 0, T(0))",
    ),
    # addresses and strides
    "cores-share-a-workspace": ("workspace) + core * all);", "workspace));"),
    "window-not-shifted": ("start = index * window_size + shift;", "start = index * window_size;"),
    "wrap-off-by-one": ("split = Min(window, size - start);", "split = Min(window, size - start - 1);"),
    "group-offset": ("from + part * channels + this->HeadOf(task) * d", "from + part * channels"),
    "group-width": ("Nd2NzParams(1, run.valid, g * d, 0", "Nd2NzParams(1, run.valid, d, 0"),
    "token-stride": (
        "Nd2NzParams(1, run.valid, 3 * channels, 0, 3 * channels, row, 1, 0)",
        "Nd2NzParams(1, run.valid, 3 * channels, 0, 2 * channels, row, 1, 0)",
    ),
    "queries-of-the-first-tile": ("q[unit.first * kSide + i * kFractal]", "q[i * kFractal]"),
    "key-chunk-overwrites-chunk": ("InWorkspace(unit) + j * kSide]", "InWorkspace(unit)]"),
    "score-columns": ("k[(column * t.blocks + j) * kFractal]", "k[column * t.blocks * kFractal]"),
    "row-pitch-of-scores": (
        "FixpipeParamsV220(blocks * kSide, unit.rows, m1 * kSide, row, false)",
        "FixpipeParamsV220(blocks * kSide, unit.rows, m1 * kSide, blocks * kSide, false)",
    ),
    "values-not-transposed": (
        "LoadData2DParams(0, d1, t.blocks, 0, 0, true, 0)",
        "LoadData2DParams(0, d1, t.blocks, 0, 0, false, 0)",
    ),
    "value-chunk-skipped": ("v[(j + i) * kFractal]", "v[i * kFractal]"),
    "first-part-twice": ("p[((part * t.blocks + j) * m1 + i) * kFractal]", "p[(j * m1 + i) * kFractal]"),
    "rest-forgotten": ("    Part(1, s, rows);\n", "    Part(1, bias, rows);\n"),
    "accumulator-not-kept": ("part == 0 && j == 0)", "j == 0)"),
    "output-of-the-first-head": ("o[unit.head * d1 * m1 * kFractal]", "o[0]"),
    "output-of-the-first-group": (
        "out_gm[run.first * channels + this->HeadOf(unit.task) * d],",
        "out_gm[run.first * channels],",
    ),
    "output-rows": ("o[i * kSide],", "o[0],"),
    "bias-of-the-first-head": ("windows * g + head) * n + first;", "windows * g) * n + first;"),
    "bias-of-the-first-tile": ("windows * g + head) * n + first;", "windows * g + head) * n;"),
    "stats-of-the-first-head": ("group + unit.head) * padded", "group) * padded"),
    "mask-of-the-first-chunk": ("mask[region * pitch + chunk * kLanes]", "mask[region * pitch]"),
    "mask-region": (
        "region = 2 * (h >= window.y.split) + right;",
        "region = 2 * (h > window.y.split) + right;",
    ),
    # tails and arithmetic
    "padding-seen": ("if (key >= n || window.Region(key) < 0)", "if (key >= n)"),
    "lanes-beyond-n-seen": (
        "if (key >= n || window.Region(key) < 0)",
        "if (key < n && window.Region(key) < 0)",
    ),
    "padding-not-cleared": ("if (unit.opens_tile && window.Padded()) ClearPadding(unit);", ""),
    "mask-of-another-task": (
        "    if (unit.task != task) Enter(unit.task);\n",
        "    if (task < 0) Enter(unit.task);\n",
    ),
    "keys-of-another-task": ("    keys_measured = 0;\n", ""),
    "key-scale-of-queries": ("t.pitch], kK, head, 0, n);", "t.pitch], kQ, head, 0, n);"),
    "scale-of-the-first-head": (
        "scale_gm.GetValue(group + unit.head)",
        "scale_gm.GetValue(group)",
    ),
    "no-floor-under-the-norm": ("kSmallestNorm = 1e-12f", "kSmallestNorm = 1e+2f"),
    "chunks-of-a-row-lost": (
        "for (int32_t i = 1; i < chunks; ++i) {",
        "for (int32_t i = 2; i < chunks; ++i) {",
    ),
    "maximum-not-subtracted": ("i < chunks; ++i) Sub(", "i < chunks; ++i) Add("),
    "sum-without-logarithm": (
        "    Ln(lse, sums, t.tile_rows);\n",
        "    Adds(lse, sums, 0.f, t.tile_rows);\n",
    ),
    "tasks-of-the-next-core": ("(core + 1) * t.tasks / t.cores", "(core + 1) * t.tasks / t.cores + 1"),
    "last-unit-forgotten": ("steps = DivideUp(units, 2);", "steps = units / 2;"),
}
