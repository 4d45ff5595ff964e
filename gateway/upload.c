#include "gateway/upload.h"

#include <sys/queue.h>
#include <sys/tree.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/fault.h"

enum { UNPACK_BUFFER = 128 << 10, WINDOW_LOG_MAX = 23 };

struct upload {
	RB_ENTRY(upload) by_name;
	TAILQ_ENTRY(upload) idle_link;
	struct uploads *uploads;
	struct resource_name name;
	unsigned users; /* calls that have taken it; under the table's lock */
	bool listed; /* in the table; under the table's lock */
	uint64_t idle_since_us;

	/*
	 * Looked at without the lock, which is held as long as a message is being written: whose it
	 * is, and how many bytes of the blob are in the writer.
	 */
	_Atomic uint64_t turn;
	_Atomic int64_t stored;

	pthread_mutex_t lock; /* the rest */
	uint64_t stream_turn; /* whose zstd stream the unpacker is in */
	struct cas_writer *writer; /* NULL: not begun, or gone */
	int64_t committed; /* as upload.h has it */
	ZSTD_DCtx *unpacker; /* where the name says zstd */
	bool frame_open; /* a zstd frame is begun and not ended */
};

RB_HEAD(upload_tree, upload);
TAILQ_HEAD(upload_list, upload);

struct uploads {
	struct cas *cas;
	pthread_mutex_t lock;
	struct upload_tree tree;
	struct upload_list idle; /* taken by no call, the longest idle first */
	unsigned idle_count;
	uint64_t turns;
};

static int
compare(const struct upload *a, const struct upload *b)
{
	int order = strcmp(a->name.id, b->name.id);

	if (order == 0)
		order = strcmp(a->name.instance, b->name.instance);
	if (order == 0)
		order = digest_compare(&a->name.digest, &b->name.digest);
	return order != 0 ? order : a->name.zstd - b->name.zstd;
}

RB_PROTOTYPE(upload_tree, upload, by_name, compare)
RB_GENERATE(upload_tree, upload, by_name, compare)

struct uploads *
uploads_new(struct cas *cas)
{
	struct uploads *uploads = calloc(1, sizeof(*uploads));

	CHECK(uploads != NULL);
	uploads->cas = cas;
	pthread_mutex_init(&uploads->lock, NULL);
	RB_INIT(&uploads->tree);
	TAILQ_INIT(&uploads->idle);
	return uploads;
}

static void
contents_drop(struct upload *upload)
{
	cas_writer_abort(upload->writer);
	upload->writer = NULL;
	upload->committed = 0;
	upload->stored = 0;
	upload->frame_open = false;
}

static void
upload_free(struct upload *upload)
{
	contents_drop(upload);
	ZSTD_freeDCtx(upload->unpacker);
	pthread_mutex_destroy(&upload->lock);
	free(upload);
}

/* Table locked. */
static void
unlist(struct uploads *uploads, struct upload *upload)
{
	if (!upload->listed)
		return;
	RB_REMOVE(upload_tree, &uploads->tree, upload);
	upload->listed = false;
}

/* Table locked; the upload is taken by nobody. */
static void
idle_remove(struct uploads *uploads, struct upload *upload)
{
	TAILQ_REMOVE(&uploads->idle, upload, idle_link);
	uploads->idle_count--;
}

static void
idle_drop_first(struct uploads *uploads)
{
	struct upload *upload = TAILQ_FIRST(&uploads->idle);

	idle_remove(uploads, upload);
	unlist(uploads, upload);
	upload_free(upload);
}

void
uploads_expire(struct uploads *uploads, uint32_t idle_s)
{
	uint64_t now_us = clock_monotonic_us();
	struct upload *upload;

	pthread_mutex_lock(&uploads->lock);
	while ((upload = TAILQ_FIRST(&uploads->idle)) != NULL &&
	    now_us - upload->idle_since_us >= (uint64_t)idle_s * 1000000)
		idle_drop_first(uploads);
	pthread_mutex_unlock(&uploads->lock);
}

