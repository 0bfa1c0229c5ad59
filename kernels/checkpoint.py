"""LookupFFN layers from checkpoints in the layout of the official training code (mlpen/LookupFFN).

A layer at prefix P (`roberta.encoder.layer.0.FFN.`, say) has the tensors

    P LayerNorm.weight, P LayerNorm.bias   [d]
    P hash.projection.weight               BH4: [repeats, 4, D / b, b, b], applied as W[o][i]; dense: [M, d]
    P hash.projection.bias                 [M], M = T log2 R
    P tables                               [T, R, dout]
    P bias                                 [dout]

and means what it meant in training: transforms unnormalised, Z = 0.7 BH4(x) + 0.3 x. (The published CPU code transposes the
blocks and scales its transforms; its outputs are not those of the trained model.) LayerNorm's epsilon is not in a checkpoint;
the published models have 1e-5, which is what the kernels use.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.safetensorsfile import SafetensorsError, SafetensorsFile
from kernels.weights import LookupWeights, ShapeError, lookup_weights

ARGUMENT_OF = {
    "LayerNorm.weight": "gamma",
    "LayerNorm.bias": "beta",
    "hash.projection.weight": "projection",
    "hash.projection.bias": "projection_bias",
    "tables": "tables",
    "bias": "bias",
}
"""Tensor below the prefix -> argument of `lookup_weights` (the projection is `blocks` or `dense`, by its axes)."""

BH4_STAGES = 4
TORCH_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt")
SUFFIXES = (".npz", ".safetensors", *TORCH_SUFFIXES)

State = Mapping[str, Any]


class CheckpointError(ValueError):
    """A checkpoint holds no such layer or a bad one; the message names file, tensor and rule."""


def layer_prefixes(state: State) -> tuple[str, ...]:
    """Prefixes, with their final dot, below which `state` holds a LookupFFN layer; layer 2 comes before layer 10."""
    marks = ("tables", "hash.projection.weight")
    found = {name.removesuffix(mark) for name in state for mark in marks if name == mark or name.endswith(f".{mark}")}
    return tuple(sorted(found, key=lambda prefix: [(part.isdigit(), int(part) if part.isdigit() else 0, part)
                                                   for part in re.split(r"(\d+)", prefix)]))  # fmt: skip


def lookup_weights_from_state_dict(state: State | str | Path, prefix: str = "", *, source: str = "") -> LookupWeights:
    """The layer below `prefix` of a state dict or of a checkpoint file.

    state: names -> NumPy arrays or torch tensors of any floating-point type, or a path (.npz, .safetensors; .pt, .pth, .bin and
    .ckpt need torch). source: what messages call the state dict. Raises CheckpointError.
    """
    if isinstance(state, str | Path):
        source, state = source or str(state), load_state_dict(state)
    source = source or "state dict"
    prefix = prefix if not prefix or prefix.endswith(".") else f"{prefix}."
    below = {name.removeprefix(prefix) for name in state if name.startswith(prefix)}
    missing = [name for name in ARGUMENT_OF if name not in below]
    if missing:
        raise CheckpointError(_no_layer(state, prefix, missing, source))
    unknown = sorted(below - ARGUMENT_OF.keys())
    if unknown:
        more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        names = ", ".join(prefix + name for name in unknown[:3])
        raise CheckpointError(
            f"{source}: {names}{more}: a LookupFFN layer has no such tensor, only {', '.join(ARGUMENT_OF)}"
        )
    arrays: dict[str, Any] = {
        argument: _numbers(state, prefix + name, source) for name, argument in ARGUMENT_OF.items()
    }
    projection = arrays.pop("projection")
    arrays[_form(projection, f"{source}: {prefix}hash.projection.weight")] = projection
    try:
        return lookup_weights(**arrays)
    except ShapeError as error:
        raise CheckpointError(f"{source}: {_in_tensor_names(str(error), prefix)}") from None


def lookup_layers(state: State | str | Path, *, source: str = "") -> dict[str, LookupWeights]:
    """Every LookupFFN layer of a model's state dict or checkpoint file, by prefix. Raises CheckpointError if there is none."""
    if isinstance(state, str | Path):
        source, state = source or str(state), load_state_dict(state)
    prefixes = layer_prefixes(state)
    if not prefixes:
        raise CheckpointError(_no_layer(state, "", list(ARGUMENT_OF), source or "state dict"))
    return {prefix: lookup_weights_from_state_dict(state, prefix, source=source) for prefix in prefixes}


