// A program that sends metadata beside its requests to test.v1.Mirror and prints what comes back beside the answers.
// tests/guests/letter.c is the same in C.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	parigot "parigot.dev/go"
)

var mirror *parigot.Client

func main() {
	must(parigot.Require("test.v1.Mirror"))
	must(parigot.Launch())
	var err error
	mirror, err = parigot.Locate("test.v1.Mirror")
	must(err)

	background := context.Background()
	ctx := parigot.WithHeader(parigot.WithHeader(background, "x-in", "a"), "x-in", "b, c")
	ctx = parigot.WithHeader(parigot.WithHeader(ctx, "x-empty", ""), "X-Upper", "Yes")
	fmt.Println("OK OK OK OK OK ")
	send(parigot.WithHeader(ctx, "x-long", strings.Repeat("x", 8000)), "answer")
	fmt.Println("OK ")
	send(parigot.WithHeader(background, "x-in", "again"), "fail")
	ctx = parigot.WithHeader(background, "x-in", "lost") // goes with the one that is refused
	_, err = mirror.Call(parigot.WithHeader(ctx, "x-line", "a\nb"), "Reflect", []byte("answer"))
	fmt.Println("OK", parigot.CodeOf(err), "")
	send(background, "answer")
}

func send(ctx context.Context, text string) {
	var beside parigot.Reply
	reply, err := mirror.Call(parigot.WithReply(ctx, &beside), "Reflect", []byte(text))
	var failed *parigot.Error
	if errors.As(err, &failed) {
		reply = []byte(failed.Message)
	}
	fmt.Println(parigot.CodeOf(err), string(reply))
	show("headers:", beside.Headers, "x-empty", "x-in", "x-multi", "x-none", "x-upper")
	show("trailers:", beside.Trailers, "x-data-bin", "x-end")
	fmt.Print("details:")
	if failed != nil {
		for _, detail := range failed.Details {
			fmt.Printf(" %s=%x", detail.Type, detail.Value)
		}
	}
	fmt.Println()
}

func show(kind string, values map[string]string, names ...string) {
	fmt.Print(kind)
	for _, name := range names {
		if value, ok := values[name]; ok {
			fmt.Printf(" %s=%s", name, value)
		}
	}
	fmt.Println()
}

func must(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
