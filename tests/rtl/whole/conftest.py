"""Figures of long runs: kept in docs/figures/rtl.json if FLIGHTLLM_FIGURES names it, from where docs/results.md has them."""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]


def commit() -> str:
    """The checkout's commit; "+" behind it if a source differs from it."""

    def git(*args: str) -> str:
        return subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60).stdout

    return git("rev-parse", "--short", "HEAD").strip() + (
        "+" if git("status", "--porcelain", "rtl", "sim", "flightllm") else ""
    )


@pytest.fixture
def figures():
    """`figures(section, name, **values)` keeps what a run measured, with date and commit."""

    def keep(section: str, name: str, **values: Any) -> None:
        print(f"{section}, {name}: {values}")
        target = os.environ.get("FLIGHTLLM_FIGURES")
        if not target:
            return
        path = Path(target)
        known = json.loads(path.read_text()) if path.exists() else {}
        known.setdefault(section, {})[name] = {**values, "date": time.strftime("%Y-%m-%d"), "commit": commit()}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")

    return keep
