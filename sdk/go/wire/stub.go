package wire

import (
	"context"

	parigot "parigot.dev/go"
	"parigot.dev/go/internal/room"
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
		buffer := take()
		written := reply.AppendWire(buffer)
		answer := replies.Clone(written) // whoever has wrapped this handler may keep it
		giveBack(buffer, written)
		return answer, nil
	}
}

// Call calls a method with a message, and reads the reply into another.
func Call(ctx context.Context, client *parigot.Client, method string, request, reply Message) error {
	buffer := take()
	written := request.AppendWire(buffer)
	body, err := client.Call(ctx, method, written)
	giveBack(buffer, written) // the kernel has copied it
	if err != nil {
		return err
	}
	if err := reply.ReadWire(body); err != nil {
		return parigot.NewError(parigot.Internal, method+": "+err.Error()+" in the reply")
	}
	return nil
}

var (
	replies room.Pieces
	spare   []byte // messages are written to it, one at a time: who finds it taken writes to a new one
)

const longest = 64 << 10 // that is kept

func take() []byte {
	buffer := spare
	spare = nil
	if buffer == nil {
		buffer = make([]byte, 0, 512)
	}
	return buffer
}

// giveBack makes place for as much the next time. What was written may lie elsewhere, and is then not ours to use again.
func giveBack(buffer, written []byte) {
	if len(written) > cap(buffer) && len(written) <= longest {
		buffer = make([]byte, 0, 2*len(written))
	}
	spare = buffer
}
