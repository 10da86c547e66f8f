/* test_profiles.c: trainers by name and release, and their own options read into settings. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "test.h"
#include "verify/profiles.h"

static bool read_as(DumpSettings *s, const char *name, const char *text, Err *e) {
    char label[48];
    const Profile *p = profile_find(label, name, "x", e);
    Json *config = p ? json_parse(text, strlen(text), "x", 1, e) : NULL;
    declared_default(s);
    const bool ok = config && profile_apply(s, p, e) && profile_read(s, p, label, config, false, "x", e) &&
                    profile_read(s, p, label, config, true, "x", e);
    json_free(config);
    return ok;
}

static void finds(const char *name, const char *label, const char *until) {
    char found[48];
    Err e = {{0}};
    const Profile *p = profile_find(found, name, "x", &e);
    CHECK(p != NULL);
    if (!p) { printf("%s\n", e.line); return; }
    CHECK_STRING(found, label);
    CHECK_STRING(p->until ? p->until : "", until);
}

static void test_names(void) {
    finds("trl", "trl-1.16", "1.16");
    finds("trl-1.9", "trl-1.9", "1.9.2");               /* the newest of its patches */
    finds("trl-1.9.0", "trl-1.9.0", "1.9.0");
    finds("trl-1.10", "trl-1.10", "1.16");
    finds("trl-0.20.0", "trl-0.20.0", "0.21.0");
    finds("verl", "verl-0.9.1", "0.9.1");
    finds("verl-0.6.1", "verl-0.6.1", "0.7.0");
    finds("nemo-rl", "nemo-rl-0.7.0", "0.7.0");
    finds("OpenRLHF", "openrlhf-0.11.2", "0.11.2");
    finds("simple_GRPO", "simple-grpo", "");
    finds("dr-grpo", "dr_grpo", "");
    finds("liger", "liger-kernel-0.8.5", "0.8.5");
    char label[48];
    Err e = {{0}};
    CHECK_ERROR(!profile_find(label, "vrel", "x", &e), e, "did you mean verl");
    CHECK_ERROR(!profile_find(label, "slyme", "x", &e), e, "prime-rl");
    CHECK_ERROR(!profile_find(label, "trl-1.17", "x", &e), e,
                "expected a release of trl from 0.15.0 to 1.16");
    CHECK_ERROR(!profile_find(label, "paper-2", "x", &e), e, "expected paper without a release");
    CHECK_ERROR(!profile_find(label, "", "x", &e), e, "found \"\"");
}

static void test_releases(void) {
    DumpSettings s;
    Err e = {{0}};
    CHECK(read_as(&s, "trl-0.18", "{}", &e));
    CHECK(s.grpo.beta == 0.04 && s.grpo.loss_type == LOSS_BNPO && s.sampling.temperature == 1);
    CHECK(read_as(&s, "trl-0.16", "{}", &e) && s.sampling.temperature == 0.9);
    CHECK(read_as(&s, "trl-0.19", "{}", &e) && s.grpo.beta == 0);
    CHECK(read_as(&s, "trl-1.9.2", "{}", &e) && !s.grpo.use_bias_correction_kl);
    CHECK(read_as(&s, "trl-1.10.0", "{}", &e) && s.grpo.use_bias_correction_kl);
    CHECK(read_as(&s, "verl-0.3", "{}", &e) && isnan(s.grpo.dual_clip));
    CHECK(read_as(&s, "verl-0.4", "{}", &e) && s.grpo.dual_clip == 3);
}

