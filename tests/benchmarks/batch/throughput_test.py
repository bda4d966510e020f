from benchmarks.batch import throughput


def test_verdict_takes_the_median_of_the_ratios_per_round():
    found = {"float32": [50.0, 60.0, 10.0], "predict": [10.0, 10.0, 10.0]}
    assert throughput.verdict(found) == ["float32 / predict: 5.00 (bar 5.0) ok"]


def test_verdict_marks_missed_bars():
    found = {"shard": [10.0], "shards": [16.0]}
    assert throughput.verdict(found) == ["shards / shard: 1.60 (bar 1.7) MISSED"]


def test_rates_of_commands_that_run_together_are_added():
    commands = [["echo", f"3 images/s, then {rate} images/s"] for rate in (2.5, 4)]
    found = throughput.run_together(commands, 0, [None, None])
    assert found.rate == 6.5


def test_start_is_the_time_that_the_images_do_not_explain():
    command = ["bash", "-c", "sleep 0.5; echo 100 images/s"]
    found = throughput.run_together([command], 20, [None])
    assert 0.25 < found.start < 2
