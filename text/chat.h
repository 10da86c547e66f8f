/* chat.h: conversations as text and as tokens, as transformers' apply_chat_template gives them. */
#ifndef TEXT_CHAT_H
#define TEXT_CHAT_H

#include "lib/json.h"
#include "tokenizer.h"

/* row: the whole message as the data has it (tool_calls, reasoning_content, content in parts); NULL: role and
 * content are all. */
typedef struct { const char *role, *content; const Json *row; } Message;
bool chat_role(const char *role);       /* system, developer, user, assistant, tool, function, ipython */
/* What a template sees: n messages, and of the data's row (NULL: none) tools, documents and
 * chat_template_kwargs. */
typedef struct { const Message *message; int n; const Json *row; } Conversation;

/* How to render: template: a name (chat_names) or a file that ends with .jinja; NULL: the folder's own. date:
 * what strftime_now writes, as YYYY-MM-DD; NULL: CHAT_DATE. end: the token that ends a reply; NULL: the one
 * with which the template closes the assistant's turn. */
typedef struct { const char *template, *date, *end; } ChatChoice;
#define CHAT_DATE "2024-07-26"
const char *chat_names(void);           /* "plain, chatml, ... or zephyr" */
const char *chat_named(const char *name);       /* its template; NULL: no such name */

typedef struct Chat Chat;
/* choice NULL: all of it NULL. t must outlive it. A folder without a template: an error that names the
 * template to choose. */
Chat *chat_open(const Tokenizer *t, const char *dir, const ChatChoice *choice, Err *e);
void chat_free(Chat *c);
const char *chat_text(const Chat *c);   /* the template */
/* Of the named template with this text, else "the folder's own", or the file. */
const char *chat_name(const Chat *c);
/* The token that closes an assistant's turn (<|im_end|>, <|eot_id|>, <end>). */
int chat_end(const Chat *c);

/* The conversation as text (to be freed); with `generation_prompt` the assistant's opening follows. */
char *chat_render(const Chat *c, Conversation v, bool generation_prompt, Err *e);
/* Appends the ids of a prompt: the conversation with the opening of the assistant's turn, or, if it ends with
 * the assistant's, up to the end of that text, which the reply then goes on with. All is encoded as one text,
 * so that merges agree with transformers. As there, special tokens that a message spells out are those
 * tokens: a user can type an end of turn. With `split_special` only the template's own are; a message's are
 * plain text. */
bool chat_encode(Ids *out, const Chat *c, Conversation v, bool split_special, Err *e);
/* Appends the ids of the reply to that prompt: what the template writes for the whole conversation behind the
 * prompt's text, up to the token that closes the turn, which is added if the reply `ended`. Special tokens
 * that the reply spells out are plain text. Where the whole does not begin with the prompt's text (templates
 * that drop thoughts) the ids are those of the reply's text alone, and chat_apart is one more. */
bool chat_encode_reply(Ids *out, Chat *c, Conversation v, const Message *reply, bool ended, Err *e);
int chat_apart(const Chat *c);
/* Appends the ids of a whole conversation; learned (to be freed): for each of them whether it is of an
 * assistant's turn, closing token included: what {% generation %} marks, or, without marks, what stands
 * behind the prompt of each such turn. */
bool chat_encode_turns(Ids *out, bool **learned, const Chat *c, Conversation v, Err *e);
/* Of a reply's decoded text, the blanks that the template itself writes before it (0 or more bytes). */
size_t chat_lead(const Chat *c, const char *text);

/* The template of a tokenizer that was trained here, as Jinja text. */
extern const char chat_plain_template[];

#endif
