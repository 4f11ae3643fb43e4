# SPDX-License-Identifier: Apache-2.0
"""Conversion from file to file: formats, names, the head, the report, and files that are wrong."""

import json
import pickletools
import random
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from swinv2_model.architecture import Architecture, pair
from swinv2_model.cli import main
from swinv2_model.model import SwinTransformerV2
from swinv2_model.registry import config_of, create_model
from swinv2_model.weights import keys
from swinv2_model.weights.convert import convert
from swinv2_model.weights.errors import CheckpointError
from swinv2_model.weights.files import read_checkpoint, write_checkpoint
from swinv2_model.weights.load import infer_architecture, read_class_map, read_official
from swinv2_model.weights.pth import read_pth, write_pth

GOLDEN = Path(__file__).parents[1] / "golden" / "model_w8_64px.pth"
SUFFIXES = (".pth", ".safetensors", ".ckpt")


@pytest.fixture(scope="module")
def official() -> dict:
    return read_official(GOLDEN)[0]


def same(a: dict, b: dict) -> bool:
    return list(a) == list(b) and all(
        a[k].dtype == b[k].dtype and a[k].shape == b[k].shape and a[k].tobytes() == b[k].tobytes() for k in a
    )


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("dialect", keys.DIALECTS)
def test_every_name_and_format_and_back(official, tmp_path, dialect, suffix):
    report = convert(GOLDEN, tmp_path / f"a{suffix}", to=dialect)
    assert report.used == 79 and len(report.buffers) == 9
    again = convert(tmp_path / f"a{suffix}", tmp_path / "b.pth")
    assert again.dialect == dialect and again.buffers == []
    assert same(read_pth(tmp_path / "b.pth"), official)
    if (dialect, suffix) == ("hf", ".pth"):  # a bare state dict
        assert again.description is None and "sizes and options are not kept" in str(report)
    else:
        assert again.description.image_size == (64, 64) and again.description.window_size == (8, 8)


@pytest.mark.parametrize("dialect", keys.DIALECTS)
def test_a_from_that_the_names_deny_is_told(tmp_path, capsys, dialect):
    """Hugging Face's would bring its options along: mask_value -200 and no mask_padding."""
    convert(GOLDEN, tmp_path / "a.ckpt", to=dialect)
    for said in keys.DIALECTS:
        status = main(["convert", str(tmp_path / "a.ckpt"), str(tmp_path / f"{said}.ckpt"), "--from", said])
        assert (status == 0) == (tmp_path / f"{said}.ckpt").exists() == (said == dialect)
        error = f"a.ckpt: --from: expected {dialect!r}, whose names the file has, got {said!r}; leave it out"
        assert (error in capsys.readouterr().err) == (said != dialect)


def test_a_single_stage_is_official_or_timm(tmp_path):
    shapes = Architecture(2, 8, (2,), (2,), 0).parameter_shapes()
    arrays = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    write_pth(tmp_path / "a.pth", arrays)
    for dialect in ("official", "timm"):
        assert convert(tmp_path / "a.pth", tmp_path / "b.pth", dialect).dialect == dialect
        assert same(read_pth(tmp_path / "b.pth"), arrays)
    with pytest.raises(CheckpointError, match="--from: expected 'official'"):
        convert(tmp_path / "a.pth", tmp_path / "b.pth", "hf")


def test_what_hugging_face_reads(tmp_path):
    """A state dict under a key leaves its model at random weights, metadata of another format is refused."""
    convert(GOLDEN, tmp_path / "pytorch_model.bin", to="hf")
    with zipfile.ZipFile(tmp_path / "pytorch_model.bin") as archive:
        strings = [
            arg for _, arg, _ in pickletools.genops(archive.read("archive/data.pkl")) if isinstance(arg, str)
        ]
    assert (
        strings[0] == "swinv2.embeddings.patch_embeddings.projection.weight" and "swinv2_model" not in strings
    )
    convert(GOLDEN, tmp_path / "model.safetensors", to="hf")
    assert read_checkpoint(tmp_path / "model.safetensors")[1]["format"] == "pt"


