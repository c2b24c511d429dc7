"""All data sets by name: what each is for, how it is read, where it comes from, and how much of it there must be.

The loaders are functions of their own; this table adds what `circlet datasets` shows and checks.
"""

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from circlet.data.evaluation_sets import FacePairs, Identification, Templates, VideoPairs
from circlet.data.face import face_bin, face_records, ijbc, lfw, megaface, ytf
from circlet.data.face.face_bin import LAYOUT as BIN_LAYOUT
from circlet.data.face.face_records import LAYOUT as RECORDS_LAYOUT
from circlet.data.face.ijbc import LAYOUT as IJBC_LAYOUT
from circlet.data.face.lfw import LAYOUT as LFW_LAYOUT
from circlet.data.face.megaface import LAYOUT as MEGAFACE_LAYOUT
from circlet.data.face.ytf import LAYOUT as YTF_LAYOUT
from circlet.data.glyphs import glyphs
from circlet.data.images import Splits
from circlet.data.omniglot import omniglot
from circlet.data.reid import dukemtmc, market1501, msmt17, vehicleid
from circlet.data.reid.market import DUKE_LAYOUT
from circlet.data.reid.market import LAYOUT as MARKET_LAYOUT
from circlet.data.reid.msmt17 import LAYOUT as MSMT17_LAYOUT
from circlet.data.reid.vehicleid import LAYOUT as VEHICLEID_LAYOUT
from circlet.data.retrieval import cars196, cub200, inshop, sop
from circlet.data.retrieval.cars196 import LAYOUT as CARS_LAYOUT
from circlet.data.retrieval.cub200 import LAYOUT as CUB_LAYOUT
from circlet.data.retrieval.inshop import LAYOUT as INSHOP_LAYOUT
from circlet.data.retrieval.sop import LAYOUT as SOP_LAYOUT

Loaded = Splits | FacePairs | VideoPairs | Templates | Identification
Task = Literal[
    "characters",
    "retrieval",
    "re-identification",
    "face training",
    "face verification",
    "template verification",
    "face identification",
]
# The sets that have a part to train on, and so can be opened with `open_data_set`.
TrainingSet = Literal[
    "glyphs",
    "omniglot",
    "cub200",
    "cars196",
    "sop",
    "inshop",
    "market1501",
    "dukemtmc",
    "msmt17",
    "msmt17-train",
    "vehicleid-800",
    "vehicleid-1600",
    "vehicleid-2400",
    "vehicleid-13164",
    "ms1mv2",
    "casia-webface",
]


@dataclass(frozen=True)
class DataSet:
    """One data set: `load(path, **options)` reads it, `counts` are the published ones (see `circlet.data.check`)."""

    title: str
    task: Task
    load: Callable[..., Loaded]
    counts: Mapping[str, int]
    source: str
    licence: str
    layout: str
    options: Mapping[str, Any] = field(default_factory=dict)
    needs_path: bool = True

    def read(self, path: str | Path | None, **options: Any) -> Loaded:
        """Read the set at `path`; `options` go to the loader, over those of this entry."""
        if path is None and self.needs_path:
            raise ValueError(f"path: found none, expected that of {self.title} (circlet datasets show: its layout)")
        return self.load(path, **{**self.options, **options})


def find_data_set(name: str) -> DataSet:
    """The entry of that name; else a ValueError with the nearest names."""
    if name not in DATA_SETS:
        near = difflib.get_close_matches(name, DATA_SETS, n=3) or DATA_SETS
        raise ValueError(f"data set: found {name!r}, expected one of {', '.join(near)}")
    return DATA_SETS[name]


def open_data_set(name: str, path: str | Path | None = None, **options: Any) -> Splits:
    """Read a set that has a part to train on, by name; `options` go to its loader.

    A ValueError for an unknown name, one that is tested on only, or no `path` where one is needed.

    >>> open_data_set("glyphs", num_instances=5).query.num_classes
    108
    """
    loaded = find_data_set(name).read(path, **options)
    if not isinstance(loaded, Splits):
        raise ValueError(f"data set: found {name!r}, which has no part to train on, expected one that has")
    return loaded


