"""Each rule of the graph verifier: every legal graph passes, and each kind of damage is named with its node and figures."""

from dataclasses import replace

import numpy as np
import pytest
from graphs import VARIANTS, decoder

from flightllm.errors import ModelError
from flightllm.ir import Weight
from flightllm.ir.ops import Act
from flightllm.ir.verify import RULES, verify_graph


def zeros(*shape):
    return Weight.of("changed", np.zeros(shape, np.float32))


def change(name, **fields):
    """Replace fields of a node's operator."""

    def apply(graph):
        graph[name].op = replace(graph[name].op, **fields)

    return apply


def node(name, **fields):
    """Set fields of a node."""

    def apply(graph):
        for field, value in fields.items():
            setattr(graph[name], field, value)

    return apply


def unused(graph):
    graph.add("layers.0.extra", Act("relu"), ["embed"], dim=48)


def info(**fields):
    def apply(graph):
        for field, value in fields.items():
            setattr(graph.info, field, value)

    return apply


# variant, damage, rule that must find it, words of the message
DAMAGE = [
    ("llama", node("layers.1.mlp.mul", inputs=("layers.1.mlp.act",)), "arity", "1 inputs instead of 2"),
    ("llama", node("layers.0.attn_norm", dim=0), "size", "0 elements"),
    ("llama", unused, "used", "layers.0.extra"),
    ("llama", change("layers.1.attn.q", weight=zeros(64, 47)), "linear shapes", r"\[64, 47\].*\[64, 48\]"),
    ("qwen2", change("layers.1.attn.q", bias=zeros(5)), "linear shapes", r"bias changed is \[5\].*96 elements"),
    ("llama", change("norm", gamma=zeros(47)), "norm shapes", r"changed is \[47\].*48"),
    ("llama", change("norm", heads=5), "norm shapes", "48 elements in 5 parts"),
    ("llama", change("norm", heads=0), "norm shapes", "in 0 parts"),
    ("llama", change("norm", eps=float("nan")), "norm shapes", "eps nan"),
    ("llama", change("norm", beta=zeros(48)), "norm shapes", "rms norm with beta"),
    ("opt", change("norm", beta=None), "norm shapes", "layer norm without beta"),
    ("llama", change("embed", table=zeros(70, 47)), "table shapes", r"\[70, 47\].*48"),
    ("llama", change("embed", table=zeros(69, 48)), "table shapes", "69 rows, the vocabulary 70"),
    ("opt", change("pos_embed", table=zeros(258, 47)), "position table shapes", r"\[258, 47\]"),
    ("opt", change("pos_embed", offset=258), "position table shapes", "258 rows, position 0 is row 258"),
    ("llama", change("layers.0.attn.q_rope", heads=3), "rope shapes", "3 heads of 16 are not 64"),
    (
        "llama",
        change("layers.0.attn.q_rope", inv_freq=np.ones(9)),
        "rope shapes",
        "18 rotated dimensions in heads of 16",
    ),
    ("llama", change("layers.0.attn.q_rope", inv_freq=np.ones(0)), "rope shapes", "0 rotated"),
    ("llama", change("layers.0.attn.q_rope", inv_freq=np.full(8, np.nan)), "rope shapes", "frequencies"),
    ("llama", change("layers.1.attn.core", kv_heads=3), "attention shapes", "4 query heads do not divide over 3"),
    ("llama", change("layers.1.attn.core", kv_heads=0), "attention shapes", "over 0 kv heads"),
    ("llama", change("layers.1.attn.core", head_dim=8), "attention shapes", "64, 32, 32 elements for 4/2 heads of 8"),
    ("llama", change("layers.1.attn.core", window=-1), "attention shapes", "window -1"),
    ("llama", change("layers.1.attn.core", scale=float("inf")), "attention shapes", "scale inf"),
    ("llama", node("layers.0.attn_add", inputs=("embed", "layers.0.attn.q")), "sum of equals", r"\[48, 64\]"),
    ("llama", node("layers.0.mlp.mul", inputs=("layers.0.mlp.act", "embed")), "product of equals", r"\[80, 48\]"),
    ("llama", node("layers.0.mlp.act", inputs=("embed",)), "activation keeps size", r"\[48\].*80"),
]


@pytest.mark.parametrize("variant", VARIANTS)
def test_legal_graphs_pass(variant):
    verify_graph(decoder(**VARIANTS[variant]))


@pytest.mark.parametrize(("variant", "damage", "rule", "text"), DAMAGE)
def test_damage_is_found_by_its_rule(variant, damage, rule, text):
    graph = decoder(**VARIANTS[variant])
    damage(graph)
    with pytest.raises(ModelError, match=text) as caught:
        verify_graph(graph)
    assert f"breaks the rule {rule!r}" in caught.value.what


def test_every_rule_has_damage_that_it_finds():
    assert {d[2] for d in DAMAGE} == {r.name for r in RULES}


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (info(vocab=71), "70 logits, the vocabulary has 71"),
        (info(layers=3), "2 attentions, the model 3 layers"),
        (lambda g: g.nx.remove_node("lm_head"), "no output matrix lm_head"),
        (node("lm_head", op=Act("relu")), "no output matrix lm_head"),
        (lambda g: g.add("embed2", g["embed"].op, [], dim=48), "2 token embeddings instead of one"),
    ],
)
def test_whole_graph_rules(damage, text):
    graph = decoder()
    damage(graph)
    with pytest.raises(ModelError, match=text):
        verify_graph(graph)
