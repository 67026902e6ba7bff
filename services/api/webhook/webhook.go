// Package webhook calls the webhooks that users set up: of admission and of conversion. Connections are kept and shared by
// all webhooks that trust the same authorities; answers are bounded.
package webhook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Dial connects to a ready endpoint of a Service.
type Dial func(ctx context.Context, namespace, service string, port int32) (net.Conn, error)

// Endpoint is where a webhook is: at a URL, or behind a Service.
type Endpoint struct {
	URL     string
	Service *Service
	// CABundle are the authorities that its certificate may come from, in PEM; empty: those of this machine.
	CABundle []byte
}

// Service names a Service's port, and the path to post to.
type Service struct {
	Namespace, Name, Path string
	Port                  int32
}

// NewEndpoint returns where a configuration says that a webhook is; the webhook's Service, if it has one, is set afterwards.
func NewEndpoint(at *string, ca []byte) Endpoint {
	e := Endpoint{CABundle: ca}
	if at != nil {
		e.URL = *at
	}
	return e
}

// NewService returns the Service of a configuration.
func NewService(namespace, name string, path *string, port *int32) *Service {
	s := &Service{Namespace: namespace, Name: name}
	if path != nil {
		s.Path = *path
	}
	if port != nil {
		s.Port = *port
	}
	return s
}

// MaxAnswer bounds what a webhook may answer: an object and a patch of it fit in.
const MaxAnswer = 16 << 20

// maxRefusal bounds what is read of an answer that is an error.
const maxRefusal = 4 << 10

// Client calls webhooks. It is safe for concurrent use.
type Client struct{ pool pool }

// New returns a Client; dial may be nil, then no Service is reached.
func New(dial Dial) *Client { return &Client{pool{dial: dial, known: map[string]*pooled{}}} }

// Post sends a body of JSON and returns the answer's. It takes no longer than timeout, 0 for no bound but ctx.
func (c *Client) Post(ctx context.Context, e Endpoint, timeout time.Duration, body []byte) ([]byte, error) {
	target, err := e.target(timeout)
	if err != nil {
		return nil, err
	}
	client, err := c.pool.client(e)
	if err != nil {
		return nil, err
	}
	if timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, */*")
	req.Header.Set("User-Agent", "karve-api")
	// A webhook's answer is the same each time, so that a kept connection whose other end has gone is no failure. The
	// header is not sent.
	req.Header["Idempotency-Key"] = []string{}
	res, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return nil, refusal(res)
	}
	return read(res.Body)
}

// refusal is an answer that is no success, in the words that Kubernetes has for it.
func refusal(res *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(res.Body, maxRefusal))
	seconds, _ := strconv.Atoi(res.Header.Get("Retry-After"))
	return apierrors.NewGenericServerResponse(res.StatusCode, http.MethodPost, schema.GroupResource{}, "", string(bytes.TrimSpace(text)), seconds, true)
}

func read(body io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(body, MaxAnswer+1))
	if err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if len(data) > MaxAnswer {
		return nil, fmt.Errorf("the answer has more than %d bytes", MaxAnswer)
	}
	return data, nil
}

// target is the URL to post to, which tells the webhook how long it has.
func (e *Endpoint) target(timeout time.Duration) (string, error) {
	var u url.URL
	switch {
	case e.Service != nil:
		u = url.URL{Scheme: "https", Host: e.Service.host(), Path: e.Service.Path}
	case e.URL != "":
		parsed, err := url.Parse(e.URL)
		if err != nil {
			return "", fmt.Errorf("unparsable URL: %w", err)
		}
		if parsed.Scheme != "https" {
			return "", errors.New("the URL of a webhook must begin with https://")
		}
		u = url.URL{Scheme: parsed.Scheme, Host: parsed.Host, Path: parsed.Path}
	default:
		return "", errors.New("webhook configuration must have either service or URL")
	}
	if u.Path == "" {
		u.Path = "/"
	}
	if timeout > 0 {
		u.RawQuery = "timeout=" + (timeout + time.Second - 1).Truncate(time.Second).String()
	}
	return u.String(), nil
}

// DefaultPort is the port of a webhook's Service that names none.
const DefaultPort = 443

// serverName is what a webhook behind a Service is called in its certificate.
func (s *Service) serverName() string { return s.Name + "." + s.Namespace + ".svc" }

func (s *Service) host() string { return net.JoinHostPort(s.serverName(), strconv.Itoa(int(s.port()))) }

func (s *Service) port() int32 {
	if s.Port == 0 {
		return DefaultPort
	}
	return s.Port
}
