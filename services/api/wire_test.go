package api_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/internal/transport"
	"karve.dev/karve/services/api/apitest"
)

// TestTheWireTellsTheSame: lists, whose bytes are sent aside, and watches, whose events are encoded once for all, are over
// the network what they are inside the process.
func TestTheWireTellsTheSame(t *testing.T) {
	c := apitest.Start(t)
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- c.Server.Serve(ctx, lis, c.Identity.ServerTLS(identity.Spec{CommonName: "api", IPs: []net.IP{net.IPv4(127, 0, 0, 1)}}))
	}()
	admin := identity.User{Name: "admin", Groups: []string{identity.GroupMasters}}
	conn, err := transport.Dial(lis.Addr().String(), c.Identity.ClientTLS(admin))
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close(); cancel(); require.NoError(t, <-done) })
	inside, wire := apiv1.NewResourceServiceClient(c.Conn(admin)), apiv1.NewResourceServiceClient(conn)
	ref := &apiv1.ObjectRef{ApiVersion: "v1", Kind: "ConfigMap", Namespace: "default"}

	var watches []apiv1.ResourceService_WatchClient
	for _, encoding := range []apiv1.Encoding{apiv1.Encoding_ENCODING_JSON, apiv1.Encoding_ENCODING_PROTOBUF} {
		for _, rpc := range []apiv1.ResourceServiceClient{inside, wire, wire} {
			w, err := rpc.Watch(ctx, &apiv1.WatchRequest{Ref: ref, As: &apiv1.Representation{Encoding: encoding}})
			require.NoError(t, err)
			_, err = w.Header()
			require.NoError(t, err)
			watches = append(watches, w)
		}
	}
	writer := c.Client(admin)
	const maps = 120
	for i := range maps {
		m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprint("m-", i)}, Data: map[string]string{"x": strings.Repeat("y", i*i*10)}}
		require.NoError(t, writer.Create(ctx, m))
		m.Labels = map[string]string{"i": fmt.Sprint(i)}
		require.NoError(t, writer.Update(ctx, m))
	}
	var told [6][]*apiv1.WatchEvent
	for i, w := range watches {
		for len(told[i]) < 2*maps {
			res, err := w.Recv()
			require.NoError(t, err)
			for _, ev := range res.GetEvents() {
				if strings.HasPrefix(nameIn(ev), "m-") {
					told[i] = append(told[i], ev)
				}
			}
		}
		for n, ev := range told[i] {
			want := told[i/3*3][n]
			require.Equal(t, want.GetType(), ev.GetType())
			require.Equal(t, want.GetRevision(), ev.GetRevision())
			require.True(t, bytes.Equal(want.GetObject().GetData(), ev.GetObject().GetData()), "event %d of watch %d", n, i)
		}
	}

	for _, as := range []*apiv1.Representation{
		{Encoding: apiv1.Encoding_ENCODING_JSON}, {Encoding: apiv1.Encoding_ENCODING_PROTOBUF}, {Encoding: apiv1.Encoding_ENCODING_JSON, InPieces: true},
		{Form: apiv1.Form_FORM_METADATA}, {Encoding: apiv1.Encoding_ENCODING_JSON, Form: apiv1.Form_FORM_METADATA},
	} {
		req := &apiv1.ListRequest{Ref: ref, LabelSelector: "i", ResourceVersion: "0", As: as}
		want, err := inside.List(ctx, req)
		require.NoError(t, err)
		got, err := wire.List(ctx, req)
		require.NoError(t, err)
		require.Equal(t, want.GetObject().GetKind(), got.GetObject().GetKind())
		require.Equal(t, want.GetObject().GetEncoding(), got.GetObject().GetEncoding())
		require.Equal(t, len(want.GetObject().GetPieces()), len(got.GetObject().GetPieces()))
		require.Equal(t, items(want), items(got))
	}
}

func nameIn(ev *apiv1.WatchEvent) string {
	_, rest, ok := bytes.Cut(ev.GetObject().GetData(), []byte("m-"))
	if !ok {
		return ""
	}
	return "m-" + string(rest[:1])
}

// items are what a list holds, without the revision before them.
func items(r *apiv1.Result) string {
	all := bytes.Join(append([][]byte{r.GetObject().GetData()}, r.GetObject().GetPieces()...), nil)
	return string(all[bytes.Index(all, []byte("m-")):])
}
