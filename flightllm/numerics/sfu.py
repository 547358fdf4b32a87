"""Special functions on vectors along the last axis; docs/numerics.md, "Special functions", step by step.

Operands are flushed once on entry; results of `add` and `mul` never hold subnormals, so the steps inside need not look again.
"""

from __future__ import annotations

import numpy as np

from flightllm.numerics import fp32, quant
from flightllm.numerics.constants import GELU_C, GELU_K, INV_QMAX, ONE, QMAX
from flightllm.numerics.fp32 import add_flushed as add
from flightllm.numerics.fp32 import flush, neg, ordered_sum
from flightllm.numerics.fp32 import mul_flushed as mul
from flightllm.numerics.tables import exp2, recip, rsqrt, sigmoid


def norm_rms(x: np.ndarray, gamma: np.ndarray, inv_n: float, eps: float) -> np.ndarray:
    """RMSNorm of float32 [..., n]; gamma [n]; inv_n = 1 / number of elements that count."""
    with np.errstate(all="ignore"):
        x, gamma = flush(x), flush(gamma)
        v = mul(ordered_sum(mul(x, x)), flush(np.float32(inv_n)))
        r = rsqrt(add(v, flush(np.float32(eps))))
        return mul(mul(x, r[..., None]), gamma)


def norm_layer(x: np.ndarray, gamma: np.ndarray, beta: np.ndarray, inv_n: float, eps: float) -> np.ndarray:
    """LayerNorm of float32 [..., n]; gamma, beta [n]."""
    with np.errstate(all="ignore"):
        x, gamma, beta = flush(x), flush(gamma), flush(beta)
        scale = flush(np.float32(inv_n))
        m = mul(ordered_sum(x), scale)
        c = add(x, neg(m)[..., None])
        v = mul(ordered_sum(mul(c, c)), scale)
        r = rsqrt(add(v, flush(np.float32(eps))))
        return add(mul(mul(c, r[..., None]), gamma), beta)


def rope(x: np.ndarray, cos: np.ndarray, sin: np.ndarray) -> np.ndarray:
    """Half-split rotation of float32 [..., d]; cos and sin broadcast to [..., d/2]."""
    half = x.shape[-1] // 2
    x, cos, sin = flush(x), flush(cos), flush(sin)
    low, high = x[..., :half], x[..., half:]
    with np.errstate(all="ignore"):
        return np.concatenate([add(mul(low, cos), neg(mul(high, sin))), add(mul(high, cos), mul(low, sin))], axis=-1)


def act(kind: str, x: np.ndarray, gate: np.ndarray | None = None) -> np.ndarray:
    """relu, silu or gelu (tanh form), then the product with a gate partner."""
    with np.errstate(all="ignore"):
        x = flush(x)
        if kind == "relu":
            y = fp32.maximum(x, np.float32(0))
        elif kind == "silu":
            y = mul(x, sigmoid(x))
        elif kind == "gelu":
            y = mul(x, sigmoid(mul(mul(x, GELU_K), add(ONE, mul(mul(x, x), GELU_C)))))
        else:
            raise ValueError(f"no activation {kind!r}")
        return y if gate is None else mul(y, flush(gate))


def softmax(
    scores: np.ndarray, ks: np.ndarray, vs: np.ndarray, alpha: float, visible: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Softmax over the visible keys, times the value scales, as dual codes.

    Args:
        scores: float32 [..., L]; invisible entries may hold anything.
        ks, vs: key and value scales, float32 [L], or broadcastable to scores.
        alpha: log2(e) * attention scale.
        visible: bool, broadcastable to scores.

    Returns:
        (codes int16 [..., L], 0 where invisible; scales float32 [...]; u float32 [..., L], the unnormalised products).
    """
    with np.errstate(all="ignore"):
        visible = np.broadcast_to(visible, scores.shape)
        zero = np.float32(0)
        every = bool(visible.all())
        if not every:
            seen = visible.reshape(-1, visible.shape[-1]).any(axis=0)
            ks, vs = np.where(seen, ks, zero), np.where(seen, vs, zero)
            scores = np.where(visible, scores, zero)
        scores, ks, vs = flush(scores), flush(ks), flush(vs)
        t = mul(mul(scores, ks), flush(np.float32(alpha)))
        masked = t if every else np.where(visible, t, np.float32(-np.inf))
        m = np.fmax.reduce(masked, axis=-1, initial=-np.inf)  # a NaN loses against a number
        e = exp2(add(t, neg(m)[..., None]))
        e = e if every else np.where(visible, e, zero)
        z = ordered_sum(e)
        u = mul(e, vs)
        u = u if every else np.where(visible, u, zero)
        a = fp32.max_magnitude(u)
        _, inverse = quant.scales_of(u, "dual")
        codes, _ = quant.codes_of(u, a, inverse, QMAX["dual"])
        scale = mul(mul(a, INV_QMAX["dual"]), recip(z))
        return codes, np.where(inverse == 0, zero, scale), u
