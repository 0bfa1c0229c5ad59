"""Checkpoints in the official layout: names and shapes, three kinds of file, every fault in words, training's outputs."""

from __future__ import annotations

import builtins
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kernels.checkpoint import (
    CheckpointError,
    layer_prefixes,
    load_state_dict,
    lookup_layers,
    lookup_weights_from_state_dict,
)
from kernels.lookup import LookupFfn
from tests.test_lookup_kernels import needs_kernels

D, T, R, DOUT, BLOCK = 48, 24, 8, 40, 16
M, PADDED = T * 3, 64
STAGES, REPEATS = 4, 2


def layer(form: str = "bh4", prefix: str = "", seed: int = 0) -> dict[str, Any]:
    """A layer's state dict as training would save it."""
    draw = np.random.default_rng(seed)

    def normal(*shape: int) -> Any:
        return draw.standard_normal(shape).astype(np.float32)

    weight = normal(M, D) / 7.0
    if form == "bh4":
        weight = normal(REPEATS, STAGES, PADDED // BLOCK, BLOCK, BLOCK) / np.float32((BLOCK * PADDED) ** 0.5)
    tensors = {
        "LayerNorm.weight": 1.0 + 0.1 * normal(D),
        "LayerNorm.bias": 0.1 * normal(D),
        "hash.projection.weight": weight,
        "hash.projection.bias": 0.1 * normal(M),
        "tables": 0.02 * normal(T, R, DOUT),
        "bias": normal(DOUT),
    }
    return {prefix + name: np.asarray(value, dtype=np.float32) for name, value in tensors.items()}


def walsh_hadamard(y: Any) -> Any:
    """Unnormalised, level by level over the last axis."""
    step = 1
    while step < y.shape[-1]:
        pairs = y.reshape(len(y), -1, 2, step)
        y = np.stack([pairs[:, :, 0] + pairs[:, :, 1], pairs[:, :, 0] - pairs[:, :, 1]], axis=2).reshape(len(y), -1)
        step *= 2
    return y


def trained(x: Any, state: dict[str, Any]) -> Any:
    """What the training code computes, in float64, straight from the tensors."""
    state = {name: np.asarray(value, dtype=np.float64) for name, value in state.items()}
    centred = x - x.mean(axis=1, keepdims=True)
    normed = (
        centred / np.sqrt(x.var(axis=1, keepdims=True) + 1e-5) * state["LayerNorm.weight"] + state["LayerNorm.bias"]
    )
    weight = state["hash.projection.weight"]
    if weight.ndim == 2:
        z = normed @ weight.T
    else:
        padded = np.pad(normed, ((0, 0), (0, PADDED - D)))
        parts = []
        for repeat in weight:
            y = padded
            for blocks in repeat:
                y = np.einsum("bni,noi->bno", y.reshape(len(y), -1, BLOCK), blocks).reshape(len(y), -1)
                y = walsh_hadamard(y)
            parts.append(y)
        z = (0.7 * np.concatenate(parts, axis=1) + 0.3 * np.tile(padded, REPEATS))[:, :M]
    z = (z + state["hash.projection.bias"]).reshape(len(x), T, 3)
    assert np.abs(z).min() > 1e-4  # or a code might flip by rounding
    score = np.abs(z).sum(axis=2) / (1.0 + np.exp(-2.0 * np.abs(z))).prod(axis=2)
    code = (z > 0.0) @ np.array([4, 2, 1])
    return (score[:, :, None] * state["tables"][np.arange(T), code]).sum(axis=1) + state["bias"]


@needs_kernels
@pytest.mark.parametrize("form", ["bh4", "dense"])
def test_a_loaded_layer_gives_what_training_gives(form: str) -> None:
    state = layer(form)
    x = np.random.default_rng(8).standard_normal((9, D)).astype(np.float32)
    exact = trained(x.astype(np.float64), state)
    found = LookupFfn.from_state_dict(state)(x)
    assert np.abs(found - exact).max() <= 1e-5 * np.abs(exact).max()
    if form == "bh4":  # blocks are applied as W[o][i], not transposed
        other = {**state, "hash.projection.weight": state["hash.projection.weight"].swapaxes(-1, -2)}
        assert np.abs(LookupFfn.from_state_dict(other)(x) - exact).max() > 1e-2 * np.abs(exact).max()


class Tensor:
    """What a torch tensor offers, bfloat16 included, without torch."""

    def __init__(self, array: Any, name: str = "") -> None:
        self.array, self.name = array, name

    def detach(self) -> Tensor:
        return self

    def cpu(self) -> Tensor:
        return self

    def is_floating_point(self) -> bool:
        return bool(self.array.dtype.kind == "f")

    def float(self) -> Tensor:
        return Tensor(self.array.astype(np.float32))

    def numpy(self) -> Any:
        if self.name == "bfloat16":
            raise TypeError("Got unsupported ScalarType BFloat16")
        return self.array


def assert_same(found: Any, state: dict[str, Any]) -> None:
    """The layer's arrays are those of `state` as float32."""
    pairs = (
        (found.gamma, "LayerNorm.weight"), (found.beta, "LayerNorm.bias"), (found.tables, "tables"), (found.bias, "bias"),
        (found.blocks if found.dense is None else found.dense, "hash.projection.weight"),
        (found.projection_bias, "hash.projection.bias"),
    )  # fmt: skip
    for array, name in pairs:
        assert array.dtype == np.float32
        assert array.flags.c_contiguous
        assert (array == np.asarray(state[name], dtype=np.float32)).all(), name


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_arrays_and_tensors_of_any_floating_point_type(dtype: str) -> None:
    state = {name: value.astype(dtype) for name, value in layer().items()}
    assert_same(lookup_weights_from_state_dict(state), state)
    assert_same(lookup_weights_from_state_dict({name: Tensor(value) for name, value in state.items()}), state)
    bfloat16 = {name: Tensor(value, "bfloat16") for name, value in state.items()}
    assert_same(lookup_weights_from_state_dict(bfloat16), state)


def model(layers: int = 11) -> dict[str, Any]:
    """A state dict of a whole model, with tensors of other modules and of other types."""
    state: dict[str, Any] = {"roberta.embeddings.word_embeddings.weight": np.zeros((5, D)), "step": np.array(7)}
    for i in range(layers):
        state |= layer("dense" if i % 2 else "bh4", f"roberta.encoder.layer.{i}.FFN.", seed=i)
        state[f"roberta.encoder.layer.{i}.attention.query.weight"] = np.zeros((D, D))
    return state


def test_a_model_lists_its_layers_in_order_and_loads_each() -> None:
    state = model()
    prefixes = layer_prefixes(state)
    assert prefixes == tuple(f"roberta.encoder.layer.{i}.FFN." for i in range(11))
    layers = lookup_layers(dict(sorted(state.items())))
    assert tuple(layers) == prefixes
    for i, (prefix, weights) in enumerate(layers.items()):
        assert_same(weights, layer("dense" if i % 2 else "bh4", seed=i))
        assert_same(
            lookup_weights_from_state_dict(state, prefix.removesuffix(".")), layer("dense" if i % 2 else "bh4", seed=i)
        )


def write_safetensors(path: Path, state: dict[str, Any], *, bfloat16: bool = False) -> None:
    """The format as its description has it; bfloat16: the upper halves of float32 numbers."""
    names = {"float16": "F16", "float32": "F32", "float64": "F64", "int64": "I64"}
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    body = b""
    for name, value in state.items():
        narrow = bfloat16 and value.dtype == np.float32
        data = (value.view(np.uint32) >> 16).astype(np.uint16).tobytes() if narrow else value.tobytes()
        header[name] = {
            "dtype": "BF16" if narrow else names[value.dtype.name],
            "shape": list(value.shape),
            "data_offsets": [len(body), len(body) + len(data)],
        }
        body += data
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + body)


