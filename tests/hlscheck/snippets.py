"""Small kernels for the check: a function `f`, and a top function around it with its interface."""

from __future__ import annotations

from itertools import pairwise

from flightllm.hlscheck import Finding, Report, check_text

HEAD = """
#include <ap_int.h>
#include <hls_burst_maxi.h>
#include <hls_stream.h>
#include <hls_vector.h>
#include <cstdint>
"""
TOP = """
void top(int n, int* out) {
#pragma HLS interface mode = s_axilite port = n bundle = control
#pragma HLS interface mode = s_axilite port = out bundle = control
#pragma HLS interface mode = s_axilite port = return bundle = control
#pragma HLS interface mode = ap_ctrl_chain port = return
  *out = f(n);
}
"""


def check(text: str) -> Report:
    """Check a snippet that defines `int f(int n)`."""
    return check_text(HEAD + text + TOP, "top")


def check_all(texts: list[str]) -> list[list[Finding]]:
    """Check snippets as one kernel, which is faster. Returns findings by snippet."""
    whole, first = HEAD, []
    for i, text in enumerate(texts):
        whole += f"namespace part{i} {{\n"
        first.append(whole.count("\n") + 1)
        whole += text + "\n}\n"
    first.append(whole.count("\n") + 1)
    whole += f"int f(int n) {{ return n{''.join(f' + part{i}::f(n)' for i in range(len(texts)))}; }}\n"
    report = check_text(whole + TOP, "top")
    assert "parse" not in report.rules, report.findings
    return [[f for f in report.findings if a <= f.line < b] for a, b in pairwise(first)]


def dataflow(body: str, before: str = "") -> Report:
    """Check a region: the body of `void region(int n, int& out)`."""
    helpers = """
using S = hls::stream<int, 4>;
void put(int n, S& s) { s.write(n); }
void get(S& s, int& out) { out = s.read(); }
void pass(S& from, S& to) { to.write(from.read()); }
void nothing(S&) {}
"""
    return check(
        f"{helpers}{before}\nvoid region(int n, int& out) {{\n#pragma HLS dataflow\n{body}\n}}\n"
        "int f(int n) {\n  int out = 0;\n  region(n, out);\n  return out;\n}\n"
    )
