/*
 * A line: the sockets of one thread to other nodes, and the guests of that thread whose calls come and go by them.
 *
 *   connection  belongs to Python until Python says that a request may come in on it (LISTENS) or that it can carry a call
 *               (IDLE). What is not usual gives it back, with what has been read from it.
 *   route       a path at which a guest of this thread answers
 *   way         a handle of a guest's that leads to another node
 *   open call   came in by this line and has not been answered; also what other calls are made for: their work
 *   event       a call that a guest has dispatched by a way, or a timer
 *
 * As soon as Python's kernel is asked something by a guest, it takes over all that the line holds of that guest.
 */
#ifndef PARIGOT_LINE_H
#define PARIGOT_LINE_H

#include <sys/epoll.h>

#include "table.h"
#include "text.h"

/* Fields of a member's control, and bits of these: shim/member.py. */
enum { SHUT, NUMBER, ODD = 6, REPLY, ROOM, FITTED, MADE, SETTLED, KNOWN, HELD, TURN };
enum { ENTERED = 1, DOWN = 4, BARRED = 8 }; /* of SHUT */
enum { PRESSING = 4 }; /* of ODD */
enum { GONE = -1, BARE = -2 }; /* of FITTED */
enum { HOLDS = 1, RUNG = 2, RUNS = 4 }; /* of HELD: calls or events; some of these to be resumed; it is entered by the line */

enum {
	PIECE = 64 << 10, /* bytes of a message that goes this way, head included */
	RECORD = 17 << 10, /* and of a record of TLS, whose beginning may have come in before */
	START_MAX = 1024, /* bytes that a request begins with, and of its guest's name */
	GRACE = 100,      /* milliseconds that a guest may compute past its deadline */
	ID_MAX = 2048,    /* bytes of a call's id */
	BATCH = 128,      /* sockets that have their say in one turn */
	POOL = 128,       /* connections to one peer that are kept idle */
};

#define MS INT64_C(1000000)

/* Cells that Python sees, too: shim/line.py. Nanoseconds are monotonic; NEVER where there is none. */
typedef struct {
	int64_t due;     /* when Python's next timer is */
	int64_t waits;   /* somebody waits for the sockets: who posts something rings the bell */
	int64_t posted;  /* something has been posted and not been done */
	int64_t limit;   /* when the entry that runs is to be over */
	int64_t runs;    /* entries that have begun and are not over */
	int64_t roots;   /* numbers given to calls that belong to none */
	int64_t alone;   /* whoever polls lets any guest be entered: nobody waits in an import */
} cells_t;
#define NEVER INT64_MAX
#define HOUR (3600 * 1000 * MS)

enum { INSIDE = 0 }; /* the door of the other nodes; below, those of each that is known: shim/server.py */

typedef struct work {
	int32_t refs;
	int32_t number;
	int32_t fd;          /* that it came in on, or -1 */
	struct event *event; /* or the event that it is for a guest of this line */
	int64_t since;
	int32_t route;       /* of one that came in */
	int32_t service, method; /* as its guest has numbered them */
	int32_t children;
	bool pythons; /* Python's kernel knows it */
	bool settled; /* it was the line's, and Python's kernel has taken it over */
	int64_t deadline;
	struct work *next; /* of those that wait for the guest: */
	int32_t turn;      /* its place among all of them */
	uint32_t body_len;
	char *body;      /* the request, while it waits */
	uint32_t prefix; /* bytes of what its calls' ids begin with: its own id, and a sign */
	uint32_t caller; /* bytes of the caller's name, which follows */
	char text[];
} work_t;

typedef struct {
	int idle[POOL];
	int count;
	int wanted; /* calls of Python's wait for a connection */
	bool sealed; /* its connections are */
} peer_t;

/* A method that a guest has resolved: of another node, or of a guest of this line. */
typedef struct {
	text_t head; /* what requests begin with; empty until then */
	int32_t number;
	bool known;
} method_t;

typedef struct {
	struct guest *guest;
	int32_t handle;
	peer_t *peer;
	struct guest *callee; /* in place of a peer */
	int32_t service;      /* the callee's number of it */
	callback_t python;    /* what stands in the slot otherwise */
	int32_t method_count;
	method_t *methods;
} way_t;

typedef struct event {
	int32_t number;
	bool is_timer, ended;
	int32_t fd;         /* that carries it; or it is for a guest of this line: */
	struct work *call;  /* which waits for that one or has been entered */
	struct guest *guest;
	way_t *way;
	int32_t method, child;
	work_t *work;
	int64_t since, when;
	uint32_t request_len, reply_len;
	char *request, *reply;
	int32_t turn; /* once it has ended: its place among all that waits for the guest */
	struct event *next;
} event_t;

