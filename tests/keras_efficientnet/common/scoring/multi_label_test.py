"""Average precision, F1 and thresholds, compared with scikit-learn's."""

import numpy as np
import pytest
from sklearn import metrics

from keras_efficientnet.common.scoring import multi_label


def random_case(seed):
    """Returns targets and scores of 5 classes; odd seeds have many equal scores."""
    rng = np.random.default_rng(seed)
    images = int(rng.integers(2, 60))
    scores = rng.random((images, 5)).astype(np.float32)
    if seed % 2:
        scores = np.round(scores, 1)
    targets = (rng.random((images, 5)) < 0.3).astype(np.uint8)
    targets[:, 4] = 0
    targets[0, 0] = 1
    return targets, scores


@pytest.mark.parametrize("seed", range(10))
def test_average_precision_equals_that_of_scikit_learn(seed):
    targets, scores = random_case(seed)
    found = multi_label.average_precisions(targets, scores)
    has_images = targets.any(axis=0)
    assert np.isnan(found[~has_images]).all()
    known = targets[:, has_images], scores[:, has_images]
    theirs = metrics.average_precision_score(*known, average=None)
    np.testing.assert_allclose(found[has_images], theirs, rtol=1e-12)
    assert multi_label.mean_average_precision(targets, scores) == pytest.approx(
        metrics.average_precision_score(*known, average="macro"), rel=1e-12
    )


def test_average_precision_does_not_depend_on_the_order_of_the_images():
    targets, scores = random_case(1)
    order = np.random.default_rng(0).permutation(len(targets))
    np.testing.assert_array_equal(
        multi_label.average_precisions(targets, scores),
        multi_label.average_precisions(targets[order], scores[order]),
    )


@pytest.mark.parametrize("seed", range(4))
def test_thresholds_give_the_highest_f1(seed):
    targets, scores = random_case(seed)
    thresholds = multi_label.choose_thresholds(targets, scores)
    assert thresholds[4] == 0.5  # no image has the class
    precision, recall, f1 = multi_label.precision_recall_f1(
        targets, scores >= thresholds
    )
    theirs = metrics.precision_recall_fscore_support(
        targets, scores >= thresholds, zero_division=0
    )
    for i in np.flatnonzero(targets.any(axis=0)):
        best = max(
            metrics.f1_score(targets[:, i], scores[:, i] >= cut)
            for cut in np.unique(scores[:, i])
        )
        assert f1[i] == pytest.approx(best)
        assert (precision[i], recall[i]) == pytest.approx((theirs[0][i], theirs[1][i]))
