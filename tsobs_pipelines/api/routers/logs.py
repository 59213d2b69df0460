"""The route that searches the logs of all processes."""

from __future__ import annotations

from typing import Annotated, Literal

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from tsobs_pipelines.api.errors import UnavailableError, documented
from tsobs_pipelines.api.payload import Payload
from tsobs_pipelines.api.routers.access import UNKEPT, InContext
from tsobs_pipelines.api.schemas import LogsAnswer
from tsobs_pipelines.logs.matching import HIGHEST_LIMIT, LONGEST_HOURS, SHORTEST_RUN_ID, LogQuery
from tsobs_pipelines.logs.search import LogResult

router = APIRouter(prefix="/logs", tags=["logs"])

Level = Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]

_searches = CapacityLimiter(2)
"""A search may read a gigabyte: two at once leave the processor to the other routes."""


class LogParameters(BaseModel):
    """What to look for; what is absent or empty always holds."""

    level: Level = Field("ERROR", description="this level and those above it")
    hours: int = Field(24, ge=1, le=LONGEST_HOURS, description="how far back")
    limit: int = Field(100, ge=1, le=HIGHEST_LIMIT, description="at most so many")
    q: str = Field("", max_length=200, description="plain text anywhere in the record")
    logger: str = Field("", max_length=200, description="name of a logger, or of its parent")
    user: str = Field("", max_length=320, description="Tailscale login")
    run_id: str = Field(
        "", max_length=36, pattern=f"^(.{{{SHORTEST_RUN_ID},}})?$", description="Dagster run, or its start"
    )

    def query(self) -> LogQuery:
        """The same for the search."""
        texts = (self.q, self.logger, self.user, self.run_id)
        return LogQuery(self.level, self.hours, self.limit, *(text or None for text in texts))


@router.get("/search", response_model=LogsAnswer, responses=documented(422, 503))
async def search(request: Request, context: InContext, wanted: Annotated[LogParameters, Query()]) -> Response:
    """Log records of every process, newest first."""
    query = wanted.query()
    parts = context.parts

    def find() -> Payload:
        try:
            return _payload(parts.search_logs(query, parts.clock()))
        except OSError as error:
            raise UnavailableError(f"the logs can't be read: {error.strerror}") from error

    payload = await to_thread.run_sync(find, limiter=_searches)
    return payload.response(request, UNKEPT)


def _payload(found: LogResult) -> Payload:
    return Payload.of_json(found.as_answer())