/* The words of each program. */
static void test_options(void) {
    DumpSettings s;
    Err e = {{0}};
    CHECK(read_as(
        &s, "verl",
        "{\"actor_rollout_ref\": {\"actor\": {\"clip_ratio_low\": 0.1, \"clip_ratio_high\": 0.28, "
        "\"clip_ratio_c\": 10, \"use_kl_loss\": true, \"kl_loss_coef\": 0.04}, \"rollout\": {\"n\": 16}, "
        "\"ref\": {\"clip_ratio_low\": 9}}, \"critic\": {\"clip_ratio_high\": 9}}",
        &e));
    CHECK(s.grpo.epsilon == 0.1 && s.grpo.epsilon_high == 0.28 && s.grpo.dual_clip == 10);
    CHECK(s.grpo.beta == 0.04 && s.grpo.num_generations == 16);
    CHECK(read_as(&s, "verl", "{\"use_kl_loss\": false, \"kl_loss_coef\": 0.04}", &e) && s.grpo.beta == 0);
    CHECK(read_as(&s, "verl", "{\"kl_loss_coef\": 0.04}", &e) && s.grpo.beta == 0.04);
    /* clip_ratio acts where the two others are null */
    CHECK(read_as(&s, "verl", "{\"clip_ratio\": 0.3}", &e) && s.grpo.epsilon == 0.2);
    CHECK(read_as(&s, "verl", "{\"clip_ratio\": 0.3, \"clip_ratio_low\": null}", &e) &&
          s.grpo.epsilon == 0.3);
    CHECK(read_as(&s, "verl-0.3", "{\"clip_ratio\": 0.3}", &e) && s.grpo.epsilon == 0.3);
    CHECK(read_as(&s, "verl", "{\"norm_adv_by_std_in_grpo\": false}", &e) &&
          s.grpo.scale_rewards == SCALE_NONE);
    CHECK(read_as(&s, "verl", "{\"rollout_is\": \"token\", \"rollout_is_threshold\": 5}", &e) &&
          s.grpo.importance_sampling_correction && s.grpo.importance_sampling_clip_max == 5);
    CHECK(read_as(&s, "openrlhf", "{\"eps_clip_low_high\": [0.2, 0.27], \"actor.dual_clip\": 4}", &e));
    CHECK(s.grpo.epsilon == 0.2 && s.grpo.epsilon_high == 0.27);
    CHECK(read_as(&s, "openrlhf", "{\"init_kl_coef\": 0.02, \"use_kl_loss\": true}", &e) &&
          s.grpo.beta == 0.02);
    CHECK(read_as(&s, "openrlhf", "{\"algo\": {\"kl\": {\"init_coef\": 0.03, \"use_loss\": true}}}", &e) &&
          s.grpo.beta == 0.03);
    CHECK(read_as(&s, "openrlhf", "{\"init_kl_coef\": 0.02}", &e) && s.grpo.beta == 0);
    CHECK(read_as(&s, "nemo-rl",
                  "{\"loss_fn\": {\"reference_policy_kl_penalty\": 0, \"ratio_clip_max\": 0.3, "
                  "\"ratio_clip_c\": null}}",
                  &e));
    CHECK(s.grpo.beta == 0 && s.grpo.epsilon == 0.2 && s.grpo.epsilon_high == 0.3 && isnan(s.grpo.dual_clip));
    CHECK(read_as(&s, "roll", "{\"pg_clip\": 0.1, \"dual_clip_loss\": true}", &e) &&
          fabs(s.grpo.dual_clip - 1.2) < 1e-12);
    CHECK(read_as(&s, "slime", "{\"eps-clip\": 0.1, \"--eps-clip-high\": 0.3}", &e) &&
          s.grpo.epsilon == 0.1 && s.grpo.epsilon_high == 0.3);
}

static void refuses(const char *name, const char *text, const char *line) {
    DumpSettings s;
    Err e = {{0}};
    CHECK_ERROR(!read_as(&s, name, text, &e), e, line);
}

static void test_refusals(void) {
    DumpSettings s;
    Err e = {{0}};
    refuses("trl-0.25", "{\"use_bias_correction_kl\": true}",
            "trl 0.25.1 has no such option, which is there from 0.26");
    CHECK(read_as(&s, "trl-0.25", "{\"use_bias_correction_kl\": false}", &e)); /* it does so anyway */
    refuses("trl-0.15", "{\"epsilon\": 0.3}", "from 0.16");
    refuses("trl-0.21", "{\"loss_type\": \"dapo\"}", "found \"dapo\", which trl has from 0.22 only");
    refuses("verl-0.6", "{\"loss_agg_mode\": \"token-sum\"}", "which verl has from 0.9 only");
    refuses("verl", "{\"loss_agg_mode\": \"token-meen\"}", "expected one of token-mean, seq-mean-token-mean");
    refuses("verl-0.3", "{\"clip_ratio_c\": 3}", "has no such option, which is there from 0.4");
    refuses("verl", "{\"clip_ratio_high\": \"much\"}", "expected a number");
    const char *other;
    const Json *member;
    Json *config = json_parse("{\"clip_ratio_c\": 3, \"nonsense\": 1}", 34, "x", 1, &e);
    char label[48];
    const Profile *trl = profile_find(label, "trl", "x", &e), *verl = profile_find(label, "verl", "x", &e);
    member = json_get(config, "clip_ratio_c");
    CHECK(profile_knows(verl, member, &other) && !other);
    CHECK(!profile_knows(trl, member, &other) && other && !strcmp(other, "verl"));
    CHECK(!profile_knows(verl, json_get(config, "nonsense"), &other) && !other);
    json_free(config);
}

