"""Prompts: the formula by hand, and a planted strength of each entity that only its labels show."""

import numpy as np
import pytest
import torch

from warmprompt.backbone.load import load_backbone
from warmprompt.risk.entities.prompt import (
    ClassModel,
    EntityPromptSettings,
    LabelEpisodes,
    class_directions,
    class_logits,
    join_episodes,
    log_loss,
    row_batch,
    train_prompt,
)

CLASSES, KNOWN = 3, 6


def episodes(num, seed):
    """Labels follow a strength of the entity; the experts know nothing of it."""
    rng = np.random.default_rng(seed)
    strength = rng.normal(0, 2, num)
    noise = rng.logistic(size=(num, KNOWN + 1))
    label = np.digitize(strength[:, None] + noise, [-1, 1])
    features = np.ones((num, KNOWN + 1, 4)) + 0.1 * rng.normal(size=(num, KNOWN + 1, 4))
    offset = np.log(np.full((num, KNOWN + 1, CLASSES), 1 / CLASSES))
    batches = [
        row_batch(features[:, part], offset[:, part], label[:, part], np.ones(label[:, part].shape))
        for part in (slice(KNOWN, None), slice(KNOWN))
    ]
    texts = [f"bank; size {one % 7}" for one in range(num)]
    return LabelEpisodes(query=batches[0], support=batches[1], texts=texts)


@pytest.fixture(scope="module")
def prompt():
    return train_prompt(
        episodes(600, 0),
        episodes(200, 1),
        load_backbone("tiny", num_layers=1),
        ordered=True,
        settings=EntityPromptSettings(tangent_epochs=40, prompt_steps=2, batch=64),
        seed=0,
    )


def test_prompts_learn_what_only_labels_show(prompt):
    new = episodes(300, 2)
    loss = log_loss(prompt.log_p(new), new)
    hidden = LabelEpisodes(
        query=new.query,
        support=row_batch(
            new.support.features_BKF.double().numpy(),
            new.support.offset_BKC.double().numpy(),
            np.full((300, KNOWN), -1),
            np.ones((300, KNOWN)),
        ),
        texts=new.texts,
    )
    # Without labels nothing can be known: the loss is that of three equal classes.
    assert log_loss(prompt.log_p(hidden), hidden) == pytest.approx(np.log(CLASSES), abs=0.03)
    assert loss < np.log(CLASSES) - 0.06


def test_joined_episodes_are_scored_as_apart(prompt):
    parts = [episodes(5, 3), episodes(4, 4)]
    apart = np.concatenate([prompt.log_p(one) for one in parts])
    np.testing.assert_allclose(prompt.log_p(join_episodes(parts)), apart, atol=1e-5)


@pytest.mark.parametrize("ordered", [True, False])
def test_logits_follow_the_formula(ordered):
    rng = np.random.default_rng(0)
    directions = class_directions(CLASSES, ordered=ordered)
    num = len(directions)

    def draw(*shape):
        return torch.from_numpy(rng.normal(size=shape)).float()

    params = {
        "phi.hidden": draw(4, 5),
        "phi.hidden_bias": draw(5),
        "phi.out": draw(5, 2 * num),
        "class.offset_scale": torch.tensor(1.3),
        "class.bias": draw(CLASSES),
        "class.own": torch.tensor(0.7),
    }
    x, offset, z = rng.normal(size=4), rng.normal(size=CLASSES), rng.normal(size=2)
    rows = row_batch(x[None, None], offset[None, None], np.zeros((1, 1), dtype=int), np.ones((1, 1)))
    model = ClassModel(directions_UC=directions, params=params)
    found = class_logits(model, rows, torch.from_numpy(z).float()[None])[0, 0]
    hidden = np.tanh(x @ params["phi.hidden"].numpy() + params["phi.hidden_bias"].numpy())
    phi = (hidden @ params["phi.out"].numpy()).reshape(2, num)
    expected = 1.3 * offset + params["class.bias"].numpy()
    for one in range(num):
        expected = expected + 0.7 * (z @ phi[:, one]) * directions[one].numpy()
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)
    if ordered:
        assert directions.tolist() == [[-1.0, 0.0, 1.0]]
