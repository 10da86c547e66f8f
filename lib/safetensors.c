/* safetensors.c: tensors as Hugging Face stores them.
 *
 * The format: 8 bytes with the header's length n (little endian), n bytes of JSON, the data. The header maps
 * each name to dtype, shape and data_offsets [begin, end) within the data, and __metadata__ to strings; the
 * data has no holes. In this order: dtypes, one file's header, a file or a folder of shards, look-up, the
 * writer. Like everything here, the data is read as it lies: this is for little-endian machines. */
#include "safetensors.h"
#include "files.h"
#include "json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* the first is the format's own limit */
enum { HEADER_MAX = 100000000, NAME_MAX_BYTES = 512, PIECE = 1 << 16 };

static const char metadata_key[] = "__metadata__";

/* Those without a Store are kept as bytes, with STORE_REAL, which no file can name: look at dtype. */
static const struct { const char *name; size_t size; Store store; } dtypes[] = {
    {"F32", 4, STORE_F32}, {"BF16", 2, STORE_BF16}, {"F16", 2, STORE_F16}, {"F64", 8, STORE_F64},
    {"I64", 8, STORE_REAL}, {"I32", 4, STORE_REAL}, {"I16", 2, STORE_REAL}, {"I8", 1, STORE_REAL},
    {"U64", 8, STORE_REAL}, {"U32", 4, STORE_REAL}, {"U16", 2, STORE_REAL}, {"U8", 1, STORE_REAL},
    {"BOOL", 1, STORE_REAL}, {"F8_E4M3", 1, STORE_REAL}, {"F8_E5M2", 1, STORE_REAL}};
enum { N_DTYPE = sizeof dtypes / sizeof *dtypes };

/* end: of its tensors */
typedef struct {
    char path[1024];
    FileMap map;
    Json *header;
    const unsigned char *data;
    size_t n_data;
    int end;
} Shard;

struct Safetensors {
    Shard *shard;
    int n_shard, n;
    Tensor *tensor;                     /* [n] */
    const Tensor **by_name;             /* [n], sorted */
    void **copy;                        /* [n], NULL where the data lies in the map */
};

/* ---- one file ---- */

/* Maps the file and parses its header, whose items are looked at later. */
static bool shard_open(Shard *s, Err *e) {
    char place[1040];
    unsigned long long n = 0;
    if (!file_map(&s->map, s->path, e)) return false;
    if (s->map.n < 8)
        return fail(e, "%s: found %zu bytes, expected a safetensors file (8 bytes and more)", s->path,
                    s->map.n);
    for (int i = 7; i >= 0; i--) n = n << 8 | s->map.base[i];
    if (n > s->map.n - 8 || n > HEADER_MAX)
        return fail(e,
                    "%s: found a header of %llu bytes, expected at most %zu (%s); is it a safetensors file, "
                    "and whole?",
                    s->path, n, s->map.n - 8 < HEADER_MAX ? s->map.n - 8 : (size_t)HEADER_MAX,
                    s->map.n - 8 < HEADER_MAX ? "the rest of the file" : "the format's limit");
    const char *header = (const char *)s->map.base + 8;
    if (n == 0 || *header != '{')
        return fail(e, "%s: header: found %s, expected '{' as its first byte", s->path,
                    n ? "another byte" : "nothing");
    snprintf(place, sizeof place, "%s: header", s->path);
    if (!(s->header = json_parse(header, (size_t)n, place, 1, e))) return false;
    s->data = s->map.base + 8 + n;
    s->n_data = s->map.n - 8 - (size_t)n;
    const Json *meta = json_get(s->header, metadata_key);
    if (meta && meta->type == JSON_NULL) meta = NULL;
    if (meta && meta->type != JSON_OBJECT)
        return fail(e, "%s: %s: found %s, expected an object of strings", place, metadata_key,
                    json_type_name(meta->type));
    for (size_t i = 0; meta && i < meta->length; i++)
        if (meta->item[i].type != JSON_STRING)
            return fail(e, "%s: %s: %.80s: found %s, expected a string", place, metadata_key,
                        meta->item[i].key, json_type_name(meta->item[i].type));
    return true;
}

