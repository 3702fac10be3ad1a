// Package parigot is the Go library of parigot guests: programs compiled with GOOS=wasip1 GOARCH=wasm that offer services
// to each other and call each other, in one process or in many containers, without being able to tell which.
//
// A service declares what it requires and what it exports, and serves:
//
//	func main() {
//		if err := parigot.Require("log.v1.LogService"); err != nil {
//			panic(err)
//		}
//		parigot.Serve(parigot.Service{
//			Name:    "demo.EchoService",
//			Methods: map[string]parigot.Handler{"Echo": echo},
//		})
//	}
//
//	func echo(ctx context.Context, request []byte) ([]byte, error) { return request, nil }
//
// A program exports nothing: it requires, launches, calls, and returns from main.
//
// Everything declared before the launch must depend on nothing but the guest's arguments and environment: the tool learns
// an app's graph by running each guest up to that point.
//
// # Contexts
//
// A handler's context carries its call: its deadline, its place in the log, its metadata. Give it to every call made on
// behalf of it. A context without a call (context.Background()) means work that belongs to nobody's call.
//
// # Errors
//
// Every call can fail, locally as remotely. What a service answered, or why it could not, is an [*Error] with one of the
// sixteen codes of gRPC and Connect; [CodeOf] gives the code of any error. A handler that returns an [*Error] answers with
// its code and message; any other error is answered as [Unknown], with its text. A handler that panics ends the guest: its
// trace is in the log, the caller gets [Internal], and the kernel starts the service again.
//
// A guest is single-threaded: goroutines run, but only while a call is being handled.
package parigot
