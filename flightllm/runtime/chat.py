"""Chat templates: Jinja2 in a sandbox, with the names that templates on the Hugging Face hub expect."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NoReturn

from flightllm.errors import FlightError, PackageError, ToolError
from flightllm.package import Package
from flightllm.runtime.tokenizer import Tokenizer

#: {"role": "system" | "user" | "assistant", "content": text}
Message = dict[str, str]


class _Refused(Exception):
    """raise_exception() of a template."""


def _refuse(message: str) -> NoReturn:
    raise _Refused(message)


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None, **_: Any) -> str:
    # Jinja's own filter escapes for HTML, which is not what a model has seen in training
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent)


class ChatTemplate:
    """A compiled chat template.

    Args:
        source: Jinja2 text.
        bos_token, eos_token: as text, for templates that write them.
        where: place of the template, for messages.

    Raises:
        PackageError: the template is not valid Jinja2. ToolError: Jinja2 is not installed.
    """

    def __init__(
        self, source: str, bos_token: str = "", eos_token: str = "", where: str = "chat_template.jinja"
    ) -> None:
        try:
            import jinja2
            from jinja2.sandbox import ImmutableSandboxedEnvironment
        except ImportError:  # whoever only continues text on a card has no need of it
            raise ToolError(
                "chat templates need Jinja2, which is not installed",
                where=where,
                do="pip install jinja2, or continue a text with --prompt",
            ) from None
        self.where = where
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = _tojson
        environment.globals["raise_exception"] = _refuse
        environment.globals["strftime_now"] = lambda form: datetime.now().strftime(form)
        self._fixed = {"bos_token": bos_token, "eos_token": eos_token}
        try:
            self._template = environment.from_string(source)
        except (jinja2.TemplateError, RecursionError) as error:
            raise PackageError(
                "the chat template cannot be read",
                where=where,
                why=str(error),
                do="compile from a model with a valid template, or continue a text with --no-chat",
            ) from None

    @classmethod
    def of(cls, package: Package, tokenizer: Tokenizer) -> ChatTemplate:
        """The chat template of a package.

        Raises:
            PackageError: it has none, or a damaged one.
        """
        if not package.chat_template:
            raise PackageError(
                "the package has no chat template",
                where=str(package.path),
                why="the model it was compiled from has none: it continues text, it does not chat",
                do="leave out --chat and --system and give a text to continue with --prompt; to chat, compile a model that was "
                "tuned for it (its name often ends in Instruct or Chat)",
            )
        facts = package.manifest.model
        eos = facts.eos[0] if facts.eos else None
        where = str(package.path / "chat_template.jinja")
        return cls(package.chat_template, tokenizer.token(facts.bos), tokenizer.token(eos), where)

    def render(self, messages: Sequence[Message], add_generation_prompt: bool = True, **names: Any) -> str:
        """The conversation as the model's text.

        Args:
            messages: in order.
            add_generation_prompt: end with the beginning of the assistant's turn.
            names: further variables of the template.

        Raises:
            FlightError: the template refuses the conversation or fails.
        """
        variables = self._fixed | {"messages": list(messages), "add_generation_prompt": add_generation_prompt} | names
        try:
            return self._template.render(variables)
        except _Refused as error:
            raise FlightError(
                "the chat template refuses this conversation",
                where=self.where,
                why=str(error),
                do="change the conversation as it asks, or continue a text with --no-chat",
            ) from None
        except Exception as error:
            why = f"{type(error).__name__}: {error}"
            raise FlightError(
                "the chat template fails on this conversation",
                where=self.where,
                why=why,
                do="leave out --system, or continue a text with --no-chat",
            ) from None
