package extension

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	sigsjson "sigs.k8s.io/json"

	"karve.dev/karve/services/api/webhook"
)

const (
	// convertTimeout bounds one call of a conversion webhook.
	convertTimeout = 30 * time.Second
	// convertObjects and convertBytes bound what one call is about.
	convertObjects, convertBytes = 500, 2 << 20
	conversionReview             = "ConversionReview"
)

// converter asks a definition's conversion webhook to turn objects of one version into those of another. What it says is
// kept for a while: stored bytes never change, and readers come in crowds.
type converter struct {
	kind     string
	endpoint webhook.Endpoint
	// version is that of the ConversionReview; empty when the webhook knows none that is spoken here.
	version string
	client  *webhook.Client
	// life ends with the API service. Objects are decoded in places that know of no call to answer.
	life context.Context
	kept kept
}

// newConverter returns nil for a definition without a conversion webhook.
func (x *Extensions) newConverter(d *definition) *converter {
	c := d.Spec.Conversion
	if c == nil || c.Strategy != apiextensionsv1.WebhookConverter || c.Webhook == nil || c.Webhook.ClientConfig == nil {
		return nil
	}
	out := &converter{kind: d.Spec.Names.Kind, endpoint: conversionEndpoint(c.Webhook.ClientConfig), client: x.config.Webhooks, life: x.life}
	for _, v := range c.Webhook.ConversionReviewVersions {
		if out.version == "" && (v == "v1" || v == "v1beta1") {
			out.version = v
		}
	}
	return out
}

func conversionEndpoint(c *apiextensionsv1.WebhookClientConfig) webhook.Endpoint {
	e := webhook.NewEndpoint(c.URL, c.CABundle)
	if s := c.Service; s != nil {
		e.Service = webhook.NewService(s.Namespace, s.Name, s.Path, s.Port)
	}
	return e
}

// one converts an object, given as its JSON with its kind, to another version of its group.
func (c *converter) one(data []byte, from, to string) (map[string]any, error) {
	if known := c.kept.find(to, data); known != nil {
		return parseObject(known)
	}
	out, err := c.ask(c.life, [][]byte{data}, from, to)
	if err != nil {
		return nil, err
	}
	c.kept.add(to, data, out[0])
	return parseObject(out[0])
}

// several converts many objects at once and keeps what becomes of them, as far as there is room.
func (c *converter) several(ctx context.Context, all [][]byte, to string) error {
	for len(all) > 0 {
		size, n := 0, 0
		for n < len(all) && n < convertObjects && (n == 0 || size+len(all[n]) <= convertBytes) {
			size += len(all[n])
			n++
		}
		out, err := c.ask(ctx, all[:n], to, to)
		if err != nil {
			return err
		}
		for i, data := range out {
			c.kept.add(to, all[i], data)
		}
		all = all[n:]
	}
	return nil
}

// ask calls the webhook. From is the version to name in errors.
func (c *converter) ask(ctx context.Context, objects [][]byte, from, to string) ([][]byte, error) {
	about := fmt.Sprintf("conversion webhook for %s, Kind=%s", from, c.kind)
	uid := uuid.NewUUID()
	answer, err := c.post(ctx, uid, objects, to)
	if err != nil {
		return nil, conversionError("%s failed: %v", about, err)
	}
	if len(answer) != len(objects) {
		return nil, conversionError("%s returned %d objects, expected %d", about, len(answer), len(objects))
	}
	out := make([][]byte, len(objects))
	for i := range answer {
		if out[i], err = c.check(objects[i], answer[i].Raw, to); err != nil {
			return nil, conversionError("%s returned invalid converted object at index %d: %v", about, i, err)
		}
	}
	return out, nil
}

// conversionError is told to clients as it is.
func conversionError(format string, args ...any) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Reason: metav1.StatusReasonInternalError, Message: fmt.Sprintf(format, args...),
	}}
}

func (c *converter) post(ctx context.Context, uid types.UID, objects [][]byte, to string) ([]runtime.RawExtension, error) {
	if c.version == "" {
		return nil, errors.New("no supported conversion review versions")
	}
	if c.client == nil {
		return nil, errors.New("this API service calls no webhooks")
	}
	request := &apiextensionsv1.ConversionRequest{UID: uid, DesiredAPIVersion: to, Objects: make([]runtime.RawExtension, len(objects))}
	for i, data := range objects {
		request.Objects[i].Raw = data
	}
	apiVersion := apiextensionsv1.SchemeGroupVersion.Group + "/" + c.version
	body, err := json.Marshal(&apiextensionsv1.ConversionReview{TypeMeta: metav1.TypeMeta{APIVersion: apiVersion, Kind: conversionReview}, Request: request})
	if err != nil {
		return nil, err
	}
	data, err := c.client.Post(ctx, c.endpoint, convertTimeout, body)
	if err != nil {
		return nil, err
	}
	review := &apiextensionsv1.ConversionReview{}
	if err := json.Unmarshal(data, review); err != nil {
		return nil, err
	}
	if c.version == "v1" {
		want := apiextensionsv1.SchemeGroupVersion.WithKind(conversionReview)
		if said := review.GroupVersionKind(); said != want {
			return nil, fmt.Errorf("expected webhook response of %v, got %v", want, said)
		}
	}
	return c.converted(review.Response, uid)
}

// converted are the objects of an answer. The older version was never checked for what it is an answer to.
func (c *converter) converted(r *apiextensionsv1.ConversionResponse, uid types.UID) ([]runtime.RawExtension, error) {
	switch {
	case r == nil:
		return nil, errors.New("no response provided")
	case c.version == "v1" && r.UID != uid:
		return nil, fmt.Errorf("expected response.uid=%q, got %q", uid, r.UID)
	case r.Result.Status != metav1.StatusSuccess && r.Result.Message != "":
		return nil, errors.New(r.Result.Message)
	case r.Result.Status != metav1.StatusSuccess:
		return nil, fmt.Errorf("response.result.status was '%s', not 'Success'", r.Result.Status)
	}
	return r.ConvertedObjects, nil
}

func parseObject(data []byte) (content map[string]any, err error) {
	err = sigsjson.UnmarshalCaseSensitivePreserveInts(data, &content)
	return content, err
}

// identity is the metadata that a conversion must leave as it is.
var identity = []string{"name", "namespace", "uid"}

// check verifies that a converted object is the original in another version. Of its metadata, only labels and annotations
// are the webhook's to convert.
func (c *converter) check(original, converted []byte, to string) ([]byte, error) {
	was, err := parseObject(original)
	if err != nil {
		return nil, err
	}
	is, err := parseObject(converted)
	if err != nil {
		return nil, err
	}
	if said := is["apiVersion"]; said != to {
		return nil, fmt.Errorf("invalid groupVersion (expected %v, received %v)", to, said)
	}
	if said := is["kind"]; said != was["kind"] {
		return nil, fmt.Errorf("invalid kind (expected %v, received %v)", was["kind"], said)
	}
	meta, ok := is["metadata"].(map[string]any)
	if !ok {
		return nil, errors.New("missing metadata in converted object")
	}
	before, _ := was["metadata"].(map[string]any)
	for _, name := range identity {
		if before[name] != meta[name] {
			return nil, fmt.Errorf("must have the same %s: %v != %v", name, before[name], meta[name])
		}
	}
	restored := make(map[string]any, len(before)+2)
	for key, value := range before {
		restored[key] = value
	}
	for _, key := range []string{"labels", "annotations"} {
		delete(restored, key)
		if value, ok := meta[key]; ok {
			restored[key] = value
		}
	}
	is["metadata"] = restored
	return json.Marshal(is)
}