typedef struct guest {
	struct line *line;
	int32_t index;
	int32_t *control;
	const void *memory;
	uint8_t *base;
	const void *alloc, *handle, *resume;
	callback_t python_answer, python_dispatch, python_timer, python_wait;
	text_t name;
	work_t *work;   /* what it does, while KNOWN */
	bool settled;   /* events may be left of works that Python's kernel has taken over */
	table_t open;   /* calls */
	table_t events;
	table_t ways;   /* by handle + 1 */
	event_t *first, *last; /* ended, not resumed */
	work_t *next_call, *last_call; /* that it will be entered with */
	event_t *resumed;      /* the one that it is being resumed with */
	uint32_t instance;     /* counts its instances */
	bool barred;           /* it has so much open that all is Python's */
} guest_t;

typedef struct {
	text_t path;
	guest_t *guest;
	int32_t service, method;
	int32_t door;
} route_t;

typedef struct {
	int64_t when;
	uint64_t order;
	guest_t *guest;
	int32_t number;
	uint32_t instance;
} alarm_t;

typedef struct {
	enum { PYTHONS, LISTENS, IDLE, CARRIES, WAITED } kind;
	bool used;
	bool sealed;  /* by TLS, which is Python's */
	int32_t door; /* that it has come in by: INSIDE or below, or one of the outside's */
	peer_t *peer;   /* of one to another node */
	guest_t *guest; /* whose call it carries: */
	event_t *event; /* one that goes out, */
	work_t *call;   /* or one that has come in */
} connection_t;

/* What Python takes over: the fields that the kind has. Mirrored in shim/line.py. */
typedef struct {
	int32_t kind, guest, current; /* whose it is; `current`: the guest is entered for it */
	int32_t number, fd, handle, method, route, child, ended;
	int32_t work, children; /* whose work it is: for an open call and for WORK, itself */
	int32_t callee, open, entered; /* of a call to a guest of this line, or -1: its number there; `entered`: for it */
	int32_t waits, turn;           /* the guest has not been entered with the call: `request` */
	int64_t since, when, deadline;
	text_t id, caller, request, reply;
} taken_t;
enum { NOTHING, OPEN, WORK, DISPATCHED, TIMER }; /* kinds of what is taken over */
enum { ALL, OWN, ENDED };                    /* how much */

typedef struct {
	int32_t fd, events;
} ready_t;

/* Python's functions. Those with an int return 0, or 1: they have failed. */
typedef struct {
	int (*wake)(void); /* the watchdog */
	int (*left)(int32_t guest, int32_t how, void *error); /* an entry is over, and the kernel's business */
	int (*take_over)(int32_t guest); /* all that the line holds of it */
	int (*came)(int32_t fd); /* `data` */
	int (*unsent)(int32_t fd, const char *data, uint32_t len); /* of an answer: nothing at the end */
	int (*spare)(int32_t fd); /* a connection that is not to be kept, or that a call waits for */
	void *(*go_on)(int32_t guest, cell_t *cells, int32_t fd, int32_t child, int64_t deadline); /* a call, from here */
	int (*open)(int32_t fd, uint32_t len); /* `sealed`, into `data`: its bytes, 0 where there are none yet */
	int (*seal)(int32_t fd, uint32_t len); /* `out`, into `sealed`: its bytes */
} hooks_t;

typedef struct line {
	cells_t cells;
	int32_t epoll;
	uint32_t limit; /* bytes of a message */
	int64_t allowed; /* nanoseconds that a call has which belongs to none */
	char run[32];    /* what the ids of such calls begin with */
	logical_t *clock;
	/* Of the guests' store: */
	store_t *store;
	int64_t *awake; /* the watchdog looks */
	hooks_t hooks;
	connection_t *connections, unknown;
	int32_t room;
	guest_t **guests;
	int32_t guest_count;
	route_t *routes;
	uint32_t route_count;
	alarm_t *alarms; /* a heap, the earliest first */
	uint32_t alarm_room, alarm_count;
	uint64_t alarms_set;
	int64_t soonest; /* no deadline of what the line holds is before */
	bool entered;    /* a guest has been, since this was set back: what it did another may be waiting for */
	int32_t queued;  /* calls that wait for guests */
	int64_t queued_bytes;
	taken_t taken;
	work_t *taken_work; /* what `taken` points into, with its event */
	event_t *taken_event;
	ready_t ready[BATCH];
	uint32_t data_len; /* bytes read last, for Python to look at */
	char data[PIECE + RECORD];
	char out[PIECE + HEAD_MAX];
	char sealed[PIECE + RECORD]; /* as it comes and goes */
} line_t;

