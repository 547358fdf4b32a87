"""What an attention mask lets through, found by evaluating it: causal, or causal within a window."""

from __future__ import annotations

import numpy as np

from flightllm.errors import UnsupportedError
from flightllm.frontends.onnx.evaluate import EvaluationError
from flightllm.frontends.onnx.run import Probe, Run

#: an added mask of at most this hides a key
HIDDEN = -1e4
_TOKENS = 24
_SMALL = 7, 9  # lengths that stand for a window constant while its effect is looked for
_DO = "the machine has causal masks and sliding windows; export the model with one of these"


def window_of(run: Run, masks: list[tuple[str, str]], causal: bool, where: str) -> int:
    """Window of an attention's masks; 0 if they are plainly causal.

    masks: (tensor, how): "add" (0 or very negative), "keep" / "hide" (bool), "any" (bool keeps, float adds). causal: the
    operator hides later keys itself. A window larger than the lengths that are tried shows up as an integer constant of the mask's
    sub-graph whose replacement by a small number makes a window of that size.

    Raises:
        UnsupportedError: the mask is neither.
    """
    names = [m for m, _ in masks]
    if not masks and causal:
        if run.probe.past:
            raise UnsupportedError(
                "causal attention over a cache without a mask",
                where=where,
                why="is_causal counts queries from position 0, whatever is cached",
                do="export with an attention mask",
            )
        return 0
    tried = [(p.tokens + p.past, _classify(run.at(p), masks, causal, where)) for p in _probes(run)]
    window = max(w for _, w in tried)
    if any(w != window and not (w == 0 and window >= keys) for keys, w in tried):
        raise UnsupportedError(
            "a mask whose window depends on the length", where=where, why=f"(keys, window): {tried}", do=_DO
        )
    if window:
        return window
    found = [
        w for name, value in _large_constants(run, names) if (w := _window_by(run, masks, causal, where, name, value))
    ]
    return min(found, default=0)


def _window_by(run: Run, masks: list[tuple[str, str]], causal: bool, where: str, name: str, value: int) -> int:
    """The window that an integer constant of a mask makes; 0 if it makes none (a bound on lengths, say)."""
    shifts = set()
    array = run.file.array(name)
    for small in _SMALL:
        replaced = {name: np.full(array.shape, small if value > 0 else -small, array.dtype)}
        try:
            window = _classify(run.at(_probes(run)[0], replaced), masks, causal, where)
        except (_OtherSizeError, EvaluationError):
            return 0
        shifts.add(window - small)
        if window == 0:
            return 0
    if len(shifts) != 1:
        raise UnsupportedError(
            f"a mask that depends on the constant {value} in an unknown way", where=where, why=f"tensor {name}", do=_DO
        )
    return abs(value) + shifts.pop()


class _OtherSizeError(UnsupportedError):
    """The mask has not the size of queries times keys."""


def _probes(run: Run) -> list[Probe]:
    """Lengths to try: the file's own if static."""
    static_tokens = isinstance(run.file.shapes[run.flow.inputs.ids][1], int)
    cache = run.flow.inputs.cache
    static_past = bool(cache) and isinstance(run.file.shapes[cache[0]][2], int)
    if static_tokens and (static_past or not cache):
        return [run.probe]
    if not cache:
        return [Probe(_TOKENS, 0), Probe(13, 0)]
    if static_past:
        return [Probe(_TOKENS, run.probe.past)]
    if static_tokens:
        return [Probe(run.probe.tokens, _TOKENS), Probe(run.probe.tokens, 11)]
    return [Probe(_TOKENS, 5), Probe(3, 20)]


def _classify(run: Run, masks: list[tuple[str, str]], causal: bool, where: str) -> int:
    """Window at one probe; 0: none, or not shorter than the keys."""
    tokens, past = run.probe.tokens, run.probe.past
    keys = past + tokens
    seen = np.ones((tokens, keys), bool)
    for tensor, how in masks:
        value = run.control(tensor)
        if value.dtype == bool:
            keep = ~value if how == "hide" else value
        elif value.dtype.kind in "fV":
            number = value.astype(np.float32)
            odd = (number != 0) & ~(number <= HIDDEN)
            if odd.any():
                raise UnsupportedError(
                    "attention scores with an added bias",
                    where=where,
                    why=f"tensor {tensor} has the value {number[odd].flat[0]:g}; a mask has 0 or at most {HIDDEN:g}",
                    do="ALiBi and relative position biases are not supported",
                )
            keep = number == 0
        else:
            raise UnsupportedError(f"a mask of type {value.dtype}", where=where, why=f"tensor {tensor}", do=_DO)
        if keep.ndim > 2 and any(d != 1 for d in keep.shape[:-2]):
            same = keep.reshape(-1, *keep.shape[-2:])
            if (same != same[:1]).any():
                raise UnsupportedError(
                    "a mask that differs between heads", where=where, why=f"shape {keep.shape}", do=_DO
                )
            keep = same[0]
        keep = keep.reshape(keep.shape[-2:]) if keep.ndim >= 2 else keep
        try:
            seen &= np.broadcast_to(keep, seen.shape)
        except ValueError:
            raise _OtherSizeError(
                "a mask of the wrong size",
                where=where,
                why=f"{keep.shape} for {tokens} queries and {keys} keys",
                do=_DO,
            ) from None
    query, key = np.arange(past, keys)[:, None], np.arange(keys)[None]
    if causal:
        seen &= key <= (query - past)
    visible = key <= query
    if np.array_equal(seen, visible):
        return 0
    width = int(seen[-1].sum())
    if width and np.array_equal(seen, visible & (query - key < width)):
        return width
    wrong = np.argwhere(seen != visible)[0]
    raise UnsupportedError(
        "a mask that is neither causal nor a sliding window",
        where=where,
        why=f"with {tokens} tokens after {past} cached, query {past + wrong[0]} {'sees' if seen[tuple(wrong)] else 'misses'} key {wrong[1]}",
        do=_DO,
    )


def _large_constants(run: Run, tensors: list[str]) -> list[tuple[str, int]]:
    """Integer scalars that could be windows of about the lengths tried or more, in the sub-graph that makes the tensors; each by name and value."""
    file, seen, todo = run.file, set(tensors), list(tensors)
    result = []
    while todo:
        name = todo.pop()
        if name in file.constants:
            shape = file.shape(name)
            if int(np.prod(shape, dtype=np.int64)) == 1:
                value = file.array(name).reshape(-1)[0]
                if value.dtype.kind == "i" and max(_SMALL) < abs(int(value)) < 1 << 31:
                    result.append((name, int(value)))
            continue
        node = file.producer.get(name)
        if node is None or run.flow.is_data(name):
            continue
        new = [i for i in node.input if i and i not in seen]
        seen.update(new)
        todo.extend(new)
    return sorted(result)
