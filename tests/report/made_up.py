"""A run that never was: pictures, embeddings, log and trace, with class names and paths that want to break out."""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from circlet.analyse import Hardest
from circlet.data import ImageSet
from circlet.losses import CircleLoss
from circlet.report import Embedded, ReportData

HOSTILE = (
    "</script><img src=x onerror=alert(1)>",
    "<b>bold</b> & \"quoted\" 'too'",
    "]]><!--",
    "\u2028 \u202e right to left",
    "${alert(1)}`",
    "a very long name without any space " + "x" * 200,
    "naïve 猫 \ud800",
)


@dataclass(frozen=True)
class Patches:
    """Reader of plain pictures, one colour an image."""

    shift: int = 0

    def __call__(self, index):
        return Image.new("RGB", (30, 20), tuple((37 * (index + self.shift) + c * 80) % 256 for c in range(3)))


def image_set(labels, names=HOSTILE, shift=0):
    kept = sorted(set(labels))
    dense = np.array([kept.index(label) for label in labels])
    class_names = tuple(names[label] for label in kept)
    files = tuple(f"<i>{i}</i>/{shift}.png" for i in range(len(labels)))
    return ImageSet(dense, class_names, files, Patches(shift))


def log(steps=20):
    telemetry = {"s_p": 0.5, "s_n": 0.1, "s_p_min": 0.4, "s_n_max": 0.6, "alpha_p": 0.9, "alpha_n": 0.3,
                 "past_boundary": 0.25, "gradient_p": 3.0, "gradient_n": 2.0}  # fmt: skip
    lines = [
        {"step": i, "loss": 20.0 / i, "learning_rate": 1e-3, "gradient_norm": 1.0 + i, "seconds": i, **telemetry}
        for i in range(1, steps + 1)
    ]
    return [*lines, {"step": steps, "validation_map@r": 0.5, "validation_recall@1": 0.75}]


def trace(steps=20, anchors=12):
    rng = np.random.default_rng(1)
    return [
        Hardest(10 * i, 0.4 + 0.02 * i + 0.1 * rng.normal(size=anchors - i % 3), 0.6 - 0.02 * i + 0.1 * rng.normal(
            size=anchors - i % 3)) for i in range(1, steps + 1)
    ]  # fmt: skip


def run(*, per_class=6, with_gallery=False, spread=0.4, names=HOSTILE, **changes):
    """Some classes, seven hostile ones by default, in 16 dimensions, close together within a class."""
    torch.manual_seed(0)
    labels = [label for label in range(len(names)) for _ in range(per_class)]
    centres = torch.nn.functional.normalize(torch.randn(len(names), 16), dim=1)
    query = centres[labels] + spread * torch.randn(len(labels), 16) / 4
    found = {
        "title": "<u>run</u> & more",
        "metrics": {"raw pixels": {"recall@1": 0.25, "map@r": float("nan")}, "embedding": {"recall@1": 0.875}},
        "query": image_set(labels, names),
        "embedded": Embedded(
            query, centres[labels] + spread * torch.randn(len(labels), 16) / 4 if with_gallery else None
        ),
        "gallery": image_set(labels, names, shift=100) if with_gallery else None,
        "log": log(),
        "trace": trace(),
        "loss": CircleLoss(margin=0.4, gamma=32.0),
        "details": {"Settings": {"root": "</pre><script>alert(2)</script>"}, "Environment": {"torch": "2"}},
    }
    return ReportData(**{**found, **changes})
