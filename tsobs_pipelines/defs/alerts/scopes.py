"""The scope under which alerts of a tailnet or a model are stored, and the source that a message names."""

from sqlalchemy import Engine

from tsobs_pipelines.alerting.messages import Source
from tsobs_pipelines.alerting.store import AlertStore
from tsobs_pipelines.database import engine_for
from tsobs_pipelines.forecasting.models import DEFAULT_MODEL
from tsobs_pipelines.forecasting.prices.open import alert_scope
from tsobs_pipelines.settings import Settings
from tsobs_pipelines.tailnet_settings import Tailnet

SEND_IN_A_TICK = 2
"""Messages that a sensor sends itself: a send takes 25 s at worst, and a tick has 60 s."""

_DEMO_MARK = "DEMO data"


def alert_engine(settings: Settings) -> Engine:
    """The database of the alert state."""
    return engine_for(settings.database_url)


def tailnet_alert_store(settings: Settings, tailnet: Tailnet) -> AlertStore:
    """The store of the topics of a tailnet."""
    return AlertStore(alert_engine(settings), tailnet.name)


def model_alert_store(settings: Settings, model: str) -> AlertStore:
    """The store of the topics of a model on the price source.

    Each model has a scope of its own, so that a rule has its progress for each: evaluations of two models
    for the same hour are minutes apart.
    """
    scope = alert_scope(settings)
    return AlertStore(alert_engine(settings), scope if model == DEFAULT_MODEL else f"{model}/{scope}")


def tailnet_source(settings: Settings, tailnet: Tailnet, run_id: str = "", partition: str = "") -> Source:
    """Where the data of a tailnet came from, for the text of a message."""
    chosen = "" if tailnet.first else f"#tailnet={tailnet}"
    page = f"{settings.page_url}{chosen}"
    mark = _DEMO_MARK if tailnet.demo else "" if tailnet.first else tailnet.name
    return Source(page, settings.dagster_url, mark, run_id, partition)


def price_source(settings: Settings, run_id: str = "", partition: str = "") -> Source:
    """Where the data of a forecast came from, for the text of a message."""
    mark = _DEMO_MARK if settings.demo_prices else ""
    return Source(settings.page_url, settings.dagster_url, mark, run_id, partition)
