# SPDX-License-Identifier: Apache-2.0
"""Evaluation over a folder: every image counted once, whatever the batch size and the number of ranks."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from two_ranks import on_two_ranks

from swinv2_model import evaluate as module
from swinv2_model.cli import main
from swinv2_model.evaluate import Samples, evaluate, folder_samples, rank_of_label
from swinv2_model.images import ImageError, Preprocess, read_image
from swinv2_model.registry import config_of, create_model
from swinv2_model.weights.files import read_checkpoint, write_checkpoint

GOLDEN = Path(__file__).parents[1] / "golden" / "model_w8_64px.pth"


@pytest.fixture(scope="module")
def model():
    return create_model(config_of(GOLDEN), checkpoint_path=GOLDEN)


@pytest.fixture(scope="module")
def expected(model, pictures):
    """(scored, top-1, top-5) from one plain forward pass over every picture that PIL can read."""
    import mindspore as ms

    preprocess, images, labels = Preprocess((64, 64)), [], []
    for label, folder in enumerate(sorted(pictures.iterdir())):
        for path in sorted(folder.iterdir()):
            try:
                images.append(preprocess(read_image(path)[0]))
            except ImageError:
                continue
            labels.append(label)
    logits = model.set_train(False)(ms.Tensor(np.stack(images))).asnumpy()
    order = np.argsort(-logits, 1, kind="stable")
    hits = order == np.array(labels)[:, None]
    return len(labels), int(hits[:, 0].sum()), int(hits[:, :5].sum())


@pytest.mark.parametrize("batch_size", [1, 8, 64])
def test_counts_do_not_depend_on_the_batch(model, pictures, expected, batch_size):
    result = evaluate(model, folder_samples(pictures, Preprocess((64, 64))), 10, batch_size)
    assert (result.scored, result.top1, result.top5) == expected and result.scored == 43
    assert result.samples == 45 and result.confusion.sum() == 43 and np.trace(result.confusion) == result.top1
    assert result.confusion.sum(1).tolist() == [5, 5, 5, 4, 4, 4, 4, 4, 4, 4]
    assert len(result.unreadable) == 2
    assert "broken.jpg: not an image" in result.unreadable[0] and "cut.jpg" in result.unreadable[1]


def test_a_batch_is_no_larger_than_the_data_set(model, pictures, monkeypatch):
    sizes = []

    class Recorded(module.Inference):
        def __call__(self, images):
            sizes.append(len(images))
            return super().__call__(images)

    monkeypatch.setattr(module, "Inference", Recorded)
    assert evaluate(model, folder_samples(pictures, Preprocess((64, 64))), 10, 10**9).scored == 43
    assert sizes == [45]


def test_ranks_share_the_work_and_agree(model, pictures, expected, monkeypatch):
    """Ranks run one after another; the sum that each would get is put together by hand."""
    samples = folder_samples(pictures, Preprocess((64, 64)))
    for ranks in (2, 3):
        parts: list = []

        def record(values, ranks, parts=parts):
            parts.append(values.copy())
            return np.ones_like(values)

        monkeypatch.setattr("swinv2_model.ranks.sum_over_ranks", record)
        for rank in range(ranks):
            evaluate(model, samples, 10, 8, rank=rank, ranks=ranks)
        seen, fate = sum(parts[0::3]), sum(parts[1::3])
        assert (seen == 1).all()
        assert (int((fate == module.TOP1).sum()), int((fate == module.UNREADABLE).sum())) == (expected[1], 2)
        assert int(np.isin(fate, (module.TOP1, module.IN_TOP5)).sum()) == expected[2]


def test_an_image_counted_twice_is_an_error(model, pictures, monkeypatch):
    monkeypatch.setattr("swinv2_model.ranks.sum_over_ranks", lambda values, ranks: values * 2)
    with pytest.raises(RuntimeError, match="45 of 45 images were not counted exactly once"):
        evaluate(model, folder_samples(pictures, Preprocess((64, 64))), 10, 8)


@pytest.fixture(scope="module")
def said_by_one_rank(checkpoint, pictures):
    command = [sys.executable, "-m", "swinv2_model", "evaluate", "--pretrained", str(checkpoint)]
    command += ["--data_url", str(pictures), "--batch_size", "8"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout


def counts(said: str) -> list:
    return re.findall(r"(?:top-\d [\d.]+ % \((\d+ of \d+)\))|(?:(\d+) scored, (\d+) unreadable)", said)


def test_command_line(said_by_one_rank, expected):
    scored, top1, top5 = expected
    assert f"{scored} scored, 2 unreadable" in said_by_one_rank
    assert f"top-1 {100 * top1 / scored:.2f} % ({top1} of {scored})" in said_by_one_rank
    assert f"top-5 {100 * top5 / scored:.2f} % ({top5} of {scored})" in said_by_one_rank
    assert "unreadable: " in said_by_one_rank and "img/s" in said_by_one_rank


def test_two_ranks_count_the_same(checkpoint, pictures, said_by_one_rank, tmp_path):
    arguments = ["evaluate", "--pretrained", checkpoint, "--data_url", pictures, "--batch_size", "8"]
    said, other = on_two_ranks(arguments, tmp_path)
    assert "on 2 x CPU" in said and counts(said) == counts(said_by_one_rank)
    assert said.count("unreadable: ") == 2 and "top-1" not in other


@pytest.mark.parametrize("verb", ["eval", "validate"])
def test_aliases_and_card(verb, pictures, tmp_path, capsys):
    import yaml

    config = config_of(GOLDEN)
    model = {k: list(v) if isinstance(v, tuple) else v for k, v in config["model"].items()}
    (tmp_path / "golden.yaml").write_text(
        yaml.safe_dump({"model": model, "card": {"top1": 12.5, "top5": 60.0}})
    )
    arguments = [
        "--config",
        str(tmp_path / "golden.yaml"),
        "--pretrained",
        str(GOLDEN),
        "--data_url",
        str(pictures),
    ]
    assert main([verb, *arguments, "--device_target", "CPU", "--device_id", "0"]) == 0
    said = capsys.readouterr().out
    top1 = float(re.search(r"top-1 ([\d.]+) %", said)[1])
    assert f"card 12.5 %, difference {top1 - 12.5:+.2f}" in said


def test_what_the_user_gets_wrong_is_a_sentence(checkpoint, pictures, tmp_path, capsys):
    def error(*arguments):
        assert main(["evaluate", *map(str, arguments)]) == 2
        said = capsys.readouterr().err
        assert "Traceback" not in said
        return said

    model = ("--pretrained", checkpoint)
    assert "no folder" in error(*model, "--data_url", tmp_path / "none")
    assert "--data_url DIR" in error(*model)
    assert "give --pretrained" in error("--data_url", pictures)
    assert "none.ckpt" in error("--pretrained", tmp_path / "none.ckpt", "--data_url", pictures)
    assert "none of the presets" in error(*model, "--data_url", pictures, "--config", "resnet50")
    assert "batch_size" in error(*model, "--data_url", pictures, "--batch_size", 0)
    assert "num_parallel_workers: expected a positive integer, got 0" in error(
        *model, "--data_url", pictures, "--num_parallel_workers", 0
    )
    assert "image_size" in error(*model, "--data_url", pictures, "--image_size", 64, 64, 64)
    assert "golden.ckpt" in error(
        *model, "--data_url", pictures, "--config", "swinv2_tiny_patch4_window8_256"
    )
    assert "Ascend is not available" in error(*model, "--data_url", pictures, "--device_target", "Ascend")
    (tmp_path / "labels.txt").write_text("a\nb\n")
    assert "labels.txt has 2 lines, the model 10 classes" in error(
        *model, "--data_url", pictures, "--labels", tmp_path / "labels.txt"
    )
    for i in range(11):
        (tmp_path / "many" / f"{i:02d}").mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(tmp_path / "many" / f"{i:02d}" / "a.png")
    assert "at most 10 classes" in error(*model, "--data_url", tmp_path / "many")


def test_nothing_readable_is_no_success(checkpoint, tmp_path, capsys):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "note.txt").write_text("hello")
    assert main(["evaluate", "--pretrained", str(checkpoint), "--data_url", str(tmp_path)]) == 1
    assert "note.txt: not an image" in capsys.readouterr().out


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_names_that_cannot_be_printed_are_escaped(encoding, checkpoint, tmp_path, monkeypatch):
    (tmp_path / "a").mkdir()
    for name in (b"caf\xe9.png", "th\u00e9.png".encode()):
        (tmp_path / "a" / os.fsdecode(name)).write_bytes(b"no image")
    Image.new("RGB", (64, 64)).save(tmp_path / "a" / "good.png")
    terminal = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(terminal, encoding, write_through=True))
    assert main(["evaluate", "--pretrained", str(checkpoint), "--data_url", str(tmp_path)]) == 0
    said = terminal.getvalue().decode(encoding)
    assert "caf\\udce9.png: not an image" in said and "top-5" in said


def test_labels_reorder_the_folders(checkpoint, pictures, tmp_path, capsys):
    names = "\n".join(f"class{9 - i}" for i in range(10))
    (tmp_path / "labels.txt").write_text(names, encoding="utf-8-sig")  # with the mark that Windows writes
    arguments = [
        "--pretrained",
        str(checkpoint),
        "--data_url",
        str(pictures),
        "--labels",
        str(tmp_path / "labels.txt"),
    ]
    assert main(["evaluate", *arguments]) == 0
    assert "43 scored" in capsys.readouterr().out


def test_rank_of_label_breaks_ties_and_never_rewards_nan():
    logits = np.array([[1, 3, 2], [2, 2, 2], [2, 2, 2], [np.nan] * 3, [np.inf, 0, 0]], np.float32)
    assert rank_of_label(logits, np.array([2, 0, 2, 0, 0])).tolist() == [1, 0, 2, 3, 3]


def test_decoding_keeps_the_order_and_goes_on(model):
    """Samples whose loading fails leave no gap: the others are scored against their own labels."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((20, 3, 64, 64)).astype(np.float32)

    def load(i):
        if i % 3 == 0:
            raise ImageError(f"image {i} is broken.")
        return images[i], "a note" if i == 1 else ""

    import mindspore as ms

    said = model(ms.Tensor(images)).asnumpy().argmax(1)
    result = evaluate(model, Samples([str(i) for i in range(20)], said, load), 10, 4)
    assert (result.scored, result.top1, len(result.unreadable)) == (13, 13, 7)
    assert result.unreadable[2] == "image 6 is broken." and result.notes == ["a note"]


