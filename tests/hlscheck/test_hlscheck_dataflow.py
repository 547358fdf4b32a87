"""Dataflow regions: who writes, who reads, and what stands in them."""

from __future__ import annotations

import pytest
from hlscheck.snippets import HEAD, check, dataflow

from flightllm.hlscheck import check_text

CHAIN = "S a;\n put(n, a);\n get(a, out);"
LOOP = "for (int i = 0; i < {1}; ++i) {{\n#pragma HLS unroll\n {0} }}\n"


def texts(report):
    return [str(f) for f in report.findings]


@pytest.mark.parametrize(
    "body",
    [
        CHAIN,
        "S a, b;\n put(n, a);\n pass(a, b);\n get(b, out);",
        "S a[3];\n put(n, a[0]);\n" + LOOP.format("pass(a[i], a[1 + i]);", 2) + "get(a[2], out);",
        "Both s;\n fill(n, s);\n drain(s, out);",
        "S a[2];\n two(n, a);\n sum(a, out);",
        "S a, b;\n ask(n, a, b, out);\n answer(a, b);",
        "const int m = 3;\n" + CHAIN,
    ],
    ids=["chain", "three", "loop", "struct", "array", "feedback", "constant"],
)
def test_one_writes_one_reads(body):
    before = """
struct Both { S one, other; };
void fill(int n, Both& s) { s.one.write(n); s.other.write(n); }
void drain(Both& s, int& out) { out = s.one.read() + s.other.read(); }
void two(int n, S (&a)[2]) { for (int i = 0; i < 2; ++i) put(n, a[i]); }
void sum(S (&a)[2], int& out) { out = a[0].read() + a[1].read(); }
void ask(int n, S& a, S& b, int& out) { a.write(n); out = b.read(); }
void answer(S& a, S& b) { b.write(a.read()); }
"""
    report = dataflow(body, before)
    assert not report.findings, texts(report)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("S a;\n put(n, a);\n put(n, a);\n get(a, out);", "2 processes write"),
        ("S a, b;\n put(n, a);\n pass(a, b);\n get(b, out);\n get(a, out);", "2 processes read"),
        ("S a;\n put(n, a);\n nothing(a);", "no process reads"),
        ("S a;\n nothing(a);\n get(a, out);", "no process writes"),
        ("S a[4];\n" + LOOP.format("put(n, a[0]);", 4) + "get(a[0], out);", "4 processes write"),
    ],
)
def test_stream_with_another_number_of_users(body, says):
    report = dataflow(body)
    assert "stream-use" in report.rules
    assert any(says in t for t in texts(report)), texts(report)


def test_streams_of_an_array_by_the_index_of_a_process():
    before = "void all(S (&a)[3], int& out) { for (int i = 0; i < 3; ++i) out += a[i].read(); }\n"
    text = "S a[3];\n put(n, a[0]);\n" + LOOP.format("put(n, a[i]);", 3) + "all(a, out);"
    assert not dataflow(text.replace("i = 0", "i = 1"), before).findings
    report = dataflow(text, before)
    assert [f.rule for f in report.findings] == ["stream-use"]
    assert "`a[0]`" in report.findings[0].text


def test_index_that_is_an_argument():
    before = (
        "void one(int k, S (&a)[2][2]) { for (int i = 0; i < 2; ++i) if (i != k) a[k][i].write(k);\n"
        " for (int i = 0; i < 2; ++i) if (i != k) a[i][k].read(); }\n"
    )
    report = dataflow("S a[2][2];\n one(0, a);\n one(1, a);", before)
    assert not report.findings, texts(report)
    assert any("alone writes and reads" in n.text for n in report.notes)  # the conditions are not looked at
    report = dataflow("S a[2][2];\n one(0, a);\n one(0, a);", before)
    assert report.rules == {"stream-use"}


def test_unknown_index_is_noted():
    before = "void any(int k, S (&a)[2]) { int at = k * k; a[at].write(k); }\n"
    report = dataflow("S a[2];\n any(n, a);\n get(a[0], out);\n get(a[1], out);", before)
    assert "stream-use" not in report.rules
    assert any("value of run time" in n.text for n in report.notes)


def test_unused_stream_is_noted():
    report = dataflow("S b;\n" + CHAIN)
    assert not report.findings
    assert [n.text for n in report.notes] == ["`b`: no process uses it"]


