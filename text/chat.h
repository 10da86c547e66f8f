/* chat.h: conversations as text and as tokens, as transformers' apply_chat_template gives them. */
#ifndef TEXT_CHAT_H
#define TEXT_CHAT_H

#include "tokenizer.h"

typedef struct { const char *role, *content; } Message;         /* roles: system, user, assistant */

/* Known families; found by the SHA-256 of the template's text, or named by --chat-template. */
typedef enum { CHAT_PLAIN, CHAT_CHATML_SMOLLM2, CHAT_QWEN2, CHAT_QWEN25, CHAT_QWEN3, CHAT_QWEN3_NO_THINK,
               CHAT_QWEN3_2507, CHAT_LLAMA3, CHAT_LLAMA3_OPEN, CHAT_UNKNOWN } ChatTemplate;
bool chat_template_parse(ChatTemplate *c, const char *name, Err *e);    /* names the nearest on error */
const char *chat_template_name(ChatTemplate c);
/* The folder's own template. Unknown text: an error that says so and names --chat-template. */
bool chat_template_find(ChatTemplate *c, const Tokenizer *t, Err *e);

/* Appends the ids of a conversation as transformers' apply_chat_template(messages, tokenize=True) gives them;
 * with `generation_prompt` the opening of the assistant's turn follows. Without a system message the family's
 * default is used. The content of messages is encoded with the template around it, in one text, so that
 * merges agree with transformers. As there, special tokens that a message spells out are those tokens: a user
 * can type an end of turn. With `split_special` only the template's own are; a message's are plain text. */
bool chat_encode(Ids *out, const Tokenizer *t, ChatTemplate c, const Message *m, int n_message,
                 bool generation_prompt, bool split_special, Err *e);
/* The same as text (caller frees). */
char *chat_render(ChatTemplate c, const Tokenizer *t, const Message *m, int n_message, bool generation_prompt,
                  Err *e);
/* The token that closes an assistant's turn (<|im_end|>, <|eot_id|>, <end>); -1 if the tokenizer lacks it. */
int chat_end_of_turn(ChatTemplate c, const Tokenizer *t);

/* The template of a tokenizer that was trained here (CHAT_PLAIN), as Jinja text. */
extern const char chat_plain_template[];

#endif
