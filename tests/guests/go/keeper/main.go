// A service that keeps what the Go library lets it keep. With LENT in its environment requests are lent: then it keeps copies.
package main

import (
	"bytes"
	"context"
	"errors"
	"os"

	parigot "parigot.dev/go"
	"parigot.dev/go/wire"
)

var (
	lent     = os.Getenv("LENT") != ""
	kept     [][]byte
	notes    []*note
	replies  [][]byte
	contexts []context.Context
	next     *parigot.Client
)

func main() {
	if name := os.Getenv("NEXT"); name != "" {
		if err := parigot.Require(name); err != nil {
			panic(err)
		}
	}
	service := parigot.Service{
		Name: os.Getenv("NAME"),
		Lent: lent,
		Ready: func(context.Context) (ok bool) {
			if name := os.Getenv("NEXT"); name != "" {
				var err error
				next, err = parigot.Locate(name)
				return err == nil
			}
			return true
		},
		Methods: map[string]parigot.Handler{
			"Keep":     keep,
			"Kept":     func(context.Context, []byte) ([]byte, error) { return bytes.Join(kept, nil), nil },
			"Part":     func(_ context.Context, request []byte) ([]byte, error) { return request[len(request)/3:], nil },
			"Forward":  forward,
			"Note":     keepReplies(wire.Handler(keepNote)),
			"Notes":    sayNotes,
			"Contexts": sayContexts,
			"Panic":    func(_ context.Context, request []byte) ([]byte, error) { panic(string(request)) },
		},
	}
	services := []parigot.Service{service}
	switch os.Getenv("ALSO") { // what the library refuses
	case "Concurrent":
		services[0].Concurrent = true
	case "Lent":
		services = append(services, parigot.Service{Name: "keep.Other"})
	}
	parigot.Serve(services...)
}

// keep grows what it keeps, which must not reach into the room of another.
func keep(ctx context.Context, request []byte) ([]byte, error) {
	contexts = append(contexts, ctx)
	if lent {
		request = bytes.Clone(request)
	}
	kept = append(kept, request)
	_ = append(request, "grown into the next"...)
	if len(request) == 13 {
		return nil, errors.New("thirteen")
	}
	return request, nil
}

// forward looks at its request when others have been called, with requests and replies of other lengths.
func forward(ctx context.Context, request []byte) ([]byte, error) {
	before := bytes.Clone(request)
	for _, size := range []int{1, len(request), 5000} {
		reply, err := next.Call(ctx, "Part", bytes.Repeat([]byte{'f'}, size))
		if err != nil || len(reply) != size-size/3 {
			return nil, errors.Join(errors.New("forwarding"), err)
		}
	}
	if !bytes.Equal(before, request) {
		return nil, parigot.NewError(parigot.DataLoss, "the request has changed")
	}
	return request, nil
}

// note is a message with a field of each kind that may be kept. Its bytes lie where the message lay.
type note struct {
	Title string
	Data  []byte
	Words []string
}

func (n *note) AppendWire(b []byte) []byte {
	b = wire.AppendString(b, 1, n.Title)
	b = wire.AppendBytes(b, 2, n.Data)
	for _, word := range n.Words {
		b = wire.AppendString(b, 3, word)
	}
	return b
}

func (n *note) ReadWire(b []byte) error {
	return wire.Read(b, func(f wire.Field) error {
		switch f.Number {
		case 1:
			n.Title = f.String()
		case 2:
			n.Data = f.Bytes
		case 3:
			n.Words = wire.Strings(n.Words, f)
		}
		return nil
	})
}

func keepNote(_ context.Context, n *note) (*note, error) {
	if lent {
		n.Data = bytes.Clone(n.Data)
	}
	notes = append(notes, n)
	return n, nil
}

// keepReplies is what wraps a handler, and keeps what it has answered: a cache, for example.
func keepReplies(handler parigot.Handler) parigot.Handler {
	return func(ctx context.Context, request []byte) ([]byte, error) {
		reply, err := handler(ctx, request)
		replies = append(replies, reply)
		return reply, err
	}
}

// sayNotes answers with all notes, as they are now, and then with all replies there were.
func sayNotes(context.Context, []byte) ([]byte, error) {
	var b []byte
	for _, n := range notes {
		b = wire.AppendMessage(b, 1, n)
	}
	for _, reply := range replies {
		b = wire.AppendBytes(b, 1, reply)
	}
	return b, nil
}

// sayContexts says whether the contexts of all calls that were kept are over, and that of this one is not.
func sayContexts(ctx context.Context, _ []byte) ([]byte, error) {
	over := 0
	for _, each := range contexts {
		if errors.Is(each.Err(), context.Canceled) {
			over++
		}
	}
	if ctx.Err() != nil || over != len(contexts) {
		return []byte("wrong"), nil
	}
	return []byte("right"), nil
}