@pytest.mark.parametrize(
    "statement",
    [
        "if (n) put(n, a); else put(1, a);",
        "out = n;",
        "for (int i = 0; i < 2; ++i) { put(n, a); }",
        "for (int i = 0; i < 4; ++i) {\n#pragma HLS unroll factor = 2\n put(n, a); }",
        "return;",
    ],
    ids=["condition", "assignment", "rolled loop", "partly unrolled loop", "return"],
)
def test_statement_that_is_no_call(statement):
    assert "dataflow-statement" in dataflow("S a;\n" + statement).rules


def test_computed_variable_is_noted():
    report = dataflow("const int m = n * 2;\n S a;\n put(m, a);\n get(a, out);")
    assert not report.findings
    assert [n.text for n in report.notes] == ["`m` is computed in the region: not in canonical form"]


def test_process_returns_nothing():
    before = "int put2(int n, S& s) { s.write(n); return n; }\n"
    assert dataflow("S a;\n put2(n, a);\n get(a, out);", before).rules == {"dataflow-call"}


def test_process_is_not_inlined():
    before = "void put2(int n, S& s) {{\n#pragma HLS inline {}\n s.write(n); }}\n"
    assert dataflow("S a;\n put2(n, a);\n get(a, out);", before.format("")).rules == {"dataflow-call"}
    assert not dataflow("S a;\n put2(n, a);\n get(a, out);", before.format("off")).findings


MEMORY = """
void give(int (&m)[4], int n) { m[n] = n; }
void take(const int (&m)[4], int& out) { out = m[1]; }
void look(const int (&m)[4], S& s) { s.write(m[1]); }
"""


def test_array_of_two_processes():
    assert dataflow("int m[4];\n give(m, n);\n take(m, out);", MEMORY).rules == {"array-shared"}
    assert not dataflow(
        "int m[4] = {1, 2, 3, 4};\n S s;\n look(m, s);\n both(m, s, out);",
        MEMORY + "void both(const int (&m)[4], S& s, int& out) { out = s.read() + m[0]; }\n",
    ).findings
    assert not dataflow("int m[2][4];\n give(m[0], n);\n give(m[1], n);", MEMORY).findings
    assert dataflow("int m[2][4];\n give(m[1], n);\n give(m[1], n);", MEMORY).rules == {"array-shared"}


def test_port_of_two_processes():
    text = """
using P = hls::burst_maxi<int>;
void load(P p, int& out) { p.read_request(0, 1); out = p.read(); }
void top(P a, P b, int* x, int* y) {
#pragma HLS interface mode = m_axi port = a bundle = a
#pragma HLS interface mode = m_axi port = b bundle = b
#pragma HLS interface mode = s_axilite port = x
#pragma HLS interface mode = s_axilite port = y
#pragma HLS interface mode = ap_ctrl_chain port = return
  P p[2] = {a, b};
  int got[2];
  {
#pragma HLS dataflow
    load(p[0], got[0]);
    load(p[1], got[1]);
  }
  *x = got[0];
  *y = got[1];
}
"""
    assert not check_text(HEAD + text, "top").findings
    assert check_text(HEAD + text.replace("load(p[1]", "load(p[0]"), "top").rules == {"array-shared"}
    assert check_text(HEAD + text.replace("got[1])", "got[0])"), "top").rules == {"array-shared"}


def test_region_in_a_block_and_streams_outside_of_it():
    text = """
using S = hls::stream<int, 4>;
void put(int n, S& s) { s.write(n); }
void get(S& s, int& out) { out = s.read(); }
int f(int n) {
  int out = 0;
  S a;
  {
#pragma HLS dataflow
    put(n, a);
    %s
    get(a, out);
  }
  return out + 1;
}
"""
    assert not check(text % "").findings
    assert check(text % "put(n, a);").rules == {"stream-use"}


def test_streams_through_a_region_inside_a_process():
    before = """
void inner(S& from, S& to) {
#pragma HLS dataflow
  S mid;
  pass(from, mid);
  pass(mid, to);
}
void outer(S& from, S& to) { inner(from, to); }
"""
    assert not dataflow("S a, b;\n put(n, a);\n outer(a, b);\n get(b, out);", before).findings
    assert dataflow("S a, b;\n put(n, a);\n outer(a, b);\n outer(a, b);\n get(b, out);", before).rules == {"stream-use"}
