"""Sends messages to the addresses of ``TSOBS_NOTIFY_URLS`` through the library Apprise.

Apprise answers with true or false. Why it failed is taken from the exception that its plugin handles while
it logs, and from the HTTP status in its log lines. Neither tells a service's refusal from that of a proxy on
the way, so every failure is tried again, unless the message may have arrived: then its fate is unknown. Its
log lines may hold addresses and passwords, so they go no further than this module.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING

from tsobs_pipelines.alerting.channel import Letter, Outcome, Sent, TryLater, Unknown
from tsobs_pipelines.alerting.rule import Severity
from tsobs_pipelines.alerting.text import clean, plain
from tsobs_pipelines.secret_url import MASK, SecretTarget
from tsobs_pipelines.setting_addresses import MAX_PORT

if TYPE_CHECKING:
    from apprise import NotifyBase

SEND_WITHIN_S = 25.0
"""For all that a send does; a service that takes longer may have the message."""

CONNECT_WITHIN_S = 5.0
ANSWER_WITHIN_S = 10.0

_TITLE_CHARS = 80
_REASON_CHARS = 160
_STATUS = re.compile(r"\berror=([1-5]\d\d)\b")

_TYPES = {Severity.WARNING: "warning", Severity.CRITICAL: "failure", Severity.RESOLVED: "success"}

_NOT_CONNECTED = frozenset(
    {
        *("ConnectionRefusedError", "ConnectTimeout", "ConnectTimeoutError", "NewConnectionError"),
        *("NameResolutionError", "gaierror", "ProxyError", "SSLError", "SSLCertVerificationError"),
        *("InvalidURL", "InvalidSchema", "MissingSchema", "SMTPConnectError", "SMTPHeloError"),
        *("SMTPAuthenticationError", "SMTPNotSupportedError"),
    }
)
"""Exceptions that come before anything of the message was sent."""

_HTTP_LIBRARIES = ("requests", "urllib3", "http")

for _name in ("urllib3", "requests_oauthlib", "oauthlib", "MARKDOWN"):
    logging.getLogger(_name).setLevel(logging.WARNING)  # at DEBUG they log paths and tokens


class UnusableAddressError(ValueError):
    """Apprise can't use the address; the text holds none of its secrets."""


@dataclass
class _Heard(threading.local):
    """What Apprise said during the send of this thread."""

    statuses: list[int] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)


class _Listener(logging.Filter):
    """Keeps HTTP statuses and exceptions of a send; the lines themselves reach no handler."""

    def __init__(self) -> None:
        super().__init__()
        self.heard = _Heard()

    def filter(self, record: logging.LogRecord) -> bool:
        """Note what is of use, and drop the record."""
        error = sys.exc_info()[1]
        if error is not None and not any(error is known for known in self.heard.errors):
            self.heard.errors.append(error)
        self.heard.statuses += map(int, _STATUS.findall(record.getMessage()))
        return False


@cache
def _listener() -> _Listener:
    listener, logger = _Listener(), logging.getLogger("apprise")
    logger.addFilter(listener)
    logger.setLevel(logging.DEBUG)
    return listener


def check_address(target: SecretTarget) -> None:
    """Have Apprise read the address; nothing is connected to.

    Raises:
        UnusableAddressError: Apprise knows no such service, lacks a part of the address, or needs a package.
    """
    _plugin(target)


def _plugin(target: SecretTarget) -> NotifyBase:
    _listener()
    import apprise  # noqa: PLC0415 - 0.5 s and 10 MB, of use only to those who set an address

    # No files of its own. A redirection leads to a login page, whose 200 would count as an acceptance.
    asset = apprise.AppriseAsset(app_id="tsobs", storage_mode="memory", http_redirects=False)
    try:
        plugin = apprise.Apprise.instantiate(target.get_secret_value(), asset=asset, suppress_exceptions=True)
    except Exception as error:  # noqa: BLE001 - a plugin's bug; its text may hold the address
        raise UnusableAddressError(f"Apprise can't read it ({type(error).__name__})") from None
    if plugin is None:
        raise UnusableAddressError("Apprise does not know the service, or a part of the address is missing")
    if not plugin.enabled:
        raise UnusableAddressError("Apprise needs a further Python package for this service")
    if plugin.port is not None and not 1 <= plugin.port <= MAX_PORT:
        raise UnusableAddressError(f"Apprise can't use its port, expected one from 1 to {MAX_PORT}")
    plugin.socket_connect_timeout = min(plugin.socket_connect_timeout, CONNECT_WITHIN_S)
    plugin.socket_read_timeout = min(plugin.socket_read_timeout, ANSWER_WITHIN_S)
    return plugin