def _glyphs(path: str | Path | None = None, **options: Any) -> Splits:
    """The embedded set, which needs no path."""
    return glyphs(**options)


def _counts(train: tuple[int, int], query: tuple[int, int], gallery: tuple[int, int] | None = None) -> dict[str, int]:
    """Published (images, classes) in each role."""
    roles = {"train": train, "query": query, **({"gallery": gallery} if gallery else {})}
    return {
        f"{role} {what}": n for role, pair in roles.items() for what, n in zip(("images", "classes"), pair, strict=True)
    }


def _msmt17(title: str, num_train: int, train_lists: tuple[str, ...]) -> DataSet:
    return DataSet(
        title=title,
        task="re-identification",
        load=msmt17,
        options={"train_lists": train_lists},
        counts=_counts((num_train, 1_041), (11_659, 3_060), (82_161, 3_060)),
        source="https://www.pkuvmc.com/dataset.html",
        licence="research only, by agreement with Peking University",
        layout=MSMT17_LAYOUT,
    )


def _vehicleid(size: int, num_images: int) -> DataSet:
    return DataSet(
        title=f"PKU VehicleID, {size} test vehicles",
        task="re-identification",
        load=vehicleid,
        options={"size": size},
        counts={
            "train images": 113_346,
            "train classes": 13_164,
            "query images": num_images - size,
            "gallery images": size,
            "gallery classes": size,
        },
        source="https://www.pkuml.org/resources/pku-vehicleid.html",
        licence="research only, on request to Peking University",
        layout=VEHICLEID_LAYOUT,
    )


