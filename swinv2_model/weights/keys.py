# SPDX-License-Identifier: Apache-2.0
"""Parameter names of the implementations that publish Swin weights, as pure functions on {name: array}.

The hub is the official state dict without its buffers; every dialect maps to it and back, bit for bit.

| official | timm | hf | mindcv | mindspore |
|---|---|---|---|---|
| patch_embed.proj, .norm | = | embeddings.patch_embeddings.projection, embeddings.norm | = | = |
| layers.i.blocks.j | = | encoder.layers.i.blocks.j | see below | = |
| layers.i.downsample | layers.(i+1).downsample | encoder.layers.i.downsample | see below | = |
| norm1, norm2 | = | layernorm_before, layernorm_after | = | = |
| attn.qkv.weight | = | attention.self.{query,key,value}.weight | attn.{q,k,v}.weight | = |
| attn.q_bias, attn.v_bias | = | attention.self.{query,value}.bias | attn.{q,v}.bias | = |
| attn.cpb_mlp.{0,2} | = | attention.self.continuous_position_bias_mlp.{0,2} | see below | = |
| attn.logit_scale | = | attention.self.logit_scale | = | = |
| attn.relative_position_bias_table (V1) | = | attention.self. | attn.relative_bias. | = |
| attn.proj | = | attention.output.dense | = | = |
| mlp.fc1, mlp.fc2 | = | intermediate.dense, output.dense | = | = |
| norm, head | norm, head.fc | layernorm, classifier | norm, head (V1: classifier) | norm, head |
| LayerNorm weight, bias | = | = | gamma, beta | gamma, beta |

Hugging Face's names but the classifier begin with `swinv2.` (V1: `swin.`). mindcv has
attn.relative_position_bias.cpb_mlp{0,2} for the bias MLP, and MindSpore's CellList, as mindcv fills it, names
the parts of stage 0 `0.blocks.j` and `0.downsample`, those of stage i `0.blocks.i.blocks.j` and so on.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from swinv2_model.weights.errors import CheckpointError

Arrays = dict[str, np.ndarray]

# Recomputed from the sizes, never loaded. `index` is mindcv's one-hot table of V1.
BUFFERS = ("relative_position_index", "relative_coords_table", "attn_mask", "relative_bias.index")
# A parameter that every model has once, and what stands before the model's names.
_FIRST = re.compile(
    r"(|.*?\.)(?:patch_embed\.proj|(?:swin(?:v2)?\.)?embeddings\.patch_embeddings\.projection)\.weight"
)
_BLOCK = re.compile(r"(?:.*\.)?layers\.\d+\.blocks\.\d+\.(.+)")
_STAGE = re.compile(r"layers\.(\d+)\.(blocks\.\d+\.|downsample\.)(.+)")
_CELL_LIST = re.compile(
    r"(?:0\.blocks\.(?=\d+\.(?:blocks|downsample)\.))?(\d+)\.((?:blocks\.\d+|downsample)\..+)"
)
_NORM = re.compile(r"((?:^|.*\.)norm[12]?\.)(weight|bias)")
_NORM_MS = re.compile(r"((?:^|.*\.)norm[12]?\.)(gamma|beta)")
_MS_OF = {"weight": "gamma", "bias": "beta"}


@dataclass(frozen=True)
class Dialect:
    """How an implementation names parameters: (official, its own) prefixes, tried in order."""

    outside: tuple[tuple[str, str], ...] = ()
    inside: tuple[tuple[str, str], ...] = ()
    split_qkv: bool = False
    downsample_shift: int = 0
    gamma_beta: bool = False
    cell_list: bool = False
    prefix: Mapping[int, str] = field(default_factory=dict)
    unprefixed: tuple[str, ...] = ()
    version_outside: Mapping[int, tuple[tuple[str, str], ...]] = field(default_factory=dict)


DIALECTS: dict[str, Dialect] = {
    "official": Dialect(),
    "mindspore": Dialect(gamma_beta=True),
    "timm": Dialect(outside=(("head.", "head.fc."),), downsample_shift=1),
    "hf": Dialect(
        outside=(
            ("patch_embed.proj.", "embeddings.patch_embeddings.projection."),
            ("patch_embed.norm.", "embeddings.norm."),
            ("layers.", "encoder.layers."),
            ("norm.", "layernorm."),
            ("head.", "classifier."),
        ),
        inside=(
            ("norm1.", "layernorm_before."),
            ("norm2.", "layernorm_after."),
            ("attn.q.", "attention.self.query."),
            ("attn.k.", "attention.self.key."),
            ("attn.v.", "attention.self.value."),
            ("attn.cpb_mlp.", "attention.self.continuous_position_bias_mlp."),
            ("attn.logit_scale", "attention.self.logit_scale"),
            ("attn.relative_position_bias_table", "attention.self.relative_position_bias_table"),
            ("attn.proj.", "attention.output.dense."),
            ("mlp.fc1.", "intermediate.dense."),
            ("mlp.fc2.", "output.dense."),
        ),
        split_qkv=True,
        prefix={1: "swin.", 2: "swinv2."},
        unprefixed=("classifier.",),
    ),
    "mindcv": Dialect(
        inside=(
            ("attn.cpb_mlp.0.", "attn.relative_position_bias.cpb_mlp0."),
            ("attn.cpb_mlp.2.", "attn.relative_position_bias.cpb_mlp2."),
            ("attn.relative_position_bias_table", "attn.relative_bias.relative_position_bias_table"),
        ),
        split_qkv=True,
        gamma_beta=True,
        version_outside={1: (("head.", "classifier."),)},
        cell_list=True,
    ),
}


def is_buffer(name: str) -> bool:
    return name.endswith(BUFFERS)


def version_of(names: Iterable[str]) -> int:
    """1 where any block has a learned bias table, else 2."""
    return 1 if any(name.endswith("relative_position_bias_table") for name in names) else 2


def detect(names: Iterable[str]) -> str:
    """The dialect a set of parameter names is written in.

    Raises:
        CheckpointError: they belong to no Swin Transformer this library knows.
    """
    names = [name for name in names if not is_buffer(name)]
    ends = lambda *suffixes: any(name.endswith(suffixes) for name in names)  # noqa: E731
    inside = {m[1] for m in map(_BLOCK.fullmatch, map(from_cell_list, names)) if m}
    if "attention.self.query.weight" in inside:
        return "hf"
    if "attn.q.weight" in inside:
        return "mindcv"
    if "attn.qkv.weight" in inside:
        if ends(".gamma"):
            return "mindspore"
        stages = {int(m[1]) for m in map(_STAGE.fullmatch, names) if m}
        merged = {int(m[1]) for m in map(_STAGE.fullmatch, names) if m and m[2] == "downsample."}
        if ends("head.fc.weight") or (merged and max(merged) == max(stages)):
            return "timm"
        return "official"
    if any(".attn.meta_mlp." in name for name in names):
        raise CheckpointError(
            "expected a Swin Transformer of the official architecture, got timm's swinv2_cr_*, which has an "
            "attn.meta_mlp; take one of timm's swinv2_* without cr."
        )
    raise CheckpointError(
        "expected a Swin Transformer in the names of official, timm, hf, mindcv or mindspore, got parameters "
        f"such as {', '.join(map(repr, names[:4])) or 'none'}."
    )


def confirm(arrays: Mapping[str, np.ndarray], dialect: str) -> str:
    """The dialect of a state dict that is said to be in `dialect`; `auto` says nothing.

    Raises:
        CheckpointError: it is in another, and the model would get the options of the wrong implementation.
    """
    found = detect(arrays)
    if dialect in ("auto", found):
        return found
    _dialect(dialect)
    # A single stage without head.fc can be either.
    if (found, dialect) == ("official", "timm") and to_official(arrays, "timm").keys() == arrays.keys():
        return dialect
    raise CheckpointError(
        f"--from: expected {found!r}, whose names the file has, got {dialect!r}; leave it out to go by the names."
    )


def wrapper_of(names: Iterable[str]) -> str:
    """What a wrapper put before the model's names, such as `module.`; "" for nothing.

    Raises:
        CheckpointError: the names of several models, each behind another prefix.
    """
    found = sorted({match[1] for match in map(_FIRST.fullmatch, names) if match})
    if len(found) > 1 and "" not in found:
        raise CheckpointError(
            f"expected one model, got one behind each of {', '.join(map(repr, found))}; save the parameters of one of "
            "them alone."
        )
    return found[0] if found else ""


def strip_wrapper(arrays: Mapping[str, np.ndarray]) -> Arrays:
    """The names behind `wrapper_of`, without it."""
    wrapper = wrapper_of(arrays)
    return {name[len(wrapper) :]: array for name, array in arrays.items() if name.startswith(wrapper)}


def drop_buffers(arrays: Mapping[str, np.ndarray]) -> Arrays:
    return {name: array for name, array in arrays.items() if not is_buffer(name)}


def from_cell_list(name: str) -> str:
    """mindcv's `0.blocks.1.blocks.0.attn...` -> `layers.1.blocks.0.attn...`; other names unchanged."""
    match = _CELL_LIST.fullmatch(name)
    return f"layers.{match[1]}.{match[2]}" if match else name


