"""All data sets by name; each is described beside the function that reads it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from circlet.data.data_set import DataSet, Loaded, as_data_set, called
from circlet.data.face.face_bin import AGEDB_30, CFP_FP, LFW_BIN
from circlet.data.face.face_records import CASIA_WEBFACE, MS1MV2
from circlet.data.face.ijbc import IJBC
from circlet.data.face.lfw import LFW
from circlet.data.face.megaface import MEGAFACE
from circlet.data.face.ytf import YTF
from circlet.data.folder import FOLDER
from circlet.data.glyphs import GLYPHS
from circlet.data.images import Splits
from circlet.data.manifest import MANIFEST
from circlet.data.omniglot import OMNIGLOT
from circlet.data.reid.market import DUKEMTMC, MARKET1501
from circlet.data.reid.msmt17 import MSMT17, MSMT17_TRAIN
from circlet.data.reid.vehicleid import VEHICLEID
from circlet.data.retrieval.cars196 import CARS196
from circlet.data.retrieval.cub200 import CUB200
from circlet.data.retrieval.inshop import INSHOP
from circlet.data.retrieval.sop import SOP
from circlet.data.streams.source import SHARDS
from circlet.data.vector_sets import VECTORS
from circlet.extensions import Extensions

CHARACTERS = (GLYPHS, OMNIGLOT)
RETRIEVAL = (CUB200, CARS196, SOP, INSHOP)
REID = (MARKET1501, DUKEMTMC, MSMT17, MSMT17_TRAIN, *VEHICLEID)
FACES = (MS1MV2, CASIA_WEBFACE, LFW, LFW_BIN, AGEDB_30, CFP_FP, YTF, IJBC, MEGAFACE)
# Published sets; and your own images in three forms, and vectors, which have no counts and no source.
DATA_SETS: Mapping[str, DataSet] = {entry.name: entry for entry in (*CHARACTERS, *RETRIEVAL, *REID, *FACES)}
OWN_IMAGES: Mapping[str, DataSet] = {entry.name: entry for entry in (FOLDER, MANIFEST, SHARDS, VECTORS)}


def _ours() -> dict[str, DataSet]:
    return {**DATA_SETS, **OWN_IMAGES}


EXTENSIONS: Extensions[DataSet] = Extensions("circlet.datasets", "data set", _ours, as_data_set)


def find_data_set(source: str | DataSet | Callable[..., Loaded]) -> DataSet:
    """The data set of that name, "folder", "manifest" and "vectors" among them, or one of your own (`as_data_set`).

    A name may be one that an installed package has registered (entry points of the group `circlet.datasets`), or
    `package.module:name`.

    ValueError with the nearest names for one that is not known.
    """
    known = _ours()
    if not isinstance(source, str):
        ours = next((entry for entry in known.values() if entry is source), None)
        return ours or as_data_set(f"data set {called(source)!r}", source)
    return EXTENSIONS.find(source)


def open_data_set(
    source: str | DataSet | Callable[..., Loaded], root: str | Path | None = None, **options: Any
) -> Splits:
    """Read a set that has a part to train on; `options` go to its loader.

    >>> open_data_set("glyphs", num_instances=5).query.num_classes
    108

    source: a name of `DATA_SETS`, "folder" or "manifest", a `DataSet`, or a function `(root, **options) -> Splits`.

    A ValueError for an unknown name, one that is tested on only, no `root` where one is needed, and for a function that
    gives no whole data set.
    """
    return find_data_set(source).open_splits(root, **options)
