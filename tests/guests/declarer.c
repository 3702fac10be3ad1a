/*
 * Requires a service for each word that it is given: its arguments, `env.KEY.VALUE` for its environment, and with the
 * argument `random` one named by a random number. `exit`, `trap`, `loop`, `sleep`, `return` are what it does instead.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "parigot.h"

extern char **environ;

static void nothing(parigot_call_t call, const void *req, size_t len) {
	(void)req, (void)len;
	parigot_reply(call, NULL, 0);
}

__attribute__((noinline)) static void stumble(void) {
	__builtin_trap();
}

static void act(const char *word) {
	char name[64];
	if (!strcmp(word, "exit")) {
		fprintf(stderr, "no more\n");
		exit(3);
	} else if (!strcmp(word, "trap")) {
		stumble();
	} else if (!strcmp(word, "loop")) {
		for (volatile int i = 0;; i++)
			;
	} else if (!strcmp(word, "sleep")) {
		sleep(3600);
	} else if (!strcmp(word, "random")) {
		unsigned number;
		getentropy(&number, sizeof number);
		snprintf(name, sizeof name, "random.R%08x", number);
		parigot_require(name);
	} else {
		parigot_require(word);
	}
}

int main(int argc, char **argv) {
	int32_t service = parigot_service("demo.Declarer");
	parigot_method(service, "Second", nothing);
	parigot_method(service, "First", nothing);
	for (char **pair = environ; *pair != NULL; pair++) {
		char name[256];
		snprintf(name, sizeof name, "env.%s", *pair);
		*strchr(name, '=') = '.';
		parigot_require(name);
	}
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "return"))
			return 0;
		act(argv[i]);
	}
	parigot_launch();
	parigot_serve();
}
