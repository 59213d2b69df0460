"""The connection to InfluxDB 2: requests with retries, and errors of the store interface.

Every request here may be repeated without harm: a point written twice is one point, and so is a deletion.
"""

from __future__ import annotations

import csv
import json
import os
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import TextIOWrapper
from typing import Any, TypeAlias, TypeVar

from influxdb_client.client.influxdb_client import InfluxDBClient
from influxdb_client.domain.delete_predicate_request import DeletePredicateRequest
from influxdb_client.domain.dialect import Dialect
from influxdb_client.domain.write_precision import WritePrecision
from influxdb_client.rest import ApiException
from influxdb_client.service.delete_service import DeleteService
from influxdb_client.service.ping_service import PingService
from influxdb_client.service.write_service import WriteService
from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential
from urllib3.exceptions import HTTPError, LocationValueError

from tsobs_pipelines.secret_url import masked
from tsobs_pipelines.timeseries.store import StoreError, StoreUnavailableError

CONNECT_TIMEOUT_MS = 5_000
READ_TIMEOUT_MS = 60_000
ATTEMPTS = 3

Parameters: TypeAlias = Mapping[str, str | int | datetime | timedelta]
T = TypeVar("T")
Converter: TypeAlias = Callable[[Sequence[str]], Callable[[Sequence[str]], T]]
"""From the names of a table's columns to a function that makes something of the cells of a row."""

_DIALECT = Dialect(  # type: ignore[no-untyped-call]
    header=True, annotations=[], date_time_format="RFC3339Nano"
)
_NANOSECONDS: Any = WritePrecision.NS  # a text, and declared to be something else
_UNAUTHORISED = (401, 403)
_NOT_FOUND = 404
_NO_CONTENT = 204
_CSV = "text/csv"


@dataclass(frozen=True)
class InfluxAddress:
    """Where the time series are: server, organisation, bucket, and the token that opens it."""

    url: str
    org: str
    bucket: str
    token: str

    def __repr__(self) -> str:
        return f"InfluxAddress({masked(self.url)!r}, {self.org!r}, {self.bucket!r})"


class InfluxConnection:
    """One server for the threads of one process, and of those that it forks."""

    def __init__(self, address: InfluxAddress) -> None:
        """Keep the address; nothing is sent yet."""
        self.address = address
        self._lock = threading.Lock()
        self._client: InfluxDBClient | None = None
        self._pid = 0

    def write(self, lines: Sequence[str]) -> None:
        """Write lines of line protocol, whose times are in nanoseconds.

        Raises:
            StoreUnavailableError: no answer, or one that says "not now".
            StoreError: the server refuses the lines.
        """
        body = "\n".join(lines).encode()
        target = self.address

        def send() -> None:
            service = WriteService(self._connected().api_client)  # type: ignore[no-untyped-call]
            _check_done(
                service.post_write_with_http_info(  # type: ignore[no-untyped-call]
                    org=target.org,
                    bucket=target.bucket,
                    body=body,
                    precision=_NANOSECONDS,
                    content_type="text/plain; charset=utf-8",
                    _return_http_data_only=False,
                )
            )

        self._attempt("write", send)

    def delete(self, start_ns: int, last_ns: int, predicate: str) -> None:
        """Remove the points from ``start_ns`` to ``last_ns``, both included, that match the predicate.

        Raises:
            StoreUnavailableError: no answer, or one that says "not now".
            StoreError: the server refuses.
        """
        target = self.address

        request = DeletePredicateRequest(  # type: ignore[no-untyped-call]
            start=_rfc3339(start_ns), stop=_rfc3339(last_ns), predicate=predicate
        )

        def send() -> None:
            service = DeleteService(self._connected().api_client)  # type: ignore[no-untyped-call]
            _check_done(
                service.post_delete_with_http_info(  # type: ignore[no-untyped-call]
                    request, org=target.org, bucket=target.bucket, _return_http_data_only=False
                )
            )

        self._attempt("delete", send)

    def query(self, flux: str, parameters: Parameters, converter: Converter[T]) -> list[T]:
        """What the converter makes of each record of the answer, in the order of the answer.

        Raises:
            StoreUnavailableError: no answer, or one that says "not now".
            StoreError: the server refuses the query, or fails in the middle of its answer.
        """

        def send() -> list[T]:
            api = self._connected().query_api()
            response = api.query_raw(flux, dialect=_DIALECT, params=dict(parameters))
            response.auto_close = False  # TextIOWrapper reads on to see the end
            try:
                kind = _content_type(response.headers)
                if kind.lower() != _CSV:
                    raise _stranger(f"{response.status} with {kind}, expected {_CSV}")
                return list(_converted(csv.reader(TextIOWrapper(response, "utf-8", newline="")), converter))
            except (KeyError, IndexError, ValueError, OverflowError) as error:
                raise _stranger(f"columns or cells that nobody asked for: {_told(error)}") from None
            finally:
                response.release_conn()

        return self._attempt("query", send)

    def version(self) -> str:
        """The version that the server says it has, such as ``v2.7.12``.

        Raises:
            StoreUnavailableError: no answer, or one that says "not now".
            StoreError: the server refuses.
        """

        def send() -> str:
            service = PingService(self._connected().api_client)  # type: ignore[no-untyped-call]
            answer = service.get_ping_with_http_info(_return_http_data_only=False)  # type: ignore[no-untyped-call]
            _check_done(answer)
            return str(answer[2].get("X-Influxdb-Version", "of an unknown version"))

        return self._attempt("ping", send)

    def close(self) -> None:
        """Close what this process has opened."""
        with self._lock:
            if self._client is not None and self._pid == os.getpid():
                self._client.close()  # type: ignore[no-untyped-call]
            self._client = None

    def _connected(self) -> InfluxDBClient:
        with self._lock:
            if self._client is None or self._pid != os.getpid():
                # A fork shares its parent's sockets, and two processes would read one another's answers.
                url, _, query = self.address.url.partition("?")
                self._client = InfluxDBClient(
                    url,
                    self.address.token,
                    org=self.address.org,
                    timeout=(CONNECT_TIMEOUT_MS, READ_TIMEOUT_MS),
                    connection_pool_maxsize=8,
                )
                if query:
                    _append_query(self._client, query)
                self._pid = os.getpid()
                # Left to the end of the interpreter, the library complains on stderr.
                weakref.finalize(self, self._client.close)
            return self._client

    def _attempt(self, action: str, send: Callable[[], T]) -> T:
        retrying = Retrying(
            retry=retry_if_exception_type(StoreUnavailableError),
            stop=stop_after_attempt(ATTEMPTS),
            wait=wait_random_exponential(multiplier=0.2, max=2),
            reraise=True,
        )

        def once() -> T:
            with self._explained(action):
                return send()

        return retrying(once)

    @contextmanager
    def _explained(self, action: str) -> Iterator[None]:
        where = f"InfluxDB {masked(self.address.url)}: {action}"
        try:
            yield
        except ApiException as error:
            raise self._error_of(where, error) from None
        except StoreError as error:
            raise type(error)(self._without_token(f"{where}: {error}")) from None
        except UnicodeDecodeError:
            # The library decodes a page before it looks at its status.
            raise StoreUnavailableError(f"{where}: {_stranger('a page that is not UTF-8')}") from None
        except LocationValueError:
            raise StoreError(f"{where}: the address can't be used") from None
        except (HTTPError, OSError) as error:
            # urllib3's text names hosts, ports and reasons; headers, and so the token, are not in it.
            raise StoreUnavailableError(self._without_token(f"{where}: {error}")) from None
        except csv.Error as error:
            raise StoreError(f"{where}: the answer is no CSV: {error}") from None

    def _error_of(self, where: str, error: ApiException) -> StoreError:
        status = error.status or 0
        said = _message_of(error.body) or str(error.reason or "no reason given")
        if status in _UNAUTHORISED:
            return StoreError(
                f"{where}: {status}, the token (INFLUXDB_V2_TOKEN) is not accepted for "
                f"organisation {self.address.org!r} and bucket {self.address.bucket!r}"
            )
        if status == _NOT_FOUND or "organization name" in said:
            return StoreError(
                f"{where}: {status}, no bucket {self.address.bucket!r} (TSOBS_INFLUX_BUCKET) in "
                f"organisation {self.address.org!r} (INFLUXDB_V2_ORG): {self._without_token(said)}"
            )
        text = self._without_token(f"{where}: {status}, {said}")
        if status in (0, 408, 429) or status >= 500:
            return StoreUnavailableError(text)
        return StoreError(text)

    def _without_token(self, text: str) -> str:
        return text.replace(self.address.token, "***")


