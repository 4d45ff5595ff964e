/* A stream of bytes into the store. */
#include <stdlib.h>

#include "base/fs.h"
#include "cas/internal.h"

enum { WRITER_MAGIC = 0x0ca5f117 };

struct cas_writer {
	uint32_t magic;
	struct cas *cas;
	struct hasher *hasher;
	struct temp temp;
	bool has_expected;
	struct digest expected;
	int64_t written;
};

int
cas_writer_open(struct cas *cas, const struct digest *expected, struct cas_writer **ret_writer)
{
	struct cas_writer *writer;
	int rc = cas_usable(cas, true);

	if (rc == 0 && expected != NULL && expected->size_bytes < 0)
		rc = -EINVAL;
	if (rc != 0)
		return rc;
	writer = calloc(1, sizeof(*writer));
	if (writer == NULL)
		return -ENOMEM;
	writer->magic = WRITER_MAGIC;
	writer->cas = cas;
	writer->temp.fd = -1;
	writer->has_expected = expected != NULL;
	if (expected != NULL)
		writer->expected = *expected;
	rc = hasher_new(&writer->hasher);
	if (rc == 0)
		rc = temp_open(cas, &writer->temp);
	if (rc != 0) {
		writer->temp.name[0] = '\0';
		cas_writer_abort(writer);
		return rc;
	}
	*ret_writer = writer;
	return 0;
}

int
cas_writer_write(struct cas_writer *writer, const void *data, size_t len)
{
	int rc;

	CHECK(writer->magic == WRITER_MAGIC);
	if (writer->has_expected && len > (uint64_t)(writer->expected.size_bytes - writer->written))
		return -EBADMSG;
	rc = fs_write_all(writer->temp.fd, data, len);
	if (rc != 0)
		return rc;
	hasher_update(writer->hasher, data, len);
	writer->written += (int64_t)len;
	return 0;
}

int
cas_writer_commit(struct cas_writer *writer, struct digest *ret_digest)
{
	struct digest digest;
	int rc = 0;

	CHECK(writer->magic == WRITER_MAGIC);
	hasher_finish(writer->hasher, &digest);
	if (writer->has_expected && !digest_equal(&digest, &writer->expected))
		rc = -EBADMSG;
	else if (!digest_is_empty(&digest))
		rc = temp_publish(writer->cas, &writer->temp, &digest, false);
	cas_writer_abort(writer);
	if (rc == 0 && ret_digest != NULL)
		*ret_digest = digest;
	return rc;
}

void
cas_writer_abort(struct cas_writer *writer)
{
	if (writer == NULL)
		return;
	CHECK(writer->magic == WRITER_MAGIC);
	temp_discard(writer->cas, &writer->temp);
	hasher_free(writer->hasher);
	writer->magic = 0;
	free(writer);
}
