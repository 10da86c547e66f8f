/* tokenizer.c: byte-level BPE as a Hugging Face tokenizer.json describes it (GPT-2 ByteLevel pre-tokenizer, with or
 * without Digits before it), training of one, and the plain chat template.
 * Map: byte letters - hash tables - load - split - merge - encode - decode - chat - train.
 * Whatever else a tokenizer.json asks for is refused by name. */
#include "tokenizer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/files.h"
#include "lib/json.h"
#include "lib/unicode.h"

typedef struct { char *text; int n, id; bool special; } Added;
typedef struct { int a, b, rank, id; } Merge;
struct Tokenizer {
    char **bytes; int *length; bool *special; int vocab;        /* by id: the bytes a token stands for */
    Merge *merge; size_t merge_slots;                           /* open addressing, rank < 0: empty */
    Added *added; int n_added;
    int byte_id[256], bos, eos, pad;
    bool digits;
    char template_hash[65];
};

static const char plain_template[] =
    "{% set ns = namespace(s='') %}{% for m in messages %}{% if m['role'] == 'system' %}{% set ns.s = m['content'] + '\n' %}"
    "{% elif m['role'] == 'user' %}{{ '<user> ' + ns.s + m['content'] }}{% set ns.s = '' %}"
    "{% else %}{{ '<bot> ' + m['content'] + '<end>' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<bot>' }}{% endif %}";

bool ids_add(Ids *ids, int id, Err *e)
{
    if (ids->n == ids->capacity) {
        const int more = ids->capacity ? 2 * ids->capacity : 64;
        int *p = realloc(ids->id, (size_t)more * sizeof *p);
        if (!p) return fail(e, "tokenizer: %d ids could not be allocated", more);
        ids->id = p, ids->capacity = more;
    }
    ids->id[ids->n++] = id;
    return true;
}

/* GPT-2's letters for bytes: the printable ones stand for themselves, the rest follow from U+0100. */
static uint32_t byte_letter(int b)
{
    int n = 0;
    for (int i = 0; i <= b; i++) {
        const bool self = (i >= 33 && i <= 126) || (i >= 161 && i <= 172) || i >= 174;
        if (i == b) return self ? (uint32_t)b : 256u + (uint32_t)n;
        n += !self;
    }
    return 0;
}

/* One character; *used bytes. Invalid: U+FFFD per maximal bad part (Unicode 3.9, table 3-7). */
static uint32_t utf8_next(const char *s, size_t n, size_t *used)
{
    const unsigned char *u = (const unsigned char *)s;
    *used = 1;
    if (u[0] < 0x80) return u[0];
    const int more = u[0] >= 0xC2 && u[0] <= 0xDF ? 1 : (u[0] & 0xF0) == 0xE0 ? 2 : u[0] >= 0xF0 && u[0] <= 0xF4 ? 3 : 0;
    if (!more) return 0xFFFD;
    uint32_t c = u[0] & (0x3Fu >> more);
    for (int i = 1; i <= more; i++) {
        unsigned low = 0x80, high = 0xBF;
        if (i == 1) {
            if (u[0] == 0xE0) low = 0xA0;
            if (u[0] == 0xED) high = 0x9F;
            if (u[0] == 0xF0) low = 0x90;
            if (u[0] == 0xF4) high = 0x8F;
        }
        if ((size_t)i >= n || u[i] < low || u[i] > high) return 0xFFFD;
        c = c << 6 | (u[i] & 0x3F);
        *used = (size_t)i + 1;
    }
    return c;
}

/* A string of valid UTF-8 in which every bad part is U+FFFD; the caller frees. */
static char *utf8_repair(const char *s, size_t n, size_t *length)
{
    char *out = malloc(3 * n + 1);
    size_t k = 0;
    for (size_t i = 0, used; out && i < n; i += used) {
        const uint32_t c = utf8_next(s + i, n - i, &used);
        const bool bad = c == 0xFFFD;
        memcpy(out + k, bad ? "\xEF\xBF\xBD" : s + i, bad ? 3 : used);
        k += bad ? 3 : used;
    }
    if (out) out[*length = k] = 0;
    return out;
}

