"""Every kind of price source that ``TSOBS_PRICE_SOURCE`` can name.

Settings check themselves against this list, so that it imports no source: each kind says where the function
is that opens it, and ``forecasting/prices/open.py`` calls that.
"""

from __future__ import annotations

from dataclasses import dataclass

from tsobs_pipelines.registry import Registry


@dataclass(frozen=True, slots=True)
class PriceSourceKind:
    """A kind of price source; the setting is its key, or ``<key>:<argument>``.

    ``arguments`` are those that it takes: ``""`` for none, a word, or any text where it is a name in angle
    brackets. ``opener`` is a function ``module:name`` of the argument and the settings; it opens no
    connection, and raises ``ValueError`` with what was expected where it can't use them. ``label`` is what
    people read in the place of the source's name; empty: the name.
    """

    key: str
    arguments: tuple[str, ...]
    opener: str
    label: str = ""

    @property
    def forms(self) -> list[str]:
        """The settings that name it, as people write them."""
        return [f"{self.key}:{argument}" if argument else self.key for argument in self.arguments]

    def takes(self, argument: str) -> bool:
        """Whether it can have this argument."""
        anything = any(form.startswith("<") for form in self.arguments)
        return argument in self.arguments or (anything and argument.strip() != "")


PRICE_SOURCES: Registry[PriceSourceKind] = Registry(
    "price source",
    (
        PriceSourceKind("demo", ("",), "tsobs_pipelines.demo.market:open_market", label="DEMO market"),
        PriceSourceKind("redata", ("", "pvpc"), "tsobs_pipelines.forecasting.prices.redata:open_redata"),
        PriceSourceKind("esios", ("", "pvpc"), "tsobs_pipelines.forecasting.prices.esios:open_esios"),
        PriceSourceKind("entsoe", ("", "<zone>"), "tsobs_pipelines.forecasting.prices.entsoe:open_entsoe"),
        PriceSourceKind("csv", ("<path>",), "tsobs_pipelines.forecasting.prices.csv_source:open_csv"),
    ),
)


@dataclass(frozen=True, slots=True)
class ChosenSource:
    """A setting taken apart."""

    kind: PriceSourceKind
    argument: str


def source_forms() -> list[str]:
    """Every form that the setting can have."""
    return [form for kind in PRICE_SOURCES.values() for form in kind.forms]


def chosen_source(setting: str) -> ChosenSource:
    """The kind and the argument of a setting.

    Raises:
        ValueError: there is no such source; the text says what was expected.
    """
    key, colon, argument = setting.partition(":")
    kind = PRICE_SOURCES.get(key)
    if kind is None or not kind.takes(argument) or bool(colon) != bool(argument):
        *forms, last = source_forms()
        msg = f"expected {', '.join(forms)} or {last}"
        raise ValueError(msg)
    return ChosenSource(kind, argument)


def source_label(name: str) -> str:
    """What people read for the name of a source, such as a row's tag: simulated prices say what they are."""
    kind = PRICE_SOURCES.get(name.partition(":")[0])
    return kind.label if kind and kind.label else name
