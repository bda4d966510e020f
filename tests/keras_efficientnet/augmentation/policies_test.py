import functools

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from keras_efficientnet.augmentation import image_ops, op_levels, policies
from keras_efficientnet.augmentation.op_levels import OPERATIONS
from tests.support.paths import PHOTOS

PHOTO = PHOTOS / "dog.jpg"
SIZE = 32
KEEP, NEGATE = 0.75, 0.25  # uniform numbers that keep or negate the sign
ALWAYS, NEVER = 0.9999, 0.0  # and that apply all steps, or only those with p = 1

# Golden: the published policy v0, two times "operation probability level" per line.
PUBLISHED = """
Equalize .8 1 ShearY .8 4
Color .4 9 Equalize .6 3
Color .4 1 Rotate .6 8
Solarize .8 3 Equalize .4 7
Solarize .4 2 Solarize .6 2
Color .2 0 Equalize .8 8
Equalize .4 8 SolarizeAdd .8 3
ShearX .2 9 Rotate .6 8
Color .6 1 Equalize 1 2
Invert .4 9 Rotate .6 0
Equalize 1 9 ShearY .6 3
Color .4 7 Equalize .6 0
Posterize .4 6 AutoContrast .4 7
Solarize .6 8 Color .6 9
Solarize .2 4 Rotate .8 9
Rotate 1 7 TranslateY .8 9
ShearX 0 0 Solarize .8 4
ShearY .8 0 Color .6 4
Color 1 0 Rotate .6 2
Equalize .8 4 Equalize 0 8
Equalize 1 4 AutoContrast .6 2
ShearY .4 7 SolarizeAdd .6 7
Posterize .8 2 Solarize .6 10
Solarize .6 8 Equalize .6 1
Color .8 6 Rotate .4 5
"""


@functools.cache
def photo():
    with Image.open(PHOTO) as file:
        return tf.constant(np.asarray(file.convert("RGB").resize((SIZE, SIZE))))


def published():
    rows = [line.split() for line in PUBLISHED.split("\n") if line]
    return [[(r[i], float(r[i + 1]), float(r[i + 2])) for i in (0, 3)] for r in rows]


def golden(op, level, sign, image, translate=250.0):
    """Applies an operation of the original to independently computed arguments."""
    m = level / 10
    ops = image_ops
    return {
        "AutoContrast": lambda: ops.auto_contrast(image),
        "Equalize": lambda: ops.equalize(image),
        "Invert": lambda: ops.invert(image),
        "Rotate": lambda: ops.rotate(image, sign * m * 30),
        "Posterize": lambda: ops.posterize(image, max(int(m * 4), 1)),
        "Solarize": lambda: ops.solarize(image, int(m * 256) % 256),
        "SolarizeAdd": lambda: ops.solarize_add(image, int(m * 110)),
        "Color": lambda: ops.color(image, m * 1.8 + 0.1),
        "Contrast": lambda: ops.contrast(image, m * 1.8 + 0.1, grey=4),  # 32 * 32 / 256
        "Brightness": lambda: ops.brightness(image, m * 1.8 + 0.1),
        "Sharpness": lambda: ops.sharpness(image, m * 1.8 + 0.1),
        "ShearX": lambda: ops.shear_x(image, sign * m * 0.3),
        "ShearY": lambda: ops.shear_y(image, sign * m * 0.3),
        "TranslateX": lambda: ops.translate_x(image, sign * m * translate),
        "TranslateY": lambda: ops.translate_y(image, sign * m * translate),
        "Cutout": lambda: ops.cutout(image, int(m * 40), centre=(0.5, 0.25)),
    }[op]()


@functools.cache
def compiled_autoaugment():
    policy, count = policies.autoaugment(SIZE, "exact")
    assert count == 9
    return tf.function(policy, jit_compile=True, autograph=False)


def test_policy_v0_is_the_published_one():
    ours = [
        [(step.op, step.probability, step.level) for step in steps]
        for steps in policies.AUTOAUGMENT_V0
    ]
    assert ours == published()


@pytest.mark.parametrize(("draw", "sign"), [(KEEP, 1), (NEGATE, -1)])
def test_every_sub_policy_equals_its_operations_in_sequence(draw, sign):
    policy = compiled_autoaugment()
    for i, steps in enumerate(published()):
        step = [ALWAYS, draw, 0.5, 0.5]
        out = policy(photo(), tf.constant([(i + 0.5) / 25, *step, *step]))
        expected = photo()
        for op, probability, level in steps:
            if probability > 0:
                expected = golden(op, level, sign, expected)
        np.testing.assert_array_equal(out, expected, err_msg=f"sub-policy {i + 1}")


