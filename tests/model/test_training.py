# SPDX-License-Identifier: Apache-2.0
"""Optimiser, schedule, randomness, the digits, and a training run on every back end."""

import csv
import json
import math
import signal
import subprocess
import sys
import time

import mindspore as ms
import numpy as np
import pytest
from mindspore import Parameter, Tensor
from PIL import Image

from swinv2_model.cli import main
from swinv2_model.randomness import drop_path_factors, permutation, uniform
from swinv2_model.registry import config_of, create_model
from swinv2_model.training import digits, trainer
from swinv2_model.training.config import parse
from swinv2_model.training.optimizer import AdamW, clip_by_global_norm, decays, learning_rates
from swinv2_model.training.step import LossScale, TrainStep, soft_cross_entropy
from swinv2_model.weights.convert import convert
from swinv2_model.weights.files import read_checkpoint

TINY = ["--model.embed_dim=8", "--model.num_heads=[1,2]", "--model.depths=[1,2]", "--train.warmup_length=0"]


def test_adamw_is_the_formula_with_bias_correction():
    rng = np.random.default_rng(0)
    shapes = {"layers.weight": (5, 7), "layers.bias": (7,)}
    start = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    parameters = [Parameter(Tensor(value), name=name) for name, value in start.items()]
    optimizer = AdamW(parameters, (0.9, 0.99), eps=1e-4, weight_decay=0.1)
    exact = {name: [value.astype(np.float64), 0.0, 0.0] for name, value in start.items()}
    for step in range(1, 8):
        lr = 0.02 / step
        gradients = [0.1 * rng.standard_normal(shape).astype(np.float32) for shape in shapes.values()]
        optimizer([Tensor(g) for g in gradients], optimizer.factors(lr, step))
        for (name, (p, m, v)), g in zip(exact.items(), gradients):
            m, v = 0.9 * m + 0.1 * g, 0.99 * v + 0.01 * g.astype(np.float64) ** 2
            update = (m / (1 - 0.9**step)) / (np.sqrt(v / (1 - 0.99**step)) + 1e-4)
            decay = 0.1 if name == "layers.weight" else 0.0
            exact[name] = [p - lr * (update + decay * p), m, v]
    for parameter in parameters:
        np.testing.assert_allclose(parameter.asnumpy(), exact[parameter.name][0], rtol=2e-6, atol=2e-7)


def test_what_weight_decay_spares():
    spared = {
        "norm.gamma": (8,),
        "head.bias": (10,),
        "layers.0.blocks.0.attn.logit_scale": (2, 1, 1),
        "layers.0.blocks.0.attn.cpb_mlp.0.weight": (512, 2),
        "layers.0.blocks.0.attn.relative_position_bias_table": (169, 3),
        "absolute_pos_embed": (1, 64, 8),
    }
    assert not any(decays(*item) for item in spared.items())
    assert decays("layers.0.blocks.0.attn.qkv.weight", (24, 8)) and decays(
        "patch_embed.proj.weight", (8, 3, 4, 4)
    )


def test_clip_by_global_norm():
    gradients = [Tensor(np.full((2, 3), 3, np.float32)), Tensor(np.full(5, -4, np.float32))]
    norm = math.sqrt(6 * 9 + 5 * 16)
    for limit, factor in ((1.0, 1 / norm), (100.0, 1.0)):
        clipped, before = clip_by_global_norm(gradients, limit)
        assert before.asnumpy() == pytest.approx(norm, rel=1e-6)
        np.testing.assert_allclose(clipped[1].asnumpy(), -4 * factor, rtol=1e-5)


