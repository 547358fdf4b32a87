"""Templates of a project: templates/project/."""

from __future__ import annotations

from functools import cache
from typing import Any

import jinja2

from flightllm.config.paths import data_dir
from flightllm.config.templates import environment


@cache
def _environment() -> jinja2.Environment:
    env = environment(data_dir("templates") / "project")
    env.filters["hex"] = lambda value, digits=1: f"0x{value:0{digits}X}"
    return env


def render(template: str, **values: Any) -> str:
    """Text of a template of templates/project/, named without its `.j2`."""
    return _environment().get_template(f"{template}.j2").render(values)
