// Package webhooktest runs webhooks over HTTPS, with an authority of their own, for the tests of what calls them.
package webhooktest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
)

// Server is a running webhook.
type Server struct {
	// URL is where it is, CA the certificate of its authority in PEM.
	URL string
	CA  []byte
	// Connections counts the connections that were made to it.
	Connections atomic.Int64

	server *httptest.Server
}

// Start runs a webhook until the test ends. Its certificate is good for loopback and for the names given.
func Start(t testing.TB, handler http.Handler, names ...string) *Server {
	t.Helper()
	s := &Server{server: httptest.NewUnstartedServer(handler)}
	ca, certificate, key := Certify(t, names...)
	cert, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatalf("read the webhook's certificate: %v", err)
	}
	s.CA = ca
	s.server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	s.server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			s.Connections.Add(1)
		}
	}
	s.server.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.server.StartTLS()
	s.URL = s.server.URL
	t.Cleanup(s.Close)
	return s
}

// Address is where the webhook listens.
func (s *Server) Address() string { return s.server.Listener.Addr().String() }

// Hangup ends the connections of clients.
func (s *Server) Hangup() { s.server.CloseClientConnections() }

// Close ends the webhook.
func (s *Server) Close() {
	s.server.CloseClientConnections()
	s.server.Close()
}

// Admission is a webhook that answers reviews; path is that of the request.
func Admission(answer func(path string, r *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		review := &admissionv1.AdmissionReview{}
		if err == nil {
			err = json.Unmarshal(body, review)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		review.Response = answer(req.URL.Path, review.Request)
		if review.Response != nil && review.Response.UID == "" {
			review.Response.UID = review.Request.UID
		}
		review.Request = nil
		_ = json.NewEncoder(w).Encode(review)
	})
}

// Certify makes an authority, and a server's certificate of it that is good for loopback and for the names; all in PEM.
func Certify(t testing.TB, names ...string) (ca, certificate, key []byte) {
	t.Helper()
	must := func(err error) {
		if err != nil {
			t.Fatalf("make the webhook's certificate: %v", err)
		}
	}
	authority := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "webhooks"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	authorityKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	authorityDER, err := x509.CreateCertificate(rand.Reader, authority, authority, &authorityKey.PublicKey, authorityKey)
	must(err)
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "webhook"}, DNSNames: append(names, "localhost"), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: authority.NotBefore, NotAfter: authority.NotAfter, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	der, err := x509.CreateCertificate(rand.Reader, leaf, authority, &private.PublicKey, authorityKey)
	must(err)
	privateDER, err := x509.MarshalPKCS8PrivateKey(private)
	must(err)
	encode := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	return encode("CERTIFICATE", authorityDER), encode("CERTIFICATE", der), encode("PRIVATE KEY", privateDER)
}
