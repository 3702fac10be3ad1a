// A service that asks several others at once, and answers when the last one has: their replies, one a line, in their order.
// SERVICE is what it offers, test.v1.Fan unless said otherwise, CALLS the others: "a.v1.B,c.v1.D".
package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"os"
	"strings"
	"sync"

	parigot "parigot.dev/go"
)

var (
	others  = strings.Split(os.Getenv("CALLS"), ",")
	clients = make([]*parigot.Client, len(others))
)

func main() {
	if err := parigot.Require(others...); err != nil {
		panic(err)
	}
	parigot.Serve(parigot.Service{
		Name:       cmp.Or(os.Getenv("SERVICE"), "test.v1.Fan"),
		Ready:      ready,
		Methods:    map[string]parigot.Handler{"Wait": wait},
		Concurrent: true,
	})
}

func ready(context.Context) bool {
	for i, other := range others {
		client, err := parigot.Locate(other)
		if err != nil {
			return false
		}
		clients[i] = client
	}
	return true
}

func wait(ctx context.Context, request []byte) ([]byte, error) {
	replies, failures := make([][]byte, len(clients)), make([]error, len(clients))
	var all sync.WaitGroup
	for i, client := range clients {
		all.Add(1)
		go func() {
			defer all.Done()
			replies[i], failures[i] = client.Call(ctx, "Wait", request)
		}()
	}
	all.Wait()
	return append(bytes.Join(replies, []byte("\n")), '\n'), errors.Join(failures...)
}