static size_t pair_slot(const Tokenizer *t, int a, int b)
{
    size_t i = (size_t)(((uint64_t)(uint32_t)a << 32 | (uint32_t)b) * 0x9E3779B97F4A7C15u >> 20) & (t->merge_slots - 1);
    while (t->merge[i].rank >= 0 && (t->merge[i].a != a || t->merge[i].b != b)) i = (i + 1) & (t->merge_slots - 1);
    return i;
}

/* ---- splitting: 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ ---- */

static int class_of(uint32_t c) { return unicode_space(c) ? 0 : unicode_letter(c) ? 1 : unicode_number(c) ? 2 : 3; }

static size_t word_length(const char *s, size_t n)
{
    static const char *const tail[] = {"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"};
    for (int i = 0; i < 7; i++)
        if (n >= strlen(tail[i]) && memcmp(s, tail[i], strlen(tail[i])) == 0) return strlen(tail[i]);
    size_t used, i = 0, last = 0;
    if (s[0] == ' ' && n > 1 && class_of(utf8_next(s + 1, n - 1, &used))) i = 1;
    const int kind = class_of(utf8_next(s + i, n - i, &used));
    while (i < n && class_of(utf8_next(s + i, n - i, &used)) == kind) last = i, i += used;
    return kind == 0 && i < n && last > 0 ? last : i;           /* blanks leave their last one to the next word */
}

static bool merge_word(Ids *out, const Tokenizer *t, const char *s, size_t n, Err *e)
{
    const int first = out->n;
    for (size_t i = 0; i < n; i++)
        if (!ids_add(out, t->byte_id[(unsigned char)s[i]], e)) return false;
    for (;;) {                                                  /* words are short: look for the lowest rank each time */
        int *id = out->id, best = -1, rank = 0x7FFFFFFF;
        for (int i = first; i + 1 < out->n; i++) {
            const Merge *m = &t->merge[pair_slot(t, id[i], id[i + 1])];
            if (m->rank >= 0 && m->rank < rank) rank = m->rank, best = i;
        }
        if (best < 0) return true;
        id[best] = t->merge[pair_slot(t, id[best], id[best + 1])].id;
        memmove(id + best + 1, id + best + 2, (size_t)(out->n - best - 2) * sizeof *id);
        out->n--;
    }
}

static bool encode_plain(Ids *out, const Tokenizer *t, const char *s, size_t n, Err *e)
{
    for (size_t i = 0, end; i < n; i = end) {
        size_t used;
        end = n;
        if (t->digits) {
            end = i;
            while (end < n && !unicode_number(utf8_next(s + end, n - end, &used))) end += used;
            if (end == i) end += used;
        }
        for (size_t k; i < end; i += k)
            if (!merge_word(out, t, s + i, k = word_length(s + i, end - i), e)) return false;
    }
    return true;
}

bool tokenizer_encode(Ids *out, const Tokenizer *t, const char *text, size_t n, bool special, Err *e)
{
    char *s = utf8_repair(text, n, &n);
    if (!s) return fail(e, "tokenizer: a text of %zu bytes could not be copied", n);
    size_t from = 0;
    bool ok = true;
    for (size_t i = 0; ok && i < n;) {
        const Added *hit = NULL;                                /* leftmost, then longest */
        for (int k = 0; special && k < t->n_added; k++) {
            const Added *a = &t->added[k];
            if ((size_t)a->n <= n - i && a->text[0] == s[i] && memcmp(a->text, s + i, (size_t)a->n) == 0
                && (!hit || a->n > hit->n)) hit = a;
        }
        if (!hit) { i++; continue; }
        ok = encode_plain(out, t, s + from, i - from, e) && ids_add(out, hit->id, e);
        from = i += (size_t)hit->n;
    }
    ok = ok && encode_plain(out, t, s + from, n - from, e);
    free(s);
    return ok;
}