def test_safetensors_whose_metadata_is_null(tmp_path):
    header = json.dumps(
        {"__metadata__": None, "a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}
    ).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    assert read_checkpoint(tmp_path / "a.safetensors")[1] == {}


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_is_told_and_leaves_nothing(tmp_path, suffix):
    """A limit on the size of files is the full disk."""
    code = (
        "import resource, signal; from swinv2_model.cli import main; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000,) * 2); "
        f"raise SystemExit(main(['convert', {str(GOLDEN)!r}, 'out{suffix}']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2 and f"out{suffix}" in done.stderr and "Traceback" not in done.stderr, (
        done.stderr
    )
    assert [p.name for p in tmp_path.iterdir() if not p.name.startswith("rank_")] == []


def test_sigterm_leaves_nothing(tmp_path):
    code = (
        "import runpy, sys, time; from swinv2_model.weights import pth\n"
        "pth.os.fsync = lambda _: (print('written', flush=True), time.sleep(60))\n"
        f"sys.argv[1:] = ['convert', {str(GOLDEN)!r}, 'out.pth']\n"
        "runpy.run_module('swinv2_model', run_name='__main__')"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout.readline() == "written\n"
        run.terminate()
        _, error = run.communicate(timeout=60)
    assert (run.returncode, error) == (143, "terminated\n") and not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_half_precision_keeps_its_bits(official, tmp_path, suffix):
    half = {name: array.astype(np.float16) for name, array in official.items()}
    write_checkpoint(tmp_path / f"a{suffix}", keys.from_official(half, "timm"))
    convert(tmp_path / f"a{suffix}", tmp_path / f"b{suffix}", to="hf")
    convert(tmp_path / f"b{suffix}", tmp_path / "c.pth")
    assert same(read_pth(tmp_path / "c.pth"), half)


def test_bfloat16_of_safetensors_and_ckpt_is_widened(official, tmp_path):
    import mindspore as ms

    name = "norm.weight"
    bits = (official[name].view(np.uint32) >> 16).astype("<u2")
    header = json.dumps({name: {"dtype": "BF16", "shape": [64], "data_offsets": [0, 128]}}).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bits.tobytes())
    expected = (bits.astype(np.uint32) << 16).view(np.float32)
    assert np.array_equal(read_checkpoint(tmp_path / "a.safetensors")[0][name], expected)
    ms.save_checkpoint(
        [{"name": name, "data": ms.Tensor(expected).astype(ms.bfloat16)}], str(tmp_path / "a.ckpt")
    )
    assert np.array_equal(read_checkpoint(tmp_path / "a.ckpt")[0][name], expected)


def test_mindspore_loads_the_ckpt(official, tmp_path):
    import mindspore as ms

    convert(GOLDEN, tmp_path / "a.ckpt")
    loaded = ms.load_checkpoint(str(tmp_path / "a.ckpt"))
    assert np.array_equal(
        loaded["layers.0.blocks.0.norm1.gamma"].asnumpy(), official["layers.0.blocks.0.norm1.weight"]
    )


@pytest.mark.parametrize("verb", ["convert", "conv_pth2ckpt", "conv_pt2ckpt"])
def test_command_line_in_both_spellings(tmp_path, verb, capsys):
    out = tmp_path / "a.ckpt"
    files = [str(GOLDEN), str(out)]
    arguments = files if verb == "convert" else ["--pth_file", files[0], "--ckpt_file", files[1]]
    assert main([verb, *arguments]) == 0
    said = capsys.readouterr().out
    assert "79 parameters in official names; 9 buffers dropped" in said and str(out) in said
    assert "64x64 images and 8x8 windows" in said
    assert len(read_checkpoint(out)[0]) == 79


def test_class_map_keeps_its_order(official, tmp_path):
    order = [7, 2, 9, 2]
    (tmp_path / "map.txt").write_text("\n".join(map(str, order)) + "\n\n")
    report = convert(GOLDEN, tmp_path / "a.pth", cls_map_file=tmp_path / "map.txt")
    arrays = read_pth(tmp_path / "a.pth")
    assert np.array_equal(arrays["head.weight"], official["head.weight"][order])
    assert np.array_equal(arrays["head.bias"], official["head.bias"][order])
    assert any("10 -> 4 classes" in note for note in report.notes)


def test_other_heads_are_set_to_zero_and_said(tmp_path):
    report = convert(GOLDEN, tmp_path / "a.pth", num_classes=3)
    arrays = read_pth(tmp_path / "a.pth")
    assert arrays["head.weight"].shape == (3, 64) and not arrays["head.weight"].any()
    assert any("10 classes in the checkpoint, 3 wanted: re-initialised" in note for note in report.notes)
    report = convert(GOLDEN, tmp_path / "b.pth", num_classes=0)
    assert "head: 10 classes in the checkpoint, none wanted: left out" in report.notes
    assert "head.weight" not in read_pth(tmp_path / "b.pth")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("\n\n", "is empty"),
        ("1\nx\n", "line 2 is 'x'"),
        ("1\n\n2\n", "line 2 is ''"),
        ("1\n-2\n", "line 2 is '-2'"),
        ("1.5\n", "line 1 is '1.5'"),
        ("1 2\n", "line 1 is '1 2'"),
        ("99999999999999999999\n", "line 1"),
        ("\u0663\n", "line 1"),
        ("3\n10\n", "line 2 names class 10, but 'head.weight' of .*model_w8_64px.pth has 10"),
        (b"\xff\xfe\x00", "binary"),
    ],
)
def test_malformed_maps_are_told(tmp_path, text, message):
    data = text if isinstance(text, bytes) else text.encode()
    (tmp_path / "map.txt").write_bytes(data)
    with pytest.raises(CheckpointError, match=message) as caught:
        convert(GOLDEN, tmp_path / "a.pth", cls_map_file=tmp_path / "map.txt")
    assert "map.txt" in str(caught.value) and not (tmp_path / "a.pth").exists()


