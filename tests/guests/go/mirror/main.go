// A service that shows what it was sent beside a request, and sends back as much beside its answer: an error when the request
// is "fail". tests/guests/mirror.c is the same in C.
package main

import (
	"context"
	"fmt"
	"strings"

	parigot "parigot.dev/go"
)

func main() {
	parigot.Serve(parigot.Service{
		Name:       "test.v1.Mirror",
		Methods:    map[string]parigot.Handler{"Reflect": reflect},
		Concurrent: true,
	})
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func reflect(ctx context.Context, request []byte) ([]byte, error) {
	var text strings.Builder
	for _, name := range []string{"x-empty", "x-in", "x-long", "x-upper", "x-none"} {
		value, ok := parigot.Header(ctx, name)
		if other, known := parigot.Headers(ctx)[name]; known != ok || other != value {
			return nil, parigot.NewError(parigot.Internal, name+" is not the same in all headers")
		}
		if ok {
			fmt.Fprint(&text, len(value), " ")
		} else {
			text.WriteString("- ")
		}
		if ok && len(value) < 100 {
			must(parigot.SetHeader(ctx, name, value))
		}
	}
	must(parigot.SetHeader(ctx, "X-Multi", "one"))
	must(parigot.SetHeader(ctx, "x-multi", "two"))
	must(parigot.SetTrailer(ctx, "x-end", " ta il "))
	must(parigot.SetTrailer(ctx, "x-data-bin", "AAEC/w=="))
	if string(request) == "fail" {
		detail := parigot.Detail{Type: "demo.Detail", Value: []byte{0, 1, 2, 255}}
		return nil, parigot.NewError(parigot.NotFound, "nothing hére", detail, parigot.Detail{Type: "demo.Other"})
	}
	// What must be refused: too long, the kernel's own, not printable. The last two are C's to try.
	for _, err := range []error{
		parigot.SetHeader(ctx, "x-large", strings.Repeat("x", 20000)),
		parigot.SetHeader(ctx, "content-type", "x"),
		parigot.SetTrailer(ctx, "x-line", "a\nb"),
	} {
		fmt.Fprint(&text, parigot.CodeOf(err), " ")
	}
	text.WriteString("INVALID_ARGUMENT RESOURCE_EXHAUSTED ")
	return []byte(text.String()), nil
}
