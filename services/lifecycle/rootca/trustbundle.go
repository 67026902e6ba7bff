package rootca

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"
	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/internal/reconcile"
)

// servingSigner stands for who signs the API's own certificate: pods get the bundle by a projected volume of this name.
const servingSigner = "kubernetes.io/kube-apiserver-serving"

// nameBytes is how much of the bundle's hash goes into its name.
const nameBytes = 12

// Bundle publishes the CA as a ClusterTrustBundle. A bundle of another CA, from before, is removed.
type Bundle struct {
	client  *client.Client
	want    *certificatesv1.ClusterTrustBundle
	bundles *informer.Informer[*certificatesv1.ClusterTrustBundle]
	queue   *reconcile.Controller
}

// NewBundle returns a controller that publishes ca (PEM); the set may not run yet.
func NewBundle(c *client.Client, set *informer.Set, ca []byte, log *zap.Logger) *Bundle {
	hash := sha256.Sum256(ca)
	out := &Bundle{
		client: c, bundles: informer.Select[*certificatesv1.ClusterTrustBundle](set, "spec.signerName="+servingSigner),
		want: &certificatesv1.ClusterTrustBundle{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s:%x", strings.ReplaceAll(servingSigner, "/", ":"), hash[:nameBytes])},
			Spec:       certificatesv1.ClusterTrustBundleSpec{SignerName: servingSigner, TrustBundle: string(ca)},
		},
	}
	out.queue = reconcile.New("trustbundle", 1, out.reconcile, log)
	out.bundles.OnChange(func(_, _ *certificatesv1.ClusterTrustBundle) { out.queue.Enqueue(informer.Key{}) })
	return out
}

// Run works until ctx ends.
func (b *Bundle) Run(ctx context.Context) error {
	b.queue.Enqueue(informer.Key{})
	return b.queue.Run(ctx)
}

func (b *Bundle) reconcile(ctx context.Context, _ informer.Key) (time.Duration, error) {
	var errs []error
	there, ok := b.bundles.Get("", b.want.Name)
	switch {
	case !ok:
		if err := b.client.Create(ctx, b.want.DeepCopy()); err != nil && !apierrors.IsAlreadyExists(err) {
			errs = append(errs, err)
		}
	case there.Spec.TrustBundle != b.want.Spec.TrustBundle:
		now := there.DeepCopy()
		now.Spec.TrustBundle = b.want.Spec.TrustBundle
		errs = append(errs, b.client.Update(ctx, now))
	}
	for _, other := range b.bundles.List("", nil) {
		if other.Name == b.want.Name {
			continue
		}
		if err := b.client.Delete(ctx, other, client.DeleteOptions{UID: other.UID}); err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return 0, fmt.Errorf("publish the CA as a trust bundle: %w", err)
	}
	return 0, nil
}
