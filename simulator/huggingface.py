"""A Hugging Face `config.json` as the fields of a workload file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from simulator.workloadreader import FORMAT_VERSION, Reader
from simulator.yamlfile import Document, Fault, Location, SpecFileError, dotted, load, shown, suggest


def is_directory(path: Path) -> bool:
    """Whether it is a folder; False for a path that the system refuses."""
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False


HIDDEN_KEYS = ("hidden_size", "d_model", "n_embd", "dim")
INTERMEDIATE_KEYS = ("intermediate_size", "ffn_dim", "n_inner", "hidden_dim")
LAYER_KEYS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
ACTIVATION_KEYS = ("hidden_act", "hidden_activation", "activation_function", "activation")
EXPERT_KEYS = ("num_local_experts", "num_experts", "n_routed_experts", "moe_num_experts")
WANTED = {"hidden": "the hidden size", "intermediate": "the intermediate size", "layers": "the number of layers"}

ACTIVATIONS: dict[str, str] = {
    **dict.fromkeys(("gelu", "gelu_new", "gelu_fast", "gelu_python", "gelu_pytorch_tanh", "gelu_accurate"), "gelu"),
    **dict.fromkeys(("silu", "swish"), "silu"),
    "relu": "relu",
}

# fmt: off
GATED = (
    "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3", "gemma3_text", "phi3", "olmo", "olmo2",
    "granite", "cohere", "stablelm", "smollm3",
)
"""Model types whose FFN is act(X Wg) * (X Wu); a bias only where the config says `mlp_bias`."""

PLAIN = (
    "bert", "roberta", "xlm-roberta", "camembert", "distilbert", "electra", "gpt2", "gpt_neo", "gpt_neox", "gptj",
    "opt", "phi",
)

# fmt: on
"""Model types whose FFN is act(X W1 + b1) W2 + b2."""

DEFAULT_ACTIVATIONS = {**dict.fromkeys(GATED, "silu"), **dict.fromkeys(PLAIN, "gelu"), "opt": "relu"}

DEFAULT_ACTIVATIONS.update(dict.fromkeys(("gemma", "gemma2", "gemma3", "gemma3_text"), "gelu"))


def read_config(path: str | Path, overrides: Mapping[str, Any]) -> tuple[Reader, str]:
    """A Hugging Face `config.json` (or the directory that holds it) as the fields of a workload file, and its name.

    Raises SpecFileError with every fault; mixtures of experts are refused.
    """
    file = Path(path)
    if is_directory(file):
        file = file / "config.json"
    document = _read_json(file)
    stem = (Path(os.path.abspath(file)).parent.name if file.name == "config.json" else file.stem) or "config"
    reader = Reader(document, None)
    if isinstance(document.data, dict) and not document.faults:
        _translate(reader, stem, overrides)
    elif not document.faults:
        document.fault((), "a JSON object is needed", shown(document.data))
    if document.faults:
        raise SpecFileError(document.faults)
    return reader, stem


def _read_json(path: Path) -> Document:
    """A JSON file as a Document. JSON is (nearly) YAML, so the YAML reader reads the bytes and gives the marks."""
    marked = load(path)
    document = Document(str(path), None, marked.marks, marked.key_marks)
    unreadable = [f for f in marked.faults if not f.line and not f.rule.startswith("not YAML")]
    if unreadable:
        document.faults.extend(unreadable)
        return document
    try:
        document.data = json.loads(path.read_bytes().decode("utf-8-sig"), parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        document.faults.append(Fault(str(path), error.lineno, error.colno, "", f"not JSON: {error.msg}"))
    except UnicodeDecodeError:
        document.faults.append(Fault(str(path), 0, 0, "", "not UTF-8 text"))
    except RecursionError:
        document.faults.append(Fault(str(path), 0, 0, "", "not JSON: nested too deep"))
    except _NotJson as error:
        document.faults.append(Fault(str(path), 0, 0, "", f"not JSON: {error}"))
    except (ValueError, OSError):
        document.faults.append(Fault(str(path), 0, 0, "", "not JSON: a number has too many digits"))
    else:
        document.faults.extend(fault for fault in marked.faults if fault.rule.startswith("duplicate key"))
    return document


class _NotJson(Exception):
    """A word that Python's reader takes and JSON does not have."""


