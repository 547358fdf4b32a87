"""Random coded matrices for the tests of streams."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from flightllm.streams import CodedMatrix, EntryFormat, Pass
from flightllm.streams.formats import ABSENT, BLOCK, KEPT, WIDTHS


def random_pass(rng: np.random.Generator, k: int, group: int, formats: np.ndarray) -> Pass:
    """Codes and scales that use the whole range of `formats` uint8 [rows, blocks]."""
    rows, groups = len(formats), -(-k // group)
    q = np.zeros((rows, k), np.int8)
    sigma, mu = np.zeros((rows, groups), np.uint8), np.zeros((rows, groups), np.int16)
    for r in range(rows):
        for b in range(formats.shape[1]):
            if formats[r, b] == ABSENT:
                continue
            fmt = EntryFormat.from_byte(int(formats[r, b]))
            half = 1 << (fmt.bits - 1)
            for start in range(b * BLOCK, min(k, (b + 1) * BLOCK), 16):
                stop = min(k, start + 16)
                keep = rng.permutation(stop - start)[: rng.integers(0, fmt.n + 1)]
                q[r, start + keep] = rng.integers(-half, half, len(keep))
            part = slice(b * BLOCK // group, min(groups, -(-(b + 1) * BLOCK // group)))
            sigma[r, part] = rng.integers(0, 256, part.stop - part.start)
            if fmt.affine:
                mu[r, part] = rng.integers(-2047, 2048, part.stop - part.start)
    return Pass(q, sigma, mu)


def random_matrix(
    rng: np.random.Generator, rows: int, k: int, group: int, formats: np.ndarray, bias: bool
) -> CodedMatrix:
    """A matrix with formats uint8 [rows, blocks, passes]."""
    passes = tuple(random_pass(rng, k, group, formats[:, :, i]) for i in range(formats.shape[2]))
    rho = rng.standard_normal(rows).astype(np.float32)
    return CodedMatrix(group, rho, passes, formats, rng.standard_normal(rows).astype(np.float32) if bias else None)


@st.composite
def entry_formats(draw: st.DrawFn, least_n: int = 2) -> EntryFormat:
    n = draw(st.sampled_from([n for n in KEPT if n >= least_n]))
    return EntryFormat(draw(st.sampled_from(WIDTHS)), n, n == 16 and draw(st.booleans()))


@st.composite
def cases(
    draw: st.DrawFn, kinds: tuple[str, ...] = ("uniform", "granules", "rows")
) -> tuple[CodedMatrix, int, int, int]:
    """(matrix, channels, vpus, rows per VPU): uniform, with formats that change between granules, or between any rows."""
    channels, vpus, m = (
        draw(st.sampled_from([1, 2, 4])),
        draw(st.sampled_from([4, 8, 12])),
        draw(st.sampled_from([1, 2, 4, 8])),
    )
    rows = draw(st.integers(1, channels * vpus * m * 2 + 5).filter(lambda r: r <= 150))
    k = draw(st.sampled_from([16, 48, 80, 100, 128, 130, 256, 304]))
    group = draw(st.sampled_from([32, 64, 128]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    blocks, kind = -(-k // BLOCK), draw(st.sampled_from(kinds))
    some = draw(st.lists(entry_formats(16 // m), min_size=1, max_size=4))
    menu = np.array([f.byte for f in some], np.uint8)
    if kind == "uniform":
        formats = np.broadcast_to(menu[0], (rows, blocks, 1))
    else:
        count = draw(st.integers(1, 3))
        step = channels * vpus * m if kind == "granules" else 1
        formats = menu[rng.integers(0, len(menu), (-(-rows // step), blocks, count))]
        formats[..., 1:][rng.random(formats[..., 1:].shape) < 0.4] = ABSENT
        formats = np.repeat(formats, step, axis=0)[:rows]
    return random_matrix(rng, rows, k, group, formats, draw(st.booleans())), channels, vpus, m
