package codec

import (
	"encoding/json"
	"fmt"
	"strconv"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Body returns an object's JSON without apiVersion and kind: "{…}". That is how it stands in lists; WithKind makes the
// form that it has alone.
func Body(obj runtime.Object) ([]byte, error) {
	gvk := obj.GetObjectKind().GroupVersionKind()
	if !gvk.Empty() {
		obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
		defer obj.GetObjectKind().SetGroupVersionKind(gvk)
	}
	body, err := json.Marshal(obj)
	if err != nil {
		return nil, fmt.Errorf("encode %T: %w", obj, err)
	}
	return body, nil
}

// WithKind returns the JSON of an object alone, from its Body.
func WithKind(gvk schema.GroupVersionKind, body []byte) []byte {
	const fixed = len(`{"kind":"","apiVersion":"",`)
	out := make([]byte, 0, fixed+len(gvk.Kind)+len(gvk.Group)+1+len(gvk.Version)+len(body))
	return AppendWithKind(out, gvk, body)
}

// AppendWithKind appends what WithKind returns.
func AppendWithKind(dst []byte, gvk schema.GroupVersionKind, body []byte) []byte {
	dst = append(dst, `{"kind":"`...)
	dst = append(dst, gvk.Kind...)
	dst = append(dst, `","apiVersion":"`...)
	if gvk.Group != "" {
		dst = append(dst, gvk.Group...)
		dst = append(dst, '/')
	}
	dst = append(dst, gvk.Version...)
	dst = append(dst, '"')
	if len(body) > 2 {
		dst = append(dst, ',')
	}
	return append(dst, body[1:]...)
}

// EncodeJSON returns an object's JSON with apiVersion and kind.
func EncodeJSON(gvk schema.GroupVersionKind, obj runtime.Object) ([]byte, error) {
	body, err := Body(obj)
	if err != nil {
		return nil, err
	}
	return WithKind(gvk, body), nil
}

// ListHead returns the beginning of a list's JSON, up to and with the bracket that opens items.
func ListHead(gvk schema.GroupVersionKind, metadata []byte) []byte {
	out := AppendWithKind(nil, gvk, []byte("{}"))
	out = append(out[:len(out)-1], `,"metadata":`...)
	out = append(out, metadata...)
	return append(out, `,"items":[`...)
}

// FormatRevision returns a revision as a resourceVersion.
func FormatRevision(revision int64) string { return strconv.FormatInt(revision, 10) }
