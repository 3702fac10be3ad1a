package parigot

import (
	"context"
	"strconv"
	"time"
	"unsafe"
)

// callContext is a handler's context. Whoever got it may keep it, so each call has its own, but most only hand it on: what
// costs a system call or a timer, its deadline and its Done channel, is made when first asked for.
type callContext struct {
	id    int32
	ended bool
	asked *answers
}

// answers are what a context has been asked for.
type answers struct {
	deadline time.Time
	timed    context.Context
	cancel   context.CancelFunc
}

// contexts are allocated together: by itself each would cost several times as much.
var (
	contexts *[32]callContext
	unused   int // of them
)

func newContext(id int32) *callContext {
	if unused == 0 {
		contexts, unused = new([32]callContext), len(contexts)
	}
	unused--
	c := &contexts[unused]
	c.id = id
	return c
}

type callKey struct{}

func (c *callContext) Value(key any) any {
	if key == (callKey{}) {
		return c
	}
	return nil
}

func (c *callContext) ask() *answers {
	if c.asked == nil {
		c.asked = &answers{}
	}
	return c.asked
}

// Deadline of a call that the kernel has closed is over: that is why it has.
func (c *callContext) Deadline() (time.Time, bool) {
	asked := c.ask()
	if asked.deadline.IsZero() {
		asked.deadline = time.Now().Add(leftOf(c.id))
	}
	return asked.deadline, true
}

func (c *callContext) Done() <-chan struct{} { return c.watch().Done() }

func (c *callContext) Err() error {
	if c.ended && (c.asked == nil || c.asked.timed == nil) {
		return context.Canceled
	}
	return c.watch().Err()
}

func (c *callContext) watch() context.Context {
	asked := c.ask()
	if asked.timed != nil {
		return asked.timed
	}
	if c.ended {
		asked.timed, asked.cancel = context.WithCancel(context.Background())
		asked.cancel()
	} else {
		deadline, _ := c.Deadline()
		asked.timed, asked.cancel = context.WithDeadline(context.Background(), deadline)
	}
	return asked.timed
}

// end is for when the handler has returned: goroutines that it left behind find their context cancelled.
func (c *callContext) end() {
	c.ended = true
	if c.asked != nil && c.asked.cancel != nil {
		c.asked.cancel()
	}
}

// carrier is a context with headers for the calls made with it, and room for what comes beside their replies.
type carrier struct {
	context.Context
	headers []header
	reply   *Reply
}

type carrierKey struct{}

func (c *carrier) Value(key any) any {
	if key == (carrierKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// carrierOf gives what a context carries; an empty one where it carries nothing.
func carrierOf(ctx context.Context) *carrier {
	if _, plain := ctx.(*callContext); !plain {
		if c, ok := ctx.Value(carrierKey{}).(*carrier); ok {
			return c
		}
	}
	return &nothing
}

var nothing carrier

// callOf gives the open call that a context belongs to; 0 when it belongs to none.
func callOf(ctx context.Context) int32 {
	if call, ok := ctx.(*callContext); ok {
		return call.id
	}
	if call, ok := ctx.Value(callKey{}).(*callContext); ok {
		return call.id
	}
	return 0
}

// usual gives the call that a context is of, where it is nothing but a handler's or nobody's, as nearly all are.
func usual(ctx context.Context) (call int32, ok bool) {
	if c, is := ctx.(*callContext); is {
		return c.id, !c.ended
	}
	return 0, kind(ctx) == kind(background)
}

var background = context.Background()

// kind is the first word of an interface, which says its type: there is one background, and comparing all of two interfaces
// takes a function of the runtime.
func kind(ctx context.Context) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&ctx)) }

// isPlain says that a context ends with its call, or never: the kernel holds its only deadline.
func isPlain(ctx context.Context) bool {
	for {
		switch c := ctx.(type) {
		case *callContext:
			return !c.ended
		case *carrier:
			ctx = c.Context
		default:
			return ctx == background
		}
	}
}

// leftOf asks the kernel how much time an open call has left: none, where it has been closed.
func leftOf(call int32) time.Duration {
	text, _ := get(call, "deadline")
	ms, _ := strconv.ParseInt(text, 10, 64)
	return time.Duration(ms) * time.Millisecond
}

// remaining gives how much time a context has left, by the kernel's clock where that will do: Go's own costs more to read.
func remaining(ctx context.Context) (time.Duration, bool) {
	if isPlain(ctx) {
		call := callOf(ctx)
		if call == 0 {
			return 0, false
		}
		return leftOf(call), true
	}
	deadline, ok := ctx.Deadline()
	return time.Until(deadline), ok
}

// limit gives a context's own time limit in milliseconds; none when the kernel holds the only one. It fails when the context
// has ended.
func limit(ctx context.Context, none int32) (timeout int32, err error) {
	if isPlain(ctx) { // the usual case: a handler calls on with its own context
		return none, nil
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
		failed := endOf(err)
		failed.Retryable = true // nothing was begun
		return 0, failed
	}
	return timeout, nil
}

// endOf makes an error of why a context has ended.
func endOf(err error) *Error { return &Error{Code: CodeOf(err), Message: err.Error()} }

// current is whose work the kernel takes this to be: the number of an open call, 0 for nobody's.
var current int32

const unknown = -1

// enter makes what is done next the work of the context's call. For who holds the lock.
func enter(ctx context.Context) error {
	call := callOf(ctx)
	if call == current {
		return nil
	}
	if abiEnter(call) < 0 {
		return &Error{Code: DeadlineExceeded, Message: "the call that this belongs to has been closed", Retryable: true}
	}
	current = call
	return nil
}

// milliseconds rounds up.
func milliseconds(d time.Duration) int32 {
	const most = 1<<31 - 1
	return int32(min(most, max(0, (d+time.Millisecond-1)/time.Millisecond)))
}
