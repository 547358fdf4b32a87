"""The HLS kernel's sequencer against flightllm.isa.trace, on the random programs of the RTL's bench."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from test_sequencer import MOST, cases

from flightllm.executors.hls.build import compile_library
from flightllm.isa.fields import Instruction, Unit
from flightllm.isa.generate import max_operands
from flightllm.isa.load import LDW

HERE = Path(__file__).parent
ROW = 8 + max_operands() + 1


@cache
def library() -> ctypes.CDLL:
    text = (HERE / "sequencer_bench_hls.cpp").read_text()
    return ctypes.CDLL(str(compile_library("sequencer_bench_hls", text, "sequencer_bench_hls.cpp")))


def dispatched(words: list[bytes], host: dict[str, int]) -> np.ndarray:
    """Rows of what the sequencer sends: words, operands, error."""
    program = np.frombuffer(b"".join(words), np.uint64)
    values = np.array([host[n] for n in ("pos", "ntok", "nlog", "masken", "core")], np.uint32)
    out = np.zeros((MOST + 1, ROW), np.uint64)
    count = library().sequencer_run(
        ctypes.c_void_p(program.ctypes.data), ctypes.c_uint32(len(words)), ctypes.c_void_p(values.ctypes.data),
        ctypes.c_void_p(out.ctypes.data), MOST + 1,
    )  # fmt: skip
    assert count > 0
    return out[:count]


@settings(max_examples=300, deadline=None)
@given(cases())
def test_dispatch_on_hls(case):
    if case is None:
        return
    rows = dispatched(case.words, case.host)
    # loads of weights have streams of their own: the order is kept among them, and among the others
    loads = [row for row in rows if row[0] == LDW.opcode and not row[8:].any()]
    *others, last = [row for row in rows if not (row[0] == LDW.opcode and not row[8:].any())]
    assert last[0] & 63 == 0 and last[-1] == case.error, "it ends with HALT"
    want = [(word, [value for _, value in operands]) for unit, word, operands, _ in case.want if unit != Unit.W]
    assert len(others) == len(want)
    for row, (word, values) in zip(others, want, strict=True):
        assert b"".join(int(w).to_bytes(8, "little") for w in row[:8]) == word.to_bytes(64, "little")
        assert [int(v) for v in row[8 : 8 + len(values)]] == values
    requests = []
    for unit, word, operands, _ in case.want:
        if unit == Unit.W:
            address, size = operands[0][1], Instruction.decode(word.to_bytes(64, "little")).values["nbytes"]
            requests.append((address // 64, (address % 64 + size + 63 & 0xFFFFFFFF) // 64))
    assert [(int(row[1]), int(row[2])) for row in loads] == requests
