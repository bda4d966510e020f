import dataclasses

from training.config import TrainConfig, load
from training.engine import phases
from training.reporting import report_page
from training.reporting.run_folder import RunFolder

SUMMARY = {
    "model": "EfficientNetLite0",
    "trainable_parameters": 4_652_008,
    "steps": 40,
    "best_epoch": 3.0,
    "best_validation_top1": 0.98765,
    "final_split": "test",
    "final_images": 359,
    "final_loss": 0.12345,
    "final_top1": 0.975,
    "final_top5": 1.0,
    "seconds": 61.2,
    "seconds_to_first_step": 8.1,
}


def test_report_shows_scores_and_links_existing_files(tmp_path):
    folder = RunFolder(tmp_path)
    folder.metrics.write_text("")
    folder.curves.touch()
    config = TrainConfig(model="lite0", data="digits", epochs=4)
    summary = SUMMARY
    report_page.write_report(folder, config, summary)
    text = folder.report.read_text()
    assert text.startswith("# EfficientNetLite0 on digits\n")
    for part in ("97.50%", "| at epoch | 3 of 4 |", "4,652,008", "](curves.png)"):
        assert part in text
    assert "[metrics.csv](metrics.csv)" in text
    # 350 of 359 by Wilson's method.
    assert "97.50% (95.30% to 98.68%)" in text
    assert "best epoch on validation; test was scored once" in text
    assert "## Phases" not in text
    assert "could not be decoded" not in text
    assert "[model.keras]" not in text


def test_report_shows_minival_phases_and_bad_images(tmp_path):
    folder = RunFolder(tmp_path)
    config = TrainConfig(
        model="lite0", data="digits", minival=25_000, epochs=4, head_only_epochs=1
    )
    summary = {**SUMMARY, "final_split": "validation"}
    run_phases = phases.plan_phases(
        dataclasses.replace(config, unfreeze_from_stage=5), images=2560
    )
    bad = [f"bad_{i}.jpg" for i in range(102)]
    report_page.write_report(
        folder, config, summary, run_phases=run_phases, bad_images=bad
    )
    text = folder.report.read_text()
    assert "best minival top-1" in text
    assert "best epoch on minival, 25,000 training images that were held out" in text
    assert "| 1 to 10 | the classifier, 224 pixels |" in text
    assert "| 11 to 40 | stages from 5, 224 pixels |" in text
    assert "102 images were left out" in text
    assert "- `bad_99.jpg`\n- and 2 more\n" in text


def test_report_mentions_that_validation_selected_the_epoch(tmp_path):
    folder = RunFolder(tmp_path)
    summary = {**SUMMARY, "final_split": "validation"}
    report_page.write_report(folder, TrainConfig(data="digits"), summary)
    assert "There is no test split" in folder.report.read_text()


def test_report_shows_changes_to_the_recipe_first(tmp_path):
    folder = RunFolder(tmp_path)
    config = dataclasses.replace(load("digits"), epochs=4, weights="a.pth")
    report_page.write_report(folder, config, SUMMARY)
    text = folder.report.read_text()
    first, folded = text.split("<details>")
    assert "Different from the recipe digits:" in first
    assert "| epochs | `4` |" in first
    assert "| weights | `'a.pth'` |" in first
    assert "batch_size" not in first
    assert "| batch_size | `32` |" in folded
    assert "| epochs |" not in folded


def test_report_of_a_missing_recipe_compares_with_the_defaults(tmp_path):
    folder = RunFolder(tmp_path)
    config = TrainConfig(data="digits", recipe="gone.py")
    report_page.write_report(folder, config, SUMMARY)
    first = folder.report.read_text().split("<details>")[0]
    assert "Different from the defaults:" in first
    assert "| data | `'digits'` |" in first
