"""Readers of rotary embeddings and attentions: layouts of heads, cached positions, masks, factors on the scores."""

from __future__ import annotations

import numpy as np

from flightllm.errors import ModelError
from flightllm.frontends.onnx.masks import window_of
from flightllm.frontends.onnx.match import Match
from flightllm.frontends.onnx.reader import decimal
from flightllm.frontends.onnx.rope import Angles, frequencies, from_table, snap
from flightllm.frontends.onnx.run import Reader, Run, Value
from flightllm.ir.ops import Attention, Rope

_ROWS = 4096  # of cos and sin tables that are compared; further down fp32 angles are coarse


def disagree(run: Run, match: Match, why: str) -> ModelError:
    """ModelError about shapes that do not fit each other."""
    assert match.node is not None
    return ModelError("shapes that disagree", where=run.flow.place(match.node), why=why, do="export the model again")


def _rope(run: Run, match: Match, tensor: str) -> Value:
    info = match.info
    value = run.pieces.select(run.value(match.data[0]), match)
    factor, value = value.factor, Value(value.source, value.width, value.index)
    count, first = run.probe.tokens, run.probe.past
    where = np.arange(first, first + count)
    if info["positions"]:
        positions = run.control(info["positions"])
        given = np.asarray(positions).reshape(-1)
        if given.size == 1 and count > 1:
            given = given + np.arange(count)
        if (
            not np.array_equal(given, where)
            or not run.flow.is_constant(info["cos"])
            or not run.flow.is_constant(info["sin"])
        ):
            raise run.pieces.error(
                match, "rotary embedding at other positions than the tokens'", f"{given[:4]} for {where[:4]}"
            )
        tables = [run.constants.value(info[n]) for n in ("cos", "sin")]
        if tables[0].ndim != 2 or tables[0].shape != tables[1].shape or len(tables[0]) < max(2, first + count):
            raise disagree(
                run, match, f"cos {list(tables[0].shape)}, sin {list(tables[1].shape)} for position {first + count - 1}"
            )
        angles: Angles | None = from_table(*tables)
        cos, sin = (t[where].astype(np.float64) for t in tables)
    else:
        angles = frequencies(run, info["cos"], info["sin"], where)
        cos, sin = (np.asarray(run.control(info[n]), np.float64) for n in ("cos", "sin"))
    rotary = 2 * cos.shape[-1]
    if "turn" in info:
        rotary = cos.shape[-1]
        _check_turn(run, match, rotary)
    if angles is None or cos.size != count * cos.shape[-1]:
        raise run.pieces.error(
            match, "cos and sin of unknown origin", "they are neither tables by position nor Cos and Sin of angles"
        )
    size = (
        value.index.shape[-1] if value.index.ndim == 4 else (value.width // info["heads"] if info["heads"] else rotary)
    )
    if info["rotary"] not in (0, rotary) or rotary > size:
        raise disagree(
            run, match, f"rotary_embedding_dim {info['rotary']}, cos has {rotary // 2} angles, a head {size}"
        )
    angles = _verified(run, match, angles, cos.reshape(count, -1), sin.reshape(count, -1), where)
    heads = run.pieces.heads(value, size, match)
    source = value.source
    if info["interleaved"]:
        source = run.pieces.interleave(source, heads, size, rotary, match)
    op = Rope(heads, size, angles.inv_freq, angles.factor)
    return Value(run.pieces.add(op, (source,), value.width, match), value.width, value.index, factor)


def _check_turn(run: Run, match: Match, rotary: int) -> None:
    """The sin operand must be (-second half, first half) of x."""
    half, nodes = match.info["turn"]
    shape = run.value(match.data[0]).index.shape
    local = np.broadcast_to(np.arange(1, shape[-1] + 1, dtype=np.float32), shape)
    env: dict[str, np.ndarray] = {match.data[0]: np.ascontiguousarray(local)}
    for node in nodes:
        inputs = [(env[i] if i in env else run.control(i)) if i else None for i in node.input]
        results = run.runner.run(node, inputs)
        env.update(zip((o for o in node.output if o), results, strict=False))
    n = rotary // 2
    want = np.concatenate([-np.arange(n + 1, 2 * n + 1), np.arange(1, n + 1)])
    if shape[-1] != rotary or env[half].shape != shape or not np.array_equal(env[half], np.broadcast_to(want, shape)):
        raise run.pieces.error(
            match,
            "a rotation that is not of two halves",
            "expected x * cos + (-second half, first half) * sin over a whole head",
        )


def _verified(run: Run, match: Match, angles: Angles, cos: np.ndarray, sin: np.ndarray, where: np.ndarray) -> Angles:
    """Frequencies [rotary / 2] and factor, snapped, after a comparison with the cos and sin that the file uses."""
    inv = angles.inv_freq
    if "turn" in match.info:
        n = len(inv) // 2
        if not np.array_equal(inv[:n], inv[n:]):
            raise run.pieces.error(
                match, "a rotation whose halves have different angles", "interleaved pairs are not recognised here"
            )
        inv = inv[:n]
        if not (np.array_equal(cos[:, :n], cos[:, n:]) and np.array_equal(sin[:, :n], sin[:, n:])):
            raise run.pieces.error(
                match, "a rotation whose halves have different angles", "cos and sin repeat for both halves"
            )
        cos, sin = cos[:, :n], sin[:, :n]
    angles = snap(Angles(inv, decimal(angles.factor), angles.error), run.pieces.angles)
    inv = angles.inv_freq
    angle = where[:, None] * inv
    worst = max(
        np.abs(cos - angles.factor * np.cos(angle)).max(initial=0),
        np.abs(sin - angles.factor * np.sin(angle)).max(initial=0),
    )
    if not worst < 1e-2 * max(1.0, abs(angles.factor)):
        raise run.pieces.error(
            match, "cos and sin are not those of the tokens' positions", f"they differ by up to {worst:.3g}"
        )
    return angles


def _attention(run: Run, match: Match, tensor: str) -> Value:
    info = match.info
    q, k, v = (run.pieces.select(run.value(d), match) for d in match.data)
    flat = q.index.ndim == 3
    past = 0 if info["internal_past"] else run.probe.past
    scale = (1.0 if info["scale"] is None else info["scale"]) * q.factor * k.factor
    if v.factor != 1:
        raise run.pieces.error(match, "a constant factor on an attention's values", f"factor {v.factor:g}")
    indices = [
        _by_head(run, match, x.index, h) for x, h in ((q, info["heads"]), (k, info["kv_heads"]), (v, info["kv_heads"]))
    ]
    if info["turned"]:
        indices[1] = indices[1].swapaxes(-1, -2)
    heads, size = indices[0].shape[1], indices[0].shape[3]
    if info["scale"] is None:
        scale *= size**-0.5
    kv_heads = k.width // size
    if q.width != heads * size or k.width != kv_heads * size or v.width != k.width or heads % max(kv_heads, 1):
        raise disagree(run, match, f"{heads} heads of {size}: queries {q.width}, keys {k.width}, values {v.width} wide")
    if not np.array_equal(indices[0], _layout(heads, heads, size, run.probe.tokens, 0)):
        raise run.pieces.error(match, "queries in an unknown layout", f"shape {list(q.index.shape)}")
    cached = past and (k.past or v.past)
    for what, index in (("keys", indices[1]), ("values", indices[2])):
        shown = index.shape[1]
        want = _layout(shown, kv_heads, size, run.probe.tokens, past if cached else 0)
        if shown not in (heads, kv_heads) or not np.array_equal(index, want):
            raise run.pieces.error(
                match,
                f"{what} in an unknown layout",
                f"shape {list(index.shape)}; expected {heads} or {kv_heads} heads, cached positions first, then the new ones",
            )
    if run.flow.inputs.cache and not cached and not info["internal_past"]:
        raise run.pieces.error(
            match, "an attention without cache in a model with one", "its keys are the new tokens only"
        )
    where = run.flow.place(match.node) if match.node is not None else ""
    window = window_of(run, info["masks"], info["causal"], where)
    op = Attention(heads, kv_heads, size, _scale_value(scale, size), window)
    name = run.pieces.add(op, (q.source, k.source, v.source), heads * size, match)
    if flat:
        return Value(name, heads * size, q.index)
    return Value(name, heads * size, _layout(heads, heads, size, run.probe.tokens, 0))


def _by_head(run: Run, match: Match, index: np.ndarray, heads: int) -> np.ndarray:
    """[1, heads, tokens, size] from that or from [1, tokens, heads * size]."""
    if index.ndim == 3 and heads and index.shape[-1] % heads == 0:
        return index.reshape(*index.shape[:2], heads, -1).swapaxes(1, 2)
    if index.ndim != 4 or index.shape[0] != 1:
        raise disagree(run, match, f"attention input of shape {list(index.shape)}, heads {heads}")
    return index


def _layout(shown: int, heads: int, size: int, tokens: int, past: int) -> np.ndarray:
    """Index array [1, shown, past + tokens, size] of heads repeated shown / heads times, cached positions first."""
    head = np.arange(shown)[:, None, None] // max(shown // max(heads, 1), 1)
    column = np.arange(size)
    new = np.arange(tokens)[:, None] * (heads * size) + head * size + column
    old = -1 - ((head * past + np.arange(past)[:, None]) * size + column)
    return np.concatenate([old, new], axis=1)[None]


def _scale_value(scale: float, size: int) -> float:
    """head_dim ** -0.5 in float64 if the file's factors, perhaps in half precision, amount to it."""
    usual = float(size**-0.5)
    return usual if abs(scale / usual - 1) < 2**-10 else decimal(scale)


def take_part(run: Run, match: Match, value: Value, first: int, count: int) -> Value:
    """Columns first .. first + count - 1 of a value [1, tokens, width] (a fused projection)."""
    return run.pieces.select(Value(value.source, value.width, value.index[..., first : first + count]), match)


def _group_query(run: Run, match: Match, tensor: str) -> Value:
    info, heads, kv_heads = match.info, match.info["heads"], match.info["kv_heads"]
    values = [run.pieces.plain(run.value(d), match) for d in match.data]
    if len(values) == 1:
        size, rest = divmod(values[0].width, heads + 2 * kv_heads)
        run.pieces.features(values[0], values[0].width, match)
        parts = ((0, heads), (heads, kv_heads), (heads + kv_heads, kv_heads))
        q, k, v = (take_part(run, match, values[0], a * size, n * size) for a, n in parts)
    else:
        q, k, v = values
        size, rest = divmod(q.width, heads)
    if rest or k.width != kv_heads * size or v.width != k.width:
        raise disagree(
            run, match, f"{heads} heads, {kv_heads} kv heads: queries {q.width}, keys {k.width}, values {v.width} wide"
        )
    tokens = run.pieces.features(q, q.width, match)
    run.pieces.features(k, k.width, match), run.pieces.features(v, v.width, match)
    sources = [q.source, k.source]
    if info["rotary"]:
        tables = [run.constants.value(info[n]) for n in ("cos", "sin")]
        rotary = 2 * tables[0].shape[-1]
        if tables[0].ndim != 2 or tables[0].shape != tables[1].shape or len(tables[0]) < 2 or rotary > size:
            raise disagree(run, match, f"cos {list(tables[0].shape)}, sin {list(tables[1].shape)}, head size {size}")
        rows = np.arange(min(len(tables[0]), _ROWS))
        cos, sin = (t[rows].astype(np.float64) for t in tables)
        angles = _verified(run, match, from_table(*tables), cos, sin, rows)
        for i, count in ((0, heads), (1, kv_heads)):
            if info["interleaved"]:
                sources[i] = run.pieces.interleave(sources[i], count, size, rotary, match)
            op = Rope(count, size, angles.inv_freq, angles.factor)
            sources[i] = run.pieces.add(op, (sources[i],), count * size, match)
    scale = info["scale"] or size**-0.5
    core = Attention(heads, kv_heads, size, _scale_value(scale, size), info["window"])
    name = run.pieces.add(core, (*sources, v.source), heads * size, match)
    return Value(name, heads * size, tokens[..., None] * (heads * size) + np.arange(heads * size))


ATTENTION_READERS: dict[str, Reader] = {"rope": _rope, "attention": _attention, "group_query": _group_query}
