import pytest
from google.protobuf import text_format

from export.formats import onnx, openvino
from export.runtimes.onnx import OnnxRunner
from export.serving import triton
from tests.export.serving.published_protos import message_class
from tests.support import artefacts, export_run

FILES = {"onnxruntime": ["model.onnx"], "openvino": ["model.bin", "model.xml"]}


def read_config(folder):
    """Parses a config.pbtxt with the message that Triton publishes."""
    kind = message_class("triton.binpb", "inference.ModelConfig")
    return text_format.Parse((folder / triton.CONFIG_FILE).read_text(), kind())


@pytest.mark.parametrize(
    ("write", "name", "backend"),
    [
        (onnx.write, "model.onnx", "onnxruntime"),
        (openvino.write, "openvino", "openvino"),
    ],
)
def test_model_has_a_valid_configuration(write, name, backend, tmp_path):
    artefact, _ = artefacts.written(write, name)
    folder = triton.add_to_repository(artefact, tmp_path, "flowers", version=3)
    assert folder == tmp_path / "flowers"
    assert sorted(x.name for x in (folder / "3").iterdir()) == FILES[backend]
    config = read_config(folder)
    assert (config.name, config.backend) == ("flowers", backend)
    assert (folder / "3" / config.default_model_filename).is_file()
    assert config.max_batch_size == 32
    assert config.HasField("dynamic_batching")
    (source,), (output,) = config.input, config.output
    assert (source.name, output.name) == ("images", "probabilities")
    float32 = config.DESCRIPTOR.file.enum_types_by_name["DataType"].values_by_name
    assert source.data_type == output.data_type == float32["TYPE_FP32"].number
    size = export_run.SIZE
    assert list(source.dims) == [size, size, 3]
    assert list(output.dims) == [len(export_run.LABELS)]
    labels = (folder / output.label_filename).read_text().split()
    assert labels == list(export_run.LABELS)
    (warm_up,) = config.model_warmup
    assert list(warm_up.inputs["images"].dims) == list(source.dims)


def test_adds_versions_to_a_model_and_keeps_the_others(tmp_path):
    artefact, _ = artefacts.written(onnx.write, "model.onnx")
    for version in (1, 2):
        triton.add_to_repository(artefact, tmp_path, "flowers", version=version)
    assert OnnxRunner(tmp_path / "flowers" / "1" / "model.onnx").outputs == 4
    entries = sorted(x.name for x in (tmp_path / "flowers").iterdir())
    assert entries == ["1", "2", "config.pbtxt", "labels.txt"]
    with pytest.raises(ValueError, match="not contain yet. Received: version=2 with"):
        triton.add_to_repository(artefact, tmp_path, "flowers", version=2)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"name": "my flowers"}, "must consist of letters.*name='my flowers'"),
        ({"version": 0}, "`version` must be at least 1. Received: version=0"),
        ({"max_batch_size": 0}, "`max_batch_size` must be at least 1"),
    ],
)
def test_rejects_invalid_arguments(options, text, tmp_path):
    artefact, _ = artefacts.written(onnx.write, "model.onnx")
    with pytest.raises(ValueError, match=text):
        triton.add_to_repository(artefact, tmp_path, **{"name": "x"} | options)


def test_command_reports_wrong_input(tmp_path, capsys):
    missing = tmp_path / "model.onnx"
    assert triton.main([str(missing), str(tmp_path / "models"), "--name=x"]) == 2
    assert "Error: " in capsys.readouterr().err
    assert not (tmp_path / "models").exists()


def test_command_prints_the_folder_of_the_model(tmp_path, capsys):
    artefact, _ = artefacts.written(onnx.write, "model.onnx")
    command = [str(artefact), str(tmp_path), "--name=x", "--max_batch_size=8"]
    assert triton.main(command) == 0
    assert capsys.readouterr().out == f"Model: {tmp_path / 'x'}\n"
    assert read_config(tmp_path / "x").max_batch_size == 8
