package dns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/zap"
	"golang.org/x/sync/singleflight"
)

const (
	upstreamTimeout = 2 * time.Second
	resolveTimeout  = 5 * time.Second
	maxInFlight     = 1000
	reloadEvery     = 5 * time.Second
)

// forwarder asks the host's resolvers for what is not the cluster's.
type forwarder struct {
	file     string
	avoid    map[netip.Addr]bool
	log      *zap.Logger
	cache    *cache
	flights  singleflight.Group
	inFlight chan struct{}

	mu      sync.Mutex
	checked time.Time
	changed time.Time // the file's
	servers []string
}

func newForwarder(config Config) *forwarder {
	f := &forwarder{file: config.Resolvers, avoid: map[netip.Addr]bool{}, log: config.Logger, cache: newCache(), inFlight: make(chan struct{}, maxInFlight)}
	for _, a := range config.NotUpstream {
		f.avoid[a] = true
	}
	return f
}

// upstreams returns the resolvers in the file, read anew after it changed.
func (f *forwarder) upstreams() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.checked) < reloadEvery {
		return f.servers
	}
	f.checked = time.Now()
	info, err := os.Stat(f.file)
	if err != nil {
		f.log.Warn("resolvers", zap.Error(err))
		return f.servers
	}
	if info.ModTime().Equal(f.changed) {
		return f.servers
	}
	config, err := dns.ClientConfigFromFile(f.file)
	if err != nil {
		f.log.Warn("resolvers", zap.String("file", f.file), zap.Error(err))
		return f.servers
	}
	f.changed, f.servers = info.ModTime(), nil
	for _, server := range config.Servers {
		addr, err := netip.ParseAddr(server)
		if err == nil && f.avoid[addr.Unmap().WithZone("")] {
			continue // it would come back here
		}
		f.servers = append(f.servers, net.JoinHostPort(server, config.Port))
	}
	return f.servers
}

// resolve answers a query from the cache or from a resolver. Questions that are being asked already share the answer.
func (f *forwarder) resolve(request *dns.Msg, stream bool) (*dns.Msg, string) {
	key := keyOf(request, stream)
	if known := f.cache.get(key, time.Now()); known != nil {
		return replyTo(request, known), fromCache
	}
	result, err, _ := f.flights.Do(key, func() (any, error) {
		select {
		case f.inFlight <- struct{}{}:
			defer func() { <-f.inFlight }()
		default:
			return nil, fmt.Errorf("more than %d queries wait for resolvers", maxInFlight)
		}
		response, err := f.ask(request, stream)
		if err == nil {
			f.cache.put(key, response, time.Now())
		}
		return response, err
	})
	if err != nil {
		f.log.Debug("DNS query not resolved", zap.String("name", request.Question[0].Name), zap.Error(err))
		failed := new(dns.Msg).SetRcode(request, dns.RcodeServerFailure)
		failed.RecursionAvailable = true
		return failed, fromUpstream
	}
	return replyTo(request, result.(*dns.Msg)), fromUpstream
}

func keyOf(request *dns.Msg, stream bool) string {
	q := request.Question[0]
	opt := request.IsEdns0()
	return fmt.Sprint(strings.ToLower(q.Name), " ", q.Qtype, stream, opt != nil && opt.Do(), request.CheckingDisabled)
}

// replyTo makes a response to the request out of one to the same question.
func replyTo(request, known *dns.Msg) *dns.Msg {
	out := known.Copy()
	out.Id, out.Question, out.RecursionDesired = request.Id, request.Question, request.RecursionDesired
	return out
}

// ask tries the resolvers in turn. One that fails or refuses is passed over.
func (f *forwarder) ask(request *dns.Msg, stream bool) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(context.Background(), resolveTimeout)
	defer cancel()
	query := request.Copy()
	query.Id, query.RecursionDesired = dns.Id(), true
	client := &dns.Client{Timeout: upstreamTimeout, UDPSize: udpSize}
	if stream {
		client.Net = "tcp"
	} else if query.IsEdns0() == nil {
		query.SetEdns0(udpSize, false)
	}
	servers := f.upstreams()
	if len(servers) == 0 {
		return nil, fmt.Errorf("%s names no resolver", f.file)
	}
	var last error
	for _, server := range servers {
		response, _, err := client.ExchangeContext(ctx, query, server)
		switch {
		case err != nil:
			last = err
		case response.Rcode == dns.RcodeServerFailure || response.Rcode == dns.RcodeRefused:
			last = fmt.Errorf("%s says %s", server, dns.RcodeToString[response.Rcode])
		default:
			return response, nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, last
}
