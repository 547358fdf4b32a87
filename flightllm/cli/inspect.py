"""flightllm inspect: what is in a package."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from flightllm.cli.common import common, print_json, size, table

if TYPE_CHECKING:
    from flightllm.lengths import Policy
    from flightllm.package import Manifest


@click.command("inspect", short_help="Show what is in a package.")
@click.argument("package", type=click.Path())
@click.option("--listing", is_flag=True, help="The program, disassembled, with symbols.")
@click.option("--memory", is_flag=True, help="The memory map of a channel.")
@click.option("--tensors", is_flag=True, help="Number formats and bits per weight of every matrix.")
@click.option(
    "--length-policy",
    is_flag=True,
    help="Instructions and bytes if programs served one length, or buckets of them, each.",
)
@click.option("--verify", is_flag=True, help="Compare the checksums of the memory images too.")
@common
def command(
    package: str, listing: bool, memory: bool, tensors: bool, length_policy: bool, verify: bool, as_json: bool
) -> None:
    """Show what is in PACKAGE: a summary, or the parts asked for."""
    from flightllm import api

    found = api.inspect(package, listing=listing, verify=verify)
    manifest = found.manifest
    policies = _policies(package, manifest) if length_policy else []
    if as_json:
        document = found.to_json()
        document |= {"length_policy": [asdict(p) | {"bytes": p.bytes} for p in policies]} if length_policy else {}
        print_json(document)
        return
    parts = []
    if memory:
        parts.append(_memory(manifest))
    if tensors:
        parts.append(_tensors(manifest))
    if length_policy:
        ours = policies[-1]
        rows = [[p.name, p.programs, p.instructions, size(p.bytes), f"{p.bytes / ours.bytes:,.0f}"] for p in policies]
        head = [
            "prompts and contexts of 1 to " + f"{manifest.limits.max_context:,}",
            "programs",
            "instructions",
            "bytes",
            "times ours",
        ]
        parts.append(table(rows, head))
    if listing:
        parts.append(found.listing.rstrip("\n"))
    if not parts:
        parts.append(_summary(manifest))
    if verify:
        parts.append(f"verified: the checksums of all {len(manifest.files)} files agree")
    click.echo("\n\n".join(parts))


def _policies(package: str, manifest: Manifest) -> list[Policy]:
    from flightllm.isa import decode_program
    from flightllm.lengths import policies
    from flightllm.package import Package

    return policies(manifest, decode_program(bytes(Package.open(package).program)))


def _summary(m: Manifest) -> str:
    arch, model = m.arch, m.model
    images = arch.cores * arch.channels
    kinds: dict[str, int] = {}
    for region in m.memory:
        kinds[region.kind] = kinds.get(region.kind, 0) + region.bytes
    rows: list[list[Any]] = [
        ["name", m.name],
        ["model", f"{model.arch}, {model.layers} layers, dim {model.dim}, vocabulary {model.vocab:,}"],
        [
            "board",
            f"{m.board}: {arch.cores} core(s) x {arch.channels} channels x {arch.vpus_text}, config {m.arch_digest}",
        ],
        [
            "context",
            f"{m.limits.max_context:,} tokens (model: {model.max_context:,}), chunks of up to {m.limits.max_chunk}",
        ],
        ["KV cache", f"{m.kv_bits} bits"],
        ["weights", f"{sum(t.rows * t.k for t in m.tensors):,} in {len(m.tensors)} matrices"],
        ["bits per weight", f"{m.bits_per_weight():.3f} (scales, headers and padding included)"],
        ["program", f"{m.instructions:,} instructions, {size(m.files['program.bin'].bytes)}"],
        ["images", f"{images} x {size(m.image_bytes)} = {size(images * m.image_bytes)}"],
    ]
    top = max(r.end for r in m.memory)
    share = 100 * top / arch.channel_bytes
    rows.append(["memory per channel", f"{size(top)} of {size(arch.channel_bytes)} ({share:.1f} %)"])
    rows += [[f"  {kind}", size(count)] for kind, count in kinds.items()]
    return table(rows)


def _memory(m: Manifest) -> str:
    rows = [[f"{r.addr:#010x}", f"{r.end:#010x}", r.bytes, r.kind, r.name] for r in m.memory]
    return table(rows, ["from", "to", "bytes/channel", "kind", "name"])


def _tensors(m: Manifest) -> str:
    rows = []
    for t in m.tensors:
        shares = sorted(t.formats.items(), key=lambda item: -item[1])
        formats = shares[0][0] if len(shares) == 1 else ", ".join(f"{name} {100 * part:.0f} %" for name, part in shares)
        rows.append([t.node, t.rows, t.k, t.bits_per_weight, f"{t.addr:#x}", t.bytes, formats])
    return table(rows, ["matrix", "rows", "k", "bits/weight", "address", "bytes/channel", "formats"])