char *tokenizer_decode(const Tokenizer *t, const int *id, int n, bool skip_special, size_t *length, Err *e)
{
    size_t size = 0, k = 0;
    for (int i = 0; i < n; i++) {
        if (id[i] < 0 || id[i] >= t->vocab) { fail(e, "tokenizer: id %d at %d: expected 0..%d", id[i], i, t->vocab - 1); return NULL; }
        size += (size_t)t->length[id[i]];
    }
    char *s = malloc(size + 1), *out = NULL;
    for (int i = 0; s && i < n; i++) {
        if (skip_special && t->special[id[i]]) continue;
        if (t->length[id[i]]) memcpy(s + k, t->bytes[id[i]], (size_t)t->length[id[i]]);
        k += (size_t)t->length[id[i]];
    }
    if (s) out = utf8_repair(s, k, &k);
    free(s);
    if (!out) fail(e, "tokenizer: a text of %zu bytes could not be allocated", size);
    else if (length) *length = k;
    return out;
}

/* ---- loading ---- */

void tokenizer_free(Tokenizer *t)
{
    if (!t) return;
    for (int i = 0; t->bytes && i < t->vocab; i++) free(t->bytes[i]);
    for (int i = 0; i < t->n_added; i++) free(t->added[i].text);
    free(t->bytes), free(t->length), free(t->special), free(t->merge), free(t->added), free(t);
}

int tokenizer_vocab(const Tokenizer *t) { return t->vocab; }
int tokenizer_bos(const Tokenizer *t) { return t->bos; }
int tokenizer_eos(const Tokenizer *t) { return t->eos; }
int tokenizer_pad(const Tokenizer *t) { return t->pad; }

/* letters -> bytes, in place of a table built at start; -1 for a letter that stands for none */
static int letters_to_bytes(char *out, const char *s, size_t n, const int *of_letter)
{
    int k = 0;
    for (size_t i = 0, used; i < n; i += used) {
        const uint32_t c = utf8_next(s + i, n - i, &used);
        if (c >= 512 || of_letter[c] < 0) return -1;
        out[k++] = (char)of_letter[c];
    }
    return k;
}

typedef struct { const Json **slot; size_t mask; } Names;       /* token text -> member of model.vocab */
static const Json **name_slot(const Names *m, const char *s, size_t n)
{
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < n; i++) h = (h ^ (unsigned char)s[i]) * 1099511628211u;
    size_t i = (size_t)(h ^ h >> 32) & m->mask;
    while (m->slot[i] && (strlen(m->slot[i]->key) != n || memcmp(m->slot[i]->key, s, n))) i = (i + 1) & m->mask;
    return &m->slot[i];
}

int tokenizer_id(const Tokenizer *t, const char *token)
{
    const size_t n = strlen(token);
    for (int i = 0; i < t->n_added; i++) if (strcmp(t->added[i].text, token) == 0) return t->added[i].id;
    for (int i = 0; i < t->vocab; i++)
        if (t->bytes[i] && (size_t)t->length[i] == n && memcmp(t->bytes[i], token, n) == 0) return i;
    return -1;
}

static bool absent(const Json *o, const char *key) { const Json *v = json_get(o, key); return !v || v->type == JSON_NULL; }
static bool is_true(const Json *o, const char *key) { const Json *v = json_get(o, key); return v && v->type == JSON_BOOL && v->number != 0; }
static const char *type_of(const Json *o) { const Json *v = json_get(o, "type"); return v && v->type == JSON_STRING ? v->string : "(none)"; }

