# SPDX-License-Identifier: Apache-2.0
"""tests/golden/op_*.npz as raw binary, for programs without NumPy (csrc/tests/native_tests.cc).

    python tests/export_goldens.py FOLDER

A file: int64 B, H, W, heads, head_dim, Wh, Ww, shift_h, shift_w; float32 qkv, bias_table, scale, dout; float64 out,
dqkv, dbias_table, dscale (with respect to scale = exp(min(logit_scale, ln 100))).
"""

import sys
from pathlib import Path

import numpy as np
import oracle


def export(path, folder):
    golden = np.load(path)
    window, shift = oracle.pair(golden["window_size"]), oracle.pair(golden["shift_size"])
    how = {"window_size": window, "shift_size": shift}
    table = oracle.table_of_bias(golden["relative_position_bias"], window)
    scale = oracle.effective_scale(golden["logit_scale"]).astype(np.float32)
    dlogit_scale = golden["dlogit_scale"].reshape(-1).astype(np.float64)
    # Where logit_scale is clamped its gradient is 0 and says nothing of dscale; there the oracle does.
    dscale = oracle.backward(golden["qkv"], table, scale, golden["dout"], **how)[2]
    free = golden["logit_scale"].reshape(-1) < oracle.LN_100
    dscale[free] = dlogit_scale[free] / scale[free]
    batch, height, width, channels = golden["dout"].shape
    heads = len(scale)
    with open(Path(folder) / f"{path.stem}.bin", "wb") as file:
        np.int64([batch, height, width, heads, channels // heads, *window, *shift]).tofile(file)
        for array in (golden["qkv"], table, scale, golden["dout"]):
            np.ascontiguousarray(array, np.float32).tofile(file)
        dtable = oracle.table_grad_of_bias_grad(golden["drelative_position_bias"], window)
        for array in (golden["out"], golden["dqkv"], dtable, dscale):
            np.ascontiguousarray(array, np.float64).tofile(file)


if __name__ == "__main__":
    Path(sys.argv[1]).mkdir(parents=True, exist_ok=True)
    for path in sorted((Path(__file__).parent / "golden").glob("op_*.npz")):
        export(path, sys.argv[1])
