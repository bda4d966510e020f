"""Config fields of the images and their augmentation."""

import dataclasses


@dataclasses.dataclass
class DataFields:
    """Config fields of the images and their augmentation.

    Attributes:
        data: Data source: "digits", "fashion_mnist", "idx:DIR", "folder:DIR",
            "csv:FILE", "tfds:NAME", with ":VERSION" or "+download" after it,
            "tfrecord:GLOB" or "arrayrecord:GLOB". Required.
        task: Number of labels per image: "single_label" for exactly one,
            "multi_label" for any number, as a CSV file lists them.
        data_dir: Folder in which TFDS keeps its data sets. None: TFDS's default.
        image_size: Side of the network's input in pixels. None: the variant's.
        train_size: Side of the training images in pixels; with progressive learning,
            of the last phase. None: `image_size`; for V2 variants with neither
            `image_size` nor `weights`, the published training size, which is smaller.
        crop_ratio: Side of the central crop in evaluation as a ratio to the image's
            shorter side. None: that of the published weights, with their crop mode, or
            `default_crop_ratio`.
        crop_min_area: Smallest area of the random training crop as a ratio to that of
            the image. None: areas from 8% on are drawn, and those under 10% rejected.
        interpolation: Resize method. None: that of the variant's published weights, or
            "bicubic_legacy".
        minival: Number of training images held out by a fixed rule. Every epoch is
            validated on them, and the real validation images are scored once, at the
            end.
        pseudo_labels: File of pseudo labels from `training.pseudo_label`; its images
            join the training images. None: no pseudo labels.
        on_bad_image: Action for an image that cannot be decoded: "raise" an error or
            "skip" the image.
        sampling: Share of the classes in the training batches: "balanced" draws all
            equally often, "sqrt" by the square root of their numbers of images. None:
            each image once per epoch.
        augment: Augmentation policy.
        augment_compat: Compatibility with the original implementation: "exact"
            reproduces its bugs, "fixed" does what was intended.
        randaugment_layers: Number of operations per image, N in the RandAugment paper.
        randaugment_magnitude: Strength of the operations, M in the RandAugment paper;
            10 is the nominal maximum.
        random_erasing: Probability of erasing a rectangle of an image.
        mixup_alpha: Alpha of MixUp's Beta distribution. 0 turns MixUp off.
        cutmix_alpha: Alpha of CutMix's Beta distribution. 0 turns CutMix off.
        mixing: Use of MixUp and CutMix where both are on: "per_batch" applies one of
            them to each batch at random, "half_and_half" MixUp to the first half of
            each batch and CutMix to the second.
        adversarial_epsilon: Maximum perturbation of AdvProp's attacker in pixel
            values. 0 turns AdvProp off.
        adversarial_steps: Number of steps of AdvProp's attacker.
    """

    # Data
    data: str | None = None
    task: str = "single_label"
    data_dir: str | None = None
    image_size: int | None = None
    train_size: int | None = None
    crop_ratio: float | None = None
    crop_min_area: float | None = None
    interpolation: str | None = None
    minival: int = 0
    pseudo_labels: str | None = None
    on_bad_image: str = "raise"
    sampling: str | None = None

    # Augmentation
    augment: str = "crop_flip"
    augment_compat: str = "exact"
    randaugment_layers: int = 2
    randaugment_magnitude: float = 10.0
    random_erasing: float = 0.0
    mixup_alpha: float = 0.0
    cutmix_alpha: float = 0.0
    mixing: str = "per_batch"
    adversarial_epsilon: float = 0.0
    adversarial_steps: int = 1