@pytest.mark.parametrize("command", ["evaluate", "predict"])
def test_a_class_map_without_a_configuration(command, pictures, tmp_path, capsys):
    """The map's classes, not the checkpoint's, are the model's: their rows of the head stay as they are."""
    files = ["--data_url", str(pictures)] if command == "evaluate" else [str(pictures / "class0" / "000.jpg")]
    said = []
    for rows in (10, 4):
        (tmp_path / "map.txt").write_text("\n".join("0123456789"[:rows]))
        arguments = [*files, "--pretrained", str(GOLDEN), "--cls_map_file", str(tmp_path / "map.txt")]
        said.append((main([command, *arguments]), *capsys.readouterr()))
    assert said[0][0] == 0
    if command == "evaluate":
        assert said[1][0] == 2 and "at most 4 classes" in said[1][2]
    else:
        shares = re.findall(r"([\d.]+) %", said[1][1])
        assert said[1][0] == 0 and len(shares) == 4 and len(set(shares)) > 1


@pytest.mark.parametrize(("classes", "got"), [(3, "10"), (10, "none")])
def test_a_head_that_would_be_zero_is_an_error(checkpoint, pictures, tmp_path, capsys, classes, got):
    import yaml

    from swinv2_model.weights.convert import convert

    if got == "none":
        convert(checkpoint, tmp_path / "bare.ckpt", num_classes=0)
        checkpoint = tmp_path / "bare.ckpt"
    model = {**config_of(GOLDEN)["model"], "num_classes": classes, "image_size": 64, "window_size": 8}
    (tmp_path / "c.yaml").write_text(yaml.safe_dump({"model": model}))
    arguments = ["--pretrained", str(checkpoint), "--config", str(tmp_path / "c.yaml")]
    picture = str(pictures / "class0" / "000.jpg")
    for command in (["evaluate", "--data_url", str(pictures)], ["predict", picture]):
        assert main([*command, *arguments]) == 2
        said = capsys.readouterr().err
        assert f"{checkpoint}: expected a head of {classes} classes" in said and f"got {got};" in said


