"""When the supervisor restarts a process, and how long it waits for it."""

from __future__ import annotations

from tsobs_pipelines.processes.children import LONGEST_PAUSE_S, READY_TIMEOUT_S, Attempts
from tsobs_pipelines.processes.parts import Part
from tsobs_pipelines.processes.supervisor import Plan


def test_pauses_grow_and_are_forgotten_after_a_minute_of_good_health() -> None:
    attempts = Attempts()
    now, pauses = 0.0, []
    for _ in range(7):
        attempts.begin(now)
        pauses.append(attempts.end(now + 1))
        assert attempts.due == now + 1 + pauses[-1]
        now = attempts.due
    assert pauses == [1, 2, 4, 8, 16, LONGEST_PAUSE_S, LONGEST_PAUSE_S]
    attempts.begin(now)
    assert attempts.end(now + 61) == 1


def test_a_part_that_is_slow_is_given_more_time() -> None:
    attempts = Attempts()
    attempts.begin(0)
    assert attempts.overdue(READY_TIMEOUT_S - 1) is None
    assert attempts.overdue(READY_TIMEOUT_S) == READY_TIMEOUT_S
    attempts.begin(1000)
    assert attempts.overdue(1000 + READY_TIMEOUT_S) is None
    assert attempts.overdue(1000 + 2 * READY_TIMEOUT_S) == 2 * READY_TIMEOUT_S
    attempts.ready = True
    assert attempts.overdue(1e9) is None


def test_a_plan_survives_the_environment() -> None:
    plan = Plan((Part("code", "a.b:main", "/s", ("logs",)), Part("logs", "c:main")), "/f", 1.5, "up ({} s)")
    environment = plan.environment() | {"HOME": "/"}
    assert Plan.take(environment) == plan
    assert environment == {"HOME": "/"}
