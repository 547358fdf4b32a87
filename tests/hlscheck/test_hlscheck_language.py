"""What the language of the kernel may not have: each rule reports, and leaves the synthesisable way of writing it alone."""

from __future__ import annotations

import pytest
from hlscheck.snippets import HEAD, TOP, check, check_all

from flightllm.hlscheck import check_text
from flightllm.hlscheck.findings import RULES

LOOP = "#pragma HLS loop_tripcount min = 1 max = 8"

#: what is tested: rule, code that breaks it, code that does not
CASES = {
    "new": (
        "allocation",
        "int f(int n) { int* p = new int[4]; return p[n]; }",
        "int f(int n) { int p[4] = {}; return p[n]; }",
    ),
    "delete": ("allocation", "int f(int n) { int* p = nullptr; delete p; return n; }", "int f(int n) { return n; }"),
    "malloc": (
        "allocation",
        "#include <cstdlib>\nint f(int n) { return malloc(n) != nullptr; }",
        "int f(int n) { return n; }",
    ),
    "container": (
        "allocation",
        "#include <vector>\nint f(int n) { std::vector<int> v; return n; }",
        "int f(int n) { hls::vector<int, 4> v; v[0] = n; return v[0]; }",
    ),
    "in a template": (
        "allocation",
        "template <class T> int g(T n) { T* p = new T; return *p + n; }\nint f(int n) { return g<int>(n); }",
        "template <class T> int g(T n) { return n; }\nint f(int n) { return g<int>(n); }",
    ),
    "in a method of a template": (
        "exception",
        "template <class T> struct A { T v; T get() { if (v) throw 1; return v; } };\nint f(int n) { A<int> a{n}; return a.get(); }",
        "template <class T> struct A { T v; T get() { return v; } };\nint f(int n) { A<int> a{n}; return a.get(); }",
    ),
    "try": (
        "exception",
        "int f(int n) { try { return n; } catch (...) { return 1; } }",
        "int f(int n) { return n ? n : 1; }",
    ),
    "recursion": (
        "recursion",
        "int f(int n) { return n ? f(n - 1) : 0; }",
        "int g(int n) { return n; }\nint f(int n) { return g(n); }",
    ),
    "recursion of two": (
        "recursion",
        "int g(int n);\nint f(int n) { return n ? g(n - 1) : 0; }\nint g(int n) { return f(n); }",
        "int g(int n) { return n; }\nint f(int n) { return g(n) + g(n); }",
    ),
    # instances of a template that call each other end, so they are no recursion
    "recursion of a template": (
        "recursion",
        "template <int K> int g(int n) { return n ? g<K>(n - 1) : 0; }\nint f(int n) { return g<3>(n); }",
        "template <int K> int g(int n) { if constexpr (K > 0) return g<K - 1>(n); else return n; }\nint f(int n) { return g<3>(n); }",
    ),
    "virtual function": (
        "virtual",
        "struct A { virtual int get(int n) { return n; } };\nint f(int n) { A a; return a.get(n); }",
        "struct A { int get(int n) { return n; } };\nint f(int n) { A a; return a.get(n); }",
    ),
    "virtual base": (
        "virtual",
        "struct A { int v; };\nstruct B : virtual A {};\nint f(int n) { B b; b.v = n; return b.v; }",
        "struct A { int v; };\nstruct B : A {};\nint f(int n) { B b; b.v = n; return b.v; }",
    ),
    "function pointer": (
        "function-pointer",
        "int g(int n) { return n; }\nint f(int n) { int (*p)(int) = g; return p(n); }",
        "int g(int n) { return n; }\nint f(int n) { return g(n); }",
    ),
    "pointer to a member": (
        "function-pointer",
        "struct A { int get(int n) { return n; } };\nint f(int n) { A a; int (A::*p)(int) = &A::get; return (a.*p)(n); }",
        "struct A { int get(int n) { return n; } };\nint f(int n) { A a; return a.get(n); }",
    ),
    "dynamic_cast": (
        "rtti",
        "struct A { virtual ~A() = default; };\nstruct B : A {};\nint f(int n) { A* a = nullptr; return dynamic_cast<B*>(a) ? n : 0; }",
        "struct A { int v; };\nint f(int n) { A a{n}; return static_cast<int>(a.v); }",
    ),
    "typeid": (
        "rtti",
        "#include <typeinfo>\nint f(int n) { return typeid(n) == typeid(int); }",
        "int f(int n) { return n; }",
    ),
    "goto": (
        "goto",
        "int f(int n) { again: if (n > 3) { --n; goto again; } return n; }",
        "int f(int n) { return n > 3 ? 3 : n; }",
    ),
    "array of variable length": (
        "vla",
        "int f(int n) { int a[n]; a[0] = n; return a[0]; }",
        "int f(int n) { const int k = 3; int a[k] = {n}; return a[0]; }",
    ),
    "while": (
        "tripcount",
        "int f(int n) { while (n > 3) { n -= 2; } return n; }",
        f"int f(int n) {{ while (n > 3) {{\n{LOOP}\n n -= 2; }} return n; }}",
    ),
    "endless": (
        "tripcount",
        "int f(int n) { while (true) { if (n-- < 3) break; } return n; }",
        f"int f(int n) {{ while (true) {{\n{LOOP}\n if (n-- < 3) break; }} return n; }}",
    ),
    "do": (
        "tripcount",
        "int f(int n) { do { --n; } while (n > 3); return n; }",
        f"int f(int n) {{ do {{\n{LOOP}\n --n; }} while (n > 3); return n; }}",
    ),
    "variable bound": (
        "tripcount",
        "int f(int n) { int s = 0; for (int i = 0; i < n; ++i) s += i; return s; }",
        "int f(int n) { int s = n; for (int i = 0; i < 8; ++i) s += i; return s; }",
    ),
    "bound of a template": (
        "tripcount",
        "template <class C> int g(int n) { int s = 0; for (int i = 0; i < C::k + n; ++i) s += i; return s; }\n"
        "struct C { static constexpr int k = 4; };\nint f(int n) { return g<C>(n); }",
        "template <class C> int g(int n) { int s = n; for (int i = 1; i <= 2 * C::k; i *= 2) s += i; return s; }\n"
        "struct C { static constexpr int k = 4; };\nint f(int n) { return g<C>(n); }",
    ),
    "second condition": (
        "tripcount",
        "int f(int n) { int s = 0; for (int i = 0; i < 8 && s < n; ++i) s += i; return s; }",
        "int f(int n) { int s = 0; for (int i = 7; i >= 0; --i) { if (s > n) break; s += i; } return s; }",
    ),
    "counter changed in the body": (
        "tripcount",
        "int f(int n) { int s = 0; for (int i = 0; i < 8; ++i) { if (n) ++i; s += i; } return s; }",
        "int f(int n) { int a[4] = {}; for (int& x : a) x = n; return a[0]; }",
    ),
    "unrolled without bounds": (
        "unroll-bounds",
        f"int f(int n) {{ int s = 0; for (int i = 0; i < n; ++i) {{\n#pragma HLS unroll\n{LOOP}\n s += i; }} return s; }}",
        f"int f(int n) {{ int s = 0; for (int i = 0; i < n; ++i) {{\n#pragma HLS unroll factor = 2\n{LOOP}\n s += i; }} return s; }}",
    ),
    "loop below a pipeline": (
        "pipeline-loop",
        f"int f(int n) {{ int s = 0; for (int i = 0; i < 8; ++i) {{\n#pragma HLS pipeline II = 1\n while (s < n) {{\n{LOOP}\n ++s; }} }} return s; }}",
        "int f(int n) { int s = 0; for (int i = 0; i < 8; ++i) {\n#pragma HLS pipeline II = 1\n for (int j = 0; j < 4; ++j) s += n; } return s; }",
    ),
    "loop in a function below a pipeline": (
        "pipeline-loop",
        f"int g(int n) {{ while (n > 3) {{\n{LOOP}\n --n; }} return n; }}\n"
        "int f(int n) { int s = 0; for (int i = 0; i < 8; ++i) {\n#pragma HLS pipeline II = 1\n s += g(n); } return s; }",
        f"int g(int n) {{ while (n > 3) {{\n{LOOP}\n --n; }} return n; }}\n"
        "int f(int n) { int s = 0; for (int i = 0; i < 8; ++i) {\n#pragma HLS pipeline off\n s += g(n); } return s; }",
    ),
    "standard library": (
        "library",
        "#include <algorithm>\nint f(int n) { return std::max(n, 3); }",
        "#include <type_traits>\nint f(int n) { if constexpr (std::is_same_v<int, long>) return 1; return __builtin_clzll(n | 1); }",
    ),
    "builtin": (
        "library",
        "int f(int n) { return __builtin_popcount(n); }",
        "int f(int n) { return __builtin_clzll(n | 1); }",
    ),
    "native shim": (
        "library",
        '#include "fiber.hpp"\nint f(int n) { flight::native::yield(); return n; }',
        "int f(int n) { ap_uint<5> a = n; ap_int<48> b = a; b[3] = 1; return (b * 3).to_int(); }",
    ),
    "port from memory, as in a native run": (
        "library",
        "int f(int n) { hls::burst_maxi<int> p(nullptr, 4); return p.read(); }",
        "int g(hls::burst_maxi<int> p) { p.read_request(0, 1); return p.read(); }\nint f(int n) { hls::stream<int, 4> s; s.write(n); return s.read(); }",
    ),
    "no definition": (
        "call-unresolved",
        "int g(int n);\nint f(int n) { return g(n); }",
        "int g(int n) { return n; }\nint f(int n) { return g(n); }",
    ),
    "float variable": (
        "float",
        "int f(int n) { float x = n; return x > 3; }",
        "int f(int n) { ap_uint<9> x = n; return x > 3; }",
    ),
    "double literal": ("float", "int f(int n) { return n * 0.5; }", "int f(int n) { return n / 2; }"),
    "float in a struct": (
        "float",
        "struct A { float x; int y; };\nint f(int n) { A a; a.y = n; return a.y; }",
        "struct A { int y; };\nint f(int n) { A a{n}; return a.y; }",
    ),
    "pointer to a pointer": (
        "pointer",
        "int f(int n) { int* p = &n; int** q = &p; return **q; }",
        "int f(int n) { int* p = &n; return *p; }",
    ),
    "array of pointers": (
        "pointer",
        "int f(int n) { int* p[2] = {&n, &n}; int** q = p; return **q; }",
        "int f(int n) { int p[2] = {n, n}; return p[1]; }",
    ),
    "reinterpret_cast": (
        "pointer",
        "int f(int n) { return *reinterpret_cast<short*>(&n); }",
        "int f(int n) { return static_cast<short>(n); }",
    ),
    "static": (
        "static",
        "int f(int n) { static int s = 0; return s += n; }",
        "int f(int n) { static const int s[2] = {3, 4}; return n + s[1]; }",
    ),
    "global": (
        "global",
        "int g_count = 0;\nint f(int n) { return g_count += n; }",
        "const int kTable[2] = {1, 2};\nconstexpr int k = 3;\nint f(int n) { return n + k + kTable[0]; }",
    ),
    "static member": (
        "global",
        "struct A { static int s; };\nint A::s = 0;\nint f(int n) { return A::s + n; }",
        "struct A { static constexpr int s = 3; };\nint f(int n) { return A::s + n; }",
    ),
    "long double": (
        "type",
        "int f(int n) { long double* p = nullptr; long double x = 1; return n; }",
        "int f(int n) { std::int64_t x = 1; return n + x; }",
    ),
    "std::string": (
        "type",
        "#include <string>\nint f(int n) { std::string s; return n; }",
        "int f(int n) { const char s[2] = {1, 2}; return s[1] + n; }",
    ),
    "bit-field in a union": (
        "type",
        "union U { int a : 3; int b; };\nint f(int n) { U u; u.b = n; return u.b; }",
        "struct U { int a : 3; int b; };\nint f(int n) { U u; u.b = n; return u.b; }",
    ),
    "128 bits": (
        "type",
        "int f(int n) { __int128 x = n; return x > 3; }",
        "int f(int n) { ap_int<128> x = n; return x > 3; }",
    ),
    "stream by value": (
        "stream-copy",
        "int g(hls::stream<int, 4> s) { return s.read(); }\nint f(int n) { return n ? g({}) : 0; }",
        "int g(hls::stream<int, 4>& s) { return s.read(); }\nint f(int n) { hls::stream<int, 4> s; s.write(n); return g(s); }",
    ),
    "stream by pointer": (
        "stream-copy",
        "int g(hls::stream<int, 4>* s) { return s->read(); }\nint f(int n) { hls::stream<int, 4> s; s.write(n); return g(&s); }",
        "int g(hls::stream<int, 4> (&s)[2]) { return s[1].read(); }\nint f(int n) { hls::stream<int, 4> s[2]; s[1].write(n); return g(s); }",
    ),
    "does not compile": ("parse", "int f(int n) { return m; }", "int f(int n) { return n; }"),
}


