import dataclasses
import subprocess
import zipfile

import pytest

import keras_efficientnet
from keras_efficientnet import VARIANTS, plan_cost
from training import memory
from training.config import TrainConfig
from training.engine.checkpoints import Checkpoints
from training.engine.train_state import TrainState
from training.optim import optimizers


def test_activations_of_a_small_network_match_hand_computation():
    cost = plan_cost(VARIANTS["EfficientNetLite0"], 10, resolution=32)
    sizes = {row.name: row.activation_bytes for row in cost.layers}
    # The first block, by hand: its input, then convolution, BatchNorm and activation
    # of the depthwise part, then the 1x1 convolution and its BatchNorm, which the
    # next block reads. 16 x 16 pixels, 32 and 16 channels, float32.
    block = 3 * 16 * 16 * 32 * 4 + 2 * 16 * 16 * 16 * 4
    assert sum(v for k, v in sizes.items() if k.startswith("block1a_")) == block
    whole = memory.activation_bytes(cost)
    # A recomputed stage keeps its last output only, but is recomputed at the peak.
    last = sizes["block1a_project_bn"]
    assert memory.activation_bytes(cost, remat=[1]) == whole
    held = {i: memory.activation_bytes(cost, remat=[i]) for i in range(1, 8)}
    assert set(held.values()) == {whole}
    both = memory.activation_bytes(cost, remat=range(1, 8))
    assert last < both < 0.6 * whole


def test_half_precision_and_frozen_parts_need_less_memory():
    cost = plan_cost(VARIANTS["EfficientNetB0"])
    whole = memory.activation_bytes(cost)
    assert 0.5 < memory.activation_bytes(cost, itemsize=2) / whole < 0.51
    # Only the features that the classifier reads.
    assert memory.activation_bytes(cost, last_frozen=8) == 4 * 1280
    kept = [memory.activation_bytes(cost, last_frozen=i) for i in range(-1, 8)]
    assert kept == sorted(kept, reverse=True)


def test_checkpoint_is_as_large_as_planned(tmp_path, tiny):
    run = TrainConfig(model="EfficientNet", width=0.25, depth=0.3, image_size=32)
    cost = keras_efficientnet.profile(tiny)
    state = TrainState(tiny, optimizers.make_optimizer("rmsprop", 0.1), ema_decay=0.9)
    state.save(Checkpoints(tmp_path, keep=1))
    (written,) = tmp_path.iterdir()
    checkpoint, disk = memory.disk_bytes(run, cost)
    with zipfile.ZipFile(written) as archive:
        overhead = 500 * len(archive.namelist())  # headers of the arrays
    assert checkpoint < written.stat().st_size < checkpoint + overhead
    assert disk == 4 * checkpoint + 8 * cost.params


def test_accumulation_divides_the_activations():
    whole = TrainConfig(data="digits")
    parts = dataclasses.replace(whole, grad_accum_steps=4)
    one = memory.memory_bytes(whole, 1000, 10, share=64)
    four = memory.memory_bytes(parts, 1000, 10, share=64)
    assert four["activations"] == one["activations"] / 4
    assert four["slots"] == one["slots"] == 2 * one["gradients"]


@pytest.mark.parametrize("limit", [None, "max", "1000000"])
def test_memory_of_a_machine_without_gpus(monkeypatch, tmp_path, limit):
    file = tmp_path / "memory.max"
    if limit is not None:
        file.write_text(f"{limit}\n")
    monkeypatch.setattr(memory, "_CGROUP_LIMIT", file)
    monkeypatch.setattr(memory.os, "sysconf", lambda name: 4096)
    found = memory.device_memory()
    assert found == (1_000_000 if limit == "1000000" else 4096 * 4096)


def test_memory_of_gpus_is_that_of_the_smallest(monkeypatch):
    done = subprocess.CompletedProcess([], 0, stdout="81559\n16384\n")
    monkeypatch.setattr(memory.tf.config, "list_physical_devices", lambda kind: ["0"])
    monkeypatch.setattr(memory.shutil, "which", lambda name: name)
    monkeypatch.setattr(memory.subprocess, "run", lambda *a, **k: done)
    assert memory.device_memory() == 16384 * 2**20
    monkeypatch.setattr(memory.shutil, "which", lambda name: None)
    assert memory.device_memory() is None


def test_advice_is_the_smallest_accumulation_that_fits():
    config = TrainConfig(data="digits", batch_size=64)
    sizes = {
        steps: sum(
            memory.memory_bytes(
                dataclasses.replace(config, grad_accum_steps=steps), 1000, 10, 64
            ).values()
        )
        for steps in (2, 4, 8)
    }
    _, found = memory.advice(config, 1000, 10, replicas=1, available=sizes[4] + 1)
    assert found.startswith("--config.grad_accum_steps=4 needs about")
    # BatchNorm over groups of replicas rules accumulation out.
    config = dataclasses.replace(config, batch_size=256, remat="all")
    assert memory.advice(config, 1000, 10, replicas=16, available=1) == []
