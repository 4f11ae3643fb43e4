# SPDX-License-Identifier: Apache-2.0
"""The reader and writer of official .pth files, without PyTorch."""

import io
import pickle
import random
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from swinv2_model.weights.errors import CheckpointError
from swinv2_model.weights.pth import atomic_output, read_pth, write_pth

GOLDEN = Path(__file__).parents[1] / "golden" / "model_w8_64px.pth"


@pytest.fixture(scope="module")
def golden() -> dict:
    return read_pth(GOLDEN)


def same(a: dict, b: dict) -> bool:
    return list(a) == list(b) and all(
        a[k].dtype == b[k].dtype and a[k].shape == b[k].shape and a[k].tobytes() == b[k].tobytes() for k in a
    )


def archive(pickled: bytes, storages: dict, compression: int = zipfile.ZIP_STORED, order: bytes = b"little"):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as z:
        z.writestr("archive/data.pkl", pickled)
        z.writestr("archive/byteorder", order)
        for key, data in storages.items():
            z.writestr(f"archive/data/{key}", data)
    file.seek(0)
    return file


def tensor_pickle(shape=(2, 3), strides=(3, 1), offset=0, numel=6, key="0", kind="FloatStorage") -> bytes:
    """A hand-written pickle of {"w": tensor}, so that sizes can lie."""

    def sizes(values):
        return b"(" + b"".join(b"\x8a\x08" + struct.pack("<q", v) for v in values) + b"t"

    number = b"\x8a\x08" + struct.pack("<q", numel)
    start = b"\x8a\x08" + struct.pack("<q", offset)
    text = lambda s: b"X" + struct.pack("<I", len(s)) + s.encode()  # noqa: E731
    return (
        b"\x80\x02}" + text("w") + b"ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage")
        + b"ctorch\n" + kind.encode() + b"\n" + text(key) + text("cpu") + number + b"tQ" + start
        + sizes(shape) + sizes(strides) + b"\x89ccollections\nOrderedDict\n)RtRs."
    )  # fmt: skip


def test_golden_is_read_whole(golden):
    stored = np.load(GOLDEN.with_suffix(".npz"))
    shapes = {k[len("grad/") :]: stored[k].shape for k in stored if k.startswith("grad/")}
    buffers = ("relative_coords_table", "relative_position_index", "attn_mask")
    assert {k: v.shape for k, v in golden.items() if k.split(".")[-1] not in buffers} == shapes
    assert all(np.isfinite(v).all() for v in golden.values())


def test_round_trip_is_bit_exact(golden, tmp_path):
    write_pth(tmp_path / "a.pth", golden)
    assert same(golden, read_pth(tmp_path / "a.pth"))
    write_pth(tmp_path / "b.pth", read_pth(tmp_path / "a.pth"))
    assert (tmp_path / "a.pth").read_bytes() == (tmp_path / "b.pth").read_bytes()


def test_round_trip_of_every_dtype_and_layout(tmp_path):
    base = np.arange(24).reshape(2, 3, 4)
    arrays = {
        d: base.astype(d)
        for d in ("float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8")
    }
    arrays.update({"bool": base > 5, "scalar": np.float32(3), "empty": np.zeros((0, 4), np.float32)})
    arrays.update({"transposed": base.astype(np.float32).T, "big": base.astype(">f4")})
    write_pth(tmp_path / "a.pth", arrays)
    read = read_pth(tmp_path / "a.pth")
    for name, array in arrays.items():
        assert np.array_equal(read[name], array) and read[name].shape == np.shape(array)
    with pytest.raises(TypeError, match="c: dtype complex64 has no PyTorch storage"):
        write_pth(tmp_path / "c.pth", {"c": np.zeros(2, np.complex64)})
    assert not (tmp_path / "c.pth").exists()


def test_storage_starts_are_aligned(golden, tmp_path):
    write_pth(tmp_path / "a.pth", golden)
    data = (tmp_path / "a.pth").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.pth") as z:
        for info in z.infolist():
            name, extra = struct.unpack_from("<HH", data, info.header_offset + 26)
            assert (info.header_offset + 30 + name + extra) % 64 == 0


