package llmrl

/*
#cgo noescape go_router_new
#cgo nocallback go_router_new
#cgo noescape llmrl_router_add
#cgo nocallback llmrl_router_add
#cgo noescape llmrl_router_set_weight
#cgo nocallback llmrl_router_set_weight
#cgo noescape llmrl_router_remove
#cgo nocallback llmrl_router_remove
#cgo noescape llmrl_router_node_for
#cgo nocallback llmrl_router_node_for
#cgo noescape llmrl_router_try_acquire
#cgo nocallback llmrl_router_try_acquire
#cgo noescape llmrl_router_enqueue
#cgo nocallback llmrl_router_enqueue
#cgo noescape llmrl_router_poll
#cgo nocallback llmrl_router_poll
#cgo nocallback llmrl_router_cancel
#include "bridge.h"
*/
import "C"

import (
	"context"
	"maps"
	"math"
	"runtime"
	"sync"
	"time"
	"unsafe"
)

// A Router is limiters by name: for one limit in many parts, which part a key belongs to, the same in every process and language; for
// many deployments of one model, the one that admits a request soonest. A node that comes or goes moves only its own share of the keys.
// Safe for use by several goroutines.
type Router struct {
	c     *C.llmrl_router
	queue queue

	lock  sync.RWMutex
	nodes map[uint32]*Node
}

// A Node is one of a Router's limiters.
type Node struct {
	Name    string
	Limiter *Limiter
}

// NewRouter makes a router without nodes. replicas is 0 for weighted rendezvous; 1 to 10000 places keys on a ring of so many MD5 points for each unit
// of weight, for those whose keys are placed like that already. The error is an *ArgumentError.
func NewRouter(replicas int) (*Router, error) {
	if replicas < 0 || replicas > 10000 {
		return nil, &ArgumentError{"NewRouter", outside("replicas", replicas, 0, 10000)}
	}
	r := &Router{queue: newQueue(nil), nodes: map[uint32]*Node{}}
	var message message
	status := C.go_router_new(C.uint32_t(replicas), r.queue.number, &r.c, &message[0], C.size_t(len(message)))
	if status < 0 {
		return nil, made("NewRouter", status, &message)
	}
	freeWith(r, func(c *C.llmrl_router) { C.llmrl_router_free(c) }, r.c)
	return r, nil
}

// Add adds a node. name is 1 to 255 bytes and no other node's, weight its share of the keys, 0 to 1000000. All limiters are on one
// clock: the first says which. The error is an *ArgumentError.
func (r *Router) Add(name string, weight int, limiter *Limiter) error {
	if limiter == nil {
		return &ArgumentError{"Add", "limiter = nil is no Limiter"}
	}
	r.lock.Lock()
	defer r.lock.Unlock()
	if len(r.nodes) > 0 && limiter.queue.manual != r.queue.manual {
		return &ArgumentError{"Add", "limiter is on another kind of clock than the nodes there are"}
	}
	var message message
	var node C.uint32_t
	status := C.llmrl_router_add(r.c, unsafe.Pointer(chars(name)), C.size_t(len(name)), weightOf(weight), limiter.c, &node, &message[0], C.size_t(len(message)))
	deliver()
	if status < 0 {
		return made("Add", status, &message)
	}
	r.queue.manual = limiter.queue.manual
	// Those who wait have the map that was, without it.
	nodes := maps.Clone(r.nodes)
	nodes[uint32(node)] = &Node{name, limiter}
	r.nodes = nodes
	return nil
}

// weightOf is a weight, or one that C refuses.
func weightOf(weight int) C.uint32_t {
	if weight < 0 || weight > math.MaxInt32 {
		return math.MaxUint32
	}
	return C.uint32_t(weight)
}

// SetWeight gives the node of that name another weight; 0 drains it. ErrNoNode, or an *ArgumentError.
func (r *Router) SetWeight(name string, weight int) error {
	status := C.llmrl_router_set_weight(r.c, unsafe.Pointer(chars(name)), C.size_t(len(name)), weightOf(weight))
	runtime.KeepAlive(r)
	deliver()
	return failed("SetWeight", status, outside("weight", weight, 0, "1000000, with all points on the ring at most 1048576"))
}

