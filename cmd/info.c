/* info.c: `grpo info`: what is in a folder, and what a run of it will need (section 8 of the mathematics). */
#include <stdio.h>
#include <string.h>

#include "cmd/commands.h"
#include "cmd/run.h"
#include "folder.h"
#include "rollout.h"
#include "tokenizer.h"

typedef struct { const char *model; AdapterOptions adapter; int prompt_length, completion_length, num_generations, prompts; } Config;

static const Option options[] = {
    {"model", OPT_STRING, offsetof(Config, model), NULL, "folder of a model", NULL},
    {"prompts", OPT_INT, offsetof(Config, prompts), "1", "prompts of a GRPO step", NULL},
    {"num_generations", OPT_INT, offsetof(Config, num_generations), "8", "completions of each", NULL},
    {"prompt_length", OPT_INT, offsetof(Config, prompt_length), "64", "tokens", NULL},
    {"completion_length", OPT_INT, offsetof(Config, completion_length), "64", "tokens", NULL},
    ADAPTER_OPTIONS(Config, adapter),
};
static const OptionTable table = {"info", "what is in a folder, and what a GRPO step of it will need", "grpo info --model models/SmolLM2-135M-Instruct --prompts 4", options,
                                  sizeof options / sizeof *options};

/* E190: multiplications and additions of a forward pass with shared prompts. */
static double forward_flops(const ModelConfig *c, const Config *o) {
    const double h = c->hidden, q = (double)c->n_head * c->head_dim, kv = (double)c->n_kv_head * c->head_dim, p = o->prompt_length, l = o->completion_length, g = o->num_generations;
    const double n = c->n_layer * (h * (q + 2 * kv) + q * h + 3 * h * c->ffn), rows = p + g * l, context = p * (p + 1) / 2 + g * (l * p + l * (l + 1) / 2);
    return o->prompts * (2 * n * rows + 4 * q * c->n_layer * context + 2.0 * c->vocab * h * g * l);
}

int cmd_info(int argc, char **argv, Err *e) {
    static const char *const arch[] = {"Llama", "Qwen2", "Qwen3"};
    Config o;
    ModelConfig c;
    FolderInfo info;
    char size[32];
    const int r = options_parse(&o, &table, argc, argv, e);
    if (r) return r < 0 ? -1 : 0;
    if (!o.model) { fail(e, "--model: not given; expected the folder of a model"); return -1; }
    if (o.prompts < 1 || o.num_generations < 1 || o.prompt_length < 1 || o.completion_length < 1 ||
        (double)o.prompts * (o.prompt_length + (double)o.num_generations * o.completion_length) > 1e9) {
        fail(e, "--prompts %d, --num-generations %d, --prompt-length %d, --completion-length %d: expected at least 1 of each, and at most 1e9 tokens", o.prompts, o.num_generations,
             o.prompt_length, o.completion_length);
        return -1;
    }
    if (!folder_config(&c, &info, o.model, e)) return -1;
    Model *m = folder_load(o.model, &info, e);
    if (!m) return -1;
    char hex[65], names[96];
    folder_digest(m, hex);
    printf("%s: %s, %s, %zu parameters\n", o.model, arch[c.arch], c.n_label ? "reward model" : "language model", model_parameters(m));
    printf("  layers %d, width %d, heads %d (key/value %d) of %d, inner %d, vocabulary %d, context %d, %s head\n", c.n_layer, c.hidden, c.n_head, c.n_kv_head, c.head_dim, c.ffn,
           c.vocab, c.context, c.n_label ? "regression" : c.tied ? "tied" : "own");
    for (int k = 0; k < c.n_label; k++) printf("  label %d: %s, mean %.4f\n", k, info.label[k], info.reward_mean[k]);
    if (c.lora.r) printf("  adapter of rank %d, alpha %g%s, beside %s of %s\n", c.lora.r, c.lora.alpha, c.lora.rslora ? " (rank-stabilised)" : "", lora_targets_text(names, c.lora.target), info.base);
    printf("  weights %s\n", hex);
    model_free(m);
    Err ignored = {{0}};
    char own[1024];
    Tokenizer *t = folder_tokenizer(own, o.model, &ignored) ? tokenizer_load(own, &ignored) : NULL;
    ChatTemplate chat;
    if (!t) printf("  tokenizer: %s\n", ignored.line);
    else if (!chat_template_find(&chat, t, &ignored)) printf("  tokenizer: %d entries; %s\n", tokenizer_vocab(t), ignored.line);
    else printf("  tokenizer: %d entries, template %s\n", tokenizer_vocab(t), chat_template_name(chat));
    tokenizer_free(t);
    if (!run_adapter(&c, &info, &o.adapter, o.model, e)) return -1;
    const int rows = o.prompts * (o.prompt_length + o.num_generations * o.completion_length), slice = o.prompt_length + o.num_generations * o.completion_length;
    human_bytes(size, (double)trainer_bytes(&c, slice > 1024 ? slice : 1024, slice > 1024 ? slice : 1024));
    printf("one GRPO step of %d prompts (%d tokens), %d completions each (%d tokens): %d rows\n", o.prompts, o.prompt_length, o.num_generations, o.completion_length, rows);
    size_t n_trainable, n_grad;
    model_counts(&c, &n_trainable, &n_grad);
    printf("  memory to train: %s (weights, gradient, two moments, activations of a slice)\n", size);
    if (c.lora.r) printf("  adapter of rank %d beside %s: %zu parameters are trained\n", c.lora.r, lora_targets_text(names, c.lora.target), n_trainable);
    if (!c.n_label) {
        const double f = forward_flops(&c, &o);
        printf("  operations: generation %.3g, training %.3g (E190, E192)\n", f, 3 * f);
    }
    return 0;
}
