"""Longest combinational paths of a mapped netlist, by a delay model without placement.

The model is of the speed grade -2 at 0.85 V, rounded up where sources differ. Routing, which a real flow knows after placement only, is one
constant a net. It tells which paths cannot run at the wanted clock and which are near it; it does not tell that a design will close.
docs/resources.md names the sources.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

#: ns; see docs/resources.md, "Delay model"
NET = 0.30
LUT = 0.15
MUXF = 0.08
CARRY_IN = 0.15  # S or DI to a sum or the carry
CARRY_STEP = 0.04  # CI to the carry or a sum of the same four bits
FF_OUT, FF_SETUP = 0.08, 0.06
SRL_OUT, LUTRAM_SETUP = 0.50, 0.10
RAM_OUT, RAM_OUT_REGISTERED, RAM_SETUP = 1.50, 0.40, 0.40
DSP_OUT, DSP_SETUP, DSP_ALU, DSP_MULTIPLY = 0.40, 0.30, 0.90, 1.60

#: levels a path may have at 225 MHz (4.44 ns) by the rule of one level in about half a nanosecond
CLOCK_MHZ = 225.0


@dataclass(frozen=True)
class Arrival:
    """Where a signal's longest path comes from: ns and levels of logic, and the net before."""

    ns: float
    levels: int
    start: str
    through: tuple[str, ...] = ()

    def after(self, ns: float, levels: int = 0, cell: str = "") -> Arrival:
        """The same path, longer."""
        return Arrival(self.ns + ns, self.levels + levels, self.start, (*self.through, cell) if cell else self.through)


