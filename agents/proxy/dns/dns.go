// Package dns answers the cluster's DNS on each node, from the Services and EndpointSlices that the node's proxy
// follows anyway: the names of the Kubernetes DNS specification from memory, everything else from the host's own
// resolvers, with a cache. So a lookup never leaves the machine for a cluster name, and no DNS pods are needed.
package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sys/unix"
)

// Config is what a Server needs. The zero value of everything but Domain works.
type Config struct {
	// Domain is the cluster's, "cluster.local" by default.
	Domain string
	// Resolvers is the file that names the resolvers for all other domains: /etc/resolv.conf by default.
	Resolvers string
	// Reverse are the ranges of pods and Services: an address in there that has no name is answered here.
	Reverse []netip.Prefix
	// NotUpstream are addresses that must not be asked, since they lead back here.
	NotUpstream []netip.Addr
	Logger      *zap.Logger
	Metrics     prometheus.Registerer
}

// Server answers DNS queries. It is safe for concurrent use.
type Server struct {
	*zone
	config  Config
	log     *zap.Logger
	forward *forwarder
	queries *prometheus.CounterVec
}

// New returns a server that knows no names yet; until SetSynced it asks clients to try again.
func New(config Config) (*Server, error) {
	if config.Domain == "" {
		config.Domain = "cluster.local"
	}
	if config.Resolvers == "" {
		config.Resolvers = "/etc/resolv.conf"
	}
	if config.Logger == nil {
		config.Logger = zap.NewNop()
	}
	s := &Server{
		zone: newZone(config.Domain, config.Reverse), config: config, log: config.Logger, forward: newForwarder(config),
		queries: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "karve_dns_queries_total", Help: "DNS queries by source of the answer and by result."}, []string{"source", "rcode"}),
	}
	if config.Metrics == nil {
		return s, nil
	}
	err := config.Metrics.Register(s.queries)
	var known prometheus.AlreadyRegisteredError
	if errors.As(err, &known) {
		if old, ok := known.ExistingCollector.(*prometheus.CounterVec); ok {
			s.queries, err = old, nil
		}
	}
	if err != nil {
		return nil, fmt.Errorf("DNS metrics: %w", err)
	}
	return s, nil
}

// Serve answers on the addresses, over UDP and TCP, until ctx ends. An address need not exist yet: the bridge that has
// it may come up later.
func (s *Server) Serve(ctx context.Context, addresses []netip.AddrPort) error {
	var servers []*dns.Server
	for _, address := range addresses {
		pair, err := s.listen(ctx, address)
		servers = append(servers, pair...)
		if err != nil {
			shutdown(servers)
			return fmt.Errorf("listen for DNS on %s: %w; is another DNS server running there?", address, err)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var serving sync.WaitGroup
	errs := make(chan error, len(servers))
	for _, server := range servers {
		serving.Go(func() {
			defer cancel()
			errs <- server.ActivateAndServe()
		})
	}
	<-ctx.Done()
	shutdown(servers)
	serving.Wait()
	close(errs)
	var all []error
	for err := range errs {
		if err != nil && !errors.Is(err, net.ErrClosed) {
			all = append(all, err)
		}
	}
	return errors.Join(all...)
}

// shutdown ends servers, whether they have begun or not.
func shutdown(servers []*dns.Server) {
	for _, server := range servers {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_ = server.ShutdownContext(ctx)
		cancel()
		if server.PacketConn != nil {
			_ = server.PacketConn.Close()
		}
		if server.Listener != nil {
			_ = server.Listener.Close()
		}
	}
}

func (s *Server) listen(ctx context.Context, address netip.AddrPort) ([]*dns.Server, error) {
	config := net.ListenConfig{Control: func(_, _ string, conn syscall.RawConn) error {
		var err error
		if ctlErr := conn.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_IP, unix.IP_FREEBIND, 1) }); ctlErr != nil {
			return ctlErr
		}
		return err
	}}
	packets, err := config.ListenPacket(ctx, "udp", address.String())
	if err != nil {
		return nil, err
	}
	udp := &dns.Server{PacketConn: packets, Handler: s, UDPSize: dns.DefaultMsgSize}
	// With port 0, TCP takes the port that UDP got.
	bound, err := netip.ParseAddrPort(packets.LocalAddr().String())
	if err != nil {
		return []*dns.Server{udp}, err
	}
	stream, err := config.Listen(ctx, "tcp", bound.String())
	if err != nil {
		return []*dns.Server{udp}, err
	}
	idle := func() time.Duration { return 10 * time.Second }
	return []*dns.Server{udp, {Listener: stream, Handler: s, IdleTimeout: idle}}, nil
}

// ServeDNS implements dns.Handler.
func (s *Server) ServeDNS(w dns.ResponseWriter, request *dns.Msg) {
	_, stream := w.RemoteAddr().(*net.TCPAddr)
	response, source := s.respond(request, stream)
	s.queries.WithLabelValues(source, dns.RcodeToString[response.Rcode]).Inc()
	fit(response, request, stream)
	if err := w.WriteMsg(response); err != nil {
		s.log.Debug("DNS answer not sent", zap.Error(err))
	}
}

const (
	fromCluster  = "cluster"
	fromCache    = "cache"
	fromUpstream = "upstream"
)

// respond answers a query and tells where the answer comes from.
func (s *Server) respond(request *dns.Msg, stream bool) (*dns.Msg, string) {
	response := new(dns.Msg).SetReply(request)
	response.RecursionAvailable = true
	if request.Opcode != dns.OpcodeQuery || len(request.Question) != 1 || request.Question[0].Qclass != dns.ClassINET {
		response.Rcode = dns.RcodeNotImplemented
		return response, fromCluster
	}
	question := request.Question[0]
	answer, ours := s.answer(question)
	if !ours {
		return s.forward.resolve(request, stream)
	}
	response.Authoritative = true
	response.Rcode, response.Answer, response.Extra, response.Ns = answer.rcode, answer.records, answer.extra, answer.authority
	if answer.alias != "" {
		s.follow(response, answer.alias, question.Qtype, stream)
	}
	return response, fromCluster
}

// follow adds what an ExternalName stands for, as far as it can be found.
func (s *Server) follow(response *dns.Msg, alias string, qtype uint16, stream bool) {
	if qtype == dns.TypeCNAME {
		return
	}
	if target, ours := s.answer(dns.Question{Name: alias, Qtype: qtype, Qclass: dns.ClassINET}); ours {
		response.Answer = append(response.Answer, target.records...)
		return
	}
	query := new(dns.Msg).SetQuestion(alias, qtype)
	if target, _ := s.forward.resolve(query, stream); target.Rcode == dns.RcodeSuccess {
		response.Answer = append(response.Answer, target.Answer...)
	}
}

// udpSize is the largest UDP answer that is sent whole: it passes any path without fragments.
const udpSize = 1232

// fit puts the client's EDNS into the response and truncates it to what the client takes.
func fit(response, request *dns.Msg, stream bool) {
	size := dns.MinMsgSize
	response.Extra = withoutOPT(response.Extra)
	if opt := request.IsEdns0(); opt != nil {
		size = min(max(int(opt.UDPSize()), dns.MinMsgSize), udpSize)
		response.SetEdns0(udpSize, opt.Do())
	}
	if stream {
		size = dns.MaxMsgSize
	}
	response.Compress = true
	response.Truncate(size)
}

func withoutOPT(records []dns.RR) []dns.RR {
	var out []dns.RR
	for _, rr := range records {
		if rr.Header().Rrtype != dns.TypeOPT {
			out = append(out, rr)
		}
	}
	return out
}
