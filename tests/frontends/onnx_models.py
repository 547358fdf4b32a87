"""Tiny random models for the tests of the ONNX frontend: transformers exports, and GenAI-style graphs built by hand."""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

VOCAB, DIM, FFN, LAYERS, HEADS = 96, 32, 64, 2, 4
ARCHS = ("llama", "mistral", "qwen2", "qwen3", "opt", "gpt2")
#: (opset, attention implementation)
FORMS = {"sdpa23": (23, "sdpa"), "eager20": (20, "eager")}


def torch_model(arch: str, **changes: Any) -> Any:
    """A random transformers model in eval mode; every weight random, biases and norms too (zeros would vanish in the export)."""
    import torch
    import transformers as tf

    common = {"vocab_size": VOCAB, "bos_token_id": 1, "eos_token_id": 2}
    llama = common | {
        "hidden_size": DIM,
        "intermediate_size": FFN,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "num_key_value_heads": 2,
        "max_position_embeddings": 64,
    }
    made = {
        "llama": (tf.LlamaConfig, llama),
        "mistral": (tf.MistralConfig, llama | {"head_dim": 8, "sliding_window": 6}),
        "qwen2": (tf.Qwen2Config, llama),
        "qwen3": (tf.Qwen3Config, llama | {"head_dim": 16}),
        "opt": (
            tf.OPTConfig,
            common
            | {"hidden_size": DIM, "ffn_dim": FFN, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS}
            | {"max_position_embeddings": 64, "word_embed_proj_dim": DIM, "pad_token_id": 1},
        ),
        "gpt2": (tf.GPT2Config, common | {"n_embd": DIM, "n_layer": LAYERS, "n_head": HEADS, "n_positions": 64}),
    }
    config_class, values = made[arch]
    torch.manual_seed(1)
    model = tf.AutoModelForCausalLM.from_config(config_class(**(values | changes))).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.ndim == 1:
                p.copy_(torch.randn_like(p) * 0.2 + (0 if name.endswith("bias") else 1))
            else:
                p.copy_(torch.randn_like(p) * 0.15)
    model.tie_weights()
    return model


def export(model: Any, path: Path, form: str, *, cache: bool = False, external: bool = False) -> None:
    """torch.onnx.export(dynamo=True) with a dynamic number of tokens (and of cached positions)."""
    import torch
    from transformers import DynamicCache

    opset, attention = FORMS[form]
    model.set_attn_implementation(attention)
    config = model.config
    layers = config.num_hidden_layers
    kv_heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    size = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads

    class Plain(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids):  # type: ignore[no-untyped-def]
            return self.model(input_ids, use_cache=False).logits

    class Cached(Plain):
        def forward(self, input_ids, attention_mask, position_ids, past):  # type: ignore[no-untyped-def]
            made = DynamicCache()
            for layer, (k, v) in enumerate(past):
                made.update(k, v, layer)
            out = self.model(
                input_ids,
                attention_mask=attention_mask,
                position_ids=position_ids,
                past_key_values=made,
                use_cache=True,
            )
            return out.logits, [(c.keys, c.values) for c in out.past_key_values.layers]

    tokens = torch.export.Dim("tokens", min=2, max=60)
    ids = torch.randint(0, VOCAB, (1, 7))
    options: dict[str, Any] = {"dynamo": True, "opset_version": opset, "external_data": external, "verbose": False}
    if cache:
        past = [tuple(torch.randn(2, 1, kv_heads, 4, size, dtype=model.dtype)) for _ in range(layers)]
        held = torch.export.Dim("held", min=2, max=60)
        pairs = [f"{i}.{x}" for i in range(layers) for x in ("key", "value")]
        args = (ids, torch.ones(1, 11, dtype=torch.int64), torch.arange(4, 11)[None], past)
        options |= {
            "dynamic_shapes": {
                "input_ids": {1: tokens},
                "attention_mask": {1: torch.export.Dim.AUTO},
                "position_ids": {1: tokens},
                "past": [({2: held}, {2: held}) for _ in past],
            },
            "input_names": ["input_ids", "attention_mask", "position_ids", *(f"past_key_values.{p}" for p in pairs)],
            "output_names": ["logits", *(f"present.{p}" for p in pairs)],
        }
        module: Any = Cached()
    else:
        args = (ids,)  # type: ignore[assignment]
        options |= {
            "dynamic_shapes": {"input_ids": {1: tokens}},
            "input_names": ["input_ids"],
            "output_names": ["logits"],
        }
        module = Plain()
    with _quiet(), torch.no_grad():
        torch.onnx.export(module, args, str(path), **options)


def torch_logits(model: Any, ids: np.ndarray) -> np.ndarray:
    """Logits [tokens, vocab] of a transformers model."""
    import torch

    with torch.no_grad():
        return model(torch.tensor(ids)[None], use_cache=False).logits[0].float().numpy()


