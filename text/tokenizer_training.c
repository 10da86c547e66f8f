/* tokenizer_training.c: training of a byte-level BPE, and its files.
 *
 * In this order: words, pairs, the heap of the most frequent pairs, merging, writing, training. */
#include "tokenizer.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "lib/files.h"
#include "lib/json.h"
#include "lib/unicode.h"
#include "text/chat.h"

static const char *const trained_special[] = {"<pad>", "<user>", "<bot>", "<end>"};
enum { N_SPECIAL = 4, N_FIRST = N_SPECIAL + 256, TRAINED_LONGEST = 500, VOCAB_MOST = 65536 };

/* start: its ids in BpeTrainer.id */
typedef struct { const char *s; size_t n, start; int n_id; long long count; } Word;
/* word: those that (once) held the pair */
typedef struct { int a, b; long long count; int *word, n_word, capacity; } Pair;
/* a pair's count when it was put on the heap */
typedef struct { long long count; int a, b; } Claim;
typedef struct {
    Word *word; size_t n_word, cap_word; int *word_slot; size_t word_mask;
    int *id;
    Pair *pair; size_t n_pair, cap_pair; int *pair_slot; size_t pair_mask;
    Claim *heap; size_t n_heap, cap_heap;
    char **text; int *length; int (*merge)[2];                  /* by id */
    HashKey key;
} BpeTrainer;

/* Room for one more item in an array that grows by doubling. */
static bool grow_array(void **items, size_t n, size_t *capacity, size_t size, Err *e) {
    if (n < *capacity) return true;
    const size_t more = *capacity ? 2 * *capacity : 1024;
    void *p = more <= INT_MAX ? realloc(*items, more * size) : NULL;
    if (!p) return fail(e, "tokenizer: training: %zu items of %zu bytes could not be allocated", more, size);
    *items = p, *capacity = more;
    return true;
}

/* An empty table of slots for n items. */
static bool new_slots(int **slot, size_t *mask, size_t n, Err *e) {
    size_t slots = 1024;
    while (slots < 2 * n) slots *= 2;
    free(*slot);
    *slot = malloc(slots * sizeof **slot), *mask = slots - 1;
    if (!*slot) return fail(e, "tokenizer: training: a table of %zu slots could not be allocated", slots);
    for (size_t i = 0; i < slots; i++) (*slot)[i] = -1;
    return true;
}

static int *word_slot(const BpeTrainer *r, const char *s, size_t n) {
    size_t i = (size_t)hash_bytes(&r->key, s, n) & r->word_mask;
    for (int k; (k = r->word_slot[i]) >= 0 && (r->word[k].n != n || memcmp(r->word[k].s, s, n));)
        i = (i + 1) & r->word_mask;
    return &r->word_slot[i];
}

static bool count_word(BpeTrainer *r, const char *s, size_t n, Err *e) {
    int *slot = word_slot(r, s, n);
    if (*slot >= 0) { r->word[*slot].count++; return true; }
    void *items = r->word;
    const bool ok = grow_array(&items, r->n_word, &r->cap_word, sizeof *r->word, e);
    r->word = items;
    if (!ok) return false;
    r->word[r->n_word] = (Word){.s = s, .n = n, .count = 1};
    *slot = (int)r->n_word++;
    if (2 * r->n_word <= r->word_mask) return true;
    if (!new_slots(&r->word_slot, &r->word_mask, 2 * r->n_word, e)) return false;
    for (size_t i = 0; i < r->n_word; i++) *word_slot(r, r->word[i].s, r->word[i].n) = (int)i;
    return true;
}

/* A special's text is no material for merges: words are what lies between. */
static bool count_text(BpeTrainer *r, const char *s, size_t n, Err *e) {
    for (size_t i = 0, end; i < n; ) {
        size_t skip = 0;
        for (end = i; end < n; end++) {
            if (s[end] != '<') continue;
            for (int k = 0; k < N_SPECIAL && !skip; k++) {
                const size_t m = strlen(trained_special[k]);
                if (m <= n - end && memcmp(s + end, trained_special[k], m) == 0) skip = m;
            }
            if (skip) break;
        }
        for (size_t k; i < end; i += k)
            if (!count_word(r, s + i, k = tokenizer_gpt2_word(s + i, end - i), e)) return false;
        i += skip;
    }
    return true;
}