@dataclass
class PortTiming:
    """What a parent needs to know of a unit: paths that begin or end at its ports, or cross it. (ns, levels), routing at the port not
    included."""

    #: input -> longest path to a register
    inputs: dict[str, tuple[float, int]] = field(default_factory=dict)
    #: output -> longest path from a register
    outputs: dict[str, tuple[float, int]] = field(default_factory=dict)
    #: input -> output -> longest path without a register
    across: dict[str, dict[str, tuple[float, int]]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """For the record, rounded."""

        def plain(paths: Mapping[str, tuple[float, int]]) -> dict[str, list[float]]:
            return {k: [round(v[0], 3), v[1]] for k, v in sorted(paths.items())}

        return {
            "inputs": plain(self.inputs), "outputs": plain(self.outputs),
            "across": {k: plain(v) for k, v in sorted(self.across.items())},
        }  # fmt: skip

    def slowest(self, other: PortTiming) -> PortTiming:
        """The worse of two units of the same module, path by path."""

        def worse(
            a: Mapping[str, tuple[float, int]], b: Mapping[str, tuple[float, int]]
        ) -> dict[str, tuple[float, int]]:
            return {k: max(a.get(k, (0.0, 0)), b.get(k, (0.0, 0))) for k in {*a, *b}}

        across = {k: worse(self.across.get(k, {}), other.across.get(k, {})) for k in {*self.across, *other.across}}
        return PortTiming(worse(self.inputs, other.inputs), worse(self.outputs, other.outputs), across)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> PortTiming:
        """From the record."""

        def pairs(paths: Mapping[str, Any]) -> dict[str, tuple[float, int]]:
            return {k: (float(v[0]), int(v[1])) for k, v in paths.items()}

        return cls(pairs(data["inputs"]), pairs(data["outputs"]), {k: pairs(v) for k, v in data["across"].items()})


@dataclass(frozen=True)
class Path:
    """One path: between registers, or from or to a port of the unit."""

    ns: float
    levels: int
    start: str
    end: str
    through: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """For the record."""
        return {
            "ns": round(self.ns, 2), "levels": self.levels, "start": self.start, "end": self.end,
            "through": " ".join(self.through),
        }  # fmt: skip


@dataclass(frozen=True)
class _Arc:
    """Within a cell: from an input port to an output port."""

    source: str
    target: str
    ns: float
    level: int


def _integer(parameters: Mapping[str, str], name: str, default: int) -> int:
    text = parameters.get(name)
    if text in ("TRUE", "FALSE"):
        return int(text == "TRUE")
    return default if text is None else int(text, 2)


class _Cell:
    """Timing of one cell: combinational arcs, clock-to-output and setup times, by port."""

    def __init__(self, cell: Mapping[str, Any], boxes: Mapping[str, PortTiming]) -> None:
        self.kind: str = cell["type"]
        self.arcs: list[_Arc] = []
        self.launch: dict[str, tuple[float, int]] = {}
        self.setup: dict[str, tuple[float, int]] = {}
        directions = cell["port_directions"]
        ins = [p for p, d in directions.items() if d == "input"]
        outs = [p for p, d in directions.items() if d == "output"]
        kind, par = self.kind, cell["parameters"]
        if kind in boxes:
            box = boxes[kind]
            self.launch = dict(box.outputs)
            self.setup = dict(box.inputs)
            self.arcs = [_Arc(i, o, ns, n) for i, to in box.across.items() for o, (ns, n) in to.items()]
        elif kind.startswith("LUT"):
            self.arcs = [_Arc(i, o, LUT, 1) for i in ins for o in outs]
        elif kind == "INV":
            self.arcs = [_Arc(i, o, 0.0, 0) for i in ins for o in outs]
        elif kind.startswith("MUXF"):
            self.arcs = [_Arc(i, o, MUXF, 0) for i in ins for o in outs]
        elif kind.startswith("CARRY"):
            for o in outs:
                self.arcs += [_Arc(i, o, CARRY_IN, 1) for i in ins if i in ("S", "DI", "CYINIT")]
                self.arcs.append(_Arc("CI", o, CARRY_STEP, 0))
        elif kind.startswith("FD"):
            self.launch = {"Q": (FF_OUT, 0)}
            self.setup = {p: (FF_SETUP, 0) for p in ins if p != "C"}
        elif kind.startswith("SRL"):
            self.launch = dict.fromkeys(outs, (SRL_OUT, 0))
            self.setup = {p: (LUTRAM_SETUP, 0) for p in ins if p in ("D", "CE")}
            self.arcs = [_Arc(i, o, LUT, 1) for i in ins if i.startswith("A") for o in outs]
        elif kind.startswith("RAMB") or kind.startswith("URAM"):
            self._ram(par, ins, outs)
        elif kind.startswith("RAM"):
            self.launch = dict.fromkeys(outs, (SRL_OUT, 0))
            self.setup = {p: (LUTRAM_SETUP, 0) for p in ins if "CLK" not in p}
            self.arcs = [_Arc(i, o, LUT, 1) for i, o in self._lutram_reads(ins, outs)]
        elif kind == "DSP48E2":
            self._dsp(par)
        else:
            raise ValueError(f"no timing of cell {kind}")

    def _ram(self, par: Mapping[str, str], ins: list[str], outs: list[str]) -> None:
        for p in outs:
            registered = any(
                _integer(par, name, 0) for name in (f"DO{p[-1]}_REG", f"OREG_{p[-1]}", "DOA_REG", "DOB_REG")
            )
            self.launch[p] = (RAM_OUT_REGISTERED if registered else RAM_OUT, 0)
        self.setup = {p: (RAM_SETUP, 0) for p in ins if "CLK" not in p}

    @staticmethod
    def _lutram_reads(ins: list[str], outs: list[str]) -> Iterator[tuple[str, str]]:
        """Address -> data of an asynchronous read. Ports are named ADDRx -> DOx, DPRA -> DPO, A -> SPO."""
        for o in outs:
            for i in ins:
                if (
                    (i.startswith("ADDR") and o.startswith("DO") and i[4:5] == o[2:3])
                    or (i.startswith("DPRA") and o == "DPO")
                    or (i.startswith("A") and not i.startswith("ADDR") and o in ("SPO", "O"))
                ):
                    yield i, o

    def _dsp(self, par: Mapping[str, str]) -> None:
        reg = {n: _integer(par, n, 1) for n in ("AREG", "BREG", "CREG", "DREG", "MREG", "PREG", "OPMODEREG")}
        outs = ("P", "PCOUT", "CARRYOUT")
        if reg["PREG"]:
            self.launch = dict.fromkeys(outs, (DSP_OUT, 0))
        else:
            before = DSP_ALU if reg["MREG"] else DSP_MULTIPLY + DSP_ALU
            self.launch = dict.fromkeys(outs, (DSP_OUT + before, 1))
        for port in ("A", "B", "C", "D", "PCIN", "OPMODE", "INMODE"):
            registered = reg.get(f"{port}REG", 0) if port != "INMODE" else 1
            if registered:
                self.setup[port] = (DSP_SETUP, 0)
                continue
            # operands reach the multiplier's register, the others the adder's
            need = (DSP_MULTIPLY if port in "ABD" else 0.0) + (0.0 if port in "ABD" and reg["MREG"] else DSP_ALU)
            if reg["PREG"] or (port in "ABD" and reg["MREG"]):
                self.setup[port] = (need, 1)
            else:
                self.arcs += [_Arc(port, o, need, 1) for o in outs]
        for port in (
            "CEA1",
            "CEA2",
            "CEB1",
            "CEB2",
            "CEC",
            "CED",
            "CEAD",
            "CEM",
            "CEP",
            "RSTA",
            "RSTB",
            "RSTP",
            "RSTM",
        ):
            self.setup[port] = (DSP_SETUP, 0)


def _net(cell: str, port: str, driver: str, driver_port: str) -> float:
    """Routing into this port: none where the two lie side by side and have a wire of their own."""
    beside = (
        (cell.startswith("MUXF") and port in ("I0", "I1"))
        or (cell.startswith("CARRY") and (port == "CI" or (port in ("S", "DI") and driver.startswith("LUT"))))
        or (port == "PCIN" and driver_port == "PCOUT")
        or cell == "INV"
    )
    return 0.0 if beside else NET


class Analysis:
    """Longest paths of a module.

    Args:
        module: Yosys' JSON of one flattened, mapped module.
        boxes: port timing of the black boxes among its cells.
    """

    def __init__(self, module: Mapping[str, Any], boxes: Mapping[str, PortTiming] | None = None) -> None:
        self.module = module
        self.cells = {n: _Cell(c, boxes or {}) for n, c in module["cells"].items()}
        self.names: dict[Any, str] = {}
        for name, net in sorted(
            module["netnames"].items(), key=lambda item: (item[1].get("hide_name", 0), len(item[0]))
        ):
            for i, bit in enumerate(net["bits"]):
                self.names.setdefault(bit, f"{name}[{i}]" if len(net["bits"]) > 1 else name)
        self.driver: dict[Any, tuple[str, str]] = {}
        for name, cell in module["cells"].items():
            for port, bits in cell["connections"].items():
                if cell["port_directions"][port] == "output":
                    for bit in bits:
                        self.driver[bit] = (name, port)
        self.loops: list[str] = []
        #: net bit -> start kind ("" register, or input port) -> longest
        self.arrival: dict[Any, dict[str, Arrival]] = {}
        for name, port in module["ports"].items():
            if port["direction"] == "input":
                for bit in port["bits"]:
                    self.arrival[bit] = {name: Arrival(0.0, 0, name)}
        self._walk()

    def _sources(self, bit: Any) -> list[tuple[Any, _Arc]]:
        """Net bits that this one depends on without a register, with the arcs."""
        name, port = self.driver[bit]
        connections = self.module["cells"][name]["connections"]
        return [
            (b, arc)
            for arc in self.cells[name].arcs
            if arc.target == port
            for b in connections.get(arc.source, ())
            if isinstance(b, int)
        ]

    def _walk(self) -> None:
        open_bits: set[Any] = set()
        for root in self.driver:
            if root in self.arrival:
                continue
            stack: list[tuple[Any, Iterator[tuple[Any, _Arc]]]] = [(root, iter(self._sources(root)))]
            open_bits.add(root)
            while stack:
                bit, rest = stack[-1]
                for source, _ in rest:
                    if source in open_bits:
                        self.loops.append(self.names.get(source, str(source)))
                    elif source not in self.arrival and source in self.driver:
                        stack.append((source, iter(self._sources(source))))
                        open_bits.add(source)
                        break
                else:
                    self.arrival[bit] = self._arrive(bit)
                    open_bits.discard(bit)
                    stack.pop()

    def _arrive(self, bit: Any) -> dict[str, Arrival]:
        name, port = self.driver[bit]
        cell = self.cells[name]
        out: dict[str, Arrival] = {}
        if port in cell.launch:
            ns, levels = cell.launch[port]
            out[""] = Arrival(ns, levels, f"{self.names.get(bit, name)} ({cell.kind})")
        for source, arc in self._sources(bit):
            before = self.driver.get(source)
            kind, driver_port = (self.cells[before[0]].kind, before[1]) if before else ("", "")
            ns = _net(cell.kind, arc.source, kind, driver_port) + arc.ns
            for start, path in self.arrival.get(source, {}).items():
                if start not in out or path.ns + ns > out[start].ns:
                    out[start] = path.after(ns, arc.level, cell.kind)
        return out

    def ends(self) -> Iterator[tuple[str, str, Path]]:
        """(start, end port, path) of every path's end; start and end port are "" for registers."""
        for name, cell in self.cells.items():
            connections = self.module["cells"][name]["connections"]
            for port, (setup, levels) in cell.setup.items():
                for bit in connections.get(port, ()):
                    before = self.driver.get(bit)
                    kind, driver_port = (self.cells[before[0]].kind, before[1]) if before else ("", "")
                    for start, path in self.arrival.get(bit, {}).items():
                        ns = path.ns + _net(cell.kind, port, kind, driver_port) + setup
                        yield (
                            start,
                            "",
                            Path(ns, path.levels + levels, path.start, self._end(name, cell, port), path.through),
                        )
        for name, port_record in self.module["ports"].items():
            if port_record["direction"] == "output":
                for bit in port_record["bits"]:
                    for start, path in self.arrival.get(bit, {}).items():
                        yield start, name, Path(path.ns, path.levels, path.start, name, path.through)

    def _end(self, name: str, cell: _Cell, port: str) -> str:
        connections = self.module["cells"][name]["connections"]
        for out in ("Q", "P", "O"):
            if connections.get(out) and isinstance(connections[out][0], int) and connections[out][0] in self.names:
                return f"{self.names[connections[out][0]]} ({cell.kind}.{port})"
        return f"{name} ({cell.kind}.{port})"

    def report(self) -> tuple[dict[str, Path], PortTiming]:
        """The longest path of each kind ("inside", "input", "output", "across"), and the timing of the ports."""
        worst: dict[str, Path] = {}
        ports = PortTiming()
        for start, end, path in self.ends():
            kind = ("across" if end else "input") if start else ("output" if end else "inside")
            if kind not in worst or path.ns > worst[kind].ns:
                worst[kind] = path
            pair = (path.ns, path.levels)
            if kind == "across":
                to = ports.across.setdefault(start, {})
                to[end] = max(to.get(end, (0.0, 0)), pair)
            elif kind == "input":
                # the net at the port belongs to the parent
                ports.inputs[start] = max(ports.inputs.get(start, (0.0, 0)), (path.ns - NET, path.levels))
            elif kind == "output":
                ports.outputs[end] = max(ports.outputs.get(end, (0.0, 0)), pair)
        for to in ports.across.values():
            for end, (ns, levels) in to.items():
                to[end] = (max(ns - NET, 0.0), levels)
        return worst, ports
