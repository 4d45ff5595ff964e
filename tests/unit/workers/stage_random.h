/*
 * Trees by dice, and changes of them: all that an input tree may hold, the odd things more often
 * than a build has them.  The same for the same seed.
 */
#ifndef TESTS_STAGE_RANDOM_H
#define TESTS_STAGE_RANDOM_H

#include "tests/unit/workers/stage_host.h"

enum random_kind { RANDOM_FILE, RANDOM_SYMLINK, RANDOM_DIRECTORY };

/* In the host's arena, as everything here. */
struct random_node {
	enum random_kind kind;
	char *name;
	bool executable, has_mode, has_mtime;
	bool is_unsorted; /* a Directory message in another order */
	uint32_t mode;
	int64_t mtime;
	const char *text; /* a file's, or a symlink's target */
	struct random_node **kids;
	size_t count, room;
};

struct random_trees {
	struct host *host;
	uint64_t seed;
	unsigned numbers;
};

/* Dice that begin alike for seeds that are near each other are none. */
static inline uint64_t
random_seed(uint64_t number)
{
	number += UINT64_C(0x9e3779b97f4a7c15);
	number = (number ^ number >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	number = (number ^ number >> 27) * UINT64_C(0x94d049bb133111eb);
	return number ^ number >> 31;
}

static inline uint32_t
roll(struct random_trees *trees, uint32_t sides)
{
	return dice(&trees->seed, sides);
}

static inline char *
random_name(struct random_trees *trees, char letter)
{
	struct arena *arena = trees->host->arena;
	unsigned number = roll(trees, 30);
	char *name;

	switch (roll(trees, 24)) {
	case 0:
		return arena_printf(arena, "%c%u \xc3\xa9", letter, number);
	case 1:
		return arena_printf(arena, "-%c%u", letter, number);
	case 2:
		return arena_printf(arena, "...%u", number);
	case 3:
		return arena_printf(arena, "%c\n%u", letter, number);
	case 4:
		return arena_printf(arena, "\xff\xfe%u", number);
	case 5:
		return arena_printf(arena, "%c%u", letter - 'a' + 'A', number);
	case 6:
		return arena_printf(arena, "%c*?[%u]\\", letter, number);
	case 7:
		name = arena_alloc(arena, NAME_MAX + 1);
		memset(name, letter, NAME_MAX);
		snprintf(name, NAME_MAX + 1, "%u", number);
		name[strlen(name)] = letter;
		return name;
	default:
		return arena_printf(arena, "%c%u", letter, number);
	}
}

static inline struct random_node *
random_find(const struct random_node *dir, const char *name)
{
	for (size_t i = 0; i < dir->count; i++)
		if (strcmp(dir->kids[i]->name, name) == 0)
			return dir->kids[i];
	return NULL;
}

/* Only where its name is new. */
static inline void
random_add(struct random_trees *trees, struct random_node *dir, struct random_node *kid)
{
	if (random_find(dir, kid->name) != NULL)
		return;
	if (dir->count == dir->room) {
		dir->room = dir->room == 0 ? 8 : dir->room * 2;
		struct random_node **grown =
		    arena_alloc(trees->host->arena, dir->room * sizeof(struct random_node *));
		for (size_t i = 0; i < dir->count; i++)
			grown[i] = dir->kids[i];
		dir->kids = grown;
	}
	dir->kids[dir->count++] = kid;
}

static inline const char *
random_text(struct random_trees *trees)
{
	struct arena *arena = trees->host->arena;
	uint32_t len;

	switch (roll(trees, 8)) {
	case 0:
		return "";
	case 1:
		len = roll(trees, 5) == 0 ? 70000 : 3000;
		char *text = arena_alloc(arena, len + 1);
		memset(text, 'a' + (int)roll(trees, 3), len);
		return text;
	case 2:
	case 3:
		return arena_printf(arena, "new %u\n", trees->numbers++);
	default: /* the same in many places */
		return arena_printf(arena, "text %u\n", roll(trees, 40));
	}
}

static inline void
random_properties(struct random_trees *trees, struct random_node *file)
{
	static const uint32_t modes[] = {0755, 0644, 0, 0777, 06755, 0500, 0444};

	file->has_mode = roll(trees, 2) == 0;
	file->has_mtime = !file->has_mode || roll(trees, 2) == 0;
	file->mode = modes[roll(trees, 7)];
	file->mtime = roll(trees, INT32_MAX);
}

static inline struct random_node *
random_file(struct random_trees *trees)
{
	struct random_node *file = arena_alloc(trees->host->arena, sizeof(*file));

	file->kind = RANDOM_FILE;
	file->name = random_name(trees, 'f');
	file->text = random_text(trees);
	file->executable = roll(trees, 3) == 0;
	if (roll(trees, 16) == 0)
		random_properties(trees, file);
	return file;
}

/* Into the tree, dangling, outside, and to itself. */
static inline struct random_node *
random_symlink(struct random_trees *trees)
{
	static const char *const targets[] = {"f1", ".", "..", "../../../../../..", "/etc/passwd",
	    "../nowhere/1", "l1", "d1/f1", "/proc/self/root", "new\nline", " "};
	struct random_node *symlink = arena_alloc(trees->host->arena, sizeof(*symlink));

	symlink->kind = RANDOM_SYMLINK;
	symlink->name = random_name(trees, 'l');
	symlink->text = targets[roll(trees, sizeof(targets) / sizeof(targets[0]))];
	if (roll(trees, 20) == 0) {
		char *text = arena_alloc(trees->host->arena, 1001);
		symlink->text = memset(text, 't', 1000);
	}
	return symlink;
}

static inline struct random_node *random_directory(struct random_trees *trees, unsigned depth);

static inline void
random_fill(struct random_trees *trees, struct random_node *dir, unsigned depth)
{
	for (uint32_t i = roll(trees, 6); i > 0; i--)
		random_add(trees, dir, random_file(trees));
	for (uint32_t i = roll(trees, 3); i > 0; i--)
		random_add(trees, dir, random_symlink(trees));
	if (roll(trees, 20) == 0) { /* large and flat */
		for (int i = 0; i < 90; i++) {
			struct random_node *file = random_file(trees);
			file->name = arena_printf(trees->host->arena, "flat%d", i);
			random_add(trees, dir, file);
		}
	}
	for (uint32_t i = depth == 0 ? 0 : roll(trees, 5); i > 0; i--) {
		struct random_node *kid = NULL;
		if (dir->count > 0 && roll(trees, 4) == 0)
			kid = dir->kids[roll(trees, (uint32_t)dir->count)];
		if (kid != NULL && kid->kind == RANDOM_DIRECTORY) { /* a twin */
			struct random_node *twin = arena_alloc(trees->host->arena, sizeof(*twin));
			*twin = *kid;
			twin->name = random_name(trees, 't');
			random_add(trees, dir, twin);
		} else {
			random_add(trees, dir, random_directory(trees, depth - 1));
		}
	}
}

static inline struct random_node *
random_directory(struct random_trees *trees, unsigned depth)
{
	struct random_node *dir = arena_alloc(trees->host->arena, sizeof(*dir));

	dir->kind = RANDOM_DIRECTORY;
	dir->name = random_name(trees, 'd');
	if (roll(trees, 12) != 0)
		random_fill(trees, dir, depth);
	return dir;
}

/* A tree with some files, and with directories that have directories. */
static inline struct random_node *
random_root(struct random_trees *trees, unsigned depth)
{
	struct random_node *root = random_directory(trees, 0);
	int wanted = 3;

	random_fill(trees, root, 0);
	while (wanted > 0) {
		struct random_node *kid = random_directory(trees, depth);
		size_t below = 0;
		for (size_t i = 0; i < kid->count; i++)
			below += kid->kids[i]->count;
		wanted -= below > 2 && random_find(root, kid->name) == NULL;
		random_add(trees, root, kid);
	}
	return root;
}

/* Twins are one in both, until one is changed: what is changed is copied on the way to it. */
static inline struct random_node *
random_copy(struct random_trees *trees, const struct random_node *node)
{
	struct random_node *copy = arena_alloc(trees->host->arena, sizeof(*copy));

	*copy = *node;
	copy->room = node->count + 1;
	copy->kids = arena_alloc(trees->host->arena, copy->room * sizeof(struct random_node *));
	for (size_t i = 0; i < node->count; i++)
		copy->kids[i] = node->kids[i];
	return copy;
}

/* A directory of the tree, by a walk down; every one on the way becomes the tree's own. */
static inline struct random_node *
random_descend(struct random_trees *trees, struct random_node *root)
{
	struct random_node *dir = root;
	uint32_t patience = 1 + roll(trees, 6);

	for (uint32_t tries = 0; dir->count > 0 && tries < patience; tries++) {
		size_t i = roll(trees, (uint32_t)dir->count);
		if (dir->kids[i]->kind != RANDOM_DIRECTORY)
			continue;
		dir->kids[i] = random_copy(trees, dir->kids[i]);
		dir = dir->kids[i];
	}
	return dir;
}

static inline void
random_remove(struct random_node *dir, size_t i)
{
	dir->kids[i] = dir->kids[--dir->count];
}

static inline void
random_edit_one(struct random_trees *trees, struct random_node *root)
{
	struct random_node *dir = random_descend(trees, root), *other, *kid;
	struct arena *arena = trees->host->arena;

	if (dir->count == 0) {
		random_add(trees, dir, random_file(trees));
		return;
	}
	size_t i = roll(trees, (uint32_t)dir->count);
	kid = random_copy(trees, dir->kids[i]);
	switch (roll(trees, 14)) {
	case 0:
		random_add(trees, dir, random_file(trees));
		break;
	case 1:
		random_add(trees, dir, random_symlink(trees));
		break;
	case 2:
		random_add(trees, dir, random_directory(trees, 2));
		break;
	case 3:
		random_remove(dir, i);
		break;
	case 4: /* another name */
		kid->name = arena_printf(arena, "renamed%u", trees->numbers++);
		dir->kids[i] = kid;
		break;
	case 5: /* another kind of thing */
		other =
		    kid->kind == RANDOM_DIRECTORY ? random_file(trees) : random_directory(trees, 1);
		other->name = kid->name;
		dir->kids[i] = other;
		break;
	case 6: /* somewhere else */
		random_remove(dir, i);
		random_add(trees, random_descend(trees, root), kid);
		break;
	case 7: /* a copy of it, wherever */
		random_add(trees, random_descend(trees, root), kid);
		break;
	case 8: /* two change places */
		other = dir->kids[roll(trees, (uint32_t)dir->count)];
		if (other->kind == kid->kind && other != dir->kids[i]) {
			char *name = other->name;
			for (size_t j = 0; j < dir->count; j++)
				if (dir->kids[j] == other)
					dir->kids[j] = random_copy(trees, other);
			random_find(dir, name)->name = kid->name;
			kid->name = name;
			dir->kids[i] = kid;
		}
		break;
	case 9:
		dir->is_unsorted = !dir->is_unsorted;
		break;
	default: /* most of the time: one thing's contents */
		dir->kids[i] = kid;
		kid->executable = kid->kind == RANDOM_FILE && roll(trees, 4) == 0;
		if (kid->kind == RANDOM_FILE)
			kid->text = random_text(trees);
		if (kid->kind == RANDOM_SYMLINK)
			kid->text = random_symlink(trees)->text;
		if (kid->kind == RANDOM_DIRECTORY)
			random_add(trees, kid, random_file(trees));
	}
}

/* One file's bytes, as far down as a few steps lead; false: there was none. */
static inline bool
random_edit_deep(struct random_trees *trees, struct random_node *root)
{
	struct random_node *dir = root;

	for (int tries = 0; tries < 20 && dir->count > 0; tries++) {
		size_t i = roll(trees, (uint32_t)dir->count);
		if (dir->kids[i]->kind != RANDOM_DIRECTORY)
			continue;
		dir->kids[i] = random_copy(trees, dir->kids[i]);
		dir = dir->kids[i];
	}
	for (size_t i = 0; i < dir->count; i++) {
		if (dir->kids[i]->kind != RANDOM_FILE)
			continue;
		dir->kids[i] = random_copy(trees, dir->kids[i]);
		dir->kids[i]->text =
		    arena_printf(trees->host->arena, "changed %u\n", trees->numbers++);
		return true;
	}
	return false;
}

/* The tree with a few changes; the old one stays as it was. */
static inline struct random_node *
random_edit(struct random_trees *trees, const struct random_node *root)
{
	struct random_node *copy = random_copy(trees, root);

	if (roll(trees, 2) == 0 && random_edit_deep(trees, copy))
		return copy;
	for (uint32_t i = 1 + roll(trees, 3); i > 0; i--)
		random_edit_one(trees, copy);
	return copy;
}

static inline void
random_store_file(struct host *host, ReapiDirectory *message, const struct random_node *node)
{
	struct digest digest = host_put(host, node->text, strlen(node->text));
	ReapiFileNode *file = dir_add_digest(host, message, node->name, &digest, node->executable);
	ReapiNodeProperties *properties;

	if (!node->has_mode && !node->has_mtime)
		return;
	file->node_properties = properties = REAPI_NEW(host->arena, node_properties);
	if (node->has_mode) {
		properties->unix_mode = arena_alloc(host->arena, sizeof(*properties->unix_mode));
		google__protobuf__uint32_value__init(properties->unix_mode);
		properties->unix_mode->value = node->mode;
	}
	if (node->has_mtime) {
		properties->mtime = arena_alloc(host->arena, sizeof(*properties->mtime));
		google__protobuf__timestamp__init(properties->mtime);
		properties->mtime->seconds = node->mtime;
		properties->mtime->nanos = (int32_t)(node->mtime % 1000) * 1000;
	}
}

#define RANDOM_REVERSE(list, count)                                                                \
	for (size_t i_ = 0; i_ < (count) / 2; i_++) {                                              \
		void *swap_ = (list)[i_];                                                          \
		(list)[i_] = (list)[(count)-1 - i_];                                               \
		(list)[(count)-1 - i_] = swap_;                                                    \
	}

/* Into the store. */
static inline struct digest
random_store(struct host *host, const struct random_node *node)
{
	ReapiDirectory *message = dir_new(host);

	for (size_t i = 0; i < node->count; i++) {
		const struct random_node *kid = node->kids[i];
		if (kid->kind == RANDOM_FILE) {
			random_store_file(host, message, kid);
		} else if (kid->kind == RANDOM_SYMLINK) {
			dir_add_symlink(host, message, kid->name, kid->text);
		} else {
			struct digest digest = random_store(host, kid);
			dir_add_dir(host, message, kid->name, &digest);
		}
	}
	if (!node->is_unsorted)
		return dir_put(host, message);
	directory_sort(message);
	RANDOM_REVERSE(message->files, message->n_files)
	RANDOM_REVERSE(message->symlinks, message->n_symlinks)
	RANDOM_REVERSE(message->directories, message->n_directories)
	return dir_put_raw(host, message);
}

/* A path of the tree, or of something that may be made in it; mostly of what can be `wanted`. */
static inline const char *
random_path(struct random_trees *trees, const struct random_node *root, enum random_kind wanted)
{
	struct arena *arena = trees->host->arena;
	const struct random_node *dir = root;
	const char *path = "";

	for (uint32_t depth = 1 + roll(trees, 4); depth > 0; depth--) {
		const struct random_node *kid = NULL;
		const char *name = arena_printf(arena, "made%u", roll(trees, 5));
		if (dir != NULL && dir->count > 0 && roll(trees, 4) != 0)
			kid = dir->kids[roll(trees, (uint32_t)dir->count)];
		if (kid != NULL && wanted == RANDOM_DIRECTORY && kid->kind != wanted &&
		    roll(trees, 10) != 0)
			kid = NULL;
		if (kid != NULL)
			name = kid->name;
		path = path[0] == '\0' ? name : arena_printf(arena, "%s/%s", path, name);
		dir = kid != NULL && kid->kind == RANDOM_DIRECTORY ? kid : NULL;
		if (kid != NULL && dir == NULL)
			break;
	}
	return path;
}

static inline const char **
random_paths(struct random_trees *trees, const struct random_node *root, uint32_t most,
    enum random_kind wanted, size_t *ret_count)
{
	*ret_count = roll(trees, most + 1);
	const char **paths =
	    arena_alloc(trees->host->arena, (*ret_count + 1) * sizeof(const char *));

	for (size_t i = 0; i < *ret_count; i++)
		paths[i] = random_path(trees, root, wanted);
	return paths;
}

/* The thing at a path, NULL: none; *ret_in_way: what has no directory below it, on the way there.
 */
static inline const struct random_node *
random_at(struct random_trees *trees, const struct random_node *root, const char *path,
    const struct random_node **ret_in_way)
{
	const struct random_node *node = root;

	*ret_in_way = NULL;
	while (node != NULL && *path != '\0') {
		size_t len = strcspn(path, "/");
		if (node->kind != RANDOM_DIRECTORY) {
			*ret_in_way = node;
			return NULL;
		}
		node = random_find(node, arena_printf(trees->host->arena, "%.*s", (int)len, path));
		path += len + (path[len] == '/');
	}
	return node;
}

#endif
