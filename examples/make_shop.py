"""Write a small shop to practise on: text ids, ISO times, no ratings, one category for each product.

    python examples/make_shop.py FOLDER

100 customers have one taste each and follow it four times out of five. Needs Python alone.
"""

from __future__ import annotations

import csv
import random
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path

CATEGORIES = {
    "tea": ("Green Tea", "Black Tea", "Rooibos"),
    "coffee": ("Espresso Beans", "Filter Coffee", "Decaf"),
    "chocolate": ("Dark Chocolate", "Milk Chocolate", "Truffles"),
    "spices": ("Cinnamon", "Smoked Paprika", "Cardamom"),
}
ORIGINS = ("from Assam", "from Peru", "from Kenya", "from Crete", "from Java")
NUM_CUSTOMERS, NUM_EVENTS = 100, 12


def main(folder: Path) -> None:
    """Write events.csv and products.csv into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    chance = random.Random(0)
    products = [
        (f"SKU-{category[:3].upper()}-{number:02}", f"{name} {origin}", category)
        for category, names in CATEGORIES.items()
        for number, (name, origin) in enumerate((name, origin) for name in names for origin in ORIGINS)
    ]
    _write(folder / "products.csv", ("sku", "name", "category"), products)
    _write(folder / "events.csv", ("customer", "sku", "bought_at"), _events(chance, products))
    print(f"wrote {folder}/events.csv, {folder}/products.csv")


def _events(
    chance: random.Random, products: Sequence[tuple[str, str, str]]
) -> Iterable[tuple[str, str, str]]:
    for customer in range(NUM_CUSTOMERS):
        taste = tuple(CATEGORIES)[customer % len(CATEGORIES)]
        loved = [sku for sku, _, category in products if category == taste]
        others = [sku for sku, _, category in products if category != taste]
        num_loved = NUM_EVENTS * 4 // 5
        basket = chance.sample(loved, num_loved) + chance.sample(others, NUM_EVENTS - num_loved)
        chance.shuffle(basket)
        at = datetime(2026, 1, 1, 9) + timedelta(hours=chance.randrange(24 * 60))  # noqa: DTZ001 - local time
        for sku in basket:
            at += timedelta(hours=chance.randrange(1, 72))
            yield f"customer-{customer:03}", sku, at.isoformat()


def _write(file: Path, head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    with file.open("w", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerow(head)
        writer.writerows(rows)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "shop"))
