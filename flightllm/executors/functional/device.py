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


class FunctionalDevice:
    """Executes packages with numpy.

    cache_bytes: budget for decoded weight matrices (float64, 8 bytes a weight); what does not fit is decoded again at each use.
    hook: called after every executed instruction.
    """

    def __init__(self, cache_bytes: int = 12 << 30, hook: Hook | None = None) -> None:
        self.cache = WeightCache(cache_bytes)
        self.hook = hook
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
        package = self._package()
        m = package.manifest
        check_chunk(m, ids, pos, nlog)
        raw = np.asarray(ids, "<i4").view(np.uint8)
        for core in self.cores:
            core.mem[0, m.host.ids_addr : m.host.ids_addr + raw.size] = raw
            core.regs = host_registers(pos, len(ids), core.core_id, nlog, masken)
        self._run()
        self._counters["chunks"] += 1
        self._counters["tokens"] += len(ids)
        return gather_logits(m, nlog, lambda k, c, addr, n: self.cores[k].mem[c, addr : addr + n])

    def _package(self) -> Package:
        if self.package is None:
            raise ProgramError("no package is loaded", do="call load(package) first")
        return self.package

    def _run(self) -> None:
        """All cores to HALT, in lock step at exchanges."""
        running = [self._run_core(core) for core in self.cores]
        while running:
            waiting = []
            for steps in running:
                if next(steps, None) is not None:
                    waiting.append(steps)
            if waiting and len(waiting) != len(self.cores):
                raise ProgramError("some cores wait for an exchange that others do not reach")
            if waiting:
                self._exchange()
            running = waiting

    def _run_core(self, core: Core) -> Iterator[bool]:
        """Execute; yields at each exchange."""
        with np.errstate(all="ignore"):
            for pc, inst, o in trace(self.program, core.regs):
                self._counters["instructions"] += 1
                kind = type(inst)
                if kind is HALT:
                    core.finish()
                elif kind is not BARRIER:
                    inst.execute(core, o)
                    if kind is XCHG:
                        yield True
                if self.hook is not None:
                    self.hook(core, pc, inst, o)

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
