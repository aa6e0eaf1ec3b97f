"""Amazon Reviews: three releases with differing field names tell the same story."""

import gzip
import json

import pytest

from warmprompt.data.readers import read_folder
from warmprompt.errors import BadInputError, RejectsError

REVIEWS = [("A1", "B2", 5.0, 100), ("A1", "B1", 2.0, 50), ("A0", "0000013714", 4.0, 70)]


def lines(objects) -> str:
    return "".join(json.dumps(each) + "\n" for each in objects)


def release_2014():
    reviews = [
        {"reviewerID": u, "asin": i, "helpful": [0, 1], "reviewText": "x", "overall": r, "unixReviewTime": t}
        for u, i, r, t in REVIEWS
    ]
    metadata = [
        {
            "asin": "B1",
            "title": "Soap &amp; Co",
            "brand": "Acme",
            "categories": [["Beauty", "Bath"], ["Beauty", "Gifts"]],
        },
        {
            "asin": "0000013714",
            "title": "It's",
            "categories": [["Books"]],
            "related": {"also_bought": ["B9"]},
        },
        {"asin": "B9", "title": "Nobody bought it"},
    ]
    # Python literals, as the release has them.
    return lines(reviews), "".join(f"{each!r}\n" for each in metadata)


def release_2018():
    reviews = [
        {
            "reviewerID": u,
            "asin": i,
            "verified": True,
            "reviewTime": "01 1, 1970",
            "overall": r,
            "unixReviewTime": t,
        }
        for u, i, r, t in REVIEWS
    ]
    metadata = [
        {
            "asin": "B1",
            "title": "Soap &amp; Co",
            "brand": "Acme",
            "category": ["Beauty", "Bath", "Beauty", "Gifts"],
        },
        {"asin": "0000013714", "title": "It's", "category": ["Books"], "brand": ""},
        {"asin": "B9", "title": "Nobody bought it"},
    ]
    return lines(reviews), lines(metadata)


def release_2023():
    reviews = [
        {
            "user_id": u,
            "parent_asin": i,
            "asin": "variant",
            "rating": r,
            "title": "Great",
            "text": "x",
            "timestamp": t * 1000 + 7,
        }
        for u, i, r, t in REVIEWS
    ]
    metadata = [
        {
            "parent_asin": "B1",
            "title": "Soap & Co",
            "store": "Acme",
            "categories": ["Beauty", "Bath", "Gifts"],
        },
        {"parent_asin": "0000013714", "title": "It's", "store": None, "categories": ["Books"]},
        {"parent_asin": "B9", "title": "Nobody bought it", "categories": []},
    ]
    return lines(reviews), lines(metadata)


@pytest.mark.parametrize(
    ("release", "year"), [(release_2014, 2014), (release_2018, 2018), (release_2023, 2023)]
)
@pytest.mark.parametrize("packed", [False, True])
def test_releases(write, bring_in, events_of, release, year, packed):
    reviews, metadata = (text.encode() for text in release())
    if packed:
        files = {"r.json.gz": gzip.compress(reviews), "meta_r.json.gz": gzip.compress(metadata)}
    else:
        files = {"r.jsonl": reviews, "meta_r.jsonl": metadata}
    dataset, manifest = bring_in(write("a", files))
    assert manifest.source_format == f"amazon-{year}"
    assert events_of(dataset) == [
        ("A0", "0000013714", 4.0, 70),  # an id of digits stays text
        ("A1", "B1", 2.0, 50),
        ("A1", "B2", 5.0, 100),
    ]
    assert dataset.items.select("title", "categories", "brand").rows() == [
        ("It's", ["Books"], None),
        ("Soap & Co", ["Beauty", "Bath", "Gifts"], "Acme"),
        ("", None, None),  # reviewed, but not in the metadata
    ]
    assert manifest.num_unrated_left_out == 1
    assert dataset.rating_scale == (1.0, 5.0)


def test_reviews_alone(write, bring_in):
    dataset, _ = bring_in(write("a", {"r.json": release_2018()[0]}))
    assert dataset.items.columns == ["title"]


def test_half_broken_lines_are_counted_with_their_numbers(write, bring_in, events_of):
    good = release_2018()[0]
    broken = (
        good
        + '{"reviewerID": "A1", "as\n[1, 2]\n'
        + '{"reviewerID": ["A"], "asin": "B1", "overall": 5.0, "unixReviewTime": 1}\n'
    )
    broken += '{"reviewerID": "A7", "asin": "B1", "overall": NaN, "unixReviewTime": 1}\n'
    path = write("a", {"r.json": broken})
    with pytest.raises(RejectsError, match="3 of 7 rows malformed"):
        bring_in(path)
    dataset, manifest = bring_in(path, max_rejects=0.6)
    assert {(each.reason, each.first_lines) for each in manifest.rejects} == {
        ("not a JSON object", (4, 5)),
        ("user id is neither text nor an integer", (6,)),
    }
    assert [event for event in events_of(dataset) if event[0] == "A7"] == [("A7", "B1", None, 1)]
    assert len(events_of(dataset)) == 4


def test_truncated_gzip(write, bring_in):
    whole = gzip.compress(release_2018()[0].encode() * 2000)
    with pytest.raises(BadInputError, match="damaged gzip"):
        bring_in(write("a", {"r.json.gz": whole[: len(whole) // 2]}))


def test_two_review_files_are_refused(write):
    reviews = release_2018()[0]
    with pytest.raises(BadInputError, match="2 review files"):
        read_folder(write("a", {"a.json": reviews, "b.json": reviews}), format_name="amazon")
