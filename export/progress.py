"""Progress bars for long-running work, drawn on terminals only."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from typing import TypeVar

import tqdm

T = TypeVar("T")

DELAY_SECONDS = 0.5  # shorter steps show no bar
_FORMAT = (
    "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{unit} "
    "[{elapsed}<{remaining}]"
)


def progress_bar(
    total: int, description: str, unit: str, *, is_immediate: bool = False
) -> tqdm.tqdm:
    """Returns a bar with the time left; it draws nothing when output is piped.

    Args:
        total: Number of items.
        description: Work that is being done, such as "calibrating".
        unit: Plural noun for the items, such as "images".
        is_immediate: Whether to show the bar before any work is done.
    """
    return tqdm.tqdm(
        total=total,
        desc=description,
        unit=f" {unit}",
        delay=0 if is_immediate else DELAY_SECONDS,
        leave=False,
        disable=not sys.stderr.isatty(),
        dynamic_ncols=True,
        bar_format=_FORMAT,
    )


def track(items: Collection[T], description: str, unit: str) -> Iterator[T]:
    """Yields items and shows on a terminal how many of them are done.

    Args:
        items: Items to work on.
        description: Work that is being done, such as "calibrating".
        unit: Plural noun for the items, such as "images".
    """
    with progress_bar(len(items), description, unit) as bar:
        for item in items:
            yield item
            bar.update()
