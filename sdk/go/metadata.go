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
	lines, _ := get(callOf(ctx), "request-headers")
	headers := map[string]string{}
	for line := range strings.Lines(lines) {
		if name, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ":"); ok {
			value = strings.TrimPrefix(value, " ")
			if before, several := headers[name]; several {
				value = before + ", " + value
			}
			headers[name] = value
		}
	}
	return headers
}

// SetHeader puts a header on the reply of the handler's call. Values are printable ASCII.
func SetHeader(ctx context.Context, name, value string) error {
	return reply(ctx, "header:"+name, value)
}

// SetTrailer puts a trailer on the reply of the handler's call. Values are printable ASCII.
func SetTrailer(ctx context.Context, name, value string) error {
	return reply(ctx, "trailer:"+name, value)
}

// AddErrorDetail puts a detail, a serialised google.protobuf.Any, beside the error that the handler will return.
func AddErrorDetail(ctx context.Context, detail []byte) error {
	return reply(ctx, "error-details", string(detail))
}

// ErrorDetails gives the details of the error that this guest's last call ended with: a serialised google.rpc.Status of
// which nothing else is filled.
func ErrorDetails() []byte {
	details, _ := get(0, "error-details")
	return []byte(details)
}

// WithHeader gives a context whose calls carry a header.
func WithHeader(ctx context.Context, name, value string) context.Context {
	before, _ := ctx.Value(headersKey{}).([]header)
	return context.WithValue(ctx, headersKey{}, append(before[:len(before):len(before)], header{name, value}))
}

// ReplyHeader gives one header of the reply to the call that this guest made last.
func ReplyHeader(name string) (string, bool) { return get(0, "header:"+name) }

// ReplyTrailer gives one trailer of the reply to the call that this guest made last.
func ReplyTrailer(name string) (string, bool) { return get(0, "trailer:"+name) }

type headersKey struct{}

type header struct{ name, value string }

func sendHeaders(ctx context.Context) error {
	headers, _ := ctx.Value(headersKey{}).([]header)
	for _, header := range headers {
		if err := set(0, "header:"+header.name, header.value); err != nil {
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
