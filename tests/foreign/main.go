// Servers and a client that are not parigot's: grpc-go and connect-go. For tests.
//
//	foreign grpc ADDRESS [-service NAME] [-cert FILE -key FILE] [-health MILLISECONDS]
//	foreign connect ADDRESS [-service NAME] [-cert FILE -key FILE]
//	foreign certificates FOLDER HOST...
//	foreign call ADDRESS SERVICE/METHOD REQUEST MILLISECONDS [NAME=VALUE]...
//
// Both servers have a service, test.v1.Mirror unless said otherwise, with the method Reflect, whose messages are any bytes. With -health the first one speaks gRPC's health
// protocol, and is not serving for so long. A server prints "listening", then a line for each call.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
)

var path string

// raw is a codec, of either library: a message is its bytes.
type raw struct{}

func (raw) Name() string { return "proto" }
func (raw) Marshal(v any) ([]byte, error) {
	return *v.(*[]byte), nil
}
func (raw) Unmarshal(data []byte, v any) error {
	*v.(*[]byte) = bytes.Clone(data)
	return nil
}

func main() {
	verb, address := os.Args[1], os.Args[2]
	if verb == "call" {
		call(address, os.Args[3], os.Args[4], os.Args[5], os.Args[6:])
		return
	}
	if verb == "certificates" {
		certificates(address, os.Args[3:])
		return
	}
	options := flag.NewFlagSet(verb, flag.ExitOnError)
	cert, key := options.String("cert", "", ""), options.String("key", "", "")
	service := options.String("service", "test.v1.Mirror", "")
	coming := options.Int("health", -1, "")
	options.Parse(os.Args[3:])
	path = "/" + *service + "/Reflect"
	listener, err := net.Listen("tcp", address)
	must(err)
	fmt.Println("listening")
	if verb == "grpc" {
		serveGRPC(listener, *cert, *key, *coming)
	} else {
		serveConnect(listener, *cert, *key)
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// failure is what an answer may be in place of a text.
type failure struct {
	code    uint32
	text    string
	details []*anypb.Any
}

// answer does what a request says; headers are the request's.
func answer(ctx context.Context, request string, headers map[string][]string) (string, *failure) {
	fmt.Println("called", request)
	switch request {
	case "fail":
		detail := &anypb.Any{TypeUrl: "type.googleapis.com/demo.Detail", Value: []byte{0, 1, 2, 255}}
		return "", &failure{5, "nothing hére", []*anypb.Any{detail, {TypeUrl: "type.googleapis.com/demo.Other"}}}
	case "busy":
		return "", &failure{14, "busy here", nil}
	case "deadline":
		until, ok := ctx.Deadline()
		if !ok {
			return "none", nil
		}
		return strconv.FormatInt(time.Until(until).Milliseconds(), 10), nil
	case "slow":
		<-ctx.Done()
		fmt.Println("given up")
		time.Sleep(200 * time.Millisecond) // the caller finds that it is late, not this one
		return "", &failure{4, "too slow", nil}
	case "die":
		os.Exit(1)
	case "large":
		return strings.Repeat("x", 3<<20), nil
	case "headers":
		var names []string
		for name := range headers {
			names = append(names, strings.ToLower(name))
		}
		sort.Strings(names)
		var text []string
		for _, name := range names {
			if strings.HasPrefix(name, "x-") || name == "authorization" {
				text = append(text, name+"="+strings.Join(metadata.MD(headers).Get(name), "+"))
			}
		}
		return strings.Join(text, " "), nil
	}
	return "answer to " + request, nil
}

func lower(headers http.Header) map[string][]string {
	found := map[string][]string{}
	for name, values := range headers {
		found[strings.ToLower(name)] = values
	}
	return found
}

func serveGRPC(listener net.Listener, cert, key string, coming int) {
	var options []grpc.ServerOption
	if cert != "" {
		secure, err := credentials.NewServerTLSFromFile(cert, key)
		must(err)
		options = append(options, grpc.Creds(secure))
	}
	server := grpc.NewServer(append(options, grpc.ForceServerCodec(raw{}), grpc.UnknownServiceHandler(handle))...)
	if coming >= 0 {
		// Its messages are not bytes: its own codec is the default one, so it has a server of its own behind the same port.
		serveHealth(server, coming)
	}
	must(server.Serve(listener))
}

// serveHealth answers grpc.health.v1.Health/Check, of the whole server alone.
func serveHealth(server *grpc.Server, coming int) {
	state := health.NewServer()
	state.SetServingStatus("", grpc_health_v1.HealthCheckResponse_NOT_SERVING)
	time.AfterFunc(time.Duration(coming)*time.Millisecond, func() {
		state.SetServingStatus("", grpc_health_v1.HealthCheckResponse_SERVING)
	})
	check := func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		var asked []byte
		if err := decode(&asked); err != nil {
			return nil, err
		}
		service := ""
		if len(asked) > 2 {
			service = string(asked[2:])
		}
		found, err := state.Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: service})
		if err != nil {
			return nil, err
		}
		reply := []byte{8, byte(found.Status)}
		return &reply, nil
	}
	server.RegisterService(&grpc.ServiceDesc{
		ServiceName: "grpc.health.v1.Health",
		HandlerType: (*any)(nil),
		Methods:     []grpc.MethodDesc{{MethodName: "Check", Handler: check}},
	}, struct{}{})
}

