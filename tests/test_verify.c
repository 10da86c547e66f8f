/* test_verify.c: dumps by liars, dumps made by an independent program, and dumps made here. */
#include "verify/known.h"
#include "verify/words.h"

#include "lib/files.h"
#include "tests/tiny.h"
#include "verify/write.h"

static const char *golden = "tests/golden";           /* or what the command line says */

/* ---- dumps of tests/make_dumps.py: every mistake gets its name, what is right is called right */
static const char *option_of(const Json *options, const char *name) {
    for (size_t i = 0; options && i + 1 < options->length; i++)
        if (options->item[i].type == JSON_STRING && !strcmp(options->item[i].string, name))
            return options->item[i + 1].string;
    return NULL;
}

static int by_text(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* "A, B" of names in order; pairs with their halves in order. */
static void joined(char *out, size_t size, char (*name)[96], const Json *list) {
    char copy[64][96];
    const char *at[64];
    size_t n = 0;
    for (size_t i = 0; list ? i < list->length : name[i][0] != 0; i++) {
        char *plus;
        if (n == 64) break;
        snprintf(copy[n], sizeof copy[n], "%.95s", list ? list->item[i].string : name[i]);
        if ((plus = strstr(copy[n], " + ")) != NULL) {
            char a[64], b[64];
            snprintf(a, sizeof a, "%.*s", (int)(plus - copy[n]), copy[n]);
            snprintf(b, sizeof b, "%s", plus + 3);
            snprintf(copy[n], sizeof copy[n], "%.30s + %.30s", strcmp(a, b) < 0 ? a : b,
                     strcmp(a, b) < 0 ? b : a);
        }
        at[n] = copy[n];
        n++;
    }
    qsort(at, n, sizeof *at, by_text);
    *out = 0;
    for (size_t i = 0; i < n; i++)
        snprintf(out + strlen(out), size - strlen(out), "%s%s", i ? ", " : "", at[i]);
}

static bool folder_of(char *out, size_t size, const char *name) {
    return name && snprintf(out, size, "%.90s/%.200s", golden, name) > 0;
}

static void golden_dump(const char *file, const Json *v) {
    char path[600], dir[3][300], found[1200], wanted[1200];
    const Json *options = json_get(v, "options"), *expect = json_get(v, "expect"),
               *folder = json_get(v, "model");
    Err e = {{0}};
    Dump d;
    Report r;
    Policies model = {NULL, NULL, NULL};
    FolderInfo info;
    snprintf(path, sizeof path, "%.90s/%.500s", golden, file);
    const bool open = dump_open(&d, path, option_of(options, "--dialect"), &e);
    CHECK(open);
    if (!open) { printf("%s\n", e.line); return; }
    bool ok = true;
    if (folder && folder->type == JSON_STRING && folder_of(dir[0], sizeof dir[0], folder->string))
        ok = (model.policy = folder_load(dir[0], &info, &e)) &&
             dump_model(&d, &model.policy->config, &info, dir[0], &e);
    if (ok && folder_of(dir[1], sizeof dir[1], option_of(options, "--ref-model")))
        ok = (model.reference = folder_load(dir[1], &info, &e)) != NULL;
    if (ok && folder_of(dir[2], sizeof dir[2], option_of(options, "--old-model")))
        ok = (model.old = folder_load(dir[2], &info, &e)) != NULL;
    ok = ok && report_make(&r, &d, &model, NULL, false, &e);
    CHECK(ok);
    if (!ok) printf("%s: %s\n", file, e.line);
    bool all_right = true;
    for (size_t i = 0; ok && i < expect->length; i++) {
        const Json *want = &expect->item[i];
        int s = 0;
        while (s < N_STAGE && strcmp(stage_info[s].name, want->key)) s++;
        if (s == N_STAGE) { CHECK(s < N_STAGE); continue; }
        StageReport *x = &r.stage[s];
        const Json *dialect = json_get(want, "right as");
        snprintf(wanted, sizeof wanted, "%s",
                 want->type == JSON_STRING
                     ? !strcmp(want->string, "unknown") ? "wrong, cause unknown" : want->string
                     : "");
        if (dialect) snprintf(wanted, sizeof wanted, "right as %s", dialect->string);
        if (want->type == JSON_ARRAY) {
            joined(wanted, sizeof wanted, NULL, want);
            if (x->n_name < MAX_NAMES) x->name[x->n_name][0] = 0;
            joined(found, sizeof found, x->name, NULL);
        } else report_verdict(found, sizeof found, &r, (Stage)s);
        const size_t n = strlen(wanted);                /* a name alone is its newest release */
        /* or right by a setting that the profile reads, not by a way of its own */
        const bool same = x->judged && ((!strncmp(found, wanted, n) &&
                                         (!found[n] || (dialect && found[n] == '-'))) ||
                                        (dialect && !strcmp(found, "right")));
        CHECK(same);
        if (!same)
            printf("    %s: %s: found \"%s\"%s, expected \"%s\"\n", file, want->key, found,
                   x->judged ? "" : " (not judged)", wanted);
        all_right = all_right && (want->type == JSON_STRING || dialect);
    }
    if (ok) CHECK_INT(report_outcome(&r) == OUTCOME_RIGHT, all_right);
    if (ok) report_free(&r);
    model_free((Model *)model.policy);
    model_free((Model *)model.reference);
    model_free((Model *)model.old);
    dump_close(&d);
}

static void test_golden_dumps(void) {
    Err e = {{0}};
    char path[300];
    snprintf(path, sizeof path, "%.90s/mistakes.json", golden);
    Json *manifest = json_read_file(path, &e);
    CHECK(manifest != NULL);
    for (size_t i = 0; manifest && i < manifest->length; i++)
        golden_dump(manifest->item[i].key, &manifest->item[i]);
    json_free(manifest);
}

/* ---- public disputes of tests/disputes.py: the true cause is among the names */
static bool one_of(char (*name)[96], int n, const Json *wanted) {
    for (int i = 0; i < n; i++)
        for (size_t k = 0; k < wanted->length; k++) if (!strcmp(name[i], wanted->item[k].string)) return true;
    return false;
}

static void dispute(const char *file, const Json *expect) {
    char path[600];
    Err e = {{0}};
    Dump d;
    Report r;
    snprintf(path, sizeof path, "%.90s/disputes/%.300s", golden, file);
    bool ok = dump_open(&d, path, NULL, &e);
    CHECK(ok);
    if (!ok) { printf("%s\n", e.line); return; }
    ok = report_make(&r, &d, &(Policies){NULL, NULL, NULL}, NULL, false, &e);
    CHECK(ok && report_outcome(&r) != OUTCOME_RIGHT);
    for (int s = 0; ok && s < N_STAGE; s++) {
        const StageReport *x = &r.stage[s];
        const Json *wanted = json_get(expect, stage_info[s].name);
        if (!x->judged || (!wanted && s == STAGE_DLOGP)) continue;
        const bool right = x->verdict == VERDICT_RIGHT || x->verdict == VERDICT_RIGHT_AS,
                   good = wanted ? one_of(r.stage[s].name, x->n_name, wanted) : right;
        CHECK(good);
        if (!good) printf("    %s: %s: %s\n", file, stage_info[s].name, x->n_name ? x->name[0] : "no name");
    }
    report_free(&r);
    dump_close(&d);
}

static void test_disputes(void) {
    Err e = {{0}};
    char path[300];
    snprintf(path, sizeof path, "%.90s/disputes/disputes.json", golden);
    Json *all = json_read_file(path, &e);
    CHECK(all != NULL && all->length >= 8);
    for (size_t i = 0; all && i < all->length; i++)
        dispute(all->item[i].key, json_get(&all->item[i], "expect"));
    json_free(all);
}

/* E126 to E139, E132, E181. Dumps of trainers that do otherwise are right by their settings alone: with the
 * defaults in their place, each has a stage that is not. */
static void test_settings_matter(void) {
    static const char *const by_tensors[] = {
        "set-groups", "set-tool-mask", "set-policy-mask", "set-sampler-for", "set-advantages-by",
        "set-sum-weighed-loss", "set-kl-reward-to"};
    Err e = {{0}};
    char file[300];
    int tried = 0;
    snprintf(file, sizeof file, "%.90s/mistakes.json", golden);
    Json *manifest = json_read_file(file, &e);
    for (size_t i = 0; manifest && i < manifest->length; i++) {
        bool of_settings = !strncmp(manifest->item[i].key, "set-", 4);
        for (size_t k = 0; k < sizeof by_tensors / sizeof *by_tensors; k++)
            of_settings = of_settings && strncmp(manifest->item[i].key, by_tensors[k], strlen(by_tensors[k]));
        if (!of_settings) continue;
        Dump d;
        Report r;
        snprintf(file, sizeof file, "%.90s/%.200s", golden, manifest->item[i].key);
        if (!dump_open(&d, file, NULL, &e)) { CHECK(!e.line[0]); break; }
        settings_default(&d.set.grpo, grpo_other_settings);
        d.set.grpo.aggregation_length = (double)d.width;
        if (d.set.grpo.scale_rewards == SCALE_LEAVE_ONE_OUT) d.set.grpo.scale_rewards = SCALE_GROUP;
        d.set.grpo.clip_cov_ratio = d.set.grpo.kl_cov_ratio = d.set.kl_reward_coef = 0;
        d.set.grpo.dual_clip = NAN;
        d.set.grpo.importance_sampling_correction = false;
        d.set.rejection = REJECT_NONE;
        CHECK(report_make(&r, &d, &(Policies){NULL, NULL, NULL}, NULL, true, &e));
        const bool right = report_outcome(&r) == OUTCOME_RIGHT;
        CHECK(!right);
        if (right) printf("    %s is right without its settings\n", file);
        tried++;
        report_free(&r);
        dump_close(&d);
    }
    CHECK(tried > 80);
    json_free(manifest);
}

/* ---- reading: liars ------------------------------------------------------------------------- */
static const char *const path =
    sizeof(real) == 4 ? "build/test_verify_f32.safetensors" : "build/test_verify_f64.safetensors";

enum { ROWS = 4, COLUMNS = 5, LABELS = 2 };
typedef struct { TensorOut t[24]; int n; const char *config; } Made;

static TensorOut *add(Made *m, const char *name, const void *data, const char *dtype, int n_dim, size_t a,
                      size_t b) {
    TensorOut *t = &m->t[m->n++];
    *t = (TensorOut){.name = name, .store = sizeof(real) == 4 ? STORE_F32 : STORE_F64, .n_dim = n_dim,
                     .shape = {a, b}, .data = data, .from = STORE_REAL, .dtype = dtype};
    return t;
}

static TensorOut *tensor(Made *m, const char *name) {
    for (int i = 0; i < m->n; i++) if (!strcmp(m->t[i].name, name)) return &m->t[i];
    return NULL;
}

/* A batch of every kind of tensor, for tests that spoil one thing. */
typedef struct {
    int32_t id[ROWS * COLUMNS], prompt[ROWS * 2];
    unsigned char mask[ROWS * COLUMNS], prompt_mask[ROWS * 2];
    real score[ROWS * LABELS], reward[ROWS], adv[ROWS], logp[ROWS * COLUMNS], old[ROWS * COLUMNS],
        ref[ROWS * COLUMNS], one[1];
} Batch_;

static Made whole_dump(Batch_ *b) {
    Made m = {.config = "{\"num_generations\": 2, \"beta\": 0.1, \"loss_type\": \"grpo\", \"eos_token_id\": "
                        "2, \"pad_token_id\": 0, \"reward_weights\": [1, 0.5]}"};
    for (int i = 0; i < ROWS; i++) {
        for (int t = 0; t < COLUMNS; t++) {
            const int n = 2 + i, j = i * COLUMNS + t;
            b->id[j] = t < n - 1 ? 3 + t : t == n - 1 ? 2 : 0;
            b->mask[j] = t < n;
            b->logp[j] = (real)(-1 - 0.1 * t - 0.05 * i);
            b->old[j] = (real)(b->logp[j] - 0.3 * (t - 1.5));
            b->ref[j] = (real)(b->logp[j] + 0.1 * i - 0.2);
        }
        for (int t = 0; t < 2; t++) b->prompt[i * 2 + t] = 5 + i / 2, b->prompt_mask[i * 2 + t] = t > 0;
        for (int k = 0; k < LABELS; k++) b->score[i * LABELS + k] = (real)(0.1 * i * i + 0.3 * k);
        b->reward[i] = (real)(0.1 * i * i + 0.5 * (0.1 * i * i + 0.3));
        b->adv[i] = (real)(i % 2 ? 0.7 : -0.7);
    }
    b->one[0] = 0;
    add(&m, "completion_ids", b->id, "I32", 2, ROWS, COLUMNS);
    add(&m, "completion_mask", b->mask, "U8", 2, ROWS, COLUMNS);
    add(&m, "prompt_ids", b->prompt, "I32", 2, ROWS, 2);
    add(&m, "prompt_mask", b->prompt_mask, "BOOL", 2, ROWS, 2);
    add(&m, "rewards_per_func", b->score, NULL, 2, ROWS, LABELS);
    add(&m, "rewards", b->reward, NULL, 1, ROWS, 0);
    add(&m, "advantages", b->adv, NULL, 1, ROWS, 0);
    add(&m, "per_token_logps", b->logp, NULL, 2, ROWS, COLUMNS);
    add(&m, "old_per_token_logps", b->old, NULL, 2, ROWS, COLUMNS);
    add(&m, "ref_per_token_logps", b->ref, NULL, 2, ROWS, COLUMNS);
    return m;
}

static bool put(const Made *m, Err *e) {
    const char *const metadata[] = {"format", "grpo-dump-1", "config", m->config, NULL};
    return safetensors_write(path, m->t, m->n, metadata, e);
}

/* Writes it, opens it, and wants an error line with `part`. */
static void lies(const Made *m, const char *part) {
    Err e = {{0}};
    Dump d;
    const bool written = put(m, &e), open = written && dump_open(&d, path, NULL, &e);
    CHECK(written);
    CHECK_ERROR(!open, e, part);
    if (open) dump_close(&d);
}

#define LIE(change, part) do { Made m = whole_dump(&b); change; lies(&m, part); } while (0)

static void test_liars(void) {
    static Batch_ b;
    Err e = {{0}};
    Dump d;
    Made whole = whole_dump(&b);
    CHECK(put(&whole, &e) && dump_open(&d, path, NULL, &e));
    CHECK(d.n == ROWS && d.width == COLUMNS && d.n_label == LABELS && d.prompt_width == 2 &&
          d.weight[1] == 0.5 && d.set.grpo.beta == 0.1 && d.set.stop[0] == 2);
    dump_close(&d);
    LIE(tensor(&m, "completion_mask")->shape[1] = COLUMNS - 1,
        "completion_mask: found shape [4,4], expected [4,5] as of completion_ids");
    LIE(tensor(&m, "rewards")->shape[0] = ROWS - 1,
        "rewards: found shape [3], expected 4 rows as in completion_ids");
    LIE(tensor(&m, "per_token_logps")->shape[1] = 3, "per_token_logps: found shape [4,3]");
    LIE((tensor(&m, "rewards_per_func")->n_dim = 1, tensor(&m, "rewards_per_func")->shape[0] = 4),
        "rewards_per_func: found shape [4], expected [B,K]");
    LIE(tensor(&m, "completion_ids")->dtype = NULL, "completion_ids: found dtype");
    LIE(tensor(&m, "advantages")->dtype = "I32",
        "advantages: found dtype I32, expected F64, F32, BF16 or F16");
    LIE(b.mask[3] = 7, "completion_mask: found 7 at [0,3], expected 0 or 1");
    LIE(b.mask[4] = 1, "completion_mask: row 0: found 2 stretches of ones");
    LIE(b.score[3] = INFINITY, "rewards_per_func: found an infinite score at [1,1]");
    LIE(m.config = "{\"num_generations\": 3}",
        "num_generations: found 3, expected a divisor of the 4 completions");
    Made alone = whole_dump(&b);                        /* neither prompts nor advantages tell the group */
    alone.config = "{}";
    tensor(&alone, "prompt_ids")->name = "other_ids", tensor(&alone, "prompt_mask")->name = "other_mask";
    b.adv[0] = 5;
    CHECK(put(&alone, &e) && dump_open(&d, path, NULL, &e));
    Report r;
    CHECK_ERROR(!report_make(&r, &d, &(Policies){NULL, NULL, NULL}, NULL, true, &e), e,
                "num_generations: found nothing, and neither advantages nor prompts tell");
    report_free(&r);
    dump_close(&d);
    static int32_t of[ROWS] = {7, 7, 7, 9};
    LIE((add(&m, "group_ids", of, "I32", 1, ROWS, 0)),
        "group_ids: found 3 completions with 7, expected 2, for that is num_generations");
    LIE((add(&m, "group_ids", of, "I32", 2, ROWS, 1)), "group_ids: found shape [4,1], expected [B]");
    LIE((add(&m, "group_ids", b.reward, NULL, 1, ROWS, 0)), "group_ids: found dtype");
    LIE((tensor(&m, "advantages")->n_dim = 2, tensor(&m, "advantages")->shape[1] = COLUMNS,
         tensor(&m, "advantages")->data = b.logp),
        "advantages: row 0: found -1 and -1.1, expected one advantage for the whole reply");
    LIE((add(&m, "row_weights", b.reward, NULL, 1, 3, 0)), "row_weights: found shape [3], expected [B]");
    LIE(m.config = "{\"num_generations\": 2, \"kl_clamp\": 0}", "kl_clamp: found 0, expected a number > 0");
    LIE(m.config = "{\"num_generations\": 2, \"baseline\": \"leave_two_out\"}",
        "found \"leave_two_out\", expected one of group, leave_one_out");
    LIE(m.config = "{\"num_generations\": 2, \"rejection_min\": 2, \"rejection_max\": 1}",
        "rejection_min: found 2, expected at most rejection_max");
    LIE(m.config = "{\"num_generations\": 2, \"kl_cov_ratio\": 2}", "kl_cov_ratio");
    LIE(m.config = "{\"num_generations\": \"two\"}",
        "num_generations: found string \"two\", expected a whole number");
    LIE(m.config = "{\"loss_type\": \"grop\"}", "found \"grop\", expected one of grpo");
    LIE(m.config = "{\"epsilon\": -1}", "epsilon: found -1");
    LIE(m.config = "{\"temperature\": 0}", "temperature: found 0, expected more than 0");
    LIE(m.config = "{\"num_generations\": 2, \"reward_weights\": [1]}",
        "reward_weights: expected a list of 2 numbers");
    LIE(m.config = "{\"eos_token_id\": [1.5]}", "eos_token_id: found array, expected a token id");
    LIE(m.config = "{\"gradient_accumulation_steps\": 0}", "expected at least 1");
    LIE(m.config = "[]", "found array, expected an object of options");
    LIE(m.config = "{\"beta\": 0.1", "metadata config");
    LIE((add(&m, "input_ids", b.id, "I32", 2, ROWS, COLUMNS)), "found both input_ids and completion_ids");
    LIE((add(&m, "attention_mask", b.mask, "U8", 2, ROWS, COLUMNS)),
        "attention_mask: found beside completion_ids");
    LIE((add(&m, "loss", b.logp, NULL, 1, 2, 0)), "loss: found shape [2], expected []");
    LIE((add(&m, "ratio", b.logp, NULL, 2, ROWS, 2)), "ratio: found shape [4,2]");
    LIE((m.n = 1, m.t[0].name = "strange"), "found no tensor that verify knows");
    LIE((m.n = 4, m.t[0].name = "input_ids", m.t[2] = m.t[0], m.t[2].name = "attention_mask",
         m.t[2].data = b.mask, m.t[2].dtype = "U8", m.t[1] = m.t[2], m.t[1].name = "other", m.n = 3),
        "found input_ids without completion_mask");
    /* a settings key with a slip of the pen is told, not taken for a default in silence */
    Made slip = whole_dump(&b);
    slip.config = "{\"num_generations\": 2, \"epsilom\": 0.3}";
    CHECK(put(&slip, &e) && dump_open(&d, path, NULL, &e));
    CHECK_STRING(d.unused_keys, "epsilom");
    dump_close(&d);
    CHECK_ERROR(!dump_open(&d, path, "ver", &e), e, "profile: found \"ver\", expected one of trl 0.15.0");
}

/* Mutated dumps: whatever the bytes are, an error line or a report, never a crash. Run by hand under
 * -fsanitize=address,undefined too. */
static void test_mutations(void) {
    static Batch_ b;
    Err e = {{0}};
    Made m = whole_dump(&b);
    size_t n;
    CHECK(put(&m, &e));
    unsigned char *bytes = (unsigned char *)file_read(path, &n, &e), *copy = malloc(n);
    int opened = 0;
    for (int k = 0; bytes && copy && k < 600; k++) {
        memcpy(copy, bytes, n);
        const size_t header = bytes[0] + 256u * bytes[1];
        for (int i = 0; i < 1 + k % 3; i++) {
            const size_t at =
                (size_t)((tiny_number((uint64_t)k, (uint64_t)i) + 1) / 2 * (double)(k % 2 ? n : 8 + header)) %
                n;
            copy[at] =
                (unsigned char)(k % 5 == 0 ? "0129[]{}\",:-e"[at % 13]
                                           : (int)(128 * (tiny_number((uint64_t)at, (uint64_t)k) + 1)));
        }
        Err none = {{0}};
        Dump d;
        Report r;
        if (!file_write(path, copy, k % 7 == 6 ? n - (size_t)k % n : n, &none)) continue;
        if (!dump_open(&d, path, NULL, &none)) { CHECK(none.line[0]); continue; }
        opened++;
        if (!report_make(&r, &d, &(Policies){NULL, NULL, NULL}, NULL, true, &none)) CHECK(none.line[0]);
        else for (int s = 0; s < N_STAGE; s++) {
            char text[1400];
            report_verdict(text, sizeof text, &r, (Stage)s);
        }
        report_free(&r);
        dump_close(&d);
    }
    CHECK(opened > 50);
    free(bytes);
    free(copy);
}

/* ---- padding is never read, and stands on either side --------------------------------------- */
static void verdict_of(char out[1400], const Made *m, Stage s) {
    Err e = {{0}};
    Dump d;
    Report r;
    *out = 0;
    const bool ok = put(m, &e) && dump_open(&d, path, NULL, &e);
    CHECK(ok);
    if (!ok) { printf("%s\n", e.line); return; }
    if (report_make(&r, &d, &(Policies){NULL, NULL, NULL}, NULL, false, &e)) report_verdict(out, 1400, &r, s);
    CHECK(!e.line[0]);
    report_free(&r);
    dump_close(&d);
}

static void test_padding(void) {
    static Batch_ b;
    static real ratio[ROWS * COLUMNS], moved[3][ROWS * COLUMNS];
    static int32_t id[ROWS * COLUMNS];
    static unsigned char mask[ROWS * COLUMNS];
    char text[1400];
    Made m = whole_dump(&b);
    for (int j = 0; j < ROWS * COLUMNS; j++) {
        if (!b.mask[j]) b.logp[j] = (real)NAN, b.old[j] = 7, b.ref[j] = (real)INFINITY;
        ratio[j] = b.mask[j] ? r_exp(b.logp[j] - b.old[j]) : -5;
    }
    add(&m, "ratio", ratio, NULL, 2, ROWS, COLUMNS);
    verdict_of(text, &m, STAGE_RATIO);
    CHECK_STRING(text, "right");
    verdict_of(text, &m, STAGE_MASK);
    CHECK_STRING(text, "right");
    for (int i = 0; i < ROWS; i++)                      /* the same with the padding in front */
        for (int t = 0; t < COLUMNS; t++) {
            const int n = 2 + i > COLUMNS ? COLUMNS : 2 + i, to = i * COLUMNS + (t + COLUMNS - n) % COLUMNS,
                      from = i * COLUMNS + t;
            moved[0][to] = b.logp[from], moved[1][to] = b.old[from], moved[2][to] = ratio[from],
            id[to] = b.id[from], mask[to] = b.mask[from];
        }
    tensor(&m, "per_token_logps")->data = moved[0], tensor(&m, "old_per_token_logps")->data = moved[1],
               tensor(&m, "ratio")->data = moved[2];
    tensor(&m, "completion_ids")->data = id, tensor(&m, "completion_mask")->data = mask;
    verdict_of(text, &m, STAGE_RATIO);
    CHECK_STRING(text, "right");
    verdict_of(text, &m, STAGE_MASK);
    CHECK_STRING(text, "right");
    moved[2][COLUMNS - 1] *= (real)1.01;                /* a real token now: it must be looked at */
    verdict_of(text, &m, STAGE_RATIO);
    CHECK_STRING(text, "wrong, cause unknown");
}

/* ---- what no mistake explains, and what the other type hides -------------------------------- */
static void test_unknown_cause(void) {
    static Batch_ b;
    char text[1400];
    Made m = whole_dump(&b);
    /* +-0.7 of two rewards: 0.7070 with 1e-4 beside the deviation is what is right */
    verdict_of(text, &m, STAGE_ADVANTAGES);
    CHECK_STRING(text, "wrong, cause unknown");
    verdict_of(text, &m, STAGE_REWARDS);
    CHECK_STRING(text, "right");
    b.reward[2] = (real)NAN;
    verdict_of(text, &m, STAGE_REWARDS);
    CHECK_STRING(text, "wrong, cause unknown");
}

/* ---- honest programs that were once called wrong --------------------------------------------- */
static void is_right(const Made *m, Stage s) {
    char text[1400];
    verdict_of(text, m, s);
    CHECK_STRING(text, "right");
}

static void is_not_right(const Made *m, Stage s) {
    char text[1400];
    verdict_of(text, m, s);
    CHECK(strcmp(text, "right") != 0);
}

/* On policy the mean over sequences with beta 0 is the mean advantage, 0 but for rounding: of 40 such dumps
 * 39 were called wrong, for the tolerance was a share of that 0. */
static void test_loss_of_zero(void) {
    static Batch_ b;
    static float loss[1];
    Made m = whole_dump(&b);
    m.config = "{\"num_generations\": 2, \"loss_type\": \"grpo\", \"eos_token_id\": 2}";
    memcpy(b.old, b.logp, sizeof b.old);
    TensorOut *t = add(&m, "loss", loss, NULL, 1, 1, 0);
    t->store = t->from = STORE_F32;
    t->n_dim = 0;
    loss[0] = 5.6e-8f;
    is_right(&m, STAGE_LOSS);
    loss[0] = 5.6e-5f;
    is_not_right(&m, STAGE_LOSS);
}

/* NeMo-RL's variance of the others is their mean square less the square of their mean, in float: of rewards
 * that lie close together it keeps few digits, and ten of sixteen of its own batches were called wrong. */
static void test_variance_by_difference(void) {
    static float reward[4] = {0.90f, 0.91f, 0.93f, 0.3f}, adv[4];
    Made m = {.config = "{\"num_generations\": 4, \"baseline\": \"leave_one_out\", \"scale_rewards\": "
                        "\"leave_one_out\", \"zero_std\": \"keep\", \"std_eps\": 1e-6}"};
    for (int i = 0; i < 4; i++) {
        volatile float sum = 0, square = 0;
        for (int j = 0; j < 4; j++) {
            if (j == i) continue;
            const volatile float own = reward[j] * reward[j];
            sum += reward[j];
            square += own;
        }
        const volatile float mean = sum / 3, mean_square = square / 3, square_mean = mean * mean;
        const volatile float variance = (mean_square - square_mean) * 1.5f;
        adv[i] = (reward[i] - mean) / (sqrtf(variance) + 1e-6f);
    }
    add(&m, "rewards", reward, NULL, 1, 4, 0);
    add(&m, "advantages", adv, NULL, 1, 4, 0);
    for (int i = 0; i < 2; i++) m.t[i].store = m.t[i].from = STORE_F32;
    is_right(&m, STAGE_ADVANTAGES);
    adv[0] *= 1.001f;                   /* but of a reply whose others are apart, it keeps all */
    is_not_right(&m, STAGE_ADVANTAGES);
}

/* The size of a group is found where nobody says it: by the advantages, or by the prompts where they tell
 * nothing, as those that are all 0. */
static void test_group_found(void) {
    static Batch_ b;
    Err e = {{0}};
    Dump d;
    Report r;
    const struct { size_t found; real adv[ROWS]; } cases[] = {
        {2, {(real)-0.70661, (real)0.70661, (real)-0.70690, (real)0.70690}},
        {4, {(real)-0.86588, (real)-0.61848, (real)0.12370, (real)1.36067}},
        {2, {0}}};
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        Made m = whole_dump(&b);
        m.config = "{}";
        for (int i = 0; i < ROWS; i++) b.reward[i] = (real)(0.15 * i * i), b.adv[i] = cases[k].adv[i];
        tensor(&m, "rewards_per_func")->name = "other_scores";
        CHECK(put(&m, &e) && dump_open(&d, path, NULL, &e));
        CHECK(report_make(&r, &d, &(Policies){NULL, NULL, NULL}, NULL, true, &e));
        CHECK_INT((int)r.right.group_found, (int)cases[k].found);
        report_free(&r);
        dump_close(&d);
    }
}

