"""A mail server on loopback that keeps what it accepts, and fails on request."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.header import decode_header, make_header
from email.message import Message

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.support.ports import free_port

SILENT = "silent"
"""An order: never answer the body of a mail."""

HANG_UP = "hang up"
"""An order: keep the mail, and close the connection instead of an answer."""


@dataclass
class MailServer:
    """Its mails, and its orders for the next ones: an answer such as ``451 later``, or one of the above."""

    port: int
    mails: list[Message] = field(default_factory=list)
    orders: deque[str] = field(default_factory=deque)

    @property
    def url(self) -> str:
        """Its address, in Apprise's form."""
        return f"mailto://127.0.0.1:{self.port}/?from=tsobs@example.com&to=ops@example.com&mode=insecure"

    @property
    def subjects(self) -> list[str]:
        """The subjects of the mails that it accepted."""
        return [str(make_header(decode_header(mail["Subject"]))) for mail in self.mails]

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Accept a mail, or not."""
        order = self.orders.popleft() if self.orders else ""
        if order and order not in {SILENT, HANG_UP}:
            return order
        if order == SILENT:
            await asyncio.sleep(60)
        content = envelope.content
        assert isinstance(content, bytes)
        self.mails.append(message_from_bytes(content))
        if order == HANG_UP and server.transport is not None:
            server.transport.close()
        return "250 kept"


@contextmanager
def mail_server() -> Iterator[MailServer]:
    """A server on a free port of loopback."""
    server = MailServer(free_port())
    controller = Controller(server, hostname="127.0.0.1", port=server.port)
    controller.start()
    try:
        yield server
    finally:
        controller.stop()
