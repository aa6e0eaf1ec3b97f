"""Supervised fine-tuning of a language model with LoRA: a history in words in, a user vector out.

The rival of the soft prompt that changes the model's weights: low-rank additions to the queries and values of
its attention (by PEFT) are trained on all training users, and nothing is adapted per user. The text is

    About: I am a 24-year-old technician          (where something is known)
    Likes:
    Toy Story
    Heat

and is read at the ends of its lines. The model looks to the left only, so the state at the end of the k-th
title is the read-out of a support of k events: one pass trains every support size up to the longest.

B is users, T tokens (padded on the right), K events (padded), V items, D factors, H hidden width, X rows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from torch import Tensor, nn
from torch.nn import functional

from warmprompt.baselines.common import (
    check_positive,
    distinct,
    fitted,
    is_empty,
    popular_where,
    popularity_share,
)
from warmprompt.baselines.features import people_of
from warmprompt.baselines.neural import MASKED, Epochs, adamw, log_share, seeded, train_net, user_batches
from warmprompt.data.dataset import Dataset, popularity
from warmprompt.data.factors import fit_item_factors
from warmprompt.data.matrices import user_item_matrix
from warmprompt.data.verbalise import (
    describe_attributes,
    describe_tastes,
    favourite_genres,
    genre_table,
    item_texts,
)
from warmprompt.errors import BadInputError
from warmprompt.rng import derive
from warmprompt.scoring.validation import draw_validation_episodes, mean_ndcg
from warmprompt.types import Floats, Support

if TYPE_CHECKING:
    from warmprompt.backbone.load import Backbone

_LONGEST = (5, 10, 20)
_BATCH = 32
_LOOK_USERS = 300
_FACTOR_ITERATIONS = 15
_TITLE_TOKENS = 12
_ADAPTED = ("q_proj", "v_proj")
# As in the set encoder: user vectors of about length sqrt(D) suit normalisation and rates.
_OUTPUT_SCALE = 0.08
_P_ATTRIBUTES, _P_TASTES = 0.25, 0.25
_YEAR = re.compile(r"\s*\(\d{4}\)$")


@dataclass(frozen=True, kw_only=True, eq=False)
class LoRA:
    """Read titles with a fine-tuned language model and score all items by a product with output vectors.

    The user vector is a linear map of the state after the last title plus one of the mean of the states after
    all titles. Output item vectors start as iALS factors and both maps at zero, so training begins at
    popularity. The loss is the softmax cross-entropy of the rest of the user's history over the catalogue
    without the support, for every support size up to 5, 10 or 20 at once. The weights kept are the best on
    validation users. Titles are read without their year and cut after 12 tokens, in an order of the catalogue
    that is drawn once; ratings are not read. Without events and words about the user the score is popularity.

    Args:
        rank: Of the additions to each weight matrix.
        rate: Highest learning rate of additions and maps.
        vector_rate: Highest learning rate of the item vectors.
        dropout: Share of the user vector's coordinates dropped in training, 0 to below 1.
        item_vectors: 1 adds a map of each event's iALS vector to the end of its line, 0 reads words alone.
        num_factors: D, of the iALS that item vectors start from; see `fit_ials`.
        regularization: Of the same.
        alpha: Of the same.
        num_epochs: Passes over the training users.
        backbone: The language model, a decoder; see `load_backbone`.
        num_layers: Layers kept of it, at most all.

    Source: Hu et al. 2022 for LoRA; Liao et al. 2024 (LLaRA) for item vectors among the words.
    """

    name: ClassVar[str] = "lora"

    rank: int = 8
    rate: float = 1e-3
    vector_rate: float = 3e-4
    dropout: float = 0.1
    item_vectors: int = 1
    num_factors: int = 128
    regularization: float = 100.0
    alpha: float = 10.0
    num_epochs: int = 4
    backbone: str = "smollm2-135m"
    num_layers: int = 6
    net: Any = None
    words: Any = None
    share_V: Floats | None = None

    @property
    def num_parameters(self) -> int:
        """Additions, maps and item vectors; the model's own weights stay as they are."""
        return 0 if self.net is None else sum(one.numel() for one in self.net.parameters())

    def fit(self, training: Dataset, validation: Dataset, *, seed: int) -> LoRA:
        """Factorise, then train on prefixes of the training users' histories.

        Raises:
            BadInputError: A setting is out of range, or the model is no decoder.
            NotFiniteError: Training diverged.
            UnknownNameError, FetchError, IntegrityError, StorageError: As `load_backbone`.
        """
        check_positive(rank=self.rank, rate=self.rate, vector_rate=self.vector_rate)
        factors_VD = fit_item_factors(
            training,
            num_factors=self.num_factors,
            regularization=self.regularization,
            alpha=self.alpha,
            num_iterations=_FACTOR_ITERATIONS,
            seed=seed,
        )
        backbone = _load(self.backbone, self.num_layers)
        episodes = draw_validation_episodes(training, validation, seed=seed, max_users=_LOOK_USERS)
        words = _words(training, backbone, seed=seed)
        with seeded(seed, "lora"):
            net = _Net(backbone, factors_VD, log_share(training), self)
            unfinished = replace(self, net=net, words=words, share_V=popularity_share(training))
            prefixes = _Prefixes(training, words, seed=seed)

            def loss(users: NDArray[np.int64], epoch: int) -> Tensor:
                lines, arrival_BV, wanted_BV, counts_B = prefixes.draw(users, epoch)
                users_BKD = net(*_tensors(lines))
                return _prefix_loss(net, users_BKD, arrival_BV, wanted_BV, counts_B)

            train_net(
                net,
                adamw(net, rate=self.rate, slow=net.slow(), slow_rate=self.vector_rate),
                user_batches(prefixes.users, _BATCH, seed=seed, name="lora"),
                loss,
                lambda: mean_ndcg(unfinished.score, episodes),
                Epochs(num_epochs=self.num_epochs, look_every=1, patience=2),
            )
        return unfinished

    def score(self, supports: Sequence[Support]) -> Floats:
        """Return log p(item | support), (B, V); popularity where nothing is known.

        Users are read one by one: in a batch the rounding of bfloat16 would depend on the others.
        """
        net, share_V = fitted(self.net, self.name), fitted(self.share_V, self.name)
        words: _Words = fitted(self.words, self.name)
        about = [_about(support) for support in supports]
        unknown_B = is_empty(supports) & np.array([not text for text in about], dtype=np.bool_)
        scores_BV = np.zeros((len(supports), len(share_V)), dtype=np.float32)
        with torch.no_grad():
            for row, (support, text) in enumerate(zip(supports, about, strict=True)):
                if not unknown_B[row]:
                    items = words.sort(distinct(support).items_K.astype(np.int64))
                    user_D = net(*_tensors([words.lines(text, items)]))[0, len(items)]
                    scores_BV[row] = functional.log_softmax(net.logits(user_D), dim=0).numpy()
        return popular_where(unknown_B, scores_BV, share_V)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Lines:
    """A text as tokens: `ends` are the positions of line ends, the heading's first, then one per item."""

    tokens: list[int]
    ends: list[int]
    items: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, eq=False)
