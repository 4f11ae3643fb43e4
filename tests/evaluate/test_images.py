# SPDX-License-Identifier: Apache-2.0
"""Image files to arrays: PIL's bicubic, the crop rules, and files that are no plain RGB picture."""

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_sample_image

from swinv2_model.images import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    ImageError,
    Preprocess,
    image_folder,
    read_image,
)


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    return Image.fromarray(load_sample_image("china.jpg"))  # 640 x 427


def normalised(image: Image.Image) -> np.ndarray:
    x = np.asarray(image, np.float32) / 255
    return ((x - np.float32(IMAGENET_MEAN)) / np.float32(IMAGENET_STD)).transpose(2, 0, 1)


def test_crop_rule_of_256_is_short_side_292_and_the_centre(photo):
    resized = photo.resize((int(292 * 640 / 427), 292), Image.Resampling.BICUBIC)
    left = round((resized.width - 256) / 2)
    expected = normalised(resized.crop((left, 18, left + 256, 18 + 256)))
    assert np.array_equal(Preprocess((256, 256))(photo), expected)
    upright = photo.transpose(Image.Transpose.TRANSPOSE)
    resized = upright.resize((292, int(292 * 640 / 427)), Image.Resampling.BICUBIC)
    top = round((resized.height - 256) / 2)
    expected = normalised(resized.crop((18, top, 18 + 256, top + 256)))
    assert np.array_equal(Preprocess((256, 256))(upright), expected)


def test_without_crop_both_sides_are_squashed(photo):
    expected = normalised(photo.resize((384, 384), Image.Resampling.BICUBIC))
    assert np.array_equal(Preprocess((384, 384), crop_ratio=None)(photo), expected)


@pytest.mark.parametrize("size", [(64, 128), (128, 64), (96, 96), (32, 33)])
@pytest.mark.parametrize("source", [(640, 427), (1, 7), (33, 500), (292, 292)])
def test_any_size_is_covered(photo, size, source):
    preprocess = Preprocess(size)
    width, height = preprocess.resized(*source)
    assert height >= size[0] and width >= size[1]
    assert preprocess(photo.resize(source)).shape == (3, *size)


def test_same_as_torchvision(photo):
    try:
        from torchvision import transforms
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"torchvision of the extra `parity` does not import: {error}")
    theirs = transforms.Compose(
        [
            transforms.Resize(292, interpolation=transforms.InterpolationMode.BICUBIC),
            transforms.CenterCrop(256),
            transforms.ToTensor(),
            transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )
    assert np.array_equal(Preprocess((256, 256))(photo), theirs(photo).numpy())


def test_grey_model(photo):
    x = Preprocess((32, 32), mean=(0.5,), std=(0.25,))(photo)
    assert x.shape == (1, 32, 32) and -2 <= x.min() < x.max() <= 2


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"crop_ratio": 0}, "crop_ratio"),
        ({"crop_ratio": 1.5}, "crop_ratio"),
        ({"interpolation": "area"}, "interpolation.*bicubic"),
        ({"mean": (0.5, 0.5)}, "mean, std"),
        ({"std": (1, 0, 1)}, "mean, std"),
        ({"image_size": (0, 3)}, "image_size"),
    ],
)
def test_bad_preprocessing(kwargs, message):
    with pytest.raises(ValueError, match=message):
        Preprocess(**{"image_size": (64, 64), **kwargs})


def test_plain_conversions(photo, tmp_path):
    """Grey, CMYK, palette and transparent files become what PIL's convert makes of them, without a note."""
    for mode, name in (("L", "a.png"), ("CMYK", "b.jpg"), ("P", "c.png"), ("RGBA", "d.png"), ("1", "e.png")):
        photo.convert(mode).save(tmp_path / name)
        image, note = read_image(tmp_path / name)
        assert image.mode == "RGB" and note == ""
        assert np.array_equal(np.asarray(image), np.asarray(Image.open(tmp_path / name).convert("RGB")))


def test_16_bit_is_scaled_and_said(tmp_path):
    values = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    for name, dtype in (("a.png", np.uint16), ("a.tif", np.uint16), ("a.pgm", np.int32)):
        Image.fromarray(values.astype(dtype)).save(tmp_path / name)
        image, note = read_image(tmp_path / name)
        grey = np.asarray(image)[..., 0].astype(float)
        assert np.abs(grey - values / 257).max() <= 0.51 and "16-bit" in note and name in note


def test_32_bit_grey_is_refused(tmp_path):
    """Its values may be of 8 bits, which the scale of 16 would turn black."""
    Image.fromarray(np.full((4, 4), 200, np.int32)).save(tmp_path / "a.tif")
    with pytest.raises(ImageError, match="a.tif: signed or 32-bit integer pixels have no known range"):
        read_image(tmp_path / "a.tif")


