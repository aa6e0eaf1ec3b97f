"""What an import says at its end: ten lines at most, the same facts in `describe`, refusals in one line."""

import json
import random

import pytest

from warmprompt.cli import run

START_S = 1_573_000_000


@pytest.fixture
def bring(capfd, tmp_path, monkeypatch):
    """Write files and import the first: bring({"e.csv": rows}, "--map", ...) -> (exit code, lines)."""
    monkeypatch.setenv("WARMPROMPT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "400")  # rows of `describe` on one line each

    def do(files, *options, name="mine"):
        for file, text in files.items():
            (tmp_path / file).write_text(text)
        options = [str(tmp_path / each) if each in files else each for each in options]
        code = run(["data", "import", str(tmp_path / next(iter(files))), "--name", name, *options])
        said = capfd.readouterr()
        return code, (said.out if code == 0 else said.err).splitlines()

    return do


def described(capfd, name="mine"):
    assert run(["data", "describe", name, "--json"]) == 0
    return json.loads(capfd.readouterr().out)["manifest"]


def line_of(lines, label):
    (found,) = [line.strip() for line in lines if line.strip().startswith(f"{label}:")]
    return found


def impressions(column="label", **extra):
    """Return a RecBole file of 40 users who are shown 20 items each and click every fifth."""
    names = ["user_id:token", "item_id:token", f"{column}:float", "timestamp:float", *extra]
    rows = [
        [
            user,
            item,
            float(item % 5 == 0),
            START_S + 20 * user + item,
            *(value(item) for value in extra.values()),
        ]
        for user in range(40)
        for item in range(20)
    ]
    return "\n".join("\t".join(map(str, row)) for row in [names, *rows]) + "\n"


@pytest.mark.parametrize("column", ["label", "click", "clicked", "is_click", "is_like", "purchased"])
def test_what_was_shown_and_not_clicked_is_no_event(bring, capfd, column):
    code, lines = bring({"m.inter": impressions(column)})
    assert code == 0
    assert lines[0].startswith("mine: 40 users, 4 items, 160 events")
    assert "160 events pull, 0 push away; 640 rows with label 0 are no events" in line_of(lines, "feedback")
    assert f"label={column}" in line_of(lines, "columns")
    printed = described(capfd)["understood"]
    assert (printed["num_pull"], printed["no_events"]) == (160, {"label 0": 640})


def test_every_column_that_is_not_used_is_named_in_one_line(bring):
    files = {"m.inter": impressions(**{"position:float": lambda item: item, "is_like:float": lambda _: 0})}
    _, lines = bring(files)
    assert line_of(lines, "not used") == "not used: interactions position, is_like"


def test_a_label_that_was_not_mapped_is_pointed_out(bring):
    rows = "".join(f"u{n % 5},i{n % 7},{n % 2}\n" for n in range(35))
    _, lines = bring({"e.csv": f"u,i,clicked\n{rows}"}, "--map", "user=u,item=i")
    assert line_of(lines, "not used") == "not used: interactions clicked"
    assert "add label=clicked to --map" in line_of(lines, "note")
    _, lines = bring({"e.csv": f"u,i,clicked\n{rows}"}, "--map", "user=u,item=i,label=clicked", "--overwrite")
    assert not [line for line in lines if "not used" in line]


def plays():
    rng = random.Random(0)
    pairs = [(user, item) for user in range(40) for item in range(8)]
    return "u\ti\tn\n" + "".join(f"{u}\t{i}\t{int(rng.lognormvariate(4, 2)) + 1}\n" for u, i in pairs)


def test_play_counts_are_refused_as_ratings_and_never_push_as_weights(bring, capfd):
    code, lines = bring({"plays.tsv": plays()}, "--map", "user=u,item=i,rating=n")
    assert code == 2
    assert len(lines) == 1
    assert "map the column as weight" in lines[0]
    code, lines = bring({"plays.tsv": plays()}, "--map", "user=u,item=i,weight=n")
    assert code == 0
    assert "320 events pull, 0 push away" in line_of(lines, "feedback")
    unit = described(capfd)["weight_unit"]
    assert f"strengths, {unit:g} counts as 1" in line_of(lines, "feedback")


@pytest.mark.parametrize(("value", "scale"), [("0", range(5, 11)), ("-1", range(6, 11))])
def test_values_that_mean_not_rated_are_reported_and_named(bring, capfd, value, scale):
    rows = "".join(
        f"{user},{item},{value if (user + item) % 2 else scale[item % len(scale)]}\n"
        for user in range(20)
        for item in range(10)
    )
    options = ("--map", "user=User-ID,item=ISBN,rating=Book-Rating")
    code, lines = bring({"r.csv": f"User-ID,ISBN,Book-Rating\n{rows}"}, *options)
    assert code == 0
    assert "100 push away" in line_of(lines, "feedback")
    assert f"50% of ratings are {value}" in line_of(lines, "note")
    assert f"--not-rated {value}" in line_of(lines, "note")
    code, lines = bring(
        {"r.csv": f"User-ID,ISBN,Book-Rating\n{rows}"}, *options, "--not-rated", value, "--overwrite"
    )
    assert code == 0
    assert "100 without a rating, 100 by --not-rated" in line_of(lines, "feedback")
    printed = described(capfd)
    assert printed["understood"]["num_unrated"] == 100
    assert printed["rating_scale"][0] > 0


EVENTS = "user,item,rating,time\n" + "".join(
    f"{n % 40},{n % 57}.0,{1 + n % 5},{1_500_000_000 + n}\n" for n in range(320)
)
MAP = ("--map", "user=user,item=item,rating=rating,time=time")
ITEMS_MAP = ("--items-map", "item=item,title=title")


def test_floats_join_and_the_share_is_reported(bring):
    titles = "item,title\n" + "".join(f"{n},Title {n}\n" for n in range(57))
    code, lines = bring({"ev.csv": EVENTS, "it.csv": titles}, *MAP, "--items", "it.csv", *ITEMS_MAP)
    assert code == 0
    assert lines[0].startswith("mine: 40 users, 57 items")
    assert "100.0% of events find their item" in line_of(lines, "joins and tastes")
    assert line_of(lines, "period") == "period: 2017-07-14 to 2017-07-14 UTC, read as seconds"


def test_tables_that_do_not_join_are_refused_in_one_line(bring, tmp_path):
    titles = "item,title\n" + "".join(f"M{n},Title {n}\n" for n in range(57))
    code, lines = bring({"ev.csv": EVENTS, "it.csv": titles}, *MAP, "--items", "it.csv", *ITEMS_MAP)
    assert code == 2
    assert len(lines) == 1
    assert "0.0% of events join" in lines[0]
    assert "'0' where the items' file has 'M0'" in lines[0]
    assert "They differ in letters around a number" in lines[0]
    assert not list((tmp_path / "home" / "data").glob("*"))


def test_users_without_events_change_no_figure(bring, capfd):
    users = "user,age\n" + "".join(f"{n},{20 + n % 40}\n" for n in range(3000))
    _, alone = bring({"f.csv": EVENTS}, *MAP, name="alone")
    _, beside = bring(
        {"f.csv": EVENTS, "fu.csv": users}, *MAP, "--users", "fu.csv", "--users-map", "user=user,age=age",
        name="beside",
    )  # fmt: skip
    assert "2,960 users without events" in beside[0]
    assert beside[0].replace("beside", "alone").removesuffix(", 2,960 users without events") == alone[0]
    figures = ("num_users", "num_items", "num_events")
    one, other = described(capfd, "alone"), described(capfd, "beside")
    assert [one[key] for key in figures] == [other[key] for key in figures]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--not-rated", "0"), "--not-rated: '0'"),
        (("--event-weights", "view=1"), "--event-weights"),
        (("--time-unit", "ms"), "--time-unit: 'ms'"),
        (("--rating-scale", "1,5"), "--rating-scale"),
        (("--min-joined", "0.2"), "--min-joined: '0.2'"),
        (("--event-weights", "view=-1"), "--event-weights: 'view=-1'"),
        (("--event-weights", "view"), "--event-weights: 'view'"),
        (("--not-rated", "0,,1"), "--not-rated: '0,,1'"),
    ],
)
def test_an_option_with_nothing_to_act_on_is_refused(bring, options, said):
    code, lines = bring({"e.csv": "u,i\na,x\nb,y\n"}, "--map", "user=u,item=i", *options)
    assert code == 2
    assert len(lines) == 1
    assert said in lines[0]


