"""Aligned faces: moved by their landmarks to one template, as in insightface's eval_ijbc.py.

Only IJB-C needs it; the other face sets come aligned. No face is detected here.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from circlet.data.evaluation_sets import Floats, Templates
from circlet.data.images import ImageSet
from circlet.data.large import turn_of

if TYPE_CHECKING:
    from PIL.Image import Image

SIDE = 112
# Eyes, nose and corners of the mouth in an aligned face of 112 x 112 pixels, the first pixel's centre at 0
# (Deng et al., ArcFace, CVPR 2019; the template of insightface).
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)


def aligned(templates: Templates) -> ImageSet:
    """The images of templates, aligned by their landmarks to 112 x 112 pixels."""
    images = templates.images
    return replace(images, read=AlignedReader(images.read, templates.landmarks))


@dataclass(frozen=True, eq=False)
class AlignedReader:
    """Reader of aligned faces: image i is that of `read`, moved so that its landmarks come to lie on the template."""

    read: "Callable[[int], Image]"
    landmarks: Floats = field(repr=False)

    def __call__(self, index: int) -> "Image":
        """Return image `index`, 112 x 112, in colour."""
        from PIL import Image

        a, b, c, d, e, f = alignment(self.landmarks[index])
        # Pillow counts from the corner of the first pixel, landmarks from its centre.
        centred = (a, b, c + 0.5 - (a + b) / 2, d, e, f + 0.5 - (d + e) / 2)
        with self.read(index) as image, turn_of(image.size):
            return image.convert("RGB").transform(
                (SIDE, SIDE), Image.Transform.AFFINE, centred, Image.Resampling.BILINEAR
            )


def alignment(landmarks: Floats) -> tuple[float, float, float, float, float, float]:
    """Affine map (a, b, c, d, e, f) from a place (x, y) of the aligned face to (a x + b y + c, d x + e y + f).

    >>> a, b, c, d, e, f = alignment((2 * TEMPLATE + 3).astype(np.float32))
    >>> round(a, 4), abs(round(b, 4)), round(c, 4), round(e, 4), round(f, 4)
    (2.0, 0.0, 3.0, 2.0, 3.0)

    landmarks: (5, 2) x and y in the image. The map is the inverse of the similarity transform that brings them to the
    template with the least squared error (Umeyama, TPAMI 1991), which is a line of complex numbers, z = p w + q.
    """
    w, z = (points[:, 0] + 1j * points[:, 1] for points in (landmarks.astype(np.float64), TEMPLATE))
    centred = w - w.mean()
    if not np.abs(centred).max() > 0:
        raise ValueError(f"landmarks: found all five at {landmarks[0].tolist()}, expected them apart")
    p = (centred.conj() * (z - z.mean())).sum() / (np.abs(centred) ** 2).sum()
    back = 1 / p
    shift = w.mean() - back * z.mean()
    turn = float(back.real), float(back.imag)
    return turn[0], -turn[1], float(shift.real), turn[1], turn[0], float(shift.imag)