def _to_cell_list(name: str) -> str:
    match = _STAGE.fullmatch(name)
    if not match:
        return name
    return ("0." if match[1] == "0" else f"0.blocks.{match[1]}.") + match[2] + match[3]


def _swap(name: str, pairs: Iterable[tuple[str, str]]) -> str:
    for old, new in pairs:
        if name.startswith(old):
            return new + name[len(old) :]
    return name


def _inside(name: str, change: Callable[[str], str], shift: int) -> str:
    match = _STAGE.fullmatch(name)
    if not match:
        return name
    stage, part, leaf = int(match[1]), match[2], match[3]
    if part == "downsample.":
        return f"layers.{stage + shift}.{part}{leaf}"
    return f"layers.{stage}.{part}{change(leaf)}"


def _to_name(name: str, dialect: Dialect, version: int) -> str:
    name = _inside(name, lambda leaf: _swap(leaf, dialect.inside), dialect.downsample_shift)
    if dialect.gamma_beta:
        name = _NORM.sub(lambda m: m[1] + _MS_OF[m[2]], name) if _NORM.fullmatch(name) else name
    name = _swap(name, dialect.version_outside.get(version, dialect.outside))
    if dialect.cell_list:
        name = _to_cell_list(name)
    return name if name.startswith(dialect.unprefixed or ("\0",)) else dialect.prefix.get(version, "") + name


