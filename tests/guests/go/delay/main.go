// A service whose handlers sleep: a request is a number of milliseconds, which comes back after so long. SERVICE is what it
// offers: test.v1.Delay unless said otherwise.
package main

import (
	"cmp"
	"context"
	"os"
	"strconv"
	"time"

	parigot "parigot.dev/go"
)

func main() {
	parigot.Serve(parigot.Service{
		Name:       cmp.Or(os.Getenv("SERVICE"), "test.v1.Delay"),
		Methods:    map[string]parigot.Handler{"Wait": wait},
		Concurrent: true,
	})
}

func wait(ctx context.Context, request []byte) ([]byte, error) {
	ms, err := strconv.Atoi(string(request))
	if err != nil {
		return nil, parigot.NewError(parigot.InvalidArgument, err.Error())
	}
	return request, parigot.Sleep(ctx, time.Duration(ms)*time.Millisecond)
}
