#include "base/host_config.h"

const char *const engine_names[ENGINE_COUNT] = {
    [ENGINE_AUTO] = "auto",
    [ENGINE_BIND] = "bind",
    [ENGINE_OVERLAY] = "overlay",
    [ENGINE_IMAGE] = "image",
    [ENGINE_CLONEFILE] = "clonefile",
    [ENGINE_REFLINK] = "reflink",
    [ENGINE_HARDLINK] = "hardlink",
    [ENGINE_COPY] = "copy",
};

const char *const isolation_names[ISOLATION_COUNT] = {
    [ISOLATION_AUTO] = "auto",
    [ISOLATION_ROOT] = "root",
    [ISOLATION_USER] = "user",
    [ISOLATION_NONE] = "none",
};

const char *const stage_ahead_names[STAGE_AHEAD_COUNT] = {
    [STAGE_AHEAD_AUTO] = "auto",
    [STAGE_AHEAD_NO] = "no",
    [STAGE_AHEAD_YES] = "yes",
};
