"""What a recipe says about one attention: KV precision, sliding window with sink tokens, and block masks of the prompt."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from flightllm.errors import RecipeError

#: positions of a mask block, for queries and keys
MASK_BLOCK = 64
KV_BITS = (8, 4)
_KEYS = {
    "window": {"window", "sink"},
    "blocks": {"file"},
    "local+global": {"local", "global", "stride"},
}


@dataclass(frozen=True)
class BlockMask:
    """Which 64 x 64 blocks of the prompt's attention are computed.

    kind "blocks": `file` is an .npz with one bool array [layers, heads, query blocks, key blocks] (or [heads, ...] or [...] for all
    alike). kind "local+global": the last `local` key blocks, the first `first` ones, and every `stride`-th (0: none).
    """

    kind: str
    file: str = ""
    local: int = 0
    first: int = 0
    stride: int = 0


@dataclass(frozen=True)
class AttentionRecipe:
    """kv_bits: 8 or 4. window: tokens a query sees back (0: the model's own). sink: tokens always seen. mask: block mask or None."""

    kv_bits: int = 8
    window: int = 0
    sink: int = 0
    mask: BlockMask | None = None


def parse_attention(spec: Any, where: str, folder: Path) -> dict[str, Any]:
    """The `attention` field of a rule to fields of `AttentionRecipe`; RecipeError if it is not one of the known kinds."""
    if not isinstance(spec, dict) or spec.get("kind") not in list(_KEYS):  # a list: what was given may have no hash
        raise RecipeError(
            f"attention = {spec!r} is not understood",
            where=where,
            do="give a table with kind = " + ", ".join(f'"{k}" ({", ".join(sorted(v))})' for k, v in _KEYS.items()),
        )
    kind = spec["kind"]
    unknown = sorted(set(spec) - _KEYS[kind] - {"kind"})
    if unknown:
        known = ", ".join(sorted(_KEYS[kind]))
        raise RecipeError(f"attention of kind {kind} has no {', '.join(unknown)}", where=where, do=f"known: {known}")
    numbers = {}
    for key in sorted(_KEYS[kind] - {"file"}):
        value = spec.get(key, 0)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 31:
            raise RecipeError(
                f"attention: {key} = {value!r} is not allowed",
                where=where,
                why="a whole number >= 0 is needed, below 2^31",
                do="give a number in this range",
            )
        numbers[key] = value
    if kind == "window":
        if numbers["window"] < 1:
            raise RecipeError(
                "attention of kind window needs a window of at least 1 token", where=where, do="e.g. window = 256"
            )
        return {"window": numbers["window"], "sink": numbers["sink"]}
    if kind == "blocks":
        if not isinstance(spec.get("file"), str):
            raise RecipeError("attention of kind blocks needs file, an .npz", where=where, do='e.g. file = "masks.npz"')
        return {"mask": BlockMask("blocks", file=str(folder / spec["file"]))}
    if numbers["local"] < 1:
        raise RecipeError("attention of kind local+global needs local >= 1 block", where=where, do="e.g. local = 4")
    return {
        "mask": BlockMask("local+global", local=numbers["local"], first=numbers["global"], stride=numbers["stride"])
    }


def block_mask(mask: BlockMask, layer: int, layers: int, heads: int, blocks: int) -> np.ndarray:
    """The mask of one layer, bool [heads, blocks, blocks] (query block, key block), causal, with the diagonal set.

    RecipeError if a mask file is missing, has another shape or covers fewer blocks than asked for.
    """
    i, j = np.indices((blocks, blocks))
    if mask.kind == "local+global":
        plain = (i - j < mask.local) | (j < mask.first)
        if mask.stride:
            plain |= j % mask.stride == 0
        out = np.broadcast_to(plain, (heads, blocks, blocks))
    else:
        out = _from_file(mask.file, layer, layers, heads, blocks)
    return (out & (j <= i)) | (i == j)


def _from_file(file: str, layer: int, layers: int, heads: int, blocks: int) -> np.ndarray:
    what = "the attention mask file cannot be read"
    do = "give an .npz with one bool array, as numpy.savez writes it"
    if Path(file).is_file() and not zipfile.is_zipfile(file):  # numpy would suggest to unpickle it
        raise RecipeError(what, where=file, why="it is not an .npz", do=do)
    try:
        with np.load(file, allow_pickle=False) as data:
            arrays = {name: data[name] for name in data.files}
    except (OSError, ValueError, EOFError, AttributeError, TypeError, KeyError) as error:
        raise RecipeError(what, where=file, why=getattr(error, "strerror", None) or str(error), do=do) from error
    except Exception as error:  # a damaged archive raises whatever zipfile and zlib raise
        raise RecipeError(
            "the attention mask file is damaged", where=file, why=repr(error), do="save it again with numpy.savez"
        ) from error
    if len(arrays) != 1:
        raise RecipeError(
            "the mask file must hold one array",
            where=file,
            why=f"it holds {sorted(arrays)}",
            do="save one bool array with numpy.savez",
        )
    array = next(iter(arrays.values()))
    if array.dtype != np.bool_ or not 2 <= array.ndim <= 4:
        raise RecipeError(
            "the mask must be bool [layers, heads, query blocks, key blocks]",
            where=file,
            why=f"it is {array.dtype} {list(array.shape)}",
            do="save one bool array of such a shape with numpy.savez",
        )
    array = array.reshape((1,) * (4 - array.ndim) + array.shape)
    have, need = array.shape, (layers, heads, blocks, blocks)
    fits = have[0] in (1, layers) and have[1] in (1, heads) and have[2] >= blocks and have[3] >= blocks
    if not fits:
        raise RecipeError(
            "the mask does not fit the model",
            where=file,
            why=f"it is {list(have)}; {list(need)} are needed (layers and heads may be 1, blocks may be more)",
            do="make the mask for this model and --max-context",
        )
    part = array[layer if have[0] > 1 else 0, :, :blocks, :blocks]
    return np.broadcast_to(part, (heads, blocks, blocks))
