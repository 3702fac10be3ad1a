// A program that asks a keeper, TARGET, for all that it has kept, and says whether it is what was sent. With an
// argument it has the keeper crash, and goes on.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"

	parigot "parigot.dev/go"
	"parigot.dev/go/wire"
)

// sizes around all at which the library does something else.
var sizes = []int{0, 1, 13, 60, 100, 127, 128, 129, 1000, 1023, 1024, 1025, 4095, 4096, 4097, 70_000, 1<<20 - 1, 1 << 20, 1<<20 + 1}

var (
	ctx    = context.Background()
	target *parigot.Client
)

func main() {
	name := os.Getenv("TARGET")
	must(parigot.Require(name))
	must(parigot.Launch())
	var err error
	target, err = parigot.Locate(name)
	must(err)
	sent := keep()
	appended()
	messages()
	reply, err := target.Call(ctx, "Contexts", nil)
	fmt.Println("contexts", string(reply), err)
	for _, size := range sizes {
		request := filled(size, 'w')
		if reply, err := target.Call(ctx, "Forward", request); err != nil || !bytes.Equal(reply, request) {
			fmt.Println("forwarded", size, len(reply), err)
		}
	}
	reply, err = target.Call(ctx, "Kept", nil)
	fmt.Println("kept", bytes.Equal(reply, sent), err)
	if len(os.Args) > 1 {
		crash()
	}
}

// crash asks a fresh instance for as much as the one before.
func crash() {
	_, err := target.Call(ctx, "Panic", []byte("in the middle"))
	fmt.Println("panic", parigot.CodeOf(err))
	for i := range 20 {
		request := filled(100, byte('A'+i))
		if reply, err := target.Call(ctx, "Keep", request); err != nil || !bytes.Equal(reply, request) {
			fmt.Println("after the panic", string(reply), err)
		}
	}
	reply, err := target.Call(ctx, "Kept", nil)
	fmt.Println("kept anew", len(reply), err)
}

func filled(size int, with byte) []byte {
	b := make([]byte, size)
	for i := range b {
		b[i] = with + byte(i%7)
	}
	return b
}

// keep sends requests of all sizes, twice small ones between, and keeps all replies itself. It gives what was sent.
func keep() (sent []byte) {
	var replies [][]byte
	for i, size := range slices.Concat(sizes, slices.Repeat([]int{3, 90}, 200), sizes) {
		request := filled(size, byte(i))
		sent = append(sent, request...)
		reply, err := target.Call(ctx, "Keep", request)
		if size == 13 {
			if parigot.CodeOf(err) != parigot.Unknown {
				fmt.Println("thirteen", string(reply), err)
			}
			reply = bytes.Clone(request)
		}
		replies = append(replies, reply)
		clear(request) // the caller's again
	}
	fmt.Println("replies", bytes.Equal(bytes.Join(replies, nil), sent))
	return sent
}

// appended appends replies to buffers with all sorts of room to spare.
func appended() {
	for _, spare := range []int{0, 1, 100, 4095, 4096, 100_000} {
		for _, size := range sizes {
			request := filled(size, 'x')
			buffer := append(make([]byte, 0, 5+spare), "begun"...)
			reply, err := target.AppendCall(ctx, buffer, "Part", request)
			if want := append([]byte("begun"), request[size/3:]...); err != nil || !bytes.Equal(reply, want) {
				fmt.Println("appended", spare, size, len(reply), err)
			}
			inPlace := &reply[0] == &buffer[0]
			if fits := len(reply) <= cap(buffer); inPlace != fits {
				fmt.Println("appended in place:", inPlace, spare, size)
			}
		}
		reply, err := target.AppendCall(ctx, []byte("begun"), "Missing", nil)
		if string(reply) != "begun" || parigot.CodeOf(err) != parigot.Unimplemented {
			fmt.Println("missing", string(reply), err)
		}
		withHeader := parigot.WithHeader(ctx, "x-some", "header")
		reply, err = target.AppendCall(withHeader, make([]byte, 1, 1+spare), "Part", []byte("abc"))
		if string(reply) != "\x00bc" || err != nil {
			fmt.Println("with a header", string(reply), err)
		}
	}
}

// messages are kept by the service as it was given them, and as it has answered.
func messages() {
	var sent []byte
	for i := range 100 {
		words := bytes.Fields(bytes.Repeat([]byte("word "), i))
		var message []byte
		message = wire.AppendString(message, 1, fmt.Sprint("title ", i))
		message = wire.AppendBytes(message, 2, filled(i*i, byte(i)))
		for _, word := range words {
			message = wire.AppendBytes(message, 3, word)
		}
		reply, err := target.Call(ctx, "Note", message)
		if err != nil || !bytes.Equal(reply, message) {
			fmt.Println("note", i, len(reply), err)
		}
		sent = wire.AppendBytes(sent, 1, message)
	}
	reply, err := target.Call(ctx, "Notes", nil)
	fmt.Println("notes", bytes.Equal(reply, slices.Concat(sent, sent)), err)
}

func must(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
