"""The settings tree: who wins, what is refused and in which words, and the way to a file and back."""

import json
import tomllib
from dataclasses import FrozenInstanceError, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from warmprompt.errors import BadInputError, UnknownNameError, WarmpromptError
from warmprompt.settings import (
    BackboneSettings,
    Density,
    EvaluateSettings,
    PromptSettings,
    Settings,
    TrainSettings,
    from_mapping,
    load_settings,
    preset_for,
    presets,
    setting_names,
    to_mapping,
    to_toml,
    with_preset,
)

DEFAULTS = Settings()


def toml(tmp_path, text):
    file = tmp_path / "settings.toml"
    file.write_text(text)
    return file


def test_each_source_wins_over_the_one_before(tmp_path):
    file = toml(tmp_path, "[train]\nprompt_epochs = 2\nbatch_size = 2\nseed = 2\ndropout = 0.2\n")
    environment = {"WARMPROMPT_TRAIN__BATCH_SIZE": "3", "WARMPROMPT_TRAIN__SEED": "3"}
    settings = load_settings(
        file=file,
        environment=environment,
        assignments=["train.seed=5", "train.dropout=0.5"],
        flags={"train.seed": 4, "train.prompt_epochs": None},
    )
    assert settings.train == replace(TrainSettings(), prompt_epochs=2, batch_size=3, dropout=0.5, seed=4)
    assert load_settings() == DEFAULTS


def test_the_tree_cannot_be_written_to():
    with pytest.raises(FrozenInstanceError):
        Settings().train.seed = 3


def test_the_defaults_pass_their_own_checks():
    assert from_mapping(to_mapping(Settings())) == Settings()


def test_names_are_the_trees_own():
    assert setting_names()[:3] == ["data.name", "backbone.name", "backbone.num_layers"]
    assert set(setting_names()) == {f"{s}.{k}" for s, inner in to_mapping(Settings()).items() for k in inner}


def test_variables_that_are_no_settings_are_left_alone():
    others = {"WARMPROMPT_DATA": "/x", "PATH": "y", "OTHER_TRAIN__SEED": "1"}
    assert load_settings(environment=others) == DEFAULTS


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        ("EVALUATE__K", "0, 1,5", (0, 1, 5)),
        ("EVALUATE__SEEDS", "3", (3,)),
        ("EVALUATE__ATTRIBUTES", "true", True),
        ("EVALUATE__BASELINES", "toppop, ease", ("toppop", "ease")),
        ("EVALUATE__BASELINES", "", None),
        ("TRAIN__PROMPT_LR", "1e-2", 0.01),
        ("EVALUATE__MIN_RATING", "", None),
        ("BACKBONE__NUM_LAYERS", "", None),
        ("BACKBONE__DEVICE", "cuda", "cuda"),
        ("data__name", "x", "x"),
    ],
)
def test_a_variables_text_becomes_the_settings_type(variable, text, value):
    section, _, key = variable.lower().partition("__")
    settings = load_settings(environment={f"WARMPROMPT_{variable}": text})
    assert to_mapping(settings)[section][key] == (list(value) if isinstance(value, tuple) else value)


@pytest.mark.parametrize(
    ("flags", "error", "line"),
    [
        ({"train.batchsize": 3}, UnknownNameError, "train.batchsize (flag): '3'. There is no such setting;"),
        ({"train.save_every": 0}, BadInputError, "train.save_every (flag): '0'. It should be greater than"),
        ({"train.save_every": "3"}, BadInputError, "'3'. It should be a valid integer."),
        ({"train.save_every": True}, BadInputError, "It should be a valid integer."),
        ({"train.save_every": 2.0}, BadInputError, "It should be a valid integer."),
        ({"train.save_every": 10**400}, BadInputError, "It should be less than 2147483648."),
        ({"train.prompt_lr": float("nan")}, BadInputError, "It should be a finite number."),
        ({"train.prompt_lr": float("inf")}, BadInputError, "It should be a finite number."),
        ({"train.prompt_lr": 0}, BadInputError, "It should be greater than 0."),
        ({"evaluate.min_rating": "a"}, BadInputError, "It should be a valid number."),
        ({"data.name": ""}, BadInputError, "It should have at least 1 character."),
        ({"backbone.device": "gpu"}, BadInputError, "It should be 'cpu' or 'cuda'."),
        ({"evaluate.protocol": "rand"}, BadInputError, "It should be 'random', 'next'"),
        ({"evaluate.k": [0, -1]}, BadInputError, "evaluate.k (flag)[1]: '-1'."),
        ({"evaluate.k": []}, BadInputError, "It should have at least 1 item"),
    ],
)  # fmt: skip
def test_a_wrong_flag_is_reported_with_field_value_and_remedy(flags, error, line):
    with pytest.raises(error) as caught:
        load_settings(flags=flags)
    assert line in caught.value.line()
    assert "\n" not in caught.value.line()


