// Controlserver is all that a tailnet needs besides its nodes: a control plane, one DERP region and STUN, on one
// address. Unlike the control plane of Tailscale's own tests it knows which nodes are online: those whose stream
// of network maps is open.
package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"tailscale.com/derp/derpserver"
	"tailscale.com/net/stunserver"
	"tailscale.com/tailcfg"
	"tailscale.com/tstest/integration/testcontrol"
	"tailscale.com/types/key"
	"tailscale.com/types/logger"
)

const (
	regionID   = 9
	regionCode = "fra"
	stunPort   = 3478
)

func main() {
	host := flag.String("host", "10.88.0.1", "IPv4 address that everything listens on")
	port := flag.Int("port", 8080, "TCP port of the control plane")
	domain := flag.String("domain", "lab.ts.net", "MagicDNS domain of the tailnet")
	offlineAfter := flag.Duration("offline-after", time.Second, "grace before a node without a stream is offline")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *host, *port, *domain, *offlineAfter); err != nil {
		log.Fatal(err)
	}
}

func run(ctx context.Context, host string, port int, domain string, offlineAfter time.Duration) error {
	derpPort, closeDERP, err := serveDERP(host)
	if err != nil {
		return fmt.Errorf("DERP: %w", err)
	}
	defer closeDERP()

	stun := stunserver.New(ctx)
	if err := stun.Listen(net.JoinHostPort(host, strconv.Itoa(stunPort))); err != nil {
		return fmt.Errorf("STUN: %w", err)
	}
	go stun.Serve()

	address := net.JoinHostPort(host, strconv.Itoa(port))
	control := &testcontrol.Server{
		DERPMap:          derpMap(host, derpPort),
		ExplicitBaseURL:  "http://" + address,
		MagicDNSDomain:   domain,
		DNSConfig:        &tailcfg.DNSConfig{Domains: []string{domain}, Proxied: true},
		AllNodesSameUser: true,
		Logf:             log.Printf,
	}
	// Nodes may relay for one another, when they are told to.
	control.PeerRelayGrants = true
	admin := &records{control: control, presence: newPresence(control, offlineAfter), domain: domain}

	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("control: %w", err)
	}
	server := &http.Server{Handler: admin.routes()}
	context.AfterFunc(ctx, func() { server.Close() })
	fmt.Fprintln(os.Stdout, "ready")
	if err := server.Serve(listener); err != http.ErrServerClosed {
		return fmt.Errorf("control: %w", err)
	}
	return nil
}

func serveDERP(host string) (port int, stop func(), err error) {
	listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return 0, nil, err
	}
	derp := derpserver.New(key.NewNode(), logger.Discard)
	server := httptest.NewUnstartedServer(derpserver.Handler(derp))
	server.Listener.Close()
	server.Listener = listener
	// DERP upgrades the connection, which HTTP/2 does not know.
	server.Config.TLSNextProto = map[string]func(*http.Server, *tls.Conn, http.Handler){}
	server.Config.ErrorLog = logger.StdLogger(logger.Discard)
	server.StartTLS()
	return listener.Addr().(*net.TCPAddr).Port, func() { server.CloseClientConnections(); derp.Close() }, nil
}

func derpMap(host string, derpPort int) *tailcfg.DERPMap {
	return &tailcfg.DERPMap{
		OmitDefaultRegions: true,
		Regions: map[int]*tailcfg.DERPRegion{
			regionID: {
				RegionID:   regionID,
				RegionCode: regionCode,
				RegionName: "Lab",
				Nodes: []*tailcfg.DERPNode{{
					Name:             "lab1",
					RegionID:         regionID,
					HostName:         host,
					IPv4:             host,
					IPv6:             "none",
					DERPPort:         derpPort,
					STUNPort:         stunPort,
					STUNTestIP:       host,
					InsecureForTests: true,
				}},
			},
		},
	}
}

// presence marks a node online while it has a stream of network maps open, as the production control plane does.
type presence struct {
	control      *testcontrol.Server
	offlineAfter time.Duration

	// updates is held for reading while a node's request may change its own record, and for writing while this
	// type replaces a whole record: a copy taken before and written after such a change would undo it.
	updates sync.RWMutex

	mu      sync.Mutex
	streams map[key.NodePublic]int
}

func newPresence(control *testcontrol.Server, offlineAfter time.Duration) *presence {
	p := &presence{control: control, offlineAfter: offlineAfter, streams: map[key.NodePublic]int{}}
	control.HoldMapRequest = p.follow
	return p
}

func (p *presence) follow(request *tailcfg.MapRequest) (done func()) {
	if !request.Stream || request.ReadOnly {
		p.updates.RLock()
		return p.updates.RUnlock
	}
	node := request.NodeKey
	p.count(node, +1)
	p.publish(node)
	return func() {
		p.count(node, -1)
		time.AfterFunc(p.offlineAfter, func() { p.publish(node) })
	}
}

func (p *presence) count(node key.NodePublic, change int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.streams[node] += change
}

// publish tells all nodes whether node is online now, when that differs from what they know.
func (p *presence) publish(node key.NodePublic) {
	p.updates.Lock()
	defer p.updates.Unlock()
	p.mu.Lock()
	online := p.streams[node] > 0
	p.mu.Unlock()

	record := p.control.Node(node)
	if record == nil || (record.Online != nil && *record.Online == online) {
		return
	}
	record.Online = &online
	if record.LastSeen = nil; !online {
		now := time.Now()
		record.LastSeen = &now
	}
	p.control.UpdateNode(record)
}
