package probe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// maxBody bounds what is read of an answer.
const maxBody = 10 << 10

// check runs a probe once; nil means healthy.
func check(ctx context.Context, j *job, timeout time.Duration) error {
	handler := &j.probe.ProbeHandler
	switch {
	case handler.Exec != nil:
		return checkExec(ctx, j.Exec, handler.Exec.Command, timeout)
	case handler.HTTPGet != nil:
		return HTTPGet(ctx, j.Spec, j.Host, handler.HTTPGet)
	case handler.TCPSocket != nil:
		return TCPConnect(ctx, j.Spec, j.Host, handler.TCPSocket)
	case handler.GRPC != nil:
		return checkGRPC(ctx, j.Host, handler.GRPC, timeout)
	}
	return errors.New("probe has no handler")
}

func checkExec(ctx context.Context, exec Exec, command []string, timeout time.Duration) error {
	code, output, err := exec(ctx, command)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("command timed out: %q timed out after %s", command, timeout)
	case err != nil:
		return err
	case code != 0:
		return errors.New(output)
	}
	return nil
}

// Port resolves a port by number or by the name that the container gives it.
func Port(c *corev1.Container, port intstr.IntOrString) (int, error) {
	if port.Type == intstr.Int {
		return port.IntValue(), nil
	}
	for _, p := range c.Ports {
		if p.Name == port.StrVal {
			return int(p.ContainerPort), nil
		}
	}
	if n, err := strconv.Atoi(port.StrVal); err == nil {
		return n, nil
	}
	return 0, fmt.Errorf("couldn't find port %q in container %s", port.StrVal, c.Name)
}

// HTTPGet asks a container's HTTP server; a status from 200 to 399 is a success. Redirects are followed within the
// host; one that leads elsewhere counts as a success.
func HTTPGet(ctx context.Context, c *corev1.Container, host string, get *corev1.HTTPGetAction) error {
	port, err := Port(c, get.Port)
	if err != nil {
		return err
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
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return fmt.Errorf("make a request: %w", err)
	}
	req.Header.Set("User-Agent", "kube-probe/1.37")
	req.Header.Set("Accept", "*/*")
	for _, h := range get.HTTPHeaders {
		req.Header.Set(h.Name, h.Value)
		if http.CanonicalHeaderKey(h.Name) == "Host" {
			req.Host = h.Value
		}
	}
	res, err := httpClient(target.Hostname()).Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, _ = io.CopyN(io.Discard, res.Body, maxBody)
	if res.StatusCode < http.StatusOK || res.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("HTTP probe failed with statuscode: %d", res.StatusCode)
	}
	return nil
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

// TCPConnect opens a connection to a container's port.
func TCPConnect(ctx context.Context, c *corev1.Container, host string, socket *corev1.TCPSocketAction) error {
	port, err := Port(c, socket.Port)
	if err != nil {
		return err
	}
	if socket.Host != "" {
		host = socket.Host
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return err
	}
	return conn.Close()
}

func checkGRPC(ctx context.Context, host string, action *corev1.GRPCAction, timeout time.Duration) error {
	addr := net.JoinHostPort(host, strconv.Itoa(int(action.Port)))
	conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithUserAgent("kube-probe/1.37"))
	if err != nil {
		return fmt.Errorf("connect to %s: %w", addr, err)
	}
	defer conn.Close()
	service := ""
	if action.Service != nil {
		service = *action.Service
	}
	res, err := healthv1.NewHealthClient(conn).Check(ctx, &healthv1.HealthCheckRequest{Service: service})
	switch status.Code(err) {
	case codes.OK:
	case codes.Unimplemented:
		return fmt.Errorf("this server does not implement the grpc health protocol (grpc.health.v1.Health): %s", status.Convert(err).Message())
	case codes.DeadlineExceeded, codes.Unavailable:
		return fmt.Errorf("timeout: failed to connect service %q within %s: %s", addr, timeout, status.Convert(err).Message())
	default:
		return fmt.Errorf("rpc error: %w", err)
	}
	if res.GetStatus() != healthv1.HealthCheckResponse_SERVING {
		return fmt.Errorf("service unhealthy (responded with %q)", res.GetStatus())
	}
	return nil
}
