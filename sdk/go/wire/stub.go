package wire

import (
	"context"

	parigot "parigot.dev/go"
)

// Empty is a message without fields.
type Empty struct{}

func (*Empty) AppendWire(b []byte) []byte { return b }

func (*Empty) ReadWire(b []byte) error { return Read(b, func(Field) error { return nil }) }

// pointer is a message of type M, seen from its pointer.
type pointer[M any] interface {
	*M
	Message
}

// Handler makes a handler of a method that takes a message and gives one.
func Handler[Q, P any, Request pointer[Q], Reply pointer[P]](
	method func(context.Context, Request) (Reply, error),
) parigot.Handler {
	return func(ctx context.Context, body []byte) ([]byte, error) {
		request := Request(new(Q))
		if err := request.ReadWire(body); err != nil {
			return nil, parigot.NewError(parigot.InvalidArgument, err.Error())
		}
		reply, err := method(ctx, request)
		if err != nil || reply == nil {
			return nil, err
		}
		return reply.AppendWire(nil), nil
	}
}

// Call calls a method with a message, and reads the reply into another.
func Call(ctx context.Context, client *parigot.Client, method string, request, reply Message) error {
	body, err := client.Call(ctx, method, request.AppendWire(nil))
	if err != nil {
		return err
	}
	if err := reply.ReadWire(body); err != nil {
		return parigot.NewError(parigot.Internal, method+": "+err.Error()+" in the reply")
	}
	return nil
}