def test_files_of_numpy_and_safetensors(tmp_path: Path) -> None:
    state = model(2)
    np.savez(tmp_path / "model.npz", **state)
    write_safetensors(tmp_path / "model.safetensors", state)
    write_safetensors(tmp_path / "narrow.safetensors", state, bfloat16=True)
    for name in ("model.npz", "model.safetensors"):
        assert list(load_state_dict(tmp_path / name)) == list(state)
        layers = lookup_layers(str(tmp_path / name))
        assert_same(layers["roberta.encoder.layer.0.FFN."], layer("bh4", seed=0))
        assert_same(layers["roberta.encoder.layer.1.FFN."], layer("dense", seed=1))
    narrow = lookup_weights_from_state_dict(tmp_path / "narrow.safetensors", "roberta.encoder.layer.0.FFN")
    for name, value in layer("bh4", seed=0).items():
        upper = (value.view(np.uint32) & 0xFFFF0000).view(np.float32)
        if name == "tables":
            assert (narrow.tables == upper).all()


@needs_kernels
def test_a_layer_runs_straight_from_a_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "model.npz", **model(2))
    x = np.random.default_rng(8).standard_normal((9, D)).astype(np.float32)
    ffn = LookupFfn.from_state_dict(
        tmp_path / "model.npz", "roberta.encoder.layer.1.FFN", projection="int16", table="int8"
    )
    assert (ffn.projection, ffn.table) == ("int16", "int8")
    exact = trained(x.astype(np.float64), layer("dense", seed=1))
    assert np.linalg.norm(ffn(x) - exact) <= 0.02 * np.linalg.norm(exact)