def test_the_note_counts_empty_folders(checkpoint, tmp_path, capsys):
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "b" / "1.png")
    assert main(["evaluate", "--pretrained", str(checkpoint), "--data_url", str(tmp_path)]) == 0
    assert "note: 3 class folders for 10 classes" in capsys.readouterr().out


def test_mean_and_std_have_the_channels_of_the_model(checkpoint, pictures, tmp_path, capsys):
    import yaml

    config = {"model": config_of(checkpoint)["model"], "data": {"mean": [0.5], "std": [0.5]}}
    config["model"].update(image_size=64, window_size=8)
    (tmp_path / "grey.yaml").write_text(yaml.safe_dump(config))
    arguments = ["--pretrained", str(checkpoint), "--config", str(tmp_path / "grey.yaml")]
    assert main(["evaluate", *arguments, "--data_url", str(pictures)]) == 2
    assert "data.mean, data.std: expected 3 of each" in capsys.readouterr().err


def test_logits_that_are_not_finite_are_an_error(pictures, tmp_path, capsys):
    """Weights that float32 holds and float16 does not."""
    arrays, texts = read_checkpoint(GOLDEN)
    arrays["layers.0.blocks.0.mlp.fc1.weight"] = arrays["layers.0.blocks.0.mlp.fc1.weight"] * np.float32(1e6)
    write_checkpoint(tmp_path / "big.pth", arrays, texts)
    arguments = ["--pretrained", str(tmp_path / "big.pth"), "--compute_dtype", "float16"]
    assert main(["evaluate", *arguments, "--data_url", str(pictures)]) == 1
    assert "error: 43 of 43 images gave logits that are not finite" in capsys.readouterr().err
    picture = str(pictures / "class0" / "000.jpg")
    assert main(["predict", *arguments, picture]) == 1
    said = capsys.readouterr()
    assert f"error: {picture}: the logits are not finite" in said.err and "%" not in said.out
