"""The channels of the settings: Telegram, and one for each address of ``TSOBS_NOTIFY_URLS``."""

from __future__ import annotations

from tsobs_pipelines.alerting.channel import Channel
from tsobs_pipelines.alerting.notify import AppriseChannel
from tsobs_pipelines.alerting.telegram import Telegram
from tsobs_pipelines.settings import Settings


def channels_of(settings: Settings) -> list[Channel]:
    """Every channel; none where only the outbox keeps messages."""
    bot = Telegram.from_settings(settings)
    further = [AppriseChannel(target) for target in settings.notify_urls]
    return [*([bot] if bot is not None else []), *further]


def channel_names(settings: Settings) -> list[str]:
    """The names of :func:`channels_of`."""
    return [channel.name for channel in channels_of(settings)]
