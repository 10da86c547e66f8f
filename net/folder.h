/* folder.h: models as Hugging Face folders: config.json, generation_config.json and safetensors, in and out;
 * adapters as PEFT folders.
 *
 * A folder with adapter_config.json is an adapter (E294): it names its base, and all functions here take it
 * for the base with the adapter. */
#ifndef FOLDER_H
#define FOLDER_H

#include "net/config.h"

bool folder_is_adapter(const char *dir);
/* The folder whose base weights, tokenizer files ... belong to dir: an adapter's base (its path as it stands,
 * or seen from the adapter's folder), else dir itself. */
bool folder_base(char out[1024], const char *dir, Err *e);
/* Where dir's tokenizer is: dir, or the base of an adapter that came without one. */
bool folder_tokenizer(char out[1024], const char *dir, Err *e);
/* Whether the tokenizers of two folders are the same file, byte for byte. */
bool folder_same_tokenizer(bool *same, const char *a, const char *b, Err *e);

/* config.json alone: shape and labels, nothing heavy. Refuses by name what the program does not compute
 * (sliding windows that a layer uses, other activations, unknown rope types). info may be NULL. */
bool folder_config(ModelConfig *c, FolderInfo *info, const char *dir, Err *e);
/* The whole model, packed and ready. Every tensor must be there with its shape, and none that is unknown. */
Model *folder_load(const char *dir, FolderInfo *info, Err *e);
/* The model in dir with a configuration that the caller has changed since folder_config: another n_label
 * makes it a reward model, lora adapts it, base_store keeps its frozen matrices in 16 bits (frozen vectors
 * are rounded alike, so that it is the same folder saved in them). What the folder does not hold
 * (score.weight of so many labels, the adapters) is drawn from seed. */
Model *folder_load_as(const char *dir, const ModelConfig *c, uint64_t seed, Err *e);
/* Writes config.json, generation_config.json (language models) and model.safetensors; tokenizer files are
 * copied from tokenizer_dir unless it is NULL or dir itself; so is what its generation_config.json says
 * beside the ids. A model whose adapter is on: adapter_config.json, which names info->base, and
 * adapter_model.safetensors instead; of a reward model score.weight is among the tensors (PEFT's
 * modules_to_save), and config.json is there for the labels' sake. store: STORE_REAL, STORE_F32 or
 * STORE_BF16. */
bool folder_save(const char *dir, const Model *m, const FolderInfo *info, const char *tokenizer_dir,
                 Store store, Err *e);
/* SHA-256 over names, shapes and real values in canonical order: the identity of the weights, whatever the
 * file. */
void folder_digest(const Model *m, char hex[65]);

#endif
