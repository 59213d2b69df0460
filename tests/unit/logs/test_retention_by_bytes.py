"""Logs are kept by days and by bytes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from tsobs_pipelines.logs.maintenance import maintain

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)


def test_the_oldest_days_go_when_all_together_are_too_many_bytes(tmp_path: Path) -> None:
    for days in range(5):
        day = NOW - timedelta(days=days)
        line = f'{{"timestamp":"{day:%Y-%m-%d}T00:00:00Z","message":"{days}"}}\n'.encode()
        (tmp_path / f"tsobs-{day:%Y-%m-%d}.jsonl").write_bytes(line * 100)
    (tmp_path / "of-a-person.txt").write_bytes(b"x" * 10_000)
    sizes = {path.name: path.stat().st_size for path in tmp_path.glob("tsobs-*")}
    today = sizes[f"tsobs-{NOW:%Y-%m-%d}.jsonl"]
    done = maintain(tmp_path, NOW, 30, most_bytes=today * 2)
    assert [str(day) for day in done.removed] == sorted(str(day) for day in done.removed)
    left = sum(path.stat().st_size for path in tmp_path.glob("tsobs-*"))
    assert left <= today * 2
    assert maintain(tmp_path, NOW, 30, most_bytes=1).removed
    assert [path.name for path in tmp_path.glob("tsobs-*")] == [f"tsobs-{NOW:%Y-%m-%d}.jsonl"]
    assert (tmp_path / "of-a-person.txt").exists()
