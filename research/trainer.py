"""The parts of the trainer that studies use.

In the repository the other programs are top-level packages; in the wheel they are next
to this one. This module imports TensorFlow, so only the studies that train import it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING or __package__ == "research":
    from training import config
    from training.configs import transfer
    from training.data import sources
    from training.engine import trainer
    from training.engine.preemption import SignalHandler
    from training.memory import variant_of
else:
    from ..training import config
    from ..training.configs import transfer
    from ..training.data import sources
    from ..training.engine import trainer
    from ..training.engine.preemption import SignalHandler
    from ..training.memory import variant_of

__all__ = [
    "SignalHandler",
    "config",
    "sources",
    "trainer",
    "transfer",
    "variant_of",
]
