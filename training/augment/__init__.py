"""Augmentation of training images: crops, policies, MixUp, CutMix, RandomErasing."""
