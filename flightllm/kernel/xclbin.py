"""The container of a built kernel (xclbin, also known as AXLF): which kernel, which memory each of its ports reaches.

Read here without a vendor's library, to say what is wrong before a card is touched. `write` makes one for a simulated card. Layout:
XRT's xclbin.h; the metadata section is the XML that the linker writes.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree

from flightllm.errors import ConfigError
from flightllm.kernel.facts import FORMAT, KernelFacts, beside

MAGIC = b"xclbin2\0"
#: magic, signature length, reserved, key block, unique id; the header; number of the sections
_PREFIX = struct.Struct("<8si28s256sQ")
_HEADER = struct.Struct("<QQQHBBHH16s64s16s16sI4x")
_SECTION = struct.Struct("<I16s4xQQ")
_MEMORY = struct.Struct("<BB6xQQ16s")
_IP = struct.Struct("<IIQ64s")
_CONNECTION = struct.Struct("<iii")
#: counts stand before the records, which are aligned as their widest field
_COUNT_OF_8, _COUNT_OF_4 = struct.Struct("<i4x"), struct.Struct("<i")
#: larger ones are not read for their metadata
_MOST_BYTES = 1 << 32
KERNEL_IP = 1
#: kind of a memory that is no memory but a stream
_STREAM = 9


class Section(IntEnum):
    """Kinds of sections that are of interest here."""

    BITSTREAM = 0
    EMBEDDED_METADATA = 2
    MEM_TOPOLOGY = 6
    CONNECTIVITY = 7
    IP_LAYOUT = 8
    USER_METADATA = 16
    GROUP_TOPOLOGY = 26
    GROUP_CONNECTIVITY = 27


@dataclass(frozen=True)
class Bank:
    """A memory bank. tag: "HBM[3]". size: bytes. kind: as XRT counts memory types (1 DDR4, 6 HBM). used: the linker has connected something to it."""

    index: int
    tag: str
    base: int
    size: int
    used: bool = True
    kind: int = 6

    HBM: ClassVar[int] = 6


@dataclass(frozen=True)
class Argument:
    """An argument of a kernel. index: its number. address: of its register. port: name of the AXI master behind it, "" for a scalar."""

    name: str
    index: int
    address: int
    port: str = ""


@dataclass(frozen=True)
class Instance:
    """A kernel in the container. name: of the instance. base: address of its registers. banks: number of an argument -> indices of the banks it reaches."""

    kernel: str
    name: str
    base: int
    arguments: tuple[Argument, ...]
    banks: Mapping[int, tuple[int, ...]]


@dataclass(frozen=True)
class Xclbin:
    """What is of interest of a container. facts: the config it was built for, if it or the file beside it says so."""

    path: Path
    platform: str
    uuid: str
    instances: tuple[Instance, ...]
    banks: tuple[Bank, ...]
    facts: KernelFacts | None

    @classmethod
    def read(cls, path: Path) -> Xclbin:
        """Read a container.

        Raises:
            ConfigError: it cannot be read or is damaged.
        """
        try:
            if path.stat().st_size > _MOST_BYTES:
                raise _damaged(path, f"it has more than {_MOST_BYTES} bytes")
            data = path.read_bytes()
        except OSError as error:
            raise ConfigError(
                "the xclbin cannot be read",
                where=str(path),
                why=error.strerror or str(error),
                do="give the file that `make xclbin` wrote in the folder of `flightllm build`",
            ) from None
        try:
            platform, uuid, sections = _split(data)
            banks = _banks(sections)
            instances = _instances(sections)
        except (struct.error, ElementTree.ParseError, ValueError, LookupError) as error:
            raise _damaged(path, f"{type(error).__name__}: {error}") from None
        return cls(path, platform, uuid, instances, banks, _facts(path, sections))

    def kernel(self, name: str) -> Instance:
        """The instance of the kernel called `name`.

        Raises:
            ConfigError: there is none, or more than one.
        """
        found = [i for i in self.instances if i.kernel == name]
        if len(found) == 1:
            return found[0]
        there = ", ".join(f"{i.kernel}:{i.name}" for i in self.instances) or "none"
        raise ConfigError(
            f"the xclbin has {len(found) or 'no'} kernel{'s' if len(found) > 1 else ''} called {name}",
            where=str(self.path),
            why=f"kernels in it: {there}",
            do="give the xclbin that was built by the project of `flightllm build`",
        )


def _damaged(path: Path, why: str) -> ConfigError:
    do = "copy the file again, or build it again"
    return ConfigError("the file is not a complete xclbin", where=str(path), why=why, do=do)


def _text(raw: bytes) -> str:
    return raw.split(b"\0")[0].decode("utf-8", "replace")


def _split(data: bytes) -> tuple[str, str, dict[int, bytes]]:
    """Platform, UUID, kind of section -> its bytes."""
    if data[:8] != MAGIC:
        raise ValueError("it does not begin with xclbin2")
    header = _HEADER.unpack_from(data, _PREFIX.size)
    if header[0] > len(data):
        raise ValueError(f"{len(data)} bytes of {header[0]}")
    sections = {}
    for i in range(header[-1]):
        kind, _, offset, size = _SECTION.unpack_from(data, _PREFIX.size + _HEADER.size + i * _SECTION.size)
        if offset + size > len(data):
            raise ValueError(f"section {i} ends behind the file")
        sections[kind] = data[offset : offset + size]
    return _text(header[9]), header[10].hex(), sections


def _records(section: bytes, count: struct.Struct, record: struct.Struct) -> list[tuple]:
    (n,) = count.unpack_from(section)
    return [record.unpack_from(section, count.size + i * record.size) for i in range(n)]


def _banks(sections: Mapping[int, bytes]) -> tuple[Bank, ...]:
    raw = sections.get(Section.MEM_TOPOLOGY, sections.get(Section.GROUP_TOPOLOGY))
    rows = [] if raw is None else _records(raw, _COUNT_OF_8, _MEMORY)
    return tuple(
        Bank(i, _text(tag), base, kib << 10, bool(used), kind)
        for i, (kind, used, kib, base, tag) in enumerate(rows)
        if kind != _STREAM
    )


def _instances(sections: Mapping[int, bytes]) -> tuple[Instance, ...]:
    layout = _records(sections[Section.IP_LAYOUT], _COUNT_OF_8, _IP) if Section.IP_LAYOUT in sections else []
    raw = sections.get(Section.CONNECTIVITY, sections.get(Section.GROUP_CONNECTIVITY))
    reached: dict[str, dict[int, tuple[int, ...]]] = {}
    for argument, ip, memory in [] if raw is None else _records(raw, _COUNT_OF_4, _CONNECTION):
        of = reached.setdefault(_text(layout[ip][3]), {})
        of[argument] = (*of.get(argument, ()), memory)
    out = []
    for kernel in ElementTree.fromstring(sections[Section.EMBEDDED_METADATA].rstrip(b"\0")).iter("kernel"):
        arguments = tuple(
            Argument(a.attrib["name"], int(a.attrib["id"]), int(a.attrib["offset"], 0), a.attrib["port"])
            for a in kernel.findall("arg")
            if a.attrib.get("id")
        )
        masters = {p.attrib["name"] for p in kernel.findall("port") if p.attrib.get("mode") == "master"}
        arguments = tuple(Argument(a.name, a.index, a.address, a.port if a.port in masters else "") for a in arguments)
        for instance in kernel.findall("instance"):
            remap = instance.find("addrRemap")
            base = int(remap.attrib["base"], 0) if remap is not None else 0
            full = f"{kernel.attrib['name']}:{instance.attrib['name']}"
            name = instance.attrib["name"]
            out.append(Instance(kernel.attrib["name"], name, base, arguments, reached.get(full, {})))
    return tuple(out)


def _facts(path: Path, sections: Mapping[int, bytes]) -> KernelFacts | None:
    raw = sections.get(Section.USER_METADATA)
    if raw is not None and FORMAT.encode() in raw:
        return KernelFacts.from_json(raw.rstrip(b"\0"), f"{path}, section USER_METADATA")
    file = beside(path)
    return KernelFacts.from_json(file.read_bytes(), str(file)) if file.is_file() else None


def write(
    path: Path,
    platform: str,
    uuid: bytes,
    metadata: str,
    instances: Sequence[tuple[str, int]],
    banks: Sequence[Bank],
    connections: Sequence[tuple[int, int, int]],
    facts: KernelFacts | None = None,
) -> None:
    """Write a container without a bitstream.

    Args:
        path: file to write.
        platform: name of the platform. uuid: 16 bytes.
        metadata: the XML of section EMBEDDED_METADATA.
        instances: "kernel:instance" and address of its registers.
        banks: in order of their indices.
        connections: (argument, instance, bank).
        facts: written as section USER_METADATA.
    """
    memory = [_MEMORY.pack(b.kind, b.used, b.size >> 10, b.base, b.tag.encode()) for b in banks]
    ips = [_IP.pack(KERNEL_IP, 1 << 8, base, name.encode()) for name, base in instances]  # ap_ctrl_chain
    sections = {
        Section.EMBEDDED_METADATA: metadata.encode(),
        Section.MEM_TOPOLOGY: _COUNT_OF_8.pack(len(memory)) + b"".join(memory),
        Section.IP_LAYOUT: _COUNT_OF_8.pack(len(ips)) + b"".join(ips),
        Section.CONNECTIVITY: _COUNT_OF_4.pack(len(connections))
        + b"".join(_CONNECTION.pack(*connection) for connection in connections),
    }
    if facts is not None:
        sections[Section.USER_METADATA] = facts.to_json().encode()
    offset = _PREFIX.size + _HEADER.size + _SECTION.size * len(sections)
    heads, bodies = [], []
    for kind, body in sections.items():
        heads.append(_SECTION.pack(kind, kind.name[:15].encode(), offset, len(body)))
        bodies.append(body + bytes(-len(body) % 8))
        offset += len(bodies[-1])
    prefix = _PREFIX.pack(MAGIC, -1, b"\xff" * 28, b"\xff" * 256, 0)
    header = _HEADER.pack(
        offset, 0, 0, 0, 2, 1, 0, 0, bytes(16), platform.encode()[:63], uuid, bytes(16), len(sections)
    )
    path.write_bytes(prefix + header + b"".join(heads + bodies))
