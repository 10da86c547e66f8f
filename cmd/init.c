/* init.c: `grpo init`: a new model folder: random weights of a given shape, and a tokenizer trained on given
 * text. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd/commands.h"
#include "text/data.h"
#include "run/run.h"
#include "net/folder.h"
#include "lib/files.h"

static const char *const arch_names[] = {"llama", "qwen2", "qwen3", NULL};

typedef struct {
    const char *output_dir, *model_config, *tokenizer, *tokenizer_data;
    int arch, vocab, hidden, layers, heads, kv_heads, head_dim, ffn, context, seed, save_dtype;
    double init_std, rope_theta;
    bool tied, json;
} Config;

#define AT(member) offsetof(Config, member)
static const Setting rows[] = {
    {"output_dir", SET_STRING, AT(output_dir), NULL, NULL, "folder to make"},
    {"tokenizer_data", SET_STRING, AT(tokenizer_data), NULL, NULL,
     "JSONL whose prompts and completions train a new BPE"},
    {"tokenizer", SET_STRING, AT(tokenizer), NULL, NULL, "or: folder whose tokenizer is taken"},
    {"model_config", SET_STRING, AT(model_config), NULL, NULL,
     "folder whose config.json gives the shape; else the options below"},
    {"model_type", SET_CHOICE, AT(arch), "llama", arch_names, "architecture"},
    {"vocab_size", SET_INT, AT(vocab), "768", NULL, "entries of the new tokenizer"},
    {"hidden_size", SET_INT, AT(hidden), "64", NULL, "width"},
    {"num_hidden_layers", SET_INT, AT(layers), "4", NULL, "layers"},
    {"num_attention_heads", SET_INT, AT(heads), "4", NULL, "query heads"},
    {"num_key_value_heads", SET_INT, AT(kv_heads), "0", NULL, "key/value heads; 0: as many as query heads"},
    {"head_dim", SET_INT, AT(head_dim), "0", NULL, "size of a head; 0: width / heads"},
    {"intermediate_size", SET_INT, AT(ffn), "176", NULL, "inner width"},
    {"max_position_embeddings", SET_INT, AT(context), "112", NULL, "context in tokens"},
    {"initializer_range", SET_NUMBER, AT(init_std), "0.02", NULL, "deviation of the random weights"},
    {"rope_theta", SET_NUMBER, AT(rope_theta), "10000", NULL, "base of the rotary angles"},
    {"tie_word_embeddings", SET_BOOL, AT(tied), "true", NULL, "embedding and head are one matrix"},
    {"seed", SET_INT, AT(seed), "42", NULL, "of the weights"},
    {"save_dtype", SET_CHOICE, AT(save_dtype), "real", save_dtype_names, "of the weights"},
    {"json", SET_BOOL, AT(json), "false", NULL, "the result on stdout as JSON"},
    SETTINGS_END};
static const OptionTable table = {
    "init", "a new random model folder, and a tokenizer trained on given text",
    "grpo init --tokenizer-data pairs.jsonl --output-dir models/base",
    .part = {{rows, 0}}};

static bool make_tokenizer(const Config *c, Err *e) {
    Dataset d;
    if (!dataset_load(&d, c->tokenizer_data, NEED_PROMPT, NULL, e)) return false;
    const char **text = malloc(2 * (size_t)d.n * sizeof *text);
    size_t *length = malloc(2 * (size_t)d.n * sizeof *length);
    char *space = NULL;
    bool ok = text && length;
    if (!ok) fail(e, "init: no memory for %d texts", d.n);
    int n = 0;
    size_t total = 0;
    for (int i = 0; ok && i < d.n; i++) {
        text[n++] = d.row[i].prompt[d.row[i].n_prompt - 1].content;
        if (d.row[i].completion) text[n++] = d.row[i].completion;
    }
    for (int i = 0; ok && i < n; i++) total += strlen(text[i]) + 2;
    if (ok && !(space = malloc(total))) ok = fail(e, "init: no memory for %zu bytes of text", total);
    char *at = space;
    for (int i = 0; ok && i < n; i++) {         /* as the plain template shows them: after a blank */
        length[i] = strlen(text[i]) + 1;
        *at = ' ';
        memcpy(at + 1, text[i], length[i]);
        text[i] = at;
        at += length[i] + 1;
    }
    ok = ok && folder_make(c->output_dir, e) && tokenizer_train(c->output_dir, text, length, n, c->vocab, e);
    free(space);
    free(text);
    free(length);
    return ok;
}

