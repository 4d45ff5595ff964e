/* The part that only reads: any process, any mapping, whatever stands in it. */
#include <errno.h>
#include <string.h>

#include "shm/index.h"
#include "shm/internal.h"

uint32_t
bucket_of(const struct region *region, const struct digest *digest)
{
	uint32_t bits;

	memcpy(&bits, digest->hash, sizeof(bits));
	return bits & (region->entry_count / INDEX_WAYS - 1);
}

uint32_t
tag_of(const struct digest *digest)
{
	uint32_t bits;

	memcpy(&bits, digest->hash + sizeof(bits), sizeof(bits));
	return bits;
}

void
entry_key_read(const struct layout_hot *hot, struct digest *ret_digest)
{
	atom_copy_out(ret_digest, hot->key, sizeof(*ret_digest));
}

bool
entry_key_is(const struct layout_hot *hot, const struct digest *digest)
{
	uint64_t want[DIGEST_WORDS];

	memcpy(want, digest, sizeof(want));
	for (int i = 0; i < DIGEST_WORDS; i++) {
		if (atom_load_acquire(&hot->key[i]) != want[i])
			return false;
	}
	return true;
}

bool
entry_host_stands(const struct region *region, uint32_t entry, uint64_t word)
{
	const struct layout_hot *hot = region_hot(region, entry);
	uint32_t host = atom_load_acquire(&hot->host);
	uint32_t generation = atom_load_acquire(&hot->host_generation);
	const struct layout_hot *host_hot = region_hot(region, host);

	if (host == entry)
		return true;
	return host_hot != NULL &&
	    atom_load_seq(&host_hot->word) == word_make(generation, 0, INDEX_READY);
}

/* Does this lease keep the entry, by itself or because what it names lies inside it? */
static bool
lease_keeps(const struct region *region, uint64_t lease, uint32_t entry, uint32_t generation)
{
	const struct layout_hot *hot;
	uint32_t host, host_generation;

	if (lease == 0)
		return false;
	if (lease == lease_make(entry, generation))
		return true;
	hot = region_hot(region, lease_entry(lease));
	if (hot == NULL)
		return false;
	host = atom_load_acquire(&hot->host);
	host_generation = atom_load_acquire(&hot->host_generation);
	/* What was read belongs to the lease's generation only if the entry still has it now; if
	 * not, who stored the lease sees the same and gives up. */
	return host == entry && host_generation == generation &&
	    word_generation(atom_load_seq(&hot->word)) == lease_generation(lease);
}

uint32_t
entry_leases(const struct region *region, uint32_t entry, uint32_t generation)
{
	uint32_t slots = region_slots_used(region), count = 0;

	for (uint32_t n = 0; n < slots; n++) {
		const struct slot *slot = slot_at_const(region, n);
		uint32_t used;

		if (atom_load_seq(&slot->state) == SLOT_UNUSED)
			continue;
		used = slot_leases_used(slot);
		for (uint32_t i = 0; i < used; i++)
			count +=
			    lease_keeps(region, atom_load_seq(&slot->leases[i]), entry, generation);
	}
	return count;
}

static void
entry_read_tree(const struct layout_hot *hot, struct index_tree *ret_tree)
{
	ret_tree->files = atom_load_acquire(&hot->files);
	ret_tree->directories = atom_load_acquire(&hot->directories);
	ret_tree->symlinks = atom_load_acquire(&hot->symlinks);
	ret_tree->bytes = atom_load_acquire(&hot->bytes);
	ret_tree->private_bytes = atom_load_acquire(&hot->private_bytes);
	ret_tree->build_us = atom_load_acquire(&hot->build_us);
}

void
index_tree_of(const struct region *region, const struct index_pin *pin, struct index_tree *ret_tree)
{
	entry_read_tree(&region->hot[pin->entry], ret_tree);
}

/* A length out of bounds is cut. */
static void
entry_read_path(const struct region *region, uint32_t entry, char *path)
{
	uint32_t length = atom_load_acquire(&region->hot[entry].path_length);

	if (length >= INDEX_PATH_SIZE)
		length = INDEX_PATH_SIZE - 1;
	atom_copy_out(path, region->cold[entry].path, length);
	path[length] = '\0';
}