// Remove takes the node of that name away. Permits that are held are not touched; who waits may still be admitted there. ErrNoNode.
func (r *Router) Remove(name string) error {
	r.lock.Lock()
	defer r.lock.Unlock()
	status := C.llmrl_router_remove(r.c, unsafe.Pointer(chars(name)), C.size_t(len(name)))
	deliver()
	if status < 0 {
		return failed("Remove", status, "")
	}
	// Those who wait go on with the map that was.
	r.nodes = maps.Clone(r.nodes)
	maps.DeleteFunc(r.nodes, func(_ uint32, node *Node) bool { return node.Name == name })
	return nil
}

// NodeFor is the node to which a key belongs, whatever its limiter would say: to spread one limit over parts. ErrNoNode.
func (r *Router) NodeFor(key string) (*Node, error) {
	r.lock.RLock()
	defer r.lock.RUnlock()
	var node C.uint32_t
	status := C.llmrl_router_node_for(r.c, unsafe.Pointer(chars(key)), C.size_t(len(key)), &node, nil)
	if status < 0 {
		return nil, failed("NodeFor", status, "")
	}
	return r.nodes[uint32(node)], nil
}

// TryAcquire asks now: with a key its node first, then the others in an order that is the key's own; with "" by weight. If none admits it, permit
// is nil, and node is the one that refuses for the shortest time, wait. The errors are as of a Limiter's, and ErrNoNode.
func (r *Router) TryAcquire(cost Cost, key string) (node *Node, permit *Permit, wait time.Duration, err error) {
	c := cost.c()
	var out C.llmrl_routed
	r.lock.RLock()
	defer r.lock.RUnlock()
	status := C.llmrl_router_try_acquire(r.c, &c, unsafe.Pointer(keyed(key)), C.size_t(len(key)), &out, C.size_t(unsafe.Sizeof(out)))
	deliver()
	node = r.nodes[uint32(out.node)]
	switch {
	case status == C.LLMRL_REFUSED:
		return node, nil, duration(uint64(out.wait_ns)), nil
	case status < 0:
		return nil, nil, 0, refused("TryAcquire", status, cost)
	}
	return node, &Permit{node.Limiter, uint64(out.permit)}, 0, nil
}

// Acquire waits for its turn at all nodes at once, and goes with the first; those that are paused, closed, full or too small for it are
// passed over. The errors are as of a Limiter's, and ErrNoNode. There is no Close: to end those who wait, close the limiters.
func (r *Router) Acquire(ctx context.Context, cost Cost, key string) (*Node, *Permit, error) {
	patience, err := patience(ctx)
	if err != nil {
		return nil, nil, interrupted("Acquire", err)
	}
	nodes, queue, a := r.enqueue(cost, key, patience)
	if a.status == C.LLMRL_PENDING {
		if a, err = queue.await(ctx, r, a.id); err != nil {
			return nil, nil, interrupted("Acquire", err)
		}
	}
	if a.status < 0 {
		return nil, nil, refused("Acquire", a.status, cost)
	}
	node := nodes[a.place]
	return node, &Permit{node.Limiter, a.id}, nil
}

func (r *Router) enqueue(cost Cost, key string, patience C.uint64_t) (map[uint32]*Node, queue, answer) {
	c := cost.c()
	var out C.llmrl_routed
	// So that the nodes are those at which it may wait.
	r.lock.RLock()
	defer r.lock.RUnlock()
	status := C.llmrl_router_enqueue(r.c, &c, unsafe.Pointer(keyed(key)), C.size_t(len(key)), patience, &out, C.size_t(unsafe.Sizeof(out)))
	deliver()
	return r.nodes, r.queue, routed(status, &out)
}

// routed has the ticket while it waits, then the permit.
func routed(status C.llmrl_status, out *C.llmrl_routed) answer {
	id := out.permit
	if status == C.LLMRL_PENDING {
		id = C.llmrl_permit(out.ticket)
	}
	return answer{status: status, place: uint32(out.node), id: uint64(id), wait: uint64(out.wait_ns)}
}

// keyed is NULL for no key.
func keyed(key string) *C.char {
	if key == "" {
		return nil
	}
	return chars(key)
}

func (r *Router) poll(ticket uint64) answer {
	var out C.llmrl_routed
	status := C.llmrl_router_poll(r.c, C.uint64_t(ticket), &out, C.size_t(unsafe.Sizeof(out)))
	runtime.KeepAlive(r)
	deliver()
	return routed(status, &out)
}

func (r *Router) leave(ticket uint64) {
	for C.llmrl_router_cancel(r.c, C.uint64_t(ticket)) == C.LLMRL_ERR_BUSY {
		runtime.Gosched()
	}
	runtime.KeepAlive(r)
	deliver()
}
