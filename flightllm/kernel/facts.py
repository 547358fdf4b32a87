"""What a built kernel says about itself beside its registers: the config it was built for, as a section of the image or a file beside it.

The registers name the config by a digest; this record says what is behind it, so that a host can say which parameter differs. `flightllm build` writes it, with
more in it (docs/build.md, "The JSON beside the image"); here is what a host needs.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from flightllm.config.arch import ArchConfig
from flightllm.errors import ConfigError
from flightllm.kernel import control_map as cm
from flightllm.kernel import signature

#: behind the name of an xclbin: the file beside it
SUFFIX = ".json"
FORMAT, FORMAT_VERSION = "flightllm-build", 1


@dataclass(frozen=True)
class KernelFacts:
    """The record. flavour: one of `control_map.FLAVOURS`."""

    arch: ArchConfig
    flavour: str = "rtl"

    def to_json(self) -> str:
        """The record as text; depends on its values only."""
        head = {"format": FORMAT, "version": FORMAT_VERSION, "kernel": signature.NAME, "flavour": self.flavour}
        return json.dumps(head | {"arch": self.arch.to_dict()}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes, where: str) -> KernelFacts:
        """Read the record.

        Raises:
            ConfigError: it is damaged, or of another version.
        """
        why = ""
        try:
            data = json.loads(text)
            if (data.get("format"), data.get("version")) != (FORMAT, FORMAT_VERSION):
                why = f'it does not say "format": "{FORMAT}", "version": {FORMAT_VERSION}'
            elif data.get("flavour") not in cm.FLAVOURS:
                why = f"flavour {data.get('flavour')!r} is not one of {', '.join(cm.FLAVOURS)}"
            else:
                return cls(ArchConfig.from_dict(data["arch"], where), data["flavour"])
        except (ValueError, AttributeError, KeyError, TypeError) as error:
            why = f"{type(error).__name__}: {error}"
        raise ConfigError(
            "the record of a kernel's config cannot be read", where=where, why=why, do="build the xclbin again"
        )


def beside(xclbin: Path) -> Path:
    """The file beside an xclbin that has the record, if the xclbin itself has none."""
    return xclbin.with_name(xclbin.name + SUFFIX)