def test_animation_gives_the_first_frame_and_says_so(photo, tmp_path):
    small = photo.resize((40, 30))
    for name in ("a.gif", "a.png", "a.webp"):
        small.save(
            tmp_path / name, save_all=True, append_images=[small.rotate(90), small.rotate(180)], duration=50
        )
        image, note = read_image(tmp_path / name)
        assert image.size == (40, 30) and "first of 3 frames" in note and name in note
    pages = [Image.fromarray(np.full((4, 4), page, np.uint16)) for page in (300, 400)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    _, note = read_image(tmp_path / "a.tif")
    assert "first of 2 frames" in note and "16-bit" in note


def png(chunks) -> bytes:
    out = b"\x89PNG\r\n\x1a\n"
    for kind, data in chunks:
        out += struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return out


def test_unreadable_files_are_named(photo, tmp_path):
    photo.save(tmp_path / "good.jpg")
    photo.save(tmp_path / "good.png")
    jpg, whole = (tmp_path / "good.jpg").read_bytes(), (tmp_path / "good.png").read_bytes()
    header = (b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0))
    files = {
        "empty.jpg": b"",
        "text.jpg": b"not an image",
        "cut.jpg": jpg[: len(jpg) // 2],
        "cut.png": whole[: len(whole) // 3],
        "header.jpg": jpg[:100],
        "zeros.png": whole[:2000] + bytes(2000) + whole[4000:],
        "bomb.png": png([header, (b"IDAT", zlib.compress(bytes(10))), (b"IEND", b"")]),
        "script.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    }
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ImageError, match=name):
            read_image(tmp_path / name)
    with pytest.raises(ImageError, match=r"none\.jpg: .*No such file"):
        read_image(tmp_path / "none.jpg")
    with pytest.raises(ImageError, match="floating-point"):
        Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "f.tif")
        read_image(tmp_path / "f.tif")


def test_what_is_no_file_is_not_opened(tmp_path):
    """Whoever opens a pipe waits for its other end."""
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "link.jpg").symlink_to("pipe.jpg")
    for name in ("pipe.jpg", "link.jpg"):
        with pytest.raises(ImageError, match=f"{name}: expected a regular file"):
            read_image(tmp_path / name)


def test_a_strip_is_refused_before_memory_is_asked_for():
    for height in (20000, 2000000):
        with pytest.raises(ImageError, match=f"1x{height} "):
            Preprocess((256, 256))(Image.new("RGB", (1, height)))


def test_linked_folders_are_followed_once(photo, tmp_path):
    for name in ("set/a/1.jpg", "set/b/2.jpg", "elsewhere/3.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        photo.resize((8, 8)).save(tmp_path / name)
    (tmp_path / "set/b/more").symlink_to(tmp_path / "elsewhere")
    assert [Path(p).name for p, _ in image_folder(tmp_path / "set").samples] == ["1.jpg", "2.jpg", "3.jpg"]
    (tmp_path / "elsewhere/round").symlink_to(tmp_path / "set/b")
    with pytest.raises(ValueError, match="more/round is .*set/b, which .*set/b has already"):
        image_folder(tmp_path / "set")


def test_a_folder_that_cannot_be_read_is_an_error(photo, tmp_path, monkeypatch):
    (tmp_path / "a/closed").mkdir(parents=True)
    photo.resize((8, 8)).save(tmp_path / "a/1.jpg")
    scandir = os.scandir  # root reads whatever its mode is

    def closed(path):
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(PermissionError, match="a/closed"):
        image_folder(tmp_path)


def test_folder_order_and_labels(photo, tmp_path):
    for name in ("val/b/2.jpg", "val/b/sub/3.jpg", "val/a/1.jpg", "val/.hidden/4.jpg", "val/a/.5.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        photo.resize((8, 8)).save(tmp_path / name)
    folder = image_folder(tmp_path)
    assert folder.classes == ("a", "b")
    assert [(p[len(str(tmp_path)) + 5 :], y) for p, y in folder.samples] == [
        ("a/1.jpg", 0),
        ("b/2.jpg", 1),
        ("b/sub/3.jpg", 1),
    ]
    assert [y for _, y in image_folder(tmp_path, ["x", "b", "a"]).samples] == [2, 1, 1]
    with pytest.raises(ValueError, match="/b is none of the 1 labels"):
        image_folder(tmp_path, ["a"])
    with pytest.raises(ValueError, match="/b is 2 of the labels"):
        image_folder(tmp_path, ["a", "b", "b"])
    with pytest.raises(FileNotFoundError, match="none"):
        image_folder(tmp_path / "none")
    with pytest.raises(ValueError, match="no sub-folder"):
        image_folder(tmp_path / "val" / "a")


def test_hidden_folders_inside_class_folders_are_left_out(tmp_path):
    for name in ("a/b/1.jpg", "a/.hidden/2.jpg", "a/.hidden/c/3.jpg", "a/0.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert [p[len(str(tmp_path)) + 1 :] for p, _ in image_folder(tmp_path).samples] == [
        "a/0.jpg",
        "a/b/1.jpg",
    ]


def test_a_link_to_nothing_is_told(tmp_path):
    """As a class folder it would shift the labels of the folders after it."""
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "1.jpg").touch()
    (tmp_path / "a").symlink_to(tmp_path / "none")
    with pytest.raises(ValueError, match="/a is a link to nothing"):
        image_folder(tmp_path)
