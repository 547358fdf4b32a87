"""The Python API: the same commands as on the command line.

import flightllm

print(flightllm.check("tiny-austen").render())
report = flightllm.compile("tiny-austen", "tiny.flpkg", board="u280")
print(flightllm.inspect("tiny.flpkg", listing=True).listing)
model = flightllm.load("tiny.flpkg")
print(model.run("It is a truth", max_new_tokens=40).text)
print(model.eval(Path("text.txt"), reference="tiny-austen").ratio)
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flightllm.errors import ConfigError, ModelError
from flightllm.package import Manifest, Package
from flightllm.runtime.model import Model, Stats
from flightllm.runtime.sampling import SamplingOptions

if TYPE_CHECKING:
    from flightllm.compiler import CompileReport
    from flightllm.compress import Recipe
    from flightllm.config.arch import ArchConfig
    from flightllm.config.board import Board
    from flightllm.frontends.report import CheckReport
    from flightllm.ir import Graph

__all__ = [
    "Inspection",
    "Model",
    "SamplingOptions",
    "Stats",
    "check",
    "compile",
    "embedded_models",
    "find_model",
    "inspect",
    "load",
    "load_graph",
]

PathLike = str | os.PathLike[str]
#: (stage, done, total)
Progress = Callable[[str, int, int], None]


def embedded_models() -> list[str]:
    """Names of the models inside flightllm, usable wherever a model's path is."""
    folder = resources.files("flightllm") / "models"
    if not folder.is_dir():
        return []
    return sorted(entry.name for entry in folder.iterdir() if (entry / "config.json").is_file())


def find_model(model: PathLike) -> Path:
    """Path of a model given by path or by the name of an embedded one; a path goes before a name.

    Raises:
        ModelError: neither.
    """
    path = Path(model)
    if path.exists():
        return path
    names = embedded_models()
    if str(model) in names:
        return Path(str(resources.files("flightllm") / "models" / str(model)))
    raise ModelError(
        "there is no such model", where=str(model), do=f"give a path, or one of: {', '.join(names) or '-'}"
    )


def load_graph(model: PathLike, synthetic: int | None = None) -> Graph:
    """The graph of a model, uncompressed.

    Args:
        model: an ONNX file, a Hugging Face folder, a GGUF file, or the name of an embedded model.
        synthetic: seed of random weights in the place of the model's.
    """
    path = find_model(model)
    if synthetic is not None and (not isinstance(synthetic, int) or isinstance(synthetic, bool) or synthetic < 0):
        raise ModelError(
            f"synthetic = {synthetic!r} is not possible",
            where=str(path),
            why="a seed is a whole number, 0 or more",
            do="give --synthetic 0 or more",
        )
    from flightllm.frontends import load_model

    graph: Graph = load_model(path) if synthetic is None else load_model(path, synthetic=synthetic)
    return graph


def load_shapes(model: PathLike) -> Graph:
    """The graph of a model whose weights do not matter: of a Hugging Face folder only the config.json is read."""
    from flightllm.frontends import model_kind

    path = find_model(model)
    return load_graph(path, 0 if path.exists() and model_kind(path)[0] == "hf" else None)


def check(model: PathLike) -> CheckReport:
    """Every operator of a model: supported or not, where, why not, what to do.

    Returns:
        the report: `.supported`, `.rows`, `.render()`, `.to_json()`. What is wrong with the model is in it, not raised.

    Raises:
        ModelError: there is no such model.
    """
    from flightllm.frontends.report import check_model

    return check_model(find_model(model))


@dataclass(frozen=True)
class Inspection:
    """What is in a package. listing: the program with symbols, "" if it was not asked for. verified: whether all checksums were compared."""

    manifest: Manifest
    listing: str = ""
    verified: bool = False

    def to_json(self) -> dict[str, Any]:
        """The manifest, with `listing` (lines) and `verified` if they were asked for."""
        document: dict[str, Any] = json.loads(self.manifest.to_json())
        document |= {"listing": self.listing.splitlines()} if self.listing else {}
        return document | ({"verified": True} if self.verified else {})


def inspect(package: PathLike | Package, *, listing: bool = False, verify: bool = False) -> Inspection:
    """What is in a package.

    Args:
        package: folder, or an open `Package`.
        listing: disassemble the program.
        verify: compare the checksums of the memory images too.

    Raises:
        PackageError: not a package, another version, or damaged.
    """
    opened = package if isinstance(package, Package) else Package.open(package)
    if verify:
        opened.verify()
    manifest, text = opened.manifest, ""
    if listing:
        from flightllm.isa import disassemble

        text = disassemble(opened.program, manifest.symbols(), manifest.sections())
    return Inspection(manifest, text, verify)


