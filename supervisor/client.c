#include "supervisor/client.h"

#include <sys/socket.h>
#include <sys/stat.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "ipc/channel.h"
#include "ipc/peer.h"
#include "supervisor/jobs.h"
#include "supervisor/process_os.h"
#include "supervisor/supervisor.h"

static int
compare(const struct job *a, const struct job *b)
{
	return a->client_job < b->client_job ? -1 : a->client_job > b->client_job;
}

RB_GENERATE(client_jobs, job, client_link, compare)

int
client_add_job(struct client *client, struct job *job)
{
	if (client_jobs_RB_INSERT(&client->jobs, job) != NULL)
		return -EEXIST;
	job->client = client;
	return 0;
}

void
client_remove_job(struct job *job)
{
	if (job->client == NULL)
		return;
	client_jobs_RB_REMOVE(&job->client->jobs, job);
	job->client = NULL;
}

struct job *
client_find_job(struct client *client, uint64_t client_job)
{
	struct job key = {.client_job = client_job};

	return client_jobs_RB_FIND(&client->jobs, &key);
}

struct client *
client_new_unconnected(struct supervisor *host)
{
	struct client *client = calloc(1, sizeof(*client));

	if (client == NULL)
		return NULL;
	client->host = host;
	RB_INIT(&client->jobs);
	return client;
}

void
client_send(struct client *client, const struct message *message)
{
	if (client != NULL && client->peer != NULL)
		peer_send(client->peer, message);
}

static void
refuse(struct client *client, uint32_t seq, const uint64_t *job, const char *why)
{
	struct message message = {.type = MSG_refused, .seq = seq};

	if (job != NULL) {
		message.refused.job = *job;
		message.refused.has_job = true;
	}
	message.refused.message = msg_text(why);
	client_send(client, &message);
}

static void
agree(struct client *client, uint32_t seq, const char *what)
{
	struct message message = {.type = MSG_ok, .seq = seq};

	message.ok.message = msg_text(what);
	message.ok.has_message = true;
	client_send(client, &message);
}

static int
on_hello(struct client *client, const struct message *message)
{
	struct message answer = {.type = MSG_hello, .seq = message->seq};

	client->greeted = true;
	if (message->hello.has_seen_s && message->hello.seen_s <= clock_realtime_s()) {
		client->needed_since_s = (uint32_t)message->hello.seen_s;
		jobs_need_since(client->host, client->needed_since_s);
	}
	answer.hello.pid = (uint64_t)getpid();
	answer.hello.program = msg_text("rametd " RAMET_VERSION);
	answer.hello.instance = region_instance(client->host->region);
	answer.hello.has_instance = true;
	client_send(client, &answer);
	return 0;
}

void
client_submit(struct client *client, const struct message *message)
{
	struct supervisor *host = client->host;
	uint64_t job = message->submit.job;
	int rc;

	if (host->draining || host->stopping) {
		refuse(client, message->seq, &job, "the host is draining");
		return;
	}
	rc = jobs_submit(host, client, &message->submit);
	if (rc == -EEXIST)
		refuse(client, message->seq, &job, "you have a job of this number");
	else if (rc == -EBUSY)
		refuse(client, message->seq, &job, "the queue is full");
	else if (rc != 0)
		refuse(client, message->seq, &job, strerror(-rc));
	else
		pool_dispatch(host);
}

/* A job that is not there has ended already: its `done` is on its way. */
static int
on_cancel(struct client *client, const struct message *message)
{
	struct job *job = client_find_job(client, message->cancel.job);

	if (job != NULL)
		jobs_cancel(client->host, job);
	return 0;
}

static int
on_resize(struct client *client, const struct message *message)
{
	uint64_t workers = message->resize.workers;
	char text[128];

	if (workers < 1 || workers > SLOT_WORKERS_MAX) {
		snprintf(text, sizeof(text), "%llu workers: between 1 and %d",
		    (unsigned long long)workers, SLOT_WORKERS_MAX);
		refuse(client, message->seq, NULL, text);
	} else if (client->host->stopping) {
		refuse(client, message->seq, NULL, "the host is stopping");
	} else {
		control_resize(client->host, (unsigned)workers);
		snprintf(text, sizeof(text), "%llu workers", (unsigned long long)workers);
		agree(client, message->seq, text);
	}
	return 0;
}

static int
on_stop(struct client *client, const struct message *message)
{
	struct supervisor *host = client->host;

	if (message->stop.drain) {
		agree(client, message->seq, "draining");
		control_drain(host);
	} else {
		agree(client, message->seq, "stopping");
		control_stop(host);
	}
	return 0;
}

/* There is something in suspect/ for the janitor. */
static int
on_sweep(struct client *client, const struct message *message)
{
	control_sweep(client->host, false);
	agree(client, message->seq, "the janitor is told");
	return 0;
}

static int
on_message(void *arg, const struct message *message)
{
	struct client *client = arg;

	if (message->type == MSG_hello)
		return on_hello(client, message);
	if (!client->greeted)
		return -EPROTO;
	switch (message->type) {
	case MSG_submit:
		client_submit(client, message);
		return 0;
	case MSG_cancel:
		return on_cancel(client, message);
	case MSG_resize:
		return on_resize(client, message);
	case MSG_stop:
		return on_stop(client, message);
	case MSG_sweep:
		return on_sweep(client, message);
	default:
		return -EPROTO;
	}
}

