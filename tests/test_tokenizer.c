/* test_tokenizer.c: a trained tokenizer is loaded again, gives text back, and renders the plain template. */
#include "test.h"
#include "../tokenizer.h"

int main(void)
{
    static const char dir[] = "build/test_tokenizer";
    const char *text = "the cat and the hat and the mat";
    const size_t n = strlen(text);
    Err e = {0};
    CHECK(tokenizer_train(dir, &text, &n, 1, 264, &e));
    Tokenizer *t = tokenizer_load(dir, &e);
    CHECK(t != NULL);
    if (!t) return test_end();
    CHECK_INT(tokenizer_vocab(t), 264);
    CHECK_INT(tokenizer_id(t, "<end>"), 3);
    const Message m[] = {{"system", "s"}, {"user", "u"}, {"assistant", "a"}};
    char *s = chat_render(CHAT_PLAIN, t, m, 3, true, &e);
    CHECK_STRING(s, "<user> s\nu<bot> a<end><bot>");
    Ids ids = {0};
    CHECK(chat_encode(&ids, t, CHAT_PLAIN, m, 3, true, &e));
    char *back = tokenizer_decode(t, ids.id, ids.n, false, NULL, &e);
    CHECK_STRING(back, s);
    free(s), free(back), free(ids.id), tokenizer_free(t);
    return test_end();
}
