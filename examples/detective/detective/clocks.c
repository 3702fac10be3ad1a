/* Clocks, sleep and random numbers. */
#include "detective.h"

#include <stdio.h>
#include <wasi/api.h>

enum { CLOCKS = 4, READINGS = 1000 };

static const char *const CLOCK_NAMES[CLOCKS] = {"realtime", "monotonic", "process CPU", "thread CPU"};
static const uint64_t MS = 1000000, YEAR_2000 = 946684800000000000u, YEAR_2120 = 4733510400000000000u;

static uint64_t read_clock(__wasi_clockid_t clock) {
	__wasi_timestamp_t now = 0;
	__wasi_errno_t error = __wasi_clock_time_get(clock, 1, &now);
	return error == 0 ? now : 0;
}

/* Sleeps by poll_oneoff itself, until a reading of the monotonic clock or for a duration. The error, or that of the event. */
static int sleep_on(uint64_t time, bool absolute) {
	__wasi_subscription_t wish = {.userdata = 7};
	__wasi_event_t event = {0};
	__wasi_size_t count = 0;
	wish.u.tag = __WASI_EVENTTYPE_CLOCK;
	wish.u.u.clock.id = __WASI_CLOCKID_MONOTONIC;
	wish.u.u.clock.timeout = time;
	wish.u.u.clock.flags = absolute ? __WASI_SUBCLOCKFLAGS_SUBSCRIPTION_CLOCK_ABSTIME : 0;
	__wasi_errno_t error = __wasi_poll_oneoff(&wish, &event, 1, &count);
	return error != 0 ? error : count == 1 && event.userdata == 7 ? event.error : -1;
}

static void say_elapsed(const char *what, int error, uint64_t since, uint64_t wanted) {
	uint64_t elapsed = read_clock(__WASI_CLOCKID_MONOTONIC) - since;
	printf("  %s: error %d, %s\n", what, error, elapsed < wanted ? "too short" : elapsed > 5000 * MS ? "too long" : "slept");
}

static void look_at_random_numbers(void) {
	uint8_t first[16] = {0}, second[16] = {0};
	int error = __wasi_random_get(first, sizeof first) | __wasi_random_get(second, sizeof second);
	printf("  random numbers: error %d, %s\n", error, memcmp(first, second, sizeof first) == 0 ? "the same twice" : "differ");
}

void look_at_clocks(void) {
	say_section("clocks and random numbers");
	for (__wasi_clockid_t clock = 0; clock < CLOCKS + 1; clock++) {
		__wasi_timestamp_t resolution = 0;
		int error = __wasi_clock_res_get(clock, &resolution);
		printf("  clock %d, %s: error %d, resolution %llu ns\n", (int)clock, clock < CLOCKS ? CLOCK_NAMES[clock] : "unknown", error,
		       (unsigned long long)resolution);
	}
	int backwards = 0;
	uint64_t last = 0;
	for (int i = 0; i < READINGS; i++) {
		uint64_t now = read_clock(__WASI_CLOCKID_MONOTONIC);
		backwards += now < last;
		last = now;
	}
	printf("  monotonic went back %d times in %d readings\n", backwards, READINGS);
	uint64_t now = read_clock(__WASI_CLOCKID_REALTIME);
	printf("  realtime is a date %s\n", now > YEAR_2000 && now < YEAR_2120 ? "of this century" : "that cannot be");
	uint64_t since = read_clock(__WASI_CLOCKID_MONOTONIC);
	say_elapsed("sleep of 20 ms", sleep_on(20 * MS, false), since, 20 * MS);
	since = read_clock(__WASI_CLOCKID_MONOTONIC);
	say_elapsed("sleep until 20 ms later", sleep_on(since + 20 * MS, true), since, 20 * MS);
	say_elapsed("sleep until now", sleep_on(since, true), since, 0);
	look_at_random_numbers();
}

void print_readings(void) {
	for (int i = 0; i < 3; i++)
		for (__wasi_clockid_t clock = 0; clock < CLOCKS; clock++)
			printf("%s: %llu\n", CLOCK_NAMES[clock], (unsigned long long)read_clock(clock));
	int error = sleep_on(1000 * MS, false);
	printf("after a second's sleep (error %d): %llu\n", error, (unsigned long long)read_clock(__WASI_CLOCKID_MONOTONIC));
	uint8_t bytes[16];
	error = __wasi_random_get(bytes, sizeof bytes);
	printf("random (error %d): ", error);
	for (size_t i = 0; i < sizeof bytes; i++)
		printf("%02x", bytes[i]);
	printf("\n");
}
