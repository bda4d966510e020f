import dataclasses
import functools
import types

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from export.formats import tflite
from export.quantization import calibration, selective
from export.quantization.tflite_graph import Graph
from export.runtimes import base
from tests.support import export_run

NETWORK = export_run.fitted_network


def images(count, seed):
    pictures = [export_run.pictures(x, count, seed) for x in export_run.LABELS]
    return np.concatenate(pictures)[:, 4:36, 8:40].astype(np.float32)


@functools.cache
def content():
    return tflite.convert(NETWORK(), export_run.SIZE)


@functools.cache
def seen():
    return calibration.collect_activations(content(), [images(8, seed=2)])


def agreement(graph, tmp_path):
    (tmp_path / "model.tflite").write_bytes(graph.pack())
    others = images(12, seed=3)
    found = base.TFLiteRunner(tmp_path / "model.tflite")(others)
    wanted = NETWORK()(others, training=False).numpy()
    return np.mean(found.argmax(axis=1) == wanted.argmax(axis=1))


def test_good_network_has_only_integers(tmp_path):
    graph, remarks = selective.quantize_int8(content(), seen())
    assert remarks == ()
    tflite.check_integer(graph)
    assert agreement(graph, tmp_path) >= 0.97


def test_multi_label_networks_are_judged_by_their_labels(monkeypatch):
    wanted = seen().probabilities
    found = iter(np.where(wanted > 0.5, 0.4, wanted))  # the same top-1 class
    target = selective.Target(
        build=None, open=lambda content: lambda pixels: next(found)
    )
    multi_label = dataclasses.replace(seen(), thresholds=(0.5, 0.5, 0.5, 0.3))
    lost = (wanted[:, :3] > 0.5).sum()
    agreement = selective._judge(b"", multi_label, target).agreement
    assert agreement == pytest.approx(1 - lost / (wanted >= [0.5, 0.5, 0.5, 0.3]).sum())
    found = iter(np.where(wanted > 0.5, 0.4, wanted))
    assert selective._judge(b"", seen(), target).agreement == 1


def test_int16_matches_float32(tmp_path):
    graph, _ = selective.quantize_int16(content(), seen())
    assert [x for x in graph.tensors if x.type == schema.TensorType.INT16]
    (tmp_path / "model.tflite").write_bytes(graph.pack())
    found = base.TFLiteRunner(tmp_path / "model.tflite")(seen().images[::4])
    wanted = seen().probabilities[::4]
    assert (found.argmax(axis=1) == wanted.argmax(axis=1)).all()
    assert np.abs(found - wanted).mean() < 0.02


def test_int16_keeps_first_parts_in_float32_until_outputs_are_close(monkeypatch):
    limit = len(selective.layer_groups(content()))
    tried = []

    def is_enough(count):
        tried.append(count)
        return count >= 2

    assert selective._fewest(limit, is_enough) == 2
    assert tried[0] == 0
    monkeypatch.setattr(selective, "MAX_DISTANCE_16", -1.0)
    graph, (remark,) = selective.quantize_int16(content(), seen())
    assert remark.startswith(f"The first {limit} of {limit} parts are in float32")
    assert not [x for x in graph.tensors if x.type == schema.TensorType.INT16]


def test_bad_network_keeps_parts_in_float32(monkeypatch, tmp_path):
    # Clipping every image ruins a network.
    monkeypatch.setattr(selective, "SHARES", (0.5,))
    widest = calibration.find_ranges(content(), seen(), 0.0)
    monkeypatch.setattr(
        selective,
        "find_ranges",
        lambda *_: {
            name: (low / 12, high / 12) if "project" in name else (low, high)
            for name, (low, high) in widest.items()
        },
    )
    graph, (remark,) = selective.quantize_int8(content(), seen())
    assert agreement(graph, tmp_path) >= 0.97
    with pytest.raises(ValueError, match="no float tensors"):
        tflite.check_integer(graph)
    assert "block" in remark
    assert " MB and " in remark


def test_parts_are_blocks_stem_and_top():
    parts = selective.layer_groups(content())
    blocks = {
        layer.name.split("_")[0]
        for layer in NETWORK().layers
        if layer.name.startswith("block")
    }
    assert set(parts) == blocks | {"stem", "top", "predictions"}
    graph = Graph(content())
    computed = {graph.name(x.outputs[0]) for x in graph.operators}
    assert set().union(*parts.values()) == computed


def test_squeeze_excite_is_a_separate_part(tiny):
    parts = selective.layer_groups(tflite.convert(tiny, 32))
    names = {name.split(";")[0] for name in parts["squeeze-excite"]}
    assert any("_se_squeeze" in name for name in names)
    assert not any("_project_conv" in name for name in names)


def test_thorough_search_takes_the_ranges_with_the_smallest_distance(monkeypatch):
    distances = {0.05: 0.002, 0.1: 0.003, 0.02: 0.001, 0.0: 0.004}
    monkeypatch.setattr(selective, "find_ranges", lambda *given: given[-1])
    monkeypatch.setattr(selective, "revive_dead_kernels", lambda content, *_: content)
    monkeypatch.setattr(selective, "round_kernels", lambda *_: {"layer": 0})
    monkeypatch.setattr(
        selective,
        "_try",
        lambda network, *_: selective.QuantizedCandidate(
            str(network.ranges).encode(), distances[network.ranges], 1.0, 1.0
        ),
    )
    unused = types.SimpleNamespace(moments={})
    first = selective.Target(build=None, open=None)
    assert selective.search_int8(b"", unused, first) == (b"0.05", ())
    thorough = selective.Target(build=None, open=None, tries_all=True)
    assert selective.search_int8(b"", unused, thorough) == (b"0.02", ())
