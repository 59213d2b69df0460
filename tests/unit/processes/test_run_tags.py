"""Every job has a timeout, a concurrency limit and a retry policy."""

from __future__ import annotations

from dagster._core.storage.tags import MAX_RUNTIME_SECONDS_TAG, PRIORITY_TAG, RETRY_STRATEGY_TAG

from tsobs_pipelines import run_tags
from tsobs_pipelines.definitions import defs


def test_every_job_has_its_tags() -> None:
    jobs = [job for job in defs.get_repository_def().get_all_jobs() if not job.name.startswith("__")]
    assert len(jobs) > 10
    for job in jobs:
        assert int(job.tags[MAX_RUNTIME_SECONDS_TAG]) > 0, job.name
        assert job.tags[RETRY_STRATEGY_TAG] == "ALL_STEPS", job.name
        assert job.tags[run_tags.QUEUE_TAG] in {run_tags.TICKS, run_tags.BACKFILLS}, job.name
        assert (PRIORITY_TAG in job.tags) is (job.tags[run_tags.QUEUE_TAG] == run_tags.TICKS), job.name
