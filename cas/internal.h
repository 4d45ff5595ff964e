/*
 * What the files of cas/ share and nobody else includes: the handle, and files being written.
 *
 * A temp is a file in cas/tmp named "<pid>.<n>" that only its maker knows.  temp_publish gives it
 * its final mode and then its name; whatever the outcome, the temp is gone afterwards.
 */
#ifndef CAS_INTERNAL_H
#define CAS_INTERNAL_H

#include <sys/types.h>

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/check.h"
#include "base/fault.h"
#include "cas/hash.h"
#include "cas/store.h"

enum {
	CAS_MAGIC = 0x0ca5b10b,
	COPY_BUFFER_SIZE = 256 << 10,
	TEMP_NAME_SIZE = 32,
	PURGE_BYTES_MAX = 1 << 20,
};

struct cas {
	uint32_t magic;
	int state_fd, cas_fd, tmp_fd, ac_fd, trash_fd;
	bool writable;
	bool reflink_refused; /* by the volume itself, so not asked again */
	struct usage *usage; /* NULL: read-only and none there */
	struct hasher *hasher;
	/* New to the store through this handle; its writers may be of several threads. */
	_Atomic uint64_t stored_bytes;
	uint8_t *buffer; /* COPY_BUFFER_SIZE bytes, on first need */
};

struct temp {
	int fd;
	char name[TEMP_NAME_SIZE];
};

int temp_open(struct cas *cas, struct temp *ret_temp);
int temp_name_next(char name[static TEMP_NAME_SIZE]);
void temp_discard(struct cas *cas, struct temp *temp);
int temp_publish(struct cas *cas, struct temp *temp, const struct digest *digest, bool executable);

/* in_fd's bytes, from its start, into the empty temp, hashed on the way. */
int temp_fill(struct cas *cas, struct temp *temp, int in_fd, struct digest *ret_digest);
/* The same by reflink or by the kernel's copying, not hashed. */
int temp_clone(struct cas *cas, struct temp *temp, int in_fd);

uint8_t *cas_buffer(struct cas *cas); /* NULL: no memory */
int cas_usable(const struct cas *cas, bool for_writing);

/* 1: a regular file of the digest's size.  0: none.  -EILSEQ: of another size, or no file. */
int blob_stat(struct cas *cas, const struct digest *digest, bool executable);
/* Hashes what is there; what does not match its name goes.  True: something went. */
bool blob_purge(struct cas *cas, const struct digest *digest);
int blob_unlink(struct cas *cas, const char *name);

#endif