def test_class_map_reads_what_windows_writes(tmp_path):
    (tmp_path / "map.txt").write_bytes(b"\xef\xbb\xbf5\r\n3\r\n")
    assert read_class_map(tmp_path / "map.txt").tolist() == [5, 3]


BLOCK = "layers.0.blocks.1."


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop(f"{BLOCK}mlp.fc1.bias"), rf"Missing \(1\): {BLOCK}mlp.fc1.bias"),
        (lambda a: a.pop("patch_embed.proj.weight"), "proj.weight' is missing among 'patch_embed.* and 74 more"),
        (lambda a: a.pop("layers.0.downsample.norm.weight"), "layers.0.downsample.norm.weight"),
        (lambda a: a.pop("head.bias"), r"Missing \(1\): head.bias"),
        (lambda a: a.update(extra=np.zeros(3, np.float32)), r"Unused \(1\): extra"),
        (
            lambda a: a.update({f"{BLOCK}norm1.weight": np.zeros(33, np.float32)}),
            rf"'{BLOCK}norm1.weight' \(33,\), expected \(32,\)",
        ),
        (lambda a: a.update({f"{BLOCK}norm1.weight": np.zeros(32, np.int32)}), "int32, expected floating"),
        (lambda a: a.update({f"{BLOCK}norm1.weight": np.full(32, np.nan, np.float32)}), "NaN"),
        (lambda a: a.update({"patch_embed.proj.weight": np.zeros((32, 48), np.float32)}), "expected rank 4"),
        (lambda a: a.update({"patch_embed.proj.weight": np.zeros((32, 3, 4, 2), np.float32)}), "impossible"),
        (lambda a: a.update({"layers.1.blocks.0.attn.logit_scale": np.zeros((0, 1, 1), np.float32)}), "impossible"),
        (lambda a: [a.pop(k) for k in list(a) if k.startswith("layers.0.blocks.0.")], "layers.0.blocks.0"),
    ],
)  # fmt: skip
def test_incomplete_and_wrong_models_are_told(official, tmp_path, change, message):
    arrays = dict(official)
    change(arrays)
    write_pth(tmp_path / "broken.pth", arrays)
    with pytest.raises(CheckpointError, match=message) as caught:
        convert(tmp_path / "broken.pth", tmp_path / "out.ckpt")
    assert "broken.pth" in str(caught.value) and not (tmp_path / "out.ckpt").exists()