/* 0 times NaN: an index of -1 in the padding became NaN there, and the loss with it. */
static void test_nan_in_padding(void) {
    static Batch_ b;
    static real loss[1];
    char text[1400];
    Made m = whole_dump(&b);
    m.config = "{\"num_generations\": 2, \"loss_type\": \"grpo\", \"eos_token_id\": 2}";
    TensorOut *t = add(&m, "loss", loss, NULL, 1, 1, 0);
    t->n_dim = 0;
    loss[0] = (real)NAN;
    verdict_of(text, &m, STAGE_LOSS);
    CHECK(!strstr(text, "padding"));
    b.logp[COLUMNS - 1] = (real)NAN;
    verdict_of(text, &m, STAGE_LOSS);
    CHECK(strstr(text, "per_token_logps has a NaN or an infinity in padding (completion 0, column 4)"));
}

/* A tool's answer is part of the completion and not of the loss, after a stop token too. Padding is not. */
static void test_tool_mask(void) {
    static Batch_ b;
    static unsigned char loss_mask[ROWS * COLUMNS];
    Made m = whole_dump(&b);
    memcpy(loss_mask, b.mask, sizeof b.mask);
    loss_mask[2 * COLUMNS + 1] = loss_mask[3 * COLUMNS + 2] = 0;
    b.id[3 * COLUMNS + 1] = 2;                          /* the first turn ends, the tool answers */
    add(&m, "loss_mask", loss_mask, "U8", 2, ROWS, COLUMNS);
    is_right(&m, STAGE_MASK);
    is_right(&m, STAGE_LOSS_MASK);
    loss_mask[3] = 1;
    is_not_right(&m, STAGE_LOSS_MASK);
}

