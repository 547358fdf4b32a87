"""Elaborate the whole RTL for boards' configs and the black box for HLS, and say which recorded figures are out of date: `python -m flightllm.synth.lint`."""

from __future__ import annotations

import sys

from flightllm.config.board import load_board
from flightllm.errors import FlightError
from flightllm.kernel import blackbox
from flightllm.synth import page, yosys
from flightllm.synth.record import stale

#: boards whose default configs are elaborated, all instances of all modules
BOARDS = ("tiny", "u280")


def main() -> int:
    """1 if the RTL does not elaborate, or the page is not what the record says; stale figures are only named."""
    for name in BOARDS:
        try:
            yosys.elaborate(load_board(name).arch)
        except FlightError as error:
            print(f"flightllm_top does not elaborate for {name}: {error}")
            return 1
    try:
        yosys.elaborate(load_board(BOARDS[0]).arch, blackbox.NAME)
    except FlightError as error:
        print(f"{blackbox.NAME} does not elaborate: {error}")
        return 1
    old = stale()
    if old:
        print(
            f"synthesis figures are older than the RTL of: {', '.join(old)}. `make synth` renews them; it takes minutes a unit."
        )
    return page.main(["--check"])


if __name__ == "__main__":
    sys.exit(main())
