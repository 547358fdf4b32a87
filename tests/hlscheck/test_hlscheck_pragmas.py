"""Pragmas: each mistake is reported, each documented form is not."""

from __future__ import annotations

import functools
import re

import pytest
from hlscheck.snippets import HEAD, TOP, check, check_all

from flightllm.hlscheck import check_text
from flightllm.hlscheck.directives import DIRECTIVES

LOOP = "int f(int n) {{\n  int a[8][4] = {{}};\n  for (int i = 0; i < 8; ++i) {{\n#pragma HLS {}\n    a[i][0] = n;\n  }}\n  return a[1][0];\n}}\n"
BODY = "constexpr int kEight = 8;\nstruct A {{ int v[4]; int w; }};\nint f(int n) {{\n  int a[8][4] = {{}};\n  A s{{}};\n#pragma HLS {}\n  a[n][0] = s.v[0] + n;\n  return a[1][0];\n}}\n"
HEADING = "int f(int n) {{\n#pragma HLS {}\n  int s = n;\n  return s;\n}}\n"
#: where a pragma is put, what it says, which rule it breaks
BROKEN = [
    (LOOP, "pipelin II = 1", "pragma-name"),
    (LOOP, "pipeline ii = 1", "pragma-name"),
    (LOOP, "pipeline II = 1 enable_flush", "pragma-name"),
    (LOOP, "pipeline style = fast", "pragma-value"),
    (LOOP, "pipeline II = 0", "pragma-value"),
    (LOOP, "pipeline II = n", "pragma-value"),
    (LOOP, "pipeline II =", "pragma-value"),
    (LOOP, "unroll factor = kNone", "pragma-value"),
    (LOOP, "unroll skip_exit_check", "pragma-value"),
    (LOOP, "unroll region", "pragma-name"),
    (LOOP, "loop_tripcount min = 9 max = 8", "pragma-value"),
    (LOOP, "loop_tripcount min = 2 max = 8 avg = 9", "pragma-value"),
    (LOOP, "loop_tripcount", "pragma-value"),
    (LOOP, "inline", "pragma-place"),
    (LOOP, "interface mode = s_axilite port = n", "pragma-place"),
    (LOOP, "dependence variable = b type = inter dependent = false", "pragma-variable"),
    (LOOP, "dependence variable = a type = outer dependent = false", "pragma-value"),
    (LOOP, "dependence variable = a type = inter", "pragma-value"),
    (LOOP, "dependence variable = a class = array type = inter dependent = false", "pragma-value"),
    (LOOP, "dependence variable = a direction = raw dependent = true", "pragma-value"),
    (BODY, "array_partition variable = a complete", "pragma-name"),
    (BODY, "array_partition variable = a cyclic factor = 2", "pragma-name"),
    (BODY, "array_partition variable = b type = complete", "pragma-variable"),
    (BODY, "array_partition variable = s.x type = complete", "pragma-variable"),
    (BODY, "array_partition variable = n type = complete", "pragma-variable"),
    (BODY, "array_partition variable = s.w type = complete", "pragma-variable"),
    (BODY, "array_partition variable = a type = whole", "pragma-value"),
    (BODY, "array_partition variable = a type = cyclic", "pragma-value"),
    (BODY, "array_partition variable = a type = complete factor = 2", "pragma-value"),
    (BODY, "array_partition variable = a type = complete dim = 3", "pragma-value"),
    (BODY, "array_partition type = complete", "pragma-value"),
    (BODY, "bind_storage variable = a type = ram_3p", "pragma-value"),
    (BODY, "bind_storage variable = a impl = bram", "pragma-value"),
    (BODY, "bind_storage variable = a type = rom_1p impl = bram_ecc", "pragma-value"),
    (BODY, "bind_op variable = a op = mull impl = dsp", "pragma-value"),
    (BODY, "bind_op variable = a op = mul impl = lut", "pragma-value"),
    (BODY, "resource variable = a core = RAM_2P", "pragma-name"),
    (BODY, "data_pack variable = s", "pragma-name"),
    (BODY, "stream variable = a depth = 0", "pragma-value"),
    (BODY, "stream variable = a type = fife", "pragma-value"),
    (BODY, "aggregate variable = s compact = yes", "pragma-value"),
    (BODY, "unroll", "pragma-place"),
    (BODY, "loop_tripcount max = 8", "pragma-place"),
    (BODY, "pipeline II = 1", "pragma-place"),
    (BODY, "dataflow", "pragma-place"),
    (BODY, "", "pragma-name"),
    (HEADING, "inline on", "pragma-name"),
    (HEADING, "inline\n#pragma HLS pipeline II = 1", "pragma-place"),
    (HEADING, "stable variable = m", "pragma-variable"),
    (HEADING, "loop_flatten", "pragma-place"),
]
KEPT = [
    (LOOP, "pipeline II = 1"),
    (LOOP, "PIPELINE II=1 rewind style=flp"),
    (LOOP, "pipeline off"),
    (LOOP, "unroll"),
    (LOOP, "unroll factor = 2 skip_exit_check"),
    (LOOP, "unroll off = true"),
    (LOOP, "loop_tripcount min = 2 max = 8 avg = 4"),
    (LOOP, "loop_tripcount max = 8"),
    (LOOP, "loop_flatten off"),
    (LOOP, "dependence variable = a type = inter direction = RAW distance = 2 dependent = true"),
    (LOOP, "dependence class = array type = intra dependent = false"),
    (LOOP, "dependence variable = a inter false"),
    (LOOP, "occurrence cycle = 4"),
    (BODY, "array_partition variable = a type = complete dim = 0"),
    (BODY, "array_partition variable = a type = cyclic factor = kEight / 2 dim = 2"),
    (BODY, "array_partition \\\n  variable = s.v \\\n  type = block factor = (1 << 1)"),
    (BODY, "ARRAY_PARTITION variable=a type=complete dim=1 // a comment"),
    (BODY, "array_reshape object variable = a type = complete"),
    (BODY, "bind_storage variable = a type = ram_t2p impl = uram latency = 2"),
    (BODY, "bind_op variable = a op = mul impl = dsp latency = -1"),
    (BODY, "stream variable = a type = fifo depth = kEight"),
    (BODY, "aggregate variable = s compact = bit"),
    (BODY, "disaggregate variable = s"),
    (BODY, "allocation operation instances = mul limit = 2"),
    (BODY, "expression_balance off"),
    (BODY, "stable variable = n"),
    (BODY, "latency min = 1 max = 4"),
    (HEADING, "inline off"),
    (HEADING, "inline recursive"),
    (HEADING, "function_instantiate variable = n"),
    (HEADING, "pipeline II = 1"),
]
PORT = "#pragma HLS interface mode = s_axilite port = n bundle = control\n"


