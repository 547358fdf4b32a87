"""How much a model loses if a piece of a matrix is coded in fewer bits: the error measures behind the budgeted mix.

Without calibration the loss of a piece is its squared error relative to the mean square of the whole matrix. With calibration each column's
error counts by the second moment of its input, relative to the energy of the output: the relative error of the product itself, if
inputs were uncorrelated. How much each matrix's loss counts is for the caller to say (`BudgetPart.importance`).
"""

from __future__ import annotations

import numpy as np

from flightllm.compress.producer import Calibration, CodingRequest, Producer
from flightllm.streams.coded import block_reduce
from flightllm.streams.formats import BLOCK, EntryFormat

#: weights of a matrix from which on only a part of its rows is measured
SAMPLE = 1 << 16
#: but of no granule fewer rows than this, if it has as many
SAMPLE_ROWS = 4


def losses(
    weight: np.ndarray,
    choices: tuple[EntryFormat, ...],
    group: int,
    producer: Producer,
    granule_of: np.ndarray,
    granules: int,
    search: bool = False,
    calibration: Calibration | None = None,
) -> np.ndarray:
    """Loss of each piece under each choice: float64 [granules, blocks, choices].

    weight: float32 [rows, k]. granule_of: int [rows], the granule each row lies in, -1 for none. The sum over pieces is the relative
    squared error of the matrix, so losses of different matrices compare. Of large matrices every 2nd to 32nd row of a granule is measured.
    """
    k = weight.shape[1]
    blocks = -(-k // BLOCK)
    out = np.zeros((granules, blocks, len(choices)))
    moment = None if calibration is None else calibration.second_moment.astype(np.float32)
    energy = 0.0
    rows, share = sample_rows(granule_of, sample_stride(granule_of, k))
    step = max(1, (1 << 21) // max(k, 1))
    for start in range(0, len(rows), step):
        part, each = rows[start : start + step], share[start : start + step, None]
        w, home = weight[part], granule_of[part]
        used = home >= 0
        energy += float((weighted_square(w, moment) * each).sum(dtype=np.float64))
        for i, choice in enumerate(choices):
            formats = np.broadcast_to(np.uint8(choice.byte), (len(w), blocks, 1))
            coded = producer.code(w, CodingRequest(group, formats, search, calibration))
            error = block_reduce(np.add, weighted_square(coded.dense() - w, moment), BLOCK) * each
            np.add.at(out[:, :, i], home[used], error[used])
    return out / energy if energy else out


def sample_stride(granule_of: np.ndarray, k: int) -> int:
    """Every how manieth row of a granule is looked at: a power of two up to 32 that leaves `SAMPLE` weights and `SAMPLE_ROWS` rows."""
    tallest = int(np.bincount(granule_of[granule_of >= 0], minlength=1).max())
    most = min(32, tallest // SAMPLE_ROWS, len(granule_of) * k // SAMPLE)
    return 1 << max(0, most.bit_length() - 1)


def sample_rows(granule_of: np.ndarray, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """Every `stride`-th row of each granule, the first included: (rows int [n] ascending, rows each stands for float32 [n])."""
    order = np.argsort(granule_of, kind="stable")
    _, start, inverse, count = np.unique(granule_of[order], return_index=True, return_inverse=True, return_counts=True)
    rank = np.arange(len(order)) - start[inverse]
    taken = rank % stride == 0
    share = (count / -(-count // stride))[inverse].astype(np.float32)
    rows = order[taken]
    ascending = np.argsort(rows)
    return rows[ascending], share[taken][ascending]


def weighted_square(x: np.ndarray, moment: np.ndarray | None) -> np.ndarray:
    """x * x, times `moment` [k] if given."""
    square = x * x
    return square if moment is None else square * moment
