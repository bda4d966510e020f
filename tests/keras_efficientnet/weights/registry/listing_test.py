import sys

import pytest

from keras_efficientnet.weights.registry import listing, table
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "weights.md"


def test_page_lists_what_the_table_has():
    text = PAGE.read_text()
    assert listing.update_page(text) == text, "run the command that the page names"


def test_every_network_has_a_row_with_its_facts():
    lines = listing.weights_table().splitlines()
    assert len(lines) == 2 + len(table.named_files())
    assert (
        "| B8/advprop@tpu | 85.5 (tensorflow/tpu) | 672 | inception | same, 0.001 | "
        "none | tensorflow/tpu, the original checkpoints; Apache-2.0 |"
    ) in lines
    assert any("| unknown |" in line for line in lines)


def test_page_without_a_place_is_reported():
    with pytest.raises(ValueError, match="must have the lines"):
        listing.update_page("# Weights")


def test_command_prints_or_writes(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(sys, "argv", ["listing", "*lite4*"])
    listing.main()
    assert capsys.readouterr().out.count("Lite4/") == 2
    page = tmp_path / "page.md"
    page.write_text(f"before\n{listing.BEGIN}\nold\n{listing.END}\nafter\n")
    monkeypatch.setattr(sys, "argv", ["listing", f"--write={page}"])
    listing.main()
    text = page.read_text()
    assert "old" not in text
    assert text.startswith("before")
    assert text.endswith("after\n")
    assert listing.update_page(text) == text
