"""Record of the fastest artefact in an export's report.json."""

from __future__ import annotations

import json
from pathlib import Path

REPORT_JSON = "report.json"
FASTEST_KEY = "fastest"


def find_fastest(folder: Path) -> Path | None:
    """Returns the artefact that was the fastest when a folder was exported.

    Args:
        folder: Folder of an export, with or without a ranking.

    Returns:
        Its path; None without a ranking, or if it was removed since.
    """
    try:
        summary = json.loads((folder / REPORT_JSON).read_text(encoding="utf-8"))
        path = folder / str(summary[FASTEST_KEY]["artefact"])
    except (OSError, ValueError, KeyError, TypeError):  # no report of an export
        return None
    return path if path.exists() and path.parent == folder else None
