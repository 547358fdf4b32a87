"""python -m flightllm.sim.card PACKAGE OUT.xclbin: a container for a simulated card that runs the package, and its simulator.

Prints the setting of FLIGHTLLM_CARD with which `flightllm run --on board` finds the card.
"""

from __future__ import annotations

import sys
from pathlib import Path

from flightllm.errors import FlightError
from flightllm.package import Package
from flightllm.runtime.card import SIMULATED
from flightllm.sim.card.container import make_xclbin
from flightllm.sim.simulator import build_kernel


def main(arguments: list[str]) -> int:
    """Exit code."""
    if len(arguments) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        arch = Package.open(arguments[0]).manifest.arch
        make_xclbin(Path(arguments[1]), arch)
        print(f"export {SIMULATED}=rtl:{build_kernel(arch)}")
    except FlightError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
