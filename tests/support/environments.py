"""Virtual environments that contain only what a distribution declares."""

import os
import subprocess
import sys


class Environment:
    """Virtual environment, and an empty folder to use it in."""

    def __init__(self, folder, *requirements):
        self.folder = folder / "empty"
        self.folder.mkdir()
        self._root = folder / "env"
        self._cache = folder / "cache"
        self._uv("venv", "--python", sys.executable, self._root)
        if requirements:
            self.install(*requirements)

    def install(self, *requirements):
        """Installs requirements and removes every other package.

        The result does not depend on what was installed before. uv keeps packages of
        the right version, and links files to its cache. An index that forbids caching
        has them downloaded again; `prune` deletes the copies that were replaced, which
        would fill the disk.
        """
        options = ["--exact", "--upgrade", "--python", self._root]
        self._uv("pip", "install", *options, *requirements)
        self._uv("cache", "prune")

    def resolve(self, requirement):
        """Returns uv's list of the packages that a requirement would install."""
        options = ["--dry-run", "--python", self._root]
        return self._uv("pip", "install", *options, requirement)

    def run(self, command, *arguments, fails=False, **variables):
        """Runs an installed command; returns its output."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        done = subprocess.run(
            [self._root / "bin" / command, *arguments],
            cwd=self.folder,
            env={**clean, **variables},
            capture_output=True,
            text=True,
        )
        assert (done.returncode != 0) == fails, done.stdout + done.stderr
        return done.stdout + done.stderr

    def _uv(self, *arguments):
        command = [sys.executable, "-m", "uv", "--cache-dir", self._cache, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout + done.stderr
