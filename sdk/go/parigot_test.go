package parigot

import (
	"context"
	"errors"
	"fmt"
	"testing"
)

func TestEveryErrorHasACode(t *testing.T) {
	for _, it := range []struct {
		err  error
		want Code
	}{
		{nil, OK},
		{NewError(NotFound, "gone"), NotFound},
		{fmt.Errorf("reading: %w", NewError(DataLoss, "torn")), DataLoss},
		{context.DeadlineExceeded, DeadlineExceeded},
		{fmt.Errorf("waiting: %w", context.Canceled), Canceled},
		{errors.New("anything else"), Unknown},
	} {
		if code := CodeOf(it.err); code != it.want {
			t.Errorf("%v: %v", it.err, code)
		}
	}
}

func TestErrorsSayTheirCodeAndTheirText(t *testing.T) {
	for want, err := range map[string]error{
		"NOT_FOUND: gone": NewError(NotFound, "gone"),
		"UNAUTHENTICATED": NewError(Unauthenticated, ""),
		"CODE_77: odd":    NewError(77, "odd"),
	} {
		if err.Error() != want {
			t.Error(err)
		}
	}
}

func TestOutsideAGuestEverythingSaysThatParigotIsNotThere(t *testing.T) {
	if code := CodeOf(Require("demo.Service")); code != Unavailable {
		t.Error(code)
	}
	if _, err := Locate("demo.Service"); CodeOf(err) != Unavailable {
		t.Error(err)
	}
	if code := CodeOf(Launch()); code != Unavailable {
		t.Error(code)
	}
}