def test_which_of_several_state_dicts_is_taken_is_said(official, tmp_path):
    write_pth(tmp_path / "a.pth", official, "state_dict")
    with zipfile.ZipFile(tmp_path / "a.pth") as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    pickled = entries["archive/data.pkl"]
    state = pickled.split(b"state_dict", 1)[1][:-2]
    entries["archive/data.pkl"] = pickled[:-2] + b"X\x0e\0\0\0state_dict_ema" + state + b"u."
    with zipfile.ZipFile(tmp_path / "a.pth", "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    report = convert(tmp_path / "a.pth", tmp_path / "b.pth")
    assert report.notes[0] == "took 'state_dict'; the file also has 'state_dict_ema'"
    assert same(read_pth(tmp_path / "b.pth"), official)


def test_what_stands_beside_the_model_is_left_out_and_said(official, tmp_path):
    """SimMIM's pre-training, and the same once its prefix was taken off by hand."""
    simmim = {**official, "mask_token": np.zeros((1, 1, 32), np.float32)}
    write_pth(tmp_path / "bare.pth", simmim)
    wrapped = {f"encoder.{name}": array for name, array in simmim.items()}
    write_pth(tmp_path / "whole.pth", {**wrapped, "decoder.0.weight": np.zeros((3, 64, 1, 1), np.float32)})
    for file, note in (
        ("bare.pth", "left out mask_token"),
        ("whole.pth", "took the names behind 'encoder.', left out encoder.mask_token, decoder.0.weight"),
    ):
        report = convert(tmp_path / file, tmp_path / "b.pth")
        assert report.used == 79 and note in report.notes and same(read_pth(tmp_path / "b.pth"), official)


def test_another_network_is_told(tmp_path, capsys):
    write_checkpoint(tmp_path / "resnet.safetensors", {"conv1.weight": np.zeros((64, 3, 7, 7), np.float32)})
    assert main(["convert", str(tmp_path / "resnet.safetensors"), str(tmp_path / "out.ckpt")]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and "resnet.safetensors" in said and "'conv1.weight'" in said
    assert "Traceback" not in said and not (tmp_path / "out.ckpt").exists()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_truncated_files_are_told(tmp_path, suffix):
    convert(GOLDEN, tmp_path / f"whole{suffix}")
    data = (tmp_path / f"whole{suffix}").read_bytes()
    for size in (0, 1, 7, 100, len(data) // 2, len(data) - 1):
        (tmp_path / f"cut{suffix}").write_bytes(data[:size])
        with pytest.raises(CheckpointError, match=f"cut{suffix}"):
            convert(tmp_path / f"cut{suffix}", tmp_path / "out.pth")
    assert not (tmp_path / "out.pth").exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".ckpt"])
def test_mutations_of_formats_without_checksums_are_clean(tmp_path, suffix):
    """These formats cannot tell a changed weight; whatever else changes is an error, never another exception."""
    convert(GOLDEN, tmp_path / f"whole{suffix}")
    data = bytearray((tmp_path / f"whole{suffix}").read_bytes())
    header = 8000 if suffix == ".safetensors" else len(data)
    for seed in range(300):
        rng = random.Random(seed)
        changed = bytearray(data)
        at = rng.randrange(min(header, len(changed)))
        if seed % 3 == 0:
            del changed[at : at + rng.randrange(1, 500)]
        elif seed % 3 == 1:
            changed[at] ^= 1 << rng.randrange(8)
        else:
            changed[at : at + 4] = rng.randbytes(4)
        (tmp_path / f"changed{suffix}").write_bytes(changed)
        try:
            arrays, architecture, _ = read_official(tmp_path / f"changed{suffix}")
        except CheckpointError as error:
            assert f"changed{suffix}" in str(error)
        else:
            assert {k: v.shape for k, v in arrays.items()} == architecture.parameter_shapes()


def test_a_ckpt_whose_shapes_are_not_its_bytes_is_told(tmp_path):
    """MindSpore's loader would read beyond them: 3 channels of weights, 300 claimed."""
    from mindspore.train.checkpoint_pb2 import Checkpoint

    convert(GOLDEN, tmp_path / "a.ckpt")
    for change, expected in ((300, 614400), (1, 2048), (-3, -6144)):
        content = Checkpoint.FromString((tmp_path / "a.ckpt").read_bytes())
        assert content.value[0].tag == "patch_embed.proj.weight"
        content.value[0].tensor.dims[1] = change
        (tmp_path / "b.ckpt").write_bytes(content.SerializeToString())
        message = rf"b.ckpt: 'patch_embed.proj.weight': expected {expected} bytes, .*, got 6144"
        with pytest.raises(CheckpointError, match=message):
            read_checkpoint(tmp_path / "b.ckpt")


def test_all_that_mindspore_puts_into_a_ckpt_is_read(tmp_path):
    import mindspore as ms
    from mindspore.train.checkpoint_pb2 import Checkpoint

    arrays = {
        "scalar": np.float32(3),
        "half": np.ones((2, 3), np.float16),
        "index": np.arange(4),
        "mask": np.eye(3) > 0,
    }
    parameters = [{"name": name, "data": ms.Tensor(array)} for name, array in arrays.items()]
    file = tmp_path / "a.ckpt"
    ms.save_checkpoint(parameters, str(file), append_dict={"text": "häuser"}, crc_check=True)
    read, texts = read_checkpoint(file)
    assert texts == {"text": "häuser"} and list(read) == list(arrays)
    assert all(read[k].dtype == a.dtype and np.array_equal(read[k], a) for k, a in arrays.items())
    # above 512 MB a tensor comes in pieces
    pieces = Checkpoint()
    for row in range(2):
        tensor = pieces.value.add(tag="half").tensor
        tensor.dims.extend((2, 3))
        tensor.tensor_type, tensor.tensor_content = "Float16", arrays["half"][row].tobytes()
    (tmp_path / "b.ckpt").write_bytes(pieces.SerializeToString())
    assert np.array_equal(read_checkpoint(tmp_path / "b.ckpt")[0]["half"], arrays["half"])


def test_bad_output_is_told(tmp_path, capsys):
    for target, message in (("a.onnx", "expected a name ending in"), ("no/such/a.ckpt", "does not exist")):
        assert main(["convert", str(GOLDEN), str(tmp_path / target)]) == 2
        assert message in capsys.readouterr().err
    assert main(["convert", str(tmp_path / "none.pth"), str(tmp_path / "a.ckpt")]) == 2
    assert "none.pth" in capsys.readouterr().err
    assert main(["convert", str(GOLDEN)]) == 2
    assert "expected IN and OUT" in capsys.readouterr().err
    assert main(["convert", str(GOLDEN), "a.ckpt", "--ckpt_file", "b.ckpt"]) == 2
    assert "expected IN and OUT (or --pth_file and --ckpt_file), got" in capsys.readouterr().err
    assert main(["convert", str(GOLDEN), "a.ckpt", "--num_classes", "-1"]) == 2
    assert "num_classes: expected an integer from 0, got -1" in capsys.readouterr().err
    (tmp_path / "a.pth").write_bytes(GOLDEN.read_bytes())
    assert main(["convert", str(tmp_path / "a.pth"), str(tmp_path / "a.pth")]) == 2
    assert "is the checkpoint to convert itself" in capsys.readouterr().err
    assert main(["convert", str(tmp_path), str(tmp_path / "a.ckpt")]) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.pth"]


@pytest.mark.parametrize("num_classes", [3.5, 3.0, "3", np.float32(3)])
def test_a_number_of_classes_that_is_none_is_told(tmp_path, num_classes):
    with pytest.raises(ValueError, match="num_classes: expected an integer from 0, got "):
        convert(GOLDEN, tmp_path / "a.ckpt", num_classes=num_classes)


def test_malformed_descriptions_are_told(official, tmp_path):
    for text, message in (
        ("{", "no JSON"),
        ("[]", "JSON object"),
        ("{}", "'image_size' is missing"),
        ('{"image_size": 0, "window_size": 8}', "image_size: expected"),
        ('{"image_size": 64, "window_size": 8, "pretrained_window_sizes": [1]}', "2 integers"),
        ('{"image_size": 64, "window_size": 8, "pretrained_window_sizes": 3}', "2 integers"),
        ('{"image_size": 64, "window_size": 8, "pretrained_window_sizes": [[4, -1], 2]}', "2 integers"),
    ):
        write_checkpoint(tmp_path / "a.safetensors", official, {"swinv2_model": text})
        with pytest.raises(CheckpointError, match=message):
            read_official(tmp_path / "a.safetensors")


def test_hugging_face_config_tells_the_sizes(official, tmp_path):
    write_checkpoint(tmp_path / "model.safetensors", keys.from_official(official, "hf"))
    assert read_official(tmp_path / "model.safetensors")[2].description is None
    config = {
        "model_type": "swinv2",
        "image_size": 64,
        "window_size": 8,
        "pretrained_window_sizes": [6, 6, 0, 0],
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    made = read_official(tmp_path / "model.safetensors")[2].description
    assert (made.image_size, made.window_size, made.pretrained_window_sizes) == ((64, 64), (8, 8), (6, 6))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="config.json: expected JSON"):
        read_official(tmp_path / "model.safetensors")


HF_CONFIG = {"model_type": "swinv2", "image_size": 64, "window_size": 8}


@pytest.mark.parametrize(
    ("activation", "gelu"),
    [(None, "none"), ("gelu", "none"), ("gelu_new", "tanh"), ("gelu_pytorch_tanh", "tanh")],
)
def test_hugging_face_options_are_kept(official, tmp_path, activation, gelu):
    """What Hugging Face computes otherwise reaches the model, also after conversions; arguments are stronger."""
    write_checkpoint(tmp_path / "model.safetensors", keys.from_official(official, "hf"))
    config = {**HF_CONFIG, "hidden_act": activation} if activation else HF_CONFIG
    (tmp_path / "config.json").write_text(json.dumps(config))
    convert(tmp_path / "model.safetensors", tmp_path / "b.pth")
    convert(tmp_path / "b.pth", tmp_path / "c.safetensors", to="hf")
    options = {"gelu": gelu, "mask_padding": False, "mask_value": -200.0}
    bare = {key: value for key, value in config_of(GOLDEN)["model"].items() if key not in options}
    for file in ("model.safetensors", "b.pth", "c.safetensors"):
        found = config_of(tmp_path / file)["model"]
        assert {key: found[key] for key in options} == options
        block = create_model({"model": bare}, checkpoint_path=tmp_path / file).blocks[0]
        assert (block.mlp.gelu, block.attn.mask_padding, block.attn.mask_value) == tuple(options.values())
        settings, other = {**bare, "mask_value": -50.0}, {"mask_padding": True}
        block = create_model({"model": settings}, checkpoint_path=tmp_path / file, **other).blocks[0]
        assert (block.mlp.gelu, block.attn.mask_padding, block.attn.mask_value) == (gelu, True, -50.0)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("hidden_act", "relu", "hidden_act: expected one of gelu, .*, got 'relu'"),
        ("hidden_act", ["gelu"], "hidden_act: expected one of gelu"),
        ("layer_norm_eps", 1e-12, "layer_norm_eps: expected 1e-05, got 1e-12"),
    ],
)
def test_hugging_face_options_that_are_not_ours_are_told(official, tmp_path, key, value, message):
    write_checkpoint(tmp_path / "model.safetensors", keys.from_official(official, "hf"))
    (tmp_path / "config.json").write_text(json.dumps({**HF_CONFIG, key: value}))
    with pytest.raises(CheckpointError, match=rf"config.json: {message}"):
        convert(tmp_path / "model.safetensors", tmp_path / "b.pth")


