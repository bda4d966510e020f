"""Image files in folders, for tests of how files are listed."""

from PIL import Image


def write_image(path, value=128, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 48), (value, 0, 0)).save(path, **options)
    return path


def write_images(root, *names):
    """Writes a small PNG file under each name, whatever its suffix."""
    for value, name in enumerate(names):
        write_image(root / name, value, format="PNG")
