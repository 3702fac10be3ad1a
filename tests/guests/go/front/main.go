// A service in front of another one: passes each call on, and its error, too. SERVICE is what it offers, test.v1.Front unless
// said otherwise, CALLS the other one: test.v1.Delay.
package main

import (
	"cmp"
	"context"
	"os"

	parigot "parigot.dev/go"
)

func main() {
	other := cmp.Or(os.Getenv("CALLS"), "test.v1.Delay")
	if err := parigot.Require(other); err != nil {
		panic(err)
	}
	var client *parigot.Client
	parigot.Serve(parigot.Service{
		Name: cmp.Or(os.Getenv("SERVICE"), "test.v1.Front"),
		Ready: func(context.Context) (ok bool) {
			var err error
			client, err = parigot.Locate(other)
			return err == nil
		},
		Methods: map[string]parigot.Handler{
			"Wait": func(ctx context.Context, request []byte) ([]byte, error) { return client.Call(ctx, "Wait", request) },
		},
		Concurrent: true,
	})
}
