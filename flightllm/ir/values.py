"""Reading weights for the machine: whatever goes into a memory image is finite, and small enough for the arithmetic it meets.

A file may be damaged, or a training may have diverged. Both show as NaN, infinity or absurd magnitudes, which would make a
package that answers nothing, so they are refused where they are read, with the tensor's name and the place in it.
"""

from __future__ import annotations

import numpy as np

from flightllm.errors import ModelError
from flightllm.ir.weights import Weight

FP32_MAX = float(np.finfo(np.float32).max)
_DO = "the file is damaged or the model diverged in training; get another copy"


def read_values(weight: Weight, limit: float = FP32_MAX, use: str = "") -> np.ndarray:
    """The values of a weight, float32 of its shape.

    Args:
        weight: read whole.
        limit: largest magnitude that the machine can work with at its place.
        use: what would overflow beyond it, for the message.

    Raises:
        ModelError: a value is NaN, infinite, or beyond `limit`.
    """
    data = weight.read()
    check_values(weight, data, limit, use)
    return data


def check_values(weight: Weight, data: np.ndarray, limit: float = FP32_MAX, use: str = "") -> None:
    """ModelError if a value of `data` (of `weight`: its values, or scales of its stored grid) is not finite, or beyond `limit`."""
    if not data.size:
        return
    limit = float(np.float32(limit))
    # a maximum is NaN or infinite if an element is: two passes without temporaries
    if max(float(data.max()), -float(data.min())) <= limit:
        return
    bad = ~np.isfinite(data)
    if bad.any():
        raise ModelError(
            f"tensor {weight.name} holds NaN or infinity",
            where=_place(weight, bad),
            why=f"{int(bad.sum())} of {data.size} values are not finite in fp32",
            do=_DO,
        )
    large = np.abs(data) > limit
    raise ModelError(
        f"tensor {weight.name} holds values that are too large for the machine",
        where=_place(weight, large),
        why=f"{int(large.sum())} of {data.size} values are beyond {limit:.3g}, up to {float(np.abs(data).max()):.3g}: {use}",
        do=_DO,
    )


def _place(weight: Weight, bad: np.ndarray) -> str:
    """Source of the weight and index of the first bad element."""
    index = np.unravel_index(int(bad.argmax()), bad.shape)
    place = f"first at {[int(i) for i in index]}"
    return f"{weight.source}: {place}" if weight.source else place
