"""New items are read by the same readers, in the same order, as the items of training."""

from __future__ import annotations

import numpy as np
import pytest
from tests.meta.worlds import random_data

from warmprompt.backbone.load import load_backbone
from warmprompt.backbone.text import pool_texts
from warmprompt.errors import MismatchError
from warmprompt.meta.item_text import WordReader, with_item_texts
from warmprompt.service.model.catalogue import ItemReader, NewItem

TEXTS = ["Red wool scarf. Clothes.", "Blue wool scarf. Clothes.", "Garden hose."]


def test_a_new_item_with_a_known_text_has_its_vector():
    words = WordReader.of_texts(TEXTS, seed=0)
    of_model = pool_texts(TEXTS, load_backbone("tiny-encoder"))
    data = with_item_texts(random_data(0, num_items=3, cold=(2,)), [words.read(TEXTS), of_model], words)
    reader = ItemReader(("tfidf", "tiny-encoder"), data)
    found = reader.read(
        [NewItem(id=9, title="Garden hose"), NewItem(id=8, title="Blue wool scarf", text="Clothes")]
    )
    # Texts of several lengths in one batch: sums in another order.
    np.testing.assert_allclose(found, data.item_text_VX.numpy()[[2, 1]], atol=2e-6)


def test_a_run_without_item_texts_reads_no_new_item():
    with pytest.raises(MismatchError, match=r"backbone\.item_text"):
        ItemReader((), random_data(0)).read([NewItem(id=9, title="Garden hose")])