def test_learning_rates():
    rates = learning_rates(10, 4, 1.0, 0.1, warmup_length=2, warmup_lr=0.2, cool_length=3, cool_lr=0.05)
    assert len(rates) == 40
    np.testing.assert_allclose(rates[:9], [*np.linspace(0.2, 1.0, 9)], rtol=1e-12)
    np.testing.assert_allclose(rates[18], 0.1 + 0.9 / 2, rtol=1e-12)  # half way down the cosine
    assert (np.diff(rates[8:28]) < 0).all() and (rates[28:] == 0.05).all()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_soft_cross_entropy(smoothing):
    rng = np.random.default_rng(0)
    logits, labels = 3 * rng.standard_normal((4, 6)).astype(np.float32), np.array([0, 5, 2, 2], np.int32)
    target = np.eye(6)[labels] * (1 - smoothing) + smoothing / 6
    log_p = logits - np.log(np.exp(logits.astype(float)).sum(-1, keepdims=True))
    got = soft_cross_entropy(Tensor(logits), Tensor(labels), smoothing)
    assert got.asnumpy() == pytest.approx(-(target * log_p).sum(-1).mean(), rel=3e-6)


def test_random_numbers_are_a_function_of_seed_epoch_sample_and_operation():
    index = np.arange(20000)
    values = uniform(0, 0, index, "shift")
    assert values.min() >= 0 and values.max() < 1 and abs(values.mean() - 0.5) < 0.01
    assert np.abs(np.histogram(values, 20, (0, 1))[0] - 1000).max() < 150
    np.testing.assert_array_equal(uniform(0, 0, index[::-1], "shift")[::-1], values)  # not of the order
    for other in (uniform(1, 0, index, "shift"), uniform(0, 1, index, "shift"), uniform(0, 0, index, "turn")):
        assert abs(np.corrcoef(values, other)[0, 1]) < 0.03
    assert abs(np.corrcoef(values[1:], values[:-1])[0, 1]) < 0.03
    order = permutation(0, 0, 1000)
    np.testing.assert_array_equal(np.sort(order), np.arange(1000))
    assert (order != permutation(0, 1, 1000)).mean() > 0.9


def test_drop_path_factors_keep_the_mean():
    index = np.arange(4000)
    factors = drop_path_factors((0.0, 0.25), 0, 0, index)
    assert factors.shape == (2, 2, 4000) and (factors[0] == 1).all()
    assert set(np.unique(factors[1])) == {np.float32(0), np.float32(1 / 0.75)}
    assert abs(factors[1].mean() - 1) < 0.02 and (factors[1, 0] != factors[1, 1]).any()
    np.testing.assert_array_equal(drop_path_factors((0.0, 0.25), 0, 0, index[7:9]), factors[:, :, 7:9])


def test_digits_split_is_fixed_and_whole():
    (train, train_labels), (test, test_labels) = digits.load((32, 32))
    assert train.shape == (1437, 1, 32, 32) and test.shape == (360, 1, 32, 32)
    assert np.bincount(np.concatenate([train_labels, test_labels])).sum() == 1797
    assert np.bincount(test_labels).min() >= 25
    again = digits.load((32, 32))
    np.testing.assert_array_equal(again[1][0], test)


def test_augmentation_moves_turns_and_scales():
    image = np.zeros((1, 1, 32, 32), np.float32)
    image[0, 0, 10:14, 20] = 1
    index = np.array([5])
    np.testing.assert_allclose(digits.augment(image, 0, 0, index), image, atol=1e-5)
    moved = digits.augment(image, 0, 0, index, max_shift=4)
    by = 4 * (2 * uniform(0, 0, index, "shift_y")[0] - 1), 4 * (2 * uniform(0, 0, index, "shift_x")[0] - 1)
    y, x = (np.average(axis, weights=moved[0, 0]) for axis in np.mgrid[:32, :32])
    assert (y, x) == (pytest.approx(11.5 + by[0], abs=1e-3), pytest.approx(20 + by[1], abs=1e-3))
    assert moved.sum() == pytest.approx(4, rel=1e-4)
    turned = digits.augment(image, 0, 0, index, max_rotation=180)
    angle = np.radians(180 * (2 * uniform(0, 0, index, "rotation")[0] - 1))
    y, x = (np.average(axis, weights=turned[0, 0]) - 15.5 for axis in np.mgrid[:32, :32])
    assert math.hypot(y, x) == pytest.approx(math.hypot(4, 4.5), abs=0.1)
    assert math.cos(math.atan2(y, x) - math.atan2(-4, 4.5)) == pytest.approx(math.cos(angle), abs=0.05)
    grown = [digits.augment(image, seed, 0, index, max_scale=0.5).sum() for seed in range(8)]
    assert min(grown) < 3.5 and max(grown) > 4.5