def load_state_dict(path: str | Path) -> State:
    """The tensors of a checkpoint file by name. Raises CheckpointError."""
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise CheckpointError(f"{path}: a checkpoint file ends in {', '.join(SUFFIXES)}")
    try:
        if path.suffix == ".npz":
            return _read_npz(path)
        return SafetensorsFile(path) if path.suffix == ".safetensors" else _read_torch(path)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror or error}") from None
    except SafetensorsError as error:
        raise CheckpointError(str(error)) from None


def _read_npz(path: Path) -> State:
    try:
        file = np.load(path, allow_pickle=False)
        if isinstance(file, np.ndarray):
            raise ValueError("it holds one array without a name")
        with file:
            return {name: file[name] for name in file.files}
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise CheckpointError(f"{path}: is no .npz archive of plain arrays, or is cut off: {error}") from None


def _read_torch(path: Path) -> State:
    import pickle

    try:
        import torch  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        raise CheckpointError(
            f"{path}: {path.suffix} files are read by torch, which is not installed: pip install torch, or save the state dict "
            "as .safetensors or .npz where torch is"
        ) from None
    path.open("rb").close()  # what torch says of a missing file and of a short one can be the same
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        first = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(
            f"{path}: is no file of tensors alone, or is cut off (torch: {first}); save model.state_dict()"
        ) from None
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]  # as Lightning saves a training run
    if not isinstance(content, Mapping) or not all(isinstance(name, str) for name in content):
        raise CheckpointError(f"{path}: must hold a state dict (names and tensors), got {type(content).__name__}")
    return content


def _numbers(state: State, name: str, source: str) -> NDArray[np.float32]:
    """A finite float32 array of a NumPy array or torch tensor."""
    place = f"{source}: {name}"
    try:
        value = state[name]
        if hasattr(value, "detach"):  # a torch tensor; NumPy has no bfloat16, so it is widened there
            value = value.detach().cpu()
            array = value.float().numpy() if value.is_floating_point() else value.numpy()
        else:
            array = np.asarray(value)
    except SafetensorsError as error:
        raise CheckpointError(str(error)) from None
    except (TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{place}: is no array of numbers: {error}") from None
    if array.dtype.kind != "f" and array.dtype.name != "bfloat16":
        raise CheckpointError(f"{place}: must hold floating-point numbers, got dtype {array.dtype}")
    with np.errstate(over="ignore"):
        result = np.ascontiguousarray(array, dtype=np.float32)
    if not np.isfinite(result).all():
        where = [int(i) for i in np.argwhere(~np.isfinite(result))[0]]
        raise CheckpointError(f"{place}: must be finite in float32, but {where} is {array[tuple(where)]}")
    return result.reshape(array.shape)


def _form(projection: NDArray[np.float32], place: str) -> str:
    if projection.ndim == 2:
        return "dense"
    if projection.ndim != 5 or projection.shape[1] != BH4_STAGES:
        shape = list(projection.shape)
        raise CheckpointError(
            f"{place}: must have shape [repeats, {BH4_STAGES}, D / b, b, b] (BH4) or [M, d] (dense), got {shape}"
        )
    return "blocks"


def _in_tensor_names(message: str, prefix: str) -> str:
    """A message of `lookup_weights`, which begins with its argument, with the tensor in its place."""
    tensor_of = {argument: name for name, argument in ARGUMENT_OF.items()}
    tensor_of["blocks"] = tensor_of["dense"] = "hash.projection.weight"
    if message.startswith("d must"):
        message = f"gamma: {message}"
    argument, colon, rule = message.partition(":")
    return f"{prefix}{tensor_of[argument]}{colon}{rule}" if argument in tensor_of else message


def _no_layer(state: State, prefix: str, missing: list[str], source: str) -> str:
    names = ", ".join(prefix + name for name in missing)
    if len(missing) < len(ARGUMENT_OF):
        return f"{source}: {names}: missing; a LookupFFN layer has {', '.join(ARGUMENT_OF)}"
    others = layer_prefixes(state)
    where = f"there are layers below {', '.join(repr(p) for p in others)}" if others else "nor any elsewhere"
    return f"{source}: no LookupFFN layer (tables, hash.projection.weight, ...) below '{prefix}', {where}"