FOLDER = "got a folder; name the file in it, or merge shards into one file first"
SHARD = "got a part of a sharded one; merge the shards into one file first"


@pytest.mark.parametrize("command", ["convert", "evaluate", "predict"])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", FOLDER),
        ("model-00002-of-00003.safetensors", SHARD),
        ("pytorch_model-00001-of-00002.bin", SHARD),
        ("model.safetensors.index.json", SHARD),
    ],
)
def test_sharded_checkpoints_are_told(tmp_path, capsys, command, name, message):
    shard = tmp_path / "in" / name
    (tmp_path / "in").mkdir()
    if name:
        shard.write_bytes(GOLDEN.read_bytes())
    arguments = {
        "convert": [str(shard), str(tmp_path / "out.ckpt")],
        "evaluate": ["--pretrained", str(shard), "--data_url", str(tmp_path)],
        "predict": ["a.png", "--pretrained", str(shard)],
    }
    assert main([command, *arguments[command]]) == 2
    assert capsys.readouterr().err == f"error: {shard}: expected one checkpoint file, {message}.\n"


def test_a_single_shard_is_whole(tmp_path):
    (tmp_path / "model-00001-of-00001.pth").write_bytes(GOLDEN.read_bytes())
    assert read_official(tmp_path / "model-00001-of-00001.pth")[2].used == 79