def losses(backend, steps):
    """Loss of each step on two small batches in turn, from the same start."""
    options = ["--backend", backend, "--train.total_batch_size=16", "--model.depths=[1,2]"]
    run = trainer.Trainer(
        parse([*options, "--model.embed_dim=32", "--model.num_heads=[1,2]", "--model.drop_path_rate=0.2"])
    )
    run.optimizer.eps = 1e-4  # Adam magnifies rounding where gradients are almost nothing
    curve = []
    for step in range(steps):
        images, labels, keep, _ = run.batch(0, step % 2)
        loss, _, _ = run.step(images, labels, keep, run.optimizer.factors(4e-3, step + 1))
        curve.append(float(loss.asnumpy()))
    return np.array(curve)


def test_fused_and_reference_train_alike():
    expected = losses("reference", 24)
    assert expected[-4:].mean() < expected[:4].mean() - 0.3, expected
    curve = losses("cpu", 24)
    np.testing.assert_allclose(curve[:12], expected[:12], rtol=1e-4)
    np.testing.assert_allclose(curve, expected, rtol=3e-2)  # training magnifies rounding step by step


# ---- 16-bit ----


def test_loss_scale_is_halved_at_overflow_and_doubled_after_good_steps():
    scale = LossScale(2.0**16, growth_interval=3)
    seen = []
    for finite in (False, True, True, False, True, True, True, True):
        scale.update(finite)
        seen.append(math.log2(scale.value))
    assert seen == [15, 15, 15, 14, 14, 14, 15, 15]
    with pytest.raises(FloatingPointError, match="gradients are not finite even where the loss is scaled by"):
        for _ in range(40):
            scale.update(False)


