/* When timers ring, and whose deadline has come. Timers are a heap, the earliest first, those due together in the order they were set. */

#include <stdlib.h>

#include "line.h"

static bool rings_before(const alarm_t *one, const alarm_t *other) {
	return one->when < other->when || (one->when == other->when && one->order < other->order);
}

static void timer_add(line_t *line, alarm_t timer) {
	uint32_t at = line->alarm_count++;
	for (; at > 0 && rings_before(&timer, &line->alarms[(at - 1) / 2]); at = (at - 1) / 2)
		line->alarms[at] = line->alarms[(at - 1) / 2];
	line->alarms[at] = timer;
}

/* The timer that an alarm is for; NULL: its guest has crashed since, or Python has it. */
static event_t *timer_of(const alarm_t *alarm) {
	event_t *event = alarm->instance == alarm->guest->instance ? table_find(&alarm->guest->events, alarm->number) : NULL;
	return event != NULL && event->is_timer && !event->ended ? event : NULL;
}

/* Alarms for nobody would stay until they are due, which may be in a month. */
static void timer_clean(line_t *line) {
	uint32_t count = line->alarm_count;
	line->alarm_count = 0;
	for (uint32_t i = 0; i < count; i++) {
		alarm_t alarm = line->alarms[i];
		if (timer_of(&alarm) != NULL)
			timer_add(line, alarm);
	}
}

bool timer_reserve(line_t *line) {
	if (line->alarm_count < line->alarm_room)
		return true;
	timer_clean(line);
	if (line->alarm_count < line->alarm_room / 2) /* else it would be cleaned again and again */
		return true;
	uint32_t room = line->alarm_room == 0 ? 64 : line->alarm_room * 2;
	alarm_t *grown = realloc(line->alarms, room * sizeof *grown);
	if (grown == NULL)
		return false;
	line->alarms = grown;
	line->alarm_room = room;
	return true;
}

static alarm_t timer_take(line_t *line) {
	alarm_t first = line->alarms[0], last = line->alarms[--line->alarm_count];
	uint32_t at = 0;
	for (uint32_t child; (child = 2 * at + 1) < line->alarm_count; at = child) {
		if (child + 1 < line->alarm_count && rings_before(&line->alarms[child + 1], &line->alarms[child]))
			child++;
		if (!rings_before(&line->alarms[child], &last))
			break;
		line->alarms[at] = line->alarms[child];
	}
	line->alarms[at] = last;
	return first;
}

void timer_set(line_t *line, const event_t *event) {
	timer_add(line, (alarm_t){event->when, line->alarms_set++, event->guest, event->number, event->guest->instance});
}

int64_t next_timer(const line_t *line) {
	int64_t when = line->alarm_count > 0 ? line->alarms[0].when : NEVER;
	return when < line->soonest ? when : line->soonest;
}

/* Deadlines that have come are Python's to deal with; without one, `soonest` is found anew. */
static outcome_t deadlines(line_t *line, int64_t now) {
	int64_t soonest = NEVER;
	outcome_t outcome = DONE;
	for (int32_t i = 0; i < line->guest_count; i++) {
		guest_t *guest = line->guests[i];
		int64_t first = NEVER;
		for (uint32_t at = 0; at < guest->open.room; at++) {
			work_t *work = guest->open.slots[at].number != 0 ? guest->open.slots[at].value : NULL;
			if (work != NULL && work->deadline < first)
				first = work->deadline;
		}
		for (const work_t *call = guest->next_call; call != NULL; call = call->next)
			if (call->deadline < first)
				first = call->deadline;
		for (uint32_t at = 0; at < guest->events.room; at++) {
			event_t *event = guest->events.slots[at].number != 0 ? guest->events.slots[at].value : NULL;
			if (event != NULL && !event->is_timer && !event->ended && event->when < first)
				first = event->when;
		}
		if (first <= now)
			outcome = line->hooks.take_over(guest->index) || outcome == FAILED ? FAILED : KERNELS;
		else if (first < soonest)
			soonest = first;
	}
	line->soonest = soonest;
	return outcome;
}

outcome_t ring_timers(line_t *line, int64_t now) {
	while (line->alarm_count > 0 && line->alarms[0].when <= now) {
		alarm_t timer = timer_take(line);
		event_t *event = timer_of(&timer);
		if (event != NULL)
			event_ended(timer.guest, event);
	}
	return line->soonest <= now ? deadlines(line, now) : DONE;
}
