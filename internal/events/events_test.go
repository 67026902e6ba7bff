package events

import (
	"context"
	"encoding/json"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/apierr"
	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/internal/transport"
)

// api keeps the events that it is given; refuse, when set, fails each call.
type api struct {
	apiv1.UnimplementedResourceServiceServer
	mu      sync.Mutex
	refuse  func() error
	calls   int
	created []*corev1.Event
	patched []string
}

func (a *api) begin() error {
	a.calls++
	if a.refuse != nil {
		return apierr.ToGRPC(a.refuse())
	}
	return nil
}

func (a *api) Create(_ context.Context, req *apiv1.CreateRequest) (*apiv1.Result, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.begin(); err != nil {
		return nil, err
	}
	ev := &corev1.Event{}
	if err := client.Decode(req.Object, ev); err != nil {
		return nil, err
	}
	a.created = append(a.created, ev)
	return &apiv1.Result{Object: req.Object}, nil
}

func (a *api) Patch(_ context.Context, req *apiv1.PatchRequest) (*apiv1.Result, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.begin(); err != nil {
		return nil, err
	}
	for _, ev := range a.created {
		if ev.Name == req.Ref.Name {
			a.patched = append(a.patched, string(req.Patch))
			return &apiv1.Result{Object: &apiv1.Object{Kind: "Event"}}, nil
		}
	}
	return nil, apierr.ToGRPC(apierrors.NewNotFound(schema.GroupResource{Resource: "events"}, req.Ref.Name))
}

func record(t *testing.T, a *api, fn func(r *Recorder)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		server := transport.NewServer(nil, nil)
		apiv1.RegisterResourceServiceServer(server, a)
		r := New(client.New(server.Conn(identity.User{}), "test"), "test-controller", "node-1", zap.NewNop())
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		fn(r)
		cancel()
		require.NoError(t, <-done)
	})
}

func TestAnEventNamesItsObjectAndItsSource(t *testing.T) {
	a := &api{}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: strings.Repeat("n", 250), UID: "7", ResourceVersion: "3"}}
	record(t, a, func(r *Recorder) {
		r.As("other-controller").Event(node, corev1.EventTypeWarning, "Rebooted", "Node %s has been rebooted", "n")
	})
	require.Len(t, a.created, 1)
	ev := a.created[0]
	require.Equal(t, corev1.ObjectReference{Kind: "Node", APIVersion: "v1", Name: node.Name, UID: "7", ResourceVersion: "3"}, ev.InvolvedObject)
	require.Equal(t, "default", ev.Namespace)
	require.LessOrEqual(t, len(ev.Name), maxName)
	require.Equal(t, corev1.EventSource{Component: "other-controller", Host: "node-1"}, ev.Source)
	require.Equal(t, "other-controller", ev.ReportingController)
	require.Equal(t, "Node n has been rebooted", ev.Message)
	require.EqualValues(t, 1, ev.Count)
}

func TestRepeatsPatchAndAnExpiredEventBeginsAnew(t *testing.T) {
	a := &api{}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop"}}
	record(t, a, func(r *Recorder) {
		r.Event(pod, corev1.EventTypeNormal, "Pulled", "100% done")
		r.Event(pod, corev1.EventTypeNormal, "Pulled", "100% done")
		synctest.Wait()
		a.created[0].Name = "gone"
		r.Event(pod, corev1.EventTypeNormal, "Pulled", "100% done")
	})
	require.Len(t, a.patched, 1)
	var body struct {
		Count   int32
		Message string
	}
	require.NoError(t, json.Unmarshal([]byte(a.patched[0]), &body))
	require.EqualValues(t, 2, body.Count)
	require.Equal(t, "100% done", body.Message)
	require.Len(t, a.created, 2)
	require.EqualValues(t, 3, a.created[1].Count)
}

func TestRefusalsAreNotRetriedAndOutagesOnlyBriefly(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop"}}
	forbidden := &api{refuse: func() error {
		return apierrors.NewForbidden(schema.GroupResource{Resource: "events"}, "web", nil)
	}}
	record(t, forbidden, func(r *Recorder) { r.Event(pod, corev1.EventTypeNormal, "A", "a"); synctest.Wait() })
	require.Equal(t, 1, forbidden.calls)
	down := &api{refuse: func() error { return apierrors.NewServiceUnavailable("starting") }}
	record(t, down, func(r *Recorder) {
		for range 3 * queueSize {
			r.Event(pod, corev1.EventTypeNormal, "A", "a") // must not block, whatever the API does
		}
	})
	require.LessOrEqual(t, down.calls, attempts*objectBurst)
}
