package certificates

import (
	"context"
	"crypto/x509"
	"fmt"
	"time"

	"go.uber.org/zap"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"karve.dev/karve/internal/client"
	"karve.dev/karve/internal/identity"
	"karve.dev/karve/internal/informer"
	"karve.dev/karve/internal/reconcile"
)

// The life of certificates: what is given where nobody asks for less, and the least that makes sense.
const (
	maxLife = 365 * 24 * time.Hour
	minLife = 10 * time.Minute
)

// Authority makes certificates; *identity.Cluster is one. Only the process that holds the cluster's keys has it.
type Authority interface {
	SignRequest(request *x509.CertificateRequest, usages identity.Usages, life time.Duration) ([]byte, error)
}

// Signer makes the certificates of approved requests for Kubernetes' signers. Several may run: whose certificate is stored
// first wins.
type Signer struct {
	client    *client.Client
	authority Authority
	requests  *informer.Informer[*certificatesv1.CertificateSigningRequest]
	queue     *reconcile.Controller
	log       *zap.Logger
}

// NewSigner returns a signer; the set may not run yet.
func NewSigner(c *client.Client, set *informer.Set, authority Authority, log *zap.Logger) *Signer {
	out := &Signer{client: c, authority: authority, requests: informer.For[*certificatesv1.CertificateSigningRequest](set), log: log.Named("signer")}
	out.queue = reconcile.New("signer", 1, out.reconcile, log)
	out.requests.OnChange(func(_, now *certificatesv1.CertificateSigningRequest) {
		if now != nil && waiting(now) {
			out.queue.Enqueue(informer.KeyOf(now))
		}
	})
	return out
}

// Run works until ctx ends.
func (s *Signer) Run(ctx context.Context) error { return s.queue.Run(ctx) }

// waiting reports whether a request is approved and has no certificate yet.
func waiting(csr *certificatesv1.CertificateSigningRequest) bool {
	return signers[csr.Spec.SignerName] != nil && len(csr.Status.Certificate) == 0 &&
		condition(csr, certificatesv1.CertificateApproved) != nil && condition(csr, certificatesv1.CertificateDenied) == nil &&
		condition(csr, certificatesv1.CertificateFailed) == nil
}

func (s *Signer) reconcile(ctx context.Context, key informer.Key) (time.Duration, error) {
	found, ok := s.requests.Get("", key.Name)
	if !ok || !waiting(found) {
		return 0, nil
	}
	csr := found.DeepCopy()
	certificate, refusal, err := s.sign(csr)
	if err != nil {
		return 0, fmt.Errorf("sign certificate request %s: %w", key.Name, err)
	}
	csr.Status.Certificate = certificate
	if refusal != nil {
		now := metav1.Now()
		csr.Status.Conditions = append(csr.Status.Conditions, certificatesv1.CertificateSigningRequestCondition{
			Type: certificatesv1.CertificateFailed, Status: corev1.ConditionTrue, Reason: "SignerValidationFailure", Message: refusal.Error(),
			LastUpdateTime: now, LastTransitionTime: now,
		})
	}
	err = s.client.UpdateStatus(ctx, csr)
	if err != nil && !apierrors.IsNotFound(err) {
		return 0, fmt.Errorf("store the certificate of request %s: %w", key.Name, err)
	}
	if err == nil {
		s.log.Info("certificate request answered", zap.String("name", csr.Name), zap.String("signer", csr.Spec.SignerName),
			zap.String("requestor", csr.Spec.Username), zap.Bool("signed", refusal == nil))
	}
	return 0, nil
}

// sign returns a certificate, or why the signer refuses.
func (s *Signer) sign(csr *certificatesv1.CertificateSigningRequest) (certificate []byte, refusal, err error) {
	request, refusal := parse(csr)
	if refusal == nil {
		refusal = signers[csr.Spec.SignerName](request, csr.Spec.Usages)
	}
	if refusal == nil {
		refusal = request.CheckSignature()
	}
	if refusal != nil {
		return nil, refusal, nil
	}
	usages, refusal := usagesOf(csr.Spec.Usages)
	if refusal != nil {
		return nil, refusal, nil
	}
	certificate, err = s.authority.SignRequest(request, usages, lifeOf(csr.Spec.ExpirationSeconds))
	return certificate, nil, err
}

// lifeOf is how long a certificate lives of which seconds were asked for.
func lifeOf(seconds *int32) time.Duration {
	if seconds == nil {
		return maxLife
	}
	return min(max(time.Duration(*seconds)*time.Second, minLife), maxLife)
}
