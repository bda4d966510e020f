"""Fine-tunes EfficientNet-Lite0 on a folder of photos with `model.fit`.

python -m examples.fine_tuning_with_fit PHOTOS [--epochs=5] [--output=mine.keras]

PHOTOS has one folder of images per class. docs/fit.md explains the steps.
"""

from __future__ import annotations

import argparse

import keras

import keras_efficientnet
from keras_efficientnet.augmentation import EvalCrop, TrainCrop
from keras_efficientnet.callbacks import ExponentialMovingAverage, FusedLayers
from keras_efficientnet.optimizers import TF1RMSprop
from keras_efficientnet.schedules import WarmupCosineDecay

SIZE = 224  # pixels
LOSS = "sparse_categorical_crossentropy"


def main(photos: str, epochs: int, output: str) -> float:
    """Trains the classifier, then the last stages; returns the validation top-1."""
    train, validation = keras.utils.image_dataset_from_directory(
        photos,
        validation_split=0.25,
        subset="both",
        seed=1,
        image_size=(256, 256),
        crop_to_aspect_ratio=True,
        batch_size=16,
    )
    classes = len(train.class_names)
    train = train.apply(TrainCrop(SIZE, seed=1)).prefetch(2)
    validation = validation.apply(EvalCrop(SIZE)).cache()

    model = keras_efficientnet.EfficientNetLite0(weights="imagenet")
    model = keras_efficientnet.reset_classifier(model, classes=classes)
    keras_efficientnet.freeze(model)
    model.compile("adam", LOSS, metrics=["accuracy"])
    model.fit(train, validation_data=validation, epochs=epochs)

    keras_efficientnet.freeze(model, up_to=4)
    total_steps = epochs * len(train)
    schedule = WarmupCosineDecay(
        0.001, warmup_steps=total_steps // 10, total_steps=total_steps
    )
    model.compile(TF1RMSprop(schedule, l2=1e-5), LOSS, metrics=["accuracy"])
    average = ExponentialMovingAverage(max(0.0, 1 - 10 / total_steps))
    callbacks = [average, FusedLayers()]
    model.fit(train, validation_data=validation, epochs=epochs, callbacks=callbacks)
    _, top1 = model.evaluate(validation, verbose=0)
    model.save(output)
    print(f"{output}: top-1 {top1:.1%} of the validation photos")
    return float(top1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--output", default="mine.keras")
    main(**vars(parser.parse_args()))
