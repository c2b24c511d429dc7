"""Models ready to embed: a network with its preprocessing, from a run, a file, or the name of a pretrained network.

| file             | what it is                                                                            |
|------------------|---------------------------------------------------------------------------------------|
| model            | `Model`: images in any form to unit vectors; whether two models give the same vectors |
| loading          | `load_model`: from run folder, file or name                                           |
| given            | images as people have them as an `ImageSet`                                           |
| parts            | embeddings of a large collection: a folder of Parquet files, gone on with later       |
| safetensors_file | the file that `circlet export` writes                                                 |
"""

from circlet.inference.given import image_set
from circlet.inference.loading import DEFAULT, frozen_model, load_model, model_of
from circlet.inference.model import Model, Part

__all__ = ["DEFAULT", "Model", "Part", "frozen_model", "image_set", "load_model", "model_of"]
