"""The settings of the augmentation; their flags and their place in config.json come from this dataclass."""

from dataclasses import dataclass


@dataclass(frozen=True)
class AugmentConfig:
    """Ranges of the random changes to a training image; 0 is none."""

    flip: bool = False
    """Mirror half of the images."""
    crop: tuple[float, float] | None = None
    """Random resized crop: range of the share of the area that is kept (aspect 3:4 to 4:3, in pixels)."""
    rotation: float = 0.0
    """Degrees to either side."""
    zoom: float = 0.0
    """Zoom by a factor between exp(-zoom) and exp(zoom)."""
    aspect: float = 0.0
    """Stretch by a factor between exp(-aspect) and exp(aspect)."""
    shear: float = 0.0
    """Largest shear, as a fraction of the height."""
    shift: float = 0.0
    """Largest shift, as a fraction of half the image."""
    pad: int = 0
    """Move by a whole number of pixels, up to this many each way: padding by `fill`, and a random crop."""
    elastic: float = 0.0
    """Largest standard deviation of a smooth random displacement, as a fraction of half the image."""
    stroke: float = 0.0
    """Share of the images whose strokes are made thicker or thinner, with the contrast; for ink on white."""
    brightness: float = 0.0
    """Add up to this much to all pixels (0 to 1)."""
    contrast: float = 0.0
    """Scale about the mean by 1 - contrast to 1 + contrast."""
    hue: float = 0.0
    """Turn the hue by up to this share of the colour circle (0 to .5) either way, brightness kept; for colours."""
    saturation: float = 0.0
    """Scale the colour by 1 - saturation to 1 + saturation (0 to 1); an image of one channel stays as it is."""
    grey: float = 0.0
    """Share of the images that become grey."""
    blur: float = 0.0
    """Share of the images that are blurred, by a Gaussian of .1 to 2 pixels at 224 x 224, scaled to the size."""
    strength: float = 0.0
    """RandAugment in one number, 0 to 1: each image gets `operations` of fourteen operations (rotate, shear, translate,
    brightness, contrast, saturation, sharpness, autocontrast, equalise, solarise, posterise ...), of this strength."""
    operations: int = 2
    """How many operations each image gets where `strength` is not 0."""
    erase: float = 0.0
    """Share of the images in which a rectangle (2 to 40 % of the area) becomes noise: random erasing."""
    dihedral_classes: bool = False
    """Turned and mirrored images are new classes: eight for each class. For characters and other square drawings."""
    composed_classes: float = 0.0
    """Share of a batch's classes that become new ones, drawn together from two; for pair-wise labels only."""
    warped_classes: float = 0.0
    """Share of a batch's classes that become new ones, bent, all images alike; for pair-wise labels only."""
    transform: str | None = None
    """Your own, before the others: package.module:function, called with the images of a batch (batch, channels, height,
    width), uint8, on the device; gives images of the same number and channels, uint8 or float 0 to 1. For those of
    albumentations and torchvision: `circlet.augment.each_image` and `each_tensor`; examples/own_transform.py."""
    fill: float | None = None
    """What lies beyond the border: a grey value (1 = white), or None: the border's own pixels."""

    def __post_init__(self) -> None:
        for name, most in (("hue", 0.5), ("saturation", 1), ("grey", 1), ("blur", 1), ("strength", 1)):
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"augment.{name}: found {getattr(self, name)}, expected a number from 0 to {most}")
        if self.operations < 0:
            raise ValueError(f"augment.operations: found {self.operations}, expected 0 or more")
        if self.pad < 0:
            raise ValueError(f"augment.pad: found {self.pad}, expected a number of pixels, 0 or more")
        if self.crop is not None and not 0 < self.crop[0] <= self.crop[1] <= 1:
            raise ValueError(f"augment.crop: found {self.crop}, expected a range of shares of the area, within 0 to 1")

    @property
    def classes_per_class(self) -> int:
        """How many training classes each class of the data becomes."""
        return 8 if self.dihedral_classes else 1
