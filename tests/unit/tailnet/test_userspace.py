"""Whether this machine's loopback is private."""

from __future__ import annotations

from pathlib import Path

import pytest

from tsobs_pipelines.secret_url import SecretUrl
from tsobs_pipelines.tailnet.userspace import on_loopback, userspace_daemon_here


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8765", True),
        ("http://u:p@localhost:8765", True),
        ("http://[::1]:8765", True),
        ("http://tailscale:8765", False),
        ("http://10.0.0.1:8765", False),
    ],
)
def test_whose_address_it_is(url: str, expected: bool) -> None:
    assert on_loopback(SecretUrl(url)) == expected


@pytest.mark.parametrize(
    ("command", "namespace", "expected"),
    [
        ("tailscaled\0--tun=userspace-networking\0", "own", True),
        ("/usr/sbin/tailscaled\0--state=x\0--tun\0userspace-networking\0", "own", True),
        ("/usr/sbin/tailscaled\0--tun=userspace-networking\0", "another", False),
        ("/usr/sbin/tailscaled\0--tun=tailscale0\0", "own", False),
        ("vi\0--tun=userspace-networking\0", "own", False),
        ("", "own", False),
    ],
)
def test_a_daemon_in_userspace_mode_is_seen(
    tmp_path: Path, command: str, namespace: str, expected: bool
) -> None:
    process = tmp_path / "17"
    (process / "ns").mkdir(parents=True)
    (process / "cmdline").write_text(command)
    own = Path("/proc/self/ns/net").readlink()
    (process / "ns" / "net").symlink_to(own if namespace == "own" else "net:[1]")
    assert userspace_daemon_here(tmp_path) == expected