static int *pair_slot(const BpeTrainer *r, int a, int b) {
    size_t i = (size_t)hash_pair(&r->key, (uint32_t)a, (uint32_t)b) & r->pair_mask;
    for (int k; (k = r->pair_slot[i]) >= 0 && (r->pair[k].a != a || r->pair[k].b != b);)
        i = (i + 1) & r->pair_mask;
    return &r->pair_slot[i];
}

/* Adds `by` to the count of (a, b), which word w holds. */
static bool count_pair(BpeTrainer *r, int a, int b, long long by, int w, Err *e) {
    int *slot = pair_slot(r, a, b);
    if (*slot < 0) {
        void *items = r->pair;
        const bool ok = grow_array(&items, r->n_pair, &r->cap_pair, sizeof *r->pair, e);
        r->pair = items;
        if (!ok) return false;
        r->pair[r->n_pair] = (Pair){.a = a, .b = b};
        *slot = (int)r->n_pair++;
        if (2 * r->n_pair > r->pair_mask) {
            if (!new_slots(&r->pair_slot, &r->pair_mask, 2 * r->n_pair, e)) return false;
            for (size_t i = 0; i < r->n_pair; i++) *pair_slot(r, r->pair[i].a, r->pair[i].b) = (int)i;
            slot = pair_slot(r, a, b);
        }
    }
    Pair *p = &r->pair[*slot];
    p->count += by;
    if (by < 0 || (p->n_word && p->word[p->n_word - 1] == w)) return true;
    if (p->n_word == p->capacity) {
        const int more = p->capacity > INT_MAX / 2 ? INT_MAX : p->capacity ? 2 * p->capacity : 4;
        int *word = more > p->capacity ? realloc(p->word, (size_t)more * sizeof *word) : NULL;
        if (!word) return fail(e, "tokenizer: training: %d words of a pair could not be allocated", more);
        p->word = word, p->capacity = more;
    }
    p->word[p->n_word++] = w;
    return true;
}

/* The most frequent first, of equals the lower pair of ids. */
static bool claim_before(const Claim *x, const Claim *y) {
    return x->count != y->count ? x->count > y->count : x->a != y->a ? x->a < y->a : x->b < y->b;
}

static bool claim_push(BpeTrainer *r, Claim c, Err *e) {
    void *items = r->heap;
    const bool ok = grow_array(&items, r->n_heap, &r->cap_heap, sizeof *r->heap, e);
    r->heap = items;
    if (!ok) return false;
    size_t i = r->n_heap++;
    for (; i > 0 && claim_before(&c, &r->heap[(i - 1) / 2]); i = (i - 1) / 2)
        r->heap[i] = r->heap[(i - 1) / 2];
    r->heap[i] = c;
    return true;
}

static Claim claim_pop(BpeTrainer *r) {
    const Claim top = r->heap[0], last = r->heap[--r->n_heap];
    size_t i = 0;
    for (size_t k; (k = 2 * i + 1) < r->n_heap; i = k) {
        if (k + 1 < r->n_heap && claim_before(&r->heap[k + 1], &r->heap[k])) k++;
        if (!claim_before(&r->heap[k], &last)) break;
        r->heap[i] = r->heap[k];
    }
    r->heap[i] = last;
    return top;
}

static bool count_pairs_of(BpeTrainer *r, int w, long long by, Err *e) {
    const Word *x = &r->word[w];
    const int *id = r->id + x->start;
    for (int k = 0; k + 1 < x->n_id; k++) if (!count_pair(r, id[k], id[k + 1], by, w, e)) return false;
    return true;
}

