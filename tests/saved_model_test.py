import subprocess
import sys

import export_run
import numpy as np
import tensorflow as tf

# What a serving machine does not have cannot be imported.
PLAIN_TENSORFLOW = """
import sys
sys.modules.update(dict.fromkeys(["keras", "keras_efficientnet", "export"]))
import numpy as np
import tensorflow as tf
model = tf.saved_model.load(sys.argv[1])
images = tf.constant(np.load(sys.argv[2]))
outputs = model.signatures["serving_default"](images=images)
np.save(sys.argv[3], outputs["probabilities"].numpy())
"""


def test_plain_tensorflow_gives_keras_answers_at_any_batch_size(tmp_path):
    export_run.exported()
    folder = export_run.run_folder() / "export" / "saved_model"
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (5, 32, 32, 3)).astype(np.float32)
    np.save(tmp_path / "images.npy", images)
    files = [str(folder), str(tmp_path / "images.npy"), str(tmp_path / "scores.npy")]
    subprocess.run([sys.executable, "-c", PLAIN_TENSORFLOW, *files], check=True)
    wanted = export_run.fitted_network().predict_on_batch(images)
    np.testing.assert_allclose(np.load(files[2]), wanted, atol=1e-5)


def test_every_weight_is_saved_once():
    export_run.exported()
    folder = export_run.run_folder() / "export" / "saved_model"
    saved = tf.train.list_variables(str(folder / "variables" / "variables"))
    shapes = sorted(tuple(shape) for name, shape in saved if name[0] != "_")
    weights = export_run.fitted_network().weights
    assert shapes == sorted(tuple(weight.shape) for weight in weights)
