"""What public data sets call their columns, and which of ours those are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

# Per column of ours, the names that it goes by; where a file has several of them the first one counts.
_ROLES: dict[str, tuple[str, ...]] = {
    "user": (
        *("user_id", "userid", "user", "uid", "visitor_id", "visitorid", "customer_id", "customerid"),
        *("reviewer_id", "reviewerid", "member_id", "username", "session_id", "sessionid"),
    ),
    "item": (
        *("item_id", "itemid", "item", "iid", "business_id", "venue_id", "product_id", "productid"),
        *("movie_id", "movieid", "book_id", "artist_id", "artistid", "track_id", "tracks_id", "song_id"),
        *("recipe_id", "anime_id", "news_id", "video_id", "poi_id", "location_id", "parent_asin", "asin"),
    ),
    "rating": ("rating", "ratings", "stars", "score", "overall"),
    "label": ("label", "click", "clicked", "is_click", "is_clicked", "clk", "click_label"),
    "weight": ("weight", "play_count", "playcount", "plays", "listen_count"),
    "time": ("timestamp", "time", "datetime", "date", "created_at", "unix_time", "unixtime", "time_ms"),
}
# Columns of 0 and 1 that say whether anything came of showing an item, in files without ratings.
_LABELS = (
    *("interacted", "watched", "is_watched", "long_view", "like", "liked", "is_like", "is_liked"),
    *("purchase", "purchased", "is_purchase", "is_purchased", "bought", "buy", "is_buy", "conversion"),
)
_ATTRIBUTES = {
    "movie_title": "title",
    "item_name": "title",
    "name": "title",
    "class": "genres",
    "genre": "genres",
    "release_year": "year",
    "category": "categories",
}
DROPPED = frozenset({"zip_code", "zip", "zipcode"})


_EVENT_TYPES = ("event", "event_type", "behavior", "behaviour", "behavior_type", "action", "action_type")


def likely_feedback(column: str) -> str | None:
    """Return `label`, `weight` or `event` where a column's name suggests that, else None."""
    bare = column.lower()
    if bare in (*_ROLES["label"], *_LABELS):
        return "label"
    if bare in _ROLES["weight"]:
        return "weight"
    return "event" if bare in _EVENT_TYPES else None


def roles_in(columns: Sequence[str], named: Mapping[str, str]) -> dict[str, str]:
    """Return our name to the file's column for what an event is made of.

    Args:
        columns: Names in the file.
        named: Our name to the column where the caller names it; such a column plays no other part.
    """
    taken = set(named.values())
    free = {column.lower(): column for column in reversed(columns) if column not in taken}
    found = dict(named)
    for ours, theirs in _ROLES.items():
        tried = (*theirs, *_LABELS) if ours == "label" and "rating" not in found else theirs
        first = next((free[name] for name in tried if name in free), None)
        if ours not in named and first is not None:
            found[ours] = first
    return found


def attributes_in(columns: Sequence[str], named: Mapping[str, str], role: str) -> dict[str, str]:
    """Return our name to the file's column for a table of items or users: every column but zip codes.

    Args:
        columns: Names in the file.
        named: Our name to the column where the caller gives it.
        role: "item" or "user", whose id has to be there.
    """
    found = dict(named)
    if role not in found and (own := roles_in(columns, named).get(role)):
        found[role] = own
    taken = set(found.values())
    for column in columns:
        ours = _ATTRIBUTES.get(column, column)
        if column not in taken and column not in DROPPED and ours not in found:
            found[ours] = column
    return found