def _from_name(name: str, dialect: Dialect, version: int) -> str:
    prefix = dialect.prefix.get(version, "")
    name = name[len(prefix) :] if name.startswith(prefix) else name
    back = {"gamma": "weight", "beta": "bias"}
    if dialect.cell_list:
        name = from_cell_list(name)
    name = _swap(name, [(b, a) for a, b in dialect.version_outside.get(version, dialect.outside)])
    if dialect.gamma_beta:
        name = _NORM_MS.sub(lambda m: m[1] + back[m[2]], name) if _NORM_MS.fullmatch(name) else name
    inverse = [(b, a) for a, b in dialect.inside]
    return _inside(name, lambda leaf: _swap(leaf, inverse), -dialect.downsample_shift)


def split_qkv(arrays: Mapping[str, np.ndarray]) -> Arrays:
    """attn.qkv.weight (3c, c) -> attn.{q,k,v}.weight (c, c); the biases likewise, V2 having none for k."""
    out: Arrays = {}
    for name, array in arrays.items():
        base, _, leaf = name.rpartition("attn.")
        if leaf in ("qkv.weight", "qkv.bias"):
            if len(array) % 3:
                raise CheckpointError(f"{name}: expected 3 x c rows, got shape {array.shape}.")
            for part, third in zip("qkv", np.split(array, 3)):
                out[f"{base}attn.{part}.{leaf[4:]}"] = third
        elif leaf in ("q_bias", "v_bias"):
            out[f"{base}attn.{leaf[0]}.bias"] = array
        else:
            out[name] = array
    return out


def merge_qkv(arrays: Mapping[str, np.ndarray]) -> Arrays:
    """The inverse of `split_qkv`."""
    out: Arrays = {}
    for name, array in arrays.items():
        base, _, leaf = name.rpartition("attn.")
        if leaf[:2] not in ("q.", "k.", "v.") or leaf[2:] not in ("weight", "bias"):
            out[name] = array
            continue
        parts = [f"{base}attn.{part}.{leaf[2:]}" for part in "qkv"]
        if leaf[2:] == "bias" and parts[1] not in arrays:
            out[f"{base}attn.{leaf[0]}_bias"] = array
        elif leaf[0] == "q":
            missing = [part for part in parts if part not in arrays]
            if missing:
                raise CheckpointError(f"{', '.join(missing)}: missing beside {name}.")
            thirds = [arrays[part] for part in parts]
            if len({(third.shape, third.dtype) for third in thirds}) > 1:
                raise CheckpointError(f"{name}: q, k and v differ: {[third.shape for third in thirds]}.")
            out[f"{base}attn.qkv.{leaf[2:]}"] = np.concatenate(thirds)
        elif parts[0] not in arrays:
            raise CheckpointError(f"{parts[0]}: missing beside {name}.")
    return out


def to_official(arrays: Mapping[str, np.ndarray], dialect: str = "auto") -> Arrays:
    """Rename to the official state dict; buffers, a wrapper's prefix and names without it are dropped.

    Args:
        arrays: {name: array} as read from a file.
        dialect: `official`, `timm`, `hf`, `mindcv`, `mindspore`, or `auto` to detect it.

    Raises:
        CheckpointError: no such names, two of them mean the same parameter, or q, k and v do not fit.
    """
    arrays = strip_wrapper(drop_buffers(arrays))
    rules = _dialect(detect(arrays) if dialect == "auto" else dialect)
    version = version_of(arrays)
    out: Arrays = {}
    for name, array in arrays.items():
        official = _from_name(name, rules, version)
        if official in out:
            raise CheckpointError(f"{name}: a second array for {official}.")
        out[official] = array
    return merge_qkv(out) if rules.split_qkv else out


def from_official(arrays: Mapping[str, np.ndarray], dialect: str) -> Arrays:
    """Rename an official state dict (without buffers) to another dialect.

    Raises:
        CheckpointError: there is no such dialect.
    """
    rules = _dialect(dialect)
    version = version_of(arrays)
    parts = split_qkv(arrays) if rules.split_qkv else dict(arrays)
    return {_to_name(name, rules, version): array for name, array in parts.items()}


def to_official_name(name: str) -> str:
    """The official name of a parameter of our own models."""
    return _from_name(name, DIALECTS["mindspore"], 2)


def _dialect(name: str) -> Dialect:
    if name not in DIALECTS:
        raise CheckpointError(f"expected one of {', '.join(DIALECTS)}, got {name!r}.")
    return DIALECTS[name]
