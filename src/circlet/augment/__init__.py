"""Augmentation: random changes to batches of training images, on the device.

| file        | what it is                                                              |
|-------------|-------------------------------------------------------------------------|
| config      | the settings                                                            |
| batch       | all changes to a batch, in order                                        |
| geometry    | what moves pixels: crop, flip, turn, shear, as one map an image          |
| appearance  | what does not: strokes, light, random erasing                           |
| new_classes | training classes made out of others: turned, composed and bent drawings |
"""

from circlet.augment.batch import Augment
from circlet.augment.config import AugmentConfig

__all__ = ["Augment", "AugmentConfig"]
