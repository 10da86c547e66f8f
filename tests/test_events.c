/* test_events.c: TensorBoard's event files, byte by byte; its own reader opens them in
 * tests/parity/test_events.py. */
#include "run/events.h"

#include <stdlib.h>
#include <string.h>

#include "lib/files.h"
#include "tests/test.h"

static void test_crc(void) {            /* RFC 3720, B.4 */
    unsigned char bytes[32] = {0};
    CHECK(events_crc(bytes, 32) == 0x8a9136aa);
    memset(bytes, 0xff, 32);
    CHECK(events_crc(bytes, 32) == 0x62a8ab43);
    for (int i = 0; i < 32; i++) bytes[i] = (unsigned char)i;
    CHECK(events_crc(bytes, 32) == 0x46dd794e);
    CHECK(events_crc("123456789", 9) == 0xe3069283);
}

/* wall_time 1.5, step 300, one value: train/loss 0.25; null and texts are no numbers */
static const unsigned char event[] = {0x09, 0,    0,    0,    0,    0,    0,    0xf8, 0x3f, 0x10, 0xac,
                                      0x02, 0x2a, 0x13, 0x0a, 0x11, 0x0a, 0x0a, 't',  'r',  'a',  'i',
                                      'n',  '/',  'l',  'o',  's',  's',  0x15, 0,    0,    0x80, 0x3e};

static void test_record(void) {
    Err e = {{0}};
    char dir[] = "/tmp/grpo-events.XXXXXX", path[80];
    size_t n;
    CHECK(mkdtemp(dir) != NULL);
    Events *v = events_open(dir, "nothing", &e);
    CHECK(v != NULL);
    CHECK(v && events_put(v, "{\"step\":300,\"loss\":0.25,\"kl\":null,\"name\":\"x\"}", 1.5, &e));
    CHECK(v &&
          events_put(v, "{\"step\":301,\"cost\":{\"a\":1}}", 1.5, &e)); /* no number of its own: no record */
    events_close(v);
    snprintf(path, sizeof path, "%s/runs/events.out.tfevents.grpo", dir);
    char *text = file_read(path, &n, &e);
    const size_t first = 8 + 4 + 9 + 15 + 4;            /* the file's version */
    CHECK(text && n == first + 8 + 4 + sizeof event + 4);
    if (text && n > first) {
        CHECK(text[0] == 24 && text[first] == (char)sizeof event);
        CHECK(memcmp(text + first + 12, event, sizeof event) == 0);
        const uint32_t crc = events_crc(event, sizeof event), masked = (crc >> 15 | crc << 17) + 0xa282ead8u;
        const unsigned char *at = (const unsigned char *)text + first + 12 + sizeof event;
        CHECK((at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24) == masked);
    }
    free(text);
    remove(path);
    path[strlen(dir) + 5] = 0;
    remove(path);
    remove(dir);
}

int main(void) {
    test_crc();
    test_record();
    return test_end();
}
