#include "supervisor/child_table.h"
#include "tests/cmocka_wrap.h"

static enum child_state
walk(enum child_state state, const enum child_event *events, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const struct child_rule *rule = &child_rules[state][events[i]];

		if (rule->action == CHILD_DO_BUG)
			fail_msg("%s: %s cannot come", child_state_names[state],
			    child_event_names[events[i]]);
		state = rule->next;
	}
	return state;
}
#define WALK(from, ...)                                                                            \
	walk(from, (const enum child_event[]){__VA_ARGS__},                                        \
	    sizeof((const enum child_event[]){__VA_ARGS__}) / sizeof(enum child_event))

static void
every_entry_is_set(void **state)
{
	for (int s = 0; s < CHILD_STATE_COUNT; s++) {
		assert_non_null(child_state_names[s]);
		for (int e = 0; e < CHILD_EVENT_COUNT; e++) {
			const struct child_rule *rule = &child_rules[s][e];

			if (rule->action == CHILD_DO_UNSET)
				fail_msg(
				    "%s, %s: no rule", child_state_names[s], child_event_names[e]);
			assert_true((int)rule->next < CHILD_STATE_COUNT);
			if (rule->action == CHILD_DO_BUG)
				assert_int_equal(rule->next, s);
		}
	}
}

/* A process may die, and the host may be told to stop, whatever is going on. */
static void
death_and_halt_are_possible_wherever_there_is_a_process(void **state)
{
	for (int s = 0; s < CHILD_STATE_COUNT; s++) {
		enum child_do halt = child_rules[s][CHILD_HALT].action;
		enum child_do exited = child_rules[s][CHILD_EXITED].action;

		assert_int_not_equal(halt, CHILD_DO_BUG);
		if (s == CHILD_FREE || s == CHILD_WAITING)
			assert_int_equal(exited, CHILD_DO_BUG);
		else
			assert_true(exited == CHILD_DO_DEATH || exited == CHILD_DO_BURY);
	}
}

/* What a child sends is input: out of turn it costs the child its life, never us ours. */
static void
no_message_of_a_child_is_a_bug_of_ours(void **state)
{
	static const enum child_state talking[] = {
	    CHILD_STARTING, CHILD_IDLE, CHILD_BUSY, CHILD_LEAVING, CHILD_KILLED};
	static const enum child_event messages[] = {CHILD_READY, CHILD_DONE, CHILD_LOST};

	for (size_t s = 0; s < sizeof(talking) / sizeof(talking[0]); s++)
		for (size_t m = 0; m < 3; m++)
			assert_int_not_equal(
			    child_rules[talking[s]][messages[m]].action, CHILD_DO_BUG);
	assert_int_equal(child_rules[CHILD_IDLE][CHILD_READY].action, CHILD_DO_KILL);
	assert_int_equal(child_rules[CHILD_STARTING][CHILD_DONE].action, CHILD_DO_KILL);
}

static void
every_state_can_be_halted_to_free(void **state)
{
	static const enum child_state with_process[] = {
	    CHILD_STARTING, CHILD_IDLE, CHILD_BUSY, CHILD_LEAVING, CHILD_STOPPING};

	for (size_t i = 0; i < sizeof(with_process) / sizeof(with_process[0]); i++)
		assert_int_equal(WALK(with_process[i], CHILD_HALT, CHILD_EXITED), CHILD_FREE);
	assert_int_equal(WALK(CHILD_FREE, CHILD_HALT), CHILD_FREE);
	assert_int_equal(WALK(CHILD_WAITING, CHILD_HALT), CHILD_FREE);
	assert_int_equal(WALK(CHILD_KILLED, CHILD_HALT, CHILD_EXITED, CHILD_UNWANTED), CHILD_FREE);
}

static void
the_usual_lives(void **state)
{
	assert_int_equal(
	    WALK(CHILD_FREE, CHILD_WANTED, CHILD_READY, CHILD_GIVEN, CHILD_DONE), CHILD_IDLE);
	assert_int_equal(
	    WALK(CHILD_IDLE, CHILD_GIVEN, CHILD_EXITED, CHILD_TIMER, CHILD_READY), CHILD_IDLE);
	assert_int_equal(WALK(CHILD_BUSY, CHILD_UNWANTED, CHILD_DONE, CHILD_EXITED), CHILD_FREE);
	assert_int_equal(WALK(CHILD_BUSY, CHILD_UNWANTED, CHILD_WANTED, CHILD_DONE), CHILD_IDLE);
	assert_int_equal(WALK(CHILD_STARTING, CHILD_TIMER, CHILD_EXITED), CHILD_WAITING);
	assert_int_equal(WALK(CHILD_BUSY, CHILD_TIMER, CHILD_EXITED), CHILD_WAITING);
	assert_int_equal(WALK(CHILD_STOPPING, CHILD_TIMER, CHILD_EXITED), CHILD_FREE);
}

static void
backoff_doubles_to_ten_seconds(void **state)
{
	static const unsigned steps[] = {100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000};
	unsigned ms = 0;

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
		ms = child_backoff_next(ms);
		assert_int_equal(ms, steps[i]);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(every_entry_is_set),
	    cmocka_unit_test(death_and_halt_are_possible_wherever_there_is_a_process),
	    cmocka_unit_test(no_message_of_a_child_is_a_bug_of_ours),
	    cmocka_unit_test(every_state_can_be_halted_to_free),
	    cmocka_unit_test(the_usual_lives),
	    cmocka_unit_test(backoff_doubles_to_ten_seconds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
