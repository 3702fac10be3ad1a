// A program that calls demo.Go in every way that the Go library has, and prints what came of it.
package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	parigot "parigot.dev/go"
	"parigot.dev/go/file"
	"parigot.dev/go/log"
)

func main() {
	_, err := parigot.Locate("demo.Go")
	fmt.Println("before launch:", err)
	must(parigot.Require("demo.Go", log.Service, file.Service))
	must(parigot.Launch())
	fmt.Println("launched twice:", parigot.Launch())
	fmt.Println("require after launch:", parigot.Require("demo.Late"))
	_, err = parigot.Locate("demo.Undeclared")
	fmt.Println("not required:", err)

	client, err := parigot.Locate("demo.Go")
	must(err)
	ctx := context.Background()
	calls(ctx, client)
	failures(ctx, client)
	deadlines(ctx, client)
	metadata(ctx, client)
	builtins(ctx)
	os.Exit(7)
}

func calls(ctx context.Context, client *parigot.Client) {
	for _, size := range []int{0, 1, 4095, 4096, 4097, 1 << 20} {
		request := bytes.Repeat([]byte("x"), size)
		reply, err := client.Call(ctx, "Echo", request)
		fmt.Println("echo", size, bytes.Equal(request, reply), err)
	}
	first, err := client.Start(ctx, "Echo", []byte("first"))
	must(err)
	second, err := client.Start(ctx, "Big", []byte("5000"))
	must(err)
	reply, err := second.Wait(ctx)
	fmt.Println("second", len(reply), err)
	reply, err = first.Wait(ctx)
	fmt.Println("first", string(reply), err)
	_, err = first.Wait(ctx)
	fmt.Println("again", parigot.CodeOf(err))
}

func failures(ctx context.Context, client *parigot.Client) {
	for _, how := range []string{"typed", "wrapped", "plain", "deadline", "odd"} {
		_, err := client.Call(ctx, "Fail", []byte(how))
		fmt.Printf("%s: %v (%v)\n", how, err, err.(*parigot.Error).Retryable)
	}
	_, err := client.Call(ctx, "Fail", []byte("detailed"))
	fmt.Printf("detailed: %v %q\n", err, err.(*parigot.Error).Details)
	_, err = client.Call(ctx, "Missing", nil)
	fmt.Println("missing:", parigot.CodeOf(err))
	_, err = client.Call(ctx, "Panic", nil)
	fmt.Println("panic:", parigot.CodeOf(err))
	reply, err := client.Call(ctx, "Echo", []byte("serving"))
	fmt.Println("again:", string(reply), err)
}

func deadlines(ctx context.Context, client *parigot.Client) {
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	_, err := client.Call(short, "Sleep", []byte("1h"))
	fmt.Println("short:", parigot.CodeOf(err))
	_, err = client.Call(short, "Echo", nil)
	fmt.Println("over:", err)
	cancel()
	canceled, cancel := context.WithCancel(ctx)
	cancel()
	_, err = client.Call(canceled, "Echo", nil)
	fmt.Println("cancelled:", err)
	reply, err := client.Call(ctx, "Sleep", []byte("20ms"))
	fmt.Println("slept:", string(reply), err)
	fmt.Println("own sleep:", parigot.Sleep(ctx, 5*time.Millisecond))
	_, err = client.Call(ctx, "Leave", nil)
	fmt.Println("leave:", err)
	reply, err = client.Call(ctx, "Left", nil)
	fmt.Println("left:", string(reply), err)
}

func metadata(ctx context.Context, client *parigot.Client) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var beside parigot.Reply
	reply, err := client.Call(parigot.WithReply(parigot.WithHeader(ctx, "x-test", "yes"), &beside), "Metadata", nil)
	fmt.Println(strings.ReplaceAll(string(reply), "\n", "\n  "), err)
	fmt.Println("reply", beside.Headers["x-reply"], beside.Trailers["x-end"])
	reply, _ = client.Call(ctx, "Metadata", nil)
	fmt.Println("sent once:", strings.Contains(string(reply), "header  false"))
	_, err = client.Call(parigot.WithHeader(ctx, "connect-x", "no"), "Echo", nil)
	fmt.Println("reserved:", err)
	fmt.Printf("outside: %q %q\n", parigot.Caller(ctx), parigot.Trace(ctx))
}

func builtins(ctx context.Context) {
	records, err := log.LocateLogService()
	must(err)
	must(records.Warn(ctx, "three fields", "number", 1, "text", "a b", "alone"))
	files, err := file.LocateFileService()
	must(err)
	must(files.Write(ctx, "a/b.txt", []byte("one ")))
	must(files.Append(ctx, "a/b.txt", []byte("two")))
	must(files.Write(ctx, "c", bytes.Repeat([]byte("y"), 100_000)))
	content, err := files.Read(ctx, "a/b.txt")
	fmt.Println("read", string(content), err)
	content, err = files.Read(ctx, "c")
	fmt.Println("read", len(content), err)
	paths, err := files.List(ctx, "")
	fmt.Println("list", paths, err)
	fmt.Println("delete", files.Delete(ctx, "c"), parigot.CodeOf(files.Delete(ctx, "c")))
	_, err = files.Read(ctx, "../c")
	fmt.Println("outside", parigot.CodeOf(err))
}

func must(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}
