"""Where the drawing is: the box around dark ink on white by its centre of mass and its spread.

Handwritten characters differ in place and size from writer to writer. Cutting each out around its centre of mass, in
proportion to the spread of its ink, takes that away before anything is learned (moment normalisation).
"""

import numpy as np
import numpy.typing as npt

SPREAD = 0.38  # standard deviation of the ink that fills a box, as a fraction of half its side


def ink_box(grey: npt.NDArray[np.uint8]) -> tuple[float, float, float, float]:
    """Square box (left, top, right, bottom), in pixels, around the ink; it may reach beyond the image.

    >>> image = np.full((101, 101), 255, dtype=np.uint8)
    >>> image[20:31, 60:71] = 0
    >>> left, top, right, bottom = ink_box(image)
    >>> (left + right) / 2, (top + bottom) / 2
    (65.5, 25.5)

    grey: (height, width) uint8, dark on white. A blank image gives its own centred square.
    """
    height, width = grey.shape
    ink = 255 - grey
    total = ink.sum(dtype=np.float64)
    half = max(height, width) / 2
    if total == 0:
        return width / 2 - half, height / 2 - half, width / 2 + half, height / 2 + half
    columns, rows = (ink.sum(axis, dtype=np.float64) / total for axis in (0, 1))
    x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
    centre_x, centre_y = columns @ x, rows @ y
    variance = (columns @ (x - centre_x) ** 2 + rows @ (y - centre_y) ** 2) / 2
    half = max(np.sqrt(variance) / SPREAD, 0.05 * half)  # a single dot is not blown up without end
    return float(centre_x - half), float(centre_y - half), float(centre_x + half), float(centre_y + half)
