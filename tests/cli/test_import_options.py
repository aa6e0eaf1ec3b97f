"""Every option of `data import` on every format: it changes what comes out, or is refused by name."""

import json

import polars as pl
import pytest
import typer

from warmprompt.cli import run
from warmprompt.cli.data import app
from warmprompt.data.home import dataset_folder

# Three users, four items; user 1 meets item 1 twice, and item 4 is described nowhere.
EVENTS = [(u, i, (u + i) % 5 + 1, 1_000_000_000 + 10 * u + i) for u in (1, 2, 3) for i in (1, 2, 3)]
EVENTS += [(1, 1, 5, 1_000_000_100), (2, 4, 3, 1_000_000_101)]
TITLES = {1: "One", 2: "Caf\xe9", 3: "Three"}


def table(separator, header, rows):
    lines = [header] if header else []
    lines += [tuple(map(str, row)) for row in rows]
    return "".join(separator.join(line) + "\n" for line in lines).encode("latin-1")


def movielens_100k(folder, sep):
    flags = ("0",) * 18 + ("1",)
    (folder / "u.data").write_bytes(table(sep or "\t", None, EVENTS))
    items = [(i, title, "", "", "", *flags) for i, title in TITLES.items()]
    (folder / "u.item").write_bytes(table(sep or "|", None, items))
    (folder / "u.user").write_bytes(table(sep or "|", None, [(u, 20, "M", "other", 1) for u in (1, 2, 3)]))


def movielens_1m(folder, sep):
    (folder / "ratings.dat").write_bytes(table(sep or "::", None, EVENTS))
    described = [(i, title, "Drama") for i, title in TITLES.items()]
    (folder / "movies.dat").write_bytes(table(sep or "::", None, described))
    (folder / "users.dat").write_bytes(table(sep or "::", None, [(u, "M", 25, 0, 1) for u in (1, 2, 3)]))


def movielens_ordered(folder, sep):
    movielens_1m(folder, sep)
    (folder / "ratings.dat").unlink()
    rows = {"user_id": 0, "movie_id": 1, "rating": 2}
    pl.DataFrame({name: [event[at] for event in EVENTS] for name, at in rows.items()}).write_parquet(
        folder / "ratings_timeordered.parquet"
    )


def movielens_csv(folder, sep):
    header = ("userId", "movieId", "rating", "timestamp", "other")
    rows = [(*event, 1 + n % 2) for n, event in enumerate(EVENTS)]
    # Formats are recognised by this line, which therefore keeps its comma where another separator is tried.
    (folder / "ratings.csv").write_bytes(table(sep or ",", header, rows))
    described = [(i, title, "Drama") for i, title in TITLES.items()]
    (folder / "movies.csv").write_bytes(table(sep or ",", ("movieId", "title", "genres"), described))


def amazon(folder, _sep):
    reviews = [
        {
            "reviewerID": f"u{u}",
            "asin": f"i{i}",
            "overall": r,
            "unixReviewTime": t,
            "helpful": [0, 0],
            "other": 1 + r % 2,
        }
        for u, i, r, t in EVENTS
    ]
    (folder / "r.json").write_text("".join(json.dumps(each) + "\n" for each in reviews))
    described = "".join(f'{{"asin": "i{i}", "title": "{title}"}}\n' for i, title in TITLES.items())
    (folder / "meta.json").write_bytes(described.encode("latin-1"))


def recbole(folder, sep):
    header = ("user_id:token", "item_id:token", "rating:float", "timestamp:float", "other:float")
    rows = [(*event, 1 + n % 2) for n, event in enumerate(EVENTS)]
    (folder / "x.inter").write_bytes(table(sep or "\t", header, rows))
    described = [(i, title, f"Other {i}") for i, title in TITLES.items()]
    names = ("item_id:token", "title:token_seq", "other:token_seq")
    (folder / "x.item").write_bytes(table(sep or "\t", names, described))
    people = [(u, 20, 30) for u in (1, 2, 3)]
    (folder / "x.user").write_bytes(table(sep or "\t", ("user_id:token", "age:token", "other:token"), people))


def sequences(folder, _sep):
    rows = {"user": [e[0] for e in EVENTS], "item": [e[1] for e in EVENTS], "pos": [e[3] for e in EVENTS]}
    pl.DataFrame(rows).write_parquet(folder / "sequences.parquet")
    described = {"item": list(TITLES), "title": list(TITLES.values())}
    pl.DataFrame(described).write_parquet(folder / "items.parquet")


def mapped(folder, sep):
    header = ("user", "item", "rating", "time", "kind")
    rows = [(*event, "view" if n % 2 else "buy") for n, event in enumerate(EVENTS)]
    (folder / "e.csv").write_bytes(table(sep or ",", header, rows))
    described = table(sep or ",", ("item", "title"), TITLES.items())
    (folder / "i.csv").write_bytes(described)


