"""Config fields of optimizer, schedule, loss and regularisation."""

import dataclasses


@dataclasses.dataclass
class OptimizationFields:
    """Config fields of optimizer, schedule, loss and regularisation.

    Attributes:
        batch_size: Images per step, over all replicas.
        grad_accum_steps: Number of parts that each replica splits its share of a batch
            into, to save memory; their gradients are summed.
        optimizer: Optimizer.
        lr_per_256: Learning rate for a batch of 256 images; it scales linearly with
            the batch size.
        clip_norm: Maximum global norm of the gradients. None: no clipping.
        epochs: Number of passes over the training images; may be fractional.
        min_steps: Least number of steps, which adds epochs where there are few images.
        schedule: Learning-rate schedule.
        warmup_epochs: Epochs of linear warmup, part of `epochs`.
        decay_epochs: Epochs between two decays of the "exponential" schedule.
        patience_epochs: Epochs without improvement on validation before the run stops
            early. None: no early stopping.
        progressive_sizes: Image sizes of progressive resizing, each for an equal share
            of the epochs, such as "128,176,224". None: those of `progressive_schedule`,
            or `train_size` throughout.
        progressive_schedule: Schedule of progressive learning, in which image size,
            RandAugment's magnitude, MixUp's and CutMix's alpha and dropout grow from
            phase to phase: "automl" as in the code of EfficientNetV2, where dropout
            stays, or "paper". None: these settings stay constant.
        progressive_stages: Number of phases, if `progressive_sizes` does not list them.
        progressive_start_size: Image size from which the schedule grows, in pixels.
        progressive_start_magnitude: Magnitude of RandAugment in the first phase.
        progressive_start_dropout: Dropout rate in the first phase of "paper".
        fixres_epochs: Number of epochs at the end, part of `epochs`, that train only
            BatchNorm and the head, on evaluation crops at `image_size` (FixRes). 0: no
            such epochs.
        fixres_lr_per_256: Learning rate at the start of the FixRes epochs for a batch
            of 256 images; it falls to 0. None: a tenth of `lr_per_256`.
        loss: Training loss. With several labels per image, both are binary.
        focal_gamma: Exponent of the focal loss.
        class_weights: Class weights in the training loss: "balanced",
            "effective_number[:BETA]" or the path of a JSON file. With several labels
            per image, they multiply the loss of the labels that an image has.
            None: 1.
        logit_adjustment: Factor of the logarithms of the class priors, which are added
            to the logits in training; 1 is the paper's. 0: no adjustment.
        teacher: Teacher of knowledge distillation: a run folder, a .keras file, or a
            variant such as "EfficientNetB4:noisy-student" with published weights.
            It sees the student's augmented images, and must have the classes of
            `data`. None: no teacher.
        teacher_temperature: Temperature of the teacher's and the student's
            predictions; higher values show more of the similarity of classes.
        teacher_weight: Share of the teacher in the loss, 0 to 1; the rest is the loss
            of the labels.
        weight_decay: Weight decay; not applied to BatchNorm. Coupled with "rmsprop" and
            "sgd" (weight_decay * sum of 0.5 * w**2 joins the loss), decoupled with
            "adamw".
        decay_biases: Whether weight decay applies to biases.
        label_smoothing: Share of each label that is spread evenly over all classes.
        dropout: Dropout rate before the classifier. None: the variant's, or 0.2.
        drop_connect: Final rate of stochastic depth; it rises linearly with depth.
        ema_decay: Decay per step of the moving average of the weights.
    """

    # Optimisation
    batch_size: int = 256
    grad_accum_steps: int = 1
    optimizer: str = "rmsprop"
    lr_per_256: float = 0.016
    clip_norm: float | None = None

    # Schedule
    epochs: float = 350.0
    min_steps: int = 0
    schedule: str = "exponential"
    warmup_epochs: float = 5.0
    decay_epochs: float = 2.4
    patience_epochs: float | None = None
    progressive_sizes: str | None = None
    progressive_schedule: str | None = None
    progressive_stages: int = 4
    progressive_start_size: int = 128
    progressive_start_magnitude: float = 5.0
    progressive_start_dropout: float = 0.1
    fixres_epochs: float = 0.0
    fixres_lr_per_256: float | None = None

    # Loss
    loss: str = "cross_entropy"
    focal_gamma: float = 2.0
    class_weights: str | None = None
    logit_adjustment: float = 0.0
    teacher: str | None = None
    teacher_temperature: float = 2.0
    teacher_weight: float = 0.5

    # Regularisation
    weight_decay: float = 1e-5
    decay_biases: bool = True
    label_smoothing: float = 0.1
    dropout: float | None = None
    drop_connect: float = 0.2
    ema_decay: float = 0.9999
