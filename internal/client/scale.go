package client

import (
	"context"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	metricsv1beta1 "k8s.io/metrics/pkg/apis/metrics/v1beta1"

	apiv1 "karve.dev/karve/gen/go/karve/api/v1"
)

func scaleOf(of schema.GroupVersionKind, namespace, name string) *apiv1.ObjectRef {
	return &apiv1.ObjectRef{ApiVersion: of.GroupVersion().String(), Kind: of.Kind, Namespace: namespace, Name: name, Subresource: "scale"}
}

// Scale reads how many replicas an object of any kind has, custom ones included.
func (c *Client) Scale(ctx context.Context, of schema.GroupVersionKind, namespace, name string) (*autoscalingv1.Scale, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	out := &autoscalingv1.Scale{}
	res, err := c.rpc.Get(ctx, &apiv1.GetRequest{Ref: scaleOf(of, namespace, name), As: asProtobuf()})
	return out, decode(res, err, out)
}

// UpdateScale writes how many replicas an object should have. A resourceVersion that the Scale has must be current.
func (c *Client) UpdateScale(ctx context.Context, of schema.GroupVersionKind, scale *autoscalingv1.Scale) error {
	env, err := encode(scale)
	if err != nil {
		return err
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	res, err := c.rpc.Update(ctx, &apiv1.UpdateRequest{
		Ref: scaleOf(of, scale.Namespace, scale.Name), Object: env, Options: c.options(), As: asProtobuf(),
	})
	return decode(res, err, scale)
}

// PodMetrics reads what pods use at the moment.
func (c *Client) PodMetrics(ctx context.Context, opts ListOptions) (*metricsv1beta1.PodMetricsList, error) {
	ctx, cancel := bounded(ctx)
	defer cancel()
	out := &metricsv1beta1.PodMetricsList{}
	res, err := c.rpc.List(ctx, &apiv1.ListRequest{
		Ref:           &apiv1.ObjectRef{ApiVersion: metricsv1beta1.SchemeGroupVersion.String(), Kind: "PodMetrics", Namespace: opts.Namespace},
		LabelSelector: opts.LabelSelector, As: asProtobuf(),
	})
	return out, decode(res, err, out)
}
