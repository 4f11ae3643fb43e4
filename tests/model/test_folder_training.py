# SPDX-License-Identifier: Apache-2.0
"""Training on a folder of images: the recipe, several ranks, going on after a stop."""

import csv
import shutil

import numpy as np
import pytest
from PIL import Image
from two_ranks import on_two_ranks

from swinv2_model.cli import main
from swinv2_model.inference import Inference
from swinv2_model.registry import config_of, create_model
from swinv2_model.training import trainer
from swinv2_model.training.config import parse
from swinv2_model.weights.files import read_checkpoint

PRESET = "swinv2_tiny_patch4_window8_256"
TINY = ["--model.image_size=32", "--model.embed_dim=16", "--model.depths=[1,1]", "--model.num_heads=[1,2]"]
TINY += ["--model.window_size=4", "--model.pretrained_window_sizes=[0,0]", "--model.num_classes=3"]
TINY += ["--train.epochs=3", "--train.warmup_length=1", "--train.total_batch_size=10", "--train.base_lr=0.05"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Noise, its colour telling the class: 3 x 10 to train on, 3 x 4 to score."""
    rng, root = np.random.default_rng(0), tmp_path_factory.mktemp("pictures")
    for split, count in (("train", 10), ("val", 4)):
        for name, colour in (("blue", (40, 40, 200)), ("green", (40, 200, 40)), ("red", (200, 40, 40))):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = np.clip(rng.normal(colour, 40, (48, 40 + i, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{i}.png")
    return root


def command(pictures, output_dir, *rest):
    where = ["--data_url", str(pictures), "--output_dir", str(output_dir), "--num_parallel_workers=2"]
    return ["train", "--preset", PRESET, *where, *TINY, *rest]


def stop_in(monkeypatch, number):
    """Ctrl-C as this epoch begins; returns what epochs are otherwise."""
    whole = trainer.Trainer.epoch

    def epoch(self, epoch, report=None):
        if epoch == number:
            raise KeyboardInterrupt
        return whole(self, epoch, report)

    monkeypatch.setattr(trainer.Trainer, "epoch", epoch)
    return whole


def log(folder):
    with open(folder / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        del row["images_per_second"]
    return rows


@pytest.fixture(scope="module")
def run(pictures, tmp_path_factory):
    """What a whole run leaves."""
    folder = tmp_path_factory.mktemp("run")
    assert main(command(pictures, folder)) == 0
    return folder


def test_learns_colours_by_the_whole_recipe(run, pictures, capsys):
    assert {path.name for path in run.iterdir()} == {"checkpoint.ckpt", "best.ckpt", "log.csv"}
    rows = log(run)
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert float(rows[2]["loss"]) < float(rows[0]["loss"])
    assert main(["evaluate", "--pretrained", str(run / "checkpoint.ckpt"), "--data_url", str(pictures)]) == 0
    rate = 100 * float(rows[2]["test_accuracy"])
    assert f"top-1 {rate:.2f} %" in capsys.readouterr().out
    best = max(float(row["test_accuracy"]) for row in rows)
    assert main(["evaluate", "--pretrained", str(run / "best.ckpt"), "--data_url", str(pictures)]) == 0
    assert f"top-1 {100 * best:.2f} %" in capsys.readouterr().out


def test_a_stopped_run_goes_on_to_the_same_bits(run, pictures, tmp_path, monkeypatch, capsys):
    whole = stop_in(monkeypatch, 2)
    assert main(command(pictures, tmp_path)) == 130
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"running.best.ckpt", "running.ckpt", "log.running.csv"}
    monkeypatch.setattr(trainer.Trainer, "epoch", whole)
    assert main([*command(pictures, tmp_path, "--train.seed=1"), "--resume"]) == 2
    assert "running.ckpt is of a run with another train" in capsys.readouterr().err
    assert main([*command(pictures, tmp_path), "--resume"]) == 0
    assert "2 of them done" in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint.ckpt", "best.ckpt", "log.csv"}
    assert log(tmp_path) == log(run)
    for name in ("checkpoint.ckpt", "best.ckpt"):
        (one, _), (other, _) = read_checkpoint(run / name), read_checkpoint(tmp_path / name)
        assert one.keys() == other.keys()
        for key, value in one.items():
            np.testing.assert_array_equal(value, other[key])


def test_the_state_has_the_loss_scale(tmp_path):
    options = [*("--model.embed_dim=8", "--model.num_heads=[1,2]", "--model.depths=[1,2]")]
    first = trainer.Trainer(parse([*options, "--train.compute_dtype=float16"]))
    first.loss_scale.value, first.loss_scale.good_steps, first.skipped = 2.0**11, 17, 3
    first.save_state(tmp_path / "state.ckpt", 4)
    second = trainer.Trainer(parse([*options, "--train.compute_dtype=float16"]))
    assert second.load_state(tmp_path / "state.ckpt") == (4, -1.0)
    assert (second.loss_scale.value, second.loss_scale.good_steps, second.skipped) == (2.0**11, 17, 3)


def test_going_on_wants_the_same_run(pictures, tmp_path, monkeypatch, capsys):
    stop_in(monkeypatch, 1)
    data, folder = tmp_path / "data", tmp_path / "run"
    shutil.copytree(pictures, data)
    assert main(command(data, folder)) == 130
    (data / "train/red/0.png").rename(data / "train/red/another.png")
    assert main([*command(data, folder), "--resume"]) == 2
    assert "is of a run with another data_url" in capsys.readouterr().err
    (data / "train/red/another.png").rename(data / "train/red/0.png")
    moved = shutil.move(data, tmp_path / "moved")
    log_file = folder / "log.running.csv"
    log_file.write_text(log_file.read_text()[:-30])  # as a power failure leaves it
    assert main([*command(moved, folder), "--resume"]) == 130  # it goes on, and stops again
    shutil.copy(folder / "running.best.ckpt", folder / "running.ckpt")
    assert main([*command(moved, folder), "--resume"]) == 2
    assert "running.ckpt is no state of a run, or damaged" in capsys.readouterr().err
    # Started afresh and stopped before its first epoch was done, there is nothing to go on from.
    stop_in(monkeypatch, 0)
    assert main(command(moved, folder)) == 130
    assert main([*command(moved, folder), "--resume"]) == 2
    assert "running.ckpt is not there" in capsys.readouterr().err


def test_a_checkpoint_has_the_windows_that_were_trained(run, pictures, tmp_path):
    """Those of the checkpoint it started from, whatever the configuration says."""
    sizes = ["--model.window_size=8", "--model.image_size=64", "--model.pretrained_window_sizes=[0,0]"]
    first = trainer.Trainer(
        parse(command(pictures, tmp_path, *sizes, "--pretrained", str(run / "best.ckpt"))[1:])
    )
    first.save(tmp_path / "out.ckpt")
    again = create_model(config_of(tmp_path / "out.ckpt"), checkpoint_path=tmp_path / "out.ckpt")
    images = np.random.default_rng(0).standard_normal((2, 3, 64, 64)).astype(np.float32)
    np.testing.assert_array_equal(Inference(first.model, 2)(images), Inference(again, 2)(images))
    assert first.trained_windows() == [4, 4]


def test_two_ranks_train_as_one(run, pictures, tmp_path):
    """Without mixing, which pairs the images of a rank: the same losses but for the order of sums."""
    plain = ["--train.mix_up=0", "--train.cutmix=0", "--train.epochs=2"]
    assert main(command(pictures, tmp_path / "one", *plain)) == 0
    on_two_ranks(command(pictures, tmp_path / "two", *plain), tmp_path)
    for one, two in zip(log(tmp_path / "one"), log(tmp_path / "two")):
        assert one["train_accuracy"] == two["train_accuracy"] and one["test_accuracy"] == two["test_accuracy"]
        for key in ("loss", "gradient_norm"):
            assert float(two[key]) == pytest.approx(float(one[key]), rel=1e-4)


def test_starts_from_a_checkpoint_with_another_head(run, pictures, tmp_path, caplog):
    start = ["--pretrained", str(run / "checkpoint.ckpt"), "--model.num_classes=5", "--train.epochs=1"]
    config = parse(command(pictures, tmp_path, *start, "--train.warmup_length=0")[1:])
    model = trainer.Trainer(config).model
    assert "head" in caplog.text
    theirs, _ = read_checkpoint(run / "checkpoint.ckpt")
    ours = {parameter.name: parameter.asnumpy() for parameter in model.get_parameters()}
    name = "layers.0.blocks.0.attn.qkv.weight"
    np.testing.assert_array_equal(ours[name], theirs[name])
    assert ours["head.weight"].shape[0] == 5 and not ours["head.weight"].any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--preset", PRESET], "--data_url: expected a folder with train/ and val/"),
        (["--preset", "digits", "--data_url", "."], "not for digits"),
        (["--preset", "digits", "--train.mix_up=0.8"], "train.mix_up: is for folders of images"),
        (["--train.re_prob=2", "--preset", "digits"], "train.re_prob: expected at least 0 and at most 1"),
        (
            ["--num_parallel_workers=0", "--preset", "digits"],
            "--num_parallel_workers: expected at least 1, got 0",
        ),
        (["--preset", "digits", "--resume", "--output_dir", "nowhere"], "running.ckpt is not there"),
    ],
)
def test_bad_command_lines(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_bad_folders(pictures, tmp_path, capsys):
    assert main(command(tmp_path, tmp_path / "run")) == 2
    assert f"{tmp_path / 'train'} is no folder" in capsys.readouterr().err
    for option, message in (
        ("--model.num_classes=2", "model.num_classes: expected at least 3, the class folders"),
        ("--data.max_shift=1", "data.max_shift: is for the digits"),
        ("--train.total_batch_size=31", "train.total_batch_size: expected at most 30, got 31"),
        ("--train.auto_augment=rand-x9", "auto_augment: expected"),
    ):
        assert main(command(pictures, tmp_path / "run", option)) == 2
        assert message in capsys.readouterr().err
    shutil.copytree(pictures, tmp_path / "other")
    (tmp_path / "other/val/yellow").mkdir()
    assert main(command(tmp_path / "other", tmp_path / "run")) == 2
    assert "yellow is none of the 3 labels" in capsys.readouterr().err


def test_an_unreadable_image_is_named(pictures, tmp_path, capsys):
    """In training it ends the run, in scoring it is left out."""
    shutil.copytree(pictures, tmp_path / "other")
    scored, trained = tmp_path / "other/val/red/1.png", tmp_path / "other/train/green/3.png"
    scored.write_bytes(scored.read_bytes()[:100])
    short = ["--train.epochs=1", "--train.warmup_length=0", "--model.num_classes=4"]
    assert main(command(tmp_path / "other", tmp_path / "run", *short)) == 0
    said = capsys.readouterr().out
    assert said.count(f"unreadable: {scored}: ") == 1 and "of 11)" in said
    assert "note: 3 class folders for 4 classes" in said
    trained.write_bytes(trained.read_bytes()[:100])
    assert main(command(tmp_path / "other", tmp_path / "run")) == 2
    assert f"error: {trained}: " in capsys.readouterr().err
