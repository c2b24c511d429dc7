"""The face test sets: opened, embedded and judged, each by its own protocol.

Faces come aligned but for those of IJB-C, which are aligned here by their landmarks, as in insightface's eval_ijbc.py.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from circlet.data import FacePairs, Identification, ImageSet, Templates, VideoPairs, face_bin, ijbc, lfw, megaface, ytf
from circlet.data.evaluation_sets import Floats
from circlet.evaluate import identification, template_verification, verification, video_embeddings
from circlet.evaluate.roc import FarMode
from circlet.recipes.build import load_pixels
from circlet.recipes.embedding import embed_pixels
from circlet.recipes.experiment import Experiment
from circlet.recipes.testing import FaceSets

if TYPE_CHECKING:
    from PIL.Image import Image

FaceSet = FacePairs | VideoPairs | Templates | Identification
SIDE = 112
# Eyes, nose and corners of the mouth in an aligned face of 112 x 112 pixels, the first pixel's centre at 0
# (Deng et al., ArcFace, CVPR 2019; the template of insightface).
TEMPLATE = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)


def open_face_sets(places: FaceSets) -> dict[str, FaceSet]:
    """The sets that have a place, by name; DataError for one that cannot be read."""
    return {name: read(place) for name, (place, read) in _readers(places).items() if place is not None}


def face_metrics(
    model: nn.Module, sets: Mapping[str, FaceSet], experiment: Experiment, device: torch.device
) -> dict[str, float]:
    """What a model finds on the face test sets, by the name of the set.

    lfw, cfp-fp, agedb-30, ytf: accuracy over ten folds, "... std" its deviation, "...@1e-3" TAR at that FAR. ijb-c@...:
    TAR at that FAR, "ijb-c@... (at most)" with far_mode at_most. megaface: rank-1 identification, megaface@1e-6 TAR at
    that FAR; the embeddings of its distractors lie in a temporary file meanwhile.
    """
    found: dict[str, float] = {}
    for name, content in sets.items():

        def embedded(images: ImageSet, *, normalize: bool = True, file: Path | None = None) -> Tensor:
            config = replace(experiment.data, in_memory=False, on_error="raise")
            pixels = load_pixels(images, config)[0]
            return embed_pixels(model, pixels, experiment, device, normalize=normalize, file=file)

        if isinstance(content, FacePairs):
            rows = embedded(content.images)
            found |= _verified(name, rows[torch.from_numpy(content.pairs).flatten()], content)
        elif isinstance(content, VideoPairs):
            frames = embedded(content.frames, normalize=False)
            videos, _ = video_embeddings(frames, torch.from_numpy(content.frames.labels))
            found |= _verified(name, videos[torch.from_numpy(content.pairs).flatten()], content)
        elif isinstance(content, Templates):
            features = embedded(aligned(content), normalize=False)
            found |= _templates(name, features, content, experiment.test.far_mode)
        else:
            with TemporaryDirectory() as folder:
                distractors = embedded(content.distractors, file=Path(folder) / "distractors")
                found |= _identified(name, embedded(content.probes), distractors, content)
    return found


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
        with self.read(index) as image:
            return image.convert("RGB").transform(
                (SIDE, SIDE), Image.Transform.AFFINE, centred, Image.Resampling.BILINEAR
            )


def alignment(landmarks: Floats) -> tuple[float, float, float, float, float, float]:
    """Affine map (a, b, c, d, e, f) from a place (x, y) of the aligned face to (a x + b y + c, d x + e y + f).

    landmarks: (5, 2) x and y in the image. The map is the inverse of the similarity transform that brings them to the
    template with the least squared error (Umeyama, TPAMI 1991), which is a line of complex numbers, z = p w + q.

    >>> a, b, c, d, e, f = alignment((2 * TEMPLATE + 3).astype(np.float32))
    >>> round(a, 4), abs(round(b, 4)), round(c, 4), round(e, 4), round(f, 4)
    (2.0, 0.0, 3.0, 2.0, 3.0)
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


def _readers(places: FaceSets) -> dict[str, tuple[Path | None, Callable[[Path], FaceSet]]]:
    return {
        "lfw": (places.lfw, _read_lfw),
        "cfp-fp": (places.cfp_fp, lambda path: face_bin(path, name="cfp_fp")),
        "agedb-30": (places.agedb_30, lambda path: face_bin(path, name="agedb_30")),
        "ytf": (places.ytf, ytf),
        "ijb-c": (places.ijbc, ijbc),
        "megaface": (places.megaface, megaface),
    }


def _read_lfw(path: Path) -> FacePairs:
    return lfw(path) if (path / "pairs.txt").is_file() else face_bin(path, name="lfw")


def _verified(name: str, rows: Tensor, content: FacePairs | VideoPairs) -> dict[str, float]:
    result = verification(rows, torch.from_numpy(content.is_same), folds=content.num_folds)
    return {name: result.accuracy, f"{name} std": result.accuracy_std, f"{name}@1e-3": result.tar_at_far[1e-3]}


def _templates(name: str, features: Tensor, content: Templates, far_mode: FarMode) -> dict[str, float]:
    result = template_verification(
        features,
        torch.from_numpy(content.template_ids),
        torch.from_numpy(content.media_ids),
        torch.from_numpy(content.pairs),
        torch.from_numpy(content.is_same),
        detector_scores=torch.from_numpy(content.detector_scores),
        fars=(1e-5, 1e-4, 1e-3),
        far_mode=far_mode,
    )
    mode = "" if far_mode == "nearest" else " (at most)"
    return {f"{name}@1e-{n}{mode}": result.tar_at_far[far] for n, far in ((3, 1e-3), (4, 1e-4), (5, 1e-5))}


def _identified(name: str, probes: Tensor, distractors: Tensor, content: Identification) -> dict[str, float]:
    result = identification(probes, torch.from_numpy(content.probes.labels), distractors, ranks=(1,))
    return {name: result.rank_accuracy[1], f"{name}@1e-6": result.tar_at_far[1e-6]}
