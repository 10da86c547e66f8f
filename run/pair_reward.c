/* run/pair_reward.c: pairs as a reward model reads them. */
#include "run/pair_reward.h"

#include <math.h>
#include <stdio.h>

#include "baselines/combine.h"

bool pair_reward_lay(Window *w, const PairTokens *s, int pad, Err *e) {
    const int *chosen = s->id + s->n_prompt, *rejected = chosen + s->n_w, row = w->n_row + s->n_prompt,
              last_w = head_last_row(chosen, s->n_w, pad), last_l = head_last_row(rejected, s->n_l, pad);
    if (last_w < 0 || last_l < 0)
        return fail(e, "a %s reply holds nothing but pad_token_id %d; expected another token",
                    last_w < 0 ? "chosen" : "rejected", pad);
    const int root = window_add(w, s->id, s->n_prompt, -1, e);
    return root >= 0 && window_add(w, chosen, s->n_w, root, e) >= 0 &&
           window_add(w, rejected, s->n_l, root, e) >= 0 && window_target(w, row + last_w, 0, e) &&
           window_target(w, row + s->n_w + last_l, 0, e);
}

void pair_reward_texts(Texts *t, const void *rows, int i) {
    const PairTokens *s = (const PairTokens *)rows + i;
    texts_reply_prompt(t, s->n_prompt);
    texts_reply(t, s->n_prompt, s->n_w);
    texts_reply(t, s->n_prompt, s->n_l);
    t->prompt += s->n_prompt;
    t->token += s->n_w + s->n_l;
}

void pair_reward_loss(PairReward *sum, real *dscore, const real *score, int n_pair, double center,
                      double all) {
    for (const real *s = score; s < score + 2 * n_pair; s += 2) {
        real d[2];
        double right, margin;
        sum->loss += combine_pair_loss(&d[0], &d[1], &right, &margin, &s[0], &s[1], NULL, center, 1);
        sum->accuracy += right;
        sum->margin += margin;
        for (int k = 0; dscore && k < 2; k++) dscore[s - score + k] = (real)(d[k] / all);
    }
}

PairReward pair_reward_means(PairReward sum, double n) {
    return (PairReward){sum.loss / n, sum.accuracy / n, sum.margin / n};
}

bool pair_reward_scores(real *score, const Trainer *t, const PairSet *p, Err *e) {
    Window w = {0};
    bool ok = true;
    for (int i = 0; ok && i < p->n; i++) ok = pair_reward_lay(&w, &p->row[i], t->model->config.pad, e);
    ok = ok && window_scores(score, t->acts, t->max_row, t->max_target, t->model, &w, e);
    window_free(&w);
    return ok;
}

bool pair_reward_center_check(double center, Err *e) {
    return (center >= 0 && !isinf(center)) ||
           fail(e, "--center-rewards-coefficient: found %g, expected 0 (none) or more", center);
}

void pair_reward_head(void) {
    printf("%-16s %6s %8s %8s %8s\n", "held-out", "n", "loss", "accuracy", "margin");
}

void pair_reward_row(JsonWriter *w, const char *name, int n, const PairReward *r, bool print) {
    if (print) printf("%-16s %6d %8.4f %8.3f %8.3f\n", name, n, r->loss, r->accuracy, r->margin);
    json_put_int(w, "n", n);
    json_put(w, "loss", r->loss);
    json_put(w, "accuracy", r->accuracy);
    json_put(w, "margin", r->margin);
}
