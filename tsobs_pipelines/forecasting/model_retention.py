"""The files of fitted models: their names, and which of them can be deleted.

A model is read once, to issue the forecast of its delivery day, and the forecast is never issued again. It is
kept for a while afterwards, to explain the forecast.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date
from urllib.parse import quote, unquote

from tsobs_pipelines.forecasting.delivery import Market
from tsobs_pipelines.forecasting.model_files import FileSystem
from tsobs_pipelines.forecasting.scoring import frozen_from_rows
from tsobs_pipelines.timeseries.schema import FORECASTS
from tsobs_pipelines.timeseries.store import TimeSeriesStore, Window

_BELOW_MODEL = re.compile(r"(?P<source>[^/]+)/\d{4}/(?P<day>\d{4}-\d{2}-\d{2})\.json")


def model_file(model: str, source: str, day: date) -> str:
    """The name of a fitted model's file below ``TSOBS_MODELS_DIR``."""
    return f"{model}/{quote(source, safe='')}/{day.year}/{day}.json"


def days_with_model(files: FileSystem, model: str) -> Mapping[str, Sequence[date]]:
    """The delivery days for which there is a file of the model, by price source, and of no other files."""
    found: dict[str, list[date]] = {}
    for name in files.below(model):
        match = _BELOW_MODEL.fullmatch(name.removeprefix(f"{model}/"))
        if match is None:
            continue
        try:
            source, day = unquote(match["source"]), date.fromisoformat(match["day"])
        except ValueError:
            continue
        if name == model_file(model, source, day):
            found.setdefault(source, []).append(day)
    return found


def remove_old_models(
    files: FileSystem, store: TimeSeriesStore, model: str, market: Market, first_kept: date
) -> int:
    """Remove the model's files of delivery days before ``first_kept`` whose forecast was issued; how many.

    The newest file of each price source stays, however old it is. So does one whose forecast is not there:
    the run that is to issue it may be under way.

    Raises:
        StoreUnavailableError: the store did not answer; nothing was removed.
        OSError: a file can't be removed, or the file system does not answer.
    """
    going = [
        model_file(model, source, day)
        for source, days in days_with_model(files, model).items()
        for day in _issued(store, model, source, market, [day for day in days if day < first_kept])
        if day != max(days)
    ]
    for name in going:
        files.remove(name)
    return len(going)


def _issued(
    store: TimeSeriesStore, model: str, source: str, market: Market, days: Sequence[date]
) -> Sequence[date]:
    """Those of the days that have a forecast for each hour."""
    if not days:
        return []
    span = Window(market.start_of(min(days)), market.end_of(max(days)))
    frozen = frozen_from_rows(store.read(FORECASTS, span, {"source": source, "model": model}))
    hours = {each.hour for each in frozen}
    return [day for day in days if hours.issuperset(market.hours_of(day))]