@pytest.mark.parametrize(
    ("assignment", "line"),
    [
        ("train.seed", "--set: 'train.seed'. Write it as section.key=value."),
        ("train.seed=x", "train.seed (--set): 'x'. It should be a valid integer"),
        ("train.sede=1", "train.sede (--set): '1'. There is no such setting; the nearest are train.seed"),
        ("model.reach=nan", "model.reach (--set): 'nan'."),
    ],
)
def test_a_wrong_assignment_is_reported_by_its_name(assignment, line):
    with pytest.raises(WarmpromptError) as caught:
        load_settings(assignments=[assignment])
    assert caught.value.line().startswith(line)


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({"WARMPROMPT_EVALUATE__K": "0,x"}, "WARMPROMPT_EVALUATE__K: 'x'. It should be a valid integer"),
        ({"WARMPROMPT_EVALUATE__K": "0,,1"}, "WARMPROMPT_EVALUATE__K: ''."),
        (
            {"WARMPROMPT_TRAIN__SAVE_EVERY": "-1"},
            "WARMPROMPT_TRAIN__SAVE_EVERY: '-1'. It should be greater than",
        ),
        (
            {"WARMPROMPT_TRIAN__SEED": "1"},
            "WARMPROMPT_TRIAN__SEED: '1'. There is no such setting; the nearest",
        ),
    ],
)
def test_a_wrong_variable_is_reported_by_its_name(environment, line):
    with pytest.raises(WarmpromptError) as caught:
        load_settings(environment=environment)
    assert caught.value.line().startswith(line)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[trian]\nseed = 1", "[trian] in"),
        ("train = 3", "It should be a table of settings."),
        ("[train]\nsave_every = '3'", "train.save_every in"),
        ("[train\n", "It is not valid TOML"),
        ("[train]\nbatchsize = 3", "nearest are train.batch_size"),
    ],
)
def test_a_wrong_file_is_reported_with_its_name(tmp_path, text, line):
    with pytest.raises(WarmpromptError) as caught:
        load_settings(file=toml(tmp_path, text))
    assert line in caught.value.line()
    assert "settings.toml" in caught.value.line() or "nearest" in line


