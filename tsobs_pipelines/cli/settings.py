"""``tsobs settings``: every setting with its value, as this process reads it."""

from __future__ import annotations

import click
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from tsobs_pipelines.secret_url import masked
from tsobs_pipelines.settings import Settings, load_settings


def shown(value: object) -> str:
    """A value as a person would write it into the environment; of a secret only that it is there."""
    if value is None or value in ((), {}):
        return ""
    if isinstance(value, SecretStr):
        return "(set)"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(str(item) for item in value)
    if isinstance(value, dict):
        return ",".join(f"{name}={number:g}" for name, number in value.items())
    return f"{value:g}" if isinstance(value, float) else masked(str(value))


def _fields() -> list[tuple[str, str, FieldInfo]]:
    """Name of the variable, name of the attribute and the field, in the order of ``settings.py``."""
    return [(str(field.validation_alias), name, field) for name, field in Settings.model_fields.items()]


def markdown_table() -> str:
    """The settings with their defaults and meanings, for the documentation."""
    lines = ["| name | default | meaning |", "| --- | --- | --- |"]
    for variable, _, field in _fields():
        default = shown(field.default)
        lines.append(f"| `{variable}` | {f'`{default}`' if default else 'unset'} | {field.description} |")
    return "\n".join(lines)


@click.command("settings")
@click.option("--markdown", is_flag=True, help="Print names, defaults and meanings as a Markdown table.")
def show_settings(*, markdown: bool) -> None:
    """Print every setting with its value; secrets only as set or not."""
    if markdown:
        click.echo(markdown_table())
        return
    settings = load_settings()
    width = max(len(variable) for variable, _, _ in _fields())
    for variable, name, field in _fields():
        value = shown(getattr(settings, name))
        mark = " " if getattr(settings, name) == field.default else "*"
        click.echo(f"{mark} {variable:<{width}}  {value or '-'}")