@pytest.mark.parametrize("name", CASES)
def test_broken(name):
    rule, bad, _ = CASES[name]
    report = check(bad)
    assert rule in report.rules, [str(f) for f in report.findings]


def test_kept():
    found = check_all([good for _, _, good in CASES.values()])
    assert dict(zip(CASES, found, strict=True)) == {name: [] for name in CASES}


def test_every_rule_on_the_language_is_tested():
    elsewhere = {"argument", "array-shared", "dataflow-call", "dataflow-statement", "stream-use"}
    assert {rule for rule, _, _ in CASES.values()} == {r for r in RULES if not r.startswith("pragma-")} - elsewhere


def test_place_of_a_finding_in_a_template():
    report = check(
        "template <class T>\nint g(T n) {\n  float x = n;\n  return x > 3;\n}\nint f(int n) { return g<int>(n) + g<short>(n); }\n"
    )
    lines = {f.line for f in report.findings if f.rule == "float"}
    assert lines == {HEAD.count("\n") + 3, HEAD.count("\n") + 4}  # once for both instances
    assert {f.file for f in report.findings} == {"kernel.cpp"}


def test_only_what_is_reached_counts():
    assert not check("int g(int n) { return n * 0.5; }\nint f(int n) { return n; }").findings


def test_only_what_synthesis_sees_counts():
    text = "#ifdef __SYNTHESIS__\nint f(int n) { return n; }\n#else\nint f(int n) { return n * 0.5; }\n#pragma HLS nonsense\n#endif\n"
    assert not check(text).findings


def test_names_what_to_do():
    finding = check("int f(int n) { return n * 0.5; }").findings[0]
    assert str(finding).startswith(f"kernel.cpp:{HEAD.count(chr(10)) + 1}: float: ")
    assert "do: compute on bit patterns" in str(finding)


def test_there_is_no_such_top():
    assert check_text(HEAD + "int f(int n) { return n; }" + TOP, "bottom").rules == {"parse"}
