"""Config fields of devices, checkpoints, calibration and the run folder."""

import dataclasses


@dataclasses.dataclass
class RunFields:
    """Config fields of devices, checkpoints, calibration and the run folder.

    Attributes:
        strategy: Distribution strategy. "auto" chooses by the workers and devices.
        start_timeout: Seconds that workers wait for each other at the start.
        heartbeat_timeout: Seconds of silence after which a worker counts as lost.
        precision: Keras dtype policy of training and validation. The final model is
            float32.
        sync_batch_norm: Whether BatchNorm computes its statistics over all replicas.
        bn_group_size: Number of replicas that share BatchNorm's statistics; with 1,
            each has its own. None: the original's rule, 1 for up to 8 replicas, else
            groups of 8, or of an eighth of the replicas if that is more; for V2, all
            replicas up to 8, else groups of 8.
        remat: Stages whose activations are recomputed in the backward pass to save
            memory (gradient checkpointing), such as "1,2,3", or "all". None: none.
        seed: Seed of weights, data order, augmentation and dropout.
        checkpoint_every_steps: Steps between checkpoints. None: at the end of each
            epoch only.
        keep_checkpoints: Number of latest checkpoints to keep.
        export_samples: Maximum number of training images to copy into the run folder
            for calibrating int8 exports.
        calibrate: Whether to fit a temperature on the validation images at the end,
            which prediction and export apply to the probabilities.
        reject_precision: Precision of accepted predictions, such as 0.95. Images whose
            confidence is under the threshold for it, chosen on the validation images,
            are not recognised. None: all predictions are accepted.
        unknown: Folder of images of other classes, to measure the share that
            `reject_precision` rejects. None: not measured.
    """

    # Devices
    strategy: str = "auto"
    start_timeout: float = 300.0
    heartbeat_timeout: float = 100.0
    precision: str = "float32"
    sync_batch_norm: bool = False
    bn_group_size: int | None = None
    remat: str | None = None
    seed: int = 0

    # Checkpoints
    checkpoint_every_steps: int | None = None
    keep_checkpoints: int = 3
    export_samples: int = 200

    # Calibration
    calibrate: bool = True
    reject_precision: float | None = None
    unknown: str | None = None
