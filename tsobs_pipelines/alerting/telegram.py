"""One message to the Bot API, and what its answer means.

What belongs here: the request, and the reading of every answer, also of none. What does not: retrying
(``outbox.py``) and wording (``messages.py``). Source: https://core.telegram.org/bots/api#making-requests.

The token is part of the address, so it appears in httpx's exceptions and logs: nothing of an exception but
its type's name leaves this module, and httpx's own log lines are kept quiet about requests made here.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

import httpx

from tsobs_pipelines.alerting.text import plain
from tsobs_pipelines.settings import Settings

TIMEOUT = httpx.Timeout(10.0, connect=5.0)
ANSWER_WITHIN_S = 15.0
_MAX_ANSWER_BYTES = 100_000
_DESCRIPTION_CHARS = 200

logging.getLogger("httpx").addFilter(lambda record: "/bot" not in record.getMessage())
logging.getLogger("httpcore").setLevel(logging.WARNING)


@dataclass(frozen=True, slots=True)
class Sent:
    """Telegram has it; ``note`` says what was special."""

    message_id: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class TryLater:
    """Telegram does not have it; ``after`` is how long it asked us to keep quiet, if it did."""

    reason: str
    after: timedelta | None = None


@dataclass(frozen=True, slots=True)
class Unknown:
    """Telegram may have it: the request went out, and no answer that can be read came back."""

    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """Telegram does not want it, and would not next time; ``reason`` names the setting to look at."""

    reason: str


@dataclass(frozen=True, slots=True)
class Moved:
    """The chat has another id now; nothing was sent."""

    chat_id: str


Outcome: TypeAlias = Sent | TryLater | Unknown | Refused | Moved


class Telegram:
    """A bot in a chat. Each message has a connection of its own: alerts are rare, kept ones go stale."""

    def __init__(self, api_url: str, token: str, chat_id: str, thread_id: int | None = None) -> None:
        """Nothing is connected to yet."""
        self._url = f"{api_url}/bot{token}/sendMessage"
        self._token = token
        self.chat_id = chat_id
        self._thread_id = thread_id

    @classmethod
    def from_settings(cls, settings: Settings) -> Telegram | None:
        """The bot of the settings; ``None`` without token or chat: then the outbox keeps the messages."""
        if settings.telegram_bot_token is None or settings.telegram_chat_id is None:
            return None
        token = settings.telegram_bot_token.get_secret_value()
        return cls(
            settings.telegram_api_url.get_secret_value(),
            token,
            settings.telegram_chat_id,
            settings.telegram_thread_id,
        )

    def __repr__(self) -> str:
        return f"Telegram(chat {self.chat_id})"

    def send(self, html: str, chat_id: str | None = None) -> Outcome:
        """Send a message in Telegram's HTML, to the chat of the settings or where it has moved to.

        A message whose entities Telegram can't parse is sent once more as plain text.
        """
        request: dict[str, str | int | bool | dict[str, bool]] = {
            "chat_id": chat_id or self.chat_id,
            "text": html,
            "parse_mode": "HTML",
            "link_preview_options": {"is_disabled": True},
        }
        if self._thread_id is not None:
            request["message_thread_id"] = self._thread_id
        answer = self._post(request)
        if isinstance(answer, Refused) and "parse entities" in answer.reason:
            del request["parse_mode"]
            request["text"] = plain(html)
            answer = self._post(request)
            if isinstance(answer, Sent):
                return Sent(answer.message_id, "as plain text: Telegram could not parse the entities")
        return answer

    def _post(self, request: dict[str, str | int | bool | dict[str, bool]]) -> Outcome:
        try:
            with (
                httpx.Client(timeout=TIMEOUT) as client,
                client.stream("POST", self._url, json=request) as answer,
            ):
                return self._understand(answer, _bounded(answer))
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError) as error:
            return TryLater(f"no connection to the Bot API ({_cause(error)})")
        except (httpx.WriteError, httpx.WriteTimeout) as error:
            # The body never went out whole, so it can't have been accepted.
            return TryLater(f"the request did not go out ({type(error).__name__})")
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return Unknown(f"no answer that can be read ({type(error).__name__})")

    def _understand(self, answer: httpx.Response, content: bytes) -> Outcome:
        body = _json_object(content)
        status = answer.status_code
        if body.get("ok") is True:
            result = body.get("result")
            number = result.get("message_id") if isinstance(result, dict) else None
            return Sent(number) if isinstance(number, int) else Unknown("accepted, but without a message id")
        code = body.get("error_code")
        status = code if isinstance(code, int) else status
        said = self._redacted(str(body.get("description", "")))
        raw = body.get("parameters")
        parameters = raw if isinstance(raw, dict) else {}
        if status == 429:
            return TryLater(f"429 {said}", _retry_after(parameters, answer))
        if status >= 500:
            return TryLater(f"the Bot API answered {status} {said}".rstrip())
        moved = parameters.get("migrate_to_chat_id")
        if isinstance(moved, int):
            return Moved(str(moved))
        if 200 <= status < 300:
            return Unknown(f"answer {status} is not the Bot API's")
        return Refused(_explained(status, said))

    def _redacted(self, text: str) -> str:
        return text.replace(self._token, "***")[:_DESCRIPTION_CHARS]


def _cause(error: BaseException) -> str:
    """The kind of the error, and what the system said about it: its words hold no address."""
    kind, cause = type(error).__name__, error.__cause__ or error.__context__
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return f"{kind}: {cause.strerror}"
        cause = cause.__cause__ or cause.__context__
    return kind


def _bounded(answer: httpx.Response) -> bytes:
    """The body, cut where it gets too long or too slow to be the Bot API's."""
    deadline = time.monotonic() + ANSWER_WITHIN_S
    content = b""
    for chunk in answer.iter_bytes():
        content += chunk
        if len(content) > _MAX_ANSWER_BYTES or time.monotonic() > deadline:
            break
    return content


def _json_object(content: bytes) -> dict[str, object]:
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _retry_after(parameters: dict[str, object], answer: httpx.Response) -> timedelta | None:
    value = parameters.get("retry_after")
    if not isinstance(value, int):
        header = answer.headers.get("retry-after", "")
        value = int(header) if header.isdecimal() else None
    return None if value is None else timedelta(seconds=min(max(value, 0), 7 * 86_400))


def _explained(status: int, said: str) -> str:
    text = f"{status} {said}".rstrip()
    lower = said.lower()
    if status in {401, 404}:
        return f"configuration: check TELEGRAM_BOT_TOKEN (or TELEGRAM_API_URL): {text}"
    if status == 403 or "chat not found" in lower or "chat_id" in lower:
        return f"configuration: check TELEGRAM_CHAT_ID, and that the bot may write there: {text}"
    if "thread" in lower or "topic" in lower:
        return f"configuration: check TELEGRAM_THREAD_ID: {text}"
    return text
