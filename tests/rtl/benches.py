"""Which testbench checks which module of rtl/. `python tests/rtl/benches.py` writes the table of docs/rtl.md, "Testbenches".

What a bench checks is the first paragraph of its docstring.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
DOC = ROOT / "docs" / "rtl.md"
BEGIN, END = "<!-- benches: written by tests/rtl/benches.py -->", "<!-- end of benches -->"

#: module -> bench that has it, or a wrapper of it, as the top
BENCHES = {
    "block_runs": "common/test_block_runs.py",
    "delay_line": "common/test_delay_line.py",
    "fifo": "common/test_fifo.py",
    "multiply_add": "common/test_multiply_add.py",
    "fp32_add": "fp/test_fp.py",
    "fp32_mul": "fp/test_fp.py",
    "fp32_table": "fp/test_fp.py",
    "fp32_to_int": "fp/test_fp.py",
    "int_to_fp32": "fp/test_fp.py",
    "axil_control": "control/test_axil_control.py",
    "core_counters": "control/test_core_counters.py",
    "instruction_fetch": "control/test_instruction_fetch.py",
    "sequencer": "control/test_sequencer.py",
    "tokens": "control/test_tokens.py",
    "activation_buffer": "buffers/test_activation_buffer.py",
    "mask_buffer": "buffers/test_mask_buffer.py",
    "vector_buffer": "buffers/test_vector_buffer.py",
    "axi_reader": "memory/test_axi_reader.py",
    "axi_writer": "memory/test_axi_writer.py",
    "load_request": "memory/test_load_request.py",
    "load_unit": "memory/test_load_unit.py",
    "ring": "memory/test_ring.py",
    "store_unit": "memory/test_store_unit.py",
    "weight_unit": "memory/test_weight_unit.py",
    "DSP48E2": "matrix/test_dsp.py",
    "mac_dsp": "matrix/test_dsp.py",
    "vpu": "matrix/test_vpu.py",
    "vpu_scale": "matrix/test_vpu_scale.py",
    "mpu": "matrix/test_mpu.py",
    "matrix_fetch": "matrix/test_matrix_fetch.py",
    "matrix_execute": "matrix/test_matrix_execute.py",
    "matrix_drain": "matrix/test_matrix_drain.py",
    "drain_lane": "matrix/test_drain_lane.py",
    "matrix_unit": "matrix/test_matrix.py",
    "csd_chain_blackbox": "blackbox/test_csd_chain_blackbox.py",
    "lane_add": "special/test_lanes.py",
    "lane_mul": "special/test_lanes.py",
    "lane_table": "special/test_lanes.py",
    "ordered_sum": "special/test_ordered_sum.py",
    "scalar_unit": "special/test_scalar_unit.py",
    "sfu_lanes": "special/test_sfu_lanes.py",
    "special_index": "special/test_special_index.py",
    "special_sum": "special/test_special_sum.py",
    "lane_max": "special/test_lane_max.py",
    "word_stream": "special/test_word_stream.py",
    "special_unit": "special/test_special.py",
    "axi_parts": "board/test_axi_parts.py",
    "exchange": "top/test_exchange.py",
    "flightllm_top": "top/test_top.py",
}
#: modules without a bench of their own -> the bench of what they are part of
INSIDE = {
    "kv_append": "memory/test_store_unit.py",
    "dsp_slice": "matrix/test_dsp.py",
    "csd_cascade": "matrix/test_vpu.py",
    "fetch_plan": "matrix/test_matrix_fetch.py",
    "fetch_walk": "matrix/test_matrix_fetch.py",
    "fetch_pop": "matrix/test_matrix_fetch.py",
    "scale_control": "matrix/test_vpu_scale.py",
    "ram": "memory/test_ring.py",
    "ring_pointer": "memory/test_ring.py",
    "fp32_round": "fp/test_fp.py",
    "leading_zeros": "fp/test_fp.py",
    "flightllm_core": "whole/test_whole.py",
}


def modules() -> dict[str, Path]:
    """Module -> file, for everything below rtl/ that is no package."""
    found = {}
    for path in sorted((ROOT / "rtl").rglob("*.sv")):
        for name in re.findall(r"^module\s+(\w+)", path.read_text(), re.MULTILINE):
            found[name] = path
    return found


def checks(bench: str) -> str:
    """First paragraph of a bench's docstring, on one line."""
    text = ast.get_docstring(ast.parse((HERE / bench).read_text())) or ""
    return " ".join(text.split("\n\n")[0].split())


def table() -> str:
    """The table, in Markdown: a line for each bench."""
    lines = ["| modules | bench | what it checks |", "| --- | --- | --- |"]
    for bench in dict.fromkeys([*BENCHES.values(), *INSIDE.values()]):
        own = [f"`{m}`" for m, b in BENCHES.items() if b == bench]
        parts = [f"`{m}`" for m, b in INSIDE.items() if b == bench]
        names = ", ".join(own) + (f"; as part of it {', '.join(parts)}" if parts else "")
        lines.append(f"| {names} | tests/rtl/{bench} | {checks(bench)} |")
    return "\n".join(lines)


def document(text: str) -> str:
    """docs/rtl.md with the current table."""
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


if __name__ == "__main__":
    DOC.write_text(document(DOC.read_text()))