@pytest.mark.parametrize(
    ("image_size", "message"),
    [
        (64, None),
        (72, None),
        ((64, 128), None),
        (56, None),
        (60, "in stage 1 are 7x7 shifted by 0, ours 8x8 shifted by 0"),
        # 17 tokens, then 9, there 8
        (68, "in stage 1 are 8x8 shifted by 0, ours 8x8 shifted by 4"),
        ((128, 64), "in stage 1 are 8x8 shifted by 4, ours 8x8 shifted by 0"),
    ],
)
def test_sizes_at_which_hugging_face_has_other_windows_are_told(official, tmp_path, image_size, message):
    write_checkpoint(tmp_path / "model.safetensors", keys.from_official(official, "hf"))
    (tmp_path / "config.json").write_text(json.dumps({**HF_CONFIG, "image_size": image_size}))
    if message is None:
        read_official(tmp_path / "model.safetensors")
    else:
        with pytest.raises(CheckpointError, match=f"config.json: image_size: .*{message}"):
            read_official(tmp_path / "model.safetensors")


def test_hugging_face_weights_without_their_config_are_said(official, tmp_path):
    write_checkpoint(tmp_path / "model.safetensors", keys.from_official(official, "hf"))
    assert any("config.json: none" in note for note in read_official(tmp_path / "model.safetensors")[2].notes)
    assert read_official(GOLDEN)[2].notes == []


