"""Advice: one run looked at for what to change.

| file     | what it is                                                     |
|----------|----------------------------------------------------------------|
| advice   | the rules, each with its evidence and the flags to turn        |
| extremes | a loss at its two ends: for random and for perfect embeddings  |
"""

from circlet.advise.advice import Suggestion, suggest, suggest_for

__all__ = ["Suggestion", "suggest", "suggest_for"]
