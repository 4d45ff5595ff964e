/* A blob that somebody wrote to, and the notes of suspects. */
#include "cas/suspect.h"
#include "tests/unit/cas/tree_fixture.h"

static struct digest
put_twins(struct fixture *f, const char *text)
{
	struct digest digest = put_text(f->cas, text);
	bool made;

	assert_int_equal(cas_ensure(f->cas, &digest, true, &made), 0);
	return digest;
}

static void
blob_overwrite(struct fixture *f, const struct digest *digest, bool executable, const char *text)
{
	char name[CAS_NAME_SIZE];

	overwrite(cas_dirfd(f->cas), cas_blob_name(digest, executable, name), text, true);
}

static enum cas_health
heal(struct fixture *f, const struct digest *digest)
{
	enum cas_health health;

	assert_int_equal(cas_heal(f->cas, digest, &health), 0);
	assert_int_equal(folder_count(f->state_fd, "cas/tmp"), 0);
	return health;
}

static void
expect_whole(struct fixture *f, const struct digest *digest, const char *text, bool executable)
{
	struct stat st = blob_stat_of(f->cas, digest, executable);
	char name[CAS_NAME_SIZE];
	struct digest found;
	int fd = openat(
	    cas_dirfd(f->cas), cas_blob_name(digest, executable, name), O_RDONLY | O_CLOEXEC);

	assert_int_equal(st.st_mode & 07777, executable ? 0555 : 0444);
	assert_int_equal(hash_fd(fd, &found), 0);
	close(fd);
	assert_true(digest_equal(&found, digest));
	assert_int_equal(found.size_bytes, strlen(text));
}

static void
test_nothing_to_heal(void **state)
{
	struct fixture *f = *state;
	struct digest digest = put_twins(f, "bytes"), none = digest_of("none", 4);
	struct stat before = blob_stat_of(f->cas, &digest, false), after;

	assert_int_equal(heal(f, &none), CAS_ABSENT);
	assert_int_equal(heal(f, &digest_empty), CAS_WHOLE);
	assert_int_equal(heal(f, &digest), CAS_WHOLE);
	after = blob_stat_of(f->cas, &digest, false);
	assert_int_equal(before.st_ino, after.st_ino);
	/* Somebody's mistaken size is no reason to take a good blob away. */
	digest.size_bytes = 4711;
	assert_int_equal(heal(f, &digest), CAS_WHOLE);
}

static void
test_from_the_twin(void **state)
{
	struct fixture *f = *state;
	struct digest digest = put_twins(f, "bytes");

	for (int executable = 0; executable <= 1; executable++) {
		struct stat bad = blob_stat_of(f->cas, &digest, executable), good;

		blob_overwrite(f, &digest, executable, "BYTES that are longer");
		assert_int_equal(heal(f, &digest), CAS_HEALED);
		good = blob_stat_of(f->cas, &digest, executable);
		assert_int_not_equal(bad.st_ino, good.st_ino);
		expect_whole(f, &digest, "bytes", false);
		expect_whole(f, &digest, "bytes", true);
		assert_int_equal(heal(f, &digest), CAS_WHOLE);
	}
	assert_int_equal(usage_blobs(cas_usage(f->cas)), 2);
}

/* Right bytes and a wrong mode: whoever could chmod it may have it open still. */
static void
test_only_the_mode(void **state)
{
	struct fixture *f = *state;
	struct digest digest = put_text(f->cas, "bytes");
	struct stat bad = blob_stat_of(f->cas, &digest, false), good;
	char name[CAS_NAME_SIZE];

	assert_int_equal(
	    fchmodat(cas_dirfd(f->cas), cas_blob_name(&digest, false, name), 0644, 0), 0);
	assert_int_equal(heal(f, &digest), CAS_HEALED);
	good = blob_stat_of(f->cas, &digest, false);
	assert_int_not_equal(bad.st_ino, good.st_ino);
	expect_whole(f, &digest, "bytes", false);
}

