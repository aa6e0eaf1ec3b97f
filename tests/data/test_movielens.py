"""MovieLens and RecBole files: what is written in them is what comes out."""

import polars as pl
import pytest

from warmprompt.data.readers import FORMATS, read_folder
from warmprompt.errors import BadInputError, RejectsError

NO_FLAGS = "|".join("0" * 19)
U_ITEM = (
    # Flags in the order of u.genre: unknown, Action, Adventure, Animation, Children's, Comedy, ...
    "1|Toy Story (1995)|01-Jan-1995||http://x|0|0|0|1|1|1|0|0|0|0|0|0|0|0|0|0|0|0|0\n"
    "2|Mis\xe9rables, Les (1995)|01-Jan-1995||http://y|0|0|0|0|0|0|0|0|1|0|0|0|1|0|0|0|0|0|0\n"
    f"3|unknown||||{NO_FLAGS}\n"
).encode("latin-1")
ML_100K = {
    "u.data": "7\t2\t3\t881250949\n7\t1\t5\t881250940\n8\t1\t1\t881250950\n",
    "u.item": U_ITEM,
    "u.user": "7|24|M|technician|85711\n8|53|F|other|94043\n",
}
ML_1M = {
    "ratings.dat": "1::10::5::978300760\n1::11::3::978302109\n2::10::1::978301968\n",
    "movies.dat": (
        "10::Am\xe9lie: A Tale (2001)::Comedy|Romance\n11::Heat (1995)::Action\n12::Never (1990)::Drama\n"
    ).encode("latin-1"),
    "users.dat": "1::F::1::10::48067\n2::M::56::16::70072\n",
}
ML_CSV = {
    "ratings.csv": "userId,movieId,rating,timestamp\r\n1,10,0.5,978300760\r\n1,11,5.0,978300761\r\n",
    "movies.csv": 'movieId,title,genres\n10,"American President, The (1995)",Comedy|Drama\n'
    '11,"The ""Real"" One (1999)",(no genres listed)\n',
}


def test_100k(write, bring_in, events_of):
    dataset, manifest = bring_in(write("ml", ML_100K))
    assert manifest.source_format == "movielens-100k"
    assert events_of(dataset) == [
        (7, 1, 5.0, 881250940),
        (7, 2, 3.0, 881250949),
        (8, 1, 1.0, 881250950),
    ]
    assert dataset.items.to_dicts() == [
        {"title": "Toy Story (1995)", "year": "1995", "genres": ["Animation", "Children's", "Comedy"]},
        {"title": "Misérables, Les (1995)", "year": "1995", "genres": ["Drama", "Musical"]},
        {"title": "unknown", "year": None, "genres": []},
    ]
    assert dataset.users.to_dicts() == [
        {"age": "24", "gender": "male", "occupation": "technician"},
        {"age": "53", "gender": "female", "occupation": "other"},
    ]
    assert dataset.rating_scale == (1.0, 5.0)


def test_1m_in_words(write, bring_in, events_of):
    dataset, manifest = bring_in(write("ml", ML_1M))
    assert manifest.source_format == "movielens-1m"
    assert events_of(dataset) == [(1, 10, 5.0, 978300760), (1, 11, 3.0, 978302109), (2, 10, 1.0, 978301968)]
    assert dataset.item_ids == (10, 11, 12)  # the film without an event stays
    assert dataset.items["title"].to_list() == ["Amélie: A Tale (2001)", "Heat (1995)", "Never (1990)"]
    assert dataset.items["genres"].to_list() == [["Comedy", "Romance"], ["Action"], ["Drama"]]
    assert dataset.users.to_dicts() == [
        {"age": "under 18", "gender": "female", "occupation": "K-12 student"},
        {"age": "56 or older", "gender": "male", "occupation": "self-employed"},
    ]


def test_1m_with_an_unknown_code_is_a_reject(write, bring_in):
    files = ML_1M | {"users.dat": "1::F::2::10::48067\n2::M::56::16::70072\n"}
    with pytest.raises(RejectsError, match=r"unknown age or occupation code \(line 1\)"):
        bring_in(write("ml", files))


def test_csv_release(write, bring_in, events_of):
    dataset, manifest = bring_in(write("ml", ML_CSV))
    assert manifest.source_format == "movielens-csv"
    assert events_of(dataset) == [(1, 10, 0.5, 978300760), (1, 11, 5.0, 978300761)]
    assert dataset.items.to_dicts() == [
        {"title": "American President, The (1995)", "year": "1995", "genres": ["Comedy", "Drama"]},
        {"title": 'The "Real" One (1999)', "year": "1999", "genres": []},
    ]
    assert dataset.rating_scale == (0.5, 5.0)
    assert dataset.users.width == 0


def test_csv_release_with_columns_in_another_order(write, bring_in):
    moved = ML_CSV | {
        "ratings.csv": "timestamp,rating,movieId,userId\n978300760,0.5,10,1\n978300761,5.0,11,1\n"
    }
    same, _ = bring_in(write("a", ML_CSV))
    other, _ = bring_in(write("b", moved))
    assert same.content_hash == other.content_hash


