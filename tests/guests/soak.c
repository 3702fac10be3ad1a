/*
 * The services of the soak: ROLE says which one this is.
 *
 *   worker    soak.v1.Worker/Do: writes the request, an id, to its log, works for WORK_MS, answers with it
 *   relay     soak.v1.Relay/Do: gives the request to the worker and its answer back, many at a time
 *   caller    soak.v1.Caller/Go "CALLERS SECONDS": so many callers, from now on and for so long; each makes a call when the one
 *             before it has ended, to the worker and through the relay in turn, and writes to its log how it ended
 *             soak.v1.Caller/Left: how many of them are still at it
 */
#include <parigot.h>
#include <stdio.h>
#include <time.h>

#define WORKER "soak.v1.Worker"
#define RELAY "soak.v1.Relay"
#define TIMEOUT_MS 2000

static int setting(const char *key) {
	const char *value = getenv(key);
	return value == NULL ? 0 : atoi(value);
}

/* ---- worker ---------------------------------------------------------------------------------------------------------------*/

typedef struct {
	parigot_call_t call;
	char id[24];
} job_t;

static void done_work(void *arg) {
	job_t *job = arg;
	parigot_reply(job->call, job->id, strlen(job->id));
	free(job);
}

static void work(parigot_call_t call, const void *req, size_t len) {
	job_t *job = calloc(1, sizeof *job);
	if (job == NULL || len >= sizeof job->id)
		abort();
	job->call = call;
	memcpy(job->id, req, len);
	parigot_log(PARIGOT_INFO, "did", "id", job->id, NULL);
	if (parigot_after(setting("WORK_MS"), done_work, job) < 0)
		abort();
}

/* ---- relay ----------------------------------------------------------------------------------------------------------------*/

static void relayed(int32_t status, const parigot_buf_t *reply, void *arg) {
	parigot_call_t call = (parigot_call_t)(intptr_t)arg;
	if (status == PARIGOT_OK)
		parigot_reply(call, reply->data, reply->len);
	else
		parigot_fail(call, status, "%s", parigot_buf_text(reply));
}

static int32_t worker, work_method, relay, relay_method;

static void find(const char *service, int32_t *handle, int32_t *method) {
	*handle = parigot_locate(service);
	*method = parigot_resolve(*handle, "Do");
}

static void give_on(parigot_call_t call, const void *req, size_t len) {
	int32_t id = parigot_dispatch(worker, work_method, req, len, 0, relayed, (void *)(intptr_t)call);
	if (id < 0)
		parigot_fail(call, -id, "dispatch");
}

/* ---- caller ---------------------------------------------------------------------------------------------------------------*/

static unsigned next_id = 1;
static int callers;
static time_t end;

static time_t now(void) {
	struct timespec at;
	clock_gettime(CLOCK_MONOTONIC, &at);
	return at.tv_sec;
}

static void make_call(void);

static void called(int32_t status, const parigot_buf_t *reply, void *arg) {
	char id[24];
	snprintf(id, sizeof id, "%u", (unsigned)(intptr_t)arg);
	const char *safe = parigot_not_executed() ? "safe" : "unsure";
	if (status == PARIGOT_OK)
		safe = reply->len == strlen(id) && memcmp(reply->data, id, reply->len) == 0 ? "right" : "wrong";
	parigot_log(PARIGOT_INFO, "called", "id", id, "status", parigot_code_name(status), "execution", safe, NULL);
	if (now() < end)
		make_call();
	else
		callers--;
}

static void again(void *arg) {
	(void)arg;
	make_call();
}

static void make_call(void) {
	char id[24];
	unsigned number = next_id++;
	int len = snprintf(id, sizeof id, "%u", number);
	bool direct = number % 2 == 0;
	int32_t handle = direct ? worker : relay, method = direct ? work_method : relay_method;
	if (parigot_dispatch(handle, method, id, (size_t)len, TIMEOUT_MS, called, (void *)(intptr_t)number) < 0)
		parigot_after(10, again, NULL);
}

static void go(parigot_call_t call, const void *req, size_t len) {
	char text[32] = "";
	int many = 0, seconds = 0;
	memcpy(text, req, len < sizeof text - 1 ? len : sizeof text - 1);
	sscanf(text, "%d %d", &many, &seconds);
	parigot_reply(call, req, len);
	parigot_enter(0); /* what follows is nobody's work: it outlives this call */
	end = now() + seconds;
	for (callers = 0; callers < many; callers++)
		make_call();
}

static void left(parigot_call_t call, const void *req, size_t len) {
	(void)req, (void)len;
	char text[16];
	parigot_reply(call, text, (size_t)snprintf(text, sizeof text, "%d", callers));
}

int main(void) {
	const char *role = getenv("ROLE");
	parigot_require("log.v1.LogService");
	if (strcmp(role, "worker") == 0) {
		parigot_method(parigot_service(WORKER), "Do", work);
	} else if (strcmp(role, "relay") == 0) {
		parigot_require(WORKER);
		parigot_method(parigot_service(RELAY), "Do", give_on);
	} else {
		parigot_require(WORKER);
		parigot_require(RELAY);
		int32_t service = parigot_service("soak.v1.Caller");
		parigot_method(service, "Go", go);
		parigot_method(service, "Left", left);
	}
	parigot_launch();
	if (strcmp(role, "worker") != 0)
		find(WORKER, &worker, &work_method);
	if (strcmp(role, "caller") == 0)
		find(RELAY, &relay, &relay_method);
	parigot_serve();
}
