/* trl_keys.c: keys of TRL's configurations that are no options here: those without effect, and those that are
 * read only with the value that changes nothing. */
#include "run/trl_keys.h"

#include <string.h>

#include "lib/words.h"

/* Keys of TRL's configurations that change nothing here: how it logs, shards, loads, saves and talks to hubs;
 * other samplers; speed. A name that ends with * stands for all that begin so. */
static const char *const without_effect[] = {
    "accelerator_config", "activation_checkpointing*", "activation_offloading",
    "average_tokens_across_devices", "batch_eval_metrics", "bf16*", "cache_implementation",
    "cast_lm_head_to_fp32", "dataloader_*", "dataset_num_proc", "dataset_text_field", "ddp_*", "debug",
    "disable_dropout", "disable_tqdm", "do_eval", "do_predict", "do_train", "ds3_gather_for_generation",
    "enable_jit_checkpoint", "eval_accumulation_steps", "eval_delay", "eval_do_concat_batches",
    "eval_on_start", "eval_packing", "eval_steps", "eval_strategy", "eval_use_gather_object", "fp16*",
    "full_determinism", "gradient_checkpointing_kwargs", "greater_is_better", "hub_*", "ignore_data_skip",
    "include_*", "label_names", "length_column_name", "liger_kernel_config", "local_rank", "log_completions*",
    "log_level*", "log_multimodal", "log_on_each_node", "log_unique_prompts", "logging_dir",
    "logging_first_step", "logging_nan_inf_filter", "logging_strategy", "metric_for_best_model", "no_cuda",
    "num_completions_to_print", "num_generations_eval", "output_hub_model_id", "overwrite_output_dir",
    "packing_strategy", "pad_to_multiple_of", "padding_free", "per_device_eval_batch_size",
    "precompute_ref_batch_size", "prediction_loss_only", "project", "push_to_hub*", "ref_model_*",
    "remove_unused_columns", "report_to", "restore_callback_states_from_checkpoint", "run_name",
    "save_on_each_node", "save_only_model", "save_safetensors", "save_strategy",
    "skip_memory_metrics", "tf32", "torch_*", "trackio_*", "transformers_continuous_batching_config",
    "trust_remote_code", "use_cache", "use_cpu", "use_liger_kernel", "use_transformers_*", "use_vllm",
    "vllm_*"};

/* Keys that would change the mathematics: read if their value is one that does not, else refused by name.
 * null is always such a value. */
static const struct { const char *name, *harmless, *instead; } refused[] = {
    {"auto_find_batch_size", "false", "give --per-device-train-batch-size"},
    {"center_rewards_coefficient", "", "the regression head has no such term"},
    {"chat_template_kwargs", "", "choose the variant with --chat-template"},
    {"chat_template_path", "", "name it with --chat-template"},
    {"completion_only_loss", "true", "completions are learned, prompts are not"},
    {"data_seed", "", "one --seed serves all"},
    {"dataset_kwargs", "", "data are read as they are"},
    {"deepspeed", "", "one process computes all"},
    {"fsdp", "", "one process computes all"},
    {"fsdp_config", "", "one process computes all"},
    {"generation_kwargs", "", "give --temperature, --top-k, --top-p, --min-p"},
    {"group_by_length", "false", "examples are drawn at random"},
    {"label_smoothing_factor", "0", "labels are not smoothed here"},
    {"load_best_model_at_end", "false", "the last weights are the result"},
    {"loss_type", "nll", "the negative log-likelihood is the only loss here"},
    {"lr_scheduler_kwargs", "", "give --min-lr-ratio"},
    {"max_prompt_length", "", "prompts are never cut"},
    {"max_tool_calling_iterations", "", "there are no tools here"},
    {"model_init_kwargs", "", "the folder of the model says all"},
    {"neftune_noise_alpha", "", "no noise is added to embeddings"},
    {"optim", "adamw_torch,adamw_torch_fused", "AdamW is the only optimiser"},
    {"optim_args", "", "give --adam-beta1 and its kin"},
    {"optim_target_modules", "", "AdamW trains all"},
    {"packing", "false", "rows need no packing here"},
    {"pad_token", "<PAD_TOKEN>", "the folder of the model says it"},
    {"parallelism_config", "", "one process computes all"},
    {"repetition_penalty", "1", "it would bias the ratio"},
    {"resume_from_checkpoint", "false", "give --resume"},
    {"router_aux_loss_coef", "", "there are no mixtures of experts here"},
    {"shuffle_dataset", "true,false", "examples are drawn at random"},
    {"sync_ref_model", "false", "the reference stays the starting policy"},
    {"train_sampling_strategy", "random", "examples are drawn at random"},
    {"truncation_mode", "keep_start", "long examples are cut at the end"}};

static bool is_word_of(const char *list, const char *text) {
    char word[64];
    while (list_next(word, sizeof word, &list))
        if (!strcmp(word, text)) return true;
    return false;
}

TrlKey trl_key(const Json *v, const char *text, const char *where, Err *e) {
    if (name_among(v->key, without_effect, sizeof without_effect / sizeof *without_effect)) return TRL_IDLE;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        if (strcmp(refused[i].name, v->key)) continue;
        if (v->type == JSON_NULL || ((v->type == JSON_ARRAY || v->type == JSON_OBJECT) && !v->length) ||
            (text && is_word_of(refused[i].harmless, text)))
            return TRL_HARMLESS;
        fail(e, "%s: %s: found %.60s, expected %s%s: %s; take it out", where, v->key,
             text ? text : json_type_name(v->type), refused[i].harmless,
             *refused[i].harmless ? " or null" : "null", refused[i].instead);
        return TRL_REFUSED;
    }
    return TRL_UNKNOWN;
}
