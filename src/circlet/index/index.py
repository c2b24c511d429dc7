"""`Index`: images as vectors of one model, in a store; everything that is done with them in one place.

What changes with a folder is settled in `updating`, what a threshold decides in `deciding`, how vectors are kept and
searched in `circlet.vectors`.
"""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

import torch

from circlet.data import ImageSet
from circlet.evaluate.thresholds import Thresholds
from circlet.index import settings as kept
from circlet.index.adding import Added, add, items_of
from circlet.index.calibrating import FARS, FPIRS, chosen_thresholds, require_unseen, told
from circlet.index.contents import FilesSeen, contents
from circlet.index.copying import save, to_merge
from circlet.index.deciding import Identified, Rule, chosen_rule
from circlet.index.making import closing_on_error, followed_path, followed_root, made_store
from circlet.index.names import path_of
from circlet.index.readying import make_ready
from circlet.index.searching import Neighbour, identify_rows, only, search_rows
from circlet.index.settings import ModelMark, Settings, with_thresholds
from circlet.index.updating import Updated, follow, make_plan, without_enrolled
from circlet.inference import Model, load_model
from circlet.inference.given import Given
from circlet.inference.model import OnError
from circlet.progress import silenced
from circlet.typed import naming
from circlet.vectors import Item, Store, open_store
from circlet.vectors.checks import check_k
from circlet.vectors.merging import copy


