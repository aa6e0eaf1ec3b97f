"""Ratings of banks: protocols A (unseen banks, forward in time) and B (few rated peers), tuned baselines.

    python benchmarks/interbank.py --data banks.parquet --out docs/results/interbank.json --work work

The table is that of github.com/AI4Risk/interbank as one Parquet file: bank, quarter, 70 features and
rank_next_quarter, the class of the next quarter, which is known one quarter later. 2018Q3 repeats the labels
of 2018Q2 and is left out. A fifth of the banks is judged in 2021Q3 to 2023Q3 and has no part in any fit or
choice. Every choice is made on other banks in quarters up to 2021Q2. For each judged quarter everything is
fitted again to the labels known by then. Steps are kept in --work, so that a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from interbank_models import SPACES, UNTUNED, Array, Setting, average, log_p_of, loss
from sklearn.metrics import f1_score

from warmprompt.backbone.load import load_backbone
from warmprompt.evaluation.machine import describe_machine
from warmprompt.evaluation.significance import bootstrap_intervals
from warmprompt.risk.entities import EntityPromptSettings, learn_schema, make_table
from warmprompt.risk.entities.backtest import Backtest, experts_of, run_backtest
from warmprompt.risk.entities.encoding import fit_encoding
from warmprompt.risk.entities.experts import mix
from warmprompt.risk.entities.fitting import ANCHORS, EXPERT_NAMES, fit_peer_weights, fit_prompt
from warmprompt.risk.entities.profiler import ClassPopulation, label_episodes, make_inputs, peer_log_p
from warmprompt.risk.profile.metrics import calibration_error
from warmprompt.rng import derive

LAST, JUDGED, PEERS_AT = "2021Q2", ("2021Q3", "2023Q3"), "2022Q4"
PROMPT_AT = ("2021Q4", "2022Q4", "2023Q2")
TUNED_AT = ("2020Q4", "2021Q2")
KS, NUMS, DRAWS, WINDOWS, ALL = (0, 1), (50, 100, 200, 800), 2, (1, 2, 4, 8, 99), 99
PROMPT = "profile: experts and prompt"
PEER_SPACES = {"past": (1, 4), "weight": (1.0, 5.0, 25.0)}


class Benchmark:
    """The table, who is judged, and steps that are kept."""

    test: Backtest | None = None

    def __init__(self, asked: argparse.Namespace) -> None:
        self.asked, self.begun = asked, time.process_time()
        frame = pl.read_parquet(asked.data).drop("quarter_index", "srisk_ratio", "srisk_value")
        frame = frame.filter((pl.col("quarter") != "2018Q3") & pl.col("rank_next_quarter").is_not_null())
        order = derive(asked.seed, "banks").permutation(np.sort(frame["bank"].unique().to_numpy()))
        names = {str(one) for one in order[: len(order) // 5]}
        self.schema = learn_schema(frame, entity="bank", time="quarter", label="rank_next_quarter")
        test = pl.col("bank").cast(pl.String).is_in(list(names))
        self.past = make_table(frame.filter(~test & (pl.col("quarter") <= LAST)), self.schema)
        self.whole = make_table(frame, self.schema)
        self.judged_N = np.array([name in names for name in self.whole.names])[self.whole.entity_N]
        self.at = {quarter: position for position, quarter in enumerate(self.whole.periods)}
        self.quarters = [q for q in self.whole.periods if JUDGED[0] <= q <= JUDGED[1]]
        part_N = derive(asked.seed, "tuning").random(len(self.whole.names))[self.whole.entity_N] < 0.2
        self.tuning_N = part_N & ~self.judged_N
        self.encoding = fit_encoding(self.past)
        self.inputs = {k: make_inputs(self.whole, self.schema, self.encoding, k) for k in KS}
        self.mixed = make_inputs(
            self.whole, self.schema, self.encoding,
            derive(asked.seed, "known").choice((0, 1, 20), size=len(self.whole)),
        )  # fmt: skip
        asked.work.mkdir(parents=True, exist_ok=True)

    def say(self, line: str) -> None:
        """Print a line with the processor time."""
        print(f"{time.process_time() - self.begun:7.1f} s  {line}", flush=True)

    def kept(self, name: str, call: Callable[[], dict[str, Array]]) -> dict[str, Array]:
        """Return the arrays of a step, made now or read."""
        path = self.asked.work / f"{name}.npz"
        if not path.exists():
            arrays = {key: np.asarray(value) for key, value in call().items()}
            np.savez(self.asked.work / f"{name}.part.npz", **arrays)
            (self.asked.work / f"{name}.part.npz").rename(path)
            self.say(name)
        return dict(np.load(path))

    def rows(self, quarter: str, who: Array) -> Array:
        """Return the rows of a quarter."""
        return np.flatnonzero((self.whole.period_N == self.at[quarter]) & who)

    def training(self, quarter: str, window: int, who: Array, most: int = 20_000) -> Array:
        """Return rows whose labels are known in a quarter, of the last `window` quarters."""
        at = self.at[quarter]
        rows = np.flatnonzero(who & (self.whole.period_N < at) & (self.whole.period_N >= at - window))
        return np.sort(derive(0, "rows", window).permutation(rows)[:most])

    # Baselines: tuned on the tuning banks, in quarters before those judged.

    def tuned(self, k: int) -> dict[str, Setting]:
        """Return the best window and setting of each kind for K, and their validation losses."""
        found = {}
        for kind, space in SPACES.items():
            trials = []
            for window, setting in itertools.product(WINDOWS, space):
                losses = []
                for quarter in TUNED_AT:
                    fit = self.training(quarter, window, ~self.judged_N & ~self.tuning_N, most=4_000)
                    at, x = self.rows(quarter, self.tuning_N), self.inputs[k].features
                    log_p = log_p_of(kind, setting, x(fit), self.whole.label_N[fit], x(at))
                    losses.append(loss(log_p, self.whole.label_N[at]))
                trials.append((float(np.mean(losses)), window, setting))
            best = min(trials, key=lambda one: one[0])
            found[kind] = {"validation loss": best[0], "window": best[1], **best[2]}
            self.say(f"K = {k}, {kind}: {found[kind]}")
        return found

    def tuned_with_peers(self, num: int) -> dict[str, Setting]:
        """Return per kind the past window and the weight of a peer against a past row."""
        found = {}
        for kind in ("logistic regression", "boosting"):
            setting = self.settings[0][kind]
            setting = {key: setting[key] for key in SPACES[kind][0]}
            trials = []
            for past, weight in itertools.product(*PEER_SPACES.values()):
                losses = []
                for quarter in TUNED_AT:
                    others = ~self.judged_N & ~self.tuning_N
                    at = self.rows(quarter, self.tuning_N)
                    peers = derive(0, "tuning peers", quarter).permutation(self.rows(quarter, others))[:num]
                    log_p = self.past_and_peers(kind, setting, quarter, past, weight, peers, at, others)
                    losses.append(loss(log_p, self.whole.label_N[at]))
                trials.append((float(np.mean(losses)), past, weight))
            best = min(trials)
            found[kind] = {"validation loss": best[0], "past": best[1], "weight": best[2], **setting}
        self.say(f"{num} peers with past quarters: {found}")
        return found

    def past_and_peers(  # noqa: PLR0913, PLR0917 - a model, and rows to fit it to
        self,
        kind: str,
        setting: Setting,
        quarter: str,
        past: int,
        weight: float,
        peers: Array,
        at: Array,
        others: Array,
    ) -> Array:
        """Return log-probabilities by a model of past rows and of peers that weigh more."""
        fit = self.training(quarter, past, others, most=4_000)
        rows, x = np.concatenate([fit, peers]), self.inputs[0].features
        weights = np.concatenate([np.ones(len(fit)), np.full(len(peers), weight)])
        return log_p_of(kind, setting, x(rows), self.whole.label_N[rows], x(at), weights)

    def baselines(self, quarter: str, k: int, at: Array) -> dict[str, Array]:
        """Return log-probabilities of each baseline for rows of a quarter."""
        x, y, others = self.inputs[k].features, self.whole.label_N, ~self.judged_N
        parts = {}
        for kind, best in self.settings[k].items():
            setting = {key: best[key] for key in SPACES[kind][0]}
            fit = self.training(quarter, best["window"], others)
            parts[f"{kind}, tuned"] = log_p_of(kind, setting, x(fit), y[fit], x(at))
        parts["average of regression and boosting, tuned"] = average(*list(parts.values())[:2])
        parts |= self.untuned(quarter, k, at, 1, "the last quarter alone")
        if k == 0:
            parts |= self.untuned(quarter, k, at, ALL, "all past quarters")
        parts |= self.from_last(quarter, k, at, others)
        return parts

    def untuned(self, quarter: str, k: int, at: Array, window: int, called: str) -> dict[str, Array]:
        """Return the average of both at a window that nothing chose."""
        fit, x = self.training(quarter, window, ~self.judged_N), self.inputs[k].features
        y = self.whole.label_N[fit]
        parts = [log_p_of(kind, setting, x(fit), y, x(at)) for kind, setting in UNTUNED.items()]
        return {f"average of both, untuned, {called}": average(*parts)}

    def from_last(self, quarter: str, k: int, at: Array, others: Array) -> dict[str, Array]:
        """Return persistence and transitions between the last two quarters known, by last known label."""
        fit = self.training(quarter, 1, others)
        known, counts = self.inputs[k].known, np.ones((5, 4))
        last = np.where(known.mask_NK[:, -1], self.whole.label_N[known.row_NK[:, -1]], 4)
        np.add.at(counts, (last[fit], self.whole.label_N[fit]), 1.0)
        transitions = np.log(counts / counts.sum(axis=1, keepdims=True))
        parts = {"transitions of the last quarter": transitions[last[at]]}
        if k:
            same = float((last[fit] == self.whole.label_N[fit]).mean())
            table = np.where(np.eye(5, 4) > 0, same, (1 - same) / 3)
            parts["same as the last known rating"] = np.log(table)[last[at]]
        return parts

    # The product: weights and prompt from the backtest on past quarters, experts of the labels known by then.

    def product(self) -> dict[str, Array]:
        """Return what is chosen on past quarters, without the prompt: weights of experts and of peers."""
        self.test = self.backtest()
        peers, last = fit_peer_weights(self.test, self.say), next(iter(self.test.populations.values()))
        return {"new_X": last.new_X, "known_X": last.known_X} | {f"peers {n}": w for n, w in peers.items()}

    def backtest(self) -> Backtest:
        """Return the backtest of the banks that are not judged."""
        drawn_N = derive(self.asked.seed, "known").choice((0, 1, 20), size=len(self.past))
        inputs = make_inputs(self.past, self.schema, self.encoding, drawn_N)
        return run_backtest(self.schema, inputs, seed=self.asked.seed, progress=self.say)

    def prompts(self) -> dict[str, dict[str, Array]]:
        """Return log-probabilities of the prompt around the experts, by quarter, and its validation gain."""
        steps = [self.asked.work / f"prompt-{quarter}.npz" for quarter in PROMPT_AT]
        if not all(step.exists() for step in steps):
            self.test = self.test or self.backtest()
            backbone = load_backbone(self.asked.backbone, num_layers=2)
            self.prompt, gain = fit_prompt(self.test, backbone, EntityPromptSettings(), self.say)
            self.kept("prompt-gain", lambda: {"gain": np.array(gain)})
        return {q: self.kept(f"prompt-{q}", lambda q=q: self.with_prompts(q)) for q in PROMPT_AT}

    def control(self) -> dict[str, Array]:
        """Return the validation gain of a prompt that reads the texts of other rows."""
        self.test = self.test or self.backtest()
        backbone = load_backbone(self.asked.backbone, num_layers=2)
        return {
            "gain": np.array(
                fit_prompt(self.test, backbone, EntityPromptSettings(), self.say, shuffles=True)[1]
            )
        }

    def with_prompts(self, quarter: str) -> dict[str, Array]:
        """Return log-probabilities of the judged banks with the prompt, by K."""
        at, population = self.rows(quarter, self.judged_N), self.population(quarter)
        found = {}
        for k in KS:
            offset = population.log_p(self.inputs[k], at)
            found[f"{k}|experts"] = offset
            found[f"{k}|{PROMPT}"] = self.with_prompt(population, k, at, offset)
        return found

    def population(self, quarter: str) -> ClassPopulation:
        """Return the experts of a quarter, weighted as past quarters chose."""
        known_N = ~self.judged_N & (self.whole.period_N < self.at[quarter])
        experts = experts_of(self.schema, self.mixed, known_N, seed=self.asked.seed)
        return ClassPopulation(experts=experts, new_X=self.weights["new_X"], known_X=self.weights["known_X"])

    def with_prompt(self, population: ClassPopulation, k: int, at: Array, offset: Array) -> Array:
        """Return log-probabilities of the prompt around those of the experts."""
        inputs = self.inputs[k]
        episodes = label_episodes(
            self.schema, inputs, at, offset, population.bare_log_p(inputs), self.test.figures
        )
        return self.prompt.log_p(episodes)

    def protocol_a(self, quarter: str) -> dict[str, Array]:
        """Return log-probabilities of the judged banks in a quarter, by K and model."""
        at, population, found = self.rows(quarter, self.judged_N), self.population(quarter), {}
        for k in KS:
            found[f"{k}|experts"] = population.log_p(self.inputs[k], at)
            found |= {f"{k}|{name}": one for name, one in self.baselines(quarter, k, at).items()}
        return found

    def protocol_b(self, quarter: str = PEERS_AT) -> dict[str, Array]:
        """Return log-probabilities with few rated peers of the quarter, K = 0, draws one after another."""
        path = self.asked.work / "settings-peers.json"
        if not path.exists():
            path.write_text(json.dumps({num: self.tuned_with_peers(num) for num in NUMS}))
        self.peer_settings = {int(num): value for num, value in json.loads(path.read_text()).items()}
        at, population, inputs = self.rows(quarter, self.judged_N), self.population(quarter), self.inputs[0]
        x, y, others, found = inputs.features, self.whole.label_N, ~self.judged_N, {}
        for num, draw in itertools.product(NUMS, range(DRAWS)):
            peers = derive(0, "peers", quarter, draw).permutation(self.rows(quarter, others))[:num]
            parts = {}
            for kind, best in self.settings[0].items():
                setting = {key: best[key] for key in SPACES[kind][0]}
                parts[f"{kind} of the peers"] = log_p_of(kind, setting, x(peers), y[peers], x(at))
            parts["average of both, of the peers"] = average(*list(parts.values())[:2])
            mixed = []
            for kind, best in self.peer_settings[num].items():
                setting = {key: best[key] for key in SPACES[kind][0]}
                mixed.append(
                    self.past_and_peers(
                        kind, setting, quarter, best["past"], best["weight"], peers, at, others
                    )
                )
                parts[f"{kind} of past quarters and peers, tuned"] = mixed[-1]
            parts["average of both, of past quarters and peers, tuned"] = average(*mixed)
            weights = self.weights[f"peers {max(one for one in ANCHORS if one <= num)}"]
            parts["experts"] = mix(weights, peer_log_p(population, inputs, np.sort(peers), at, seed=0))
            parts["experts without peers"] = population.log_p(inputs, at)
            for name, one in parts.items():
                found.setdefault(f"{num}|{name}", []).append(one)
        return {name: np.concatenate(parts) for name, parts in found.items()}

    def table(self, steps: dict[str, dict[str, Array]], draws: int = 1) -> dict[str, Any]:
        """Return the metrics of each model over quarters, banks resampled, and the gains of the experts."""
        label = np.concatenate(
            [np.tile(self.whole.label_N[self.rows(q, self.judged_N)], draws) for q in steps]
        )
        bank = np.concatenate(
            [np.tile(self.whole.entity_N[self.rows(q, self.judged_N)], draws) for q in steps]
        )
        _, bank = np.unique(bank, return_inverse=True)
        counts, found = np.bincount(bank), {}
        for key in next(iter(steps.values())):
            part, name = key.split("|")
            log_p = np.concatenate([step[key] for step in steps.values()])
            right = (log_p.argmax(axis=1) == label).astype(float)
            nats = -log_p[np.arange(len(label)), label]
            found.setdefault(part, {})[name] = {"right": right, "nats": nats, "log_p": log_p}
        result = {}
        for part, models in found.items():
            ours = models["experts"]
            result[part] = {}
            for name, one in models.items():
                row = {
                    "accuracy": float(one["right"].mean()),
                    "macro-F1": float(f1_score(label, one["log_p"].argmax(axis=1), average="macro")),
                    "log loss": float(one["nats"].mean()),
                    "calibration error": calibration_error(
                        np.exp(one["log_p"].max(axis=1)), one["right"] > 0
                    ),
                }
                columns = np.stack(
                    [one["right"], one["nats"], ours["right"] - one["right"], ours["nats"] - one["nats"]]
                )
                # Every bank has the same number of rows, so the mean over banks is the mean over rows.
                per_bank = np.stack([np.bincount(bank, weights=c) / counts for c in columns], axis=1)
                low, high = bootstrap_intervals(per_bank, np.random.default_rng(0), num_resamples=2_000)
                for at, key in enumerate(("accuracy", "log loss", "accuracy gain", "log loss gain")):
                    if at > 1:
                        row[key] = float(columns[at].mean())
                    row[f"{key}, interval"] = [float(low[at]), float(high[at])]
                result[part][name] = row
        return result


def main() -> None:
    """Tune, fit, judge, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="banks.parquet")
    parser.add_argument("--out", type=Path, required=True, help="JSON file for the tables")
    parser.add_argument("--work", type=Path, required=True, help="folder for steps that are done")
    parser.add_argument("--backbone", default="smollm2-135m")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--part",
        choices=("all", "unseen", "tables", "prompt", "control"),
        default="all",
        help="all writes A and B, unseen writes A alone; the others only do steps",
    )
    asked = parser.parse_args()
    torch.set_num_threads(1)
    bench = Benchmark(asked)
    bench.weights = bench.kept("product", bench.product)
    prompts = bench.prompts() if asked.part in {"all", "unseen", "prompt"} else {}
    control = bench.kept("control", bench.control)["gain"] if asked.part != "tables" else None
    if asked.part in {"prompt", "control"}:
        return
    settings = asked.work / "settings.json"
    if not settings.exists():
        bench.settings = {k: bench.tuned(k) for k in KS}
        settings.write_text(json.dumps(bench.settings))
    bench.settings = {int(k): value for k, value in json.loads(settings.read_text()).items()}
    a = {q: bench.kept(f"a-{q}", lambda q=q: bench.protocol_a(q)) for q in bench.quarters}
    b = {} if asked.part == "unseen" else {PEERS_AT: bench.kept(f"b-{PEERS_AT}", bench.protocol_b)}
    if asked.part == "tables":
        return
    new, known = bench.weights["new_X"], bench.weights["known_X"]
    about = {
        "commit": subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], text=True).strip(),
        "seed": asked.seed,
        "backbone": asked.backbone,
        "machine": describe_machine(),
        "judged banks": len(np.unique(bench.whole.entity_N[bench.judged_N])),
        "judged quarters": bench.quarters,
        "quarter with peers": PEERS_AT,
        "quarters with the prompt": list(PROMPT_AT),
        "baselines by K": bench.settings,
        "experts' weights": {
            name: [float(one), float(other)]
            for name, one, other in zip(EXPERT_NAMES, new, known, strict=True)
        },
        "peers' weights": {num: bench.weights[f"peers {num}"].tolist() for num in ANCHORS},
        "gain of the control with shuffled texts": control.tolist(),
        "prompt's gain on validation": np.load(asked.work / "prompt-gain.npz")["gain"].tolist(),
    }
    tables = {"A": bench.table(a), "prompt": bench.table(prompts)}
    if b:
        about["baselines with peers"] = json.loads((asked.work / "settings-peers.json").read_text())
        tables["B"] = bench.table(b, DRAWS)
    asked.out.write_text(json.dumps({"about": about, **tables}, indent=1) + "\n")
    bench.say(f"wrote {asked.out}")


if __name__ == "__main__":
    main()
