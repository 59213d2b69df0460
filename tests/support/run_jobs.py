"""Jobs for tests of runs: they do nothing, leave a mark or files, use time or memory, or ignore signals."""

import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import dagster as dg


@dg.op
def nothing() -> None:
    """Do nothing."""


@dg.op(config_schema={"seconds": float})
def sleep(context: dg.OpExecutionContext) -> None:
    """Take as long as the run's configuration says."""
    time.sleep(context.op_config["seconds"])


@dg.op(config_schema={"seconds": float})
def stubborn(context: dg.OpExecutionContext) -> None:
    """The same, deaf to interrupts."""
    with_default = signal.signal(signal.SIGINT, signal.SIG_IGN)
    end = time.monotonic() + context.op_config["seconds"]
    while time.monotonic() < end:
        time.sleep(0.1)
    signal.signal(signal.SIGINT, with_default)


@dg.op
def fill_memory() -> None:
    """Hold 150 MB for a moment, as forecasting does."""
    held = bytearray(150_000_000)
    held[::4096] = b"x" * len(held[::4096])


@dg.op(config_schema={"file": str})
def mark(context: dg.OpExecutionContext) -> None:
    """Append the first attempt's and this run's id to a file: a line for each execution."""
    line = f"{context.run.root_run_id or context.run_id} {context.run_id}\n"
    with Path(context.op_config["file"]).open("ab", buffering=0) as marks:
        marks.write(line.encode())


@dg.op(config_schema={"seconds": float, "ending": str})
def litter(context: dg.OpExecutionContext) -> None:
    """Leave files in the temporary folder, as libraries and programs do, and end in this way."""
    Path(tempfile.mkdtemp(), "of a library").write_text(context.run_id, "utf-8")
    subprocess.run(["mktemp", "-d"], check=True, capture_output=True)
    time.sleep(context.op_config["seconds"])
    if context.op_config["ending"] == "exit":
        os._exit(1)
    if context.op_config["ending"] == "failure":
        msg = "as told"
        raise dg.Failure(msg, allow_retries=False)


@dg.job(executor_def=dg.in_process_executor)
def littering_job() -> None:
    """One op that leaves files in the temporary folder."""
    litter()


@dg.job(executor_def=dg.in_process_executor)
def no_op_job() -> None:
    """Nothing at all."""
    nothing()


@dg.job(executor_def=dg.in_process_executor)
def sleeping_job() -> None:
    """One op that sleeps."""
    sleep()


@dg.job(executor_def=dg.in_process_executor)
def retrying_job() -> None:
    """One op that sleeps, and is tried again when it fails."""
    sleep.with_retry_policy(dg.RetryPolicy(max_retries=2, delay=0.1))()


@dg.job(executor_def=dg.in_process_executor)
def marking_job() -> None:
    """One op that leaves a mark."""
    mark()


@dg.job(executor_def=dg.in_process_executor)
def large_job() -> None:
    """One op that needs much memory."""
    fill_memory()


@dg.job(executor_def=dg.in_process_executor)
def stubborn_job() -> None:
    """One op that can't be interrupted."""
    stubborn()


JOBS = (no_op_job, sleeping_job, retrying_job, marking_job, large_job, stubborn_job, littering_job)

defs = dg.Definitions(jobs=JOBS)
