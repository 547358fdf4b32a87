"""Files generated from the numerics: constants and interpolation tables for RTL and HLS.

Run `python -m flightllm.numerics.generate` to write them, `--check` to compare (exit code 1 if one is not current).
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np

from flightllm.config.templates import environment, write_or_check
from flightllm.numerics.constants import GELU_C, GELU_K, INV_QMAX, LOG2E, QMAX, QUANT_TINY, bits
from flightllm.numerics.tables import SEGMENTS, exp2_table, recip_table, rsqrt_tables

#: template -> generated file, both relative to the repository
OUTPUTS = {
    "flightllm_numerics_pkg.sv.j2": "rtl/flightllm_numerics_pkg.sv",
    "flightllm_numerics.hpp.j2": "hls/include/flightllm_numerics.hpp",
}


def _width(values: np.ndarray) -> int:
    """Bits of a two's complement number that holds all values."""
    return 1 + max(int(values.max()), -int(values.min()) - 1).bit_length()


def _rows(values: list[int]) -> list[list[int]]:
    return [values[i : i + 4] for i in range(0, len(values), 4)]


def context() -> dict[str, Any]:
    """What the template sees."""
    tables = [exp2_table(), recip_table(), *rsqrt_tables()]
    coefficients = []
    for name in ("c0", "c1", "c2"):
        values = np.concatenate([getattr(t, name) for t in tables])
        coefficients.append((name.upper(), _width(values), _rows(values.tolist())))
    return {
        "constants": [
            ("MinusLog2E", bits(-LOG2E)),
            ("GeluK", bits(GELU_K)),
            ("GeluC", bits(GELU_C)),
            ("QuantTiny", bits(QUANT_TINY)),
            *((f"Inv{kind.capitalize()}", bits(value)) for kind, value in INV_QMAX.items()),
            *((f"Float{kind.capitalize()}", bits(np.float32(value))) for kind, value in QMAX.items()),
        ],
        "tops": [(f"Top{kind.capitalize()}", value) for kind, value in QMAX.items()],
        "segments": SEGMENTS,
        "tables": coefficients,
    }


def render(templates: Path) -> dict[str, str]:
    """Generated file (relative path) -> text."""
    env = environment(templates)
    values = context()
    return {output: env.get_template(name).render(values) for name, output in OUTPUTS.items()}


def main(argv: list[str]) -> int:
    """Write or check the files of the checkout this module lies in."""
    root = Path(__file__).resolve().parents[2]
    return write_or_check(root, render(root / "templates"), argv)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
