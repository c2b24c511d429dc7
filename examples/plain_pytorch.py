"""Circle loss in a training loop of plain PyTorch: DataLoader, PKSampler, CircleLoss, retrieval metrics.

Run:     python examples/plain_pytorch.py
Prints:  the loss at the end of each epoch, and Recall@1 and MAP@R on classes never trained on, before and after.

Yours go in as any data set of (image, label) pairs.
"""

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import circlet

# Toy images: each class is a pattern of 5 x 5 pixels, somewhere in a noisy image. A quarter of the classes is held out.
torch.manual_seed(0)
labels = torch.arange(200).repeat_interleave(12)
images = 0.5 * torch.randn(len(labels), 1, 12, 12)
patterns = torch.randn(200, 5, 5)
for image, label in zip(images, labels, strict=True):
    top, left = torch.randint(8, (2,)).tolist()
    image[0, top : top + 5, left : left + 5] += patterns[label]
train, test = labels < 150, labels >= 150

data = TensorDataset(images[train], labels[train])
sampler = circlet.sampling.PKSampler(labels[train], num_classes_per_batch=25, samples_per_class=4)
loader = DataLoader(data, batch_sampler=sampler)  # batches of 25 classes x 4 images

model = nn.Sequential(
    *(nn.Conv2d(1, 64, 5), nn.BatchNorm2d(64), nn.ReLU()),
    *(nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(64, 32)),
)
loss = circlet.CircleLoss(margin=0.4, gamma=80.0)  # pair-wise labels: every image of a batch meets all the others
optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)


@torch.no_grad()
def show_metrics() -> None:
    model.eval()
    found = circlet.evaluate.retrieval(model(images[test]), labels[test])
    print(f"held-out classes: Recall@1 {found.recall_at_k[1]:.3f}, MAP@R {found.map_at_r:.3f}")
    model.train()


show_metrics()
for epoch in range(1, 9):
    for batch, batch_labels in loader:  # each pass in a new order
        value = loss(model(batch), batch_labels)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    print(f"epoch {epoch}: loss {value.item():.2f}")
show_metrics()
