import dataclasses
from dataclasses import replace

import pytest

from core.errors import MixError
from core.score import EmptyRule, Normaliser, Rouge, RougeText, ScoreParameters
from curation.asking.adaptive import AdaptiveParameters
from curation.departures import DEPARTURES
from curation.preset import (
    _GROUPS,
    PRESETS,
    WHY,
    CurationParameters,
    differences,
    flat,
    preset,
    reseeded,
    with_choice,
    with_settings,
)
from curation.sample import Quota

RECOMMENDED = PRESETS["recommended"]


def test_every_choice_that_differs_says_why_recommended_differs() -> None:
    for name in ("birbal-paper", "birbal-scripts"):
        missing = [d.key for d in differences(RECOMMENDED, PRESETS[name]) if not d.why]
        assert missing == []


def test_every_reason_belongs_to_a_choice_that_differs() -> None:
    differing = {d.key for name in PRESETS for d in differences(RECOMMENDED, PRESETS[name])}
    assert set(WHY) - differing == set()


def test_paper_and_scripts_differ_where_they_are_known_to_disagree() -> None:
    found = {d.key for d in differences(PRESETS["birbal-paper"], PRESETS["birbal-scripts"])}
    assert found == {
        "buckets.edge_below",
        "candidates.min_accuracy",
        "samples.generation_shares",
        "samples.quota",
        "split.validation_rows",
    }


def test_the_winners_presets_judge_by_its_rules_as_before() -> None:
    for name in ("birbal-paper", "birbal-scripts"):
        assert preset(name).scores == ScoreParameters(
            normaliser=Normaliser.STRICT, rouge=Rouge.ROUGE, rouge_text=RougeText.CLEANED, empty=EmptyRule.REFERENCE
        )


def test_a_preset_that_follows_a_source_declares_what_it_cannot_take_from_it() -> None:
    assert DEPARTURES.keys() == PRESETS.keys()
    assert any(text.startswith("low accuracy: the paper gives no figure") for text in DEPARTURES["birbal-paper"])
    assert all(DEPARTURES[name] for name in ("birbal-paper", "birbal-scripts"))


def test_a_draw_from_all_wrong_answers_asks_every_instance() -> None:
    with pytest.raises(MixError, match=r"samples\.quota=pooled draws from the wrong answers of all instances"):
        replace(preset("birbal-paper"), adaptive=AdaptiveParameters())


def test_the_scripts_bugs_are_kept_in_their_preset_alone() -> None:
    scripts = flat(PRESETS["birbal-scripts"])
    assert scripts["scores.empty"] == "reference"
    assert scripts["policies.dedup_key"] == "input"
    assert scripts["policies.refill"] is False
    assert flat(RECOMMENDED)["scores.empty"] == "zero"


def test_taking_every_differing_choice_leads_from_one_preset_to_the_other() -> None:
    moved = RECOMMENDED
    for difference in differences(RECOMMENDED, PRESETS["birbal-scripts"]):
        if difference.key != "samples.generation_shares":
            moved = with_choice(moved, difference.key, PRESETS["birbal-scripts"])
    assert [d.key for d in differences(moved, PRESETS["birbal-scripts"])] == ["samples.generation_shares"]


def test_choices_are_set_from_text() -> None:
    found = with_settings(
        RECOMMENDED,
        {
            "policies.max_tokens": "none",
            "policies.max_words": "600",
            "samples.quota": "per_bucket",
            "scores.normaliser": "strict",
            "buckets.rouge_edges": "[0.3, 0.6]",
            "samples.generation_shares": "[2, 1, 0]",
            "policies.refill": "false",
        },
    )
    assert found.policies.max_tokens is None
    assert found.policies.max_words == 600
    assert found.policies.refill is False
    assert found.samples.quota is Quota.PER_BUCKET
    assert found.scores.normaliser is Normaliser.STRICT
    assert found.buckets.rouge_edges == (0.3, 0.6)
    assert found.samples.generation_shares == (2.0, 1.0, 0.0)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"policies.max_token": "5"}, "no such choice"),
        ({"nothing": "5"}, "no such choice"),
        ({"policies.max_tokens": "many"}, "max_tokens=many"),
        ({"policies.max_tokens": "0"}, "drop every row"),
        ({"samples.quota": "none"}, "quota=none"),
        ({"buckets.rouge_edges": "[0.5, 0.2]"}, "does not rise"),
        ({"buckets.rouge_edges": "[0.5]"}, "8 weights for 2 buckets"),
        ({"buckets.rouge_edges": "[0.5"}, "rouge_edges"),
        ({"policies.near_duplicates": "0.1"}, "not in"),
    ],
)
def test_a_setting_that_cannot_be_is_one_line(settings: dict[str, str], message: str) -> None:
    with pytest.raises(MixError, match=message) as e:
        with_settings(RECOMMENDED, settings)
    assert "\n" not in str(e.value)


def test_an_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(MixError, match="birbal-paper"):
        preset("birbal")


def test_one_seed_reaches_every_draw() -> None:
    seeds = {key: value for key, value in flat(reseeded(RECOMMENDED, 7)).items() if key.endswith("seed")}
    assert set(seeds.values()) == {7}
    assert len(seeds) == 5


def test_every_field_of_every_group_stands_in_the_fingerprint() -> None:
    for group in _GROUPS:
        names = {f"{group}.{f.name}" for f in dataclasses.fields(getattr(RECOMMENDED, group))}
        assert names <= set(flat(RECOMMENDED))
    assert flat(replace(RECOMMENDED, scale=0.5)) != flat(RECOMMENDED)


def test_weights_and_buckets_must_agree() -> None:
    with pytest.raises(MixError, match="one per bucket"):
        replace(CurationParameters(), buckets=replace(RECOMMENDED.buckets, accuracy_edges=(0.5,)))
