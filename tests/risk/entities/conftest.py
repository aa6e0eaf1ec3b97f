"""A made-up table of banks, and a profiler trained on it without a language model."""

import numpy as np
import pytest

from warmprompt.risk.entities import fit_entities, learn_schema, make_table
from warmprompt.risk.entities.made_up import RATINGS, make_banks


@pytest.fixture(scope="session")
def banks():
    """Every rating known but those of the last quarter."""
    return make_banks(300, 10, seed=0)


@pytest.fixture(scope="session")
def schema(banks):
    return learn_schema(banks, entity="bank", time="quarter", label="rating", classes=RATINGS)


@pytest.fixture(scope="session")
def trained(banks, schema):
    return fit_entities(make_table(banks, schema), schema, None, seed=0)


@pytest.fixture(scope="session")
def last_rows():
    def rows(table):
        """Return the rows of the last period."""
        return np.flatnonzero(table.period_N == table.period_N.max())

    return rows
