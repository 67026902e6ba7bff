package server_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/apierr"
	"karve.dev/karve/internal/client"
	"karve.dev/karve/services/api/codec"
	"karve.dev/karve/services/api/registry"
)

func TestTables(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"a", "b"} {
		require.NoError(t, w.Create(w.ctx, newPod(name)))
	}
	res, err := w.rpc.List(w.ctx, &apiv1.ListRequest{Ref: refTo("Pod", "", ""), As: inJSON(apiv1.Form_FORM_TABLE)})
	require.NoError(t, err)
	table := &metav1.Table{}
	require.NoError(t, json.Unmarshal(res.Object.Data, table))
	require.Equal(t, "Table", table.Kind)
	require.Equal(t, "Name", table.ColumnDefinitions[0].Name)
	require.Equal(t, "a", table.Rows[0].Cells[0])
	require.Len(t, table.Rows, 2)
	partial := &metav1.PartialObjectMetadata{}
	require.NoError(t, json.Unmarshal(table.Rows[1].Object.Raw, partial))
	require.Equal(t, "PartialObjectMetadata", partial.Kind)
	require.Equal(t, "b", partial.Name)
	require.NotEmpty(t, partial.ResourceVersion)

	res, err = w.rpc.Get(w.ctx, &apiv1.GetRequest{Ref: refTo("Pod", "a", ""), As: &apiv1.Representation{Form: apiv1.Form_FORM_TABLE, IncludeObject: "Object"}})
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(res.Object.Data, table))
	pod := &corev1.Pod{}
	require.NoError(t, json.Unmarshal(table.Rows[0].Object.Raw, pod))
	require.Equal(t, "Pod", pod.Kind)
	require.Equal(t, "i", pod.Spec.Containers[0].Image)
}

func TestMetadataOnly(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.Create(w.ctx, newPod("a")))
	for _, encoding := range []apiv1.Encoding{apiv1.Encoding_ENCODING_JSON, apiv1.Encoding_ENCODING_PROTOBUF} {
		as := &apiv1.Representation{Encoding: encoding, Form: apiv1.Form_FORM_METADATA}
		one, err := w.rpc.Get(w.ctx, &apiv1.GetRequest{Ref: refTo("Pod", "a", ""), As: as})
		require.NoError(t, err)
		list, err := w.rpc.List(w.ctx, &apiv1.ListRequest{Ref: refTo("Pod", "", ""), As: as})
		require.NoError(t, err)
		partial, all := &metav1.PartialObjectMetadata{}, &metav1.PartialObjectMetadataList{}
		if encoding == apiv1.Encoding_ENCODING_JSON {
			require.NoError(t, json.Unmarshal(one.Object.Data, partial))
			require.NoError(t, json.Unmarshal(list.Object.Data, all))
		} else {
			require.NoError(t, partial.Unmarshal(one.Object.Data))
			require.NoError(t, all.Unmarshal(list.Object.Data))
		}
		require.Equal(t, "a", partial.Name)
		require.Equal(t, partial.ResourceVersion, all.Items[0].ResourceVersion)
		require.NotContains(t, string(list.Object.Data), `"containers"`)
	}
}

func TestAListInPiecesIsTheSame(t *testing.T) {
	w := newWorld(t)
	for _, names := range [][]string{{}, {"a"}, {"b", "c"}} {
		for _, name := range names {
			require.NoError(t, w.Create(w.ctx, newPod(name)))
		}
		as := inJSON(apiv1.Form_FORM_OBJECT)
		whole, err := w.rpc.List(w.ctx, &apiv1.ListRequest{Ref: refTo("Pod", "", ""), As: as})
		require.NoError(t, err)
		as.InPieces = true
		pieces, err := w.rpc.List(w.ctx, &apiv1.ListRequest{Ref: refTo("Pod", "", ""), As: as})
		require.NoError(t, err)
		require.NotEmpty(t, pieces.Object.Pieces)
		joined := bytes.Join(append([][]byte{pieces.Object.Data}, pieces.Object.Pieces...), nil)
		_, want, _ := bytes.Cut(whole.Object.Data, []byte(`"items":`)) // before it is the revision, which goes on
		_, got, _ := bytes.Cut(joined, []byte(`"items":`))
		require.True(t, json.Valid(joined))
		require.Equal(t, string(want), string(got))
	}
}

func TestSelectors(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"a", "b", "c"} {
		p := newPod(name)
		p.Labels = map[string]string{"app": name}
		require.NoError(t, w.Create(w.ctx, p))
	}
	w.bind(t, newPod("b"))
	for _, q := range []struct {
		opts client.ListOptions
		want []string
	}{
		{client.ListOptions{LabelSelector: "app in (a,c)"}, []string{"a", "c"}},
		{client.ListOptions{LabelSelector: "app!=a"}, []string{"b", "c"}},
		{client.ListOptions{FieldSelector: "spec.nodeName=n"}, []string{"b"}},
		{client.ListOptions{FieldSelector: "metadata.name=c"}, []string{"c"}},
		{client.ListOptions{FieldSelector: "spec.nodeName!=n", LabelSelector: "app=a"}, []string{"a"}},
		{client.ListOptions{Namespace: "kube-system"}, nil},
	} {
		list := &corev1.PodList{}
		require.NoError(t, w.List(w.ctx, list, q.opts))
		var got []string
		for _, p := range list.Items {
			got = append(got, p.Name)
		}
		require.Equal(t, q.want, got, "%+v", q.opts)
	}
	for _, bad := range []client.ListOptions{{FieldSelector: "spec.foo=1"}, {LabelSelector: "a in ("}, {FieldSelector: "x"}} {
		require.True(t, apierrors.IsBadRequest(w.List(w.ctx, &corev1.PodList{}, bad)), "%+v", bad)
	}
	require.ErrorContains(t, w.List(w.ctx, &corev1.PodList{}, client.ListOptions{FieldSelector: "spec.foo=1"}), "field label not supported: spec.foo")
}