@functools.cache
def found():
    return check_all([place.format(pragma) for place, pragma, *_ in [*BROKEN, *KEPT]])


@pytest.mark.parametrize("i", range(len(BROKEN)), ids=[p for _, p, _ in BROKEN])
def test_broken_pragma(i):
    assert BROKEN[i][2] in {f.rule for f in found()[i]}, found()[i]


@pytest.mark.parametrize("i", range(len(KEPT)), ids=[p for _, p in KEPT])
def test_documented_pragma(i):
    assert not found()[len(BROKEN) + i]


@pytest.mark.parametrize(
    ("written", "instead", "rule"),
    [
        ("mode = s_axilite port = n bundle", "s_axilite port = n bundle", "pragma-name"),
        ("port = n bundle = control", "port = m bundle = control", "pragma-variable"),
        ("port = n bundle = control", "port = n bundle = Control", "pragma-value"),
        ("mode = s_axilite port = n", "mode = axilite port = n", "pragma-value"),
        ("mode = ap_ctrl_chain port = return", "mode = ap_ctrl_chain port = n", "pragma-variable"),
        ("#pragma HLS interface mode = ap_ctrl_chain port = return\n", "", "argument"),
        (PORT, "", "argument"),
        (PORT, PORT.replace("bundle", "bundel"), "pragma-name"),
    ],
)
def test_interface(written, instead, rule):
    good = HEAD + "int f(int n) { return n; }" + TOP
    assert written in good
    assert not check_text(good, "top").findings
    report = check_text(good.replace(written, instead), "top")
    assert rule in report.rules, [str(f) for f in report.findings]


