package volume

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// lookAgainForTrust is how long a trust bundle may be out of date.
const lookAgainForTrust = 5 * time.Minute

// addTrust adds the certificates that trust bundles hold, each once.
func (m *Manager) addTrust(ctx context.Context, r *request, c content, p *corev1.ClusterTrustBundleProjection, def int32) error {
	r.refreshBy(time.Now().Add(lookAgainForTrust))
	short, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	bundles, err := m.control.TrustBundles(short, p)
	if err != nil {
		if held := heldFile(r, p.Path); held != nil {
			return c.add(p.Path, held, def) // what is there stays in use
		}
		return fmt.Errorf("read trust bundles: %w", err)
	}
	if bundles, err = chosen(bundles, p); err != nil {
		return err
	}
	if len(bundles) == 0 {
		switch {
		case value(p.Optional):
			return nil
		case p.Name != nil:
			return fmt.Errorf("clustertrustbundle %q not found", *p.Name)
		}
		return errors.New("no clustertrustbundle of the signer is selected")
	}
	return c.add(p.Path, merged(bundles), def)
}

// chosen leaves out the bundles that the projection's selector does not choose. Without one it chooses none.
func chosen(bundles []*certificatesv1.ClusterTrustBundle, p *corev1.ClusterTrustBundleProjection) ([]*certificatesv1.ClusterTrustBundle, error) {
	if p.Name != nil {
		return bundles, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(p.LabelSelector)
	if err != nil {
		return nil, fmt.Errorf("select trust bundles: %w", err)
	}
	return slices.DeleteFunc(bundles, func(b *certificatesv1.ClusterTrustBundle) bool {
		return p.SignerName == nil || b.Spec.SignerName != *p.SignerName || !selector.Matches(labels.Set(b.Labels))
	}), nil
}

// merged puts the certificates of bundles together, without what stands between them. Their order means nothing, but
// does not change.
func merged(bundles []*certificatesv1.ClusterTrustBundle) []byte {
	seen := map[string]bool{}
	var all []string
	for _, b := range bundles {
		for block, rest := pem.Decode([]byte(b.Spec.TrustBundle)); block != nil; block, rest = pem.Decode(rest) {
			text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: block.Bytes}))
			if !seen[text] && block.Type == "CERTIFICATE" {
				seen[text] = true
				all = append(all, text)
			}
		}
	}
	slices.Sort(all)
	return []byte(strings.Join(all, ""))
}