func handle(_ any, stream grpc.ServerStream) error {
	if method, _ := grpc.MethodFromServerStream(stream); method != path {
		return grpcstatus.Error(12, "unknown method "+method)
	}
	var request []byte
	if err := stream.RecvMsg(&request); err != nil {
		return err
	}
	headers, _ := metadata.FromIncomingContext(stream.Context())
	must(stream.SendHeader(metadata.Pairs("x-multi", "one", "x-multi", "two")))
	stream.SetTrailer(metadata.Pairs("x-end", "tail", "x-data-bin", "\x00\x01\x02\xff"))
	text, failed := answer(stream.Context(), string(request), headers)
	if failed != nil {
		return grpcstatus.FromProto(&status.Status{
			Code: int32(failed.code), Message: failed.text, Details: failed.details,
		}).Err()
	}
	reply := []byte(text)
	return stream.SendMsg(&reply)
}

func serveConnect(listener net.Listener, cert, key string) {
	reflect := func(ctx context.Context, request *connect.Request[[]byte]) (*connect.Response[[]byte], error) {
		text, failed := answer(ctx, string(*request.Msg), lower(request.Header()))
		if failed != nil {
			err := connect.NewError(connect.Code(failed.code), errors.New(failed.text))
			for _, each := range failed.details {
				detail, wrong := connect.NewErrorDetail(each)
				must(wrong)
				err.AddDetail(detail)
			}
			err.Meta()["X-Multi"] = []string{"one", "two"}
			return nil, err
		}
		reply := []byte(text)
		response := connect.NewResponse(&reply)
		response.Header().Add("x-multi", "one")
		response.Header().Add("x-multi", "two")
		response.Trailer().Set("x-end", "tail")
		response.Trailer().Set("x-data-bin", connect.EncodeBinaryHeader([]byte{0, 1, 2, 255}))
		return response, nil
	}
	mux := http.NewServeMux()
	mux.Handle(path, connect.NewUnaryHandler(path, reflect, connect.WithCodec(raw{})))
	mux.HandleFunc("/ready", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "yes") })
	server := &http.Server{Handler: mux, TLSNextProto: nil}
	if cert != "" {
		must(server.ServeTLS(listener, cert, key))
	}
	must(server.Serve(listener))
}

// result is what became of a call, as JSON.
type result struct {
	Code     string              `json:"code"`
	Text     string              `json:"text"`
	Reply    string              `json:"reply"`
	Headers  map[string][]string `json:"headers"`
	Trailers map[string][]string `json:"trailers"`
	Details  []string            `json:"details"`
}

// call calls a service by grpc-go. The request is bytes in hexadecimal digits, and so is what is said of the reply.
func call(address, method, request, milliseconds string, headers []string) {
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(err)
	limit, err := strconv.Atoi(milliseconds)
	must(err)
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(limit)*time.Millisecond)
	defer cancel()
	for _, header := range headers {
		name, value, _ := strings.Cut(header, "=")
		ctx = metadata.AppendToOutgoingContext(ctx, name, value)
	}
	var sent []byte
	_, err = fmt.Sscanf(request+"00", "%x", &sent) // Sscanf reads no empty word
	must(err)
	sent = sent[:len(sent)-1]
	var reply []byte
	var head, trail metadata.MD
	err = connection.Invoke(ctx, "/"+method, &sent, &reply, grpc.ForceCodec(raw{}), grpc.Header(&head), grpc.Trailer(&trail))
	said := grpcstatus.Convert(err)
	told := result{
		Code: said.Code().String(), Text: said.Message(), Reply: fmt.Sprintf("%x", reply), Headers: head, Trailers: trail,
	}
	for _, detail := range said.Proto().GetDetails() {
		told.Details = append(told.Details, fmt.Sprintf("%s %x", detail.TypeUrl, detail.Value))
	}
	must(json.NewEncoder(os.Stdout).Encode(told))
}
