"""The rows of the paper's tables 1 to 5 as recipes, with the paper's figures in percent.

A row that the paper quotes from others, Multi-Similarity on CUB, Cars and SOP, is here too: it is Circle's rival there.
"""

from collections.abc import Iterator
from functools import partial

from circlet.data.catalogue import DATA_SETS
from circlet.losses import find_loss
from circlet.recipes import face_task, reid_task, retrieval_task
from circlet.recipes.recipe import Recipe

TABLE_1 = ("megaface", "megaface@1e-6")
TABLE_2 = ("lfw", "ytf", "cfp-fp")
TABLE_3 = ("ijb-c@1e-3", "ijb-c@1e-4", "ijb-c@1e-5")
FACE: dict[face_task.Depth, dict[str, tuple[float, ...]]] = {
    34: {
        "softmax": (92.36, 92.72, 99.18, 96.19, 95.01),
        "normface": (92.62, 92.91, 99.25, 96.03, 95.34),
        "am_softmax": (97.54, 97.64, 99.63, 96.31, 95.78, 95.87, 92.14, 81.86),
        "arcface": (97.68, 97.70, 99.68, 96.34, 95.84, 95.94, 92.28, 84.23),
        "circle": (97.81, 98.12, 99.73, 96.38, 96.02, 96.04, 93.44, 86.78),
    },
    100: {
        "softmax": (95.04, 95.16),
        "normface": (95.27, 95.37),
        "am_softmax": (98.31, 98.55, 95.93, 93.19, 88.87),
        "arcface": (98.36, 98.58, 96.01, 93.25, 89.10),
        "circle": (98.50, 98.73, 96.29, 93.95, 89.60),
    },
}
FACE_METRICS: dict[face_task.Depth, tuple[str, ...]] = {34: (*TABLE_1, *TABLE_2, *TABLE_3), 100: (*TABLE_1, *TABLE_3)}

REID: dict[tuple[reid_task.Backbone, str], dict[reid_task.DataName, tuple[float, float]]] = {
    ("resnet50", "am_softmax"): {"market": (92.4, 83.8), "msmt17": (75.6, 49.3)},
    ("resnet50", "circle"): {"market": (94.2, 84.9), "msmt17": (76.3, 50.2)},
    ("mgn", "am_softmax"): {"market": (95.3, 86.6), "msmt17": (76.5, 51.8)},
    ("mgn", "circle"): {"market": (96.1, 87.4), "msmt17": (76.9, 52.1)},
}

RETRIEVAL: dict[str, dict[retrieval_task.DataName, tuple[float, ...]]] = {
    "circle": {
        "cub": (66.7, 77.4, 86.2, 91.2),
        "cars": (83.4, 89.8, 94.1, 96.5),
        "sop": (78.3, 90.5, 96.1, 98.6),
        "inshop": (),
        "vehicleid": (),
    },
    "multi_similarity": {
        "cub": (65.7, 77.0, 86.3, 91.2),
        "cars": (84.1, 90.4, 94.0, 96.5),
        "sop": (78.2, 90.5, 96.0, 98.7),
        "inshop": (),
        "vehicleid": (),
    },
}


def paper_recipes() -> Iterator[Recipe]:
    """All recipes of the tables, and of two data sets more for table 5."""
    for depth, by_loss in FACE.items():
        for loss in by_loss:
            yield _face(depth, loss)
    for (backbone, loss_name), by_data in REID.items():
        for data in by_data:
            yield _reid(data, backbone, loss_name)
    for pair_loss, rows in RETRIEVAL.items():
        for name in rows:
            yield _retrieval(name, pair_loss)


def _face(depth: face_task.Depth, loss: str) -> Recipe:
    is_stated = loss in ("circle", "am_softmax", "arcface")
    return Recipe(
        name=f"{_short(loss)}-r{depth}-ms1m",
        summary=f"{find_loss(loss).title}, ResNet-{depth}, on MS1MV2",
        make=partial(face_task.face, depth, loss),
        stated=face_task.STATED | (face_task.NUMBERS_STATED if is_stated else {}),
        chosen=face_task.CHOSEN | (face_task.NORMFACE_CHOSEN if loss == "normface" else {}),
        figures=dict(zip(FACE_METRICS[depth], FACE[depth][loss], strict=False)),
        table="tables 1 to 3" if depth == 34 else "tables 1 and 3",
    )


def _reid(data: reid_task.DataName, backbone: reid_task.Backbone, loss: str) -> Recipe:
    network = {"resnet50": "ResNet-50", "mgn": "MGN"}[backbone]
    return Recipe(
        name=f"{_short(loss)}-{'r50' if backbone == 'resnet50' else 'mgn'}-{data}",
        summary=f"{find_loss(loss).title}, {network}, on {_title(reid_task.SOURCES[data])}",
        make=partial(reid_task.reid, data, backbone, loss),
        stated=reid_task.STATED | (reid_task.CIRCLE_STATED if loss == "circle" else {}),
        chosen=reid_task.CHOSEN | (reid_task.AM_CHOSEN if loss == "am_softmax" else {}),
        figures=dict(zip(("rank-1", "mAP"), REID[backbone, loss][data], strict=True)),
        table="table 4",
    )


def _retrieval(data: retrieval_task.DataName, loss: str) -> Recipe:
    inside = data in retrieval_task.IN_PAPER
    is_circle = loss == "circle"
    circle_stated = retrieval_task.STATED | retrieval_task.CIRCLE_STATED
    stated = circle_stated if is_circle else retrieval_task.RIVAL_STATED
    if not inside:
        stated = {key: text for key, text in stated.items() if key not in retrieval_task.OUTSIDE}
    ks = retrieval_task.KS[data]
    return Recipe(
        name=f"{_short(loss)}-{data}",
        summary=f"{find_loss(loss).title}, BN-Inception, on {_title(retrieval_task.SOURCES[data])}",
        make=partial(retrieval_task.retrieval, data, loss),
        stated=stated,
        chosen=retrieval_task.CHOSEN
        | (retrieval_task.OUTSIDE if not inside else {})
        | ({} if is_circle else retrieval_task.RIVAL_CHOSEN),
        figures={f"recall@{k}": value for k, value in zip(ks, RETRIEVAL[loss][data], strict=inside)},
        table="table 5" if inside else "",
    )


def _short(loss: str) -> str:
    return loss.replace("_", "")


def _title(source: str) -> str:
    return DATA_SETS[source].title.split(",")[0]