/* Every row says settings that there are, and what an option's row sets can be set. */
static void test_rows(void) {
    Err e = {{0}};
    char label[48], cell[160];
    for (int i = 0; i < n_profile; i++) {
        DumpSettings s;
        declared_default(&s);
        CHECK(profile_apply(&s, &profiles[i], &e));
        for (int k = 0; k < N_CELL; k++) {
            profile_cell(cell, &s, (ProfileCell)k);
            CHECK(cell[0] != 0);
        }
        Err none = {{0}};
        CHECK(grpo_config_check(&s.grpo, &none));
        if (none.line[0] || e.line[0]) printf("%s: %s%s\n", profiles[i].name, e.line, none.line);
    }
    for (int i = 0; i < n_profile_option; i++) {
        const ProfileOption *o = &profile_options[i];
        CHECK(profile_find(label, o->name, "x", &e) != NULL);
        if (!o->settings) continue;
        CHECK(option_row_check(o, &e));
        if (e.line[0]) { printf("%s %s: %s\n", o->name, o->option, e.line); e.line[0] = 0; }
    }
}

/* What follows from names of ours. */
static void test_rules(void) {
    DumpSettings s;
    Err e = {{0}};
    CHECK(read_as(&s, "verl", "{\"loss_mode\": \"cispo\", \"clip_ratio_high\": 0.28}", &e));
    CHECK(s.grpo.policy_term == TERM_CISPO && isnan(s.grpo.dual_clip));
    CHECK(fabs(s.grpo.cispo_clip_min - 0.8) < 1e-12 && fabs(s.grpo.cispo_clip_max - 1.28) < 1e-12);
    CHECK(read_as(&s, "verl", "{\"loss_mode\": \"gspo\"}", &e));
    CHECK(s.grpo.importance_sampling_level == LEVEL_SEQUENCE_TOKEN && s.grpo.sequence_log_ratio_max == 10);
    CHECK(read_as(&s, "verl", "{\"kl_loss_type\": \"k1+\"}", &e));
    CHECK(s.grpo.kl_estimator == KL_LOSS_K1 && s.grpo.kl_gradient == KL_GRADIENT_K2);
    CHECK(isnan(s.grpo.kl_clamp));
    CHECK(read_as(&s, "verl", "{\"rollout_rs\": \"seq_mean_k1\", \"rollout_rs_threshold\": \"0.5_2\"}", &e));
    CHECK(s.rejection == REJECT_GEOMETRIC && s.rejection_min == 0.5 && s.rejection_max == 2);
    CHECK(read_as(&s, "verl-0.7.0", "{\"rollout_rs\": \"token\", \"rollout_rs_threshold\": 4}", &e));
    CHECK(s.rejection == REJECT_TOKEN && s.rejection_min == 0.25 && s.rejection_max == 4);
    CHECK(read_as(&s, "trl-1.9.0", "{\"gradient_accumulation_steps\": 2, \"steps_per_generation\": 8}", &e));
    CHECK(read_as(&s, "openrlhf", "{\"init_kl_coef\": 0.02}", &e) && s.kl_reward_coef == 0.02 &&
          s.kl_reward == KL_REWARD_TO_GO);
    CHECK(read_as(&s, "nemo-rl-0.6", "{}", &e) && s.grpo.kl_gradient == KL_GRADIENT_OWN);
    CHECK(read_as(&s, "nemo-rl-0.7", "{}", &e) && s.grpo.kl_gradient == KL_GRADIENT_SCORE);
}

int main(void) {
    test_rows();
    test_rules();
    test_names();
    test_releases();
    test_options();
    test_refusals();
    return test_end();
}
