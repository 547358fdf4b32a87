"""Lazy reading of safetensors files, single or sharded: a header is parsed, tensors are views of a memory map."""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from flightllm.errors import ModelError, UnsupportedError

#: dtype names of the format that are read, with their numpy type (BF16 is widened by hand)
DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}
#: dtypes that can stand for weights
FLOATS = {"F64", "F32", "F16", "BF16"}
_HEADER_LIMIT = 100 << 20
_COPY = "get another copy of the file"


@dataclass(frozen=True)
class Entry:
    """One tensor of a file: dtype name, shape, byte range in the file."""

    path: Path
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def size(self) -> int:
        """Bytes in the file."""
        return self.stop - self.start


class SafeTensors:
    """All tensors of a model folder by name.

    Raises:
        ModelError: file missing, truncated, or with a damaged header or index.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.entries: dict[str, Entry] = {}
        index = folder / "model.safetensors.index.json"
        single = folder / "model.safetensors"
        if index.is_file():
            files = self._shards(index)
        elif single.is_file():
            files = [single]
        else:
            raise ModelError(
                "the folder has no weights",
                where=str(folder),
                why="neither model.safetensors nor model.safetensors.index.json is there",
                do="convert other formats with transformers' save_pretrained, or give --synthetic for made-up weights",
            )
        for path in files:
            self._header(path)

    def _shards(self, index: Path) -> list[Path]:
        data = read_json(index)
        names = data.get("weight_map")
        if not isinstance(names, dict) or not all(isinstance(v, str) for v in names.values()):
            raise ModelError(
                "the index of shards has no weight_map", where=str(index), do="get another copy of the file"
            )
        out = []
        for name in sorted(set(names.values())):
            path = self.folder / name
            if len(name) > 255 or Path(name).name != name or not path.is_file():
                raise ModelError(f"shard {name} is missing", where=str(self.folder), do="download the whole model")
            out.append(path)
        return out

    def _header(self, path: Path) -> None:
        try:
            size = path.stat().st_size
            with path.open("rb") as f:
                head = f.read(8)
                length = int.from_bytes(head, "little")
                if len(head) < 8 or length > min(size - 8, _HEADER_LIMIT):
                    raise ModelError(
                        "the file is truncated or not a safetensors file",
                        where=str(path),
                        why=f"{size} bytes, the header claims {length}",
                        do=_COPY,
                    )
                raw = f.read(length)
        except OSError as error:
            raise ModelError(
                "the file cannot be read", where=str(path), why=str(error), do="see to the path and its permissions"
            ) from None
        try:
            header = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise ModelError("the header is damaged", where=str(path), why=str(error), do=_COPY) from None
        if not isinstance(header, dict):
            raise ModelError("the header is damaged", where=str(path), why="it is not a JSON object", do=_COPY)
        for name, item in header.items():
            if name != "__metadata__":
                self.entries[name] = self._entry(path, name, item, 8 + length, size)

    def _entry(self, path: Path, name: str, item: object, base: int, size: int) -> Entry:
        try:
            dtype, shape, (start, stop) = item["dtype"], item["shape"], item["data_offsets"]  # type: ignore[index]
            ok = isinstance(dtype, str) and all(type(n) is int and n >= 0 for n in (*shape, start, stop))
        except (TypeError, KeyError, ValueError):
            ok = False
        if not ok:
            raise ModelError(f"the header's entry of tensor {name} is damaged", where=str(path), do=_COPY)
        if dtype in DTYPES and stop - start != prod(shape) * np.dtype(DTYPES[dtype]).itemsize:
            raise ModelError(
                f"tensor {name}: shape and size disagree",
                where=str(path),
                why=f"{dtype} {list(shape)} in {stop - start} bytes",
                do=_COPY,
            )
        if base + stop > size:
            raise ModelError(
                "the file is truncated",
                where=str(path),
                why=f"tensor {name} ends at {base + stop}, the file at {size}",
                do=_COPY,
            )
        return Entry(path, dtype, tuple(shape), base + start, base + stop)

    def __contains__(self, name: str) -> bool:
        return name in self.entries

    def entry(self, name: str, types: set[str] = FLOATS) -> Entry:
        """A tensor's description; UnsupportedError if it is not of one of `types`."""
        e = self.entries[name]
        if e.dtype not in types:
            raise UnsupportedError(
                f"tensor {name} has type {e.dtype}",
                where=str(e.path),
                why=f"{', '.join(sorted(types))} can stand here",
                do="convert the checkpoint to one of these types",
            )
        return e

    def raw(self, name: str) -> np.ndarray:
        """The tensor as stored (BF16 as uint16), a view of the file."""
        e = self.entry(name, set(DTYPES))
        if e.start == e.stop:
            return np.zeros(e.shape, DTYPES[e.dtype])
        try:
            data = np.memmap(e.path, np.uint8, "r", e.start, e.size)
        except (OSError, ValueError) as error:
            raise ModelError(
                f"tensor {name} cannot be read",
                where=str(e.path),
                why=str(error),
                do="see to its permissions, or get another copy of the file",
            ) from None
        return data.view(DTYPES[e.dtype]).reshape(e.shape)

    def read(self, name: str) -> np.ndarray:
        """A weight as float32."""
        data = self.raw(name)
        if self.entry(name).dtype == "BF16":
            wide = data.astype(np.uint32)
            wide <<= 16
            return wide.view(np.float32)
        with np.errstate(over="ignore"):
            return np.asarray(data, np.float32)


def read_json(path: Path) -> dict:
    """A JSON object from a file; ModelError if it is none."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(
            f"{path.name} cannot be read",
            where=str(path),
            why=str(error),
            do="see to its permissions, or get another copy of the file",
        ) from None
    except (ValueError, RecursionError) as error:
        raise ModelError(
            f"{path.name} is not JSON", where=str(path), why=str(error), do="mend it, or get another copy of the file"
        ) from None
    if not isinstance(data, dict):
        raise ModelError(f"{path.name} is not a JSON object", where=str(path), do="get another copy of the file")
    return data
