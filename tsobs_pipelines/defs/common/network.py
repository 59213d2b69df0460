"""Network errors in steps: transient ones are retried, all others fail at once."""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import dagster as dg

from tsobs_pipelines.tailnet.client import SidecarUnavailableError
from tsobs_pipelines.timeseries.store import StoreUnavailableError

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

NETWORK_RETRIES = dg.RetryPolicy(max_retries=2, delay=1.0, backoff=dg.Backoff.EXPONENTIAL)


def over_network(
    action: Callable[_Arguments, _Result], *args: _Arguments.args, **kwargs: _Arguments.kwargs
) -> _Result:
    """Call ``action``: what may pass is left to the step's retry policy, anything else fails at once."""
    try:
        return action(*args, **kwargs)
    except (SidecarUnavailableError, StoreUnavailableError) as error:
        raise dg.Failure(str(error), allow_retries=True) from error
    except Exception as error:
        raise dg.Failure(f"{type(error).__name__}: {error}", allow_retries=False) from error
