"""Texts: a head on vectors of theirs, here TF-IDF of the docstrings of Python's own modules; the class is the module.

Run:     python examples/texts.py
Prints:  MAP@R on modules never trained on, of the vectors as they are and with the head, and what a question finds.

The same on the command line: circlet train vectors --root texts.parquet. Vectors of a language model go in alike
(examples/sentence_transformers_texts.py).
"""

import importlib
import inspect

import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.pipeline import make_pipeline

import circlet

MODULES = """argparse ast asyncio base64 bdb calendar cmath cmd codecs collections configparser copy csv ctypes datetime
decimal difflib dis doctest email.message enum fractions ftplib functools gzip hashlib heapq html.parser http.client
http.cookies imaplib inspect io ipaddress itertools json locale logging lzma mailbox math mimetypes optparse os pathlib
pdb pickle pickletools plistlib poplib pprint queue random re sched secrets selectors shelve shlex shutil smtplib socket
sqlite3 ssl statistics string struct subprocess tarfile tempfile textwrap threading timeit tokenize trace traceback
turtle types unicodedata unittest unittest.mock urllib.parse urllib.request uuid wave weakref xml.dom.minidom
xml.sax.handler zipfile zoneinfo""".split()  # noqa: SIM905

texts: dict[str, tuple[str, str]] = {}  # by name: the text, and its class
for module in MODULES:
    found = importlib.import_module(module)
    for name, thing in sorted(vars(found).items()):
        members = sorted(vars(thing).items()) if inspect.isclass(thing) else []
        for called, each in [(name, thing), *((f"{name}.{inner}", each) for inner, each in members)]:
            text = inspect.getdoc(each) or ""
            own = str(getattr(each, "__module__", None) or "").startswith((module, f"_{module}"))
            if own and callable(each) and len(text) > 60 and "_" not in called[:1]:
                texts.setdefault(text, (f"{module}.{called}", module))

vectors = make_pipeline(TfidfVectorizer(sublinear_tf=True), TruncatedSVD(128, random_state=0))
rows = vectors.fit_transform(list(texts))
names, labels = zip(*texts.values(), strict=True)
pq.write_table(pa.table({"id": names, "label": labels, "embedding": list(rows)}), "texts.parquet")

run = circlet.train(circlet.recipes.vectors(root="texts.parquet"))
before = run.folder.read_result()["frozen"]
print(f"{len(rows)} texts of {len(set(labels))} modules; report: {run.path}/report.html")
print(f"held-out modules: MAP@R {before['map@r']:.3f} as they are, {run.metrics['map@r']:.3f} with the head")

query = run.embed(vectors.transform(["send a mail through a server"]))
for place in (run.embed(rows) @ query[0]).topk(3).indices.tolist():
    print(f"send a mail through a server: {names[place]}")
