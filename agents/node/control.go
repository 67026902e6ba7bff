package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	authv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"karve.dev/karve/agents/node/volume"
	"karve.dev/karve/internal/client"
)

// control asks the control plane for what projected volumes hold.
type control struct {
	client *client.Client
	// node returns the node's own object, or nil.
	node func() *corev1.Node
}

var _ volume.Control = (*control)(nil)

// Token implements volume.Control.
func (c *control) Token(ctx context.Context, pod *corev1.Pod, p *corev1.ServiceAccountTokenProjection) (string, time.Time, error) {
	request := &authv1.TokenRequest{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace},
		Spec: authv1.TokenRequestSpec{
			ExpirationSeconds: p.ExpirationSeconds,
			BoundObjectRef:    &authv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID},
		},
	}
	if p.Audience != "" {
		request.Spec.Audiences = []string{p.Audience}
	}
	parent := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace}}
	if err := c.client.CreateSubresource(ctx, parent, request, accountOf(pod), "token"); err != nil {
		return "", time.Time{}, err
	}
	return request.Status.Token, request.Status.ExpirationTimestamp.Time, nil
}

// TrustBundles implements volume.Control.
func (c *control) TrustBundles(ctx context.Context, p *corev1.ClusterTrustBundleProjection) ([]*certificatesv1.ClusterTrustBundle, error) {
	if p.Name != nil {
		bundle := &certificatesv1.ClusterTrustBundle{}
		err := c.client.Get(ctx, bundle, "", *p.Name)
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		return []*certificatesv1.ClusterTrustBundle{bundle}, err
	}
	list := &certificatesv1.ClusterTrustBundleList{}
	if err := c.client.List(ctx, list, client.ListOptions{}); err != nil {
		return nil, err
	}
	var out []*certificatesv1.ClusterTrustBundle
	for i := range list.Items {
		out = append(out, &list.Items[i])
	}
	return out, nil
}

// RequestCertificate implements volume.Control.
func (c *control) RequestCertificate(ctx context.Context, pod *corev1.Pod, p *corev1.PodCertificateProjection, csr []byte) (string, error) {
	self := c.node()
	if self == nil {
		return "", errors.New("the node is not registered yet")
	}
	account := &corev1.ServiceAccount{}
	if err := c.client.Get(ctx, account, pod.Namespace, accountOf(pod)); err != nil {
		return "", fmt.Errorf("read the pod's service account: %w", err)
	}
	request := &certificatesv1.PodCertificateRequest{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: pod.Namespace, GenerateName: "req-",
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID}},
		},
		Spec: certificatesv1.PodCertificateRequestSpec{
			SignerName: p.SignerName, PodName: pod.Name, PodUID: pod.UID, ServiceAccountName: account.Name, ServiceAccountUID: account.UID,
			NodeName: types.NodeName(self.Name), NodeUID: self.UID, MaxExpirationSeconds: p.MaxExpirationSeconds,
			StubPKCS10Request: csr, UnverifiedUserAnnotations: p.UserAnnotations,
		},
	}
	if err := c.client.Create(ctx, request); err != nil {
		return "", err
	}
	return request.Name, nil
}

// CertificateRequest implements volume.Control.
func (c *control) CertificateRequest(ctx context.Context, namespace, name string) (*certificatesv1.PodCertificateRequestStatus, error) {
	request := &certificatesv1.PodCertificateRequest{}
	if err := c.client.Get(ctx, request, namespace, name); err != nil {
		return nil, err
	}
	return &request.Status, nil
}

func accountOf(pod *corev1.Pod) string {
	if pod.Spec.ServiceAccountName == "" {
		return "default"
	}
	return pod.Spec.ServiceAccountName
}