static bool read_shape(Tokenizer *t, const Json *root, const char *file, Err *e)
{
    const Json *p = json_get(root, "pre_tokenizer"), *m = json_get(root, "model");
    if (!absent(root, "normalizer"))
        return fail(e, "%s: normalizer: found %s, expected none; it is not supported", file, type_of(json_get(root, "normalizer")));
    if (!m || strcmp(type_of(m), "BPE")) return fail(e, "%s: model: found %s, expected BPE", file, m ? type_of(m) : "none");
    if (is_true(m, "ignore_merges") || is_true(m, "byte_fallback") || !absent(m, "dropout"))
        return fail(e, "%s: model: ignore_merges, byte_fallback and dropout are not supported", file);
    const Json *piece = p;
    size_t n = 1;
    if (p && strcmp(type_of(p), "Sequence") == 0) {
        const Json *list = json_get(p, "pretokenizers");
        if (list && list->type == JSON_ARRAY) piece = list->item, n = list->length;
    }
    for (size_t i = 0; piece && i < n; i++) {
        const bool last = i + 1 == n;
        if (!last && strcmp(type_of(&piece[i]), "Digits") == 0 && is_true(&piece[i], "individual_digits")) t->digits = true;
        else if (last && strcmp(type_of(&piece[i]), "ByteLevel") == 0 && !is_true(&piece[i], "add_prefix_space")
                 && (!json_get(&piece[i], "use_regex") || is_true(&piece[i], "use_regex"))) return true;
        else return fail(e, "%s: pre_tokenizer: found %s, expected ByteLevel (use_regex, no prefix space) or Digits "
                         "(individual) before it", file, type_of(&piece[i]));
    }
    return fail(e, "%s: pre_tokenizer: none found, expected ByteLevel", file);
}

static bool keep(Tokenizer *t, int id, const char *s, int n, Err *e)
{
    char *p = malloc((size_t)n + 1);
    if (!p) return fail(e, "tokenizer: %d bytes could not be allocated", n + 1);
    memcpy(p, s, (size_t)n), p[n] = 0;
    free(t->bytes[id]);
    t->bytes[id] = p, t->length[id] = n;
    return true;
}

static bool read_tables(Tokenizer *t, const Json *root, Names *names, const char *file, Err *e)
{
    const Json *model = json_get(root, "model"), *v = json_get(model, "vocab"), *m = json_get(model, "merges");
    const Json *added = json_get(root, "added_tokens");
    const size_t n_added = added && added->type == JSON_ARRAY ? added->length : 0;
    if (!v || v->type != JSON_OBJECT || !m || m->type != JSON_ARRAY) return fail(e, "%s: model: vocab or merges missing", file);
    for (size_t pass = 0, i = 0; pass < 2; pass++, i = 0)
        for (const size_t n = pass ? n_added : v->length; i < n; i++) {
            double x = v->length ? v->item[pass ? 0 : i].number : 0;
            if (pass && !json_get_number(&added->item[i], "id", &x, file, e)) return false;
            if (!(x >= 0 && x < 1e7) || x != (int)x) return fail(e, "%s: an id is %g, expected 0..9999999", file, x);
            if ((int)x >= t->vocab) t->vocab = (int)x + 1;
        }
    size_t slots = 16;
    while (slots < 2 * (v->length + m->length)) slots *= 2;
    const size_t n = (size_t)t->vocab + 1;
    t->bytes = calloc(n, sizeof *t->bytes), t->length = calloc(n, sizeof *t->length), t->special = calloc(n, 1);
    t->merge = malloc(slots * sizeof *t->merge), t->merge_slots = slots, t->added = calloc(n_added + 1, sizeof *t->added);
    names->slot = calloc(slots, sizeof *names->slot), names->mask = slots - 1;
    if (!t->bytes || !t->length || !t->special || !t->merge || !t->added || !names->slot)
        return fail(e, "%s: tables for %zu tokens could not be allocated", file, n);
    for (size_t i = 0; i < slots; i++) t->merge[i].rank = -1;
    int of_letter[512];
    for (int i = 0; i < 512; i++) of_letter[i] = -1;
    for (int b = 0; b < 256; b++) of_letter[byte_letter(b)] = b, t->byte_id[b] = -1;
    for (size_t i = 0; i < v->length; i++) {
        const char *key = v->item[i].key;
        const size_t k = strlen(key);
        const int id = (int)v->item[i].number;
        char *s = malloc(k + 1);
        if (!s) return fail(e, "%s: %zu bytes could not be allocated", file, k + 1);
        const int b = letters_to_bytes(s, key, k, of_letter);
        *name_slot(names, key, k) = &v->item[i];
        const bool ok = b < 0 ? keep(t, id, key, (int)k, e) : keep(t, id, s, b, e);
        if (b == 1) t->byte_id[(unsigned char)s[0]] = id;
        free(s);
        if (!ok) return false;
    }
    for (int b = 0; b < 256; b++) if (t->byte_id[b] < 0) t->byte_id[b] = -1;
    for (size_t i = 0; i < m->length; i++) {
        const Json *x = &m->item[i];
        char both[2048];
        const char *a, *b;
        if (x->type == JSON_ARRAY && x->length == 2 && x->item[0].type == JSON_STRING && x->item[1].type == JSON_STRING)
            a = x->item[0].string, b = x->item[1].string;
        else {
            char *blank = x->type == JSON_STRING && x->length < sizeof both ? strchr(strcpy(both, x->string), ' ') : NULL;
            if (!blank) return fail(e, "%s:%d: merges: item %zu: expected \"a b\" or [\"a\", \"b\"]", file, x->line, i);
            *blank = 0, a = both, b = blank + 1;
        }
        char joined[2048];
        if (snprintf(joined, sizeof joined, "%s%s", a, b) >= (int)sizeof joined) return fail(e, "%s:%d: merge too long", file, x->line);
        const Json *pa = *name_slot(names, a, strlen(a)), *pb = *name_slot(names, b, strlen(b));
        const Json *pc = *name_slot(names, joined, strlen(joined));
        if (!pa || !pb || !pc) return fail(e, "%s:%d: merges: %s %s: a part or the whole is not in the vocabulary", file, x->line, a, b);
        t->merge[pair_slot(t, (int)pa->number, (int)pb->number)] = (Merge){(int)pa->number, (int)pb->number, (int)i, (int)pc->number};
    }
    for (size_t i = 0; i < n_added; i++) {
        const Json *x = &added->item[i];
        const char *s;
        if (!json_get_string(x, "content", &s, file, e)) return false;
        if (is_true(x, "lstrip") || is_true(x, "rstrip") || is_true(x, "single_word"))
            return fail(e, "%s:%d: added token %s: lstrip, rstrip and single_word are not supported", file, x->line, s);
        const int id = (int)json_get(x, "id")->number, k = (int)strlen(s);
        if (!k || !keep(t, id, s, k, e)) return k ? false : fail(e, "%s:%d: an added token is empty", file, x->line);
        Added *a = &t->added[t->n_added];
        if (!(a->text = malloc((size_t)k + 1))) return fail(e, "%s: out of memory", file);
        strcpy(a->text, s), a->n = k, a->id = id, t->special[id] = a->special = is_true(x, "special");
        t->n_added++;
    }
    for (int b = 0; b < 256; b++)
        if (t->byte_id[b] < 0) return fail(e, "%s: vocab: byte %d has no token; expected all 256", file, b);
    return true;
}

