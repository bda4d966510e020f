import dataclasses
import json
import signal
import time

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import average_precision_score

from tests.support.training_runs import tiny_run
from tests.support.training_runs.tiny_run import STEPS, UNEVEN
from tests.training.engine.cluster import recorded
from training import evaluate
from training.engine import distribution, trainer

LAUNCHED = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "EFFICIENTNET_WORKERS")


@pytest.fixture
def environment(monkeypatch):
    for name in ("TF_CONFIG", "TPU_NAME", "CUDA_VISIBLE_DEVICES", *LAUNCHED):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch.setenv


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The folder of the same steps on one device."""
    workdir = tmp_path_factory.mktemp("alone")
    source = tiny_run.shared_source()
    trainer.train(tiny_run.SHARED, workdir, source, stop_at_step=STEPS, show=False)
    return workdir


def check_same(alone, workdir):
    expected, found = tiny_run.losses(alone), tiny_run.losses(workdir)
    assert len(expected) == STEPS
    assert np.ptp(expected) > 0.5  # the statistics change
    np.testing.assert_allclose(found, expected, atol=1e-4)
    arrays = tiny_run.read_checkpoint(workdir, STEPS)
    start = tiny_run.read_checkpoint(alone, 1)
    moved = 0.0
    for name, array in tiny_run.read_checkpoint(alone, STEPS).items():
        np.testing.assert_allclose(
            arrays[name], array, rtol=1e-6, atol=1e-4, err_msg=name
        )
        if name.startswith("model") and "float" in str(array.dtype):
            moved = max(moved, np.abs(array - start[name]).max())
    assert moved > 0.01


def finish(processes, timeout=400):
    results = []
    for process in processes:
        out, error = process.communicate(timeout=timeout)
        assert process.returncode == 0, error[-3000:]
        results.append(json.loads(out.splitlines()[-1]))
    return results


def start_pair(kind, workdir, **options):
    ports = tiny_run.free_pair()
    return [
        tiny_run.start(kind, workdir, index=i, ports=ports, **options) for i in range(2)
    ]


def ends_of(processes, timeout=120):
    """Returns the exit codes, and the last line of each's standard error."""
    errors = [process.communicate(timeout=timeout)[1] for process in processes]
    lines = [error.strip().splitlines()[-1] for error in errors]
    return [process.returncode for process in processes], lines


# By hand: every fourth image, from the first on, is misclassified.
_TOP1 = pytest.approx((UNEVEN - 251) / UNEVEN)
EXPECTED = {
    "images": UNEVEN,
    "top1": _TOP1,
    "outputs": UNEVEN,
    "outputs_top1": _TOP1,
    "alone_top1": _TOP1,
}
# By scikit-learn, for several labels per image.
MAP = average_precision_score(tiny_run.uneven_label_sets(), tiny_run.uneven_means())
EXPECTED["map"] = pytest.approx(MAP, rel=1e-6)