/* Log-probabilities of the sampler may be there for information: the loss is corrected where somebody says
 * so. */
static void test_sampler_for_information(void) {
    static Batch_ b;
    static real sampler[ROWS * COLUMNS], loss[ROWS * COLUMNS];
    Made m = whole_dump(&b);
    for (int j = 0; j < ROWS * COLUMNS; j++) {
        sampler[j] = (real)(b.old[j] - 0.02 * (j % 7));
        loss[j] = (real)grpo_clipped(&(double){0}, d_exp((double)b.logp[j] - b.old[j]), b.adv[j / COLUMNS],
                                     0.2, 0.2);
    }
    add(&m, "sampling_per_token_logps", sampler, NULL, 2, ROWS, COLUMNS);
    add(&m, "per_token_loss", loss, NULL, 2, ROWS, COLUMNS);
    m.config = "{\"num_generations\": 2}";
    is_right(&m, STAGE_TOKEN_LOSS);
    m.config = "{\"num_generations\": 2, \"vllm_importance_sampling_correction\": true}";
    is_not_right(&m, STAGE_TOKEN_LOSS);
    m.config = "{\"num_generations\": 2, \"vllm_importance_sampling_mode\": \"token_mask\"}";
    is_not_right(&m, STAGE_TOKEN_LOSS);
}

