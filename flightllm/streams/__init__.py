"""Weight-stream layout: formats, coded matrices, packing and unpacking (docs/streams.md)."""

from flightllm.streams.arrange import stack_rows, take_columns, take_rows, widen_together
from flightllm.streams.coded import CodedMatrix, Pass
from flightllm.streams.formats import EntryFormat
from flightllm.streams.weights import pack, rows_per_vpu_needed, stream_bytes, stream_format, unpack, unpack_coded

__all__ = [
    "CodedMatrix",
    "EntryFormat",
    "Pass",
    "pack",
    "rows_per_vpu_needed",
    "stack_rows",
    "stream_bytes",
    "stream_format",
    "take_columns",
    "take_rows",
    "unpack",
    "unpack_coded",
    "widen_together",
]
