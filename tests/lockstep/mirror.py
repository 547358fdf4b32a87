"""An observed device made of a second functional executor: its writes as the events that a probe would tell.

Tests of the comparison without a simulator: `alter` may change, drop or add events.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from flightllm.executors.functional import FunctionalDevice
from flightllm.executors.lockstep.expected import Expected, Recorder
from flightllm.isa.fields import Addr, Count, Unit
from flightllm.sim.events import EVENT, Kind

Event = dict
BATCH = 50


def event(kind: Kind, core: int, unit: int, addr: int = 0, mask: int = 0, data: bytes = b"", channel: int = 0) -> Event:
    """One event, as a dict of EVENT's fields; the cycle is put in later."""
    raw = np.zeros(64, np.uint8)
    raw[: len(data)] = np.frombuffer(data, np.uint8)
    return {"kind": kind, "core": core, "unit": unit, "addr": addr, "mask": mask, "data": raw, "channel": channel}


class Mirror:
    """Runs a FunctionalDevice, each instruction at once. alter(core, expected, events) -> events to tell."""

    def __init__(self, alter: Callable[[int, Expected, list[Event]], list[Event]] | None = None) -> None:
        self.observer = None
        self.device = FunctionalDevice()
        self.alter = alter or (lambda core, expected, events: events)

    def load(self, package):
        m = package.manifest
        self.channels = m.arch.channels
        self.recorder = Recorder(m.arch.cores)
        self.device.before, self.device.hook = self.recorder.before, self._after
        self.device.load(package)
        self.told: list[Event] = []
        self.cycle = 0

    def reset(self):
        self.device.reset()

    def counters(self):
        return self.device.counters() | {"cycles": self.cycle}

    def run_chunk(self, ids, pos, nlog, masken):
        self.recorder.start()
        logits = self.device.run_chunk(ids, pos, nlog, masken)
        self._tell()
        return logits

    def _after(self, core, pc, inst, o):
        self.recorder.after(core, pc, inst, o)
        while self.recorder.done[core.core_id]:
            e = self.recorder.done[core.core_id].popleft()
            self.told += self.alter(core.core_id, e, self._events(core.core_id, e))
        if len(self.told) > BATCH:
            self._tell()

    def _tell(self):
        batch = np.zeros(len(self.told), EVENT)
        for row, item in zip(batch, self.told, strict=True):
            self.cycle += 1
            row["cycle"] = self.cycle
            for name, value in item.items():
                row[name] = value
        self.told = []
        self.observer(batch)

    def _events(self, core: int, e: Expected) -> list[Event]:
        unit = e.unit
        resolved = [f for f in e.inst.fields.values() if isinstance(f, Addr | Count)]
        operands = b"".join((getattr(e.operands, f.name) & ((1 << 40) - 1)).to_bytes(5, "little") for f in resolved)
        out = [event(Kind.DISPATCH, core, unit, e.pc, 0, e.inst.encode())]
        out.append(event(Kind.OPERANDS, core, unit, e.pc, 0, operands))
        if "VB" in e.places:
            out += self._words(core, unit, e)
        for space, kind in (("AB", Kind.AB), ("MB", Kind.MB)):
            if space in e.places:
                p = e.places[space]
                for i, v in zip(p.index.tolist(), p.value, strict=True):
                    out.append(event(kind, core, unit, i, 1, np.asarray(v).tobytes()))
        if "MEM" in e.places:
            out += self._memory(core, unit, e)
        if e.stream is not None:
            kind = Kind.W_RING if unit is Unit.W else Kind.K_RING
            step = 64 if unit is Unit.W else 40  # K rings: pieces of any number of words
            for c, row in enumerate(e.stream):
                for at in range(0, len(row), step):
                    part = row[at : at + step]
                    first = 0 if unit is Unit.W else 3 * (at // step % 2)
                    out.append(event(kind, core, unit, first, len(part) // 8, bytes(8 * first) + part.tobytes(), c))
        return out + ([] if unit is Unit.W else [event(Kind.END, core, unit)])

    @staticmethod
    def _words(core: int, unit: Unit, e: Expected) -> list[Event]:
        p, out = e.places["VB"], []
        for word in np.unique(p.index // 16).tolist():
            rows = np.flatnonzero(p.index // 16 == word)
            data, mask = np.zeros(16, np.uint32), 0
            for r in rows.tolist():
                data[p.index[r] % 16] = p.value[r]
                mask |= 1 << int(p.index[r] % 16)
            out.append(event(Kind.VB, core, unit, word, mask, data.tobytes()))
        return out

    def _memory(self, core: int, unit: Unit, e: Expected) -> list[Event]:
        """Only bytes that change (places.seen is False there), as strobes."""
        p, out = e.places["MEM"], []
        for c in range(self.channels):
            rows = np.flatnonzero(~p.seen[:, c])
            for beat in np.unique(p.index[rows] // 64).tolist():
                data, mask = np.zeros(64, np.uint8), 0
                for r in rows[p.index[rows] // 64 == beat].tolist():
                    data[p.index[r] % 64] = p.value[r, c]
                    mask |= 1 << int(p.index[r] % 64)
                out.append(event(Kind.MEMORY, 0, 0, 64 * beat, mask, data.tobytes(), core * self.channels + c))
        return out
