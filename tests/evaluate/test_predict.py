# SPDX-License-Identifier: Apache-2.0
"""Prediction: the likeliest classes, and maps of attention and position bias."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from swinv2_model.cli import main
from swinv2_model.predict import attention_received, top_classes, watch
from swinv2_model.registry import config_of, create_model

GOLDEN = Path(__file__).parents[1] / "golden" / "model_w8_64px.pth"


def test_command_line(checkpoint, pictures, tmp_path, capsys):
    labels = [f"label {i}" for i in range(10)]
    (tmp_path / "labels.txt").write_text("\n".join(labels))
    images = [str(pictures / "class0" / "000.jpg"), str(pictures / "class3" / "broken.jpg")]
    images.append(str(pictures / "class1" / "001.jpg"))
    arguments = [*images, "--pretrained", str(checkpoint), "--labels", str(tmp_path / "labels.txt")]
    assert main(["predict", *arguments, "--output", str(tmp_path / "out")]) == 1
    said = capsys.readouterr()
    assert "broken.jpg: not an image" in said.err and "Traceback" not in said.err
    lines = said.out.splitlines()
    assert lines[0] == images[0] and all("label " in line for line in lines[1:6]) and lines[6] == images[2]
    shares = [float(line.split()[0]) for line in lines[1:6]]
    assert shares == sorted(shares, reverse=True) and sum(shares) <= 100
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == ["000_attention.png", "001_attention.png", "position_bias.png"]
    for name in names:
        picture = np.asarray(Image.open(tmp_path / "out" / name).convert("RGB"))
        assert min(picture.shape[:2]) > 200 and picture.std() > 10


def test_top_classes():
    found = top_classes(np.array([0.0, 2.0, 1.0, 2.0], np.float32), list("abcd"))
    assert [name for name, _ in found] == list("bdca")
    assert sum(p for _, p in found) == pytest.approx(1) and top_classes(np.zeros(3))[0][0] == "class 0"


@pytest.fixture(scope="module")
def golden_model():
    return create_model(config_of(GOLDEN), checkpoint_path=GOLDEN)


def test_watching_changes_nothing(golden_model):
    data = np.load(GOLDEN.with_suffix(".npz"))
    logits, seen = watch(golden_model, data["x"][0])
    assert np.abs(logits - data["logits"][0]).max() <= 1e-5 * np.ptp(data["logits"])
    assert [s.stage for s in seen] == [0, 1] and [s.qkv.shape for s in seen] == [(16, 16, 96), (8, 8, 192)]
    assert len(watch(golden_model, data["x"][0])[1]) == 2


def test_attention_received_is_what_the_operator_weighs(golden_model):
    """With value 1 at a single key and 0 elsewhere the operator's output is that key's attention weight."""
    from mindspore import Tensor

    from swinv2_kernels.window_attention import window_attention

    _, seen = watch(golden_model, np.load(GOLDEN.with_suffix(".npz"))["x"][0])
    one = seen[1]
    height, width, channels = one.qkv.shape
    heads, dim = len(one.bias_table), channels // 3 // len(one.bias_table)
    received = np.zeros((height, width))
    for y in range(0, height, 3):
        for x in range(width):
            qkv = one.qkv.copy()
            qkv[..., 2 * heads * dim :] = 0
            qkv[y, x, 2 * heads * dim :] = 1
            options = {"window_size": one.window, "valid_size": None}
            out = window_attention(
                Tensor(qkv[None]), Tensor(one.bias_table), Tensor(one.logit_scale), **options
            )
            received[y, x] = out.asnumpy().mean() * height * width
    picture = attention_received(one)
    assert picture.shape == (8, 8) and picture.mean() == pytest.approx(1)
    assert np.abs(picture - received)[::3].max() < 1e-4


@pytest.mark.parametrize("kind", ["swinv2", "swin"])
def test_padding_gets_no_attention(kind):
    model = create_model(
        {"model": {"type": kind, "image_size": (44, 60), "embed_dim": 16, "depths": [1, 1], "num_heads": [1, 2],
                   "window_size": 4, "num_classes": 5}}
    )  # fmt: skip
    x = np.random.default_rng(0).standard_normal((3, 44, 60)).astype(np.float32)
    _, seen = watch(model, x)
    maps = [attention_received(s) for s in seen]
    assert [m.shape for m in maps] == [(11, 15), (6, 8)] and [s.qkv.shape[:2] for s in seen] == [
        (12, 16),
        (8, 8),
    ]
    # each window's attention is shared by its own image tokens only
    for one, grid in zip(seen, maps):
        wh, ww = one.window
        for top in range(0, one.valid[0], wh):
            for left in range(0, one.valid[1], ww):
                assert grid[top : top + wh, left : left + ww].mean() == pytest.approx(1)


def test_a_headless_checkpoint_is_told(checkpoint, tmp_path, capsys):
    from swinv2_model.weights.convert import convert

    convert(checkpoint, tmp_path / "bare.ckpt", num_classes=0)
    picture = tmp_path / "a.png"
    Image.new("RGB", (64, 64)).save(picture)
    for arguments in (["predict", str(picture)], ["evaluate", "--data_url", str(tmp_path)]):
        assert main([*arguments, "--pretrained", str(tmp_path / "bare.ckpt")]) == 2
        assert "bare.ckpt has no head" in capsys.readouterr().err


def test_an_image_of_one_pixel(checkpoint, tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    arguments = ["--pretrained", str(checkpoint), "--image_size", "1", "--output", str(tmp_path / "out")]
    assert main(["predict", str(tmp_path / "a.png"), *arguments]) == 0
    assert (tmp_path / "out" / "a_attention.png").is_file()


def test_a_name_as_long_as_the_file_system_takes(checkpoint, tmp_path):
    picture = tmp_path / f"{'a' * 245}.png"
    Image.new("RGB", (64, 64)).save(picture)
    arguments = ["--pretrained", str(checkpoint), "--output", str(tmp_path / "out")]
    assert main(["predict", str(picture), str(picture), *arguments]) == 0
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_a_picture_appears_only_when_complete(checkpoint, tmp_path, monkeypatch, capsys):
    from matplotlib.figure import Figure

    def full(_, path, **__):
        Path(path).touch()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Figure, "savefig", full)
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    arguments = ["--pretrained", str(checkpoint), "--output", str(tmp_path / "out")]
    assert main(["predict", str(tmp_path / "a.png"), *arguments]) == 2
    assert "a_attention.png" in capsys.readouterr().err and not list((tmp_path / "out").iterdir())
