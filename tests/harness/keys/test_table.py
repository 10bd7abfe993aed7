import pytest

from harness.errors import ConfigError
from harness.keys.owned import BATCHES, EVALUATION, OUTPUT, STOPPING, TRACKER
from harness.keys.table import KeyTable


def test_every_key_is_kept_overruled_or_unknown_and_nulls_ask_for_nothing() -> None:
    table = KeyTable.of(
        {
            "lora_r": 8, "group_by_length": True, "output_dir": "out", "wandb_project": "mine", "lora_dropuot": 0.1,
            "early_stopping_patience": 3, "local_rank": None, "dataloader_pin_memory": False,
            "datasets": [{"path": "x", "tpye": "alpaca"}],
        }
    )  # fmt: skip
    assert set(table.values) == {"lora_r", "datasets"}
    assert table.overruled == {
        "group_by_length": BATCHES,
        "output_dir": OUTPUT,
        "wandb_project": TRACKER,
        "early_stopping_patience": STOPPING,
    }
    assert table.unknown == {"lora_dropuot": "lora_dropout", "datasets.tpye": None}


@pytest.mark.parametrize(
    ("given", "taken", "overruled"),
    [
        ({"eval_steps": 50, "save_steps": 50}, {"eval_steps": 50}, {}),
        ({"eval_steps": 50, "save_steps": 100}, {"eval_steps": 50}, {"save_steps": EVALUATION}),
        ({"save_steps": 100}, {"eval_steps": 100}, {}),
        ({"evals_per_epoch": 4, "saves_per_epoch": 1}, {"evals_per_epoch": 4}, {"saves_per_epoch": EVALUATION}),
        ({"saves_per_epoch": 2}, {"evals_per_epoch": 2}, {}),
        ({"eval_steps": 5, "evals_per_epoch": 4}, {"eval_steps": 5}, {"evals_per_epoch": "eval_steps says it"}),
    ],
)
def test_an_evaluation_and_a_save_have_one_rhythm(
    given: dict[str, int], taken: dict[str, int], overruled: dict[str, str]
) -> None:
    table = KeyTable.of(given)
    assert (table.values, table.overruled) == (taken, overruled)


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ({"flash_attention": True}, {"attn_implementation": "flash_attention_2"}),
        ({"flash_attention": False}, {}),
        ({"sdp_attention": True, "attn_implementation": "eager"}, {"attn_implementation": "eager"}),
        ({"noisy_embedding_alpha": 5}, {"neftune_noise_alpha": 5}),
        ({"model_config": {"sliding_window": None}}, {"overrides_of_model_config": {"sliding_window": None}}),
        ({"tokens": {"pad_token": "<pad>"}}, {"special_tokens": {"pad_token": "<pad>"}}),
        ({"batch_size": 8, "micro_batch_size": 2}, {"micro_batch_size": 2, "gradient_accumulation_steps": 4}),
    ],
)
def test_a_key_of_an_old_name_gets_todays(given: dict[str, object], taken: dict[str, object]) -> None:
    assert KeyTable.of(given).values == taken


def test_a_tracker_as_a_plugin_is_left_out_with_its_keys() -> None:
    name = "axolotl.integrations.swanlab.SwanLabPlugin"
    table = KeyTable.of({"plugins": [name], "use_swanlab": True, "swanlab_project": "x", "learning_rate": 1e-4})
    assert table.overruled == {name: TRACKER, "use_swanlab": TRACKER, "swanlab_project": TRACKER}
    assert (table.plugins, table.values) == ({}, {"learning_rate": 1e-4})


def test_a_plugin_of_ones_own_is_refused_for_it_can_replace_the_trainer() -> None:
    with pytest.raises(ConfigError, match=r"plugins: mine\.Plugin is not known here"):
        KeyTable.of({"plugins": ["mine.Plugin"]})
