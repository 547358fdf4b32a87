"""Whole generations of tiny-austen on the HLS kernel: every logit and, after each run, every byte of memory."""

from __future__ import annotations

import pytest
from generation import CHUNKS, NEW, PROMPT
from side_by_side import Lockstep
from test_generation import SAMPLE, matrix

from flightllm.executors.hls import HlsDevice


def generate(case, tmp_path) -> None:
    Lockstep(case.package(tmp_path / "austen.flpkg"), kernel=HlsDevice()).generate(PROMPT, CHUNKS, NEW)


@pytest.mark.slow
@pytest.mark.parametrize("case", SAMPLE, ids=lambda case: case.name)
def test_sample_on_hls(case, tmp_path):
    generate(case, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("case", matrix(), ids=lambda case: case.name)
def test_every_pair_on_hls(case, tmp_path):
    generate(case, tmp_path)
