"""Expensive results, computed once for all processes of a test run."""

import functools
import os
import pathlib
import pickle
import shutil
import tempfile

import filelock

# Set by the first process of a test run and inherited by its workers.
_RUN = os.environ.setdefault("KERAS_EFFICIENTNET_TEST_RUN", str(os.getpid()))
_ROOT = pathlib.Path(tempfile.gettempdir()) / f"keras_efficientnet-tests-{_RUN}"


def shared(make):
    """Decorates a function that takes an empty folder and returns a picklable result.

    The first process that needs the result calls the function; the others wait.
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
    """Deletes the results, if called by the first process of the test run."""
    if str(os.getpid()) == _RUN:
        shutil.rmtree(_ROOT, ignore_errors=True)