enum { LEFT_SETTLED, LEFT_REFUSED, LEFT_BROKEN };

/*
 * What became of something: it is done; Python is to look at the socket; Python's kernel has something to do; something in
 * Python has failed. All but the first end a poll.
 */
typedef enum { DONE, PASSED, KERNELS, FAILED } outcome_t;

/* line.c, ways.c: what the line knows */
connection_t *connection_of(line_t *line, int fd);
route_t *route_of(line_t *line, text_t path, int32_t door);
/* The connection is to be closed, or is Python's: nobody here is to know it any more. */
void line_forget(line_t *line, int fd);
void keep_idle(line_t *line, int fd);
/* As `recv` into `data`, without waiting. */
ssize_t receive(line_t *line, int fd);
/* As `send` of `out`, without waiting. Returns what is to be sent by Python, or of length 0: all has left. */
text_t send_out(line_t *line, int fd, size_t len);
static inline bool is_inside(const connection_t *connection) { return connection->door <= INSIDE; }
/* turn.c. Waits at most until then for sockets, 0: not at all. Returns how many of BATCH have something to say. */
int wait_until(line_t *line, struct epoll_event *events, int64_t until);

/* guest.c: what a guest does, and how it is entered */
work_t *work_new(text_t id, char sign, text_t caller);
void work_release(work_t *work);
/* An entry begins, which the line makes: the work is what the guest does. */
void begin(guest_t *guest, work_t *work);
/* A copy of the bytes, NULL where there are none; false: there is no memory. */
bool keep(const void *data, uint32_t len, char **kept);
bool in_bounds(guest_t *guest, uint32_t at, uint32_t len);
bool is_enterable(const guest_t *guest);
/* A number for a call or an event; 0: the kernel begins anew. */
int32_t next_number(guest_t *guest);
/* The number of the next call that is made for the guest's work. */
int32_t next_child(guest_t *guest);
/* The place of something that begins to wait for the guest. */
int32_t next_turn(guest_t *guest);
/* Whether it has waited for longer than what has that turn; 0: nothing has. */
bool is_before(int32_t turn, int32_t other);
/* Says in the guest's control whether the line has anything of it. */
void note_held(guest_t *guest);
/* An entry, to be over at `limit`; false: it was cut off, and `error` may say why. */
bool enter(line_t *line, const void *function, cell_t *cells, size_t count, int64_t limit, void **error);
/* After it: what the entry's work has called is counted, and the kernel is told where it is its business. */
outcome_t leave(guest_t *guest, bool whole, void *error);

/* inbound.c: calls that come in */
outcome_t serve(line_t *line, int fd);
/* Enters the guest with the call that waits first. */
outcome_t deliver(guest_t *guest);
/* A call waits for the guest; false: it cannot. */
bool queue_call(guest_t *guest, work_t *call, const void *body, uint32_t len);
void unqueue_call(guest_t *guest, work_t *call);
/* Whether calls may wait for the guest in the line. */
bool may_wait(const guest_t *guest);

/* outbound.c: calls that go out */
/* Whether a connection stands and nothing has come in on it. */
bool is_quiet(int fd);
typedef struct {
	int fd;        /* the connection that carries it; -1: none is idle */
	int32_t child; /* the number that its work has given it */
	text_t unsent; /* what Python is to send; of length 0: all has left */
} sent_t;
/* Sends a request. `left`: nanoseconds for it. */
sent_t send_request(way_t *way, int32_t method, int64_t left, const void *body, uint32_t len);
bool is_usual(const way_t *way, uint32_t method, uint32_t req, uint32_t len, int32_t timeout);
/* The reply on a connection: NULL where Python has to look at what came, if anything did. */
const char *receive_reply(line_t *line, int fd, uint32_t *len);

/* events.c: what a guest has dispatched, and its timers */
void event_free(event_t *event);
/* Takes an ended event out of the queue of those that the guest is to be resumed with. */
void unqueue(guest_t *guest, event_t *event);
void event_ended(guest_t *guest, event_t *event);
outcome_t arrived(line_t *line, int fd);
/* Enters guests with what waits for them, events before calls; sets `entered` where there was one. */
outcome_t enter_all(line_t *line);

/* timers.c */
/* Room for one more timer; false: there is no memory. */
bool timer_reserve(line_t *line);
/* After `timer_reserve`. */
void timer_set(line_t *line, const event_t *event);
outcome_t ring_timers(line_t *line, int64_t now);
/* When a timer rings next, or a deadline may have come. */
int64_t next_timer(const line_t *line);

#endif
