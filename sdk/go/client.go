package parigot

import (
	"context"
	"time"
)

// Client calls one service, wherever it runs.
type Client struct {
	service string
	handle  int32
	methods map[string]int32
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
	return &Client{service: service, handle: handle, methods: map[string]int32{}}, nil
}

// Call calls a method and waits for its reply, at most until the context's deadline. The error is an [*Error].
func (c *Client) Call(ctx context.Context, method string, request []byte) ([]byte, error) {
	id, timeout, err := c.prepare(ctx, method)
	if err != nil {
		return nil, err
	}
	room := bytes(scratch)
	result := abiCall(c.handle, id, bytes(request), int32(len(request)), room, int32(len(scratch)), timeout)
	return receive(result)
}

// Pending is a call that was started.
type Pending struct {
	id int32
}

// Start starts a call and does not wait for it. Its time limit is the context's.
func (c *Client) Start(ctx context.Context, method string, request []byte) (*Pending, error) {
	id, timeout, err := c.prepare(ctx, method)
	if err != nil {
		return nil, err
	}
	call := abiDispatch(c.handle, id, bytes(request), int32(len(request)), timeout)
	if err := failure(call, c.service+"/"+method); err != nil {
		return nil, err
	}
	return &Pending{id: call}, nil
}

// Wait gives the reply of a call that was started, once.
func (p *Pending) Wait(ctx context.Context) ([]byte, error) {
	timeout, err := begin(ctx, -1)
	if err != nil {
		return nil, err
	}
	return receive(abiWait(p.id, bytes(scratch), int32(len(scratch)), timeout))
}

// Sleep waits for a time, or until the context ends: then its error has the code DEADLINE_EXCEEDED or CANCELED.
func Sleep(ctx context.Context, d time.Duration) error {
	timeout, err := begin(ctx, -1)
	if err != nil || d <= 0 {
		return err
	}
	timer := abiTimer(milliseconds(d))
	if err := failure(timer, "sleep"); err != nil {
		return err
	}
	_, err = receive(abiWait(timer, nil, 0, timeout))
	return err
}

// prepare resolves a method once, and tells the kernel whose call comes next and with which headers.
func (c *Client) prepare(ctx context.Context, method string) (id, timeout int32, err error) {
	if timeout, err = begin(ctx, 0); err != nil {
		return 0, 0, err
	}
	id, known := c.methods[method]
	if !known {
		id = abiMethod(c.handle, text(method), int32(len(method)))
		if err := failure(id, c.service+"/"+method); err != nil {
			return 0, 0, err
		}
		c.methods[method] = id
	}
	return id, timeout, sendHeaders(ctx)
}

// scratch receives replies: most are small, and a longer one is fetched. One is enough, for a guest has one thread.
var scratch = make([]byte, 4096)

// receive makes of a result of call or wait what was answered: a copy of the reply, or the error.
func receive(result int64) ([]byte, error) {
	if result == -1 {
		return nil, NewError(DeadlineExceeded, "it has not ended in time")
	}
	status, length := uint32(result>>32), int32(result)
	if status == 0 && int(length) <= len(scratch) {
		return append(make([]byte, 0, length), scratch[:length]...), nil
	}
	whole := make([]byte, length)
	if length > 0 {
		abiFetch(bytes(whole), length)
	}
	if status == 0 {
		return whole, nil
	}
	return nil, &Error{Code: Code(status & 0xff), Message: string(whole), Retryable: status&retryable != 0}
}

// retryable is the kernel's bit beside an error: nothing was executed.
const retryable = 1 << 16

// get reads a value of a call's metadata; false when there is none.
func get(call int32, key string) (string, bool) {
	length := abiGet(call, text(key), int32(len(key)), bytes(scratch), int32(len(scratch)))
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
