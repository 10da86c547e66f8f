/* events.c: TensorBoard's files: records of TFRecord, each an Event in protocol buffers' wire format.
 *
 * A record is its length (8 bytes), a masked CRC of that (4), the bytes, and a masked CRC of them (4), all
 * little-endian. An Event has wall_time (1, double), step (2, varint), and either file_version (3, string) or
 * summary (5), which holds values (1) of a tag (1, string) and a simple_value (2, float). */
#include "run/events.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "lib/files.h"
#include "lib/json.h"

struct Events { FILE *file; char path[640]; };

typedef struct { unsigned char *byte; size_t n, capacity; bool full; } Wire;

/* ---- bytes ---- */

uint32_t events_crc(const void *bytes, size_t n) {
    uint32_t crc = 0xffffffffu;
    for (const unsigned char *p = bytes, *end = p + n; p < end; p++) {
        crc ^= *p;
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (0x82f63b78u & (0 - (crc & 1)));
    }
    return ~crc;
}

static void wire_bytes(Wire *w, const void *bytes, size_t n) {
    if (w->n + n > w->capacity) {
        const size_t more = 2 * (w->n + n);
        unsigned char *grown = realloc(w->byte, more);
        if (!grown) { w->full = true; return; }
        w->byte = grown, w->capacity = more;
    }
    if (n) memcpy(w->byte + w->n, bytes, n);    /* an empty message may have no bytes to point to */
    w->n += n;
}

static void wire_fixed(Wire *w, uint64_t x, int n) {
    for (int i = 0; i < n; i++) wire_bytes(w, &(unsigned char){(unsigned char)(x >> 8 * i)}, 1);
}

static void wire_varint(Wire *w, uint64_t x) {
    for (; x >= 128; x >>= 7) wire_bytes(w, &(unsigned char){(unsigned char)(x | 128)}, 1);
    wire_bytes(w, &(unsigned char){(unsigned char)x}, 1);
}

enum { VARINT, FIXED64, BYTES, FIXED32 = 5 };
static void wire_tag(Wire *w, int field, int kind) { wire_varint(w, (uint64_t)(field << 3 | kind)); }

static void wire_message(Wire *w, int field, const void *bytes, size_t n) {
    wire_tag(w, field, BYTES);
    wire_varint(w, n);
    wire_bytes(w, bytes, n);
}

static void wire_float(Wire *w, int field, float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    wire_tag(w, field, FIXED32);
    wire_fixed(w, bits, 4);
}

static void wire_double(Wire *w, int field, double x) {
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    wire_tag(w, field, FIXED64);
    wire_fixed(w, bits, 8);
}

/* ---- records ---- */

static void masked_crc(Wire *w, const void *bytes, size_t n) {
    const uint32_t crc = events_crc(bytes, n);
    wire_fixed(w, (uint32_t)((crc >> 15 | crc << 17) + 0xa282ead8u), 4);
}

static bool write_record(Events *v, Wire *event, Err *e) {
    Wire w = {0};
    wire_fixed(&w, event->n, 8);
    masked_crc(&w, w.byte, w.n);
    wire_bytes(&w, event->byte, event->n);
    masked_crc(&w, event->byte, event->n);
    const bool ok = (!w.full && !event->full) || fail(e, "no memory for an event");
    const bool written = ok && fwrite(w.byte, 1, w.n, v->file) == w.n && fflush(v->file) == 0;
    free(w.byte);
    free(event->byte);
    return written || (ok && fail(e, "%s: could not be written: %s", v->path, strerror(errno)));
}

static void add_value(Wire *summary, const char *key, double x) {
    char tag[160];
    Wire value = {0};
    const bool eval = !strncmp(key, "eval_", 5);
    snprintf(tag, sizeof tag, "%s/%s", eval ? "eval" : "train", eval ? key + 5 : key);
    wire_message(&value, 1, tag, strlen(tag));
    wire_float(&value, 2, (float)x);
    wire_message(summary, 1, value.byte, value.n);
    summary->full = summary->full || value.full;
    free(value.byte);
}

bool events_put(Events *v, const char *line, double wall, Err *e) {
    Json *o = json_parse(line, strlen(line), "the log", 1, e);
    if (!o) return false;
    const Json *step = json_get(o, "step");
    Wire event = {0}, summary = {0};
    wire_double(&event, 1, wall);
    wire_tag(&event, 2, VARINT);
    wire_varint(&event, step ? (uint64_t)step->number : 0);
    for (size_t i = 0; i < o->length; i++)
        if (o->item[i].type == JSON_NUMBER && &o->item[i] != step)
            add_value(&summary, o->item[i].key, o->item[i].number);
    wire_message(&event, 5, summary.byte, summary.n);
    event.full = event.full || summary.full;
    const bool any = summary.n > 0;
    free(summary.byte);
    json_free(o);
    if (!any) free(event.byte);
    return !any || write_record(v, &event, e);
}

/* ---- the file ---- */

static bool begin(Events *v, double wall, Err *e) {
    Wire event = {0};
    wire_double(&event, 1, wall);
    wire_message(&event, 3, "brain.Event:2", 13);
    return write_record(v, &event, e);
}

static bool former_lines(Events *v, const char *log_path, double wall, Err *e) {
    size_t n;
    if (!path_exists(log_path)) return true;
    char *text = file_read(log_path, &n, e);
    bool ok = text != NULL;
    for (char *at = text, *end; ok && (end = strchr(at, '\n')); at = end + 1) {
        *end = 0;
        ok = events_put(v, at, wall, e);
    }
    free(text);
    return ok;
}

Events *events_open(const char *dir, const char *log_path, Err *e) {
    const double wall = (double)time(NULL);
    Events *v = calloc(1, sizeof *v);
    if (!v) { fail(e, "no memory for events"); return NULL; }
    bool ok = path_join(v->path, sizeof v->path, dir, "runs", e) && folder_make(v->path, e) &&
              path_join(v->path, sizeof v->path, dir, "runs/events.out.tfevents.grpo", e);
    if (ok && !(v->file = fopen(v->path, "wb")))
        ok = fail(e, "%s: could not be written: %s", v->path, strerror(errno));
    if (!ok) fail_also(e, "; make the folder writable, or leave --report-to out");
    if (ok && begin(v, wall, e) && former_lines(v, log_path, wall, e)) return v;
    events_close(v);
    return NULL;
}

void events_close(Events *v) {
    if (v && v->file) fclose(v->file);
    free(v);
}
