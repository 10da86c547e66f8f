/* main.c: `grpo COMMAND`: a table of commands, nothing else. */
#include <stdio.h>
#include <string.h>

#include "cmd/commands.h"
#include "lib/files.h"
#include "lib/real.h"
#include "lib/say.h"
#include "lib/threads.h"
#include "lib/words.h"

static const struct { const char *name, *what; int (*run)(int argc, char **argv, Err *e); } command[] = {
    {"init", "a new random model folder and tokenizer", cmd_init},
    {"sft", "supervised fine-tuning", cmd_sft},
    {"reward", "train the multi-label reward regression", cmd_reward},
    {"em", "reward models for groups of users who disagree", cmd_em},
    {"train", "GRPO", cmd_train},
    {"ppo", "PPO with a critic, on the same scores as train", cmd_ppo},
    {"aihf", "GRPO and its reward model in turns, from demonstrations and preferences", cmd_aihf},
    {"pairs", "preference pairs from scored replies", cmd_pairs},
    {"dpo", "direct preference optimisation on pairs of replies", cmd_dpo},
    {"trace", "one GRPO step told in full, for auditors", cmd_trace},
    {"sample", "completions for the prompts of a file", cmd_sample},
    {"mix", "weights for a mixture of finished policies", cmd_mix},
    {"collab", "completions by several policies, token by token", cmd_collab},
    {"chat", "talk to a model in the terminal", cmd_chat},
    {"score", "scores of given replies, per label and weighted", cmd_score},
    {"compute", "the mathematics as a filter: JSON lines in, values and derivatives out", cmd_compute},
    {"eval", "policies side by side on the same prompts, with intervals", cmd_eval},
    {"verify", "whether another program's numbers are right, and if not, why", cmd_verify},
    {"compare", "where two runs first differ, and their metrics side by side", cmd_compare},
    {"report", "runs side by side on one page: curves, tables with intervals, costs, replies", cmd_report},
    {"bench", "its own speed, as a share of what the machine can do", cmd_bench},
    {"merge", "an adapter and its base become one model folder", cmd_merge},
    {"info", "what is in a folder, and what a run will need: memory and time", cmd_info},
};
enum { N_COMMAND = sizeof command / sizeof *command };

static int usage(FILE *to) {
    fprintf(to, "grpo: multi-objective GRPO for language models (%s build)\n\n",
            sizeof(real) == 4 ? "float" : "double");
    for (int i = 0; i < N_COMMAND; i++) fprintf(to, "  grpo %-9s %s\n", command[i].name, command[i].what);
    fprintf(to, "\ngrpo COMMAND --help tells a command's options. Exit code 0: fine, 1: a check did not "
                "hold, 2: bad usage or input.\n");
    return to == stdout ? 0 : 2;
}

/* The line may hold what stands in a stranger's file. */
static void tell_failure(const char *name, const Err *e) {
    fprintf(stderr, "grpo %s: ", name);
    put_plain(stderr, e->line);
    putc('\n', stderr);
}

static int main_command(int argc, char **argv) {
    if (argc < 2) return usage(stderr);
    if (!strcmp(argv[1], "help") || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
        return usage(stdout);
    const char *names[N_COMMAND];
    for (int i = 0; i < N_COMMAND; i++) {
        names[i] = command[i].name;
        if (strcmp(argv[1], command[i].name)) continue;
        Err e = {{0}};
        const int code = command[i].run(argc - 1, argv + 1, &e);
        if (code >= 0) return code;
        fflush(stdout);
        tell_failure(argv[1], &e);
        return 2;
    }
    const char *near = nearest_name(argv[1], names, N_COMMAND);
    fprintf(stderr, "grpo: unknown command \"%.40s\"%s%s; see grpo help\n", argv[1],
            near ? ", did you mean " : "", near ? near : "");
    return 2;
}

int main(int argc, char **argv) {
    Err e = {{0}};
    int threads;
    standard_begin();
    if (threads_limit(&threads))
        fprintf(stderr, "grpo: OMP_NUM_THREADS: found %d, used %d\n", threads, thread_count());
    const int code = main_command(argc, argv);
    if (code == 2 || (standard_end(&e) && say_complete(&e))) return code;
    tell_failure(argv[1], &e);
    return 2;
}
