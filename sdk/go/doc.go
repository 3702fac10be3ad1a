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
// sixteen codes of gRPC and Connect, and with details, if the service gave some; [CodeOf] gives the code of any error. A
// handler that returns an [*Error] answers with its code, message and details; any other error is answered as [Unknown],
// with its text. A handler that panics ends the guest: its trace is in the log, the callers of all its open calls get
// [Internal], and the kernel starts the service again.
//
// # One call at a time, or many
//
// A guest has one thread. Unless told otherwise it handles one call at a time: a handler that waits, in [Client.Call] for
// example, holds up the guest. That is the simple way, there is nothing to lock, and the fastest.
//
// With Concurrent in its [Service] each call has a goroutine, and while one waits more come in: hundreds may be open. It is for
// services that wait for others more than they compute. Handlers still never run at the same instant, but they take turns
// wherever they wait, so what they share over a wait needs a mutex, as in any Go server. A fan-out is the usual one:
//
//	var all sync.WaitGroup
//	for i, client := range clients {
//		all.Add(1)
//		go func() {
//			defer all.Done()
//			replies[i], errs[i] = client.Call(ctx, "Ask", request)
//		}()
//	}
//	all.Wait()
//
// Channels, mutexes, contexts with a deadline and errgroup all work. [Sleep] is the way to wait for a time, to the millisecond;
// what waits by Go's own timers (time.Sleep, time.After, a context's own deadline, unless in a call) goes on up to 5 ms late.
// When a handler's deadline passes, its caller has been told; calls and sleeps that it is in end with [DeadlineExceeded], and so
// do those it begins; what it answers is dropped. A goroutine that its handler leaves behind finds its context cancelled, and
// goes on only while calls are handled.
//
// In a program, and in Ready, a call holds up everything, other goroutines too: to have several open start them with
// [Client.Start], then wait for each.
//
// # Memory
//
// What a handler is given is its own: it may keep its request, and its context. So may a caller its reply. That takes some
// memory a call, which is to be collected: nothing beside a call to another node, and most of the price of one within a process.
// Where that counts a service says that its requests are Lent, and a caller uses [Client.AppendCall] with a buffer of its own.
package parigot
