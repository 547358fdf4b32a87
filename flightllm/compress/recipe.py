"""Recipes: how every matrix and attention of a model is compressed, from options or a TOML or JSON file.

A file has a table `default` and a list `rule`; each rule has `match` (a pattern or a list of them) and fields. Rules apply in
order, field by field: a later rule overrides an earlier one. Fields are listed in docs/compression.md.
"""

from __future__ import annotations

import json
import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from flightllm.compress.attention import KV_BITS, AttentionRecipe, block_mask, parse_attention
from flightllm.compress.patterns import Pattern
from flightllm.compress.tensor import AS_STORED, RowRange, TensorRecipe
from flightllm.errors import RecipeError
from flightllm.ir.graph import Graph
from flightllm.streams.formats import GROUPS, KEPT, WIDTHS, EntryFormat

MATRIX_FIELDS = ("weights", "group", "affine", "sparsity", "passes", "activations", "search", "rows", "producer")
ATTENTION_FIELDS = ("kv", "attention")
#: of the model as a whole: in the default table only
MODEL_FIELDS = ("calibrate", "calibrate_tokens")
#: tokens of a calibration text that are read unless the recipe says otherwise
CALIBRATION_TOKENS = 1024
#: source of a recipe without a file
OPTIONS = "options"
#: code widths up to this get offsets unless the recipe says otherwise (measured: docs/compression.md)
AFFINE_UP_TO = 4
#: the least a budget can ask for: 2-bit codes and their scales
BUDGET_RANGE = (2.15, 9.0)
_CODING = ("weights", "affine", "sparsity", "passes", "rows")


@dataclass(frozen=True)
class Rule:
    """One rule: patterns, checked fields, and how messages name it."""

    patterns: tuple[Pattern, ...]
    fields: dict[str, Any]
    where: str

    def matches(self, role: str, layer: int | None) -> bool:
        return any(p.matches(role, layer) for p in self.patterns)


@dataclass(frozen=True)
class CalibrationRecipe:
    """Which text to calibrate on: path of a UTF-8 file, and how many of its first tokens."""

    text: str
    tokens: int = CALIBRATION_TOKENS


