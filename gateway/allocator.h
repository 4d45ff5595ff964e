/*
 * The allocator, set for what the gateway does: messages of up to some hundred KiB come and go.
 *
 * Gateway, main, before the first thread.
 */
#ifndef GATEWAY_ALLOCATOR_H
#define GATEWAY_ALLOCATOR_H

void allocator_set(void);

#endif
