"""Jobs for run workers under test: one that does nothing, one that takes its time, one that won't listen."""

import signal
import time

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


@dg.job(executor_def=dg.in_process_executor)
def no_op_job() -> None:
    """Nothing at all."""
    nothing()


@dg.job(executor_def=dg.in_process_executor)
def sleeping_job() -> None:
    """One op that sleeps."""
    sleep()


@dg.job(executor_def=dg.in_process_executor)
def stubborn_job() -> None:
    """One op that can't be interrupted."""
    stubborn()


defs = dg.Definitions(jobs=[no_op_job, sleeping_job, stubborn_job])
