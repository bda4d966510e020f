"""Base class of the random transforms, and their seeds."""

from __future__ import annotations

import operator
import random
from typing import Any, ClassVar

MAX_SEED = 2**31  # exclusive; seeds are int32


def tensorflow_calls(name: str) -> Any:
    """Imports the module that runs transforms in TensorFlow.

    Args:
        name: Name of the class that needs it, for the error message.

    Raises:
        ImportError: TensorFlow is not installed.
    """
    try:
        from . import tf_calls
    except ImportError as error:
        raise ImportError(
            f"`{name}` runs in tf.data and needs TensorFlow: pip install "
            f"tensorflow. Any Keras backend can train on the result. Received: {error}"
        ) from error
    return tf_calls


class RandomTransform:
    """Base class of transforms that draw random numbers.

    Three ways to call a transform differ in where its random numbers come from:

    - `dataset.apply(transform)` pairs each element with a seed that depends on
      `seed`, the epoch and the element's position. The result is the same in every
      run, whatever the number of parallel calls. Prefer this one.
    - `dataset.map(transform)` and `transform(images)` draw from one generator, so
      every call and every epoch differ. Without `num_parallel_calls` a run with the
      same `seed` repeats the draws; with it, parallel calls may swap their draws.
    - `transform(images, seed=(1, 2))` depends on that seed alone.

    An epoch is one iteration over the dataset, as `fit` starts one per epoch.

    Args:
        seed: Seed, 0 to 2**31 - 1. None: drawn from Python's generator, which
            `keras.utils.set_random_seed` seeds.

    Raises:
        ValueError: `seed` is out of range.
    """

    # Number that separates the draws of different transforms with the same seed.
    _stream: ClassVar[int]

    def __init__(self, seed: int | None) -> None:
        self.seed = None if seed is None else _checked(seed)
        self._used_seed = random.randrange(MAX_SEED) if self.seed is None else self.seed
        self._generator: Any = None

    def __call__(self, images: Any, *others: Any, seed: Any = None) -> Any:
        """Transforms images, or a dataset of them.

        Args:
            images: Images, or a `tf.data.Dataset` whose elements are the arguments of
                a call.
            *others: Other parts of a dataset's element, such as labels.
            seed: Two integers, (2,); None: the next draw of this object's generator.

        Returns:
            The transformed images. With `others`, a tuple that starts with them.
        """
        calls = tensorflow_calls(type(self).__name__)
        if calls.is_dataset(images):
            return calls.map_dataset(images, self, (self._used_seed, self._stream))
        if seed is None:
            if self._generator is None:
                self._generator = calls.make_generator(self._used_seed, self._stream)
            seed = calls.next_seed(self._generator)
        return calls.without_autograph(self._transform)(images, *others, seed=seed)

    def get_config(self) -> dict[str, Any]:
        """Returns the arguments of the constructor, in JSON-serializable form."""
        return {"seed": self.seed}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> RandomTransform:
        """Creates the transform that `get_config` describes."""
        return cls(**config)

    def _transform(self, images: Any, *others: Any, seed: Any) -> Any:
        raise NotImplementedError


def _checked(seed: Any) -> int:
    try:
        number = operator.index(seed)
    except TypeError:
        number = -1
    if not 0 <= number < MAX_SEED:
        raise ValueError(f"`seed` must be 0 to {MAX_SEED - 1}. Received: seed={seed!r}")
    return number
