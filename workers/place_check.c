/* Links that were forced where the action could have written through them. */
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "cas/hash.h"
#include "cas/suspect.h"
#include "workers/place.h"

enum { SAID_MAX = 16 };

struct placed_link {
	struct digest digest;
	bool executable;
	dev_t dev;
	ino_t ino;
};

struct changed {
	size_t count, healed, dropped;
	struct digest first;
};

/* Grows whenever somebody on this host finds a blob changed; workers count before they heal. */
static uint64_t
changed_blobs(const struct placer *placer)
{
	return counter_sum(placer->region, COUNTER_inputs_changed) +
	    counter_sum(placer->region, COUNTER_cas_corrupt) +
	    counter_sum(placer->region, COUNTER_cas_healed);
}

void
placer_watch(struct placer *placer)
{
	placer->changed_before = changed_blobs(placer);
}

/* By ourselves: what is left is what others count. */
static void
count_changed(struct placer *placer, enum counter counter)
{
	counter_add(placer->slot, counter, 1);
	placer->changed_before++;
}

int
placer_record_link(struct placer *placer, int dirfd, const char *name, const struct digest *digest,
    bool executable)
{
	struct stat st;

	if (placer->link_count == placer->link_room) {
		size_t room = placer->link_room == 0 ? 256 : placer->link_room * 2;
		struct placed_link *grown = reallocarray(placer->links, room, sizeof *grown);
		if (grown == NULL)
			return -ENOMEM;
		placer->links = grown;
		placer->link_room = room;
	}
	if (fstatat(dirfd, name, &st, AT_SYMLINK_NOFOLLOW) != 0)
		return -errno;
	placer->links[placer->link_count++] = (struct placed_link){
	    .digest = *digest, .executable = executable, .dev = st.st_dev, .ino = st.st_ino};
	return 0;
}

/* Mode and bytes: times can be set back by whoever may write, and every link changes ctime. */
static bool
holds_its_bytes(int fd, const struct stat *st, const struct placed_link *link)
{
	struct digest now;

	return (st->st_mode & 07777) == (link->executable ? 0555 : 0444) &&
	    st->st_size == link->digest.size_bytes && hash_fd(fd, &now) == 0 &&
	    digest_equal(&now, &link->digest);
}

/*
 * The inode that was linked may have left the store meanwhile.  Evicted or replaced by a second one
 * (EMLINK) it harms nobody; but another action may have changed it, and whoever found that out has
 * counted it first.
 */
static bool
is_whole(struct placer *placer, const struct placed_link *link)
{
	char name[CAS_NAME_SIZE + 1];
	struct stat st;
	bool whole;

	cas_blob_name(&link->digest, link->executable, name);
	int fd = openat(placer->cas_fd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 && errno != ENOENT)
		return false;
	if (fd < 0)
		return changed_blobs(placer) == placer->changed_before;
	if (fstat(fd, &st) != 0)
		whole = false;
	else if (st.st_dev != link->dev || st.st_ino != link->ino)
		whole = changed_blobs(placer) == placer->changed_before;
	else
		whole = holds_its_bytes(fd, &st, link);
	close(fd);
	return whole;
}

static const char *
health_words(int rc, enum cas_health health)
{
	if (rc != 0)
		return strerror(-rc);
	switch (health) {
	case CAS_HEALED:
		return "made anew from a good copy";
	case CAS_DROPPED:
		return "dropped, there being no other copy";
	default:
		return "seen to already";
	}
}

/*
 * The janitor is told first: cached trees may link to that inode too, and should we die it does the
 * rest.  Counted before the store is changed, for whoever else has linked it.
 */
static void
see_to(struct placer *placer, const struct placed_link *link, struct changed *changed)
{
	enum cas_health health = CAS_WHOLE;
	char name[CAS_NAME_SIZE + 1];

	(void)suspect_note(cas_state_fd(placer->cas), SUSPECT_BLOB, &link->digest);
	count_changed(placer, COUNTER_inputs_changed);
	int rc = cas_heal(placer->cas, &link->digest, &health);
	if (changed->count < SAID_MAX)
		log_warn("cas/%s: an input that was changed by an action: %s",
		    cas_blob_name(&link->digest, link->executable, name), health_words(rc, health));
	if (rc != 0)
		cas_drop(placer->cas, &link->digest);
	if (rc != 0 || health == CAS_DROPPED) {
		count_changed(placer, COUNTER_cas_corrupt);
		changed->dropped++;
	} else if (health == CAS_HEALED) {
		count_changed(placer, COUNTER_cas_healed);
		changed->healed++;
	}
	if (changed->count++ == 0)
		changed->first = link->digest;
}

int
placer_check_links(struct placer *placer, struct error_text *err)
{
	struct changed changed = {.count = 0};

	for (size_t i = 0; i < placer->link_count; i++)
		if (!is_whole(placer, &placer->links[i]))
			see_to(placer, &placer->links[i], &changed);
	placer->link_count = 0;
	if (changed.count == 0)
		return 0;
	char text[DIGEST_TEXT_SIZE];
	return error_set(err, -EBADMSG,
	    "inputs were changed while the action ran, by it or by another: %zu blobs, the first "
	    "%s; %zu made anew from a good copy, %zu dropped from the store (engine hardlink is "
	    "unguarded here: use another engine)",
	    changed.count, digest_to_text(&changed.first, '/', text), changed.healed,
	    changed.dropped);
}
