"""Naming: from unnamed pieces to the canonical graph, by the structure of a decoder.

Both orders of norm are known: before attention and MLP (with a final norm), and after the residual sums (OPT-350m).
"""

from __future__ import annotations

from flightllm.errors import UnsupportedError
from flightllm.frontends.onnx.pieces import Piece, Pieces
from flightllm.ir.graph import Graph, ModelInfo
from flightllm.ir.ops import Act, Add, Attention, Embed, Linear, Mul, Norm, Op, PosEmbed, Rope


class Namer:
    """Walks back from the logits and names what it meets."""

    def __init__(self, pieces: Pieces) -> None:
        self.pieces = pieces
        self.names: dict[str, str] = {}

    def build(self, logits: str, info: ModelInfo) -> Graph:
        """The canonical graph; `names` then maps piece ids to node names.

        Raises:
            UnsupportedError: the pieces do not form a decoder that the machine has.
        """
        self.layers: list[dict[str, Piece]] = []
        head = self._expect(logits, Linear, "the logits")
        top = self.pieces.of(head.inputs[0])
        final: Piece | None = None
        if isinstance(top.op, Norm) and not self._post_norm(top):
            final, top = top, self.pieces.of(top.inputs[0])
        while not self._is_base(top):
            layer, top = self._layer(top)
            self.layers.append(layer)
        self.layers.reverse()
        info.layers, info.vocab = len(self.layers), head.width
        graph = Graph(info)
        self._emit_base(graph, top)
        for i, layer in enumerate(self.layers):
            for role in _ORDER_POST if layer["attn_norm"].inputs[0] == layer["attn_add"].id else _ORDER:
                if role in layer:
                    self._emit(graph, f"layers.{i}.{role}", layer[role])
        if final is not None:
            self._emit(graph, "norm", final)
        self._emit(graph, "lm_head", head)
        return graph

    # -- structure ---------------------------------------------------------------------------------------------------------

    def _error(self, piece: Piece, expected: str) -> UnsupportedError:
        return self.pieces.matcher.unsupported(
            piece.node,
            "the model is not built like a supported decoder",
            f"expected {expected}, found {type(piece.op).__name__} of width {piece.width}",
            "supported are sequential residual layers as in Llama, Mistral, Qwen2, Qwen3, OPT and GPT-2",
        )

    def _expect(self, name: str, kind: type[Op] | tuple[type[Op], ...], what: str) -> Piece:
        piece = self.pieces.of(name)
        if not isinstance(piece.op, kind):
            raise self._error(piece, what)
        return piece

    def _is_base(self, piece: Piece) -> bool:
        if isinstance(piece.op, Embed):
            return True
        parts = [self.pieces.of(i) for i in piece.inputs]
        if isinstance(piece.op, Norm):
            return self._is_base(parts[0]) and not isinstance(parts[0].op, Norm)
        return isinstance(piece.op, Add) and {type(p.op) for p in parts} == {Embed, PosEmbed}

    def _sum(self, piece: Piece, what: str) -> tuple[Piece, Piece]:
        """(residual, branch) of a residual sum; the branch ends in a linear, the residual does not."""
        if not isinstance(piece.op, Add):
            raise self._error(piece, what)
        a, b = (self.pieces.of(i) for i in piece.inputs)
        if isinstance(b.op, Linear) and not isinstance(a.op, Linear):
            return a, b
        if isinstance(a.op, Linear) and not isinstance(b.op, Linear):
            return b, a
        raise self._error(piece, "a sum of the residual and a projection")

    def _post_norm(self, norm: Piece) -> bool:
        """True if the norm follows the residual sum of an MLP that reads the residual itself."""
        total = self.pieces.of(norm.inputs[0])
        if not isinstance(total.op, Add) or self._is_base(total):
            return False
        residual, down = self._sum(total, "a residual sum")
        up = self._mlp(down)["mlp.up"]
        return up.inputs[0] == residual.id

    def _mlp(self, down: Piece) -> dict[str, Piece]:
        """Roles of an MLP that ends in `down`."""
        found = {"mlp.down": down}
        inner = self.pieces.of(down.inputs[0])
        if isinstance(inner.op, Mul):
            found["mlp.mul"] = inner
            a, b = (self.pieces.of(i) for i in inner.inputs)
            act, up = (a, b) if isinstance(a.op, Act) else (b, a)
            if not isinstance(act.op, Act):
                raise self._error(act, "the activation of a gated MLP")
            found["mlp.act"], found["mlp.up"] = act, self._expect(up.id, Linear, "the up projection of an MLP")
            found["mlp.gate"] = self._expect(act.inputs[0], Linear, "the gate projection of an MLP")
            if found["mlp.gate"].inputs != up.inputs:
                raise self._error(up, "gate and up projections of one value")
        elif isinstance(inner.op, Act):
            found["mlp.act"] = inner
            found["mlp.up"] = self._expect(inner.inputs[0], Linear, "the up projection of an MLP")
        else:
            raise self._error(inner, "the activation of an MLP")
        return found

    def _attention(self, out: Piece) -> dict[str, Piece]:
        """Roles of an attention that ends in the projection `out`."""
        core = self._expect(out.inputs[0], Attention, "an attention")
        found = {"attn.o": out, "attn.core": core}
        for role, name in zip("qkv", core.inputs, strict=True):
            piece = self.pieces.of(name)
            if isinstance(piece.op, Rope) and role != "v":
                found[f"attn.{role}_rope"] = piece
                piece = self.pieces.of(piece.inputs[0])
            if isinstance(piece.op, Norm) and role != "v":
                found[f"attn.{role}_norm"] = piece
                piece = self.pieces.of(piece.inputs[0])
            found[f"attn.{role}"] = self._expect(piece.id, Linear, f"the {role} projection of an attention")
        if not found["attn.q"].inputs == found["attn.k"].inputs == found["attn.v"].inputs:
            raise self._error(core, "queries, keys and values of one value")
        return found

    def _layer(self, top: Piece) -> tuple[dict[str, Piece], Piece]:
        """(roles, input) of the layer whose result is `top`."""
        layer: dict[str, Piece] = {}
        post = isinstance(top.op, Norm)
        if post:
            layer["mlp_norm"], top = top, self.pieces.of(top.inputs[0])
        middle, down = self._sum(top, "the residual sum behind an MLP")
        layer["mlp_add"] = top
        layer |= self._mlp(down)
        source = self.pieces.of(layer["mlp.up"].inputs[0])
        if not post:
            layer["mlp_norm"] = self._expect(source.id, Norm, "the norm before an MLP")
            source = self.pieces.of(source.inputs[0])
        if source.id != middle.id:
            raise self._error(
                source, "an MLP that reads the residual it is added to (parallel branches are not supported)"
            )
        if post:
            layer["attn_norm"] = self._expect(middle.id, Norm, "the norm behind an attention")
            middle = self.pieces.of(middle.inputs[0])
        start, out = self._sum(middle, "the residual sum behind an attention")
        layer["attn_add"] = middle
        layer |= self._attention(out)
        source = self.pieces.of(layer["attn.q"].inputs[0])
        if not post:
            layer["attn_norm"] = self._expect(source.id, Norm, "the norm before an attention")
            source = self.pieces.of(source.inputs[0])
        if source.id != start.id:
            raise self._error(
                source, "an attention that reads the residual it is added to (parallel branches are not supported)"
            )
        return layer, start

    # -- graph -------------------------------------------------------------------------------------------------------------

    def _emit_base(self, graph: Graph, top: Piece) -> None:
        if isinstance(top.op, Norm):
            self._emit_base(graph, self.pieces.of(top.inputs[0]))
            self._emit(graph, "embed_norm", top)
        elif isinstance(top.op, Add):
            parts = sorted((self.pieces.of(i) for i in top.inputs), key=lambda p: isinstance(p.op, PosEmbed))
            self._emit(graph, "embed", parts[0])
            self._emit(graph, "pos_embed", parts[1])
            self._emit(graph, "embed_add", top)
        else:
            self._emit(graph, "embed", top)

    def _emit(self, graph: Graph, name: str, piece: Piece) -> None:
        inputs = [self.names[i] for i in piece.inputs]
        if isinstance(piece.op, Add | Mul):
            # the residual (or the embedding, or the activation) comes first, however the file orders a sum or product
            inputs.sort(key=lambda n: n.endswith(("attn.o", "mlp.down", "mlp.up", "pos_embed")))
        self.names[piece.id] = graph.add(name, piece.op, inputs, dim=piece.width)


_ATTENTION = [
    "attn.q",
    "attn.q_norm",
    "attn.q_rope",
    "attn.k",
    "attn.k_norm",
    "attn.k_rope",
    "attn.v",
    "attn.core",
    "attn.o",
    "attn_add",
]
_MLP = ["mlp.gate", "mlp.up", "mlp.act", "mlp.mul", "mlp.down", "mlp_add"]
_ORDER = ["attn_norm", *_ATTENTION, "mlp_norm", *_MLP]
_ORDER_POST = [*_ATTENTION, "attn_norm", *_MLP, "mlp_norm"]
