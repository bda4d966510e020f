"""Measures `model.fit` with this package's parts against Keras' own and the trainer.

python -m benchmarks.fit speed [--rounds=7] [--steps=4] [--batch=16]
python -m benchmarks.fit accuracy [--seeds=5] [--epochs=20] [--size=96]

"speed" times training steps of B0 at 224 pixels on a fixed batch in memory:

    keras    keras.applications.EfficientNetB0, Keras' RMSprop, `fit`
    plain    our EfficientNetB0, Keras' RMSprop, `fit`
    parts    our EfficientNetB0, TF1RMSprop with L2 and FusedLayers, `fit`
    trainer  this package's training command

Each runs in its own process; the processes take turns, and each ratio is the
median over the rounds' ratios.

"accuracy" fine-tunes EfficientNet-Lite0 on half of about 200 photos of Debian's
tuxpaint-stamps-default and scores the other half, for several seeds and equal epochs:

    plain    Adam and a random flip; classifier first, then stages 5 to 7 with it
    parts    the same with TrainCrop; the stages with TF1RMSprop, a cosine schedule and
             a moving average, as in docs/fit.md
    trainer  `fine_tune`, which holds out a part of the training half
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from . import stamps, train_step
from .workers import Worker, measure_rates, serve_seconds

SPEED = ("keras", "plain", "parts", "trainer")
GOAL = 1.3  # lowest ratio of images per second, parts to keras
HEAD_SHARE = 0.4  # of the epochs, for the new classifier alone
FROZEN_STAGES = 4
PARTS_RATE = 0.002  # the trainer's rate, 0.016 per 256 images, for batches of 32


def speed_steps(name: str, images: Any, labels: Any) -> Callable[[], Any]:
    """Returns a function that builds the training steps of a contender."""
    if name == "trainer":
        return train_step.ours(images, labels)
    if name == "keras":
        return train_step.fit(images, labels)
    return _our_fit(images, labels, has_parts=name == "parts")


def _our_fit(images: Any, labels: Any, *, has_parts: bool) -> Callable[[], Any]:
    import keras

    import keras_efficientnet
    from keras_efficientnet.callbacks import FusedLayers
    from keras_efficientnet.optimizers import TF1RMSprop

    data = train_step.repeated_batch(images, labels)

    def build() -> Any:
        net = keras_efficientnet.EfficientNetB0(weights=None)
        rate = train_step.RATE
        net.compile(
            TF1RMSprop(rate, l2=1e-5)
            if has_parts
            else keras.optimizers.RMSprop(rate, momentum=0.9),
            keras.losses.CategoricalCrossentropy(label_smoothing=0.1),
            metrics=["accuracy"],
        )
        if has_parts:  # the step that is compiled here serves every later `fit`
            fused = [FusedLayers()]
            net.fit(data, steps_per_epoch=1, verbose=0, callbacks=fused)
        return lambda count: net.fit(data, steps_per_epoch=count, verbose=0)

    return build


def work(name: str, batch: int) -> None:
    """Reads numbers of steps from stdin, trains, and writes seconds."""
    rng = np.random.default_rng(0)
    size = train_step.SIZE
    images = rng.uniform(0, 255, (batch, size, size, 3)).astype(np.float32)
    labels = rng.integers(0, train_step.CLASSES, batch).astype(np.int32)
    steps = speed_steps(name, images, labels)()
    steps(2)
    serve_seconds(steps)


def speed(rounds: int, steps: int, batch: int) -> None:
    """Prints images per second of all contenders, and their ratios to Keras."""
    command = [sys.executable, "-m", "benchmarks.fit", "speed", f"--batch={batch}"]
    workers = {name: Worker([*command, f"--worker={name}"]) for name in SPEED}
    for worker in workers.values():
        worker.ask(1)
    found = measure_rates(workers, batch, steps, rounds)
    print(f"images per second, batch {batch}, {rounds} rounds of {steps} steps")
    for name, rates in found.items():
        pairs = zip(rates, found["keras"], strict=True)
        ratio = statistics.median(a / b for a, b in pairs)
        goal = f" (goal: {GOAL})" if name == "parts" else ""
        print(f"  {name:<8}{statistics.median(rates):6.2f}  {ratio:.2f}{goal}")


def fit_accuracy(
    folder: Path, seed: int, epochs: int, size: int, *, has_parts: bool
) -> float:
    """Fine-tunes with `fit` in two phases; returns the top-1 of the test photos."""
    import keras

    import keras_efficientnet
    from keras_efficientnet.augmentation import TrainCrop
    from keras_efficientnet.callbacks import ExponentialMovingAverage
    from keras_efficientnet.optimizers import TF1RMSprop
    from keras_efficientnet.schedules import WarmupCosineDecay

    keras.utils.set_random_seed(seed)
    train = _photos(folder / "train", size, seed=seed)
    if has_parts:
        train = train.apply(TrainCrop(size, seed=seed))
    else:
        flip = keras.layers.RandomFlip("horizontal", seed=seed)
        resize = keras.layers.Resizing(size, size)
        train = train.map(lambda x, y: (resize(flip(x, training=True)), y))
    model = keras_efficientnet.EfficientNetLite0(
        weights="imagenet", input_shape=(size, size, 3)
    )
    model = keras_efficientnet.reset_classifier(model, classes=len(stamps.FOLDERS))
    head_epochs = round(HEAD_SHARE * epochs)
    steps = (epochs - head_epochs) * len(train)
    optimizer: Any = keras.optimizers.Adam(1e-4)
    callbacks = []
    if has_parts:
        rate = WarmupCosineDecay(PARTS_RATE, total_steps=steps)
        optimizer = TF1RMSprop(rate, l2=1e-5)
        callbacks = [ExponentialMovingAverage(min(0.98, 1 - 10 / steps))]
    phases: list[tuple[int | str, int, Any, list[Any]]] = [
        ("top", head_epochs, keras.optimizers.Adam(), []),
        (FROZEN_STAGES, epochs - head_epochs, optimizer, callbacks),
    ]
    for up_to, phase_epochs, phase_optimizer, phase_callbacks in phases:
        keras_efficientnet.freeze(model, up_to=up_to)
        model.compile(
            phase_optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"]
        )
        model.fit(train, epochs=phase_epochs, verbose=0, callbacks=phase_callbacks)
    return _score(model, folder, size)


def _photos(folder: Path, size: int, **options: Any) -> Any:
    """Returns batches of photos with a margin for crops of `size` pixels."""
    import keras

    return keras.utils.image_dataset_from_directory(
        folder,
        image_size=(size * 8 // 7, size * 8 // 7),
        crop_to_aspect_ratio=True,
        verbose=False,
        **options,
    )


def _score(model: Any, folder: Path, size: int) -> float:
    """Returns the top-1 of a model on the test photos."""
    from keras_efficientnet.augmentation import EvalCrop

    crop = EvalCrop(size)
    right = total = 0
    for images, labels in _photos(folder / "test", size, shuffle=False):
        scores = model.predict_on_batch(crop(images))
        right += int((np.argmax(scores, axis=1) == labels.numpy()).sum())
        total += len(labels)
    return right / total


def trainer_accuracy(folder: Path, seed: int, epochs: int, size: int) -> float:
    """Fine-tunes with the trainer; returns the top-1 of the test photos."""
    from training.configs import finetune
    from training.fine_tune import fine_tune

    config = dataclasses.replace(
        finetune.get_config(),
        epochs=epochs,
        head_only_epochs=round(HEAD_SHARE * epochs),
        image_size=size,
        seed=seed,
    )
    with tempfile.TemporaryDirectory() as workdir:
        mine = fine_tune(
            "EfficientNetLite0",
            folder / "train",  # of which it holds out a part to choose the epoch
            workdir=workdir,
            config=config,
            show=False,
        )
        return _score(mine.model, folder, size)


def accuracy(seeds: int, epochs: int, size: int) -> None:
    """Prints the mean top-1 of the contenders and its standard error."""
    with tempfile.TemporaryDirectory() as place:
        folder = stamps.download(Path(place))
        contenders: dict[str, Callable[[int], float]] = {
            "plain": lambda seed: fit_accuracy(
                folder, seed, epochs, size, has_parts=False
            ),
            "parts": lambda seed: fit_accuracy(
                folder, seed, epochs, size, has_parts=True
            ),
            "trainer": lambda seed: trainer_accuracy(folder, seed, epochs, size),
        }
        found: dict[str, list[float]] = {name: [] for name in contenders}
        for seed in range(seeds):
            for name, train in contenders.items():
                found[name].append(train(seed))
                print(f"seed {seed}  {name:<8}{found[name][-1]:.1%}", flush=True)
    for name, scores in found.items():
        error = statistics.stdev(scores) / len(scores) ** 0.5 if seeds > 1 else 0.0
        print(f"{name:<8}top-1 {statistics.mean(scores):.1%} +- {error:.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("measure", choices=("speed", "accuracy"))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--worker", choices=SPEED, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        work(args.worker, args.batch)
    elif args.measure == "speed":
        speed(args.rounds, args.steps, args.batch)
    else:
        accuracy(args.seeds, args.epochs, args.size)


if __name__ == "__main__":
    main()
