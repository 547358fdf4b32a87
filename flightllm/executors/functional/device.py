"""The functional executor as a `Device`: memory of all cores, one run of the program per chunk."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from flightllm.errors import FitError, ProgramError
from flightllm.executors.functional.core import Core
from flightllm.executors.functional.weights import WeightCache
from flightllm.isa import decode_program
from flightllm.isa.control import BARRIER, HALT
from flightllm.isa.fields import Instruction, Operands
from flightllm.isa.registers import host_registers
from flightllm.isa.store import XCHG
from flightllm.isa.trace import trace
from flightllm.package import Package
from flightllm.runtime.device import check_chunk, gather_logits

#: called after every instruction: (core, pc, instruction, operands); for tracing and lock-step comparison
Hook = Callable[[Core, int, Instruction, Operands], None]


class Steps:
    """One run of the program on all cores, each as far as it is asked for; cores wait for each other at exchanges."""

    def __init__(self, runs: list[Iterator[bool]], exchange: Callable[[], None]) -> None:
        self._runs, self._exchange = runs, exchange
        self._waits = [False] * len(runs)
        self._ended = [False] * len(runs)

    def step(self, core: int) -> bool:
        """Execute the next instruction of a core, to its end; False if there is none.

        Before an exchange ends the other cores are taken to theirs. Raises ProgramError if one of them does not reach it.
        """
        self._advance(core)
        if self._waits[core]:
            for other in range(len(self._runs)):
                while not self._waits[other]:
                    if not self._advance(other):
                        raise ProgramError("some cores wait for an exchange that others do not reach")
            self._exchange()
            self._waits = [False] * len(self._runs)
            self._advance(core)
        return not self._ended[core]

    def finish(self) -> None:
        """Take all cores to their ends."""
        for core in range(len(self._runs)):
            while self.step(core):
                pass

    def _advance(self, core: int) -> bool:
        """To the end of the next instruction, or to an exchange; False if the core has ended."""
        if not self._ended[core] and not self._waits[core]:
            with np.errstate(all="ignore"):
                at_exchange = next(self._runs[core], None)
            self._ended[core] = at_exchange is None
            self._waits[core] = bool(at_exchange)
        return not self._ended[core]


class FunctionalDevice:
    """Executes packages with numpy.

    cache_bytes: budget for decoded weight matrices (float64, 8 bytes a weight); what does not fit is decoded again at each use.
    hook, before: called after and before every executed instruction; an XCHG has ended when all cores have exchanged.
    """

    def __init__(self, cache_bytes: int = 12 << 30, hook: Hook | None = None, before: Hook | None = None) -> None:
        self.cache = WeightCache(cache_bytes)
        self.hook, self.before = hook, before
        self.cores: list[Core] = []
        self.program: list[Instruction] = []
        self.package: Package | None = None
        self._counters: dict[str, int] = {}

    def load(self, package: Package) -> None:
        """Copy the images into memory and decode the program.

        Raises:
            PackageError, ProgramError: damaged package. FitError: not enough memory on this machine.
        """
        m = package.manifest
        arch = m.arch
        program = decode_program(bytes(package.program))
        size = max(r.end for r in m.memory)
        self.cache.clear()
        self.cores = []
        for k in range(arch.cores):
            try:
                mem = np.zeros((arch.channels, size), np.uint8)
            except MemoryError as e:
                raise FitError(
                    "this machine has too little memory for the package's memory images",
                    where=m.name,
                    why=f"{arch.cores} x {arch.channels} channels of {size} bytes",
                    do="use the cycle model, or a machine with more memory",
                ) from e
            for c in range(arch.channels):
                image = package.image(k, c)
                mem[c, : len(image)] = image
            self.cores.append(Core(arch, mem, m.image_bytes, k, self.cache))
        self.program, self.package = program, package
        self._counters = {"instructions": 0, "chunks": 0, "tokens": 0}

    def reset(self) -> None:
        """Begin a new conversation. The cache needs no clearing: keys past the position are never visible."""

    def counters(self) -> dict[str, int]:
        """Instructions dispatched, chunks and tokens since load."""
        return dict(self._counters)

    def run_chunk(self, ids: list[int], pos: int, nlog: int, masken: bool) -> np.ndarray:
        """Run the program once; see `flightllm.runtime.device.Device`."""
        self.start_chunk(ids, pos, nlog, masken).finish()
        return self.logits(nlog)

    def start_chunk(self, ids: list[int], pos: int, nlog: int, masken: bool) -> Steps:
        """Set up one run of the program without executing an instruction; the arguments are those of `run_chunk`."""
        m = self._package().manifest
        check_chunk(m, ids, pos, nlog)
        raw = np.asarray(ids, "<i4").view(np.uint8)
        for core in self.cores:
            core.mem[0, m.host.ids_addr : m.host.ids_addr + raw.size] = raw
            core.regs = host_registers(pos, len(ids), core.core_id, nlog, masken)
        self._counters["chunks"] += 1
        self._counters["tokens"] += len(ids)
        return Steps([self._run_core(core) for core in self.cores], self._exchange)

    def logits(self, nlog: int) -> np.ndarray:
        """Logits float32 [nlog, vocab] of the run that has ended."""
        m = self._package().manifest
        return gather_logits(m, nlog, lambda k, c, addr, n: self.cores[k].mem[c, addr : addr + n])

    def _package(self) -> Package:
        if self.package is None:
            raise ProgramError("no package is loaded", do="call load(package) first")
        return self.package

    def _run_core(self, core: Core) -> Iterator[bool]:
        """Execute; yields False after each instruction, and True at an exchange, before its effect."""
        for pc, inst, o in trace(self.program, core.regs):
            self._counters["instructions"] += 1
            kind = type(inst)
            if self.before is not None:
                self.before(core, pc, inst, o)
            if kind is HALT:
                core.finish()
            elif kind is not BARRIER:
                inst.execute(core, o)
                if kind is XCHG:
                    yield True
            if self.hook is not None:
                self.hook(core, pc, inst, o)
            yield False

    def _exchange(self) -> None:
        requests = [core.exchange for core in self.cores]
        for core in self.cores:
            for k, request in enumerate(requests):
                if request is None:
                    raise ProgramError("a core reached an exchange without a part")
                part, o = request
                rows = core.vb_rows(o.dst + k * o.n, part.shape[:-1], (o.dst_row,), part.shape[-1])
                rows[:] = part
            core.exchange = None
