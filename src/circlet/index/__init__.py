"""An index: the images of a folder as vectors of one model, to be searched, identified and kept up to date.

| file        | what it is                                                                            |
|-------------|---------------------------------------------------------------------------------------|
| index       | `Index`: build, open, add, remove, update, search, identify, calibrate, save, merge   |
| adding      | images that are added by hand, and what they are called                               |
| updating    | what of a folder is new, changed or gone, and how a store follows it                  |
| contents    | digests of files, not read again where neither size nor times have changed            |
| names       | what an image is called in an index, and which of these names may become a path       |
| settings    | what is kept beside the vectors: of which model they are, of which folder, thresholds |
| searching   | neighbours, and the classes near an image                                             |
| calibrating | thresholds out of the index's own classes                                             |
| copying     | from one store into another: save and merge                                           |
| deciding    | from similarities to a class or "unknown", and to same or different, in a sentence    |
| making      | a new store, and which folder an index follows                                        |
| memory      | a store that is kept nowhere                                                          |
| readying    | a store made ready to be searched fast, and how well that is done                     |
| page        | neighbours as a page with pictures                                                    |
"""

from circlet.index.adding import Added
from circlet.index.deciding import Candidate, Identified, Rule, Verified, verify
from circlet.index.index import Index
from circlet.index.searching import Neighbour
from circlet.index.updating import Updated

__all__ = ["Added", "Candidate", "Identified", "Index", "Neighbour", "Rule", "Updated", "Verified", "verify"]