def _append_query(client: InfluxDBClient, query: str) -> None:
    """Have each request carry the query of the address: the library appends its paths to the address."""
    pool = client.api_client.rest_client.pool_manager
    request = pool.request

    def with_query(method: str, url: str, **options: Any) -> Any:  # noqa: ANN401 - the library's own
        return request(method, f"{url}{'&' if '?' in url else '?'}{query}", **options)

    pool.request = with_query  # type: ignore[method-assign, assignment]


def _check_done(answer: tuple[object, int, Mapping[str, str]]) -> None:
    """Make sure that a request without an answer was taken: InfluxDB says 204, a login page 200."""
    _, status, headers = answer
    if status != _NO_CONTENT:
        raise _stranger(f"{status} with {_content_type(headers)}, expected 204")


def _content_type(headers: Mapping[str, str]) -> str:
    return str(headers.get("Content-Type", "no content type")).partition(";")[0].strip()[:80]


def _stranger(what: str) -> StoreUnavailableError:
    """Whoever answered may be gone in a moment, as a proxy's page is: nothing was read or written."""
    return StoreUnavailableError(f"not an answer of InfluxDB: {what}; is INFLUXDB_V2_URL right?")


def _told(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


def _converted(reader: Iterator[list[str]], converter: Converter[T]) -> Iterator[T]:
    # Tables with other columns are set apart by an empty line, and begin with the names of the columns.
    convert: Callable[[Sequence[str]], T] | None = None
    failed = False
    for cells in reader:
        if failed and any(cells):
            raise StoreError(f"the query failed: {next(filter(None, cells))}")
        # A query that fails after its first rows can't change the status any more: it sends these columns.
        failed = failed or [name for name in cells if name] == ["error", "reference"]
        if not cells:
            convert = None
        elif failed or cells[0].startswith("#"):
            continue
        elif convert is None:
            convert = converter(cells)
        else:
            yield convert(cells)
    if failed:
        raise StoreUnavailableError("the query failed, and the answer ends before it says why")


def _message_of(body: object) -> str:
    try:
        parsed: Any = json.loads(body)  # type: ignore[arg-type]
        message = parsed["message"]
        return message.strip().splitlines()[0][:300] if isinstance(message, str) else ""
    except (ValueError, TypeError, KeyError, IndexError, RecursionError):
        return ""


def _rfc3339(nanoseconds: int) -> str:
    seconds, rest = divmod(nanoseconds, 1_000_000_000)
    return f"{(datetime(1970, 1, 1) + timedelta(seconds=seconds)).isoformat()}.{rest:09d}Z"  # noqa: DTZ001