/* ---- a setting fitted, a constant factor ---- */
/* The golden dump `file` with `with` in place of the text `from` of its config, and its loss and gradient by
 * log-probability times `factor`. */
static bool redeclared(const char *file, const char *from, const char *with, double factor, Err *e) {
    static TensorOut t[60];
    static char config[2000];
    static float scaled[2][400];
    char name[600];
    Dump d;
    int n = 0, changed = 0;
    snprintf(name, sizeof name, "%.90s/%.300s.safetensors", golden, file);
    if (!dump_open(&d, name, NULL, e)) return false;
    const char *text = safetensors_metadata(d.file, "config"), *at = strstr(text, from);
    CHECK(at != NULL);
    if (!at) at = text, from = with = "";
    snprintf(config, sizeof config, "%.*s%s%s", (int)(at - text), text, with, at + strlen(from));
    for (int i = 0; i < safetensors_count(d.file); i++) {
        const Tensor *x = safetensors_at(d.file, i);
        const bool whole = x->store == STORE_REAL,
                   scales = !strcmp(x->name, "loss") || !strcmp(x->name, "grad_per_token_logps");
        t[n] = (TensorOut){.name = x->name, .store = whole ? STORE_F32 : x->store, .n_dim = x->n_dim,
                           .data = x->data, .from = whole ? STORE_F32 : x->store,
                           .dtype = whole ? x->dtype : NULL};
        memcpy(t[n].shape, x->shape, sizeof t[n].shape);
        for (size_t j = 0; scales && changed < 2 && x->count <= 400 && j < x->count; j++)
            scaled[changed][j] = (float)(factor * ((const float *)x->data)[j]);
        if (scales) t[n].data = scaled[changed++];
        n++;
    }
    const char *const metadata[] = {"format", "grpo-dump-1", "config", config, NULL};
    const bool ok = safetensors_write(path, t, n, metadata, e);
    dump_close(&d);
    return ok;
}

