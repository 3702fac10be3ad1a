// The alternative in Go: a gRPC server, and a client that measures calls to it as the driver of benchmarks/guests does.
//
//	grpc_go serve PORT
//	grpc_go client PORT
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"

	"bench/grpc/benchv1"
)

const (
	maxSize    = 1 << 20
	maxMessage = 4 << 20
	echo       = "/bench.v1.Echo/Echo"
	typed      = "/bench.v1.Echo/Typed"
)

// raw moves bare bytes; messages go by gRPC's own codec.
type raw struct{}

func (raw) Name() string { return "raw" }

func (raw) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*v.(*[]byte))}, nil
}

func (raw) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

func main() {
	if len(os.Args) != 3 {
		fail(errors.New("usage: grpc_go serve|client PORT"))
	}
	encoding.RegisterCodecV2(raw{})
	if os.Args[1] == "serve" {
		fail(serve(os.Args[2]))
	}
	if err := client(os.Args[2]); err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func serve(port string) error {
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		return err
	}
	server := grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage))
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "bench.v1.Echo",
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{
			{MethodName: "Echo", Handler: func(_ any, _ context.Context, read func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				body := new([]byte)
				return body, read(body)
			}},
			{MethodName: "Typed", Handler: func(_ any, _ context.Context, read func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				record := &benchv1.Record{}
				err := read(record)
				record.Year++
				return record, err
			}},
		},
	}, nil)
	fmt.Println("ready")
	return server.Serve(listener)
}

var (
	connection *grpc.ClientConn
	request    = make([]byte, maxSize)
)

func client(port string) error {
	var err error
	connection, err = grpc.NewClient("passthrough:///127.0.0.1:"+port,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxMessage)))
	if err != nil {
		return err
	}
	for i := range request {
		request[i] = byte(i*7 + i/251)
	}
	if err := call(request[:1]); err != nil {
		return err
	}
	fmt.Println("ready")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		if err := obey(lines.Text()); err != nil {
			return err
		}
	}
	return lines.Err()
}

func obey(line string) error {
	var method string
	var size, callers, per, batches int
	batch := 0
	callers = 1
	if n, _ := fmt.Sscanf(line, "calls %s %d %d %d", &method, &size, &per, &batches); n != 4 {
		if n, _ := fmt.Sscanf(line, "open %s %d %d %d %d", &method, &size, &callers, &per, &batches); n != 5 {
			return errors.New("unknown command: " + line)
		}
	}
	one := func() error { return call(request[:size]) }
	if method == "Typed" {
		one = callTyped
	}
	out := bufio.NewWriter(os.Stdout)
	before := time.Now()
	for ; batch < batches; batch++ {
		if err := many(one, callers, per); err != nil {
			return err
		}
		after := time.Now()
		fmt.Fprint(out, after.Sub(before).Nanoseconds(), " ")
		before = after
	}
	fmt.Fprintln(out)
	return out.Flush()
}

// many makes `per` calls, `callers` at a time.
func many(one func() error, callers, per int) error {
	if callers == 1 {
		for range per {
			if err := one(); err != nil {
				return err
			}
		}
		return nil
	}
	failures := make([]error, callers)
	var done sync.WaitGroup
	for caller := range callers {
		done.Go(func() {
			for i := caller; i < per && failures[caller] == nil; i += callers {
				failures[caller] = one()
			}
		})
	}
	done.Wait()
	return errors.Join(failures...)
}

func call(body []byte) error {
	var reply []byte
	err := connection.Invoke(context.Background(), echo, &body, &reply, grpc.CallContentSubtype("raw"))
	if err == nil && (len(reply) != len(body) || len(body) > 0 && reply[0] != body[0]) {
		err = errors.New("the reply is not the request")
	}
	return err
}

func callTyped() error {
	asked := &benchv1.Record{Title: "The Köln Concert", Artist: "Keith Jarrett", Year: 1975, Cents: 2799, InStock: true,
		Tags: []string{"jazz", "piano", "live", "double album"}}
	got := &benchv1.Record{}
	if err := connection.Invoke(context.Background(), typed, asked, got); err != nil {
		return err
	}
	if got.Year != asked.Year+1 {
		return fmt.Errorf("the reply says %d", got.Year)
	}
	return nil
}
