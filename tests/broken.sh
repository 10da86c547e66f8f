# broken.sh: what mutants.sh and exercise.sh share: a copy of the sources that may be broken, and the tests
# that must see it. To be sourced; $here is the project.
# shellcheck shell=sh
export OMP_WAIT_POLICY=passive         # idle threads that spin would make a busy machine slow
limit=$(command -v timeout > /dev/null && echo 'timeout 300')

# copy_to FOLDER: all that is built and tested from, with its times, so that make knows what is new
copy_to() {
    rm -rf "$1" && mkdir -p "$1" || exit 2
    for f in "$here"/*; do
        case ${f##*/} in
        build | runs | models | grpo | grpo64 | grpo-debug) ;;
        *) cp -Rp "$f" "$1" ;;
        esac
    done
}
tests_of() {            # the programs that must see a mistake in this file
    case $1 in
        grpo.c) echo test_grpo test_maxmin test_known_answers ;;
        variants.c) echo test_variants test_grpo test_known_answers ;;
        reward.c) echo test_reward test_known_answers ;;
        baselines/tdpo.c) echo test_tdpo test_known_answers ;;
        baselines/dpo.c) echo test_dpo test_tdpo ;;
        baselines/maxmin.c) echo test_maxmin test_known_answers ;;
        baselines/combine.c) echo test_combine test_known_answers ;;
        model.c | net/params.c | net/batch.c) echo test_model test_known_answers test_train ;;
        net/logits.c) echo test_model test_known_answers ;;
        net/flops.c) echo test_model test_cost ;;
        net/adapter.c) echo test_lora ;;
        text/chat.c) echo test_tokenizer templates ;;
        tokenizer.c | text/tokenizer_*) echo test_tokenizer ;;
        text/jinja*) echo test_jinja ;;
        lib/optim.c) echo test_optim test_known_answers ;;
        report/diversity.c) echo test_diversity ;;
        report/*) echo report ;;
        experiment/others.c) echo others ;;
        data/make_world.c) echo preferences ;;
        cmd/ppo.c | run/critic.c) echo dvpo ;;
        cmd/reward.c) echo commands dvpo em ;;
        run/pair_reward.c) echo test_pair_reward em ;;
        run/em.c | cmd/em.c) echo em ;;
        baselines/aihf.c) echo test_aihf test_known_answers ;;
        run/aihf.c | cmd/aihf.c) echo aihf ;;
        run/watch.c | run/evaluate.c | text/overlap.c) echo watch ;;
        lib/hash.c) echo test_hash ;;
        lib/say.c) echo test_say ;;
        net/folder.c) echo test_folder ;;
        run/events.c) echo test_events ;;
        run/replies.c) echo test_replies dvpo ;;
        cmd/dpo.c) echo pairs baselines data torture ;;
        run/loop.c) echo commands data faults ;;
        run/checkpoint.c | main.c) echo faults ;;
        lib/files.c) echo test_files faults ;;
        run/options.c) echo commands faults ;;
        run/mix.c) echo test_mpo mix_weights ;;
        cmd/mix.c) echo mix_weights ;;
        run/policy_mix.c) echo mix ;;
        cmd/* | step.c | run/run.c | run/speaker.c | run/run_files.c | run/drawing.c) echo commands ;;
        text/data.c | text/shapes.c | text/fit.c | cmd/score.c | cmd/eval.c) echo data commands ;;
        run/collab.c) echo collab ;;
        run/pair_batch.c) echo test_pair_batch pairs baselines ;;
        run/flow_pairs.c) echo test_flow_pairs test_pair_batch ;;
        baselines/flow.c) echo test_flow test_known_answers ;;
        run/sequences.c) echo templates pairs ;;
        run/groups.c | run/pairs.c | run/changed.c) echo pairs ;;
        run/program.c | run/child.c) echo program pairs ;;
        run/scorer.c) echo commands program ;;
        run/learner.c) echo commands templates ;;
        run/idle.c) echo idle ;;
        run/trainer.c) echo test_train faults ;;
        net/window.c) echo test_train ;;
        *) n=${1##*/}; echo "test_${n%.c}" ;;
    esac
}
# is_red FILE [CFLAGS]: builds here and says whether one of the file's tests fails: 0 yes, and $seen tells
# which and its first complaint; 1 no; 2: does not compile
is_red() {
    for t in $(tests_of "$1"); do
        if [ -f "tests/test_$t.sh" ]; then
            make -s ${2+"$2"} grpo grpo64 build/make_world build/demo_table build/experiment_others \
                > log 2>&1 || { tail -n 3 log; return 2; }
            program="sh tests/test_$t.sh"
        else
            make -s ${2+"$2"} "build/f64/tests/$t" > log 2>&1 || { tail -n 3 log; return 2; }
            program=build/f64/tests/$t
        fi
        # shellcheck disable=SC2086  # a program, or a shell and its script
        $limit $program > log 2>&1 && continue
        seen="$t: $(grep -e '^tests/.*:[0-9]*: ' -e '^not ok' log | head -n 1 | cut -c 1-160)"
        return 0
    done
    return 1
}
