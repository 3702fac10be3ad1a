/*
 * The services of the fault matrix (tests/faults): ROLE says which one this is.
 *
 *   ledger    faults.v1.Ledger/Write: an Entry goes to the file `journal`, with all its fields, known here or not: its length in
 *             two bytes, then itself; what comes back is empty. An entry that is answered is on the disk.
 *             faults.v1.Ledger/Grow: takes memory until there is no more
 *             faults.v1.Ledger/Tally: how many entries it has written since it started; of EDITION 2 alone
 *             SLOW_MS: so long it takes from launch until it is ready; READY=no: it never is
 *   reader    faults.v1.Reader/Look: whether the file `head` is there
 *             faults.v1.Reader/Find: the last Entry with that id, as it was written
 *   front     makes a call every PERIOD_MS, whatever became of those before, to the ledger and to the reader in turn, and writes
 *             to its log how each ended
 *             faults.v1.Front/Tell: what it has seen, as numbers: see `tell`
 *             faults.v1.Front/Tally, Grow: gives the ledger's answer
 */
#include <parigot.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define LEDGER "faults.v1.Ledger"
#define READER "faults.v1.Reader"
#define FILES "file.v1.FileService"
#define ID 24 /* bytes of an id, and the zero */
#define PROMPT_MS 500 /* an answer that takes longer is late, even if it is OK */

static const char *setting(const char *key) {
	const char *value = getenv(key);
	return value == NULL ? "" : value;
}

static int64_t now_ms(clockid_t clock) {
	struct timespec at;
	clock_gettime(clock, &at);
	return (int64_t)at.tv_sec * 1000 + at.tv_nsec / 1000000;
}

static int32_t find(int32_t *handle, const char *service, const char *method) {
	*handle = parigot_locate(service);
	return parigot_resolve(*handle, method);
}

/* The id of an Entry, as text; "" when it has none. */
static void read_id(const void *entry, size_t len, char id[ID]) {
	id[0] = 0;
	for (pb_reader_t r = pb_read(entry, len); pb_next(&r);)
		if (r.field == 1 && r.type == PB_BYTES && r.len < ID) {
			memcpy(id, r.data, r.len);
			id[r.len] = 0;
		}
}

static void write_id(parigot_buf_t *entry, const char *id) {
	pb_put_text(entry, 1, id);
}

/* ---- ledger ---------------------------------------------------------------------------------------------------------------*/

typedef struct {
	parigot_call_t call;
	char id[ID];
} entry_t;

static int32_t files, append_method;
static unsigned written;

static void wrote(int32_t status, const parigot_buf_t *reply, void *arg) {
	entry_t *entry = arg;
	if (status == PARIGOT_OK) {
		written++;
		parigot_log(PARIGOT_INFO, "wrote", "id", entry->id, NULL);
		parigot_reply(entry->call, NULL, 0);
	} else {
		parigot_answer(entry->call, status, reply);
	}
	free(entry);
}

static void write_entry(parigot_call_t call, const void *req, size_t len) {
	entry_t *entry = calloc(1, sizeof *entry);
	parigot_buf_t record = {0}, request = {0};
	uint8_t length[2] = {(uint8_t)(len >> 8), (uint8_t)len};
	if (entry == NULL)
		abort();
	entry->call = call;
	read_id(req, len, entry->id);
	parigot_buf_add(&record, length, sizeof length);
	parigot_buf_add(&record, req, len);
	pb_put_text(&request, 1, "journal");
	pb_put_bytes(&request, 2, record.data, record.len);
	int32_t id = parigot_dispatch(files, append_method, request.data, request.len, 0, wrote, entry);
	if (id < 0) {
		parigot_fail(call, -id, "dispatch");
		free(entry);
	}
	parigot_buf_free(&record);
	parigot_buf_free(&request);
}

static void grow(parigot_call_t call, const void *req, size_t len) {
	(void)req, (void)len;
	for (;;) {
		volatile char *more = malloc(1 << 20);
		if (more == NULL)
			break;
		for (size_t i = 0; i < 1 << 20; i += 512)
			more[i] = 1;
	}
	parigot_fail(call, PARIGOT_RESOURCE_EXHAUSTED, "no more memory");
}

