"""The keys that the day decides: why each is overruled, and which are taken as wishes.

    OVERRULED["group_by_length"]       # "every batch is planned by its number before the run starts"

A day has one clock, plans its batches by number and seals its checkpoints. A few of Axolotl's keys would decide the
same things a second time. Those that say how much or how often are wishes, which the plan follows where the budget
allows; the others are taken out, and the run says so.

Where it sits: below the table of a recipe's keys.
"""

from collections.abc import Mapping

BATCHES = "every batch is planned by its number before the run starts, so that a resumed run trains on the same ones"
EVALUATION = "every evaluation covers the whole validation file and is followed by a save, so that the best has one"
DATA = "the rows are read, checked and tokenised once, before the trainer starts"
BASE = "base and tokenizer are those of the folder that `base=` names, or of the hub's cache under the base's name"
STOPPING = "the budget ends a run, and the best checkpoint is picked from all of them"
RESUME = "the same command resumes from the newest whole checkpoint of its own run"
OUTPUT = "a run writes to its run folder, and `oneday export` hands over"
TRACKER = "trackers are asked for with `track=`"
MACHINE = "a run has one GPU, which `card=` names, and the process is the harness's"
GENERATION = "answers are generated after the training, by `oneday evaluate`"
MEASURING = "speed and memory are measured by the rehearsal and in every step's event"
REMOVED = "Axolotl no longer has it"

_REASONS: Mapping[str, str] = {
    BATCHES: """group_by_length curriculum_sampling shuffle_merged_datasets shuffle_before_merging_datasets
        sample_packing_eff_est sample_packing_group_size sample_packing_bin_size sample_packing_sequentially
        sample_packing_mp_start_method total_num_tokens total_supervised_tokens batch_flattening auto_find_batch_size
        dataloader_pin_memory dataloader_num_workers dataloader_prefetch_factor dataloader_drop_last
        accelerator_config eval_batch_size batch_size pad_to_multiple_of""",
    EVALUATION: """eval_strategy evaluation_strategy save_strategy save_first_step
        save_only_model save_safetensors metric_for_best_model greater_is_better load_best_model_at_end
        do_causal_lm_eval eval_causal_lm_metrics do_bench_eval bench_dataset bench_split eval_sequence_len""",
    DATA: """dataset_prepared_path dataset_shard_num dataset_shard_idx skip_prepare_dataset num_dataset_shards_to_save
        dataset_processes dataset_num_proc dataset_exact_deduplication dataset_keep_in_memory remove_unused_columns
        push_dataset_to_hub hf_use_auth_token streaming streaming_multipack_buffer_size pretrain_multipack_buffer_size
        pretrain_multipack_attn pretraining_sample_concatenation excess_length_strategy min_sample_len max_prompt_len
        is_preprocess preprocess_iterable tokenizer_use_mistral_common tokenizer_save_jinja_files""",
    BASE: """tokenizer_type tokenizer_config tokenizer_use_fast tokenizer_legacy revision_of_model model_revision
        base_model_config""",
    STOPPING: "early_stopping_patience loss_watchdog_threshold loss_watchdog_patience dynamic_checkpoint",
    RESUME: "resume_from_checkpoint auto_resume_from_checkpoints",
    OUTPUT: """output_dir hub_model_id hub_strategy hub_revision merge_lora merge_method axolotl_config_path
        fsdp_final_state_dict_type""",
    TRACKER: """use_wandb wandb_name wandb_run_id wandb_mode wandb_project wandb_entity wandb_watch wandb_log_model
        use_comet comet_api_key comet_workspace comet_project_name comet_experiment_key comet_mode comet_online
        comet_experiment_config use_mlflow mlflow_tracking_uri mlflow_experiment_name mlflow_run_name
        hf_mlflow_log_artifacts use_trackio trackio_project_name trackio_run_name trackio_space_id use_tensorboard
        use_otel_metrics otel_metrics_host otel_metrics_port""",
    MACHINE: """use_ray ray_run_name ray_num_workers resources_per_worker world_size local_rank ddp ddp_timeout
        ddp_bucket_cap_mb ddp_broadcast_buffers ddp_find_unused_parameters device device_map max_memory
        gpu_memory_limit low_cpu_mem_usage strict gc_steps gc_collect_steps torch_empty_cache_steps""",
    GENERATION: """generate_samples num_generation_samples generation_max_new_tokens generation_temperature
        generation_top_p generation_top_k generation_prompt_ratio generation_do_sample eval_table_size
        eval_max_new_tokens gradio_title gradio_share gradio_server_name gradio_server_port gradio_max_new_tokens
        gradio_temperature""",
    MEASURING: "include_tokens_per_second include_tkps profiler_steps profiler_steps_start",
    REMOVED: """max_packed_sequence_len flash_attn_rms_norm s2_attention dpo_use_logits_to_keep
        dpo_generate_during_eval dpo_norm_loss""",
}

OVERRULED: Mapping[str, str] = {key: reason for reason, keys in _REASONS.items() for key in keys.split()}
"""Why, by key."""

OVERRULED_PLUGINS: Mapping[str, str] = {
    "axolotl.integrations.swanlab": TRACKER,
    "axolotl.integrations.lm_eval": GENERATION,
}
"""Plugins that are left out with their keys, by package."""

WISHES: Mapping[str, str] = {
    "num_epochs": "so many passes over the rows are planned; the budget may end the run earlier",
    "max_steps": "no more steps are planned; the budget may end the run earlier",
    "warmup_steps": "at most a tenth of the planned steps, so that a short budget is not all warm-up",
    "warmup_ratio": "a share of the planned steps",
    "eval_steps": "an evaluation and a save at least so often",
    "evals_per_epoch": "an evaluation and a save so many times in a pass over the rows",
    "save_total_limit": "so many checkpoints are kept; the best and the newest are always among them",
    "val_set_size": "the share of the recipe's own rows that is held out, where no validation file is given",
}
"""Keys that the plan follows, and how."""
