package aggregator

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
)

// maxDiscovery bounds what a server may say about itself.
const maxDiscovery = 8 << 20

// check finds out whether a server can be used: whether there is a way to it, and whether it tells what it serves.
func (a *Aggregator) check(ctx context.Context, r *remote) (state, apiregistrationv1.APIServiceCondition) {
	no := func(reason, format string, args ...any) (state, apiregistrationv1.APIServiceCondition) {
		return state{}, apiregistrationv1.APIServiceCondition{
			Type: apiregistrationv1.Available, Status: apiregistrationv1.ConditionFalse, Reason: reason, Message: fmt.Sprintf(format, args...),
		}
	}
	at := r.spec.Service
	obj, err := a.config.Resources.Read(ctx, corev1.SchemeGroupVersion.WithKind("Service"), at.Namespace, at.Name)
	switch {
	case apierrors.IsNotFound(err):
		return no("ServiceNotFound", "service/%s in %q is not present", at.Name, at.Namespace)
	case err != nil:
		return no("ServiceAccessError", "service/%s in %q cannot be checked due to: %v", at.Name, at.Namespace, err)
	}
	svc := obj.(*corev1.Service)
	if svc.Spec.Type != corev1.ServiceTypeExternalName {
		port, ok := servicePort(svc, r.port())
		if !ok {
			return no("ServicePortError", "service/%s in %q is not listening on port %d", at.Name, at.Namespace, r.port())
		}
		slices, endpoints, err := a.config.Services.Ready(svc, r.port())
		switch {
		case err != nil:
			return no("EndpointsAccessError", "service/%s in %q cannot be checked due to: %v", at.Name, at.Namespace, err)
		case slices == 0:
			return no("EndpointsNotFound", "cannot find endpointslices for service/%s in %q", at.Name, at.Namespace)
		case endpoints == 0:
			return no("MissingEndpoints", "endpoints for service/%s in %q have no addresses with port name %q", at.Name, at.Namespace, port.Name)
		}
	}
	path := "/apis/" + r.spec.Group + "/" + r.spec.Version
	body, err := r.get(ctx, path, maxDiscovery)
	if err != nil {
		// One failure may be an accident: a connection that had just been closed.
		if body, err = r.get(ctx, path, maxDiscovery); err != nil {
			return no("FailedDiscoveryCheck", "failing or missing response from https://%s:%d%s: %v", r.host(), r.port(), path, err)
		}
	}
	return state{available: true, kinds: kindsOf(r, body), said: string(body)}, apiregistrationv1.APIServiceCondition{
		Type: apiregistrationv1.Available, Status: apiregistrationv1.ConditionTrue, Reason: "Passed", Message: "all checks passed",
	}
}

func servicePort(svc *corev1.Service, number int32) (*corev1.ServicePort, bool) {
	for i := range svc.Spec.Ports {
		if svc.Spec.Ports[i].Port == number {
			return &svc.Spec.Ports[i], true
		}
	}
	return nil, false
}

// get asks the server on the aggregator's own behalf.
func (r *remote) get(ctx context.Context, path string, most int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+r.host()+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "application/json")
	req.Header.Set("X-Remote-User", "system:kube-aggregator")
	req.Header.Set("X-Remote-Group", "system:masters")
	res, err := r.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, most+1))
	switch {
	case res.StatusCode < 200 || res.StatusCode > 299:
		return nil, fmt.Errorf("bad status from %s: %d", path, res.StatusCode)
	case err != nil:
		return nil, err
	case int64(len(body)) > most:
		return nil, fmt.Errorf("the answer has more than %d bytes", most)
	}
	return body, nil
}

// kindsOf reads a server's APIResourceList. What is none says nothing: the server can be used all the same.
func kindsOf(r *remote, body []byte) []*apiv1.KindInfo {
	var list metav1.APIResourceList
	if json.Unmarshal(body, &list) != nil {
		return nil
	}
	var kinds []*apiv1.KindInfo
	byName := map[string]*apiv1.KindInfo{}
	for i := range list.APIResources {
		res := &list.APIResources[i]
		if strings.Contains(res.Name, "/") {
			continue
		}
		k := &apiv1.KindInfo{
			Group: r.spec.Group, Version: r.spec.Version, Kind: res.Kind, ListKind: res.Kind + "List", Resource: res.Name, Singular: res.SingularName,
			ShortNames: res.ShortNames, Categories: res.Categories, Namespaced: res.Namespaced, Verbs: res.Verbs,
		}
		kinds = append(kinds, k)
		byName[res.Name] = k
	}
	for i := range list.APIResources {
		res := &list.APIResources[i]
		parent, sub, ok := strings.Cut(res.Name, "/")
		if k := byName[parent]; ok && k != nil {
			k.Subresources = append(k.Subresources, &apiv1.SubresourceInfo{Name: sub, Group: res.Group, Version: res.Version, Kind: res.Kind, Verbs: res.Verbs})
		}
	}
	return kinds
}
