"""Hugging Face datasets: a data set with the columns image and label, trained on and tested by classes.

Run:     python examples/hf_datasets.py      (pip install datasets)
Prints:  what a short training finds on characters never seen in training.

Yours is datasets.load_dataset("owner/name", split="train"), or load_dataset("imagefolder", data_dir=...). A column of
vectors is a data set for circlet train vectors: data.select_columns(["label", "embedding"]).to_parquet("v.parquet").
"""

from dataclasses import dataclass

from datasets import ClassLabel, Dataset, Features, Image
from PIL import Image as Pillow

import circlet
from circlet.data import ImageSet, glyphs, split_classes


@dataclass(frozen=True, eq=False)
class DatasetReader:
    """Reader of one column: image i is that of row i, decoded when it is asked for."""

    data: Dataset
    column: str = "image"

    def __call__(self, index: int) -> Pillow.Image:
        found: Pillow.Image = self.data[index][self.column]
        return found


def image_set(data: Dataset, column: str = "image", label: str = "label") -> ImageSet:
    """A data set of the hub as circlet has sets: labels by their names."""
    names = data.features[label].names
    classes = [names[number] for number in data[label]]
    return ImageSet.from_classes(classes, [f"row {row}" for row in range(len(data))], DatasetReader(data, column))


if __name__ == "__main__":
    drawn = glyphs(num_instances=8).train
    features = Features({"image": Image(), "label": ClassLabel(names=list(drawn.class_names))})
    content = {"image": [drawn.read(i).convert("L") for i in range(len(drawn))], "label": drawn.labels.tolist()}
    data = Dataset.from_dict(content, features=features)
    settings = {"steps": 20, "batch__classes": 16, "augment__dihedral_classes": False, "data__workers": 0}
    run = circlet.train(circlet.recipes.glyphs(**settings), data=split_classes(image_set(data)), report=False)
    print(f"{run.path}: Recall@1 on held-out classes {run.metrics['recall@1']:.3f}")
