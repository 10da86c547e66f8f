/* test_hash.c: SipHash-1-3 against what Python 3.11 makes of bytes under the key 0 (PYTHONHASHSEED=0), and
 * that keys make a difference. */
#include "lib/hash.h"

#include <string.h>

#include "tests/test.h"

int main(void) {
    static const struct { const char *text; uint64_t hash; } known[] = {
        {"a", 0x407448d2b89b1813u}, {"abcdefg", 0x6db12aae9070f506u}, {"abcdefgh", 0x3f7b849c0b8e35eau},
        {"The quick brown fox jumps over the lazy dog", 0x8df676d3d00c451eu}};
    const HashKey zero = {{0, 0}};
    HashKey a, b;
    for (int i = 0; i < 4; i++)
        CHECK(hash_bytes(&zero, known[i].text, strlen(known[i].text)) == known[i].hash);
    hash_key(&a), hash_key(&b);
    CHECK(memcmp(&a, &b, sizeof a) != 0);
    CHECK(hash_bytes(&a, "abc", 3) != hash_bytes(&b, "abc", 3));
    CHECK(hash_pair(&a, 1, 2) != hash_pair(&b, 1, 2));
    /* pairs that the multiplication alone would put side by side: 2^16 of them into as many slots */
    static unsigned char slot[1 << 16];
    int most = 0;
    for (uint32_t i = 0; i < 1 << 16; i++) {
        const size_t at = hash_pair(&a, i << 16, i) & 0xffff;
        if (++slot[at] > most) most = slot[at];
    }
    CHECK(most < 16);
    return test_end();
}
