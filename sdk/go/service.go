package parigot

import (
	"context"
	"errors"
	"math"
	"math/bits"
	"os"
	"slices"
	"unsafe"

	"parigot.dev/go/internal/room"
)

// Handler answers one method: the request and the reply are serialised protobuf messages. Package wire makes one of a
// method that takes and gives messages. The request is the handler's to keep, and to write to; a small one lies in a larger
// allocation, so that what is kept of it for long is better copied.
type Handler func(ctx context.Context, request []byte) ([]byte, error)

// Service is what a guest exports.
type Service struct {
	// Name is the protobuf full name: demo.vvv.StoreService.
	Name    string
	Methods map[string]Handler
	// Ready is asked once, when everything required is ready; with false the start is aborted. nil: always ready.
	Ready func(ctx context.Context) bool
	// Concurrent: each call has a goroutine of its own, and while it waits in Call, Wait or Sleep, or for other goroutines, more
	// calls come in. Otherwise there is one call at a time, and a handler that waits holds up the guest: simpler, and a call costs
	// less. For all services of a guest, or for none.
	Concurrent bool
	// Lent: requests are the handlers' until they return, and their room is that of the next request then. So a handler copies what
	// it keeps, of a message its bytes fields; strings are copies already. It may answer with its request, or a part of it. For
	// all services of a guest, or for none, and not for Concurrent ones.
	Lent bool
}

var (
	handlers []Handler // of all services, by the number given to bind

	lends  bool   // requests are lent
	loan   []byte // the room for them
	loaned bool   // there is a request in it

	requests room.Pieces             // where rooms for small ones are cut off; it keeps the last
	coming   uintptr                 // the last, on its way in; 0: none is
	large    unsafe.Pointer          // one that is not small, on its way in
	more     map[unsafe.Pointer]bool // what was asked for meanwhile, were the kernel to ask for room for several at once
)

// Require declares which services this guest will call. It belongs before Launch or Serve.
func Require(services ...string) error {
	for _, name := range services {
		if err := failure(abiRequire(text(name), int32(len(name))), "require "+name); err != nil {
			return err
		}
	}
	return nil
}

// Launch is for programs: it returns when everything required is ready. It does not return when the start is aborted.
func Launch() error {
	return failure(abiLaunch(), "launch")
}

// Serve exports the services, waits until everything required is ready, asks each service's Ready, and answers calls from
// then on. It does not return. What goes wrong is written to stderr, and the guest exits with 1, which aborts the start.
func Serve(services ...Service) {
	for _, service := range services {
		if err := export(service); err != nil {
			abort(err)
		}
		if service.Concurrent != services[0].Concurrent {
			abort(errors.New(service.Name + ": all services of a guest are Concurrent, or none is"))
		}
		if service.Lent != services[0].Lent || service.Lent && service.Concurrent {
			abort(errors.New(service.Name + ": all services of a guest are Lent, or none is; a Concurrent one cannot be"))
		}
	}
	if err := Launch(); err != nil {
		abort(err)
	}
	for _, service := range services {
		if service.Ready != nil && !service.Ready(context.Background()) {
			abort(errors.New(service.Name + " is not ready"))
		}
	}
	parks = len(services) > 0 && services[0].Concurrent
	lends = len(services) > 0 && services[0].Lent
	abiServe()
	abort(errors.New("parigot: this is no guest: build it with GOOS=wasip1 GOARCH=wasm"))
}

func abort(err error) {
	os.Stderr.WriteString(err.Error() + "\n")
	os.Exit(1)
}

// export binds methods in the order of their names: what a guest declares is the same in every run.
func export(service Service) error {
	number := abiExport(text(service.Name), int32(len(service.Name)))
	if err := failure(number, "export "+service.Name); err != nil {
		return err
	}
	names := make([]string, 0, len(service.Methods))
	for name := range service.Methods { // to sort them afterwards would bring 18 KB of code along
		at, _ := slices.BinarySearch(names, name)
		names = slices.Insert(names, at, name)
	}
	for _, name := range names {
		result := abiBind(number, text(name), int32(len(name)), int32(len(handlers)))
		if err := failure(result, "bind "+service.Name+"/"+name); err != nil {
			return err
		}
		handlers = append(handlers, service.Methods[name])
	}
	return nil
}

