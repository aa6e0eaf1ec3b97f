"""The cache of limited size, against a plain list in order of use."""

import random

from warmprompt.lru import LruCache


def test_cache_matches_a_list_in_order_of_use():
    rng, cache, expected = random.Random(0), LruCache(4), []
    for step in range(2000):
        key = rng.randrange(8)
        stored = dict(expected).get(key)
        match rng.choice(["get", "peek", "put", "pop"]):
            case "get":
                assert cache.get(key) == stored
                if stored is not None:
                    expected = [one for one in expected if one[0] != key] + [(key, stored)]
            case "peek":
                assert cache.peek(key) == stored
            case "put":
                expected = [one for one in expected if one[0] != key] + [(key, step + 1)]
                assert cache.put(key, step + 1) == [value for _, value in expected[:-4]]
                expected = expected[-4:]
            case "pop":
                assert cache.pop(key) == stored
                expected = [one for one in expected if one[0] != key]
        assert cache.items() == expected
        assert len(cache) == len(expected)
