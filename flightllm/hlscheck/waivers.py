"""Findings in the kernel that the project knows and has not changed, each with its reason. One that no longer occurs is an error."""

from __future__ import annotations

import re
from dataclasses import dataclass

from flightllm.hlscheck.findings import Finding, Report


@dataclass(frozen=True)
class Waiver:
    """What is waived. text: pattern of the finding's text."""

    rule: str
    file: str
    text: str
    reason: str

    def covers(self, finding: Finding) -> bool:
        """Whether a finding is this one."""
        same = (finding.rule, finding.file) == (self.rule, self.file)
        return same and re.fullmatch(self.text, finding.text) is not None


WAIVERS = (
    Waiver(
        "pipeline-loop",
        "hls/include/flightllm/channel.hpp",
        r".*below the pipeline of hls/include/flightllm/channel\.hpp:\d+",
        "The loop waits for the responses of at most 16 writes. Until it is a state of the outer loop, the tool will not pipeline that one.",
    ),
    Waiver(
        "stream-use",
        "hls/include/flightllm/matrix.hpp",
        r"`mpu\[[0-9.]+\]\.(sigmas|mus)`: scale reads it and no process writes it",
        "Keys and values have no scales: scale reads these streams only for tiles that have. It needs a template argument, as weight_gearbox has.",
    ),
)


def waive(report: Report) -> None:
    """Move findings that are known out of the way."""
    kept: list[Finding] = []
    for finding in report.findings:
        waiver = next((w for w in WAIVERS if w.covers(finding)), None)
        if waiver is None:
            kept.append(finding)
        else:
            report.waived.append((finding, waiver.reason))
    report.findings = kept


def stale(reports: list[Report]) -> list[Waiver]:
    """Waivers that none of some kernels needs."""
    return [w for w in WAIVERS if not any(w.covers(f) for r in reports for f, _ in r.waived)]