/* Puts `id` wherever the pair stands, in the words that hold it, and counts their pairs anew. */
static bool merge_everywhere(BpeTrainer *r, Claim c, int id, Err *e) {
    /* a copy: the array may move; its words stay where they are */
    const Pair p = r->pair[*pair_slot(r, c.a, c.b)];
    const size_t old = r->n_pair;
    for (int i = 0; i < p.n_word; i++) {
        Word *x = &r->word[p.word[i]];
        int *at = r->id + x->start, k = 0;
        bool held = false;
        for (int j = 0; j + 1 < x->n_id && !held; j++) held = at[j] == c.a && at[j + 1] == c.b;
        if (!held) continue;
        if (!count_pairs_of(r, p.word[i], -x->count, e)) return false;
        for (int j = 0; j < x->n_id; j++)
            if (j + 1 < x->n_id && at[j] == c.a && at[j + 1] == c.b) at[k++] = id, j++;
            else at[k++] = at[j];
        x->n_id = k;
        if (!count_pairs_of(r, p.word[i], x->count, e)) return false;
    }
    /* only pairs with the new id can have grown: they are the new ones */
    for (size_t i = old; i < r->n_pair; i++)
        if (!claim_push(r, (Claim){r->pair[i].count, r->pair[i].a, r->pair[i].b}, e)) return false;
    return true;
}

static void write_letters(char *out, const char *s, int n, const uint32_t letter[256]) {
    for (int i = 0; i < n; i++) out += utf8_put(out, letter[(unsigned char)s[i]]);
    *out = 0;
}

static bool write_text(JsonWriter *w, const char *dir, const char *name, Err *e) {
    char path[1024];
    const bool ok =
        path_join(path, sizeof path, dir, name, e) && json_save(path, w, e);
    free(w->text);
    *w = (JsonWriter){.indent = 1};
    return ok;
}

static bool write_trained(const BpeTrainer *r, const char *dir, int vocab, Err *e) {
    static const char byte_level[] =
        "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": true}";
    static const char *const no[] = {"single_word", "lstrip", "rstrip", "normalized"};
    JsonWriter w = {.indent = 1};
    char a[2 * TRAINED_LONGEST + 1], b[2 * TRAINED_LONGEST + 1];
    uint32_t letter[256];
    tokenizer_letters(letter);
    json_begin(&w, '{'), json_put_string(&w, "version", "1.0"), json_put_null(&w, "truncation"),
        json_put_null(&w, "padding");
    json_open(&w, "added_tokens", '[');
    for (int i = 0; i < N_SPECIAL; i++) {
        json_begin(&w, '{'), json_put_int(&w, "id", i), json_put_string(&w, "content", trained_special[i]);
        for (int k = 0; k < 4; k++) json_put_bool(&w, no[k], false);
        json_put_bool(&w, "special", true), json_end(&w, '}');
    }
    json_end(&w, ']'), json_put_null(&w, "normalizer"), json_put_raw(&w, "pre_tokenizer", byte_level);
    json_put_null(&w, "post_processor"), json_put_raw(&w, "decoder", byte_level);
    json_open(&w, "model", '{'), json_put_string(&w, "type", "BPE"), json_open(&w, "vocab", '{');
    for (int i = 0; i < vocab; i++) {
        if (i >= N_SPECIAL) write_letters(a, r->text[i], r->length[i], letter);
        json_put_int(&w, i < N_SPECIAL ? trained_special[i] : a, i);
    }
    json_end(&w, '}'), json_open(&w, "merges", '[');
    for (int i = N_FIRST; i < vocab; i++) {
        write_letters(a, r->text[r->merge[i][0]], r->length[r->merge[i][0]], letter);
        write_letters(b, r->text[r->merge[i][1]], r->length[r->merge[i][1]], letter);
        json_begin(&w, '['), json_string(&w, a), json_string(&w, b), json_end(&w, ']');
    }
    json_end(&w, ']'), json_end(&w, '}'), json_end(&w, '}');
    if (!folder_make(dir, e) || !write_text(&w, dir, "tokenizer.json", e)) return false;
    for (int i = 0; i < 2; i++) {
        json_begin(&w, '{'), json_put_string(&w, "eos_token", trained_special[3]),
            json_put_string(&w, "pad_token", trained_special[0]);
        if (i)
            json_put_string(&w, "tokenizer_class", "PreTrainedTokenizerFast"),
                json_put_string(&w, "chat_template", chat_plain_template);
        json_end(&w, '}');
        if (!write_text(&w, dir, i ? "tokenizer_config.json" : "special_tokens_map.json", e)) return false;
    }
    return true;
}

/* Words are counted once; then each merge touches only the words that hold its pair. Counts are whole numbers
 * and ties are decided by ids, so the order in which words are met leaves no trace. */