def mapped_json(folder, _sep):
    rows = [{"user": u, "item": i, "rating": r, "time": t} for u, i, r, t in EVENTS]
    (folder / "e.json").write_text("".join(f"{row!r}\n" for row in rows))
    described = "".join(f'{{"item": {i}, "title": "{title}"}}\n' for i, title in TITLES.items())
    (folder / "i.json").write_bytes(described.encode("latin-1"))


def mapped_parquet(folder, _sep):
    names = ("user", "item", "rating", "time")
    pl.DataFrame(EVENTS, schema=names, orient="row").write_parquet(folder / "e.parquet")
    described = {"item": list(TITLES), "title": list(TITLES.values())}
    pl.DataFrame(described).write_parquet(folder / "i.parquet")


BUILD = {
    "movielens-100k": movielens_100k,
    "movielens-1m": movielens_1m,
    "movielens-1m-ordered": movielens_ordered,
    "movielens-csv": movielens_csv,
    "amazon": amazon,
    "recbole": recbole,
    "sequences": sequences,
    "csv": mapped,
    "json": mapped_json,
    "parquet": mapped_parquet,
}
MAPPED = ("csv", "json", "parquet")
MAP = "user=user,item=item,rating=rating,time=time"
NO_TIME = ("sequences", "movielens-1m-ordered")
ALL = frozenset(BUILD)
# Option and value, and the formats that use it; all others refuse it.
OPTIONS = {
    "--time-unit": ("ms", ALL - set(NO_TIME)),
    "--rating-scale": ("0,9", ALL - {"sequences"}),
    "--not-rated": ("3", ALL - {"sequences"}),
    "--event-weights": ("buy=2", frozenset()),
    "--repeats": ("count", ALL),
    "--min-joined": ("1", ALL),
    "--null-values": ("One", ALL),
    "--max-rejects": ("7", ALL),
    "--encoding": ("cp1251", ALL - {"sequences", "parquet"}),
    "--separator": ("^", ALL - {"sequences", "amazon", "json", "parquet"}),
    "--no-header": (None, {"csv"}),
    "--map": ("rating=other", {"movielens-csv", "recbole", "amazon"}),
    "--items-map": ("title=other", {"recbole"}),
    "--users-map": ("age=other", {"recbole"}),
    "--items": ("FILE", ALL),
    "--users": ("FILE", ALL),
}


def outcome(arguments, capfd):
    """Return what an import said and left, without what every run has of its own."""
    code = run(["data", "import", *map(str, arguments), "--name", "x", "--overwrite"])
    said = capfd.readouterr()
    if code:
        return code, said.err.strip()
    manifest = json.loads((dataset_folder("x") / "manifest.json").read_text())
    return code, {key: manifest[key] for key in ("content_hash", "rating_scale", "rejects", "understood")}


def arguments_for(name, folder):
    if name not in MAPPED:
        return [folder, "--format", name]
    described = ["--items", folder / f"i.{name}", "--items-map", "item=item,title=title"]
    return [folder / f"e.{name}", "--map", MAP, *described]


# With these a refused import shows that they are used: two bounds, and names where there are numbers.
BOUNDS = ("--min-joined", "--max-rejects", "--no-header")


@pytest.mark.parametrize("name", BUILD)
def test_every_option_is_used_or_refused(capfd, tmp_path, monkeypatch, name):
    monkeypatch.setenv("WARMPROMPT_HOME", str(tmp_path / "home"))
    whole, odd = tmp_path / "whole", tmp_path / "odd"
    for folder, separator in ((whole, None), (odd, "^")):
        folder.mkdir()
        BUILD[name](folder, separator)
    side = tmp_path / "side.csv"
    base = outcome(arguments_for(name, whole), capfd)
    assert base[0] == 0, base
    # A separator that is not found has to be given.
    by_folder = {whole: base, odd: outcome(arguments_for(name, odd), capfd)}
    for option, (value, users) in OPTIONS.items():
        if name in MAPPED and option in ("--map", "--items", "--items-map"):
            continue  # named in every import of this kind
        folder = odd if option == "--separator" else whole
        if option in ("--items", "--users"):
            role = option[2:-1]
            side.write_text(f"{role},title\n" + "".join(f"{n},Side {n}\n" for n in range(1, 5)))
            given = [option, side, f"{option}-map", f"{role}={role},title=title", "--min-joined=0"]
        else:
            given = [option] if value is None else [f"{option}={value}"]
        code, after = outcome([*arguments_for(name, folder), *given], capfd)
        assert (code, after) != by_folder[folder], option
        assert code == (0 if name in users and option not in BOUNDS else 2), (option, after)
        if code and option not in BOUNDS:
            # A mapping of columns belongs to a file, which is asked for under its own name.
            assert after.startswith((f"error: {option}: ", f"error: {option.removesuffix('-map')}: ")), after


def test_the_table_of_options_is_complete():
    command = typer.main.get_command(app).commands["import"]
    options = {name for each in command.params for name in each.opts if name.startswith("--")}
    assert options - {"--name", "--format", "--overwrite"} == set(OPTIONS)