static void names_of_stage(char out[1200], const char *file, const char *from, const char *with,
                           double factor, Stage s, Verdict *verdict) {
    Err e = {{0}};
    Dump d;
    Report r;
    snprintf(out, 1200, "not read");
    if (!redeclared(file, from, with, factor, &e) || !dump_open(&d, path, NULL, &e)) {
        printf("%s\n", e.line);
        return;
    }
    if (report_make(&r, &d, &(Policies){NULL, NULL, NULL}, NULL, false, &e)) {
        StageReport *x = &r.stage[s];
        if (x->n_name < MAX_NAMES) x->name[x->n_name][0] = 0;
        joined(out, 1200, x->name, NULL);
        *verdict = x->verdict;
    }
    report_free(&r);
    dump_close(&d);
}

static void test_numbers(void) {
    static const struct {
        const char *file, *from, *with;
        double factor;
        Stage s;
        const char *names;
        Verdict verdict;
    } cases[] = {
        {"right-grpo-token", "\"beta\": 0.04", "\"beta\": 0.07", 1, STAGE_TOKEN_LOSS, "beta=0.04",
         VERDICT_WRONG},
        {"right-grpo-token", "\"beta\": 0.04", "\"beta\": 0.07", 1, STAGE_DLOGP, "beta=0.04", VERDICT_WRONG},
        /* a whole configuration of TRL's, with a bound that this loss does not have: that was refused once */
        {"right-sapo-token", "\"beta\"", "\"delta\": 1.5, \"beta\"", 1, STAGE_TOKEN_LOSS, "",
         VERDICT_RIGHT},
        {"right-grpo-token", "\"beta\"", "\"epsilon\": 0.13, \"beta\"", 1, STAGE_TOKEN_LOSS,
         "epsilon=0.2", VERDICT_WRONG},
        /* the quantile is a token's own entropy: rounding leaves the token out, which was called wrong */
        {"right-entropy", "\"top_entropy_quantile\": 0.4", "\"top_entropy_quantile\": 0.413043479", 1,
         STAGE_TOKEN_LOSS, "", VERDICT_RIGHT},
        {"right-entropy", "\"top_entropy_quantile\": 0.4", "\"top_entropy_quantile\": 0.413043479", 1,
         STAGE_LOSS, "", VERDICT_RIGHT},
        {"right-delta", "\"delta\": 1.5", "\"delta\": 1.7", 1, STAGE_TOKEN_LOSS,
         "delta=1.5, dual_clip=1.5", VERDICT_WRONG},
        {"right-scale-group", "\"num_generations\": 3", "\"num_generations\": 6", 1, STAGE_ADVANTAGES,
         "num_generations=3", VERDICT_WRONG},
        {"right-dr_grpo-token", "\"max_completion_length\": 8", "\"max_completion_length\": 100", 1,
         STAGE_LOSS, "max_completion_length=8", VERDICT_WRONG},
        /* a value that the config does not speak of is another program's default, no error */
        {"right-entropy", "\"entropy_coef\": 0.05, ", "", 1, STAGE_LOSS, "entropy_coef=0.05",
         VERDICT_DIFFERS},
        {"right-grpo-token", "\"gradient_accumulation_steps\": 2",
         "\"gradient_accumulation_steps\": 8", 1, STAGE_LOSS, "gradient_accumulation_steps=2", VERDICT_WRONG},
        /* 12 completions, 50 tokens, 6 columns */
        {"right-grpo-token", "", "", 12, STAGE_LOSS, "factor completions", VERDICT_WRONG},
        {"right-grpo-token", "", "", 12, STAGE_DLOGP, "factor completions", VERDICT_WRONG},
        {"right-bnpo-token", "", "", 1 / 47.0, STAGE_DLOGP, "factor 1/tokens", VERDICT_WRONG},
        {"right-grpo-token", "", "", -1, STAGE_DLOGP, "factor -1", VERDICT_WRONG},
        {"right-grpo-token", "", "", 0, STAGE_DLOGP, "all-zero", VERDICT_WRONG},
        {"right-grpo-token", "", "", 2.345, STAGE_DLOGP, "factor unknown", VERDICT_WRONG},
        {"right-grpo-token", "", "", 2.345, STAGE_LOSS, "", VERDICT_UNKNOWN},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char found[1200];
        Verdict verdict = VERDICT_RIGHT;
        if (sizeof(real) == 4 && !strcmp(cases[i].file, "right-scale-group")) continue;        /* it is F64 */
        names_of_stage(found, cases[i].file, cases[i].from, cases[i].with, cases[i].factor, cases[i].s,
                       &verdict);
        CHECK_STRING(found, cases[i].names);
        CHECK_INT(verdict, cases[i].verdict);
        if (strcmp(found, cases[i].names)) printf("    %s: %s\n", cases[i].file, cases[i].names);
    }
}