def test_a_step_is_applied_with_its_probability():
    """floor(uniform + p), at both ends of every step's interval."""
    policy = compiled_autoaugment()
    for i, steps in enumerate(published()):
        for k, (op, probability, level) in enumerate(steps):
            alone = golden(op, level, 1, photo())
            if op == "Equalize" and np.array_equal(alone, photo()):
                continue
            for above in (True, False):
                uniform = 1 - probability + (0.01 if above else -0.01)
                if not 0 <= uniform < 1 or steps[1 - k][1] == 1:
                    continue
                step = [[NEVER, KEEP, 0.5, 0.5], [NEVER, KEEP, 0.5, 0.5]]
                step[k][0] = uniform
                out = policy(photo(), tf.constant([(i + 0.5) / 25, *step[0], *step[1]]))
                expected = alone if above else photo()
                np.testing.assert_array_equal(out, expected, err_msg=f"{i} {op}")


def test_sub_policies_are_equally_likely():
    """Golden: the table's probability that nothing is applied."""
    policy = tf.function(policies.autoaugment(SIZE, "exact")[0], autograph=False)
    images = np.random.default_rng(0).integers(60, 200, (SIZE, SIZE, 3), np.uint8)
    # Signed operations at level 0, and Color at 5, change nothing.
    idle = {("ShearX", 0), ("ShearY", 0), ("Rotate", 0), ("Color", 5)}
    kept = [
        np.prod([1 - p * ((op, level) not in idle) for op, p, level in steps])
        for steps in published()
    ]
    uniforms = np.random.default_rng(1).random((800, 9), np.float32)
    data = tf.data.Dataset.from_tensor_slices(uniforms).map(
        lambda u: tf.reduce_all(policy(images, u) == images)
    )
    share = np.mean(list(data.as_numpy_iterator()))
    assert share == pytest.approx(np.mean(kept), abs=3 * (0.25 / 800) ** 0.5)


def test_randaugment_applies_each_operation():
    policy, count = policies.randaugment(SIZE, "exact", layers=2, magnitude=7)
    assert count == 8
    compiled = tf.function(policy, jit_compile=True, autograph=False)
    for i, op in enumerate(policies.RANDAUGMENT):
        then = (i + 5) % 16
        first, second = [(i + 0.5) / 16, KEEP], [(then + 0.5) / 16, NEGATE]
        centre = [0.5, 0.25]
        out = compiled(photo(), tf.constant([*first, *centre, *second, *centre]))
        expected = golden(op, 7, 1, photo(), translate=100.0)
        expected = golden(policies.RANDAUGMENT[then], 7, -1, expected, translate=100.0)
        np.testing.assert_array_equal(out, expected, err_msg=op)


def argument(op, level, compat, size=224, reach=(100, 40)):
    used = op_levels.setting(size, compat, translate=reach[0], cutout=reach[1])
    return OPERATIONS[op].argument(level, used)


@pytest.mark.parametrize(
    ("op", "level", "exact", "fixed"),
    [
        # Computed by hand from the original's formulas: uint8 wraps, shifts stop at 7.
        ("Posterize", 2, 1, 0),
        ("Posterize", 6, 2, 2),
        ("Posterize", 17, 6, 6),
        ("Posterize", 28, 1, 8),
        ("Solarize", 3, 76, 76),
        ("Solarize", 10, 0, 256),
        ("Solarize", 17, 179, 256),
        ("Solarize", 28, 204, 256),
        ("SolarizeAdd", 17, 187, 187),
        ("SolarizeAdd", 28, 308, 308),
        ("Rotate", 28, 84, 84),
        ("ShearX", 17, 0.51, 0.51),
        ("TranslateY", 17, 170, 170),
        ("Cutout", 28, 112, 112),
        ("Brightness", 17, 3.16, 3.16),
        ("Sharpness", 28, 5.14, 5.14),
    ],
)
def test_levels_become_arguments(op, level, exact, fixed):
    assert argument(op, level, "exact") == pytest.approx(exact)
    assert argument(op, level, "fixed") == pytest.approx(fixed)


def test_fixed_distances_grow_with_the_image():
    assert argument("TranslateX", 10, "exact", size=448) == 100
    assert argument("TranslateX", 10, "fixed", size=448) == 200
    assert argument("Cutout", 10, "exact", size=448) == 40
    assert argument("Cutout", 10, "fixed", size=448) == 80


