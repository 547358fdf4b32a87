"""Search over architecture configs: `flightllm.explore` (docs/explore.md)."""