def spoiled(name: str, value: Any) -> dict[str, Any]:
    """A layer with another tensor `name`, or without it."""
    state = layer(prefix="m.FFN.")
    del state[f"m.FFN.{name}"]
    return state if value is None else {**state, f"m.FFN.{name}": value}


BAD: dict[str, tuple[str, Any, str]] = {
    "missing": ("tables", None, r"m\.FFN\.tables: missing; a LookupFFN layer has LayerNorm.weight"),
    "wrong axes": ("tables", np.zeros((T, R), np.float32), r"m\.FFN\.tables: must have 3 axes, got shape \(24, 8\)"),
    "rows no power of two": ("tables", np.zeros((T, 9, 4)), r"m\.FFN\.tables: R \(axis 1\) must be a power of two"),
    "gamma of another length": (
        "LayerNorm.bias", np.zeros(D - 1), rf"m\.FFN\.LayerNorm\.bias: must have length {D}, got {D - 1}"),
    "scalar": ("LayerNorm.weight", np.float32(1.0), r"m\.FFN\.LayerNorm\.weight: d must be between 1 and 4096, got 0"),
    "output bias": ("bias", np.zeros(DOUT + 1), rf"m\.FFN\.bias: must have length {DOUT}, got {DOUT + 1}"),
    "projection bias": ("hash.projection.bias", np.zeros(7), rf"m\.FFN\.hash\.projection\.bias: must have length {M}, got 7"),
    "three stages": ("hash.projection.weight", np.zeros((2, 3, 4, 16, 16)),
                     r"m\.FFN\.hash\.projection\.weight: must have shape \[repeats, 4, D / b, b, b\] .* got \[2, 3, 4, 16, 16\]"),
    "blocks of another d": ("hash.projection.weight", np.zeros((2, 4, 8, 16, 16)),
                            r"m\.FFN\.hash\.projection\.weight: .* need \[2, stages, 4, 16, 16\], got \[2, 4, 8, 16, 16\]"),
    "dense of another d": ("hash.projection.weight", np.zeros((M, D + 1)),
                           rf"m\.FFN\.hash\.projection\.weight: must have shape \[M, d\] = \({M}, {D}\), got \({M}, {D + 1}\)"),
    "whole numbers": ("bias", np.zeros(DOUT, np.int64), r"m\.FFN\.bias: must hold floating-point numbers, got dtype int64"),
    "whole tensor": ("bias", Tensor(np.zeros(DOUT, np.int8)), "must hold floating-point numbers, got dtype int8"),
    "nan": ("tables", np.where(np.arange(T * R * DOUT).reshape(T, R, DOUT) == DOUT + 3, np.nan, 0.0),
            r"m\.FFN\.tables: must be finite in float32, but \[0, 1, 3\] is nan"),
    "too large": ("bias", np.full(DOUT, 1e300), r"m\.FFN\.bias: must be finite in float32, but \[0\] is 1e\+300"),
    "ragged": ("bias", [[1.0], [1.0, 2.0]], r"m\.FFN\.bias: is no array of numbers"),
    "unknown name": ("extra.weight", np.zeros(3),
                     r"m\.FFN\.extra\.weight: a LookupFFN layer has no such tensor, only LayerNorm\.weight"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_bad_tensor_is_named(name: str, tmp_path: Path) -> None:
    tensor, value, message = BAD[name]
    state = {**layer(prefix="m.FFN."), f"m.FFN.{tensor}": value} if name == "unknown name" else spoiled(tensor, value)
    with pytest.raises(CheckpointError, match=f"^state dict: .*{message}"):
        lookup_weights_from_state_dict(state, "m.FFN")
    with pytest.raises(CheckpointError, match=f"^state dict: .*{message}"):
        lookup_layers(state)
    if isinstance(value, np.ndarray):
        np.savez(tmp_path / "bad.npz", **state)
        with pytest.raises(CheckpointError, match=rf"bad\.npz: .*{message}"):
            lookup_weights_from_state_dict(tmp_path / "bad.npz", "m.FFN.")


def test_a_prefix_without_a_layer_says_where_layers_are() -> None:
    with pytest.raises(CheckpointError, match=r"below '', there are layers below 'a\.1\.FFN\.', 'a\.2\.FFN\.'"):
        lookup_weights_from_state_dict({**layer(prefix="a.1.FFN."), **layer(prefix="a.2.FFN.")})
    with pytest.raises(CheckpointError, match=r"below 'b\.', there are layers below ''"):
        lookup_weights_from_state_dict(layer(), "b")
    for state in ({}, {"bias": np.zeros(3)}):
        with pytest.raises(CheckpointError):
            lookup_weights_from_state_dict(state)
        with pytest.raises(CheckpointError, match=r"no LookupFFN layer .* nor any elsewhere"):
            lookup_layers(state)


def test_files_that_are_cut_off_or_something_else_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "whole.npz", **layer())
    write_safetensors(tmp_path / "whole.safetensors", layer())
    for suffix in (".npz", ".safetensors"):
        whole = (tmp_path / f"whole{suffix}").read_bytes()
        for length in (0, 5, 30, len(whole) // 2, len(whole) - 1):
            cut = tmp_path / f"cut{suffix}"
            cut.write_bytes(whole[:length])
            with pytest.raises(CheckpointError, match=rf"cut\{suffix}: .*cut off"):
                lookup_weights_from_state_dict(cut)
    with pytest.raises(CheckpointError, match=r"none\.npz: cannot be read: No such file"):
        lookup_weights_from_state_dict(tmp_path / "none.npz")
    with pytest.raises(CheckpointError, match=r"model\.json: a checkpoint file ends in \.npz, \.safetensors, \.pt"):
        lookup_weights_from_state_dict(tmp_path / "model.json")
    np.save(tmp_path / "array", np.zeros(3))
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    with pytest.raises(CheckpointError, match=r"array\.npz: is no \.npz archive"):
        lookup_weights_from_state_dict(tmp_path / "array.npz")
    np.savez(tmp_path / "objects.npz", tables=np.array([None, {}], dtype=object))
    with pytest.raises(CheckpointError, match=r"objects\.npz: is no \.npz archive of plain arrays"):
        lookup_weights_from_state_dict(tmp_path / "objects.npz")


BAD_HEADERS = {
    "no json": (b"{", "the header is no JSON object"),
    "no object": (b"[]", "the header must be a JSON object, got list"),
    "twice": (b'{"a": {}, "a": {}}', "a name stands there twice"),
    "no fields": (b'{"a": {}}', "a: needs dtype, shape and data_offsets"),
    "negative": (
        b'{"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}',
        "a: shape and data_offsets must be whole",
    ),
    "beyond the end": (
        b'{"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]}}',
        "a: ends at byte 12 of 8: .* cut off",
    ),
    "bytes and shape": (
        b'{"a": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}',
        r"a: F32 of shape \[3\] takes 12 bytes",
    ),
}


@pytest.mark.parametrize("name", BAD_HEADERS)
def test_bad_safetensors_headers_are_named(name: str, tmp_path: Path) -> None:
    text, message = BAD_HEADERS[name]
    file = tmp_path / "bad.safetensors"
    file.write_bytes(len(text).to_bytes(8, "little") + text + bytes(8))
    with pytest.raises(CheckpointError, match=rf"bad\.safetensors: .*{message}"):
        load_state_dict(file)


def test_a_dtype_that_cannot_be_read_matters_only_where_it_is_used(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    write_safetensors(file, {**layer(prefix="m."), "other": np.zeros(2, np.float16)})
    raw = file.read_bytes()
    file.write_bytes(raw.replace(b'"F16"', b'"F8X"'))
    assert_same(lookup_weights_from_state_dict(file, "m"), layer())
    file.write_bytes(raw.replace(b'"m.bias": {"dtype": "F32"', b'"m.bias": {"dtype": "F8X"'))
    with pytest.raises(CheckpointError, match=r"a\.safetensors: m\.bias: dtype F8X cannot be read, only F64"):
        lookup_weights_from_state_dict(file, "m")


def test_torch_files_need_torch_and_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without_torch(name: str, *rest: Any) -> Any:
        if name == "torch":
            raise ImportError(name)
        return original(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_torch)
    for suffix in (".pt", ".pth", ".bin", ".ckpt"):
        (tmp_path / f"model{suffix}").write_bytes(b"")
        with pytest.raises(
            CheckpointError, match=rf"model\{suffix}: .* torch, which is not installed: pip install torch"
        ):
            lookup_weights_from_state_dict(tmp_path / f"model{suffix}")


def test_torch_files_with_torch(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    state = {name: torch.from_numpy(value) for name, value in layer().items()}
    torch.save(state, tmp_path / "plain.pt")
    torch.save(
        {"epoch": 3, "state_dict": {f"model.{name}": value for name, value in state.items()}}, tmp_path / "run.ckpt"
    )
    torch.save({name: value.bfloat16() for name, value in state.items()}, tmp_path / "narrow.bin")
    assert_same(lookup_weights_from_state_dict(tmp_path / "plain.pt"), layer())
    assert_same(lookup_weights_from_state_dict(tmp_path / "run.ckpt", "model"), layer())
    narrow = {name: value.bfloat16().float().numpy() for name, value in state.items()}
    assert_same(lookup_weights_from_state_dict(tmp_path / "narrow.bin"), narrow)
    assert_same(
        lookup_weights_from_state_dict({name: value.requires_grad_() for name, value in state.items()}), layer()
    )
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match=r"list\.pt: must hold a state dict \(names and tensors\), got list"):
        lookup_weights_from_state_dict(tmp_path / "list.pt")
    whole = (tmp_path / "plain.pt").read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.pt").write_bytes(whole[:length])
        with pytest.raises(CheckpointError, match=r"cut\.pt: is no file of tensors alone, or is cut off"):
            lookup_weights_from_state_dict(tmp_path / "cut.pt")
    with pytest.raises(CheckpointError, match=r"none\.pt: cannot be read: No such file"):
        lookup_weights_from_state_dict(tmp_path / "none.pt")
    torch.save(Tensor(np.zeros(3)), tmp_path / "pickled.pt")
    with pytest.raises(CheckpointError, match=r"pickled\.pt: is no file of tensors alone"):
        lookup_weights_from_state_dict(tmp_path / "pickled.pt")
