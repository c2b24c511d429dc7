"""scikit-learn: an embedding as a transformer in a Pipeline, here of rows of a table; one of images is a line.

Run:     python examples/sklearn_pipeline.py
Prints:  the accuracy of the nearest neighbour, on the columns as they are and in eight numbers of the embedding.

Images: make_pipeline(FunctionTransformer(circlet.load("efficientnet_lite0").embed), LogisticRegression()), fitted to
paths and labels; a run's own model goes in as circlet.load("runs/folder-1").embed.
"""

import numpy as np
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import circlet


class CircleEmbedding(TransformerMixin, BaseEstimator):
    """A linear map to `dim` numbers in which rows of one class are similar, trained by Circle loss."""

    def __init__(self, dim: int = 8, margin: float = 0.4, gamma: float = 32.0, epochs: int = 10, seed: int = 0) -> None:
        self.dim, self.margin, self.gamma, self.epochs, self.seed = dim, margin, gamma, epochs, seed

    def fit(self, X: np.ndarray, y: np.ndarray) -> "CircleEmbedding":
        torch.manual_seed(self.seed)
        rows, labels = torch.tensor(X, dtype=torch.float32), torch.from_numpy(np.unique(y, return_inverse=True)[1])
        sampler = circlet.sampling.PKSampler(labels, min(len(labels.unique()), 16), 8, seed=self.seed)
        loss = circlet.CircleLoss(margin=self.margin, gamma=self.gamma)
        model = torch.nn.Linear(rows.shape[1], self.dim)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(self.epochs):
            for items in sampler:
                value = loss(model(rows[items]), labels[items])
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
        self.weight_, self.bias_ = (part.detach().double().numpy() for part in (model.weight, model.bias))
        return self

    def transform(self, X: np.ndarray) -> np.ndarray:
        rows = np.asarray(X) @ self.weight_.T + self.bias_
        return rows / np.linalg.norm(rows, axis=1, keepdims=True)


X, y = load_digits(return_X_y=True)
for name, steps in (("the columns", []), ("the embedding", [CircleEmbedding()])):
    pipeline = make_pipeline(StandardScaler(), *steps, KNeighborsClassifier(1))
    print(f"1-NN on {name}: accuracy {cross_val_score(pipeline, X, y, cv=3).mean():.3f}")
