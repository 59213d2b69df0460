"""Sends one message to the Bot API and interprets the response.

Only the Bot API can accept or refuse a message, and each of its answers is a JSON object with ``ok``
(https://core.telegram.org/bots/api#making-requests). Whatever else answers, such as a proxy or a login page,
has decided nothing: the message is tried again later.

The token is part of the address, so it appears in httpx's exceptions and logs: nothing of an exception but
its type's name leaves this module, and httpx's own log lines are kept quiet about requests made here.
"""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Mapping
from datetime import timedelta
from json import dumps, loads
from typing import TypeAlias

import httpx

from tsobs_pipelines.alerting.channel import (
    TELEGRAM,
    Letter,
    Moved,
    Outcome,
    Refused,
    Sent,
    TryLater,
    Unknown,
)
from tsobs_pipelines.alerting.text import clean, cut, plain
from tsobs_pipelines.secret_url import below
from tsobs_pipelines.settings import Settings

TIMEOUT = httpx.Timeout(10.0, connect=5.0)
ANSWER_WITHIN_S = 15.0
_MAX_ANSWER_BYTES = 100_000
_DESCRIPTION_CHARS = 200

GENERAL_THREAD = 1
"""The topic "General" of a forum, which the Bot API does not accept by its number."""

_NO_THREAD = re.compile(
    r"(thread|topic).{0,40}(not[_ ]found|closed|deleted|invalid)|invalid.{0,20}(thread|topic)", re.IGNORECASE
)
"""A topic that was closed or deleted, or that the chat does not have."""

_NUMBER = re.compile(r"-?[0-9]{1,18}")
_HEADER_SECONDS = re.compile(r"[0-9]{1,9}")
_LONGEST_HOLD_S = 7 * 86_400

_SETTINGS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(words, re.IGNORECASE), setting)
    for words, setting in (
        ("not a forum|thread|topic", "TELEGRAM_THREAD_ID"),
        (
            "rights|write_forbidden|chat_restricted|chat_send_|admin_|member|kicked|banned|blocked|can't",
            "TELEGRAM_CHAT_ID, and that the bot is a member there and may write",
        ),
        ("chat|peer_id_invalid|user not found|deactivated|channel_", "TELEGRAM_CHAT_ID"),
        ("forbidden", "TELEGRAM_CHAT_ID, and that the bot is a member there and may write"),
        ("unauthorized|not found|token", "TELEGRAM_BOT_TOKEN (or TELEGRAM_API_URL)"),
    )
)
"""Words of a refusal's description, and the setting to look at; the first that matches counts."""

_Request: TypeAlias = dict[str, str | int | bool | dict[str, bool]]

logging.getLogger("httpx").addFilter(lambda record: "/bot" not in record.getMessage())
logging.getLogger("httpcore").setLevel(logging.WARNING)


