"""Findings in the kernel that the project knows and has not changed, each with its reason. One that no longer occurs is an error."""

from __future__ import annotations

from flightllm.hlscheck.findings import Finding, Report

#: (rule, file, beginning of the text): reason
WAIVERS: dict[tuple[str, str, str], str] = {}


def waive(report: Report) -> list[str]:
    """Move findings that are known out of the way. Returns waivers that nothing needs."""
    used = set()
    kept: list[Finding] = []
    for finding in report.findings:
        keys = [k for k in WAIVERS if k[0] == finding.rule and k[1] == finding.file and finding.text.startswith(k[2])]
        if keys:
            used.add(keys[0])
            report.waived.append((finding, WAIVERS[keys[0]]))
        else:
            kept.append(finding)
    report.findings = kept
    return [f"{rule} in {file}: {text}" for rule, file, text in WAIVERS if (rule, file, text) not in used]
