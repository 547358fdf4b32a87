"""Frontends: any supported model file to the canonical graph."""

from __future__ import annotations

import os
from pathlib import Path

from flightllm.errors import ModelError
from flightllm.ir.graph import Graph

__all__ = ["load_model", "model_kind", "plain_name"]


def load_model(path: str | os.PathLike[str], synthetic: int | None = None) -> Graph:
    """Read a model.

    Args:
        path: Hugging Face folder, `.gguf` file, `.onnx` file, or a folder with one of these files.
        synthetic: seed of made-up weights in place of the model's (Hugging Face config.json only).

    Raises:
        ModelError: the file is damaged, incomplete or of no known kind. UnsupportedError: it uses something the machine lacks.
    """
    path = Path(path)
    if not path.exists():
        raise ModelError(
            "there is no such model", where=str(path), do="give the path of a model, or the name of an embedded one"
        )
    kind, file = model_kind(path)
    if synthetic is not None and kind != "hf":
        raise ModelError(
            "made-up weights need a Hugging Face config.json", where=str(path), do="give a folder with a config.json"
        )
    if kind == "hf":
        from flightllm.frontends.hf import load_hf

        return load_hf(file, synthetic)
    if kind == "gguf":
        from flightllm.frontends.gguf import load_gguf

        return load_gguf(file)
    from flightllm.frontends.onnx import load_onnx

    return load_onnx(file)


def plain_name(model: Path) -> str:
    """Name of a model's folder or file, without .gguf or .onnx."""
    name = model.resolve().name
    for suffix in (".gguf", ".onnx"):
        name = name.removesuffix(suffix)
    return name


def model_kind(path: Path) -> tuple[str, Path]:
    """("hf" | "gguf" | "onnx", what to open)."""
    if path.is_file():
        if path.name == "config.json":
            return "hf", path.parent
        try:
            with path.open("rb") as f:
                magic = f.read(4)
        except OSError as error:
            raise ModelError(
                "the file cannot be read", where=str(path), why=str(error), do="see to the path and its permissions"
            ) from None
        if magic == b"GGUF" or path.suffix == ".gguf":
            return "gguf", path
        if path.suffix == ".onnx":
            return "onnx", path
        raise ModelError(
            "the file is not a model that flightllm reads",
            where=str(path),
            why=f"it begins with {magic!r} and ends in {path.suffix!r}",
            do="give an .onnx file, a .gguf file, or a Hugging Face folder",
        )
    found = {kind: sorted(path.glob(f"*.{kind}")) for kind in ("onnx", "gguf")}
    if any(path.glob("*.safetensors*")) or not any(found.values()):
        return "hf", path
    for kind, files in found.items():
        if len(files) == 1:
            return kind, files[0]
    names = ", ".join(f.name for files in found.values() for f in files)
    raise ModelError("the folder holds several models", where=str(path), why=names, do="give the path of one file")