def test_views_byte_order_and_bfloat16():
    values = np.arange(12, dtype="<f4")
    view = archive(tensor_pickle((2, 3), (1, 2), 4, 12), {"0": values.tobytes()})
    assert read_pth(view)["w"].tolist() == [[4, 6, 8], [5, 7, 9]]
    big = archive(tensor_pickle(), {"0": values[:6].astype(">f4").tobytes()}, order=b"big")
    assert read_pth(big)["w"].tolist() == [[0, 1, 2], [3, 4, 5]]
    half = (values[:6].view(np.uint32) >> 16).astype("<u2")
    bf16 = archive(tensor_pickle(kind="BFloat16Storage"), {"0": half.tobytes()})
    assert read_pth(bf16)["w"].dtype == np.float32 and read_pth(bf16)["w"].tolist() == [[0, 1, 2], [3, 4, 5]]


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("the reader ran code of the file",))


class Settings(dict):
    """As yacs stores the configuration in a training save."""


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_globals_are_inert(protocol):
    tree = {"optimizer": [{"lr": 1.5, "betas": (0.9, 0.999)}], "config": Settings(a=1), "bomb": Bomb(),
            "s": {1, 2}, "exit": exit, "big": 10**30, "raw": b"x", "none": None, ("a", 1): 2,
            "frozen": frozenset({1, 2}), "rng": bytearray(b"x")}  # fmt: skip
    outer = pickle.dumps(tree, protocol)
    # The tensor of the inner pickle joins the tree: {... , "model": {"w": tensor}}.
    inner = tensor_pickle()[2:-1]
    name = b"X\x05\x00\x00\x00model"
    file = archive(outer[:-1] + name + inner + b"s.", {"0": np.arange(6, dtype="<f4").tobytes()})
    assert list(read_pth(file)) == ["w"]


@pytest.mark.parametrize(
    ("pickled", "storages", "message"),
    [
        (tensor_pickle(numel=7), {"0": bytes(24)}, "'w'.*7 elements.*24 bytes"),
        (tensor_pickle(numel=1 << 45), {"0": bytes(24)}, "'w'.*elements"),
        (tensor_pickle(shape=(3, 3)), {"0": bytes(24)}, "does not fit"),
        (tensor_pickle(shape=(1 << 40, 1 << 40), strides=(0, 0)), {"0": bytes(24)}, "does not fit"),
        (tensor_pickle(shape=(1 << 50, 1)), {"0": bytes(24)}, "no sizes"),
        (tensor_pickle(offset=1), {"0": bytes(24)}, "does not fit"),
        (tensor_pickle(strides=(-3, 1)), {"0": bytes(24)}, "no sizes"),
        (tensor_pickle(strides=(3,)), {"0": bytes(24)}, "2 dimensions and 1 strides"),
        (tensor_pickle(key="../1"), {"0": bytes(24)}, "lacks the entry"),
        (tensor_pickle(kind="MagicStorage"), {"0": bytes(24)}, "no state dict"),
        (pickle.dumps({"model": {"w": 3}}, 2), {}, "no state dict"),
        (pickle.dumps([1], 2), {}, "got list"),
        (pickle.dumps(Bomb(), 2), {}, "not loaded: _pytest"),
        (pickle.dumps({"a": 1}, 0), {}, "opcode .*save the state dict alone"),
        (b"\x80\x02}", {}, "pickle exhausted|STOP"),
        (b"\x80\x02s.", {}, "missing"),
        (b"\x80\x02h\x05.", {}, "memo 5"),
        (b"\x80\x02}Q.", {}, "not a storage"),
        (b"\x80\x02" + b"(" * 9 + b"t.", {}, "got tuple|missing"),
        (b"\x80\x02r\xff\xff\xff\xff.", {}, "missing"),
        (b"", {}, "malformed|STOP"),
    ],
)
def test_lies_are_refused(pickled, storages, message):
    with pytest.raises(CheckpointError, match=message):
        read_pth(archive(pickled, storages))


def test_shared_storage_is_not_multiplied():
    """Many different views of one storage may not claim many times the file."""
    data = bytes(4000)
    views = []
    for i in range(500):
        one = tensor_pickle((2, 250), (250 + i, 1), 0, 1000)
        views.append(one[3:-2].replace(b"X\x01\0\0\0w", b"X\x04\0\0\0%04d" % i, 1) + b"s")
    with pytest.raises(CheckpointError, match="more bytes than the file"):
        read_pth(archive(b"\x80\x02}" + b"".join(views) + b".", {"0": data}))