class _Words:
    """How supports become tokens.

    Attributes:
        titles: Each item's title with its line end, as tokens.
        order_V: Each item's place in the order that titles are read in.
        backbone: Its tokenizer writes what is said about users.
    """

    titles: list[list[int]]
    order_V: NDArray[np.int64]
    backbone: Backbone

    def sort(self, items: NDArray[np.int64]) -> NDArray[np.int64]:
        return items[np.argsort(self.order_V[items])]

    def lines(self, about: str, items: NDArray[np.int64]) -> _Lines:
        head = f"About: {about}\nLikes:\n" if about else "Likes:\n"
        tokens = _tokens([head], self.backbone)[0]
        ends = [len(tokens) - 1]
        for item in items:
            tokens = tokens + self.titles[item]
            ends.append(len(tokens) - 1)
        return _Lines(tokens=tokens, ends=ends, items=items)


class _Prefixes:
    """Draws histories of training users in random order; each of their beginnings is a support."""

    def __init__(self, training: Dataset, words: _Words, *, seed: int) -> None:
        self._seen: csr_matrix = user_item_matrix(training)
        self._people = people_of(training.users) or [{} for _ in range(training.num_users)]
        self._genres = genre_table(training)
        self._words, self._seed = words, seed
        self._closed_V = popularity(training) == 0
        self.users: NDArray[np.int64] = np.flatnonzero(np.diff(self._seen.indptr) >= 2)

    def draw(
        self, users: NDArray[np.int64], epoch: int
    ) -> tuple[list[_Lines], Tensor, Tensor, NDArray[np.int64]]:
        """Return texts, from which prefix on each item is out (B, V), what is wanted (B, V), lengths (B,).

        Items out from prefix 0 on were never candidates; those out from prefix j on are the j-th event.
        """
        rng = derive(self._seed, "lora", "prefixes", epoch, int(users[0]))
        longest = int(rng.choice(_LONGEST))
        lines = []
        shape = (len(users), self._seen.shape[1])
        arrival_BV = np.full(shape, np.iinfo(np.int64).max)
        wanted_BV = np.zeros(shape, dtype=np.float32)
        for row, user in enumerate(users):
            mixed = rng.permutation(self._seen.indices[self._seen.indptr[user] : self._seen.indptr[user + 1]])
            about, rest = self._say(int(user), mixed.astype(np.int64), rng)
            num = len(rest)
            items = rest[: min(longest, num - max(1, min(10, num // 2)))]
            lines.append(self._words.lines(about, items))
            wanted_BV[row, rest] = 1.0
            arrival_BV[row, items] = 1 + np.arange(len(items))
        arrival_BV[:, self._closed_V] = 0
        counts_B = np.array([len(one.items) for one in lines], dtype=np.int64)
        return lines, torch.from_numpy(arrival_BV), torch.from_numpy(wanted_BV), counts_B

    def _say(
        self, user: int, mixed: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[str, NDArray[np.int64]]:
        """Return what is said about a user and the events left to read and to find, in random order.

        Tastes are described from half of the history, which is then neither read nor to be found.
        """
        drawn, half = rng.random(), len(mixed) // 2
        if drawn < _P_ATTRIBUTES:
            return describe_attributes(self._people[user], rng=rng), mixed
        if drawn < _P_ATTRIBUTES + _P_TASTES and len(mixed) >= 4:
            genres = favourite_genres(mixed[:half].astype(np.int32), self._genres, top=3)
            if genres:
                return describe_tastes(genres, rng=rng), mixed[half:]
        return "", mixed


class _Net(nn.Module):
    """What is trained; the language model is kept apart, so that it is neither averaged nor copied."""

    def __init__(self, backbone: Backbone, factors_VD: Floats, log_share_V: Floats, settings: LoRA) -> None:
        super().__init__()
        from peft import LoraConfig, inject_adapter_in_model

        start_VD = torch.from_numpy(factors_VD)
        width = start_VD.shape[1]
        known = start_VD.abs().sum(1) > 0
        start_VD = start_VD / start_VD[known].square().mean().sqrt()
        config = LoraConfig(r=settings.rank, lora_alpha=2 * settings.rank, target_modules=list(_ADAPTED))
        self._held: tuple[Any, ...] = (inject_adapter_in_model(config, backbone.model),)
        self.additions = nn.ParameterList(
            one for name, one in self._held[0].named_parameters() if "lora_" in name
        )
        self.norm = nn.LayerNorm(backbone.hidden_size)
        self.last = nn.Linear(backbone.hidden_size, width)
        self.mean = nn.Linear(backbone.hidden_size, width, bias=False)
        for one in (self.last.weight, self.last.bias, self.mean.weight):
            nn.init.zeros_(one)
        self.drop = nn.Dropout(settings.dropout)
        self.output_VD = nn.Parameter(start_VD * _OUTPUT_SCALE)
        self.bias_V = nn.Parameter(torch.from_numpy(log_share_V))
        self.input_VD = nn.Parameter(start_VD) if settings.item_vectors else None
        if settings.item_vectors:
            # As long as the words' own embeddings.
            size = _root_mean_square(backbone.model.get_input_embeddings().weight)
            self.carry_HD = nn.Parameter(torch.randn(backbone.hidden_size, width) * size / width**0.5)

    def slow(self) -> list[Tensor]:
        """Return what starts from iALS and popularity and must not be forgotten fast."""
        inputs = [] if self.input_VD is None else [self.input_VD]
        return [self.output_VD, self.bias_V, *inputs]

    def forward(self, tokens_BT: Tensor, ends_BK: Tensor, items_BK: Tensor) -> Tensor:
        """Return the user vector after the heading and after each event, (B, 1 + K, D).

        Args:
            tokens_BT: The texts.
            ends_BK: Places of line ends, the heading's first, (B, 1 + K); any place where padded.
            items_BK: The events' items, (B, K); any item where padded.
        """
        embedded_BTH = self._held[0].get_input_embeddings()(tokens_BT)
        rows_B1 = torch.arange(len(tokens_BT))[:, None]
        if self.input_VD is not None:
            carried_BKH = (self.input_VD[items_BK] @ self.carry_HD.T).to(embedded_BTH.dtype)
            embedded_BTH = embedded_BTH.index_put((rows_B1, ends_BK[:, 1:]), carried_BKH, accumulate=True)
        # Padding is on the right and the model looks to the left: no mask is needed.
        states_BTH = self._held[0](inputs_embeds=embedded_BTH, use_cache=False).last_hidden_state
        normed_BKH = self.norm(states_BTH[rows_B1, ends_BK].float())
        summed_BKH = normed_BKH[:, 1:].cumsum(1)
        counts_K1 = torch.arange(1, summed_BKH.shape[1] + 1)[:, None]
        mean_BKH = functional.pad(summed_BKH / counts_K1, (0, 0, 1, 0))
        users_BKD: Tensor = self.last(normed_BKH) + self.mean(mean_BKH)
        return users_BKD

    def logits(self, users_XD: Tensor) -> Tensor:
        """Return one logit per item, (..., V)."""
        logits_XV: Tensor = self.drop(users_XD) @ self.output_VD.T + self.bias_V
        return logits_XV


def _prefix_loss(
    net: _Net, users_BKD: Tensor, arrival_BV: Tensor, wanted_BV: Tensor, counts_B: NDArray[np.int64]
) -> Tensor:
    """Return the mean cross-entropy over users and over the prefixes of each."""
    num = torch.arange(users_BKD.shape[1])
    real_BK = num <= torch.from_numpy(counts_B)[:, None]
    out_XV = (arrival_BV[:, None, :] <= num[:, None])[real_BK]
    rest_XV = wanted_BV[:, None, :].expand(-1, len(num), -1)[real_BK].masked_fill(out_XV, 0.0)
    rest_XV = rest_XV / rest_XV.sum(1, keepdim=True).clamp(min=1.0)
    logits_XV = net.logits(users_BKD[real_BK]).masked_fill(out_XV, MASKED)
    losses_X = -(rest_XV * functional.log_softmax(logits_XV, dim=1)).sum(1)
    weights_X = (1.0 / (1.0 + torch.from_numpy(counts_B).float()))[:, None].expand_as(real_BK)[real_BK]
    return (losses_X * weights_X).sum() / len(users_BKD)


def _root_mean_square(weight: Any) -> float:
    return float(weight.float().square().mean().sqrt())


def _load(name: str, num_layers: int) -> Backbone:
    from warmprompt.backbone.catalogue import KNOWN
    from warmprompt.backbone.load import load_backbone

    kept = min(num_layers, KNOWN[name].num_layers) if name in KNOWN else num_layers
    # On a processor the fused attention's backward pass in bfloat16 is slower than the plain one.
    backbone = load_backbone(name, num_layers=kept, dtype="bfloat16", attention="eager")
    if backbone.kind != "decoder":
        raise BadInputError(field="lora backbone", value=name, remedy="Name a decoder: it is read in order.")
    return backbone


def _words(training: Dataset, backbone: Backbone, *, seed: int) -> _Words:
    named = "title" in training.items.columns
    texts = (
        [str(title or "Untitled") for title in training.items["title"].to_list()]
        if named
        else item_texts(training)
    )
    (end,) = _tokens(["\n"], backbone)
    titles = [ids[:_TITLE_TOKENS] + end for ids in _tokens([_YEAR.sub("", one) for one in texts], backbone)]
    order_V = derive(seed, "lora", "order").permutation(training.num_items)
    return _Words(titles=titles, order_V=order_V, backbone=backbone)


def _tokens(texts: Sequence[str], backbone: Backbone) -> list[list[int]]:
    found: list[list[int]] = backbone.tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    return found


def _tensors(lines: Sequence[_Lines]) -> tuple[Tensor, Tensor, Tensor]:
    """Pad texts on the right: tokens (B, T), line ends (B, 1 + K), items (B, K), zero where padded."""

    def pad(rows: Sequence[Sequence[int] | NDArray[np.int64]]) -> Tensor:
        wide = np.zeros((len(rows), max(len(row) for row in rows)), dtype=np.int64)
        for index, row in enumerate(rows):
            wide[index, : len(row)] = row
        return torch.from_numpy(wide)

    tokens, ends, items = zip(*((one.tokens, one.ends, one.items) for one in lines), strict=True)
    return pad(tokens), pad(ends), pad(items)


def _about(support: Support) -> str:
    """Return what is known about a user in words, "" where nothing is."""
    known, rng = support.attributes, derive(0, "lora", "wording")
    said = describe_attributes(known, rng=rng) if known else ""
    return " ".join(part for part in (support.about or "", said) if part)
