# SPDX-License-Identifier: Apache-2.0
"""A small folder of real pictures and the golden model as a MindSpore checkpoint."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from swinv2_model.weights.convert import convert

GOLDEN = Path(__file__).parents[1] / "golden" / "model_w8_64px.pth"


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "golden.ckpt"
    convert(GOLDEN, path)
    return path


@pytest.fixture(scope="session")
def pictures(tmp_path_factory) -> Path:
    """43 crops of scikit-learn's photographs in ten class folders, of several kinds, and two broken files."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    photos = [Image.fromarray(load_sample_image(name)) for name in ("china.jpg", "flower.jpg")]
    for i in range(43):
        folder = root / f"class{i % 10}"
        folder.mkdir(exist_ok=True)
        x, y = (int(v) for v in rng.integers(0, (400, 200)))
        w, h = (int(v) for v in rng.integers(90, 220, 2))
        mode = {0: "L", 1: "CMYK"}.get(i % 7, "RGB")
        photos[i % 2].crop((x, y, x + w, y + h)).convert(mode).save(folder / f"{i:03d}.jpg")
    (root / "class3" / "broken.jpg").write_bytes(b"not an image")
    whole = (root / "class4" / "004.jpg").read_bytes()
    (root / "class4" / "cut.jpg").write_bytes(whole[: len(whole) // 3])
    return root
