"""Runs Prophet's backend, cmdstanpy, in one temporary folder, and keeps its output out of the logs."""

from __future__ import annotations

import contextlib
import logging
import tempfile
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from tsobs_pipelines.temporary import temporary_folder

_one_at_a_time = threading.RLock()


@contextlib.contextmanager
def stan_folder() -> Iterator[Path]:
    """A folder to hand to Prophet's ``fit`` as ``output_dir``; after the block no file of a fit is left.

    cmdstanpy makes a folder at its import, which a fit or a forecast brings about, writes its inputs there,
    and removes it when the interpreter ends; a killed process or a pool process never does. Here that folder
    is below ours and goes with it: in a process that has been in this block, a fit outside of such a block
    has nowhere to write.
    """
    with _one_at_a_time, temporary_folder() as folder:
        names = vars(_files_of_cmdstanpy(folder))
        usual = names["_TMPDIR"]  # where inputs go: there is no argument for it
        names["_TMPDIR"] = str(folder)
        try:
            yield folder
        finally:
            names["_TMPDIR"] = usual


def _files_of_cmdstanpy(folder: Path) -> ModuleType:
    """The module that writes inputs; the folder that its import makes is below ``folder``."""
    usual = tempfile.tempdir
    tempfile.tempdir = str(folder)
    try:
        from cmdstanpy.utils import filesystem  # noqa: PLC0415 - 2 s with pandas
    finally:
        tempfile.tempdir = usual
    return filesystem


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep cmdstanpy's progress and pandas' warnings about Prophet out of the logs."""
    stan = logging.getLogger("cmdstanpy")
    if not any(isinstance(handler, logging.NullHandler) for handler in stan.handlers):
        stan.addHandler(logging.NullHandler())
    was = stan.disabled
    stan.disabled = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        stan.disabled = was
