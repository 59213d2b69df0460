"""Files under ``TSOBS_MODELS_DIR``: the local disk, or any file system that fsspec knows."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from tsobs_pipelines.secret_url import MASK, SecretUrl, clear, masked
from tsobs_pipelines.setting_values import shown_value
from tsobs_pipelines.settings import Settings, SettingsError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem


@dataclass(frozen=True, slots=True)
class FileState:
    """What tells one state of a file from another."""

    identity: tuple[int, int]
    size: int
    changed_ns: int


class FileSystem(Protocol):
    """Files below one root, by relative name."""

    def describe(self, name: str) -> str:
        """Where the file is, for people."""
        ...

    def state(self, name: str) -> FileState | None:
        """The file's state, ``None`` when there is no such file."""
        ...

    def read(self, name: str, offset: int = 0) -> bytes:
        """The file from ``offset`` on.

        Raises:
            FileNotFoundError: there is no such file.
        """
        ...

    def replace(self, name: str, data: bytes) -> None:
        """Make ``data`` the whole file; a reader sees the old file or the new one."""
        ...

    def below(self, folder: str) -> list[str]:
        """The sorted names of all files in the folder and its subfolders; none where there is no folder."""
        ...

    def remove(self, name: str) -> None:
        """Remove the file, if there is one."""
        ...

    def local_path(self, name: str) -> Path | None:
        """The file's path where it is on the local disk, else ``None``."""
        ...


class LocalFiles:
    """Files on the local disk."""

    def __init__(self, root: Path) -> None:
        """Files below ``root``, which is made when something is written."""
        self._root = root

    def describe(self, name: str) -> str:
        """The path."""
        return str(self._root / name)

    def state(self, name: str) -> FileState | None:
        """Inode, size and time of change."""
        try:
            found = (self._root / name).stat()
        except FileNotFoundError:
            return None
        return FileState((found.st_dev, found.st_ino), found.st_size, found.st_mtime_ns)

    def read(self, name: str, offset: int = 0) -> bytes:
        """The bytes from ``offset`` on."""
        with (self._root / name).open("rb") as file:
            file.seek(offset)
            return file.read()

    def replace(self, name: str, data: bytes) -> None:
        """Write a file beside it, flush it to the disk, and rename it."""
        path = self._root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with draft.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)

    def below(self, folder: str) -> list[str]:
        """Names with slashes."""
        files = (path for path in (self._root / folder).rglob("*") if path.is_file())
        return sorted(path.relative_to(self._root).as_posix() for path in files)

    def remove(self, name: str) -> None:
        """Unlink it; its folder stays."""
        (self._root / name).unlink(missing_ok=True)

    def local_path(self, name: str) -> Path:
        """The path."""
        return self._root / name


class RemoteFiles:
    """Files on a file system of fsspec: an object store takes each as a whole."""

    def __init__(self, url: str) -> None:
        """Files below ``url``, for example ``s3://bucket/models``."""
        self._url = url.rstrip("/")
        self._fs, self._root = _file_system(self._url)

    def describe(self, name: str) -> str:
        """The URL, without credentials."""
        return f"{masked(self._url)}/{name}"

    def state(self, name: str) -> FileState | None:
        """The size: enough to see that there is one; nobody may conclude from it that nothing changed."""
        self._fs.invalidate_cache()
        try:
            size = int(self._fs.info(self._path(name))["size"])
        except FileNotFoundError:
            return None
        return FileState((0, 0), size, 0)

    def read(self, name: str, offset: int = 0) -> bytes:
        """The bytes from ``offset`` on."""
        data: bytes = self._fs.cat_file(self._path(name), start=offset)
        return data

    def replace(self, name: str, data: bytes) -> None:
        """One upload."""
        self._fs.makedirs(self._path(name).rpartition("/")[0], exist_ok=True)
        self._fs.pipe_file(self._path(name), data)

    def below(self, folder: str) -> list[str]:
        """One listing, past what fsspec remembers of an earlier one."""
        self._fs.invalidate_cache()
        try:
            paths: list[str] = self._fs.find(self._path(folder))
        except FileNotFoundError:
            return []
        return sorted(path.removeprefix(f"{self._root}/") for path in paths)

    def remove(self, name: str) -> None:
        """One deletion."""
        try:
            self._fs.rm_file(self._path(name))
        except FileNotFoundError:
            return

    def local_path(self, name: str) -> None:
        """Not on the local disk."""
        del name

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"


def _file_system(url: str) -> tuple[AbstractFileSystem, str]:
    from fsspec.core import url_to_fs  # noqa: PLC0415 - needed for remote files only

    try:
        files, root = url_to_fs(url)
    except Exception as error:  # noqa: BLE001 - each file system of fsspec has errors of its own
        # fsspec's own text names the package that is lacking, or the protocol that nobody knows.
        said = f"{error}" if isinstance(error, ImportError | ValueError) else type(error).__name__
        for secret in SecretUrl(url).credentials():
            said = said.replace(secret, MASK)
        shown = shown_value(masked(url))
        raise SettingsError(
            f"TSOBS_MODELS_DIR={shown}: expected a path or an address that fsspec can open "
            f"({' '.join(said.split())[:200]})"
        ) from None
    return files, str(root)


def check_models_dir(settings: Settings) -> None:
    """Make sure that models can be kept where the settings say; a local directory is made if need be.

    Raises:
        SettingsError: they can't.
    """
    place = settings.local_models
    if place is None:
        open_files(settings.models_dir)
        return
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingsError(
            f"TSOBS_MODELS_DIR={shown_value(str(place), 300)}: expected a directory, or a path where one can "
            f"be made ({error.strerror})"
        ) from None


def open_files(place: SecretUrl | str) -> FileSystem:
    """The files below ``place``: a path, ``file://…``, or another URL of fsspec.

    Raises:
        SettingsError: fsspec can't open it.
    """
    root = clear(place)
    if "://" not in root:
        return LocalFiles(Path(root))
    if root.startswith("file://"):
        return LocalFiles(Path(root.removeprefix("file://")))
    return RemoteFiles(root)
