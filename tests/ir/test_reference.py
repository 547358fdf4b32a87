"""The fp32 evaluation: against the formulas written out token by token in double precision, and against itself in pieces."""

import math

import numpy as np
import pytest
from graphs import VARIANTS, decoder

import flightllm.ir.reference as reference
from flightllm.errors import ModelError
from flightllm.ir import Weight
from flightllm.ir.ops import Act, Add, Attention, Embed, Linear, Mul, Norm, PosEmbed, Rope
from flightllm.ir.reference import Cache, WeightReader, evaluate, observe_linears

IDS = np.random.default_rng(3).integers(0, 70, 50).tolist()


def slowly(graph, ids):
    """Logits by plain loops over tokens, heads and visible keys, float64."""
    memory, logits = {}, []
    for p, token in enumerate(ids):
        value = {}
        for node in graph:
            op, x = node.op, [value[i] for i in node.inputs]
            if isinstance(op, Embed):
                y = op.table.read()[token].astype(float) * op.scale
            elif isinstance(op, PosEmbed):
                y = op.table.read()[p + op.offset].astype(float)
            elif isinstance(op, Linear):
                y = op.weight.read().astype(float) @ x[0] + (0 if op.bias is None else op.bias.read())
            elif isinstance(op, Norm):
                parts = []
                for part in np.split(x[0], op.heads):
                    if op.kind == "layer":
                        part = part - part.mean()
                    part = part / math.sqrt((part**2).mean() + op.eps) * op.gamma.read()
                    parts.append(part + (0 if op.beta is None else op.beta.read()))
                y = np.concatenate(parts)
            elif isinstance(op, Rope):
                y = x[0].copy()
                half = len(op.inv_freq)
                for h in range(op.heads):
                    for i, f in enumerate(op.inv_freq):
                        a, b = h * op.head_dim + i, h * op.head_dim + i + half
                        turn = op.attention_factor * np.exp(1j * p * f) * (x[0][a] + 1j * x[0][b])
                        y[a], y[b] = turn.real, turn.imag
            elif isinstance(op, Attention):
                memory.setdefault(node.name, []).append(x[1:])
                y = np.zeros(node.dim)
                for h in range(op.heads):
                    mine = slice(h * op.head_dim, (h + 1) * op.head_dim)
                    g = h // (op.heads // op.kv_heads)
                    their = slice(g * op.head_dim, (g + 1) * op.head_dim)
                    seen = [j for j in range(p + 1) if not op.window or p - j < op.window or j < op.sink]
                    keys = [memory[node.name][j] for j in seen]
                    weight = np.array([math.exp(op.scale * (x[0][mine] @ k[their])) for k, _ in keys])
                    y[mine] = sum(w * v[their] for w, (_, v) in zip(weight / weight.sum(), keys, strict=True))
            elif isinstance(op, Act):
                z = x[0]
                if op.kind == "relu":
                    y = np.where(z > 0, z, 0)
                elif op.kind == "silu":
                    y = z / (1 + np.exp(-z))
                else:
                    y = z / (1 + np.exp(-2 * math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)))
            elif isinstance(op, Mul):
                y = x[0] * x[1]
            else:
                assert isinstance(op, Add)
                y = x[0] + x[1]
            value[node.name] = y
        logits.append(value["lm_head"])
    return np.array(logits)


@pytest.mark.parametrize("variant", VARIANTS)
def test_formulas(variant):
    graph = decoder(**VARIANTS[variant], layers=1)
    got = evaluate(graph, IDS)
    assert got.dtype == np.float32
    assert got.shape == (50, 70)
    assert np.abs(got - slowly(graph, IDS)).max() < 2e-5


def test_attention_factor_multiplies_the_rotated_part(monkeypatch):
    graph = decoder(**VARIANTS["partial-rope"], layers=1)
    before = evaluate(graph, IDS)
    for name in ("q", "k"):
        node = graph[f"layers.0.attn.{name}_rope"]
        node.op = Rope(node.op.heads, node.op.head_dim, node.op.inv_freq, 1.5)
    assert np.abs(evaluate(graph, IDS) - slowly(graph, IDS)).max() < 2e-5
    assert np.abs(evaluate(graph, IDS) - before).max() > 1e-2


