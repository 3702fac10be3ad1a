// The program that measures, in Go: as driver.c does, but for the command `open`.
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"bench/bench"
	parigot "parigot.dev/go"
	"parigot.dev/go/wire"
)

const maxSize = 1 << 20

var (
	target  *parigot.Client
	request = make([]byte, maxSize)
	reply   = make([]byte, 0, maxSize)
)

func main() {
	service := os.Getenv("TARGET")
	must(parigot.Require(service))
	must(parigot.Launch())
	var err error
	target, err = parigot.Locate(service)
	must(err)
	for i := range request {
		request[i] = byte(i*7 + i/251)
	}
	fmt.Println("ready")
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		must(obey(lines.Text()))
	}
}

func obey(line string) error {
	var method string
	var size, per, batches int
	batch := readClock
	if n, _ := fmt.Sscanf(line, "calls %s %d %d %d", &method, &size, &per, &batches); n == 4 && size <= maxSize {
		switch method {
		case "Echo":
			batch = func(per int) error { return echo(request[:size], per) }
		case "Typed":
			batch = typed
		default:
			return errors.New("unknown method: " + method)
		}
	} else if n, _ := fmt.Sscanf(line, "clock %d %d", &per, &batches); n != 2 {
		return errors.New("unknown command: " + line)
	}
	out := bufio.NewWriter(os.Stdout)
	before := time.Now()
	for range batches {
		if err := batch(per); err != nil {
			return err
		}
		after := time.Now()
		fmt.Fprint(out, after.Sub(before).Nanoseconds(), " ")
		before = after
	}
	fmt.Fprintln(out)
	return out.Flush()
}

func echo(body []byte, per int) (err error) {
	ctx := context.Background()
	for range per {
		if reply, err = target.AppendCall(ctx, reply[:0], "Echo", body); err != nil {
			return err
		}
		if len(reply) != len(body) || len(body) > 0 && reply[0] != body[0] {
			return errors.New("the reply is not the request")
		}
	}
	return nil
}

func typed(per int) error {
	ctx := context.Background()
	asked := &bench.Record{Title: "The Köln Concert", Artist: "Keith Jarrett", Year: 1975, Cents: 2799, InStock: true,
		Tags: []string{"jazz", "piano", "live", "double album"}}
	for range per {
		got := &bench.Record{}
		if err := wire.Call(ctx, target, "Typed", asked, got); err != nil {
			return err
		}
		if got.Year != asked.Year+1 {
			return fmt.Errorf("the reply says %d", got.Year)
		}
	}
	return nil
}

func readClock(per int) error {
	for range per {
		time.Now()
	}
	return nil
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