/* Every row of the catalogue can be found by its name, belongs to a stage, and says what it does. */
static void test_catalogue(void) {
    for (int i = 0; i < n_mistake; i++) {
        CHECK(mistakes[i].name[0] && mistakes[i].line[0] && mistakes[i].equation[0] == 'E' &&
              mistakes[i].stages && mistakes[i].stages < 1u << N_STAGE && strlen(mistakes[i].name) < 31);
        CHECK(known_name(mistakes[i].name) && known_name(mistakes[i].name)->formula[0]);
        for (int k = 0; k < i; k++) CHECK(strcmp(mistakes[i].name, mistakes[k].name));
    }
}

/* ---- liars beside a model: what the array stages never look at ------------------------------ */
/* The dump of sharp.c's model case with one thing changed: the tensor `name` as `with`; NULL: left out. */
static bool respoiled(const char *dir, const char *name, const TensorOut *with, Dump *d, Report *r,
                      const Policies *model, const FolderInfo *info, Err *e) {
    static TensorOut t[200];
    char file[300];
    Dump from;
    int n = 0;
    snprintf(file, sizeof file, "%s/model.safetensors", dir);
    if (!dump_open(&from, file, NULL, e)) return false;
    for (int i = 0; i < safetensors_count(from.file); i++) {
        const Tensor *x = safetensors_at(from.file, i);
        const bool whole = x->store == STORE_REAL;
        t[n] = (TensorOut){.name = x->name, .store = whole ? STORE_F32 : x->store, .n_dim = x->n_dim,
                           .data = x->data, .from = whole ? STORE_F32 : x->store,
                           .dtype = whole ? x->dtype : NULL};
        memcpy(t[n].shape, x->shape, sizeof t[n].shape);
        if (strcmp(x->name, name)) n++;
        else if (with) t[n++] = *with;
    }
    const char *const metadata[] = {"format", "grpo-dump-1", "config",
                                    safetensors_metadata(from.file, "config"), NULL};
    bool ok = safetensors_write(path, t, n, metadata, e);
    dump_close(&from);
    *r = (Report){0};
    ok = ok && dump_open(d, path, NULL, e);
    if (!ok) return false;
    ok = dump_model(d, &model->policy->config, info, dir, e) && report_make(r, d, model, NULL, true, e);
    report_free(r);
    dump_close(d);
    return ok;
}

