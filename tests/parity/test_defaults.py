"""Names and defaults of our options against TRL's dataclasses; every difference stands here, with its
reason."""
import dataclasses
import json
import re
import subprocess

import pytest
from support import ROOT, run
from transformers import SchedulerType, TrainingArguments
from trl import DPOConfig, GRPOConfig, ModelConfig, RewardConfig, SFTConfig
from trl.experimental.gmpo import GMPOConfig  # noqa: F401  (our --loss-type gmpo)

CONFIGS = {"train": GRPOConfig, "sft": SFTConfig, "reward": RewardConfig, "dpo": DPOConfig}

# ours that are no field of TRL's, all commands together
OURS = {"model", "dataset", "chat_template", "template_date", "system", "slice_rows", "save_dtype",
        "base_dtype", "resume", "json", "drop_long", "config", "reward_timeout", "min_lr_ratio",
        "warmup_ratio", "reward_model", "reward_cmd",
        "reward_chat_template", "reward_clip", "missing_labels", "dual_clip", "eval_split", "eval_dataset",
        "labels", "label_weights", "normalize_labels",
        "reward_floors", "multiplier_learning_rate", "multiplier_max",
        "tdpo_alpha", "bmc_delta", "bmc_reference", "bmc_stop_words", "flow_reward", "flow_alpha",
        "flow_scores", "flow_gamma", "subtb_lambda",
        "std_eps", "std_ddof", "baseline", "zero_std", "single_reply", "advantage_whitening", "policy_term",
        "cispo_clip_min", "cispo_clip_max", "log_ratio_max",
        "sequence_log_ratio_max", "kl_estimator", "kl_clamp_log_ratio", "kl_clamp", "kl_gradient",
        "loss_aggregation", "kl_aggregation", "entropy_aggregation",
        "aggregation_scope", "aggregation_length", "count_empty_rows",
        "group_column", "group_step_size", "group_loss", "group_weights", "demonstrations",
        "demonstration_weight",
        "early_stopping_patience"}
# ours of one command, though TRL has a field of that name for another
OWN = {"reward": {"loss_type", "reward_weights", "gamma", "lam"}, "train": {"eos_token"},
       "dpo": {"eos_token"}}

# same name, other default: (ours, TRL's), why
DIFFERENT = {
    "output_dir": (None, "trainer_output"),         # never written to without being named
    "logging_steps": ("1", 10),                     # a log line is cheap here, and the run's record
    # 0 stands for gradient_accumulation_steps, which TRL fills in likewise
    "steps_per_generation": ("0", 1),
    "generation_batch_size": ("0", 8),              # 0: by steps_per_generation, as TRL fills in
    "eval_steps": ("0", None),                      # 0: never, as TRL's eval_strategy says by default
    "min_p": ("0", None),                           # the same: off
    "report_to": ("none", []),                      # TRL reads "none" as no place
    "save_steps": ("500", 500.0),
    # TRL keeps all; one to go on from and one before it are enough
    "save_total_limit": ("2", None),
    "center_rewards_coefficient": ("0", None),      # the same: off
    # memory for time: the same bits, so only where memory is short
    "gradient_checkpointing": ("false", True),
    "lora_dropout": ("0", 0.05),                    # dropout is not computed here
}

# fields that TRL's own classes add to transformers' TrainingArguments and that we do not have
ELSEWHERE = {
    "how a model is loaded or kept in memory": {
        "model_init_kwargs", "trust_remote_code", "activation_offloading", "cast_lm_head_to_fp32",
        "ds3_gather_for_generation", "disable_dropout", "use_transformers_paged",
        "use_transformers_continuous_batching", "transformers_continuous_batching_config",
        "cache_implementation"},
    "other samplers: we draw with the trainer's own bits (E81)": {
        "use_vllm", "vllm_mode", "vllm_model_impl", "vllm_enable_sleep_mode",
        "vllm_structured_outputs_regex", "vllm_server_base_url", "vllm_server_host", "vllm_server_port",
        "vllm_server_timeout", "vllm_group_port", "vllm_gpu_memory_utilization", "vllm_max_model_length",
        "vllm_tensor_parallel_size", "vllm_importance_sampling_correction", "vllm_importance_sampling_mode",
        "vllm_importance_sampling_clip_max", "vllm_importance_sampling_clip_min",
        "vllm_importance_sampling_cap"},
    "mixtures of experts, tools, images": {
        "router_aux_loss_coef", "max_tool_calling_iterations", "log_multimodal"},
    "what is printed or uploaded": {
        "num_completions_to_print", "log_unique_prompts", "log_completions_hub_repo"},
    "padding and packing: our rows have none": {
        "precompute_ref_batch_size", "pad_to_multiple_of", "packing", "packing_strategy", "padding_free",
        "eval_packing", "pad_token"},
    "data columns and templates": {
        "chat_template_path", "dataset_text_field", "dataset_kwargs", "dataset_num_proc",
        "chat_template_kwargs", "completion_only_loss", "truncation_mode"},
    "fixed here: derived, always on, or off as in TRL's default": {
        "num_generations_eval", "shuffle_dataset", "generation_kwargs", "repetition_penalty",
        "sync_ref_model", "ref_model_mixup_alpha", "ref_model_sync_steps"},
}


