"""The face test sets: opened, embedded and judged, each by its own protocol (`circlet.evaluate.tasks`).

Faces come aligned but for those of IJB-C, which are aligned as they are read (`circlet.data.face.alignment`).
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch import Tensor, nn

from circlet.data import FacePairs, Identification, ImageSet, Templates, VideoPairs, face_bin, ijbc, lfw, megaface, ytf
from circlet.data.face.alignment import aligned
from circlet.data.pixels import load_pixels
from circlet.evaluate import video_embeddings
from circlet.evaluate.tasks import identification_metrics, template_metrics, verification_metrics
from circlet.experiments.experiment import Experiment
from circlet.experiments.testing import FaceSets
from circlet.models import embed_pixels

FaceSet = FacePairs | VideoPairs | Templates | Identification


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
    decoding = replace(experiment.data.decoding, in_memory=False, on_error="raise")

    def embedded(images: ImageSet, *, normalize: bool = True, file: Path | None = None) -> Tensor:
        pixels = load_pixels(images, decoding)
        return embed_pixels(model, pixels, experiment.view, device, normalize=normalize, file=file)

    for name, content in sets.items():
        if isinstance(content, FacePairs):
            rows = embedded(content.images)
            found |= _verified(name, rows, content)
        elif isinstance(content, VideoPairs):
            frames = embedded(content.frames, normalize=False)
            videos, _ = video_embeddings(frames, torch.from_numpy(content.frames.labels))
            found |= _verified(name, videos, content)
        elif isinstance(content, Templates):
            found |= template_metrics(
                name,
                embedded(aligned(content), normalize=False),
                torch.from_numpy(content.template_ids),
                torch.from_numpy(content.media_ids),
                torch.from_numpy(content.pairs),
                torch.from_numpy(content.is_same),
                detector_scores=torch.from_numpy(content.detector_scores),
                far_mode=experiment.test.far_mode,
            )
        else:
            ids = torch.from_numpy(content.probes.labels)
            with TemporaryDirectory() as folder:
                distractors = embedded(content.distractors, file=Path(folder) / "distractors")
                found |= identification_metrics(name, embedded(content.probes), ids, distractors)
    return found


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
    in_pairs = rows[torch.from_numpy(content.pairs).flatten()]
    return verification_metrics(name, in_pairs, torch.from_numpy(content.is_same), folds=content.num_folds)