def _refuse_constant(word: str) -> Any:
    raise _NotJson(f"{word} is not a JSON number")


def _translate(reader: Reader, stem: str, overrides: Mapping[str, Any]) -> None:
    """Replaces the config's data by the fields of a workload file, each labelled with the config's own key."""
    document = reader.document
    config: dict[str, Any] = document.data
    inner: Location = ()
    if isinstance(config.get("text_config"), dict) and not any(key in config for key in HIDDEN_KEYS):
        config, inner = config["text_config"], ("text_config",)
    for key in EXPERT_KEYS:
        if isinstance(config.get(key), int) and config[key] > 1:
            rule = "a mixture of experts is not supported: a token uses only some of the experts"
            document.fault((*inner, key), rule, shown(config[key]))
    fields: dict[str, Any] = {
        "format_version": FORMAT_VERSION,
        "kind": "gemm",
        "name": stem,
        "source": f"Hugging Face {document.file}"[-500:],
        "verified": True,
    }
    model = _model_type(document, config, inner, overrides)

    def take(name: str, keys: tuple[str, ...], default: Any = None) -> None:
        # In a config, null stands for "the class's default", as a missing key does.
        key = next((key for key in keys if config.get(key) is not None), None)
        if key is None and default is None and name not in overrides:
            what = f"missing key '{keys[0]}' (or {', '.join(keys[1:])})" if not inner else f"missing key '{keys[0]}'"
            document.fault(inner, f"{what}: the config does not say {WANTED[name]}")
        if key is not None or default is not None:
            fields[name] = config[key] if key is not None else default
        if key is not None:
            reader.labels[(name,)] = dotted((*inner, key))
            document.marks[(name,)] = document.mark((*inner, key))

    take("hidden", HIDDEN_KEYS)
    hidden = fields.get("hidden")
    whole = isinstance(hidden, int) and not isinstance(hidden, bool)
    take("intermediate", INTERMEDIATE_KEYS, 4 * (hidden or 0) if model in PLAIN and whole else None)
    take("layers", LAYER_KEYS)
    take("activation", ACTIVATION_KEYS, DEFAULT_ACTIVATIONS.get(model, "gelu"))
    word = fields["activation"]
    if isinstance(word, str) and word in ACTIVATIONS:
        fields["activation"] = ACTIVATIONS[word]
    elif "activation" not in overrides:
        rule = f"one of {', '.join(ACTIVATIONS)} is needed"
        meant = suggest(word, ACTIVATIONS) if isinstance(word, str) else ""
        reader.fault(("activation",), rule, shown(word), meant)
    fields["gated"] = model in GATED
    fields["bias"] = config.get("mlp_bias") is True if fields["gated"] else config.get("enable_bias") is not False
    document.data = fields


def _model_type(document: Document, config: dict[str, Any], inner: Location, overrides: Mapping[str, Any]) -> str:
    """The model type, or '' where the file does not say a known one (a fault unless `gated` is given)."""
    known = GATED + PLAIN
    model = config.get("model_type")
    where: Location = (*inner, "model_type")
    if model is None and isinstance(config.get("architectures"), list) and config["architectures"]:
        where = (*inner, "architectures")
        architecture = str(config["architectures"][0])
        folded = architecture.lower()
        names = [name for name in known if folded.startswith(name.replace("_", "").replace("-", ""))]
        model = max(names, key=len) if names and "moe" not in folded else architecture
    if isinstance(model, str) and model in known:
        return model
    if "gated" not in overrides:
        rule = f"tells whether the FFN is gated and must be one of {', '.join(known)}; for another model set 'gated'"
        if model is None:
            document.fault(inner, f"missing key 'model_type': it {rule}")
        else:
            document.fault(where, rule, shown(model), suggest(model, known) if isinstance(model, str) else "")
    return ""
