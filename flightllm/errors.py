"""Errors a user can cause. Each says what is wrong, where, why, and what to do about it."""

from __future__ import annotations


class FlightError(Exception):
    """Base of every error shown to a user as a message instead of a traceback.

    Args:
        what: what is wrong, one sentence.
        where: file, node, tensor or option it is about.
        why: the reason or the figures behind it.
        do: what the user can do.
    """

    def __init__(self, what: str, *, where: str = "", why: str = "", do: str = "") -> None:
        self.what, self.where, self.why, self.do = what, where, why, do
        super().__init__(self.render())

    def render(self) -> str:
        """The message as shown on the command line, one labelled line per part."""
        lines = [self.what]
        for label, text in (("where", self.where), ("why", self.why), ("do", self.do)):
            if text:
                lines.append(f"  {label}: {text}")
        return "\n".join(lines)

    def to_json(self) -> dict[str, str]:
        """The parts as plain values, "" where one is not given."""
        return {"what": self.what, "where": self.where, "why": self.why, "do": self.do}


class ModelError(FlightError):
    """The model file is damaged, incomplete, inconsistent, or not of a supported form."""


class UnsupportedError(ModelError):
    """The model is well-formed but uses something the machine does not do."""


class RecipeError(FlightError):
    """A compression recipe or option that cannot be carried out."""


class ConfigError(FlightError):
    """An architecture config or board file that is inconsistent."""


class FitError(FlightError):
    """Model, config or board do not fit each other; carries the figures.

    Args:
        parameter: of the architecture config, if there is one that is too small.
    """

    def __init__(self, what: str, *, where: str = "", why: str = "", do: str = "", parameter: str = "") -> None:
        self.parameter = parameter
        super().__init__(what, where=where, why=why, do=do)


class PackageError(FlightError):
    """A package that is damaged or of another version."""


class ProgramError(FlightError):
    """An instruction stream that is illegal or breaks a rule of the machine."""


class ToolError(FlightError):
    """An external tool or optional package is missing or failed."""
