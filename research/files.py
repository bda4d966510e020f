"""The trainer's way with files: whole or not at all, one process to a folder.

Here and wherever `research` uses the other programs: in the checkout they are top-level
packages, in the wheel they are beside this one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING or __package__ == "research":
    from training.engine.checkpoints import replacing, write_text
    from training.engine.preemption import InUseError, lock
else:
    from ..training.engine.checkpoints import replacing, write_text
    from ..training.engine.preemption import InUseError, lock

__all__ = ["InUseError", "lock", "replacing", "write_text"]
