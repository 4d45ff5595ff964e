#include "supervisor/gateway.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/self.h"
#include "ipc/peer.h"
#include "supervisor/client.h"
#include "supervisor/jobs.h"
#include "supervisor/supervisor.h"

#define LISTENING "listening"

/*
 * A new gateway is told everything before it can read: JOBS_QUEUED_MAX jobs of some hundred bytes
 * and JOBS_ENDED_MAX ends of a frame each have to fit.
 */
enum { GATEWAY_FD = 3, GATEWAY_QUEUE_MAX = 128 << 20 };
_Static_assert(GATEWAY_QUEUE_MAX >= JOBS_QUEUED_MAX * 512 + JOBS_ENDED_MAX * IPC_FRAME_MAX,
    "the greeting of a gateway");

bool
gateway_is_wanted(const struct supervisor *host)
{
	return host->settings->gateway.listen[0] != '\0' || host->settings->gateway.http[0] != '\0';
}

int
gateway_init(struct supervisor *host, struct error_text *err)
{
	char path[PATH_MAX];
	int rc;

	unlinkat(host->config->state_fd, LISTENING, 0); /* a dead one's */
	if (!gateway_is_wanted(host))
		return 0;
	rc = self_beside("ramet-gateway", path, sizeof(path));
	if (rc != 0)
		return error_errno(err, rc, "ramet-gateway, beside rametd, which --listen needs");
	host->gateway_client = client_new_unconnected(host);
	host->gateway_program = strdup(path);
	if (host->gateway_client == NULL || host->gateway_program == NULL)
		return error_errno(err, -ENOMEM, "gateway");
	host->gateway_client->keeps_ended = true;
	return 0;
}

void
gateway_fini(struct supervisor *host)
{
	if (host->gateway_program != NULL)
		unlinkat(host->config->state_fd, LISTENING, 0);
	free(host->gateway_program);
	free(host->gateway_client);
	host->gateway_program = NULL;
	host->gateway_client = NULL;
}

void
gateway_exec(struct supervisor *host, int socket_fd)
{
	char name[] = "ramet-gateway";
	char *argv[] = {name, NULL};

	/* dup2 to itself would leave it close-on-exec */
	if (socket_fd == GATEWAY_FD ? fcntl(socket_fd, F_SETFD, 0) < 0
				    : dup2(socket_fd, GATEWAY_FD) < 0)
		fatal("ramet-gateway: its socket");
	closefrom(GATEWAY_FD + 1);
	execv(host->gateway_program, argv);
	fatal("%s", host->gateway_program);
}

static void
say(struct supervisor *host, const struct message *message)
{
	client_send(host->gateway_client, message);
}

static struct msg_text
optional(const char *text, bool *ret_has)
{
	*ret_has = text[0] != '\0';
	return *ret_has ? msg_text(text) : (struct msg_text){NULL, 0};
}

static void
say_serve(struct supervisor *host)
{
	const struct gateway_settings *set = &host->settings->gateway;
	struct message message = {.type = MSG_serve};
	struct msg_serve *serve = &message.serve;

	serve->listen = optional(set->listen, &serve->has_listen);
	serve->http = optional(set->http, &serve->has_http);
	serve->tls_cert = optional(set->tls_cert, &serve->has_tls_cert);
	serve->tls_key = optional(set->tls_key, &serve->has_tls_key);
	serve->tls_client_ca = optional(set->tls_client_ca, &serve->has_tls_client_ca);
	serve->token_file = optional(set->token_file, &serve->has_token_file);
	serve->message_max = set->message_max;
	serve->streams_max = set->streams_max;
	serve->blob_max = set->blob_max;
	serve->cas_size = host->config->cas_size_bytes;
	serve->orphan_grace_ms = set->orphan_grace_ms;
	serve->instance = region_instance(host->region);
	serve->log_level = host->settings->log_level;
	serve->memory_max = set->memory_max;
	say(host, &message);
}

void
gateway_greet(struct supervisor *host)
{
	static const struct message draining = {.type = MSG_draining};
	static const struct message listen = {.type = MSG_listen};

	host->gateway_client->peer = host->gateway.peer;
	peer_set_queue_max(host->gateway.peer, GATEWAY_QUEUE_MAX);
	say_serve(host);
	jobs_adopt(host->gateway_client);
	if (host->draining)
		say(host, &draining);
	say(host, &listen);
}

/* The next one listens where this one does, also where any port was fine. */
void
gateway_ready(struct supervisor *host, const struct msg_ready *ready)
{
	struct gateway_settings *set = &host->settings->gateway;

	if (ready->has_listen)
		msg_text_copy(ready->listen, set->listen, sizeof(set->listen));
	if (ready->has_http)
		msg_text_copy(ready->http, set->http, sizeof(set->http));
	if (!host->ready)
		log_info("gateway: %s%s%s", set->listen,
		    set->listen[0] != '\0' && set->http[0] != '\0' ? ", " : "", set->http);
}

void
gateway_lost(struct supervisor *host)
{
	if (host->gateway_client != NULL)
		host->gateway_client->peer = NULL;
}

int
gateway_message(struct supervisor *host, const struct message *message)
{
	struct client *client = host->gateway_client;
	struct job *job;

	switch (message->type) {
	case MSG_submit:
		client_submit(client, message);
		return 0;
	case MSG_cancel:
		job = client_find_job(client, message->cancel.job);
		if (job != NULL)
			jobs_cancel(host, job);
		return 0;
	case MSG_forget:
		job = client_find_job(client, message->forget.job);
		return job == NULL || jobs_forget(host, job) == 0 ? 0 : -EPROTO;
	case MSG_sweep:
		control_sweep(host, message->sweep.urgent);
		return 0;
	case MSG_hurry:
		job = client_find_job(client, message->hurry.job);
		if (job != NULL)
			jobs_reorder(host, job, message->hurry.priority);
		return 0;
	case MSG_refused: {
		char why[1024];

		control_started(host, msg_text_copy(message->refused.message, why, sizeof(why)));
		log_error("gateway: %s", why);
		return 0;
	}
	default:
		return -EPROTO;
	}
}

void
gateway_say_draining(struct supervisor *host)
{
	static const struct message message = {.type = MSG_draining};

	if (host->gateway_client != NULL)
		say(host, &message);
}
