"""Costly results of tests, made once for all processes of a test run."""

import functools
import os
import pathlib
import pickle
import shutil
import tempfile

import filelock

# Set by the first process of a test run; its workers inherit it.
_RUN = os.environ.setdefault("KERAS_EFFICIENTNET_TEST_RUN", str(os.getpid()))
_ROOT = pathlib.Path(tempfile.gettempdir()) / f"keras_efficientnet-tests-{_RUN}"


def shared(make):
    """Decorates a function of an empty folder, whose result can be pickled.

    Whoever of the processes comes first calls it; the others wait for the result.
    """

    @functools.cache
    def get():
        folder = _ROOT / make.__name__
        folder.mkdir(parents=True, exist_ok=True)
        result = folder.with_suffix(".pickle")
        with filelock.FileLock(folder.with_suffix(".lock")):
            if not result.exists():
                result.write_bytes(pickle.dumps(make(folder)))
        return pickle.loads(result.read_bytes())

    return get


def remove():
    """Removes the results, in the process that all others have come from."""
    if str(os.getpid()) == _RUN:
        shutil.rmtree(_ROOT, ignore_errors=True)
