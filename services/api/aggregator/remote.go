package aggregator

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/services/api/server"
	"karve.dev/karve/services/api/watch"
)

const (
	// checkEvery is how often a server is asked that was well, mostTroubled how seldom one that was not.
	checkEvery   = 10 * time.Second
	leastPause   = 200 * time.Millisecond
	mostPause    = 10 * time.Second
	checkTimeout = 5 * time.Second
	// handshakeTimeout bounds how long a server may take to agree upon TLS.
	handshakeTimeout = 10 * time.Second
)

// remote is the server of one group version.
type remote struct {
	name   string
	uid    types.UID
	spec   apiregistrationv1.APIServiceSpec
	life   context.Context
	end    context.CancelFunc
	client *http.Client
	kick   chan struct{}
	docs   documents
	// state is guarded by the aggregator's mu.
	state state
}

// state is what is known of a server.
type state struct {
	available bool
	kinds     []*apiv1.KindInfo
	// said is the discovery document that kinds are from.
	said string
}

func (a *Aggregator) newRemote(ctx context.Context, obj *apiService) *remote {
	r := &remote{name: obj.Name, uid: obj.UID, spec: *obj.Spec.DeepCopy(), kick: make(chan struct{}, 1)}
	r.life, r.end = context.WithCancel(ctx)
	for _, c := range obj.Status.Conditions {
		// What it was before a restart holds until it has been asked.
		r.state.available = r.state.available || c.Type == apiregistrationv1.Available && c.Status == apiregistrationv1.ConditionTrue
	}
	r.client = &http.Client{
		Transport: &http.Transport{
			DialContext:  func(ctx context.Context, _, _ string) (net.Conn, error) { return a.dial(ctx, r) },
			MaxIdleConns: 2, IdleConnTimeout: time.Minute,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return r
}

// same reports whether an APIService still names this server, in the same way.
func (r *remote) same(obj *apiService) bool {
	return obj.UID == r.uid && equality.Semantic.DeepEqual(obj.Spec, r.spec)
}

func (r *remote) port() int32 {
	if r.spec.Service.Port == nil {
		return 443
	}
	return *r.spec.Service.Port
}

// host is the name that the server's certificate must have.
func (r *remote) host() string { return r.spec.Service.Name + "." + r.spec.Service.Namespace + ".svc" }

// Dial implements tunnel.APIServices.
func (a *Aggregator) Dial(ctx context.Context, name string) (net.Conn, error) {
	a.mu.Lock()
	r := a.servers[name]
	a.mu.Unlock()
	if r == nil {
		return nil, apierrors.NewNotFound(apiregistrationv1.Resource("apiservices"), name)
	}
	return a.dial(ctx, r)
}

func (a *Aggregator) dial(ctx context.Context, r *remote) (net.Conn, error) {
	conn, err := a.config.Services.Dial(ctx, r.spec.Service.Namespace, r.spec.Service.Name, r.port())
	if err != nil {
		return nil, err
	}
	config := &tls.Config{ServerName: r.host(), NextProtos: []string{"http/1.1"}, InsecureSkipVerify: r.spec.InsecureSkipTLSVerify}
	if len(r.spec.CABundle) > 0 {
		config.RootCAs = x509.NewCertPool()
		config.RootCAs.AppendCertsFromPEM(r.spec.CABundle)
	}
	if a.config.Certificate != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return a.config.Certificate() }
	}
	ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
	defer cancel()
	secured := tls.Client(conn, config)
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = conn.Close()
		return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("agree upon TLS with %s: %v", r.host(), err))
	}
	return secured, nil
}

// watchOver asks the server again and again, and at once when its Service or that's endpoints change, until its life ends.
func (a *Aggregator) watchOver(r *remote) {
	ctx := r.life
	defer r.client.CloseIdleConnections()
	var watches sync.WaitGroup
	defer watches.Wait()
	woken := func([]watch.Event) error { wake(r.kick); return nil }
	at := r.spec.Service
	for gvk, chosen := range map[string]watch.Predicate{
		"Service":       {Fields: fields.OneTermEqualSelector("metadata.name", at.Name)},
		"EndpointSlice": {Labels: labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: at.Name})},
	} {
		kind := corev1.SchemeGroupVersion.WithKind(gvk)
		if gvk == "EndpointSlice" {
			kind = discoveryv1.SchemeGroupVersion.WithKind(gvk)
		}
		watches.Go(func() {
			_ = a.watch(ctx, kind, watch.WatchOptions{Namespace: at.Namespace, Predicate: chosen}, func() {}, woken)
		})
	}
	for pause := leastPause; ; {
		available := a.checkOnce(ctx, r)
		wait := pause
		if pause = min(2*pause, mostPause); available {
			wait, pause = checkEvery, leastPause
		}
		select {
		case <-r.kick:
			pause = leastPause
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// checkOnce asks the server, and tells who wants to know when the answer is news.
func (a *Aggregator) checkOnce(ctx context.Context, r *remote) (available bool) {
	now, condition := a.check(ctx, r)
	if ctx.Err() != nil {
		return false
	}
	a.mu.Lock()
	before := r.state
	if now.said == "" {
		// What it said before is what it will serve when it is back.
		now.kinds, now.said = before.kinds, before.said
	}
	r.state = now
	if before.available != now.available || before.said != now.said {
		a.tell()
	}
	obj := a.known[r.name]
	a.mu.Unlock()
	if obj != nil && hasCondition(obj, condition) {
		return now.available
	}
	condition.LastTransitionTime = metav1.Now().Rfc3339Copy()
	if err := a.config.Resources.Batch(ctx, gvkAPIService, []server.Change{a.condition(r.name, r, condition)})[0]; err != nil && ctx.Err() == nil {
		a.log.Warn("the status of an APIService could not be stored", zap.String("name", r.name), zap.Error(err))
	}
	return now.available
}
