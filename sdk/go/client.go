package parigot

import (
	"context"
	"runtime"
	"time"

	"parigot.dev/go/internal/room"
)

// Client calls one service, wherever it runs.
type Client struct {
	service string
	handle  int32
	methods []method // those that were called
	later   bool     // it has been seen to answer later: a service built into the kernel never does
}

type method struct {
	name string
	id   int32
}

// Locate gives a client for a service that was required, after the launch.
func Locate(service string) (*Client, error) {
	handle := abiLocate(text(service), int32(len(service)))
	if handle == -int32(FailedPrecondition) {
		return nil, NewError(FailedPrecondition, "locate "+service+": it was not required, or nothing was launched yet")
	}
	if err := failure(handle, "locate "+service); err != nil {
		return nil, err
	}
	return &Client{service: service, handle: handle}, nil
}

// Call calls a method and waits for its reply, at most until the context's deadline. The error is an [*Error]. In a handler
// of a [Service] that is Concurrent, other calls come in meanwhile.
func (c *Client) Call(ctx context.Context, method string, request []byte) ([]byte, error) {
	if call, ok := usual(ctx); ok && call == current && !parks && !kernel.held { // there is nothing to be said about it
		if id := c.find(method); id >= 0 {
			kernel.Lock()
			result := abiCall(c.handle, id, bytes(request), int32(len(request)), bytes(scratch[:]), int32(len(scratch)), 0)
			if uint64(result) <= uint64(len(scratch)) { // OK, and it fits
				reply := replies.Cut(int(result))
				copy(reply, scratch[:])
				kernel.Unlock()
				return reply, nil
			}
			reply, err := receive(result, nil)
			kernel.Unlock() // not deferred, for the sake of the shortest way
			return reply, err
		}
	}
	return c.call(ctx, method, request)
}

// AppendCall is Call with room for the reply: it appends to a buffer and gives what this has become, as the Append functions of
// the standard library do. With a buffer that is used again nothing is allocated; one with 4 KiB to spare is written to directly.
// After an error the buffer is as it was.
func (c *Client) AppendCall(ctx context.Context, reply []byte, method string, request []byte) ([]byte, error) {
	if call, ok := usual(ctx); ok && call == current && !parks && !kernel.held {
		if id := c.find(method); id >= 0 {
			into := reply[len(reply):cap(reply)]
			directly := len(into) >= len(scratch)
			if !directly {
				into = scratch[:]
			}
			kernel.Lock()
			result := abiCall(c.handle, id, bytes(request), int32(len(request)), bytes(into), int32(len(into)), 0)
			if uint64(result) <= uint64(len(into)) {
				if directly {
					reply = reply[:len(reply)+int(result)]
				} else {
					reply = append(reply, scratch[:result]...)
				}
				kernel.Unlock()
				return reply, nil
			}
			body, err := receive(result, nil)
			kernel.Unlock()
			return append(reply, body...), err
		}
	}
	body, err := c.call(ctx, method, request)
	return append(reply, body...), err
}

// find gives the id of a method that has been resolved; -1 where it has not. A client calls few, by names that are constants of
// the guest: to look where they lie takes less time than to compare them.
func (c *Client) find(name string) int32 {
	for i := range c.methods {
		known := &c.methods[i]
		if text(known.name) == text(name) && len(known.name) == len(name) {
			return known.id
		}
	}
	return c.compare(name)
}

func (c *Client) compare(name string) int32 {
	for i := range c.methods {
		if known := &c.methods[i]; known.name == name {
			known.name = name // where it lies now
			return known.id
		}
	}
	return -1
}

func (c *Client) call(ctx context.Context, method string, request []byte) ([]byte, error) {
	if parks {
		pending, err := c.Start(ctx, method, request)
		if err != nil {
			return nil, err
		}
		return pending.Wait(ctx)
	}
	timeout, err := limit(ctx, 0)
	if err != nil {
		return nil, err
	}
	carried := carrierOf(ctx)
	kernel.Lock()
	defer kernel.Unlock()
	id, err := c.prepare(ctx, method, carried.headers)
	if err != nil {
		return nil, err
	}
	result := abiCall(c.handle, id, bytes(request), int32(len(request)), bytes(scratch[:]), int32(len(scratch)), timeout)
	return receive(result, carried.reply)
}

// Pending is a call that was started.
type Pending struct {
	id    int32
	reply *Reply
	// Of a guest that parks: closed when it has ended, with this.
	ended  chan struct{}
	body   []byte
	err    error
	taken  bool
	parked int // goroutines that nothing but its end wakes
}

