// The service that is measured, in Go: NAME in its environment is what it exports.
package main

import (
	"context"
	"os"

	"bench/bench"
	parigot "parigot.dev/go"
	"parigot.dev/go/wire"
)

func main() {
	parigot.Serve(parigot.Service{
		Name: os.Getenv("NAME"),
		Lent: true, // as requests are in C
		Methods: map[string]parigot.Handler{
			"Echo":  func(_ context.Context, request []byte) ([]byte, error) { return request, nil },
			"Typed": wire.Handler(typed),
		},
	})
}

func typed(_ context.Context, record *bench.Record) (*bench.Record, error) {
	record.Year++
	return record, nil
}
