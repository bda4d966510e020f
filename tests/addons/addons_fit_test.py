"""`model.fit` with components of TensorFlow Addons, on several replicas."""

import json
import os
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest

import keras_efficientnet
from tests.support.paths import ROOT


def start(folder, task=None):
    folder.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment.pop("TF_CONFIG", None)
    if task:
        environment["TF_CONFIG"] = json.dumps(task)
    return subprocess.Popen(
        [sys.executable, str(ROOT / "tests/addons/fit_run.py"), str(folder)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    out, error = process.communicate(timeout=1200)
    assert process.returncode == 0, error[-3000:]
    return json.loads(out.splitlines()[-1])


def free_ports(count):
    holders = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [holder.getsockname()[1] for holder in holders]
    for holder in holders:
        holder.close()
    return ports


@pytest.fixture(scope="module")
def mirrored(tmp_path_factory):
    """Report of a run on two replicas in one process, and its folder."""
    folder = tmp_path_factory.mktemp("mirrored") / "run"
    return finish(start(folder)), folder


def arrays(path):
    with np.load(path) as file:
        return [file[name] for name in file.files]


def test_loss_falls_on_two_replicas(mirrored):
    report, _ = mirrored
    assert report["replicas"] == 2
    assert report["loss"][-1] < report["loss"][0]
    assert 0 < report["f1_score"][0] < report["f1_score"][-1] <= 1


def test_checkpoint_holds_the_moving_average(mirrored):
    _, folder = mirrored
    saved = keras.models.load_model(folder / "average-2.keras", compile=False)
    averages, live = arrays(folder / "averages.npz"), arrays(folder / "live.npz")
    weights = [weight.numpy() for weight in saved.trainable_weights]
    for weight, average in zip(weights, averages, strict=True):
        np.testing.assert_array_equal(weight, average)
    assert any(np.abs(a - b).max() > 1e-3 for a, b in zip(averages, live, strict=True))


def test_checkpoint_loads_as_a_weight_file(mirrored):
    _, folder = mirrored
    model = keras_efficientnet.EfficientNet(
        0.25, 0.1, 32, classes=4, weights=folder / "average-2.keras"
    )
    found = [weight.numpy() for weight in model.trainable_weights]
    for weight, average in zip(found, arrays(folder / "averages.npz"), strict=True):
        np.testing.assert_array_equal(weight, average)


def test_two_workers_end_with_equal_weights(tmp_path):
    workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
    running = [
        start(
            tmp_path / str(index),
            {
                "cluster": {"worker": workers},
                "task": {"type": "worker", "index": index},
            },
        )
        for index in range(2)
    ]
    for report in [finish(process) for process in running]:
        assert report["replicas"] == 2
        assert report["loss"][-1] < report["loss"][0]
    for name in ("live.npz", "averages.npz"):
        pair = [arrays(tmp_path / str(index) / name) for index in range(2)]
        for one, other in zip(*pair, strict=True):
            np.testing.assert_array_equal(one, other)