static void tally(parigot_call_t call, const void *req, size_t len) {
	(void)req, (void)len;
	parigot_buf_t reply = {0};
	pb_put_uint(&reply, 1, written);
	parigot_reply(call, reply.data, reply.len);
	parigot_buf_free(&reply);
}

static void be_ledger(void) {
	int32_t service = parigot_service(LEDGER);
	parigot_method(service, "Write", write_entry);
	parigot_method(service, "Grow", grow);
	if (strcmp(setting("EDITION"), "2") == 0)
		parigot_method(service, "Tally", tally);
	parigot_require(FILES);
	parigot_launch();
	append_method = find(&files, FILES, "Append");
	int slow = atoi(setting("SLOW_MS"));
	if (slow > 0)
		nanosleep(&(struct timespec){.tv_sec = slow / 1000, .tv_nsec = slow % 1000 * 1000000L}, NULL);
	if (strcmp(setting("READY"), "no") == 0) {
		fprintf(stderr, "the books are not in order\n");
		exit(1);
	}
}

/* ---- reader ---------------------------------------------------------------------------------------------------------------*/

static int32_t read_method;

static void looked(int32_t status, const parigot_buf_t *reply, void *arg) {
	parigot_call_t call = (parigot_call_t)(intptr_t)arg;
	if (status == PARIGOT_OK)
		parigot_reply(call, NULL, 0);
	else
		parigot_answer(call, status, reply);
}

static void look(parigot_call_t call, const void *req, size_t len) {
	(void)req, (void)len;
	parigot_buf_t request = {0};
	pb_put_text(&request, 1, "head");
	int32_t id = parigot_dispatch(files, read_method, request.data, request.len, 0, looked, (void *)(intptr_t)call);
	if (id < 0)
		parigot_fail(call, -id, "dispatch");
	parigot_buf_free(&request);
}

static void find_entry(parigot_call_t call, const void *req, size_t len) {
	char wanted[ID], id[ID];
	read_id(req, len, wanted);
	parigot_buf_t journal = {0};
	int32_t status = parigot_file_read("journal", &journal);
	const uint8_t *found = NULL;
	size_t size = 0;
	for (size_t at = 0; status == PARIGOT_OK && at + 2 <= journal.len;) {
		size_t length = (size_t)journal.data[at] << 8 | journal.data[at + 1];
		read_id(journal.data + at + 2, length, id);
		if (strcmp(id, wanted) == 0)
			found = journal.data + at + 2, size = length;
		at += 2 + length;
	}
	if (status != PARIGOT_OK)
		parigot_fail(call, status, "%s", parigot_buf_text(&journal));
	else if (found == NULL)
		parigot_fail(call, PARIGOT_NOT_FOUND, "no entry %s", wanted);
	else
		parigot_reply(call, found, size);
	parigot_buf_free(&journal);
}

static void be_reader(void) {
	int32_t service = parigot_service(READER);
	parigot_method(service, "Look", look);
	parigot_method(service, "Find", find_entry);
	parigot_require(FILES);
	parigot_launch();
	read_method = find(&files, FILES, "Read");
	parigot_file_write("head", "here", 4);
}

/* ---- front ----------------------------------------------------------------------------------------------------------------*/

#define OPEN 16384 /* calls underway at once: more than half a minute's */

typedef struct {
	unsigned number;
	int64_t began;
	bool open;
} made_t;

static int32_t ledger, write_method, grow_method, tally_method, reader, look_method;
static made_t made[OPEN];
static char run[12];
static unsigned next, ended;
static int64_t first, last_failed, last_ok;
static int period;

static bool is_write(unsigned number) {
	return number % 2 == 0;
}

static void name(unsigned number, char id[ID]) {
	snprintf(id, ID, "%s-%u", run, number);
}