def test_fixed_autoaugment_does_not_move_the_image_out_of_sight():
    """In the original, sub-policy 16 moves by 225 of 224 pixels."""
    step = [ALWAYS, KEEP, 0.5, 0.5]
    uniforms = tf.constant([15.5 / 25, *step, *step])
    image = tf.image.resize(photo(), (224, 224), "nearest")
    exact, fixed = (
        policies.autoaugment(224, compat)[0](image, uniforms)
        for compat in ("exact", "fixed")
    )
    assert np.all(exact == image_ops.GREY)
    assert np.mean(fixed != image_ops.GREY) > 0.3


@pytest.mark.parametrize(("size", "grey"), [(224, 196), (240, 225), (256, 255)])
def test_exact_contrast_is_about_the_number_of_pixels(size, grey):
    used = op_levels.setting(size, "exact", translate=100, cutout=40)
    assert OPERATIONS["Contrast"].options(used) == {"grey": grey}
    used = op_levels.setting(size, "fixed", translate=100, cutout=40)
    assert OPERATIONS["Contrast"].options(used) == {"grey": None}


@pytest.mark.parametrize("op", ["ShearX", "ShearY"])
def test_fixed_shear_is_about_the_centre(op):
    for compat in ("exact", "fixed"):
        used = op_levels.setting(224, compat, translate=100, cutout=40)
        assert OPERATIONS[op].options(used) == {"centred": compat == "fixed"}


def augmix_uniforms(chains, depths, skip, cuts):
    """Returns the uniforms of chains of three (operation, level, sign draw)."""
    steps = [
        [(policies.AUGMIX.index(op) + 0.5) / 9, (level * 10 - 0.5) / 30, sign]
        for chain in chains
        for op, level, sign in chain
    ]
    depths = [(depth - 0.5) / 3 for depth in depths]
    return tf.constant([*np.ravel(steps), *depths, skip, *cuts], tf.float32)


@pytest.fixture(scope="module")
def augmix():
    policy, count = policies.augmix(SIZE, "exact")
    assert count == 3 * 3 * 3 + 3 + 3
    return tf.function(policy, jit_compile=True, autograph=False)


CHAINS = [
    [("Rotate", 3.0, KEEP), ("Solarize", 2.0, KEEP), ("Posterize", 2.5, KEEP)],
    [("TranslateX", 1.5, NEGATE), ("Equalize", 1.0, KEEP), ("ShearY", 2.0, KEEP)],
    [("AutoContrast", 1.0, KEEP), ("ShearX", 1.0, NEGATE), ("TranslateY", 3.0, KEEP)],
]


def test_augmix_equals_the_weighted_sum_of_its_chains(augmix):
    """Golden by hand: chains of 3, 1 and 2 operations, weights 1/4, 1/2 and 1/4, and
    three quarters of their mixture."""
    image = photo()
    first = image_ops.solarize(image_ops.rotate(image, 9.0), int(0.2 * 256))
    first = image_ops.posterize(first, 4 - int(0.25 * 4))
    second = image_ops.translate_x(image, -0.15 * SIZE / 3)
    third = image_ops.shear_x(image_ops.auto_contrast(image), -0.03)
    parts = [np.asarray(part, float) for part in (first, second, third)]
    mixture = 0.25 * parts[0] + 0.5 * parts[1] + 0.25 * parts[2]
    expected = np.floor(0.25 * image.numpy() + 0.75 * mixture + 0.5)
    uniforms = augmix_uniforms(CHAINS, (3, 1, 2), 0.75, (0.75, 0.25))
    np.testing.assert_array_equal(augmix(image, uniforms), expected)


def test_augmix_without_mixture_is_the_image(augmix):
    uniforms = augmix_uniforms(CHAINS, (3, 3, 3), 0.0, (0.1, 0.6))
    np.testing.assert_array_equal(augmix(photo(), uniforms), photo())


def test_compiled_policies_give_the_same_bits(augmix):
    made = {
        "autoaugment": (compiled_autoaugment(), policies.autoaugment(SIZE, "exact")),
        "augmix": (augmix, policies.augmix(SIZE, "exact")),
    }
    rng = np.random.default_rng(0)
    for name, (compiled, (policy, count)) in made.items():
        plain = tf.function(policy, autograph=False)
        for _ in range(60):
            uniforms = tf.constant(rng.random(count, np.float32))
            expected = plain(photo(), uniforms)
            out = compiled(photo(), uniforms)
            np.testing.assert_array_equal(out, expected, err_msg=name)