#define LIE_WITH(tensor, with, part) \
    CHECK_ERROR(!respoiled(dir, tensor, with, &d, &r, model, info, &e), e, part)

static void test_liars_with_a_model(const char *dir, const Policies *model, const FolderInfo *info) {
    Err e = {{0}};
    Dump d;
    Report r;
    static int32_t id[12 * 6], prompt[12 * 3];
    static unsigned char none[12 * 3];
    static float numbers[12 * 6 * 40];
    for (int j = 0; j < 12 * 6; j++) id[j] = 39 + (j == 8);
    for (int j = 0; j < 12 * 3; j++) prompt[j] = j == 4 ? -7 : 5;
    CHECK(respoiled(dir, "nothing", NULL, &d, &r, model, info, &e));
    if (e.line[0]) printf("%s\n", e.line);
    LIE_WITH("completion_ids",
             (&(TensorOut){.name = "completion_ids", .dtype = "I32", .n_dim = 2, .shape = {12, 6},
                           .data = id}),
             "column 2: found token id 40, expected 0 to 39 as the model has");
    LIE_WITH("prompt_ids",
             (&(TensorOut){.name = "prompt_ids", .dtype = "I32", .n_dim = 2, .shape = {12, 3},
                           .data = prompt}),
             "prompt_ids: row 1, column 1: found token id -1, expected 0 to 39");
    LIE_WITH("prompt_mask",
             (&(TensorOut){.name = "prompt_mask", .dtype = "U8", .n_dim = 2, .shape = {12, 3}, .data = none}),
             "completion 0: found no prompt token");
    LIE_WITH("logits",
             (&(TensorOut){.name = "logits", .store = STORE_F32, .n_dim = 3, .shape = {12, 6, 39},
                           .data = numbers, .from = STORE_F32}),
             "logits: found a vocabulary of 39, expected 40");
    LIE_WITH("grad.model.norm.weight",
             (&(TensorOut){.name = "grad.model.norm.weight", .store = STORE_F32, .n_dim = 1, .shape = {15},
                           .data = numbers, .from = STORE_F32}),
             "grad.model.norm.weight: found 15 numbers");
    LIE_WITH("param.model.norm.weight",
             (&(TensorOut){.name = "param.model.morn.weight", .store = STORE_F32, .n_dim = 1, .shape = {16},
                           .data = numbers, .from = STORE_F32}),
             "found the parameter model.morn.weight, which the model does not have");
    LIE_WITH("exp_avg.model.norm.weight",
             (&(TensorOut){.name = "exp_avg.model.norm.weight", .store = STORE_F32, .n_dim = 1, .shape = {3},
                           .data = numbers, .from = STORE_F32}),
             "exp_avg.model.norm.weight: found 3 numbers");
}