def test_version_1_of_hugging_face_adds_its_mask_once(tmp_path):
    shapes = Architecture(1, 8, (2,), (2,), 10, window_size=(4, 4)).parameter_shapes()
    arrays = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    write_checkpoint(tmp_path / "model.safetensors", keys.from_official(arrays, "hf"))
    config = {"model_type": "swin", "image_size": 32, "window_size": 4}
    (tmp_path / "config.json").write_text(json.dumps(config))
    model = config_of(tmp_path / "model.safetensors")["model"]
    assert (model["mask_padding"], model["mask_value"]) == (False, -100.0)


def test_a_config_of_another_model_is_left_alone(official, tmp_path):
    """Only weights in Hugging Face's names and of the kind that config.json says have it for a description."""
    config = {"model_type": "swinv2", "image_size": 256, "window_size": 16}
    (tmp_path / "config.json").write_text(json.dumps(config))
    for dialect in keys.DIALECTS:
        write_checkpoint(tmp_path / "model.safetensors", keys.from_official(official, dialect))
        made = read_official(tmp_path / "model.safetensors")[2].description
        assert (made is None) == (dialect != "hf")
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "swin"}))
    write_checkpoint(tmp_path / "model.safetensors", keys.from_official(official, "hf"))
    assert read_official(tmp_path / "model.safetensors")[2].description is None


