"""One HTTP exchange with the sidecar, limited in time and bytes: a complete response or an error."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, NamedTuple

import httpx

from tsobs_pipelines.secret_url import SecretUrl, below, clear, masked
from tsobs_pipelines.tailnet.deadlines import deadline_transport, until
from tsobs_pipelines.tailnet.errors import SidecarError, SidecarRefusedError, SidecarUnavailableError
from tsobs_pipelines.tailnet.packed import TornError, unpacked
from tsobs_pipelines.tailnet.ping import clean
from tsobs_pipelines.tailnet_settings import read_token

CONNECT_TIMEOUT_S: Final = 3.0
MAX_BODY: Final = 32 * 2**20
"""Bytes of the largest answer that is held in memory; the status of 10,000 peers has about 5 MB."""


_END: Final = "tsobs_end"


class Request(NamedTuple):
    """What is asked: path, how long the whole answer may take (s), query, and how it may be packed."""

    path: str
    deadline_s: float
    query: Mapping[str, str] = {}
    coding: Literal["identity", "gzip"] = "identity"


def _trust(base_url: str) -> ssl.SSLContext | Literal[True]:
    """Whom to trust: over plain HTTP nobody, which saves reading every certificate authority from disk."""
    return True if base_url.startswith("https:") else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class SidecarTransport:
    """A pool of connections to one sidecar. May be used by several threads."""

    def __init__(
        self,
        address: SecretUrl | str,
        token_file: Path | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._address = clear(address)
        self.base_url = masked(self._address)
        """Where it is, for people."""
        self._token_file = token_file
        # No proxy from the environment: the token is for the sidecar alone.
        self._client = httpx.Client(
            transport=transport or deadline_transport(_trust(self._address)),
            headers={"User-Agent": "tsobs"},
            follow_redirects=False,
            trust_env=False,
        )

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def text(self, request: Request) -> str:
        """The body of a 200 as text; bytes that are not UTF-8 are replaced.

        Raises:
            SidecarError: see :meth:`open`; also a body over :data:`MAX_BODY`.
        """
        with self.open(request) as chunks:
            return self._read(request, chunks).decode("utf-8", "replace")

    def json_object(self, request: Request) -> dict[str, object]:
        """The body of a 200 as a JSON object.

        Raises:
            SidecarUnavailableError: the body is no JSON object.
            SidecarError: see :meth:`open`.
        """
        value = self.json_value(request)
        if not isinstance(value, dict):
            raise SidecarUnavailableError(self._url(request), "the answer is not a JSON object", 200)
        return value

    def json_value(self, request: Request) -> object:
        """The body of a 200 as JSON; see :meth:`json_object`."""
        return self._parsed(request, self.text(request))

    def checked_json(self, request: Request, also: Literal[503]) -> tuple[int, dict[str, object]]:
        """Status and JSON object of an answer whose other status is an answer too."""
        with self._exchange(request) as response:
            if response.status_code not in {200, also}:
                self._raise_for(request, response)
            status = response.status_code
            body = self._read(request, self._chunks(request, response)).decode("utf-8", "replace")
        try:
            value = self._parsed(request, body)
        except SidecarUnavailableError:
            if status == 200:
                raise
            value = None
        return status, value if isinstance(value, dict) else {}

    @contextmanager
    def open(self, request: Request) -> Iterator[Iterator[bytes]]:
        """The body of a 200 as a stream of chunks that ends whole or raises.

        Raises:
            SidecarUnavailableError: no answer in time, a cut answer, 5xx or 429.
            SidecarRefusedError: any other status, or the token can't be read.
        """
        with self._exchange(request) as response:
            if response.status_code != 200:
                self._raise_for(request, response)
            yield self._chunks(request, response)

    @contextmanager
    def _exchange(self, request: Request) -> Iterator[httpx.Response]:
        timeout = httpx.Timeout(request.deadline_s, connect=CONNECT_TIMEOUT_S)
        headers = {"Accept-Encoding": request.coding, **self._authorization()}
        try:
            message = self._client.build_request(
                "GET",
                httpx.URL(below(self._address, request.path)).copy_merge_params(dict(request.query)),
                headers=headers,
                timeout=timeout,
            )
        except (httpx.InvalidURL, UnicodeError) as error:
            raise self._unusable(request, error) from None
        # One deadline for the whole response: a byte a second never exceeds a read timeout.
        end = time.monotonic() + request.deadline_s
        with until(end):
            response = self._send(request, message)
        response.extensions[_END] = end
        try:
            yield response
        finally:
            response.close()

    def _send(self, request: Request, message: httpx.Request) -> httpx.Response:
        try:
            try:
                return self._client.send(message, stream=True)
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError):
                # A connection of the pool that the sidecar closed meanwhile fails like this: ask once more.
                return self._client.send(message, stream=True)
        except httpx.HTTPError as error:
            raise self._broken(request, error) from None
        except (httpx.InvalidURL, UnicodeError) as error:
            raise self._unusable(request, error) from None

    def _chunks(self, request: Request, response: httpx.Response) -> Iterator[bytes]:
        """The body, whole or an error, as it was before it was packed."""
        coding = response.headers.get("content-encoding", "identity")
        chunks = self._raw_chunks(request, response)
        if coding == "identity":
            return chunks
        if coding == "gzip":
            return self._unpacked(request, chunks)
        raise SidecarUnavailableError(self._url(request), f"the answer is packed by {clean(coding)}", 200)

    def _unpacked(self, request: Request, chunks: Iterator[bytes]) -> Iterator[bytes]:
        try:
            yield from unpacked(chunks)
        except TornError as error:
            raise SidecarUnavailableError(self._url(request), str(error), 200) from None

    def _raw_chunks(self, request: Request, response: httpx.Response) -> Iterator[bytes]:
        """The body, checked for its end: httpx raises when Content-Length or chunked coding is cut short."""
        framed = "content-length" in response.headers or "transfer-encoding" in response.headers
        if not framed:
            raise SidecarUnavailableError(
                self._url(request), "the answer has no Content-Length, so that a cut would not show", 200
            )
        end = response.extensions[_END]
        chunks = response.iter_raw()
        try:
            while True:
                with until(end):
                    chunk = next(chunks, None)
                if chunk is None:
                    return
                yield chunk
                if time.monotonic() > end:
                    raise SidecarUnavailableError(
                        self._url(request), f"the answer took longer than {request.deadline_s:g} s"
                    )
        except httpx.HTTPError as error:
            raise self._broken(request, error) from None

    def _read(self, request: Request, chunks: Iterator[bytes]) -> bytes:
        held = bytearray()
        for chunk in chunks:
            held += chunk
            if len(held) > MAX_BODY:
                raise SidecarUnavailableError(self._url(request), f"the answer is over {MAX_BODY} bytes", 200)
        return bytes(held)

    def _parsed(self, request: Request, body: str) -> object:
        try:
            value: object = json.loads(body)
        except (ValueError, RecursionError):
            raise SidecarUnavailableError(self._url(request), "the answer is not JSON", 200) from None
        return value

    def _raise_for(self, request: Request, response: httpx.Response) -> None:
        status = response.status_code
        kind = SidecarUnavailableError if status >= 500 or status == 429 else SidecarRefusedError
        raise kind(self._url(request), self._reason(request, response), status)

    def _reason(self, request: Request, response: httpx.Response) -> str:
        """The ``error`` of the body, or the status's own phrase."""
        try:
            value = json.loads(next(self._chunks(request, response), b"")[:4096])
        except (ValueError, RecursionError, SidecarError):
            value = None
        error = value.get("error") if isinstance(value, dict) else None
        return clean(error) if isinstance(error, str) and error else response.reason_phrase

    def _broken(self, request: Request, error: httpx.HTTPError) -> SidecarUnavailableError:
        name = type(error).__name__
        reason = str(error) or (f"no answer within {request.deadline_s:g} s" if "Timeout" in name else name)
        if isinstance(error, httpx.TimeoutException):
            reason = f"no answer within {request.deadline_s:g} s ({name})"
        return SidecarUnavailableError(self._url(request), reason)

    def _unusable(self, request: Request, error: Exception) -> SidecarRefusedError:
        # The error's own text may repeat a part of the address.
        return SidecarRefusedError(self._url(request), f"the address can't be used ({type(error).__name__})")

    def _url(self, request: Request) -> str:
        return self.shown(request.path)

    def shown(self, path: str) -> str:
        """Where a path is, for people."""
        return masked(below(self._address, path))

    def _authorization(self) -> dict[str, str]:
        """The bearer token, read again for each request: it may be replaced while we run."""
        if self._token_file is None:
            return {}
        try:
            return {"Authorization": f"Bearer {read_token(self._token_file)}"}
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise SidecarRefusedError(
                self.base_url, f"the token file {self._token_file} can't be used: {reason}"
            ) from None
