package api

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"karve.dev/karve/services/api/authn"
	"karve.dev/karve/services/api/authz"
	"karve.dev/karve/services/api/codec"
	"karve.dev/karve/services/api/server"
	"karve.dev/karve/services/api/usage"
	"karve.dev/karve/services/api/watch"
)

// objects is what authentication and authorization see of the cluster.
type objects struct{ *Server }

var (
	_ authn.Objects = (*objects)(nil)
	_ authz.Pods    = (*objects)(nil)
	_ usage.Cluster = (*objects)(nil)
)

// sources are where the objects of kinds come from that are not stored.
func (s *Server) sources() map[schema.GroupKind]server.Source {
	u := usage.New(&objects{s}, s.config.Nodes, s.config.Log)
	return map[schema.GroupKind]server.Source{
		{Group: "metrics.k8s.io", Kind: "NodeMetrics"}: usage.Nodes{Usage: u},
		{Kind: "ComponentStatus"}:                      componentStatuses{s},
		{Group: "metrics.k8s.io", Kind: "PodMetrics"}:  usage.Pods{Usage: u},
	}
}

// Lookup implements authn.Objects.
func (o *objects) Lookup(ctx context.Context, kind, namespace, name string) (uid string, deleted *time.Time, ok bool, err error) {
	obj, err := o.resources.Read(ctx, corev1.SchemeGroupVersion.WithKind(kind), namespace, name)
	if apierrors.IsNotFound(err) {
		return "", nil, false, nil
	}
	if err != nil {
		return "", nil, false, err
	}
	if at := obj.GetDeletionTimestamp(); at != nil {
		deleted = &at.Time
	}
	return string(obj.GetUID()), deleted, true, nil
}

// Secret implements authn.Objects.
func (o *objects) Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	obj, err := o.resources.Read(ctx, corev1.SchemeGroupVersion.WithKind("Secret"), namespace, name)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return obj.(*corev1.Secret), nil
}

// Pod implements authz.Pods.
func (o *objects) Pod(ctx context.Context, namespace, name string) (*corev1.Pod, error) {
	obj, err := o.resources.Read(ctx, corev1.SchemeGroupVersion.WithKind("Pod"), namespace, name)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return obj.(*corev1.Pod), nil
}

// PodsOnNode implements authz.Pods.
func (o *objects) PodsOnNode(_ context.Context, node string) ([]*corev1.Pod, error) {
	pods := o.resources.Collection(corev1.SchemeGroupVersion.WithKind("Pod"))
	page := pods.List(watch.Query{Predicate: watch.Predicate{Fields: fields.OneTermEqualSelector("spec.nodeName", node)}})
	out := make([]*corev1.Pod, len(page.Entries))
	for i, e := range page.Entries {
		out[i] = &corev1.Pod{}
		if err := codec.Decode(e.Value, e.Revision, out[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Nodes implements usage.Cluster.
func (o *objects) Nodes(ctx context.Context, name string) ([]*corev1.Node, error) {
	all, err := o.resources.ReadAll(ctx, corev1.SchemeGroupVersion.WithKind("Node"), "")
	var out []*corev1.Node
	for _, obj := range all {
		if node := obj.(*corev1.Node); name == "" || node.Name == name {
			out = append(out, node)
		}
	}
	return out, err
}

// Pods implements usage.Cluster.
func (o *objects) Pods(ctx context.Context, namespace, name string, chosen watch.Predicate) ([]*corev1.Pod, error) {
	pods, err := o.resources.Settled(ctx, corev1.SchemeGroupVersion.WithKind("Pod"))
	if err != nil || pods == nil {
		return nil, err
	}
	if name != "" {
		chosen.Fields = fields.OneTermEqualSelector("metadata.name", name)
	}
	page := pods.List(watch.Query{Namespace: namespace, Predicate: chosen})
	out := make([]*corev1.Pod, len(page.Entries))
	for i, e := range page.Entries {
		out[i] = &corev1.Pod{}
		if err := codec.Decode(e.Value, e.Revision, out[i]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// usesIP tells whether a Service is known to have the cluster IP.
func (s *Server) usesIP(ip string) bool {
	services := s.resources.Collection(corev1.SchemeGroupVersion.WithKind("Service"))
	return len(services.List(watch.Query{Predicate: watch.Predicate{Fields: fields.OneTermEqualSelector("spec.clusterIP", ip)}, Limit: 1}).Entries) > 0
}