/* When no call is left. */
void
uploads_free(struct uploads *uploads)
{
	if (uploads == NULL)
		return;
	while (!TAILQ_EMPTY(&uploads->idle))
		idle_drop_first(uploads);
	pthread_mutex_destroy(&uploads->lock);
	free(uploads);
}

static struct upload *
upload_new(struct uploads *uploads, const struct resource_name *name)
{
	struct upload *upload = calloc(1, sizeof(*upload));

	if (upload == NULL)
		return NULL;
	upload->uploads = uploads;
	upload->name = *name;
	pthread_mutex_init(&upload->lock, NULL);
	return upload;
}

static struct upload *
table_find(struct uploads *uploads, const struct resource_name *name)
{
	struct upload key;

	key.name = *name;
	return RB_FIND(upload_tree, &uploads->tree, &key);
}

/* Each call brings a stream of its own, which goes on at the blob's byte where we stand. */
static void
frame_restart(struct upload *upload)
{
	if (upload->unpacker != NULL)
		ZSTD_DCtx_reset(upload->unpacker, ZSTD_reset_session_only);
	upload->frame_open = false;
	upload->committed = upload->stored;
}

int
upload_take(struct uploads *uploads, const struct resource_name *name, struct upload **ret_upload,
    uint64_t *ret_turn)
{
	struct upload *upload;
	uint64_t turn;

	pthread_mutex_lock(&uploads->lock);
	upload = table_find(uploads, name);
	if (upload == NULL) {
		upload = upload_new(uploads, name);
		if (upload != NULL) {
			RB_INSERT(upload_tree, &uploads->tree, upload);
			upload->listed = true;
		}
	} else if (upload->users == 0) {
		idle_remove(uploads, upload);
	}
	turn = ++uploads->turns;
	if (upload != NULL) {
		upload->users++;
		upload->turn = turn;
	}
	pthread_mutex_unlock(&uploads->lock);
	if (upload == NULL)
		return -ENOMEM;
	*ret_upload = upload;
	*ret_turn = turn;
	return 0;
}

void
upload_leave(struct uploads *uploads, struct upload *upload, uint64_t turn)
{
	bool keep;

	pthread_mutex_lock(&uploads->lock);
	if (--upload->users > 0) {
		pthread_mutex_unlock(&uploads->lock);
		return;
	}
	keep = upload->listed && upload->writer != NULL;
	if (keep) {
		/* The next call begins a stream of its own; a window may be megabytes. */
		ZSTD_freeDCtx(upload->unpacker);
		upload->unpacker = NULL;
		upload->idle_since_us = clock_monotonic_us();
		TAILQ_INSERT_TAIL(&uploads->idle, upload, idle_link);
		if (++uploads->idle_count > UPLOADS_IDLE_MAX)
			idle_drop_first(uploads);
	} else {
		unlist(uploads, upload);
	}
	pthread_mutex_unlock(&uploads->lock);
	if (!keep)
		upload_free(upload);
}

/* Each call of a zstd upload brings a stream of its own. */
static void
stream_enter(struct upload *upload, uint64_t turn)
{
	if (!upload->name.zstd || upload->stream_turn == turn || upload->turn != turn)
		return;
	upload->stream_turn = turn;
	frame_restart(upload);
}

int64_t
upload_committed(struct upload *upload)
{
	int64_t committed;

	pthread_mutex_lock(&upload->lock);
	stream_enter(upload, upload->turn);
	committed = upload->committed;
	pthread_mutex_unlock(&upload->lock);
	return committed;
}

int
uploads_find(struct uploads *uploads, const struct resource_name *name, int64_t *ret_stored)
{
	struct upload *upload;

	pthread_mutex_lock(&uploads->lock);
	upload = table_find(uploads, name);
	if (upload != NULL)
		*ret_stored = upload->stored;
	pthread_mutex_unlock(&uploads->lock);
	return upload != NULL ? 0 : -ENOENT;
}

