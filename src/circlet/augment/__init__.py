"""Augmentation: random changes to batches of training images, on the device.

| file        | what it is                                                              |
|-------------|-------------------------------------------------------------------------|
| config      | the settings                                                            |
| batch       | all changes to a batch, in order                                        |
| geometry    | what moves pixels: crop, flip, turn, shear, as one map an image         |
| crops       | random resized crop, as published                                       |
| appearance  | what does not: strokes, light, random erasing                           |
| colour      | hue, saturation and grey, as one matrix an image                        |
| blur        | Gaussian blur, each image by its own width                              |
| strength    | random operations of one strength, after RandAugment                    |
| operations  | those of them that change pixels, as in PIL                             |
| new_classes | training classes made out of others: turned, composed and bent drawings |
| transforms  | a transform of your own, by name, and the check of what it gives        |
| each_image  | one for single images (albumentations, torchvision), for the batch      |
"""

from circlet.augment.batch import Augment
from circlet.augment.config import AugmentConfig
from circlet.augment.each_image import each_image, each_tensor

__all__ = ["Augment", "AugmentConfig", "each_image", "each_tensor"]
