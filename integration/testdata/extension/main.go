// Command extension is a small API server, for the tests of aggregated APIs: it serves the flowers of garden.test/v1 over
// HTTPS to whoever the cluster's front proxy names, and shows over HTTP what it is asked.
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"time"

	"golang.org/x/net/websocket"
)

func main() {
	go func() {
		log.Fatal((&http.Server{Addr: ":8080", Handler: site(), ReadHeaderTimeout: 5 * time.Second}).ListenAndServe())
	}()
	front, err := os.ReadFile("/front-proxy/requestheader-client-ca-file")
	if err != nil {
		log.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(front)
	server := &http.Server{
		Addr: ":8443", Handler: garden(), ReadHeaderTimeout: 5 * time.Second,
		TLSConfig: &tls.Config{ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: roots},
	}
	log.Fatal(server.ListenAndServeTLS("/tls/tls.crt", "/tls/tls.key"))
}

func site() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprintf(w, "%s %s %s for %s\n", r.Method, r.RequestURI, body, r.Header.Get("X-Forwarded-Uri"))
	})
	mux.Handle("/old", http.RedirectHandler("/new", http.StatusFound))
	mux.Handle("/echo", websocket.Handler(func(c *websocket.Conn) { _, _ = io.Copy(c, c) }))
	return mux
}

func garden() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	const root = "/apis/garden.test/v1"
	mux.HandleFunc(root, known(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"garden.test/v1","resources":[`+
			`{"name":"flowers","singularName":"flower","namespaced":true,"kind":"Flower","verbs":["get","list"],"shortNames":["fl"]}]}`)
	}))
	mux.HandleFunc(root+"/namespaces/{namespace}/flowers", known(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, `{"kind":"FlowerList","apiVersion":"garden.test/v1","metadata":{"resourceVersion":"1"},"items":[`+
			`{"kind":"Flower","apiVersion":"garden.test/v1","metadata":{"name":"rose","namespace":%q,"annotations":{"seen-by":%q}}}]}`,
			r.PathValue("namespace"), r.Header.Get("X-Remote-User"))
	}))
	return mux
}

// known lets those in whom the front proxy names.
func known(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if len(r.TLS.VerifiedChains) == 0 || r.TLS.PeerCertificates[0].Subject.CommonName != "front-proxy-client" || r.Header.Get("X-Remote-User") == "" {
			http.Error(w, "who are you?", http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		next(w, r)
	}
}
