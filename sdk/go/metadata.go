package parigot

import (
	"context"
	"strings"
)

// Caller gives the name of the guest that made the handler's call; "" from outside.
func Caller(ctx context.Context) string {
	name, _ := get(callOf(ctx), "caller")
	return name
}

// Trace gives the id of the handler's call in the unified log; "" outside a call.
func Trace(ctx context.Context) string {
	id, _ := get(callOf(ctx), "trace")
	return id
}

// Header gives one header of the handler's request.
func Header(ctx context.Context, name string) (string, bool) {
	call := callOf(ctx)
	if call == 0 {
		return "", false
	}
	return get(call, "header:"+name)
}

// Headers gives all headers of the handler's request, by their names in lower case; several of one name are joined, as by HTTP,
// with ", ".
func Headers(ctx context.Context) map[string]string {
	kernel.Lock()
	defer kernel.Unlock()
	return read(callOf(ctx), "request-headers")
}

// read reads a list of metadata. For who holds the lock.
func read(call int32, key string) map[string]string {
	lines, _ := find(call, key)
	values := map[string]string{}
	for line := range strings.Lines(lines) {
		if name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ":"); ok {
			value = strings.TrimPrefix(value, " ")
			if before, several := values[name]; several {
				value = before + ", " + value
			}
			values[name] = value
		}
	}
	return values
}

// SetHeader puts a header on the reply of the handler's call. Values are printable ASCII.
func SetHeader(ctx context.Context, name, value string) error {
	return reply(ctx, "header:"+name, value)
}

// SetTrailer puts a trailer on the reply of the handler's call. Values are printable ASCII.
func SetTrailer(ctx context.Context, name, value string) error {
	return reply(ctx, "trailer:"+name, value)
}

// WithHeader gives a context whose calls carry a header. Values are printable ASCII.
func WithHeader(ctx context.Context, name, value string) context.Context {
	before := carrierOf(ctx)
	headers := append(before.headers[:len(before.headers):len(before.headers)], header{"header:" + name, value})
	return &carrier{ctx, headers, before.reply}
}

// Reply is what came beside a call's reply, or beside its error: names in lower case, several values joined with ", ".
type Reply struct {
	Headers, Trailers map[string]string
}

// WithReply gives a context whose calls fill in a Reply when they end: the last one to do so is seen.
func WithReply(ctx context.Context, reply *Reply) context.Context {
	return &carrier{ctx, carrierOf(ctx).headers, reply}
}

type header struct{ key, value string }

// sendHeaders gives the kernel the headers of the call that follows. One that it refuses takes those before it along.
func sendHeaders(headers []header) error {
	for _, header := range headers {
		if err := set(0, header.key, header.value); err != nil {
			return err
		}
	}
	return nil
}

func reply(ctx context.Context, key, value string) error {
	call := callOf(ctx)
	if call == 0 {
		return NewError(FailedPrecondition, "set "+key+": this context belongs to no call")
	}
	return set(call, key, value)
}

func set(call int32, key, value string) error {
	return failure(abiSet(call, text(key), int32(len(key)), text(value), int32(len(value))), "set "+key)
}
