"""Images read and squashed; what is no image is in ``test_prepared.py``."""

import torch
from PIL import Image

from guidance.data import Shapes
from guidance.data.squashed import read_image, squash


def test_squashed_as_pillow_does() -> None:
    image = torch.randint(0, 256, (3, 37, 90), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    ours = squash(image, 16)
    picture = Image.fromarray(image.permute(1, 2, 0).numpy()).resize((16, 16), Image.Resampling.BILINEAR)
    theirs = (
        torch.frombuffer(bytearray(picture.tobytes()), dtype=torch.uint8).reshape(16, 16, 3).permute(2, 0, 1)
    )
    assert ours.shape == (3, 16, 16)
    assert int((ours.int() - theirs.int()).abs().max()) <= 1, "both round once or twice"


def test_an_image_of_this_size_is_not_touched() -> None:
    image = read_image(Shapes("train", image_size=32, length={"train": 2}, seed=0), 1)
    assert image.dtype == torch.uint8
    assert squash(image, 32) is image
