package certificates

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"

	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
	authorizationv1 "k8s.io/api/authorization/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/internal/reconcile"
)

// Controller approves what nodes may have without a person's consent, and cleans up. It needs no keys.
type Controller struct {
	client   *client.Client
	requests *informer.Informer[*certificatesv1.CertificateSigningRequest]
	approve  *reconcile.Controller
	clean    *reconcile.Controller
}

// New returns a controller; the set may not run yet.
func New(c *client.Client, set *informer.Set, log *zap.Logger) *Controller {
	out := &Controller{client: c, requests: informer.For[*certificatesv1.CertificateSigningRequest](set)}
	out.approve = reconcile.New("certificates-approver", 1, out.reconcileApproval, log)
	out.clean = reconcile.New("certificates-cleaner", 1, out.reconcileAge, log)
	out.requests.OnChange(func(_, now *certificatesv1.CertificateSigningRequest) {
		if now == nil {
			return
		}
		if now.Spec.SignerName == certificatesv1.KubeAPIServerClientKubeletSignerName && !decided(now) {
			out.approve.Enqueue(informer.KeyOf(now))
		}
		out.clean.Enqueue(informer.KeyOf(now))
	})
	return out
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return c.approve.Run(ctx) })
	g.Go(func() error { return c.clean.Run(ctx) })
	return g.Wait()
}

// recognizers are the requests that may be approved by themselves: each when its sender has the right to create the
// subresource, the first that fits and is allowed.
var recognizers = []struct {
	subresource, message string
	fits                 func(csr *certificatesv1.CertificateSigningRequest, r *x509.CertificateRequest) bool
}{
	{"selfnodeclient", "Auto approving self kubelet client certificate after SubjectAccessReview.", func(csr *certificatesv1.CertificateSigningRequest, r *x509.CertificateRequest) bool {
		return csr.Spec.Username == r.Subject.CommonName
	}},
	{"nodeclient", "Auto approving kubelet client certificate after SubjectAccessReview.", func(*certificatesv1.CertificateSigningRequest, *x509.CertificateRequest) bool {
		return true
	}},
}

// lookAgain is when a request that its sender had no right to is asked about again: roles may come after it.
const lookAgain = time.Minute

func (c *Controller) reconcileApproval(ctx context.Context, key informer.Key) (time.Duration, error) {
	found, ok := c.requests.Get("", key.Name)
	if !ok || decided(found) || len(found.Status.Certificate) > 0 {
		return 0, nil
	}
	request, err := parse(found)
	if err != nil || checkNodeClient(request, found.Spec.Usages) != nil {
		// Not what a node asks for: somebody may want to look at it.
		return 0, nil
	}
	for _, r := range recognizers {
		if !r.fits(found, request) {
			continue
		}
		allowed, err := c.allowed(ctx, found, r.subresource)
		if err != nil {
			return 0, fmt.Errorf("ask whether certificate request %s may be approved: %w", key.Name, err)
		}
		if allowed {
			return 0, c.approveFor(ctx, found.DeepCopy(), r.message)
		}
	}
	return lookAgain, nil
}

// allowed asks whether the request's sender may create the subresource.
func (c *Controller) allowed(ctx context.Context, csr *certificatesv1.CertificateSigningRequest, subresource string) (bool, error) {
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: csr.Spec.Username, UID: csr.Spec.UID, Groups: csr.Spec.Groups,
		ResourceAttributes: &authorizationv1.ResourceAttributes{
			Group: certificatesv1.GroupName, Version: "*", Resource: "certificatesigningrequests", Verb: "create", Subresource: subresource,
		},
	}}
	for key, values := range csr.Spec.Extra {
		if review.Spec.Extra == nil {
			review.Spec.Extra = map[string]authorizationv1.ExtraValue{}
		}
		review.Spec.Extra[key] = authorizationv1.ExtraValue(values)
	}
	err := c.client.Create(ctx, review)
	return review.Status.Allowed, err
}

func (c *Controller) approveFor(ctx context.Context, csr *certificatesv1.CertificateSigningRequest, message string) error {
	now := metav1.Now()
	csr.Status.Conditions = append(csr.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
		Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue, Reason: "AutoApproved", Message: message,
		LastUpdateTime: now, LastTransitionTime: now,
	})
	err := c.client.UpdateSubresource(ctx, csr, "approval")
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("approve certificate request %s: %w", csr.Name, err)
	}
	return nil
}

func (c *Controller) reconcileAge(ctx context.Context, key informer.Key) (time.Duration, error) {
	csr, ok := c.requests.Get("", key.Name)
	if !ok {
		return 0, nil
	}
	if wait := time.Until(obsoleteAt(csr)); wait > 0 {
		return wait, nil
	}
	err := c.client.Delete(ctx, csr, client.DeleteOptions{UID: csr.UID})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return 0, fmt.Errorf("remove certificate request %s: %w", key.Name, err)
	}
	return 0, nil
}