// allocate keeps the room that it gives, until the kernel hands it back with the call that it was asked for. To store a pointer
// for that would cost more than all the rest while Go collects garbage: so the usual room is kept by what it was cut off.
//
//go:wasmexport parigot_alloc
func allocate(length uint32) unsafe.Pointer {
	if int(length) <= len(loan) && !loaned {
		loaned = true
		return bytes(loan)
	}
	if lends {
		return lend(length)
	}
	if length > room.Small || coming != 0 {
		return allocateMore(length)
	}
	place := bytes(requests.Cut(int(length)))
	coming = uintptr(place)
	return place
}

const (
	least   = 4 << 10 // of a loan
	longest = 1 << 20
)

func lend(length uint32) unsafe.Pointer {
	if loaned || length > longest {
		return allocateMore(length)
	}
	if int(length) > len(loan) {
		loan = make([]byte, max(least, 1<<bits.Len32(length-1)))
	}
	loaned = true
	return bytes(loan)
}

func allocateMore(length uint32) unsafe.Pointer {
	place := bytes(make([]byte, length))
	if large == nil {
		large = place
		return place
	}
	if more == nil {
		more = map[unsafe.Pointer]bool{}
	}
	more[place] = true
	return place
}

// claim gives a request, whose room is the handler's from now on.
func claim(request unsafe.Pointer, length uint32) []byte {
	switch {
	case length == 0:
		return nil
	case uintptr(request) == coming:
		coming = 0
	case request == bytes(loan): // given back when the handler has returned
	case request == large:
		large = nil
	default:
		delete(more, request)
	}
	return (*[math.MaxInt32]byte)(request)[:length:length]
}

// handle calls no function of ours where nothing is unusual: here that costs as much as what they would do.
//
//go:wasmexport parigot_handle
func handle(id, _, method int32, request unsafe.Pointer, length uint32) {
	handler, body := handlers[method], claim(request, length)
	before := current
	current = id
	ctx := newContext(id)
	if parks {
		spawn(func() { run(ctx, handler, body) })
		current = before
		return
	}
	reply, err := handler(ctx, body)
	if err == nil {
		abiAnswer(id, 0, bytes(reply), int32(len(reply)))
	} else {
		refuse(id, err)
	}
	ctx.end()
	current = before
	if request == bytes(loan) {
		loaned = false
	}
}

// run is the end of handle, for a goroutine.
func run(ctx *callContext, handler Handler, body []byte) {
	if reply, err := handler(ctx, body); err == nil {
		abiAnswer(ctx.id, 0, bytes(reply), int32(len(reply)))
	} else {
		refuse(ctx.id, err)
	}
	ctx.end()
}

// refuse answers with an error. Answering cannot fail in a way that a handler could act on: the caller may have given up, or the
// reply may be too long, and both are the caller's error already.
func refuse(id int32, err error) {
	code, message := CodeOf(err), err.Error()
	var failed *Error
	if errors.As(err, &failed) && error(failed) == err {
		message = failed.Message
	}
	if code == OK || code > Unauthenticated {
		code = Unknown
	}
	if failed != nil {
		for _, detail := range failed.Details {
			if err := set(id, "error-details", string(detail.any())); err != nil {
				os.Stderr.WriteString("parigot: a detail of type " + detail.Type + " is lost: " + err.Error() + "\n")
			}
		}
	}
	abiAnswer(id, int32(code), text(message), int32(len(message)))
}

var stops []func()

// OnStop has a function called when the app ends, before this guest does: a second is left to tidy up. What was added last
// is called first.
func OnStop(tidy func()) { stops = append(stops, tidy) }

//go:wasmexport parigot_stop
func stop() {
	parks = false // nobody would be resumed
	for _, tidy := range slices.Backward(stops) {
		tidy()
	}
}

func text(s string) unsafe.Pointer { return unsafe.Pointer(unsafe.StringData(s)) }

func bytes(b []byte) unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(b)) }
