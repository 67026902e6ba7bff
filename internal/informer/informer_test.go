package informer

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/apierr"
	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/internal/transport"
)

// api plays one prepared stream for each watch; the last one then stays open.
type api struct {
	apiv1.UnimplementedResourceServiceServer
	mu      sync.Mutex
	asked   []string
	streams []stream
}

type stream struct {
	events []*apiv1.WatchEvent
	end    error
}

func (a *api) Watch(req *apiv1.WatchRequest, ss grpc.ServerStreamingServer[apiv1.WatchResponse]) error {
	a.mu.Lock()
	n := len(a.asked)
	a.asked = append(a.asked, req.ResourceVersion)
	a.mu.Unlock()
	if n < len(a.streams) {
		for _, ev := range a.streams[n].events {
			if err := ss.Send(&apiv1.WatchResponse{Events: []*apiv1.WatchEvent{ev}}); err != nil {
				return err
			}
		}
		if n < len(a.streams)-1 {
			return apierr.ToGRPC(a.streams[n].end)
		}
	}
	<-ss.Context().Done()
	return ss.Context().Err()
}

func pod(name, uid string, revision int64, mark string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: name, UID: types.UID(uid), ResourceVersion: fmt.Sprint(revision), Labels: map[string]string{"mark": mark},
		ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl"}},
	}}
}

func event(kind apiv1.WatchEvent_Type, revision int64, p *corev1.Pod) *apiv1.WatchEvent {
	data, err := p.Marshal()
	if err != nil {
		panic(err)
	}
	return &apiv1.WatchEvent{Type: kind, Revision: revision, Object: &apiv1.Object{ApiVersion: "v1", Kind: "Pod", Data: data}}
}

func added(revision int64, p *corev1.Pod) *apiv1.WatchEvent {
	return event(apiv1.WatchEvent_TYPE_ADDED, revision, p)
}

func snapshotEnd(revision int64) *apiv1.WatchEvent {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{metav1.InitialEventsAnnotationKey: "true"}}}
	return event(apiv1.WatchEvent_TYPE_BOOKMARK, revision, p)
}

// play runs an informer of pods over the streams until all are used up, and returns what its handler heard.
func play(t *testing.T, a *api, fn func(pods *Informer[*corev1.Pod])) (heard []string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		server := transport.NewServer(nil, nil)
		apiv1.RegisterResourceServiceServer(server, a)
		set := NewSet(client.New(server.Conn(identity.User{}), "test"), zap.NewNop())
		pods := For[*corev1.Pod](set)
		pods.AddIndex("mark", func(p *corev1.Pod) []string { return []string{p.Labels["mark"]} })
		pods.OnChange(func(old, new *corev1.Pod) {
			heard = append(heard, describe(old)+">"+describe(new))
			if new != nil {
				got, ok := pods.Get(new.Namespace, new.Name)
				require.True(t, ok, "a handler sees the state that it is told of")
				require.Same(t, new, got)
			}
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- set.Run(ctx) }()
		require.NoError(t, set.WaitSynced(t.Context()))
		time.Sleep(time.Minute)
		fn(pods)
		cancel()
		require.NoError(t, <-done)
		server.Wait()
	})
	return heard
}

func describe(p *corev1.Pod) string {
	if p == nil {
		return "-"
	}
	return p.Name + p.ResourceVersion
}

func names(pods []*corev1.Pod) []string {
	var out []string
	for _, p := range pods {
		out = append(out, p.Name)
	}
	slices.Sort(out)
	return out
}

func TestABrokenStreamIsResumedWhereItBroke(t *testing.T) {
	a := &api{streams: []stream{
		{events: []*apiv1.WatchEvent{added(3, pod("a", "1", 3, "x")), snapshotEnd(5), added(6, pod("b", "2", 6, "x"))}, end: io.EOF},
		{end: status.Error(codes.Unavailable, "restarting")},
		{events: []*apiv1.WatchEvent{
			event(apiv1.WatchEvent_TYPE_MODIFIED, 7, pod("a", "1", 7, "y")),
			event(apiv1.WatchEvent_TYPE_DELETED, 8, pod("b", "2", 8, "x")),
			event(apiv1.WatchEvent_TYPE_BOOKMARK, 20, &corev1.Pod{}),
		}},
	}}
	heard := play(t, a, func(pods *Informer[*corev1.Pod]) {
		require.Equal(t, []string{"a"}, names(pods.List("shop", nil)))
		require.Empty(t, pods.List("other", nil))
		require.Empty(t, pods.ByIndex("mark", "x"))
		require.Equal(t, []string{"a"}, names(pods.ByIndex("mark", "y")))
		got, _ := pods.Get("shop", "a")
		require.Empty(t, got.ManagedFields)
		require.EqualValues(t, 20, pods.Revision())
	})
	require.Equal(t, []string{"", "6", "6"}, a.asked)
	require.Equal(t, []string{"->a3", "->b6", "a3>a7", "b6>-"}, heard)
}

func TestAnExpiredRevisionTellsOnlyTheDifference(t *testing.T) {
	a := &api{streams: []stream{
		{events: []*apiv1.WatchEvent{
			added(1, pod("same", "1", 1, "x")), added(2, pod("changed", "2", 2, "x")), added(3, pod("deleted", "3", 3, "x")),
			added(4, pod("remade", "4", 4, "x")), snapshotEnd(5),
		}, end: apierrors.NewResourceExpired("compacted")},
		{events: []*apiv1.WatchEvent{
			added(9, pod("changed", "2", 9, "y")), added(8, pod("remade", "44", 8, "x")), added(1, pod("same", "1", 1, "x")), snapshotEnd(12),
		}},
	}}
	heard := play(t, a, func(pods *Informer[*corev1.Pod]) {
		require.Equal(t, []string{"changed", "remade", "same"}, names(pods.List("", nil)))
		require.EqualValues(t, 12, pods.Revision())
	})
	require.Equal(t, []string{"", ""}, a.asked)
	require.Equal(t, []string{"changed2>changed9", "remade4>-", "->remade8", "deleted3>-"}, heard[4:])
}

func TestASnapshotThatBreaksIsNoState(t *testing.T) {
	a := &api{streams: []stream{
		{events: []*apiv1.WatchEvent{added(1, pod("a", "1", 1, "x"))}, end: status.Error(codes.Unavailable, "gone")},
		{events: []*apiv1.WatchEvent{added(2, pod("b", "2", 2, "x")), snapshotEnd(3)}},
	}}
	heard := play(t, a, func(pods *Informer[*corev1.Pod]) {
		require.Equal(t, []string{"b"}, names(pods.List("", nil)))
	})
	require.Equal(t, []string{"", ""}, a.asked)
	require.Equal(t, []string{"->a1", "->b2", "a1>-"}, heard)
}

func TestARevisionFromBeforeARestoreStartsOver(t *testing.T) {
	tooLarge := apierrors.NewTimeoutError("Too large resource version", 1)
	tooLarge.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: metav1.CauseTypeResourceVersionTooLarge}}
	a := &api{streams: []stream{
		{events: []*apiv1.WatchEvent{added(90, pod("a", "1", 90, "x")), snapshotEnd(90)}, end: io.EOF},
		{end: tooLarge},
		{events: []*apiv1.WatchEvent{added(40, pod("a", "1", 40, "y")), snapshotEnd(50)}},
	}}
	heard := play(t, a, func(pods *Informer[*corev1.Pod]) { require.EqualValues(t, 50, pods.Revision()) })
	require.Equal(t, []string{"", "90", ""}, a.asked)
	require.Equal(t, []string{"->a90", "a90>a40"}, heard)
}
