"""The kernel as synthesis sees it, parsed by libclang."""

from __future__ import annotations

import atexit
import ctypes
import functools
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flightllm.config.paths import data_dir
from flightllm.errors import ToolError
from flightllm.executors.hls.build import ap_types, include_folders
from flightllm.hlscheck.tree import file_of, kids, kind

#: headers of the tool, or what stands in for them: parsed before __SYNTHESIS__ is defined, because ap_int.h then wants the tool
SHIMS = ("ap_int.h", "hls_burst_maxi.h", "hls_stream.h", "hls_vector.h", "cstdint", "cstddef", "type_traits")
FOLDER = "/generated/"  # of files that exist in memory only
WRAPPER = FOLDER + "flightllm_hlscheck.cpp"
RECORD = 1  # CXTranslationUnit_DetailedPreprocessingRecord: without it no ranges are known to be skipped
INCOMPLETE = 2  # CXTranslationUnit_Incomplete
ERROR = 3  # CXDiagnostic_Error
TIMEOUT_S = 60


@dataclass
class Source:
    """A parsed kernel."""

    unit: Any
    declarations: list[Any]  # of the kernel's files, outermost
    top: Any  # cursor of the top function
    texts: dict[str, str]  # kernel files: path as libclang has it, contents
    errors: list[tuple[str, int, str]]  # file, line, message

    def name(self, path: str) -> str:
        """A file as messages name it."""
        return _name(path)

    def is_kernel(self, path: str) -> bool:
        """Whether a file is code of the kernel, not of the tool's headers."""
        return path in self.texts

    def is_shim(self, path: str) -> bool:
        """Whether a file stands in for a header of the tool."""
        return Path(path).is_relative_to(include_folders()[1])

    def is_ap_types(self, path: str) -> bool:
        """Whether a file is a header of ap_int."""
        return Path(path).is_relative_to(ap_types())

    def skipped(self, path: str) -> list[tuple[int, int]]:
        """Offsets of what the preprocessor leaves out of a file."""
        return _skipped(self.unit, path)


def parse(text: str, top: str, file: str) -> Source:
    """Parse the kernel whose generated file holds `text`, up to its function `top`. file: what the text is called.

    Raises:
        ToolError: libclang, a compiler or a header is missing.
    """
    cindex = _cindex()
    file = FOLDER + file
    wrapper = f'#define __SYNTHESIS__ 1\n#include "{file}"\n'
    flags = [*_flags(), *(f"-I{p}" for p in include_folders()), "-include-pch", _prelude()]
    unit = cindex.Index.create().parse(
        WRAPPER, args=flags, unsaved_files=[(WRAPPER, wrapper), (file, text)], options=RECORD
    )
    texts = {file: text}
    for include in unit.get_includes():
        path = include.include.name
        if Path(path).is_relative_to(include_folders()[0]):
            texts[path] = Path(path).read_text()
    errors = [
        (d.location.file.name if d.location.file else file, d.location.line, d.spelling)
        for d in unit.diagnostics
        if d.severity >= ERROR
    ]
    declarations = [c for c in kids(unit.cursor) if file_of(c) in texts]
    found = _function(declarations, top)
    if found is None:
        errors.append((file, 1, f"there is no function {top}"))
    return Source(unit, declarations, found, texts, errors)


@functools.cache
def _name(path: str) -> str:
    root = data_dir("hls").parent
    path = path.removeprefix(FOLDER)
    return str(Path(path).relative_to(root)) if Path(path).is_relative_to(root) else path


def _cindex() -> Any:
    try:
        import clang.cindex
    except ImportError:
        raise ToolError(
            "libclang is not installed", why="the check of the HLS kernel reads it with it", do="pip install libclang"
        ) from None
    return clang.cindex


def _function(declarations: list[Any], name: str) -> Any | None:
    for child in declarations:
        if kind(child) == "FUNCTION_DECL" and child.spelling == name and child.is_definition():
            return child
        if kind(child) in ("NAMESPACE", "LINKAGE_SPEC", "UNEXPOSED_DECL"):
            found = _function(kids(child), name)
            if found is not None:
                return found
    return None


@functools.cache
def _flags() -> list[str]:
    """Where headers are. The wheel of libclang has none of its own, so those of g++ serve."""
    if shutil.which("g++") is None:
        raise ToolError(
            "g++ is not installed", why="its headers are read with the HLS kernel", do="apt-get install g++"
        )
    command = ["g++", "-E", "-v", "-x", "c++", "/dev/null"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=True)
    listed = re.search(r"search starts here:\n(.*?)End of search list", done.stderr, re.DOTALL)
    folders = [x.strip() for x in listed[1].splitlines() if x.startswith(" /")] if listed else []
    system = [x for f in [str(ap_types()), *folders] for x in ("-isystem", f)]
    return ["-x", "c++", "-std=c++17", "-w", "-nostdinc", "-nostdinc++", *system]


@functools.cache
def _prelude() -> str:
    """Precompiled headers: they take most of the time."""
    folder = tempfile.mkdtemp(prefix="flightllm-hlscheck-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    name = "flightllm_hlscheck.hpp"
    text = "".join(f"#include <{x}>\n" for x in SHIMS)
    flags = [*_flags(), *(f"-I{p}" for p in include_folders())]
    flags[1] = "c++-header"
    unit = _cindex().Index.create().parse(name, args=flags, unsaved_files=[(name, text)], options=INCOMPLETE)
    bad = [d.spelling for d in unit.diagnostics if d.severity >= ERROR]
    if bad:
        raise ToolError(
            "headers for the check of the HLS kernel do not parse", why=bad[0], do="report this with the message"
        )
    path = str(Path(folder) / "prelude.pch")
    unit.save(path)
    return path


def _skipped(unit: Any, path: str) -> list[tuple[int, int]]:
    from clang.cindex import File, SourceRange, TranslationUnit, conf

    class Ranges(ctypes.Structure):
        _fields_ = [("count", ctypes.c_uint), ("ranges", ctypes.POINTER(SourceRange))]

    lib = conf.lib
    lib.clang_getSkippedRanges.argtypes = [TranslationUnit, File]
    lib.clang_getSkippedRanges.restype = ctypes.POINTER(Ranges)
    lib.clang_disposeSourceRangeList.argtypes = [ctypes.POINTER(Ranges)]
    found = lib.clang_getSkippedRanges(unit, File.from_name(unit, path))
    ranges = [(r.start.offset, r.end.offset) for r in (found.contents.ranges[i] for i in range(found.contents.count))]
    lib.clang_disposeSourceRangeList(found)
    return ranges