static int named(const Tokenizer *t, const Json *config, const char *key)
{
    const Json *v = json_get(config, key);
    if (v && v->type == JSON_OBJECT) v = json_get(v, "content");
    return v && v->type == JSON_STRING ? tokenizer_id(t, v->string) : -1;
}

static void hash_text(char hex[65], const char *s, size_t n)
{
    Sha256 h;
    sha256_begin(&h), sha256_add(&h, s, n), sha256_end(&h, hex);
}

Tokenizer *tokenizer_load(const char *dir, Err *e)
{
    static const char *const config[] = {"special_tokens_map.json", "tokenizer_config.json"};
    char path[1024];
    Names names = {0};
    Tokenizer *t = calloc(1, sizeof *t);
    if (!t) { fail(e, "%s: a tokenizer could not be allocated", dir); return NULL; }
    t->bos = t->eos = t->pad = -1;
    Json *root = path_join(path, sizeof path, dir, "tokenizer.json", e) ? json_read_file(path, e) : NULL;
    bool ok = root && read_shape(t, root, path, e) && read_tables(t, root, &names, path, e);
    free(names.slot), json_free(root);
    for (int i = 0; ok && i < 2; i++) {
        ok = path_join(path, sizeof path, dir, config[i], e);
        if (!ok || !path_exists(path)) continue;
        Json *c = json_read_file(path, e);
        ok = c != NULL;
        if (!c) break;
        int id;
        if ((id = named(t, c, "bos_token")) >= 0) t->bos = id;
        if ((id = named(t, c, "eos_token")) >= 0) t->eos = id;
        if ((id = named(t, c, "pad_token")) >= 0) t->pad = id;
        const Json *v = json_get(c, "chat_template");
        if (v && v->type == JSON_STRING) hash_text(t->template_hash, v->string, v->length);
        json_free(c);
    }
    if (ok && (ok = path_join(path, sizeof path, dir, "chat_template.jinja", e)) && path_exists(path))
        ok = sha256_file(path, t->template_hash, e);
    if (ok) return t;
    tokenizer_free(t);
    return NULL;
}

