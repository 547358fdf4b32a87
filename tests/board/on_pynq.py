"""Runs in the environment of unmodified pynq, as its own process: on_pynq.py SCENARIO FOLDER KERNEL. Prints one JSON document.

FOLDER has what test_pynq.py put there: p.flpkg, card.xclbin, ids.json, KERNEL.txt. KERNEL: rtl or hls.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from time import monotonic

import numpy as np
import pynq
from pynq.overlay import Overlay

from flightllm.errors import FlightError
from flightllm.isa import encode_program
from flightllm.isa.control import ALU, HALT, LOOP
from flightllm.package import Package
from flightllm.runtime.board import BoardDevice
from flightllm.runtime.model import Model
from flightllm.sim.card import SimulatedCard, open_kernel
from flightllm.sim.card.plugin import plug_in

FOLDER, KERNEL = Path(sys.argv[2]), sys.argv[3]
GIVEN = json.loads((FOLDER / "ids.json").read_text())
PROMPT, NEW = GIVEN["prompt"], GIVEN["new"]
#: seconds of a time-out; errors have to come soon after
TIMEOUT = 60.0


def make(**options):
    """A plugged-in card of pynq's."""
    library = (FOLDER / f"{KERNEL}.txt").read_text()
    card = SimulatedCard(partial(open_kernel, f"{KERNEL}:{library}"), **options)
    plug_in(card)
    return card


def opened(xclbin="card.xclbin", timeout=TIMEOUT):
    device = BoardDevice(FOLDER / xclbin, timeout=timeout)
    device.load(Package.open(FOLDER / "p.flpkg"))
    return device


def text(device):
    """The generation of which everybody knows what it has to be."""
    return Model(device.driver.package, device).generate(PROMPT, NEW)


def error(call):
    """What went wrong, and after how many seconds."""
    start = monotonic()
    try:
        call()
    except FlightError as e:
        return {"text": str(e), "kind": type(e).__name__, "seconds": monotonic() - start}
    return {"text": "no error", "kind": "", "seconds": 0}


def generate():
    """Text, all logits bit by bit, and what of pynq was used."""
    used = []
    for owner, name in ((Overlay, "__init__"), (pynq, "allocate")):
        whole = getattr(owner, name)
        setattr(
            owner,
            name,
            lambda *a, _whole=whole, _name=f"{owner.__name__}.{name}", **k: (used.append(_name), _whole(*a, **k))[1],
        )
    card = make()
    device = opened()
    model = Model(device.driver.package, device)
    pieces = list(model.stream(PROMPT, NEW))
    ids = list(model.stats.ids)
    model.reset()
    logits = model.session.feed(PROMPT, len(PROMPT))
    rows = [logits, *(model.session.feed([i], masken=False) for i in ids[:-1])]
    np.save(FOLDER / "logits.npy", np.concatenate(rows))
    return {
        "pieces": pieces,
        "ids": ids,
        "programmed": card.programmed,
        "counters": device.counters(),
        "used": {name: used.count(name) for name in used},
        "placements": [p.to_json() for p in device.placements],
        "versions": [pynq.__version__, np.__version__],
    }


def cut():
    """Memory that is not there."""
    card = make()
    device = opened()
    m = device.driver.manifest
    whole = text(device)
    weights, kv = (next(r for r in m.memory if r.kind == kind) for kind in ("weights", "kv"))
    errors, texts = [], []
    for port, size in ((1, weights.addr + 64), (2, kv.addr)):
        card.cut(port, size)
        device.timeout = 5.0 if KERNEL == "hls" else TIMEOUT  # one made from HLS stands still
        errors.append(error(lambda: text(device)))
        device.timeout = TIMEOUT
        card.cut(port, None)
        texts.append(text(device))
    return {"first": whole, "errors": errors, "texts": texts, "programmed": card.programmed}


def endless():
    """A program that goes on for longer than anybody waits."""
    card = make()
    device = opened(timeout=3.0)
    loop = [LOOP(rd=9, count=(1 << 24) - 1, body=1), ALU(op="add", rd=10, imm=1), HALT()]
    place(device, encode_program(loop))
    first = error(lambda: text(device))
    place(device, device.driver.package.program[: 64 * len(loop)])
    device.timeout = TIMEOUT
    return {"errors": [first], "texts": [text(device)], "programmed": card.programmed}


def place(device, code):
    """Another beginning of the program, in the card's memory."""
    m = device.driver.manifest
    for core in range(m.arch.cores):
        device.driver.memory.write(core * m.arch.channels, m.program_region().addr, np.frombuffer(code, np.uint8))


def wired():
    """The bitstream has ports 0 and 2 at each other's banks."""
    card = make(wires={0: 2, 2: 0})
    device = opened()
    first = error(lambda: text(device))
    card._wires = {}
    return {"errors": [first], "texts": [text(opened())]}


def refused():
    """Containers for another config, with a bank that is too small, with a port that reaches nothing; then the right one."""
    card = make(arch=Package.open(FOLDER / "p.flpkg").manifest.arch)
    names = ("other", "silent", "small", "loose", "absent")
    errors = [error(lambda name=name: opened(f"{name}.xclbin")) for name in names]
    return {"errors": dict(zip(names, errors, strict=True)), "texts": [text(opened())], "programmed": card.programmed}


if __name__ == "__main__":
    print(
        json.dumps(
            {"generate": generate, "cut": cut, "endless": endless, "wired": wired, "refused": refused}[sys.argv[1]]()
        )
    )