def test_a_missing_a_binary_and_an_unreadable_file_are_the_callers_to_mend(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\x00\xfe")
    for file, remedy in [
        ("missing", "does not exist"),
        ("binary", "not valid TOML"),
        (".", "cannot be read"),
    ]:
        with pytest.raises(BadInputError, match=remedy):
            load_settings(file=tmp_path / file)


texts = st.text(max_size=20)
names = st.text(min_size=1, max_size=20)
counts = st.integers(1, 2**31 - 1)
trees = st.builds(
    Settings,
    backbone=st.builds(
        BackboneSettings,
        name=names,
        num_layers=st.none() | counts,
        dtype=st.sampled_from(["float32", "bfloat16"]),
        device=st.sampled_from(["cpu", "cuda"]),
        item_text=st.lists(names, max_size=3).map(tuple),
        user_text=names,
    ),
    prompt=st.builds(
        PromptSettings, length=counts, init=st.sampled_from(["vocab", "text", "normal"]), text_init=texts
    ),
    train=st.builds(
        TrainSettings, prompt_lr=st.floats(1e-300, 1e300), save_every=counts, threads=st.none() | counts
    ),
    evaluate=st.builds(
        EvaluateSettings,
        protocol=st.just("next"),
        k=st.lists(counts, min_size=1, max_size=4).map(tuple),
        baselines=st.lists(names, max_size=2).map(tuple),
    ),
)


@given(tree=trees)
def test_toml_and_json_hold_the_whole_tree(tmp_path_factory, tree):
    file = tmp_path_factory.mktemp("toml") / "s.toml"
    file.write_text(to_toml(tree))
    assert load_settings(file=file) == tree
    assert from_mapping(json.loads(json.dumps(to_mapping(tree)))) == tree


def test_the_toml_text_is_what_another_reader_sees():
    assert tomllib.loads(to_toml(Settings()))["train"]["prompt_lr"] == TrainSettings().prompt_lr


def test_a_manifest_from_before_a_setting_existed_takes_its_default():
    old = to_mapping(Settings())
    del old["train"]["clip_norm"]
    del old["inner"]
    assert from_mapping(old) == Settings()


def test_a_learners_own_settings_stand_between_defaults_and_what_is_said():
    plain, fomaml = load_settings(), load_settings(assignments=["learner.name=fomaml"])
    assert (plain.learner.name, plain.train.prompt_epochs, plain.train.max_query) == (
        "learned-target",
        0,
        None,
    )
    assert (fomaml.train.prompt_epochs, fomaml.train.max_query, fomaml.inner.rate) == (2, 10, 0.8)


def density(*, users, items, events, median):
    return Density(num_users=users, num_items=items, num_events=events, median_per_user=median)


# Counted from the data sets themselves; the last three are Gift Cards, Musical Instruments and a small shop.
KNOWN = {
    "ml-1m": (density(users=6_040, items=3_706, events=1_000_209, median=96), "dense"),
    "ml-100k": (density(users=943, items=1_682, events=100_000, median=65), "dense-small"),
    "beauty": (density(users=22_363, items=12_101, events=198_502, median=6), "sparse"),
    "video games": (density(users=50_546, items=16_859, events=440_264, median=6), "sparse"),
    "gift cards": (density(users=458, items=148, events=2_965, median=5), "sparse"),
    "instruments": (density(users=1_429, items=900, events=10_261, median=6), "sparse"),
    "nobody": (density(users=0, items=0, events=0, median=0.0), "sparse"),
}


@pytest.mark.parametrize("name", KNOWN)
def test_the_preset_follows_the_density(name):
    counted, expected = KNOWN[name]
    assert preset_for(counted, learner="learned-target") == expected
    assert preset_for(counted, learner="fomaml") == "default"
    assert preset_for(counted, learner="multitask") == ("dense" if expected == "dense" else "default")


def test_a_preset_fills_in_what_nobody_has_said():
    larger = with_preset(load_settings(), "dense")
    assert (larger.model.num_factors, larger.train.batch_size) == (128, 256)
    assert ("user_posterior" in larger.experts.use, larger.train.preset) == (True, "dense")
    assert with_preset(larger, "dense") == larger
    for assignments in (["model.num_factors=16"], ["model.num_factors=32"]):  # 32 is the default
        kept = with_preset(load_settings(assignments=assignments), "dense")
        assert f"model.num_factors={kept.model.num_factors}" == assignments[0]
        assert kept.train.batch_size == 256
    by_hand = replace(Settings(), train=replace(TrainSettings(), batch_size=16))
    assert with_preset(by_hand, "dense").train.batch_size == 16
    multitask = with_preset(load_settings(assignments=["learner.name=multitask"]), "dense")
    assert (multitask.train.batch_size, multitask.train.prompt_epochs) == (256, 2)
    with pytest.raises(UnknownNameError, match="default, sparse, dense-small, dense"):
        with_preset(Settings(), "dens")


def test_a_preset_that_is_named_is_there_at_once_and_one_that_is_not_waits_for_the_data():
    assert load_settings(flags={"train.preset": "sparse"}).model.factor_alpha == 20.0
    assert load_settings(flags={"data.name": "ml-1m"}) == replace(
        Settings(), data=replace(Settings().data, name="ml-1m")
    )


def test_what_a_manifest_holds_is_left_alone_by_presets():
    kept = from_mapping(to_mapping(Settings()))
    assert with_preset(kept, "sparse") == replace(kept, train=replace(kept.train, preset="sparse"))


def test_all_presets_and_learners_hold_settings():
    for learner in presets.LEARNERS:
        load_settings(flags={"learner.name": learner})
    for name in presets.PRESETS:
        assert load_settings(flags={"train.preset": name}).train.preset == name
