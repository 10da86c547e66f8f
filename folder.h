/* folder.h: models as Hugging Face folders: config.json, generation_config.json and safetensors, in and out. */
#ifndef FOLDER_H
#define FOLDER_H

#include "model.h"

enum { MAX_LABELS = 32, MAX_STOPS = 8 };

/* What a folder says beyond the network's shape. */
typedef struct {
    char label[MAX_LABELS][64];         /* id2label, n = config.n_label */
    double reward_mean[MAX_LABELS];     /* E45; 0 where the folder has none */
    int stop[MAX_STOPS], n_stop;        /* eos_token_id of generation_config.json, else of config.json */
} FolderInfo;

/* config.json alone: shape and labels, nothing heavy. Refuses by name what the program does not compute (sliding windows, other
 * activations, unknown rope types, dropout in attention). info may be NULL. */
bool folder_config(ModelConfig *c, FolderInfo *info, const char *dir, Err *e);
/* The whole model, packed and ready. Every tensor must be there with its shape, and none that is unknown. */
Model *folder_load(const char *dir, FolderInfo *info, Err *e);
/* A reward model on the trunk of the language model in dir: score.weight is drawn from seed. */
Model *folder_load_trunk(const char *dir, int n_label, uint64_t seed, Err *e);
/* Writes config.json, generation_config.json (language models) and model.safetensors; tokenizer files are copied from tokenizer_dir
 * unless it is NULL or dir itself. store: STORE_REAL, STORE_F32 or STORE_BF16. */
bool folder_save(const char *dir, const Model *m, const FolderInfo *info, const char *tokenizer_dir, Store store, Err *e);
/* SHA-256 over names, shapes and real values in canonical order: the identity of the weights, whatever the file. */
void folder_digest(const Model *m, char hex[65]);

#endif
