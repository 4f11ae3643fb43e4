# SPDX-License-Identifier: Apache-2.0
"""Slips of the 910B's backward kernel: text of its source, and what stands there instead."""

import numpy as np
from cases import Case

# Several units an AIV, an odd number, several heads a core, shifts, tails, tiles of scores and of products, padding,
# queries of one key.
RUNS = [
    (Case(2, 16, 16, (8, 8), (4, 4), 2, 32), {"cores": 1}),
    (Case(1, 14, 14, (7, 7), (3, 3), 2, 16, (13, 11)), {"cores": 2, "seed": 1}),
    (Case(1, 24, 12, (12, 12), (6, 6), 2, 32, mask_value=-3.0), {"cores": 1, "seed": 2}),
    (Case(1, 16, 16, (16, 16), (0, 0), 1, 64, cosine=False), {"seed": 3}),
    (Case(1, 4, 12, (4, 4), (1, 1), 5, 16), {"cores": 1, "seed": 4}),
    (Case(3, 8, 8, (8, 8), (0, 0), 1, 16, (6, 7)), {"cores": 1, "seed": 5}),
    (Case(1, 4, 12, (4, 4), (1, 1), 8, 16, (2, 1), -np.inf, seed=570), {"cores": 1, "seed": 6}),
]

MUTATIONS = {
    # flags and barriers
    "prepared-not-waited-for": ("        CrossCoreWaitFlag(kPrepared);\n", ""),
    "prepared-announced-by-the-vector-unit": (
        "CrossCoreSetFlag<2, PIPE_MTE3>(kPrepared)",
        "CrossCoreSetFlag<2, PIPE_V>(kPrepared)",
    ),
    "scores-not-waited-for": ("        CrossCoreWaitFlag(kScored);\n", ""),
    "scores-announced-by-the-cube": (
        "CrossCoreSetFlag<2, PIPE_FIX>(kScored)",
        "CrossCoreSetFlag<2, PIPE_M>(kScored)",
    ),
    "softened-not-waited-for": ("        CrossCoreWaitFlag(kSoftened);\n", ""),
    "softened-announced-by-the-vector-unit": (
        "CrossCoreSetFlag<2, PIPE_MTE3>(kSoftened)",
        "CrossCoreSetFlag<2, PIPE_V>(kSoftened)",
    ),
    "pulled-not-waited-for": ("        CrossCoreWaitFlag(kPulled);\n", ""),
    "idle-side-says-nothing": (
        "    if (2 * step + side < units) Prepare(2 * step + side);\n    CrossCoreSetFlag",
        "    if (2 * step + side < units) Prepare(2 * step + side);\n    if (2 * step + side < units) CrossCoreSetFlag",
    ),
    "event-ids-of-tpipe": ("operands[2] = {{3}, {4}}", "operands[2] = {{2}, {1}}"),
    "parts-read-before-laid": ("          laid[part].Await();\n", ""),
    "parts-overwritten": ("          laid[part].Acquire();\n", ""),
    "operands-not-awaited": ("          operands[part].Await();\n", ""),
    "operands-overwritten": ("          operands[part].Acquire();\n", ""),
    "products-leave-before-computed": ("        multiplied[slot].Await();\n", ""),
    "products-overwritten": ("        multiplied[slot].Acquire();\n", ""),
    "no-barrier-between-products": ("          if (l > 0) PipeBarrier<PIPE_M>();\n", ""),
    "changed-before-loaded": ("      WaitFlag<HardEvent::MTE2_V>(id);\n", ""),
    "stored-before-changed": ("      WaitFlag<HardEvent::V_MTE3>(id);\n", ""),
    "loaded-before-stored": (
        "void Load() const { WaitFlag<HardEvent::MTE3_MTE2>(id); }",
        "void Load() const { }",
    ),
    "wiped-after-loaded": ("    WaitFlag<HardEvent::V_MTE2>(kOnceEvent);\n", ""),
    "wiped-while-stored": ("    WaitFlag<HardEvent::MTE2_V>(kOnceEvent);\n", ""),
    "lse-overwritten": ("    lse_ready.Acquire();\n", ""),
    "scale-stored-before-summed": ("    WaitFlag<HardEvent::V_MTE3>(kOnceEvent);\n", ""),
    "scale-cleared-before-stored": ("    WaitFlag<HardEvent::MTE3_V>(kOnceEvent);\n", ""),
    "no-barrier-after-spreading": (
        "BrcbRepeatParams(1, 8));\n    PipeBarrier<PIPE_V>();\n",
        "BrcbRepeatParams(1, 8));\n",
    ),
    "no-barrier-after-exp": (
        "      Exp(s, s, rows * t.pitch);\n      PipeBarrier<PIPE_V>();\n",
        "      Exp(s, s, rows * t.pitch);\n",
    ),
    "no-barrier-between-folds-of-p": (
        "i == 1 ? pitch : 8, pitch));\n      PipeBarrier<PIPE_V>();\n",
        "i == 1 ? pitch : 8, pitch));\n",
    ),
    "no-barrier-between-products-of-p": (
        "ds[i * kLanes], kLanes, rows, by_row);\n      PipeBarrier<PIPE_V>();\n",
        "ds[i * kLanes], kLanes, rows, by_row);\n",
    ),
    "no-barrier-after-the-first-product-of-p": (
        "Mul(bias_rows, s, ds, kLanes, rows, by_row);\n    PipeBarrier<PIPE_V>();\n",
        "Mul(bias_rows, s, ds, kLanes, rows, by_row);\n",
    ),
    "no-barrier-between-sums": (
        "BlockReduceSum(copies, x, rows, kLanes, 1, 1, 8);\n    PipeBarrier<PIPE_V>();\n",
        "BlockReduceSum(copies, x, rows, kLanes, 1, 1, 8);\n",
    ),
    "no-barrier-after-sums": (
        "BlockReduceSum(to, copies, rows / 8, kLanes, 1, 1, 8);\n    PipeBarrier<PIPE_V>();\n",
        "BlockReduceSum(to, copies, rows / 8, kLanes, 1, 1, 8);\n",
    ),
    "no-barrier-after-slopes-are-scaled": (
        "    PipeBarrier<PIPE_V>();\n  }\n  // x (rows, pitch) -= by (rows)\n",
        "  }\n  // x (rows, pitch) -= by (rows)\n",
    ),
    "atomic-mode-left": ("        if (!fresh) SetAtomicNone();\n", ""),
    # memory
    "cores-share-a-workspace": ("SetGlobalBuffer(from + core * sizes[i]);", "SetGlobalBuffer(from);"),
    "too-few-prepared-units": ("index % kPreparedUnits) * 4", "index % 4) * 4"),
    "too-few-units-of-pairs": ("index % kPulledUnits) * 2", "index % 2) * 2"),
    "facts-of-two-units": ("unit / 2 % kUnitsKept * kFacts", "unit / 2 % 2 * kFacts"),
    "tile-too-small": (
        "s = Buffer<float>(pipe, s_buffer, tile);",
        "s = Buffer<float>(pipe, s_buffer, tile - 8);",
    ),
    # addresses and strides
    "second-tile-of-rows": ("to[static_cast<int64_t>(i) * columns + j]", "to[j]"),
    "second-tile-of-columns": (
        "to[static_cast<int64_t>(i) * columns + j]",
        "to[static_cast<int64_t>(i) * columns]",
    ),
    "sum-starts-again": ("k1 * kSide, l == 0);", "k1 * kSide, true);"),
    "part-of-the-first-line": (
        "static_cast<int64_t>(first) * x.pitch + l;",
        "static_cast<int64_t>(first) * x.pitch;",
    ),
    "turned-part-of-the-first-line": (
        "static_cast<int64_t>(l) * x.pitch + first",
        "static_cast<int64_t>(l) * x.pitch",
    ),
    "squares-not-side-by-side": (
        "x.pitch, kSide, 1, kSide * columns)",
        "x.pitch, kSide * rows, 1, kSide * 8)",
    ),
    "a-not-turned": (
        "LoadData2dTransposeParams(i, k1, m1, 1, 0)",
        "LoadData2dTransposeParams(i, k1, m1, 0, 1)",
    ),
    "b-not-turned": (
        "LoadData2dTransposeParams(i * n1, n1, 1, 0, n1 - 1)",
        "LoadData2dTransposeParams(i * n1, n1, 1, 1, 0)",
    ),
    "columns-of-b": (
        "LoadData2DParams(0, n1, 2 * k1, 0, 0, false, 0)",
        "LoadData2DParams(0, n1, k1, 0, 0, false, 0)",
    ),
    "keys-for-queries": ("Pulled(unit, kK), row, d, row);", "Pulled(unit, kQ), row, d, row);"),
    "ds-not-turned": ("ds_turned{Pairs(unit, kDs), row, true}", "ds_turned{Pairs(unit, kDs), row, false}"),
    "gradient-of-the-first-head": ("part * channels + of * d]", "part * channels]"),
    "gradient-rows": ("stage[(token - first) * d],\n", "stage,\n"),
    "cotangents-of-the-first-head": ("Gather(dout_gm[at]", "Gather(dout_gm[0]"),
    "folds-of-the-first-pitch": ("i == 1 ? pitch : 8, pitch)", "pitch, pitch)"),
    "folds-of-the-first-lanes": (
        "Add(sums, i == 1 ? s : sums, s[i * kLanes]",
        "Add(sums, i == 1 ? s : sums, s",
    ),
    "products-of-the-first-lanes": (
        "MulAddDst(bias_rows, s[i * kLanes], ds[i * kLanes]",
        "MulAddDst(bias_rows, s, ds",
    ),
    "products-not-gathered": (
        "MulAddDst(bias_rows, s[i * kLanes], ds[i * kLanes]",
        "Mul(bias_rows, s[i * kLanes], ds[i * kLanes]",
    ),
    "sums-of-half-the-rows": ("BlockReduceSum(to, copies, rows / 8", "BlockReduceSum(to, copies, rows / 16"),
    "bias-of-the-first-tile": (
        "bias_gm[(static_cast<int64_t>(of) * n + first) * row]",
        "bias_gm[static_cast<int64_t>(of) * n * row]",
    ),
    "stats-of-the-first-head": (
        "window.index) * t.heads + of) * padded",
        "window.index) * t.heads) * padded",
    ),
    "sums-of-the-first-head": ("static_cast<int64_t>(of - HeadOf(0)) * n", "0 * n"),
    "scales-of-the-first-head": ("static_cast<int64_t>(head - HeadOf(0)) * kScaleLanes", "0 * kScaleLanes"),
    "sums-of-the-first-core": ("GetBlockIdx() * int64_t{t.heads_a_core}", "0 * int64_t{t.heads_a_core}"),
    # arithmetic
    "window-not-shifted": ("start = index * window_size + shift;", "start = index * window_size;"),
    "mask-region": (
        "region = 2 * (h >= window.y.split) + right;",
        "region = 2 * (h > window.y.split) + right;",
    ),
    "padding-seen": ("if (key >= n || window.Region(key) < 0)", "if (key >= n)"),
    "padding-asks": ("    keys.Forbid(lse, 1, kNever);\n", ""),
    "delta-forgotten": ("      SubRows(ds, deltas, rows);\n", ""),
    "slopes-not-scaled": ("      MulRows(ds, numbers, rows);\n", ""),
    "slopes-scaled-by-delta": ("MulRows(ds, numbers, rows)", "MulRows(ds, deltas, rows)"),
    "slopes-beyond-the-keys-kept": ("      keys.Forbid(ds, rows, 0.f);", ""),
    "bias-of-rows-beyond-the-window": ("bias_rows, queries * t.pitch)", "bias_rows, rows * t.pitch)"),
    "lse-of-the-first-tile": ("SubRows(s, lse[first], rows)", "SubRows(s, lse, rows)"),
    "scale-of-the-first-unit": (
        "    const float scale = scale_gm.GetValue(of);\n    if (of != head) {",
        "    const float scale = scale_gm.GetValue(HeadOf(0));\n    if (of != head) {",
    ),
    "sums-not-added": ("        if (!fresh) SetAtomicAdd<float>();\n", ""),
    "sums-never-fresh": ("unit < 2 || HeadOf(unit - 2) != of", "false"),
    "scale-of-keys-too": ("if (part == kQ) Add(dscale_lanes", "Add(dscale_lanes"),
    "scale-not-cleared": (
        "    Duplicate(dscale_lanes, 0.f, kScaleLanes);\n    PipeBarrier<PIPE_V>();\n  }\n\n  const Turn",
        "  }\n\n  const Turn",
    ),
    "projection-kept-for-dot-products": (
        "Duplicate(Fact(2 * unit, kAboveFloor), 0.f",
        "Duplicate(Fact(2 * unit, kAboveFloor), 1.f",
    ),
    "padding-not-cleared": (
        "        if (window.Padded())\n          ClearPadding(",
        "        if (false)\n          ClearPadding(",
    ),
    "projection-forgotten": ("          Sub(wide, wide, other, count);\n", ""),
    "norms-of-queries": ("Fact(unit, kInverse + part)[first], scale", "Fact(unit, kInverse)[first], scale"),
    "units-of-the-next-core": (
        "(core + 1) * t.units / t.cores) - first_unit",
        "(core + 1) * t.units / t.cores) - first_unit + 1",
    ),
    "last-unit-forgotten": ("steps = DivideUp(units, 2);", "steps = units / 2;"),
}
