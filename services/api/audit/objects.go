package audit

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	auditinternal "k8s.io/apiserver/pkg/apis/audit"
	"k8s.io/client-go/kubernetes/scheme"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/services/api/codec"
)

func successCode(res any) int32 {
	result, _ := res.(*apiv1.Result)
	switch {
	case result.GetCreated():
		return http.StatusCreated
	case result.GetAccepted():
		return http.StatusAccepted
	}
	return http.StatusOK
}

// addObjects adds what the policy's level asks for: the request's object, the answer's. Of any level is what the request
// says the object is called.
func (r *Record) addObjects(req, res any, err error) {
	sent := sentObject(req)
	if ref := r.event.ObjectRef; ref != nil && sent != nil {
		meta := metadataOf(sent)
		fillEmpty(&ref.Name, meta.Name)
		fillEmpty(&ref.Namespace, meta.Namespace)
		fillEmpty(&ref.ResourceVersion, meta.ResourceVersion)
		if ref.UID == "" {
			ref.UID = meta.UID
		}
	}
	if r.rule.Level != auditinternal.LevelRequest && r.rule.Level != auditinternal.LevelRequestResponse {
		return
	}
	r.event.RequestObject = r.unknown(jsonOf(sent))
	if patch, ok := req.(*apiv1.PatchRequest); ok {
		r.event.RequestObject = r.unknown(asJSON(patch.GetPatch()))
	}
	if r.rule.Level == auditinternal.LevelRequestResponse {
		if result, ok := res.(*apiv1.Result); ok && err == nil {
			r.event.ResponseObject = r.unknown(jsonOf(result.GetObject()))
		} else if err != nil {
			r.event.ResponseObject = r.unknown(statusJSON(r.event.ResponseStatus))
		}
	}
}

func fillEmpty(into *string, value string) {
	if *into == "" {
		*into = value
	}
}

// sentObject is the object that a request carries, nil when it carries none.
func sentObject(req any) *apiv1.Object {
	switch m := req.(type) {
	case *apiv1.CreateRequest:
		return m.GetObject()
	case *apiv1.UpdateRequest:
		return m.GetObject()
	case *apiv1.DeleteRequest:
		return deleteOptions(m.GetOptions())
	case *apiv1.DeleteCollectionRequest:
		return deleteOptions(m.GetOptions())
	}
	return nil
}

// deleteOptions returns what a delete says as the object that it is over HTTP.
func deleteOptions(o *apiv1.DeleteOptions) *apiv1.Object {
	if o == nil {
		return nil
	}
	out := metav1.DeleteOptions{TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "DeleteOptions"}, GracePeriodSeconds: o.GracePeriodSeconds}
	if p := metav1.DeletionPropagation(o.GetPropagationPolicy()); p != "" {
		out.PropagationPolicy = &p
	}
	if o.GetDryRun() {
		out.DryRun = []string{metav1.DryRunAll}
	}
	if uid, version := types.UID(o.GetPreconditionUid()), o.GetPreconditionResourceVersion(); uid != "" || version != "" {
		out.Preconditions = &metav1.Preconditions{}
		if uid != "" {
			out.Preconditions.UID = &uid
		}
		if version != "" {
			out.Preconditions.ResourceVersion = &version
		}
	}
	data, err := json.Marshal(&out)
	if err != nil {
		return nil
	}
	return &apiv1.Object{Encoding: apiv1.Encoding_ENCODING_JSON, Data: data}
}

// metadataOf reads what an object is called; what cannot be read is empty.
func metadataOf(o *apiv1.Object) metav1.ObjectMeta {
	var partial metav1.PartialObjectMetadata
	if o.GetEncoding() == apiv1.Encoding_ENCODING_JSON {
		var named struct {
			Metadata struct {
				Name            string    `json:"name"`
				Namespace       string    `json:"namespace"`
				UID             types.UID `json:"uid"`
				ResourceVersion string    `json:"resourceVersion"`
			} `json:"metadata"`
		}
		_ = json.Unmarshal(o.GetData(), &named)
		m := named.Metadata
		return metav1.ObjectMeta{Name: m.Name, Namespace: m.Namespace, UID: m.UID, ResourceVersion: m.ResourceVersion}
	}
	if raw, err := codec.MetadataOnly(o.GetData()); err == nil {
		_ = partial.Unmarshal(raw)
	}
	return partial.ObjectMeta
}

// jsonOf returns an object as JSON, nil when that cannot be had.
func jsonOf(o *apiv1.Object) []byte {
	if len(o.GetData()) == 0 {
		return nil
	}
	if o.GetEncoding() == apiv1.Encoding_ENCODING_JSON {
		return asJSON(slices.Concat(append([][]byte{o.GetData()}, o.GetPieces()...)...))
	}
	gvk := schema.FromAPIVersionAndKind(o.GetApiVersion(), o.GetKind())
	obj, err := scheme.Scheme.New(gvk)
	if err != nil {
		return nil
	}
	if err := codec.Unmarshal(o.GetData(), obj); err != nil {
		return nil
	}
	out, err := codec.EncodeJSON(gvk, obj)
	if err != nil {
		return nil
	}
	return out
}

// asJSON returns data as it is when it is JSON; anything else (a patch in YAML, what a client sent by mistake) as a
// string.
func asJSON(data []byte) []byte {
	if len(data) == 0 || json.Valid(data) {
		return data
	}
	out, err := json.Marshal(string(data))
	if err != nil {
		return nil
	}
	return out
}

func statusJSON(status *metav1.Status) []byte {
	full := *status
	full.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	out, err := json.Marshal(&full)
	if err != nil {
		return nil
	}
	return out
}

// unknown wraps JSON for a record, without managedFields where the policy says so.
func (r *Record) unknown(data []byte) *runtime.Unknown {
	if data == nil {
		return nil
	}
	if r.rule.OmitManagedFields && bytes.Contains(data, []byte(`"managedFields"`)) {
		data = withoutManagedFields(data)
	}
	return &runtime.Unknown{Raw: data, ContentType: runtime.ContentTypeJSON}
}

// withoutManagedFields cuts the record of writers out of an object, and out of each item of a list.
func withoutManagedFields(data []byte) []byte {
	var obj map[string]any
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	if decoder.Decode(&obj) != nil {
		return data
	}
	items, _ := obj["items"].([]any)
	for _, one := range append(items, obj) {
		if object, ok := one.(map[string]any); ok {
			if meta, ok := object["metadata"].(map[string]any); ok {
				delete(meta, "managedFields")
			}
		}
	}
	out, err := json.Marshal(obj)
	if err != nil {
		return data
	}
	return out
}