@dataclass(frozen=True)
class Recipe:
    """All rules, the default first. Same recipe and model, same result."""

    rules: tuple[Rule, ...] = ()
    source: str = OPTIONS
    calibration: CalibrationRecipe | None = None
    _data: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_options(cls, **options: Any) -> Recipe:
        """From command-line options (None: not given): weights, group, affine, sparsity, activations, search, kv, attention,
        calibrate, calibrate_tokens."""
        return cls.from_dict({"default": {k: v for k, v in options.items() if v is not None}}, OPTIONS)

    @classmethod
    def load(cls, path: str | Path, **options: Any) -> Recipe:
        """From a .toml or .json file. Options (None: not given) take the place of the same fields of its default table."""
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8")
            data = json.loads(text) if path.suffix.lower() == ".json" else tomllib.loads(text)
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(
                "the recipe cannot be read", where=str(path), why=str(error), do="give a readable .toml or .json file"
            ) from error
        except ValueError as error:
            raise RecipeError(
                "the recipe is not valid TOML or JSON",
                where=str(path),
                why=str(error),
                do="correct the place named; see docs/compression.md for the form of a recipe",
            ) from error
        if not isinstance(data, dict):
            raise RecipeError(
                "a recipe is a table with default and rule",
                where=str(path),
                do="see docs/compression.md for the form of a recipe",
            )
        given = {k: v for k, v in options.items() if v is not None}
        if "calibrate" in given:  # paths in the file are relative to the file, this one is not
            given["calibrate"] = os.path.abspath(given["calibrate"])
        if given and isinstance(data.get("default", {}), dict):
            data = {**data, "default": _merge(dict(data.get("default", {})), given)}
        return cls.from_dict(data, str(path))

    @classmethod
    def from_dict(cls, data: dict[str, Any], source: str = "recipe") -> Recipe:
        """From a dictionary of the file's form; RecipeError names the rule and what is allowed."""
        _known(data, ("default", "rule"), source)
        folder = Path(source).parent if Path(source).suffix else Path()
        default = data.get("default", {})
        rules = data.get("rule", [])
        if not isinstance(default, dict) or not isinstance(rules, list) or not all(isinstance(r, dict) for r in rules):
            raise RecipeError(
                "default must be a table and rule a list of tables",
                where=source,
                do="write [default] and [[rule]] (docs/compression.md)",
            )
        where = source if source == OPTIONS else f"{source}: default"
        _known(default, MATRIX_FIELDS + ATTENTION_FIELDS + MODEL_FIELDS, where)
        of_matrices = {k: v for k, v in default.items() if k not in MODEL_FIELDS}
        out = [_rule({**of_matrices, "match": "*"}, where, folder)]
        out += [_rule(r, f"{source}: rule {i + 1} ({r.get('match')!r})", folder) for i, r in enumerate(rules)]
        return cls(tuple(out), source, _calibration(default, where, folder), data)

    def to_dict(self) -> dict[str, Any]:
        """The recipe as given, for manifests."""
        return self._data

    def check(self, graph: Graph) -> None:
        """RecipeError if a rule matches nothing in this model, or row ranges are outside a matrix it matches."""
        matrices = [(n.role, n.layer, n.dim) for n in graph.linears()]
        attentions = [(n.role, n.layer, n.dim) for n in graph.attentions()]
        for rule in self.rules[1:]:
            for kind, known, nodes in (
                ("matrix", MATRIX_FIELDS, matrices),
                ("attention", ATTENTION_FIELDS, attentions),
            ):
                if not any(f in rule.fields for f in known):
                    continue
                for pattern in rule.patterns:
                    if not any(pattern.matches(role, layer) for role, layer, _ in nodes):
                        roles = ", ".join(dict.fromkeys(role for role, _, _ in nodes))
                        raise RecipeError(
                            f"pattern {pattern.text!r} matches no {kind} of this model",
                            where=rule.where,
                            do=f"{kind} roles: {roles}; layers 0-{graph.info.layers - 1}",
                        )
            for r in rule.fields.get("rows", ()):
                for role, layer, rows in matrices:
                    if rule.matches(role, layer) and r[1] > rows:
                        raise RecipeError(
                            f"rows {r[0]} to {r[1]} are outside {role}",
                            where=rule.where,
                            why=f"it has {rows} rows",
                            do="give rows within the matrix",
                        )

    def for_node(self, name: str, role: str, layer: int | None) -> TensorRecipe:
        """What the recipe says about one matrix. RecipeError if fields contradict each other."""
        values: dict[str, Any] = {}
        where = self.source
        for rule in self.rules:
            if rule.matches(role, layer):
                values = _merge(values, {k: v for k, v in rule.fields.items() if k in MATRIX_FIELDS})
                where = rule.where if len(rule.fields) else where
        return _tensor_recipe(values, f"{where}, for {name}")

    def for_attention(self, layer: int, role: str = "attn.core") -> AttentionRecipe:
        """What the recipe says about the attention of a layer."""
        values: dict[str, Any] = {}
        for rule in self.rules:
            if rule.matches(role, layer):
                if "kv" in rule.fields:
                    values["kv_bits"] = rule.fields["kv"]
                values.update(rule.fields.get("attention", {}))
        return AttentionRecipe(**values)

    def block_mask(self, layer: int, layers: int, heads: int, blocks: int) -> np.ndarray | None:
        """Block mask of a layer, bool [heads, blocks, blocks] (query, key), or None if all blocks are computed."""
        mask = self.for_attention(layer).mask
        return None if mask is None else block_mask(mask, layer, layers, heads, blocks)


def parse_weights(text: str) -> int | float | str:
    """The option --weights: "4" is a code width, "3.5" (or "4.0") a budget of bits per weight, "as-stored" as it says."""
    if text == AS_STORED:
        return text
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        raise RecipeError(
            f"weights = {text!r} is not understood",
            where=OPTIONS,
            do=f'one of {", ".join(map(str, WIDTHS))}, a budget such as 3.5, or "{AS_STORED}"',
        ) from None


