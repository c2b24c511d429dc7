"""Lightning: Circle loss in a LightningModule, batches of P x K, retrieval metrics on unseen classes in validation.

Run:     python examples/lightning_module.py      (pip install lightning)
Prints:  MAP@R on classes never trained on, before training and after each epoch.

Over several devices: PKSampler(..., rank=..., num_ranks=...) of the trainer's ranks, Trainer(use_distributed_sampler=
False), and circlet.AllRanks() as the references of the loss.
"""

import lightning
import torch
from torch.utils.data import DataLoader, TensorDataset

import circlet


class Embedding(lightning.LightningModule):
    def __init__(self, num_features: int = 32, embedding_dim: int = 8) -> None:
        super().__init__()
        self.model = torch.nn.Linear(num_features, embedding_dim)
        self.loss = circlet.CircleLoss(margin=0.4, gamma=32.0)
        self.rows: list[tuple[torch.Tensor, torch.Tensor]] = []

    def training_step(self, batch: list[torch.Tensor], index: int) -> torch.Tensor:
        points, labels = batch
        value = self.loss(self.model(points), labels)
        self.log("loss", value)
        return value

    def validation_step(self, batch: list[torch.Tensor], index: int) -> None:
        self.rows.append((self.model(batch[0]), batch[1]))

    def on_validation_epoch_end(self) -> None:
        embeddings, labels = map(torch.cat, zip(*self.rows, strict=True))
        self.rows.clear()
        found = circlet.evaluate.retrieval(embeddings, labels)
        self.log("map@r", found.map_at_r)
        print(f"epoch {self.current_epoch}: MAP@R {found.map_at_r:.3f}")

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=0.01)


# Toy data: the class of a point shows in 4 of its 32 numbers, the rest is noise. Half of the classes are held out.
torch.manual_seed(0)
labels = torch.arange(40).repeat_interleave(10)
points = torch.cat([torch.randn(40, 4)[labels] + 0.2 * torch.randn(400, 4), torch.randn(400, 28)], dim=1)
train, test = labels < 20, labels >= 20
sampler = circlet.sampling.PKSampler(labels[train], num_classes_per_batch=10, samples_per_class=5)
batches = DataLoader(TensorDataset(points[train], labels[train]), batch_sampler=sampler)
unseen = DataLoader(TensorDataset(points[test], labels[test]), batch_size=100)

trainer = lightning.Trainer(
    max_epochs=5, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
    enable_model_summary=False, use_distributed_sampler=False, log_every_n_steps=1,
    num_sanity_val_steps=0,
)  # fmt: skip
module = Embedding()
trainer.validate(module, unseen, verbose=False)
trainer.fit(module, batches, unseen)
