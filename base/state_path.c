#include "base/state_path.h"

#include <sys/stat.h>

#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int
join(const char *directory, const char *below, char *path, size_t size)
{
	int len;

	len = snprintf(path, size, "%s%s", directory, below);
	return len < 0 || (size_t)len >= size ? -ENAMETOOLONG : 0;
}

static bool
is_directory(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static bool
in_checkout(void)
{
	return access("GNUmakefile", F_OK) == 0 && is_directory("supervisor");
}

static const char *
home_directory(void)
{
	const char *home = getenv("HOME");
	const struct passwd *entry;

	if (home != NULL && home[0] == '/')
		return home;
	entry = getpwuid(geteuid());
	return entry != NULL && entry->pw_dir[0] == '/' ? entry->pw_dir : NULL;
}

static int
choose_in_cache(char *path, size_t size)
{
	const char *cache = getenv("XDG_CACHE_HOME"), *home;
	int rc;

	if (cache != NULL && cache[0] == '/')
		return join(cache, "/ramet", path, size);
	home = home_directory();
	if (home == NULL)
		return -ENOENT;
	rc = join(home, "/Library/Caches", path, size);
	if (rc != 0)
		return rc;
	return join(
	    home, is_directory(path) ? "/Library/Caches/ramet" : "/.cache/ramet", path, size);
}

int
state_path_choose(const char *option, char *path, size_t size)
{
	const char *from_env = getenv("RAMET_STATE");
	char here[PATH_MAX];

	if (option != NULL && option[0] != '\0')
		return join(option, "", path, size);
	if (from_env != NULL && from_env[0] != '\0')
		return join(from_env, "", path, size);
	if (in_checkout() && getcwd(here, sizeof(here)) != NULL)
		return join(here, "/var", path, size);
	return choose_in_cache(path, size);
}