def test_two_workers_agree_and_count_every_image_once(tmp_path):
    pair = start_pair("meet", tmp_path, launcher="SLURM", heartbeat_timeout=77.0)
    results = finish(pair)
    # Each worker reports its own numbers, of up to 31 bits.
    gathered = [[0, 2**31 - 1], [1, 2**31 - 2]]
    for result in results:
        assert {name: result[name] for name in EXPECTED} == EXPECTED
        assert result["gathered"] == gathered
        assert result["texts"] == ["", "é"]
        assert result["workers"] == "2 workers from SLURM"
        assert result["heartbeat_timeout_ms"] == 77_000
    steps = [result["step"] for result in results]
    assert steps[0] == steps[1]
    alone = tiny_run.step_by_hand(distribution.make_strategy("one_device"))
    # kernel, bias, gamma, beta, mean, variance, ... The mean of the workers' means is
    # that of all images; their variances lack the spread between the workers.
    for mean in (4, len(alone) // 2 + 4):
        np.testing.assert_allclose(steps[0][mean], alone[mean], rtol=1e-5, atol=1e-6)
        assert np.ptp(alone[mean]) > 0
    for result in results:
        for found, expected in zip(result["grouped_step"], alone, strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_two_workers_train_like_one_and_count_every_image_once(tmp_path, alone):
    results = finish(start_pair("train", tmp_path))
    assert results == [EXPECTED, EXPECTED]
    check_same(alone, tmp_path)


@pytest.mark.slow
def test_two_replicas_train_like_one_and_count_every_image_once(tmp_path, alone):
    (result,) = finish([tiny_run.start("train", tmp_path)])
    assert result == EXPECTED
    check_same(alone, tmp_path)


@pytest.mark.slow
def test_two_replicas_train_like_one_on_weighted_classes(tmp_path):
    fields = {
        "sampling": "sqrt",
        "class_weights": '{"apple": 1, "pear": 2, "plum": 0.5}',
        "loss": "focal",
        "logit_adjustment": 1.0,
    }
    config = dataclasses.replace(tiny_run.SHARED, **fields)
    source = tiny_run.shared_source()
    alone = tmp_path / "alone"
    trainer.train(config, alone, source, stop_at_step=STEPS, show=False)
    finish([tiny_run.start("train", tmp_path / "pair", **fields)])
    expected, found = tiny_run.losses(alone), tiny_run.losses(tmp_path / "pair")
    np.testing.assert_allclose(found, expected, atol=1e-4)
    arrays = tiny_run.read_checkpoint(tmp_path / "pair", STEPS)
    for name, array in tiny_run.read_checkpoint(alone, STEPS).items():
        np.testing.assert_allclose(
            arrays[name], array, rtol=1e-6, atol=1e-4, err_msg=name
        )


@pytest.mark.slow
def test_two_replicas_count_every_image_once(tmp_path):
    assert finish([tiny_run.start("count", tmp_path)]) == [EXPECTED]


@pytest.mark.parametrize("batch_size", [64, 1002, 1003, 2000])
def test_evaluation_counts_every_image_once_for_any_batch(batch_size):
    used = distribution.make_strategy("one_device")
    assert tiny_run.count_uneven(used, batch_size) == EXPECTED


@pytest.mark.slow
@pytest.mark.parametrize("killed", [0, 1])
def test_killed_worker_ends_the_others_and_the_run_resumes(tmp_path, killed):
    pair = start_pair("slow", tmp_path, seconds=0.1, epochs=1000)
    lines = [pair[killed].stdout.readline() for _ in range(3)]
    assert lines == ["step\n"] * 3
    pair[killed].kill()
    began = time.monotonic()
    _, error = pair[1 - killed].communicate(timeout=120)
    print(f"ended after {time.monotonic() - began:.0f} s")
    assert pair[1 - killed].returncode == 69, error[-3000:]
    assert f"worker {killed}" in error.splitlines()[-1]
    assert "start all workers again to resume" in error.splitlines()[-1]
    pair[killed].communicate()
    step = int(tiny_run.read_checkpoint(tmp_path)["step"])
    assert step >= 2
    again = start_pair("slow", tmp_path, epochs=1000)
    assert again[1].stdout.readline() == "step\n"
    for process in again:
        process.kill()
        process.communicate()
    assert tiny_run.read_checkpoint(tmp_path)["step"] >= step


@pytest.mark.slow
def test_signal_to_one_worker_stops_all_at_one_step(tmp_path):
    pair = start_pair("slow", tmp_path, seconds=0.1, epochs=1000)
    assert pair[1].stdout.readline() == "step\n"
    pair[1].send_signal(signal.SIGTERM)
    ends = [process.communicate(timeout=60) for process in pair]
    assert [process.returncode for process in pair] == [75, 75], ends
    step = int(tiny_run.read_checkpoint(tmp_path)["step"])
    for _, error in ends:
        assert f"Stopped (at step {step:,})" in error


@pytest.mark.slow
def test_two_workers_finish_a_run_and_resume_to_the_same_bits(tmp_path):
    straight = finish(start_pair("whole", tmp_path / "straight"))
    finish(start_pair("train", tmp_path / "halved"))
    halved = finish(start_pair("whole", tmp_path / "halved"))
    clock = {"seconds", "seconds_to_first_step"}
    for a, b in zip(straight, halved, strict=True):
        assert {k: a[k] for k in a.keys() - clock} == {
            k: b[k] for k in b.keys() - clock
        }
    found = tiny_run.read_checkpoint(tmp_path / "halved")
    for name, array in tiny_run.read_checkpoint(tmp_path / "straight").items():
        np.testing.assert_array_equal(array, found[name], err_msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [1, 3])
def test_workers_wait_for_every_file_of_a_slow_chief(tmp_path, epochs):
    pair = start_pair(
        "slow_files",
        tmp_path,
        seconds=1.0,
        epochs=epochs,
        lr_per_256=0.05,
        checkpoint_every_steps=None,
    )
    first, second = finish(pair)
    scores = {name for name in first if name.startswith(("final", "best"))}
    assert {n: first[n] for n in scores} == {n: second[n] for n in scores}
    # The reported score is that of the saved model.
    found = evaluate.evaluate(
        keras.saving.load_model(tmp_path / "model.keras"),
        tiny_run.shared_source().split("test"),
        tiny_run.SHARED.preprocessing,
    )
    assert found.top1 == first["final_top1"]
    assert found.loss == pytest.approx(first["final_loss"], abs=1e-5)


@pytest.mark.slow  # agreement_test compares configurations in one process
def test_rejects_different_configurations_before_the_first_step(tmp_path):
    ports = tiny_run.free_ports(2)
    pair = [
        tiny_run.start("slow", tmp_path, index=i, ports=ports, lr_per_256=rate)
        for i, rate in enumerate((0.01, 0.02))
    ]
    codes, lines = ends_of(pair)
    assert codes == [2, 2], lines
    expected = "`lr_per_256` is 0.02 on worker 1 and 0.01 on worker 0"
    assert all(line.endswith(expected) for line in lines), lines
    assert not any(tmp_path.iterdir())


@pytest.mark.slow  # agreement_test has workers as threads
def test_rejects_unshared_run_folders_before_the_first_step(tmp_path):
    ports = tiny_run.free_ports(2)
    pair = [
        tiny_run.start("slow", tmp_path / str(i), index=i, ports=ports)
        for i in range(2)
    ]
    codes, lines = ends_of(pair)
    assert codes == [2, 2], lines
    for line in lines:
        assert "all workers share. worker 1 cannot read what worker 0 writes" in line
    assert not any((tmp_path / "0").iterdir())


def test_multi_worker_requires_a_cluster_description(environment):
    for text in ("", "{}"):
        environment("TF_CONFIG", text)
        with pytest.raises(ValueError, match="none of TF_CONFIG, SLURM_STEP_NUM_T"):
            distribution.make_strategy("multi_worker")
    environment("TF_CONFIG", json.dumps({"cluster": {"worker": ["a", "b"]}}))
    for name in ("multi_worker", "auto"):
        with pytest.raises(ValueError, match="'HOST:PORT'.*Received: worker 0='a'"):
            distribution.make_strategy(name)


def test_multi_worker_must_precede_other_use_of_tensorflow(environment):
    tf.zeros(1) + 1
    cluster = {"worker": ["127.0.0.1:1", "127.0.0.1:2"]}
    task = {"type": "worker", "index": 0}
    environment("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
    for name in ("multi_worker", "auto"):  # which sees two workers
        with pytest.raises(RuntimeError, match="created before TensorFlow is used"):
            distribution.make_strategy(name)


def test_single_slurm_task_trains_alone(environment):
    for name, value in recorded.SLURM_SHELL.items():
        environment(name, value)
    strategy = distribution.make_strategy("auto")
    assert strategy is distribution.make_strategy("one_device")
    assert distribution.describe_workers(strategy) == ""


def test_reports_a_missing_tpu(environment):
    with pytest.raises(ValueError, match="TensorFlow finds none at 'local'"):
        distribution.make_strategy("tpu")
