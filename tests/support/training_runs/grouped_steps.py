"""Steps with BatchNorm over groups of replicas, on logical CPU devices.

`python -m tests.support.training_runs.grouped_steps REPLICAS FILE.npz CASE...` runs the
steps of some `CASES`. Each number of replicas needs its own process, because strategies
in one process share the keys of their collective operations.
"""

import sys

import numpy as np

STEPS = 2
# Replicas -> case -> fields of the config.
CASES = {
    1: {
        "whole": {},
        # Half-batches with separate statistics, one after the other.
        "halves": {"grad_accum_steps": 2},
        # Tiny, because the attacks of each replica start from a different seed.
        "attacked": {"adversarial_epsilon": 1e-6},
        "bfloat16": {"precision": "mixed_bfloat16"},
    },
    2: {"alone": {"bn_group_size": 1}},
    4: {
        "alone": {"bn_group_size": 1},
        "two_groups": {"bn_group_size": 2},
        "one_group": {"bn_group_size": 4},
        "synchronised": {"sync_batch_norm": True},
        "attacked": {
            "bn_group_size": 4,
            "adversarial_epsilon": 1e-6,
            "remat": "1,2",
        },
        "bfloat16": {"bn_group_size": 4, "precision": "mixed_bfloat16"},
    },
}


def main():
    import keras
    import tensorflow as tf

    from tests.support.training_runs import tiny_step

    replicas, path, cases = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
    cpu = tf.config.list_physical_devices("CPU")[0]
    devices = [tf.config.LogicalDeviceConfiguration()] * replicas
    tf.config.set_logical_device_configuration(cpu, devices)
    used = tf.distribute.get_strategy()
    if replicas > 1:
        used = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(replicas)])
    found = {}
    for case in cases:
        fields = CASES[replicas][case]
        keras.config.set_dtype_policy(fields.get("precision", "float32"))
        synchronized = fields.get("sync_batch_norm", False)
        with used.scope():
            model = tiny_step.net(dropout=0, synchronized=synchronized)
        state, take = tiny_step.make(model, None, used, **fields)
        for seed in range(STEPS):
            take(*_share(tiny_step.batch(seed, scale=5), used))
        extra = [w for layer in state.auxiliary.values() for w in layer.weights]
        for variable in [*model.variables, *extra]:
            name = f"{case}/{len(found)}/{variable.path}"
            found[name] = variable.numpy()
    np.savez(path, **found)


def _share(batch, used):
    """Splits a batch into one part per replica, in order."""
    import tensorflow as tf

    if used.num_replicas_in_sync == 1:
        return batch
    cut = [tf.split(column, used.num_replicas_in_sync) for column in batch]
    return [
        used.experimental_distribute_values_from_function(
            lambda context, parts=parts: parts[context.replica_id_in_sync_group]
        )
        for parts in cut
    ]


if __name__ == "__main__":
    main()
