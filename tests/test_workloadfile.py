"""Workload files: what is shipped, what is read, and the exact message of everything that is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.workload import GemmFfn, IndexDistribution, LookupFfn, Workload, flop_per_token
from simulator.workloadfile import (
    WORKLOADS,
    available_workloads,
    derive_lookup,
    load_huggingface_config,
    load_workload,
    parse_workload,
    with_dtype,
)
from simulator.yamlfile import SpecFileError, load

GEMM = "format_version: 1\nkind: gemm\nname: g\nlayers: 2\nhidden: 512\nintermediate: 2048\n"
LOOKUP = "format_version: 1\nkind: lookup\nname: l\nlayers: 2\nhidden: 512\ntables: 128\nrows: 256\n"
FOUR_ROWS = LOOKUP.replace("rows: 256", "rows: 4")
CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "hidden_act": "silu",
}


@pytest.fixture(autouse=True)
def _in_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    monkeypatch.chdir(folder)


def read(text: str, overrides: dict[str, Any] | None = None, name: str = "w.yaml") -> Workload:
    Path(name).write_text(text)
    return load_workload(name, overrides)


def faults(text: str, overrides: dict[str, Any] | None = None, name: str = "w.yaml") -> list[str]:
    with pytest.raises(SpecFileError) as caught:
        read(text, overrides, name)
    return str(caught.value).splitlines()


# --- shipped -------------------------------------------------------------------------------------------------------


def test_shipped_ids() -> None:
    published = {f"lookupffn-t{tables}-s8-{form}" for tables in (64, 128) for form in ("bh4", "dense")}
    presets = {"roberta-small", "roberta-base", "roberta-large", "bert-base", "llama-3.2-1b"}
    hypothetical = {"hypo-bert-base-t192", "hypo-llama32-1b-t512"}
    assert published | presets | hypothetical <= set(available_workloads())


@pytest.mark.parametrize("name", sorted(path.stem for path in WORKLOADS.glob("*.yaml")))
def test_shipped_workloads_load(name: str) -> None:
    workload = load_workload(name)
    assert workload.id == name
    assert workload.source
    assert workload.verified == (not name.startswith("hypo-") and "memory" not in workload.source)
    assert workload.residency == "model"
    assert workload.evicted_bytes_between_layers == 0.0
    if isinstance(workload.operator, LookupFfn):
        dense = load_workload(workload.dense)
        assert isinstance(dense.operator, GemmFfn)
        assert (dense.operator.hidden, dense.layers) == (workload.operator.hidden, workload.layers)
    else:
        assert workload.dense == ""


@pytest.mark.parametrize(
    ("name", "flop", "layers"),
    [
        ("lookupffn-t128-s8-bh4", 702080, 4),
        ("lookupffn-t64-s8-bh4", 351296, 4),
        ("lookupffn-t128-s8-dense", 1186432, 4),
        ("lookupffn-t64-s8-dense", 593472, 4),
        ("roberta-small", 4194304, 4),
        ("bert-base", 4 * 768 * 3072, 12),
        ("llama-3.2-1b", 6 * 2048 * 8192 + 8192, 16),
    ],
)
def test_shipped_flop(name: str, flop: int, layers: int) -> None:
    workload = load_workload(name)
    assert (flop_per_token(workload.operator), workload.layers) == (flop, layers)


@pytest.mark.parametrize(
    ("hypothetical", "parent"), [("hypo-bert-base-t192", "bert-base"), ("hypo-llama32-1b-t512", "llama-3.2-1b")]
)
def test_shipped_hypothetical_ones_are_the_derived_ones(hypothetical: str, parent: str) -> None:
    derived = derive_lookup(load_workload(parent))
    shipped = load_workload(hypothetical)
    assert (shipped.operator, shipped.layers, shipped.verified) == (derived.operator, derived.layers, False)


# --- what is read --------------------------------------------------------------------------------------------------


def test_defaults() -> None:
    assert read(GEMM) == Workload("g", GemmFfn(512, 2048), layers=2, verified=False, id="w")
    assert read(LOOKUP) == Workload("l", LookupFfn(512, 512, 128, 256), layers=2, verified=False, id="w")


def test_every_field() -> None:
    text = GEMM + "dtype: int4-weight-only\ngated: true\nactivation: silu\nbias: false\nbatch: 8\nthreads: 4\n"
    text += "residency: hot\nevicted_bytes_between_layers: 2 MiB\npage_size: 4 KiB\nsource: me\nverified: true\n"
    operator = GemmFfn(512, 2048, "int4-weight-only", gated=True, activation="silu", bias=False)
    assert read(text) == Workload("g", operator, 2, 8, 4, "hot", 2.0**21, 4096.0, "", "me", True, "w")


def test_projection_dtype_follows_the_tables() -> None:
    for tables, projection in (("fp32", "fp32"), ("bf16", "bf16"), ("int8", "int16")):
        operator = read(LOOKUP, {"table_dtype": tables}).operator
        assert isinstance(operator, LookupFfn)
        assert operator.projection_dtype == projection
    operator = read(LOOKUP + "table_dtype: int8\nprojection_dtype: fp32\n").operator
    assert isinstance(operator, LookupFfn)
    assert operator.projection_dtype == "fp32"


def test_shapes_come_from_the_dense_workload() -> None:
    text = "format_version: 1\nkind: lookup\nname: l\ntables: 192\nrows: 256\ndense: roberta-base\n"
    workload = read(text)
    assert (workload.operator, workload.layers) == (LookupFfn(768, 768, 192, 256), 12)
    assert parse_workload("w.yaml", text) == workload
    Path("mine.yaml").write_text(GEMM)
    assert read(text.replace("roberta-base", "mine")).operator == LookupFfn(512, 512, 192, 256)


def test_indices() -> None:
    def indices(text: str, **overrides: Any) -> IndexDistribution:
        operator = read(FOUR_ROWS + text, overrides).operator
        assert isinstance(operator, LookupFfn)
        return operator.indices

    assert indices("indices: {kind: zipf, skew: 0.8}\n") == IndexDistribution("zipf", 0.8)
    assert indices("indices: uniform\n") == IndexDistribution()
    shares = (0.25, 0.5, 0.25, 0.0)
    assert indices("indices: {kind: histogram, histogram: [1, 2, 1, 0]}\n").histogram == shares
    Path("counts.csv").write_text("10\n20\n10\n0\n")
    assert indices("indices: {kind: histogram, histogram: {file: counts.csv}}\n").histogram == shares
    overrides = {"indices.kind": "zipf", "indices.skew": "1.2"}
    assert indices("", **overrides) == IndexDistribution("zipf", 1.2)


def test_overrides() -> None:
    workload = load_workload("lookupffn-t128-s8-bh4", {"batch": "64", "threads": 8})
    assert (workload.batch, workload.threads) == (64, 8)
    assert (workload.name, workload.verified) == ("LookupFFN t128-s8-bh4 (published)", True)
    changed = load_workload("lookupffn-t128-s8-bh4", {"tables": "96", "projection": "dense"})
    assert changed.operator == LookupFfn(512, 512, 96, 256, "dense")
    assert changed.name == "LookupFFN t128-s8-bh4 (published) with projection 'dense', tables 96"
    assert not changed.verified


def test_equal_dtype_versions_of_a_shipped_pair() -> None:
    for dtype in ("fp32", "bf16", "int8"):
        for name in ("roberta-small", "lookupffn-t128-s8-bh4"):
            assert with_dtype(load_workload(name), dtype).layers == 4


# --- what is refused -----------------------------------------------------------------------------------------------

MIXED = "format_version: 2\nkind: gemm\nname: 5\nlayers: 0\nhiden: 512\nintermediate: 2048\ngated: yes\n"

BROKEN = {
    "unknown key": (GEMM + "actvation: gelu\n", ["w.yaml:7:1: actvation: unknown key (did you mean 'activation'?)"]),
    "other kind's key": (GEMM + "tables: 4\n", ["w.yaml:7:1: tables: belongs to kind 'lookup', not 'gemm'"]),
    "zero layers": (
        GEMM.replace("layers: 2", "layers: 0"),
        ["w.yaml:4:9: layers: a whole number from 1 to 10000 is needed, got 0"],
    ),
    "text for a number": (
        GEMM.replace("512", "'512'"),
        ["w.yaml:5:9: hidden: a whole number from 1 to 1048576 is needed, got '512'"],
    ),
    "half a token": (
        GEMM + "batch: 1.5\n",
        ["w.yaml:7:8: batch: a whole number from 1 to 1073741824 is needed, got 1.5"],
    ),
    "exponent without sign": (
        GEMM + "batch: 1e3\n",
        ["w.yaml:7:8: batch: '1e3' is text in YAML 1.1: write 1.0e+3 or the number in full"],
    ),
    "truth as a number": (
        GEMM + "threads: true\n",
        ["w.yaml:7:10: threads: a whole number from 1 to 65536 is needed, got true"],
    ),
    "unknown dtype": (
        GEMM + "dtype: int8-weightonly\n",
        [
            "w.yaml:7:8: dtype: one of fp32, bf16, int8, int8-weight-only, int4-weight-only is needed, "
            "got 'int8-weightonly' (did you mean 'int8-weight-only'?)"
        ],
    ),
    "word for a truth value": (GEMM + "gated: maybe\n", ["w.yaml:7:8: gated: true or false is needed, got 'maybe'"]),
    "wrong dimension": (
        GEMM + "evicted_bytes_between_layers: 2 MHz\n",
        ["w.yaml:7:31: evicted_bytes_between_layers: '2 MHz' is a frequency, but a size is needed here"],
    ),
    "no unit": (
        GEMM + "evicted_bytes_between_layers: 3\n",
        ["w.yaml:7:31: evicted_bytes_between_layers: a size needs a unit, e.g. '32 KiB', got 3"],
    ),
    "no such page": (GEMM + "page_size: 1 GiB\n", ["w.yaml:7:12: page_size: 4 KiB or 2 MiB is needed, got '1 GiB'"]),
    "duplicate key": (GEMM + "name: again\n", ["w.yaml:7:1: name: duplicate key, first given in line 3"]),
    "rows": (
        LOOKUP.replace("256", "200"),
        ["w.yaml:7:7: rows: must be a power of two, got 200 (did you mean '256'?)"],
    ),
    "block no power of two": (
        LOOKUP + "block: 48\n",
        ["w.yaml:8:8: block: must be a power of two, got 48 (did you mean '64'?)"],
    ),
    "block too wide": (
        LOOKUP + "block: 1024\n",
        ["w.yaml:8:8: block: must divide 512, the hidden size padded to a power of two, got 1024"],
    ),
    "block without bh4": (
        LOOKUP + "projection: dense\nblock: 64\n",
        ["w.yaml:9:1: block: applies to projection 'bh4' only"],
    ),
    "tables x log2(rows)": (
        LOOKUP + "projection_outputs: 1000\n",
        ["w.yaml:8:21: projection_outputs: must be 1024 = tables x log2(rows), got 1000"],
    ),
    "negative skew": (
        LOOKUP + "indices: {kind: zipf, skew: -0.5}\n",
        ["w.yaml:8:29: indices.skew: a number from 0 to 20 is needed, got -0.5"],
    ),
    "no skew": (
        LOOKUP + "indices: {kind: zipf}\n",
        ["w.yaml:8:10: indices: missing key 'skew', which kind 'zipf' needs"],
    ),
    "skew without zipf": (
        LOOKUP + "indices: {kind: uniform, skew: 1}\n",
        ["w.yaml:8:26: indices.skew: applies to kind 'zipf' only, got kind 'uniform'"],
    ),
    "indices key": (
        LOOKUP + "indices: {kind: zipf, skew: 1, skw: 2}\n",
        ["w.yaml:8:32: indices.skw: unknown key (did you mean 'skew'?)"],
    ),
    "indices kind": (
        LOOKUP + "indices: {kind: zip, skew: 1}\n",
        ["w.yaml:8:17: indices.kind: one of uniform, zipf, histogram is needed, got 'zip' (did you mean 'zipf'?)"],
    ),
    "histogram length": (
        LOOKUP + "indices: {kind: histogram, histogram: [1, 2]}\n",
        ["w.yaml:8:39: indices.histogram: one share for each of the 256 rows is needed, got 2"],
    ),
    "histogram values": (
        FOUR_ROWS + "indices: {kind: histogram, histogram: [1, -2, 1, x]}\n",
        [
            "w.yaml:8:43: indices.histogram.1: a share or count >= 0 is needed, got -2",
            "w.yaml:8:50: indices.histogram.3: a share or count >= 0 is needed, got 'x'",
        ],
    ),
    "histogram of nothing": (
        FOUR_ROWS + "indices: {kind: histogram, histogram: [0, 0, 0, 0]}\n",
        ["w.yaml:8:39: indices.histogram: at least one share must be above 0"],
    ),
    "histogram file missing": (
        FOUR_ROWS + "indices: {kind: histogram, histogram: {file: nope.csv}}\n",
        ["w.yaml:8:46: indices.histogram.file: no such file, got 'nope.csv'"],
    ),
    "histogram too long for zipf": (
        LOOKUP.replace("256", "2097152") + "indices: {kind: zipf, skew: 1}\n",
        ["w.yaml:7:7: rows: at most 1048576 rows with indices of kind 'zipf', got 2097152"],
    ),
    "unknown dense": (
        LOOKUP + "dense: roberta-smal\n",
        ["w.yaml:8:8: dense: no such workload, got 'roberta-smal' (did you mean 'roberta-small'?)"],
    ),
    "dense is a look-up": (
        LOOKUP + "dense: lookupffn-t64-s8-dense\n",
        ["w.yaml:8:8: dense: must name a GEMM workload, this is a look-up, got 'lookupffn-t64-s8-dense'"],
    ),
    "dense of another width": (
        LOOKUP + "dense: roberta-base\n",
        ["w.yaml:5:9: hidden: must be 768, the hidden size of 'roberta-base', which this replaces, got 512"],
    ),
    "no shape": (
        "format_version: 1\nkind: lookup\nname: l\n",
        [
            "w.yaml:1:1: missing key 'hidden': state it, or name in 'dense' the workload that this replaces",
            "w.yaml:1:1: missing key 'layers': state it, or name in 'dense' the workload that this replaces",
            "w.yaml:1:1: missing key 'rows', which kind 'lookup' needs",
            "w.yaml:1:1: missing key 'tables', which kind 'lookup' needs",
        ],
    ),
    "unknown kind": (
        "format_version: 1\nkind: conv\nname: c\n",
        ["w.yaml:2:7: kind: one of gemm, lookup is needed, got 'conv'"],
    ),
    "all faults together": (
        MIXED,
        [
            "w.yaml:1:1: missing key 'hidden', which kind 'gemm' needs",
            "w.yaml:1:17: format_version: must be 1, the version this program reads, got 2",
            "w.yaml:3:7: name: a text of 1 to 500 characters is needed, got 5",
            "w.yaml:4:9: layers: a whole number from 1 to 10000 is needed, got 0",
            "w.yaml:5:1: hiden: unknown key (did you mean 'hidden'?)",
            "w.yaml:7:8: gated: 'yes' would be a truth value in YAML 1.1: write true, false or 'yes'",
        ],
    ),
    "a list": ("- a\n", ["w.yaml:1:1: a mapping of keys to values is needed, got a list"]),
    "null": ("~\n", ["w.yaml:1:1: a mapping of keys to values is needed, got nothing"]),
    "empty": ("", ["w.yaml: the file is empty"]),
    "truncated": (
        "kind: [gemm\n",
        ["w.yaml:2:1: not YAML: expected ',' or ']', but got '<stream end>' while parsing a flow sequence"],
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_workloads(case: str) -> None:
    text, expected = BROKEN[case]
    assert faults(text) == expected


BROKEN_OVERRIDES = {
    "unknown": ("bacth", "3", "--set: bacth: unknown key (did you mean 'batch'?)"),
    "word": ("batch", "x", "--set: batch: a whole number from 1 to 1073741824 is needed, got 'x'"),
    "nothing": ("batch", "", "--set: batch: a whole number from 1 to 1073741824 is needed, got nothing"),
    "trap": ("batch", "1e3", "--set: batch: '1e3' is text in YAML 1.1: write 1.0e+3 or the number in full"),
    "shape": ("rows", "100", "--set: rows: must be a power of two, got 100 (did you mean '128'?)"),
    "nested": ("indices.skew", "0.5", "--set: indices: missing key 'kind': uniform, zipf or histogram"),
}


@pytest.mark.parametrize("case", BROKEN_OVERRIDES)
def test_broken_overrides(case: str) -> None:
    key, value, expected = BROKEN_OVERRIDES[case]
    assert faults(LOOKUP, {key: value}) == [expected]


def test_broken_histogram_file() -> None:
    text = FOUR_ROWS + "indices: {kind: histogram, histogram: {file: h.csv}}\n"
    Path("h.csv").write_text("1\n2\nx\n4\n")
    assert faults(text) == ["h.csv:3:1: indices.histogram: one share or count >= 0 a line is needed, got 'x'"]
    with pytest.raises(SpecFileError) as caught:
        parse_workload("upload.yaml", text)
    rule = "a file cannot be named here: write the shares as a list, got 'h.csv'"
    assert str(caught.value) == f"upload.yaml:8:46: indices.histogram.file: {rule}"


def test_dense_with_faults_of_its_own() -> None:
    Path("mine.yaml").write_text(GEMM + "dtype: fp64\n")
    assert faults(LOOKUP + "dense: mine\n") == [
        "mine.yaml:7:8: dtype: one of fp32, bf16, int8, int8-weight-only, int4-weight-only is needed, got 'fp64'",
        "w.yaml:8:8: dense: names a workload with faults of its own, got 'mine'",
    ]


def test_no_such_workload() -> None:
    for name, start in (("roberta-bse", "roberta-bse"), ("", "''"), ("a\0b", r"'a\x00b'")):
        with pytest.raises(SpecFileError) as caught:
            load_workload(name)
        assert str(caught.value).startswith(f"{start}: no such workload; there are bert-base, ")
    with pytest.raises(SpecFileError, match=r"give a YAML file or a config.json \(did you mean 'roberta-base'\?\)"):
        load_workload("roberta-bse")
    with pytest.raises(SpecFileError, match=r"^nope.yaml: no such file$"):
        load_workload("./nope.yaml")
    with pytest.raises(SpecFileError, match="no such file"):
        load_workload("a\0b/config.json")


# --- Hugging Face --------------------------------------------------------------------------------------------------


def config(**changes: Any) -> str:
    """CONFIG with changes; a key set to ... is left out."""
    return json.dumps({key: value for key, value in (CONFIG | changes).items() if value is not ...}, indent=2)


@pytest.mark.parametrize(
    ("content", "operator", "layers"),
    [
        (CONFIG, GemmFfn(2048, 8192, gated=True, activation="silu", bias=False), 16),
        (CONFIG | {"mlp_bias": True}, GemmFfn(2048, 8192, gated=True, activation="silu", bias=True), 16),
        (
            {"model_type": "gpt2", "n_embd": 1600, "n_layer": 48, "activation_function": "gelu_new", "n_inner": None},
            GemmFfn(1600, 6400),
            48,
        ),
        (
            {"model_type": "opt", "hidden_size": 768, "ffn_dim": 3072, "num_hidden_layers": 12},
            GemmFfn(768, 3072, activation="relu"),
            12,
        ),
        (
            {
                "architectures": ["RobertaForMaskedLM"],
                "hidden_size": 768,
                "intermediate_size": 3072,
                "num_hidden_layers": 12,
                "hidden_act": "gelu",
            },
            GemmFfn(768, 3072),
            12,
        ),
        (
            {
                "model_type": "gemma3",
                "text_config": {
                    "model_type": "gemma3_text",
                    "hidden_size": 1152,
                    "intermediate_size": 6912,
                    "num_hidden_layers": 26,
                    "hidden_activation": "gelu_pytorch_tanh",
                },
            },
            GemmFfn(1152, 6912, gated=True, bias=False),
            26,
        ),
    ],
    ids=["llama", "mlp_bias", "gpt2", "opt", "architecture", "text_config"],
)
def test_huggingface_configs(content: dict[str, Any], operator: GemmFfn, layers: int) -> None:
    workload = read(json.dumps(content), name="config.json")
    assert (workload.operator, workload.layers, workload.verified) == (operator, layers, True)
    assert (workload.id, workload.name, workload.source) == ("model", "model", "Hugging Face config.json")
    assert load_workload(".") == load_huggingface_config(".") == workload


def test_huggingface_overrides() -> None:
    workload = read(config(), {"dtype": "bf16", "batch": 1}, "config.json")
    assert workload.operator == GemmFfn(2048, 8192, "bf16", gated=True, activation="silu", bias=False)
    assert workload.verified
    unknown = read(config(model_type="newest"), {"gated": True}, "config.json")
    assert isinstance(unknown.operator, GemmFfn)
    assert unknown.operator.gated


def test_huggingface_agrees_with_the_shipped_preset() -> None:
    operator = read(config(), name="config.json").operator
    assert operator == load_workload("llama-3.2-1b").operator


ACTIVATIONS = "gelu, gelu_new, gelu_fast, gelu_python, gelu_pytorch_tanh, gelu_accurate, silu, swish, relu"
TYPES = (
    "llama, mistral, qwen2, qwen3, gemma, gemma2, gemma3, gemma3_text, phi3, olmo, olmo2, granite, cohere, stablelm, "
    "smollm3, bert, roberta, xlm-roberta, camembert, distilbert, electra, gpt2, gpt_neo, gpt_neox, gptj, opt, phi"
)
GATED_RULE = f"tells whether the FFN is gated and must be one of {TYPES}; for another model set 'gated'"

BROKEN_CONFIGS = {
    "missing size": (
        config(hidden_size=...),
        [
            "config.json:1:1: missing key 'hidden_size' (or d_model, n_embd, dim): "
            "the config does not say the hidden size"
        ],
    ),
    "gated without intermediate": (
        config(intermediate_size=None),
        [
            "config.json:1:1: missing key 'intermediate_size' (or ffn_dim, n_inner, hidden_dim): "
            "the config does not say the intermediate size"
        ],
    ),
    "types": (
        config(hidden_size="2048", num_hidden_layers=0),
        [
            "config.json:3:18: hidden_size: a whole number from 1 to 1048576 is needed, got '2048'",
            "config.json:5:24: num_hidden_layers: a whole number from 1 to 10000 is needed, got 0",
        ],
    ),
    "truth for a size": (
        config(intermediate_size=True),
        ["config.json:4:24: intermediate_size: a whole number from 1 to 4194304 is needed, got true"],
    ),
    "experts": (
        config(num_local_experts=8),
        [
            "config.json:7:24: num_local_experts: a mixture of experts is not supported: "
            "a token uses only some of the experts, got 8"
        ],
    ),
    "model type": (
        config(model_type="lama"),
        [f"config.json:2:17: model_type: {GATED_RULE}, got 'lama' (did you mean 'llama'?)"],
    ),
    "no model type": (config(model_type=...), [f"config.json:1:1: missing key 'model_type': it {GATED_RULE}"]),
    "activation": (
        config(hidden_act="glu"),
        [f"config.json:6:17: hidden_act: one of {ACTIVATIONS} is needed, got 'glu' (did you mean 'gelu'?)"],
    ),
    "activation type": (
        config(hidden_act=3),
        [f"config.json:6:17: hidden_act: one of {ACTIVATIONS} is needed, got 3"],
    ),
    "truncated": (
        '{"hidden_size": 3,',
        ["config.json:1:19: not JSON: Expecting property name enclosed in double quotes"],
    ),
    "not JSON": ("hidden_size: 3\n", ["config.json:1:1: not JSON: Expecting value"]),
    "NaN": ('{"hidden_size": NaN}', ["config.json: not JSON: NaN is not a JSON number"]),
    "digits": (
        '{"hidden_size": ' + "9" * 5000 + "}",
        ["config.json: not JSON: a number has too many digits"],
    ),
    "depth": ('{"a":' * 100_000, ["config.json: not JSON: nested too deep"]),
    "duplicate": (
        '{"model_type": "bert",\n "hidden_size": 3,\n "hidden_size": 4}',
        ["config.json:3:2: hidden_size: duplicate key, first given in line 2"],
    ),
    "list": ("[1]", ["config.json:1:1: a JSON object is needed, got a list"]),
    "null": ("null", ["config.json:1:1: a JSON object is needed, got nothing"]),
    "empty": ("", ["config.json: the file is empty"]),
    "huge": (" " * (1 << 20) + "{}", ["config.json: a file may have at most 1048576 bytes"]),
}


@pytest.mark.parametrize("case", BROKEN_CONFIGS)
def test_broken_configs(case: str) -> None:
    text, expected = BROKEN_CONFIGS[case]
    assert faults(text, name="config.json") == expected


def test_config_that_is_no_text() -> None:
    Path("config.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SpecFileError, match="not UTF-8 text"):
        load_workload("config.json")
    Path("config.json").unlink()
    with pytest.raises(SpecFileError, match=r"^config.json: no such file$"):
        load_workload(".")


# --- no input gives a traceback ------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    ["layers", "hidden", "rows", "tables", "block", "stages", "indices", "dense", "projection", "kind", "batch", "name"]
)


def assert_workload_or_faults(call: Callable[[], Workload]) -> None:
    try:
        workload = call()
    except SpecFileError as error:
        if not error.faults:
            raise AssertionError("refused without a fault") from error
    else:
        assert isinstance(workload, Workload)


@settings(deadline=None)
@given(st.sampled_from([GEMM, LOOKUP]), st.dictionaries(FIELDS, VALUES, max_size=3))
def test_wrong_values_give_faults_only(text: str, overrides: dict[str, Any]) -> None:
    assert not load("w.yaml", text).faults
    assert_workload_or_faults(lambda: parse_workload("w.yaml", text, overrides))


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([*CONFIG, "text_config", "architectures", "num_experts"]), VALUES, max_size=3))
def test_wrong_configs_give_faults_only(changes: dict[str, Any]) -> None:
    Path("config.json").write_text(json.dumps(CONFIG | changes))
    assert_workload_or_faults(lambda: load_huggingface_config("config.json"))
