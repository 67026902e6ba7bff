package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	// maxClients bounds the sets of authorities for which connections are kept.
	maxClients = 64
	// idleTimeout ends connections that nobody uses: an idle cluster keeps none.
	idleTimeout = 30 * time.Second
	// idlePerHost and maxPerHost bound the connections to one webhook.
	idlePerHost, maxPerHost = 16, 128
	dialTimeout             = 10 * time.Second
	// maxHeader bounds the headers of an answer.
	maxHeader = 64 << 10
)

// pool keeps one HTTP client per set of authorities: connections of webhooks that share it are shared.
type pool struct {
	dial Dial

	mu    sync.Mutex
	known map[string]*pooled
	uses  uint64
}

type pooled struct {
	client *http.Client
	used   uint64
}

// client returns the client for an endpoint. Services have clients of their own, since their names mean something else.
func (p *pool) client(e Endpoint) (*http.Client, error) {
	key := "url\n" + string(e.CABundle)
	if e.Service != nil {
		key = "service\n" + string(e.CABundle)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.uses++
	if known := p.known[key]; known != nil {
		known.used = p.uses
		return known.client, nil
	}
	client, err := p.open(e)
	if err != nil {
		return nil, err
	}
	if len(p.known) >= maxClients {
		p.dropOldest()
	}
	p.known[key] = &pooled{client: client, used: p.uses}
	return client, nil
}

func (p *pool) dropOldest() {
	oldest := ""
	for key, c := range p.known {
		if oldest == "" || c.used < p.known[oldest].used {
			oldest = key
		}
	}
	p.known[oldest].client.CloseIdleConnections()
	delete(p.known, oldest)
}

func (p *pool) open(e Endpoint) (*http.Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if len(bytes.TrimSpace(e.CABundle)) > 0 {
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(e.CABundle) {
			return nil, errors.New("unable to load root certificates: unable to parse bytes as PEM block")
		}
	}
	// With HTTP/2 all calls would go to the endpoint that was dialled first.
	transport := &http.Transport{
		TLSClientConfig: config, DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext, TLSHandshakeTimeout: dialTimeout,
		MaxIdleConnsPerHost: idlePerHost, MaxConnsPerHost: maxPerHost, IdleConnTimeout: idleTimeout, MaxResponseHeaderBytes: maxHeader,
	}
	if e.Service != nil {
		transport.DialContext = p.dialService
	}
	// A redirect would send what webhooks are told, Secrets among it, to somebody else.
	return &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, nil
}

// dialService connects to the Service that a host name of Service.host means.
func (p *pool) dialService(ctx context.Context, _, address string) (net.Conn, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, err
	}
	parts := strings.Split(host, ".")
	if len(parts) != 3 {
		return nil, fmt.Errorf("%s is not the name of a Service", host)
	}
	if p.dial == nil {
		return nil, errors.New("this API service reaches no Services")
	}
	return p.dial(ctx, parts[1], parts[0], int32(number))
}

// Close ends the connections that nobody uses at the moment.
func (c *Client) Close() {
	c.pool.mu.Lock()
	defer c.pool.mu.Unlock()
	for key, known := range c.pool.known {
		known.client.CloseIdleConnections()
		delete(c.pool.known, key)
	}
}
