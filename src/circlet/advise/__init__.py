"""Advice: one run looked at for what to change.

| file       | what it is                                                     |
|------------|----------------------------------------------------------------|
| advice     | the rules, each with its evidence and the flags to turn        |
| divergence | what is said of a run that diverged                            |
| extremes   | a loss at its two ends: for random and for perfect embeddings  |
| suggestion | what advice is made of                                         |
"""

from circlet.advise.advice import suggest, suggest_for
from circlet.advise.suggestion import Suggestion

__all__ = ["Suggestion", "suggest", "suggest_for"]