def test_compressed_and_overlapping_entries_are_refused(golden, tmp_path):
    with pytest.raises(CheckpointError, match="compressed"):
        read_pth(archive(tensor_pickle(), {"0": bytes(24)}, zipfile.ZIP_DEFLATED))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as z:
        z.writestr("archive/data.pkl", tensor_pickle())
        z.writestr("archive/data/0", bytes(1 << 16))
        first = z.infolist()[-1]
        for i in range(1, 50):
            copy = zipfile.ZipInfo(f"archive/data/{i}")
            copy.header_offset, copy.CRC = first.header_offset, first.CRC
            copy.file_size = copy.compress_size = first.file_size
            z.filelist.append(copy)
            z.NameToInfo[copy.filename] = copy
    file.seek(0)
    with pytest.raises(CheckpointError, match="more bytes than the file"):
        read_pth(file)


@pytest.mark.parametrize("data", [b"", b"\x80\x02}q\x00.", b"\x89PNG\r\n", b"PK\x03\x04", b"hello, world"])
def test_other_files_are_refused(tmp_path, data):
    (tmp_path / "model.pth").write_bytes(data)
    with pytest.raises(CheckpointError, match=r"model\.pth"):
        read_pth(tmp_path / "model.pth")


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="none"):
        read_pth(tmp_path / "none.pth")


def mutate(data: bytes, rng: random.Random) -> bytes:
    """Flip, overwrite, cut, double or swap some bytes, more often near the end, where a ZIP has its index."""
    changed = bytearray(data)
    for _ in range(rng.randint(1, 3)):
        kind, size = rng.randrange(6), len(changed)
        at = rng.randrange(size) if rng.random() < 0.4 else size - 1 - rng.randrange(min(size, 12000))
        if kind == 0:
            changed[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            changed[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
        elif kind == 2:
            changed[at : at + 4] = struct.pack("<I", rng.choice((0, 1, 0x7FFFFFFF, 0xFFFFFFFF, size)))
        elif kind == 3:
            del changed[at : at + rng.choice((1, 8, 1 << 12, size))]
        elif kind == 4:
            changed[at:at] = changed[at : at + rng.randint(1, 64)]
        else:
            other = rng.randrange(max(size - 8, 1))
            changed[at : at + 8] = changed[other : other + 8]
        if not changed:
            break
    return bytes(changed)


def test_2000_mutations_end_in_an_error_or_an_identical_load(golden):
    data = GOLDEN.read_bytes()
    errors = 0
    for seed in range(2000):
        try:
            read = read_pth(io.BytesIO(mutate(data, random.Random(seed))))
        except CheckpointError:
            errors += 1
        else:
            assert same(golden, read), f"seed {seed} read something else without an error"
    assert 1000 < errors < 2000


@pytest.mark.filterwarnings("ignore:invalid escape")
def test_1000_mutations_of_the_pickle_are_clean(golden):
    """Behind a correct checksum the reader itself must hold: an error, or arrays of sizes the file has."""
    with zipfile.ZipFile(GOLDEN) as z:
        root = GOLDEN.stem
        pickled = z.read(f"{root}/data.pkl")
        storages = {n.rsplit("/", 1)[1]: z.read(n) for n in z.namelist() if n.startswith(f"{root}/data/")}
    total = sum(map(len, storages.values()))
    for seed in range(1000):
        try:
            read = read_pth(archive(mutate(pickled, random.Random(seed)), storages))
        except CheckpointError:
            continue
        assert sum(a.nbytes for a in {id(a): a for a in read.values()}.values()) <= total


def test_output_appears_only_when_complete(tmp_path):
    target = tmp_path / "out.bin"
    target.write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), atomic_output(target) as temporary:
        Path(temporary).write_bytes(b"half")
        raise KeyboardInterrupt
    assert target.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["out.bin"]
    with atomic_output(target) as temporary:
        Path(temporary).write_bytes(b"new")
    assert target.read_bytes() == b"new" and [p.name for p in tmp_path.iterdir()] == ["out.bin"]


def test_an_output_that_cannot_be_written_is_named(tmp_path):
    target = tmp_path / "none" / "out.bin"
    with pytest.raises(FileNotFoundError) as error, atomic_output(target):
        pass
    assert error.value.filename == str(target)


def test_torch_accepts_what_is_written(golden, tmp_path):
    torch = pytest.importorskip("torch", reason="extra `parity` is not installed")
    write_pth(tmp_path / "a.pth", golden)
    for mmap in (False, True):
        state = torch.load(tmp_path / "a.pth", weights_only=True, mmap=mmap)["model"]
        assert same(golden, {k: v.numpy() for k, v in state.items()})
    linear = torch.nn.Linear(3, 4)
    torch.save({"state_dict": linear.state_dict(), "half": linear.weight.half()}, tmp_path / "b.pth")
    assert same({k: v.numpy() for k, v in linear.state_dict().items()}, read_pth(tmp_path / "b.pth"))
