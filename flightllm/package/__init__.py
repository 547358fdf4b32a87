"""Packages: a compiled model as a folder. See docs/package.md."""

from flightllm.package.manifest import (
    FileRecord,
    HostInterface,
    Limits,
    Manifest,
    MemoryTiming,
    ModelFacts,
    Region,
    TensorRecord,
)
from flightllm.package.reader import Package
from flightllm.package.writer import PackageWriter

__all__ = [
    "FileRecord",
    "HostInterface",
    "Limits",
    "Manifest",
    "MemoryTiming",
    "ModelFacts",
    "Package",
    "PackageWriter",
    "Region",
    "TensorRecord",
]
