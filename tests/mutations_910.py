# SPDX-License-Identifier: Apache-2.0
"""Slips of the 910 kernel: text of its source, and what stands there instead."""

from cases import Case

# Several tasks a core, shifts, tails, classes, key chunks, padding, head groups, parts of rows; with the cores.
RUNS = [
    (Case(2, 16, 16, (8, 8), (4, 4), 4, 32), {"cores": 1}),
    (Case(1, 14, 14, (7, 7), (3, 3), 2, 16, (13, 11)), {"cores": 2, "seed": 1}),
    (Case(1, 24, 24, (12, 12), (6, 6), 2, 32, mask_value=-3.0), {"cores": 2, "seed": 2}),
    (Case(1, 18, 16, (18, 16), (0, 0), 1, 64, cosine=False), {"seed": 3}),
    (Case(2, 16, 16, (16, 16), (0, 0), 2, 32), {"seed": 4}),
    (Case(1, 8, 8, (8, 8), (0, 0), 8, 32), {"cores": 2}),
    (Case(1, 8, 8, (8, 8), (2, 2), 24, 32), {"cores": 1}),
    (Case(1, 8, 32, (8, 8), (4, 4), 3, 32), {"cores": 1, "seed": 5}),
    (Case(1, 10, 20, (10, 10), (0, 3), 1, 16), {"cores": 1, "seed": 6}),
    (Case(1, 8, 24, (8, 12), (3, 2), 60, 32), {"cores": 1, "seed": 7}),
]

