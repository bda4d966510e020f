import dataclasses

import numpy as np
import pytest

from tests.support.training_runs import thread_workers, tiny_run
from training.data import sources
from training.engine.cluster import agreement


def pair(check, *arguments):
    """Runs a check on two workers, each with its own argument."""
    actions = [lambda w, a=a: check(w, a) for a in arguments]
    first, second = thread_workers.run(actions)
    assert str(first) == str(second)
    return first


def test_accepts_equal_configurations():
    assert pair(agreement.check_config, tiny_run.TINY, tiny_run.TINY) is None


@pytest.mark.parametrize(
    ("field", "value"), [("lr_per_256", 0.2), ("seed", 7), ("label_smoothing", 0.0)]
)
def test_rejects_different_configurations(field, value):
    other = dataclasses.replace(tiny_run.TINY, **{field: value})
    error = pair(agreement.check_config, tiny_run.TINY, other)
    assert isinstance(error, ValueError)
    was = getattr(tiny_run.TINY, field)
    assert f"Received: `{field}` is {value!r} on worker 1 and {was!r} on" in str(error)


def test_rejects_different_package_versions(monkeypatch):
    versions = iter(["1.0", "1.1"])

    class Package:
        @property
        def __version__(self):
            return next(versions)

    monkeypatch.setattr(agreement, "keras_efficientnet", Package())
    error = pair(agreement.check_config, tiny_run.TINY, tiny_run.TINY)
    assert "version is " in str(error)
    assert {"1.0", "1.1"} <= set(str(error).split())


def source(names=("a", "b"), labels=(0, 1, 1), brightness=0):
    images = np.full((3, 4, 4, 3), brightness, np.uint8)
    parts = {"train": (images, np.array(labels)), "validation": (images[:1], [0])}
    return sources.arrays(parts, names)


def test_accepts_equal_sources():
    assert pair(agreement.check_source, source(), source()) is None


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"names": ("a", "c")}, "`class_names`"),
        ({"labels": (0, 0, 1)}, "train"),
        ({"brightness": 1}, "train"),
    ],
)
def test_rejects_different_sources(changes, named):
    error = pair(agreement.check_source, source(), source(**changes))
    message = f"All workers must have the same data. Received: {named} is "
    assert str(error).startswith(message), error
    assert "on worker 1 and" in str(error)


def test_accepts_data_in_different_folders(tmp_path):
    for place in ("here", "there/deeper"):
        for name in ("cat", "dog"):
            for i in range(20):
                path = tmp_path / place / name / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(bytes([i]))
    here, there = (
        sources.load(f"folder:{tmp_path / place}", data_dir=None)
        for place in ("here", "there/deeper")
    )
    assert pair(agreement.check_source, here, there) is None
    (tmp_path / "there/deeper/dog/3.png").rename(tmp_path / "there/deeper/dog/33.png")
    moved = sources.load(f"folder:{tmp_path / 'there/deeper'}", data_dir=None)
    assert "digest" in str(pair(agreement.check_source, here, moved))


def test_accepts_a_shared_folder_and_leaves_no_file(tmp_path):
    folder = tmp_path / "run"
    assert pair(agreement.check_shared, folder, folder) is None
    assert list(folder.iterdir()) == []


def test_rejects_folders_that_are_not_shared(tmp_path, monkeypatch):
    monkeypatch.setattr(agreement, "SHARED_WITHIN_S", 0.3)
    folders = [tmp_path / "0", tmp_path / "1"]
    # A file left by an earlier run does not count.
    folders[1].mkdir()
    (folders[1] / agreement.TOKEN).write_text("0123456789abcdef")
    actions = [lambda w, f=f: agreement.check_shared(w, f) for f in folders]
    for error in thread_workers.run(actions):
        assert isinstance(error, ValueError)
        assert "all workers share. worker 1 cannot read what worker 0" in str(error)


def test_waits_for_a_file_system_that_shows_files_late(tmp_path, monkeypatch):
    monkeypatch.setattr(agreement, "SHARED_WITHIN_S", 5)
    read_text, calls = type(tmp_path).read_text, []

    def late(self, *args, **options):
        calls.append(self)
        if len(calls) < 6:
            raise FileNotFoundError(2, "No such file")
        return read_text(self, *args, **options)

    monkeypatch.setattr(type(tmp_path), "read_text", late)
    assert pair(agreement.check_shared, tmp_path, tmp_path) is None
    assert len(calls) >= 6