func TestPagesAreOfOneState(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"a", "b", "c", "d"} {
		require.NoError(t, w.Create(w.ctx, newConfigMap(name)))
	}
	page := func(req *apiv1.ListRequest) (*corev1.ConfigMapList, error) {
		req.Ref = refTo("ConfigMap", "", "")
		res, err := w.rpc.List(w.ctx, req)
		if err != nil {
			return nil, apierr.FromGRPC(err)
		}
		list := &corev1.ConfigMapList{}
		return list, list.Unmarshal(res.Object.Data)
	}
	first, err := page(&apiv1.ListRequest{Limit: 2})
	require.NoError(t, err)
	require.Len(t, first.Items, 2)
	require.Equal(t, int64(2), *first.RemainingItemCount)
	require.NoError(t, w.Delete(w.ctx, newConfigMap("c"), client.DeleteOptions{}))
	rest, err := page(&apiv1.ListRequest{Continue: first.Continue})
	require.NoError(t, err)
	require.Len(t, rest.Items, 2, "what was deleted since is still part of the list")
	require.Equal(t, first.ResourceVersion, rest.ResourceVersion)
	exact, err := page(&apiv1.ListRequest{ResourceVersion: first.ResourceVersion, ResourceVersionMatch: "Exact"})
	require.NoError(t, err)
	require.Len(t, exact.Items, 4)

	require.NoError(t, w.Store.Compact(w.ctx, mustRevision(t, w)))
	token := base64.RawURLEncoding.EncodeToString([]byte(`{"v":"meta.k8s.io/v1","rv":2,"start":"/registry/core/configmaps/default/b"}`))
	_, err = page(&apiv1.ListRequest{Continue: token})
	require.True(t, apierrors.IsResourceExpired(err), "%v", err)
	var expired apierrors.APIStatus
	require.ErrorAs(t, err, &expired)
	rest, err = page(&apiv1.ListRequest{Continue: expired.Status().ListMeta.Continue})
	require.NoError(t, err)
	require.Len(t, rest.Items, 1)

	_, err = page(&apiv1.ListRequest{Continue: "nonsense"})
	require.True(t, apierrors.IsBadRequest(err))
	_, err = page(&apiv1.ListRequest{ResourceVersionMatch: "Exact"})
	require.True(t, apierrors.IsInvalid(err), "%v", err)
}

func mustRevision(t *testing.T, w *world) int64 {
	revision, err := w.Store.Revision(w.ctx)
	require.NoError(t, err)
	return revision
}

func TestWatchForms(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.Create(w.ctx, newPod("a")))
	yes := true
	for _, as := range []*apiv1.Representation{inJSON(apiv1.Form_FORM_OBJECT), inJSON(apiv1.Form_FORM_TABLE), inJSON(apiv1.Form_FORM_METADATA)} {
		ctx, cancel := context.WithCancel(w.ctx)
		stream, err := w.rpc.Watch(ctx, &apiv1.WatchRequest{
			Ref: refTo("Pod", "", ""), As: as, SendInitialEvents: &yes, ResourceVersionMatch: "NotOlderThan", AllowBookmarks: true,
		})
		require.NoError(t, err)
		var events []*apiv1.WatchEvent
		for len(events) < 2 {
			res, err := stream.Recv()
			require.NoError(t, err)
			events = append(events, res.Events...)
		}
		cancel()
		require.Equal(t, apiv1.WatchEvent_TYPE_ADDED, events[0].Type)
		require.Equal(t, apiv1.WatchEvent_TYPE_BOOKMARK, events[1].Type)
		kind := &metav1.TypeMeta{}
		require.NoError(t, json.Unmarshal(events[0].Object.Data, kind))
		require.Equal(t, events[0].Object.Kind, kind.Kind)
		if as.Form != apiv1.Form_FORM_TABLE {
			require.Contains(t, string(events[1].Object.Data), `"k8s.io/initial-events-end":"true"`)
		}
	}
}

// Everything that is stored must fit the assumptions of codec: metadata is field 1, items are field 2.
func TestEveryStoredKindFitsTheWireForm(t *testing.T) {
	for _, k := range registry.All() {
		obj := k.New()
		if !codec.HasProtobuf(obj) || k.NewList == nil || k.NewList() == nil {
			continue
		}
		obj.SetName("x")
		obj.SetLabels(map[string]string{"a": "b"})
		value, err := codec.Encode(k.GroupVersionKind, obj)
		require.NoError(t, err)
		raw, _, err := codec.Raw(value)
		require.NoError(t, err)
		list, err := codec.NewList(metav1.ListMeta{ResourceVersion: "9"}, 0)
		require.NoError(t, err)
		list.Add(raw, 12)
		into := k.NewList()
		require.NoError(t, codec.Unmarshal(list.Bytes(), into))
		body, err := json.Marshal(into)
		require.NoError(t, err)
		partial := &metav1.PartialObjectMetadataList{}
		require.NoError(t, json.Unmarshal(body, partial))
		require.Equal(t, "9", partial.ResourceVersion, k.Kind)
		require.Len(t, partial.Items, 1, k.Kind)
		require.Equal(t, "x", partial.Items[0].Name, k.Kind)
		require.Equal(t, "12", partial.Items[0].ResourceVersion, k.Kind)
		labels, err := codec.Labels(value)
		require.NoError(t, err)
		require.Equal(t, map[string]string{"a": "b"}, labels, k.Kind)
	}
}