/* A whole number that a double holds exactly: 0 <= v <= 2^53. */
static bool whole_number(const Json *v, size_t *out) {
    if (v->type != JSON_NUMBER || !(v->number >= 0 && v->number <= 9007199254740992.0)) return false;
    const uint64_t x = (uint64_t)v->number;
    if ((double)x != v->number || x > SIZE_MAX) return false;
    *out = (size_t)x;
    return true;
}

/* One item of the header. *begin: where its data begins. */
static bool tensor_read(Tensor *t, size_t *begin, const Shard *s, const Json *item, Err *e) {
    const char *const name = item->key, *dtype = NULL;
    const Json *shape = json_get(item, "shape"), *offsets = json_get(item, "data_offsets");
    char place[1300];
    snprintf(place, sizeof place, "%s: tensor %.160s", s->path, name);
    if (!*name || strlen(name) > NAME_MAX_BYTES)
        return fail(e, "%s: found a name of %zu bytes, expected 1 to %d", place, strlen(name),
                    NAME_MAX_BYTES);
    if (item->type != JSON_OBJECT)
        return fail(e, "%s: found %s, expected an object", place, json_type_name(item->type));
    for (size_t i = 0; i < item->length; i++)           /* an unknown key may change what the bytes mean */
        if (strcmp(item->item[i].key, "dtype") && strcmp(item->item[i].key, "shape") &&
            strcmp(item->item[i].key, "data_offsets"))
            return fail(e, "%s: found the key \"%.40s\", expected dtype, shape and data_offsets only", place,
                        item->item[i].key);
    if (!json_get_string(item, "dtype", &dtype, place, e)) return false;
    int d = 0;
    while (d < N_DTYPE && strcmp(dtypes[d].name, dtype)) d++;
    if (d == N_DTYPE)
        return fail(e, "%s: found the dtype \"%.40s\", expected F64, F32, F16, BF16, an integer type or F8",
                    place, dtype);
    *t = (Tensor){.name = name, .store = dtypes[d].store, .count = 1};
    strcpy(t->dtype, dtypes[d].name);

    if (!shape || shape->type != JSON_ARRAY || shape->length > 8)
        return fail(e, "%s: shape: found %s, expected an array of at most 8 sizes", place,
                    shape ? shape->type == JSON_ARRAY ? "a longer array" : json_type_name(shape->type)
                          : "nothing");
    t->n_dim = (int)shape->length;
    /* [2^40, 2^40, 0] has no elements and must not overflow on the way there */
    bool empty = false;
    for (int i = 0; i < t->n_dim; i++) {
        if (!whole_number(&shape->item[i], &t->shape[i]))
            return fail(e, "%s: shape: item %d: expected a whole number from 0 to 2^53", place, i);
        empty = empty || t->shape[i] == 0;
    }
    for (int i = 0; i < t->n_dim && !empty; i++) {
        if (t->count > SIZE_MAX / dtypes[d].size / t->shape[i])
            return fail(e, "%s: shape: the number of bytes overflows", place);
        t->count *= t->shape[i];
    }
    if (empty) t->count = 0;
    t->bytes = t->count * dtypes[d].size;

    size_t end;
    if (!offsets || offsets->type != JSON_ARRAY || offsets->length != 2 ||
        !whole_number(&offsets->item[0], begin) || !whole_number(&offsets->item[1], &end))
        return fail(e, "%s: data_offsets: expected two whole numbers from 0 to 2^53, [begin, end)", place);
    if (*begin > end || end > s->n_data)
        return fail(e,
                    "%s: data_offsets: found [%zu, %zu), expected them ascending within the file's %zu bytes "
                    "of data",
                    place, *begin, end, s->n_data);
    if (end - *begin != t->bytes)
        return fail(e, "%s: data_offsets: found %zu bytes, expected %zu: the shape's %zu elements of %s",
                    place, end - *begin, t->bytes, t->count, t->dtype);
    t->data = s->data + *begin;
    return true;
}

/* By where the data begins; empty ones before what begins there, then as named. */
static int by_data(const void *a, const void *b) {
    const Tensor *const x = a, *const y = b;
    const uintptr_t p = (uintptr_t)x->data, q = (uintptr_t)y->data;
    if (p != q) return p < q ? -1 : 1;
    if (!x->bytes != !y->bytes) return x->bytes ? 1 : -1;
    return strcmp(x->name, y->name);
}