/* ---- chat: the plain family; the others are refused by name until they are written ---- */

static const char *const chat_name[] = {"plain", "smollm2", "qwen2", "qwen2.5", "qwen3", "qwen3-no-think", "llama3"};

bool chat_template_parse(ChatTemplate *c, const char *name, Err *e)
{
    for (int i = 0; i < CHAT_UNKNOWN; i++) if (strcmp(name, chat_name[i]) == 0) { *c = (ChatTemplate)i; return true; }
    const char *near = nearest_name(name, chat_name, CHAT_UNKNOWN);
    return fail(e, "--chat-template: found %s, expected plain, smollm2, qwen2, qwen2.5, qwen3, qwen3-no-think or llama3%s%s%s",
                name, near ? "; did you mean " : "", near ? near : "", near ? "?" : "");
}

const char *chat_template_name(ChatTemplate c) { return c >= 0 && c < CHAT_UNKNOWN ? chat_name[c] : "unknown"; }

bool chat_template_find(ChatTemplate *c, const Tokenizer *t, Err *e)
{
    char hex[65];
    hash_text(hex, plain_template, sizeof plain_template - 1);
    if (strcmp(hex, t->template_hash) == 0) { *c = CHAT_PLAIN; return true; }
    *c = CHAT_UNKNOWN;
    return fail(e, "chat template: %s%s, expected a known text; name one with --chat-template (plain)",
                t->template_hash[0] ? "unknown text, SHA-256 " : "none found", t->template_hash);
}

char *chat_render(ChatTemplate c, const Tokenizer *t, const Message *m, int n, bool generation_prompt, Err *e)
{
    (void)t;
    if (c != CHAT_PLAIN) { fail(e, "chat template %s: not supported yet, expected plain", chat_template_name(c)); return NULL; }
    size_t size = 16;
    for (int i = 0; i < n; i++) size += strlen(m[i].content) + 16;
    char *s = calloc(size, 1), *p = s;
    const char *system = NULL;
    if (!s) { fail(e, "chat: %zu bytes could not be allocated", size); return NULL; }
    for (int i = 0; i < n; i++) {
        if (strcmp(m[i].role, "system") == 0) system = m[i].content;
        else if (strcmp(m[i].role, "user") == 0) {
            p += sprintf(p, "<user> %s%s%s", system ? system : "", system ? "\n" : "", m[i].content);
            system = NULL;
        } else if (strcmp(m[i].role, "assistant") == 0) p += sprintf(p, "<bot> %s<end>", m[i].content);
        else {
            fail(e, "chat: message %d: role: found %s, expected system, user or assistant", i, m[i].role);
            free(s);
            return NULL;
        }
    }
    if (generation_prompt) strcpy(p, "<bot>");
    return s;
}

bool chat_encode(Ids *out, const Tokenizer *t, ChatTemplate c, const Message *m, int n, bool generation_prompt, Err *e)
{
    char *s = chat_render(c, t, m, n, generation_prompt, e);
    const bool ok = s && tokenizer_encode(out, t, s, strlen(s), true, e);
    free(s);
    return ok;
}

int chat_end_of_turn(ChatTemplate c, const Tokenizer *t)
{
    return tokenizer_id(t, c == CHAT_PLAIN ? "<end>" : c == CHAT_LLAMA3 ? "<|eot_id|>" : "<|im_end|>");
}

/* ---- training ---- */

static const char *const trained_special[] = {"<pad>", "<user>", "<bot>", "<end>"};

