"""Pragmas of Vitis HLS 2023.2 and their options, as UG1399 has them.

Each directive is on the page "pragma HLS <name>" of UG1399 (2023.2); values that may be constants of the program: page "Using
Constants with Pragmas". Spellings of older versions, such as `array_partition variable=x complete` or `interface m_axi`, are not in
it; the tool still takes them, but the kernel is written in the documented ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Option:
    """One option. kind: int, enum, variable, port, name, or any; low: of an int."""

    kind: str
    values: tuple[str, ...] = ()
    low: int = 0
    required: bool = False


@dataclass(frozen=True)
class Directive:
    """One pragma. flags: words without a value. places: function, loop, block; first: before the first statement there."""

    options: dict[str, Option] = field(default_factory=dict)
    flags: tuple[str, ...] = ()
    places: tuple[str, ...] = ("function", "loop", "block")
    first: bool = False


VARIABLE = Option("variable", required=True)
BOOL = Option("enum", ("true", "false"))
COUNT = Option("int")
POSITIVE = Option("int", low=1)
PARTITION = {
    "variable": VARIABLE,
    "type": Option("enum", ("block", "cyclic", "complete")),
    "factor": POSITIVE,
    "dim": COUNT,
    "off": BOOL,
}

#: page "pragma HLS interface"
MODES = (
    *("ap_none", "ap_vld", "ap_ack", "ap_hs", "ap_ovld", "ap_memory", "bram", "ap_fifo"),
    *("s_axilite", "m_axi", "axis"),
    *("ap_ctrl_hs", "ap_ctrl_chain", "ap_ctrl_none"),
)
#: page "pragma HLS bind_op"; the operations on floating point are left out, the kernel has none
OPERATIONS = ("mul", "add", "sub")
#: page "pragma HLS bind_storage"
STORAGE = ("fifo", "ram_1p", "ram_1wnr", "ram_2p", "ram_s2p", "ram_t2p", "rom_1p", "rom_2p", "rom_np")
MEMORIES = ("auto", "bram", "bram_ecc", "lutram", "uram", "uram_ecc", "srl", "memory")

DIRECTIVES = {
    "aggregate": Directive({"variable": VARIABLE, "compact": Option("enum", ("bit", "byte", "none", "auto"))}),
    "alias": Directive({"ports": Option("any", required=True), "distance": COUNT, "offset": Option("any")}),
    "allocation": Directive(
        {"instances": Option("any", required=True), "limit": POSITIVE}, flags=("function", "operation")
    ),
    "array_partition": Directive(PARTITION),
    "array_reshape": Directive(PARTITION, flags=("object",)),
    "array_stencil": Directive({"variable": VARIABLE}, flags=("off",)),
    "bind_op": Directive(
        {
            "variable": VARIABLE,
            "op": Option("enum", OPERATIONS, required=True),
            "impl": Option("enum", ("fabric", "dsp")),
            "latency": Option("int", low=-1),
        }
    ),
    "bind_storage": Directive(
        {
            "variable": VARIABLE,
            "type": Option("enum", STORAGE, required=True),
            "impl": Option("enum", MEMORIES),
            "latency": Option("int", low=-1),
        }
    ),
    "cache": Directive(
        {"port": Option("port", required=True), "lines": POSITIVE, "depth": POSITIVE}, places=("function",)
    ),
    "dataflow": Directive(flags=("disable_start_propagation",), first=True),
    "dependence": Directive(
        {
            "variable": Option("variable"),
            "class": Option("enum", ("array", "pointer")),
            "type": Option("enum", ("inter", "intra")),
            "direction": Option("enum", ("RAW", "WAR", "WAW")),
            "distance": POSITIVE,
            "dependent": BOOL,
        },
        # the syntax line of the page has these without names, the list below it with them
        flags=("array", "pointer", "inter", "intra", "RAW", "WAR", "WAW", "true", "false"),
    ),
    "disaggregate": Directive({"variable": VARIABLE}),
    "expression_balance": Directive(flags=("off",)),
    "function_instantiate": Directive({"variable": VARIABLE}, places=("function",)),
    "inline": Directive(flags=("off", "recursive"), places=("function",), first=True),
    "interface": Directive(
        {
            "mode": Option("enum", MODES, required=True),
            "port": Option("port", required=True),
            "bundle": Option("name"),
            "channel": Option("any"),
            "clock": Option("name"),
            "depth": POSITIVE,
            "direct_io": BOOL,
            "interrupt": Option("int", low=16),
            "latency": COUNT,
            "max_read_burst_length": POSITIVE,
            "max_write_burst_length": POSITIVE,
            "max_widen_bitwidth": COUNT,
            "name": Option("name"),
            "num_read_outstanding": POSITIVE,
            "num_write_outstanding": POSITIVE,
            "offset": Option("any"),
            "register_mode": Option("enum", ("fwd", "rev", "both", "off")),
            "storage_impl": Option("enum", ("auto", "bram", "uram")),
            "storage_type": Option("enum", STORAGE[1:]),
        },
        flags=("autorestart", "register"),
        places=("function",),
    ),
    "latency": Directive({"min": COUNT, "max": COUNT}),
    "loop_flatten": Directive(flags=("off",), places=("loop",), first=True),
    "loop_merge": Directive(flags=("force",)),
    "loop_tripcount": Directive({"min": COUNT, "max": COUNT, "avg": COUNT}, places=("loop",), first=True),
    "occurrence": Directive({"cycle": POSITIVE, "off": BOOL}),
    "performance": Directive(
        {"target_ti": Option("any"), "target_tl": Option("any"), "unit": Option("enum", ("sec", "cycle"))}
    ),
    "pipeline": Directive(
        {"II": POSITIVE, "rewind": BOOL, "style": Option("enum", ("stp", "frp", "flp"))},
        flags=("off", "rewind"),
        places=("function", "loop"),
        first=True,
    ),
    "protocol": Directive(flags=("floating", "fixed")),
    "reset": Directive({"variable": VARIABLE}, flags=("off",)),
    "stable": Directive({"variable": VARIABLE}, flags=("off",)),
    "stream": Directive(
        {"variable": VARIABLE, "type": Option("enum", ("fifo", "pipo", "shared", "unsync")), "depth": POSITIVE}
    ),
    "top": Directive({"name": Option("name", required=True)}, places=("function",)),
    "unroll": Directive({"factor": POSITIVE, "off": BOOL}, flags=("skip_exit_check",), places=("loop",), first=True),
}