def test_pragmas_of_others_are_nothing_to_the_tool():
    assert check("#pragma inline\nint f(int n) { return n; }").rules == {"pragma-name"}
    assert check("#define P(x) _Pragma(#x)\nint f(int n) { P(HLS inline) return n; }").rules == {"pragma-name"}
    assert not check("// #pragma HLS nonsense\n/*\n#pragma HLS nonsense\n*/\nint f(int n) { return n; }").findings


@pytest.mark.parametrize(
    "text",
    [
        "#pragma HLS inline\nint f(int n) { return n; }\n",
        "int f(int n) {\n  int s = n;\n#pragma HLS unroll\n  for (int i = 0; i < 4; ++i) s += i;\n  return s;\n}\n",
        "int f(int n) {\n  int s = n;\n  for (int i = 0; i < 4; ++i) {\n    s += i;\n#pragma HLS unroll\n  }\n  return s;\n}\n",
        "int f(int n) {\n  int s = n;\n  for (int i = 0; i < 4; ++i) {\n    if (n) {\n#pragma HLS unroll\n      s += i;\n    }\n  }\n  return s;\n}\n",
        "int f(int n) {\n  int s = n;\n#pragma HLS inline\n  return s;\n}\n",
    ],
    ids=["outside", "before the loop", "after a statement", "in a branch", "late"],
)
def test_place(text):
    assert check(text).rules == {"pragma-place"}


def test_variable_of_another_scope():
    text = "int f(int n) {\n  if (n) {\n    int a[4] = {};\n    n = a[1];\n  }\n#pragma HLS array_partition variable = a type = complete\n  return n;\n}\n"
    assert check(text).rules == {"pragma-variable"}


def test_names_of_templates():
    text = (
        "template <class C, int K> int g(int n) {{\n  int a[C::k] = {{}};\n#pragma HLS array_partition variable = a type = cyclic factor = {}\n"
        "  return a[n];\n}}\nstruct C {{ static constexpr int k = 8; }};\nint f(int n) {{ return g<C, 2>(n); }}\n"
    )
    assert not check(text.format("C::k")).findings
    assert not check(text.format("K")).findings
    assert check(text.format("C::m")).rules == {"pragma-value"}


def test_member_of_the_class():
    text = "struct A {{\n  int a[4][2];\n  int get(int n) {{\n#pragma HLS array_partition variable = {} type = complete dim = {}\n    return a[n][0];\n  }}\n}};\nint f(int n) {{ A a{{}}; return a.get(n); }}\n"
    assert not check(text.format("a", 2)).findings
    assert check(text.format("a", 3)).rules == {"pragma-value"}
    assert check(text.format("b", 1)).rules == {"pragma-variable"}


def test_factor_below_a_pipeline_is_noted():
    text = "int f(int n) {{\n  int s = n;\n  for (int i = 0; i < 4; ++i) {{\n#pragma HLS pipeline II = 1\n    for (int j = 0; j < 8; ++j) {{\n#pragma HLS unroll factor = {}\n      s += j;\n    }}\n  }}\n  return s;\n}}\n"
    assert any("no effect" in n.text for n in check(text.format(4)).notes)
    assert not check(text.format(8)).notes


def test_every_directive_says_where_it_may_stand():
    assert all(d.places for d in DIRECTIVES.values())
    assert all(re.fullmatch(r"[a-z_]+", name) for name in DIRECTIVES)
