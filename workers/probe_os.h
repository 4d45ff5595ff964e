/* The part of probing that differs between systems: probe_linux.c, probe_darwin.c. */
#ifndef WORKERS_PROBE_OS_H
#define WORKERS_PROBE_OS_H

#include "workers/probe.h"

/* The type of the file system that fd lies on. */
void probe_volume(int fd, char *name, size_t size);

/*
 * Bind, tried below dirfd (an empty directory of the probe's own, which it may
 * fill); path is its absolute name.
 */
void probe_mounts(int dirfd, const char *path, struct probe *probe);

/* Fills why and remedy of the isolations by what this system says about a failure. */
void probe_explain_isolation(enum isolation isolation, int error, struct probe_way *way);
void probe_explain_overlay(const char *volume, struct probe_way *way);
void probe_explain_reflink(const char *volume, struct probe_way *way);
void probe_explain_image(const char *volume, struct probe_way *way);
/* A seal over a directory of the probe's own, and a shell that tries to break it. */
bool probe_seal(int dirfd, const char *path);
bool probe_clone_is_native(void);

/* Linux: own namespaces, for a process that ends with its trial; a plain user is root there. */
int probe_enter_namespaces(void);

#endif
