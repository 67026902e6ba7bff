package api

import (
	"context"
	"slices"
	"sync"

	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/identity"
	"karve.dev/karve/services/api/registry"
	"karve.dev/karve/services/api/server"
	"karve.dev/karve/services/api/watch"
)

// presence counts the streams that parts of the control plane have open: each has some for as long as it lives.
type presence struct {
	mu      sync.Mutex
	streams map[string]int // by the name under which a part calls
}

// components are the parts that ComponentStatus knows, by the names under which they call.
var components = []struct{ name, user string }{
	{"scheduler", identity.UserScheduler}, {"controller-manager", identity.UserControllers},
}

func newPresence() *presence { return &presence{streams: map[string]int{}} }

// watch returns an interceptor that counts the streams that go through next.
func (p *presence) watch(next grpc.StreamServerInterceptor) grpc.StreamServerInterceptor {
	return func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		peer, _ := identity.Peer(ss.Context())
		for _, c := range components {
			if c.user == peer.Name {
				p.add(c.user, 1)
				defer p.add(c.user, -1)
			}
		}
		return next(srv, ss, info, handler)
	}
}

func (p *presence) add(user string, n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.streams[user] += n
}

func (p *presence) has(user string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.streams[user] > 0
}

// componentStatuses tells of the control plane's parts.
type componentStatuses struct{ *Server }

var _ server.Source = componentStatuses{}

// Objects implements server.Source.
func (s componentStatuses) Objects(ctx context.Context, _, _ string, _ watch.Predicate) ([]registry.Object, error) {
	_, err := s.config.Store.Revision(ctx)
	etcd := ""
	if err != nil {
		etcd = err.Error()
	}
	out := []registry.Object{}
	for _, c := range components {
		trouble := ""
		if !s.present.has(c.user) && !slices.Contains(s.config.Companions, c.user) {
			trouble = "not connected to the API"
		}
		out = append(out, componentStatus(c.name, trouble))
	}
	return append(out, componentStatus("etcd-0", etcd)), nil
}

func componentStatus(name, trouble string) *corev1.ComponentStatus {
	c := corev1.ComponentCondition{Type: corev1.ComponentHealthy, Status: corev1.ConditionTrue, Message: "ok"}
	if trouble != "" {
		c.Status, c.Message = corev1.ConditionFalse, trouble
	}
	return &corev1.ComponentStatus{ObjectMeta: metav1.ObjectMeta{Name: name}, Conditions: []corev1.ComponentCondition{c}}
}