static void called(int32_t status, const parigot_buf_t *reply, void *arg) {
	(void)reply;
	made_t *call = arg;
	const char *execution = status == PARIGOT_OK ? "done" : parigot_not_executed() ? "safe" : "unsure";
	int64_t now = now_ms(CLOCK_MONOTONIC);
	char id[ID], ms[24];
	name(call->number, id);
	snprintf(ms, sizeof ms, "%d", (int)(now - call->began));
	*(status == PARIGOT_OK && now - call->began <= PROMPT_MS ? &last_ok : &last_failed) = now;
	call->open = false;
	ended++;
	parigot_log(PARIGOT_INFO, "called", "id", id, "to", is_write(call->number) ? "ledger" : "reader", "status",
	            parigot_code_name(status), "execution", execution, "ms", ms, NULL);
}

static void make_call(void) {
	unsigned number = next;
	made_t *call = &made[number % OPEN];
	char id[ID];
	if (call->open)
		return; /* later */
	next++;
	*call = (made_t){.number = number, .began = now_ms(CLOCK_MONOTONIC), .open = true};
	name(number, id);
	parigot_buf_t entry = {0};
	write_id(&entry, id);
	int32_t handle = is_write(number) ? ledger : reader, method = is_write(number) ? write_method : look_method;
	int32_t event = parigot_dispatch(handle, method, entry.data, entry.len, 0, called, call);
	if (event < 0)
		called(-event, NULL, call);
	parigot_buf_free(&entry);
}

/* As many as are due by now. */
static void tick(void *arg) {
	(void)arg;
	while (next < (now_ms(CLOCK_MONOTONIC) - first) / period)
		make_call();
	parigot_after(period, tick, NULL);
}

/*
 * The run's name; how many calls were begun and how many have ended; and, in milliseconds, -1 for never: how long ago the last one
 * failed or was late, how long ago the last one was neither, and the age of the oldest that is open.
 */
static void tell(parigot_call_t call, const void *req, size_t len) {
	(void)req, (void)len;
	int64_t now = now_ms(CLOCK_MONOTONIC), oldest = now;
	for (size_t i = 0; i < OPEN; i++)
		if (made[i].open && made[i].began < oldest)
			oldest = made[i].began;
	char text[128];
	int size = snprintf(text, sizeof text, "%s %u %u %d %d %d", run, next, ended,
	                    last_failed ? (int)(now - last_failed) : -1, last_ok ? (int)(now - last_ok) : -1,
	                    (int)(now - oldest));
	parigot_reply(call, text, (size_t)size);
}

static void given(int32_t status, const parigot_buf_t *reply, void *arg) {
	parigot_call_t call = (parigot_call_t)(intptr_t)arg;
	if (status != PARIGOT_OK)
		parigot_fail(call, status, "%s%s", parigot_buf_text(reply), parigot_not_executed() ? " (not executed)" : "");
	else
		parigot_reply(call, reply->data, reply->len);
}

static void give(parigot_call_t call, int32_t method) {
	int32_t id = parigot_dispatch(ledger, method, NULL, 0, 0, given, (void *)(intptr_t)call);
	if (id < 0)
		parigot_fail(call, -id, "dispatch");
}

static void give_tally(parigot_call_t call, const void *req, size_t len) {
	(void)req, (void)len;
	give(call, tally_method);
}

static void give_grow(parigot_call_t call, const void *req, size_t len) {
	(void)req, (void)len;
	give(call, grow_method);
}

static void be_front(void) {
	int32_t service = parigot_service("faults.v1.Front");
	parigot_method(service, "Tell", tell);
	parigot_method(service, "Tally", give_tally);
	parigot_method(service, "Grow", give_grow);
	parigot_require(LEDGER);
	parigot_require(READER);
	parigot_launch();
	write_method = find(&ledger, LEDGER, "Write");
	grow_method = parigot_resolve(ledger, "Grow");
	tally_method = parigot_resolve(ledger, "Tally");
	look_method = find(&reader, READER, "Look");
	snprintf(run, sizeof run, "%x", (unsigned)now_ms(CLOCK_REALTIME));
	period = atoi(setting("PERIOD_MS"));
	first = now_ms(CLOCK_MONOTONIC);
	tick(NULL);
}

int main(void) {
	const char *role = setting("ROLE");
	parigot_require("log.v1.LogService");
	if (strcmp(role, "ledger") == 0)
		be_ledger();
	else if (strcmp(role, "reader") == 0)
		be_reader();
	else
		be_front();
	parigot_serve();
}
