import numpy as np
import pytest
import tensorflow as tf

from keras_efficientnet.common.padding import same_padding


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3, 5])
@pytest.mark.parametrize("dilation", [1, 2])
def test_padding_equals_tensorflows(kernel, stride, dilation):
    """Golden: tf.nn.convolution for every side from 1 to 12."""
    if stride > 1 and dilation > 1:
        pytest.skip("TensorFlow does not support strided dilated convolutions")
    weights = np.arange(1, kernel + 1, dtype=np.float32).reshape(kernel, 1, 1)
    reach = dilation * (kernel - 1) + 1
    for side in range(1, 13):
        line = np.arange(1, side + 1, dtype=np.float32).reshape(1, side, 1)
        options = {"strides": stride, "dilations": dilation}
        expected = tf.nn.convolution(line, weights, padding="SAME", **options)
        padded = np.pad(line, ((0, 0), same_padding(side, reach, stride), (0, 0)))
        actual = tf.nn.convolution(padded, weights, padding="VALID", **options)
        np.testing.assert_array_equal(actual, expected, err_msg=str(side))
