// The service that Connect's conformance suite calls: it answers with what the request tells it to, and tells what came in.
package main

import (
	"context"
	"slices"
	"strings"
	"time"

	parigot "parigot.dev/go"
	"parigot.dev/go/wire"
)

const (
	pack = "connectrpc.conformance.v1."

	// unasked: every call to a parigot service has a deadline, the suite asks for the caller's own. The nodes under test run
	// with a `timeouts.call` of an hour, so what leaves more than this was set by nobody.
	unasked = 30 * time.Minute
)

func main() {
	parigot.Serve(parigot.Service{
		Name: pack + "ConformanceService",
		Methods: map[string]parigot.Handler{
			"Unary": func(ctx context.Context, body []byte) ([]byte, error) {
				return unary(ctx, pack+"UnaryRequest", body)
			},
			"IdempotentUnary": func(ctx context.Context, body []byte) ([]byte, error) {
				return unary(ctx, pack+"IdempotentUnaryRequest", body)
			},
		},
	})
}

func unary(ctx context.Context, kind string, body []byte) ([]byte, error) {
	info := requestInfo(ctx, packed(kind, body)) // first: the deadline that it tells runs
	var told definition
	err := wire.Read(body, func(field wire.Field) error {
		if field.Number == 1 {
			return told.read(field.Bytes)
		}
		return nil
	})
	if err != nil {
		return nil, parigot.NewError(parigot.InvalidArgument, err.Error())
	}
	for _, header := range told.headers {
		for _, value := range header.values {
			if err := parigot.SetHeader(ctx, header.name, value); err != nil {
				return nil, err
			}
		}
	}
	for _, trailer := range told.trailers {
		for _, value := range trailer.values {
			if err := parigot.SetTrailer(ctx, trailer.name, value); err != nil {
				return nil, err
			}
		}
	}
	if err := parigot.Sleep(ctx, told.delay); err != nil {
		return nil, err
	}
	if told.failure != nil {
		seen := parigot.Detail{Type: pack + "ConformancePayload.RequestInfo", Value: info}
		return nil, parigot.NewError(told.failure.code, told.failure.message, append(told.failure.details, seen)...)
	}
	payload := wire.AppendBytes(wire.AppendBytes(nil, 1, told.data), 2, info)
	return wire.AppendBytes(nil, 1, payload), nil
}

// requestInfo makes a ConformancePayload.RequestInfo.
func requestInfo(ctx context.Context, request []byte) []byte {
	var info []byte
	headers := parigot.Headers(ctx)
	names := make([]string, 0, len(headers))
	for name := range headers {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		info = wire.AppendBytes(info, 1, wire.AppendString(wire.AppendString(nil, 1, name), 2, headers[name]))
	}
	if deadline, ok := ctx.Deadline(); ok {
		if left := time.Until(deadline); left < unasked {
			info = wire.AppendInteger(info, 2, left.Milliseconds())
		}
	}
	return wire.AppendBytes(info, 3, request)
}

// packed makes a google.protobuf.Any.
func packed(kind string, message []byte) []byte {
	return wire.AppendBytes(wire.AppendString(nil, 1, "type.googleapis.com/"+kind), 2, message)
}

// definition is a UnaryResponseDefinition.
type definition struct {
	headers, trailers []header
	data              []byte
	failure           *failure
	delay             time.Duration
}

type header struct {
	name   string
	values []string
}

// failure is an Error; a detail is a serialised google.protobuf.Any.
type failure struct {
	code    parigot.Code
	message string
	details []parigot.Detail
}

func (d *definition) read(message []byte) error {
	return wire.Read(message, func(field wire.Field) error {
		var err error
		switch field.Number {
		case 1:
			d.headers, err = readHeader(d.headers, field.Bytes)
		case 2:
			d.data = field.Bytes
		case 3:
			d.failure = &failure{}
			err = d.failure.read(field.Bytes)
		case 4:
			d.trailers, err = readHeader(d.trailers, field.Bytes)
		case 6:
			d.delay = time.Duration(field.Value) * time.Millisecond
		}
		return err
	})
}

func (f *failure) read(message []byte) error {
	return wire.Read(message, func(field wire.Field) error {
		switch field.Number {
		case 1:
			f.code = parigot.Code(field.Value)
		case 2:
			f.message = field.String()
		case 3:
			detail, err := unpacked(field.Bytes)
			f.details = append(f.details, detail)
			return err
		}
		return nil
	})
}

// unpacked reads a google.protobuf.Any.
func unpacked(message []byte) (detail parigot.Detail, err error) {
	err = wire.Read(message, func(field wire.Field) error {
		switch field.Number {
		case 1:
			detail.Type = strings.TrimPrefix(field.String(), "type.googleapis.com/")
		case 2:
			detail.Value = field.Bytes
		}
		return nil
	})
	return detail, err
}

func readHeader(before []header, message []byte) ([]header, error) {
	var one header
	err := wire.Read(message, func(field wire.Field) error {
		switch field.Number {
		case 1:
			one.name = field.String()
		case 2:
			one.values = append(one.values, field.String())
		}
		return nil
	})
	return append(before, one), err
}
