/* config.h: config.json of a folder of Hugging Face to a network's shape. */
#ifndef CONFIG_H
#define CONFIG_H

#include "net/params.h"

enum { MAX_LABELS = 32, MAX_STOPS = 8 };

/* What a folder says beyond the network's shape. */
typedef struct {
    char label[MAX_LABELS][64];         /* id2label, n = config.n_label */
    double reward_mean[MAX_LABELS];     /* E45; 0 where the folder has none */
    bool value_model;                   /* its output was trained at every row of a reply (E241) */
    double dropout;                     /* attention_dropout, which nobody who trains here computes */
    int stop[MAX_STOPS], n_stop;        /* eos_token_id of generation_config.json, else of config.json */
    bool whole_matrices;                /* an adapter that brings more than its branches (modules_to_save) */
    char base[1024]; /* of an adapter: its base_model_name_or_path, as it is written; else "" */
} FolderInfo;

/* config.json and generation_config.json in dir, and what they leave to the weights beside them: how many
 * scores a reward model has, and whether a tied head was saved as a matrix of its own. An adapter's folder is
 * not followed to its base: folder_config does that. */
bool config_read(ModelConfig *c, FolderInfo *info, const char *dir, Err *e);

/* Whether the files of path hold both matrices, and as different numbers: a head that is tied by config.json
 * was trained and saved apart then, and counts, as in transformers 5. */
bool config_head_is_own(const char *path, const char *embed, const char *head);

#endif
