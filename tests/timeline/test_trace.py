"""Perfetto traces: read back, they hold every instruction once, in its unit's tracks, without overlaps."""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner
from packages import build, small_arch
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import Trace, TrackEvent

import flightllm
from flightllm.api import find_model
from flightllm.cli import main
from flightllm.errors import ToolError
from flightllm.frontends import load_model


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    arch = small_arch(2, 2, 4)
    return build(load_model(find_model("tiny-austen")), tmp_path_factory.mktemp("trace") / "p.flpkg", arch)


class Read:
    """A trace: tracks by number (name, parent), slices by track: (begin, end, name, notes)."""

    def __init__(self, path: Path) -> None:
        trace = Trace()
        trace.ParseFromString(path.read_bytes())
        self.tracks: dict[int, tuple[str, int]] = {}
        self.slices: dict[int, list[tuple[int, int, str, dict[str, object]]]] = defaultdict(list)
        opened: dict[int, list[tuple[int, str, dict[str, object]]]] = defaultdict(list)
        for packet in trace.packet:
            if packet.HasField("track_descriptor"):
                d = packet.track_descriptor
                self.tracks[d.uuid] = (d.process.process_name or d.name, d.parent_uuid)
                continue
            event = packet.track_event
            assert event.track_uuid in self.tracks, "described before it is used"
            if event.type == TrackEvent.TYPE_SLICE_BEGIN:
                notes = {
                    n.name: n.int_value if n.HasField("int_value") else n.string_value for n in event.debug_annotations
                }
                opened[event.track_uuid].append((packet.timestamp, event.name, notes))
            else:
                begin, name, notes = opened[event.track_uuid].pop()
                self.slices[event.track_uuid].append((begin, packet.timestamp, name, notes))
        assert not any(opened.values()), "every slice has an end"

    def of(self, core: int, unit: str):
        """All slices of a unit."""
        tracks = [
            number
            for number, (name, parent) in self.tracks.items()
            if name.split(" ")[0] == unit and self.tracks.get(parent, ("", 0))[0].startswith(f"core {core} ")
        ]
        return [s for t in tracks for s in self.slices[t]]


def test_every_instruction_is_there_once(package, tmp_path):
    runs = flightllm.write_trace(package, tmp_path / "x.pftrace", prompt_tokens=40, new_tokens=1)
    read = Read(tmp_path / "x.pftrace")
    assert len(runs) == 3
    assert {name for name, parent in read.tracks.values() if not parent} == {"core 0 (model)", "core 1 (model)"}
    for core in range(2):
        for unit in "WLMST":
            want = sorted(
                (s.pc, type(s.inst).__name__) for r in runs for s in r.spans if s.core == core and s.unit.name == unit
            )
            assert sorted((notes["pc"], name) for _, _, name, notes in read.of(core, unit)) == want
            assert want
    for number, slices in read.slices.items():
        slices.sort()
        for (_, end, _, _), (begin, _, _, _) in pairwise(slices):
            assert begin >= end, f"slices overlap on {read.tracks[number]}"
    runs_of_core = sorted(read.slices[next(n for n, (name, _) in read.tracks.items() if name.startswith("core 0"))])
    assert [s[2] for s in runs_of_core] == ["32 tokens at 0", "8 tokens at 32", "token at 40"]
    clock = package.manifest.arch.clock_mhz
    assert runs_of_core[-1][1] == pytest.approx(sum(r.cycles for r in runs) * 1000 / clock, abs=2)


def test_slices_know_their_node_and_text(package, tmp_path):
    flightllm.write_trace(package, tmp_path / "x.pftrace", prompt_tokens=3, new_tokens=0)
    norms = [notes for _, _, name, notes in Read(tmp_path / "x.pftrace").of(0, "S") if name == "NORM"]
    assert norms
    # the last one belongs to the part that makes the logits
    assert {str(n["node"]).split(".")[-1] for n in norms} == {"attn_norm", "mlp_norm", "lm_head"}
    assert all(str(n["instruction"]).startswith("NORM ") for n in norms)
    assert all(n["cycles"] > 0 and n["cycles from dispatch to tokens"] >= 0 for n in norms)


def test_nothing_is_left_of_a_trace_that_fails(package, tmp_path):
    with pytest.raises(flightllm.FlightError, match="token id"):
        from flightllm.cycles.device import CycleModel
        from flightllm.timeline import model_timeline
        from flightllm.timeline.trace import TraceWriter

        with TraceWriter(tmp_path / "x.pftrace", 100.0, {}) as writer:
            writer.add(model_timeline(CycleModel.of_package(package), [1], 0, 1, False), "good")
            model_timeline(CycleModel.of_package(package), [10**9], 0, 1, False)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ToolError, match="no trace"):
        flightllm.write_trace(package, tmp_path / "no" / "x.pftrace")


def test_command(package, tmp_path):
    out = tmp_path / "x.pftrace"
    result = CliRunner().invoke(
        main, ["trace", str(package.path), "-o", str(out), "--skip-prompt"], prog_name="flightllm"
    )
    assert result.exit_code == 0, result.output
    assert "1 run, " in result.stdout
    assert Read(out).of(0, "M")
    result = CliRunner().invoke(main, ["trace", str(package.path), "-o", str(out), "--skip-prompt", "--on", "rtl"])
    assert result.exit_code == 1
    assert "--skip-prompt is for the cycle model" in result.stderr


@pytest.mark.slow
def test_the_same_tracks_from_the_rtl(tmp_path):
    """One core; what RTL and model say is compared in tests/cycles."""
    arch = small_arch(1, 2, 4, lanes=4)
    package = build(load_model(find_model("tiny-austen")), tmp_path / "p.flpkg", arch)
    names = {}
    for on in ("model", "rtl"):
        path = tmp_path / f"{on}.pftrace"
        flightllm.write_trace(package, path, on=on, prompt_tokens=2, new_tokens=1)
        read = Read(path)
        names[on] = {(unit, name, notes["pc"]) for unit in "WLMST" for _, _, name, notes in read.of(0, unit)}
    assert names["model"] == names["rtl"]
