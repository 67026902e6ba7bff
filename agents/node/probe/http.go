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
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// maxBody bounds what is read of an answer.
const maxBody = 10 << 10

// badStatus is the status of an answer that is no success.
type badStatus int

func (s badStatus) Error() string {
	return fmt.Sprintf("HTTP probe failed with statuscode: %d", int(s))
}

// verdict takes a status from 200 to 399 for a success.
func verdict(res *http.Response) error {
	if res.StatusCode < http.StatusOK || res.StatusCode >= http.StatusBadRequest {
		return badStatus(res.StatusCode)
	}
	return nil
}

// HTTPGet asks a container's HTTP server. Redirects are followed within the host; one that leads elsewhere counts as a
// success.
func HTTPGet(ctx context.Context, c *corev1.Container, host string, get *corev1.HTTPGetAction) error {
	_, err := httpGet(ctx, c, host, get)
	return err
}

// httpGet is HTTPGet; what the server answered that sent the client elsewhere is returned, and not nil.
func httpGet(ctx context.Context, c *corev1.Container, host string, get *corev1.HTTPGetAction) (elsewhere []byte, err error) {
	req, err := request(ctx, c, host, get)
	if err != nil {
		return nil, err
	}
	res, err := httpClient(req.URL.Hostname()).Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody))
	if err != nil {
		return nil, err
	}
	if redirects(res) {
		elsewhere = body
	}
	return elsewhere, verdict(res)
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
