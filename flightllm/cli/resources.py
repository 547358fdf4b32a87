"""flightllm resources: what a config needs of an FPGA, without synthesis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from flightllm.cli.common import common, print_json, settings_option, table

if TYPE_CHECKING:
    from flightllm.config.arch import ArchConfig
    from flightllm.config.board import Board
    from flightllm.resources import Estimate

COLUMNS = ("dsp", "lut", "ff", "carry8", "bram36", "uram")


@click.command("resources", short_help="Say what a config needs of an FPGA.")
@click.argument("package", type=click.Path(), required=False)
@click.option("--board", "board_name", help="Name of a board (see `flightllm boards`) or its file.")
@click.option("--arch", type=click.Path(), help="TOML file: parameters that differ from the board's config.")
@settings_option
@click.option("--errors", is_flag=True, help="How far the estimator is from syntheses that it was not fitted to.")
@common
def command(
    package: str | None, board_name: str | None, arch: str | None, settings: dict[str, Any], errors: bool, as_json: bool
) -> None:
    """Estimate DSPs, LUTs, registers and memory blocks of the config of PACKAGE or of a board, unit by unit.

    From recorded synthesis of every unit by Yosys; no placement, no routing, no timing closure.
    """
    from flightllm.resources import estimate, reference_errors

    if errors:
        _errors(reference_errors(), as_json)
        return
    config, board = _config(package, board_name, arch, settings)
    result = estimate(config)
    if as_json:
        print_json(_json(result, board))
        return
    click.echo(_text(result, board))


def _config(
    package: str | None, board_name: str | None, arch: str | None, settings: dict[str, Any]
) -> tuple[ArchConfig, Board | None]:
    from flightllm import api
    from flightllm.config.arch import ArchConfig
    from flightllm.config.board import load_board

    board = load_board(board_name) if board_name else None
    if package is not None:
        from flightllm.package import Package

        base = Package.open(package).manifest.arch
    elif board is not None:
        base = board.arch
    else:
        base = ArchConfig()
    changes = api.arch_overrides(arch, settings)
    return ArchConfig.from_dict(base.to_dict() | changes, "config with the changes given"), board


def _json(result: Estimate, board: Board | None) -> dict[str, Any]:
    from flightllm.resources import reference_errors
    from flightllm.resources.estimate import FLIGHTLLM_U280, LIMITED

    out = result.to_json() | {"flightllm_u280": FLIGHTLLM_U280}
    if board is not None:
        fits = result.fits(board)
        out["board"] = {
            "name": board.name, "slrs": board.slrs, "has": {n: getattr(board.resources, n) for n in LIMITED},
            "fits": fits, "all_fit": all(fits.values()),
        }  # fmt: skip
    out["estimator_error_percent"] = {
        e.name: {r: e.percent(r) for r in COLUMNS if e.percent(r) is not None} for e in reference_errors()
    }
    return out


def _errors(rows: Any, as_json: bool) -> None:
    if as_json:
        print_json(
            [{"name": e.name, "what": e.what, "synthesised": e.synthesised, "estimated": e.estimated} for e in rows]
        )
        return
    body = []
    for e in rows:
        for r in COLUMNS:
            percent = e.percent(r)
            if percent is not None:
                body.append([e.what, r, _number(e.synthesised[r]), _number(e.estimated[r]), f"{percent:+.1f} %"])
    click.echo(table(body, ["reference", "resource", "synthesised", "estimated", "error"]))


def _number(value: float) -> int | float:
    """A whole number as one."""
    return int(value) if float(value).is_integer() else round(value, 1)


def _too_long(result: Estimate) -> list[str]:
    """A line about the units whose longest path takes longer than a cycle of the config's clock."""
    cycle = 1000 / result.arch.clock_mhz
    late = [f"{r.name} ({r.ns:.2f})" for r in result.rows if r.ns > cycle]
    return [f"Longer than a cycle of {result.arch.clock_mhz:g} MHz, {cycle:.2f} ns: {', '.join(late)}."] if late else []


def _text(result: Estimate, board: Board | None) -> str:
    from flightllm.resources.estimate import FLIGHTLLM_U280
    from flightllm.synth.timing import CLOCK_MHZ

    rows: list[list[Any]] = []
    for r in result.rows:
        rows.append([r.name, r.count, *(_number(r.total(c)) for c in COLUMNS), f"{r.ns:.1f}", r.levels])
    rows.append(["sum", None, *(_number(result.total(c)) for c in COLUMNS), "", None])
    parts = [table(rows, ["unit", "instances", *COLUMNS, "longest path ns", "levels"])]
    beside: list[list[Any]] = []
    for name in COLUMNS:
        need = result.total(name)
        per_core = need / result.arch.cores
        cells: list[Any] = [name, _number(need), _number(per_core)]
        if board is not None:
            have = getattr(board.resources, name, None)
            cells += [
                have,
                None if have is None else f"{100 * need / have:.0f} %" + ("" if need <= have else " too much"),
            ]
            cells += [None if have is None else _number(have // board.slrs)]
        cells.append(FLIGHTLLM_U280.get(name))
        beside.append(cells)
    head = ["resource", "needs", "per core"]
    if board is not None:
        head += [f"{board.name} has", "share", "per SLR"]
    parts.append(table(beside, [*head, "FlightLLM on U280"]))
    notes = [
        f"Paths: delay model without placement, {1000 / CLOCK_MHZ:.2f} ns is {CLOCK_MHZ:.0f} MHz. What a board's shell takes comes on top.",
        *_too_long(result),
        *result.notes,
    ]
    if board is not None and not all(result.fits(board).values()):
        short = ", ".join(n for n, ok in result.fits(board).items() if not ok)
        notes.append(f"This config does not fit {board.name}: {short}.")
    return "\n\n".join([*parts, "\n".join(notes)])
