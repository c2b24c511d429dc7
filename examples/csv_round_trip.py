"""Looking at results elsewhere (a spreadsheet, FiftyOne, Label Studio): out as CSV, corrected there, and back in.

Run:     python examples/csv_round_trip.py
Prints:  how many labels were doubted, how many of these were wrong, and MAP@R on unseen classes before and after.

Here a few labels of made-up vectors are spoilt, and "a person" puts right the rows whose neighbours contradict the
label. Of photographs circlet audit photos writes such a table, audit.csv, and circlet train manifest --root
corrected.csv takes one back. FiftyOne: fiftyone.Dataset() with a Sample(filepath=..., label=...) for each row.
"""

import csv
from pathlib import Path

import numpy as np

import circlet

rng = np.random.default_rng(0)
truth = [f"class {number:02}" for number in np.arange(400) // 10]
rows = rng.normal(size=(40, 32)).repeat(10, axis=0) + 0.8 * rng.normal(size=(400, 32))
spoilt = rng.choice(len(truth), 40, replace=False).tolist()
labels = [truth[(row + 37) % 400] if row in spoilt else label for row, label in enumerate(truth)]
np.save("things.npy", rows)  # with things.csv beside it: a data set of vectors


def write(path: str, **columns: list) -> None:
    with Path(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


ids = list(range(len(rows)))
write("things.csv", id=ids, label=labels)
run = circlet.train(circlet.recipes.vectors(root="things.npy"), report=False)

# Out: each row with the label that most of its five nearest neighbours have.
embeddings = run.embed(rows)
nearest = (embeddings @ embeddings.T).fill_diagonal_(-1).topk(5).indices.tolist()
found = [[labels[row] for row in some] for some in nearest]
suggested = [max(sorted(set(some)), key=some.count) for some in found]
doubted = [int(one != other) for one, other in zip(labels, suggested, strict=True)]
write("review.csv", id=ids, label=labels, suggested=suggested, doubted=doubted)

# Somebody looks at the rows with a 1 and puts their labels right; then back in.
with Path("review.csv").open(newline="", encoding="utf-8") as file:
    review = list(csv.DictReader(file))
corrected = [truth[int(row["id"])] if row["doubted"] == "1" else row["label"] for row in review]
write("things.csv", id=ids, label=corrected)
again = circlet.train(circlet.recipes.vectors(root="things.npy"), report=False)

wrong = sum(doubted[row] and labels[row] != truth[row] for row in ids)
print(f"{sum(doubted)} labels doubted, {wrong} of them wrong, of {len(spoilt)} in all")
for name, each in (("before", run), ("after", again)):
    print(f"held-out classes {name}: MAP@R {each.metrics['map@r']:.3f}")
