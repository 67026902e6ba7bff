package server

import (
	"encoding/json"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/internal/apierr"
	"karve.dev/karve/services/api/codec"
	"karve.dev/karve/services/api/registry"
	"karve.dev/karve/services/api/watch"
)

// The encodings that entries of the cache share.
const (
	formWire                 = codec.FormWire // protobuf with the resourceVersion, for watchers
	formMeta      watch.Form = "json/meta"    // the JSON of a PartialObjectMetadata with kind
	formWireMeta  watch.Form = "proto/meta"   // its protobuf
	metaGroup                = "meta.k8s.io"
	protobuf                 = apiv1.Encoding_ENCODING_PROTOBUF
	json_                    = apiv1.Encoding_ENCODING_JSON
	includeNone              = string(metav1.IncludeNone)
	includeObject            = string(metav1.IncludeObject)
)

var (
	gvkPartial     = schema.GroupVersionKind{Group: metaGroup, Version: "v1", Kind: "PartialObjectMetadata"}
	gvkPartialList = schema.GroupVersionKind{Group: metaGroup, Version: "v1", Kind: "PartialObjectMetadataList"}
	gvkTable       = schema.GroupVersionKind{Group: metaGroup, Version: "v1", Kind: "Table"}
	gvkStatus      = schema.GroupVersionKind{Version: "v1", Kind: "Status"}
)

// forms are the encodings that depend on the version of a kind.
type forms struct {
	wire  watch.Form // an object's protobuf
	body  watch.Form // an object's JSON without kind
	alone watch.Form // the same with kind, for watchers
}

func formsOf(k *registry.Kind) forms {
	f := forms{wire: formWire, body: "json", alone: "json+kind"}
	if k.Custom != nil {
		f.body += watch.Form("/" + k.Custom.Variant)
		f.alone += watch.Form("/" + k.Custom.Variant)
	}
	if k.Form != nil {
		variant := watch.Form("/" + k.GroupVersion().String())
		f.wire += variant
		f.body += variant
		f.alone += variant
	}
	return f
}

// raw returns an object's protobuf bytes: those that are stored where the kind is stored as it is.
func (sv *served) raw(it *item) ([]byte, error) {
	if sv.Form == nil {
		return it.raw()
	}
	obj, err := it.object(sv.Kind)
	if err != nil {
		return nil, err
	}
	raw, err := codec.Marshal(obj)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	return raw, nil
}

// encoding is the one that objects of the kind are answered in. Metadata alone always has a protobuf form.
func (sv *served) encoding(as *apiv1.Representation) apiv1.Encoding {
	form := as.GetForm()
	if as.GetEncoding() == json_ || form == apiv1.Form_FORM_TABLE || !sv.protobuf && form != apiv1.Form_FORM_METADATA {
		return json_
	}
	return protobuf
}

func envelope(gvk schema.GroupVersionKind, encoding apiv1.Encoding, data []byte) *apiv1.Object {
	return &apiv1.Object{ApiVersion: gvk.GroupVersion().String(), Kind: gvk.Kind, Encoding: encoding, Data: data}
}

// answer is the result of a call about one object.
func (r *request) answer(it *item, as *apiv1.Representation) (*apiv1.Result, error) {
	env, err := r.envelope(it, as, r.now)
	if err != nil {
		return nil, err
	}
	if it.stored && env.GetEncoding() == json_ && as.GetForm() <= apiv1.Form_FORM_OBJECT {
		r.answers.keep(it, env.GetData())
	}
	return &apiv1.Result{Object: env, Warnings: r.allWarnings()}, nil
}

// envelope encodes one object in the shape that a client asks for.
func (sv *served) envelope(it *item, as *apiv1.Representation, now time.Time) (*apiv1.Object, error) {
	encoding := sv.encoding(as)
	switch as.GetForm() {
	case apiv1.Form_FORM_TABLE:
		return sv.tableOf(it, as, now)
	case apiv1.Form_FORM_METADATA:
		data, err := sv.metadata(it, encoding)
		return envelope(gvkPartial, encoding, data), err
	}
	if encoding == json_ {
		body, err := sv.body(it)
		if err != nil {
			return nil, err
		}
		return envelope(sv.GroupVersionKind, encoding, codec.WithKind(sv.GroupVersionKind, body)), nil
	}
	raw, err := sv.raw(it)
	if err != nil {
		return nil, err
	}
	return envelope(sv.GroupVersionKind, encoding, codec.AppendProtobuf(make([]byte, 0, len(raw)+codec.ItemOverhead), raw, it.revision)), nil
}

// body returns an object's JSON without kind, shared through the cache where it comes from there.
func (sv *served) body(it *item) ([]byte, error) {
	if it.entry == nil {
		return sv.encodeBody(*it)
	}
	return it.entry.Encoded(sv.forms.body, func(e *watch.Entry) ([]byte, error) { return sv.encodeBody(entryItem(e)) })
}

