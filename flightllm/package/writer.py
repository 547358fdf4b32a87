"""Writes a package so that it is whole or absent.

Everything goes to a temporary folder beside the target; `commit` and the end of the `with` block rename it into place.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np

from flightllm.errors import PackageError
from flightllm.package.manifest import INSTRUCTION_BYTES, FileRecord, Manifest
from flightllm.package.reader import (
    CHAT_TEMPLATE,
    MANIFEST,
    PROGRAM,
    TOKENIZER,
    image_name,
    is_package_file,
    looks_like_package,
)
from flightllm.package.temporary import GROWING, KEPT, REPLACED, TemporaryFolder, clean_up

Bytes = bytes | bytearray | memoryview | np.ndarray
_ZEROS = bytes(1 << 20)


class _Stream:
    """A file with its length and running SHA-256."""

    def __init__(self, path: Path) -> None:
        self.file: BinaryIO = path.open("wb")
        self.hash = hashlib.sha256()
        self.bytes = 0

    def write(self, data: Bytes) -> None:
        if isinstance(data, np.ndarray):
            view = np.ascontiguousarray(data).reshape(-1).view(np.uint8).data
        else:
            view = memoryview(data).cast("B") if len(data) else memoryview(b"")
        self.file.write(view)
        self.hash.update(view)
        self.bytes += len(view)

    def zeros(self, count: int) -> None:
        while count > 0:
            step = min(count, len(_ZEROS))
            self.write(memoryview(_ZEROS)[:step])
            count -= step

    def record(self) -> FileRecord:
        self.file.close()
        return FileRecord(self.bytes, self.hash.hexdigest())


@contextlib.contextmanager
def _os_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PackageError(
            "the package cannot be written",
            where=str(path),
            why=error.strerror or str(error),
            do="see to the folder's permissions and free space, or choose another output",
        ) from error


class PackageWriter:
    """Context manager that makes one package.

        with PackageWriter(path, cores=1, channels=4) as w:
            w.append(core, channel, data)          # or w.write_at(core, channel, offset, data)
            w.program(encoded)
            w.tokenizer(json_text); w.chat_template(text)
            manifest = w.commit(manifest)

    Images grow in address order; gaps left by `write_at` and images shorter than the longest are filled with zeros. If the block
    ends by an exception, or without `commit`, nothing is left of it and an existing package is untouched; what a killed process
    has left is removed by the next writer of the same package.

    Args:
        path: target folder; its parent must exist.
        cores, channels: images to make.
        force: replace an existing package. Something that is not a package is never replaced.

    Raises:
        PackageError: target exists, parent missing, or the disk refuses.
    """

    def __init__(self, path: str | os.PathLike[str], *, cores: int, channels: int, force: bool = False) -> None:
        self.path = Path(path)
        self.cores, self.channels, self.force = cores, channels, force
        self.manifest: Manifest | None = None
        self._streams: dict[tuple[int, int], _Stream] = {}
        self._files: dict[str, FileRecord] = {}
        self._folder: TemporaryFolder | None = None
        self._tmp: Path | None = None

    def __enter__(self) -> Self:
        self._check_parent()
        clean_up(self.path, looks_like_package, is_package_file)
        self._check_target()
        with _os_errors(self.path):
            self._folder = TemporaryFolder(self.path.parent, self.path.name, GROWING)
            self._tmp = self._folder.path
            try:
                umask = os.umask(0)
                os.umask(umask)
                self._tmp.chmod(0o777 & ~umask)  # mkdtemp makes it private; a package is as readable as any file
                for core in range(self.cores):
                    for channel in range(self.channels):
                        self._streams[core, channel] = _Stream(self._tmp / image_name(core, channel))
            except BaseException:
                self._discard()
                raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                if self.manifest is None:
                    raise RuntimeError("PackageWriter: the block ended without commit()")
                with _os_errors(self.path):
                    self._rename()
        finally:
            self._discard()

    def position(self, core: int, channel: int) -> int:
        """Bytes written to this image so far: the address of the next `append`."""
        return self._streams[core, channel].bytes

    def append(self, core: int, channel: int, data: Bytes) -> int:
        """Append to an image; returns the address the data begins at."""
        stream = self._streams[core, channel]
        addr = stream.bytes
        with _os_errors(self.path):
            stream.write(data)
        return addr

    def write_at(self, core: int, channel: int, offset: int, data: Bytes) -> None:
        """Append at address `offset`, which must not be behind `position`; the gap becomes zeros."""
        stream = self._streams[core, channel]
        if offset < stream.bytes:
            raise ValueError(f"core {core} channel {channel}: {offset:#x} is written already (up to {stream.bytes:#x})")
        with _os_errors(self.path):
            stream.zeros(offset - stream.bytes)
            stream.write(data)

    def program(self, encoded: Bytes) -> None:
        """The encoded instructions, 64 bytes each."""
        self._file(PROGRAM, bytes(encoded))
        if self._files[PROGRAM].bytes % INSTRUCTION_BYTES:
            raise ValueError(f"a program of {self._files[PROGRAM].bytes} bytes is not whole instructions")

    def tokenizer(self, text: str) -> None:
        """tokenizer.json; an empty text writes nothing."""
        if text:
            self._file(TOKENIZER, text.encode())

    def chat_template(self, text: str) -> None:
        """chat_template.jinja; an empty text writes nothing."""
        if text:
            self._file(CHAT_TEMPLATE, text.encode())

    def commit(self, manifest: Manifest) -> Manifest:
        """Close the images, fill in the manifest's `instructions`, `image_bytes` and `files`, and write it.

        Returns the completed manifest. The package appears under its name when the `with` block ends.
        """
        if PROGRAM not in self._files:
            raise ValueError("PackageWriter.commit: no program was written")
        if (manifest.arch.cores, manifest.arch.channels) != (self.cores, self.channels):
            raise ValueError("PackageWriter.commit: the manifest's architecture has other cores or channels")
        size = max(s.bytes for s in self._streams.values())
        with _os_errors(self.path):
            for (core, channel), stream in self._streams.items():
                stream.zeros(size - stream.bytes)
                self._files[image_name(core, channel)] = stream.record()
        self.manifest = replace(
            manifest,
            instructions=self._files[PROGRAM].bytes // INSTRUCTION_BYTES,
            image_bytes=size,
            files=dict(sorted(self._files.items())),
        )
        self.manifest.check(str(self.path))
        with _os_errors(self.path):
            assert self._tmp is not None
            (self._tmp / MANIFEST).write_text(self.manifest.to_json(), encoding="utf-8")
        return self.manifest

    def _file(self, name: str, data: bytes) -> None:
        assert self._tmp is not None, "use PackageWriter in a with statement"
        with _os_errors(self.path):
            stream = _Stream(self._tmp / name)
            try:
                stream.write(data)
            finally:
                self._files[name] = stream.record()

    def _check_parent(self) -> None:
        if not self.path.parent.is_dir():
            raise PackageError(
                "the folder for the package does not exist",
                where=str(self.path.parent),
                do="make it, or choose another output",
            )

    def _check_target(self) -> None:
        if not os.path.lexists(self.path):
            return
        if not looks_like_package(self.path):
            raise PackageError(
                "the output exists and is not a package",
                where=str(self.path),
                why="only packages are ever replaced",
                do="choose another output, or remove it yourself",
            )
        if not self.force:
            raise PackageError(
                "the package exists already",
                where=str(self.path),
                do="choose another output, or use --force to replace it",
            )

    def _rename(self) -> None:
        assert self._tmp is not None
        self._check_target()  # the target may have appeared while the package was written
        if not os.path.lexists(self.path):
            self._tmp.rename(self.path)
            return
        old = TemporaryFolder(self.path.parent, self.path.name, REPLACED)
        try:
            self.path.rename(old.path / KEPT)
            try:
                self._tmp.rename(self.path)
            except BaseException:
                (old.path / KEPT).rename(self.path)
                raise
        finally:
            old.close(remove=os.path.lexists(self.path))  # otherwise it holds the only copy; `clean_up` puts it back

    def _discard(self) -> None:
        for stream in self._streams.values():
            with contextlib.suppress(OSError):
                stream.file.close()
        if self._folder is not None:
            self._folder.close()