int
upload_restart(struct upload *upload, uint64_t turn)
{
	int rc = 0;

	pthread_mutex_lock(&upload->lock);
	if (upload->turn != turn)
		rc = -ECANCELED;
	else
		contents_drop(upload);
	pthread_mutex_unlock(&upload->lock);
	return rc;
}

static int
begin(struct upload *upload)
{
	int rc;

	frame_restart(upload);
	rc = cas_writer_open(upload->uploads->cas, &upload->name.digest, &upload->writer);
	return rc;
}

static int
store(struct upload *upload, const void *data, size_t len)
{
	int rc = cas_writer_write(upload->writer, data, len);

	upload->stored += rc == 0 ? (int64_t)len : 0;
	return rc;
}

/* 8 MiB of window is what every decoder should have, and what a header of 20 bytes may cost us. */
static int
unpacker_make(struct upload *upload)
{
	if (upload->unpacker != NULL)
		return 0;
	upload->unpacker = ZSTD_createDCtx();
	if (upload->unpacker == NULL)
		return -ENOMEM;
	ZSTD_DCtx_setParameter(upload->unpacker, ZSTD_d_windowLogMax, WINDOW_LOG_MAX);
	return 0;
}

/* The writer refuses what is more than the digest says, whatever a frame claims. */
static int
unpack(struct upload *upload, uint64_t turn, const void *data, size_t len)
{
	uint8_t *buffer = malloc(UNPACK_BUFFER);
	ZSTD_inBuffer in = {data, len, 0};
	bool more = len > 0;
	int rc = buffer == NULL ? -ENOMEM : 0;

	if (rc == 0)
		rc = unpacker_make(upload);
	while (rc == 0 && more) {
		ZSTD_outBuffer out = {buffer, UNPACK_BUFFER, 0};
		size_t left = ZSTD_decompressStream(upload->unpacker, &out, &in);

		if (ZSTD_isError(left)) {
			rc = ZSTD_getErrorCode(left) == ZSTD_error_memory_allocation ? -ENOMEM
										     : -EBADMSG;
			break;
		}
		/* a few bytes may become gigabytes: who has it now need not wait for them */
		if (upload->turn != turn) {
			rc = -ECANCELED;
			break;
		}
		upload->frame_open = left != 0;
		rc = store(upload, buffer, out.pos);
		/* a full buffer may have more behind it, though all input is taken */
		more = in.pos < in.size || (out.pos == out.size && left != 0);
	}
	free(buffer);
	return rc;
}

int
upload_write(struct upload *upload, uint64_t turn, int64_t offset, const void *data, size_t len)
{
	int rc = 0;

	pthread_mutex_lock(&upload->lock);
	stream_enter(upload, turn);
	if (upload->turn != turn)
		rc = -ECANCELED;
	else if (offset != upload->committed)
		rc = -ESPIPE;
	else if (upload->writer == NULL)
		rc = begin(upload);
	if (rc == 0)
		rc = upload->name.zstd ? unpack(upload, turn, data, len) : store(upload, data, len);
	if (rc == 0)
		upload->committed += (int64_t)len;
	else if (rc != -ECANCELED && rc != -ESPIPE)
		contents_drop(upload);
	pthread_mutex_unlock(&upload->lock);
	return rc;
}

int
upload_commit(struct upload *upload, uint64_t turn)
{
	int rc = 0;

	pthread_mutex_lock(&upload->lock);
	pthread_mutex_lock(&upload->uploads->lock);
	if (upload->turn != turn)
		rc = -ECANCELED;
	else
		unlist(upload->uploads, upload);
	pthread_mutex_unlock(&upload->uploads->lock);
	if (rc == 0 && upload->writer == NULL)
		rc = begin(upload);
	if (rc == 0 && upload->frame_open)
		rc = -EBADMSG;
	if (rc == 0) {
		CRASH_POINT(upload_written);
		rc = cas_writer_commit(upload->writer, NULL);
		upload->writer = NULL;
	}
	if (rc != -ECANCELED)
		contents_drop(upload);
	pthread_mutex_unlock(&upload->lock);
	return rc;
}
