"""When a forecast counts as degraded: the number that the verdict and its alert rule share.

What belongs here: what ``forecasting`` and ``alerting`` must agree on. What does not: either's judgement.
"""

DEGRADED_FACTOR = 2.0
"""A forecast is degraded while its MAE is strictly above this multiple of its baseline."""
