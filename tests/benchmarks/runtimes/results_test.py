from benchmarks.runtimes import results

CELL = "batch 8, 1 thread"


def with_ratio(ratio, machine=None):
    values = {"p50_ms": 12.345, "p95_ms": 20.0, "images_per_s": 640.4, "ratio": ratio}
    networks = {"b0": {CELL: {"saved_model": values}}}
    missing = {"b0": {"torch": "No module named 'torch'"}}
    return {
        "machine": machine,
        "networks": networks,
        "missing": missing,
        "conversion": {},
    }


def test_ratio_is_the_median_over_rounds():
    # A slow round changes nothing, whether it slows both contenders or one.
    rounds = {"tflite": [[1.0], [10.0], [9.0]], "onnx": [[2.0], [20.0], [2.0]]}
    assert results.summarize(rounds, 1)["tflite"]["ratio"] == 0.5


def test_percentiles_and_rate_count_every_run():
    rounds = {"onnx": [[10.0] * 9, [10.0] * 10 + [110.0]]}
    found = results.summarize(rounds, images=8)["onnx"]
    assert found["p50_ms"] == 10
    assert 10 <= found["p95_ms"] < 20
    assert found["images_per_s"] == round(20 * 8 / 0.3, 1)  # 300 ms in all


def test_compares_ratios_and_never_times():
    new, old = with_ratio(1.2), with_ratio(1.0)
    new["networks"]["b0"][CELL]["saved_model"]["p50_ms"] = 1000.0
    assert results.compare(new, old) == []


def test_reports_ratios_that_changed_by_a_quarter():
    assert results.compare(with_ratio(1.5), with_ratio(1.0)) == [
        f"b0, {CELL}, saved_model: 1.50 of onnx, slower than the committed 1.00"
    ]
    assert "faster" in results.compare(with_ratio(1.0), with_ratio(1.5))[0]


def test_ignores_cells_that_were_not_committed():
    old = with_ratio(1.0)
    old["networks"] = {"lite0": old["networks"]["b0"]}
    assert results.compare(with_ratio(9.0), old) == []


def test_tables_replace_those_on_the_page():
    facts = {
        "processor": "Some CPU",
        "features": ["avx2"],
        "cores": 2,
        "versions": {"keras": "3.15.1"},
    }
    tables = results.format_tables(with_ratio(0.5, facts))
    page = results.replace_tables(f"a\n{results.BEGIN}\nold\n{results.END}\nb", tables)
    assert page.splitlines() == [
        *("a", results.BEGIN),
        *("Some CPU (avx2), 2 cores; keras 3.15.1.", ""),
        *(f"| b0 | {CELL} |", "| --- | ---: |"),
        *("| `saved_model` | 12.3 / 20.0, 640/s, 0.50 |", ""),
        "Not measured for b0: PyTorch, eager, timm (No module named 'torch').",
        *(results.END, "b"),
    ]


def test_describes_this_machine():
    found = results.machine()
    assert found["cores"] >= 1
    assert found["processor"]
    assert "keras" in found["versions"]
