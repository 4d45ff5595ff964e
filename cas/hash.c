#include "cas/hash.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"

enum { HASH_BUFFER_SIZE = 128 << 10 };

struct hasher {
	EVP_MD_CTX *context;
	int64_t size_bytes;
};

int
hasher_new(struct hasher **ret_hasher)
{
	struct hasher *hasher = calloc(1, sizeof(*hasher));

	if (hasher == NULL)
		return -ENOMEM;
	hasher->context = EVP_MD_CTX_new();
	if (hasher->context == NULL ||
	    EVP_DigestInit_ex(hasher->context, EVP_sha256(), NULL) != 1) {
		hasher_free(hasher);
		return -ENOMEM;
	}
	*ret_hasher = hasher;
	return 0;
}

void
hasher_free(struct hasher *hasher)
{
	if (hasher == NULL)
		return;
	EVP_MD_CTX_free(hasher->context);
	free(hasher);
}

void
hasher_start(struct hasher *hasher)
{
	CHECK(EVP_DigestInit_ex(hasher->context, NULL, NULL) == 1);
	hasher->size_bytes = 0;
}

void
hasher_update(struct hasher *hasher, const void *data, size_t len)
{
	CHECK(EVP_DigestUpdate(hasher->context, data, len) == 1);
	hasher->size_bytes += (int64_t)len;
}

void
hasher_finish(struct hasher *hasher, struct digest *ret_digest)
{
	unsigned len = 0;

	CHECK(EVP_DigestFinal_ex(hasher->context, ret_digest->hash, &len) == 1);
	CHECK(len == DIGEST_HASH_BYTES);
	ret_digest->size_bytes = hasher->size_bytes;
}

int
hash_bytes(const void *data, size_t len, struct digest *ret_digest)
{
	struct hasher *hasher;
	int rc = hasher_new(&hasher);

	if (rc != 0)
		return rc;
	hasher_update(hasher, data, len);
	hasher_finish(hasher, ret_digest);
	hasher_free(hasher);
	return 0;
}

int
hash_fd(int fd, struct digest *ret_digest)
{
	struct hasher *hasher = NULL;
	uint8_t *buffer = malloc(HASH_BUFFER_SIZE);
	off_t offset = 0;
	int rc = buffer == NULL ? -ENOMEM : hasher_new(&hasher);

	if (rc != 0)
		goto out;
	for (;;) {
		ssize_t got = pread(fd, buffer, HASH_BUFFER_SIZE, offset);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0) {
			rc = -errno;
			goto out;
		}
		if (got == 0)
			break;
		hasher_update(hasher, buffer, (size_t)got);
		offset += got;
	}
	hasher_finish(hasher, ret_digest);
out:
	hasher_free(hasher);
	free(buffer);
	return rc;
}
