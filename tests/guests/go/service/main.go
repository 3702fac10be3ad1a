// A service with a method for each thing that the Go library can do for a handler.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	parigot "parigot.dev/go"
)

func main() {
	parigot.OnStop(func() { fmt.Println("closed") })
	parigot.OnStop(func() { fmt.Println("tidied up") })
	parigot.Serve(parigot.Service{
		Name:  "demo.Go",
		Ready: func(context.Context) bool { return os.Getenv("READY") != "no" },
		Methods: map[string]parigot.Handler{
			"Echo":     func(_ context.Context, request []byte) ([]byte, error) { return request, nil },
			"Big":      big,
			"Fail":     fail,
			"Panic":    func(context.Context, []byte) ([]byte, error) { panic("on purpose") },
			"Sleep":    sleep,
			"Metadata": metadata,
			"Leave":    leave,
			"Left":     func(context.Context, []byte) ([]byte, error) { return []byte(left()), nil },
		},
	})
}

func big(_ context.Context, request []byte) ([]byte, error) {
	size, err := strconv.Atoi(string(request))
	runtime.GC() // what was allocated for the request and not kept would be gone now
	return slices.Repeat([]byte("."), size), err
}

func fail(_ context.Context, request []byte) ([]byte, error) {
	typed := parigot.NewError(parigot.NotFound, "nothing here")
	switch string(request) {
	case "detailed":
		return nil, parigot.NewError(parigot.NotFound, "nothing here", parigot.Detail{Type: "demo.Detail", Value: []byte("why")})
	case "typed":
		return nil, typed
	case "wrapped":
		return nil, fmt.Errorf("looking: %w", typed)
	case "deadline":
		return nil, context.DeadlineExceeded
	case "odd":
		return nil, &parigot.Error{Code: 77, Message: "no such code", Retryable: true}
	}
	return nil, errors.New("plain")
}

func sleep(ctx context.Context, request []byte) ([]byte, error) {
	d, err := time.ParseDuration(string(request))
	if err != nil {
		return nil, err
	}
	before := time.Now()
	if err := parigot.Sleep(ctx, d); err != nil {
		return nil, err
	}
	return []byte(fmt.Sprint(time.Since(before) >= d)), nil
}

func metadata(ctx context.Context, _ []byte) ([]byte, error) {
	deadline, ok := ctx.Deadline()
	left := time.Until(deadline)
	value, found := parigot.Header(ctx, "x-test")
	_, missing := parigot.Header(ctx, "x-missing")
	lines := []string{
		fmt.Sprint("deadline ", ok && left > 0 && left <= 2*time.Second, " ", ctx.Err()),
		fmt.Sprint("caller ", parigot.Caller(ctx)),
		fmt.Sprint("trace ", parigot.Trace(ctx) != ""),
		fmt.Sprint("header ", value, " ", found, " ", missing, " ", parigot.Headers(ctx)["x-test"]),
		fmt.Sprint("set ", parigot.SetHeader(ctx, "x-reply", "one"), " ", parigot.SetTrailer(ctx, "x-end", "two")),
		fmt.Sprint("reserved ", parigot.SetHeader(ctx, "content-type", "x")),
		fmt.Sprint("no call ", parigot.SetHeader(context.Background(), "x-reply", "x")),
	}
	return []byte(strings.Join(lines, "\n")), nil
}

var found = make(chan error, 1)

// leave leaves a goroutine behind, which goes on when another call has come in.
func leave(ctx context.Context, _ []byte) ([]byte, error) {
	go func() {
		<-ctx.Done()
		found <- parigot.Sleep(ctx, time.Millisecond)
	}()
	runtime.Gosched()
	return nil, nil
}

func left() string { return fmt.Sprint(<-found) }
