"""Rows as DataFrames and back, for those who want pandas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from tsobs_pipelines.timeseries.schema import TIME, Field, Measurement, RowT, Value

if TYPE_CHECKING:
    import pandas as pd

_DTYPES = {"float": "float64", "int": "Int64", "str": "string"}


def to_frame(measurement: Measurement[RowT], rows: Sequence[RowT]) -> pd.DataFrame:
    """The rows as a frame with every column of the measurement, also when there are none.

    ``time`` is ``datetime64[us, UTC]``, tags are ``string``, fields ``float64`` (NaN without a value),
    ``Int64`` or ``string`` (``NA`` without one): an integer stays exact beside a missing one.
    """
    import pandas as pd  # noqa: PLC0415 - one second and 100 MB that most processes never need

    columns: dict[str, pd.Series] = {
        TIME: pd.Series([row[TIME] for row in rows], dtype=pd.DatetimeTZDtype("us", "UTC")),
    }
    for tag in measurement.tags:
        columns[tag] = pd.Series([row[tag] for row in rows], dtype="string")
    for field in measurement.fields:
        columns[field.name] = pd.Series([row[field.name] for row in rows], dtype=_DTYPES[field.type])
    return pd.DataFrame(columns, columns=list(measurement.columns))


def from_frame(measurement: Measurement[RowT], frame: pd.DataFrame) -> list[RowT]:
    """The rows of a frame that has ``time``, the tags and some of the fields; other columns are refused.

    Raises:
        SchemaError: a row does not fit the measurement.
        KeyError: ``time`` or a tag is not a column.
    """
    unknown = [str(name) for name in frame.columns if name not in measurement.columns]
    columns: dict[str, list[Value]] = {name: _values(frame[name]) for name in unknown}
    columns[TIME] = [time.to_pydatetime() for time in frame[TIME]]
    columns |= {tag: _values(frame[tag]) for tag in measurement.tags}
    present: list[Field] = [field for field in measurement.fields if field.name in frame.columns]
    columns |= {field.name: _values(frame[field.name]) for field in present}
    names = list(columns)
    return [
        measurement.conform(dict(zip(names, values, strict=True)))
        for values in zip(*columns.values(), strict=True)
    ]


def _values(column: pd.Series) -> list[Value]:
    # Python's own numbers and texts, None where there is no value.
    plain = column.astype(object)
    return cast("list[Value]", plain.where(column.notna(), None).tolist())