class AppriseChannel:
    """One address. Each send has a plugin of its own, in a thread that is given up after 25 s."""

    chat_id = ""

    def __init__(self, target: SecretTarget) -> None:
        """Apprise is loaded with the first message."""
        self._target = target
        self.name = target.name

    def __repr__(self) -> str:
        return f"AppriseChannel({self.name})"

    def deliver(self, letter: Letter) -> Outcome:
        """Send the message as plain text, with its first line as title where the service has titles."""
        answers: list[Outcome] = []
        thread = threading.Thread(
            target=lambda: answers.append(self._send(letter)), name=f"send {self.name}", daemon=True
        )
        thread.start()
        thread.join(SEND_WITHIN_S)
        return answers[0] if answers else Unknown(f"no end of the send within {SEND_WITHIN_S:.0f} s")

    def _send(self, letter: Letter) -> Outcome:
        try:
            plugin = _plugin(self._target)
        except UnusableAddressError as error:
            return TryLater(f"check TSOBS_NOTIFY_URLS: {error}")
        heard = _listener().heard
        heard.statuses, heard.errors = [], []
        body = plain(letter.html)
        title = _title(body) if plugin.title_maxlen > 0 else ""
        try:
            accepted = plugin.notify(
                body=body, title=title, notify_type=_TYPES[letter.severity], body_format="text"
            )
        except Exception as error:  # noqa: BLE001 - a plugin's bug must not cost the others their message
            heard.errors.append(error)
            accepted = False
        return self._without_secrets(Sent() if accepted else _failure(heard))

    def _without_secrets(self, outcome: Outcome) -> Outcome:
        if not isinstance(outcome, TryLater | Unknown):
            return outcome
        reason = outcome.reason
        for secret in self._target.credentials():
            reason = reason.replace(secret, MASK)
        return type(outcome)(clean(reason, _REASON_CHARS))


def _title(body: str) -> str:
    """The first line up to its first details: a mail's subject."""
    return clean(body.partition("\n")[0].partition("; ")[0], _TITLE_CHARS)


def _failure(heard: _Heard) -> Outcome:
    """What is known of a send that Apprise reports as failed."""
    uncertain = next((error for error in heard.errors if _may_have_arrived(error)), None)
    if uncertain is not None:
        return Unknown(f"no answer that can be read ({_said(uncertain)})")
    if heard.statuses:
        return TryLater(f"answered {_status(heard.statuses[0])}")
    if heard.errors:
        return TryLater(f"not sent ({_said(heard.errors[0])})")
    return TryLater("Apprise could not send it and gives no reason")


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and its causes: requests and urllib3 put the cause into ``args`` and ``reason``."""
    seen: list[BaseException] = []
    todo: list[object] = [error]
    while todo:
        one = todo.pop()
        if isinstance(one, BaseException) and not any(one is known for known in seen):
            seen.append(one)
            yield one
            todo += [*one.args, getattr(one, "reason", None), one.__cause__, one.__context__]


def _may_have_arrived(error: BaseException) -> bool:
    """Whether the message may have been sent before this error."""
    if any(type(one).__name__ in _NOT_CONNECTED for one in _chain(error)):
        return False
    if hasattr(error, "smtp_code") or hasattr(error, "recipients") or isinstance(error, ValueError):
        # The mail server's answer, or an answer over HTTP that was read and was not what the plugin expected.
        return False
    if type(error).__module__.partition(".")[0] in _HTTP_LIBRARIES:
        return True
    return _was_in_smtp_data(error)


def _was_in_smtp_data(error: BaseException) -> bool:
    """Whether it broke while the body of a mail was sent: a server accepts it only at the end of that."""
    at = error.__traceback__
    while at is not None:
        code = at.tb_frame.f_code
        if code.co_name == "data" and code.co_filename.endswith("smtplib.py"):
            return True
        at = at.tb_next
    return False


def _said(error: BaseException) -> str:
    """The kind of the innermost error and what the system or a mail server said; no text of a library."""
    chain = list(_chain(error))
    for one in chain:
        code, text = getattr(one, "smtp_code", None), getattr(one, "smtp_error", b"")
        if isinstance(code, int):
            said = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
            return f"{type(error).__name__}: {code} {said}".rstrip()
        if isinstance(one, OSError) and one.strerror and isinstance(one.errno, int):
            return f"{type(error).__name__}: {one.strerror}"
    named = next((type(one).__name__ for one in chain if type(one).__name__ in _NOT_CONNECTED), None)
    return named or type(error).__name__


def _status(code: int) -> str:
    phrases = {status.value: status.phrase for status in HTTPStatus}
    return f"{code} {phrases.get(code, '')}".rstrip()
