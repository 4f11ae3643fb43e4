# SPDX-License-Identifier: Apache-2.0
"""Logits on the same weights as Hugging Face, timm (extra `parity`) and mindcv compute them."""

import numpy as np
import pytest

from swinv2_model.registry import create_model
from swinv2_model.weights.convert import convert

try:
    import torch
except ImportError:
    torch = None
parity = pytest.mark.skipif(torch is None, reason="the extra `parity` is not installed")
TOLERANCE = 1e-5  # of the spread of the logits, float32


def needs(name: str):
    """The module, or a skip that says why: timm needs a torchvision that fits the installed torch."""
    try:
        return __import__(name)
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"{name} of the extra `parity` does not import: {error}")


def randomise(model, seed=0):
    """Every parameter moves, so that no zero or one of the initialisation hides a mistake."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.03)
    return model.eval()


def compare(theirs, ours, image_size, channels=3):
    import mindspore as ms

    x = np.random.default_rng(1).standard_normal((2, channels, *image_size)).astype(np.float32)
    with torch.no_grad():
        expected = theirs(torch.from_numpy(x))
        expected = getattr(expected, "logits", expected).numpy()
    logits = ours.set_train(False)(ms.Tensor(x)).asnumpy()
    error = np.abs(logits - expected).max() / np.ptp(expected)
    assert error <= TOLERANCE, f"{error:.1e} of the spread"


BASE = {"embed_dim": 128, "depths": [2, 2, 18, 2], "num_heads": [4, 8, 16, 32], "num_labels": 1000}
TINY = {"embed_dim": 96, "depths": [2, 2, 6, 2], "num_heads": [3, 6, 12, 24], "num_labels": 1000}
SMALL = {"embed_dim": 32, "depths": [2, 2, 2, 2], "num_heads": [1, 2, 4, 8], "num_labels": 10}


@parity
@pytest.mark.parametrize(
    ("preset", "settings", "image_size"),
    [
        ("swinv2_tiny_patch4_window8_256", {**TINY, "image_size": 256, "window_size": 8}, (256, 256)),
        (
            "swinv2_base_patch4_window12to16_192to256_22kto1k_ft",
            {**BASE, "image_size": 256, "window_size": 16, "pretrained_window_sizes": [12, 12, 12, 6]},
            (256, 256),
        ),
        ("swin_tiny_patch4_window7_224", {**TINY, "image_size": 224, "window_size": 7}, (224, 224)),
        # 128 x 256: the last stage has window 4 and no shift by both rules, as height is the shorter side
        (None, {**SMALL, "image_size": [128, 256], "window_size": 4}, (128, 256)),
        # 160 x 224: grids such as 20 x 28 are padded, and attention sees the padding, as in Hugging Face
        (None, {**SMALL, "image_size": [160, 224], "window_size": 8}, (160, 224)),
    ],
    ids=["T-w8", "B-12to16", "V1-T", "non-square", "padded"],
)
def test_hugging_face(preset, settings, image_size, tmp_path):
    transformers = needs("transformers")
    family = "Swin" if preset and preset.startswith("swin_") else "Swinv2"
    config = getattr(transformers, f"{family}Config")(**settings)
    theirs = randomise(getattr(transformers, f"{family}ForImageClassification")(config))
    theirs.save_pretrained(tmp_path)
    convert(tmp_path / "model.safetensors", tmp_path / "ours.ckpt")
    model = {k: v for k, v in settings.items() if k != "num_labels"}
    options = {"num_classes": settings["num_labels"], "mask_padding": False}
    ours = create_model(preset or {"model": model}, checkpoint_path=tmp_path / "ours.ckpt", **options)
    compare(theirs, ours, image_size)


@parity
@pytest.mark.parametrize(
    ("preset", "name", "image_size", "options"),
    [
        ("swinv2_tiny_patch4_window8_256", "swinv2_tiny_window8_256", (256, 256), {}),
        (
            "swinv2_base_patch4_window12to16_192to256_22kto1k_ft",
            "swinv2_base_window12to16_192to256",
            (256, 256),
            {},
        ),
        ("swin_tiny_patch4_window7_224", "swin_tiny_patch4_window7_224", (224, 224), {}),
        (
            "swinv2_tiny_patch4_window8_256",
            "swinv2_tiny_window8_256",
            (128, 256),
            {"window_size": 4, "window_rule": "per_axis"},
        ),
    ],
    ids=["T-w8", "B-12to16", "V1-T", "non-square"],
)
def test_timm(preset, name, image_size, options, tmp_path):
    timm = needs("timm")
    # Our bias goes on from the windows of the preset when the window changes; timm is told to do so.
    window = {"window_size": 4, "pretrained_window_sizes": (8,) * 4} if options else {}
    theirs = randomise(timm.create_model(name, img_size=image_size, **window))
    torch.save(theirs.state_dict(), tmp_path / "timm.pth")
    options = {"image_size": image_size, **options}
    ours = create_model(preset, checkpoint_path=tmp_path / "timm.pth", **options)
    compare(theirs, ours, image_size)


@parity
def test_bias_tables_resample_as_torch_does():
    from swinv2_model.weights.resample import resize_bias_table

    table = np.random.default_rng(0).standard_normal((13 * 13, 3)).astype(np.float32)
    for side in (7, 15, 23):
        grid = torch.from_numpy(table.T.reshape(1, 3, 13, 13).copy())
        theirs = torch.nn.functional.interpolate(grid, size=(side, side), mode="bicubic")
        ours = resize_bias_table(table, (side, side))
        assert np.abs(ours - theirs.reshape(3, -1).T.numpy()).max() < 1e-5


@pytest.mark.parametrize(
    ("preset", "name", "options"),
    [
        ("swinv2_tiny_patch4_window8_256", "swinv2_tiny_window8", {"gelu": "tanh", "norm_eps": 1e-6}),
        ("swin_tiny_patch4_window7_224", "swin_tiny", {"gelu": "tanh"}),
    ],
    ids=["T-w8", "V1-T"],
)
def test_mindcv(preset, name, options, tmp_path):
    import mindspore as ms

    mindcv = pytest.importorskip("mindcv", reason="mindcv is not installed")
    theirs = mindcv.create_model(name).set_train(False)
    rng = np.random.default_rng(0)
    for parameter in theirs.trainable_params():
        noise = rng.standard_normal(parameter.shape).astype(np.float32) * 0.03
        parameter.set_data(parameter + ms.Tensor(noise))
    ms.save_checkpoint(theirs, str(tmp_path / "theirs.ckpt"))
    ours = create_model(preset, checkpoint_path=tmp_path / "theirs.ckpt", **options).set_train(False)
    x = ms.Tensor(rng.standard_normal((1, 3, *ours.image_size)).astype(np.float32))
    expected = theirs(x).asnumpy()
    assert np.abs(ours(x).asnumpy() - expected).max() <= TOLERANCE * np.ptp(expected)