/* ---- cases of our own: each is right, and together they show every row of the catalogue ----- */
static void test_sharp(void) {
    static const char *const dir = "build/test_verify_sharp";
    static bool shown[256];
    Err e = {{0}};
    char text[600];
    folder_remove(dir, &e);
    e.line[0] = 0;
    const bool written = write_sharp(dir, &e);
    CHECK(written);
    if (!written) { printf("%s\n", e.line); return; }
    Policies model = {NULL, NULL, NULL};
    FolderInfo info;
    const Model **const slot[] = {&model.policy, &model.old, &model.reference};
    static const char *const name[] = {"policy", "old", "reference"};
    for (int i = 0; i < 3; i++) {
        snprintf(text, sizeof text, "%s/%s", dir, name[i]);
        CHECK((*slot[i] = folder_load(text, &info, &e)) != NULL);
    }
    snprintf(text, sizeof text, "%s/sharp.json", dir);
    Json *list = json_read_file(text, &e);
    CHECK(list != NULL);
    for (size_t k = 0; list && k < list->length; k++) {
        const bool needs_model = json_get(&list->item[k], "model")->type == JSON_STRING;
        Dump d;
        Report r;
        snprintf(text, sizeof text, "%s/%s", dir, list->item[k].key);
        bool ok = dump_open(&d, text, NULL, &e);
        CHECK(ok);
        if (!ok) { printf("%s\n", e.line); break; }
        if (needs_model) ok = dump_model(&d, &model.policy->config, &info, dir, &e);
        ok = ok && report_make(&r, &d, needs_model ? &model : &(Policies){NULL, NULL, NULL}, NULL, false, &e);
        CHECK(ok);
        if (!ok) printf("%s\n", e.line);
        for (int s = 0; ok && s < N_STAGE; s++) {
            char verdict[1400];
            if (!r.stage[s].judged) continue;
            report_verdict(verdict, sizeof verdict, &r, (Stage)s);
            CHECK_STRING(verdict, "right");
            if (strcmp(verdict, "right")) printf("    %s: %s\n", text, stage_info[s].name);
        }
        for (int i = 0; ok && i < n_mistake; i++) shown[i] = shown[i] || r.visible[i] == SHOWS;
        if (ok) report_free(&r);
        dump_close(&d);
    }
    for (int i = 0; list && i < n_mistake; i++) {
        CHECK(shown[i]);
        if (!shown[i]) printf("    %s shows in none of %s\n", mistakes[i].name, dir);
    }
    json_free(list);
    test_liars_with_a_model(dir, &model, &info);
    for (int i = 0; i < 3; i++) model_free((Model *)*slot[i]);
}

int main(int argc, char **argv) {
    if (argc > 1) golden = argv[1];
    test_catalogue();
    test_numbers();
    test_disputes();
    test_liars();
    test_mutations();
    test_padding();
    test_unknown_cause();
    test_loss_of_zero();
    test_variance_by_difference();
    test_group_found();
    test_nan_in_padding();
    test_tool_mask();
    test_sampler_for_information();
    if (sizeof(real) == 8) {                            /* judging is the double build's */
        test_sharp();
        test_golden_dumps();
        test_settings_matter();
    }
    return test_end();
}
