"""Making a store for an index, and which folder it follows."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from circlet.data.table import TABLES
from circlet.data.vector_files import FILES
from circlet.index.memory import MemoryStore
from circlet.index.settings import ModelMark, Settings, with_thresholds, write_settings
from circlet.inference import Model
from circlet.terminal import say
from circlet.vectors import Store, open_store


def made_store(model: Model, location: str | Path | None) -> Store:
    """A store for vectors of a model, or the one that is there; location: None: in memory."""
    store: Store = MemoryStore(model.dim) if location is None else open_store(location, model.dim, create=True)
    with closing_on_error(store):
        if not len(store) and not store.meta():
            write_settings(store, with_thresholds(Settings(ModelMark.of(model)), model))
    return store


@contextmanager
def closing_on_error(store: Store) -> Iterator[None]:
    """Where something fails within it, the store is let go of."""
    try:
        yield
    except BaseException:
        store.close()
        raise


def followed_path(images: object) -> Path | None:
    """What an index can follow: a path, but not that of one image; None for all else."""
    if not isinstance(images, str | Path):
        return None
    path = Path(images)
    return None if path.is_file() and path.suffix.lower() not in TABLES | FILES else path


def followed_root(location: str, before: str | None, images: str | Path | None) -> str:
    """The folder or manifest to follow, an absolute path; ValueError where there is none, or another that is there.

    before: what was followed until now. images: what is to be followed; None: the same.
    """
    root = before if images is None else str(Path(images).resolve())
    if root is None:
        raise ValueError(f"{location}: follows no folder, expected the one to follow (images)")
    if before is not None and before != root:
        if Path(before).exists():
            raise ValueError(f"{location}: follows {before}, found {root}, expected the same: another folder has an "
                             "index of its own (--out NEW)")  # fmt: skip
        say(f"{location}: {before} is gone; follows {root} from now on")
    return root
