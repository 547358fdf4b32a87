"""Synthesis of the RTL by Yosys, without a vendor tool: cells of each unit, and its longest combinational paths.

`python -m flightllm.synth` (`make synth`) synthesises every unit for a few sizes and records the figures; `flightllm.resources`
estimates any architecture config from the record. docs/resources.md: method, and what such figures do not know.
"""
