import pytest

from export.artefacts import memory

MEMINFO = "MemTotal:       24684224 kB\nMemAvailable:   20000000 kB\nSwapTotal: 0 kB\n"
V2L = 119_027_848  # parameters of EfficientNetV2L


@pytest.fixture(autouse=True)
def meminfo(tmp_path, monkeypatch):
    path = tmp_path / "meminfo"
    path.write_text(MEMINFO)
    monkeypatch.setattr(memory, "_MEMORY", path)
    monkeypatch.setattr(memory, "_CGROUP", tmp_path)
    return path


def test_warns_if_a_conversion_needs_more_than_is_free():
    (warning,) = memory.find_memory_warnings(["tflite", "onnx", "saved_model"], 2 * V2L)
    assert "238 million parameters to onnx, tflite takes about 33 GB" in warning
    assert "20 GB are free" in warning


@pytest.mark.parametrize(
    ("formats", "params"), [(["tflite"], V2L), (["saved_model", "openvino"], 2 * V2L)]
)
def test_does_not_warn_if_memory_suffices(formats, params):
    assert memory.find_memory_warnings(formats, params) == []


def test_does_not_warn_if_free_memory_is_unknown(meminfo):
    meminfo.unlink()
    assert memory.available_bytes() is None
    assert memory.find_memory_warnings(["tflite"], 10 * V2L) == []
    meminfo.write_text("MemTotal: 1 kB\n")
    assert memory.available_bytes() is None


def test_counts_the_limit_of_a_container(tmp_path):
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available_bytes() == 20_000_000 * 1024
    (tmp_path / "memory.max").write_text("3000000000\n")
    (tmp_path / "memory.current").write_text("1000000000\n")
    assert memory.available_bytes() == 2_000_000_000