def _known(data: dict[str, Any], known: tuple[str, ...], where: str) -> None:
    unknown = sorted(str(k) for k in set(data) - set(known))
    if unknown:
        raise RecipeError(f"unknown field {', '.join(unknown)}", where=where, do=f"known fields: {', '.join(known)}")


def _merge(values: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Fields of a later rule over those of earlier ones; `passes` and its short forms replace each other."""
    out = dict(values)
    if "passes" in new:
        for short in ("weights", "affine", "sparsity"):
            out.pop(short, None)
    elif {"weights", "affine", "sparsity"} & set(new):
        out.pop("passes", None)
    out.update(new)
    return out


def _calibration(default: dict[str, Any], where: str, folder: Path) -> CalibrationRecipe | None:
    text, tokens = default.get("calibrate"), default.get("calibrate_tokens", CALIBRATION_TOKENS)
    if text is None:
        if "calibrate_tokens" in default:
            raise RecipeError("calibrate_tokens without calibrate", where=where, do="name a text to calibrate on")
        return None
    if not isinstance(text, str | os.PathLike) or not str(text):
        raise RecipeError(
            f"calibrate = {text!r} is not the path of a text file", where=where, do="give the path of a UTF-8 text file"
        )
    if not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 1:
        raise RecipeError(f"calibrate_tokens = {tokens!r} is not possible", where=where, do="a whole number, 1 or more")
    return CalibrationRecipe(str(folder / text), tokens)


def _rule(data: dict[str, Any], where: str, folder: Path) -> Rule:
    if set(data) & set(MODEL_FIELDS):
        raise RecipeError(
            f"{', '.join(sorted(set(data) & set(MODEL_FIELDS)))} in a rule",
            where=where,
            why="the model is calibrated as a whole",
            do="move it to [default]",
        )
    _known(data, ("match", *MATRIX_FIELDS, *ATTENTION_FIELDS), where)
    match = data.get("match")
    texts = [match] if isinstance(match, str) else match
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) and t for t in texts):
        raise RecipeError(
            "a rule needs match: a pattern or a list of patterns",
            where=where,
            do='e.g. match = "mlp.down" or match = ["attn.*", "lm_head"]',
        )
    fields = {k: v for k, v in data.items() if k != "match"}
    _check_fields(fields, where)
    if "attention" in fields:
        fields["attention"] = parse_attention(fields["attention"], where, folder)
    if "rows" in fields:
        fields["rows"] = _rows(fields["rows"], where)
    return Rule(tuple(Pattern.parse(t, where) for t in texts), fields, where)


def _check_fields(fields: dict[str, Any], where: str) -> None:
    """Values of the simple fields; contradictions inside one rule."""

    def one_of(name: str, allowed: tuple[Any, ...]) -> None:
        value = fields.get(name)
        # 64.0 and True are equal to whole numbers but are none
        if name in fields and (value not in allowed or type(value) is not type(allowed[0])):
            raise RecipeError(
                f"{name} = {value!r} is not allowed", where=where, do=f"one of {', '.join(map(str, allowed))}"
            )

    one_of("group", GROUPS)
    one_of("sparsity", KEPT)
    one_of("affine", (True, False))
    one_of("search", (True, False))
    one_of("activations", ("a8", "dual"))
    one_of("kv", KV_BITS)
    weights = fields.get("weights", 8)
    if isinstance(weights, float):
        low, high = BUDGET_RANGE
        if not low <= weights <= high:
            raise RecipeError(
                f"a budget of {weights} bits per weight cannot be met",
                where=where,
                do=f"{low} to {high}, scales and headers included",
            )
    elif weights != AS_STORED:
        one_of("weights", WIDTHS)
    if "passes" in fields:
        clash = [k for k in ("weights", "affine", "sparsity") if k in fields]
        if clash:
            raise RecipeError(f"passes and {', '.join(clash)} in one rule", where=where, do="give one or the other")
        _passes(fields["passes"], where)
    if "producer" in fields and not isinstance(fields["producer"], str):
        raise RecipeError("producer must be a name", where=where, do='e.g. producer = "rtn"')


def _passes(items: Any, where: str) -> tuple[EntryFormat, ...]:
    if not isinstance(items, list) or not 1 <= len(items) <= 4 or not all(isinstance(i, dict) for i in items):
        raise RecipeError(
            "passes must be a list of one to four tables", where=where, do="e.g. [{bits = 2}, {bits = 8, n = 2}]"
        )
    out = []
    for item in items:
        _known(item, ("bits", "n", "affine"), f"{where}, passes")
        bits, n = item.get("bits"), item.get("n", 16)
        affine = item.get("affine", len(items) == 1 and n == 16 and bits in WIDTHS and bits <= AFFINE_UP_TO)
        whole = type(bits) is int and type(n) is int
        if not whole or bits not in WIDTHS or n not in KEPT or not isinstance(affine, bool) or (affine and n != 16):
            raise RecipeError(
                f"pass {item} is not possible",
                where=where,
                do=f"bits of {WIDTHS}, n of {KEPT}, affine only with n = 16",
            )
        out.append(EntryFormat(bits, n, affine))
    return tuple(out)


def _rows(items: Any, where: str) -> tuple[tuple[int, int, dict[str, Any]], ...]:
    out = []
    for item in items if isinstance(items, list) else [None]:
        if (
            not isinstance(item, list)
            or len(item) != 3
            or not all(type(i) is int for i in item[:2])
            or not 0 <= item[0] < item[1]
            or not isinstance(item[2], dict)
        ):
            raise RecipeError(
                "rows must be a list of [first, last + 1, {fields}]", where=where, do="e.g. [[0, 64, {weights = 8}]]"
            )
        _known(item[2], ("weights", "affine", "sparsity", "passes"), f"{where}, rows")
        _check_fields(item[2], f"{where}, rows {item[0]} to {item[1]}")
        if isinstance(item[2].get("weights", 8), float | str):
            raise RecipeError(
                "rows take code widths only, no budget and no stored grid",
                where=where,
                do="give a width such as weights = 8",
            )
        out.append((item[0], item[1], item[2]))
    return tuple(out)


def _formats(values: dict[str, Any], where: str) -> tuple[EntryFormat, ...]:
    """Entry formats from `passes` or from weights, sparsity and affine."""
    if "passes" in values:
        return _passes(values["passes"], where)
    n = values.get("sparsity", 16)
    weights = values.get("weights", 8)
    bits = weights if isinstance(weights, int) else 8
    affine = values.get("affine", n == 16 and bits <= AFFINE_UP_TO)
    if affine and n != 16:
        raise RecipeError(
            "affine = true with sparsity", where=where, why="sparse entries have no offsets", do="drop one of them"
        )
    return (EntryFormat(bits, n, affine),)


def _searches(formats: tuple[EntryFormat, ...]) -> bool:
    """Whether scales are searched by default: narrow codes with offsets (measured: docs/compression.md)."""
    return any(f.affine and f.bits <= AFFINE_UP_TO for f in formats)


def _tensor_recipe(values: dict[str, Any], where: str) -> TensorRecipe:
    weights = values.get("weights", AS_STORED if "passes" not in values else 8)
    formats = _formats(values, where)
    budget = weights if isinstance(weights, float) else None
    if budget is not None and formats[0].n != 16:
        raise RecipeError("a budget chooses among dense widths", where=where, do="drop sparsity, or give passes")
    rows = tuple(RowRange(a, b, _formats(_merge(values, f), where)) for a, b, f in values.get("rows", ()))
    return TensorRecipe(
        passes=formats,
        group=values.get("group", 128),
        as_stored=weights == AS_STORED and formats[0].n == 16 and not rows,
        activations=values.get("activations", "a8"),
        search=values.get("search", budget is not None or _searches(formats)),
        rows=rows,
        producer=values.get("producer", "rtn"),
        budget=budget,
        groups=GROUPS if budget is not None and "group" not in values else (),
    )
