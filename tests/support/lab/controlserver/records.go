package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"unsafe"

	"tailscale.com/tailcfg"
	"tailscale.com/tstest/integration/testcontrol"
	"tailscale.com/types/key"
)

// records is the admin console of the lab, as HTTP:
//
//	PATCH  /lab/nodes/NAME  changes the members of the node's record that the body (JSON of a tailcfg.Node) has
//	POST   /lab/nodes       adds an offline node that no machine stands behind: {"dnsName": …, "hostName": …}
//	DELETE /lab/nodes/NAME  removes the node; it is kept for
//	PUT    /lab/nodes/NAME  which brings it back
//
// NAME is the first label of the DNS name.
type records struct {
	control  *testcontrol.Server
	presence *presence
	domain   string

	mu      sync.Mutex
	removed map[string]*tailcfg.Node
	added   int
}

func (r *records) routes() *http.ServeMux {
	mux := http.NewServeMux()
	mux.Handle("/", r.control)
	for pattern, change := range map[string]func(*http.Request) error{
		"PATCH /lab/nodes/{name}":  r.change,
		"DELETE /lab/nodes/{name}": r.remove,
		"PUT /lab/nodes/{name}":    r.restore,
		"POST /lab/nodes":          r.add,
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, request *http.Request) {
			// A node's own requests change its record as well: see presence.
			r.presence.updates.Lock()
			defer r.presence.updates.Unlock()
			if err := change(request); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
			}
		})
	}
	return mux
}

func (r *records) find(name string) (*tailcfg.Node, error) {
	for _, node := range r.control.AllNodes() {
		if label, _, _ := strings.Cut(node.Name, "."); label == name {
			return node, nil
		}
	}
	return nil, fmt.Errorf("no node is called %q", name)
}

func (r *records) change(request *http.Request) error {
	node, err := r.find(request.PathValue("name"))
	if err != nil {
		return err
	}
	if err := json.NewDecoder(request.Body).Decode(node); err != nil {
		return err
	}
	r.control.UpdateNode(node)
	return nil
}

func (r *records) add(request *http.Request) error {
	var names struct{ DNSName, HostName string }
	if err := json.NewDecoder(request.Body).Decode(&names); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.added++
	id, offline := 1000+r.added, false
	address := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 65, 0, byte(r.added)}), 32)
	r.control.UpdateNode(&tailcfg.Node{
		ID:                tailcfg.NodeID(id),
		StableID:          tailcfg.StableNodeID(fmt.Sprintf("ADDED%d", id)),
		Name:              names.DNSName + "." + r.domain + ".",
		Key:               key.NewNode().Public(),
		Machine:           key.NewMachine().Public(),
		DiscoKey:          key.NewDisco().Public(),
		Addresses:         []netip.Prefix{address},
		AllowedIPs:        []netip.Prefix{address},
		Hostinfo:          (&tailcfg.Hostinfo{Hostname: names.HostName}).View(),
		MachineAuthorized: true,
		Online:            &offline,
	})
	return nil
}

func (r *records) remove(request *http.Request) error {
	name := request.PathValue("name")
	node, err := r.find(name)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.removed == nil {
		r.removed = map[string]*tailcfg.Node{}
	}
	r.removed[name] = node
	drop(r.control, node.Key)
	for _, other := range r.control.AllNodes() {
		r.control.UpdateNode(other)
		break
	}
	return nil
}

func (r *records) restore(request *http.Request) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	name := request.PathValue("name")
	node := r.removed[name]
	if node == nil {
		return fmt.Errorf("no node called %q was removed", name)
	}
	delete(r.removed, name)
	r.control.UpdateNode(node)
	return nil
}

// drop removes a node from the server, which has no way to: its map of nodes is not exported.
func drop(control *testcontrol.Server, node key.NodePublic) {
	server := reflect.ValueOf(control).Elem()
	mu := (*sync.Mutex)(unsafe.Pointer(server.FieldByName("mu").UnsafeAddr()))
	nodes := (*map[key.NodePublic]*tailcfg.Node)(unsafe.Pointer(server.FieldByName("nodes").UnsafeAddr()))
	mu.Lock()
	defer mu.Unlock()
	delete(*nodes, node)
}
