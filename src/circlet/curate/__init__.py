"""What is wrong with a set of images, and how it falls into clusters, seen through an embedding.

| file           | what it is                                                                            |
|----------------|---------------------------------------------------------------------------------------|
| nearest        | the nearest neighbours of every image, in tiles                                       |
| overlay        | whether two images are one picture, by their pixels                                   |
| small_pictures | the images of a set, small and grey, to compare them                                  |
| duplicates     | equal files and near duplicates, in groups; which to keep; leaks across a split       |
| across         | images on both sides of a split that look the same, quickly                           |
| labels         | images whose label their neighbours contradict                                        |
| classes        | classes that look like one, and classes with few images                               |
| audit          | all of these at once                                                                  |
| short_form     | what training says of its images before it begins                                     |
| listing        | rows, JSON and sentences of what was found                                            |
| spreadsheet    | CSV in which no name becomes a formula                                                |
| page           | pages with the pictures side by side; templates/ has layout and words                 |
| clusters       | HDBSCAN on a graph of neighbours; agreement with classes                              |
| placing        | new folders of links or copies, under safe names                                      |
| joined         | several sets as one                                                                   |

Functions take names, labels and embeddings; who makes the embeddings is not known here. Nothing is deleted or changed.
"""

from circlet.curate.audit import Audit, audit, duplicates
from circlet.curate.classes import LookAlike, few_images, look_alike_classes
from circlet.curate.clusters import Agreement, Clusters, agreement, clusters_of
from circlet.curate.duplicates import Group, exact_pairs, near_pairs
from circlet.curate.labels import Labels, Suspicion, suspicious_labels
from circlet.curate.nearest import Nearest, nearest_of
from circlet.curate.overlay import same_picture

__all__ = [
    "Agreement",
    "Audit",
    "Clusters",
    "Group",
    "Labels",
    "LookAlike",
    "Nearest",
    "Suspicion",
    "agreement",
    "audit",
    "clusters_of",
    "duplicates",
    "exact_pairs",
    "few_images",
    "look_alike_classes",
    "near_pairs",
    "nearest_of",
    "same_picture",
    "suspicious_labels",
]
