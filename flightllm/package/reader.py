"""Opens a package and vouches for it: whatever is damaged is a `PackageError` that names the file."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path

import numpy as np

from flightllm.errors import PackageError
from flightllm.package.codec import AGAIN
from flightllm.package.manifest import FORMAT, INSTRUCTION_BYTES, Manifest

MANIFEST = "manifest.json"
PROGRAM = "program.bin"
TOKENIZER = "tokenizer.json"
CHAT_TEMPLATE = "chat_template.jinja"
_IMAGE = re.compile(r"core\d+\.ch\d+\.bin")
_READ = f"see to its permissions, or {AGAIN}"
_PACKAGES = "give the folder that `flightllm compile` wrote"

#: a manifest above this is not read (one of a 100-layer model has about 1 MB)
_MANIFEST_LIMIT = 64 << 20


def image_name(core: int, channel: int) -> str:
    """File name of the memory image of one channel."""
    return f"core{core}.ch{channel}.bin"


def is_package_file(name: str) -> bool:
    """Whether a package can have a file of that name."""
    return name in (MANIFEST, PROGRAM, TOKENIZER, CHAT_TEMPLATE) or _IMAGE.fullmatch(name) is not None


def looks_like_package(path: Path) -> bool:
    """A folder whose manifest.json says that it is one, of whatever version and in whatever state."""
    try:
        text = (path / MANIFEST).read_text(encoding="utf-8")
        data = json.loads(text)
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(data, dict) and data.get("format") == FORMAT


class Package:
    """A package on disk. Images are mapped, not read.

    Use `Package.open`. `path`: the folder; `manifest`; `program`: encoded instructions; `tokenizer_json`, `chat_template`: texts
    or "".
    """

    def __init__(self, path: Path, manifest: Manifest, program: bytes, tokenizer_json: str, chat_template: str) -> None:
        self.path = path
        self.manifest = manifest
        self.program = program
        self.tokenizer_json = tokenizer_json
        self.chat_template = chat_template

    @classmethod
    def open(cls, path: str | os.PathLike[str], verify: bool = False) -> Package:
        """Open a package.

        The manifest, the sizes of all files, and the checksums of program and tokenizer files are always checked; `verify` also
        reads every image and compares its checksum.

        Raises:
            PackageError: not a package, another version, or damaged.
        """
        path = Path(path)
        if not path.is_dir():
            why = "it is a file, a package is a folder" if path.exists() else "there is no such folder"
            raise PackageError("not a package", where=str(path), why=why, do=_PACKAGES)
        manifest = Manifest.from_json(_text(path / MANIFEST, _MANIFEST_LIMIT), str(path / MANIFEST))
        cls._check_files(path, manifest)
        program = _checked(path, PROGRAM, manifest)
        texts = []
        for name in (TOKENIZER, CHAT_TEMPLATE):
            raw = _checked(path, name, manifest) if name in manifest.files else b""
            try:
                texts.append(raw.decode())
            except UnicodeDecodeError as error:
                raise PackageError("the file is not UTF-8", where=str(path / name), why=str(error), do=AGAIN) from None
        package = cls(path, manifest, program, *texts)
        if verify:
            package.verify()
        return package

    @staticmethod
    def _check_files(path: Path, manifest: Manifest) -> None:
        arch, where = manifest.arch, str(path / MANIFEST)
        images = [image_name(k, c) for k in range(arch.cores) for c in range(arch.channels)]
        allowed = {PROGRAM, TOKENIZER, CHAT_TEMPLATE, *images}
        for name in (PROGRAM, *images):
            if name not in manifest.files:
                raise PackageError("field 'files' is wrong", where=where, why=f"{name} is not in it", do=AGAIN)
        for name, record in manifest.files.items():
            if name not in allowed:
                why = f"{name!r} is not a file of a package"
                raise PackageError("field 'files' is wrong", where=where, why=why, do=AGAIN)
            if name in images and record.bytes != manifest.image_bytes:
                why = f"image_bytes is {manifest.image_bytes}, files says {record.bytes} for {name}"
                raise PackageError("field 'image_bytes' is wrong", where=where, why=why, do=AGAIN)
            try:
                size = (path / name).stat().st_size
            except OSError as error:
                raise PackageError(
                    "a file of the package is missing",
                    where=str(path / name),
                    why=error.strerror or str(error),
                    do=f"copy the whole folder, or {AGAIN}",
                ) from None
            if size != record.bytes:
                why = f"it has {size} bytes, the manifest says {record.bytes}"
                raise PackageError(
                    "a file of the package has the wrong size", where=str(path / name), why=why, do=AGAIN
                )
        if manifest.files[PROGRAM].bytes != manifest.instructions * INSTRUCTION_BYTES:
            why = f"{manifest.instructions} instructions of {INSTRUCTION_BYTES} bytes do not make {PROGRAM}"
            raise PackageError("field 'instructions' is wrong", where=where, why=why, do=AGAIN)

    def image(self, core: int, channel: int) -> np.ndarray:
        """Memory image of a channel, uint8 [image_bytes], read-only and mapped from the file."""
        file = self.path / image_name(core, channel)
        size = self.manifest.image_bytes
        try:
            data = np.memmap(file, dtype=np.uint8, mode="r") if size else np.zeros(0, np.uint8)
        except (OSError, ValueError) as error:
            raise PackageError("a memory image cannot be read", where=str(file), why=str(error), do=_READ) from None
        if data.size != size:
            raise PackageError(
                "a file of the package has the wrong size", where=str(file), why=f"{data.size}, not {size}", do=AGAIN
            )
        return data

    def verify(self) -> None:
        """Read every image and compare its checksum.

        Raises:
            PackageError: naming the first file that differs.
        """
        for name, record in self.manifest.files.items():
            try:
                with (self.path / name).open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError as error:
                raise PackageError(
                    "a file cannot be read", where=str(self.path / name), why=str(error), do=_READ
                ) from None
            if digest != record.sha256:
                raise _damaged(self.path / name)


def _damaged(file: Path) -> PackageError:
    return PackageError(
        "a file of the package is damaged",
        where=str(file),
        why="its SHA-256 is not the one in the manifest",
        do=AGAIN,
    )


def _text(file: Path, limit: int) -> str:
    try:
        if file.stat().st_size > limit:
            raise PackageError("the file is too large", where=str(file), why=f"more than {limit} bytes", do=AGAIN)
        return file.read_text(encoding="utf-8")
    except OSError as error:
        why = error.strerror or str(error)
        raise PackageError("not a package", where=str(file), why=why, do=_PACKAGES) from None
    except UnicodeDecodeError as error:
        raise PackageError("the file is not UTF-8", where=str(file), why=str(error), do=AGAIN) from None


def _checked(path: Path, name: str, manifest: Manifest) -> bytes:
    try:
        data = (path / name).read_bytes()
    except OSError as error:
        raise PackageError("a file cannot be read", where=str(path / name), why=str(error), do=_READ) from None
    if hashlib.sha256(data).hexdigest() != manifest.files[name].sha256:
        raise _damaged(path / name)
    return data
