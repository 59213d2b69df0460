"""Numbers in the cells of a file: the decimal sign, and separators of thousands.

A cell such as ``1.041`` is 1.041 or 1041. Which it is follows from the other cells of the file; where they
don't tell, such a cell can't be read.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from math import isnan

WITHOUT_PRICE = frozenset(
    {"", "-", "--", "–", "—", ".", "?", "null", "none", "nil", "na", "n/a", "n.a.", "#n/a", "<na>", "missing"}  # noqa: RUF001 - dashes of files
)
_UNCLEAR = re.compile(r"[+-]?[1-9]\d{0,2}[.,]\d{3}", re.ASCII)
"""A decimal sign before three digits, or a separator of thousands."""

_CLEAR = {
    ",": re.compile(r"[+-]?(\d{1,3}(\.\d{3})+|\d*),\d+|[+-]?\d{1,3}(\.\d{3}){2,}", re.ASCII),
    ".": re.compile(r"[+-]?(\d{1,3}(,\d{3})+|\d*)\.\d+|[+-]?\d{1,3}(,\d{3}){2,}", re.ASCII),
}
"""A number that has just one reading, by the decimal sign of that."""

_SLIPS = 10
"""A file's sign is told by its cells but for one in so many."""


class Role(Enum):
    """What a dot or a comma before three digits stands for."""

    DECIMAL = "decimal"
    THOUSANDS = "thousands"
    UNCLEAR = "unclear"


@dataclass(frozen=True, slots=True)
class NumberForm:
    """How the numbers of a file are written; ``decimal_comma`` is whether a comma may be the decimal sign."""

    decimal_comma: bool = False
    dot: Role = Role.DECIMAL
    comma: Role = Role.UNCLEAR

    def read(self, cell: str) -> float | None:
        """The number in a cell, ``None`` where it says that there is none.

        Raises:
            ValueError: it is no number, or can be read in two ways.
        """
        if self.dot is not Role.DECIMAL and _UNCLEAR.fullmatch(cell.strip()):
            return self._unclear(cell.strip())
        try:
            price = float(cell)
        except ValueError:
            return self._with_separators(cell.strip())
        if "_" in cell:  # Python's own way of writing numbers
            raise ValueError(f"price {cell!r}, expected a number")
        return None if isnan(price) else price

    def _with_separators(self, text: str) -> float | None:
        if text.lower() in WITHOUT_PRICE:
            return None
        if _UNCLEAR.fullmatch(text):
            return self._unclear(text)
        if self.decimal_comma and _CLEAR[","].fullmatch(text) and "," in text:
            return float(text.replace(".", "").replace(",", "."))
        if self.comma is Role.THOUSANDS and _CLEAR["."].fullmatch(text) and "." in text:
            return float(text.replace(",", ""))
        raise ValueError(f"price {text!r}, expected a number")

    def _unclear(self, text: str) -> float:
        role = self.dot if "." in text else self.comma
        if role is Role.DECIMAL:
            return float(text.replace(",", "."))
        if role is Role.THOUSANDS:
            return float(text.replace(",", "").replace(".", ""))
        if "," in text and not self.decimal_comma:
            raise ValueError(f"price {text!r}, expected a number")
        plain = text.replace(",", ".")
        raise ValueError(f"price {text!r}, which may be {plain} or {plain.replace('.', '')}")


PLAIN = NumberForm()
"""Numbers with a decimal point, as services and programs write them."""


def number_form(cells: Iterable[str], *, decimal_comma: bool) -> NumberForm:
    """How the numbers in these cells are written, all those of a file."""
    clear: Counter[str] = Counter()
    unclear: Counter[str] = Counter()
    whole = 0
    for cell, times in Counter(cells).items():
        text = cell.strip()
        if text.lstrip("+-").isdecimal():
            whole += times if text.strip("+-0") else 0
        elif _UNCLEAR.fullmatch(text):
            unclear["." if "." in text else ","] += times
        else:
            clear.update({sign: times for sign, form in _CLEAR.items() if form.fullmatch(text)})
    sign = next(
        (sign for sign, times in clear.items() if (clear.total() - times) * _SLIPS <= clear.total()), None
    )
    if len(unclear) == 1 and (clear.total() + whole) * _SLIPS <= unclear.total():
        (sign,) = unclear  # three decimals everywhere, but for slips
    # Few prices have thousands: more of them than of clear ones make it doubtful that they are.
    roles = {
        mark: Role.THOUSANDS if sign and unclear[mark] <= clear.total() else Role.UNCLEAR for mark in ".,"
    }
    if sign:
        roles[sign] = Role.DECIMAL
    if not decimal_comma:
        roles = {
            ".": Role.UNCLEAR if sign == "," else Role.DECIMAL,
            ",": roles[","] if sign == "." else Role.UNCLEAR,
        }
    return NumberForm(decimal_comma, roles["."], roles[","])
