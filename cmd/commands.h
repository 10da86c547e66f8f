/* commands.h: what `grpo COMMAND` runs. Each takes argv[0] = the command's name and returns the exit code: 0
 * fine, 1 a check did not hold, 2 bad usage or input; on -1 the line in e is printed by main and the code
 * is 2. */
#ifndef COMMANDS_H
#define COMMANDS_H

#include "run/options.h"

int cmd_init(int argc, char **argv, Err *e);
int cmd_sft(int argc, char **argv, Err *e);
int cmd_pairs(int argc, char **argv, Err *e);
int cmd_ppo(int argc, char **argv, Err *e);
int cmd_dpo(int argc, char **argv, Err *e);
int cmd_aihf(int argc, char **argv, Err *e);
int cmd_em(int argc, char **argv, Err *e);
int cmd_reward(int argc, char **argv, Err *e);
int cmd_train(int argc, char **argv, Err *e);
int cmd_trace(int argc, char **argv, Err *e);
int cmd_compute(int argc, char **argv, Err *e);
int cmd_eval(int argc, char **argv, Err *e);
int cmd_compare(int argc, char **argv, Err *e);
int cmd_report(int argc, char **argv, Err *e);
int cmd_sample(int argc, char **argv, Err *e);
int cmd_mix(int argc, char **argv, Err *e);
int cmd_collab(int argc, char **argv, Err *e);
int cmd_chat(int argc, char **argv, Err *e);
int cmd_score(int argc, char **argv, Err *e);
int cmd_bench(int argc, char **argv, Err *e);
int cmd_merge(int argc, char **argv, Err *e);
int cmd_verify(int argc, char **argv, Err *e);
/* The options of the commands that train: what config.json of a run holds. */
extern const OptionTable sft_table, reward_table, em_table, train_table, ppo_table, aihf_table,
    dpo_table;
extern const OptionTable *const run_tables[];          /* all of these, NULL at the end */
/* What `grpo info --run COMMAND` runs: the same options, a plan instead of a run. */
struct RunPlan;
int plan_sft(struct RunPlan *plan, int argc, char **argv, Err *e);
int plan_reward(struct RunPlan *plan, int argc, char **argv, Err *e);
int plan_em(struct RunPlan *plan, int argc, char **argv, Err *e);
int plan_train(struct RunPlan *plan, int argc, char **argv, Err *e);
int plan_ppo(struct RunPlan *plan, int argc, char **argv, Err *e);
int plan_aihf(struct RunPlan *plan, int argc, char **argv, Err *e);
int plan_dpo(struct RunPlan *plan, int argc, char **argv, Err *e);
int cmd_info(int argc, char **argv, Err *e);

#endif
