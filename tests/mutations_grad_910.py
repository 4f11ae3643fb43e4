# SPDX-License-Identifier: Apache-2.0
"""Slips of the 910's backward kernel: text of its source, and what stands there instead."""

from cases import Case

# Several units a core, several heads a core, shifts, tails, tiles of queries, padding, dot products.
RUNS = [
    (Case(2, 16, 16, (8, 8), (4, 4), 2, 32), {"cores": 1}),
    (Case(1, 14, 14, (7, 7), (3, 3), 2, 16, (13, 11)), {"cores": 2, "seed": 1}),
    (Case(1, 24, 12, (12, 12), (6, 6), 2, 48, mask_value=-3.0), {"cores": 1, "seed": 2}),
    (Case(1, 16, 16, (16, 16), (0, 0), 1, 64, cosine=False), {"seed": 3}),
    (Case(1, 4, 12, (4, 4), (1, 1), 5, 16), {"cores": 1, "seed": 4}),
    (Case(3, 8, 8, (8, 8), (0, 0), 1, 16, (6, 7)), {"cores": 1, "seed": 5}),
    (Case(1, 17, 16, (17, 16), (1, 0), 1, 16), {"seed": 6}),  # 256 keys of one region
]

MUTATIONS = {
    # barriers
    "stage-wiped-while-read": (
        "    Sync();\n    Duplicate(stage, half(0), d * kLanes);\n",
        "    Duplicate(stage, half(0), d * kLanes);\n",
    ),
    "stage-wiped-after-the-rows-came": (
        "    Duplicate(stage, half(0), d * kLanes);\n    Sync();\n",
        "    Duplicate(stage, half(0), d * kLanes);\n",
    ),
    "turned-before-the-rows-came": (
        "    Sync();\n    Turn(false);\n",
        "    Turn(false);\n",
    ),
    "read-before-turned": (
        "TransDataTo5HDParams(false, false, kLanes / kSide, 1, d));\n    }\n    PipeBarrier<PIPE_V>();\n",
        "TransDataTo5HDParams(false, false, kLanes / kSide, 1, d));\n    }\n",
    ),
    "laid-before-split": (
        "    Sync();\n    for (int32_t i = 0; i < tokens; i += kSide)\n      DataCopy(l1_rows",
        "    for (int32_t i = 0; i < tokens; i += kSide)\n      DataCopy(l1_rows",
    ),
    "lse-overwritten-by-the-wipe": (
        "    Duplicate(lse, kNever, DivideUp(row, kLanes) * kLanes);\n    Sync();\n",
        "    Duplicate(lse, kNever, DivideUp(row, kLanes) * kLanes);\n",
    ),
    "lse-of-padding-before-it-came": (
        "* padded], padded);\n    Sync();\n",
        "* padded], padded);\n",
    ),
    "largest-read-before-found": (
        "      PipeBarrier<PIPE_V>();\n    }\n    Sync();\n    const LocalTensor<uint16_t>",
        "      PipeBarrier<PIPE_V>();\n    }\n    const LocalTensor<uint16_t>",
    ),
    "scores-used-before-they-came": (
        "* row * kSide], count);\n    Sync();\n    Soften(block, blocks);\n",
        "* row * kSide], count);\n    Soften(block, blocks);\n",
    ),
    "bias-sums-stored-before-scaled": (
        "1.f / (dout_power * v_power), count);\n    Sync();\n",
        "1.f / (dout_power * v_power), count);\n",
    ),
    "bias-sums-overwritten-while-stored": (
        "    if (!fresh) SetAtomicNone();\n    Sync();\n",
        "    if (!fresh) SetAtomicNone();\n",
    ),
    "pairs-laid-before-split": (
        "    Sync();\n    for (int32_t i = 0; i < 4; ++i) DataCopy(l1_pairs",
        "    for (int32_t i = 0; i < 4; ++i) DataCopy(l1_pairs",
    ),
    "pairs-read-before-laid": ("pairs[i * tile], count);\n    Sync();\n", "pairs[i * tile], count);\n"),
    "multiplied-before-brought": ("    Bring(b, right);\n    Sync();\n", "    Bring(b, right);\n"),
    "operands-overwritten": (
        "    swinv2::Multiply(to, a, b, m, columns, k, first);\n    Sync();\n",
        "    swinv2::Multiply(to, a, b, m, columns, k, first);\n",
    ),
    "no-barrier-after-exp": (
        "    Exp(s, s, count);\n    PipeBarrier<PIPE_V>();\n",
        "    Exp(s, s, count);\n",
    ),
    "scales-cleared-before-stored": (
        "dscale_lanes, kLanes);\n    Sync();\n",
        "dscale_lanes, kLanes);\n",
    ),
    "atomic-mode-left": ("    if (!fresh) SetAtomicNone();\n", ""),
    # memory
    "scores-too-small": (
        "s = Buffer<float>(pipe, s_buffer, tile);",
        "s = Buffer<float>(pipe, s_buffer, tile - 8);",
    ),
    "sums-over-each-other": ("c_dv = c_dk[row * d];", "c_dv = c_dk;"),
    "rows-too-few": ("kOperands * row * d);", "(kOperands - 1) * row * d);"),
    # addresses and strides
    "turned-stride": (
        "TransDataTo5HDParams(false, false, kLanes / kSide, 1, d)",
        "TransDataTo5HDParams(false, false, kLanes / kSide, 1, d1)",
    ),
    "turned-back-stride": (
        "TransDataTo5HDParams(false, false, kLanes / kSide, d, 1)",
        "TransDataTo5HDParams(false, false, kLanes / kSide, d1, 1)",
    ),
    "rows-of-the-first-head": (
        "image_gm[part][run.first * pitch + head * d]",
        "image_gm[part][run.first * pitch]",
    ),
    "gradient-of-the-first-head": ("part * channels + head * d]", "part * channels]"),
    "blocks-of-the-first-chunk": ("operand * row * d + (first + i) * d]", "operand * row * d + i * d]"),
    "bias-of-the-first-tile": (
        "head) * n1 + block) * row * kSide], count);",
        "head) * n1) * row * kSide], count);",
    ),
    "sums-of-the-first-tile": ("windows) * n1 + block;", "windows) * n1;"),
    "sums-of-the-first-head": (
        "(head - first_unit / windows) * n1",
        "(first_unit / windows - first_unit / windows) * n1",
    ),
    "scales-of-the-first-head": (
        "(head - first_unit / windows) * kLanes",
        "(first_unit / windows - first_unit / windows) * kLanes",
    ),
    "sums-of-the-first-core": ("dbias) + core * t.heads_a_core * row * row", "dbias) + 0 * row * row"),
    "queries-of-the-first-tile": ("operand * row * d + block * kSide * d]", "operand * row * d]"),
    "keys-not-turned": (
        "l1_rows[operand * row * d], 1, n1 * d1, 1, true}",
        "l1_rows[operand * row * d], 1, n1 * d1, 1, false}",
    ),
    "keys-turned": (
        "l1_rows[operand * row * d], d1, n1, d1, false}",
        "l1_rows[operand * row * d], d1, n1, d1, true}",
    ),
    "pairs-not-turned": ("{from, n1, blocks, n1, true}", "{from, n1, blocks, n1, false}"),
    "pairs-of-the-first-block": ("{from, n1, blocks, n1, true}", "{from, n1, blocks, 1, true}"),
    "gradient-chunk": (
        "Finish(kK, c_dk, first, Min(kLanes, row - first), first * d);",
        "Finish(kK, c_dk, first, Min(kLanes, row - first), 0);",
    ),
    "gradient-lanes": ("other[i * kSide], third[i * kSide * d]", "other[i * kSide], third[i * kSide]"),
    "key-run-too-long": ("end - key < kMaxRun", "end - key < 4 * kMaxRun"),
    # arithmetic
    "lse-of-the-first-block": ("Spread(lse[(block + i) * kSide]);", "Spread(lse);"),
    "delta-forgotten": ("      Sub(slopes, slopes, copies, kLanes, repeats, by_query);\n", ""),
    "delta-of-half-the-keys": (
        "      SumRows(bias_tile, row, kSide);\n      Spread(bias_tile);\n",
        "      SumRows(bias_tile, row / 2, kSide);\n      Spread(bias_tile);\n",
    ),
    "sums-of-padding": ("      Adds(bias_tile, bias_tile, kNothing, kSide);\n", ""),
    "sums-over-weights": ("      DataCopy(bias_tile, weights, row * kSide);\n", ""),
    "padding-not-cleared": (
        "    if (window.Padded()) ClearPadding(stage, window, t.width, first, end, d);\n",
        "",
    ),
    "gradient-leaves-before-turned": (
        "ClearPadding(stage, window, t.width, first, end, d);\n    Sync();\n",
        "ClearPadding(stage, window, t.width, first, end, d);\n",
    ),
    "window-not-shifted": ("start = index * window_size + shift;", "start = index * window_size;"),
    "rest-of-keys-forgotten": ("(t.cosine ? 3 : 1)", "(t.cosine ? 2 : 1)"),
    "rests-forgotten": ("{ return product == 1 ? kRest : 0; }", "{ return 0; }"),
    "rest-of-keys-is-that-of-queries": (
        "{ return product == 2 ? kRest : 0; }",
        "{ return product == 1 ? kRest : 0; }",
    ),
    "accumulator-not-cleared": ("const bool first = block == 0 && i == 0;", "const bool first = false;"),
    "accumulator-cleared": ("const bool first = block == 0 && i == 0;", "const bool first = i == 0;"),
    "padding-seen": ("        if (region < 0)\n", "        if (key >= n)\n"),
    "mask-of-another-block": ("MakeMask((block + i) * kSide);", "MakeMask(0);"),
    "mask-of-one-region": ("mask[region * kSide], kSide, end - key", "mask, kSide, end - key"),
    "scale-squared": ("scale / (vector_power * vector_power)", "scale / vector_power"),
    "power-of-v-forgotten": ("1.f / (dout_power * v_power), count)", "1.f / dout_power, count)"),
    "power-of-the-gradient": (
        "part == kV ? dout_power * Power(kWeightBits) : dout_power * v_power * vector_power",
        "dout_power * v_power * vector_power",
    ),
    "power-too-large": ("bits + 14 - (most >> 10)", "bits + 22 - (most >> 10)"),
    "sums-not-added": ("    if (!fresh) SetAtomicAdd<float>();\n", ""),
    "sums-never-fresh": ("unit == first_unit || (unit - 1) / windows != head", "false"),
    "scale-of-keys-too": ("if (part == kQ) Add(dscale_lanes", "Add(dscale_lanes"),
    "projection-forgotten": ("        Sub(other, other, wide, d * kLanes);\n", ""),
    "norm-forgotten": ("        ScaleLanes(other, inverse);\n", ""),
    "odd-rows-not-summed": ("Add(x, x, x[(rows - rows / 2) * lanes]", "Add(x, x, x[rows / 2 * lanes]"),
    "units-of-the-next-core": ("(core + 1) * t.units / t.cores);", "(core + 1) * t.units / t.cores) + 1;"),
    "scales-stored-once": ("unit + 1 == last_unit || (unit + 1) / windows != head", "unit + 1 == last_unit"),
}