// alone returns an entry as it is sent alone, which all who ask for it share.
func (sv *served) alone(entry *watch.Entry, encoding apiv1.Encoding) ([]byte, error) {
	form := sv.forms.wire
	if encoding == json_ {
		form = sv.forms.alone
	}
	return entry.Encoded(form, func(*watch.Entry) ([]byte, error) {
		if answered := sv.answers.find(entry); answered != nil && encoding == json_ {
			return answered, nil
		}
		fresh := item{value: entry.Value, revision: entry.Revision}
		env, err := sv.envelope(&fresh, &apiv1.Representation{Encoding: encoding}, time.Time{})
		return env.GetData(), err
	})
}

// original is the JSON that a patch of the object changes. Most often somebody has been sent it.
func (r *request) original(old registry.Object) ([]byte, error) {
	if e := r.base; e != nil && (e.Knows(r.forms.alone) || r.answers.find(e) != nil) {
		return r.alone(e, json_)
	}
	return codec.EncodeJSON(r.GroupVersionKind, old)
}

func (sv *served) encodeBody(it item) ([]byte, error) {
	obj, err := it.object(sv.Kind)
	if err != nil {
		return nil, err
	}
	return codec.Body(obj)
}

// metadata returns the PartialObjectMetadata of an object.
func (sv *served) metadata(it *item, encoding apiv1.Encoding) ([]byte, error) {
	if encoding == protobuf {
		raw, err := sv.rawMetadata(it)
		return codec.AppendProtobuf(nil, raw, it.revision), err
	}
	if it.entry == nil {
		return sv.encodeMetadata(*it)
	}
	return it.entry.Encoded(formMeta, func(e *watch.Entry) ([]byte, error) { return sv.encodeMetadata(entryItem(e)) })
}

// rawMetadata returns the protobuf bytes of an object's metadata.
func (sv *served) rawMetadata(it *item) ([]byte, error) {
	if !sv.protobuf {
		partial, err := sv.partial(*it)
		if err != nil {
			return nil, err
		}
		return codec.Marshal(partial)
	}
	raw, err := it.raw()
	if err != nil {
		return nil, err
	}
	return codec.MetadataOnly(raw)
}

func (sv *served) encodeMetadata(it item) ([]byte, error) {
	partial, err := sv.partial(it)
	if err != nil {
		return nil, err
	}
	return codec.EncodeJSON(gvkPartial, partial)
}

func (sv *served) partial(it item) (*metav1.PartialObjectMetadata, error) {
	if it.err != nil {
		return nil, apierrors.NewInternalError(it.err)
	}
	raw, isProto, err := codec.Raw(it.value)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	out := &metav1.PartialObjectMetadata{}
	if isProto {
		if raw, err = codec.MetadataOnly(raw); err == nil {
			err = out.Unmarshal(raw)
		}
	} else {
		err = json.Unmarshal(raw, &struct {
			Metadata *metav1.ObjectMeta `json:"metadata"`
		}{&out.ObjectMeta})
	}
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	out.ResourceVersion = codec.FormatRevision(it.revision)
	return out, nil
}

// encodeObject encodes an object that is not stored as it is (a Status, a Scale, a review).
func encodeObject(gvk schema.GroupVersionKind, obj runtime.Object, as *apiv1.Representation) (*apiv1.Object, error) {
	if as.GetEncoding() != json_ && codec.HasProtobuf(obj) {
		data, err := codec.Marshal(obj)
		return envelope(gvk, protobuf, data), err
	}
	data, err := codec.EncodeJSON(gvk, obj)
	return envelope(gvk, json_, data), err
}

// success is the answer to a call that has no object to show.
func (r *request) success(as *apiv1.Representation, uid types.UID) (*apiv1.Result, error) {
	status := &metav1.Status{Status: metav1.StatusSuccess, Details: &metav1.StatusDetails{
		Name: r.name, Group: r.Group, Kind: r.Resource, UID: uid,
	}}
	env, err := encodeObject(gvkStatus, status, as)
	return &apiv1.Result{Object: env, Warnings: r.allWarnings()}, err
}

// warned adds the warnings to an error: a client that is refused is warned all the same.
func (r *request) warned(err error) error {
	if err == nil {
		return nil
	}
	if texts := r.allWarnings(); len(texts) > 0 {
		return &apierr.Warned{Err: err, Texts: texts}
	}
	return err
}

// allWarnings are what the kind, the request and its last attempt warn of.
func (r *request) allWarnings() []string {
	all := append(r.warnings, r.tryWarnings...)
	if r.Deprecated != "" {
		all = append([]string{r.Deprecated}, all...)
	}
	return all
}