MUTATIONS = {
    # flags and barriers
    "publish-before-the-copy-of-weights": (
        "    weights_ready[slot].Await();\n",
        "",
    ),
    "weights-never-awaited-in-l0": ("    l1_weights_ready.Await();\n", ""),
    "no-wait-for-staged-rows": ("    staged[slot].Await();\n", ""),
    "no-release-of-staging": ("    staged[slot].Release();\n", ""),
    "qkv-read-before-laid": ("    laid[qkv_slot].Await();\n", ""),
    "qkv-never-released": ("      if (end == tokens) laid[qkv_slot].Release();\n", ""),
    "scores-read-before-cube": ("    c_scores_ready[slot].Await();\n", ""),
    "scores-released-early": (
        "    c_scores_ready[slot].Await();\n    for",
        "    c_scores_ready[slot].Await();\n    c_scores_ready[slot].Release();\n    for",
    ),
    "panel-never-awaited": ("    panel_ready[panel_slot].Await();\n", ""),
    "panel-released-with-every-tile": (
        "if (tile.closes_panel) panel_ready[panel_slot].Release();",
        "panel_ready[panel_slot].Release();",
    ),
    "operands-overwritten": ("      weigh_operands.Acquire();\n      const", "      const"),
    "outputs-not-awaited": ("    outputs_ready.Await();\n", ""),
    "rows-stored-before-copied": ("      out_staged.Await();\n", ""),
    "wipe-not-awaited": ("      WaitFlag<HardEvent::V_MTE2>(kWipeEvent);\n", ""),
    "no-barrier-after-exp": (
        "    Exp(scores, scores, all);\n    PipeBarrier<PIPE_V>();\n",
        "    Exp(scores, scores, all);\n",
    ),
    "no-barrier-in-folds": (
        "      Add(to, a, b, lanes, repeats, p);\n    PipeBarrier<PIPE_V>();\n",
        "      Add(to, a, b, lanes, repeats, p);\n",
    ),
    "one-slot-of-maxima": ("slot * t.tile_blocks * kLanes];", "0 * slot * t.tile_blocks * kLanes];"),
    "event-id-five": ("kWipeEvent = 2;", "kWipeEvent = 5;"),
    # memory
    "scores-too-small": (
        "Buffer<float>(pipe, scores_buffer, tile)",
        "Buffer<float>(pipe, scores_buffer, tile - kFractal)",
    ),
    "folds-too-small": ("Max(tile * 3 / 4,", "Max(tile * 2 / 4,"),
    "panel-too-small": (
        "t.panel_slots * t.panel_rows * kSide)",
        "t.panel_slots * t.panel_rows * kSide - kSide)",
    ),
    "l1-too-small": ("t.qkv_slots * 3 * units :", "t.qkv_slots * 2 * units :"),
    "tails-not-zeroed": ("if (n < n1 * kSide)\n", "if (false)\n"),
    # addresses and strides
    "window-not-shifted": ("start = index * window_size + shift;", "start = index * window_size;"),
    "wrap-forgotten": ("return i < split ? start + i : i - split;", "return start + i;"),
    "wrap-off-by-one": ("split = Min(window, size - start);", "split = Min(window, size - start - 1);"),
    "tokens-of-the-first-row": (
        "from[(token - begin) * columns * kSide]",
        "from[(token - begin) % width * columns * kSide]",
    ),
    "column-stride": (
        "kSide], DataCopyParams(columns, 1, 0, n1 * kSide - 1)",
        "kSide], DataCopyParams(columns, 1, 0, n1 * kSide)",
    ),
    "group-offset": ("from[part * channels + coming.head * d]", "from[part * channels]"),
    "group-stride": ("3 * t.heads * d1 - g * d1, 2 * g * d1)", "3 * t.heads * d1 - d1, 2 * g * d1)"),
    "k-for-q": ("InL1(tile, kK, j + i)", "InL1(tile, kQ, j + i)"),
    "blocks-of-a-class-side-by-side": (
        "LoadData2DParams(0, tile.blocks, t.classes, 0, 0, false, 0)",
        "LoadData2DParams(0, tile.blocks, 1, 0, 0, false, 0)",
    ),
    "weights-not-transposed": (
        "fractals(0, tile.blocks * blocks, 1, 0, 0, true, 0)",
        "fractals(0, tile.blocks * blocks, 1, 0, 0, false, 0)",
    ),
    "values-not-transposed": (
        "LoadData2DParams(0, d1, n1, 0, 0, true, 0)",
        "LoadData2DParams(0, d1, n1, 0, 0, false, 0)",
    ),
    "fractal-stride": ("(0, d1, n1, 0, 0, true, 0)", "(0, d1, 1, 0, 0, true, 0)"),
    "key-chunk-skipped": ("InL1(tile, kV, j + i)", "InL1(tile, kV, i)"),
    "weights-of-the-first-chunk": ("n1 + j) * kFractal],\n", "n1) * kFractal],\n"),
    "weights-of-a-chunk-packed": ("(n1 - blocks) * kSide, 0)", "0, 0)"),
    "weights-released-with-every-chunk": (
        "if (j + blocks == n1) weights_ready[slot].Release();",
        "weights_ready[slot].Release();",
    ),
    "chunk-overwrites-chunk": ("scores[j * kFractal], CubeScores", "scores, CubeScores"),
    "accumulator-not-kept": (
        "Multiply(c_weighed, a_weights, b_values, m, d, k, j == 0)",
        "Multiply(c_weighed, a_weights, b_values, m, d, k, true)",
    ),
    "panel-of-the-first-block": (
        "return (tile.top - block * kSide / t.window_w) * t.window_w;",
        "return tile.top * t.window_w;",
    ),
    "blocks-share-the-first-panel": ("t.classes > 1 ? 0 : block * n1 * kSide;", "0;"),
    "blocks-with-panels-of-their-own-step": (
        "t.classes > 1 ? 0 : block * n1 * kSide;",
        "block * n1 * kSide;",
    ),
    "panel-of-the-first-class": ("(head * t.classes + cls) * count]", "(head * t.classes) * count]"),
    "query-scale-of-the-first-block": (
        "norms[(measured + tile.first + i * t.classes) * kLanes]",
        "norms[(measured + i) * kLanes]",
    ),
    "stats-of-the-first-head": ("t.heads + task.head + tile.head) * padded", "t.heads + task.head) * padded"),
    "out-of-the-first-group": ("run.first * channels + task.head * d", "run.first * channels"),
    "mask-rows": ("Add(keys, keys, mask[region * kLanes]", "Add(keys, keys, mask"),
    "mask-stride": (
        "BinaryRepeatParams(1, 1, 1, 2 * columns, 2 * columns, 0)",
        "BinaryRepeatParams(1, 1, 1, 8, 8, 0)",
    ),
    # tails and arithmetic
    "last-run-too-long": ("Min(end - token, x.End(region) - w)", "x.End(region) - w"),
    "padding-read": ("row < y.valid ? Min(run.count, x.Padding(region) - w) : 0", "run.count"),
    "padding-keys-count": (
        "        Duplicate(s[w * kSide], kForbidden, kSide",
        "        Duplicate(s[w * kSide], 0.f, kSide",
    ),
    "padding-rows-count": ("if (count > 0) Duplicate(s[top", "if (count > 1) Duplicate(s[top"),
    "padding-not-zeroed": (
        "      DataCopy(to[static_cast<int64_t>(i) * channels], zeros, g * d);\n",
        "      ;\n",
    ),
    "tail-tokens-of-outputs": ("tokens = Min(kSide, n - at * kSide)", "tokens = kSide"),
    "tail-chunk": (
        "end = Min(t.strip * n, begin + t.stage_tokens);\n    const int32_t slot = stage_laid",
        "end = begin + t.stage_tokens;\n    const int32_t slot = stage_laid",
    ),
    "one-chunk-too-few": (
        "chunks = DivideUp(t.strip * n, t.stage_tokens);",
        "chunks = t.strip * n / t.stage_tokens;",
    ),
    "fold-skips-odd-factors": (
        "for (int32_t i = 2; i < factor; ++i)",
        "for (int32_t i = 2; i < factor - 1; ++i)",
    ),
    "fold-half-a-block": (
        "Combine<max>(into[32], from[32], from, 32, blocks, plain);",
        "Combine<max>(into[32], from[32], from[32], 32, blocks, plain);",
    ),
    "maximum-not-subtracted": (
        "Sub(scores[i * block], scores[i * block], maximum",
        "Add(scores[i * block], scores[i * block], maximum",
    ),
    "scale-forgotten": ("ScaleOf(first + i), n1 * kLanes", "1.f, n1 * kLanes"),
    "scale-of-the-first-head": ("GetValue(task.head + unit / t.strip)", "GetValue(task.head)"),
    "scale-of-the-first-unit": ("ScaleOf(first + i)", "ScaleOf(first)"),
    "no-floor-under-the-norm": (
        "Adds(to, to, kTiny, blocks * kLanes);",
        "Adds(to, to, -1.f, blocks * kLanes);",
    ),
    "key-scale-of-queries": ("InverseNorms(keys, blocks, blocks);", "InverseNorms(keys, 0, blocks);"),
    "norms-of-the-first-unit": (
        "UnitOf(tile) % t.norm_units * n1;",
        "0 * UnitOf(tile) % t.norm_units * n1;",
    ),
    "measured-once": ("(unit + 1) % t.norm_units == 0) Normalise", "unit < 0) Normalise"),
    "low-halves-lost": ("Or(rows16[kSide], rows16, rows16, low", "Or(rows16[kSide], rows16, rows16, high"),
    "sum-without-logarithm": ("    Ln(sum_of_lanes", "    Exp(sum_of_lanes"),
    "sum-of-the-last-keys": ("                 kSide, k, j == 0);", "                 kSide, k, true);"),
    "sum-of-the-first-block": ("b_weights[i * blocks * kFractal]", "b_weights"),
    # strips
    "strip-token-in-the-first-window": (
        "InL1(coming_slot, token % width / t.window_w, kQ, 0)",
        "InL1(coming_slot, token / width, kQ, 0)",
    ),
    "row-of-the-strip-for-the-window": (
        "return token / width * t.window_w + token % t.window_w;",
        "return token / width * width + token % t.window_w;",
    ),
    "strip-mask-of-the-first-window": ("ColumnsOf(tile.window)", "ColumnsOf(0)"),
    "strip-panel-fetched-anew": (
        "tile.opens_panel = first == cls && (t.classes > 1 || tile.window == 0);",
        "tile.opens_panel = first == cls;",
    ),
    "strip-panel-released-early": (
        "tile.closes_class && (t.classes > 1 || tile.window + 1 == t.strip)",
        "tile.closes_class",
    ),
    "strip-store-scattered": (
        "DataCopyParams(columns, 1, n1 * kSide - 1, 0)",
        "DataCopyParams(columns, 1, n1 * kSide, 0)",
    ),
    "stats-of-the-first-window": ("(task.window + tile.window) * t.heads", "(task.window) * t.heads"),
    "tasks-of-the-next-core": ("(core + 1) * t.tasks / t.cores", "(core + 1) * t.tasks / t.cores + 1"),
    "task-skipped": (
        "first_task = static_cast<int32_t>(core * t.tasks / t.cores)",
        "first_task = static_cast<int32_t>(core * t.tasks / t.cores) + (core > 0)",
    ),
    # two phases
    "phase-never-released": ("    if (more) laid[qkv_slot].Release();\n", ""),
    "first-phase-attends-all": ("end = more ? third : units;", "end = units;"),
    "second-phase-loads-the-first-again": ("Load(index, phase);", "Load(index, 0);"),
    "phases-share-a-piece": ("coming_phase * 2 * piece * kSide", "coming_phase * piece * kSide"),
    "pieces-side-by-side": ("3 * piece - taken", "2 * piece - taken"),
    "pair-of-the-chunk": ("(2 - coming_phase) * g * d], token)", "2 * g * d], token)"),
    "third-of-the-other-phase": ("coming_phase * 4 + i % taken", "coming_phase * 2 + i % taken"),
    "keys-of-x-laid-as-those-of-y": ("together = part != kQ && h == 0 ? 1 :", "together ="),
    "queries-of-the-other-parity": ("(token + odd) * kSide", "(token + 1 - odd) * kSide"),
    "keys-of-the-other-parity": ("part, h, odd * n1 / 2)", "part, h, (1 - odd) * n1 / 2)"),
    "keys-in-raster-order": ("[token / 2 * kSide]", "[token * kSide]"),
    "column-of-the-next-block": (
        "(together * columns, 1, 0, n1 * kSide - 1)",
        "(together * columns, 1, 0, n1 * kSide)",
    ),
    "x-over-what-y-has": ("open = part == kK ? 0 : n1 / 2;", "open = part == kK ? n1 / 2 : 0;"),
    "x-all-in-the-slabs-of-y": ("slab += (1 + odd) * third;", "slab += third;"),
    "odd-keys-of-x-half-a-slab-on": ("block += open - odd * n1 / 2;", "block += open;"),
    "keys-over-queries": ("slab = 2 * part * third + h;", "slab = part * third + h;"),
    "bias-of-the-other-parity": ("bias[odd * kSide + lane]", "bias[(1 - odd) * kSide + lane]"),
    "bias-of-the-low-lanes": ("bias[odd * kSide + lane]", "bias[odd * kSide]"),
    "mask-of-even-columns": (
        "s[(odd * n / 2 + top * columns + w) * kSide]",
        "s[(top * columns + w) * kSide]",
    ),
}
