package parigot

import (
	"context"
	"runtime"
	"runtime/metrics"
	"time"
)

// Concurrent handlers: many calls open in a guest that has one thread.
//
// The kernel enters a guest by its exports, and goroutines run only within such an entry. So each call gets a goroutine, and
// the export returns as soon as no goroutine can go on: then others may be entered. What a goroutine waits for here has been
// given to the kernel as an event (a dispatched call, a timer); the kernel resumes the guest with it, and that wakes the
// goroutine.
//
// The export itself must never block: with nothing to run Go ends the guest ("all goroutines are asleep"), or waits for its
// own timers inside the kernel, with everybody else shut out. It yields instead (settle), over and over, until there is no
// one to yield to. Go tells how many goroutines can run; asking is not free, so first it is seen whether all of them are
// parked here, which is the usual case.
//
// A goroutine may as well wait for what only Go knows: a channel, a mutex, time.Sleep, a context's deadline. Channels and
// mutexes are some goroutine's to release. Go's timers, though, run in an entry or not at all: so while calls are open and
// somebody waits outside of this library, the guest has itself entered every few milliseconds (tick).

// parks: goroutines wait by parking, and the guest goes on; from serve until stop, where services are Concurrent.
var parks bool

var (
	expected = map[int32]*Pending{} // events that the guest will be resumed with
	open     int                    // handlers that have not returned
	parked   int                    // goroutines that only the kernel can wake
	tick     int32                  // the timer that looks after Go's own; 0: none
)

// every is how late a timer of Go's own may be.
const every = 5 * time.Millisecond

// spawn runs a handler until it has parked or returned.
func spawn(handler func()) {
	open++
	go func() {
		handler()
		open--
	}()
	settle()
}

// expect has the guest resumed when it ends.
func (p *Pending) expect() {
	p.ended = make(chan struct{})
	expected[p.id] = p
}

// take takes the result, if there is one yet, and wakes who waits for it. For who holds the lock.
func (p *Pending) take() bool {
	result := abiWait(p.id, bytes(scratch[:]), int32(len(scratch)), 0)
	if result == -1 {
		return false
	}
	delete(expected, p.id)
	p.body, p.err = receive(result, p.reply)
	parked -= p.parked
	p.parked = 0
	close(p.ended)
	return true
}

// park waits for the end and lets everything else go on.
func (p *Pending) park(ctx context.Context) ([]byte, error) {
	select {
	case <-p.ended:
	default:
		if isPlain(ctx) { // its deadline is the kernel's, which ends the call by it
			p.parked++
			parked++
			<-p.ended
			break
		}
		select {
		case <-p.ended:
		case <-ctx.Done():
			return nil, endOf(ctx.Err())
		}
	}
	if p.taken {
		return nil, NewError(NotFound, "the reply has been given already")
	}
	p.taken = true
	return p.body, p.err
}

// resume is the kernel's: an event has ended. What nobody waits for any more is looked at all the same: then it is forgotten.
//
//go:wasmexport parigot_resume
func resume(event int32) {
	before := current
	current = unknown
	if event == tick {
		tick = 0
	} else if pending := expected[event]; pending != nil {
		kernel.Lock()
		pending.take()
		kernel.Unlock()
	} else {
		abiWait(event, nil, 0, 0)
	}
	if parks {
		settle()
	}
	current = before
}

var runnable = []metrics.Sample{{Name: "/sched/goroutines/runnable:goroutines"}}

// settle lets the goroutines run until none can.
func settle() {
	for rounds := 0; ; rounds++ {
		runtime.Gosched()
		if runtime.NumGoroutine() == 1+parked { // this one, and those
			return
		}
		metrics.Read(runnable)
		if runnable[0].Value.Kind() != metrics.KindUint64 { // before Go 1.26: a guess, which the tick makes good
			if rounds >= 100 {
				break
			}
		} else if runnable[0].Value.Uint64() == 0 {
			break
		}
	}
	if open > 0 && tick == 0 {
		kernel.Lock()
		if enter(context.Background()) == nil {
			tick = max(0, abiTimer(milliseconds(every)))
		}
		kernel.Unlock()
	}
}