@pytest.mark.parametrize("variant", ["llama", "opt", "window"])
def test_pieces_equal_the_whole(variant):
    graph = decoder(**VARIANTS[variant])
    whole = evaluate(graph, IDS)
    cache = Cache()
    pieces = [evaluate(graph, IDS[a:b], cache=cache) for a, b in ((0, 1), (1, 20), (20, 20), (20, 21), (21, 50))]
    assert cache.tokens == 50
    assert np.abs(np.concatenate(pieces) - whole).max() < 2e-5


@pytest.mark.parametrize("variant", ["llama", "window"])
def test_blocks_of_queries_equal_the_whole(variant, monkeypatch):
    graph = decoder(**VARIANTS[variant])
    whole = evaluate(graph, IDS)
    monkeypatch.setattr(reference, "SCORES", 4 * 50 * 7)  # seven queries at a time, the last block shorter
    assert np.abs(evaluate(graph, IDS) - whole).max() < 2e-5


def test_later_tokens_do_not_change_earlier_ones():
    graph = decoder()
    other = [*IDS[:30], *((np.array(IDS[30:]) + 1) % 70)]
    a, b = evaluate(graph, IDS), evaluate(graph, other)
    assert np.abs(a[:30] - b[:30]).max() < 1e-6
    assert np.abs(a[30:] - b[30:]).max() > 0.1


@pytest.mark.parametrize("bad", [[70], [-1], [3, 4, 1000]])
def test_tokens_outside_the_table_are_named(bad):
    with pytest.raises(ModelError, match=rf"tokens .*{bad[-1]}"):
        evaluate(decoder(), bad)


def test_positions_outside_the_table_are_named():
    graph = decoder(**VARIANTS["opt"], context=40)
    evaluate(graph, IDS[:40])
    with pytest.raises(ModelError, match="positions 0 to 40"):
        evaluate(graph, IDS[:41])


def test_weight_cache_holds_its_budget():
    reads = []

    def weight(name, n):
        def read():
            reads.append(name)
            return np.full(n, len(reads), np.float32)

        return Weight(name, (n,), read, key=name)

    a, b, c, large = weight("a", 10), weight("b", 10), weight("c", 10), weight("large", 100)
    reader = WeightReader(budget=80)  # two of the small ones
    for w in (a, b, a, c, a, b, large, b):
        reader(w)
        assert reader.used <= 80
    # c pushes out b, which was used longer ago than a; b pushes out c; the large one is never kept and pushes out nothing.
    assert reads == ["a", "b", "c", "b", "large"]


def test_tied_weights_are_read_once():
    graph = decoder(tied=True)
    reads = []
    table = graph["embed"].op.table

    def read():
        reads.append(1)
        return table.read()

    tied = [Weight(name, table.shape, read, key="tied") for name in ("embed", "head")]
    graph["embed"].op, graph["lm_head"].op = Embed(tied[0]), Linear(tied[1])
    evaluate(graph, IDS)
    assert len(reads) == 1


@pytest.mark.parametrize("name", VARIANTS)
def test_observed_inputs_are_those_of_an_evaluation(name, monkeypatch):
    """Several sequences at once, each as if alone; every weight is read once, the output's not at all."""
    graph = decoder(**VARIANTS[name])
    wanted, seen, reads = {}, {}, []
    apply = reference._apply

    def spy(node, op, x, *rest):
        if isinstance(op, Linear):
            wanted.setdefault(node, []).append(x[0])
        return apply(node, op, x, *rest)

    sequences = [IDS[:20], IDS[30:], IDS[7:8], []]
    with monkeypatch.context() as patch:
        patch.setattr(reference, "_apply", spy)
        for ids in sequences:
            evaluate(graph, ids)
    for node in graph.linears():
        weight = node.op.weight
        object.__setattr__(weight, "read", lambda read=weight.read, name=node.name: reads.append(name) or read())
    observe_linears(graph, sequences, lambda node, x: seen.setdefault(node.name, []).append(x))
    assert seen.keys() == wanted.keys() == {n.name for n in graph.linears()}
    for node in wanted:
        for mine, its in zip(seen[node], wanted[node], strict=True):
            np.testing.assert_array_equal(mine, its)
    assert sorted(reads) == sorted(n.name for n in graph.linears() if VARIANTS[name].get("tied") or n.name != "lm_head")


def test_observing_refuses_tokens_that_are_not_there():
    with pytest.raises(ModelError, match="tokens 3 to 70"):
        observe_linears(decoder(), [[1, 2], [3, 70]], lambda node, x: None)
