"""What every unit did when, from the cycle model or from the RTL; traces of it."""

from flightllm.timeline.spans import RtlWatch, Span, Timeline, model_timeline

__all__ = ["RtlWatch", "Span", "Timeline", "model_timeline"]