typedef struct { const char *s; size_t n; int *id; int n_id; } Word;
static int word_order(const void *a, const void *b)
{
    const Word *x = a, *y = b;
    const int c = memcmp(x->s, y->s, x->n < y->n ? x->n : y->n);
    return c ? c : (x->n > y->n) - (x->n < y->n);
}

static void write_letters(char *out, const char *s, int n)
{
    for (int i = 0; i < n; i++) {
        const uint32_t c = byte_letter((unsigned char)s[i]);
        if (c < 128) *out++ = (char)c; else *out++ = (char)(0xC0 | c >> 6), *out++ = (char)(0x80 | (c & 63));
    }
    *out = 0;
}

static bool write_trained(const char *dir, char **bytes, const int *length, int vocab, const int (*merge)[2], Err *e)
{
    JsonWriter w = {.indent = 1};
    char path[1024], a[1024], b[1024];
    json_begin(&w, '{');
    json_key(&w, "version"), json_string(&w, "1.0"), json_key(&w, "truncation"), json_null(&w), json_key(&w, "padding"), json_null(&w);
    json_key(&w, "added_tokens"), json_begin(&w, '[');
    for (int i = 0; i < 4; i++) {
        static const char *const no[] = {"single_word", "lstrip", "rstrip", "normalized"};
        json_begin(&w, '{'), json_key(&w, "id"), json_int(&w, i), json_key(&w, "content"), json_string(&w, trained_special[i]);
        for (int k = 0; k < 4; k++) json_key(&w, no[k]), json_bool(&w, false);
        json_key(&w, "special"), json_bool(&w, true), json_end(&w, '}');
    }
    json_end(&w, ']'), json_key(&w, "normalizer"), json_null(&w);
    json_key(&w, "pre_tokenizer"), json_raw(&w, "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true}");
    json_key(&w, "post_processor"), json_null(&w);
    json_key(&w, "decoder"), json_raw(&w, "{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"trim_offsets\":true,\"use_regex\":true}");
    json_key(&w, "model"), json_begin(&w, '{'), json_key(&w, "type"), json_string(&w, "BPE");
    json_key(&w, "vocab"), json_begin(&w, '{');
    for (int i = 0; i < vocab; i++) {
        if (i >= 4) write_letters(a, bytes[i], length[i]);
        json_key(&w, i < 4 ? trained_special[i] : a), json_int(&w, i);
    }
    json_end(&w, '}'), json_key(&w, "merges"), json_begin(&w, '[');
    for (int i = 260; i < vocab; i++) {
        write_letters(a, bytes[merge[i][0]], length[merge[i][0]]), write_letters(b, bytes[merge[i][1]], length[merge[i][1]]);
        json_begin(&w, '['), json_string(&w, a), json_string(&w, b), json_end(&w, ']');
    }
    json_end(&w, ']'), json_end(&w, '}'), json_end(&w, '}');
    bool ok = folder_make(dir, e) && path_join(path, sizeof path, dir, "tokenizer.json", e) && file_write(path, w.text, w.length, e);
    free(w.text);
    for (int i = 0; ok && i < 2; i++) {
        w = (JsonWriter){.indent = 1};
        json_begin(&w, '{'), json_key(&w, "eos_token"), json_string(&w, "<end>"), json_key(&w, "pad_token"), json_string(&w, "<pad>");
        if (i) json_key(&w, "tokenizer_class"), json_string(&w, "PreTrainedTokenizerFast"), json_key(&w, "chat_template"), json_string(&w, plain_template);
        json_end(&w, '}');
        ok = path_join(path, sizeof path, dir, i ? "tokenizer_config.json" : "special_tokens_map.json", e) && file_write(path, w.text, w.length, e);
        free(w.text);
    }
    return ok;
}

