# SPDX-License-Identifier: Apache-2.0
"""Checkpoint files of every kind as {name: array}: .pth, .safetensors, .ckpt."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from swinv2_model.weights.errors import CheckpointError
from swinv2_model.weights.pth import PathLike, atomic_output, read_pth_with_texts, write_pth

KINDS = {".pth": "pth", ".pt": "pth", ".bin": "pth", ".safetensors": "safetensors", ".ckpt": "ckpt"}
# Hugging Face's model-00001-of-00003.safetensors and model.safetensors.index.json; 1 of 1 is whole.
_SHARD = re.compile(r"-\d{5}-of-(?!00001)\d{5}\.\w+$|\.index\.json$")
# Their names of NumPy's dtypes, and bfloat16, which NumPy lacks.
_SAFETENSORS = {
    "F32": "<f4",
    "F64": "<f8",
    "F16": "<f2",
    "BF16": "bfloat16",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "<i1",
    "U8": "<u1",
    "BOOL": "?",
}
_CKPT = {
    "Float32": "<f4",
    "Float64": "<f8",
    "Float16": "<f2",
    "BFloat16": "bfloat16",
    "Int64": "<i8",
    "Int32": "<i4",
    "Int16": "<i2",
    "Int8": "<i1",
    "UInt8": "<u1",
    "Bool": "?",
}


def file_kind(path: PathLike) -> str:
    """`pth`, `safetensors` or `ckpt`, by the first bytes of the file.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file is of none of these kinds, a folder or part of a sharded checkpoint.
    """
    path = Path(path)
    if path.is_dir():
        raise CheckpointError(
            f"{path}: expected one checkpoint file, got a folder; name the file in it, or merge shards into "
            "one file first."
        )
    if path.is_file() and _SHARD.search(path.name):
        raise CheckpointError(
            f"{path}: expected one checkpoint file, got a part of a sharded one; merge the shards into one file "
            "first."
        )
    with open(path, "rb") as file:
        start = file.read(16)
    if start[:2] == b"PK":
        return "pth"
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= path.stat().st_size:
        return "safetensors"
    kind = KINDS.get(path.suffix)
    if kind is None or not start:
        reason = "an empty file" if not start else f"a file starting with {start[:8]!r}"
        raise CheckpointError(f"{path}: expected a .pth, .safetensors or .ckpt checkpoint, got {reason}.")
    return kind


def read_checkpoint(
    path: PathLike, notes: list[str] | None = None
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Read a PyTorch, safetensors or MindSpore checkpoint; bfloat16 is widened to float32.

    Args:
        notes: is told which of several state dicts was read.

    Returns:
        ({name: array}, {name: text}): the texts are what the file says about itself.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file is truncated, damaged or of another kind; the message names it.
    """
    kind = file_kind(path)
    if kind == "pth":
        return read_pth_with_texts(path, notes)
    return _read_safetensors(Path(path)) if kind == "safetensors" else _read_ckpt(Path(path))


def _read_safetensors(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    import safetensors

    data = path.read_bytes()
    try:
        entries = safetensors.deserialize(data)
        texts = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")]).get("__metadata__") or {}
    except (safetensors.SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path}: the safetensors file is truncated or damaged ({error}).") from None
    arrays = {}
    for name, entry in entries:
        arrays[name] = _array(
            f"{path}: {name!r}", entry["data"], entry["dtype"], entry["shape"], _SAFETENSORS
        )
    return arrays, texts


def _read_ckpt(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """MindSpore's own loader does not compare a tensor's shape with its bytes and reads beyond them."""
    from google.protobuf.message import DecodeError
    from mindspore.train.checkpoint_pb2 import Checkpoint

    data = path.read_bytes()
    if data[-17:-10] == b"crc_num":  # of save_checkpoint(crc_check=True)
        data = data[:-17]
    pieces: dict[str, list] = {}
    arrays, texts = {}, {}
    try:
        # A tensor above 512 MB lies in pieces of one name, each with the whole's shape.
        for value in Checkpoint.FromString(data).value:
            pieces.setdefault(value.tag, []).append(value.tensor)
        for name, tensors in pieces.items():
            content, kind = b"".join(t.tensor_content for t in tensors), tensors[0].tensor_type
            if kind == "str":
                texts[name] = content.decode("utf-32-le")
                continue
            shape = list(tensors[0].dims)
            shape = [] if shape == [0] and content else shape  # a scalar
            arrays[name] = _array(f"{path}: {name!r}", content, kind, shape, _CKPT)
    except (DecodeError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"{path}: no MindSpore checkpoint, or truncated or damaged ({error})."
        ) from None
    return arrays, texts


def _array(what: str, data: bytes, kind: str, shape: Sequence[int], dtypes: Mapping[str, str]) -> np.ndarray:
    if kind not in dtypes:
        raise CheckpointError(f"{what} has dtype {kind}, expected one of {', '.join(dtypes)}.")
    dtype = dtypes[kind]
    stored = np.dtype("<u2" if dtype == "bfloat16" else dtype)
    expected = math.prod(shape) * stored.itemsize
    if min(shape, default=0) < 0 or len(data) != expected:
        raise CheckpointError(
            f"{what}: expected {expected} bytes, {kind} of shape {tuple(shape)}, got {len(data)}; the file is damaged."
        )
    array = np.frombuffer(data, stored).reshape(shape)
    return (array.astype(np.uint32) << 16).view(np.float32) if dtype == "bfloat16" else array


def write_checkpoint(
    path: PathLike,
    arrays: Mapping[str, np.ndarray],
    texts: Mapping[str, str] | None = None,
    pth_key: str | None = "model",
) -> None:
    """Write {name: array} in the format of the suffix; the file appears under its name only when complete.

    Args:
        texts: {name: text} to keep beside the arrays.
        pth_key: see `write_pth`.

    Raises:
        CheckpointError: the suffix is none of .pth, .pt, .bin, .safetensors, .ckpt.
        FileNotFoundError: the folder does not exist.
        OSError: it cannot be written to; nothing is left behind.
    """
    path = Path(path)
    kind = KINDS.get(path.suffix)
    if kind is None:
        raise CheckpointError(f"{path}: expected a name ending in {', '.join(KINDS)}.")
    if not path.absolute().parent.is_dir():
        raise FileNotFoundError(f"{path}: the folder {path.parent} does not exist.")
    if kind == "pth":
        write_pth(path, arrays, pth_key, texts)
        return
    with atomic_output(path) as temporary:
        if kind == "safetensors":
            from safetensors import SafetensorError
            from safetensors.numpy import save_file

            contiguous = {name: np.ascontiguousarray(a).reshape(a.shape) for name, a in arrays.items()}
            try:
                # "pt" is how names and layout are meant, and what transformers asks for.
                save_file(contiguous, temporary, metadata={"format": "pt", **(texts or {})})
            except SafetensorError as error:
                raise OSError(f"{path}: cannot be written ({error}).") from None
        else:
            import mindspore as ms

            parameters = [{"name": name, "data": ms.Tensor(array)} for name, array in arrays.items()]
            ms.save_checkpoint(parameters, temporary, append_dict=dict(texts) if texts else None)
