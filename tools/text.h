/* Text that others chose, on its way to a terminal or into JSON. */
#ifndef TOOLS_TEXT_H
#define TOOLS_TEXT_H

#include <jansson.h>

/* To stdout, with '?' for what would steer a terminal. */
void text_print(const char *text);

/* A JSON string; where the text is not UTF-8, with '?' for each byte that is not ASCII. */
json_t *text_json(const char *text);

/* "1.2 s", "4 min 2 s"; "1.5 MiB".  `text` has 32 bytes and is returned. */
char *text_duration(uint64_t us, char *text);
char *text_bytes(uint64_t bytes, char *text);

#endif
