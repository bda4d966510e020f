import ast
import re
import shutil
import subprocess
import sys

from tests.support.paths import ROOT

DOCKERFILE = (ROOT / "launch" / "Dockerfile").read_text()


def test_copied_files_are_enough_to_install_the_package(tmp_path):
    for line in re.findall(r"^COPY (.*)", DOCKERFILE, re.M):
        *sources, target = line.split()
        for source in sources:
            if (ROOT / source).is_dir():
                assert source == target
                shutil.copytree(ROOT / source, tmp_path / target)
            else:
                shutil.copy(ROOT / source, tmp_path / target)
    command = [sys.executable, "setup.py", "--quiet", "egg_info"]
    subprocess.run(command, cwd=tmp_path, check=True)
    listed = (tmp_path / "efficientnet_keras.egg-info" / "SOURCES.txt").read_text()
    for file in ("training/main.py", "export/batch_predict.py", "research/main.py"):
        assert file in listed


def test_installed_extras_exist():
    source = ast.parse((ROOT / "setup.py").read_text())
    (extras,) = [
        {key.value for key in node.value.keys}
        for node in source.body
        if isinstance(node, ast.Assign) and node.targets[0].id == "EXTRAS"
    ]
    used = re.findall(r"EXTRAS=(\S+)", DOCKERFILE)
    assert len(used) == 2
    for names in used:
        assert set(names.split(",")) <= extras


def test_commands_run_as_an_ordinary_user():
    assert re.findall(r"^USER (.*)", DOCKERFILE, re.M) == ["1000"]