def test_time_ordered_release_has_no_times(write, bring_in, events_of):
    path = write("ml", {name: ML_1M[name] for name in ("movies.dat", "users.dat")})
    rows = {"user_id": [2, 1, 1], "movie_id": [10, 11, 10], "rating": [1, 3, 5]}
    schema = {"user_id": pl.Int16, "movie_id": pl.Int16, "rating": pl.Int8}
    pl.DataFrame(rows, schema=schema).write_parquet(path / "ratings_timeordered.parquet")
    dataset, manifest = bring_in(path)
    assert manifest.source_format == "movielens-1m-ordered"
    assert events_of(dataset) == [(1, 11, 3.0, None), (1, 10, 5.0, None), (2, 10, 1.0, None)]


def test_recbole(write, bring_in, events_of):
    files = {
        "x.inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
        "u1\tb\t3\t20.0\nu1\ta\t4.5\t10\n",
        "x.item": "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\tprice:float\n"
        "a\tToy Story\t1995\tAnimation Comedy\t9.5\nb\tunknown\t\t\t\n",
        "x.user": "user_id:token\tage:token\tgender:token\tzip_code:token\nu1\t24\tM\t85711\n",
    }
    dataset, manifest = bring_in(write("r", files))
    assert manifest.source_format == "recbole"
    assert events_of(dataset) == [("u1", "a", 4.5, 10), ("u1", "b", 3.0, 20)]
    assert dataset.items.to_dicts() == [
        {"title": "Toy Story (1995)", "year": "1995", "genres": ["Animation", "Comedy"], "price": "9.5"},
        {"title": "unknown", "year": None, "genres": [], "price": None},
    ]
    assert dataset.users.to_dicts() == [{"age": "24", "gender": "male"}]


def test_recbole_without_ratings_times_items_or_users(write, bring_in, events_of):
    dataset, _ = bring_in(write("r", {"x.inter": "user_id:token\titem_id:token\n2\t9\n1\t8\n2\t8\n"}))
    assert events_of(dataset) == [(1, 8, None, None), (2, 9, None, None), (2, 8, None, None)]
    assert dataset.interactions.ratings is None
    assert dataset.interactions.times_s is None
    assert dataset.rating_scale is None
    assert dataset.items["title"].to_list() == ["", ""]


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("user_id\titem_id:token", "user_id"),
        ("user_id:text\titem_id:token", "user_id:text"),
        ("user_id:token\trating:float", "user"),
        ("user_id:token\tuser_id:token", "user_id"),
        ("user_id:token\titem_id:token\tuser_id:float", "user"),
        ("user_id:token_seq\titem_id:token", "user_id:token_seq"),
        ("user_id:token\titem_id:token\trating:float_seq", "rating:float_seq"),
        ("user_id:token\titem_id:token\ttimestamp:float_seq", "timestamp:float_seq"),
    ],
)
def test_recbole_header_errors_name_the_line(write, header, value):
    with pytest.raises(BadInputError, match=r"x\.inter, line 1") as caught:
        read_folder(write("r", {"x.inter": f"{header}\n1\t2\n"}))
    assert value in caught.value.line()


def test_sequences_are_ordered_by_position(write, bring_in, events_of):
    path = write("s", {})
    pl.DataFrame({"user": [1, 0, 0], "item": [5, 6, 5], "pos": [0, 1, 0]}).write_parquet(
        path / "sequences.parquet"
    )
    items = pl.DataFrame({"item": [5, 6, 7], "asin": ["a", "b", "c"], "title": ["5 &amp; 6", None, "nan"]})
    items.write_parquet(path / "items.parquet")
    dataset, manifest = bring_in(path)
    assert manifest.source_format == "sequences"
    assert events_of(dataset) == [(0, 5, None, None), (0, 6, None, None), (1, 5, None, None)]
    assert dataset.items.to_dicts() == [{"title": "5 & 6"}, {"title": ""}, {"title": ""}]


@pytest.mark.parametrize("missing", ["u.item", "u.user"])
def test_a_missing_file_is_named(write, missing):
    files = {name: text for name, text in ML_100K.items() if name != missing}
    with pytest.raises(BadInputError, match=missing.replace(".", r"\.")):
        read_folder(write("ml", files))


def test_a_folder_without_a_known_format_lists_the_formats(write):
    with pytest.raises(BadInputError, match="no known format") as caught:
        read_folder(write("x", {"readme.txt": "hello"}))
    assert all(name in caught.value.remedy for name in FORMATS)


def test_a_folder_with_two_formats_asks(write, bring_in):
    path = write("x", ML_100K | {"x.inter": "user_id:token\titem_id:token\n1\t2\n"})
    with pytest.raises(BadInputError, match="movielens-100k, recbole"):
        read_folder(path)
    assert read_folder(path, format_name="recbole").format == "recbole"
