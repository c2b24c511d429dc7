"""How a trained model is tested: views of each image, work on the embeddings, and where the face test sets lie.

None of it changes the training; `circlet evaluate RUN` takes the same flags.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

Place = Annotated[Path | None, tyro.conf.arg(metavar="PATH")]


@dataclass(frozen=True)
class TestConfig:
    """What is done in testing beyond one plain view of each image."""

    flip: bool = False
    """Add the embedding of the mirrored image."""
    crop: bool = False
    """Add up the embeddings of five crops, corners and centre, of the decoded image."""
    expand: int = 0
    """Queries move towards this many neighbours before they search again (alpha query expansion, alpha 3); without a
    gallery all images do; 0: none."""
    rerank: bool = False
    """k-reciprocal re-ranking (k1 20, k2 6, lambda 0.3); for task reid."""
    average_precision: Literal["step", "trapezoid"] = "step"
    """Convention of mAP for task reid; trapezoid: the official Matlab code's, lower by about half a point."""
    far_mode: Literal["nearest", "at_most"] = "nearest"
    """Which point of the ROC is TAR at a FAR on IJB-C; nearest: that of the nearest FAR, as in published figures, which
    may exceed it; at_most: the highest TAR whose FAR does not."""
    draws: int = 0
    """Mean over so many galleries of one image a class, drawn at random from all test images (VehicleID: 10); 0: the
    gallery of the data."""

    def __post_init__(self) -> None:
        for name in ("expand", "draws"):
            if getattr(self, name) < 0:
                raise ValueError(f"test.{name}: found {getattr(self, name)}, expected 0 or more")


@dataclass(frozen=True)
class FaceSets:
    """Where the test sets of task face lie; those without a path are left out. Faces are expected aligned."""

    lfw: Place = None
    """LFW: lfw.bin, or a folder with it or with pairs.txt and images, .jpg or .png. Figures as published need aligned
    crops of 112 x 112; LFW's own images are not aligned."""
    cfp_fp: Place = None
    """CFP, frontal to profile: cfp_fp.bin or a folder with it."""
    agedb_30: Place = None
    """AgeDB-30: agedb_30.bin or a folder with it."""
    ytf: Place = None
    """YouTube Faces."""
    ijbc: Place = None
    """IJB-C, 1:1; its faces are aligned here, by their landmarks."""
    megaface: Place = None
    """MegaFace challenge 1, all of its images: lists of mislabelled ones are not applied, so figures are lower than
    those of the cleaned set. Embeddings of the distractors go to a temporary file (2 GB in $TMPDIR)."""