class Index:
    """Images as vectors of one model, searched by cosine similarity. Made by `build` and `open`.

    >>> index = Index.build("efficientnet_lite0", "photos", location="photos.index")  # doctest: +SKIP
    >>> index.search("query.jpg", k=3)  # doctest: +SKIP
    [Neighbour(name='apple/1.jpg', label='apple', similarity=0.93...), ...]

    store: what holds the vectors. `close`, or the end of a `with` statement, lets go of it, and so does an index that
    nobody has any more; until then no other may be opened on it to be written.
    """

    def __init__(
        self, store: Store, model: Model | None = None, *, trust: Collection[str] = (),
        device: torch.device | str | None = None,
    ) -> None:  # fmt: skip
        self.store = store
        self._trust, self._device, self._model = tuple(trust), device, model
        self._num_classes: int | None = None
        with closing_on_error(store):
            self._settings = kept.read_settings(store)
            if model is not None:
                kept.require_model(store.location, self.mark, model)

    @classmethod
    def build(
        cls,
        model: Model | str | Path,
        images: Given,
        *,
        location: str | Path | None = None,
        labels: str | Sequence[str] | None = None,
        on_error: OnError = "skip",
        show_progress: bool = True,
    ) -> Self:
        """An index of images: of a folder or a manifest, which `update` follows later, or of what `add` takes.

        model: or what `circlet.inference.load_model` makes one of. location: where it is kept, as in
        `circlet.vectors.open_store`; an index that is there already is gone on with, so that an interrupted build is
        finished by calling it again. None: in memory. labels: as in `add`; of a folder its folders.
        """
        if not isinstance(model, Model):
            model = load_model(model)
        followed = followed_path(images) if labels is None else None
        chosen = model.taken(images) if followed is None else model.listed(followed)  # before anything is made
        index = cls.create(model, location)
        with closing_on_error(index.store):
            if followed is not None:
                updated = index.update(followed, listed=chosen, on_error=on_error, show_progress=show_progress)
                index.settle_thresholds()
                make_ready(index.store, updated.new + updated.changed)
            else:
                index.add(chosen, labels, on_error=on_error, show_progress=show_progress)
        return index

    @classmethod
    def create(cls, model: Model, location: str | Path | None = None) -> Self:
        """An empty index for vectors of a model; what is there already is opened. location: None: in memory."""
        return cls(made_store(model, location), model)

    @classmethod
    def open(
        cls, location: str | Path, model: Model | None = None, *, read_only: bool = False, trust: Collection[str] = (),
        device: torch.device | str | None = None,
    ) -> Self:  # fmt: skip
        """An index that is there; of an embedded one the vectors stay on the disk until they are needed.

        model: its own; None: the one that the index names, loaded when it is first needed. trust, device: as in
        `circlet.inference.load_model`.

        ValueError or OSError for what is no index, is damaged, of another version, or of another model (it names both).
        """
        return cls(open_store(location, read_only=read_only), model, trust=trust, device=device)

    @property
    def location(self) -> str:
        """Where it is kept."""
        return self.store.location

    @property
    def mark(self) -> ModelMark:
        """Which model its vectors are of."""
        return self._settings.model

    @property
    def root(self) -> str | None:
        """The folder that `update` follows, an absolute path; None: none."""
        return self._settings.root

    @property
    def model(self) -> Model:
        """The model; loaded by the name in the index, and refused unless it gives the same vectors."""
        if self._model is None:
            self._model = kept.model_of(self.location, self.mark, self._trust, self._device)
        return self._model

    @property
    def thresholds(self) -> Thresholds | None:
        """Those of the run, or chosen by `calibrate`; None: there are none."""
        found = self._settings.thresholds
        with naming(self.location):
            return None if found is None else Thresholds.from_json(found)

    def __len__(self) -> int:
        return len(self.store)

    def items(self) -> list[Item]:
        """All images in order of addition: name, class, digest of the content."""
        return self.store.items()

    def classes(self) -> dict[str, int]:
        """How many images each class has; those without a class are not counted."""
        found = Counter(item.label for item in self.items() if item.label)
        self._num_classes = len(found)
        return dict(sorted(found.items()))

    @property
    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self.classes()) if self._num_classes is None else self._num_classes

    @property
    def places(self) -> tuple[str, ...]:
        """All folders that its images lie in, as it says."""
        return self._settings.places

    def path_of(self, name: str) -> Path | None:
        """The file of an image, where it lies below the folder of the index and is still there."""
        return path_of(name, self.places)

    def add(
        self,
        images: Given,
        labels: str | Sequence[str] | None = None,
        names: Sequence[str] | None = None,
        *,
        on_error: OnError = "raise",
        show_progress: bool = True,
    ) -> Added:
        """Add images, in parts that are durable as they come; one whose name is there already takes its place.

        labels: the class of all, or of each, "" where it has none; None: none has one. names: what they are called,
        with "added:" before it (`circlet.index.names`); None: by their path, or else by their content, so that adding
        an image again changes nothing. on_error: an image that cannot be read is a DataError, or is left out and told.
        """
        chosen = self.model.taken(images)
        item = items_of(chosen, labels, names, self.root)
        self._num_classes = None
        with silenced(not show_progress):
            return add(self.store, self.model, chosen, item, on_error=on_error)

    def remove(self, names: Sequence[str]) -> int:
        """Remove images by name; how many of them were there."""
        self._num_classes = None
        return self.store.remove([names] if isinstance(names, str) else list(names))

    def update(
        self, images: str | Path | None = None, *, listed: ImageSet | None = None, on_error: OnError = "skip",
        show_progress: bool = True,
    ) -> Updated:  # fmt: skip
        """Follow a folder, or a manifest: new and changed images are embedded, those that are gone are removed.

        images: None: what was followed before. What has changed is told by content: files whose size and times are as
        they were are not read again (`circlet.index.contents`). Images that were added by hand stay. Each part is
        durable as it comes: who is interrupted calls it again. listed: what `every_image` has found there, if that is
        known already. on_error: as in `build`.

        ValueError where another folder was followed before that is still there.
        """
        root = followed_root(self.location, self.root, images)
        model, self._num_classes = self.model, None
        with silenced(not show_progress):
            found = model.listed(root if images is None else images) if listed is None else listed
            found = without_enrolled(found, root, self.location)
            if root != self.root:
                self._keep(replace(self._settings, root=root))
            plan = make_plan(self.items(), found, contents(found, FilesSeen(root)))
            if plan.changes and self.thresholds is not None and not self.mark.trained:
                self._keep(replace(self._settings, thresholds_due=True))
            return follow(self.store, model, found, plan, on_error=on_error)

    def _keep(self, settings: Settings) -> None:
        kept.write_settings(self.store, settings)
        self._settings = settings

    def search(self, image: Given, k: int = 10) -> list[Neighbour]:
        """The k images most similar to one, best first; where its very file is there, that before them (`same`)."""
        return only(self.search_many(image, k), "search_many")

    def search_many(self, images: Given, k: int = 10) -> list[list[Neighbour]]:
        """`search` of each of several images."""
        check_k(k)
        chosen = self.model.taken(images)
        return search_rows(self.store, chosen, self.model.embed(chosen, show_progress=False), k)

    def identify(self, image: Given, *, fpir: float = 0.01, threshold: float | None = None) -> Identified:
        """Which class an image is of, or unknown: that of the most similar image, if it is similar enough.

        fpir: the share of images of unknown classes that may be accepted; one that a threshold was chosen for.
        threshold: a similarity to accept from instead. An image that is in the index itself counts as any other.

        ValueError where there is no threshold (`calibrate`), or no image with a class.
        """
        return only(self.identify_many(image, fpir=fpir, threshold=threshold), "identify_many")

    def identify_many(self, images: Given, *, fpir: float = 0.01, threshold: float | None = None) -> list[Identified]:
        """`identify` of each of several images."""
        rule = self.rule(fpir=fpir, threshold=threshold)
        return identify_rows(self.store, self.model.embed(images, show_progress=False), rule, self.num_classes)

    def rule(self, *, fpir: float = 0.01, threshold: float | None = None) -> Rule:
        """From which similarity on `identify` accepts, and what that means; ValueError as there."""
        thresholds = None if threshold is not None else self.thresholds
        return chosen_rule(self.location, thresholds, fpir, threshold, self.num_classes)

    @property
    def thresholds_due(self) -> bool:
        """Whether `settle_thresholds` has something to do: none are there, or the images have changed since."""
        return self.thresholds is None or self._settings.thresholds_due

    def settle_thresholds(self) -> str:
        """Choose thresholds where that is fair (`calibrate`) and possible; a sentence about those that there are."""
        try:
            if not self.mark.trained:
                self.calibrate()
            elif self.thresholds is None and self.model.thresholds is not None:  # of a run that got them later
                self._keep(with_thresholds(self._settings, self.model))
        except ValueError as error:
            if self.thresholds is not None:  # of images that are there no more
                self._keep(replace(self._settings, thresholds=None, chosen_on="", thresholds_due=False))
            return f"thresholds: none ({error}); identify needs --threshold"
        return told(self._settings)

    def calibrate(
        self, *, fpirs: Sequence[float] = FPIRS, fars: Sequence[float] = FARS, unseen: bool = False
    ) -> Thresholds:
        """Choose thresholds on the classes of the index, each in turn taken for unknown, and keep them.

        That is fair for classes that the model has not been trained on alone: for a pretrained network as it is, or
        where you say so (`unseen`). Of more than 10,000 images, whole classes are drawn, up to that number.

        ValueError for a model that was trained, and for too few classes.
        """
        require_unseen(self.mark, unseen=unseen)
        found, chosen_on = chosen_thresholds(self.store, fpirs, fars)
        self._keep(replace(self._settings, thresholds=found.to_json(), chosen_on=chosen_on, thresholds_due=False))
        return found

    def save(self, location: str | Path) -> None:
        """Copy the index to a new place, which must hold no other."""
        save(self.store, location)

    def merge(self, other: "Index") -> int:
        """Add the images of another index of the same model; how many. Those of its folder have whole paths then.

        ValueError where the models differ, and for a name that both have for images of different content.
        """
        names, new = to_merge(self.store, self._settings, other.store, other._settings)
        roots = dict.fromkeys([*self._settings.roots, *other._settings.places])
        self._keep(replace(self._settings, roots=tuple(root for root in roots if root != self.root)))
        copy(other.store, self.store, new, names)
        self._num_classes = None
        return len(new)

    def close(self) -> None:
        """Let go of the store."""
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Index({self.location!r}, {len(self):,} images, {self.mark})"
