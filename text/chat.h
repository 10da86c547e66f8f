/* chat.h: what the writer of a tokenizer needs of chat.c; the rest of it is declared in tokenizer.h. */
#ifndef CHAT_H
#define CHAT_H

/* The template of a tokenizer that was trained here (CHAT_PLAIN), as Jinja text. */
extern const char chat_plain_template[];

#endif
