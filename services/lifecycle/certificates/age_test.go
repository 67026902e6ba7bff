package certificates

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestWhenRequestsGo(t *testing.T) {
	made := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	later := made.Add(2 * time.Hour)
	for what, c := range map[string]struct {
		condition certificatesv1.RequestConditionType
		issued    bool
		want      time.Time
	}{
		"nobody answers":           {"", false, made.Add(24 * time.Hour)},
		"approved, not yet signed": {certificatesv1.CertificateApproved, false, made.Add(24 * time.Hour)},
		"issued":                   {certificatesv1.CertificateApproved, true, later.Add(time.Hour)},
		"denied":                   {certificatesv1.CertificateDenied, false, later.Add(time.Hour)},
		"refused by its signer":    {certificatesv1.CertificateFailed, false, later.Add(time.Hour)},
	} {
		csr := &certificatesv1.CertificateSigningRequest{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(made)}}
		if c.condition != "" {
			csr.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{{Type: c.condition, Status: corev1.ConditionTrue, LastUpdateTime: metav1.NewTime(later)}}
		}
		if c.issued {
			csr.Status.Certificate = []byte("x")
		}
		require.Equal(t, c.want, obsoleteAt(csr), what)
	}
}
