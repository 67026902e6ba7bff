package probe

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// maxBody bounds what is read of an answer.
const maxBody = 10 << 10

// HTTPGet asks a container's HTTP server; a status from 200 to 399 is a success. Redirects are followed within the
// host; one that leads elsewhere counts as a success.
func HTTPGet(ctx context.Context, c *corev1.Container, host string, get *corev1.HTTPGetAction) error {
	req, err := request(ctx, c, host, get)
	if err != nil {
		return err
	}
	exchange := http.RoundTripper(transport)
	if req.URL.Scheme == "http" {
		exchange = plain{}
	}
	res, err := exchange.RoundTrip(req)
	if err != nil {
		return &url.Error{Op: "Get", URL: req.URL.String(), Err: err}
	}
	if redirects(res) {
		_ = res.Body.Close()
		if res, err = httpClient(req.URL.Hostname()).Do(req); err != nil {
			return err
		}
	}
	defer res.Body.Close()
	_, _ = io.CopyN(io.Discard, res.Body, maxBody)
	if res.StatusCode < http.StatusOK || res.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("HTTP probe failed with statuscode: %d", res.StatusCode)
	}
	return nil
}

func redirects(res *http.Response) bool {
	return res.StatusCode >= 300 && res.StatusCode < 400 && res.Header.Get("Location") != ""
}

func request(ctx context.Context, c *corev1.Container, host string, get *corev1.HTTPGetAction) (*http.Request, error) {
	port, err := Port(c, get.Port)
	if err != nil {
		return nil, err
	}
	if get.Host != "" {
		host = get.Host
	}
	scheme := "http"
	if get.Scheme == corev1.URISchemeHTTPS {
		scheme = "https"
	}
	target, err := url.Parse(get.Path)
	if err != nil {
		target = &url.URL{Path: get.Path}
	}
	target.Scheme, target.Host = scheme, net.JoinHostPort(host, strconv.Itoa(port))
	if !strings.HasPrefix(target.Path, "/") {
		target.Path = "/" + target.Path
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("make a request: %w", err)
	}
	req.Header.Set("User-Agent", "kube-probe/1.37")
	req.Header.Set("Accept", "*/*")
	for _, h := range get.HTTPHeaders {
		req.Header.Set(h.Name, h.Value)
		if http.CanonicalHeaderKey(h.Name) == "Host" {
			req.Host = h.Value
		}
	}
	return req, nil
}

// transport keeps no connections: a probe must find out whether a new one can be made.
var transport = &http.Transport{
	DisableKeepAlives: true, DisableCompression: true, Proxy: nil,
	// A probe asks whether the server answers, not who it is.
	TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
}

func httpClient(host string) *http.Client {
	return &http.Client{Transport: transport, CheckRedirect: func(req *http.Request, via []*http.Request) error {
		if req.URL.Hostname() != host {
			return http.ErrUseLastResponse
		}
		if len(via) >= 10 {
			return errors.New("stopped after 10 redirects")
		}
		return nil
	}}
}

// dialer is that of connections which live for one exchange.
var dialer = net.Dialer{KeepAlive: -1}

// readers are used again: a probe a second and pod is what most of an idle agent's work is.
var readers = sync.Pool{New: func() any { return bufio.NewReaderSize(nil, 2<<10) }}

// plain is a round trip over a connection of its own, in the caller's goroutine: half the cost of http.Transport's, which
// is made for connections that live on.
type plain struct{}

// RoundTrip implements http.RoundTripper.
func (plain) RoundTrip(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	conn, err := dialer.DialContext(ctx, "tcp", req.URL.Host)
	if err != nil {
		return nil, err
	}
	req.Close = true
	reader := readers.Get().(*bufio.Reader)
	reader.Reset(conn)
	body := &exchange{conn: conn, reader: reader}
	body.stop = context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	if err := req.Write(conn); err != nil {
		return nil, errors.Join(late(err), body.Close())
	}
	for {
		res, err := http.ReadResponse(reader, req)
		if err != nil {
			return nil, errors.Join(late(err), body.Close())
		}
		if res.StatusCode == http.StatusContinue || res.StatusCode == http.StatusEarlyHints || res.StatusCode == http.StatusProcessing {
			continue // the answer is still to come
		}
		body.ReadCloser, res.Body = res.Body, body
		return res, nil
	}
}

// late says in the context's words that there was no time left.
func late(err error) error {
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		return context.DeadlineExceeded
	}
	return err
}

// exchange is the body of an answer, with which its connection ends.
type exchange struct {
	io.ReadCloser
	conn   net.Conn
	reader *bufio.Reader
	stop   func() bool
}

// Close implements io.Closer. The rest of the body is not waited for.
func (e *exchange) Close() error {
	e.stop()
	err := e.conn.Close()
	if e.reader != nil {
		e.reader.Reset(nil)
		readers.Put(e.reader)
		e.reader = nil
	}
	return err
}
