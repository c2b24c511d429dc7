"""Export: a model as a file to deploy or to pass on, and the Hugging Face Hub.

| file      | what it is                                                                                  |
|-----------|---------------------------------------------------------------------------------------------|
| writing   | `export`: the file, checked against the model, with its record and card                     |
| deployed  | the network from uint8 pixels to unit vectors, as one graph                                 |
| onnx_file | that graph as ONNX, compared with the model                                                 |
| session   | an ONNX file in use, by onnxruntime                                                         |
| int8      | the same in eight bits, and what that costs                                                 |
| images    | the images to compare, calibrate and measure with                                           |
| snippet   | how an image file becomes the pixels that a deployed network takes: in words, and as code   |
| record    | the folder of an export: its files, and export.json                                         |
| card      | README.md: the model card; `licences` what is known of those of weights and images          |
| pushing   | to the Hugging Face Hub; `hub` its errors in one line                                       |
| pulling   | back from there; `fetching` one file of it                                                  |
"""

from circlet.export.card import model_card
from circlet.export.onnx_file import Exported, read_metadata, to_onnx
from circlet.export.pulling import Pulled, pull
from circlet.export.pushing import Pushed, push
from circlet.export.session import OnnxModel
from circlet.export.snippet import preparation_code
from circlet.export.writing import Export, export

__all__ = [
    "Export",
    "Exported",
    "OnnxModel",
    "Pulled",
    "Pushed",
    "export",
    "model_card",
    "preparation_code",
    "pull",
    "push",
    "read_metadata",
    "to_onnx",
]
