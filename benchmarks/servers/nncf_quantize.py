"""NNCF's post-training quantisation, as its guide shows it; may run in another Python.

python benchmarks/servers/nncf_quantize.py MODEL.xml IMAGES.npy OUTPUT.xml
"""

from __future__ import annotations

import sys

import nncf
import numpy as np
import openvino


def main() -> None:
    """Quantises the model of `sys.argv` on the images of `sys.argv`."""
    source, images, target = sys.argv[1:]
    model = openvino.Core().read_model(source)
    batches = [image[np.newaxis] for image in np.load(images)]
    # "Mixed" is NNCF's advice for networks with swish: asymmetric activations.
    found = nncf.quantize(
        model,
        nncf.Dataset(batches),
        preset=nncf.QuantizationPreset.MIXED,
        target_device=nncf.TargetDevice.CPU,
        subset_size=len(batches),
    )
    openvino.save_model(found, target, compress_to_fp16=False)


if __name__ == "__main__":
    main()