@contextlib.contextmanager
def _quiet():  # type: ignore[no-untyped-def]
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    with warnings.catch_warnings(), open(os.devnull, "w") as sink, contextlib.redirect_stdout(sink):
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            logging.disable(previous)


# -- ONNX Runtime GenAI style ------------------------------------------------------------------------------------------------


class GenAI:
    """A Llama-like model as ONNX Runtime GenAI's builder lays it out, with switches for its variants.

    bits: None (MatMul) or 4 / 8 (MatMulNBits, blocks of `block`, `zeros`: None, "packed" or "float"). packed: one qkv projection.
    rotary: "gqa" (inside GroupQueryAttention) or "node". norm: "rms" or "layer". window: local_window_size.
    """

    def __init__(
        self,
        *,
        bits: int | None = None,
        block: int = 32,
        zeros: str | None = None,
        packed: bool = False,
        rotary: str = "gqa",
        interleaved: bool = False,
        rotary_dim: int = 0,
        norm: str = "rms",
        window: int = -1,
        bias: bool = False,
        context: int = 64,
        seed: int = 0,
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self.dim, self.size, self.heads, self.kv = 64, 16, 4, 2
        self.bits, self.block, self.zeros, self.bias = bits, block, zeros, bias
        self.norm, self.window = norm, window
        half = (rotary_dim or self.size) // 2
        inv = (1.0 / 10000.0 ** (np.arange(half, dtype=np.float32) / np.float32(half))).astype(np.float32)
        angle = np.outer(np.arange(context, dtype=np.float32), inv)
        self.cos = self.constant("cos_cache", np.cos(angle))
        self.sin = self.constant("sin_cache", np.sin(angle))
        self.interleaved, self.rotary, self.rotary_dim = int(interleaved), rotary, rotary_dim
        table = self.constant("embedding", self.rng.standard_normal((VOCAB, self.dim)))
        (x,) = self.node("Gather", [table, "input_ids"])
        (mask,) = self.node("ReduceSum", ["attention_mask", self.constant("one", np.array([1], np.int64))], keepdims=0)
        (lengths,) = self.node("Sub", [mask, self.constant("unit", np.array(1, np.int64))])
        (self.lengths,) = self.node("Cast", [lengths], to=TensorProto.INT32)
        (shape,) = self.node("Shape", ["attention_mask"])
        (total,) = self.node("Gather", [shape, self.constant("index", np.array(1, np.int64))])
        (self.total,) = self.node("Cast", [total], to=TensorProto.INT32)
        rms, layer = ("SimplifiedLayerNormalization", ""), ("LayerNormalization", "")
        kind, domain = rms if norm == "rms" else layer
        inputs = [x, self.gamma("norm0"), *([self.gamma("beta0", 0)] if norm == "layer" else [])]
        (h,) = self.node(
            kind, inputs, domain=domain, axis=-1, epsilon=1e-5, **({"stash_type": 1} if norm == "rms" else {})
        )
        for layer_index in range(LAYERS):
            a = self.attention(h, layer_index, packed)
            x, h = self.skip(x, a, f"post{layer_index}")
            if norm == "rms":
                (gate, up) = (self.linear(h, FFN, f"{n}{layer_index}") for n in ("gate", "up"))
                (s,) = self.node("Sigmoid", [gate])
                (g,) = self.node("Mul", [gate, s])
                (mid,) = self.node("Mul", [g, up])
            else:
                (mid,) = self.node(
                    "FastGelu", [self.linear(h, FFN, f"up{layer_index}", bias=True)], domain="com.microsoft"
                )
            x, h = self.skip(
                x,
                self.linear(mid, self.dim, f"down{layer_index}", k=FFN),
                f"next{layer_index}",
                layer_index == LAYERS - 1,
            )
        head = self.linear(h, VOCAB, "head", bias=False)
        self.node("Identity", [head], ["logits"])

    def constant(self, name: str, data: np.ndarray) -> str:
        data = np.asarray(data)
        data = data.astype(np.float32) if data.dtype == np.float64 else data
        self.constants.append(numpy_helper.from_array(data, name))
        return name

    def node(self, kind: str, inputs: list[str], outputs: list[str] | int = 1, **attributes: Any) -> list[str]:
        names = outputs if isinstance(outputs, list) else [f"v{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, names, name=f"n{len(self.nodes)}", **attributes))
        return names

    def gamma(self, name: str, mean: float = 1) -> str:
        return self.constant(name, mean + 0.2 * self.rng.standard_normal(self.dim))

    def linear(self, x: str, out: int, name: str, k: int | None = None, bias: bool | None = None) -> str:
        k = k or self.dim
        if self.bits is None:
            (y,) = self.node("MatMul", [x, self.constant(name, 0.15 * self.rng.standard_normal((k, out)))])
        else:
            blocks = -(-k // self.block)
            data = self.rng.integers(0, 256, (out, blocks, self.block * self.bits // 8), np.uint8)
            scale = (0.02 * self.rng.standard_normal((out, blocks))).astype(
                np.float32
            )  # of either sign, as quantisers write them
            inputs = [x, self.constant(name, data), self.constant(name + "_s", scale)]
            if self.zeros == "packed":
                inputs.append(
                    self.constant(name + "_z", self.rng.integers(0, 256, (out, -(-blocks * self.bits // 8)), np.uint8))
                )
            elif self.zeros == "float":
                inputs.append(self.constant(name + "_z", self.rng.uniform(2, 12, (out, blocks))))
            (y,) = self.node(
                "MatMulNBits",
                inputs,
                domain="com.microsoft",
                K=k,
                N=out,
                bits=self.bits,
                block_size=self.block,
                accuracy_level=1,
            )
        if self.bias if bias is None else bias:
            (y,) = self.node("Add", [y, self.constant(name + "_b", 0.2 * self.rng.standard_normal(out))])
        return y

    def attention(self, h: str, layer: int, packed: bool) -> str:
        q, kv = self.heads * self.size, self.kv * self.size
        if packed:
            inputs = [self.linear(h, q + 2 * kv, f"qkv{layer}"), "", ""]
        else:
            inputs = [self.linear(h, n, f"{r}{layer}") for r, n in (("q", q), ("k", kv), ("v", kv))]
        if self.rotary == "node":
            for i, heads in ((0, self.heads), (1, self.kv)):
                extra = {"num_heads": heads, "rotary_embedding_dim": self.rotary_dim} if self.rotary_dim else {}
                (inputs[i],) = self.node(
                    "RotaryEmbedding",
                    [inputs[i], "position_ids", self.cos, self.sin],
                    domain="com.microsoft",
                    interleaved=self.interleaved,
                    **extra,
                )
        inside = [self.cos, self.sin] if self.rotary == "gqa" else ["", ""]
        (a, _, _) = self.node(
            "GroupQueryAttention",
            [
                *inputs,
                f"past_key_values.{layer}.key",
                f"past_key_values.{layer}.value",
                self.lengths,
                self.total,
                *inside,
            ],
            [f"attn{layer}", f"present.{layer}.key", f"present.{layer}.value"],
            domain="com.microsoft",
            num_heads=self.heads,
            kv_num_heads=self.kv,
            do_rotary=int(self.rotary == "gqa"),
            rotary_interleaved=self.interleaved if self.rotary == "gqa" else 0,
            local_window_size=self.window,
            scale=self.size**-0.5,
        )
        return self.linear(a, self.dim, f"o{layer}", k=q)

    def skip(self, x: str, branch: str, name: str, last: bool = False) -> tuple[str, str]:
        kind = "SkipSimplifiedLayerNormalization" if self.norm == "rms" else "SkipLayerNormalization"
        beta = [self.gamma(name + "_beta", 0)] if self.norm == "layer" else []
        outputs = [name + "_h"] if last else [name + "_h", "", "", name + "_x"]
        self.node(kind, [x, branch, self.gamma(name), *beta], outputs, domain="com.microsoft", epsilon=1e-5)
        return name + "_x", name + "_h"

    def save(self, path: Path, **options: Any) -> Path:
        """Write the model; `options` of onnx.save (external data)."""
        f, i = TensorProto.FLOAT, TensorProto.INT64
        info = helper.make_tensor_value_info
        pairs = [f"{n}.{x}" for n in range(LAYERS) for x in ("key", "value")]
        inputs = [info("input_ids", i, ["batch", "seq"]), info("attention_mask", i, ["batch", "total"])]
        if self.rotary == "node":
            inputs.append(info("position_ids", i, ["batch", "seq"]))
        inputs += [info(f"past_key_values.{p}", f, ["batch", self.kv, "past", self.size]) for p in pairs]
        outputs = [info("logits", f, ["batch", "seq", VOCAB])]
        outputs += [info(f"present.{p}", f, ["batch", self.kv, "total", self.size]) for p in pairs]
        graph = helper.make_graph(self.nodes, "decoder", inputs, outputs, self.constants)
        opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), str(path), **options)
        return path


def runtime_logits(path: Path, ids: np.ndarray) -> np.ndarray:
    """Logits [tokens, vocab] of a GenAI-style model from ONNX Runtime, with an empty cache."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    feeds: dict[str, np.ndarray] = {}
    for value in session.get_inputs():
        if value.name == "input_ids":
            feeds[value.name] = ids[None]
        elif value.name == "attention_mask":
            feeds[value.name] = np.ones((1, len(ids)), np.int64)
        elif value.name == "position_ids":
            feeds[value.name] = np.arange(len(ids))[None]
        else:
            feeds[value.name] = np.zeros((1, value.shape[1], 0, value.shape[3]), np.float32)
    return session.run(["logits"], feeds)[0][0]