def arch_overrides(file: PathLike | None = None, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Parameters of the architecture config that differ from the board's: from a TOML file, then from `settings`.

    Raises:
        ConfigError: the file cannot be read, or a parameter is unknown or of the wrong type.
    """
    from flightllm.config.arch import check_types

    data: dict[str, Any] = {}
    if file is not None:
        try:
            data = tomllib.loads(Path(file).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(
                "the architecture config cannot be read",
                where=str(file),
                why=str(error),
                do="give a TOML file of NAME = VALUE lines, as in the table [arch] of a board file",
            ) from None
        check_types(data, str(file))
    check_types(settings or {}, "options of the architecture config")
    return data | dict(settings or {})


def make_recipe(file: PathLike | None = None, **options: Any) -> Recipe:
    """A compression recipe from a file, options (weights, group, sparsity, kv, ...; None: not given), or both: options go first."""
    from flightllm.compress import Recipe, parse_weights

    if isinstance(options.get("weights"), str):
        options["weights"] = parse_weights(options["weights"])
    return Recipe.load(Path(file), **options) if file is not None else Recipe.from_options(**options)


def board_config(board: Board, arch: PathLike | Mapping[str, Any] | None) -> ArchConfig:
    """The config of a board with the parameters of a file or a mapping that differ; ConfigError as of `arch_overrides`."""
    from flightllm.config.arch import ArchConfig

    overrides = arch_overrides(settings=arch) if isinstance(arch, Mapping) else arch_overrides(arch)
    return ArchConfig.from_dict(
        board.arch.to_dict() | overrides, f"config of board {board.name} with the changes given"
    )


def compile(
    model: PathLike,
    output: PathLike | None = None,
    *,
    board: str,
    arch: PathLike | Mapping[str, Any] | None = None,
    weights: str | float | None = None,
    group: int | None = None,
    sparsity: int | None = None,
    kv: int | None = None,
    recipe: PathLike | None = None,
    calibrate: PathLike | None = None,
    calibrate_tokens: int | None = None,
    max_context: int | None = None,
    synthetic: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> CompileReport:
    """Compile a model into a package.

    Args:
        model: path, or name of an embedded model.
        output: package folder; default: the model's name with the suffix .flpkg in the current folder.
        board: name of a board or path of its file.
        arch: file or mapping of the parameters that differ from the board's architecture config.
        weights: bits of a weight ("4"), a budget of bits per weight ("3.5"), or "as-stored".
        group: columns per scale. sparsity: N of N:16. kv: bits of the KV cache. recipe: file that says more.
        calibrate: text file to measure the inputs of every matrix on, which makes narrow weights and budgets better.
        calibrate_tokens: how many of its first tokens; default: 1,024.
        max_context: positions of the KV cache; default: the model's.
        synthetic: seed of random weights in the place of the model's (which may then have none).
        force: replace an existing package.
        progress: called with (stage, done, total).

    Returns:
        the report: `.tables()`, `.to_json()`.

    Raises:
        FlightError: of the kind that fits; nothing is left on disk then.
    """
    from flightllm.compiler import compile_model
    from flightllm.config.board import load_board

    path = find_model(model)
    target = load_board(board)
    return compile_model(
        load_graph(path, synthetic),
        board=target,
        arch=board_config(target, arch),
        recipe=make_recipe(
            recipe,
            weights=weights,
            group=group,
            sparsity=sparsity,
            kv=kv,
            calibrate=calibrate,
            calibrate_tokens=calibrate_tokens,
        ),
        max_context=max_context,
        output=Path(output) if output is not None else default_output(path),
        force=force,
        progress=progress,
    )


def default_output(model: Path) -> Path:
    """NAME.flpkg in the current folder, NAME being the model's without .gguf or .onnx."""
    from flightllm.frontends import plain_name

    return Path(f"{plain_name(model)}.flpkg")


def load(
    package: PathLike | Package, on: str = "functional", chunk: int | None = None, *, verify: bool = True, **opts: Any
) -> Model:
    """Load a package on an executor.

    Args:
        package: folder, or an open `Package`.
        on: executor: "functional", "rtl" (the hardware, simulated), or "board" (a card; opts: xclbin, device, timeout).
        chunk: prompt tokens per run of the program; results do not depend on it.
        verify: compare the checksums of the memory images first (about a second per GB); not for an open `Package`.
        opts: of the executor.

    Raises:
        PackageError: not a package, another version, or damaged.
    """
    return Model.open(package, on=on, chunk=chunk, verify=verify, **opts)
