"""Limits on connections: bytes and time of a request, and which are closed when there are too many.

uvicorn's protocol for httptools has none of these. A request's head is bounded while it arrives, before
anything looks at it; a connection that does not bring a whole request in time is closed; and when there are
too many connections, those of the address that has most give way: silent ones are closed, and only when it
has none, its next request gets a 503.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Final, NoReturn

from httptools import HttpParserError
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

MAX_HEAD_BYTES: Final = 64 * 2**10
MAX_HEADERS: Final = 100
REQUEST_S: Final = 15.0
"""How long a request may take to arrive, from its first byte; a new connection as long to begin one."""
MOST_CONNECTIONS: Final = 400
LINGER_S: Final = 2.0
"""How long what a refused client still sends is thrown away, so that it can read why it was refused."""


class BoundedConnection(HttpToolsProtocol):
    """One connection of a client."""

    max_body_bytes: int = 64 * 2**10

    _bytes = 0
    """Bytes of the head, or of the body, that came so far."""
    _headers = 0
    _body = 0
    _head_complete = False
    _arriving: asyncio.TimerHandle | None = None
    _refused: int | None = None

    @property
    def address(self) -> str:
        """Whose connection it is."""
        return self.client[0] if self.client else ""

    @property
    def silent(self) -> bool:
        """Whether no request is being worked on."""
        return self._cycle is None or self._cycle.response_complete

    @property
    def _cycle(self) -> RequestResponseCycle | None:
        return self.cycle  # None before the first request, which uvicorn's type does not say

    # What asyncio calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin the time of the first request, and see whether there is room."""
        super().connection_made(transport)
        self._begin_wait()
        if len(self.connections) > MOST_CONNECTIONS:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        self._end_wait()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Count, then parse."""
        if self._refused is not None:
            return
        if self._arriving is None and not self._head_complete:
            self._begin_wait()
        self._bytes += len(data)
        super().data_received(data)
        self._check_arrived()

    # What httptools calls; raising ends the parsing, and uvicorn calls send_400_response.

    def on_message_begin(self) -> None:
        """A request begins."""
        self._headers = 0
        self._head_complete = False
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A part of the target."""
        super().on_url(url)
        self._headers += len(url)
        self._check_head()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header line; those after a body (trailers) count as well."""
        super().on_header(name, value)
        self._headers += len(name) + len(value)
        self._check_head()

    def on_headers_complete(self) -> None:
        """The head is whole: what follows is counted as the body."""
        announced = next((value for name, value in self.headers if name == b"content-length"), b"0")
        if int(announced) > self.max_body_bytes:  # the parser has seen that it is a number
            self._stop_parsing(413)
        self._head_complete = True
        self._bytes = 0
        self._body = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        self._body += len(body)
        if self._body > self.max_body_bytes:
            self._stop_parsing(413)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The request has arrived."""
        self._end_wait()
        self._head_complete = False
        self._bytes = 0
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        """Another protocol takes over, with limits of its own."""
        self._end_wait()
        super().handle_websocket_upgrade()

    def send_400_response(self, msg: str) -> None:
        """Answer what can't be parsed, or was refused while it was parsed."""
        self._refuse(self._refused or 400, msg)

    # The bounds.

    def _check_head(self) -> None:
        if self._headers > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS:
            self._stop_parsing(431)

    def _stop_parsing(self, status: int) -> NoReturn:
        self._refused = status
        raise HttpParserError(str(status))

    def _check_arrived(self) -> None:
        limit = MAX_HEAD_BYTES + (self.max_body_bytes if self._head_complete else 0)
        if self._bytes > limit and self._refused is None and not self.transport.is_closing():
            self._refuse(413 if self._head_complete else 431)

    def _refuse(self, status: int, detail: str | None = None) -> None:
        """Answer with this status, and end the connection without reading more of it."""
        self._refused = status
        self._end_wait()
        texts = {408: "request not received in time", 413: "body too large", 431: "headers too large"}
        if not self.silent:
            self.transport.close()  # an answer is on its way: nothing can be said before its end
            return
        body = json.dumps({"detail": texts.get(status, detail or "bad request")}).encode()
        self.transport.write(
            STATUS_LINE[status]
            + b"content-type: application/json\r\nconnection: close\r\n"
            + b"content-length: %d\r\n\r\n" % len(body)
            + body
        )
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.abort)

    def _begin_wait(self) -> None:
        self._end_wait()
        self._arriving = self.loop.call_later(REQUEST_S, self._not_in_time)

    def _end_wait(self) -> None:
        if self._arriving is not None:
            self._arriving.cancel()
            self._arriving = None

    def _not_in_time(self) -> None:
        self._arriving = None
        if self._bytes or self._head_complete:
            self._refuse(408)
        else:
            self.transport.close()

    def _make_room(self) -> None:
        others = [other for other in self.connections if isinstance(other, BoundedConnection)]
        busiest, _ = Counter(other.address for other in others).most_common(1)[0]
        silent = (
            other for other in others if other.address == busiest and other.silent and other is not self
        )
        if (first := next(silent, None)) is not None:
            first.transport.close()
            self.connections.discard(first)
        elif busiest == self.address:
            self.limit_concurrency = 0  # uvicorn's own way to answer 503
