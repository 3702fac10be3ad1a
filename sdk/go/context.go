package parigot

import (
	"context"
	"strconv"
	"time"
)

// callContext is a handler's context. Its deadline and its Done channel are asked for rarely, and cost a system call and a
// timer: so they are made when first asked for.
type callContext struct {
	id     int32
	ended  bool
	timed  context.Context
	cancel context.CancelFunc
}

type callKey struct{}

func (c *callContext) Value(key any) any {
	if key == (callKey{}) {
		return c
	}
	return nil
}

func (c *callContext) Deadline() (time.Time, bool) { return c.watch().Deadline() }

func (c *callContext) Done() <-chan struct{} { return c.watch().Done() }

func (c *callContext) Err() error {
	if c.ended && c.timed == nil {
		return context.Canceled
	}
	return c.watch().Err()
}

func (c *callContext) watch() context.Context {
	if c.timed != nil {
		return c.timed
	}
	if left, ok := remaining(c.id); ok {
		c.timed, c.cancel = context.WithTimeout(context.Background(), left)
	} else {
		c.timed, c.cancel = context.WithCancel(context.Background())
	}
	if c.ended {
		c.cancel()
	}
	return c.timed
}

// end is for when the handler has returned: goroutines that it left behind find their context cancelled.
func (c *callContext) end() {
	c.ended = true
	if c.cancel != nil {
		c.cancel()
	}
}

// remaining asks the kernel how much time an open call has left.
func remaining(call int32) (time.Duration, bool) {
	text, ok := get(call, "deadline")
	if !ok {
		return 0, false
	}
	ms, err := strconv.ParseInt(text, 10, 64)
	return time.Duration(ms) * time.Millisecond, err == nil
}

// callOf gives the open call that a context belongs to; 0 when it belongs to none.
func callOf(ctx context.Context) int32 {
	if call, ok := ctx.Value(callKey{}).(*callContext); ok {
		return call.id
	}
	return 0
}

// current is whose work the kernel takes this to be.
var current int32

// enter makes what is done next the work of the context's call. It fails when the context has ended.
func enter(ctx context.Context) error {
	if call, plain := ctx.(*callContext); plain && !call.ended && call.id == current {
		return nil // the usual case: a handler calls on with its own context, whose deadline the kernel holds
	}
	if err := ctx.Err(); err != nil {
		return &Error{Code: CodeOf(err), Message: err.Error(), Retryable: true}
	}
	call := callOf(ctx)
	if call == current {
		return nil
	}
	if result := abiEnter(call); result < 0 {
		return &Error{Code: Canceled, Message: "the call that this context belongs to has ended", Retryable: true}
	}
	current = call
	return nil
}

// timeoutOf gives a context's own time limit in whole milliseconds, rounded up; none when the kernel holds the only one.
func timeoutOf(ctx context.Context, none int32) int32 {
	if _, plain := ctx.(*callContext); plain {
		return none
	}
	deadline, ok := ctx.Deadline()
	if !ok {
		return none
	}
	return max(1, milliseconds(time.Until(deadline)))
}

func milliseconds(d time.Duration) int32 {
	const most = 1<<31 - 1
	return int32(min(most, max(0, (d+time.Millisecond-1)/time.Millisecond)))
}
