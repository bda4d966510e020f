"""Suggestions for unknown config fields: former names and those of other trainers."""

from __future__ import annotations

from collections.abc import Sequence

from keras_efficientnet.common.choices import did_you_mean

SUGGESTIONS = 3

# Former name -> field.
RENAMED = {
    "accumulate": "grad_accum_steps",
    "augment_quirks": "augment_compat",
    "crop_padding": "crop_ratio",
    "head_epochs": "head_only_epochs",
    "resize": "interpolation",
    "train_from_stage": "unfreeze_from_stage",
}
# Field -> its names in Keras, timm, torchvision, Hugging Face and Ultralytics.
_ELSEWHERE = {
    "augment": ("aa", "augmentation", "auto_augment"),
    "batch_size": ("batch", "bs", "train_batch_size"),
    "bn_epsilon": ("bn_eps", "epsilon"),
    "bn_momentum": ("momentum_bn",),
    "checkpoint_every_steps": ("save_every", "save_freq", "save_period", "save_steps"),
    "class_weights": ("class_weight", "cls_weights"),
    "clip_norm": ("clip_grad", "clip_grad_norm", "clipnorm", "max_grad_norm"),
    "crop_ratio": ("crop_pct",),
    "cutmix_alpha": ("cutmix",),
    "data": ("data_path", "dataset"),
    "drop_connect": ("drop_connect_rate", "drop_path", "drop_path_rate"),
    "dropout": ("drop", "drop_rate", "dropout_rate"),
    "ema_decay": ("ema", "ema_momentum", "model_ema_decay"),
    "epochs": ("max_epochs", "num_epochs", "num_train_epochs"),
    "freeze_batch_norm": ("freeze_bn",),
    "grad_accum_steps": ("accum_iter", "grad_accum", "gradient_accumulation_steps"),
    "image_size": ("img_size", "imgsz", "input_size", "resolution"),
    "keep_checkpoints": ("max_to_keep", "save_total_limit"),
    "fixres_epochs": ("finetune_epochs", "fixres"),
    "focal_gamma": ("fl_gamma", "gamma"),
    "label_smoothing": ("label_smoothing_factor", "smoothing"),
    "logit_adjustment": ("logit_adj", "tau"),
    "loss": ("criterion", "loss_fn"),
    "lr_per_256": ("base_lr", "learning_rate", "lr", "lr0", "peak_lr"),
    "mixing": ("mixup_mode",),
    "mixup_alpha": ("mixup",),
    "model": ("arch", "architecture", "backbone", "model_name"),
    "optimizer": ("opt", "optim"),
    "patience_epochs": ("early_stopping", "patience"),
    "precision": ("amp", "bf16", "dtype", "fp16", "mixed_precision"),
    "random_erasing": ("erasing", "random_erase", "reprob"),
    "remat": ("gradient_checkpointing", "grad_checkpointing", "rematerialization"),
    "sampling": ("sampler", "weighted_sampler"),
    "schedule": ("lr_schedule", "lr_scheduler", "lr_scheduler_type", "sched"),
    "seed": ("random_seed",),
    "strategy": ("device", "devices", "distribution_strategy"),
    "sync_batch_norm": ("sync_bn", "syncbn"),
    "teacher": ("distill_from", "teacher_model", "teacher_path"),
    "teacher_temperature": (
        "distillation_temperature",
        "kd_temperature",
        "temperature",
    ),
    "teacher_weight": ("distillation_alpha", "distillation_weight", "kd_weight"),
    "task": ("multi_label", "multilabel", "problem_type"),
    "train_size": ("train_crop_size",),
    "warmup_epochs": ("lr_warmup_epochs", "warmup"),
    "weight_decay": ("wd",),
    "weights": ("initial_checkpoint", "pretrained"),
}
_ALIASES = RENAMED | {
    alias: field for field, aliases in _ELSEWHERE.items() for alias in aliases
}


def check_field(name: str, fields: Sequence[str]) -> None:
    """Checks that `name` is a config field.

    Args:
        name: Name of a field.
        fields: Names of all fields.

    Raises:
        ValueError: There is no such field; the message names the nearest ones, or the
            field for a name that other trainers use.
    """
    if name in fields:
        return
    known = _ALIASES.get(name.lower())
    near = did_you_mean(name, fields, SUGGESTIONS)
    hint = f" Did you mean {known!r}?" if known else near
    raise ValueError(
        f"A config field must be one of those that --help lists.{hint} "
        f"Received: {name!r}"
    )