class Telegram:
    """A bot in a chat. Each message has a connection of its own: alerts are rare, kept ones go stale."""

    name = TELEGRAM

    def __init__(self, api_url: str, token: str, chat_id: str, thread_id: int | None = None) -> None:
        """Nothing is connected to yet."""
        self._api_url = api_url
        self._token = token
        self.chat_id = chat_id
        self._thread_id = None if thread_id == GENERAL_THREAD else thread_id

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

    def deliver(self, letter: Letter) -> Outcome:
        """Send a message of the outbox."""
        return self.send(letter.html, letter.chat_id)

    def send(self, html: str, chat_id: str | None = None) -> Outcome:
        """Send a message in Telegram's HTML, to the chat of the settings or where it has moved to.

        A message whose entities Telegram can't parse is sent once more as plain text, one whose topic is
        closed or gone once more without the topic; the note of :class:`Sent` says so.
        """
        request: _Request = {
            "chat_id": chat_id or self.chat_id,
            "text": html,
            "parse_mode": "HTML",
            "link_preview_options": {"is_disabled": True},
        }
        if self._thread_id is not None:
            request["message_thread_id"] = self._thread_id
        notes = []
        answer = self._post("sendMessage", json=request)
        while isinstance(answer, Refused) and (note := _accommodate(request, answer)) is not None:
            notes.append(note)
            answer = self._post("sendMessage", json=request)
        return Sent(answer.message_id, "; ".join(notes)) if isinstance(answer, Sent) else answer

    def send_photo(self, png: bytes, reply_to: int, chat_id: str | None = None) -> Outcome:
        """Send a picture as a reply to a message of the chat, without a sound; tried once."""
        form = {
            "chat_id": chat_id or self.chat_id,
            "reply_parameters": dumps({"message_id": reply_to}),
            "disable_notification": "true",
        }
        if self._thread_id is not None:
            form["message_thread_id"] = str(self._thread_id)
        return self._post("sendPhoto", data=form, files={"photo": ("alert.png", png, "image/png")})

    def _post(
        self,
        method: str,
        *,
        json: _Request | None = None,
        data: Mapping[str, str] | None = None,
        files: Mapping[str, tuple[str, bytes, str]] | None = None,
    ) -> Outcome:
        url = below(self._api_url, f"/bot{self._token}/{method}")
        try:
            with (
                httpx.Client(timeout=TIMEOUT) as client,
                client.stream("POST", url, json=json, data=data, files=files) as answer,
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
        body = bot_api_answer(content)
        if body is None:
            if answer.is_success and _is_cut_off(content):
                return Unknown(f"answer {answer.status_code} that can't be read")
            other = (
                f"answer {answer.status_code} is not the Bot API's: look at TELEGRAM_API_URL, and at a proxy"
            )
            return TryLater(other)
        if body["ok"] is False:
            return self._refusal(body, answer)
        result = body.get("result")
        number = result.get("message_id") if isinstance(result, dict) else None
        if type(number) is int and 0 < number < 2**63:
            return Sent(number)
        return Unknown("accepted, but without a message id")

    def _refusal(self, body: Mapping[str, object], answer: httpx.Response) -> Outcome:
        code = _number(body.get("error_code"))
        status = code if code is not None and 400 <= code < 600 else answer.status_code
        description = body.get("description")
        said = self._redacted(description if isinstance(description, str) else "")
        raw = body.get("parameters")
        parameters = raw if isinstance(raw, dict) else {}
        if status == 429:
            return TryLater(f"429 {said}".rstrip(), _retry_after(parameters, answer))
        if status >= 500:
            return TryLater(f"the Bot API answered {status} {said}".rstrip())
        moved = _number(parameters.get("migrate_to_chat_id"))
        if moved and abs(moved) < 2**63:
            return Moved(str(moved))
        return Refused(_explained(status, said))

    def _redacted(self, text: str) -> str:
        return clean(text.replace(self._token, "***"), _DESCRIPTION_CHARS)


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


def _accommodate(request: _Request, refusal: Refused) -> str | None:
    """Change a refused request so that it may be accepted; what was changed, ``None`` if nothing helps."""
    if "parse_mode" in request and "parse entities" in refusal.reason:
        del request["parse_mode"]
        request["text"] = cut(plain(str(request["text"])))
        return "as plain text: Telegram could not parse the entities"
    if "message_thread_id" in request and _NO_THREAD.search(refusal.reason):
        thread = request.pop("message_thread_id")
        return f"not in topic {thread}, which is closed or gone: check TELEGRAM_THREAD_ID"
    return None


def bot_api_answer(content: bytes) -> dict[str, object] | None:
    """The Bot API's answer, a JSON object with a boolean ``ok``; ``None`` if the body is something else."""
    try:
        body = loads(content)
    except (ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) and isinstance(body.get("ok"), bool) else None


def _is_cut_off(content: bytes) -> bool:
    """Whether this could be the beginning of an acceptance whose rest was lost on its way."""
    start = content.lstrip()
    try:
        loads(start)
    except (ValueError, RecursionError):
        return not start or start.startswith(b"{")
    return False


def _retry_after(parameters: dict[str, object], answer: httpx.Response) -> timedelta | None:
    value = _number(parameters.get("retry_after"))
    header = answer.headers.get("retry-after", "")
    if value is None and _HEADER_SECONDS.fullmatch(header):
        value = int(header)
    return None if value is None else timedelta(seconds=min(max(value, 0), _LONGEST_HOLD_S))


def _number(value: object) -> int | None:
    """A whole number, however JSON has it, a fraction rounded up; ``None`` for anything else."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return math.ceil(value)
    return value if type(value) is int else None


def _explained(status: int, said: str) -> str:
    text = f"{status} {said}".rstrip()
    setting = next((setting for words, setting in _SETTINGS if words.search(said)), None)
    return text if setting is None else f"configuration: check {setting}: {text}"
