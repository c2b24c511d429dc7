"""Hugging Face Trainer: a transformer with Circle loss in place of its own, in batches of P x K.

Run:     python examples/hf_trainer.py      (pip install transformers accelerate)
Prints:  MAP@R on classes never trained on, before and after.

The network is a tiny BERT of random weights on made-up words; yours is AutoModel.from_pretrained(...).
"""

import tempfile

import torch
from torch.utils.data import DataLoader
from transformers import BertConfig, BertModel, Trainer, TrainingArguments

import circlet

# Toy texts of 12 words: the class has 6 words of its own, of which a text has 4; the others are anything.
torch.manual_seed(0)
labels = torch.arange(200).repeat_interleave(6)
own = torch.randint(4, 60, (200, 6))
words = torch.randint(60, 200, (1200, 12))
for row, label in enumerate(labels):
    words[row, torch.randperm(12)[:4]] = own[label, torch.randperm(6)[:4]]
texts = [{"input_ids": row, "labels": label} for row, label in zip(words, labels, strict=True)]
train, test = texts[:900], texts[900:]


class MetricTrainer(Trainer):
    loss = circlet.CircleLoss(margin=0.4, gamma=32.0)

    def compute_loss(self, model, inputs, return_outputs=False, **_):
        outputs = model(input_ids=inputs["input_ids"])
        value = self.loss(outputs.last_hidden_state.mean(1), inputs["labels"])
        return (value, outputs) if return_outputs else value

    def get_train_dataloader(self) -> DataLoader:
        sampler = circlet.sampling.PKSampler([int(each["labels"]) for each in self.train_dataset], 25, 4)
        return DataLoader(self.train_dataset, batch_sampler=sampler)


@torch.no_grad()
def map_at_r(model: BertModel) -> float:
    model.eval()
    rows = model(input_ids=torch.stack([each["input_ids"] for each in test])).last_hidden_state.mean(1)
    return circlet.evaluate.retrieval(rows, labels[900:]).map_at_r


model = BertModel(
    BertConfig(vocab_size=200, hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
)
print(f"held-out classes: MAP@R {map_at_r(model):.3f}")
with tempfile.TemporaryDirectory() as folder:
    arguments = TrainingArguments(
        folder, num_train_epochs=8, learning_rate=3e-3, report_to=[], save_strategy="no", logging_strategy="no",
        use_cpu=True, disable_tqdm=True, remove_unused_columns=False,
    )  # fmt: skip
    MetricTrainer(model=model, args=arguments, train_dataset=train).train()
print(f"held-out classes: MAP@R {map_at_r(model):.3f}")
