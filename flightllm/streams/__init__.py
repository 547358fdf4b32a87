"""Weight-stream layout: formats, coded matrices, packing and unpacking (docs/streams.md)."""

from flightllm.streams.coded import CodedMatrix, Pass
from flightllm.streams.formats import EntryFormat
from flightllm.streams.weights import pack, rows_per_vpu_needed, stream_bytes, stream_format, unpack, unpack_coded

__all__ = [
    "CodedMatrix",
    "EntryFormat",
    "Pass",
    "pack",
    "rows_per_vpu_needed",
    "stream_bytes",
    "stream_format",
    "unpack",
    "unpack_coded",
]