def help_lines(command):
    """What --help prints, with one line an option."""
    return re.sub(r"\n {35}", " ", run("f32", command, "--help"))


def our_options(command):
    """name: default as --help prints it (None: no default)."""
    found = {}
    for line in help_lines(command).splitlines():
        m = re.match(r"  --([a-z0-9-]+)\s.*?(?:\[([^\]]*)\])?$", line)
        if m:
            found[m[1].replace("-", "_")] = m[2]
    return found


@pytest.fixture(params=CONFIGS)
def command(request, tmp_path):
    return (request.param, our_options(request.param),
            CONFIGS[request.param](output_dir=str(tmp_path), bf16=False, use_cpu=True))


def same(ours, theirs):
    if hasattr(theirs, "value"):
        theirs = theirs.value
    if theirs is None or ours is None:
        return theirs is None and ours in (None, "none")
    if isinstance(theirs, list):
        return ours.split(",") == theirs
    if isinstance(theirs, bool):
        return ours == str(theirs).lower()
    if isinstance(theirs, (int, float)):
        return float(ours) == float(theirs)
    return ours == theirs


def test_defaults(command):
    name, ours, theirs = command
    assert len(ours) > 20
    for key, default in ours.items():
        if key in OURS | OWN.get(name, set()):
            assert not hasattr(theirs, key), f"{key} is a field of TRL's by now: compare its default"
            continue
        holder = theirs if hasattr(theirs, key) else ModelConfig()      # its scripts read both
        assert hasattr(holder, key), f"--{key}: neither TRL's nor listed as ours"
        value = getattr(holder, key)
        if key in DIFFERENT:
            assert default == DIFFERENT[key][0]
            if key != "output_dir":
                assert value == DIFFERENT[key][1], f"{key}: TRL's default is {value} by now"
            continue
        assert same(default, value), f"--{key}: our default is {default}, TRL's {value}"


def test_nothing_is_forgotten(command):
    """Every field that TRL adds is an option of ours or listed above."""
    name, ours, theirs = command
    listed = set().union(*ELSEWHERE.values())
    inherited = {f.name for f in dataclasses.fields(TrainingArguments)}
    fields = {f.name for f in dataclasses.fields(theirs)} - inherited
    # sft has the negative log-likelihood only, TRL's default
    assert fields - listed - set(ours) == ({"loss_type"} if name == "sft" else set())
    assert not listed & set(ours), "listed as absent, but there"


def test_every_listed_field_exists():
    fields = {f.name for c in CONFIGS.values() for f in dataclasses.fields(c)}
    assert set().union(*ELSEWHERE.values()) <= fields


def test_choices():
    """The values that a choice takes are TRL's, but for those of our own."""
    text = help_lines("train")
    choice = lambda key: set(re.search(rf"  --{key} .*: (.*) \[", text)[1].split(" | "))
    help_of = {f.name: f.metadata.get("help", "") for f in dataclasses.fields(GRPOConfig)}
    for key, own in (("loss_type", {"gmpo"}), ("scale_rewards", {"leave_one_out"}),
                     ("multi_objective_aggregation", {"mo_grpo", "worst_group", "min"}),
                     ("importance_sampling_level", {"sequence_token"})):
        ours = choice(key.replace("_", "-"))
        assert own <= ours
        for value in ours - own:
            assert value in help_of[key], f"{key} {value} is not in TRL's help: {help_of[key]}"
    assert choice("lr-scheduler-type") - {s.value for s in SchedulerType} <= {"linear_with_min_lr"}


def test_a_dump_of_theirs_is_a_config_of_ours(command, tmp_path):
    """Every key that a TRL configuration writes is an option, or accepted, or refused by name; at its default
    none is refused."""
    name, _, theirs = command
    text = json.dumps(theirs.to_dict(), default=str)
    (tmp_path / "config.json").write_text(text)
    r = subprocess.run([ROOT / "grpo", name, "--config", tmp_path / "config.json"], capture_output=True,
                       text=True)
    assert r.returncode == 2 and "--model: not given" in r.stderr.splitlines()[-1], r.stderr
    (tmp_path / "config.json").write_text(
        text.replace('"label_smoothing_factor": 0.0', '"label_smoothing_factor": 0.1'))
    r = subprocess.run([ROOT / "grpo", name, "--config", tmp_path / "config.json"], capture_output=True,
                       text=True)
    assert (r.returncode == 2 and "label_smoothing_factor: found 0.1, expected 0 or null"
            in r.stderr.splitlines()[-1]), r.stderr