/* The shard's tensors to t, in the order of their data: neither overlap nor hole. Returns how many, -1 after
 * an error. */
static int shard_tensors(Tensor *t, const Shard *s, Err *e) {
    int n = 0;
    for (size_t i = 0; i < s->header->length; i++) {
        size_t begin;
        if (strcmp(s->header->item[i].key, metadata_key) == 0) continue;
        if (!tensor_read(&t[n], &begin, s, &s->header->item[i], e)) return -1;
        n++;
    }
    qsort(t, (size_t)n, sizeof *t, by_data);
    size_t end = 0;
    for (int i = 0; i < n; i++) {
        const size_t begin = (size_t)((const unsigned char *)t[i].data - s->data);
        if (begin != end) {
            fail(e,
                 "%s: tensor %.160s: data_offsets: found %zu as begin, expected %zu, where the one before "
                 "ends (%s)",
                 s->path, t[i].name, begin, end, begin < end ? "they overlap" : "a hole is between them");
            return -1;
        }
        end = begin + t[i].bytes;
    }
    if (end == s->n_data) return n;
    fail(e, "%s: found %zu bytes of data, expected %zu, where the last tensor ends", s->path, s->n_data, end);
    return -1;
}

/* ---- a file or a folder of shards ---- */

static int by_string(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A shard lies beside its index: no folder, no "..". */
static bool is_plain_name(const char *s) { return *s && *s != '.' && !strchr(s, '/') && !strchr(s, '\\'); }

/* One shard for each file that the index names, in the order of their names. */
static bool shards_of_index(Safetensors *s, const char *dir, const char *index_path, const Json *index,
                            Err *e) {
    const Json *map = json_get(index, "weight_map");
    if (!map || map->type != JSON_OBJECT || map->length == 0)
        return fail(e, "%s: weight_map: found %s, expected an object of tensor names and files", index_path,
                    !map ? "nothing" : map->type == JSON_OBJECT ? "no entries" : json_type_name(map->type));
    const char **files = malloc(map->length * sizeof *files);
    if (!files) return fail(e, "%s: %zu file names could not be allocated", index_path, map->length);
    bool ok = true;
    for (size_t i = 0; ok && i < map->length; i++) {
        ok = json_get_string(&(Json){.type = JSON_OBJECT, .item = &map->item[i], .length = 1},
                             map->item[i].key, &files[i], index_path, e);
        if (ok && !is_plain_name(files[i]))
            ok = fail(e,
                      "%s:%d:%d: %.160s: found \"%.80s\", expected the plain name of a file beside the index",
                      index_path, map->item[i].line, map->item[i].column, map->item[i].key, files[i]);
    }
    if (ok) {
        size_t n = 0;
        qsort(files, map->length, sizeof *files, by_string);
        for (size_t i = 0; i < map->length; i++)
            if (n == 0 || strcmp(files[i], files[n - 1])) files[n++] = files[i];
        s->shard = n < 10000 ? calloc(n, sizeof *s->shard) : NULL;
        ok = s->shard || fail(e, "%s: found %zu files, expected fewer", index_path, n);
        for (size_t i = 0; ok && i < n; i++) {
            s->n_shard++;
            ok = path_join(s->shard[i].path, sizeof s->shard[i].path, dir, files[i], e) &&
                 shard_open(&s->shard[i], e);
        }
    }
    free(files);
    return ok;
}

static int by_tensor_name(const void *a, const void *b) {
    return strcmp((*(const Tensor *const *)a)->name, (*(const Tensor *const *)b)->name);
}

/* A tensor whose address does not suit its elements (an odd number of F16 before F32 is enough) is copied:
 * reading a float from an odd address is undefined, and some processors refuse it. */
static bool align(Safetensors *s, int i, Err *e) {
    Tensor *t = &s->tensor[i];
    if (!t->count || (uintptr_t)t->data % (t->bytes / t->count) == 0) return true;
    if (!(s->copy[i] = memory_new(t->bytes, t->name, e))) return false;
    memcpy(s->copy[i], t->data, t->bytes);
    t->data = s->copy[i];
    return true;
}

/* Tensors of all shards, the table of names, and no name twice. */
static bool gather_tensors(Safetensors *s, const char *path, Err *e) {
    size_t most = 1;
    for (int i = 0; i < s->n_shard; i++) most += s->shard[i].header->length;
    if (most > 1 << 30) return fail(e, "%s: found %zu tensors, expected fewer", path, most);
    s->tensor = calloc(most, sizeof *s->tensor);
    s->by_name = calloc(most, sizeof *s->by_name);
    s->copy = calloc(most, sizeof *s->copy);
    if (!s->tensor || !s->by_name || !s->copy)
        return fail(e, "%s: tables for %zu tensors could not be allocated", path, most);
    for (int i = 0; i < s->n_shard; i++) {
        const int n = shard_tensors(s->tensor + s->n, &s->shard[i], e);
        if (n < 0) return false;
        s->n += n;
        s->shard[i].end = s->n;
    }
    for (int i = 0; i < s->n; i++) {
        s->by_name[i] = &s->tensor[i];
        if (!align(s, i, e)) return false;
    }
    qsort(s->by_name, (size_t)s->n, sizeof *s->by_name, by_tensor_name);
    for (int i = 1; i < s->n; i++)
        if (strcmp(s->by_name[i]->name, s->by_name[i - 1]->name) == 0)
            return fail(e, "%s: tensor %.160s: found in two shards, expected in one", path,
                        s->by_name[i]->name);
    return true;
}

/* Each entry of the index is in the shard that it names. A tensor that the index does not name is there all
 * the same. */
static bool index_holds(const Safetensors *s, const char *index_path, const Json *index, Err *e) {
    const Json *map = json_get(index, "weight_map");
    for (size_t i = 0; i < map->length; i++) {
        const Json *entry = &map->item[i];
        const Tensor *t = safetensors_find(s, entry->key);
        const Shard *in = s->shard;
        while (t && t - s->tensor >= in->end) in++;
        if (!t || strcmp(strrchr(in->path, '/') + 1, entry->string))
            return fail(e, "%s:%d:%d: tensor %.160s: not found in %.80s, where the index says that it is",
                        index_path, entry->line, entry->column, entry->key, entry->string);
    }
    return true;
}

Safetensors *safetensors_open(const char *path, Err *e) {
    Safetensors *s = calloc(1, sizeof *s);
    Json *index = NULL;
    char file[1024];
    bool ok = s ? true : fail(e, "%s: %zu bytes could not be allocated", path, sizeof *s);
    const bool folder = path_is_folder(path);
    ok = ok && path_join(file, sizeof file, folder ? path : "", folder ? "model.safetensors" : path, e);
    if (ok && folder && !path_exists(file)) {
        ok = path_join(file, sizeof file, path, "model.safetensors.index.json", e) &&
             (path_exists(file) ||
              fail(e, "%s: found neither model.safetensors nor model.safetensors.index.json", path)) &&
             (index = json_read_file(file, e)) && shards_of_index(s, path, file, index, e);
    } else if (ok) {
        s->shard = calloc(1, sizeof *s->shard);
        ok = s->shard || fail(e, "%s: %zu bytes could not be allocated", path, sizeof *s->shard);
        if (ok) {
            s->n_shard = 1;
            strcpy(s->shard->path, file);
            ok = shard_open(s->shard, e);
        }
    }
    ok = ok && gather_tensors(s, path, e) && (!index || index_holds(s, file, index, e));
    json_free(index);
    if (ok) return s;
    safetensors_close(s);
    return NULL;
}

void safetensors_close(Safetensors *s) {
    if (!s) return;
    for (int i = 0; s->copy && i < s->n; i++) memory_free(s->copy[i]);
    for (int i = 0; i < s->n_shard; i++) {
        json_free(s->shard[i].header);
        file_unmap(&s->shard[i].map);
    }
    free(s->copy), free(s->by_name), free(s->tensor), free(s->shard);
    free(s);
}

int safetensors_count(const Safetensors *s) { return s->n; }
const Tensor *safetensors_at(const Safetensors *s, int i) {
    return i >= 0 && i < s->n ? &s->tensor[i] : NULL;
}

const Tensor *safetensors_find(const Safetensors *s, const char *name) {
    int low = 0, high = s->n;           /* by_name[low..high) may hold it */
    while (low < high) {
        const int middle = low + (high - low) / 2, order = strcmp(s->by_name[middle]->name, name);
        if (order == 0) return s->by_name[middle];
        if (order < 0) low = middle + 1;
        else high = middle;
    }
    return NULL;
}

/* Of several shards, the first that has the key. */
const char *safetensors_metadata(const Safetensors *s, const char *key) {
    for (int i = 0; i < s->n_shard; i++) {
        const Json *v = json_get(json_get(s->shard[i].header, metadata_key), key);
        if (v) return v->string;
    }
    return NULL;
}

enum { SEAL = 32 };

static void seal_of(unsigned char seal[SEAL], Sha256 *sum) {
    char hex[65];
    sha256_end(sum, hex);
    for (int i = 0; i < SEAL; i++) {
        const int high = hex[2 * i], low = hex[2 * i + 1];
        seal[i] = (unsigned char)((high <= '9' ? high - '0' : high - 'a' + 10) << 4 |
                                  (low <= '9' ? low - '0' : low - 'a' + 10));
    }
}

bool safetensors_sealed(const Safetensors *s) {
    const Tensor *last = s->n ? &s->tensor[s->n - 1] : NULL;
    if (s->n_shard != 1 || !last || last->bytes != SEAL || strcmp(last->dtype, "U8")) return false;
    const FileMap *m = &s->shard->map;
    unsigned char seal[SEAL];
    Sha256 sum;
    sha256_begin(&sum);
    sha256_add(&sum, m->base, m->n - SEAL);
    seal_of(seal, &sum);
    return !memcmp(seal, m->base + m->n - SEAL, SEAL);
}

/* ---- the writer ---- */

static const char *dtype_of(Store s) {
    if (s == STORE_REAL) return REAL_DTYPE;
    for (int d = 0; d < N_DTYPE; d++) if (dtypes[d].store == s) return dtypes[d].name;
    return NULL;
}

/* Place in dtypes of what is to be written; N_DTYPE: no such type. */
static int type_out(const TensorOut *t) {
    const char *name = t->dtype ? t->dtype : dtype_of(t->store);
    int d = 0;
    while (d < N_DTYPE && strcmp(dtypes[d].name, name)) d++;
    return d;
}

static bool check_out(const TensorOut *t, int n, const char *path, size_t *count, Err *e) {
    const char **names = malloc(((size_t)n + 1) * sizeof *names);
    if (!names) return fail(e, "%s: %d names could not be allocated", path, n);
    bool ok = true;
    for (int i = 0; ok && i < n; i++) {
        const size_t length = strlen(t[i].name);
        names[i] = t[i].name;
        if (!length || length > NAME_MAX_BYTES || !utf8_valid(t[i].name, length, NULL) ||
            strcmp(t[i].name, metadata_key) == 0)
            ok = fail(e, "%s: tensor %d: found the name \"%.80s\", expected 1 to %d bytes of UTF-8", path, i,
                      t[i].name, NAME_MAX_BYTES);
        else if (type_out(&t[i]) == N_DTYPE)
            ok = fail(e, "%s: tensor %.160s: found the dtype \"%.40s\", expected one of the format's", path,
                      t[i].name, t[i].dtype);
        else if (t[i].n_dim < 0 || t[i].n_dim > 8)
            ok = fail(e, "%s: tensor %.160s: found %d dimensions, expected at most 8", path, t[i].name,
                      t[i].n_dim);
        count[i] = 1;
        for (int k = 0; ok && k < t[i].n_dim; k++) {
            if (t[i].shape[k] && count[i] > SIZE_MAX / 64 / t[i].shape[k])
                ok = fail(e, "%s: tensor %.160s: its size overflows", path, t[i].name);
            else count[i] *= t[i].shape[k];
        }
    }
    if (ok) qsort(names, (size_t)n, sizeof *names, by_string);
    for (int i = 1; ok && i < n; i++)
        if (strcmp(names[i], names[i - 1]) == 0)
            ok = fail(e, "%s: tensor %.160s: found twice, expected once", path, names[i]);
    free(names);
    return ok;
}

/* Compact, in the order given, filled up with blanks so that the data begins at a multiple of 8. NULL: out of
 * memory. */
static char *header_new(const TensorOut *t, int n, const size_t *count, const char *const *metadata,
                        size_t *length) {
    JsonWriter w = {0};
    size_t begin = 0;
    json_begin(&w, '{');
    json_open(&w, metadata_key, '{');
    const char *format = "pt";
    for (const char *const *m = metadata; m && m[0] && m[1]; m += 2)
        if (strcmp(m[0], "format") == 0) format = m[1];
    json_put_string(&w, "format", format);
    for (; metadata && metadata[0] && metadata[1]; metadata += 2) {
        if (strcmp(metadata[0], "format") == 0) continue;
        json_put_string(&w, metadata[0], metadata[1]);
    }
    json_end(&w, '}');
    for (int i = 0; i < n; i++) {
        const size_t end = begin + count[i] * dtypes[type_out(&t[i])].size;
        json_open(&w, t[i].name, '{');
        json_put_string(&w, "dtype", dtypes[type_out(&t[i])].name);
        json_open(&w, "shape", '[');
        for (int k = 0; k < t[i].n_dim; k++) json_int(&w, (long long)t[i].shape[k]);
        json_end(&w, ']');
        json_open(&w, "data_offsets", '['), json_int(&w, (long long)begin), json_int(&w, (long long)end),
            json_end(&w, ']');
        json_end(&w, '}');
        begin = end;
    }
    json_end(&w, '}');
    while (w.text && w.length % 8) json_raw(&w, " ");
    *length = w.length;
    return w.text;
}

/* The same bits, or through real: exact but for F64 in the float build and for the rounding into the tensor's
 * store. */
static bool append_tensor(FileWriter *f, const TensorOut *t, size_t count, real *scratch, unsigned char *out,
                          Err *e) {
    const unsigned char *from = t->data;
    const size_t size_from = store_size(t->from), size = store_size(t->store);
    if (t->dtype && !from && count == SEAL) {
        seal_of(out, f->sum);
        return file_append(f, out, SEAL, e);
    }
    if (t->dtype) return file_append(f, from, count * dtypes[type_out(t)].size, e);
    if (strcmp(dtype_of(t->from), dtype_of(t->store)) == 0) return file_append(f, from, count * size, e);
    for (size_t done = 0; done < count; done += PIECE) {
        const size_t n = count - done < PIECE ? count - done : PIECE;
        store_to_real(scratch, from + done * size_from, t->from, n);
        store_from_real(out, scratch, t->store, n);
        if (!file_append(f, out, n * size, e)) return false;
    }
    return true;
}

bool safetensors_write(const char *path, const TensorOut *t, int n, const char *const *metadata, Err *e) {
    size_t *count = calloc((size_t)n + 1, sizeof *count), length = 0;
    real *scratch = memory_new(PIECE * sizeof *scratch, "safetensors: scratch", e);
    unsigned char *out = memory_new(PIECE * 8, "safetensors: scratch", e), size[8];
    char *header = NULL;
    FileWriter f = {.fd = -1};
    bool ok = count && scratch && out ? check_out(t, n, path, count, e)
                                      : fail(e, "%s: scratch could not be allocated", path);
    if (ok && !(header = header_new(t, n, count, metadata, &length)))
        ok = fail(e, "%s: the header could not be allocated", path);
    if (ok && length > HEADER_MAX)
        ok = fail(e, "%s: a header of %zu bytes, expected at most %d", path, length, HEADER_MAX);
    for (int i = 0; i < 8; i++) size[i] = (unsigned char)((uint64_t)length >> (8 * i));
    Sha256 sum;
    sha256_begin(&sum);
    ok = ok && file_begin(&f, path, e);
    if (n && t[n - 1].dtype && !t[n - 1].data) f.sum = &sum;
    ok = ok && file_append(&f, size, 8, e) && file_append(&f, header, length, e);
    for (int i = 0; ok && i < n; i++) ok = append_tensor(&f, &t[i], count[i], scratch, out, e);
    ok = ok && file_commit(&f, e);
    file_abandon(&f);                   /* nothing to do after a commit or a failed append */
    free(count), free(header), memory_free(scratch), memory_free(out);
    return ok;
}
