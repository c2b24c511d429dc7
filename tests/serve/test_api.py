"""The API: what each request does, and that answers are as they are described."""

import io
from dataclasses import is_dataclass

import numpy as np
import pytest
from PIL import Image

from circlet.evaluate.thresholds import Threshold, Thresholds
from circlet.serve import answers
from circlet.serve.names import MAX_LABEL
from circlet.typed import typed
from tests.serve.made_up import picture


def sent(number=0, **texts):
    return {"files": {"image": ("x.png", picture(number), "image/png")}, "data": texts}


def checked(kind, response, status=200):
    """The answer, which must be of that kind in all its parts."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    return typed(kind, response.json(), "")


def test_a_picture_of_the_index_finds_itself_first(client):
    found = checked(answers.Searched, client.post("/api/search?k=4", **sent(101)))
    first, *others = found.neighbours
    assert (first.name, first.label, first.same_picture, first.enrolled) == ("bee/1.png", "bee", True, False)
    assert first.similarity == pytest.approx(1, abs=1e-5)
    assert len(others) == 3
    assert [each.similarity for each in found.neighbours] == sorted(
        (each.similarity for each in found.neighbours), reverse=True
    )
    assert not any(each.same_picture for each in others)


def test_similarities_are_those_of_the_index(client, letters):
    found = checked(answers.Searched, client.post("/api/search?k=9", **sent(5)))
    expected = letters.search(Image.open(io.BytesIO(picture(5))), k=9)
    assert [each.name for each in found.neighbours] == [each.name for each in expected]
    np.testing.assert_allclose(
        [each.similarity for each in found.neighbours], [each.similarity for each in expected], atol=1e-5
    )


def test_a_picture_may_be_the_body(client):
    whole = client.post("/api/search?k=2", content=picture(101), headers={"Content-Type": "image/png"})
    parts = client.post("/api/search?k=2", **sent(101))
    assert whole.json() == parts.json()


def test_without_a_threshold_nothing_is_decided(client):
    found = checked(answers.Identified, client.post("/api/identify", **sent(101)))
    assert (found.verdict, found.label, found.threshold) == ("undecided", None, None)
    assert found.candidates[0].label == "bee"
    assert "no threshold" in found.meaning
    assert len({each.label for each in found.candidates}) == len(found.candidates) == 3
    assert checked(answers.About, client.get("/api/about")).thresholds == ()


def thresholds(similarity):
    def one(task, rate):
        return Threshold(task=task, rate=rate, similarity=similarity, gallery_classes=3, gallery_images=9, classes=20,
                         trials=200, found=rate, resolved=True, low=rate, high=rate, missed=0.1)  # fmt: skip

    return Thresholds((one("identify", 0.01),), (one("verify", 0.001),))


@pytest.fixture
def decided(served, monkeypatch):
    def with_threshold(similarity):
        monkeypatch.setattr("circlet.index.Index.thresholds", thresholds(similarity))
        return served()

    return with_threshold


def test_known_and_unknown(decided):
    client = decided(0.99999)
    known = checked(answers.Identified, client.post("/api/identify", **sent(101)))
    assert (known.verdict, known.label, known.threshold) == ("known", "bee", 0.99999)
    assert known.sentence.startswith("bee (similarity 1.000")
    unknown = checked(answers.Identified, client.post("/api/identify", **sent(7)))
    assert (unknown.verdict, unknown.label) == ("unknown", None)
    assert "nearest" in unknown.sentence
    assert "1 %" in unknown.meaning
    assert {each.task for each in checked(answers.About, client.get("/api/about")).thresholds} == {"identify", "verify"}
    assert client.post("/api/identify?fpir=0.5", **sent(7)).status_code == 400


@pytest.mark.parametrize(("similarity", "other", "verdict"), [(0.9999, 0, "same"), (0.999999, 1, "different")])
def test_verify(decided, similarity, other, verdict):
    files = {"a": ("a.png", picture(0)), "b": ("b.png", picture(other))}
    found = checked(answers.Verified, decided(similarity).post("/api/verify", files=files))
    assert (found.verdict, found.threshold) == (verdict, similarity)


def test_verify_without_a_threshold(client):
    files = {"a": ("a.png", picture(0)), "b": ("b.png", picture(0))}
    assert checked(answers.Verified, client.post("/api/verify", files=files)).verdict == "undecided"
    refused = checked(answers.Error, client.post("/api/verify", files={"a": files["a"]}), 400)
    assert refused.error == "b: found nothing, expected a picture"


def test_enrol_then_take_back(client, letters):
    done = checked(answers.Enrolled, client.post("/api/items", **sent(7, label=" Dragon  fly ")), 201)
    assert (done.label, done.created) == ("Dragon fly", True)
    again = checked(answers.Enrolled, client.post("/api/items", **sent(7, label="Dragon fly")))
    assert again == answers.Enrolled(done.id, "Dragon fly", created=False)
    found = checked(answers.Searched, client.post("/api/search?k=1", **sent(7))).neighbours[0]
    assert (found.id, found.label, found.enrolled, found.same_picture) == (done.id, "Dragon fly", True, True)
    assert checked(answers.Items, client.get("/api/items")).items[0].id == done.id
    assert "Dragon fly" in letters.classes()
    back = checked(answers.TakenBack, client.delete(f"/api/items/{done.id}"))
    assert back == answers.TakenBack(done.id, "Dragon fly")
    assert checked(answers.Error, client.delete(f"/api/items/{done.id}"), 404).status == 404
    assert "Dragon fly" not in letters.classes()
    assert checked(answers.Items, client.get("/api/items")) == answers.Items((), 0)
    assert checked(answers.Searched, client.post("/api/search?k=1", **sent(7))).neighbours[0].id != done.id


def test_a_picture_may_be_of_two_classes_and_of_one_that_is_there(client, letters):
    first = client.post("/api/items", **sent(7, label="ant")).json()
    other = client.post("/api/items", **sent(7, label="bee")).json()
    assert first["id"] != other["id"]
    assert letters.classes() == {"ant": 4, "bee": 4, "cat": 3}


def test_what_was_indexed_is_not_taken_back(client, letters):
    id = client.post("/api/search?k=1", **sent(101)).json()["neighbours"][0]["id"]
    assert "folder decides" in checked(answers.Error, client.delete(f"/api/items/{id}"), 403).error
    assert len(letters) == 9


def test_read_only(served, letters):
    client = served(read_only=True)
    assert checked(answers.About, client.get("/api/about")).read_only
    assert checked(answers.Error, client.post("/api/items", **sent(7, label="ant")), 403).status == 403
    assert client.delete("/api/items/" + 32 * "0").status_code == 403
    assert client.post("/api/search", **sent(7)).status_code == 200
    assert len(letters) == 9


@pytest.mark.parametrize(
    "label",
    ["", "   ", "a\0b", "a\x1b[2Jb", "a\u202eb", "x" * (MAX_LABEL + 1), "\ud800".encode("utf-8", "surrogatepass")],
)
def test_labels_that_are_no_names(client, letters, label):
    response = client.post("/api/items", **sent(7, label=label))
    assert checked(answers.Error, response, 400).error.startswith("label: found")
    assert len(letters) == 9


@pytest.mark.parametrize(
    "label", ["../../etc/passwd", "/", "<script>alert(1)</script>", "a/b", "CON", "ä", "蟻", "👩‍🔬"]
)
def test_any_other_text_is_a_name(client, letters, tmp_path, label):
    before = {path for path in tmp_path.rglob("*") if "enrolled" not in str(path)}
    done = checked(answers.Enrolled, client.post("/api/items", **sent(7, label=label)), 201)
    assert letters.items()[-1].label == done.label == label
    kept = [path for path in (tmp_path / "letters.index.enrolled").rglob("*") if path.is_file()]
    assert [path.name for path in kept] == [f"{done.id}.jpg"]
    inside = {path for path in tmp_path.rglob("*") if "enrolled" not in str(path)}
    assert all(path.is_relative_to(tmp_path / "letters.index") for path in inside - before)


def test_a_class_that_looks_like_another_is_refused(client):
    refused = checked(answers.Error, client.post("/api/items", **sent(7, label="an\u200ct")), 409)
    assert "looks like the class 'ant'" in refused.error


def test_classes(client):
    client.post("/api/items", **sent(7, label="Anteater"))
    found = checked(answers.Classes, client.get("/api/classes"))
    assert [(each.label, each.images, each.enrolled) for each in found.classes] == [
        ("ant", 3, 0), ("Anteater", 1, 1), ("bee", 3, 0), ("cat", 3, 0)
    ]  # fmt: skip
    assert checked(answers.Classes, client.get("/api/classes?text=ANT&limit=1")).total == 2
    of_class = checked(answers.Items, client.get("/api/items?label=ant&limit=2"))
    assert ([each.name for each in of_class.items], of_class.total) == (["ant/0.png", "ant/1.png"], 3)


def test_thumbnails_are_small_upright_and_without_what_a_camera_wrote(client, tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera's maker"  # turned by a quarter
    exif.get_ifd(0x8825)[1] = "N"
    file = io.BytesIO()
    Image.new("RGB", (3000, 1500), "red").save(file, "JPEG", exif=exif)
    assert b"a camera's maker" in file.getvalue()
    done = client.post("/api/items?label=red", content=file.getvalue(), headers={"Content-Type": "image/jpeg"}).json()
    shown = client.get(f"/api/items/{done['id']}/thumbnail")
    assert shown.headers["content-type"] == "image/webp"
    kept = next((tmp_path / "letters.index.enrolled").rglob("*.jpg"))
    for content, size in ((shown.content, (128, 256)), (kept.read_bytes(), (512, 1024))):
        image = Image.open(io.BytesIO(content))
        assert image.size == size
        assert b"maker" not in content
        assert not image.getexif()
    client.delete(f"/api/items/{done['id']}")
    assert not kept.exists()
    assert client.get(f"/api/items/{done['id']}/thumbnail").status_code == 404


def test_a_thumbnail_that_is_made_while_its_item_is_taken_back_does_not_stay(client, monkeypatch):
    from circlet.serve import service

    id, made = client.post("/api/items?label=x", content=picture(7)).json()["id"], service.small_picture

    def slow(*given):
        taken = client.delete(f"/api/items/{id}") if given[2] == "WEBP" else None
        assert taken is None or taken.status_code == 200
        return made(picture(7), *given[1:])

    monkeypatch.setattr(service, "small_picture", slow)
    assert [client.get(f"/api/items/{id}/thumbnail").status_code for _ in range(2)] == [404, 404]


def test_thumbnails_of_indexed_photos(client, tmp_path):
    near = client.post("/api/search?k=2", **sent(101)).json()["neighbours"]
    shown = client.get(f"/api/items/{near[0]['id']}/thumbnail")
    assert Image.open(io.BytesIO(shown.content)).size == (32, 40)
    (tmp_path / "photos" / near[1]["name"]).unlink()
    gone = checked(answers.Error, client.get(f"/api/items/{near[1]['id']}/thumbnail"), 404)
    assert "moved" in gone.error
    assert str(tmp_path) not in gone.error


@pytest.mark.parametrize("id", ["../../secret", "..%2f..%2fsecret", "0" * 31, "0" * 32, "G" * 32, "%00", "a" * 5000])
def test_no_id_leads_anywhere(client, tmp_path, id):
    (tmp_path / "secret").write_bytes(picture(1))
    assert client.get(f"/api/items/{id}/thumbnail").status_code == 404
    assert client.delete(f"/api/items/{id}").status_code == 404


def test_an_empty_index(served, letters):
    letters.remove([item.name for item in letters.items()])
    client = served()
    assert checked(answers.Searched, client.post("/api/search", **sent(1))).neighbours == ()
    found = checked(answers.Identified, client.post("/api/identify", **sent(1)))
    assert (found.verdict, found.similarity, found.candidates) == ("unknown", None, ())
    client.post("/api/items", **sent(1, label="first"))
    assert client.post("/api/search", **sent(1)).json()["neighbours"][0]["label"] == "first"


@pytest.mark.parametrize("query", ["k=0", "k=101", "k=-1", "k=x", "k=1e3", "k=", "k=٣", "fpir=0", "fpir=nan", "fpir=x"])
def test_numbers_out_of_range(client, query):
    assert checked(answers.Error, client.post(f"/api/identify?{query}", **sent(1)), 400).error.endswith(
        ("from 1 to 100", "below 1")
    )


def test_full(served):
    from circlet.serve import Limits

    client = served(limits=Limits(max_enrolled=1))
    assert client.post("/api/items", **sent(1, label="a")).status_code == 201
    assert checked(answers.Error, client.post("/api/items", **sent(2, label="a")), 507).status == 507


def test_a_full_disk_changes_nothing(client, letters, monkeypatch):
    import errno

    def full(path, write):
        raise OSError("could not be written") from OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("circlet.serve.gallery.write_atomically", full)
    assert checked(answers.Error, client.post("/api/items", **sent(1, label="a")), 507).error.startswith("disk: ")
    assert len(letters) == 9
    monkeypatch.undo()
    assert client.post("/api/items", **sent(1, label="a")).status_code == 201


def test_every_path_is_described_and_every_answer_of_the_described_kind(client):
    description = client.get("/openapi.json").json()
    served = {
        (route.path, method)
        for route in client.app.routes
        for method in route.methods - {"HEAD"}
        if route.path.startswith("/api")
    }
    described = {(path, method.upper()) for path, of in description["paths"].items() for method in of}
    assert served == described
    schemas = description["components"]["schemas"]
    assert set(schemas) == {name for name, kind in vars(answers).items() if is_dataclass(kind)}
    done = client.post("/api/items", **sent(7, label="ant"))
    for response, path in [
        (client.post("/api/search", **sent(7)), "/api/search"),
        (client.post("/api/identify", **sent(7)), "/api/identify"),
        (done, "/api/items"),
        (client.get("/api/items"), "/api/items"),
        (client.get("/api/classes"), "/api/classes"),
        (client.get("/api/about"), "/api/about"),
        (client.get("/api/health"), "/api/health"),
        (client.delete("/api/items/nothing"), "/api/items/{id}"),
    ]:
        operation = description["paths"][path][response.request.method.lower()]
        said = operation["responses"].get(str(response.status_code), operation["responses"]["default"])
        conform(response.json(), said["content"]["application/json"]["schema"], schemas)


def conform(value, schema, schemas):
    """Raise unless a JSON value is as its schema says; the words that our schemas use."""
    if "$ref" in schema:
        return conform(value, schemas[schema["$ref"].rpartition("/")[2]], schemas)
    if "anyOf" in schema:
        for each in schema["anyOf"]:
            try:
                return conform(value, each, schemas)
            except AssertionError:
                continue
        raise AssertionError((value, schema))
    kinds = {"string": str, "integer": int, "number": (int, float), "boolean": bool, "null": type(None),
             "array": list, "object": dict}  # fmt: skip
    assert isinstance(value, kinds[schema["type"]]), (value, schema)
    assert "enum" not in schema or value in schema["enum"]
    if schema["type"] == "array":
        for each in value:
            conform(each, schema["items"], schemas)
    if schema["type"] == "object":
        assert set(value) == set(schema["properties"]) == set(schema["required"])
        for name, each in value.items():
            conform(each, schema["properties"][name], schemas)
    return None
