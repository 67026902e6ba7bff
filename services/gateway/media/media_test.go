package media_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/services/gateway/media"
)

const (
	object   = apiv1.Form_FORM_OBJECT
	table    = apiv1.Form_FORM_TABLE
	metadata = apiv1.Form_FORM_METADATA
)

func TestTheBestAcceptedFormIsChosen(t *testing.T) {
	for header, want := range map[string]media.Accepted{
		"":                                    {Type: media.JSON, Form: object},
		"application/json, */*":               {Type: media.JSON, Form: object},
		"text/html, */*;q=0.1":                {Type: media.JSON, Form: object},
		"application/yaml":                    {Type: media.YAML, Form: object},
		"application/vnd.kubernetes.protobuf": {Type: media.Protobuf, Form: object},
		"APPLICATION/JSON;q=0.5, */*;q=0.1":   {Type: media.JSON, Form: object},
		"*/*, application/yaml":               {Type: media.YAML, Form: object},
		"application/json;q=0.1, application/vnd.kubernetes.protobuf;q=0.9":                                                                                                     {Type: media.Protobuf, Form: object, JSONToo: true},
		"application/vnd.kubernetes.protobuf,application/json":                                                                                                                  {Type: media.Protobuf, Form: object, JSONToo: true},
		"application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json":                                                       {Type: media.JSON, Form: table},
		"application/json;as=Table;v=v9;g=meta.k8s.io,application/json":                                                                                                         {Type: media.JSON, Form: object},
		"application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1;g=meta.k8s.io":                                                          {Type: media.JSON, Form: table},
		"application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json": {Type: media.Protobuf, Form: metadata, JSONToo: true},
		"application/vnd.kubernetes.protobuf;stream=watch,application/json;q=0.5":                                                                                               {Type: media.Protobuf, Form: object, JSONToo: true},
	} {
		got, ok := media.Negotiate(header)
		require.True(t, ok, header)
		require.Equal(t, want, got, header)
	}
	for _, header := range []string{"text/html", "application/json;q=0", "application/json;as=Table;g=other;v=v1", "nonsense", "application/json;q=x"} {
		_, ok := media.Negotiate(header)
		require.False(t, ok, header)
	}
}

func FuzzNegotiate(f *testing.F) {
	f.Add("application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
	f.Add(`a/b;q=0.5;as="x, y",*/*;q=1`)
	f.Fuzz(func(t *testing.T, header string) {
		a, ok := media.Negotiate(header)
		if ok && a.Type == media.Protobuf && a.Form == table {
			t.Fatal("a table has no protobuf form")
		}
	})
}

func TestProtobufFramesAreKubernetes(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web"}}
	raw, err := pod.Marshal()
	require.NoError(t, err)

	head, tail := media.Envelope(nil, "v1", "Pod", len(raw))
	body := bytes.Join([][]byte{head, raw, tail}, nil)
	want, err := (&runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: "v1", Kind: "Pod"}, Raw: raw}).Marshal()
	require.NoError(t, err)
	require.Equal(t, append([]byte("k8s\x00"), want...), body)
	version, kind, data, err := media.OpenEnvelope(body)
	require.NoError(t, err)
	require.Equal(t, "v1 Pod", version+" "+kind)
	require.Equal(t, raw, data)

	frame := media.AppendEvent(nil, media.Protobuf, apiv1.WatchEvent_TYPE_ADDED, &apiv1.Object{ApiVersion: "v1", Kind: "Pod"}, raw)
	ev, err := (&metav1.WatchEvent{Type: "ADDED", Object: runtime.RawExtension{Raw: body}}).Marshal()
	require.NoError(t, err)
	require.Equal(t, append(binary.BigEndian.AppendUint32(nil, uint32(len(ev))), ev...), frame)
}

func FuzzOpenEnvelope(f *testing.F) {
	f.Add([]byte("k8s\x00\x0a\x09\x0a\x02v1\x12\x03Pod\x12\x01x\x1a\x00\x22\x00"))
	f.Fuzz(func(t *testing.T, body []byte) {
		_, _, data, err := media.OpenEnvelope(body)
		if err == nil && len(data) > len(body) {
			t.Fatal("more data than body")
		}
	})
}

func TestRequestBodies(t *testing.T) {
	obj, err := media.Object(media.YAML, []byte("kind: Pod\n"), "v1", "Pod", false)
	require.NoError(t, err)
	require.JSONEq(t, `{"kind":"Pod"}`, string(obj.Data))
	_, err = media.Object(media.YAML, []byte("a: 1\na: 2\n"), "v1", "Pod", true)
	require.ErrorContains(t, err, `key "a" already set`)
	typ, ok := media.BodyType("application/json; charset=utf-8")
	require.True(t, ok)
	require.Equal(t, media.JSON, typ)
	patch, ok := media.PatchTypeOf("application/merge-patch+json; charset=utf-8")
	require.True(t, ok)
	require.Equal(t, apiv1.PatchType_PATCH_TYPE_MERGE, patch)
}
