/*
 * `health ADDRESS:PORT` asks whether the node there is ready: exit code 0, or 1 and why. ADDRESS is IPv4, in numbers.
 *
 * The health check of containers: the question of shim/health.py without a Python, whose start takes some hundred times as long. An
 * app's containers are all asked several times a second while they start, and every few seconds ever after. Where nobody listens
 * the node has just begun: it is waited for, since to start a check once more takes an engine far longer.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { LIMIT = 2 };            /* seconds that all of it may take */
enum { AGAIN = 10 * 1000000 }; /* nanoseconds between two tries to reach a node */
enum { LARGEST = 4096 };       /* bytes of an answer that matter */

static const char QUESTION[] = "GET /healthz HTTP/1.0\r\n\r\n";

static void say(int stream, const char *text, size_t len) {
	while (len > 0) {
		ssize_t n = write(stream, text, len);
		if (n <= 0)
			return;
		text += n;
		len -= n;
	}
}

static int no_answer(const char *address, const char *why) {
	say(2, address, strlen(address));
	say(2, " does not answer: ", 18);
	say(2, why, strlen(why));
	say(2, "\n", 1);
	return 1;
}

static const char *asked, *late_for = "timed out";

static void late(int number) {
	(void)number;
	_exit(no_answer(asked, late_for));
}

static bool parse(const char *text, struct sockaddr_in *at) {
	char host[INET_ADDRSTRLEN];
	const char *colon = strrchr(text, ':');
	if (!colon || colon - text >= (ptrdiff_t)sizeof host || colon[1] < '0' || colon[1] > '9')
		return false;
	memcpy(host, text, colon - text);
	host[colon - text] = 0;
	char *end;
	unsigned long port = strtoul(colon + 1, &end, 10);
	*at = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
	return !*end && port > 0 && port <= 65535 && inet_pton(AF_INET, host, &at->sin_addr) == 1;
}

/* Bytes of what the node says until it closes; -1: it does not, as errno says. */
static ssize_t ask(const struct sockaddr_in *at, char *answer) {
	int node = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	while (node >= 0 && connect(node, (const struct sockaddr *)at, sizeof *at) < 0) {
		if (errno != ECONNREFUSED)
			return -1;
		late_for = "Connection refused";
		struct timespec pause = {0, AGAIN};
		nanosleep(&pause, NULL);
	}
	if (node < 0)
		return -1;
	late_for = "timed out";
	if (send(node, QUESTION, sizeof QUESTION - 1, MSG_NOSIGNAL) < 0)
		return -1;
	ssize_t got = 0, n = 1;
	while (got < LARGEST && (n = recv(node, answer + got, LARGEST - got, 0)) > 0)
		got += n;
	return n < 0 ? -1 : got;
}

int main(int count, char **words) {
	struct sockaddr_in at;
	if (count != 2 || !parse(words[1], &at)) {
		static const char usage[] = "usage: health ADDRESS:PORT\n";
		say(2, usage, sizeof usage - 1);
		return 2;
	}
	asked = words[1];
	signal(SIGALRM, late);
	alarm(LIMIT);
	char answer[LARGEST + 1];
	ssize_t got = ask(&at, answer);
	if (got < 0)
		return no_answer(asked, strerror(errno));
	answer[got] = 0;
	const char *status = memchr(answer, ' ', got), *text = strstr(answer, "\r\n\r\n");
	if (status && !strncmp(status, " 200", 4) && (status[4] == ' ' || status[4] == '\r')) {
		say(1, "ok\n", 3);
		return 0;
	}
	if (!text || !text[4])
		return no_answer(asked, "what it says is not HTTP");
	say(2, text + 4, strlen(text + 4));
	say(2, "\n", 1);
	return 1;
}
