"""What every store keeps of items and API keys, on SQLite and on a real PostgreSQL."""

import pytest

from warmprompt.errors import BadInputError, UnknownNameError
from warmprompt.store.contract import ApiKey, Item, ItemChanges


def test_items_are_readable_since_a_version(store):
    one, two, other = Item(id="1", body="a"), Item(id="2", body="b"), Item(id="1", body="c")
    assert store.items() == ItemChanges(version=0, items=())
    assert store.put_items([two, one]) == 1
    assert store.items() == ItemChanges(version=1, items=(one, two))
    assert store.put_items([one]) == 1
    assert store.put_items([two, other]) == 2
    assert store.items(since=1) == ItemChanges(version=2, items=(other,))
    assert store.items(since=2) == ItemChanges(version=2, items=())
    assert store.items().items == (two, other)


def test_many_items_can_be_put_at_once(store):
    many = [Item(id=f"{number:04}", body=str(number)) for number in range(1201)]
    assert store.put_items(many) == 1
    assert store.items().items == tuple(many)
    assert store.put_items(many) == 1


@pytest.mark.parametrize(
    ("items", "field"),
    [
        ([], "items"),
        ([Item(id="", body="")], "id of item 0"),
        ([Item(id="1", body="\0")], "body of item 0"),
        ([Item(id="1", body=""), Item(id="1", body="")], "id of item 1"),
    ],
)
def test_invalid_items_are_refused(store, items, field):
    with pytest.raises(BadInputError) as caught:
        store.put_items(items)
    assert caught.value.field == field
    assert store.items().version == 0


def test_hidden_items_are_listed_since_a_version(store):
    assert store.hide_items(["b", "5", '"5"', "b"], hidden=True) == 1
    assert store.items() == ItemChanges(version=1, items=(), hidden=('"5"', "5", "b"))
    assert store.hide_items(["b"], hidden=True) == 1
    assert store.hide_items(["new"], hidden=False) == 1
    assert store.put_items([Item(id="5", body="a")]) == 2
    assert store.hide_items(["b", "c"], hidden=False) == 3
    assert store.items(since=2) == ItemChanges(version=3, items=(), shown=("b",))
    assert store.items(since=3) == ItemChanges(version=3, items=())
    assert store.hide_items(["b"], hidden=True) == 4
    everything = store.items()
    assert (everything.hidden, everything.shown) == (('"5"', "5", "b"), ())
    assert everything.items == (Item(id="5", body="a"),)


def test_many_items_can_be_hidden_at_once(store):
    many = [f"{number:04}" for number in range(1201)]
    assert store.hide_items(many, hidden=True) == 1
    assert store.items().hidden == tuple(many)
    assert store.hide_items(many[:-1], hidden=False) == 2
    assert store.items(since=1).shown == tuple(many[:-1])


@pytest.mark.parametrize(
    ("ids", "field"),
    [([], "ids of items"), ("ab", "ids of items"), ([""], "id of item 0"), ([5], "id of item 0")],
)
def test_invalid_ids_are_not_hidden(store, ids, field):
    with pytest.raises(BadInputError) as caught:
        store.hide_items(ids, hidden=True)
    assert caught.value.field == field
    assert store.items().version == 0


def key(name, *, key_hash="h", scopes=("read", "write")):
    return ApiKey(name=name, key_hash=key_hash, scopes=frozenset(scopes), created_s=5)


def test_api_keys_are_found_and_listed(store):
    keys = [key("web", key_hash="h1"), key("admin", key_hash="h2", scopes=["admin"]), key("none", scopes=[])]
    for one in keys:
        store.add_api_key(one)
    assert store.find_api_key("h2") == keys[1]
    assert store.find_api_key("web") is None
    assert store.api_keys() == (keys[1], keys[2], keys[0])


def test_key_name_and_hash_are_unique(store):
    store.add_api_key(key("web", key_hash="h"))
    for same in (key("web", key_hash="other"), key("other", key_hash="h")):
        with pytest.raises(BadInputError, match="name or hash is in use"):
            store.add_api_key(same)
    assert store.api_keys() == (key("web", key_hash="h"),)


def test_revocation_time_does_not_change(store):
    store.add_api_key(key("web"))
    revoked = store.revoke_api_key("web")
    assert revoked.revoked_s == 1_700_000_000
    assert store.revoke_api_key("web") == store.find_api_key("h") == revoked


def test_revoking_unknown_key_lists_existing(store):
    store.add_api_key(key("web"))
    with pytest.raises(UnknownNameError, match=r"API key: 'wob'\. Existing keys: web"):
        store.revoke_api_key("wob")


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (key(""), "name of the key"),
        (key("web", key_hash=""), "hash of the key"),
        (key("web", scopes=["read write"]), "scope of the key"),
        (ApiKey(name="web", key_hash="h", scopes=frozenset(), created_s=-1), "creation of the key"),
        (
            ApiKey(name="web", key_hash="h", scopes=frozenset(), created_s=1, revoked_s=-1),
            "revocation of the key",
        ),
    ],
)
def test_invalid_key_is_refused(store, wrong, field):
    with pytest.raises(BadInputError) as caught:
        store.add_api_key(wrong)
    assert caught.value.field == field