static void
test_no_good_copy(void **state)
{
	struct fixture *f = *state;
	struct digest digest = put_twins(f, "bytes"), alone = put_text(f->cas, "alone");
	char name[CAS_NAME_SIZE];

	blob_overwrite(f, &alone, false, "ALONE");
	assert_int_equal(heal(f, &alone), CAS_DROPPED);
	assert_int_equal(cas_has(f->cas, &alone), 0);
	blob_overwrite(f, &digest, false, "BYTES");
	blob_overwrite(f, &digest, true, "SETYB");
	assert_int_equal(heal(f, &digest), CAS_DROPPED);
	assert_int_equal(cas_has(f->cas, &digest), 0);
	assert_int_equal(folder_count(f->state_fd, "trash"), 3);
	assert_int_equal(usage_blobs(cas_usage(f->cas)), 0);
	/* Something else in its place, with a good twin beside it. */
	put_twins(f, "bytes");
	cas_blob_name(&digest, false, name);
	assert_int_equal(unlinkat(cas_dirfd(f->cas), name, 0), 0);
	assert_int_equal(symlinkat("/etc/passwd", cas_dirfd(f->cas), name), 0);
	assert_int_equal(heal(f, &digest), CAS_HEALED);
	expect_whole(f, &digest, "bytes", false);
}

static void
test_who_only_reads(void **state)
{
	struct fixture *f = *state;
	struct digest digest = put_twins(f, "bytes");
	enum cas_health health;
	struct cas *cas;

	assert_int_equal(cas_open(f->state_fd, false, &cas, NULL), 0);
	assert_int_equal(cas_heal(cas, &digest, &health), 0);
	assert_int_equal(health, CAS_WHOLE);
	blob_overwrite(f, &digest, false, "BYTES");
	assert_int_equal(cas_heal(cas, &digest, &health), -EROFS);
	cas_close(cas);
}

struct notes {
	unsigned trees, blobs;
	struct digest last;
};

static int
on_note(void *arg, enum suspect_kind kind, const struct digest *digest)
{
	struct notes *notes = arg;

	notes->trees += kind == SUSPECT_TREE;
	notes->blobs += kind == SUSPECT_BLOB;
	notes->last = *digest;
	return 0;
}

static void
test_notes(void **state)
{
	struct fixture *f = *state;
	struct digest a = digest_of("a", 1), b = digest_of("b", 1);
	struct notes notes = {0};

	assert_int_equal(suspect_each(f->state_fd, on_note, &notes), 0);
	assert_int_equal(suspect_forget(f->state_fd, SUSPECT_TREE, &a), 0);
	assert_int_equal(suspect_note(f->state_fd, SUSPECT_TREE, &a), 0);
	assert_int_equal(suspect_note(f->state_fd, SUSPECT_TREE, &a), 0);
	assert_int_equal(suspect_note(f->state_fd, SUSPECT_BLOB, &b), 0);
	assert_true(suspect_is_noted(f->state_fd, SUSPECT_TREE, &a));
	assert_false(suspect_is_noted(f->state_fd, SUSPECT_BLOB, &a));
	file_text(f->state_fd, "suspect/notes", "");
	file_text(f->state_fd, "suspect/blob.", "");
	file_text(f->state_fd,
	    "suspect/2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824-007", "");
	assert_int_equal(suspect_each(f->state_fd, on_note, &notes), 0);
	assert_int_equal(notes.trees, 1);
	assert_int_equal(notes.blobs, 1);
	assert_int_equal(suspect_forget(f->state_fd, SUSPECT_TREE, &a), 0);
	notes = (struct notes){0};
	assert_int_equal(suspect_each(f->state_fd, on_note, &notes), 0);
	assert_int_equal(notes.trees, 0);
	assert_true(digest_equal(&notes.last, &b));
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_nothing_to_heal, fixture_setup, fixture_teardown),
	    cmocka_unit_test_setup_teardown(test_from_the_twin, fixture_setup, fixture_teardown),
	    cmocka_unit_test_setup_teardown(test_only_the_mode, fixture_setup, fixture_teardown),
	    cmocka_unit_test_setup_teardown(test_no_good_copy, fixture_setup, fixture_teardown),
	    cmocka_unit_test_setup_teardown(test_who_only_reads, fixture_setup, fixture_teardown),
	    cmocka_unit_test_setup_teardown(test_notes, fixture_setup, fixture_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