static bool train_bpe(BpeTrainer *r, const char *const *text, const size_t *length, int n_text, int vocab,
                      Err *e) {
    const size_t v = (size_t)vocab;
    r->text = calloc(v, sizeof *r->text), r->length = calloc(v, sizeof *r->length),
    r->merge = calloc(v, sizeof *r->merge);
    if (!r->text || !r->length || !r->merge)
        return fail(e, "tokenizer: training: tables for %d entries could not be allocated", vocab);
    if (!new_slots(&r->word_slot, &r->word_mask, 0, e) || !new_slots(&r->pair_slot, &r->pair_mask, 0, e))
        return false;
    for (int i = 0; i < n_text; i++) if (!count_text(r, text[i], length[i], e)) return false;
    size_t total = 0;
    for (size_t i = 0; i < r->n_word; i++) r->word[i].start = total, total += r->word[i].n;
    if (total >= INT_MAX)
        return fail(e, "tokenizer: training: %zu bytes of different words, expected less than %d", total,
                    INT_MAX);
    if (!(r->id = malloc((total + 1) * sizeof *r->id)))
        return fail(e, "tokenizer: training: %zu ids could not be allocated", total);
    for (int i = N_SPECIAL; i < N_FIRST; i++) {
        if (!(r->text[i] = malloc(1))) return fail(e, "tokenizer: training: no memory");
        r->text[i][0] = (char)(i - N_SPECIAL), r->length[i] = 1;
    }
    for (size_t i = 0; i < r->n_word; i++) {
        Word *x = &r->word[i];
        x->n_id = (int)x->n;
        for (size_t k = 0; k < x->n; k++) r->id[x->start + k] = N_SPECIAL + (unsigned char)x->s[k];
        if (!count_pairs_of(r, (int)i, x->count, e)) return false;
    }
    for (size_t i = 0; i < r->n_pair; i++)
        if (!claim_push(r, (Claim){r->pair[i].count, r->pair[i].a, r->pair[i].b}, e)) return false;
    for (int id = N_FIRST; id < vocab; ) {
        if (!r->n_heap)
            return fail(e, "tokenizer: the texts give only %d entries, expected %d; train a smaller one", id,
                        vocab);
        Claim c = claim_pop(r);
        const long long now = r->pair[*pair_slot(r, c.a, c.b)].count;
        /* it has shrunk since: once more, with what it has */
        if (now != c.count) {
            c.count = now;
            if (now > 0 && !claim_push(r, c, e)) return false;
            continue;
        }
        const int n = r->length[c.a] + r->length[c.b];
        if (n > TRAINED_LONGEST) continue;
        char *s = malloc((size_t)n);
        if (!s) return fail(e, "tokenizer: training: no memory");
        memcpy(s, r->text[c.a], (size_t)r->length[c.a]),
            memcpy(s + r->length[c.a], r->text[c.b], (size_t)r->length[c.b]);
        /* "ab" "c" after "a" "bc": a second token of the same text */
        bool known = false;
        for (int i = N_FIRST; i < id && !known; i++)
            known = r->length[i] == n && memcmp(r->text[i], s, (size_t)n) == 0;
        if (known) { free(s); continue; }
        r->text[id] = s, r->length[id] = n, r->merge[id][0] = c.a, r->merge[id][1] = c.b;
        if (!merge_everywhere(r, c, id, e)) return false;
        id++;
    }
    return true;
}

bool tokenizer_train(const char *dir, const char *const *text, const size_t *length, int n_text, int vocab,
                     Err *e) {
    if (vocab < N_FIRST || vocab > VOCAB_MOST)
        return fail(e, "tokenizer: vocab: found %d, expected %d..%d (4 specials, 256 bytes, merges)", vocab,
                    N_FIRST, VOCAB_MOST);
    BpeTrainer r = {0};
    hash_key(&r.key);
    const bool ok = train_bpe(&r, text, length, n_text, vocab, e) && write_trained(&r, dir, vocab, e);
    for (int i = 0; r.text && i < vocab; i++) free(r.text[i]);
    for (size_t i = 0; i < r.n_pair; i++) free(r.pair[i].word);
    free(r.word), free(r.word_slot), free(r.id), free(r.pair), free(r.pair_slot), free(r.heap), free(r.text),
        free(r.length), free(r.merge);
    return ok;
}
