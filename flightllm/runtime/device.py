"""What executes a package: the protocol every executor follows, and the way to open one by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from flightllm.errors import FlightError, ToolError
from flightllm.package import Manifest, Package

#: executors that `open_device` knows, and whether this version has them
DEVICES = {"functional": True, "rtl": True, "hls": True, "board": True}


@runtime_checkable
class Device(Protocol):
    """One accelerator, simulated or real, that runs the program of the package loaded last."""

    def load(self, package: Package) -> None:
        """Put the images and the program into the device's memory; the KV cache is empty afterwards."""

    def reset(self) -> None:
        """Begin a new conversation: the next `run_chunk` has pos 0. Images stay."""

    def run_chunk(self, ids: list[int], pos: int, nlog: int, masken: bool) -> np.ndarray:
        """Run the program once.

        Sets the host registers of every core, writes the ids, runs to HALT, reads the logits and takes off the striping.

        Args:
            ids: 1..max_chunk token ids.
            pos: position of ids[0]. Any position up to the number of tokens in the cache: a smaller one overwrites what came after.
            nlog: logits wanted, for the last `nlog` tokens of the chunk, 0..len(ids).
            masken: apply attention block masks (prompt) or not (generation).

        Returns:
            float32 [nlog, vocab].
        """

    def counters(self) -> dict[str, int]:
        """Counts since `load` (instructions, bytes moved, beats, cycles ...), whatever the device can count."""


def check_chunk(manifest: Manifest, ids: Sequence[int], pos: int, nlog: int) -> None:
    """The arguments of `run_chunk` are within the package's limits.

    Raises:
        FlightError: with the figures.
    """
    limits, vocab = manifest.limits, manifest.model.vocab
    if not 1 <= len(ids) <= limits.max_chunk:
        raise FlightError(
            f"a chunk of {len(ids)} tokens",
            why=f"the program takes 1 to {limits.max_chunk}",
            do="feed fewer tokens at a time",
        )
    if len(ids) > limits.room(max(0, pos)):
        raise FlightError(
            f"a chunk of {len(ids)} tokens from position {pos}",
            why=f"it goes beyond a multiple of {limits.block}, where the attention masks change",
            do=f"feed {limits.room(pos)} tokens, then the rest",
        )
    if pos < 0 or pos + len(ids) > limits.max_context:
        why = f"positions {pos} to {pos + len(ids) - 1}, the package has room for {limits.max_context}"
        raise FlightError(
            "the context is full", why=why, do="compile with a larger --max-context, or shorten the prompt"
        )
    if not 0 <= nlog <= len(ids):
        raise FlightError(
            f"logits of {nlog} tokens wanted",
            why=f"the chunk has {len(ids)}",
            do="ask for logits of at most the tokens fed",
        )
    bad = next((i for i in ids if not 0 <= i < vocab), None)
    if bad is not None:
        raise FlightError(
            f"token id {bad} is not in the vocabulary",
            why=f"ids go from 0 to {vocab - 1}",
            do="use ids of this package's tokenizer",
        )


def gather_logits(manifest: Manifest, nlog: int, read: Callable[[int, int, int, int], np.ndarray]) -> np.ndarray:
    """Read the logits of `nlog` tokens and take off the striping.

    Args:
        manifest: of the package.
        nlog: rows wanted.
        read: (core, channel, address, bytes) -> uint8 [bytes] of that channel's memory.

    Returns:
        float32 [nlog, vocab].
    """
    host, channels = manifest.host, manifest.arch.channels
    parts = []
    for core, count in enumerate(host.logits_parts):
        slots = -(-count // channels)
        rows = np.empty((nlog, slots, channels), np.float32)
        for channel in range(channels):
            raw = read(core, channel, host.logits_addr, nlog * host.logits_stride)
            table = np.frombuffer(raw.tobytes(), np.uint8).reshape(nlog, host.logits_stride)[:, : 4 * slots]
            rows[:, :, channel] = np.ascontiguousarray(table).view("<f4")
        parts.append(rows.reshape(nlog, slots * channels)[:, :count])
    return np.concatenate(parts, axis=1)


def open_device(name: str, package: Package, **opts: Any) -> Device:
    """Open the executor called `name` and load the package into it; `opts` are the executor's.

    rtl_window ("FIRST:COUNT", for "rtl"): only these token positions run in RTL, see `flightllm.executors.rtl.window`. For "board":
    xclbin, device, timeout, report, as `flightllm.runtime.board.BoardDevice` takes them.

    Raises:
        ToolError: the executor is unknown or not in this version.
    """
    if not DEVICES.get(name, False):
        known = ", ".join(n for n, there in DEVICES.items() if there)
        what = f"executor {name!r} is not in this version" if name in DEVICES else f"unknown executor {name!r}"
        raise ToolError(what, do=f"use one of: {known}")
    device: Device
    if name == "rtl":
        from flightllm.executors.rtl import RtlDevice

        window = opts.pop("rtl_window", None)
        device = RtlDevice(**opts)
        if window is not None:
            from flightllm.executors.rtl.window import Window, WindowDevice

            device = WindowDevice(Window.parse(window), device)
    elif name == "board":
        from flightllm.runtime.board import BoardDevice

        device = BoardDevice(**opts)
    elif name == "hls":
        from flightllm.executors.hls import HlsDevice

        device = HlsDevice(**opts)
    else:
        from flightllm.executors.functional import FunctionalDevice

        device = FunctionalDevice(**opts)
    device.load(package)
    return device
