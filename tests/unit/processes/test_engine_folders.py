"""The folder broker: nothing is lost, nothing is worked on twice, and nobody polls."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from kombu import Connection, Consumer, Exchange, Producer, Queue

import tsobs_pipelines.engine.broker  # noqa: F401 - makes the transport known to kombu
from tsobs_pipelines.engine.folders import give_back, waiting
from tsobs_pipelines.engine.presence import Pulse, living, take_the_dead

QUEUE = Queue("ticks", Exchange(""), routing_key="ticks")


@contextmanager
def connected(root: Path, worker: str = "nobody") -> Iterator[Connection]:
    with Connection("folders://", transport_options={"folder": str(root), "worker": worker}) as connection:
        yield connection


def send(root: Path, *bodies: str) -> None:
    with connected(root) as connection:
        producer = Producer(connection)
        for body in bodies:
            producer.publish(body, routing_key="ticks", serializer="json", declare=[QUEUE])


def receive(connection: Connection, *, acknowledge: bool = True) -> str:
    """The next message within 5 s."""
    got: list[str] = []

    def take(body: str, message: object) -> None:
        got.append(body)
        if acknowledge:
            message.ack()  # type: ignore[attr-defined]

    with Consumer(connection, [QUEUE], callbacks=[take], accept=["json"]):
        connection.drain_events(timeout=5)
    return got[0]


def test_messages_come_in_order_and_are_gone_when_acknowledged(tmp_path: Path) -> None:
    send(tmp_path, "one", "two", "three")
    with connected(tmp_path, "me") as connection:
        assert [receive(connection) for _ in range(3)] == ["one", "two", "three"]
    assert not list((tmp_path / "taken" / "me" / "ticks").iterdir())
    assert waiting(tmp_path / "messages" / "ticks") == []


def test_a_waiting_worker_is_woken_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tsobs_pipelines.engine.folders.LOOK_AGAIN_S", 60.0)
    with connected(tmp_path, "me") as connection:
        sender = threading.Timer(0.3, send, (tmp_path, "hello"))
        sender.start()
        begun = time.monotonic()
        assert receive(connection) == "hello"
        assert time.monotonic() - begun < 4, "it looked again on its own, at the end of the 5 s"
        sender.join()


def test_a_message_of_a_dead_worker_is_delivered_again(tmp_path: Path) -> None:
    send(tmp_path, "precious")
    dead = Connection("folders://", transport_options={"folder": str(tmp_path), "worker": "dead"})
    assert receive(dead, acknowledge=False) == "precious"
    assert waiting(tmp_path / "messages" / "ticks") == []
    assert give_back(tmp_path, "dead") == ["ticks"]
    with connected(tmp_path, "heir") as connection:
        assert receive(connection) == "precious"
    dead.release()


def test_a_worker_that_ends_in_good_order_puts_its_message_back(tmp_path: Path) -> None:
    send(tmp_path, "later")
    with connected(tmp_path, "me") as connection:
        channel = connection.default_channel
        message = channel.basic_get("ticks")
        assert message is not None
        channel.qos.restore_unacked()
    assert len(waiting(tmp_path / "messages" / "ticks")) == 1


def test_two_workers_share_a_queue_without_a_message_twice(tmp_path: Path) -> None:
    bodies = [f"message {number}" for number in range(200)]
    got: list[str] = []

    def work(name: str) -> None:
        with connected(tmp_path, name) as connection:
            while waiting(tmp_path / "messages" / "ticks") or sender.is_alive():
                try:
                    got.append(receive(connection))
                except TimeoutError:
                    return

    sender = threading.Thread(target=send, args=(tmp_path, *bodies))
    workers = [threading.Thread(target=work, args=(name,)) for name in ("a", "b")]
    for thread in (sender, *workers):
        thread.start()
    for thread in (sender, *workers):
        thread.join(30)
    assert sorted(got) == sorted(bodies)


def test_only_a_dead_worker_is_taken(tmp_path: Path) -> None:
    with living(tmp_path, "ticks-1@host"):
        (tmp_path / "ticks-2@host").touch()
        assert list(take_the_dead(tmp_path)) == ["ticks-2@host"]
        assert list(take_the_dead(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []


class Hearts:
    """Heartbeats in memory."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}

    def set(self, key: str, value: str) -> None:
        self.values[key] = value

    def get(self, key: str) -> bytes | None:
        value = self.values.get(key)
        return None if value is None else value.encode()

    def delete(self, key: str) -> None:
        self.values.pop(key, None)


@pytest.mark.parametrize("last", ["1", None])
def test_a_heart_that_stands_still_is_noticed_by_the_watchers_own_clock(last: str | None) -> None:
    hearts = Hearts()
    pulse = Pulse(hearts)
    hearts.set("tsobs-worker-w", "0")
    assert pulse.silent_for("w", 100.0) == 0
    if last is not None:
        hearts.set("tsobs-worker-w", last)
    else:
        hearts.delete("tsobs-worker-w")
    assert pulse.silent_for("w", 110.0) == 0
    assert pulse.silent_for("w", 140.0) == 30