// Start starts a call and does not wait for it. Its time limit is the context's.
func (c *Client) Start(ctx context.Context, method string, request []byte) (*Pending, error) {
	timeout, err := limit(ctx, 0)
	if err != nil {
		return nil, err
	}
	carried := carrierOf(ctx)
	kernel.Lock()
	defer kernel.Unlock()
	id, err := c.prepare(ctx, method, carried.headers)
	if err != nil {
		return nil, err
	}
	call := abiDispatch(c.handle, id, bytes(request), int32(len(request)), timeout)
	if err := failure(call, c.service+"/"+method); err != nil {
		return nil, err
	}
	pending := &Pending{id: call, reply: carried.reply}
	if parks {
		pending.expect()
		if !c.later {
			c.later = !pending.take()
		}
	}
	return pending, nil
}

// Wait gives the reply of a call that was started, once. A context that ends first ends the waiting, not the call.
func (p *Pending) Wait(ctx context.Context) ([]byte, error) {
	timeout, err := limit(ctx, -1)
	if err != nil {
		return nil, err
	}
	if parks && p.ended != nil {
		return p.park(ctx)
	}
	kernel.Lock()
	defer kernel.Unlock()
	if err := enter(ctx); err != nil {
		return nil, err
	}
	return receive(abiWait(p.id, bytes(scratch[:]), int32(len(scratch)), timeout), p.reply)
}

// Sleep waits for a time, or until the context ends: then its error has the code DEADLINE_EXCEEDED or CANCELED.
func Sleep(ctx context.Context, d time.Duration) error {
	_, err := limit(ctx, -1)
	if err != nil || d <= 0 {
		return err
	}
	cut := false
	if left, ok := remaining(ctx); ok && left < d {
		cut, d = true, max(0, left)+time.Millisecond // what is left is known to the millisecond: not before it is over
	}
	timer, err := startTimer(ctx, d)
	if err == nil {
		_, err = timer.Wait(ctx)
	}
	if err == nil && cut {
		return NewError(DeadlineExceeded, "the time to sleep was longer than what is left")
	}
	return err
}

// startTimer starts what ends after a time, as a call would.
func startTimer(ctx context.Context, d time.Duration) (*Pending, error) {
	kernel.Lock()
	defer kernel.Unlock()
	if err := enter(ctx); err != nil {
		return nil, err
	}
	timer := &Pending{id: abiTimer(milliseconds(d))}
	if err := failure(timer.id, "sleep"); err != nil {
		return nil, err
	}
	if parks {
		timer.expect()
	}
	return timer, nil
}

// prepare resolves a method once, and tells the kernel whose call comes next and with which headers.
func (c *Client) prepare(ctx context.Context, name string, headers []header) (int32, error) {
	id := c.find(name)
	if id < 0 {
		id = abiMethod(c.handle, text(name), int32(len(name)))
		if err := failure(id, c.service+"/"+name); err != nil {
			return 0, err
		}
		c.methods = append(c.methods, method{name, id})
	}
	if err := enter(ctx); err != nil {
		return 0, err
	}
	return id, sendHeaders(headers)
}

// kernel is held for as long as several of the kernel's functions make one step: whose work it is and the headers of a call,
// or a result and what is fetched of it. Where no two goroutines ever run at once, and none is stopped but where it blocks or
// allocates, a lock is no more than this, and costs a tenth of a sync.Mutex.
var kernel turn

type turn struct{ held bool }

func (t *turn) Lock() {
	for t.held {
		runtime.Gosched()
	}
	t.held = true
}

func (t *turn) Unlock() { t.held = false }

// scratch receives replies, under the lock: most are small, and a longer one is fetched.
var scratch [4096]byte

var replies room.Pieces

// receive makes of a result of call or wait what was answered: a copy of the reply, or the error.
func receive(result int64, reply *Reply) ([]byte, error) {
	if result == -1 {
		return nil, NewError(DeadlineExceeded, "it has not ended in time")
	}
	status, length := uint32(result>>32), int32(result)
	var body []byte
	if status == 0 && int(length) <= len(scratch) {
		body = replies.Clone(scratch[:length])
	} else {
		body = make([]byte, length)
		if length > 0 {
			abiFetch(bytes(body), length)
		}
	}
	if reply != nil {
		reply.Headers, reply.Trailers = read(0, "reply-headers"), read(0, "reply-trailers")
	}
	if status == 0 {
		return body, nil
	}
	failed := &Error{Code: Code(status & 0xff), Message: string(body), Retryable: status&retryable != 0}
	details, _ := find(0, "error-details")
	failed.Details = readDetails(details)
	return nil, failed
}

// retryable is the kernel's bit beside an error: nothing was executed.
const retryable = 1 << 16

// get reads a value of a call's metadata; false when there is none.
func get(call int32, key string) (string, bool) {
	kernel.Lock()
	defer kernel.Unlock()
	return find(call, key)
}

// find is get, for who holds the lock.
func find(call int32, key string) (string, bool) {
	length := abiGet(call, text(key), int32(len(key)), bytes(scratch[:]), int32(len(scratch)))
	if length < 0 {
		return "", false
	}
	if int(length) <= len(scratch) {
		return string(scratch[:length]), true
	}
	whole := make([]byte, length)
	abiGet(call, text(key), int32(len(key)), bytes(whole), length)
	return string(whole), true
}
