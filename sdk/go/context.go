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

// current is whose work the kernel takes this to be: the number of an open call, 0 for nobody's.
var current int32

const unknown = -1

// begin makes what is done next the work of the context's call, and gives the context's own time limit in milliseconds;
// none when the kernel holds the only one. It fails when the context has ended.
func begin(ctx context.Context, none int32) (timeout int32, err error) {
	if call, plain := ctx.(*callContext); plain && !call.ended && call.id == current {
		return none, nil // the usual case: a handler calls on with its own context
	}
	timeout, err = none, ctx.Err()
	if deadline, ok := ctx.Deadline(); ok && err == nil {
		left := time.Until(deadline)
		timeout = milliseconds(left)
		if left <= 0 { // nobody has told the context yet: Go's timers run when nothing else does
			err = context.DeadlineExceeded
		}
	}
	if err != nil {
		return 0, &Error{Code: CodeOf(err), Message: err.Error(), Retryable: true}
	}
	return timeout, enter(callOf(ctx))
}

func enter(call int32) error {
	if call == current {
		return nil
	}
	if abiEnter(call) < 0 {
		return &Error{Code: Canceled, Message: "the call that this context belongs to has ended", Retryable: true}
	}
	current = call
	return nil
}

// milliseconds rounds up.
func milliseconds(d time.Duration) int32 {
	const most = 1<<31 - 1
	return int32(min(most, max(0, (d+time.Millisecond-1)/time.Millisecond)))
}