def test_a_scaled_step_is_the_step():
    """Powers of two change no float32 gradient; one that overflows changes nothing at all."""
    weights = {}
    for scaled, value in ((False, 1), (True, 2.0**10), (True, math.inf)):
        run = trainer.Trainer(parse(TINY))
        step = TrainStep(run.model, run.optimizer, scaled=scaled)
        before = [w.asnumpy().copy() for w in run.model.trainable_params()]
        inputs = [*run.batch(0, 0)] + [Tensor(np.float32(value))] * scaled
        loss, _, norm = (x.asnumpy() for x in step(*inputs))
        assert np.isfinite(loss) and np.isfinite(norm) == (value < math.inf)
        after = [w.asnumpy().copy() for w in run.model.trainable_params()]
        moments = [m.asnumpy() for m in (*run.optimizer.moment1, *run.optimizer.moment2)]
        weights[value] = after
        changed = [not np.array_equal(a, b) for a, b in zip(before, after)]
        assert any(changed) == (value < math.inf) and any(m.any() for m in moments) == any(changed)
    for one, other in zip(weights[1], weights[2.0**10]):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_train_in_16_bit(dtype, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(trainer, "LossScale", lambda: LossScale(2.0**40))  # overflows at first
    command = ["train", "--output_dir", str(tmp_path), "--train.epochs=2", f"--train.compute_dtype={dtype}"]
    assert main([*command, "--train.clip_global_norm_value=5", *TINY]) == 0
    result = [line for line in capsys.readouterr().out.splitlines() if line.startswith("test accuracy")][-1]
    with open(tmp_path / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[1]["loss"]) < float(rows[0]["loss"])
    assert all(math.isfinite(float(row["gradient_norm"])) for row in rows)
    if dtype == "float16":
        assert 1 < float(rows[0]["loss_scale"]) < 2.0**40
    else:
        assert rows[0]["loss_scale"] == ""
    assert main(["evaluate", "--pretrained", str(tmp_path / "checkpoint.ckpt")]) == 0
    assert result in capsys.readouterr().out


@pytest.mark.parametrize("clip", [0, 5])
def test_train_then_evaluate(clip, tmp_path, capsys):
    command = ["train", "--output_dir", str(tmp_path), "--train.epochs=2", "--data.max_shift=1", *TINY]
    command += [f"--train.clip_global_norm_value={clip}"]
    assert main(command) == 0
    shown = capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint.ckpt", "log.csv"}
    with open(tmp_path / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2"] and float(rows[1]["loss"]) < float(rows[0]["loss"])
    assert all(float(row["gradient_norm"]) > 0 if clip else row["gradient_norm"] == "" for row in rows)
    result = [line for line in shown.splitlines() if line.startswith("test accuracy")][-1]
    assert (
        main(["evaluate", "--pretrained", str(tmp_path / "checkpoint.ckpt"), "--backend", "reference"]) == 0
    )
    shown = capsys.readouterr().out
    assert result in shown and "true digit" in shown
    assert float(rows[1]["test_accuracy"]) == pytest.approx(float(result.split()[2]) / 100, abs=1e-4)
    arrays, _ = read_checkpoint(tmp_path / "checkpoint.ckpt")
    assert "layers.0.blocks.0.attn.qkv.weight" in arrays


def test_a_checkpoint_tells_the_options_of_the_model(tmp_path):
    """`predict` and `convert` do not read the run's configuration."""
    options = {"window_rule": "per_axis", "mask_padding": False, "mask_value": -50.0, "gelu": "tanh"}
    flags = [f"--model.{key}={json.dumps(value).strip(chr(34))}" for key, value in options.items()]
    trainer.Trainer(parse([*TINY, *flags, "--model.norm_eps=1e-6"])).save(tmp_path / "run.ckpt")
    convert(tmp_path / "run.ckpt", tmp_path / "run.pth")
    for file in ("run.ckpt", "run.pth"):
        model = config_of(tmp_path / file)["model"]
        assert {key: model[key] for key in options} == options and model["norm_eps"] == 1e-6


@pytest.mark.parametrize("windows", [[4, 0], [[2, 4], 4]], ids=str)
def test_a_checkpoint_tells_the_windows_it_was_pretrained_with(windows, tmp_path):
    trainer.Trainer(parse([*TINY, f"--model.pretrained_window_sizes={windows}"])).save(tmp_path / "run.ckpt")
    assert config_of(tmp_path / "run.ckpt")["model"]["pretrained_window_sizes"] == windows
    assert create_model(config_of(tmp_path / "run.ckpt"), checkpoint_path=tmp_path / "run.ckpt")


def test_a_checkpoint_appears_only_when_complete(tmp_path, monkeypatch):
    run = trainer.Trainer(parse(TINY))

    def broken(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr(ms, "save_checkpoint", broken)
    with pytest.raises(OSError, match="disk full"):
        run.save(tmp_path / "checkpoint.ckpt")
    assert not list(tmp_path.iterdir())


def test_flag_wins_over_yaml_over_default(tmp_path):
    text = "model: {image_size: 32, embed_dim: 8, depths: [1], num_heads: [1], window_size: 4, num_classes: 10}\n"
    text += "data: {dataset: digits, mean: [0.3], std: [0.4]}\n"
    text += "train: {epochs: 7, total_batch_size: 16, base_lr: 0.1, min_lr: 0.01, seed: 5}\n"
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    for arguments in (
        ["--train.epochs=9", f"--config={path}"],
        ["--config", str(path), "--train.epochs", "9"],
    ):
        config = parse(arguments)
        assert (config.train.epochs, config.train.seed, config.train.weight_decay) == (9, 5, 0.05)
        assert config.name == "mine" and config.model.mlp_ratio == 4.0


BAD = {
    "preset": (["--preset", "nope"], "--preset: expected one of digits"),
    "no-data-set": (["--preset", "swinv2_tiny_patch4_window8_256"], "--data_url: expected a folder with"),
    "no-file": (["--config", "nope.yaml"], "--config: 'nope.yaml' is no file"),
    "both": (["--config", "a", "--preset", "b"], "expected one of the two"),
    "flag": (["--train.epocs", "3"], "--train.epocs"),
    "type": (["--train.epochs", "many"], "train.epochs"),
    "range": (["--train.epochs", "0"], "train.epochs: expected at least 1, got 0"),
    "warm-up": (
        ["--train.epochs", "2"],
        "warmup_length: expected at least 0 and at most 2 = train.epochs, got 3",
    ),
    "cool-down": (
        ["--train.epochs", "4", "--train.cool_length", "2"],
        "train.cool_length: expected at least 0 and at most 1 = train.epochs - train.warmup_length, got 2",
    ),
    "infinite": (["--train.base_lr", ".inf"], "train.base_lr: expected a finite number, got inf"),
    "nan": (["--train.warmup_lr", ".nan"], "train.warmup_lr: expected a finite number, got nan"),
    "cool": (["--train.cool_lr", "-1"], "train.cool_lr: expected at least 0, got -1"),
    "clip": (["--train.clip_global_norm_value", ".inf"], "train.clip_global_norm_value: expected a finite"),
    "seed": (
        ["--train.seed", "-1"],
        "train.seed: expected at least 0 and at most 9223372036854775807, got -1",
    ),
    "seed-big": (
        ["--train.seed", str(2**70)],
        "train.seed: expected at least 0 and at most 9223372036854775807",
    ),
    "mean": (["--data.mean", "[.nan]"], "data.mean: expected finite numbers"),
    "std": (["--data.std", "[.inf]"], "data.std: expected finite positive numbers"),
    "abbreviation": (["--conf", "mine.yaml"], "--conf"),
    "section": (["--model", "mine.yaml"], "--model: expected one key of it, --model.KEY VALUE"),
    "betas": (["--train.betas", "[0.9]"], "train.betas: expected two numbers"),
    "betas in float32": (
        ["--train.betas", "[0.9,0.99999999]"],
        "train.betas: expected two numbers in [0, 1)",
    ),
    "channels": (["--model.in_channels", "3"], "expected 1 and 10 for digits, got 3 and 10"),
    "batch": (["--train.total_batch_size", "5000"], "train.total_batch_size: expected at most 1437"),
    "shift": (["--data.max_shift", "-1"], "data.max_shift: expected 0 to 32"),
    "backend": (["--backend", "cuda"], "backend: expected one of"),
    "heads": (["--model.num_heads", "[5,5]"], "num_heads"),
}


@pytest.mark.parametrize("arguments, message", BAD.values(), ids=BAD.keys())
def test_bad_command_lines_are_told_in_a_sentence(arguments, message, capsys):
    assert main(["train", *arguments]) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


def test_an_interrupted_rerun_leaves_the_earlier_run_whole(tmp_path, monkeypatch):
    command = [
        "train",
        "--output_dir",
        str(tmp_path),
        "--train.epochs=1",
        "--train.total_batch_size=1400",
        *TINY,
    ]
    assert main(command) == 0
    before = [(tmp_path / name).read_bytes() for name in ("checkpoint.ckpt", "log.csv")]

    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(trainer.Trainer, "score", interrupted)
    assert main([*command, "--train.seed=1"]) == 130
    assert [(tmp_path / name).read_bytes() for name in ("checkpoint.ckpt", "log.csv")] == before


@pytest.fixture
def no_training(monkeypatch):
    """Epochs that take no time; the checkpoint is the start."""
    row = {"loss": 1.0, "train_accuracy": 0.5, "images_per_second": 1.0}
    monkeypatch.setattr(trainer.Trainer, "epoch", lambda *_: row)
    monkeypatch.setattr(trainer.Trainer, "score", lambda _: trainer.DigitScore(np.zeros(2), np.zeros(2)))


def test_a_second_run_into_the_folder_is_refused(tmp_path, no_training, monkeypatch, capsys):
    command = ["train", "--output_dir", str(tmp_path), "--train.epochs=2", *TINY]
    epoch, second = trainer.Trainer.epoch, []

    def meanwhile(*arguments):
        if not second:
            second.append("begun")
            second.append(main(command))
        return epoch(*arguments)

    monkeypatch.setattr(trainer.Trainer, "epoch", meanwhile)
    assert main(command) == 0 and second == ["begun", 2]
    assert f"output_dir: another run writes into {tmp_path}" in capsys.readouterr().err
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 3


@pytest.mark.parametrize("name", ["checkpoint.ckpt", "log.csv"])
def test_a_folder_in_the_place_of_a_file_is_told_at_the_start(tmp_path, name, monkeypatch, capsys):
    (tmp_path / name).mkdir()
    monkeypatch.setattr(trainer.Trainer, "epoch", None)
    assert main(["train", "--output_dir", str(tmp_path), *TINY]) == 2
    assert (
        f"output_dir: expected to write the file {tmp_path / name}, got a folder" in capsys.readouterr().err
    )


def test_a_full_disk_names_the_log(tmp_path, no_training, capsys):
    (tmp_path / "log.running.csv").symlink_to("/dev/full")
    assert main(["train", "--output_dir", str(tmp_path), *TINY]) == 2
    assert "log.running.csv" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "status", "said"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_ends_a_training_in_a_line(tmp_path, number, status, said):
    """MindSpore takes the signal when graphs run; it must reach Python all the same."""
    command = [sys.executable, "-m", "swinv2_model", "train", "--output_dir", "run", "--train.epochs=100"]
    with subprocess.Popen(
        [*command, *TINY], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        while "epoch   1 " not in run.stdout.readline():
            assert run.poll() is None
        run.send_signal(number)
        _, error = run.communicate(timeout=60)
    assert run.returncode == status and said in error.splitlines() and "Traceback" not in error


def test_ctrl_c_while_mindspore_is_imported():
    command = [sys.executable, "-X", "importtime", "-m", "swinv2_model", "train", *TINY]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        while not run.stderr.readline().rstrip().endswith("mindspore.common.dtype"):
            assert run.poll() is None
        run.send_signal(signal.SIGINT)
        _, error = run.communicate(timeout=60)
    assert run.returncode == 130 and "Fatal" not in error


def test_only_a_back_end_that_cannot_run_is_the_users_error(monkeypatch, capsys):
    assert main(["train", "--backend", "ascend", *TINY]) == 2
    assert "error: back end 'ascend' cannot run: " in capsys.readouterr().err

    def bug(*_):
        raise RuntimeError("a bug")

    monkeypatch.setattr(trainer, "parse", bug)
    with pytest.raises(RuntimeError, match="a bug"):
        main(["train"])


def test_train_refuses_several_processes(monkeypatch, capsys):
    monkeypatch.setenv("MS_WORKER_NUM", "2")
    assert main(["train", "--train.epochs=1", *TINY]) == 2
    assert "MS_WORKER_NUM: the digits train in one process, got 2" in capsys.readouterr().err


def test_weights_that_are_not_finite_are_not_written(tmp_path):
    run = trainer.Trainer(parse(TINY))
    path = tmp_path / "checkpoint.ckpt"
    run.save(path)
    before = path.read_bytes()
    run.model.head.weight.set_data(Tensor(np.full(run.model.head.weight.shape, np.inf, np.float32)))
    with pytest.raises(FloatingPointError, match=f"{path}: not written, .*head.weight"):
        run.save(path)
    assert path.read_bytes() == before


def test_a_file_whose_name_is_a_pattern(tmp_path):
    text = (trainer.registry.PRESETS / "digits.yaml").read_text()
    for name, epochs in (("a[1].yaml", 7), ("a1.yaml", 8)):
        (tmp_path / name).write_text(text.replace("epochs: 25", f"epochs: {epochs}"))
    assert parse(["--config", str(tmp_path / "a[1].yaml")]).train.epochs == 7


@pytest.mark.parametrize("key", ["model", "train"])
def test_an_unknown_key_names_the_file(tmp_path, key, capsys):
    path = tmp_path / "bad.yaml"
    text = (trainer.registry.PRESETS / "digits.yaml").read_text()
    path.write_text(text.replace(f"{key}:\n", f"{key}:\n  colour: red\n"))
    assert main(["train", "--config", str(path)]) == 2
    error = capsys.readouterr().err
    assert "bad" in error and "colour" in error


def test_bad_checkpoints_are_told_in_a_sentence(tmp_path, capsys):
    empty, other = tmp_path / "empty.ckpt", tmp_path / "other.ckpt"
    empty.write_bytes(b"")
    trainer.write_checkpoint(other, {"weight": np.ones(3, np.float32)})
    for path, message in (
        (tmp_path / "none.ckpt", "no such checkpoint"),
        (empty, "empty"),
        (other, "data_url"),
    ):
        assert main(["evaluate", "--pretrained", str(path)]) == 2
        error = capsys.readouterr().err
        assert message in error and error.startswith("error: "), error


@pytest.mark.exhaustive
def test_digits_reach_98_percent_in_three_minutes(tmp_path, capsys):
    start = time.perf_counter()
    assert main(["train", "--preset", "digits", "--output_dir", str(tmp_path)]) == 0
    seconds = time.perf_counter() - start
    shown = capsys.readouterr().out
    result = [line for line in shown.splitlines() if line.startswith("test accuracy")][-1]
    assert float(result.split()[2]) >= 98.0 and seconds < 180, (result, seconds)


def test_a_checkpoint_tells_its_preprocessing(tmp_path, capsys):
    """One channel has its own mean and std, also after conversions; `predict` and `evaluate` need no YAML."""
    trainer.Trainer(parse(TINY)).save(tmp_path / "run.ckpt")
    convert(tmp_path / "run.ckpt", tmp_path / "run.pth")
    scan = np.round(255 * digits.load((32, 32))[1][0][0, 0].clip(0, 1)).astype(np.uint8)
    Image.fromarray(scan).save(tmp_path / "scan.png")
    for file in ("run.ckpt", "run.pth"):
        data = config_of(tmp_path / file)["data"]
        assert data == {"crop_ratio": None, "mean": [0.3053], "std": [0.3763]}
        assert main(["predict", str(tmp_path / "scan.png"), "--pretrained", str(tmp_path / file)]) == 0


def test_evaluate_refuses_what_a_run_of_train_does_not_ask(tmp_path, capsys):
    trainer.Trainer(parse(TINY)).save(tmp_path / "run.ckpt")
    flags = ["--image_size", "64", "--labels", "a.txt", "--config", "digits", "--batch_size", "8"]
    assert main(["evaluate", "--pretrained", str(tmp_path / "run.ckpt"), *flags]) == 2
    assert (
        "error: --config, --image_size, --labels, --batch_size: only for a folder" in capsys.readouterr().err
    )


def test_the_checkpoint_of_a_yaml_is_where_train_puts_it(tmp_path, capsys):
    text = (trainer.registry.PRESETS / "digits.yaml").read_text().replace("name: digits", "name: mine")
    (tmp_path / "a.yaml").write_text(text)
    assert main(["evaluate", "--config", str(tmp_path / "a.yaml")]) == 2
    assert "runs/mine/checkpoint.ckpt: no such checkpoint" in capsys.readouterr().err
