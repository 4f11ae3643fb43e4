# SPDX-License-Identifier: Apache-2.0
"""Read and write PyTorch checkpoints without PyTorch.

A `.pth` of `torch.save` (1.6 and later) is a ZIP archive of uncompressed entries: `data.pkl`, a pickle of
the object tree in which every tensor points to a storage, and `data/<key>`, the raw bytes of one storage.

`read_pth` interprets that pickle itself, from the opcodes `pickletools` decodes: nothing is imported and
nothing is called. A global that is not needed to describe a tensor becomes an inert `Opaque`, and so does
whatever the pickle does with it. Every size is checked against the archive before memory is asked for.
"""

from __future__ import annotations

import contextlib
import os
import pickletools
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, ClassVar, NamedTuple, Union

import numpy as np

from swinv2_model.weights.errors import CheckpointError

PathLike = Union[str, "os.PathLike[str]"]
Source = Union[PathLike, BinaryIO]

# A training save of SwinV2-L with its optimizer has a pickle of about 0.3 MB.
MAX_PICKLE_BYTES = 16 << 20
MAX_DIMENSIONS = 16
# Where the state dict lives in the saves people pass around, in order of preference.
STATE_DICT_KEYS = ("model", "state_dict", "module", "model_ema", "state_dict_ema")

_STORAGES = {
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
}
_ARCHIVE_ERRORS = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    struct.error,
    ValueError,
    LookupError,
    ArithmeticError,
    NotImplementedError,
    RuntimeError,
    EOFError,
    OSError,
    MemoryError,
)


