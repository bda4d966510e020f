"""GPU benchmark, run on a CPU with tiny images; its rates are meaningless there."""

import importlib.util

import keras
import pytest

from benchmarks import gpu

B0_STEP = {"network": "b0", "task": "train", "batch": 2, "size": 32}


def test_operations_are_twice_the_multiply_adds():
    """Source: arXiv:1905.11946, Table 2: 0.39 G multiply-adds for B0, 4.2 for B4."""
    assert gpu.operations("b0", "infer", 224) == pytest.approx(0.78e9, rel=0.02)
    assert gpu.operations("b4", "train", 380) == pytest.approx(3 * 8.4e9, rel=0.07)


def test_peak_matches_the_device_name():
    assert gpu.peak_of("NVIDIA H100 80GB HBM3") == 989e12
    assert gpu.peak_of("NVIDIA H100 PCIe") == 756e12
    assert gpu.peak_of("NVIDIA L40S") > gpu.peak_of("NVIDIA L4")
    assert gpu.peak_of("cpu") is None


def test_row_shows_rates_shares_and_ratio():
    found = {
        "ours": {"rate": 3000.0, "device": "NVIDIA H100 80GB HBM3"},
        "timm": {"rate": 2000.0, "device": "NVIDIA H100 80GB HBM3"},
    }
    share = 3000 * gpu.operations("b0", "train", 32) / 989e12
    line = f"b0 train 32 2 3000.0 {share:.1%} 2000.0 {share * 2 / 3:.1%} 1.50"
    assert " ".join(gpu.row(B0_STEP, found).split()) == line


def test_row_shows_errors():
    found = {"ours": {"rate": 9.0, "device": "cpu"}, "timm": {"error": "out of memory"}}
    line = "b0 train 32 2 9.0 - - - timm: out of memory"
    assert " ".join(gpu.row(B0_STEP, found).split()) == line


def test_failed_job_reports_the_last_line_of_its_error():
    job = {**B0_STEP, "contender": "nobody", "compiler": "eager", "seconds": 0.1}
    assert gpu.measure(job) == {"error": "KeyError: 'nobody'"}


@pytest.mark.parametrize("task", ["train", "infer"])
@pytest.mark.skipif(keras.backend.backend() != "jax", reason="needs KERAS_BACKEND=jax")
def test_our_network_takes_steps(task):
    try:
        step = gpu.ours("b0", task, batch=2, size=32, compiler="eager")
        losses = [step() for _ in range(2)]
    finally:
        keras.config.set_dtype_policy("float32")
    assert gpu.images_per_second(step, batch=2, seconds=0.1) > 0
    if task == "train":
        assert losses[0] != losses[1]
    assert gpu.peak_of(gpu.device_name("ours")) is None


@pytest.fixture(scope="module")
def operators():
    """Declares the operators that torchvision needs when it is imported.

    PyPI's torchvision is built for CUDA: next to a PyTorch without CUDA, its library
    cannot be loaded, and its operators are missing.
    """
    import torch

    try:
        torch.ops.load_library(_library_of_torchvision())
    except OSError:
        signature = "(Tensor boxes, Tensor scores, float threshold) -> Tensor"
        for name in ("nms", "qnms"):
            torch.library.define(f"torchvision::{name}", signature)


def _library_of_torchvision():
    (folder,) = importlib.util.find_spec("torchvision").submodule_search_locations
    return f"{folder}/_C.so"


@pytest.mark.parametrize("task", ["train", "infer"])
@pytest.mark.skipif(
    keras.backend.backend() != "torch", reason="needs KERAS_BACKEND=torch"
)
@pytest.mark.filterwarnings("ignore")  # warnings of timm and PyTorch
def test_network_of_timm_takes_steps(task, operators):
    step = gpu.timms("b0", task, batch=2, size=32, compiler="eager")
    losses = [step() for _ in range(2)]
    assert gpu.images_per_second(step, batch=2, seconds=0.1) > 0
    assert (losses[0] != losses[1]) == (task == "train")