int cmd_init(int argc, char **argv, Err *e) {
    Config c;
    const int r = options_parse(&c, &table, argc, argv, e);
    if (r) return r < 0 ? -1 : 0;
    if (!c.output_dir) { fail(e, "--output-dir: not given; expected a folder to make"); return -1; }
    if (!folder_is_empty(c.output_dir, NULL)) {
        fail(e, "%s: is not empty; give another --output-dir", c.output_dir);
        return -1;
    }
    if (!c.tokenizer_data == !c.tokenizer) {
        fail(e, "give either --tokenizer-data FILE or --tokenizer DIR");
        return -1;
    }
    if (!c.model_config && !c.head_dim && c.heads > 0 && c.hidden % c.heads) {
        fail(e,
             "--hidden-size %d is no multiple of --num-attention-heads %d; change one of them, or give "
             "--head-dim",
             c.hidden, c.heads);
        return -1;
    }
    ModelConfig mc = {.arch = (Arch)c.arch, .hidden = c.hidden, .ffn = c.ffn, .n_layer = c.layers,
                      .n_head = c.heads, .n_kv_head = c.kv_heads ? c.kv_heads : c.heads,
                      .head_dim = c.head_dim    ? c.head_dim
                                  : c.heads > 0 ? c.hidden / c.heads
                                                : 0,
                      .context = c.context,
                      .tied = c.tied,
                      .norm_eps = 1e-5,
                      .rope_theta = c.rope_theta,
                      .init_std = c.init_std,
                      .qkv_bias = c.arch == ARCH_QWEN2,
                      .qk_norm = c.arch == ARCH_QWEN3,
                      .bos = -1};
    if (c.model_config && !folder_config(&mc, NULL, c.model_config, e)) return -1;
    if (!c.model_config) mc.vocab = c.vocab;        /* checked before a tokenizer is written */
    if (!model_config_check(&mc, "--output-dir", e) || (c.tokenizer_data && !make_tokenizer(&c, e)))
        return -1;
    Tokenizer *t = tokenizer_load(c.tokenizer_data ? c.output_dir : c.tokenizer, e);
    if (!t) return -1;
    FolderInfo info = {.n_stop = tokenizer_eos(t) >= 0, .stop = {tokenizer_eos(t)}};
    /* published models have rows without a token */
    if (!c.model_config || mc.vocab < tokenizer_vocab(t)) mc.vocab = tokenizer_vocab(t);
    mc.eos = tokenizer_eos(t);
    mc.pad = tokenizer_pad(t);
    mc.n_label = 0;
    mc.lora = (Lora){0};
    /* half the memory */
    mc.base_store = save_store(c.save_dtype) == STORE_BF16 ? STORE_BF16 : STORE_REAL;
    tokenizer_free(t);
    Model *m = model_new(&mc, e);
    if (!m) return -1;
    model_init(m, (uint64_t)c.seed);
    bool ok = folder_save(c.output_dir, m, &info, c.tokenizer, save_store(c.save_dtype), e);
    if (ok && !c.json)
        printf("%s: %zu parameters, vocabulary %d\n", c.output_dir, model_parameters(m), mc.vocab);
    else if (ok) {
        JsonWriter w = {0};
        json_begin(&w, '{');
        json_put_string(&w, "model", c.output_dir);
        json_put_int(&w, "parameters", (long long)model_parameters(m));
        json_put_int(&w, "vocabulary", mc.vocab);
        json_end(&w, '}');
        ok = json_print(&w, "\n", e);
        free(w.text);
    }
    model_free(m);
    return ok ? 0 : -1;
}