static void
client_free(struct client *client)
{
	struct supervisor *host = client->host;
	struct job *job;

	while ((job = RB_MIN(client_jobs, &client->jobs)) != NULL) {
		client_remove_job(job);
		jobs_cancel(host, job);
	}
	peer_close(client->peer);
	TAILQ_REMOVE(&host->clients, client, link);
	host->client_count--;
	free(client);
}

static void
on_lost(void *arg, int error)
{
	struct client *client = arg;

	if (error == -EPROTO || error == -E2BIG) {
		COUNTER_ADD(client->host->slot, peers_dropped, 1);
		log_warn("client (pid %d) dropped: it sent a malformed message", client->pid);
	} else if (error == -ENOBUFS) {
		log_warn("client (pid %d) dropped: it does not read its answers", client->pid);
	}
	client_free(client);
}

static const struct peer_ops client_ops = {on_message, on_lost};

static int
client_new(struct supervisor *host, int fd, int32_t pid)
{
	struct client *client = client_new_unconnected(host);
	struct channel *channel;
	int rc;

	if (client == NULL) {
		close(fd);
		return -ENOMEM;
	}
	rc = channel_new(fd, &channel);
	if (rc != 0) {
		close(fd);
		free(client);
		return rc;
	}
	client->pid = pid;
	rc = peer_open(host->base, channel, &client_ops, client, &client->peer);
	if (rc != 0) {
		free(client);
		return rc;
	}
	TAILQ_INSERT_TAIL(&host->clients, client, link);
	host->client_count++;
	COUNTER_ADD(host->slot, clients_accepted, 1);
	return 0;
}

static void
client_accept(struct supervisor *host, int fd)
{
	uint32_t uid;
	int32_t pid;
	int rc;

	rc = channel_peer(fd, &uid, &pid);
	if (rc == 0 && uid != 0 && uid != geteuid())
		rc = -EPERM;
	/* Root, met by a plain user's host, may do anything anyway and cannot be looked at. */
	if (rc == 0 && uid == geteuid() && !process_is_near(pid))
		rc = -EACCES;
	if (rc == 0 && host->client_count >= CLIENTS_MAX)
		rc = -EMFILE;
	if (rc != 0) {
		log_warn("client refused: %s", strerror(-rc));
		close(fd);
		return;
	}
	rc = client_new(host, fd, pid);
	if (rc != 0)
		log_warn("client refused: %s", strerror(-rc));
}

/* Out of descriptors: look again in a second, not at once and for ever. */
static void
pause_listening(struct supervisor *host)
{
	static const struct timeval second = {1, 0};

	log_warn("cannot accept clients: %s", strerror(errno));
	event_del(&host->listener);
	event_add(&host->listen_again, &second);
}

static void
on_listen_again(evutil_socket_t fd, short what, void *arg)
{
	struct supervisor *host = arg;

	event_add(&host->listener, NULL);
}

static void
on_listener(evutil_socket_t listen_fd, short what, void *arg)
{
	struct supervisor *host = arg;
	int fd, rc;

	rc = channel_accept(listen_fd, &fd);
	if (rc == 0)
		client_accept(host, fd);
	else if (rc == -EMFILE || rc == -ENFILE || rc == -ENOMEM || rc == -ENOBUFS)
		pause_listening(host);
}

int
client_init(struct supervisor *host, struct error_text *err)
{
	int rc;

	rc = channel_listen(host->config->state_fd, "ramet.sock", &host->listen_fd, err);
	if (rc != 0)
		return rc;
	if (fstatat(host->config->state_fd, "ramet.sock", &host->listen_file,
		AT_SYMLINK_NOFOLLOW) != 0) {
		rc = -errno;
		close(host->listen_fd);
		host->listen_fd = -1;
		return error_errno(err, rc, "ramet.sock");
	}
	fcntl(host->listen_fd, F_SETFD, FD_CLOEXEC);
	evutil_make_socket_nonblocking(host->listen_fd);
	event_assign(
	    &host->listener, host->base, host->listen_fd, EV_READ | EV_PERSIST, on_listener, host);
	evtimer_assign(&host->listen_again, host->base, on_listen_again, host);
	if (event_add(&host->listener, NULL) != 0)
		return error_set(err, -ENOMEM, "cannot watch ramet.sock");
	return 0;
}

/* Unless it is another host's by now. */
static void
remove_socket(struct supervisor *host)
{
	struct stat st;

	if (fstatat(host->config->state_fd, "ramet.sock", &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    st.st_dev == host->listen_file.st_dev && st.st_ino == host->listen_file.st_ino)
		unlinkat(host->config->state_fd, "ramet.sock", 0);
}

void
client_fini(struct supervisor *host)
{
	struct client *client;

	if (host->listen_fd < 0)
		return;
	event_del(&host->listener);
	event_del(&host->listen_again);
	while ((client = TAILQ_FIRST(&host->clients)) != NULL)
		client_free(client);
	close(host->listen_fd);
	host->listen_fd = -1;
	remove_socket(host);
}