def shifted_mask(rows: int, columns: int, window: int) -> np.ndarray:
    """The attn_mask of official code for a grid of rows x columns windows, (windows, N, N)."""

    def regions(count):
        region = np.zeros(count * window, int)
        region[-window:], region[-(window // 2) :] = 1, 2
        return region

    region = 3 * regions(rows)[:, None] + regions(columns)
    region = region.reshape(rows, window, columns, window).swapaxes(1, 2).reshape(rows * columns, -1)
    return np.where(region[:, :, None] == region[:, None], 0, -100).astype(np.float32)


@pytest.mark.parametrize(
    ("rows", "columns", "pixels"),
    [(2, 2, (64, 64)), (2, 4, (64, 128)), (4, 2, (128, 64)), (3, 8, (96, 256)), (8, 3, (256, 96))],
)
def test_the_image_is_read_from_the_mask(tmp_path, rows, columns, pixels):
    raw = {**read_pth(GOLDEN), "layers.0.blocks.1.attn_mask": shifted_mask(rows, columns, 8)}
    write_pth(tmp_path / "a.pth", raw)
    report = convert(tmp_path / "a.pth", tmp_path / "b.pth")
    assert report.description.image_size == pixels and report.description.window_size == (8, 8)
    assert f"made for {pixels[0]}x{pixels[1]} images and 8x8 windows" in str(report)
    assert config_of(tmp_path / "b.pth")["model"]["image_size"] == pixels


@pytest.mark.parametrize(
    "mask",
    [
        np.zeros((8, 64, 64), np.float32),
        np.ones((8, 64, 64), np.float32),
        shifted_mask(2, 4, 8)[::-1],
        shifted_mask(3, 3, 8)[:8],
    ],
)
def test_a_mask_of_another_pattern_leaves_the_image_to_the_configuration(tmp_path, mask):
    write_pth(tmp_path / "a.pth", {**read_pth(GOLDEN), "layers.0.blocks.1.attn_mask": mask})
    report = convert(tmp_path / "a.pth", tmp_path / "b.pth")
    assert "images of a size nothing tells and 8x8 windows" in str(report)
    for file in ("a.pth", "b.pth"):
        assert read_official(tmp_path / file)[2].description.image_size is None
        with pytest.raises(CheckpointError, match=rf"{file}: nothing in the file tells the image size"):
            config_of(tmp_path / file)
        config = {**config_of(GOLDEN)["model"], "image_size": [64, 128]}
        assert create_model({"model": config}, checkpoint_path=tmp_path / file).image_size == (64, 128)


def test_pretrained_window_is_read_from_the_table(official, tmp_path):
    """A table of window 16 normalised by 12 - 1 says so in its largest coordinate."""
    raw = dict(read_pth(GOLDEN))
    x = np.sign(np.arange(-15, 16)) * np.log2(np.abs(np.arange(-15, 16) * 8 / 11) + 1) / 3
    table = np.stack(np.meshgrid(x, x, indexing="ij"), -1)[None].astype(np.float32)
    for stage in (0, 1):
        raw[f"layers.{stage}.blocks.0.attn.relative_coords_table"] = table
    raw["layers.0.blocks.1.attn_mask"] = shifted_mask(4, 4, 16)
    write_pth(tmp_path / "a.pth", raw)
    made = read_official(tmp_path / "a.pth")[2].description
    assert (made.image_size, made.window_size, made.pretrained_window_sizes) == (
        (256, 256),
        (16, 16),
        (12, 12),
    )


def test_windows_are_read_from_the_tables_alone(tmp_path):
    """Windows that cover the grid in every stage leave no mask, here 16 at 64 pixels: 16 and 8."""
    config = {**config_of(GOLDEN)["model"], "window_size": 16}
    raw = {k: v for k, v in read_pth(GOLDEN).items() if not keys.is_buffer(k)}
    for stage, window in enumerate((16, 8)):
        x = np.arange(1 - window, window) * 8 / (window - 1)
        x = np.sign(x) * np.log2(np.abs(x) + 1) / 3
        table = np.stack(np.meshgrid(x, x, indexing="ij"), -1)[None].astype(np.float32)
        raw[f"layers.{stage}.blocks.0.attn.relative_coords_table"] = table
    write_pth(tmp_path / "a.pth", raw)
    convert(tmp_path / "a.pth", tmp_path / "b.pth")
    for file in ("a.pth", "b.pth"):
        made = read_official(tmp_path / file)[2].description
        assert (made.image_size, made.window_size, made.pretrained_window_sizes) == (None, (16, 16), (16, 8))
        for settings in (config, {**config, "image_size": 128, "window_size": 8}):
            model = create_model({"model": settings}, checkpoint_path=tmp_path / file)
            assert model.window_size == pair(settings["window_size"], "window_size")
            assert [block.attn.pretrained_window_size for block in model.blocks] == [16, 16, 8, 8]


@pytest.mark.parametrize("ratio", [3.7, 4.0, 2.6])
def test_mlp_ratio_whose_widths_are_rounded(ratio):
    architecture = Architecture(2, 24, (1, 1, 1, 1), (1, 1, 1, 1), 5, mlp_ratio=ratio)
    shapes = architecture.parameter_shapes()
    found = infer_architecture({name: np.zeros(shape, np.float32) for name, shape in shapes.items()})
    assert found.parameter_shapes() == shapes
    model = SwinTransformerV2(64, 4, 3, 5, 24, (1, 1, 1, 1), (1, 1, 1, 1), 2, found.mlp_ratio)
    assert [block.mlp.fc1.weight.shape[0] for block in model.blocks] == [
        found.hidden(24 << i) for i in range(4)
    ]


def test_windows_that_differ_by_stage():
    """As timm's swin_s3: resampled to the first stage's they would be another model."""
    shapes = Architecture(1, 24, (1, 1, 1), (1, 1, 1), 5, window_size=(7, 7)).parameter_shapes()
    arrays = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    arrays["layers.1.blocks.0.attn.relative_position_bias_table"] = np.zeros((27 * 27, 1), np.float32)
    with pytest.raises(
        CheckpointError, match=r"layers\.1.* windows of at most 7, .* got 14; windows that differ"
    ):
        infer_architecture(arrays)


def test_architecture_of_the_golden(official):
    architecture = infer_architecture(official)
    fields = json.loads(GOLDEN.with_suffix(".json").read_text())
    assert (architecture.embed_dim, list(architecture.depths)) == (fields["embed_dim"], fields["depths"])
    assert list(architecture.num_heads) == fields["num_heads"] and architecture.num_classes == 10


def test_conversion_needs_neither_torch_nor_mindspore(tmp_path):
    """.pth to .safetensors imports no framework: it runs where none is installed."""
    code = (
        "import sys; from swinv2_model.weights.convert import convert; "
        f"convert({str(GOLDEN)!r}, {str(tmp_path / 'a.safetensors')!r}); "
        "assert not {'torch', 'mindspore'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
