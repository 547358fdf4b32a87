"""flightllm build: a project folder for the vendor's tools."""

from __future__ import annotations

from typing import Any

import click

from flightllm.cli.common import common, print_json, settings_option, table
from flightllm.kernel.control_map import FLAVOURS


@click.command("build", short_help="Write a project that makes the kernel with the vendor's tools.")
@click.argument("source", type=click.Path(), required=False)
@click.option("--board", help="Name of a board (see `flightllm boards`) or its file. [default: a package's]")
@click.option(
    "--from",
    "flavour",
    type=click.Choice(FLAVOURS),
    default="rtl",
    show_default=True,
    help="What the kernel is made from.",
)
@click.option("--arch", type=click.Path(), help="TOML file: parameters that differ from the board's config.")
@settings_option
@click.option("-o", "--output", type=click.Path(), help="Folder of the project. [default: BOARD-build]")
@click.option("--force", is_flag=True, help="Replace a project that is there.")
@common
def command(source: str | None, arch: str | None, settings: dict[str, Any], as_json: bool, **options: Any) -> None:
    """Write a project for the vendor's tools: kernel, connections, constraints, Makefile.

    SOURCE is a package, whose config is built, or a TOML file of parameters that differ from the board's config; without it the board's config is
    built. The vendor's tools are not needed here.
    """
    from flightllm import api
    from flightllm.project.write import write_project

    changes = api.arch_overrides(arch, settings)
    project = write_project(source, arch=changes or None, **options)
    if as_json:
        print_json(project.to_json())
        return
    plan = project.plan
    a, cores = plan.arch, "core" if plan.arch.cores == 1 else "cores"
    click.echo(f"{project.path}: {plan.board.title}, kernel from {plan.flavour.upper()}, {len(project.files)} files")
    click.echo(f"{a.cores} {cores} x {a.channels} channels x {a.vpus_text}, {a.clock_mhz:g} MHz\n")
    rows: list[list[Any]] = [
        [place.port, place.tag, "" if place.address is None else f"{place.address:#x}"] for place in plan.places
    ]
    shown = rows if len(rows) <= 6 else [*rows[:3], ["..", "", ""], *rows[-1:]]
    head = ["AXI port", "memory", "address"]
    with_address = any(row[2] for row in rows)
    click.echo(table([row if with_address else row[:2] for row in shown], head if with_address else head[:2]))
    for region in plan.regions:
        click.echo(f"{region.slr}: {region.text}")
    for warning in plan.warnings:
        click.echo(f"warning: {warning}")
    steps = " && ".join(project.next_steps)
    click.echo(
        f"\nWritten for {'Vitis' if plan.board.flow == 'vitis' else 'Vivado'} {plan.build.tools}, not run through it here. Where it is installed:"
    )
    click.echo(f"  cd {project.path} && {steps}")