class Opaque:
    """Stands for a global, or for anything made from one, that the reader does not follow."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<not loaded: {self.name}>"


class Storage(NamedTuple):
    """One `data/<key>` entry: its key, element type and number of elements."""

    key: str
    dtype: str
    numel: int


class TensorRecord(NamedTuple):
    """A tensor as the pickle describes it: offset and strides count elements of the storage."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class _Archive:
    """The entries of the ZIP file, each stored uncompressed, their sizes bounded by the file's."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.name = name
        start = file.read(4)
        if not start.startswith(b"PK"):
            raise CheckpointError(
                f"{name}: expected the ZIP format torch.save writes since PyTorch 1.6, got a file starting "
                f"with {start!r}. Save an older .pth again with a current PyTorch."
            )
        size = file.seek(0, os.SEEK_END)
        try:
            self.zip = zipfile.ZipFile(file)
            entries = self.zip.infolist()
        except _ARCHIVE_ERRORS as error:
            raise CheckpointError(f"{name}: the archive is truncated or damaged ({error}).") from None
        self.entries = {entry.filename: entry for entry in entries}
        if len(self.entries) != len(entries):
            raise CheckpointError(f"{name}: the archive names an entry twice.")
        for entry in entries:
            if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
                raise CheckpointError(
                    f"{name}: entry {entry.filename!r} is compressed; torch.save never does that."
                )
        if sum(entry.file_size for entry in entries) > size:
            raise CheckpointError(f"{name}: the entries claim more bytes than the file has ({size}).")
        roots = [n[: -len("data.pkl")] for n in self.entries if n == "data.pkl" or n.endswith("/data.pkl")]
        if len(roots) != 1:
            raise CheckpointError(f"{name}: expected one data.pkl in the archive, found {len(roots)}.")
        self.root = roots[0]

    def size(self, entry: str) -> int:
        found = self.entries.get(self.root + entry)
        if found is None:
            raise CheckpointError(f"{self.name}: the archive lacks the entry {entry!r}.")
        return found.file_size

    def read(self, entry: str) -> bytes:
        self.size(entry)
        try:
            return self.zip.read(self.root + entry)
        except _ARCHIVE_ERRORS as error:
            raise CheckpointError(f"{self.name}: entry {entry!r} is damaged ({error}).") from None

    @property
    def byte_order(self) -> str:
        order = self.read("byteorder").strip() if self.root + "byteorder" in self.entries else b"little"
        if order not in (b"little", b"big"):
            raise CheckpointError(f"{self.name}: byteorder must be little or big, got {order!r}.")
        return "<" if order == b"little" else ">"


_MARK = object()
# Opcodes whose argument is the value they push.
_VALUES = (
    *("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
)


class _Machine:
    """The part of the pickle machine that plain containers and tensors need."""

    def __init__(self, data: bytes, file: str) -> None:
        self.data = data
        self.file = file
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def run(self) -> Any:
        try:
            for opcode, arg, _ in pickletools.genops(self.data):
                if opcode.name == "STOP":
                    return self.stack.pop()
                if opcode.name not in self._ACTIONS:
                    raise CheckpointError(
                        f"{self.file}: data.pkl uses the pickle opcode {opcode.name}, not allowed; save the state dict "
                        "alone, torch.save(model.state_dict(), file)."
                    )
                self._ACTIONS[opcode.name](self, arg)
        except CheckpointError:
            raise
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError, struct.error) as error:
            raise CheckpointError(f"{self.file}: data.pkl is malformed ({error}).") from None
        raise CheckpointError(f"{self.file}: data.pkl ends before its STOP opcode.")

    # containers

    def _push(self, value: Any) -> None:
        self.stack.append(value)

    def _pop_to_mark(self) -> list[Any]:
        for i in range(len(self.stack) - 1, -1, -1):
            if self.stack[i] is _MARK:
                items = self.stack[i + 1 :]
                del self.stack[i:]
                return items
        raise ValueError("a mark is missing")

    def _top(self) -> Any:
        if not self.stack or self.stack[-1] is _MARK:
            raise ValueError("an operand is missing")
        return self.stack[-1]

    def _take(self, count: int) -> list[Any]:
        if len(self.stack) < count or any(v is _MARK for v in self.stack[-count:]):
            raise ValueError("an operand is missing")
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def _set_items(self, items: list[Any]) -> None:
        target = self._top()
        if len(items) % 2:
            raise ValueError("a key has no value")
        if isinstance(target, dict):
            # Tuples and objects as keys (of a training configuration, say) are not followed.
            target.update({k: v for k, v in zip(items[::2], items[1::2]) if isinstance(k, (str, int, float))})
        elif not isinstance(target, Opaque):
            raise ValueError("items are set on something that is no mapping")

    def _append_items(self, items: list[Any]) -> None:
        target = self._top()
        if isinstance(target, list):
            target.extend(items)
        elif not isinstance(target, Opaque):
            raise ValueError("items are appended to something that is no list")

    def _mark_dict(self, _: Any) -> None:
        items = self._pop_to_mark()
        self._push({})
        self._set_items(items)

    def _mark_frozenset(self, _: Any) -> None:
        self._pop_to_mark()
        self._push(Opaque("frozenset"))

    # memo

    def _put(self, index: int) -> None:
        self.memo[index] = self._top()

    def _get(self, index: int) -> None:
        if index not in self.memo:
            raise ValueError(f"memo {index} is not set")
        self._push(self.memo[index])

    # globals and calls, none of which runs anything

    def _reduce(self, _: Any) -> None:
        function, args = self._take(2)
        name = function.name if isinstance(function, Opaque) else "?"
        if name == "collections.OrderedDict" and args == ():
            self._push({})
        elif name == "torch._utils._rebuild_tensor_v2":
            self._push(self._tensor(args))
        elif name == "torch._utils._rebuild_parameter" and isinstance(args, tuple) and args:
            self._push(args[0])
        else:
            self._push(Opaque(name))

    def _new_object(self, count: int) -> None:
        made = self._take(count)[0]
        self._push(Opaque(made.name if isinstance(made, Opaque) else "?"))

    def _build(self, _: Any) -> None:
        self._take(1)
        self._top()

    def _stack_global(self, _: Any) -> None:
        module, name = self._take(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise ValueError("a global has no name")
        self._push(Opaque(f"{module}.{name}"))

    def _persistent(self, _: Any) -> None:
        (pid,) = self._take(1)
        if not (isinstance(pid, tuple) and len(pid) == 5 and pid[0] == "storage"):
            raise ValueError("a persistent id is not a storage")
        _, kind, key, _, numel = pid
        name = kind.name.rsplit(".", 1)[-1] if isinstance(kind, Opaque) else "?"
        if name not in _STORAGES:
            self._push(Opaque(name))
            return
        if not isinstance(key, str) or type(numel) is not int or numel < 0:
            raise ValueError("a storage has no key or no size")
        self._push(Storage(key, _STORAGES[name], numel))

    def _tensor(self, args: Any) -> TensorRecord | Opaque:
        if not (isinstance(args, tuple) and len(args) >= 4):
            raise ValueError("a tensor lacks its arguments")
        storage, offset, shape, strides = args[:4]
        if isinstance(storage, Opaque):
            return Opaque(storage.name)
        if not isinstance(storage, Storage):
            raise ValueError("a tensor has no storage")
        for sizes in (shape, strides, (offset,)):
            if not isinstance(sizes, tuple) or any(type(n) is not int or not 0 <= n < 1 << 48 for n in sizes):
                raise ValueError("a tensor's offset, shape or strides are no sizes")
        if len(shape) != len(strides) or len(shape) > MAX_DIMENSIONS:
            raise ValueError(f"a tensor has {len(shape)} dimensions and {len(strides)} strides")
        return TensorRecord(storage, offset, shape, strides)

    _ACTIONS: ClassVar[dict[str, Any]] = {
        **dict.fromkeys(_VALUES, _push),
        "PROTO": lambda self, arg: None,
        "FRAME": lambda self, arg: None,
        "NONE": lambda self, arg: self._push(None),
        "NEWTRUE": lambda self, arg: self._push(True),
        "NEWFALSE": lambda self, arg: self._push(False),
        "EMPTY_TUPLE": lambda self, arg: self._push(()),
        "EMPTY_LIST": lambda self, arg: self._push([]),
        "EMPTY_DICT": lambda self, arg: self._push({}),
        "EMPTY_SET": lambda self, arg: self._push(Opaque("set")),
        "FROZENSET": _mark_frozenset,
        "MARK": lambda self, arg: self._push(_MARK),
        "POP": lambda self, arg: self.stack.pop(),
        "POP_MARK": lambda self, arg: self._pop_to_mark(),
        "TUPLE": lambda self, arg: self._push(tuple(self._pop_to_mark())),
        "TUPLE1": lambda self, arg: self._push(tuple(self._take(1))),
        "TUPLE2": lambda self, arg: self._push(tuple(self._take(2))),
        "TUPLE3": lambda self, arg: self._push(tuple(self._take(3))),
        "LIST": lambda self, arg: self._push(self._pop_to_mark()),
        "DICT": _mark_dict,
        "APPEND": lambda self, arg: self._append_items(self._take(1)),
        "APPENDS": lambda self, arg: self._append_items(self._pop_to_mark()),
        "ADDITEMS": lambda self, arg: self._append_items(self._pop_to_mark()),
        "SETITEM": lambda self, arg: self._set_items(self._take(2)),
        "SETITEMS": lambda self, arg: self._set_items(self._pop_to_mark()),
        "BINPUT": _put,
        "LONG_BINPUT": _put,
        "MEMOIZE": lambda self, arg: self._put(len(self.memo)),
        "BINGET": _get,
        "LONG_BINGET": _get,
        "GLOBAL": lambda self, arg: self._push(Opaque(arg.replace(" ", ".", 1))),
        "STACK_GLOBAL": _stack_global,
        "REDUCE": _reduce,
        "NEWOBJ": lambda self, arg: self._new_object(2),
        "NEWOBJ_EX": lambda self, arg: self._new_object(3),
        "BUILD": _build,
        "BINPERSID": _persistent,
    }


def _state_dict(tree: Any, file: str, notes: list[str]) -> dict[str, Any]:
    if not isinstance(tree, dict):
        raise CheckpointError(f"{file}: expected a state dict or {{'model': state dict}}, got {_kind(tree)}.")

    def has_tensors(value: Any) -> bool:
        return isinstance(value, dict) and any(isinstance(v, TensorRecord) for v in value.values())

    found = [key for key, value in tree.items() if has_tensors(value)]
    for key in STATE_DICT_KEYS:
        if key in found:
            others = [repr(k)[:40] for k in found if k != key]
            if others:
                notes.append(f"took {key!r}; the file also has {', '.join(others[:8])}")
            return tree[key]
    if has_tensors(tree):
        return tree
    raise CheckpointError(
        f"{file}: no state dict under {', '.join(STATE_DICT_KEYS)} nor at the top level; "
        f"its keys are {[str(k)[:40] for k in list(tree)[:8]]}."
    )


def _kind(value: Any) -> str:
    return repr(value) if isinstance(value, Opaque) else type(value).__name__


class _Tensors:
    """Turns records into arrays; a storage is read once and its size compared with what is claimed."""

    def __init__(self, archive: _Archive) -> None:
        self.archive = archive
        self.order: Any = archive.byte_order
        self.made: dict[TensorRecord, np.ndarray] = {}
        self.raw: dict[str, bytes] = {}
        self.budget = sum(entry.file_size for entry in archive.entries.values())

    def array(self, name: str, record: TensorRecord) -> np.ndarray:
        if record in self.made:
            return self.made[record]
        storage, offset, shape, strides = record
        where = f"{self.archive.name}: tensor {name!r}"
        itemsize = 2 if storage.dtype == "bfloat16" else np.dtype(storage.dtype).itemsize
        entry = f"data/{storage.key}"
        if self.archive.size(entry) != storage.numel * itemsize:
            raise CheckpointError(
                f"{where}: expected {storage.numel} elements of {storage.dtype} in {entry}, "
                f"which has {self.archive.size(entry)} bytes."
            )
        count = 1
        for n in shape:
            count *= n
        last = offset + sum((n - 1) * s for n, s in zip(shape, strides)) if count else offset
        if count > storage.numel or last >= max(storage.numel, 1):
            raise CheckpointError(
                f"{where}: shape {shape} does not fit its storage of {storage.numel} elements."
            )
        self.budget -= count * itemsize
        if self.budget < 0:
            raise CheckpointError(f"{where}: the tensors claim more bytes than the file has.")
        if storage.key not in self.raw:
            self.raw[storage.key] = self.archive.read(entry)
        dtype = np.dtype(np.uint16 if storage.dtype == "bfloat16" else storage.dtype).newbyteorder(self.order)
        flat = np.frombuffer(self.raw[storage.key], dtype)[offset:]
        array = np.lib.stride_tricks.as_strided(flat, shape, [s * itemsize for s in strides], writeable=False)
        array = np.ascontiguousarray(array, dtype.newbyteorder("=")).reshape(shape)
        if storage.dtype == "bfloat16":
            array = (array.astype(np.uint32) << 16).view(np.float32)
        self.made[record] = array
        return array


def read_pth(file: Source) -> dict[str, np.ndarray]:
    """Read the state dict of a PyTorch checkpoint; no code of the file runs and PyTorch is not needed.

    The state dict is the value of `model` (official), `state_dict`, `module`, `model_ema` or
    `state_dict_ema`, else the whole file. Names and element types are kept as saved, but bfloat16, which
    NumPy lacks, is widened to float32. Whatever else the file holds (optimizer, configuration) is not read.

    Args:
        file: path of a `.pth` in the ZIP format, or a seekable binary file.

    Returns:
        {name: array} in the file's order. The arrays may be read-only views of what was read.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: (a ValueError) the file is no such archive, is truncated or damaged, or its sizes do
            not agree with each other.
    """
    return read_pth_with_texts(file)[0]


def read_pth_with_texts(
    file: Source, notes: list[str] | None = None
) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """`read_pth`, and the plain strings beside the state dict (`write_pth` may put a description there).

    Args:
        notes: is told which of several state dicts was read.
    """
    with contextlib.ExitStack() as stack:
        if hasattr(file, "read"):
            stream, name = file, str(getattr(file, "name", "checkpoint"))
        else:
            stream, name = stack.enter_context(open(file, "rb")), str(os.fspath(file))
        archive = _Archive(stream, name)  # type: ignore[arg-type]
        if archive.size("data.pkl") > MAX_PICKLE_BYTES:
            raise CheckpointError(
                f"{name}: data.pkl has {archive.size('data.pkl')} bytes, at most {MAX_PICKLE_BYTES}."
            )
        tree = _Machine(archive.read("data.pkl"), name).run()
        state = _state_dict(tree, name, [] if notes is None else notes)
        tensors = _Tensors(archive)
        arrays = {}
        for key, record in state.items():
            if not isinstance(key, str):
                raise CheckpointError(f"{name}: expected names as keys of the state dict, got {key!r}.")
            if not isinstance(record, TensorRecord):
                raise CheckpointError(f"{name}: expected a tensor under {key!r}, got {_kind(record)}.")
            arrays[key] = tensors.array(key, record)
        return arrays, {k: v for k, v in tree.items() if isinstance(k, str) and isinstance(v, str)}


@contextlib.contextmanager
def atomic_output(path: PathLike) -> Iterator[str]:
    """Yield a temporary path beside `path`; it takes the name `path` only if the block ends without error.

    Raises:
        FileNotFoundError: the folder of `path` does not exist.
    """
    target = os.path.abspath(os.fspath(path))
    try:
        # In a folder of its own, as MindSpore writes a second file beside the one it is given.
        folder = tempfile.mkdtemp(dir=os.path.dirname(target), prefix=".partial-")
        temporary = os.path.join(folder, os.path.basename(target))
        try:
            yield temporary
            with open(temporary, "rb") as done:
                os.fsync(done.fileno())
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(temporary, 0o666 & ~umask)
            os.replace(temporary, target)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        if error.errno is None:
            raise
        # "No space left" comes without a name, others with the temporary one.
        raise OSError(error.errno, error.strerror, target) from None


_STORAGE_OF = {dtype: name for name, dtype in _STORAGES.items() if dtype != "bfloat16"}


def _pickle_text(text: str) -> bytes:
    data = text.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def _pickle_int(value: int) -> bytes:
    if 0 <= value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    data = value.to_bytes(9, "little", signed=True)
    return b"\x8a" + bytes([len(data)]) + data


def _pickle_tensor(key: str, array: np.ndarray) -> bytes:
    def sizes(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(map(_pickle_int, values)) + b"t"

    storage = _STORAGE_OF[array.dtype.name]
    strides = tuple(s // array.itemsize for s in array.strides)
    return b"".join(
        (
            b"ctorch._utils\n_rebuild_tensor_v2\n((",
            _pickle_text("storage"),
            f"ctorch\n{storage}\n".encode(),
            _pickle_text(key),
            _pickle_text("cpu"),
            _pickle_int(array.size),
            b"tQ",
            _pickle_int(0),
            sizes(array.shape),
            sizes(strides),
            b"\x89ccollections\nOrderedDict\n)RtR",
        )
    )


def write_pth(
    path: PathLike,
    arrays: Mapping[str, np.ndarray],
    key: str | None = "model",
    texts: Mapping[str, str] | None = None,
) -> None:
    """Write `{key: state dict}` as `torch.save` would; `torch.load(path, weights_only=True)` reads it back.

    Args:
        path: the file to write; it appears under this name only when complete.
        arrays: {name: array of a dtype PyTorch has}.
        key: name of the state dict at the top level (official checkpoints: `model`); None for the state dict alone,
            which Hugging Face needs and which has no place for texts.
        texts: {name: string} to put beside the state dict.

    Raises:
        TypeError: an array has a dtype that a PyTorch storage lacks.
    """
    contiguous = {}
    for name, array in arrays.items():
        array = np.asarray(array)
        if array.dtype.name not in _STORAGE_OF:
            raise TypeError(
                f"{name}: dtype {array.dtype} has no PyTorch storage; use one of {sorted(_STORAGE_OF)}."
            )
        contiguous[name] = np.ascontiguousarray(array, array.dtype.newbyteorder("<")).reshape(array.shape)
    pickle = [b"\x80\x02"] if key is None else [b"\x80\x02}(", _pickle_text(key)]
    pickle.append(b"}(")
    for i, (name, array) in enumerate(contiguous.items()):
        pickle += [_pickle_text(name), _pickle_tensor(str(i), array)]
    pickle.append(b"u")
    if key is not None:
        pickle += [_pickle_text(name) + _pickle_text(text) for name, text in (texts or {}).items()]
        pickle.append(b"u")
    pickle.append(b".")
    with atomic_output(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:

        def add(entry: str, data: Any) -> None:
            info = zipfile.ZipInfo(f"archive/{entry}", (1980, 1, 1, 0, 0, 0))
            # The data of each entry starts at a multiple of 64 bytes, as PyTorch's memory mapping likes it.
            header = archive.fp.tell() + 30 + len(info.filename)  # type: ignore[union-attr]
            padding = -(header + 4) % 64
            info.extra = struct.pack("<HH", 0x4246, padding) + b"Z" * padding
            archive.writestr(info, data)

        add("data.pkl", b"".join(pickle))
        add("byteorder", b"little")
        for i, array in enumerate(contiguous.values()):
            add(f"data/{i}", array.tobytes())
        add("version", b"3\n")