void
index_location(const struct region *region, const struct index_pin *pin, char *location)
{
	struct digest host;
	char name[DIGEST_TEXT_SIZE], path[INDEX_PATH_SIZE];

	entry_key_read(&region->hot[pin->host], &host);
	strlcpy(location, index_folder(&host), INDEX_LOCATION_SIZE);
	strlcat(location, "/", INDEX_LOCATION_SIZE);
	strlcat(location, index_tree_name(&host, name), INDEX_LOCATION_SIZE);
	if (pin->host == pin->entry)
		return;
	entry_read_path(region, pin->entry, path);
	strlcat(location, "/", INDEX_LOCATION_SIZE);
	strlcat(location, path, INDEX_LOCATION_SIZE);
}

#define IMAGE_BIT (INT64_C(1) << 62)

struct digest
index_image_key(const struct digest *directory)
{
	struct digest key = *directory;

	key.size_bytes |= IMAGE_BIT;
	return key;
}

bool
index_is_image(const struct digest *key)
{
	return (key->size_bytes & IMAGE_BIT) != 0;
}

struct digest
index_directory_of(const struct digest *key)
{
	struct digest directory = *key;

	directory.size_bytes &= ~IMAGE_BIT;
	return directory;
}

const char *
index_folder(const struct digest *key)
{
	return index_is_image(key) ? "images" : "trees";
}

char *
index_tree_name(const struct digest *key, char *name)
{
	struct digest directory = index_directory_of(key);

	return digest_to_text(&directory, '-', name);
}

static int
read_once(const struct region *region, uint32_t entry, struct index_info *info)
{
	const struct layout_hot *hot = region_hot(region, entry), *host_hot;
	uint64_t word = atom_load_acquire(&hot->word);
	uint32_t host;

	memset(info, 0, sizeof(*info));
	if (word_state(word) > INDEX_LEAVING || word_state(word) == INDEX_CLAIMED)
		return -EAGAIN;
	if (word_state(word) == INDEX_ABSENT)
		return -ENOENT;
	info->state = (enum index_state)word_state(word);
	info->owner = word_owner(word);
	info->generation = word_generation(word);
	host = atom_load_acquire(&hot->host);
	host_hot = region_hot(region, host);
	info->inside = host != entry;
	if (host_hot == NULL)
		return -ENOENT;
	entry_key_read(hot, &info->directory);
	entry_key_read(host_hot, &info->host);
	entry_read_tree(hot, &info->tree);
	if (info->inside)
		entry_read_path(region, entry, info->path);
	info->published_us = atom_load_acquire(&hot->published_us);
	info->last_used_s = atom_load_relaxed(&hot->last_used_s);
	info->hits = atom_load_relaxed(&region->cold[entry].hits);
	/* A host on its way out, or another one in its place, is no host; and then the key read
	 * above may be another's. */
	if (info->state == INDEX_READY && !entry_host_stands(region, entry, word))
		return -ENOENT;
	return atom_load_seq(&hot->word) == word ? 0 : -EAGAIN;
}

int
index_read(const struct region *region, uint32_t entry, struct index_info *ret_info)
{
	struct index_info info;
	int rc = -EAGAIN;

	if (!region_has_entry(region, entry))
		return -ENOENT;
	for (int tries = 0; tries < 8 && rc == -EAGAIN; tries++)
		rc = read_once(region, entry, &info);
	if (rc != 0)
		return rc;
	info.pins = entry_leases(region, entry, info.generation);
	*ret_info = info;
	return 0;
}

int
index_find(const struct region *region, const struct digest *directory, uint32_t *ret_entry)
{
	uint32_t bucket = bucket_of(region, directory), tag = tag_of(directory);
	const struct layout_head *head = &region->heads[bucket];

	for (uint32_t way = 0; way < INDEX_WAYS; way++) {
		uint32_t entry = bucket * INDEX_WAYS + way;
		uint64_t word;

		if (atom_load_acquire(&head->tags[way]) != tag)
			continue;
		word = atom_load_acquire(&region->hot[entry].word);
		if (word_state(word) == INDEX_ABSENT || word_state(word) == INDEX_CLAIMED ||
		    !entry_key_is(&region->hot[entry], directory))
			continue;
		if (word_state(word) == INDEX_READY && !entry_host_stands(region, entry, word))
			continue;
		*ret_entry = entry;
		return 0;
	}
	return -ENOENT;
}
