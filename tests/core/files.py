"""The reader's own files that pages speak of, made up: few users, each with a taste, few items."""

import csv
import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.backbone.small_families import save_family

TASTES = ("Tea", "Coffee", "Chocolate", "Spices")
NUM_USERS, NUM_ITEMS = 100, 60


def write_reader_files(folder: Path) -> None:
    """Write every file that a page of docs/howto names and its reader is to bring."""
    events = list(_events())
    with (folder / "events.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["customer", "sku", "stars", "bought_at"])
        rows.writerows((user, sku, stars, f"2026-0{1 + day // 28}-{1 + day % 28:02}T{day % 24:02}:30:00")
                       for user, sku, stars, day in events)  # fmt: skip
    with (folder / "products.jsonl").open("w") as file:
        for item in range(NUM_ITEMS):
            row = {
                "sku": _sku(item),
                "name": f"{_taste(item)} No. {item}",
                "brand": "ours",
                "tags": [_taste(item)],
            }
            file.write(json.dumps(row) + "\n")
    _write_products(folder / "products.csv")
    _write_people(folder / "people.parquet")
    _write_frames(folder, events)
    _write_movielens(folder / "ml-25m", events)
    _write_amazon(folder / "FOLDER", events)
    save_family("GPT-2", folder / "models" / "my-gpt2", n_layer=6, n_positions=512)
    save_family("MPNet", folder / "models" / "my-mpnet", max_position_embeddings=512)


def write_python_files(folder: Path) -> None:
    """Write the frames of docs/howto/python.md in the place of files of the same names."""
    with (folder / "events.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["user_id", "item_id"])
        rows.writerows((user, sku.replace("sku0", "sku")) for user, sku, *_ in _events())
    with (folder / "items.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["item_id", "title", "category"])
        rows.writerows(
            (f"sku{item}", f"{_taste(item)} No. {item}", _taste(item)) for item in range(NUM_ITEMS)
        )


def shorten_dataset(folder: Path, *, num_users: int) -> None:
    """Cut a data set, in place, to its first users and the items that they met."""
    import polars as pl

    from warmprompt.data.tables import Tables, read_data_manifest, write_tables

    interactions, items, users = (
        pl.read_parquet(folder / f"{name}.parquet") for name in ("interactions", "items", "users")
    )
    users = users.head(num_users)
    interactions = interactions.join(users, on="user", how="semi", maintain_order="left")
    items = items.join(interactions, on="item", how="semi", maintain_order="left")
    tables = Tables(interactions=interactions, items=items, users=users)
    write_tables(folder, tables, read_data_manifest(folder), overwrite=True)


def _write_products(file: Path) -> None:
    with file.open("w", newline="") as opened:
        rows = csv.writer(opened)
        rows.writerow(["sku", "name", "category"])
        rows.writerows((_sku(item), f"{_taste(item)} No. {item}", _taste(item)) for item in range(NUM_ITEMS))


def _write_people(file: Path) -> None:
    import polars as pl

    users = range(NUM_USERS)
    pl.DataFrame(
        {
            "customer": [_user(user) for user in users],
            "age_band": [("18-24", "25-34", "35-44")[user % 3] for user in users],
            "job": [("cook", "teacher")[user % 2] for user in users],
        }
    ).write_parquet(file)


def _write_frames(folder: Path, events: list[tuple[str, str, int, int]]) -> None:
    """Write the frames of docs/howto/coming-from.md, with the column names of RecTools."""
    import polars as pl

    users = [user.replace("c", "u") for user, *_ in events]
    days = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day) for *_, day in events]
    interactions = {"user_id": users, "item_id": [sku for _, sku, *_ in events], "datetime": days}
    pl.DataFrame(interactions).write_parquet(folder / "interactions.parquet")
    items = [
        {"item_id": _sku(item), "title": f"{_taste(item)} No. {item}", "genres": [_taste(item)]}
        for item in range(NUM_ITEMS)
    ]
    pl.DataFrame(items).write_parquet(folder / "items.parquet")
    people = [
        {"user_id": user, "occupation": ("cook", "artist")[index % 2]}
        for index, user in enumerate(dict.fromkeys(users))
    ]
    pl.DataFrame(people).write_parquet(folder / "users.parquet")


def _write_movielens(folder: Path, events: list[tuple[str, str, int, int]]) -> None:
    folder.mkdir()
    ratings = [
        f"{int(user[1:])},{int(sku[3:])},{stars}.0,{1_700_000_000 + 86_400 * day}"
        for user, sku, stars, day in events
    ]
    movies = [f"{item},{_taste(item)} No. {item} (1999),{_taste(item)}" for item in range(NUM_ITEMS)]
    (folder / "ratings.csv").write_text("\n".join(["userId,movieId,rating,timestamp", *ratings, ""]))
    (folder / "movies.csv").write_text("\n".join(["movieId,title,genres", *movies, ""]))


def _write_amazon(folder: Path, events: list[tuple[str, str, int, int]]) -> None:
    folder.mkdir()
    rows = (
        {
            "reviewerID": user,
            "asin": sku,
            "overall": float(stars),
            "unixReviewTime": 1_400_000_000 + 86_400 * day,
        }
        for user, sku, stars, day in events
    )
    (folder / "reviews.json").write_text("".join(json.dumps(one) + "\n" for one in rows))


def _events() -> Iterator[tuple[str, str, int, int]]:
    """Yield (user, item, stars, day): four of five events lie within the user's taste."""
    chance = random.Random(0)
    for user in range(NUM_USERS):
        loved = [item for item in range(NUM_ITEMS) if item % len(TASTES) == user % len(TASTES)]
        others = [item for item in range(NUM_ITEMS) if item not in loved]
        chosen = chance.sample(loved, 10) + chance.sample(others, 3)
        chance.shuffle(chosen)
        for index, item in enumerate(chosen):
            yield (
                _user(user),
                _sku(item),
                (5 if item in loved else chance.choice([1, 3])),
                user % 28 + 2 * index,
            )


def _user(user: int) -> str:
    return f"c{user:03}"


def _sku(item: int) -> str:
    return f"sku{item:02}"


def _taste(item: int) -> str:
    return TASTES[item % len(TASTES)]
