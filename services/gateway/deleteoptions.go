package gateway

import (
	"encoding/json"
	"net/url"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
	"karve.dev/karve/services/gateway/media"
)

// deleteOptions reads the options of a delete from its body or, without one, from the query.
func deleteOptions(q url.Values, t media.Type, body []byte) (*apiv1.DeleteOptions, error) {
	if len(q) == 0 && len(body) == 0 {
		return nil, nil
	}
	read := optionsFromQuery
	if len(body) > 0 {
		read = func(url.Values) (*metav1.DeleteOptions, error) { return optionsFromBody(t, body) }
	}
	options, err := read(q)
	if err != nil {
		return nil, err
	}
	if errs := validation.ValidateDeleteOptions(options); len(errs) > 0 {
		return nil, apierrors.NewInvalid(schema.GroupKind{Group: metav1.GroupName, Kind: "DeleteOptions"}, "", errs)
	}
	return toRequest(options), nil
}

func optionsFromBody(t media.Type, body []byte) (*metav1.DeleteOptions, error) {
	obj, err := media.Object(t, body, "v1", "DeleteOptions", false)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	options := &metav1.DeleteOptions{}
	if obj.GetEncoding() == apiv1.Encoding_ENCODING_PROTOBUF {
		err = options.Unmarshal(obj.GetData())
		options.Kind = obj.GetKind()
	} else {
		err = json.Unmarshal(obj.GetData(), options)
	}
	if err != nil {
		return nil, apierrors.NewBadRequest("couldn't decode the body as DeleteOptions: " + err.Error())
	}
	if options.Kind != "" && options.Kind != "DeleteOptions" {
		return nil, apierrors.NewBadRequest("expected DeleteOptions, got " + options.Kind)
	}
	return options, nil
}

func optionsFromQuery(q url.Values) (*metav1.DeleteOptions, error) {
	options := &metav1.DeleteOptions{DryRun: q["dryRun"]}
	var err error
	if options.GracePeriodSeconds, err = optionalInteger(q, "gracePeriodSeconds"); err != nil {
		return nil, err
	}
	if value := q.Get("propagationPolicy"); value != "" {
		policy := metav1.DeletionPropagation(value)
		options.PropagationPolicy = &policy
	}
	if _, given := q["orphanDependents"]; given {
		orphan := isTrue(q, "orphanDependents")
		options.OrphanDependents = &orphan //nolint:staticcheck // old clients send it
	}
	return options, nil
}

func toRequest(options *metav1.DeleteOptions) *apiv1.DeleteOptions {
	out := &apiv1.DeleteOptions{GracePeriodSeconds: options.GracePeriodSeconds, DryRun: len(options.DryRun) > 0}
	if p := options.PropagationPolicy; p != nil {
		out.PropagationPolicy = string(*p)
	} else if orphan := options.OrphanDependents; orphan != nil { //nolint:staticcheck // old clients send it
		out.PropagationPolicy = string(metav1.DeletePropagationBackground)
		if *orphan {
			out.PropagationPolicy = string(metav1.DeletePropagationOrphan)
		}
	}
	if p := options.Preconditions; p != nil {
		if p.UID != nil {
			out.PreconditionUid = string(*p.UID)
		}
		if p.ResourceVersion != nil {
			out.PreconditionResourceVersion = *p.ResourceVersion
		}
	}
	return out
}