def test_types_of_events_have_weights_and_view_never_pushes(bring):
    kinds = ["view"] * 7 + ["cart"] * 2 + ["purchase"]
    rows = "".join(f"{n % 30},{n % 11},{kinds[n % 10]}\n" for n in range(330))
    code, lines = bring({"e.csv": f"u,i,kind\n{rows}"}, "--map", "user=u,item=i,rating=kind")
    assert code == 2
    assert "--event-weights view=1,cart=2,purchase=3" in lines[0]
    code, lines = bring(
        {"e.csv": f"u,i,kind\n{rows}"}, "--map", "user=u,item=i,event=kind",
        "--event-weights", "view=1,cart=3,purchase=5",
    )  # fmt: skip
    assert code == 0
    assert "0 push away" in line_of(lines, "feedback")


def test_the_report_has_ten_lines_at_most_whatever_it_has_to_say(bring, capfd):
    """Every kind of fact at once: rejects of several kinds, unused columns, joins, notes, left-out users."""
    rows = "".join(f"{n % 40},{n % 23},{n % 6},{n + 1},x,{n % 2}\n" for n in range(400))
    bad = ",1,3,1,x,1\n1,,3,1,x,1\n1,1,bad,1,x,1\n1,1,3,,x,1\n"
    code, lines = bring(
        {
            "e.csv": f"u,i,r,t,shop,click\n{rows}{bad}",
            "p.csv": "i,name,colour,size\n" + "".join(f"{n},Title {n},red,{n}\n" for n in range(30)),
            "q.csv": "u,age,zip\n" + "".join(f"{n},30,1\n" for n in range(60)),
        },
        *("--map", "user=u,item=i,rating=r,time=t", "--max-rejects", "0.1"),
        *("--items", "p.csv", "--items-map", "item=i,title=name"),
        *("--users", "q.csv", "--users-map", "user=u,age=age"),
    )
    assert code == 0
    assert len(lines) <= 10
    text = "\n".join(lines)
    for part in (
        "rejects: interactions: 1 x user id is empty, line 402",
        "not used: interactions shop, click; items colour, size; users zip",
        "100.0% of events find their user; 100.0% of events find their item",
        "sentences will say nothing: name a category column",
        "100% of times lie before 1990",
        "20 users without events",
        "next: warmprompt train --data mine --out runs/mine",
    ):
        assert part in text
    assert run(["data", "describe", "mine"]) == 0
    shown = " ".join(capfd.readouterr().out.split())
    for part in ("shop, click", "sentences will say nothing", "push away", "before 1990"):
        assert part in shown


def test_a_category_column_is_named(bring):
    items = "item,title,category\n" + "".join(
        f"{n},Title {n},{'Hair' if n % 2 else 'Skin'}\n" for n in range(57)
    )
    _, lines = bring(
        {"ev.csv": EVENTS, "it.csv": items},
        *(*MAP, "--items", "it.csv", "--items-map", "item=item,title=title,category=category"),
    )
    assert line_of(lines, "joins and tastes").endswith("sentences name category")
    _, lines = bring(
        {"ev.csv": EVENTS, "it.csv": items}, *MAP, "--items", "it.csv", *ITEMS_MAP, "--overwrite"
    )
    assert line_of(lines, "joins and tastes").endswith("sentences will say nothing: name a category column")