def _face_bin(file: str, title: str, num_pairs: int) -> DataSet:
    return DataSet(
        title=f"{title}, aligned, as {file}.bin",
        task="face verification",
        load=face_bin,
        options={"name": file},
        counts={"images": 2 * num_pairs, "pairs": num_pairs, "same pairs": num_pairs // 2, "folds": 10},
        source=_INSIGHTFACE,
        licence="non-commercial research only",
        layout=BIN_LAYOUT.format(name=file),
    )


_INSIGHTFACE = "https://github.com/deepinsight/insightface/tree/master/recognition/_datasets_"

DATA_SETS: Mapping[str, DataSet] = {
    "glyphs": DataSet(
        title="characters from the typefaces of matplotlib",
        task="characters",
        load=_glyphs,
        counts=_counts((4_320, 216), (2_160, 108)),
        source="made on the fly",
        licence="DejaVu and STIX fonts: free to use",
        layout="no files",
        needs_path=False,
    ),
    "omniglot": DataSet(
        title="Omniglot, the two small subsets",
        task="characters",
        load=omniglot,
        counts=_counts((2_720, 136), (2_120, 106)),
        source="https://github.com/brendenlake/omniglot",
        licence="MIT",
        layout="ROOT/ or ROOT/python/; downloaded if there is no ROOT\n"
        "  images_background_small1.zip   or the folder of this name, unpacked\n"
        "  images_background_small2.zip",
        needs_path=False,
    ),
    "cub200": DataSet(
        title="CUB-200-2011, birds",
        task="retrieval",
        load=cub200,
        counts=_counts((5_864, 100), (5_924, 100)),
        source="https://www.vision.caltech.edu/datasets/cub_200_2011/",
        licence="non-commercial research and education; the images belong to their photographers",
        layout=CUB_LAYOUT,
    ),
    "cars196": DataSet(
        title="Cars196, cars",
        task="retrieval",
        load=cars196,
        counts=_counts((8_054, 98), (8_131, 98)),
        source="https://ai.stanford.edu/~jkrause/cars/car_dataset.html",
        licence="non-commercial research and education",
        layout=CARS_LAYOUT,
    ),
    "sop": DataSet(
        title="Stanford Online Products, goods",
        task="retrieval",
        load=sop,
        counts=_counts((59_551, 11_318), (60_502, 11_316)),
        source="https://cvgl.stanford.edu/projects/lifted_struct/",
        licence="none stated for the images, which are from eBay",
        layout=SOP_LAYOUT,
    ),
    "inshop": DataSet(
        title="In-Shop Clothes Retrieval (DeepFashion)",
        task="retrieval",
        load=inshop,
        counts=_counts((25_882, 3_997), (14_218, 3_985), (12_612, 3_985)),
        source="https://mmlab.ie.cuhk.edu.hk/projects/DeepFashion/InShopRetrieval.html",
        licence="non-commercial research only, by agreement with CUHK",
        layout=INSHOP_LAYOUT,
    ),
    "market1501": DataSet(
        title="Market-1501, persons",
        task="re-identification",
        load=market1501,
        counts=_counts((12_936, 751), (3_368, 750), (19_732, 752)),
        source="https://zheng-lab-anu.github.io/Project/project_reid.html",
        licence="research only; the persons did not consent",
        layout=MARKET_LAYOUT,
    ),
    "dukemtmc": DataSet(
        title="DukeMTMC-reID, persons",
        task="re-identification",
        load=dukemtmc,
        counts=_counts((16_522, 702), (2_228, 702), (17_661, 1_110)),
        source="withdrawn by its authors in 2019, see https://exposing.ai/duke_mtmc/",
        licence="CC BY-NC-SA 4.0 when it was published; the persons did not consent",
        layout=DUKE_LAYOUT,
    ),
    "msmt17": _msmt17("MSMT17, persons", 32_621, ("train", "val")),
    "msmt17-train": _msmt17("MSMT17, persons, trained on list_train.txt alone", 30_248, ("train",)),
    "vehicleid-800": _vehicleid(800, 6_493),
    "vehicleid-1600": _vehicleid(1600, 13_377),
    "vehicleid-2400": _vehicleid(2400, 19_777),
    "vehicleid-13164": _vehicleid(13164, 108_221),
    "ms1mv2": DataSet(
        title="MS1MV2 (faces_emore), aligned faces",
        task="face training",
        load=face_records,
        counts={"images": 5_822_653, "classes": 85_742},
        source=_INSIGHTFACE,
        licence="non-commercial research only; Microsoft withdrew MS-Celeb-1M in 2019",
        layout=RECORDS_LAYOUT,
    ),
    "casia-webface": DataSet(
        title="CASIA-WebFace (faces_webface_112x112), aligned faces",
        task="face training",
        load=face_records,
        counts={"images": 490_623, "classes": 10_572},
        source=_INSIGHTFACE,
        licence="non-commercial research only",
        layout=RECORDS_LAYOUT,
    ),
    "lfw": DataSet(
        title="Labeled Faces in the Wild, view 2",
        task="face verification",
        load=lfw,
        counts={"pairs": 6_000, "same pairs": 3_000, "folds": 10},
        source="http://vis-www.cs.umass.edu/lfw/",
        licence="research only; the images are from the news",
        layout=LFW_LAYOUT,
    ),
    "lfw-bin": _face_bin("lfw", "Labeled Faces in the Wild, view 2", 6_000),
    "agedb-30": _face_bin("agedb_30", "AgeDB-30", 6_000),
    "cfp-fp": _face_bin("cfp_fp", "CFP, frontal to profile", 7_000),
    "ytf": DataSet(
        title="YouTube Faces",
        task="face verification",
        load=ytf,
        counts={"pairs": 5_000, "same pairs": 2_500, "folds": 10},
        source="https://www.cs.tau.ac.il/~wolf/ytfaces/",
        licence="research only, on request",
        layout=YTF_LAYOUT,
    ),
    "ijbc": DataSet(
        title="IJB-C, 1:1",
        task="template verification",
        load=ijbc,
        counts={"images": 469_375, "templates": 23_124, "pairs": 15_658_489, "same pairs": 19_557},
        source="https://nigos.nist.gov/datasets/ijbc/request",
        licence="research, on request to NIST",
        layout=IJBC_LAYOUT,
    ),
    "megaface": DataSet(
        title="MegaFace challenge 1",
        task="face identification",
        load=megaface,
        counts={"probe images": 3_530, "probe classes": 80, "distractor images": 1_027_058},
        source="withdrawn by its authors in 2020, was at http://megaface.cs.washington.edu/",
        licence="non-commercial research only; the persons did not consent",
        layout=MEGAFACE_LAYOUT,
    ),
}