bool tokenizer_train(const char *dir, const char *const *text, const size_t *length, int n_text, int vocab, Err *e)
{
    if (vocab < 260 || vocab > 4096) return fail(e, "tokenizer: vocab: found %d, expected 260..4096 (4 specials, 256 bytes, merges)", vocab);
    const size_t v = (size_t)vocab;
    size_t total = 0, n = 0;
    for (int i = 0; i < n_text; i++) total += length[i];
    Word *w = malloc((total + 1) * sizeof *w);
    int *all = malloc((total + 1) * sizeof *all), *next = all, *len = calloc(v, sizeof *len);
    long long *count = malloc(v * v * sizeof *count);
    char **bytes = calloc(v, sizeof *bytes);
    int (*merge)[2] = calloc(v, sizeof *merge);
    bool *banned = calloc(v * v, 1), ok = w && all && len && count && bytes && merge && banned;
    if (!ok) fail(e, "tokenizer: tables for %zu bytes of text could not be allocated", total);
    for (int i = 0; ok && i < n_text; i++)                      /* a special's text is no material for merges */
        for (size_t k = 0; k < length[i];) {
            size_t end = k, skip = 0;
            for (; end < length[i] && !skip; end += !skip)
                for (int j = 0; j < 4; j++) {
                    const size_t s = strlen(trained_special[j]);
                    if (s <= length[i] - end && memcmp(text[i] + end, trained_special[j], s) == 0) skip = s;
                }
            for (; k < end; k += w[n++].n) w[n].s = text[i] + k, w[n].n = word_length(text[i] + k, end - k);
            k += skip;
        }
    if (ok) qsort(w, n, sizeof *w, word_order);
    for (int i = 4; ok && i < 260; i++)
        if ((bytes[i] = malloc(2))) bytes[i][0] = (char)(i - 4), len[i] = 1; else ok = fail(e, "tokenizer: out of memory");
    for (size_t i = 0; ok && i < n; i++) {
        w[i].id = next, w[i].n_id = (int)w[i].n;
        for (size_t k = 0; k < w[i].n; k++) *next++ = 4 + (unsigned char)w[i].s[k];
    }
    for (int id = 260; ok && id < vocab;) {
        memset(count, 0, v * v * sizeof *count);
        for (size_t i = 0, same; i < n; i += same) {            /* sorted: equal words are neighbours, the first is merged */
            for (same = 1; i + same < n && word_order(&w[i], &w[i + same]) == 0;) same++;
            for (int k = 0; k + 1 < w[i].n_id; k++) count[(size_t)w[i].id[k] * v + (size_t)w[i].id[k + 1]] += (long long)same;
        }
        size_t best = 0;
        for (size_t i = 0; i < v * v; i++) if (!banned[i] && count[i] > count[best]) best = i;
        if (!count[best]) { ok = fail(e, "tokenizer: the texts give only %d entries, expected %d; train a smaller one", id, vocab); break; }
        const int a = (int)(best / v), b = (int)(best % v);
        banned[best] = true;                                    /* never twice; nor a pair whose text is a token already */
        char *s = malloc((size_t)(len[a] + len[b]) + 1);
        if (!s) { ok = fail(e, "tokenizer: out of memory"); break; }
        memcpy(s, bytes[a], (size_t)len[a]), memcpy(s + len[a], bytes[b], (size_t)len[b]);
        bool known = len[a] + len[b] > 500;
        for (int i = 4; i < id; i++) known = known || (len[i] == len[a] + len[b] && memcmp(bytes[i], s, (size_t)len[i]) == 0);
        if (known) { free(s); continue; }
        bytes[id] = s, len[id] = len[a] + len[b], merge[id][0] = a, merge[id][1] = b;
        for (size_t i = 0; i < n; i++) {
            int k = 0;
            for (int j = 0; j < w[i].n_id; j++)
                if (j + 1 < w[i].n_id && w[i].id[j] == a && w[i].id[j + 1] == b) w[i].id[k++] = id, j++;
                else w[i].id[k++] = w[i].id[j];
            w[i].n_id = k;
        }
        id++;
    }
    ok = ok && write_trained(dir, bytes, len, vocab, (const int (*)[2])merge, e);
    for (size_t i = 0; bytes && i < v; i++) free(bytes[i]);
    free(w), free(all), free(len), free(count), free(bytes), free(merge), free(banned);
    return ok;
}
