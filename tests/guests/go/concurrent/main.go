// A service whose handlers wait in all the ways that Go has. It calls test.v1.Gate, which lets two calls through together.
package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	parigot "parigot.dev/go"
	"parigot.dev/go/log"
)

const many = 64

var (
	gate    *parigot.Client
	records *log.Client
)

func main() {
	if err := parigot.Require("test.v1.Gate", log.Service); err != nil {
		panic(err)
	}
	parigot.Serve(parigot.Service{
		Name:  "test.v1.Concurrent",
		Ready: ready,
		Methods: map[string]parigot.Handler{
			"Reverse": reverse,
			"Timers":  timers,
			"Cancel":  cancel,
			"Guarded": guarded,
			"Traced":  traced,
			"Stuck":   stuck,
			"Stuck2":  stuckWithContext,
			"Ended":   ended,
			"Crash":   crash,
			"Big":     big,
		},
		Concurrent: true,
	})
}

func ready(context.Context) bool {
	var failed error
	if gate, failed = parigot.Locate("test.v1.Gate"); failed == nil {
		records, failed = log.LocateLogService()
	}
	return failed == nil
}

var (
	turns    []chan int
	answered int
)

// reverse answers when so many are open, the last one first, each with its place in the order of answers.
func reverse(context.Context, []byte) ([]byte, error) {
	turn := make(chan int)
	turns = append(turns, turn)
	if len(turns) == many {
		go func() {
			for i := many - 1; i >= 0; i-- {
				turns[i] <- answered
				answered++
			}
		}()
	}
	return []byte(fmt.Sprint(<-turn)), nil
}

// timers waits by Go's own timers, which nobody tells the kernel about.
func timers(ctx context.Context, _ []byte) ([]byte, error) {
	before := time.Now()
	time.Sleep(20 * time.Millisecond)
	<-time.After(time.Millisecond)
	short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
	defer cancel()
	<-short.Done()
	late := time.Since(before) >= 31*time.Millisecond
	return []byte(fmt.Sprint(late, " ", short.Err(), " ", ctx.Err())), nil
}

// cancel calls a gate that nobody else comes to, and another goroutine ends that.
func cancel(ctx context.Context, _ []byte) ([]byte, error) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		parigot.Sleep(ctx, 5*time.Millisecond)
		cancel()
	}()
	_, err := gate.Call(ctx, "Wait", []byte("cancelled"))
	return []byte(parigot.CodeOf(err).String()), nil
}

var (
	mutex  sync.Mutex
	within int
)

// guarded holds a mutex over a wait: no two are within.
func guarded(ctx context.Context, _ []byte) ([]byte, error) {
	mutex.Lock()
	defer mutex.Unlock()
	within++
	defer func() { within-- }()
	err := parigot.Sleep(ctx, time.Millisecond)
	return []byte(fmt.Sprint(within)), err
}

// traced waits with others, and then says in the log whose work it is.
func traced(ctx context.Context, request []byte) ([]byte, error) {
	if err := parigot.Sleep(ctx, 5*time.Millisecond); err != nil {
		return nil, err
	}
	if err := records.Info(ctx, "traced", "expected", parigot.Trace(ctx)); err != nil {
		return nil, err
	}
	_, err := gate.Call(ctx, "Wait", request)
	if failed := records.Info(ctx, "traced", "expected", parigot.Trace(ctx)); failed != nil {
		return nil, failed
	}
	return request, err
}

var ends = make(chan string, 8)

// stuck is still waiting when its deadline passes: of what it finds then, ended tells.
func stuck(ctx context.Context, _ []byte) ([]byte, error) {
	go func() { ends <- "slept: " + parigot.CodeOf(parigot.Sleep(ctx, time.Hour)).String() }()
	_, err := gate.Call(ctx, "Wait", nil)
	ends <- "called: " + parigot.CodeOf(err).String()
	_, err = gate.Call(ctx, "Wait", nil)
	ends <- "called again: " + parigot.CodeOf(err).String()
	return nil, err
}

func stuckWithContext(ctx context.Context, _ []byte) ([]byte, error) {
	<-ctx.Done()
	ends <- "context: " + parigot.CodeOf(ctx.Err()).String()
	return nil, ctx.Err()
}

func ended(_ context.Context, request []byte) ([]byte, error) {
	var all string
	for range len(request) {
		all += <-ends + "\n"
	}
	return []byte(all), nil
}

// crash waits until ten are open, and then panics.
func crash(ctx context.Context, _ []byte) ([]byte, error) {
	if answered++; answered == 10 {
		go func() { panic("on purpose") }()
	}
	return nil, parigot.Sleep(ctx, time.Hour)
}

// big calls with replies of all sizes at once: none gets another's bytes.
func big(ctx context.Context, _ []byte) ([]byte, error) {
	var all sync.WaitGroup
	var wrong []int
	for i := range many {
		all.Add(1)
		go func() {
			defer all.Done()
			request := make([]byte, i*i*7)
			for at := range request {
				request[at] = byte(i)
			}
			reply, err := gate.Call(ctx, "Wait", request)
			if err != nil || string(reply) != string(request) {
				wrong = append(wrong, i)
			}
		}()
	}
	all.Wait()
	return []byte(fmt.Sprint(wrong)), nil
}
