"""The rules every format is held to, against a plain Python reading of the same rows."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from warmprompt.data.importing import import_source
from warmprompt.data.readers.generic import MappedFile, read_mapped
from warmprompt.data.tables import open_dataset
from warmprompt.errors import BadInputError, RejectsError

NOW_S = 1_700_000_000
MAPPING = {"user": "u", "item": "i", "rating": "r", "time": "t"}
GOOD = "".join(f"u{n},i{n},3,{n}\n" for n in range(10))


def mapped(path, mapping=None, **options):
    return read_mapped(MappedFile(path=path, mapping=mapping or MAPPING), **options)


def test_reasons_counts_and_first_lines(write, bring_in, events_of):
    bad = [
        ("", "i", "3", "1", "user id is empty"),
        ("u", " ", "3", "1", "item id is empty"),
        ("u", "i", "good", "1", "rating is not a number"),
        ("u", "i", "1e999", "1", "rating is not finite"),
        ("u", "i", "inf", "1", "rating is not finite"),
        ("u", "i", "6", "1", "rating is outside 1 to 5"),
        ("u", "i", "3", "", "time is missing"),
        ("u", "i", "3", "noon", "time is not a number"),
        ("u", "i", "3", "-1", "time is negative"),
        ("u", "i", "3", str(NOW_S + 1), "time is in the future"),
    ]
    rows = "".join(",".join(row[:4]) + "\n" for row in bad)
    path = write("g", {"e.csv": f"u,i,r,t\n{GOOD}{rows}"}) / "e.csv"
    dataset, manifest = bring_in(mapped(path, rating_scale=(1, 5)), max_rejects=0.5)
    expected = {}
    for line, row in enumerate(bad, start=12):
        expected.setdefault(row[4], []).append(line)
    assert {each.reason: list(each.first_lines) for each in manifest.rejects} == expected
    assert manifest.num_rows_read["interactions"] == 20
    assert len(events_of(dataset)) == 10


def test_present_time_and_empty_rating_are_no_rejects(write, bring_in, events_of):
    path = write("g", {"e.csv": f"u,i,r,t\na,b,,{NOW_S}\na,c,2,0\n"}) / "e.csv"
    dataset, manifest = bring_in(mapped(path))
    assert events_of(dataset) == [("a", "c", 2.0, 0), ("a", "b", None, NOW_S)]
    assert manifest.rejects == ()


def test_only_five_line_numbers_are_kept(write, bring_in):
    path = write("g", {"e.csv": f"u,i,r,t\n{',x,1,1' + chr(10)}" + ",x,1,1\n" * 8 + GOOD}) / "e.csv"
    _, manifest = bring_in(mapped(path), max_rejects=0.5)
    assert [(each.count, each.first_lines) for each in manifest.rejects] == [(9, (2, 3, 4, 5, 6))]


@pytest.mark.parametrize(("share", "refused"), [(0.09, True), (1 / 11, False), (0.2, False)])
def test_the_share_of_rejects_is_a_bound_that_may_be_met(write, bring_in, share, refused):
    path = write("g", {"e.csv": f"u,i,r,t\n{GOOD},x,1,1\n"}) / "e.csv"
    if refused:
        with pytest.raises(RejectsError, match=r"1 of 11 rows malformed.*user id is empty \(line 12\)"):
            bring_in(mapped(path), max_rejects=share)
    else:
        bring_in(mapped(path), max_rejects=share)


def test_the_default_share_is_a_thousandth(write, bring_in):
    rows = "".join(f"u{n},i,3,{n}\n" for n in range(1998))
    fine = write("g", {"e.csv": f"u,i,r,t\n{rows},i,3,1\n,i,3,1\n"}) / "e.csv"
    bring_in(mapped(fine))  # 2 of 2000
    with pytest.raises(RejectsError):
        bring_in(mapped(write("h", {"e.csv": f"u,i,r,t\n{rows}" + ",i,3,1\n" * 3}) / "e.csv"))


def test_items_are_counted_apart_from_events(write, bring_in):
    path = write("g", {"e.csv": f"u,i,r,t\n{GOOD}", "i.csv": "i,title\ni1,One\n,Two\n"})
    items = MappedFile(path=path / "i.csv", mapping={"item": "i", "title": "title"})
    with pytest.raises(RejectsError, match="items, 1 of 2 rows malformed"):
        bring_in(mapped(path / "e.csv", items=items))


def test_a_repeated_item_keeps_its_first_row(write, bring_in):
    path = write("g", {"e.csv": f"u,i,r,t\n{GOOD}", "i.csv": "i,title\ni1,One\ni1,Two\n"})
    items = MappedFile(path=path / "i.csv", mapping={"item": "i", "title": "title"})
    dataset, manifest = bring_in(replace(mapped(path / "e.csv", items=items), min_joined=0.1))
    assert dataset.items["title"][dataset.item_ids.index("i1")] == "One"
    assert manifest.num_repeated_ids == {"items": 1, "users": 0}


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_a_share_is_between_0_and_1(write, bring_in, share):
    path = write("g", {"e.csv": f"u,i,r,t\n{GOOD}"}) / "e.csv"
    with pytest.raises(BadInputError, match="--max-rejects"):
        bring_in(mapped(path), max_rejects=share)


ROWS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 4), st.integers(1, 5), st.integers(0, 3)),
    min_size=1,
    max_size=40,
)


def expected_events(rows, *, timed):
    """Apply the stated rules in plain Python: sorted() is stable, a dict keeps the last value."""
    ordered = sorted(enumerate(rows), key=lambda each: (each[1][0], each[1][3] if timed else 0))
    kept = {(user, item): position for position, (_, (user, item, _, _)) in enumerate(ordered)}
    return [
        (user, item, float(rating), time if timed else None)
        for position, (_, (user, item, rating, time)) in enumerate(ordered)
        if kept[user, item] == position
    ]


@pytest.mark.parametrize("timed", [True, False])
def test_order_ties_and_duplicates_follow_the_rule(tmp_path_factory, events_of, timed):
    mapping = MAPPING if timed else {name: MAPPING[name] for name in ("user", "item", "rating")}

    @settings(max_examples=40)
    @given(rows=ROWS)
    def check(rows):
        folder = tmp_path_factory.mktemp("rule")
        text = "u,i,r,t\n" + "".join(",".join(map(str, row)) + "\n" for row in rows)
        (folder / "e.csv").write_text(text)
        out = folder / "out"
        manifest = import_source(mapped(folder / "e.csv", mapping), out, name="x", now_s=NOW_S)
        expected = expected_events(rows, timed=timed)
        assert events_of(open_dataset(out)) == expected
        assert manifest.num_duplicates == len(rows) - len(expected)

    check()


@settings(max_examples=25)
@given(rows=ROWS, seed=st.randoms(use_true_random=False))
def test_the_hash_knows_the_content_alone(tmp_path_factory, rows, seed):
    # The same rows in another order of users, imported later and under another name.
    folder = tmp_path_factory.mktemp("hash")
    users = sorted({row[0] for row in rows})
    seed.shuffle(users)
    moved = [row for user in users for row in rows if row[0] == user]
    hashes = []
    for name, each in (("a", rows), ("b", moved)):
        (folder / f"{name}.csv").write_text(
            "u,i,r,t\n" + "".join(",".join(map(str, row)) + "\n" for row in each)
        )
        source = mapped(folder / f"{name}.csv")
        hashes.append(import_source(source, folder / name, name=name, now_s=NOW_S + len(hashes)).content_hash)
    assert hashes[0] == hashes[1]


def test_a_rating_too_large_to_be_kept_is_not_finite(write, bring_in):
    # 1e39 is finite in 64 bits and infinite in the 32 that ratings are kept in.
    path = write("g", {"e.csv": "user,item,rating\na,x,5\na,y,1e39\n"}) / "e.csv"
    source = read_mapped(MappedFile(path=path, mapping={"user": "user", "item": "item", "rating": "rating"}))
    _, manifest = bring_in(source, max_rejects=0.5)
    assert [(bad.reason, bad.first_lines) for bad in manifest.rejects] == [("rating is not finite", (3,))]
    assert manifest.rating_scale == (5.0, 5.0)
